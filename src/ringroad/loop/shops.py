"""Plans of shops that were asked for: a rule places every task at once, a search goes on, CP-SAT proves.

Each step is its own: what it found is current and kept before the next one begins, so that a restart goes on
where it was. Placing and repairing have a thread of their own, since a search or a proof may take many minutes. A stop of a resource is repaired like any asking, with as few changes as due times allow.

Invariant: whatever breaks leaves the running plan, with a fact that says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import psycopg
import structlog

from ringroad.build.calendar import HORIZON_DAYS
from ringroad.build.plant.parameters import path_of
from ringroad.build.shop.bound import lower_bound
from ringroad.build.shop.check import count_cost
from ringroad.build.shop.dispatch import dispatch, repair
from ringroad.build.shop.late import span
from ringroad.build.shop.of_plant import ShopWork, Wanted, shop_work
from ringroad.build.shop.problem import ORDER, Level, Placed, Resource, Schedule, ShopProblem
from ringroad.build.shop.prove import prove
from ringroad.build.shop.replan import replan_at
from ringroad.build.shop.store import (
    ACTOR,
    WAITING,
    PlanWork,
    ShopNow,
    ShopPlan,
    Stage,
    keep_plan,
    load_shop,
    move_work,
    next_work,
    save_plan,
)
from ringroad.build.shop.store_replan import ask_overdue, overdue_shops
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, Unavailable
from ringroad.storage.db import Connection, apart, transaction

LOG = structlog.get_logger(__name__)

START_S: Final = 60  # what begins so soon keeps its place while a plan is made
FROZEN_S: Final = 180  # what begins so soon keeps its place while a search or a proof runs
BROKEN: Final = "it cannot be planned; the worker's log says why"


def plan_shops(
    conn: Connection, ids: Ids, clock: Clock, *, stages: Sequence[Stage] = WAITING
) -> PlanWork | None:
    """Take the next step of the planning that waits longest; None if none waits.

    Args:
        conn: a connection, not in a transaction.
        ids: makes the ids.
        clock: for due times and the latency.
        stages: only steps of these; what stands longer than expected is asked for again beside the placing.
    """
    if "asked" in stages:
        _ask_overdue(conn, ids, clock)
    with transaction(conn):
        work = next_work(conn, stages)
    if work is None:
        return None
    try:
        _step(conn, ids, clock, work)
    except Conflict as error:
        LOG.info("a step of a shop's plan is void", shop=work.shop, stage=work.stage, reason=error.message)
        if work.stage != "asked":
            _end(conn, work, note=error.message, now=clock.now())
    except (InvalidInput, NotFound) as error:
        _keep(conn, ids, clock, work, error.message)
    except (psycopg.Error, Unavailable):
        raise  # the database's own trouble passes; the shop waits for it
    except Exception:
        LOG.exception("planning a shop breaks", plant=work.plant_id, shop=work.shop, stage=work.stage)
        _keep(conn, ids, clock, work, BROKEN)
    return work


def _ask_overdue(conn: Connection, ids: Ids, clock: Clock) -> None:
    with transaction(conn):
        overdue = overdue_shops(conn, now=clock.now())
    for plant_id, shop in overdue:
        with apart(conn, plant_id=plant_id, shop=shop), transaction(conn):
            ask_overdue(conn, ids, plant_id=plant_id, shop=shop, now=clock.now())


def _step(conn: Connection, ids: Ids, clock: Clock, work: PlanWork) -> None:
    match work.stage:
        case "asked":
            _place(conn, ids, clock, work)
        case "searching":
            _search(conn, ids, clock, work)
        case _:
            _prove(conn, ids, clock, work)


def _keep(conn: Connection, ids: Ids, clock: Clock, work: PlanWork, reason: str) -> None:
    try:
        with transaction(conn):
            keep_plan(conn, ids, work=work, reason=reason, now=clock.now())
    except Conflict:
        LOG.info("asked again meanwhile", shop=work.shop)


def _end(conn: Connection, work: PlanWork, *, note: str, now: datetime) -> None:
    try:
        with transaction(conn):
            move_work(conn, work, to="done", note=note, bound=None, now=now)
    except Conflict:
        LOG.info("asked again meanwhile", shop=work.shop)


def _place(conn: Connection, ids: Ids, clock: Clock, work: PlanWork) -> None:
    """Place every task by the rule, or repair the running plan, and make that current."""
    now = clock.now().replace(microsecond=0)
    with transaction(conn):
        at = load_shop(conn, work.plant_id, work.shop, now=now)
    asked = shop_work(
        at.plant, at.shop, at.wanted, now=now, known=at.known, families=_families(at.running, now=now),
        begun=_begun(at, now=now), strict=work.cause == "asked",
    )  # fmt: skip
    problem = _left(asked, at, now=now, is_asked=work.cause == "asked")
    schedule = repair(problem) if problem.running else dispatch(problem)
    end = max((each.end for each in schedule.placed), default=0)
    if end > HORIZON_DAYS * 86_400:
        raise InvalidInput(
            f"shop {work.shop} has work for {span(end)}, and calendars are read for {HORIZON_DAYS} days",
            hint="open longer, or order less",
        )
    done_at = clock.now()
    plan = ShopPlan(
        id="", plant_id=work.plant_id, shop=work.shop, generation=at.running.generation if at.running else 0,
        parent_id=None, cause=work.cause, plant_generation=at.stored.generation, origin_at=now, problem=problem,
        schedule=schedule, bound=lower_bound(problem), needed=asked.needed, later=asked.later,
        replan_latency_us=max(0, (done_at - work.asked_at) // timedelta(microseconds=1)), made_by=ACTOR, made_at=now,
    )  # fmt: skip
    to: Stage = "searching" if work.moves else "proving" if work.budget else "done"
    with transaction(conn):
        save_plan(conn, ids, work=work, plan=plan, at=at, to=to, note="", now=done_at)


def _begun(at: ShopNow, *, now: datetime) -> set[str]:
    """Return the jobs of open orders of which something is made, or begins so soon that it keeps its place."""
    if at.running is None:
        return set()
    orders = {each.id for each in at.wanted}
    job_of = {task.id: job.id for job, task in at.running.problem.tasks()}
    soon = {job_of[each.task] for each in _shifted(at.running, now=now) if each.start < START_S}
    return {job for job in soon if path_of(job)[0] in orders}


def _left(asked: ShopWork, at: ShopNow, *, now: datetime, is_asked: bool) -> ShopProblem:
    """Return what is left to place: what the running plan began stays, what stands is closed."""
    running = _shifted(at.running, now=now) if at.running else ()
    tasks = {task.id for _, task in asked.problem.tasks()}
    known = [each for each in running if each.task in tasks]
    units = {each.id for each in asked.problem.resources}
    left = replan_at(
        asked.problem, [each for each in known if each.resource in units], now=0, frozen=START_S, down=at.down,
        before=_resources(at.running, asked.problem, now=now) if at.running else None,
    )  # fmt: skip
    return replace(left, order=ORDER) if is_asked else left


def _shifted(plan: ShopPlan, *, now: datetime) -> tuple[Placed, ...]:
    """Return a plan's places in seconds from now."""
    apart = round((now - plan.origin_at).total_seconds())
    return tuple(
        replace(each, start=each.start - apart, end=each.end - apart) for each in plan.schedule.placed
    )


