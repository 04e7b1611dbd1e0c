"""When does each vehicle leave a flow line whose people work at several stations? Machine code, no events.

As `flow.py`: maxima and sums. What they cannot say is who of two stations has a person first, since requests are
served in order. So each station is followed as far as it goes without a person that is still to be given, and the
earliest of all requests is served: whatever is not known yet follows from one of them, and is later than it.

Two stations that ask for the same people at one moment do so because one vehicle left and others moved up behind
it, which the heap of `events.py` works off from there backwards; `_first` says the same. Where it finds no such
reason, `run_people` gives up, and the line needs `events.py`, whose times are the same to the last digit.

`arrays.py` says which lines are such: no rework and no carriers, and times with a spread, so that two vehicles are
done at one moment by chance alone.
"""

from __future__ import annotations

import numpy as np

from ringroad.build.kernels.compiled import compiled, part
from ringroad.build.kernels.events import OPERATORS, PLACES, TRANSFER
from ringroad.build.kernels.flow import Floats, Ints, works


@part
def _room(plan: Ints, left: Floats, gone: Ints, station: int, position: int) -> float:
    """Return since when there is room at a place for the vehicle of a position; infinite if it is not known."""
    before = position - plan[station, PLACES]
    if before < 0:
        return -np.inf
    return left[before, station] if before < gone[station] else np.inf


@part
def _comes(plan: Ints, times: Floats, release: Floats, left: Floats, gone: Ints, station: int) -> float:
    """Return when the next vehicle of a station is there; infinite if it is not known."""
    position = gone[station]
    if station == 0:
        return max(release[position], _room(plan, left, gone, 0, position)) + times[0, TRANSFER]
    if gone[station - 1] <= position:
        return np.inf
    return left[position, station - 1] + times[station, TRANSFER]


@part
def _go_on(
    lowest: int, station: int, order: Ints, work: Floats, release: Floats, plan: Ints, times: Floats,
    down_from: Floats, down_to: Floats, breakdown: Ints, crew_from: Ints, crews: Ints, crew_hold: Floats,
    wants: Ints, crew_busy: Floats, taken: Ints, left: Floats, gone: Ints, done: Floats, asks: Floats,
) -> None:  # fmt: skip
    """Follow the vehicles of the stations from `lowest` to `station`, and all that this lets go on, up to where each needs a person.

    `done` has, by station, when the work on its next vehicle ends, and `asks` when that needs a person; infinite
    where that is not known, or not so.
    """
    stations = plan.shape[0]
    while station >= lowest:
        position = gone[station]
        leaves = np.inf
        if position < order.shape[0]:
            if done[station] == np.inf and asks[station] == np.inf:
                start = _comes(plan, times, release, left, gone, station)
                if start < np.inf:
                    if position > 0:
                        start = max(start, left[position - 1, station])
                    if plan[station, OPERATORS] >= 0:
                        asks[station] = start
                    else:
                        done[station] = works(
                            order[position], station, start, work, down_from, down_to, breakdown, crew_from, crews,
                            crew_hold, wants, crew_busy, taken,
                        )  # fmt: skip
            leaves = done[station]
            if leaves < np.inf and station + 1 < stations:
                leaves = max(leaves, _room(plan, left, gone, station + 1, position))
        if leaves < np.inf:
            left[position, station] = leaves
            done[station] = np.inf
            gone[station] += 1
            lowest = min(lowest, max(0, station - 1))
            station = min(station + 1, stations - 1)
        else:
            station -= 1


@part
def _left_at(left: Floats, gone: Ints, station: int, at: float) -> bool:
    """Say whether a vehicle left a station at this moment."""
    position = gone[station] - 1
    while position > 0 and left[position, station] > at:
        position -= 1
    return position >= 0 and left[position, station] == at


@part
def _cause(
    plan: Ints, times: Floats, release: Floats, left: Floats, gone: Ints, station: int
) -> tuple[int, float, bool]:
    """Say which station a vehicle left, so that the next one of `station` could begin, when, and whether it came later.

    The station is -1 for one that entered the line where another one left the first place, -2 for any other reason.
    """
    position = gone[station]
    before = left[position - 1, station] if position > 0 else -np.inf
    on_way = times[station, TRANSFER]
    if station > 0:
        set_off = left[position, station - 1]
    else:
        set_off = _room(plan, left, gone, 0, position)
        if set_off <= release[position] and before <= release[position] + on_way:
            return -2, 0.0, False
    if before > set_off + on_way:
        return station, before, False
    if before == set_off + on_way and (on_way > 0 or plan[station, PLACES] > 1):
        return -2, 0.0, False
    return station - 1, set_off, on_way > 0


