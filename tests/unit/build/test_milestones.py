"""Milestones of shipments: what is believed, and what they say of when parts arrive."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ringroad.build.logistics.milestones import Shipment, Told, Way, check_plan, sort_milestones
from ringroad.build.logistics.outlook import (
    ARRIVED_MIN,
    OVERDUE_H,
    Known,
    availability,
    expect,
    learn_legs,
    past_of,
)
from ringroad.build.logistics.quantiles import Stage
from ringroad.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
WAY = Way(name="glass by road", of_class="road", parts=("roof",), milestones=("left", "hub", "dock"))


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def shipment(name: str = "S-1", **changes: Any) -> Shipment:
    base = Shipment(
        id=f"shipment_{name}", programme_id="p", name=name, leg=WAY.name, of_class="road", part="roof",
        order_ids=("order_1",), milestones=WAY.milestones, planned=(at(-60), at(0), at(60)), told=(None,) * 3,
        announced_at=at(-600),
    )  # fmt: skip
    return replace(base, **changes)


def told(milestone: str, minutes: float, *, id_: str = "", name: str = "S-1") -> Told:
    return Told(id=id_ or f"{name} {milestone}", shipment=name, milestone=milestone, at=at(minutes))


def test_a_shipment_goes_forward_and_may_leave_a_milestone_out() -> None:
    found = sort_milestones([told("left", -50), told("dock", -1)], {"S-1": shipment()}, {}, now=NOW)
    assert [(event.milestone, place) for event, _, place in found.taken] == [("left", 0), ("dock", 2)]
    assert [each.generation for _, each, _ in found.taken] == [1, 2]
    assert not found.refused


def test_the_same_event_counts_once_in_one_delivery_and_in_two() -> None:
    event = told("left", -50)
    found = sort_milestones([event, event], {"S-1": shipment()}, {}, now=NOW)
    assert (len(found.taken), found.repeated) == (1, 1)
    moved = shipment(told=(at(-50), None, None))
    again = sort_milestones([event], {"S-1": moved}, {event.id: event}, now=NOW)
    assert (again.taken, again.repeated, again.refused) == ((), 1, ())


@pytest.mark.parametrize(
    ("given", "event", "reason"),
    [
        (shipment(), told("left", 1), "S-1 cannot be 'left' 60 s in the future"),
        (shipment(), told("port", -1), "which has no milestone 'port': it has left, hub, dock"),
        (shipment(), told("left", -1, name="S-9"), "there is no shipment 'S-9'"),
        (shipment(told=(None, at(-9), None)), told("left", -20), "S-1 is 'hub' since .*'left' comes before that"),
        (shipment(told=(at(-9), None, None)), told("left", -8), "S-1 is 'left' since"),
        (shipment(told=(at(-9), None, None)), told("hub", -20), "S-1 cannot be 'hub' at .*: it was 'left'"),
        (shipment(told=(at(-9), at(-8), at(-7))), told("dock", -6), "S-1 is 'dock'"),
        (shipment(lost="sank"), told("left", -1), "S-1 is lost: sank"),
        (shipment(), told("left", -4 * 365 * 1440), "S-1 cannot be 'left' at 2022-.*: that is years ago"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name_and_the_rest_is_taken(
    given: Shipment, event: Told, reason: str
) -> None:
    other = shipment("S-2")
    found = sort_milestones([event, told("left", -30, name="S-2")], {"S-1": given, "S-2": other}, {}, now=NOW)
    assert [each.told for each in found.refused] == [event]
    assert re.search(reason, found.refused[0].reason), found.refused[0].reason
    assert [each.name for _, each, _ in found.taken] == ["S-2"]


def test_an_id_that_was_another_event_is_refused_with_both() -> None:
    first = told("left", -50, id_="e1")
    found = sort_milestones([first, told("hub", -10, id_="e1")], {"S-1": shipment()}, {}, now=NOW)
    assert len(found.taken) == 1
    assert "event e1 was 'left' of S-1" in found.refused[0].reason
    assert "is 'hub' of S-1" in found.refused[0].reason


def test_the_clock_of_a_sender_may_be_a_little_ahead() -> None:
    found = sort_milestones([told("left", 4 / 60)], {"S-1": shipment()}, {}, now=NOW)
    assert found.taken


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"leg": "ferry"}, "the plant has no leg 'ferry'"),
        ({"part": "seats"}, "leg 'glass by road' does not bring 'seats'"),
        ({"planned": [at(0), at(1)]}, "has 3 milestones, 2 times are planned"),
        ({"planned": [at(0), at(5), at(4)]}, "cannot be 'dock' before it is 'hub'"),
        ({"orders": ["o"] * 101}, "101 orders wait"),
        ({"planned": [at(0), at(1), FOREVER]}, "cannot be 'dock' at 9999-12-31.*: that is years away"),
        ({"planned": [at(-4 * 365 * 1440), at(1), at(2)]}, "cannot be 'left' at 2022-.*: that is years away"),
    ],
)
def test_a_shipment_that_cannot_be_is_refused_with_what_is_wrong(given: dict[str, Any], reason: str) -> None:
    wanted: dict[str, Any] = {
        "leg": WAY.name, "part": "roof", "planned": [at(0), at(1), at(2)], "orders": []
    } | given  # fmt: skip
    way = WAY if wanted["leg"] == WAY.name else None
    with pytest.raises(InvalidInput, match=reason):
        check_plan(way, **wanted, now=NOW)


# Outlook -------------------------------------------------------------------------------------------


def made(count: int, *, seed: int = 3) -> list[Shipment]:
    """Shipments of 60 days: late when they leave by luck of an hour, and by little more on the way."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        start = NOW - timedelta(days=60 - 59 * number / count)
        left = float(draw.exponential(60)) - 20
        road = [left + float(draw.normal(0, 4)), left + float(draw.normal(0, 6))]
        plan = (start, start + timedelta(hours=1), start + timedelta(hours=2))
        times = tuple(p + timedelta(minutes=late) for p, late in zip(plan, [left, *road], strict=True))
        found.append(shipment(f"H-{number}", planned=plan, told=times))
    return found


