from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.vehicle import Sample
from ringroad.vehicle.preconditions import (
    SAMPLE_AGE_S_MAX,
    All,
    Either,
    Expression,
    Not,
    Refusal,
    Term,
    evaluate,
    evaluate_all,
    parse_expression,
)

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
    assert (evaluate(parse_expression(text), known, now=NOW) is None) is expected


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
    assert evaluate(parse_expression(text), known, now=NOW) == refusal


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
        parse_expression(text)


def test_no_preconditions_refuse_nothing() -> None:
    assert evaluate_all([], {}, now=NOW) is None


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
        parse_expression(text)
    except InvalidInput:
        return