def _resources(plan: ShopPlan, problem: ShopProblem, *, now: datetime) -> dict[str, Resource]:
    """Return the rests of units as a plan knew them, in seconds from now; of new units as they are."""
    apart = round((now - plan.origin_at).total_seconds())
    known = {
        each.id: replace(each, closed=tuple((since - apart, to - apart) for since, to in each.closed))
        for each in plan.problem.resources
    }
    return {each.id: known.get(each.id, each) for each in problem.resources}


def _families(running: ShopPlan | None, *, now: datetime) -> Mapping[str, str]:
    """Return what each unit was set up for last, as far as the running plan tells."""
    if running is None:
        return {}
    family_of = {task.id: task.family for _, task in running.problem.tasks()}
    found = {each.id: each.family for each in running.problem.resources}
    for each in sorted(_shifted(running, now=now), key=lambda each: each.start):
        if each.start < 0:
            found[each.resource] = family_of[each.task]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Going:
    """A plan that a step goes on from.

    Attributes:
        at: what it was made from, as it is now.
        plan: the current one.
        problem: the part of it that may still change.
        before: it, counted on that problem.
        started_s: when the step began.
    """

    work: PlanWork
    at: ShopNow
    plan: ShopPlan
    problem: ShopProblem
    before: Schedule
    started_s: float


