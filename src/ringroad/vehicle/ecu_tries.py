"""The newest failed try of an ECU, and how it is told: what was wrong, which try that was, when the next one is due. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ringroad.vehicle.agents.base import Reason

GONE: Final = "is not in the vehicle any more"  # an ECU that was exchanged


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuTry:
    """One failed try.

    Attributes:
        code, detail: why it failed, typed and for people.
        count: which try of this kind it was.
        count_max: how many there are; 0 where nobody says.
        again_at: when the next one is due; None after the last.
    """

    code: str
    detail: str
    count: int = 1
    count_max: int = 0
    again_at: datetime | None = None


Failing = Mapping[str, EcuTry]  # by serial


def after_last(before: EcuTry | None, *, code: str, detail: str) -> EcuTry:
    """Return the try that an ECU failed for good with. `before`: the one that failed before it."""
    if before is None or before.code != code:
        return EcuTry(code=code, detail=detail)
    return EcuTry(code=code, detail=detail, count=before.count + 1, count_max=before.count_max)


def try_text(one: EcuTry, *, now: datetime | None = None) -> str:
    """Return what was wrong, and how often: ``no answer, try 3 of 8, next in 20 s``.

    Args:
        one: the try.
        now: None where no further one follows, or nobody works on it: ``no answer after 8 tries``.
    """
    why = why_text(one)
    if now is not None and (count := count_text(one, now=now)):
        return f"{why}, {count}"
    return f"{why} after {one.count} tries" if one.count > 1 else why


def why_text(one: EcuTry) -> str:
    """Return what was wrong."""
    if one.code == Reason.UNREACHABLE:
        return "no answer"
    return one.detail or one.code.replace("_", " ")


def count_text(one: EcuTry, *, now: datetime) -> str:
    """Return which try it was and when the next one is due; empty where none follows or nobody counts."""
    if not one.count_max or one.again_at is None:
        return ""
    left_s = seconds_left(one, now=now)
    return f"try {one.count} of {one.count_max}, next {f'in {left_s} s' if left_s else 'now'}"


def seconds_left(one: EcuTry, *, now: datetime) -> int:
    """Return the whole seconds until the next try; 0 where it is due, or none follows."""
    return 0 if one.again_at is None else max(0, math.ceil((one.again_at - now).total_seconds()))


def all_text(serials: Mapping[str, str], failing: Failing, *, gone: Collection[str] = ()) -> str:
    """Return why these ECUs could not be brought where they belong.

    Args:
        serials: their names by serial.
        failing: what was tried last of each.
        gone: serials of those that are not in the vehicle any more.
    """

    def told(serial: str, name: str) -> str:
        if serial in gone:
            return f"{name}: {serial} {GONE}"
        return f"{name}: {try_text(failing[serial])}" if serial in failing else name

    return "; ".join(told(serial, name) for serial, name in serials.items())
