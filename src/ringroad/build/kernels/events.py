"""When does each vehicle leave a line with rework, shared operators and carriers? Machine code.

For lines that `flow.py`, `rework.py` and `people.py` do not know; those take a tenth of the time and more.

A heap of events, and a list of what each event makes possible at its moment; the list is worked off first in,
first out. The rules, the same as those of the oracle in the tests:

1. A vehicle enters a place (a station and the room before it) when there is room; who comes back from rework
   goes first. From then on it counts there, also while it is on its way.
2. A station takes the vehicle that waits longest, then an operator of its pool, if it has one; requests are
   served in order. A vehicle that needs a crew waits in the station for it, see `flow.py`.
3. Work stands still while the station is down.
4. Behind its work the operator is free. A vehicle that the gate refuses goes to repair, which has room for all,
   and then back to the place that the station names. Another one stays until there is room at the next place,
   then until a carrier of that place's pool comes, if it has one; the carrier is busy there and back.

Invariant: nothing is drawn here; the same arrays give the same times.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ringroad.build.kernels.compiled import compiled, part
from ringroad.build.kernels.flow import Floats, Ints, works_until, wrapped

# Columns of `plan`, one row for each station
PLACES: Final = 0  # vehicles in it and in the room before it
OPERATORS: Final = 1  # pool, or -1
CARRIERS: Final = 2  # pool of those who bring vehicles to it, or -1
REWORK_TO: Final = 3  # station that a refused vehicle comes back to

# Columns of `times`, seconds
TRANSFER: Final = 0  # from the station before
RETURN: Final = 1  # of a carrier without a vehicle
REWORK: Final = 2  # of a refused vehicle

# Columns of `now`, one row for each station
_COUNT: Final = 0  # vehicles at the place
_INSIDE: Final = 1  # vehicle in the station, or -1
_PHASE: Final = 2
_HEAD: Final = 3  # of those who wait before it
_LENGTH: Final = 4
_BACK_HEAD: Final = 5  # of those who come back from rework
_BACK_LENGTH: Final = 6
_DOWN: Final = 7  # next breakdown
_NOW_COLUMNS: Final = 8

_EMPTY: Final = 0
_WORKS: Final = 1  # or waits for an operator
_DONE: Final = 2  # waits for room
_LEAVES: Final = 3  # has room, waits for a carrier

# Columns of `pool`
_FREE: Final = 0
_ASK_HEAD: Final = 1
_ASK_LENGTH: Final = 2

# What happens, and what it makes possible
_FINISHED: Final = 0
_ARRIVED: Final = 1
_REPAIRED: Final = 2
_FREED: Final = 3
_RELEASED: Final = 4
_START: Final = 0
_ROOM: Final = 1

_AGE: Final = 0  # rows of `heap`: number of the event, which parts events of one moment
_CODE: Final = 1  # what happens to whom: 16 bits for what, 24 each for station or pool, and vehicle
_TIME: Final = 0  # entries of `clock`
_SIZE: Final = 0  # entries of `counts`: events in the heap
_NUMBER: Final = 1  # of the next event
_TODO_HEAD: Final = 2
_TODO_LENGTH: Final = 3
_ENTERED: Final = 4  # vehicles
_GONE: Final = 5


@part
def _push(heap: Ints, due: Floats, counts: Ints, at: float, what: int, first: int, second: int) -> None:
    """Add an event; of two at one moment the older comes first."""
    child = counts[_SIZE]
    number = counts[_NUMBER]
    counts[_SIZE] += 1
    counts[_NUMBER] += 1
    while child > 0:
        parent = (child - 1) // 2
        if due[parent] < at or (due[parent] == at and heap[_AGE, parent] < number):
            break
        due[child] = due[parent]
        heap[_AGE, child] = heap[_AGE, parent]
        heap[_CODE, child] = heap[_CODE, parent]
        child = parent
    due[child] = at
    heap[_AGE, child] = number
    heap[_CODE, child] = what << 48 | first << 24 | second


@part
def _drop_first(heap: Ints, due: Floats, counts: Ints) -> None:
    """Take the first event out of the heap."""
    counts[_SIZE] -= 1
    size = counts[_SIZE]
    at, number, code = due[size], heap[_AGE, size], heap[_CODE, size]
    parent = 0
    while 2 * parent + 1 < size:
        child = 2 * parent + 1
        other = child + 1
        if other < size and (
            due[other] < due[child] or (due[other] == due[child] and heap[_AGE, other] < heap[_AGE, child])
        ):
            child = other
        if at < due[child] or (at == due[child] and number < heap[_AGE, child]):
            break
        due[parent] = due[child]
        heap[_AGE, parent] = heap[_AGE, child]
        heap[_CODE, parent] = heap[_CODE, child]
        parent = child
    due[parent] = at
    heap[_AGE, parent] = number
    heap[_CODE, parent] = code


@part
def _later(todo: Ints, counts: Ints, what: int, station: int) -> None:
    """Note what an event makes possible."""
    todo[wrapped(counts[_TODO_HEAD] + counts[_TODO_LENGTH], todo.shape[0])] = 2 * station + what
    counts[_TODO_LENGTH] += 1


@part
def _begin(
    work: Floats, down_from: Floats, down_to: Floats, crew_from: Ints, crews: Ints, crew_hold: Floats,
    wants: Ints, crew_busy: Floats, taken: Ints, now: Ints, clock: Floats, heap: Ints, due: Floats,
    counts: Ints, station: int,
) -> None:  # fmt: skip
    """Begin to work on the vehicle in a station."""
    vehicle = now[station, _INSIDE]
    start = clock[_TIME]
    for kind in range(crew_from[station], crew_from[station + 1]):
        if wants[vehicle, kind] != 0:
            start = max(start, crew_busy[kind, taken[kind]])
    for kind in range(crew_from[station], crew_from[station + 1]):
        if wants[vehicle, kind] != 0:
            crew_busy[kind, taken[kind]] = start + crew_hold[kind]
            taken[kind] = wrapped(taken[kind] + 1, crews[kind])
    until, now[station, _DOWN] = works_until(
        down_from, down_to, station, now[station, _DOWN], start, work[vehicle, station]
    )
    _push(heap, due, counts, until, _FINISHED, station, 0)


@part
def _clear(now: Ints, todo: Ints, counts: Ints, station: int) -> None:
    """The vehicle has left the station."""
    now[station, _INSIDE] = -1
    now[station, _PHASE] = _EMPTY
    now[station, _COUNT] -= 1
    _later(todo, counts, _START, station)
    _later(todo, counts, _ROOM, station)


@part
def _move_to(
    times: Floats, now: Ints, queue: Ints, todo: Ints, clock: Floats, heap: Ints, due: Floats, counts: Ints,
    station: int, vehicle: int,
) -> None:  # fmt: skip
    """Send a vehicle to a place where it counts already."""
    if times[station, TRANSFER] > 0:
        at = clock[_TIME] + times[station, TRANSFER]
        _push(heap, due, counts, at, _ARRIVED, station, vehicle)
    else:
        _wait(now, queue, todo, counts, station, vehicle)


@part
def _wait(now: Ints, queue: Ints, todo: Ints, counts: Ints, station: int, vehicle: int) -> None:
    queue[station, wrapped(now[station, _HEAD] + now[station, _LENGTH], queue.shape[1])] = vehicle
    now[station, _LENGTH] += 1
    _later(todo, counts, _START, station)


@part
def _ask(pool: Ints, asks: Ints, kind: int, request: int) -> bool:
    """Take one out of a pool, or join those who wait; say whether one was free."""
    if pool[kind, _FREE] > 0:
        pool[kind, _FREE] -= 1
        return True
    asks[kind, wrapped(pool[kind, _ASK_HEAD] + pool[kind, _ASK_LENGTH], asks.shape[1])] = request
    pool[kind, _ASK_LENGTH] += 1
    return False


@part
def _give_back(pool: Ints, asks: Ints, kind: int) -> int:
    """Put one back into a pool; return the request that is served at once, or -1."""
    if pool[kind, _ASK_LENGTH] == 0:
        pool[kind, _FREE] += 1
        return -1
    request = asks[kind, pool[kind, _ASK_HEAD]]
    pool[kind, _ASK_HEAD] = wrapped(pool[kind, _ASK_HEAD] + 1, asks.shape[1])
    pool[kind, _ASK_LENGTH] -= 1
    return request


@part
def _carry(
    plan: Ints, times: Floats, now: Ints, queue: Ints, todo: Ints, clock: Floats, heap: Ints, due: Floats,
    counts: Ints, station: int,
) -> None:  # fmt: skip
    """Bring the vehicle that is done in the station before to this one, by a carrier if it needs one."""
    vehicle = now[station - 1, _INSIDE]
    _clear(now, todo, counts, station - 1)
    if plan[station, CARRIERS] >= 0:
        at = clock[_TIME] + times[station, TRANSFER] + times[station, RETURN]
        _push(heap, due, counts, at, _FREED, plan[station, CARRIERS], 0)
    _move_to(times, now, queue, todo, clock, heap, due, counts, station, vehicle)


@part
def _fill(
    plan: Ints, times: Floats, order: Ints, release: Floats, now: Ints, queue: Ints, back: Ints, pool: Ints,
    asks: Ints, todo: Ints, clock: Floats, heap: Ints, due: Floats, counts: Ints, station: int,
) -> None:  # fmt: skip
    """Let a vehicle into a place if there is room and one that wants it."""
    if now[station, _COUNT] >= plan[station, PLACES]:
        return
    if now[station, _BACK_LENGTH] > 0:
        vehicle = back[station, now[station, _BACK_HEAD]]
        now[station, _BACK_HEAD] = wrapped(now[station, _BACK_HEAD] + 1, back.shape[1])
        now[station, _BACK_LENGTH] -= 1
        now[station, _COUNT] += 1
        _wait(now, queue, todo, counts, station, vehicle)
        _later(todo, counts, _ROOM, station)
    elif station == 0:
        entered = counts[_ENTERED]
        if entered < order.shape[0] and release[entered] <= clock[_TIME]:
            counts[_ENTERED] += 1
            now[0, _COUNT] += 1
            _move_to(times, now, queue, todo, clock, heap, due, counts, 0, order[entered])
            if entered + 1 < order.shape[0] and release[entered + 1] > clock[_TIME]:
                _push(heap, due, counts, release[entered + 1], _RELEASED, 0, 0)
            else:
                _later(todo, counts, _ROOM, 0)
    elif now[station - 1, _PHASE] == _DONE:
        now[station, _COUNT] += 1
        now[station - 1, _PHASE] = _LEAVES
        carriers = plan[station, CARRIERS]
        if carriers < 0 or _ask(pool, asks, carriers, 2 * station + 1):
            _carry(plan, times, now, queue, todo, clock, heap, due, counts, station)


@part
def _happen(
    plan: Ints, times: Floats, bad: Ints, now: Ints, queue: Ints, back: Ints, pool: Ints, asks: Ints, todo: Ints,
    clock: Floats, heap: Ints, due: Floats, counts: Ints, finish: Floats, what: int, first: int, second: int,
) -> int:  # fmt: skip
    """Make the first event true; return the request for somebody it freed, or -1."""
    if what == _ARRIVED:
        _wait(now, queue, todo, counts, first, second)
    elif what == _REPAIRED:
        back[first, wrapped(now[first, _BACK_HEAD] + now[first, _BACK_LENGTH], back.shape[1])] = second
        now[first, _BACK_LENGTH] += 1
        _later(todo, counts, _ROOM, first)
    elif what == _RELEASED:
        _later(todo, counts, _ROOM, 0)
    elif what == _FREED:
        return _give_back(pool, asks, first)
    else:
        vehicle = now[first, _INSIDE]
        operators = plan[first, OPERATORS]
        request = _give_back(pool, asks, operators) if operators >= 0 else -1
        if bad[vehicle, first] > 0:
            bad[vehicle, first] -= 1
            at = clock[_TIME] + times[first, REWORK]
            _push(heap, due, counts, at, _REPAIRED, plan[first, REWORK_TO], vehicle)
            _clear(now, todo, counts, first)
        elif first + 1 == plan.shape[0]:
            finish[vehicle] = clock[_TIME]
            counts[_GONE] += 1
            _clear(now, todo, counts, first)
        else:
            now[first, _PHASE] = _DONE
            _later(todo, counts, _ROOM, first + 1)
        return request
    return -1


@part
def _next_step(
    plan: Ints, times: Floats, order: Ints, release: Floats, now: Ints, queue: Ints, back: Ints, pool: Ints,
    asks: Ints, todo: Ints, clock: Floats, heap: Ints, due: Floats, counts: Ints,
) -> int:  # fmt: skip
    """Do the next thing that became possible; return the station whose work may begin, or -1."""
    station, step = todo[counts[_TODO_HEAD]] >> 1, todo[counts[_TODO_HEAD]] & 1
    counts[_TODO_HEAD] = wrapped(counts[_TODO_HEAD] + 1, todo.shape[0])
    counts[_TODO_LENGTH] -= 1
    if step == _ROOM:
        _fill(
            plan, times, order, release, now, queue, back, pool, asks, todo, clock, heap, due, counts, station
        )
    elif now[station, _PHASE] == _EMPTY and now[station, _LENGTH] > 0:
        now[station, _INSIDE] = queue[station, now[station, _HEAD]]
        now[station, _HEAD] = wrapped(now[station, _HEAD] + 1, queue.shape[1])
        now[station, _LENGTH] -= 1
        now[station, _PHASE] = _WORKS
        operators = plan[station, OPERATORS]
        if operators < 0 or _ask(pool, asks, operators, 2 * station):
            return station
    return -1


@part
def _settle(
    order: Ints, work: Floats, release: Floats, plan: Ints, times: Floats, down_from: Floats, down_to: Floats,
    crew_from: Ints, crews: Ints, crew_hold: Floats, wants: Ints, crew_busy: Floats, taken: Ints, now: Ints,
    queue: Ints, back: Ints, pool: Ints, asks: Ints, todo: Ints, clock: Floats, heap: Ints, due: Floats,
    counts: Ints, request: int,
) -> None:  # fmt: skip
    """Serve a request, if it is not below 0, and do all that became possible at this moment."""
    while request >= 0 or counts[_TODO_LENGTH] > 0:
        begins = -1
        if request >= 0 and request % 2 == 1:
            _carry(plan, times, now, queue, todo, clock, heap, due, counts, request // 2)
        elif request >= 0:
            begins = request // 2
        else:
            begins = _next_step(
                plan, times, order, release, now, queue, back, pool, asks, todo, clock, heap, due, counts
            )  # fmt: skip
        request = -1
        if begins >= 0:
            _begin(
                work, down_from, down_to, crew_from, crews, crew_hold, wants, crew_busy, taken, now, clock, heap,
                due, counts, begins,
            )  # fmt: skip


@part
def _run(
    order: Ints, work: Floats, release: Floats, plan: Ints, times: Floats, bad: Ints, down_from: Floats,
    down_to: Floats, crew_from: Ints, crews: Ints, crew_hold: Floats, wants: Ints, crew_busy: Floats,
    taken: Ints, now: Ints, queue: Ints, back: Ints, pool: Ints, asks: Ints, todo: Ints, clock: Floats,
    heap: Ints, due: Floats, counts: Ints, finish: Floats,
) -> None:  # fmt: skip
    """Let events happen until all vehicles are gone."""
    while counts[_SIZE] > 0 and counts[_GONE] < order.shape[0]:
        code = heap[_CODE, 0]
        clock[_TIME] = due[0]
        _drop_first(heap, due, counts)
        request = _happen(
            plan, times, bad, now, queue, back, pool, asks, todo, clock, heap, due, counts, finish,
            code >> 48, code >> 24 & 0xFFFFFF, code & 0xFFFFFF,
        )  # fmt: skip
        _settle(
            order, work, release, plan, times, down_from, down_to, crew_from, crews, crew_hold, wants, crew_busy,
            taken, now, queue, back, pool, asks, todo, clock, heap, due, counts, request,
        )  # fmt: skip


@compiled
def run_line(
    order: Ints, work: Floats, release: Floats, plan: Ints, times: Floats, pools: Ints, bad: Ints,
    down_from: Floats, down_to: Floats, crew_from: Ints, crews: Ints, crew_hold: Floats, wants: Ints,
    crew_busy: Floats, finish: Floats,
) -> int:  # fmt: skip
    """Fill `finish`.

    Args:
        order: [position] vehicle.
        work: [vehicle, station] seconds.
        release: [position] when it may enter, in order.
        plan: [station, column] see above.
        times: [station, column] see above.
        pools: [pool] how many are in it.
        bad: [vehicle, station] times that the gate refuses it; is used up.
        down_from: [station, breakdown] when it begins, in order; infinite for none.
        down_to: [station, breakdown] when it ends.
        crew_from: see `flow.py`, as the next four.
        crews: same.
        crew_hold: same.
        wants: same.
        crew_busy: same.
        finish: [vehicle] is filled.

    Returns:
        How many events happened.
    """
    stations, vehicles = plan.shape[0], work.shape[0]
    now = np.zeros((stations, _NOW_COLUMNS), dtype=np.int64)
    now[:, _INSIDE] = -1
    queue = np.zeros((stations, plan[:, PLACES].max() + 1), dtype=np.int64)
    back = np.zeros((stations, vehicles + 1), dtype=np.int64)
    pool = np.zeros((pools.shape[0], 3), dtype=np.int64)
    pool[:, _FREE] = pools
    asks = np.zeros((pools.shape[0], 2 * stations + 1), dtype=np.int64)
    size = vehicles + pools.sum() + 16  # a vehicle waits for one event at most, as does one out of a pool
    heap, due = np.zeros((2, size), dtype=np.int64), np.zeros(size)
    todo = np.zeros(32 * stations + 64, dtype=np.int64)  # an event makes a few things possible per station
    counts, clock, taken = np.zeros(6, dtype=np.int64), np.zeros(1), np.zeros(crews.shape[0], dtype=np.int64)
    crew_busy[:, :] = -np.inf
    if order.shape[0] > 0:
        _push(heap, due, counts, release[0], _RELEASED, 0, 0)
    _run(
        order, work, release, plan, times, bad, down_from, down_to, crew_from, crews, crew_hold, wants, crew_busy,
        taken, now, queue, back, pool, asks, todo, clock, heap, due, counts, finish,
    )  # fmt: skip
    return counts[_NUMBER]
