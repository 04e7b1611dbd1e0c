"""What went into a vehicle is taken once or refused by name, and a vehicle that was not checked is not born."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringroad.build.as_built import (
    Asked,
    BuiltPart,
    Checked,
    Known,
    judge_part,
    parts_of_results,
    refusals,
    traits_of,
)
from ringroad.build.model import Line, Station
from ringroad.build.plan_line import Order

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
LINE = Line(
    name="L", stations=(Station(name="trim", cycle_s=60), Station(name="test", cycle_s=60)), ratios=()
)
ORDER = Order(
    id="o1",
    programme_id="p",
    variant="city",
    options=("roof",),
    state="building",
    received_at=NOW - timedelta(days=1),
)
PART = BuiltPart(id="e1", order_id="o1", station="trim", part="seat", lot="L7", fitted_at=NOW)
KNOWN = Known(line=LINE, order=ORDER, options=frozenset({"city", "roof", "tow_bar"}))


@pytest.mark.parametrize(
    ("part", "known", "told", "word"),
    [
        ({}, {}, "taken", ""),
        ({"part": "roof"}, {}, "taken", ""),  # an option of the order
        ({"fitted_at": NOW + timedelta(seconds=5)}, {}, "taken", ""),  # within the clocks
        ({}, {"same_id": PART}, "known", ""),
        ({"fitted_at": NOW - timedelta(minutes=5)}, {"same_id": PART}, "known", ""),  # told again at another time
        ({"lot": "L8"}, {"same_id": PART}, "refused", "was seat L7 of order o1 before, and is seat L8"),
        ({"station": "roof"}, {}, "refused", "no station 'roof': it has trim, test"),
        ({"fitted_at": NOW + timedelta(seconds=60)}, {}, "refused", "60 s in the future"),
        ({"part": "tow_bar"}, {}, "refused", "order o1 never ordered it"),
        ({}, {"order": None}, "refused", "there is no order o1"),
        ({}, {"order": replace(ORDER, state="open")}, "refused", "order o1 is open"),
        ({}, {"order": replace(ORDER, state="cancelled")}, "refused", "order o1 is cancelled"),
        ({"fitted_at": NOW - timedelta(days=2)}, {}, "refused", "before order o1 was received"),
        ({}, {"born_at": NOW - timedelta(hours=1)}, "refused", "after its vehicle was born"),
        ({"serial": "S1"}, {"same_serial": "o0"}, "refused", "seat S1 is in order o0 already"),
    ],
)  # fmt: skip
def test_a_part_is_taken_once_or_refused_with_what_is_wrong(
    part: dict[str, Any], known: dict[str, Any], told: str, word: str
) -> None:
    found, reason = judge_part(replace(PART, **part), replace(KNOWN, **known), now=NOW)
    assert (found, word in reason) == (told, True)
    assert bool(reason) == (told == "refused")


ASKED = (
    Asked(station="test", gate="end", check="leak", permille=1000),
    Asked(station="test", gate="end", check="torque", permille=1000),
    Asked(station="trim", gate="sample", check="gap", permille=200),
)


def result(check: str, *, passed: bool = True, station: str = "test", at_s: int = 0) -> Checked:
    return Checked(check=check, station=station, passed=passed, at=NOW + timedelta(seconds=at_s))


@pytest.mark.parametrize(
    ("tests", "words"),
    [
        ([result("leak"), result("torque")], []),  # the gate that samples was to let it pass
        ([result("leak", passed=False), result("leak", at_s=9), result("torque")], []),  # repaired
        ([], ["'leak' of gate 'end' at test is missing", "'torque' of gate 'end' at test is missing"]),
        ([result("leak")], ["'torque' of gate 'end' at test is missing"]),
        ([result("leak"), result("torque", passed=False)], ["'torque' of gate 'end' at test failed"]),
        ([result("leak", at_s=9, passed=False), result("leak"), result("torque")], ["'leak' of gate 'end' at test failed"]),
        ([result("leak"), result("torque"), result("gap", station="trim", passed=False)], ["'gap' of gate 'sample'"]),
        ([result("leak"), result("torque", station="trim")], ["'torque' of gate 'end' at test is missing"]),
        ([result("leak"), result("torque"), result("faults", passed=False)], ["end-of-line test 'faults' at test failed"]),
    ],
)  # fmt: skip
def test_a_vehicle_is_born_only_if_every_gate_passed_it(tests: list[Checked], words: list[str]) -> None:
    said = refusals(ASKED, tests, end="test", passed_by={("trim", "sample")})
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))
    backwards = refusals(ASKED, list(reversed(tests)), end="test", passed_by={("trim", "sample")})
    assert backwards == said  # order of delivery does not matter


def test_a_vehicle_that_a_gate_was_to_look_at_is_not_born_unseen() -> None:
    tests = [result("leak"), result("torque")]
    assert refusals(ASKED, tests, end="test") == ["check 'gap' of gate 'sample' at trim is missing"]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ((True, 1), (False, 2), True),
        ((False, 1), (True, 2), False),
        ((True, 1), (False, 0), True),  # told with the registration, which knows of no attempts
        ((False, 1), (True, 0), True),
        ((True, 0), (False, 0), True),
    ],
)
def test_of_two_results_at_the_same_time_the_later_attempt_counts_and_in_doubt_the_failed_one(
    first: tuple[bool, int], second: tuple[bool, int], *, said: bool
) -> None:
    tests = [replace(result("leak"), passed=passed, attempt=attempt) for passed, attempt in (first, second)]
    for delivered in (tests, tests[::-1]):
        assert bool(refusals(ASKED[:1], delivered, end="test")) == said


def test_a_line_without_gates_asks_for_nothing_but_what_failed_at_its_end_is_not_born() -> None:
    assert refusals((), [], end="test") == []
    failed = [result("software", passed=False), result("gap", station="trim", passed=False)]
    assert refusals((), failed, end="test") == ["the end-of-line test 'software' at test failed"]


def test_lots_that_results_came_with_are_parts_unless_they_were_told() -> None:
    results = [
        ("r1", result("leak"), {"seat": "L7", "battery": "B-17"}),
        ("r2", result("torque"), {"battery": "B-17"}),
    ]
    found = parts_of_results("o1", results, [PART])
    assert [(part.id, part.part, part.lot, part.station) for part in found] == [
        ("r1:battery", "battery", "B-17", "test")
    ]


def test_traits_are_what_a_vehicle_has_in_common_with_others() -> None:
    found = traits_of(
        [replace(PART, supplier="Norvik")], [result("leak", passed=False), result("leak", at_s=9), result("torque")],
        {"brake": "1.0"}, plant_id="mother", flashed_at="test", born_at=NOW,
    )  # fmt: skip
    assert found == {
        ("lot", "seat", "L7", "trim"), ("supplier", "seat", "Norvik", "trim"), ("station", "seat", "trim", "trim"),
        ("software", "brake", "1.0", "test"), ("check", "leak", "failed first", "test"), ("week", "", "2026-W48", ""),
        ("plant", "", "mother", ""),
    }  # fmt: skip
