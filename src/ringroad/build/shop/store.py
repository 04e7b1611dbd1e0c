"""Plans of a plant's shops in PostgreSQL: what is asked, how far it is, what is current.

The caller opens the transactions: one to load, one to save, none while somebody searches.

Invariant: a plan becomes current only after both checkers found nothing, on the plan and the asking it was made for;
whatever fails leaves the running plan and says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from psycopg.types.json import Jsonb

from ringroad.build.plan_line import entry_times, latest_entry, least_s
from ringroad.build.plant.model import Plant, Shop
from ringroad.build.plant.parameters import path_of
from ringroad.build.plant.store import StoredPlant, get_plant, runs_of
from ringroad.build.shop.check import count_cost
from ringroad.build.shop.check_plant import check_plan
from ringroad.build.shop.document import schedule_document, schedule_of, shop_document, shop_of
from ringroad.build.shop.of_plant import Wanted, find_shop, shop_id, shop_work, unit_ids
from ringroad.build.shop.problem import Level, Placed, Schedule, ShopProblem
from ringroad.build.shop.store_stops import standing_units
from ringroad.build.stops import delay_s, on_line
from ringroad.build.store import get_programme
from ringroad.build.store_plant import current_schedule, waiting_orders
from ringroad.build.store_stops import open_stops
from ringroad.build.working_time import working_time
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, Corrupt, InvalidInput
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection, expect_one, load_queries, of_row
from ringroad.storage.ledger import append_fact, causes_of

SQL = load_queries("ringroad.build.shop")

ACTOR: Final = "system:planner"
KEPT: Final = 200  # plans of one shop; facts of older ones stay
MOVES_DEFAULT: Final = 1_000_000  # of each of two searches; some seconds
MOVES_MAX: Final = 100_000_000  # minutes
BUDGET_DEFAULT: Final = 10  # of CP-SAT's deterministic time, each unit a second or two
BUDGET_MAX: Final = 600

Stage = Literal["asked", "searching", "proving", "done", "failed"]
PLACING: Final[tuple[Stage, ...]] = ("asked",)  # takes seconds
SEEKING: Final[tuple[Stage, ...]] = ("searching", "proving")  # may take many minutes
WAITING: Final = (*PLACING, *SEEKING)
Cause = Literal["asked", "stopped", "resumed", "overdue", "searched", "proved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopPlan:
    """A plan as kept; the current one has the highest generation.

    Attributes:
        plant_generation: of the plant document that it was made from.
        origin_at: its times are seconds from here.
        problem: what was asked, with the levels that count and the plan before.
        schedule: the answer.
        bound: what no answer can be below, by level, as far as was known when it was made.
        needed: when each job's part is needed.
        later: jobs that are planned later.
        replan_latency_us: from the event until the plan was current.
    """

    id: str
    plant_id: str
    shop: str
    generation: int
    parent_id: str | None
    cause: Cause
    plant_generation: int
    origin_at: datetime
    problem: ShopProblem
    schedule: Schedule
    bound: Mapping[Level, int]
    needed: Mapping[str, datetime]
    later: int
    replan_latency_us: int
    made_by: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWork:
    """How far the planning of a shop is."""

    plant_id: str
    shop: str
    generation: int
    stage: Stage
    cause: Cause
    moves: int
    budget: int
    bound: Mapping[Level, int]
    note: str
    asked_by: str
    asked_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopNow:
    """All that a plan of a shop is made from."""

    stored: StoredPlant
    shop: Shop
    wanted: tuple[Wanted, ...]
    known: frozenset[str]  # options and variants of the plant's vehicles
    running: ShopPlan | None
    down: Mapping[str, int]  # seconds that units stand, by unit

    @property
    def plant(self) -> Plant:
        """The plant document."""
        return self.stored.plant


def ask_plan(
    conn: Connection, ids: Ids, *, plant_id: str, shop: str, actor: str, now: datetime, cause: Cause = "asked",
    moves: int = MOVES_DEFAULT, budget: int = BUDGET_DEFAULT, causes: Sequence[str] = (),
) -> PlanWork:  # fmt: skip
    """Ask the worker for a plan; what it works on for this shop is void.

    A person's asking is refused where no plan could be made; a stop is taken as it is, and the worker tries.

    Raises:
        NotFound: no such plant, or no such shop of it.
        InvalidInput: naming what cannot be: a routing, a step, a calendar, an order; or a budget out of bounds.
    """
    if not (0 <= moves <= MOVES_MAX and 0 <= budget <= BUDGET_MAX):
        raise InvalidInput(f"{moves} moves, limit {MOVES_MAX}, or a proof of {budget}, limit {BUDGET_MAX}")
    found = find_shop(get_plant(conn, plant_id).plant, shop)
    name = shop_id(found)
    if cause == "asked":
        at = load_shop(conn, plant_id, name, now=now)
        work = shop_work(at.plant, at.shop, at.wanted, now=now, known=at.known)
        if not work.problem.jobs:
            raise InvalidInput(
                f"no open order of plant {plant_id} needs a part of shop {name}",
                hint="ringroad order list; options of a routing say which vehicles need its part",
            )
    SQL.lock_shop(conn, plant_id=plant_id, shop=name)
    SQL.ask_plan(
        conn, plant_id=plant_id, shop=name, cause=cause, moves=moves, budget=budget, actor=actor, now=now
    )
    append_fact(
        conn, ids, kind=FactKind.SHOP_ASKED, subject=plant_id, actor=actor, now=now, causes=causes,
        body={"shop": name, "cause": cause, "moves": moves, "budget": budget},
    )  # fmt: skip
    return expect_work(conn, plant_id, name)


def load_shop(conn: Connection, plant_id: str, shop: str, *, now: datetime) -> ShopNow:
    """Return what a plan of a shop is made from. Raises: NotFound; InvalidInput, if nothing is built by the plant."""
    stored = get_plant(conn, plant_id)
    found = find_shop(stored.plant, shop)
    programmes = runs_of(conn, stored)
    if not programmes:
        raise InvalidInput(
            f"plant {plant_id} builds no programme here, so nobody orders from its shops",
            hint=f"ringroad plant choose {plant_id}",
        )
    running = current_plan(conn, plant_id, shop_id(found))
    begun = _under_way(running, now=now)
    wanted: list[Wanted] = []
    known: set[str] = set()
    for programme_id in programmes:
        variants = get_programme(conn, programme_id).programme.variants
        known |= set(variants) | {each for variant in variants.values() for each in variant.options}
        wanted += _wanted(conn, programme_id, begun, now=now)
    units = {unit for each in found.resources for unit in unit_ids(each)}
    standing = standing_units(conn, plant_id, shop_id(found), now=now)
    return ShopNow(
        stored=stored, shop=found, wanted=tuple(wanted), known=frozenset(known), running=running,
        down={unit: left_s for unit, left_s in standing.items() if unit in units},
    )  # fmt: skip


def _under_way(running: ShopPlan | None, *, now: datetime) -> set[str]:
    """Return the jobs of which a task is being done now."""
    if running is None:
        return set()
    at = (now - running.origin_at).total_seconds()
    job_of = {task.id: job.id for job, task in running.problem.tasks()}
    return {job_of[each.task] for each in running.schedule.placed if each.start < at < each.end}


def _wanted(conn: Connection, programme_id: str, begun: set[str], *, now: datetime) -> list[Wanted]:
    """Return what a line wants: its open orders, and those on the line of which something is being made."""
    line = get_programme(conn, programme_id).programme.line
    orders = {order.id: order for order in waiting_orders(conn, programme_id=programme_id)}
    schedule = current_schedule(conn, programme_id)
    stops = on_line(open_stops(conn, programme_id=programme_id), line)
    starts = now + timedelta(seconds=delay_s(stops, now))
    placed = schedule.document.sequence if schedule else ()
    sequence = [each for each in placed if each in orders and orders[each].state == "open"]
    needed, time = entry_times(line, sequence, now=starts), working_time(line.calendar, start=starts)
    found = []
    for order in orders.values():
        if order.state != "open" and not any(job.startswith(f"{order.id}/") for job in begun):
            continue  # a car on the line has its parts
        needed_at = needed.get(order.id)
        if needed_at is None and order.due_at:
            needed_at = latest_entry(line, order.due_at, time, now=starts)
        found.append(
            Wanted(
                id=order.id, features=order.features, received_at=order.received_at,
                needed_at=needed_at, due_at=order.due_at, line_s=least_s(line), rush=order.rush,
            )
        )  # fmt: skip
    return found


def next_work(conn: Connection, stages: Sequence[Stage] = WAITING) -> PlanWork | None:
    """Return the planning in one of these stages that waits longest, what was just asked for first."""
    row = SQL.next_work(conn, stages=list(stages))
    return None if row is None else _work(row)


def work_of(conn: Connection, plant_id: str, shop: str) -> PlanWork | None:
    """Return how far the planning of a shop is; None if nobody ever asked."""
    row = SQL.work_of(conn, plant_id=plant_id, shop=shop)
    return None if row is None else _work(row)


def expect_work(conn: Connection, plant_id: str, shop: str) -> PlanWork:
    """Return how far the planning of a shop is, which was asked for."""
    return _work(SQL.work_of(conn, plant_id=plant_id, shop=shop))


def current_plan(
    conn: Connection, plant_id: str, shop: str, *, generation: int | None = None
) -> ShopPlan | None:
    """Return the plan that a shop follows, or an older one; None if there is none."""
    row = SQL.current_plan(conn, plant_id=plant_id, shop=shop, generation=generation)
    return None if row is None else _plan(row)


def save_plan(
    conn: Connection, ids: Ids, *, work: PlanWork, plan: ShopPlan, at: ShopNow, to: Stage, note: str, now: datetime
) -> ShopPlan:  # fmt: skip
    """Make a plan current, once both checkers found nothing.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        work: the asking that it answers.
        plan: with the generation of the one that it replaces, 0 for the first.
        at: what it was made from.
        to: stage that the work is in from now on.
        note: of the work.
        now: when.

    Raises:
        Conflict: the shop was asked again, another plan became current, or a task began that the plan has later.
        Corrupt: a checker found something; a fault of ours.
    """
    SQL.lock_shop(conn, plant_id=plan.plant_id, shop=plan.shop)
    parent = current_plan(conn, plan.plant_id, plan.shop)
    if (parent.generation if parent else 0) != plan.generation:
        raise Conflict(f"the plan of shop {plan.shop} changed", hint="plan again from where it stands")
    _checked(plan, at, parent, now=now)
    move_work(conn, work, to=to, note=note, bound=plan.bound, now=now)
    made = replace(
        plan,
        id=ids.new("shopplan"),
        generation=plan.generation + 1,
        parent_id=parent.id if parent else None,
        made_at=now,
    )
    rows = SQL.insert_plan(
        conn, plan_id=made.id, plant_id=made.plant_id, shop=made.shop, generation=plan.generation,
        parent_id=made.parent_id, cause=made.cause, plant_generation=made.plant_generation, origin_at=made.origin_at,
        problem=Jsonb(problem_document(made.problem)), document=Jsonb(_answer_document(made)),
        replan_latency_us=made.replan_latency_us, actor=made.made_by, now=now,
    )  # fmt: skip
    expect_one(rows, f"the plan of shop {made.shop}")
    SQL.forget_plans(conn, plant_id=made.plant_id, shop=made.shop, generation=made.generation, kept=KEPT)
    kinds = (FactKind.SHOP_ASKED, FactKind.SHOP_PLANNED, FactKind.PLANT_IMPORTED)
    append_fact(
        conn, ids, kind=FactKind.SHOP_PLANNED, subject=made.plant_id, actor=made.made_by, now=now,
        causes=causes_of(conn, [(kind, made.plant_id) for kind in kinds]),
        body={
            "shop": made.shop, "plan_id": made.id, "generation": made.generation, "cause": made.cause,
            "plant_generation": made.plant_generation, "jobs": len(made.problem.jobs), "later": made.later,
            "cost": {level.value: cost for level, cost in made.schedule.cost.items()},
            "bound": {level.value: least for level, least in made.bound.items()},
            "replan_latency_us": made.replan_latency_us,
        },
    )  # fmt: skip
    return made


def keep_plan(conn: Connection, ids: Ids, *, work: PlanWork, reason: str, now: datetime) -> None:
    """Note why no plan was made; the running one stays. Raises: Conflict, if the shop was asked again."""
    SQL.lock_shop(conn, plant_id=work.plant_id, shop=work.shop)
    move_work(conn, work, to="failed", note=reason, bound=None, now=now)
    append_fact(
        conn, ids, kind=FactKind.SHOP_KEPT, subject=work.plant_id, actor=ACTOR, now=now,
        causes=causes_of(conn, [(FactKind.SHOP_ASKED, work.plant_id)]), body={"shop": work.shop, "reason": reason},
    )  # fmt: skip


def move_work(
    conn: Connection,
    work: PlanWork,
    *,
    to: Stage,
    note: str,
    bound: Mapping[Level, int] | None,
    now: datetime,
) -> None:
    """Note how far the planning is. Raises: Conflict, if the shop was asked again."""
    rows = SQL.move_work(
        conn, plant_id=work.plant_id, shop=work.shop, generation=work.generation, before=work.stage, stage=to,
        note=note, bound=None if bound is None else Jsonb({level.value: least for level, least in bound.items()}),
        now=now,
    )  # fmt: skip
    if rows != 1:
        raise Conflict(f"shop {work.shop} was asked for another plan", hint="the newest asking is answered")


def _checked(plan: ShopPlan, at: ShopNow, parent: ShopPlan | None, *, now: datetime) -> None:
    """Raise, unless the plan keeps every rule, the plant's words, and what began since it was made."""
    placed = plan.schedule.placed
    try:
        cost = count_cost(plan.problem, placed)
    except InvalidInput as error:
        raise Corrupt(f"a plan of shop {plan.shop} breaks a rule", detail=error.message) from error
    if cost != dict(plan.schedule.cost):
        raise Corrupt(f"a plan of shop {plan.shop} is counted wrong", detail=f"{cost}, {plan.schedule.cost}")
    orders = {order.id: order.features for order in at.wanted}
    fixed = {task.id for _, task in plan.problem.tasks() if task.fixed is not None}
    wrong = check_plan(at.plant, at.shop, orders, placed, origin=plan.origin_at, fixed=fixed)
    if wrong:
        raise Corrupt(f"a plan of shop {plan.shop} is not what the plant can do", detail="; ".join(wrong[:5]))
    if parent is not None:
        _check_begun(parent, plan, at, now=now)


