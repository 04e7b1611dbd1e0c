"""A vehicle's updates on its page of diagnostics, out of what it answered. Pure; no answer is trusted to be well-formed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from ringroad.signal.diagnose import Job


def updates_of(newest: Mapping[str, Job]) -> list[Mapping[str, Any]]:
    """Return each update as it was last told of, in the list or by itself; the newest first.

    Args:
        newest: answers by the path that was asked.
    """
    found: dict[str, tuple[datetime, Mapping[str, Any]]] = {}
    for path, job in newest.items():
        if path.split("/")[0] != "updates" or job.answered_at is None:
            continue
        for each in items_of(job) or [job.answer or {}]:
            if not isinstance(each.get("id"), str):
                continue
            at, before = found.get(each["id"], (job.answered_at, {}))
            newer = {**before, **each} if at <= job.answered_at else {**each, **before}
            found[each["id"]] = (max(at, job.answered_at), newer)
    ordered = sorted(found.values(), key=lambda each: _moved_at(each[1], told_at=each[0]), reverse=True)
    return [
        {key: _READ[key](value) if key in _READ else value for key, value in said.items()}
        for _, said in ordered
    ]


def updates_read_at(newest: Mapping[str, Job]) -> datetime | None:
    """Return when updates were read last."""
    told = [job.answered_at for path, job in newest.items() if path.split("/")[0] == "updates"]
    return max((at for at in told if at is not None), default=None)


def items_of(job: Job | None, key: str = "items") -> list[Mapping[str, Any]]:
    """Return the items of an answer that is a list."""
    return _dicts(job.answer.get(key)) if job is not None and job.answer else []


def _dicts(found: object) -> list[Mapping[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _moved_at(said: Mapping[str, Any], *, told_at: datetime) -> datetime:
    """Return when an update ended, or else began; one that has not begun stands by when it was told of."""
    return time_of(said.get("ended_at")) or time_of(said.get("began_at")) or told_at


def time_of(said: object) -> datetime | None:
    """Return a time that a vehicle says; None for what is none."""
    try:
        at = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None


_READ: Final[Mapping[str, Callable[[object], Any]]] = {
    "began_at": time_of,
    "ended_at": time_of,
    "components": _dicts,
}


def read_at(newest: Mapping[str, Job], *paths: str) -> datetime | None:
    """Return when one of these paths was last read. `newest`: the newest answers by path."""
    told = (newest[path] for path in paths if path in newest and newest[path].method == "GET")
    return max((one.answered_at for one in told if one.answered_at), default=None)
