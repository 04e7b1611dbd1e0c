"""What the API shows of shops: how planning goes, the plan, how good it is, what is late and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ringroad.build.plant.model import Shop
from ringroad.build.plant.parameters import path_of
from ringroad.build.shop.late import late_jobs, span
from ringroad.build.shop.of_plant import shop_id, unit_ids
from ringroad.build.shop.problem import Level
from ringroad.build.shop.prove import gap_permille
from ringroad.build.shop.store import PlanWork, ShopPlan
from ringroad.build.shop.store_stops import ShopStop
from ringroad.http.views import View

LATE_SHOWN = 100


class ShopStopView(View, frozen=True, kw_only=True):
    """A unit of a shop that stands, or stood."""

    id: str
    plant_id: str
    shop: str
    resource: str
    reason: str
    began_at: datetime
    expected_s: int
    stopped_by: str
    ended_at: datetime | None
    ended_by: str | None


class PlanWorkView(View, frozen=True, kw_only=True):
    """How far the worker is with a shop's plan."""

    stage: str  # asked, searching, proving, done, failed
    cause: str
    note: str  # what came of it; of a failed one, why
    asked_by: str
    asked_at: datetime
    changed_at: datetime


class ShopLevelView(View, frozen=True, kw_only=True):
    """What a plan costs at one level."""

    counted: str
    found: int
    at_least: int  # no plan can be below
    gap_permille: int | None  # None: nothing is proved
    is_behind: bool  # a level before it is not closed, so that this one has no gap of its own


class ShopTaskView(View, frozen=True, kw_only=True):
    """One step of one part."""

    task: str
    order_id: str
    product: str
    step: str
    resource: str
    starts_at: datetime
    ends_at: datetime
    is_fixed: bool  # it had begun, or was about to, when the plan was made


class LatePartView(View, frozen=True, kw_only=True):
    """A part that comes later than the line needs it."""

    order_id: str
    product: str
    needed_at: datetime
    ready_at: datetime
    late_s: int
    why: str


class ShopPlanView(View, frozen=True, kw_only=True):
    """A plan of a shop."""

    id: str
    plant_id: str
    shop: str
    generation: int
    cause: str
    plant_generation: int
    origin_at: datetime
    made_by: str
    made_at: datetime
    replan_latency_us: int
    parts: int
    later: int  # parts that are planned later
    late_parts: int
    levels: list[ShopLevelView]
    late: list[LatePartView]
    tasks: list[ShopTaskView]


class ShopView(View, frozen=True, kw_only=True):
    """A shop of a plant: what it has, how planning goes, what stands."""

    plant_id: str
    shop: str
    resources: list[str]  # units
    products: list[str]
    generation: int  # of the plan it follows; 0: of none
    work: PlanWorkView | None
    stops: list[ShopStopView]  # what stands now


def shop_view(
    plant_id: str, shop: Shop, plan: ShopPlan | None, work: PlanWork | None, stops: Sequence[ShopStop]
) -> ShopView:
    """Return a shop without its plan."""
    return ShopView(
        plant_id=plant_id,
        shop=shop_id(shop),
        resources=[unit for each in shop.resources for unit in unit_ids(each)],
        products=[routing.product for routing in shop.routings],
        generation=plan.generation if plan else 0,
        work=work_view(work) if work else None,
        stops=[stop_view(each) for each in stops if each.ended_at is None],
    )


def work_view(work: PlanWork) -> PlanWorkView:
    """Return how far the worker is."""
    return PlanWorkView(
        stage=work.stage, cause=work.cause, note=work.note, asked_by=work.asked_by, asked_at=work.asked_at,
        changed_at=work.changed_at,
    )  # fmt: skip


def stop_view(stop: ShopStop) -> ShopStopView:
    """Return a stop."""
    return ShopStopView(
        id=stop.id, plant_id=stop.plant_id, shop=stop.shop, resource=stop.resource, reason=stop.reason,
        began_at=stop.began_at, expected_s=stop.expected_s, stopped_by=stop.stopped_by, ended_at=stop.ended_at,
        ended_by=stop.ended_by,
    )  # fmt: skip


def plan_view(plan: ShopPlan, bound: Mapping[Level, int]) -> ShopPlanView:
    """Return a plan with its times on the clock.

    Args:
        plan: as kept.
        bound: what was proved since it was made, by level.
    """
    due = {job: round((at - plan.origin_at).total_seconds()) for job, at in plan.needed.items()}
    late = late_jobs(plan.problem, plan.schedule.placed, due)
    fixed = {task.id for _, task in plan.problem.tasks() if task.fixed is not None}
    return ShopPlanView(
        id=plan.id, plant_id=plan.plant_id, shop=plan.shop, generation=plan.generation, cause=plan.cause,
        plant_generation=plan.plant_generation, origin_at=plan.origin_at, made_by=plan.made_by, made_at=plan.made_at,
        replan_latency_us=plan.replan_latency_us, parts=len(plan.problem.jobs), later=plan.later,
        late_parts=len(late), levels=_levels(plan, bound),
        late=[
            LatePartView(
                order_id=path_of(each.job)[0], product=path_of(each.job)[1], needed_at=plan.needed[each.job],
                ready_at=plan.origin_at + timedelta(seconds=each.end), late_s=each.end - each.due, why=each.why,
            )
            for each in late[:LATE_SHOWN]
        ],
        tasks=[
            ShopTaskView(
                task=each.task, order_id=path_of(each.task)[0], product=path_of(each.task)[1],
                step=path_of(each.task)[2], resource=each.resource,
                starts_at=plan.origin_at + timedelta(seconds=each.start),
                ends_at=plan.origin_at + timedelta(seconds=each.end), is_fixed=each.task in fixed,
            )
            for each in plan.schedule.placed
        ],
    )  # fmt: skip


def _levels(plan: ShopPlan, bound: Mapping[Level, int]) -> list[ShopLevelView]:
    rows, is_behind = [], False
    for level, found in plan.schedule.cost.items():
        least = min(found, max(plan.bound.get(level, 0), bound.get(level, 0)))
        gap = gap_permille(found, least)
        rows.append(
            ShopLevelView(
                counted=level.value, found=found, at_least=least, gap_permille=gap, is_behind=is_behind
            )
        )
        is_behind = is_behind or gap != 0
    return rows


def level_text(level: ShopLevelView) -> str:
    """Return what a level costs as people read it: seconds as a length of time."""
    return str(level.found) if level.counted == Level.CHANGES.value else span(level.found)


def gap_text(level: ShopLevelView) -> str:
    """Return how far a level is above what is proved."""
    if level.is_behind:
        return "–"
    return "not proved" if level.gap_permille is None else f"{level.gap_permille / 10:.1f} %"
