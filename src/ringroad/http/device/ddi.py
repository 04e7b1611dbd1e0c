"""The DDI device API of hawkBit, so that existing update clients work unchanged.

Pure: what to answer, given what is known. `app.py` talks HTTP, `store.py` talks SQL.
Each oddity below is there because a client in the field needs it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TypeGuard

import msgspec
import orjson

from ringroad.http.device.read_model import Device, Offer
from ringroad.http.device.wire import Answer, storable_time
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import ACTION_ID_MAX

DETAILS_MAX = 100  # lines kept of one feedback
DETAIL_CHARS_MAX = 1_000  # characters kept of one line
ATTRIBUTES_MAX = 100  # per device
IDLE_ANSWERS_KEPT = 8_192  # one per second of waiting; some 200 bytes each
TIMESTAMP_MS_MAX = 253_402_300_799_000  # the year 9999

Execution = Literal[
    "closed", "proceeding", "canceled", "scheduled", "rejected", "resumed", "download", "downloaded"
]
EXECUTIONS = frozenset(Execution.__args__)  # type: ignore[attr-defined]
FINISHED = frozenset({"success", "failure", "none"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One file of a chunk. sha1 and md5 are what SWUpdate and rauc-hawkbit check; they prove nothing."""

    module_id: str
    part: str
    name: str
    version: str
    filename: str
    size: int
    sha256: str
    sha1: str
    md5: str


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """A device's word on an action, normalised. A msgspec value, because one is made for every feedback."""

    execution: str
    finished: str
    done: int | None
    total: int | None
    details: tuple[str, ...]
    event_at: datetime | None  # by its own clock, where that makes sense

    @property
    def closes(self) -> bool:
        """Whether the update is over for the device; `rejected` is only a warning, as in hawkBit."""
        return self.execution in {"closed", "canceled"}


def sleep_text(poll_s: int) -> str:
    """Return seconds as HH:MM:SS, 8 characters, as clients parse it; 1 s to 23:59:59."""
    poll_s = min(max(poll_s, 1), 86_399)
    return f"{poll_s // 3600:02}:{poll_s // 60 % 60:02}:{poll_s % 60:02}"


@lru_cache(maxsize=IDLE_ANSWERS_KEPT)
def idle_answer(poll_s: int) -> Answer:
    """Return what a device is answered that has nothing to do; nearly every poll is one of these."""
    idle = Device(b"", ddi=True, config_wanted=False)
    return Answer(200, render_poll(idle, None, base="", poll_s=poll_s))


def render_poll(device: Device, offer: Offer | None, *, base: str, poll_s: int) -> bytes:
    """Render the answer to a poll; exactly one of deploymentBase and cancelAction is offered.

    Args:
        device: what is known of the device.
        offer: what it may be told now.
        base: its URL up to and including the controller id, without a slash.
        poll_s: seconds until the next poll.
    """
    links: dict[str, Any] = {}
    if offer is not None and offer.kind == "update":
        # `?c=`: rauc-hawkbit's pattern wants it, and it tells clients when the content changed.
        links["deploymentBase"] = {"href": f"{base}/deploymentBase/{offer.action_id}?c={content_hash(offer)}"}
    elif offer is not None:
        # No query here: SWUpdate posts to `<href>/feedback`.
        links["cancelAction"] = {"href": f"{base}/cancelAction/{offer.action_id}"}
    if device.config_wanted:
        links["configData"] = {"href": f"{base}/configData"}
    return orjson.dumps({"config": {"polling": {"sleep": sleep_text(poll_s)}}, "_links": links})


