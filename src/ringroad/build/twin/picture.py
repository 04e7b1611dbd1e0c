"""Where is each vehicle, and when, if nothing goes wrong? The flow kernel's recursion in plain Python, for a picture.

For the server, which has no compiler: mean times, no breakdowns to come, no rework, operators and carriers always
there. What stands now stands for as long as is expected. Tests hold it against `kernels/flow.py`.

Pure. Nothing follows from a picture: the twin's answers come from the kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.build.twin.arrays import line_arrays

VEHICLES_MAX: Final = 200  # of a picture; nobody sees more


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One vehicle at one station, in seconds that the line works from now on; times before now are estimates.

    Attributes:
        order_id: whose.
        station: where.
        arrives: at the station or the room before it.
        starts: work on it begins.
        done: work on it ends.
        leaves: there is room at the next station.
    """

    order_id: str
    station: str
    arrives: float
    starts: float
    done: float
    leaves: float


def picture(
    line: Line, placed: Sequence[Order], *, on_line: int, standing: Mapping[str, float] | None = None
) -> list[Visit]:
    """Return every visit of the first vehicles, vehicle by vehicle.

    Args:
        line: stations, ratios, takt.
        placed: orders as they enter; the first `on_line` entered before now, one takt apart.
        on_line: vehicles on the line.
        standing: stations that stand, and for how many seconds of work more.

    Raises:
        InvalidInput: a line without stations.
    """
    shown = list(placed[:VEHICLES_MAX])
    arrays = line_arrays(line, shown)
    names = [station.name for station in line.stations]
    places, transfer = arrays.plan[:, 0].tolist(), arrays.times[:, 0].tolist()
    work, wants = arrays.mean.tolist(), arrays.wants.tolist()
    until = [(standing or {}).get(name, 0.0) for name in names]
    busy: list[list[float]] = [[] for _ in arrays.crews]
    left: list[list[float]] = []
    visits: list[Visit] = []
    for position, order in enumerate(shown):
        arrives = (position - on_line) * arrays.takt_s
        if position >= places[0]:
            arrives = max(arrives, left[position - places[0]][0])
        mine: list[float] = []
        for station, name in enumerate(names):
            came = arrives
            start = arrives + transfer[station]
            if position:
                start = max(start, left[position - 1][station])
            kinds = [
                kind
                for kind in range(arrays.crew_from[station], arrays.crew_from[station + 1])
                if wants[position][kind]
            ]
            for kind in kinds:
                if len(busy[kind]) >= arrays.crews[kind]:
                    start = max(start, busy[kind][-int(arrays.crews[kind])])
            for kind in kinds:
                busy[kind].append(start + float(arrays.crew_hold[kind]))
            done = start + work[position][station]
            if done > 0 and until[station] > 0:  # what is under way waits, what begins later begins behind it
                done = (
                    done + until[station]
                    if start <= 0
                    else max(start, until[station]) + work[position][station]
                )
                start = start if start <= 0 else max(start, until[station])
            leaves = done
            if station + 1 < len(names) and position >= places[station + 1]:
                leaves = max(leaves, left[position - places[station + 1]][station + 1])
            mine.append(leaves)
            visits.append(
                Visit(order_id=order.id, station=name, arrives=came, starts=start, done=done, leaves=leaves)
            )
            arrives = leaves
        left.append(mine)
    return visits
