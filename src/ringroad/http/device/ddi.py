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

from ringroad.http.device.read_model import Device, Telling
from ringroad.http.device.wire import JSON, Answer, storable_time
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import ACTION_ID_MAX

DETAILS_MAX = 100  # lines kept of one feedback
DETAIL_CHARS_MAX = 1_000  # characters kept of one line
ATTRIBUTES_MAX = 100  # per device
IDLE_ANSWERS_KEPT = 8_192  # one per second of waiting; some 200 bytes each
TEXT_CHARS_MAX = 200  # characters of an initiator, a remark, a name, a version
HISTORY_LINES_MAX = 100  # lines of a device's own words that it is told again
STATUS_OF = {
    "offered": "RETRIEVED", "active": "RUNNING", "cancelling": "CANCELING", "installed": "FINISHED", "downloaded": "FINISHED",
    "failed": "ERROR", "rolled_back": "ERROR", "expired": "ERROR", "cancelled": "CANCELED",
}  # fmt: skip
TIMESTAMP_MS_MAX = 253_402_300_799_000  # the year 9999

Execution = Literal[
    "closed", "proceeding", "canceled", "scheduled", "rejected", "resumed", "download", "downloaded"
]
Word = Literal["skip", "attempt", "forced"]
About = Literal["deploymentBase", "cancelAction", "confirmationBase"]
Shown = tuple[About, Telling]
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

    @property
    def failed(self) -> bool:
        """Whether the update is over and failed."""
        return self.closes and self.finished == "failure"


def sleep_text(poll_s: int) -> str:
    """Return seconds as HH:MM:SS, 8 characters, as clients parse it; 1 s to 23:59:59."""
    poll_s = min(max(poll_s, 1), 86_399)
    return f"{poll_s // 3600:02}:{poll_s // 60 % 60:02}:{poll_s % 60:02}"


@lru_cache(maxsize=IDLE_ANSWERS_KEPT)
def idle_answer(poll_s: int) -> Answer:
    """Return what a device is answered that has nothing to do; nearly every poll is one of these."""
    idle = Device(b"", ddi=True, config_wanted=False)
    body = render_poll(idle, None, base="", poll_s=poll_s)
    return Answer(200, body, (JSON, (b"etag", b'"%b-%d"' % (poll_tag(idle, None), poll_s))))


def words(telling: Telling) -> tuple[Word, Word]:
    """Return what a device is to do: download and update, each skip, attempt or forced."""
    download: Word = "attempt" if telling.urgency == "soft" else "forced"
    if telling.urgency == "download_only" or telling.window_open is False:
        return download, "skip"
    return download, download


def shown(device: Device, telling: Telling | None) -> Shown | None:
    """Return the one thing that a device is shown, and under which name; None: there is nothing.

    SWUpdate answers "success" to an update it is told to skip, without having downloaded anything. So what is not
    to be installed now is shown only to a device that says `honours_skip`.
    """
    if telling is None:
        return None
    if telling.offer.kind == "cancel":
        return "cancelAction", telling
    if words(telling)[1] == "skip" and not device.honours_skip:
        return None
    return ("confirmationBase" if telling.consent_wanted else "deploymentBase"), telling


def render_poll(device: Device, found: Shown | None, *, base: str, poll_s: int) -> bytes:
    """Render the answer to a poll; at most one of deploymentBase, cancelAction and confirmationBase is offered.

    Args:
        device: what is known of the device.
        found: what it is shown.
        base: its URL up to and including the controller id, without a slash.
        poll_s: seconds until the next poll.
    """
    links: dict[str, Any] = {}
    if found is not None:
        about, telling = found
        href = f"{base}/{about}/{telling.offer.action_id}"
        # `?c=`: rauc-hawkbit's pattern wants it, and it tells clients when the content changed.
        # Not of a cancel: SWUpdate posts to `<href>/feedback`.
        links[about] = {"href": href if about == "cancelAction" else f"{href}?c={content_hash(telling)}"}
    if device.installed_action:
        links["installedBase"] = {"href": f"{base}/installedBase/{device.installed_action}"}
    if device.is_asked:
        links["configData"] = {"href": f"{base}/configData"}
    return orjson.dumps({"config": {"polling": {"sleep": sleep_text(poll_s)}}, "_links": links})


