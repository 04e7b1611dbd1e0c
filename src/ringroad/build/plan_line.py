"""What does the line build next? Orders, ratios, blocked parts and the baseline in; an immutable schedule out.

Pure: no clock, no database. The running sequence is repaired at once, with numpy alone; the search for a
better one (`improve_line.py`) follows in the worker.

Invariant: an order is held back, with a reason, rather than built with a blocked part or without software.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from ringroad.build.logistics.availability import PartAvailability
from ringroad.build.model import Line
from ringroad.build.sequence.count import count_cost
from ringroad.build.sequence.problem import CARS_MAX, Car, Level, Problem
from ringroad.build.sequence.repair import greedy, repair
from ringroad.build.stops import LineStop, delay_s, held_options, stopped_stations
from ringroad.build.working_time import WorkingTime, working_time
from ringroad.kernel.errors import InvalidInput

RUSH_WEIGHT: Final = 2  # lateness cost per position for a rush order, which is due next
DUE_WEIGHT: Final = 1  # per position behind the due time
EARLY_WEIGHT: Final = 1  # per position before the window of an order opens
PARTS_WEIGHT: Final = (
    3  # per position before the parts are there: more than a rush order, which cannot be built either
)
READY_STEP_S: Final = 60  # seconds; parts that come by less sooner or later change no plan

_NEVER: Final = datetime.max.replace(tzinfo=UTC)

Cause = Literal[
    "new_release", "blocked_part", "rush_order", "new_orders", "order_cancelled", "breakdown", "quality_stop",
    "station_resumed", "parts_on_their_way", "demand_shift", "line_changed", "improved",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One vehicle somebody ordered."""

    id: str
    programme_id: str
    variant: str
    options: tuple[str, ...] = ()
    region: str = ""
    rush: bool = False
    due_at: datetime | None = None
    earliest_at: datetime | None = None  # nobody wants the vehicle before
    state: Literal["open", "building", "born", "cancelled"] = "open"
    vin: str | None = None
    received_at: datetime

    @property
    def features(self) -> frozenset[str]:
        """What ratios and blocks look at: the options and the variant."""
        return frozenset({*self.options, self.variant})


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOrder:
    """An order that is not in the sequence, and why."""

    order_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDocument:
    """An immutable plan of the line.

    Attributes:
        sequence: order ids; the first `frozen` are on the line already.
        held: orders that wait, with the reason.
        violations: windows in which a station gets more than it can bear.
        late_orders: orders that will miss their due time.
        made_late: orders that are late by it and were not by the sequence before, at the same moment; new ones, too.
        early_orders: orders whose vehicle will be there before anybody wants it.
        baseline_release_id: what vehicles of this schedule are flashed with.
        blocked: option to reason.
        frozen: orders at the head that did not move.
        seed: of the search; 0 for a sequence that was only repaired.
        iterations: moves that the search priced.
        soft_violations: the same of ratios that may be broken.
        paint_changes: times that the colour changes.
        moved: vehicles whose order among the others is not that of the schedule before.
        stopped: stations that stand, to the reason; the line waits for them.
    """

    sequence: tuple[str, ...]
    held: tuple[HeldOrder, ...]
    violations: int
    late_orders: int
    baseline_release_id: str | None
    blocked: Mapping[str, str] = field(default_factory=dict)
    frozen: int
    seed: int = 0
    iterations: int = 0
    soft_violations: int = 0
    paint_changes: int = 0
    moved: int = 0
    stopped: Mapping[str, str] = field(default_factory=dict)
    early_orders: int = 0
    made_late: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form kept in `line_schedule.document`."""
        return {
            "sequence": list(self.sequence),
            "held": [{"order_id": held.order_id, "reason": held.reason} for held in self.held],
            "violations": self.violations,
            "late_orders": self.late_orders,
            "early_orders": self.early_orders,
            "baseline_release_id": self.baseline_release_id,
            "blocked": dict(self.blocked),
            "frozen": self.frozen,
            "seed": self.seed,
            "iterations": self.iterations,
            "soft_violations": self.soft_violations,
            "paint_changes": self.paint_changes,
            "moved": self.moved,
        } | {
            name: told
            for name, told in (("stopped", dict(self.stopped)), ("made_late", list(self.made_late)))
            if told
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ScheduleDocument:
        """Return what `to_document` wrote."""
        known = {each.name for each in fields(cls)}
        body = {key: value for key, value in document.items() if key in known}
        body["sequence"] = tuple(body["sequence"])
        body["held"] = tuple(HeldOrder(**held) for held in body["held"])
        body["made_late"] = tuple(body.get("made_late", ()))
        return cls(**body)


def decide_schedule(
    orders: Sequence[Order],
    line: Line,
    blocked: Mapping[str, str],
    baseline: str | None,
    frozen: Sequence[str],
    *,
    now: datetime,
    parent: Sequence[str] = (),
    stops: Sequence[LineStop] = (),
    available: Mapping[str, PartAvailability] | None = None,
) -> ScheduleDocument:
    """Decide the line's next schedule: the running sequence, repaired if it cannot be built as it is.

    A repair is current at once. A sequence that still builds every order that may be built, and none that may not,
    keeps its order: what is better than it has to show so on the twin (`twin/compare.py`).
    The next vehicles to enter, as many as the line freezes, keep their places if they may be built in time.

    Args:
        orders: open and building ones, in order of receipt.
        line: stations and ratios.
        blocked: option or variant to the reason why no car with it can be built.
        baseline: the release that vehicles are flashed with; None holds everything back.
        frozen: ids of orders that are on the line, in their order; they keep it, blocked or not.
        now: start of the sequence, for due times.
        parent: the sequence before; what stays of it keeps its order.
        stops: what stands on the line; the sequence begins when it goes on, and options that cannot pass are held.
        available: when the parts of an order are there, where they are on their way; an order whose parts nobody can
            promise is held, one that would enter the line before them gets another place.

    Raises:
        InvalidInput: an order stands twice.
    """
    available = available or {}
    by_id = _by_id(orders)
    blocked = {**blocked, **held_options(stops)}
    now += timedelta(seconds=delay_s(stops, now))
    fixed = [order_id for order_id in dict.fromkeys(frozen) if order_id in by_id]
    free, held = _sort_out([order for order in orders if order.id not in fixed], blocked, baseline, available)
    free, beyond = _within(free, parent, line.freeze, room=max(0, CARS_MAX - len(fixed)))
    held += [HeldOrder(order_id=order.id, reason="the schedule is full") for order in beyond]
    placed = [*(by_id[order_id] for order_id in fixed), *free]
    problem = line_problem(placed, line, frozen=len(fixed), now=now, available=available)
    running = _in_time(problem, _running(placed, len(fixed), parent))
    if line.freeze:
        placed, stays = _frozen_first(placed, running, len(fixed), line.freeze)
        problem = line_problem(placed, line, frozen=stays, now=now, available=available)
        running = _in_time(problem, _running(placed, stays, parent))
    if len(running) == len(placed) and not {item.order_id for item in held} & set(parent):
        found = running  # still builds all that may be built: only a plan proved to be better takes its place
    else:
        found = repair(problem, running) if problem.frozen < len(running) else _fresh(problem)
    sequence = tuple(problem.cars[index].id for index in found)
    document = ScheduleDocument(
        sequence=sequence,
        held=tuple(sorted(held, key=lambda item: item.order_id)),
        violations=0,
        late_orders=0,
        baseline_release_id=baseline,
        blocked=dict(blocked),
        frozen=len(fixed),
        moved=count_moved(parent, sequence),
        stopped=stopped_stations(stops),
        made_late=_made_late(parent, sequence, by_id, line, now=now),
    )
    return measured(problem, by_id, line, now=now, document=document)


def line_problem(
    placed: Sequence[Order],
    line: Line,
    *,
    frozen: int,
    now: datetime,
    homes: Mapping[str, int] | None = None,
    available: Mapping[str, PartAvailability] | None = None,
) -> Problem:
    """Return what the line asks of a sequence.

    Args:
        placed: orders to be placed; the first `frozen` keep their places.
        line: stations, ratios and paint.
        frozen: orders that do not move.
        now: when the first of them leaves the first station.
        homes: where the running plan has an order.
        available: when the parts of an order are there, where they are on their way.
    """
    time = working_time(line.calendar, start=now)
    return Problem(
        cars=tuple(
            _car(
                order,
                line,
                time,
                now=now,
                first=frozen,
                home=(homes or {}).get(order.id),
                parts=(available or {}).get(order.id),
            )
            for order in placed
        ),
        ratios=line.ratios,
        frozen=frozen,
        batch_max=line.paint.batch_max if line.paint else 0,
    )


def measured(
    problem: Problem,
    orders: Mapping[str, Order],
    line: Line,
    *,
    now: datetime,
    document: ScheduleDocument,
) -> ScheduleDocument:
    """Return a schedule with what its sequence costs, counted from scratch."""
    cost = count_cost(problem, document.sequence)
    time = working_time(line.calendar, start=now)
    late = _late(document.sequence, orders, line, time, now=now)
    early = sum(
        1
        for position, order_id in enumerate(document.sequence)
        if (opens := orders[order_id].earliest_at) is not None
        and position < _first_position(opens, line, time, now=now)
    )
    return replace(
        document,
        early_orders=early,
        violations=cost[Level.OVERLONG] + cost[Level.RATIOS],
        late_orders=len(late),
        made_late=tuple(each for each in document.made_late if each in late),
        soft_violations=cost[Level.SOFT_RATIOS],
        paint_changes=cost[Level.PAINT],
    )


def _late(
    sequence: Sequence[str], orders: Mapping[str, Order], line: Line, time: WorkingTime, *, now: datetime
) -> set[str]:
    """Return orders of a sequence that miss their due time."""
    return {
        order_id
        for position, order_id in enumerate(sequence)
        if (due := orders[order_id].due_at) is not None and _position(due, line, time, now=now) < position
    }


def _made_late(
    parent: Sequence[str], sequence: Sequence[str], orders: Mapping[str, Order], line: Line, *, now: datetime
) -> tuple[str, ...]:
    """Return orders that a sequence makes late: that are not by the one before, began it now; in their new order."""
    time = working_time(line.calendar, start=now)
    before = _late([each for each in parent if each in orders], orders, line, time, now=now)
    after = _late(sequence, orders, line, time, now=now)
    return tuple(each for each in sequence if each in after - before)


def count_moved(before: Sequence[str], after: Sequence[str]) -> int:
    """Count vehicles of both sequences that have to be taken out to leave the others in the same order."""
    rank = {order_id: place for place, order_id in enumerate(before)}
    places = [rank[order_id] for order_id in after if order_id in rank]
    ends: list[int] = []  # ends[n]: the smallest last place of a rising run of n + 1 vehicles
    for place in places:
        at = bisect_left(ends, place)
        ends[at : at + 1] = [place]
    return len(places) - len(ends)


def _sort_out(
    orders: Sequence[Order],
    blocked: Mapping[str, str],
    baseline: str | None,
    available: Mapping[str, PartAvailability],
) -> tuple[list[Order], list[HeldOrder]]:
    """Return what may be built, most urgent first, and what is held back."""
    free: list[Order] = []
    held: list[HeldOrder] = []
    for order in orders:
        reason = _hold_reason(order, blocked, baseline, available.get(order.id))
        if reason:
            held.append(HeldOrder(order_id=order.id, reason=reason))
        else:
            free.append(order)
    free.sort(key=lambda order: (not order.rush, order.due_at or _NEVER, order.received_at, order.id))
    return free, held


def _hold_reason(
    order: Order, blocked: Mapping[str, str], baseline: str | None, parts: PartAvailability | None
) -> str:
    if baseline is None:
        return "the line has no baseline release to flash"
    stops = sorted(order.features & set(blocked))
    if stops:
        return f"{stops[0]} is blocked: {blocked[stops[0]]}"
    return f"nobody can say when it has {parts.part}" if parts and parts.ready_at() is None else ""


def _car(
    order: Order, line: Line, time: WorkingTime, *, now: datetime, first: int, home: int | None,
    parts: PartAvailability | None,
) -> Car:  # fmt: skip
    weight, due = 0, 0
    if order.rush:
        weight, due = RUSH_WEIGHT, first
    elif order.due_at is not None:
        weight, due = DUE_WEIGHT, _position(order.due_at, line, time, now=now)
    return Car(
        id=order.id,
        features=order.features,
        colour=next((option for option in order.options if line.paint and option in line.paint.colours), ""),
        lateness_weight=weight,
        due_position=due,
        earliness_weight=PARTS_WEIGHT if (ready := parts.ready_at() if parts else None) else 0,
        ready_position=max(0, math.ceil(time.worked((ready - now).total_seconds()) / line.takt_s))
        if ready
        else 0,
        unwanted_weight=EARLY_WEIGHT if order.earliest_at and not order.rush else 0,
        wanted_position=_first_position(order.earliest_at, line, time, now=now) if order.earliest_at else 0,
        home=home,
    )


def earliest_at(line: Line, features: Collection[str], *, now: datetime) -> datetime:
    """Return when a vehicle that entered now, and waited nowhere, would leave the line; one that enters while it rests waits."""
    through_s = sum(
        station.cycle_s
        + station.transfer_s
        + sum(s for option, s in station.extra_s.items() if option in features)
        for station in line.stations
    )
    return now + timedelta(seconds=working_time(line.calendar, start=now).done(through_s))


def entry_times(line: Line, sequence: Sequence[str], *, now: datetime) -> dict[str, datetime]:
    """Return when each order of a sequence enters a line that goes on now, a takt apart; in a rest none does."""
    time = working_time(line.calendar, start=now)
    return {
        each: now + timedelta(seconds=time.begun(place * line.takt_s)) for place, each in enumerate(sequence)
    }


def latest_entry(line: Line, due_at: datetime, time: WorkingTime, *, now: datetime) -> datetime:
    """Return by when a vehicle enters that waits nowhere and leaves in time; `time` is the line's, from now on."""
    worked_s = time.worked((due_at - now).total_seconds()) - least_s(line)
    return now + timedelta(seconds=time.done(worked_s))