@pytest.fixture(scope="module")
def known() -> Known:
    found = learn_legs(made(600))
    assert found
    return found


def test_before_anything_arrived_the_plan_speaks_and_what_was_told_moves_it() -> None:
    assert learn_legs(made(ARRIVED_MIN - 1)) is None
    fresh = expect(shipment(), None, now=at(-300))
    assert (fresh.source, fresh.late, fresh.availability.ready_at()) == ("static", False, at(60))
    left = expect(shipment(told=(at(-20), None, None)), None, now=at(-10))
    assert (left.late, left.late_min) == (True, 40)


def test_when_it_is_planned_the_routes_past_speaks_and_once_it_left_the_milestone_does(known: Known) -> None:
    assert {stage: bool(each.skill and each.skill.shown) for stage, each in known.stages.items()} == {
        Stage.PLANNED: False, Stage.DEPARTED: True, Stage.AT_HUB: True,
    }  # fmt: skip
    planned = expect(shipment(), known, now=at(-300))
    assert planned.source == "route"
    left = expect(shipment(told=(at(30), None, None)), known, now=at(31))
    assert left.source == "milestones"
    assert left.late_min == pytest.approx(90, abs=5)
    assert width(left) < width(planned) / 3


def width(expected: Any) -> float:
    quantiles = expected.availability.quantiles
    seconds: float = (quantiles[-1][1] - quantiles[0][1]).total_seconds()
    return seconds


def test_what_has_not_arrived_by_now_cannot_have_arrived_before(known: Known) -> None:
    moved = shipment(told=(at(-60), at(0), None))
    early, late = (expect(moved, known, now=at(minutes)) for minutes in (30, 62))
    assert all(each >= at(62) for _, each in late.availability.quantiles)
    sooner, later = early.availability.ready_at(), late.availability.ready_at()
    assert sooner
    assert later
    assert sooner < later


def test_what_never_arrives_is_overdue_and_promises_nothing(known: Known) -> None:
    moved = shipment(told=(at(-60), at(0), None))
    for learned, now in ((known, at(200)), (None, at(60 + 60 * OVERDUE_H + 1))):
        found = expect(moved, learned, now=now)
        assert found.overdue
        assert found.late
        assert found.late_min is None
        parts = availability([found])["order_1"]
        assert parts.ready_at() is None
        assert (
            parts.part == "roof of shipment S-1 by glass by road, which is overdue since 2026-11-26 13:00 UTC"
        )


def test_what_is_lost_is_named_with_the_reason(known: Known) -> None:
    parts = availability([expect(shipment(lost="sank"), known, now=NOW)])["order_1"]
    assert parts.part == "roof of shipment S-1 by glass by road, which is lost: sank"
    assert parts.ready_at() is None


def test_an_order_waits_for_the_last_of_its_shipments() -> None:
    soon, later = shipment(), shipment("S-2", planned=(at(-60), at(0), at(600)))
    parts = availability([expect(each, None, now=NOW) for each in (soon, later)])["order_1"]
    assert parts.ready_at() == at(600)


def test_a_leg_that_nothing_is_known_of_keeps_its_plan(known: Known) -> None:
    assert expect(shipment(leg="new leg"), known, now=NOW).source == "static"


def test_a_leg_that_changed_its_mode_is_one_that_nothing_is_known_of(known: Known) -> None:
    assert expect(shipment(of_class="rail"), known, now=NOW).source == "static"


def test_a_plan_at_the_end_of_time_is_not_overdue() -> None:
    found = expect(shipment(planned=(at(-60), at(0), FOREVER)), None, now=NOW)
    assert (found.overdue, found.availability.ready_at()) == (False, FOREVER)


def test_an_order_that_waits_for_more_shipments_than_are_looked_at_together_is_promised_nothing() -> None:
    some = [expect(shipment(f"S-{number}"), None, now=NOW) for number in range(101)]
    parts = availability(some)["order_1"]
    assert (parts.part, parts.ready_at()) == ("the parts of 101 shipments, limit 100", None)


def test_the_past_has_no_number_where_nobody_told() -> None:
    history = past_of([shipment(told=(None, None, at(70)))])
    assert np.isnan(history.departed_late_min).all()
    assert history.arrived_late_min.tolist() == [10]
    with pytest.raises(InvalidInput, match="no shipment has arrived"):
        past_of([shipment()])