def content_hash(offer: Offer) -> int:
    """Return a number that changes when what is offered changes."""
    digest = hashlib.sha256(f"{offer.action_id}:{offer.release_id}:{offer.variant}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFF_FFFF


def render_deployment(offer: Offer, artifacts: list[Artifact], *, base: str) -> bytes:
    """Render the details of an update; the action id is a JSON string that holds an integer."""
    chunks = []
    for artifact in artifacts:
        href = f"{base}/softwaremodules/{artifact.module_id}/artifacts/{artifact.filename}"
        links = {
            # Both relations: SWUpdate reads the first, Zephyr only the second.
            "download": {"href": href},
            "download-http": {"href": href},
            "md5sum": {"href": f"{href}.MD5SUM"},
            "md5sum-http": {"href": f"{href}.MD5SUM"},
        }
        chunks.append(
            {
                "part": artifact.part,
                "version": artifact.version,
                "name": artifact.name,
                "artifacts": [
                    {
                        "filename": artifact.filename,
                        "hashes": {"sha1": artifact.sha1, "md5": artifact.md5, "sha256": artifact.sha256},
                        "size": artifact.size,
                        "_links": links,
                    }
                ],
            }
        )
    # Never "skip" for `update`: SWUpdate answers success to that without having downloaded anything.
    return orjson.dumps(
        {
            "id": str(offer.action_id),
            "deployment": {"download": "forced", "update": "forced", "chunks": chunks},
        }
    )


def render_cancel(action_id: int) -> bytes:
    """Render the details of a cancel."""
    return orjson.dumps({"id": str(action_id), "cancelAction": {"stopId": str(action_id)}})


def parse_action_id(text: str) -> int | None:
    """Return an action id, or None for what never was one."""
    if not text.isascii() or not text.isdecimal() or len(text) > 10:
        return None
    number = int(text)
    return number if 0 < number <= ACTION_ID_MAX else None


def parse_feedback(document: dict[str, Any]) -> Feedback:
    """Read feedback as real clients send it.

    Tolerated, because seen on the wire: `id` as number or string, `time` instead of `timestamp`,
    `progress` missing, empty, a percentage, with `of` 0 or `cnt` above `of`; `details` missing or text.

    Raises:
        InvalidInput: no usable status; what was wrong is named.
    """
    status = document.get("status")
    if not isinstance(status, dict):
        raise InvalidInput("feedback has no `status` object")
    execution = status.get("execution")
    if not isinstance(execution, str) or execution not in EXECUTIONS:
        raise InvalidInput(
            f"unknown execution {str(execution)[:40]!r}", hint="one of " + ", ".join(sorted(EXECUTIONS))
        )
    result = status.get("result")
    finished = result.get("finished", "none") if isinstance(result, dict) else "none"
    if not isinstance(finished, str) or finished not in FINISHED:
        raise InvalidInput(f"unknown result.finished {str(finished)[:40]!r}", hint="success, failure or none")
    done, total = _progress(result.get("progress") if isinstance(result, dict) else None)
    details = status.get("details") or []
    if isinstance(details, str):
        details = [details]
    if not isinstance(details, list):
        raise InvalidInput("details must be a list of texts")
    lines = tuple([str(line)[:DETAIL_CHARS_MAX] for line in details[:DETAILS_MAX]])
    return Feedback(
        execution=execution,
        finished=finished,
        done=done,
        total=total,
        details=lines,
        event_at=_event_at(document.get("timestamp")),
    )


def _progress(progress: object) -> tuple[int | None, int | None]:
    if not isinstance(progress, dict):
        return None, None
    percentage = progress.get("percentage")
    if _is_count(percentage):
        return min(percentage, 100), 100
    count, of = progress.get("cnt"), progress.get("of")
    if not _is_count(count) or not _is_count(of) or of == 0:
        return None, None
    return min(count, of), of


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**53  # a bool is no count


def _event_at(timestamp: object) -> datetime | None:
    if type(timestamp) is int and 0 < timestamp < TIMESTAMP_MS_MAX:  # milliseconds
        return storable_time(datetime.fromtimestamp(timestamp / 1000, UTC))
    return None


def parse_config_data(document: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Read a device's attributes: mode (merge, replace, remove) and string pairs.

    Raises:
        InvalidInput: not string pairs, or too many.
    """
    mode = document.get("mode", "merge")
    if mode not in {"merge", "replace", "remove"}:
        raise InvalidInput("mode must be merge, replace or remove")
    data = document.get("data")
    if not isinstance(data, dict):
        raise InvalidInput("`data` must be an object of texts")
    if len(data) > ATTRIBUTES_MAX:
        raise InvalidInput(f"{len(data)} attributes, limit {ATTRIBUTES_MAX}")
    pairs = {}
    for key, value in data.items():
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        if len(key) > 200 or len(text) > 1_000:
            raise InvalidInput(
                f"attribute {key[:40]!r} is too long", hint="200 characters for a name, 1000 for a value"
            )
        pairs[key] = text
    return mode, pairs


def dedupe_key(scope: str, action_id: int, body: bytes) -> str:
    """Return what makes a report the same report: action and exact bytes (clients repeat them verbatim)."""
    return f"{scope}:{action_id}:{hashlib.sha256(body).hexdigest()[:32]}"