def _check_begun(parent: ShopPlan, plan: ShopPlan, at: ShopNow, *, now: datetime) -> None:
    """Raise Conflict if the running plan began a task meanwhile that the new one has elsewhere, or not at all."""
    apart = round((plan.origin_at - parent.origin_at).total_seconds())
    elapsed = (now - parent.origin_at).total_seconds()
    new = {each.task: (each.resource, each.start + apart) for each in plan.schedule.placed}
    wanted = {order.id for order in at.wanted}
    for each in parent.schedule.placed:
        here = (each.resource, each.start)
        nowhere = None if path_of(each.task)[0] in wanted else here  # nobody waits for it any more
        meanwhile = max(apart, plan.problem.now + apart) <= each.start <= elapsed
        if meanwhile and each.resource not in at.down and new.get(each.task, nowhere) != here:
            raise Conflict(f"task {each.task} of shop {plan.shop} began meanwhile", hint="plan again")


def problem_document(problem: ShopProblem) -> dict[str, Any]:
    """Return a problem as a document, with its levels and its running plan."""
    running = [(each.task, each.resource, each.start, each.end) for each in problem.running]
    return {
        "shop": shop_document(problem),
        "order": [level.value for level in problem.order],
        "running": running,
    }


def _answer_document(plan: ShopPlan) -> dict[str, Any]:
    return schedule_document(plan.schedule) | {
        "bound": {level.value: least for level, least in plan.bound.items()},
        "needed": {job: at.isoformat() for job, at in plan.needed.items()},
        "later": plan.later,
    }


