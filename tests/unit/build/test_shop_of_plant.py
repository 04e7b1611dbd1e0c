"""A shop of a plant document becomes a problem; its plan keeps the document's words, minute by minute."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringroad.build.calendar import HORIZON_DAYS, Calendar, closed_times, longest_opening_s
from ringroad.build.plant.model import Plant, Routing, Shop, Step
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import stated_time
from ringroad.build.plant.read import read_plant
from ringroad.build.shop.check_plant import check_plan
from ringroad.build.shop.dispatch import dispatch, repair
from ringroad.build.shop.late import late_jobs
from ringroad.build.shop.of_plant import (
    TASKS_PLANNED_MAX,
    ShopWork,
    Wanted,
    find_shop,
    in_order,
    shop_work,
    unit_ids,
)
from ringroad.build.shop.problem import Placed
from ringroad.build.shop.replan import replan_at
from ringroad.kernel.errors import InvalidInput, NotFound

PLANT = read_plant((Path(__file__).parents[3] / "examples" / "first" / "plant.toml").read_text())
SHOP = PLANT.structure.shops[0]
MONDAY = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)  # 10:00 in Oslo, the first shift
KNOWN = {"family", "sport", "tow_bar", "sunroof"}


def wanted(name: str, *features: str, **kwargs: object) -> Wanted:
    given = {"received_at": MONDAY - timedelta(hours=1)} | kwargs
    return Wanted(id=name, features=frozenset(features), **given)  # type: ignore[arg-type]


def work(
    *orders: Wanted, plant: Plant = PLANT, shop: Shop = SHOP, now: datetime = MONDAY, **kwargs: object
) -> ShopWork:
    return shop_work(plant, shop, orders, now=now, known=KNOWN, **kwargs)  # type: ignore[arg-type]


def with_routings(*routings: Routing) -> Shop:
    return replace(SHOP, routings=routings)


def with_calendar(**kwargs: object) -> Plant:
    calendar = replace(PLANT.structure.calendars[0], **kwargs)  # type: ignore[arg-type]
    return replace(PLANT, structure=replace(PLANT.structure, calendars=(calendar,)))


def test_an_order_is_a_job_for_each_part_that_its_vehicle_needs() -> None:
    only_tow = with_routings(SHOP.routings[0], replace(SHOP.routings[1], options=("tow_bar",)))
    found = work(wanted("o1", "family"), wanted("o2", "family", "tow_bar"), shop=only_tow)
    assert [job.id for job in found.problem.jobs] == ["o1/door", "o2/door", "o2/roof"]
    door = found.problem.jobs[0]
    assert [(task.id, dict(task.work), task.family) for task in door.tasks] == [
        ("o1/door/draw", {"press-1": 9, "press-2": 11}, "doors"),
        ("o1/door/trim", {"trimmer": 6}, ""),
    ]
    assert found.problem.setups == {
        ("press-1", "doors", "roofs"): 900,
        ("press-1", "roofs", "doors"): 840,
    }


def test_steps_stand_behind_those_that_they_come_after() -> None:
    steps = (
        Step(name="c", resources=("trimmer",), after=("b", "a")),
        Step(name="b", resources=("trimmer",), after=("a",)),
        Step(name="a", resources=("trimmer",)),
    )
    assert [step.name for step in in_order(Routing(product="x", steps=steps))] == ["a", "b", "c"]


def test_a_part_is_due_when_the_line_needs_it_and_what_it_needs_first_is_planned_first() -> None:
    late = wanted("late", "family", needed_at=MONDAY - timedelta(hours=3), rush=True)
    soon = wanted("soon", "family", needed_at=MONDAY + timedelta(seconds=90))
    found = work(wanted("never", "family"), soon, late)
    due = {job.id: (job.due, job.weight) for job in found.problem.jobs if job.id.endswith("door")}
    assert due == {"late/door": (0, 2), "soon/door": (90, 1), "never/door": (None, 1)}
    assert next(iter(due)) == "late/door"
    assert set(found.needed) == {f"{order}/{part}" for order in ("late", "soon") for part in ("door", "roof")}


def test_what_is_beyond_a_plan_is_counted_and_planned_later() -> None:
    found = work(*(wanted(f"o{number:04}", "family") for number in range(TASKS_PLANNED_MAX)))
    assert sum(len(job.tasks) for job in found.problem.jobs) <= TASKS_PLANNED_MAX
    assert found.later == 2 * TASKS_PLANNED_MAX - len(found.problem.jobs) > 0


def test_what_is_begun_stays_in_the_plan_whatever_is_needed_earlier() -> None:
    ahead = [
        wanted(f"o{number:04}", "family", needed_at=MONDAY + timedelta(seconds=number))
        for number in range(TASKS_PLANNED_MAX)
    ]
    found = work(*ahead, wanted("under way", "family"), begun={"under way/door"})
    jobs = {job.id: len(job.tasks) for job in found.problem.jobs}
    assert "under way/door" in jobs
    assert "under way/roof" not in jobs
    assert TASKS_PLANNED_MAX - 1 <= sum(jobs.values()) - jobs["under way/door"] <= TASKS_PLANNED_MAX


def test_units_of_a_resource_are_resources() -> None:
    several = replace(SHOP, resources=(replace(SHOP.resources[0], count=2), *SHOP.resources[1:]))
    assert unit_ids(several.resources[0]) == ("press-1 1", "press-1 2")
    found = work(wanted("o1", "family"), shop=several)
    assert [each.id for each in found.problem.resources] == ["press-1 1", "press-1 2", "press-2", "trimmer"]
    assert dict(found.problem.jobs[0].tasks[0].work) == {"press-1 1": 9, "press-1 2": 9, "press-2": 11}


def test_a_calendar_is_closed_by_its_clock_on_the_wall_on_whole_days_and_when_clocks_are_set() -> None:
    calendar = PLANT.structure.calendars[0]
    shut = closed_times(calendar, start=MONDAY)
    assert shut[0] == (7 * 3600 + 1800, 7 * 3600 + 2700)  # 17:30-17:45 in Oslo
    assert shut[1] == (12 * 3600, 20 * 3600)  # 22:00-06:00
    christmas = datetime(2026, 12, 25, 12, tzinfo=UTC)
    assert any(since <= (christmas - MONDAY).total_seconds() < to for since, to in shut)
    autumn = closed_times(
        Calendar(name="x", time_zone="Europe/Oslo", hours=("mon-sun 06:00-22:00",)),
        start=datetime(2026, 10, 24, 6, tzinfo=UTC),
    )
    assert autumn[0] == (14 * 3600, 23 * 3600)  # the night in which the clock is put back has nine hours
    assert longest_opening_s(shut) > 4 * 3600
    away = replace(PLANT, identity=replace(PLANT.identity, time_zone="Asia/Shanghai"))
    found = shop_work(away, SHOP, [], now=MONDAY, known=set())
    assert found.problem.resources[0].closed[0] == (1800, 2700)  # its own clock on the wall


@pytest.mark.parametrize(
    ("plant", "shop", "orders", "words"),
    [
        (with_calendar(hours=("mon 06:00-07:00",), breaks=("mon 06:00-07:00",)), SHOP, (), "'two shifts'"),
        (
            with_calendar(closed=tuple(str((MONDAY + timedelta(days=day)).date()) for day in range(-1, HORIZON_DAYS + 2))),
            SHOP, (), "resource 'press-1': calendar 'two shifts' has no open time",
        ),
        (
            PLANT,
            with_routings(
                Routing(
                    product="door",
                    steps=(
                        Step(name="draw", resources=("trimmer",), after=("trim",)),
                        Step(name="trim", resources=("trimmer",), after=("draw",)),
                    ),
                )
            ),
            (), "routing 'door' goes round in a circle: draw > trim > draw",
        ),
        (
            PLANT, with_routings(replace(SHOP.routings[0], options=("sun_roof",))), (),
            "routing 'door' is for 'sun_roof', which no vehicle",
        ),
        (
            PLANT, with_routings(Routing(product="hood", steps=(Step(name="draw", resources=("press-1",)),))), (),
            "step 'draw' of routing 'hood' has no 'work_s' for 'press-1'",
        ),
        (
            PLANT, SHOP, (wanted("o1", "family", due_at=MONDAY - timedelta(minutes=59, seconds=50), line_s=8),),
            "order o1 came at 2026-11-30T08:00:00+00:00 and is due at 2026-11-30T08:00:10+00:00: its door in shop press",
        ),
        (
            replace(
                PLANT,
                parameters=dict(PLANT.parameters)
                | {Key(("press", "Press shop", "roof", "draw"), "work_s", "press-1"): stated_time(90_000)},
            ),
            SHOP, (), "step 'draw' of routing 'roof' is longer than any opening of press-1",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_named(
    plant: Plant, shop: Shop, orders: tuple[Wanted, ...], words: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        work(*orders, plant=plant, shop=shop)
    assert words in refused.value.message


def test_an_impossible_due_time_does_not_hold_up_the_answer_to_a_stop() -> None:
    order = wanted("o1", "family", due_at=MONDAY - timedelta(minutes=59))
    assert work(order, strict=False).problem.jobs


@pytest.mark.parametrize("name", ["Press shop", "press/Press shop", ""])
def test_a_shop_is_found_by_its_name(name: str) -> None:
    assert find_shop(PLANT, name) is SHOP


def test_a_shop_that_is_none_or_several_is_refused() -> None:
    with pytest.raises(NotFound, match="no shop 'paint'"):
        find_shop(PLANT, "paint")
    two = replace(PLANT, structure=replace(PLANT.structure, shops=(SHOP, replace(SHOP, area="north"))))
    with pytest.raises(InvalidInput, match="2 such shops"):
        find_shop(two, "Press shop")


# The plan against the document ---

ORDERS = tuple(
    wanted(f"o{number}", "family", needed_at=MONDAY + timedelta(minutes=1)) for number in range(1, 5)
)
FEATURES = {order.id: order.features for order in ORDERS}


def plan(now: datetime = MONDAY) -> tuple[Placed, ...]:
    return dispatch(work(*ORDERS, now=now).problem).placed


def faults(
    placed: tuple[Placed, ...], *, origin: datetime = MONDAY, fixed: frozenset[str] = frozenset()
) -> list[str]:
    return check_plan(PLANT, SHOP, FEATURES, placed, origin=origin, fixed=fixed)


@pytest.mark.parametrize(
    "now", [MONDAY, MONDAY + timedelta(hours=11, minutes=59, seconds=47), MONDAY - timedelta(days=2)]
)
def test_a_plan_keeps_the_words_of_the_document_at_any_hour(now: datetime) -> None:
    assert faults(plan(now), origin=now) == []


def moved(task: str, **kwargs: object) -> tuple[Placed, ...]:
    return tuple(replace(each, **kwargs) if each.task == task else each for each in plan())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("placed", "words"),
    [
        (plan()[1:], "without its step"),
        (moved("o1/door/draw", resource="trimmer"), "cannot do it"),
        (moved("o1/door/draw", start=0, end=2), "less time than it takes"),
        (moved("o1/door/trim", start=0, end=6), "before its 'draw' is done"),
        (moved("o4/door/trim", start=12, end=18), "at once"),
        (moved("o1/roof/draw", start=43_190, end=43_204), "when 'two shifts' is closed"),
        ((*plan(), Placed(task="o9/door/draw", resource="press-2", start=900, end=911)), "for no order"),
    ],
)
def test_the_checker_does_not_trust_the_adapter(placed: tuple[Placed, ...], words: str) -> None:
    found = faults(placed)
    assert any(words in each for each in found), found


def test_what_was_done_is_not_held_against_a_plan() -> None:
    assert faults(moved("o1/door/draw", start=-90, end=-88), fixed=frozenset({"o1/door/draw"})) == []


def test_what_is_late_says_by_how_much_and_what_it_waits_for() -> None:
    night = MONDAY + timedelta(
        hours=11, minutes=59, seconds=58
    )  # press-1 closes in two seconds, for the night
    order = wanted("o1", "family", needed_at=night + timedelta(minutes=1))
    found = work(order, now=night)
    placed = dispatch(found.problem).placed
    due = {job: int((at - night).total_seconds()) for job, at in found.needed.items()}
    (late,) = late_jobs(found.problem, placed, due)
    assert (late.job, late.due, late.end) == ("o1/roof", 60, 8 * 3600 + 2 + 14)
    assert late.why == "draw waits 8.0 h for press-1, which rests or stands for 8.0 h of it"
    assert late_jobs(found.problem, placed, {}) == []


def test_a_late_part_that_waited_for_others_names_them() -> None:
    found = work(*ORDERS)
    placed = dispatch(found.problem).placed
    late = late_jobs(found.problem, placed, dict.fromkeys((job.id for job in found.problem.jobs), 1))
    assert any("which does" in each.why for each in late)
    assert any("is set up for it" in each.why or "alone" in each.why for each in late)


def test_a_part_whose_making_was_interrupted_says_for_how_long() -> None:
    problem = work(wanted("o1", "family")).problem
    placed = dispatch(problem).placed
    left = replan_at(problem, placed, now=3, down={"press-1": 600})
    again = repair(left).placed
    (late,) = late_jobs(left, again, {"o1/door": 10})
    assert late.why == "draw is interrupted for 10 min on press-1"


def test_what_stood_for_less_than_expected_is_done_earlier() -> None:
    problem = work(wanted("o1", "family")).problem
    stood = replan_at(problem, dispatch(problem).placed, now=3, down={"press-1": 7_200})
    running = repair(stood).placed
    assert next(each.end for each in running if each.task == "o1/door/draw") == 7_209
    on_again = replan_at(problem, running, now=60, before={each.id: each for each in stood.resources})
    assert (
        next(task.fixed.end for _, task in on_again.tasks() if task.id == "o1/door/draw" and task.fixed) == 66
    )