def poll_tag(device: Device, found: Shown | None) -> bytes:
    """Return what changes when there is something else to be told."""
    what = b"%b-%d" % (found[0].encode(), content_hash(found[1])) if found else b"idle"
    return b"%b-%d-%d" % (what, device.installed_action, device.is_asked)


def content_hash(telling: Telling) -> int:
    """Return a number that changes when what is offered changes."""
    offer = telling.offer
    content = f"{offer.action_id}:{offer.kind}:{offer.release_id}:{offer.variant}:{telling.urgency}:{telling.window_open}"
    return fingerprint(content.encode())


def fingerprint(content: bytes) -> int:
    """Return 31 bits of a digest."""
    return int.from_bytes(hashlib.sha256(content).digest()[:4], "big") & 0x7FFF_FFFF


def render_deployment(
    telling: Telling,
    artifacts: list[Artifact],
    *,
    base: str,
    about: str = "deploymentBase",
    history: dict[str, Any] | None = None,
) -> bytes:
    """Render the details of an update; the action id is a JSON string that holds an integer.

    Args:
        telling: what is offered, was installed, or waits for consent.
        artifacts: its files.
        base: URL of the device.
        about: the resource it is read at.
        history: what the device said of it, where it asked for that.
    """
    download, update = words(telling)
    deployment: dict[str, Any] = {"download": download, "update": update}
    if telling.window_open is not None:
        deployment["maintenanceWindow"] = "available" if telling.window_open else "unavailable"
    deployment["chunks"] = [
        {
            "part": artifact.part,
            "version": artifact.version,
            "name": artifact.name,
            "artifacts": [_artifact(artifact, base=base)],
        }
        for artifact in artifacts
    ]
    name = "confirmation" if about == "confirmationBase" else "deployment"
    document = {"id": str(telling.offer.action_id), name: deployment}
    return orjson.dumps(document | ({"actionHistory": history} if history else {}))


def render_artifacts(artifacts: list[Artifact], *, base: str) -> bytes:
    """Render the files of a software module."""
    return orjson.dumps([_artifact(artifact, base=base) for artifact in artifacts])


def _artifact(artifact: Artifact, *, base: str) -> dict[str, Any]:
    href = f"{base}/softwaremodules/{artifact.module_id}/artifacts/{artifact.filename}"
    return {
        "filename": artifact.filename,
        "hashes": {"sha1": artifact.sha1, "md5": artifact.md5, "sha256": artifact.sha256},
        "size": artifact.size,
        "_links": {
            # Both relations: SWUpdate reads the first, Zephyr only the second.
            "download": {"href": href},
            "download-http": {"href": href},
            "md5sum": {"href": f"{href}.MD5SUM"},
            "md5sum-http": {"href": f"{href}.MD5SUM"},
        },
    }


