"""When will what is on its way arrive, who waits for it, and what is late?

Pure. A shipment is as late as its leg's distribution says from the last milestone that was told. What has not
arrived by now cannot have arrived before now: only what is left of the distribution counts, and once nothing is
left of it, nobody can say.

Invariant: where nothing was learned, or a model has no skill, the plan and the route's own past speak, never a
model; a shipment that is overdue promises nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import numpy as np

from ringroad.build.logistics.availability import (
    LEVELS_PERMILLE,
    PARTS_MAX,
    PartAvailability,
    arrived,
    never,
    together,
)
from ringroad.build.logistics.history import History, history_of
from ringroad.build.logistics.learn import ROUTE, Fit, Learned, learn
from ringroad.build.logistics.milestones import Shipment
from ringroad.build.logistics.quantiles import Stage, fit_grouped, seen_at
from ringroad.kernel.errors import InvalidInput

ARRIVED_MIN: Final = 20  # shipments, before a past is learned from; its 5 % quantile is then one of them
OVERDUE_H: Final = 24  # hours behind its plan after which a shipment of an unknown leg is overdue
LATE_MIN: Final = 1  # minutes; a median behind the plan by less is in time
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Source = Literal["static", "route", "milestones"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was learned of the legs of a programme.

    Attributes:
        arrived: shipments that it was learned from.
        stages: what was learned, of those stages that there were legs for.
        history: names of routes and classes; the legs themselves are not kept.
    """

    arrived: int
    stages: Mapping[Stage, Learned]
    history: History


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A shipment on its way, and when it will arrive.

    Attributes:
        shipment: which.
        availability: the distribution of its arrival.
        source: what says so: the plan alone, the past of its route, or its milestones.
        overdue: whether it should be there in all cases that ever were.
        late_min: minutes that the median is behind the plan; None if nobody can say.
    """

    shipment: Shipment
    availability: PartAvailability
    source: Source
    overdue: bool
    late_min: float | None

    @property
    def late(self) -> bool:
        """Whether it is late more often than not."""
        return self.overdue or (self.late_min or 0) >= LATE_MIN

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "shipment_id": self.shipment.id, "generation": self.shipment.generation, "source": self.source, "overdue": self.overdue, "late": self.late,
            "late_min": None if self.late_min is None else round(self.late_min, 1),
            "quantiles": [[level, at.isoformat()] for level, at in self.availability.quantiles],
        }  # fmt: skip


def past_of(shipments: Sequence[Shipment]) -> History:
    """Return shipments that arrived as what is learned from. Raises: InvalidInput, if none did."""
    rows = []
    for shipment in shipments:
        arrived = shipment.arrived_at
        if arrived is None:
            continue
        lates = [
            (at - planned).total_seconds() / 60 if at else float("nan")
            for at, planned in zip(shipment.told, shipment.planned, strict=True)
        ]
        hubs = [late for late in lates[1:-1] if not np.isnan(late)]
        rows.append({
            "shipment": shipment.name, "route": shipment.leg, "leg_class": shipment.of_class,
            "planned_min": _minutes(shipment.planned[0]), "arrives_min": _minutes(shipment.planned[-1]),
            "departed_late_min": lates[0] if len(lates) > 1 else float("nan"),
            "hub_late_min": hubs[-1] if hubs else float("nan"), "arrived_late_min": lates[-1],
        })  # fmt: skip
    if not rows:
        raise InvalidInput("no shipment has arrived yet")
    return history_of(rows)


def learn_legs(shipments: Sequence[Shipment], candidates: Mapping[str, Fit] | None = None) -> Known | None:
    """Learn from shipments that arrived; None while they are too few."""
    arrived = [shipment for shipment in shipments if shipment.arrived_at is not None]
    if len(arrived) < ARRIVED_MIN:
        return None
    history = past_of(arrived)
    stages = {
        stage: learn(history, stage, candidates or {ROUTE: fit_grouped})
        for stage in Stage
        if len(seen_at(history, stage)) >= ARRIVED_MIN
    }
    return Known(
        arrived=len(arrived), stages=stages, history=history.take(np.zeros(len(history), dtype=bool))
    )


def expect(shipment: Shipment, known: Known | None, *, now: datetime) -> Expected:
    """Return when a shipment on its way will arrive."""
    if shipment.lost:
        return Expected(
            shipment=shipment,
            availability=never(shipment.part),
            source="milestones",
            overdue=True,
            late_min=None,
        )
    plan = shipment.planned[-1]
    stage, learned = _speaks(shipment, known)
    if known is None or learned is None or not _heard_of(shipment, known):
        at = plan + timedelta(minutes=shipment.late_min)
        overdue = timedelta(hours=OVERDUE_H) < now - at
        found = never(shipment.part) if overdue else arrived(shipment.part, max(now, at))
        return _expected(shipment, found, "static", overdue=overdue)
    late = learned.model.late_min(_as_leg(shipment, known, stage))[0]
    late = np.sort(late + learned.offset_min[known.history.classes.index(shipment.of_class)])
    times = [plan + timedelta(minutes=float(each)) for each in late]
    whole = PartAvailability(part=shipment.part, quantiles=tuple(zip(LEVELS_PERMILLE, times, strict=True)))
    left = _from_now(whole, now)
    source: Source = "route" if stage is Stage.PLANNED else "milestones"
    return _expected(shipment, left, source, overdue=left.ready_at() is None)


def availability(expected: Sequence[Expected]) -> dict[str, PartAvailability]:
    """Return when the parts of each order are there, of orders that wait for something."""
    parts: dict[str, list[PartAvailability]] = {}
    for each in expected:
        words = f"{each.shipment.part} of shipment {each.shipment.name} by {each.shipment.leg}"
        if each.shipment.lost:
            words += f", which is lost: {each.shipment.lost}"
        elif each.overdue:
            words += f", which is overdue since {each.shipment.planned[-1]:%Y-%m-%d %H:%M} UTC"
        for order_id in each.shipment.order_ids:
            parts.setdefault(order_id, []).append(replace(each.availability, part=words))
    return {order_id: _together(each) for order_id, each in parts.items()}


def _together(parts: Sequence[PartAvailability]) -> PartAvailability:
    """Return when all parts of an order are there; of more than can be looked at together nobody can say."""
    if len(parts) <= PARTS_MAX:
        return together(parts)
    return never(f"the parts of {len(parts)} shipments, limit {PARTS_MAX}")


def _heard_of(shipment: Shipment, known: Known) -> bool:
    """Whether its leg was learned of, and its class: a leg may change its mode."""
    return shipment.leg in known.history.routes and shipment.of_class in known.history.classes


def _speaks(shipment: Shipment, known: Known | None) -> tuple[Stage, Learned | None]:
    """Return the latest stage behind a shipment whose model has skill; else the past of its route."""
    stages = list(Stage)
    for stage in reversed(stages[1 : stages.index(shipment.stage) + 1]):
        learned = known.stages.get(stage) if known else None
        if learned and learned.skill and learned.skill.shown:
            return stage, learned
    return Stage.PLANNED, known.stages.get(Stage.PLANNED) if known else None


def _as_leg(shipment: Shipment, known: Known, stage: Stage) -> History:
    """Return a shipment as the one leg of a history."""
    routes, classes = known.history.routes, known.history.classes
    first = (shipment.told[0] or shipment.planned[0]) - shipment.planned[0]
    return History(
        routes=routes, classes=classes, shipment=np.zeros(1, dtype=np.int64), route=np.array([routes.index(shipment.leg)]),
        of_class=np.array([classes.index(shipment.of_class)]),
        planned_min=np.array([_minutes(shipment.planned[0])]), arrives_min=np.array([_minutes(shipment.planned[-1])]),
        departed_late_min=np.array([first.total_seconds() / 60]),
        hub_late_min=np.array([shipment.late_min if stage is Stage.AT_HUB else np.nan]),
        arrived_late_min=np.zeros(1),
    )  # fmt: skip


def _from_now(whole: PartAvailability, now: datetime) -> PartAvailability:
    """Return what is left of a distribution of something that has not arrived by now."""
    gone = whole.share_by(now)
    if gone == 0:
        return whole
    found = []
    for level in LEVELS_PERMILLE:
        at = whole.ready_at(round(1000 * gone + level * (1 - gone)))
        if at is None:
            break
        found.append((level, max(now, at)))
    return PartAvailability(part=whole.part, quantiles=tuple(found))


def _expected(shipment: Shipment, found: PartAvailability, source: Source, *, overdue: bool) -> Expected:
    ready = found.ready_at()
    late = None if ready is None else (ready - shipment.planned[-1]).total_seconds() / 60
    return Expected(shipment=shipment, availability=found, source=source, overdue=overdue, late_min=late)


def _minutes(at: datetime) -> float:
    return (at - EPOCH).total_seconds() / 60
