"""Is there a better schedule than the current one? The same orders, searched with machine code.

Pure, for the worker: the search is machine code, which is loaded only where there is something to gain.
The orders that would enter the line while it runs keep their places.

Invariant: an answer holds the same orders, keeps those that are on the line or about to enter it, and costs
less than the schedule it replaces.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from ringroad.build.logistics.availability import PartAvailability
from ringroad.build.model import Line
from ringroad.build.plan_line import Order, ScheduleDocument, count_moved, line_problem, measured
from ringroad.build.sequence.bound import lower_bound
from ringroad.build.sequence.count import count_cost
from ringroad.build.sequence.problem import Level, Problem

MOVES_DEFAULT: Final = 2_000_000  # for each of two starts; about a second for 1,300 cars with 20 ratios
SPARED_PLACES: Final = 2  # that a spared order goes ahead of its place, for what its new neighbours cost
LEVELS: Final = {
    Level.OVERLONG: "vehicles beyond the longest batch of a colour",
    Level.RATIOS: "windows with more than a station can bear",
    Level.TIMES: "places too late or too early",
    Level.PAINT: "colour changes",
    Level.SOFT_RATIOS: "windows of soft ratios",
    Level.STABILITY: "places moved",
}
FREEZE_VEHICLES: Final = 3  # next to enter the line; a search takes less than their takts


def improve_schedule(
    current: ScheduleDocument,
    orders: Sequence[Order],
    line: Line,
    *,
    now: datetime,
    seed: int,
    moves_max: int = MOVES_DEFAULT,
    available: Mapping[str, PartAvailability] | None = None,
) -> ScheduleDocument | None:
    """Search for a better sequence of the orders that the current schedule still has to build.

    Args:
        current: what the line builds now.
        orders: open and building ones.
        line: stations and ratios.
        now: start of the sequence, for due times.
        seed: of the search.
        moves_max: budget of each of its two starts.
        available: when the parts of an order are there, where they are on their way.

    Returns:
        A schedule that costs less, or None if the search found none.
    """
    by_id = {order.id: order for order in orders}
    running, building, problem = _problem(current, by_id, line, now=now, available=available)
    cost = count_cost(problem, [car.id for car in problem.cars])
    if cost == lower_bound(problem):
        return None
    from ringroad.build.sequence.solve import solve_twice  # noqa: PLC0415 - loads a compiler: a second, 100 MB

    before, found = solve_twice(problem, moves_max=moves_max, seed=seed)
    if before.rank <= found.rank:
        return None
    document = replace(
        current,
        sequence=found.order,
        frozen=building,
        seed=seed,
        iterations=found.moves,
        moved=count_moved(running, found.order),
    )
    return measured(problem, by_id, line, now=now, document=document)


def spare_orders(
    current: ScheduleDocument,
    better: ScheduleDocument,
    orders: Sequence[Order],
    line: Line,
    *,
    now: datetime,
    spared: Collection[str],
    available: Mapping[str, PartAvailability] | None = None,
) -> ScheduleDocument | None:
    """Give some orders of a better schedule the places back that they have in the current one, or earlier ones.

    Args:
        current: what the line builds now.
        better: what the search found.
        orders: open and building ones.
        line: stations and ratios.
        now: start of the sequence, for due times.
        spared: ids of orders that the better schedule would make late.
        available: when the parts of an order are there, where they are on their way.

    Returns:
        A schedule that still costs less than the current one, or None.
    """
    by_id = {order.id: order for order in orders}
    running, _, problem = _problem(current, by_id, line, now=now, available=available)
    sequence = [order_id for order_id in better.sequence if order_id not in spared]
    for place, order_id in enumerate(running):
        if order_id in spared:
            sequence.insert(max(problem.frozen, place - SPARED_PLACES), order_id)
    before, after = (tuple(count_cost(problem, each).values()) for each in (running, sequence))
    if before <= after:
        return None
    document = replace(better, sequence=tuple(sequence), moved=count_moved(running, sequence))
    return measured(problem, by_id, line, now=now, document=document)


def name_less(
    current: ScheduleDocument,
    better: ScheduleDocument,
    orders: Sequence[Order],
    line: Line,
    *,
    now: datetime,
    available: Mapping[str, PartAvailability] | None = None,
) -> str:
    """Say which level makes the better schedule cost less: the first in which the two differ.

    Args:
        current: what the line builds now.
        better: of the same orders.
        orders: open and building ones.
        line: stations and ratios.
        now: start of the sequence, for due times.
        available: when the parts of an order are there, where they are on their way.
    """
    by_id = {order.id: order for order in orders}
    running, _, problem = _problem(current, by_id, line, now=now, available=available)
    before, after = (count_cost(problem, each) for each in (running, better.sequence))
    return next(
        (
            f"{LEVELS[level]} went from {before[level]} to {after[level]}"
            for level in before
            if before[level] != after[level]
        ),
        "nothing",
    )


def _problem(
    current: ScheduleDocument,
    by_id: Mapping[str, Order],
    line: Line,
    *,
    now: datetime,
    available: Mapping[str, PartAvailability] | None,
) -> tuple[list[str], int, Problem]:
    """Return the running sequence, how many of it are on the line, and what the line asks of a better one."""
    running = [by_id[order_id] for order_id in current.sequence if order_id in by_id]
    building = sum(order.state == "building" for order in running)
    frozen = min(len(running), building + max(FREEZE_VEHICLES, line.freeze))
    homes = {order.id: place for place, order in enumerate(running)}
    problem = line_problem(running, line, frozen=frozen, now=now, homes=homes, available=available)
    return [order.id for order in running], building, problem
