"""What does the line build next? Orders, ratios, blocked parts and the baseline in; an immutable schedule out.

Pure: no clock, no database; the seed is an argument, so the same facts give the same schedule.

Invariant: an order is held back, with a reason, rather than built with a blocked part or without software.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from ringroad.build.model import Line
from ringroad.build.sequence import CARS_MAX, Car, sequence
from ringroad.kernel.errors import InvalidInput

ITERATIONS_DEFAULT: Final = 1_500  # about 0.2 s for 200 cars
RUSH_WEIGHT: Final = 20  # lateness cost per position for a rush order, which is due at once
DUE_WEIGHT: Final = 10  # per position behind the due time

_NEVER: Final = datetime.max.replace(tzinfo=UTC)

Cause = Literal["new_release", "blocked_part", "rush_order", "new_orders", "order_cancelled"]


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
        baseline_release_id: what vehicles of this schedule are flashed with.
        blocked: option to reason.
        frozen: orders at the head that did not move.
        seed: of the search.
        iterations: of the search.
    """

    sequence: tuple[str, ...]
    held: tuple[HeldOrder, ...]
    violations: int
    late_orders: int
    baseline_release_id: str | None
    blocked: Mapping[str, str] = field(default_factory=dict)
    frozen: int
    seed: int
    iterations: int

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form kept in `line_schedule.document`."""
        return {
            "sequence": list(self.sequence),
            "held": [{"order_id": held.order_id, "reason": held.reason} for held in self.held],
            "violations": self.violations,
            "late_orders": self.late_orders,
            "baseline_release_id": self.baseline_release_id,
            "blocked": dict(self.blocked),
            "frozen": self.frozen,
            "seed": self.seed,
            "iterations": self.iterations,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ScheduleDocument:
        """Return what `to_document` wrote."""
        body = dict(document)
        body["sequence"] = tuple(body["sequence"])
        body["held"] = tuple(HeldOrder(**held) for held in body["held"])
        return cls(**body)


def decide_schedule(
    orders: Sequence[Order],
    line: Line,
    blocked: Mapping[str, str],
    baseline: str | None,
    frozen: Sequence[str],
    *,
    seed: int,
    now: datetime,
    parent: Sequence[str] = (),
    iterations_max: int = ITERATIONS_DEFAULT,
) -> ScheduleDocument:
    """Decide the line's next schedule.

    Args:
        orders: open and building ones, in order of receipt.
        line: stations and ratios.
        blocked: option or variant to the reason why no car with it can be built.
        baseline: the release that vehicles are flashed with; None holds everything back.
        frozen: ids of orders that are on the line, in their order; they keep it, blocked or not.
        seed: of the search.
        now: start of the sequence, for due times.
        parent: the sequence before, as one starting point.
        iterations_max: budget of the search.

    Raises:
        InvalidInput: an order twice, or more budget than allowed.
    """
    by_id = {order.id: order for order in orders}
    if len(by_id) != len(orders):
        raise InvalidInput("an order stands twice in the list")
    fixed = [order_id for order_id in dict.fromkeys(frozen) if order_id in by_id]
    free, held = _sort_out([order for order in orders if order.id not in fixed], blocked, baseline)
    room = max(0, CARS_MAX - len(fixed))
    held += [HeldOrder(order_id=order.id, reason="the schedule is full") for order in free[room:]]
    placed = [*(by_id[order_id] for order_id in fixed), *free[:room]]
    cars = [_car(order, line, now=now) for order in placed]
    found = sequence(
        cars,
        line.ratios,
        frozen=len(fixed),
        iterations_max=iterations_max,
        seed=seed,
        start=_warm_start(placed, len(fixed), parent),
    )
    late = sum(
        1
        for position, order_id in enumerate(found.order)
        if (due := by_id[order_id].due_at) is not None and _position(due, line, now=now) < position
    )
    return ScheduleDocument(
        sequence=found.order,
        held=tuple(sorted(held, key=lambda item: item.order_id)),
        violations=found.violations,
        late_orders=late,
        baseline_release_id=baseline,
        blocked=dict(blocked),
        frozen=len(fixed),
        seed=seed,
        iterations=found.iterations,
    )


def _sort_out(
    orders: Sequence[Order], blocked: Mapping[str, str], baseline: str | None
) -> tuple[list[Order], list[HeldOrder]]:
    """Return what may be built, most urgent first, and what is held back."""
    free: list[Order] = []
    held: list[HeldOrder] = []
    for order in orders:
        reason = _hold_reason(order, blocked, baseline)
        if reason:
            held.append(HeldOrder(order_id=order.id, reason=reason))
        else:
            free.append(order)
    free.sort(key=lambda order: (not order.rush, order.due_at or _NEVER, order.received_at, order.id))
    return free, held


def _hold_reason(order: Order, blocked: Mapping[str, str], baseline: str | None) -> str:
    if baseline is None:
        return "the line has no baseline release to flash"
    stops = sorted(order.features & set(blocked))
    return f"{stops[0]} is blocked: {blocked[stops[0]]}" if stops else ""


def _car(order: Order, line: Line, *, now: datetime) -> Car:
    if order.rush:
        return Car(id=order.id, features=order.features, lateness_weight=RUSH_WEIGHT, due_position=0)
    if order.due_at is not None:
        due = _position(order.due_at, line, now=now)
        return Car(id=order.id, features=order.features, lateness_weight=DUE_WEIGHT, due_position=due)
    return Car(id=order.id, features=order.features)


def _position(due_at: datetime, line: Line, *, now: datetime) -> int:
    """Return the last position whose vehicle leaves the line in time."""
    through_s = sum(station.cycle_s for station in line.stations)
    return max(-1, int(((due_at - now).total_seconds() - through_s) // line.takt_s))


def _warm_start(placed: Sequence[Order], frozen: int, parent: Sequence[str]) -> list[int]:
    """Keep the parent's order for those still there; new ones follow, rush first as they were sorted."""
    rank = {order_id: place for place, order_id in enumerate(parent)}
    free = range(frozen, len(placed))
    return [*range(frozen), *sorted(free, key=lambda index: (rank.get(placed[index].id, len(rank)), index))]
