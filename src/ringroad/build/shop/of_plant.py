"""A shop of a plant document as a problem: its resources, calendars and set-ups, and a job for each part on order.

Times are seconds from the moment of planning. What the document does not fix is taken on the safe side:
steps of a routing follow one another in an order that it allows, and a resource pauses work in a break only if
every step that it may do can be interrupted.

Pure. Invariant: a schedule of the problem is one of the plant; `check_plant.py` looks at that from the other side.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ringroad.build.calendar import Calendar, Spans, closed_times, longest_opening_s
from ringroad.build.plant.check import cycle_of
from ringroad.build.plant.model import Plant, Routing, Shop, Step
from ringroad.build.plant.model import Resource as PlantResource
from ringroad.build.plant.parameters import Key, path_of, path_text
from ringroad.build.shop.problem import TASKS_MAX, Job, Resource, ShopProblem, Task
from ringroad.kernel.errors import InvalidInput, NotFound

TASKS_PLANNED_MAX: Final = 1_000  # of one plan; what the line needs later is planned later
RUSH_WEIGHT: Final = 2  # of lateness, as in the line's sequence

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a shop has to know of one order.

    Attributes:
        id: of the order.
        features: its options and its variant.
        received_at: when it came.
        needed_at: when the line needs its parts; None: it has no place there.
        due_at: of the vehicle.
        line_s: seconds that the vehicle is on the line at least.
        rush: somebody waits for it.
    """

    id: str
    features: frozenset[str]
    received_at: datetime
    needed_at: datetime | None = None
    due_at: datetime | None = None
    line_s: float = 0
    rush: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopWork:
    """What a shop is asked.

    Attributes:
        problem: its jobs are called ``order/product``, its tasks ``order/product/step``.
        needed: when each job's part is needed; jobs that nobody waits for are left out.
        later: jobs that are planned later.
    """

    problem: ShopProblem
    needed: Mapping[str, datetime]
    later: int = 0


def find_shop(plant: Plant, name: str) -> Shop:
    """Return a shop by its name, or by area and name; of a plant that has only one, by "".

    Raises:
        NotFound: there is no such shop.
        InvalidInput: several are called so.
    """
    known = {shop_id(shop): shop for shop in plant.structure.shops}
    found = [shop for key, shop in known.items() if name in ("", key, shop.name)]
    if not found:
        raise NotFound(
            f"plant {plant.id} has no shop {name!r}" if name else f"plant {plant.id} has no shop",
            hint=f"one of {', '.join(known)}" if known else "shops stand in its document",
        )
    if len(found) > 1:
        raise InvalidInput(
            f"plant {plant.id} has {len(found)} such shops", hint=f"one of {', '.join(map(shop_id, found))}"
        )
    return found[0]


def shop_id(shop: Shop) -> str:
    """Return the name of a shop that no other of its plant has."""
    return path_text((shop.area, shop.name))


def unit_ids(resource: PlantResource) -> tuple[str, ...]:
    """Return the names of a resource's units: its own, with a number where there are several."""
    if resource.count == 1:
        return (resource.name,)
    return tuple(f"{resource.name} {number}" for number in range(1, resource.count + 1))


def shop_work(
    plant: Plant, shop: Shop, wanted: Sequence[Wanted], *, now: datetime, known: Collection[str],
    families: Mapping[str, str] | None = None, begun: Collection[str] = (), strict: bool = True,
) -> ShopWork:  # fmt: skip
    """Return what a shop has to do for the orders of its plant.

    Args:
        plant: with what it believes of the shop's times.
        shop: of the plant.
        wanted: orders.
        now: the moment that times count from.
        known: options and variants that the plant's vehicles can have.
        families: what units are set up for, by unit.
        begun: jobs of which something is made or being made; these are in the plan, whatever is needed earlier.
        strict: refuse an order that could not have been in time when it came.

    Raises:
        InvalidInput: naming the routing, step, resource, calendar or order that cannot be.
    """
    shut = _shut(plant, shop, now=now)
    resources = tuple(
        Resource(
            id=unit, closed=shut[each.name], splits=_pauses(shop, each), family=(families or {}).get(unit, "")
        )
        for each in shop.resources
        for unit in unit_ids(each)
    )
    steps = {
        routing.product: [(step, _work(plant, shop, routing, step, shut)) for step in in_order(routing)]
        for routing in shop.routings
    }
    for routing in shop.routings:
        strange = sorted(set(routing.options) - set(known))
        if strange:
            raise InvalidInput(
                f"routing {routing.product!r} is for {strange[0]!r}, which no vehicle of plant {plant.id} can have",
                hint=f"one of {', '.join(sorted(known))}",
            )
    steps_of = {routing.product: len(routing.steps) for routing in shop.routings}
    tasks_max = min(TASKS_PLANNED_MAX, TASKS_MAX - sum(steps_of.get(path_of(job)[1], 0) for job in begun))
    jobs, needed, later, tasks = [], {}, 0, 0
    for order in sorted(wanted, key=lambda each: (each.needed_at or _NEVER, each.received_at, each.id)):
        for routing in shop.routings:
            if routing.options and not order.features & set(routing.options):
                continue
            if path_text((order.id, routing.product)) not in begun:
                tasks += len(routing.steps)
                if tasks > tasks_max:
                    later += 1
                    continue
            job = _job(order, routing, steps[routing.product], now=now)
            if strict:
                _check_due(order, job, shop)
            jobs.append(job)
            if order.needed_at is not None:
                needed[job.id] = order.needed_at
    problem = ShopProblem(resources=resources, jobs=tuple(jobs), setups=_setups(plant, shop))
    return ShopWork(problem=problem, needed=needed, later=later)


