"""The faults of a vehicle's ECUs on its page of diagnostics, out of what was answered. Pure; no answer is trusted to be well-formed.

Invariant: of an ECU that did not answer nothing is said; what it told before stands with when it told that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from ringroad.http.console.diagnostics_updates import items_of, read_at
from ringroad.protocol.names import Names, fault_name
from ringroad.signal.diagnose import Job

HEALTH: Final = "functions/vehicle-health"
SINCE_1970: Final = "s since 1970"  # a unit of `vehicle/diagnostics/faults.py`
UNIX_S_MAX: Final = 2**32  # s

# By ECU: when it told its faults last, and which.
Told = Mapping[str, tuple[datetime, list[Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultLine:
    """One fault: in words, and what surrounded it once that was asked for."""

    component: str
    code: str
    words: str
    failing: bool
    name: str
    path: str
    read_at: datetime
    details: Mapping[str, Any] | None = None
    details_at: datetime | None = None
    stale: bool = False  # the details were read before the fault was


def faults_told(names: Sequence[str], newest: Mapping[str, Job]) -> Told:
    """Return each ECU's faults as its newest answer has them: of the whole vehicle, of the ECU, or after a clearing.

    Args:
        names: of the ECUs, as far as they are known.
        newest: answers by the path that was asked.
    """
    found: dict[str, tuple[datetime, list[Mapping[str, Any]]]] = {}
    health = newest.get(HEALTH)
    if health is not None and health.answered_at is not None:
        for each in items_of(health):
            found.setdefault(str(each.get("component", "")), (health.answered_at, []))[1].append(each)
        for name in set(names) - {str(each.get("component")) for each in items_of(health, "silent")}:
            found.setdefault(name, (health.answered_at, []))
    for name in sorted({*names, *found}):  # who reads every fault need not have listed the ECUs
        one = _told_of_faults(f"components/{quote(name, safe='')}/faults", newest)
        if one is None or one.answered_at is None or one.answered_at <= found.get(name, (one.made_at,))[0]:
            continue
        key = "left" if one.method == "DELETE" else "items"
        found[name] = (one.answered_at, items_of(one, key))
    return found


def fault_lines(told: Told, newest: Mapping[str, Job], names_of: Names) -> list[FaultLine]:
    """Return a line for each fault that was told."""
    return [
        _fault(name, each, told_at, newest, names_of)
        for name, (told_at, items) in told.items()
        for each in items
    ]


def faults_count(
    told: tuple[datetime, Sequence[object]] | None, shown: Job | None, silent_at: datetime | None
) -> int | None:
    """Return how many faults an ECU said last that it has; None where it said nothing of that, or was silent since.

    Args:
        told: when it told them, and which.
        shown: the newest answer about the ECU itself, which says how many.
        silent_at: when it did not answer last; None: not since either.
    """
    said = shown.answer.get("faults") if shown is not None and shown.answer else None
    at = shown.answered_at if shown is not None and type(said) is int else None
    if at is not None and (told is None or told[0] < at):
        return None if silent_at is not None and silent_at > at else said
    return None if told is None or (silent_at is not None and silent_at > told[0]) else len(told[1])


def still_silent(newest: Mapping[str, Job], told: Told) -> dict[str, list[str]]:
    """Return the ECUs that did not answer when every fault was read, and told none since, by what was said of them."""
    health = newest.get(HEALTH)
    found: dict[str, list[str]] = {}
    for each in items_of(health, "silent"):
        name, since = str(each.get("component")), told.get(str(each.get("component")))
        if health is None or health.answered_at is None or (since and health.answered_at < since[0]):
            continue
        found.setdefault(str(each.get("message", "")), []).append(name)
    return found


def _told_of_faults(path: str, newest: Mapping[str, Job]) -> Job | None:
    """Return the newest answer that tells all faults of an ECU: its list, or what a clearing of some or all left."""
    told = [
        job
        for at, job in newest.items()
        if job.answered_at and (at == path or (job.method == "DELETE" and at.startswith(f"{path}/")))
    ]
    return max(told, key=lambda job: job.answered_at or job.made_at, default=None)


def cleared_since(newest: Mapping[str, Job]) -> datetime | None:
    """Return when faults were last cleared of an ECU whose faults nobody read since, nor those of the whole vehicle."""
    found = []
    for path, job in newest.items():
        if job.method == "DELETE" and "/faults" in path and job.answered_at is not None:
            seen_at = read_at(newest, HEALTH, "/".join(path.split("/")[:3]))
            found += [job.answered_at] if seen_at is None or seen_at < job.answered_at else []
    return max(found, default=None)


def _fault(
    name: str, each: Mapping[str, Any], told_at: datetime, newest: Mapping[str, Job], names_of: Names
) -> FaultLine:
    code = str(each.get("code", ""))
    path = f"components/{quote(name, safe='')}/faults/{quote(code, safe='')}"
    details = newest.get(path)
    around = details.answer.get("environment_data") if details is not None and details.answer else None
    details_at = details.answered_at if isinstance(around, dict) and details is not None else None
    status = each.get("status")
    return FaultLine(
        component=name, code=code, name=fault_name(names_of, name, code), words=str(each.get("words", "")),
        failing=isinstance(status, int) and bool(status & 0x01), path=path, read_at=told_at,
        details=_readable(around) if isinstance(around, dict) else None, details_at=details_at,
        stale=details_at is not None and details_at < told_at,
    )  # fmt: skip


def _readable(around: Any) -> Any:
    """Return what surrounded a fault with its times as times: nobody reads seconds since 1970."""
    if isinstance(around, list):
        return [_readable(each) for each in around]
    if not isinstance(around, dict):
        return around
    value = around.get("value")
    if around.get("unit") == SINCE_1970 and isinstance(value, int) and 0 <= value < UNIX_S_MAX:
        return {**around, "value": f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC", "unit": ""}
    return {key: _readable(each) for key, each in around.items()}
