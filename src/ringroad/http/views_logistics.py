"""Shipments as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ringroad.build.logistics.milestones import Refused, Shipment, Way
from ringroad.build.logistics.store import Outlook
from ringroad.http.views import View


class WayView(View, frozen=True, kw_only=True):
    """A leg, or a fleet of AGVs."""

    name: str
    leg_class: str
    parts: list[str]  # none: it carries anything
    milestones: list[str]


class MilestoneView(View, frozen=True, kw_only=True):
    """When a shipment is to reach a milestone, and when it did."""

    name: str
    planned_at: datetime
    at: datetime | None


class ExpectedView(View, frozen=True, kw_only=True):
    """When a shipment is expected."""

    source: str  # static: the plan alone; route: what its leg did; milestones: what was told of it
    quantiles: list[tuple[int, datetime]]  # thousandths of all cases, and by when that many arrived
    late: bool
    overdue: bool
    late_min: float | None


class ShipmentView(View, frozen=True, kw_only=True):
    """Parts on their way."""

    id: str
    programme_id: str
    name: str
    leg: str
    leg_class: str
    part: str
    order_ids: list[str]
    state: str
    lost: str
    milestones: list[MilestoneView]
    expected: ExpectedView | None
    generation: int
    announced_at: datetime


class RefusedMilestoneView(View, frozen=True, kw_only=True):
    """A milestone that was not believed, and why."""

    event_id: str
    shipment: str
    milestone: str
    at: datetime
    reason: str
    told_by: str = ""
    refused_at: datetime | None = None


class MilestonesTaken(View, frozen=True, kw_only=True):
    """What became of a delivery of milestones."""

    taken: int
    repeated: int
    refused: list[RefusedMilestoneView]


class StageSkillView(View, frozen=True, kw_only=True):
    """How good the chosen model is at one stage, on legs that came after it was chosen."""

    stage: str
    model: str
    legs: int
    shown: bool  # whether there is skill; else the model is hidden, and not used
    error_min: float
    route_error_min: float
    skill: float
    skill_low: float
    coverage: dict[str, float]  # of the 90 % interval, by class of legs
    width_min: float
    pinball_min: float
    tried: dict[str, float]


class LogisticsView(View, frozen=True, kw_only=True):
    """What is known of a plant's legs."""

    ways: list[WayView]
    arrived: int
    behind: int  # what was told since the outlook was made
    made_at: datetime | None
    stages: list[StageSkillView]
    refused: list[RefusedMilestoneView]


def way_view(way: Way) -> WayView:
    """Return a leg as the API shows it."""
    return WayView(
        name=way.name, leg_class=way.of_class, parts=list(way.parts), milestones=list(way.milestones)
    )


def shipment_view(shipment: Shipment, expected: Mapping[str, Any] | None) -> ShipmentView:
    """Return a shipment with when it is expected, if that was said since it was announced."""
    rows = zip(shipment.milestones, shipment.planned, shipment.told, strict=True)
    return ShipmentView(
        id=shipment.id, programme_id=shipment.programme_id, name=shipment.name, leg=shipment.leg,
        leg_class=shipment.of_class, part=shipment.part, order_ids=list(shipment.order_ids), state=shipment.state,
        lost=shipment.lost, generation=shipment.generation, announced_at=shipment.announced_at,
        milestones=[MilestoneView(name=name, planned_at=planned, at=at) for name, planned, at in rows],
        expected=ExpectedView(
            source=expected["source"], late=expected["late"], overdue=expected["overdue"],
            late_min=expected["late_min"],
            quantiles=[(level, datetime.fromisoformat(at)) for level, at in expected["quantiles"]],
        ) if expected and shipment.arrived_at is None else None,
    )  # fmt: skip


def refused_view(refused: Refused) -> RefusedMilestoneView:
    """Return a milestone that was just refused."""
    told = refused.told
    return RefusedMilestoneView(
        event_id=told.id, shipment=told.shipment, milestone=told.milestone, at=told.at, reason=refused.reason
    )


def expected_by_id(outlook: Outlook) -> dict[str, Mapping[str, Any]]:
    """Return what was last said of each shipment."""
    return {each["shipment_id"]: each for each in outlook.document.get("expected", [])}
