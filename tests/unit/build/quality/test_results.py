"""Results of checks: what is believed, what was known, and what is refused with which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ringroad.build.model import Line, Programme, Station, Variant
from ringroad.build.plan_line import Order
from ringroad.build.quality.periods import FIRST, LONGEST, first_of, period_of
from ringroad.build.quality.results import ATTEMPTS_MAX, LOTS_MAX, CheckResult, SortedResults, sort_results

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LINE = Line(
    name="l", stations=tuple(Station(name=name, cycle_s=60) for name in ("frame", "roof", "test")), ratios=()
)
REWORKS = replace(
    LINE, stations=(*LINE.stations[:2], Station(name="test", cycle_s=60, rework_permille=20, rework_s=60))
)
ORDERS = {
    state: Order(
        id=state, programme_id="p", variant="v", received_at=NOW - timedelta(hours=1), state=state
    )
    for state in ("open", "building", "born", "cancelled")
}  # fmt: skip
ORDERS["WRR00000000000001"] = ORDERS["born"]


def programme(line: Line = LINE) -> Programme:
    variants = {name: Variant(name=name, ecus=(), options=()) for name in ("v", "w")}
    return Programme(id="p", name="P", variants=variants, ecus={}, line=line)


def result(number: int, station: str = "frame", *, ago_s: float = 100, **changes: Any) -> CheckResult:
    base = CheckResult(
        id=f"e{number}", vehicle="building", station=station, check="torque", passed=True,
        at=NOW - timedelta(seconds=ago_s),
    )  # fmt: skip
    return replace(base, **changes)


def sort(*delivered: CheckResult, before: tuple[CheckResult, ...] = (), line: Line = LINE) -> SortedResults:
    return sort_results(delivered, programme(line), ORDERS, before, software="1.2.0", now=NOW)


def test_the_first_result_of_a_check_counts_and_later_ones_follow_rework() -> None:
    found = sort(
        result(1, passed=False),
        result(2, ago_s=90, passed=False),
        result(3, ago_s=80),
        result(4, check="paint"),
    )
    assert [(each.attempt, each.outcome) for each in found.taken] == [
        (1, "failed"), (2, "failed"), (3, "reworked"), (1, "first_pass"),
    ]  # fmt: skip
    assert not found.refused


def test_what_the_sender_leaves_out_is_known_of_an_order() -> None:
    (taken,) = sort(result(1, vehicle="WRR00000000000001")).taken
    assert (taken.vehicle, taken.variant, taken.software) == ("born", "v", "1.2.0")
    (told,) = sort(result(1, software="1.1.0", vehicle="built-elsewhere", variant="w")).taken
    assert (told.vehicle, told.variant, told.software) == ("built-elsewhere", "w", "1.1.0")


def test_a_result_told_again_counts_once_also_after_the_baseline_moved() -> None:
    taken = sort(result(1)).taken
    again = sort_results([result(1)], programme(), ORDERS, taken, software="2.0.0", now=NOW)
    assert (again.repeated, again.taken, again.refused) == (1, (), ())
    twice = sort(result(1), result(1))
    assert (len(twice.taken), twice.repeated) == (1, 1)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            result(1, vehicle="x9", variant="v", at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))),
            "torque of x9 at frame was more than 1100 days ago",
        ),
        (result(1, ago_s=-600), "torque of building at frame cannot have been 600 s in the future"),
        (result(1, station="rof"), "the line has no station 'rof': it has frame, roof, test"),
        (result(1, vehicle="open"), "order open is open: it never entered the line, frame cannot"),
        (result(1, vehicle="cancelled"), "order cancelled is cancelled"),
        (result(1, vehicle="order_none"), "frame: there is no order order_none for this line"),
        (result(1, vehicle="X1"), "frame: vehicle X1 is no order of this line: say its variant"),
        (result(1, vehicle="X1", variant="z"), "frame: vehicle X1 is a 'z', the programme has v, w"),
        (result(1, variant="w"), "frame: order building is a v, not a w"),
        (result(1, ago_s=4_000), "torque of building at frame was before the order was received"),
        (result(1, lots={str(n): "a" for n in range(LOTS_MAX + 1)}), "names 41 lots, limit 40"),
        (result(0, passed=False), "event e0 was torque of building at frame, passed before, and is"),
        (result(1, ago_s=60), "torque of building at frame comes out of order: event e0 is of"),
        (result(1, "roof", ago_s=60), "building cannot have been at roof before frame"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_station_and_the_vehicle(bad: CheckResult, words: str) -> None:
    good = result(2, vehicle="born")
    found = sort(bad, good, before=(result(0, ago_s=50, variant="v", software="1.2.0", attempt=1),))
    assert [each.id for each in found.taken] == ["e2"]
    (refused,) = found.refused
    assert words in refused.reason


def test_only_a_line_with_rework_has_a_way_back() -> None:
    told = (result(1, "test", ago_s=50, passed=False), result(2, "roof", ago_s=40))
    assert len(sort(*told, line=REWORKS).taken) == 2
    assert "cannot have been at test before roof" in sort(*told).refused[0].reason


def test_a_check_that_fails_without_end_is_refused_at_last() -> None:
    many = [result(number, passed=False, ago_s=2_000 - number) for number in range(ATTEMPTS_MAX + 1)]
    found = sort(*many)
    assert len(found.taken) == ATTEMPTS_MAX
    assert "has 1000 results already" in found.refused[0].reason


def test_periods_grow_with_what_is_known_up_to_a_limit() -> None:
    found = [period_of(number) for number in range(5 * LONGEST)]
    assert found == sorted(found)
    lengths = [found.count(period) for period in sorted(set(found))][:-1]
    assert lengths[:3] == [FIRST, FIRST, 2 * FIRST]
    assert lengths[-2:] == [LONGEST, LONGEST]
    assert [first_of(period) for period in range(found[-1] + 1)] == [
        found.index(period) for period in range(found[-1] + 1)
    ]
    assert first_of(-2) == 0
