"""When something rests: the hours of a plant's calendar, as from-to times in seconds. Pure.

Days of daylight saving time are as long as they are, since `kernel/hours.py` goes by the clock on the wall.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import Window, closed_spans, find_zone

HORIZON_DAYS: Final = 60  # that a calendar is read for; who plans further plans again before
Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Hours of the week in which something works, and days on which it does not.

    Attributes:
        name: others refer to it.
        time_zone: IANA name.
        hours: ``mon-fri 06:00-14:00``; a span past midnight belongs to the day on which it begins.
        breaks: the same form, taken out of the hours.
        closed: whole days, ``2026-12-25``.
    """

    name: str
    time_zone: str = "UTC"
    hours: tuple[str, ...]
    breaks: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "name": self.name, "time_zone": self.time_zone, "hours": list(self.hours), "breaks": list(self.breaks),
            "closed": list(self.closed),
        }  # fmt: skip

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Calendar:
        """Return what `to_document` wrote."""
        return cls(
            name=document["name"], time_zone=document["time_zone"], hours=tuple(document["hours"]),
            breaks=tuple(document["breaks"]), closed=tuple(document["closed"]),
        )  # fmt: skip


def closed_times(calendar: Calendar, *, start: datetime) -> Spans:
    """Return when a calendar is closed, in seconds from the start, as far as the horizon.

    Raises:
        InvalidInput: its hours cannot be read, or leave no open time at all.
    """
    shut = rests_of(calendar, start=start)
    if shut == ((0, HORIZON_DAYS * 86_400),):
        raise InvalidInput(
            f"calendar {calendar.name!r} has no open time in the next {HORIZON_DAYS} days",
            hint="look at its hours, breaks and closed days",
        )
    return shut


def rests_of(calendar: Calendar, *, start: datetime) -> Spans:
    """Return the same, of one without any open time, too. Raises: InvalidInput, its hours cannot be read."""
    return _merged([*_nights(calendar, start), *_days(calendar, start)], HORIZON_DAYS * 86_400)


def longest_opening_s(shut: Spans) -> int:
    """Return the longest time without a rest; what is open at the horizon is open for ever."""
    ends = [0, *(to for _, to in shut)]
    starts = [*(since for since, _ in shut), HORIZON_DAYS * 86_400]
    return max(since - to for to, since in zip(ends, starts, strict=True))


def _nights(calendar: Calendar, start: datetime) -> Iterator[tuple[int, int]]:
    """Yield when its hours are over, or it has a break."""
    try:
        window = Window(hours=calendar.hours, quiet=calendar.breaks, time_zone=calendar.time_zone)
    except InvalidInput as error:
        raise InvalidInput(f"calendar {calendar.name!r}: {error.message}", hint=error.hint) from error
    end = start + timedelta(days=HORIZON_DAYS)
    for since, to in closed_spans(window, window.zone(None), start=start, end=end):
        yield _seconds(since, start), _seconds(to, start)


def _days(calendar: Calendar, start: datetime) -> Iterator[tuple[int, int]]:
    """Yield the whole days on which it is closed."""
    zone = find_zone(calendar.time_zone) or UTC
    near = timedelta(days=HORIZON_DAYS + 2)  # and no day that is not read goes beyond the years there are
    for text in calendar.closed:
        day = date.fromisoformat(text)
        if abs(day - start.date()) > near:
            continue
        since, to = (
            datetime.combine(each, time(), tzinfo=zone).astimezone(UTC)
            for each in (day, day + timedelta(days=1))
        )
        if start < to:
            yield _seconds(since, start), _seconds(to, start)


def _seconds(at: datetime, start: datetime) -> int:
    return math.floor((at - start).total_seconds())


def _merged(spans: Iterable[tuple[int, int]], end_s: int) -> Spans:
    found: list[tuple[int, int]] = []
    for since, to in sorted(spans):
        low, high = max(0, since), min(end_s, to)
        if high <= low:
            continue
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)
