"""When does each vehicle leave each station of a flow line? One pass of maxima and sums: machine code.

Vehicles keep their order. Before each station is room for some that wait. A vehicle whose work is done stays in
its station until there is room before the next one (blocking after service). Work stands still while the station is
down, and goes on: as vehicles begin in order, each station goes through its breakdowns once.

With `left[n, s]` for when the n-th vehicle leaves station s, `places[s]` for how many a station and the room
before it hold, `work` for its time there, and `down` for what of the time from its start the station is down:

    start     = max(arrives, left[n - 1, s], a crew is free)
    left[n,s] = max(start + work + down, left[n - places[s + 1], s + 1])

Source: Baccelli, Cohen, Olsder, Quadrat (1992), max-plus linear systems; the recursion for blocking after
service is that of Buzacott and Shanthikumar (1993), tandem queues with finite buffers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ringroad.build.kernels.compiled import compiled, part

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@part
def wrapped(at: int, size: int) -> int:
    """Return a place in a ring for one that is less than a round beyond it; a division would cost more."""
    return at - size if at >= size else at


@part
def works_until(
    down_from: Floats, down_to: Floats, station: int, breakdown: int, start: float, work: float
) -> tuple[float, int]:
    """Return when work that begins at `start` ends, with the breakdowns in between, and which breakdown is next.

    Args:
        down_from: [station, breakdown] when it begins, in order; infinite for none.
        down_to: [station, breakdown] when it ends.
        station: where.
        breakdown: the next one, as this said of the work before.
        start: seconds.
        work: seconds.
    """
    while breakdown < down_from.shape[1] and down_to[station, breakdown] <= start:
        breakdown += 1
    if breakdown < down_from.shape[1] and down_from[station, breakdown] <= start:
        start = down_to[station, breakdown]
        breakdown += 1
    while breakdown < down_from.shape[1] and down_from[station, breakdown] < start + work:
        work -= down_from[station, breakdown] - start
        start = down_to[station, breakdown]
        breakdown += 1
    return start + work, breakdown


@part
def works(
    vehicle: int, station: int, start: float, work: Floats, down_from: Floats, down_to: Floats, breakdown: Ints,
    crew_from: Ints, crews: Ints, crew_hold: Floats, wants: Ints, crew_busy: Floats, taken: Ints,
) -> float:  # fmt: skip
    """Return when the work on a vehicle ends that could begin at `start`, with a crew and breakdowns."""
    for kind in range(crew_from[station], crew_from[station + 1]):
        if wants[vehicle, kind] != 0:
            start = max(start, crew_busy[kind, taken[kind]])
    for kind in range(crew_from[station], crew_from[station + 1]):
        if wants[vehicle, kind] != 0:
            crew_busy[kind, taken[kind]] = start + crew_hold[kind]
            taken[kind] = wrapped(taken[kind] + 1, crews[kind])
    until, breakdown[station] = works_until(
        down_from, down_to, station, breakdown[station], start, work[vehicle, station]
    )
    return until


@compiled
def flow(
    order: Ints,
    work: Floats,
    release: Floats,
    places: Ints,
    transfer: Floats,
    down_from: Floats,
    down_to: Floats,
    crew_from: Ints,
    crews: Ints,
    crew_hold: Floats,
    wants: Ints,
    crew_busy: Floats,
    left: Floats,
) -> None:
    """Fill `left`.

    Args:
        order: [position] vehicle.
        work: [vehicle, station] seconds.
        release: [position] when it may enter, in order.
        places: [station] vehicles in it and in the room before it.
        transfer: [station] seconds from the station before.
        down_from: [station, breakdown] see `works_until`.
        down_to: same.
        crew_from: [station + 1] where its crews start in `crews`.
        crews: [kind of crew] how many there are.
        crew_hold: [kind of crew] seconds that one stays with a vehicle, from its start.
        wants: [vehicle, kind of crew] 1 if the vehicle needs one.
        crew_busy: scratch, [kind of crew, crews at most + 1].
        left: [position, station] is filled.
    """
    stations = places.shape[0]
    crew_busy[:, :] = -np.inf
    taken = np.zeros(crews.shape[0], dtype=np.int64)
    breakdown = np.zeros(stations, dtype=np.int64)
    breaks = down_from.shape[1] > 0
    for position in range(order.shape[0]):
        vehicle = order[position]
        arrives = release[position]
        if position >= places[0]:
            arrives = max(arrives, left[position - places[0], 0])
        for station in range(stations):
            start = arrives + transfer[station]
            if position > 0:
                start = max(start, left[position - 1, station])
            for kind in range(crew_from[station], crew_from[station + 1]):
                if wants[vehicle, kind] != 0:
                    start = max(start, crew_busy[kind, taken[kind]])
            for kind in range(crew_from[station], crew_from[station + 1]):
                if wants[vehicle, kind] != 0:
                    crew_busy[kind, taken[kind]] = start + crew_hold[kind]
                    taken[kind] = wrapped(taken[kind] + 1, crews[kind])
            leaves = start + work[vehicle, station]
            if breaks:
                leaves, breakdown[station] = works_until(
                    down_from, down_to, station, breakdown[station], start, work[vehicle, station]
                )
            if station + 1 < stations and position >= places[station + 1]:
                leaves = max(leaves, left[position - places[station + 1], station + 1])
            left[position, station] = leaves
            arrives = leaves