def render_consent(
    device: Device, found: Shown | None, standing: dict[str, Any] | None, *, base: str
) -> bytes:
    """Render whether a device agrees to everything, and which update waits for its word."""
    root = f"{base}/confirmationBase"
    active = device.auto_confirm
    state: dict[str, Any] = {"active": active}
    if active and standing:
        state |= {name: standing[name] for name in ("initiator", "remark", "activatedAt") if name in standing}
    verb = "deactivateAutoConfirm" if active else "activateAutoConfirm"
    links = {verb: {"href": f"{root}/{verb}"}}
    if found is not None and found[0] == "confirmationBase":
        links["confirmationBase"] = {"href": f"{root}/{found[1].offer.action_id}?c={content_hash(found[1])}"}
    return orjson.dumps({"autoConfirm": state, "_links": links})


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
    if result is not None and not isinstance(result, dict):
        raise InvalidInput("`status.result` is no object", hint='for example {"finished": "success"}')
    finished = result.get("finished", "none") if isinstance(result, dict) else "none"
    if not isinstance(finished, str) or finished not in FINISHED:
        raise InvalidInput(f"unknown result.finished {str(finished)[:40]!r}", hint="success, failure or none")
    done, total = _progress(result.get("progress") if isinstance(result, dict) else None)
    return Feedback(
        execution=execution,
        finished=finished,
        done=done,
        total=total,
        details=_lines(status.get("details")),
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


def parse_confirmation(document: dict[str, Any]) -> tuple[str, list[str]]:
    """Read whether a device agrees to an update, and its own words.

    Raises:
        InvalidInput: neither confirmed nor denied.
    """
    word = document.get("confirmation")
    if not isinstance(word, str) or word.lower() not in {"confirmed", "denied"}:
        raise InvalidInput("`confirmation` must be confirmed or denied")
    return word.lower(), list(_lines(document.get("details")))


def parse_auto_confirm(document: dict[str, Any]) -> dict[str, str]:
    """Read on whose word a device agrees to everything, and why.

    Raises:
        InvalidInput: not texts, or too long.
    """
    found = {}
    for name in ("initiator", "remark"):
        value = document.get(name)
        if value is not None:
            found[name] = _text(name, value)
    return found


def parse_installed(document: dict[str, Any]) -> dict[str, str]:
    """Read what a device says it runs: name and version of a release.

    Raises:
        InvalidInput: one is missing, no text, or too long.
    """
    return {name: _text(name, document.get(name)) for name in ("name", "version")}


def parse_history(text: str) -> int:
    """Return how many lines of history are asked for; -1: all that are kept, what is no number: none."""
    if text == "-1":
        return HISTORY_LINES_MAX
    return min(int(text), HISTORY_LINES_MAX) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def history(state: str | None, bodies: list[dict[str, Any]], *, lines_max: int) -> dict[str, Any] | None:
    """Return what a device said of an action, newest first; None: nothing yet."""
    lines = []
    for body in bodies:
        said = body.get("details")
        lines += [str(line) for line in reversed(said)] if isinstance(said, list) else []
    if not lines:
        return None
    return {"status": STATUS_OF.get(state or "", "RUNNING"), "messages": lines[:lines_max]}


def methods_of(rest: list[str]) -> str:
    """Return the methods of a resource below the controller id; empty: there is no such resource."""
    match rest:
        case ["configData"] | ["installedBase"]:
            return "PUT"
        case [] | ["confirmationBase"] | ["softwaremodules", _, "artifacts"]:
            return "GET"
        case ["deploymentBase" | "cancelAction" | "confirmationBase", _, "feedback"]:
            return "POST"
        case ["confirmationBase", "activateAutoConfirm" | "deactivateAutoConfirm"]:
            return "POST"
        case ["deploymentBase" | "cancelAction" | "confirmationBase" | "installedBase", _]:
            return "GET"
        case ["softwaremodules", _, "artifacts", _]:
            return "GET, HEAD"
    return ""


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX:
        raise InvalidInput(f"`{name}` must be a text of 1 to {TEXT_CHARS_MAX} characters")
    return value


def _lines(details: object) -> tuple[str, ...]:
    details = details or []
    if isinstance(details, str):
        details = [details]
    if not isinstance(details, list):
        raise InvalidInput("details must be a list of texts")
    return tuple([str(line)[:DETAIL_CHARS_MAX] for line in details[:DETAILS_MAX]])


def dedupe_key(scope: str, action_id: int, body: bytes) -> str:
    """Return what makes a report the same report: action and exact bytes (clients repeat them verbatim)."""
    return f"{scope}:{action_id}:{hashlib.sha256(body).hexdigest()[:32]}"