@part
def _first(
    plan: Ints, times: Floats, release: Floats, left: Floats, gone: Ints, station: int, further: int
) -> int:
    """Say which of two stations asks first, the second one further down the line, that ask at one moment; -1 if unknown.

    A vehicle left a station. The next one there asks, then the one that left, at its next station. Then a vehicle
    moves up from the station before, and so on. Those that are some time on their way ask in the same order.
    """
    low, since, comes = _cause(plan, times, release, left, gone, station)
    high, also_since, also_comes = _cause(plan, times, release, left, gone, further)
    if min(low, high) < -1 or since != also_since or comes != also_comes:
        return -1
    for between in range(max(0, low), high + 1):
        if not _left_at(left, gone, between, since):
            return -1
    return station if low == high else further


@part
def _serve_from(
    plan: Ints, times: Floats, release: Floats, left: Floats, gone: Ints, asks: Floats, least: float, row: Ints
) -> int:  # fmt: skip
    """Fill `row` with the stations to be served now, in order by pool; return how many, -1 if that cannot be known.

    What nobody knows yet asks after somebody who asks now was served and worked at, which takes `least` seconds.
    """
    known = np.inf
    for station in range(plan.shape[0]):
        known = min(known, asks[station])
    known += least
    count = 0
    for station in range(plan.shape[0]):
        if not asks[station] < known:
            continue
        at = count
        while at > 0:
            other = row[at - 1]
            ahead = plan[other, OPERATORS] - plan[station, OPERATORS]
            if ahead < 0 or (ahead == 0 and asks[other] < asks[station]):
                break
            if ahead == 0 and asks[other] == asks[station]:
                first = _first(plan, times, release, left, gone, other, station)
                if first < 0:
                    return -1
                if first == other:
                    break
            row[at] = other
            at -= 1
        row[at] = station
        count += 1
    return count


@compiled
def run_people(
    order: Ints, work: Floats, release: Floats, plan: Ints, times: Floats, pools: Ints, down_from: Floats,
    down_to: Floats, crew_from: Ints, crews: Ints, crew_hold: Floats, wants: Ints, crew_busy: Floats,
    left: Floats, finish: Floats,
) -> bool:  # fmt: skip
    """Fill `finish`, as `events.run_line` does; say whether it could. `left` is scratch, [position, station]."""
    stations = plan.shape[0]
    done, asks = np.full(stations, np.inf), np.full(stations, np.inf)
    gone, breakdown = np.zeros(stations, dtype=np.int64), np.zeros(stations, dtype=np.int64)
    taken, row = np.zeros(crews.shape[0], dtype=np.int64), np.zeros(stations, dtype=np.int64)
    busy = np.full((pools.shape[0], pools.max()), -np.inf)
    crew_busy[:, :] = -np.inf
    least = np.inf
    for station in range(stations):
        if plan[station, OPERATORS] >= 0:
            least = min(least, work[:, station].min())
    lowest, highest = 0, 0
    while True:
        _go_on(
            lowest, highest, order, work, release, plan, times, down_from, down_to, breakdown, crew_from, crews,
            crew_hold, wants, crew_busy, taken, left, gone, done, asks,
        )  # fmt: skip
        count = _serve_from(plan, times, release, left, gone, asks, least, row)
        if count < 1:
            break
        lowest, highest = stations, 0
        for number in range(count):
            station = row[number]
            pool, person = plan[station, OPERATORS], 0
            for other in range(1, pools[pool]):
                if busy[pool, other] < busy[pool, person]:
                    person = other
            done[station] = works(
                order[gone[station]], station, max(asks[station], busy[pool, person]), work, down_from, down_to,
                breakdown, crew_from, crews, crew_hold, wants, crew_busy, taken,
            )  # fmt: skip
            busy[pool, person] = done[station]
            asks[station] = np.inf
            lowest, highest = min(lowest, station), max(highest, station)
    for position in range(order.shape[0]):
        finish[order[position]] = left[position, stations - 1]
    return count == 0
