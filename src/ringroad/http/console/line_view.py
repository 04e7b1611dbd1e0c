"""The line in motion and its Gantt chart, as the plant's page draws them. Pure: visits in, positions out.

Both are drawn in the time that the line works; where it goes by a calendar, a mark says when it rests, and times are
those of the clock on its wall.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ringroad.build.twin.picture import Visit
from ringroad.build.twin.planned import Rest
from ringroad.build.working_time import WorkingTime
from ringroad.kernel.hours import find_zone

WIDTH: Final = 1000  # of both drawings, in their own units
LABEL: Final = 130  # of them for the names of stations
ROW: Final = 26
EDGE: Final = 45  # of them behind the last tick, for half of its text
VEHICLES_SHOWN: Final = 40
MINUTE_S: Final = 60
TONES: Final = 5  # colours of variants; a sixth has the first one's again
GLIDE: Final = 40  # a vehicle takes at most this part of the time to the next station
_OFF: Final = 40  # beyond the edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """The clock on the wall of a line that goes by a calendar."""

    now: datetime
    time: WorkingTime
    rests: Sequence[Rest]
    time_zone: str

    def clock(self, at: datetime) -> str:
        """Return a time by that clock, with its day where it is not today."""
        zone = find_zone(self.time_zone)
        local = at.astimezone(zone)
        today = local.date() == self.now.astimezone(zone).date()
        return f"{local:%H:%M}" if today else f"{local:%d %b %H:%M}"

    def begun(self, worked_s: float) -> str:
        """Return when the work behind so much begins."""
        return self.clock(self.now + timedelta(seconds=self.time.begun(worked_s)))

    def done(self, worked_s: float) -> str:
        """Return when so much is worked."""
        return self.clock(self.now + timedelta(seconds=self.time.done(worked_s)))


def line_view(
    visits: Sequence[Visit], kinds: Mapping[str, str], *, wall: Wall | None = None
) -> dict[str, Any]:
    """Return what the templates draw.

    Args:
        visits: of the first vehicles, from `build/twin/picture.py`.
        kinds: variant by order.
        wall: the clock of a line that goes by a calendar; None: minutes from now.

    Returns:
        Bars, vehicles in motion and axis; nothing where nothing is on the line or about to be.
    """
    here = list(dict.fromkeys(each.order_id for each in visits if each.leaves > 0))
    ids = here[:VEHICLES_SHOWN]
    shown = [each for each in visits if each.order_id in ids and each.leaves > 0]
    if not shown:
        return {}
    stations = list(dict.fromkeys(each.station for each in visits))
    until_s = max(each.leaves for each in shown)
    tones = {kind: 1 + index % TONES for index, kind in enumerate(dict.fromkeys(kinds.values()))}
    scale = (WIDTH - LABEL) / until_s
    bars = [
        {
            "x": round(LABEL + max(0.0, each.starts) * scale, 1),
            "y": stations.index(each.station) * ROW + 3,
            "width": round(max(1.0, (each.done - max(0.0, each.starts)) * scale), 1) if each.done > 0 else 0,
            "held": round(max(0.0, (each.leaves - max(0.0, each.done)) * scale), 1),
            "held_x": round(LABEL + max(0.0, each.done) * scale, 1),
            "tone": tones[kinds[each.order_id]],
            "title": _title(each, kinds, wall),
        }
        for each in shown
    ]
    return {
        "bars": bars,
        "stations": [
            {"name": name, "y": index * ROW, "x": round((index + 0.5) * WIDTH / len(stations), 1)}
            for index, name in enumerate(stations)
        ],
        "box": round(min(90.0, 0.6 * WIDTH / len(stations)), 1),
        "vehicles": [
            {
                "id": each,
                "tone": tones[kinds[each]],
                "title": f"…{each[-6:]} {kinds[each]}",
                **_motion([one for one in shown if one.order_id == each], stations, until_s),
            }
            for each in ids
        ],
        "ticks": _ticks(until_s, scale, wall),
        "rests": _rests(until_s, scale, wall) if wall else [],
        "height": len(stations) * ROW,
        "minutes": round(until_s / MINUTE_S, 1),
        "left_out": len(kinds) - len({each.order_id for each in visits} - set(here)) - len(ids),
        "variants": [{"name": kind, "tone": tone} for kind, tone in tones.items()],
    }


def _title(visit: Visit, kinds: Mapping[str, str], wall: Wall | None) -> str:
    waits = visit.leaves - visit.done
    blocked = f", blocked {waits / MINUTE_S:.1f} min" if waits >= 1 else ""
    when = f"{visit.starts / MINUTE_S:.1f} to {visit.done / MINUTE_S:.1f} min"
    if wall is not None:
        when = f"{wall.begun(visit.starts)} to {wall.done(visit.done)}"
    return f"…{visit.order_id[-6:]} {kinds[visit.order_id]} at {visit.station}: {when}{blocked}"


def _motion(mine: Sequence[Visit], stations: Sequence[str], until_s: float) -> dict[str, str]:
    """Return where a vehicle is at which share of the time: before a station while it waits, in it while it is worked on."""
    step = WIDTH / len(stations)
    points: list[tuple[float, float]] = []
    for visit in mine:
        centre = (stations.index(visit.station) + 0.5) * step
        waits = centre - step / 2
        if visit.starts > 0:
            points += [
                (max(0.0, visit.arrives), waits),
                (visit.starts, centre if visit.starts == visit.arrives else waits),
            ]
        since = max(0.0, visit.starts)
        glide = min((visit.leaves - since) / 2, until_s / GLIDE)
        points += [(since, centre), (visit.leaves - glide, centre)]
    if points[0][0] > 0:
        points = [(0.0, -_OFF), (points[0][0], -_OFF), *points]
    points += [(mine[-1].leaves, WIDTH + _OFF), (until_s, WIDTH + _OFF)]
    return {
        "x": f"{points[0][1]:.0f}",
        "values": ";".join(f"{x:.0f}" for _, x in points),
        "times": ";".join(f"{min(1.0, at / until_s):.4f}" for at, _ in points),
    }


def _rests(until_s: float, scale: float, wall: Wall) -> list[dict[str, Any]]:
    return [
        {
            "x": round(LABEL + each.worked_s * scale, 1),
            "title": f"rests from {wall.clock(each.since)} to {wall.clock(each.until)}",
        }
        for each in wall.rests
        if each.worked_s < until_s
    ]


def _ticks(until_s: float, scale: float, wall: Wall | None) -> list[dict[str, Any]]:
    step = next(
        each for each in (1, 2, 5, 10, 20, 60, 120, 300, 1440, 10**9) if until_s / MINUTE_S / each <= 10
    )
    return [
        {
            "x": round(LABEL + minute * MINUTE_S * scale, 1),
            "text": wall.begun(minute * MINUTE_S) if wall else f"{minute} min",
        }
        for minute in range(0, int(until_s // MINUTE_S) + 1, step)
        if LABEL + minute * MINUTE_S * scale <= WIDTH - EDGE
    ]