def least_s(line: Line) -> int:
    """Return the seconds that a vehicle without options is worked on and carried, at least."""
    return sum(station.cycle_s + station.transfer_s for station in line.stations)


def _position(due_at: datetime, line: Line, time: WorkingTime, *, now: datetime) -> int:
    """Return the last position whose vehicle leaves the line in time."""
    through_s = sum(station.cycle_s for station in line.stations)
    return max(-1, int((time.worked((due_at - now).total_seconds()) - through_s) // line.takt_s))


def _first_position(earliest: datetime, line: Line, time: WorkingTime, *, now: datetime) -> int:
    """Return the first position whose vehicle leaves the line no earlier than that."""
    through_s = sum(station.cycle_s for station in line.stations)
    opens_s = (earliest - now).total_seconds()
    place = (time.worked(opens_s) - through_s) / line.takt_s
    # What leaves as the rest begins that it opens in left before.
    return max(0, math.floor(place) + 1 if time.rests(opens_s) else math.ceil(place))


def _running(placed: Sequence[Order], frozen: int, parent: Sequence[str]) -> list[int]:
    """Return the indices of the frozen orders, then of those that the parent has, in its order."""
    rank = {order_id: place for place, order_id in enumerate(parent)}
    known = [index for index in range(frozen, len(placed)) if placed[index].id in rank]
    return [*range(frozen), *sorted(known, key=lambda index: rank[placed[index].id])]


def _by_id(orders: Sequence[Order]) -> dict[str, Order]:
    by_id = {order.id: order for order in orders}
    if len(by_id) != len(orders):
        raise InvalidInput("an order stands twice in the list")
    return by_id


def _within(
    free: list[Order], parent: Sequence[str], freeze: int, *, room: int
) -> tuple[list[Order], list[Order]]:
    """Return the orders that a schedule has room for, and the others; the next to enter come before what is more urgent."""
    if len(free) <= room:
        return free, []
    known = {order.id for order in free}
    following = set([order_id for order_id in parent if order_id in known][:freeze])
    ranked = sorted(free, key=lambda order: order.id not in following)
    return ranked[:room], ranked[room:]


def _frozen_first(
    placed: list[Order], running: Sequence[int], on_line: int, freeze: int
) -> tuple[list[Order], int]:
    """Return the orders with the next to enter right behind those on the line, and how many of them stay."""
    stay = running[: on_line + freeze]
    known = set(stay)
    return [placed[index] for index in (*stay, *(at for at in range(len(placed)) if at not in known))], len(
        stay
    )


def _fresh(problem: Problem) -> list[int]:
    """Return a first order of all cars; the greedy one does not look at parts, so what would be too early moves."""
    first = greedy(problem)
    kept = _in_time(problem, first)
    return first if len(kept) == len(first) else repair(problem, kept)


def _in_time(problem: Problem, running: Sequence[int]) -> list[int]:
    """Return a running order without the cars that would enter the line before their parts are there.

    Those are placed again. A car that gives its place up lets all behind it enter earlier, so it is asked in order.
    """
    kept: list[int] = []
    for index in running:
        car = problem.cars[index]
        if index < problem.frozen or not car.earliness_weight or car.ready_position <= len(kept):
            kept.append(index)
    return kept
