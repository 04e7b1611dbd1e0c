from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.preconditions import (
    HOLD_S_MAX,
    LOOK_GAP_S_MAX,
    SAMPLE_AGE_S_MAX,
    All,
    Either,
    Expression,
    Held,
    Not,
    Refusal,
    Term,
    evaluate,
    look,
    parse_precondition,
)
from ringroad.protocol.vehicle import Sample

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def samples(age_s: float = 0, /, **values: float | bool | str) -> dict[str, Sample]:
    at = NOW - timedelta(seconds=age_s)
    return {name: Sample(at=at, path=name, value=value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Vehicle.Speed == 0", True),
        ("Vehicle.Speed == 0.0", True),
        ("Vehicle.Speed > 0", False),
        ("Vehicle.Speed >= 0 AND Battery.Voltage > 12.2", True),
        ("Vehicle.Speed >= 0 AND Battery.Voltage > 13", False),
        ("Vehicle.Speed > 0 OR Battery.Voltage > 12.2", True),
        ("ParkLock.IsEngaged", True),
        ("NOT ParkLock.IsEngaged", False),
        ("NOT Charging.IsFaulty AND ParkLock.IsEngaged == true", True),
        ("Gear == 'P'", True),
        ("Gear != 'P'", False),
        ("NOT (Vehicle.Speed > 0 OR Gear != 'P')", True),
        ("Vehicle.Speed > 0 OR Vehicle.Speed == 0 AND Gear == 'D'", False),  # AND binds tighter
        ("Vehicle.Speed>-1", True),
    ],
)
def test_an_expression_over_fresh_samples(text: str, *, expected: bool) -> None:
    values: dict[str, float | bool | str] = {
        "Vehicle.Speed": 0,
        "Battery.Voltage": 12.5,
        "ParkLock.IsEngaged": True,
        "Charging.IsFaulty": False,
        "Gear": "P",
    }
    known = samples(**values)
    assert (evaluate(parse_precondition(text).expression, known, now=NOW) is None) is expected


@pytest.mark.parametrize(
    ("text", "known", "refusal"),
    [
        ("Speed == 0", samples(Speed=42), Refusal(term="Speed == 0", value="42")),
        ("Speed == 0", {}, Refusal(term="Speed == 0", value="missing")),
        ("NOT Speed == 0", {}, Refusal(term="NOT Speed == 0", value="missing")),
        ("Speed == 0", samples(SAMPLE_AGE_S_MAX + 1, Speed=0), Refusal(term="Speed == 0", value="stale")),
        ("Speed == 0", samples(-SAMPLE_AGE_S_MAX - 1, Speed=0), Refusal(term="Speed == 0", value="stale")),
        ("Speed == 0", samples(Speed="zero"), Refusal(term="Speed == 0", value="'zero'")),
        ("Speed == 0", samples(Speed=False), Refusal(term="Speed == 0", value="false")),
        ("A AND B", samples(A=True, B=False), Refusal(term="B == true", value="false")),
        ("A OR B", samples(A=False, B=False), Refusal(term="A == true", value="false")),
        ("A OR B", samples(A=False), Refusal(term="B == true", value="missing")),
    ],
)
def test_a_refusal_names_the_term_and_the_value(
    text: str, known: dict[str, Sample], refusal: Refusal
) -> None:
    assert evaluate(parse_precondition(text).expression, known, now=NOW) == refusal


@pytest.mark.parametrize(
    "text",
    [
        "", "==", "Speed ==", "Speed = 0", "0 == Speed", "Speed == 0 AND", "AND Speed", "(Speed == 0",
        "Speed == 0)", "Speed < true", "Speed < 'a'", "Speed == zero", "Speed == 0 Gear", "__import__('os')",
        "Speed == 'open", "A " * 300, "NOT " * 10 + "A", "(" * 10 + "A" + ")" * 10, " OR ".join("A" * 40),
    ],
)  # fmt: skip
def test_what_is_not_an_expression_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_precondition(text)


def test_no_preconditions_refuse_nothing() -> None:
    assert look([], {}, now=NOW, at_s=0, held=Held())[0] is None


@pytest.mark.parametrize(
    ("text", "hold_s", "age_s_max"),
    [
        ("Speed == 0", 0, SAMPLE_AGE_S_MAX),
        ("Speed == 0 FOR 30", 30, SAMPLE_AGE_S_MAX),
        ("Speed == 0 WITHIN 5", 0, 5),
        ("Speed == 0 AND Gear == 'P' FOR 2.5 WITHIN 5", 2.5, 5),
    ],
)
def test_a_hold_time_and_an_age_belong_to_the_whole(text: str, hold_s: float, age_s_max: float) -> None:
    found = parse_precondition(text)
    assert (found.hold_s, found.age_s_max, found.text) == (hold_s, age_s_max, text)


