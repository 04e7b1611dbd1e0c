"""What stands on the line, and what that means for its schedule. Recorded stops in, seconds and held options out.

A breakdown or a quality stop makes a station stand, and with it the paced line; one that names options or variants
lets everything else pass, and holds the orders that have them.

Pure. Invariant: a stop stands until somebody ends it. One that lasts longer than expected is taken to last
`OVERDUE_S` more, each time it is asked for: nobody knows better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from ringroad.build.model import Line, Station
from ringroad.build.working_time import ALWAYS, working_time
from ringroad.kernel.errors import InvalidInput

OVERDUE_S: Final = 300  # seconds
EXPECTED_S_DEFAULT: Final = 1_800  # seconds, where the programme does not say how long a repair takes
EXPECTED_S_MAX: Final = 7 * 86_400  # a week; a line that stands longer is planned anew

StopKind = Literal["breakdown", "quality"]
WORDS: Final[dict[StopKind, str]] = {"breakdown": "breakdown", "quality": "quality stop"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineStop:
    """A station that stands, or stood.

    Attributes:
        id: ours.
        programme_id: whose line.
        station: of the line.
        kind: ``breakdown`` or ``quality``.
        reason: for people.
        options: options and variants that cannot pass; none: the station stands for all.
        event_id: the sender's own, to know a repeated one by; "" for a person's.
        began_at: when it began.
        expected_s: how long it is expected to stand, seconds.
        stopped_by: who said so.
        ended_at: when it ended; None while it stands.
        ended_by: who said that.
    """

    id: str
    programme_id: str
    station: str
    kind: StopKind
    reason: str
    options: tuple[str, ...]
    event_id: str
    began_at: datetime
    expected_s: int
    stopped_by: str
    ended_at: datetime | None = None
    ended_by: str | None = None

    @property
    def told(self) -> str:
        """Why, in one line."""
        return f"{WORDS[self.kind]}: {self.reason}"

    def left_s(self, now: datetime) -> int:
        """Return for how many seconds more it is expected to stand."""
        left = self.expected_s - (now - self.began_at).total_seconds()
        return round(left) if left > 0 else OVERDUE_S


def expected_s(line: Line, station: Station, began_at: datetime) -> int:
    """Return how many seconds a station is expected to stand if nobody says, on the wall.

    Breakdowns are learned in the seconds of work that they cost, and so last until that much is worked.
    """
    if not station.repair_s:
        return EXPECTED_S_DEFAULT
    try:
        time = working_time(line.calendar, start=began_at)
    except InvalidInput:  # a calendar that cannot be read here: that it stands is recorded all the same
        time = ALWAYS
    return min(EXPECTED_S_MAX, math.ceil(time.done(station.repair_s)))


def on_line(stops: Iterable[LineStop], line: Line) -> list[LineStop]:
    """Return the stops that a plan of a line goes by.

    Left out is what stood at a station that the line does not have any more: nothing waits for it. One that names
    options or variants holds these until somebody ends it, wherever it was.
    """
    names = {station.name for station in line.stations}
    return [stop for stop in stops if stop.options or stop.station in names]


def standing_s(stops: Iterable[LineStop], now: datetime) -> dict[str, float]:
    """Return for how many seconds more each station stands, for all that come to it."""
    found: dict[str, float] = {}
    for stop in stops:
        if not stop.options:
            found[stop.station] = max(found.get(stop.station, 0.0), stop.left_s(now))
    return found


def delay_s(stops: Iterable[LineStop], now: datetime) -> float:
    """Return by how many seconds a paced line is late on account of what stands."""
    return max(standing_s(stops, now).values(), default=0.0)


def stopped_stations(stops: Iterable[LineStop]) -> dict[str, str]:
    """Return the stations that stand, with the reason of the newest stop."""
    return {stop.station: stop.told for stop in stops if not stop.options}


def held_options(stops: Iterable[LineStop]) -> dict[str, str]:
    """Return options and variants that cannot pass a station, with the reason."""
    return {option: f"{stop.station}, {stop.told}" for stop in stops for option in stop.options}
