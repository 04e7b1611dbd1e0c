"""When does each vehicle leave a flow line with rework, and with carriers of its places' own? Machine code, no events.

As `flow.py`, vehicle by vehicle, but one that a gate refuses leaves its station for repair and comes back to an
earlier place, before those who wait for it. From there on it goes through the line as the next of its stations.
So each vehicle is followed to the end of the line, or to its repair; where it would enter a place to which others
come back, those that were repaired before it could enter are followed first.

That is so where no vehicle that is still to be followed can come back earlier than one that was: two ways back do
not share a station, and a way back ends at a place that is entered as one arrives: without a way to it, or a carrier.

`arrays.py` says which lines are such. For those with shared operators see `people.py`; all others need `events.py`,
whose times are the same to the last digit.
"""

from __future__ import annotations

import numpy as np

from ringroad.build.kernels.compiled import compiled, part
from ringroad.build.kernels.events import CARRIERS, PLACES, RETURN, REWORK, REWORK_TO, TRANSFER
from ringroad.build.kernels.flow import Floats, Ints, works, wrapped


@part
def _work_until(
    vehicle: int, station: int, arrives: float, work: Floats, down_from: Floats, down_to: Floats, breakdown: Ints,
    crew_from: Ints, crews: Ints, crew_hold: Floats, wants: Ints, crew_busy: Floats, taken: Ints, free: Floats,
) -> float:  # fmt: skip
    """Return when the work on a vehicle ends that arrives at its station."""
    start = max(arrives, free[station])
    return works(
        vehicle, station, start, work, down_from, down_to, breakdown, crew_from, crews, crew_hold, wants, crew_busy, taken,
    )  # fmt: skip


@part
def _leave(plan: Ints, rooms: Floats, slot: Ints, free: Floats, station: int, at: float) -> None:
    """Note that a vehicle left a station, so that another one may work there, and one more come to its place."""
    rooms[station, slot[station]] = at
    slot[station] = wrapped(slot[station] + 1, plan[station, PLACES])
    free[station] = at


@part
def _carry(
    plan: Ints, times: Floats, pools: Ints, carried: Floats, turn: Ints, station: int, at: float
) -> float:
    """Return when a vehicle that has room at a place is fetched for it, by the carrier that is free first."""
    if plan[station, CARRIERS] < 0:
        return at
    fetched = max(at, carried[station, turn[station]])
    carried[station, turn[station]] = fetched + times[station, TRANSFER] + times[station, RETURN]
    turn[station] = wrapped(turn[station] + 1, pools[plan[station, CARRIERS]])
    return fetched


@part
def _follow(
    vehicle: int, station: int, ready: float, work: Floats, plan: Ints, times: Floats, pools: Ints, bad: Ints,
    down_from: Floats, down_to: Floats, breakdown: Ints, crew_from: Ints, crews: Ints, crew_hold: Floats,
    wants: Ints, crew_busy: Floats, taken: Ints, rooms: Floats, slot: Ints, free: Floats, carried: Floats,
    turn: Ints, back: Ints, repaired: Floats, queue: Ints, paused: Ints, since: Floats, finish: Floats,
) -> None:  # fmt: skip
    """Follow a vehicle that would enter a station at `ready`, and all that come back before it.

    Below 0 the vehicle is the first of those who come back there.
    `queue` has, by station, the first and the one behind the last of those who come back to it; `paused` and `since`
    are scratch, those who let others go first.
    """
    depth = 0
    comes_back = vehicle < 0
    while True:
        first = queue[station, 0]
        room = rooms[station, slot[station]]
        if not comes_back and first < queue[station, 1] and repaired[station, first] <= max(room, ready):
            paused[depth, 0], paused[depth, 1], since[depth] = vehicle, station, ready
            depth += 1
            comes_back = True
        if comes_back:
            vehicle, ready = back[station, first], repaired[station, first]
            queue[station, 0] += 1
        arrives = max(ready, room)
        if station > 0 and not comes_back:
            arrives = _carry(plan, times, pools, carried, turn, station, arrives)
            _leave(plan, rooms, slot, free, station - 1, arrives)
        if not comes_back:
            arrives += times[station, TRANSFER]
        comes_back = False
        ready = _work_until(
            vehicle, station, arrives, work, down_from, down_to, breakdown, crew_from, crews, crew_hold, wants,
            crew_busy, taken, free,
        )  # fmt: skip
        refused = bad[vehicle, station] > 0
        if not refused and station + 1 < plan.shape[0]:
            station += 1
            continue
        _leave(plan, rooms, slot, free, station, ready)
        if refused:
            bad[vehicle, station] -= 1
            to = plan[station, REWORK_TO]
            back[to, queue[to, 1]], repaired[to, queue[to, 1]] = vehicle, ready + times[station, REWORK]
            queue[to, 1] += 1
        else:
            finish[vehicle] = ready
        if depth == 0:
            return
        depth -= 1
        vehicle, station, ready = paused[depth, 0], paused[depth, 1], since[depth]


@compiled
def run_rework(
    order: Ints, work: Floats, release: Floats, plan: Ints, times: Floats, pools: Ints, bad: Ints,
    down_from: Floats, down_to: Floats, crew_from: Ints, crews: Ints, crew_hold: Floats, wants: Ints,
    crew_busy: Floats, finish: Floats,
) -> None:  # fmt: skip
    """Fill `finish`, as `events.run_line` does."""
    stations = plan.shape[0]
    rooms = np.full((stations, plan[:, PLACES].max()), -np.inf)
    free, slot = np.full(stations, -np.inf), np.zeros(stations, dtype=np.int64)
    carried = np.full((stations, 1 + (pools.max() if pools.shape[0] > 0 else 0)), -np.inf)
    turn, breakdown = np.zeros(stations, dtype=np.int64), np.zeros(stations, dtype=np.int64)
    taken = np.zeros(crews.shape[0], dtype=np.int64)
    returns = np.zeros(stations, dtype=np.int64)
    for station in range(stations):
        returns[plan[station, REWORK_TO]] += bad[:, station].sum()
    back = np.empty((stations, returns.max()), dtype=np.int64)
    repaired = np.empty((stations, returns.max()))
    queue = np.zeros((stations, 2), dtype=np.int64)
    paused, since = np.empty((stations + 1, 2), dtype=np.int64), np.empty(stations + 1)
    crew_busy[:, :] = -np.inf
    last = order.shape[0]
    for position in range(last + stations):
        station = max(0, position - last)
        while position < last or queue[station, 0] < queue[station, 1]:
            vehicle, ready = (order[position], release[position]) if position < last else (-1, -1.0)
            _follow(
                vehicle, station, ready, work, plan, times, pools, bad, down_from, down_to, breakdown, crew_from,
                crews, crew_hold, wants, crew_busy, taken, rooms, slot, free, carried, turn, back, repaired, queue,
                paused, since, finish,
            )  # fmt: skip
            if position < last:
                break