@pytest.mark.parametrize(
    "text",
    [
        "Speed == 0 FOR", "Speed == 0 FOR 0", "Speed == 0 FOR -1", "Speed == 0 FOR true", "Speed == 0 FOR 'a'",
        f"Speed == 0 FOR {HOLD_S_MAX + 1}", "Speed == 0 WITHIN 5 FOR 30", f"Speed == 0 WITHIN {SAMPLE_AGE_S_MAX + 1}",
        "FOR 30", "Speed == 0 FOR 3 FOR 3", "(Speed == 0 FOR 3) AND Parked", "WITHIN",
    ],
)  # fmt: skip
def test_a_hold_time_or_an_age_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_precondition(text)


def test_an_older_sample_than_asked_for_is_stale() -> None:
    wanted = [parse_precondition("Speed == 0 WITHIN 5")]
    for age_s, value in ((5, ""), (6, "stale"), (-6, "stale")):
        refusal, _ = look(wanted, samples(age_s, Speed=0), now=NOW, at_s=0, held=Held())
        assert (refusal.value if refusal else "") == value


def looks(*seen: tuple[float, float]) -> list[bool]:
    """Look at `Speed == 0 FOR 10` at each (second, speed); say when it allowed."""
    wanted, held = [parse_precondition("Speed == 0 FOR 10")], Held()
    allowed = []
    for at_s, speed in seen:
        refusal, held = look(wanted, samples(Speed=speed), now=NOW, at_s=at_s, held=held)
        allowed.append(refusal is None)
    return allowed


def test_what_must_hold_for_a_while_is_seen_to_hold_all_of_it() -> None:
    assert looks((100, 0), (105, 0), (109, 0), (110, 0)) == [False, False, False, True]
    assert looks((100, 0), (105, 1), (110, 0), (119, 0), (120, 0)) == [False, False, False, False, True]
    # Nobody looked in between: who knows what was.
    assert looks((100, 0), (100 + LOOK_GAP_S_MAX + 1, 0)) == [False, False]
    assert looks((100, 0), (90, 0), (99, 0), (100, 0)) == [False, False, False, True]


def test_a_hold_time_that_runs_is_named_with_how_long_it_was() -> None:
    wanted = [parse_precondition("Speed == 0 FOR 10")]
    _, held = look(wanted, samples(Speed=0), now=NOW, at_s=100, held=Held())
    refusal, _ = look(wanted, samples(Speed=0), now=NOW, at_s=104, held=held)
    assert refusal == Refusal(term="Speed == 0 FOR 10", value="true for 4 s so far")


@given(st.lists(st.tuples(st.floats(0, 8), st.booleans()), max_size=20))
def test_no_permission_before_the_time_was_held_in_full(steps: list[tuple[float, bool]]) -> None:
    at_s, true_since, seen = 50.0, None, []
    for after_s, stands in steps:
        at_s += after_s
        seen.append((at_s, 0.0 if stands else 9.0))
    for (now_s, speed), allowed in zip(seen, looks(*seen), strict=True):
        true_since = (now_s if true_since is None else true_since) if speed == 0 else None
        assert allowed is (true_since is not None and now_s - true_since >= 10)


terms = st.builds(
    Term,
    path=st.sampled_from(["A", "B", "C"]),
    operator=st.just("=="),
    literal=st.booleans(),
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    terms,
    lambda part: st.one_of(
        st.builds(Not, part=part),
        st.builds(All, parts=st.lists(part, min_size=2, max_size=3).map(tuple)),
        st.builds(Either, parts=st.lists(part, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@given(expressions, st.dictionaries(st.sampled_from(["A", "B", "C"]), st.booleans()))
def test_more_evidence_never_takes_a_permission_back(expression: Expression, values: dict[str, bool]) -> None:
    """A yes on part of the samples stays a yes whatever the missing ones turn out to say."""
    known = {name: Sample(at=NOW, path=name, value=value) for name, value in values.items()}
    if evaluate(expression, known, now=NOW) is None:
        for guess in (True, False):
            full = {name: Sample(at=NOW, path=name, value=guess) for name in "ABC"} | known
            assert evaluate(expression, full, now=NOW) is None


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_invalid_input(text: str) -> None:
    try:
        parse_precondition(text)
    except InvalidInput:
        return