def in_order(routing: Routing) -> list[Step]:
    """Return the steps of a routing, each behind those it comes after. Raises: InvalidInput, if they go in a circle."""
    circle = cycle_of(routing)
    if circle:
        raise InvalidInput(f"routing {routing.product!r} goes round in a circle: {' > '.join(circle)}")
    found: list[Step] = []
    while len(found) < len(routing.steps):
        done = {step.name for step in found}
        found.append(next(each for each in routing.steps if each not in found and set(each.after) <= done))
    return found


def _shut(plant: Plant, shop: Shop, *, now: datetime) -> dict[str, Spans]:
    calendars = plant.calendars()
    read: dict[str, Spans] = {"": ()}
    found = {}
    for resource in shop.resources:
        if resource.calendar not in read:
            read[resource.calendar] = _closed(resource, calendars, now=now)
        found[resource.name] = read[resource.calendar]
    return found


def _closed(resource: PlantResource, calendars: Mapping[str, Calendar], *, now: datetime) -> Spans:
    if resource.calendar not in calendars:
        raise InvalidInput(f"resource {resource.name!r} works by {resource.calendar!r}, which is no calendar")
    try:
        return closed_times(calendars[resource.calendar], start=now)
    except InvalidInput as error:
        raise InvalidInput(f"resource {resource.name!r}: {error.message}", hint=error.hint) from error


def _pauses(shop: Shop, resource: PlantResource) -> bool:
    return all(
        step.splits for routing in shop.routings for step in routing.steps if resource.name in step.resources
    )


def _work(
    plant: Plant, shop: Shop, routing: Routing, step: Step, shut: Mapping[str, Spans]
) -> dict[str, int]:
    """Return the seconds that a step takes, by unit that can do it."""
    resources = {each.name: each for each in shop.resources}
    found: dict[str, int] = {}
    too_long: list[str] = []
    for name in step.resources:
        key = Key((shop.area, shop.name, routing.product, step.name), "work_s", name)
        if key not in plant.parameters:
            raise InvalidInput(
                f"step {step.name!r} of routing {routing.product!r} has no 'work_s' for {name!r}",
                hint=f'[parameters."{path_text(key.path)}"] says it',
            )
        work = max(1, round(plant.parameters[key].mean))
        if not _pauses(shop, resources[name]) and longest_opening_s(shut[name]) < work:
            too_long.append(name)
            continue
        found |= dict.fromkeys(unit_ids(resources[name]), work)
    if not found:
        raise InvalidInput(
            f"step {step.name!r} of routing {routing.product!r} is longer than any opening of {', '.join(too_long)}",
            hint="let it split, or open longer",
        )
    return found


def _setups(plant: Plant, shop: Shop) -> dict[tuple[str, str, str], int]:
    found: dict[tuple[str, str, str], int] = {}
    for resource in shop.resources:
        for one in resource.families:
            for other in resource.families:
                belief = plant.parameters.get(
                    Key((shop.area, shop.name, resource.name), "setup_s", f"{one}>{other}")
                )
                if belief is not None:
                    found |= {(unit, one, other): max(0, round(belief.mean)) for unit in unit_ids(resource)}
    return found


def _job(
    order: Wanted, routing: Routing, steps: Sequence[tuple[Step, dict[str, int]]], *, now: datetime
) -> Job:
    due = None if order.needed_at is None else max(0, math.floor((order.needed_at - now).total_seconds()))
    return Job(
        id=path_text((order.id, routing.product)),
        tasks=tuple(
            Task(id=path_text((order.id, routing.product, step.name)), work=work, family=step.family)
            for step, work in steps
        ),
        due=due,
        weight=RUSH_WEIGHT if order.rush else 1,
    )


def _check_due(order: Wanted, job: Job, shop: Shop) -> None:
    """Refuse an order that could not have been in time, however early its parts were begun."""
    if order.due_at is None:
        return
    least_s = sum(min(task.work.values()) for task in job.tasks) + order.line_s
    if (order.due_at - order.received_at).total_seconds() < least_s:
        raise InvalidInput(
            f"order {order.id} came at {order.received_at.isoformat(timespec='seconds')} and is due at "
            f"{order.due_at.isoformat(timespec='seconds')}: its {path_of(job.id)[1]} in shop {shop_id(shop)} and"
            f" the line take {math.ceil(least_s)} s",
            hint="cancel it, and order it again with a later due time",
        )