def _problem(document: Mapping[str, Any]) -> ShopProblem:
    return replace(
        shop_of(document["shop"]),
        order=tuple(Level(name) for name in document["order"]),
        running=tuple(
            Placed(task=task, resource=resource, start=start, end=end)
            for task, resource, start, end in document["running"]
        ),
    )


def _plan(row: Mapping[str, Any]) -> ShopPlan:
    document, problem = row["document"], _problem(row["problem"])
    schedule = schedule_of(document)
    cost = {level: schedule.cost[level] for level in problem.order}  # jsonb has an order of its own
    return ShopPlan(
        id=row["id"], plant_id=row["plant_id"], shop=row["shop"], generation=row["generation"],
        parent_id=row["parent_id"], cause=row["cause"], plant_generation=row["plant_generation"],
        origin_at=row["origin_at"], problem=problem, schedule=replace(schedule, cost=cost),
        bound=_levels(document["bound"]),
        needed={job: datetime.fromisoformat(at) for job, at in document["needed"].items()},
        later=document["later"], replan_latency_us=row["replan_latency_us"], made_by=row["made_by"],
        made_at=row["made_at"],
    )  # fmt: skip


def _work(row: Mapping[str, Any]) -> PlanWork:
    return of_row(PlanWork, row, bound=_levels(row["bound"]))


def _levels(document: Mapping[str, int]) -> dict[Level, int]:
    return {Level(name): int(value) for name, value in document.items()}
