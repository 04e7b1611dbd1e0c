"""A line's time without its rests: seconds on the wall from a moment on, and the seconds that are worked in them.

A plan counts what is worked; only where it meets the world, a due time, a part's arrival, a page, is it put on the
wall. What is under way when a rest begins goes on when it ends: the paced line stops as a whole.

Pure. Invariants: `worked` never falls, and is what passes where nothing rests; what is done after some work is done by
a time on the wall if and only if no more was needed than is worked until then.
Behind the horizon that a calendar is read for, work goes on at the mean share of it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringroad.build.calendar import HORIZON_DAYS, Calendar, Spans, rests_of
from ringroad.kernel.hours import DAY_MIN, openings_of, week_of

Floats = NDArray[np.float64]
DAY_S: Final = 86_400
CALENDARS_KEPT: Final = 64  # read calendars, each of a day: of a hub with many plants


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingTime:
    """Wall seconds and worked seconds, both from a moment on; before it they are the same.

    Attributes:
        since: wall seconds at which each rest begins; rising.
        until: at which it ends.
        at: seconds that were worked before it.
        rested: seconds of it and of those before it.
        horizon_s: wall seconds that the rests are known for; behind it `share` of the time is worked.
        share: from above 0 to 1.
    """

    since: tuple[float, ...] = ()
    until: tuple[float, ...] = ()
    at: tuple[float, ...] = ()
    rested: tuple[float, ...] = ()
    horizon_s: float = float("inf")
    share: float = 1.0

    @property
    def open_s(self) -> float:
        """Seconds that are worked until the horizon."""
        return self.horizon_s - (self.rested[-1] if self.rested else 0.0)

    def worked(self, wall_s: float) -> float:
        """Return what is worked until a time on the wall."""
        if wall_s > self.horizon_s:
            return self.open_s + (wall_s - self.horizon_s) * self.share
        place = bisect_right(self.since, wall_s) - 1
        return wall_s if place < 0 else self.at[place] + max(0.0, wall_s - self.until[place])

    def done(self, worked_s: float) -> float:
        """Return the first time on the wall at which so much is worked: a rest that begins then is not over."""
        return self._wall(worked_s, bisect_left(self.at, worked_s) - 1)

    def begun(self, worked_s: float) -> float:
        """Return when the work behind so much begins: a rest that begins then is over."""
        return self._wall(worked_s, bisect_right(self.at, worked_s) - 1)

    def rests(self, wall_s: float) -> bool:
        """Whether a rest began before a time on the wall that does not end before it."""
        place = bisect_left(self.since, wall_s) - 1
        return place >= 0 and wall_s <= self.until[place]

    def worked_each(self, wall_s: Floats) -> Floats:
        """Return `worked` of each."""
        if not self.since:
            return wall_s
        place = np.searchsorted(self.since, wall_s, side="right")
        at, until = np.array((0.0, *self.at)), np.array((0.0, *self.until))
        found: Floats = np.where(place > 0, at[place] + np.maximum(0.0, wall_s - until[place]), wall_s)
        beyond = self.open_s + (wall_s - self.horizon_s) * self.share
        return np.where(wall_s > self.horizon_s, beyond, found)

    def done_each(self, worked_s: Floats) -> Floats:
        """Return `done` of each."""
        if not self.since:
            return worked_s
        found: Floats = (
            worked_s + np.array((0.0, *self.rested))[np.searchsorted(self.at, worked_s, side="left")]
        )
        if (
            worked_s.max(initial=0.0) <= self.open_s
        ):  # as a rule: of millions of runs, what is not done is saved
            return found
        beyond = self.horizon_s + (worked_s - self.open_s) / self.share
        return np.where(worked_s > self.open_s, beyond, found)

    def _wall(self, worked_s: float, place: int) -> float:
        if worked_s > self.open_s:
            return self.horizon_s + (worked_s - self.open_s) / self.share
        return worked_s if place < 0 else worked_s + self.rested[place]


ALWAYS: Final = WorkingTime()


def working_time(calendar: Calendar | None, *, start: datetime) -> WorkingTime:
    """Return the working time of who goes by a calendar, from a moment on.

    One without any open time until the horizon works from then on: whoever takes a calendar refuses that,
    and a running plan that ends up there is late rather than gone.

    Args:
        calendar: None works always.
        start: the moment.

    Raises:
        InvalidInput: the calendar cannot be read here: this host does not know its time zone.
    """
    if calendar is None:
        return ALWAYS
    midnight = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begins = (start - midnight).total_seconds()
    since, until, at, rested = [], [], [], []
    total = 0.0
    for low, high in _rests(calendar, midnight):
        low_s, high_s = max(0.0, low - begins), high - begins
        if high_s <= 0:
            continue
        at.append(low_s - total)
        total += high_s - low_s
        since.append(low_s)
        until.append(high_s)
        rested.append(total)
    if not since:
        return ALWAYS
    horizon_s = HORIZON_DAYS * DAY_S - begins
    return WorkingTime(
        since=tuple(since), until=tuple(until), at=tuple(at), rested=tuple(rested), horizon_s=horizon_s,
        share=(horizon_s - total) / horizon_s if total < horizon_s else 1.0,
    )  # fmt: skip


def rests_until(calendar: Calendar | None, *, now: datetime) -> datetime | None:
    """Return when the rest ends that is now; None: none is."""
    time = working_time(calendar, start=now)
    return now + timedelta(seconds=time.until[0]) if time.since[:1] == (0.0,) else None


def stands_at_work(stops: Mapping[str, float] | None, time: WorkingTime) -> dict[str, float]:
    """Return for how many seconds of work each station stands: what is mended in a rest costs the line nothing."""
    return {name: time.worked(left_s) for name, left_s in (stops or {}).items()}


def worked_day_s(calendar: Calendar | None) -> float:
    """Return the seconds that are worked on a day of work, in a usual week; a night's are of the day it begins on."""
    if calendar is None:
        return DAY_S
    days = {
        (start // DAY_MIN + more) % 7
        for start, end in openings_of(week_of(calendar.hours, ()))
        for more in range(-(-(end - start) // DAY_MIN))
    }
    return sum(week_of(calendar.hours, calendar.breaks)) * 60 / max(1, len(days))


def worked_gaps(calendar: Calendar | None, moments: Sequence[datetime]) -> list[float]:
    """Return the seconds that were worked between each two of rising moments; what happened within a rest has none."""
    return worked_spans(calendar, list(pairwise(moments)))


def worked_spans(calendar: Calendar | None, spans: Sequence[tuple[datetime, datetime]]) -> list[float]:
    """Return the seconds that were worked in each span; read quickest if they begin one after the other."""
    if calendar is None:
        return [(later - earlier).total_seconds() for earlier, later in spans]
    found: list[float] = []
    start, time = None, ALWAYS
    for earlier, later in spans:
        if start is None or earlier < start or later - start > timedelta(days=HORIZON_DAYS // 2):
            start, time = earlier, working_time(calendar, start=earlier)
        before, after = ((each - start).total_seconds() for each in (earlier, later))
        found.append(time.worked(after) - time.worked(before))
    return found


@lru_cache(maxsize=CALENDARS_KEPT)
def _rests(calendar: Calendar, midnight: datetime) -> Spans:
    """Return the rests of a calendar; read once a day, since a line is replanned many times."""
    return rests_of(calendar, start=midnight)
