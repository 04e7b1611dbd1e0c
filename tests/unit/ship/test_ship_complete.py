from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.ship.complete import ABOUT, CHOICES_MAX, Known, complete
from ringroad.ship.query import ECU_PROPERTIES, PLAIN_FIELDS, QueryError, parse_query, point_at

KNOWN = Known(
    ecus=("brake", "battery"),
    attributes=("hwRevision",),
    telemetry=("Vehicle.TraveledDistance",),
    faults=("brake.C1095",),
    values={
        "variant": ("city", "premium"), "region": ("NO", "New Zealand", 'a "b"', "or"), "tag": ("pilot",),
        "list": ("recall",), "ecu.brake.version": ("1.0.0", "2.0.0"),
    },
)  # fmt: skip


def offered(marked: str) -> list[str]:
    """What is offered at the bar in a text."""
    cursor = marked.index("|")
    return [choice.text for choice in complete(marked.replace("|", ""), cursor, KNOWN).choices]


@pytest.mark.parametrize(
    ("marked", "first"),
    [
        ("var|", ["variant"]),
        ("VAR|", ["variant"]),
        ("ecu.br|", ["ecu.brake.version", "ecu.brake.hardware"]),
        ("version|", ["ecu.brake.version", "ecu.battery.version"]),  # what holds it, where nothing begins so
        ("att|", ["attribute.hwRevision"]),
        ("tel|", ["telemetry.Vehicle.TraveledDistance"]),
        ("fau|", ["fault.brake.C1095"]),
        ("fault.brake.C1095 |", ["=", "!="]),
        ("fault.brake.C1095 = |", ["true", "false"]),
        ("variant |", ["=", "!=", "~", "in", "not in"]),
        ("ecu.brake.version |", ["=", "!=", "~", "in", "not in", "<"]),
        ("variant not |", ["in"]),
        ("variant = |", ["city", "premium"]),
        ("variant = pr|", ["premium"]),
        ("variant in |", ["("]),
        ("variant in (|", ["city", "premium"]),
        ("variant in (city|", []),  # it is written already
        ("variant in (city |", [",", ")"]),
        ("variant in (city, |", ["city", "premium"]),
        ("variant in (city) |", ["and", "or"]),
        ("variant = city |", ["and", "or"]),
        ("(variant = city |", ["and", "or", ")"]),
        ("(variant = city) |", ["and", "or"]),
        ("variant = city a|", ["and"]),
        ("variant = city and not re|", ["region", "release"]),
        ("region = n|", ["NO", '"New Zealand"']),
        ('region = "n|', ["NO", '"New Zealand"']),  # inside quotes that are still open
        ("region = |", ["NO", '"New Zealand"', "'a \"b\"'", '"or"']),  # quoted where it must be
        ("blocked = |", ["true", "false"]),
        ("ecu.brake.present = f|", ["false"]),
        ("ecu.brake.version < |", ["1.0.0", "2.0.0"]),
        ("list = r|", ["recall"]),
        ("colour = |", []),
        ("all |", []),
    ],
)
def test_what_may_stand_at_the_cursor_is_offered(marked: str, first: list[str]) -> None:
    found = offered(marked)
    assert found[: len(first)] == first
    assert found or not first


def test_everything_is_offered_at_the_beginning() -> None:
    assert offered("|")[: len(PLAIN_FIELDS)] == list(PLAIN_FIELDS)
    assert "all" in offered("|")
    assert "all" not in offered("region = NO and |") + offered("not |") + offered("(|")
    assert ABOUT.keys() == {*PLAIN_FIELDS, *ECU_PROPERTIES}


def test_a_choice_takes_the_place_of_the_whole_word() -> None:
    found = complete("regoin = NO and variant = city", 3, KNOWN)
    assert (found.start, found.end) == (0, 6)
    inside = complete("variant = city", 12, KNOWN)
    assert (inside.start, inside.end, [choice.text for choice in inside.choices]) == (10, 14, ["city"])
    between = complete("variant =  and region = NO", 10, KNOWN)
    assert (between.start, between.end) == (10, 10)


@pytest.mark.parametrize("cursor", [-5, 0, 999_999])
def test_a_cursor_out_of_range_is_the_nearest_end(cursor: int) -> None:
    found = complete("variant", cursor, KNOWN)
    assert 0 <= found.start <= found.end <= len("variant")


def test_choices_have_a_limit() -> None:
    many = Known(values={"tag": tuple(f"t{number}" for number in range(500))})
    assert len(complete("tag = ", 6, many).choices) == CHOICES_MAX


@given(st.text(alphabet="va riant=!<(,)\"'notINall.é\0\n", max_size=40), st.integers(0, 45))
def test_any_text_and_cursor_are_answered_within_the_text(text: str, cursor: int) -> None:
    found = complete(text, cursor, KNOWN)
    assert 0 <= found.start <= found.end <= len(text)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=14))
def test_whoever_only_takes_choices_writes_a_query_that_can_be_read_as_far_as_it_goes(
    picks: list[int],
) -> None:
    text = ""
    for pick in picks:
        choices = complete(text, len(text), KNOWN).choices
        if not choices:
            break
        text += choices[pick % len(choices)].text + " "
        with contextlib.suppress(QueryError):
            parse_query(text)
            continue
        with pytest.raises(QueryError) as caught:
            parse_query(text)
        # Unfinished, without order, or a comparison of something without values: never a wrong word before its end.
        assert caught.value.column >= len(text.rstrip()) - len(choices[pick % len(choices)].text), (
            text,
            caught.value,
        )


@pytest.mark.parametrize(
    ("text", "column", "shown"),
    [
        ("variant = city and regoin = EU", 20, "variant = city and regoin = EU\n" + " " * 19 + "^"),
        ("a\nbc = d", 3, "bc = d\n^"),
        ("x", 99, "x\n ^"),
        ("", 1, "\n^"),
        ("x\x1b[31my", 3, "x [31my\n  ^"),
        ("y" * 200, 100, "…" + "y" * 76 + "…\n" + " " * 39 + "^"),
    ],
)
def test_a_caret_stands_below_the_mistake(text: str, column: int, shown: str) -> None:
    assert point_at(text, column) == shown
