"""Does a shop's plan keep what the plant document and the orders say? Slow and obvious, and apart from the adapter.

`check.py` holds a plan against its problem. This holds it against what the problem was made of, so that a fault of
`of_plant.py` or `calendar.py` is seen: routings are read from the document, and a calendar is asked minute by minute
what the clock on the wall shows.

Pure. What was fixed is a fact, and not looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from ringroad.build.calendar import Calendar
from ringroad.build.plant.model import Plant, Routing, Shop, Step
from ringroad.build.plant.parameters import Key, path_of, path_text
from ringroad.build.shop.problem import Placed
from ringroad.kernel.hours import Window, is_open

SLACK_S = 1  # seconds; a belief is rounded to whole ones


def check_plan(
    plant: Plant, shop: Shop, orders: Mapping[str, frozenset[str]], placed: Sequence[Placed], *, origin: datetime,
    fixed: Collection[str],
) -> list[str]:  # fmt: skip
    """Return what is wrong with a plan, in sentences; nothing if it holds.

    Args:
        plant: the document.
        shop: of the plant.
        orders: options and variant of each order that is planned.
        placed: the plan.
        origin: the moment that its times count from.
        fixed: tasks that are facts.
    """
    at = {each.task: each for each in placed}
    routings = {routing.product: routing for routing in shop.routings}
    wrong: list[str] = []
    for order_id, product in sorted({path_of(each.task)[:2] for each in placed}):
        job = path_text((order_id, product))
        routing = routings.get(product)
        if order_id not in orders or routing is None:
            wrong.append(f"{job} is made for no order, or by no routing")
        elif routing.options and not orders[order_id] & set(routing.options):
            wrong.append(f"{job} is made, and its order has none of {', '.join(routing.options)}")
        else:
            wrong += _routing_faults(plant, shop, routing, job, at, fixed=fixed)
    for name in sorted({each.resource for each in placed}):
        mine = sorted(
            (each for each in placed if each.resource == name), key=lambda each: (each.start, each.end)
        )
        busy, until = "", mine[0].start
        for each in mine:
            if each.start < until and each.task not in fixed:
                wrong.append(f"{name} does {busy} and {each.task} at once")
            if until <= each.end:
                busy, until = each.task, each.end
    free = [each for each in placed if each.task not in fixed]
    return wrong + list(_calendar_faults(plant, shop, free, origin=origin))


def _routing_faults(
    plant: Plant, shop: Shop, routing: Routing, job: str, at: Mapping[str, Placed], *, fixed: Collection[str]
) -> Iterator[str]:
    for step in routing.steps:
        here = at.get(_task(job, step.name))
        if here is None:
            yield f"{job} is made without its step {step.name!r}"
            continue
        if here.task in fixed:
            continue
        name = _of_unit(shop, here.resource)
        if name not in step.resources:
            yield f"step {step.name!r} of {job} is done on {here.resource}, which cannot do it"
            continue
        belief = plant.parameters.get(Key((shop.area, shop.name, routing.product, step.name), "work_s", name))
        if belief is None or here.end - here.start < belief.mean - SLACK_S:
            yield f"step {step.name!r} of {job} has less time than it takes on {here.resource}"
        for before in step.after:
            if (first := at.get(_task(job, before))) is not None and here.start < first.end:
                yield f"step {step.name!r} of {job} begins before its {before!r} is done"


def _task(job: str, step: str) -> str:
    return f"{job}/{path_text((step,))}"


def _of_unit(shop: Shop, unit: str) -> str:
    """Return which resource of the document a unit is one of; "" for none."""
    for each in shop.resources:
        if unit == each.name or (each.count > 1 and unit.startswith(f"{each.name} ")):
            return each.name
    return ""


def _calendar_faults(
    plant: Plant, shop: Shop, placed: Sequence[Placed], *, origin: datetime
) -> Iterator[str]:
    resources = {each.name: each for each in shop.resources}
    calendars = plant.calendars()
    steps: dict[tuple[str, ...], Step] = {
        (routing.product, step.name): step for routing in shop.routings for step in routing.steps
    }
    open_minutes: dict[tuple[str, datetime], bool] = {}
    for each in placed:
        resource = resources.get(_of_unit(shop, each.resource))
        if resource is None or not resource.calendar or each.end == each.start:
            continue
        step = steps.get(path_of(each.task)[1:])
        if step is not None:
            yield from _hours_faults(calendars[resource.calendar], each, step, origin, open_minutes)


def _hours_faults(
    calendar: Calendar, each: Placed, step: Step, origin: datetime, known: dict[tuple[str, datetime], bool]
) -> Iterator[str]:
    window = Window(hours=calendar.hours, quiet=calendar.breaks, time_zone=calendar.time_zone)
    zone = window.zone(None)
    start, end = (origin + timedelta(seconds=at) for at in (each.start, each.end - 1))
    minute, last = start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0)
    while minute <= last:
        key = (calendar.name, minute)
        if key not in known:
            known[key] = (
                is_open(window, zone, minute) and str(minute.astimezone(zone).date()) not in calendar.closed
            )
        if not known[key] and (not step.splits or minute in (start.replace(second=0, microsecond=0), last)):
            yield f"{each.task} is worked on at {minute.isoformat(timespec='minutes')}, when {calendar.name!r} is closed"
            return
        minute += timedelta(minutes=1)