def _going(conn: Connection, clock: Clock, work: PlanWork) -> _Going:
    now = clock.now()
    with transaction(conn):
        at = load_shop(conn, work.plant_id, work.shop, now=now)
    at, plan = _with_gone(at), at.running
    if plan is None:
        raise NotFound(f"shop {work.shop} has no plan to go on from", hint="ringroad shop plan")
    if at.stored.generation != plan.plant_generation:
        raise Conflict(f"plant {work.plant_id} was imported anew", hint="plan again with it")
    elapsed = max(0, round((now - plan.origin_at).total_seconds()))
    left = replan_at(plan.problem, plan.schedule.placed, now=elapsed, frozen=FROZEN_S)
    problem = replace(left, order=plan.problem.order, running=plan.problem.running)
    placed = plan.schedule.placed
    before = Schedule(placed=placed, cost=count_cost(problem, placed))
    return _Going(work=work, at=at, plan=plan, problem=problem, before=before, started_s=clock.monotonic_s())


def _with_gone(at: ShopNow) -> ShopNow:
    """Return what a plan is held against: also orders that went to the line, or were cancelled, since it was made.

    Which parts those need was checked when it was made, of the same document.
    """
    if at.running is None:
        return at
    options = {each.product: frozenset(each.options) for each in at.shop.routings}
    known = {order.id for order in at.wanted}
    gone: dict[str, frozenset[str]] = {}
    for job in at.running.problem.jobs:
        order_id, product = path_of(job.id)
        if order_id not in known:
            gone[order_id] = gone.get(order_id, frozenset()) | options.get(product, frozenset())
    made_at = at.running.made_at
    more = [Wanted(id=order_id, features=has, received_at=made_at) for order_id, has in gone.items()]
    return replace(at, wanted=(*at.wanted, *more))


def _search(conn: Connection, ids: Ids, clock: Clock, work: PlanWork) -> None:
    """Search for a better plan; what it finds is current, and proving comes next."""
    going = _going(conn, clock, work)
    from ringroad.build.shop.solve import solve_twice  # noqa: PLC0415 - loads a compiler: a second, 100 MB

    found = solve_twice(going.problem, moves_max=work.moves, seed=going.plan.generation, start=going.before)
    note = f"{found.moves} moves in {clock.monotonic_s() - going.started_s:.1f} s"
    bound = lower_bound(going.problem)
    _answer(conn, ids, clock, going, found, bound=bound, to="proving" if work.budget else "done", note=note)


def _prove(conn: Connection, ids: Ids, clock: Clock, work: PlanWork) -> None:
    """Let CP-SAT prove how good the plan is, or find a better one."""
    going = _going(conn, clock, work)
    try:
        proof = prove(going.problem, going.before, budget=work.budget, seed=going.plan.generation)
    except Unavailable as error:
        _end(conn, work, note=_joined(work.note, error.message), now=clock.now())
        return
    note = _joined(work.note, f"CP-SAT for {clock.monotonic_s() - going.started_s:.1f} s")
    _answer(conn, ids, clock, going, proof.schedule, bound=proof.bound, to="done", note=note)


def _answer(
    conn: Connection, ids: Ids, clock: Clock, going: _Going, found: Schedule, *, bound: Mapping[Level, int],
    to: Stage, note: str,
) -> None:  # fmt: skip
    """Make an answer current if it costs less than what the shop follows; note how good that is."""
    now, work = clock.now(), going.work
    with transaction(conn):
        if going.before.rank <= found.rank:
            move_work(conn, work, to=to, note=note, bound=bound, now=now)
            return
        plan = replace(
            going.plan, cause="searched" if work.stage == "searching" else "proved", problem=going.problem,
            schedule=found, bound=bound,
            replan_latency_us=max(0, (now - work.asked_at) // timedelta(microseconds=1)), made_by=ACTOR,
        )  # fmt: skip
        save_plan(conn, ids, work=work, plan=plan, at=going.at, to=to, note=note, now=now)


def _joined(*notes: str) -> str:
    return "; ".join(each for each in notes if each)
