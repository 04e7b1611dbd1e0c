from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.ship.match import (
    NotSelected,
    Selected,
    Vocabulary,
    as_like,
    holds,
    lint,
    match_vehicle,
    preview,
    sample_marks,
)
from ringroad.ship.model import EcuFacts, VehicleFacts
from ringroad.ship.query import (
    DEPTH_MAX,
    IN_VALUES_MAX,
    TERMS_MAX,
    Field,
    Negation,
    QueryError,
    Term,
    parse_query,
)


def ecu(name: str, version: str | None) -> EcuFacts:
    return EcuFacts(name=name, serial=f"S-{name}", hardware_id="HW-1", version=version)


CAR = VehicleFacts(
    vin="WRR1ZZZ00PA000001",
    programme_id="roadster",
    variant="city",
    region="EU",
    tags=("pilot", "berlin"),
    release_id="release_1",
    attributes={"hwRevision": "2"},
    lists=("recall",),
    telemetry={
        "Vehicle.TraveledDistance": 12345.6,
        "Vehicle.IsMoving": False,
        "Vehicle.Mode": "eco",
        "fault brake.C1095": True,
        "fault head.B1000": False,
    },
    born_at=datetime(2026, 3, 1, tzinfo=UTC),
    ecus={"brake": ecu("brake", "1.9.0"), "head": ecu("head", None), "odd": ecu("odd", "HW_A-17")},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", True),
        ("programme = roadster and variant in (city, premium) and ecu.brake.version < 2.0.0", True),
        ('region = "EU" and tag = pilot and not vin in (WRR1ZZZ00PA000002)', True),
        ("variant = premium or region = EU", True),
        ("variant = premium or region = US", False),
        ("not (variant = premium or region = US)", True),
        ("tag = munich", False),
        ("tag != munich", True),
        ("tag not in (berlin)", False),
        ("vin ~ WRR1*", True),
        ("vin ~ *PA*1", True),
        ("vin ~ XRR*", False),
        ("ecu.brake.version = 1.9", True),  # trailing zeros do not count
        ("ecu.brake.version >= 1.10.0", False),  # not as text
        ("ecu.brake.version > 1.9.0-rc.1", True),  # a pre-release comes before its release
        ("ecu.brake.version < 1.9.0+1", True),  # a build number after it
        ("ecu.head.version < 2.0.0", None),  # never reported
        ("not ecu.head.version < 2.0.0", None),
        ("ecu.head.version != 2.0.0", None),
        ("ecu.radar.version = 1.0.0", None),  # no such ECU
        ("ecu.radar.present = true", False),
        ("ecu.brake.present = true", True),
        ("ecu.odd.version < 2", None),  # cannot be ordered
        ("ecu.odd.version = HW_A-17", True),
        ("ecu.head.version < 2 or variant = city", True),
        ("ecu.head.version < 2 and variant = premium", False),
        ("blocked = false", True),
        ("born < 2026-06-01 and born >= 2026-03-01", True),
        ("attribute.hwRevision = 2", True),
        ("attribute.hwRevision < 10", True),
        ("attribute.colour = red", None),
        ("list = recall", True),
        ("not list = recall", False),
        ("list in (other, recall)", True),
        ("list = other", False),
        ("list ~ re*", True),
        ("telemetry.Vehicle.TraveledDistance > 12345.50", True),  # a number, not a version
        ("telemetry.Vehicle.TraveledDistance < 9", False),  # not as text
        ("telemetry.Vehicle.TraveledDistance = 12345.60", True),
        ("telemetry.Vehicle.TraveledDistance in (1, 12345.6)", True),
        ("telemetry.Vehicle.IsMoving = false", True),
        ("fault.brake.C1095 = true", True),
        ("fault.head.B1000 = true", False),
        ("fault.head.B1000 != true", True),
        ("fault.head.C1095 = true", None),  # of another ECU nothing was told
        ("not fault.head.C1095 = true", None),
        ("telemetry.Vehicle.Mode = eco", True),
        ("telemetry.Vehicle.Mode > 5", None),  # a word has no order
        ("telemetry.Vehicle.Speed > 5", None),  # never sent
        ("not telemetry.Vehicle.Speed > 5", None),
        ("release = release_1", True),
        ("gateway = ddi", False),
        ("variant = city AND NOT region = US", True),
    ],
)
def test_a_query_holds_does_not_or_is_not_known(text: str, expected: bool | None) -> None:  # noqa: FBT001
    query = parse_query(text)
    assert holds(query, CAR) is expected
    assert isinstance(match_vehicle(query, CAR), Selected) is (expected is True)


@pytest.mark.parametrize(
    ("text", "column", "hint"),
    [
        ("", 1, "all"),
        ("varient = city", 1, "did you mean 'variant'?"),
        ("variant = city and regoin = EU", 20, "did you mean 'region'?"),
        ("ecu.brake.versoin < 2", 1, "did you mean 'version'?"),
        ("ecu.brake < 2", 1, "ecu.<name>.version"),
        ("variant == city", 9, "did you mean '='?"),
        ("variant = city && region = EU", 16, "did you mean 'and'?"),
        ("variant = city adn region = EU", 16, "did you mean 'and'?"),
        ('variant = "city', 11, "close"),
        ("variant", 8, "= !="),
        ("variant =", 10, "quotes"),
        ("variant = and", 11, "quotes"),
        ("variant in city", 12, "in (a, b)"),
        ("variant in (city", 17, "put"),
        ("(variant = city", 16, "put"),
        ("variant = city)", 15, "remove"),
        ("variant < city", 9, "use ="),
        ("ecu.brake.version < new", 21, "2.0.0"),
        ("born < yesterday", 8, "2026-11-23"),
        ("blocked = maybe", 11, "true"),
        ("telemetry.Vehicle.Speed > fast", 27, "20000"),
        ("telemetry.Vehicle.Speed > nan", 27, "20000"),
        ("telemetry = 5", 1, "telemetry"),
        ("fault.brake.C1095 = maybe", 21, "true"),
        ("fault.brake.C1095 > true", 19, "use ="),
        ("fault.C1095 = true", 1, "fault.<ecu>.<code>"),
        ("fault.brake. = true", 1, "fault.<ecu>.<code>"),
        ("fault = C1095", 1, "fault"),
        ("list > recall", 6, "use ="),
        ("lsit = recall", 1, "did you mean 'list'?"),
        ("variant = city region = EU", 16, "join"),
        ("and", 1, "fields are"),
        ("variant = city or", 18, "fields are"),
        ("variant = c§", 12, "quotes"),
    ],
)
def test_an_error_names_the_column_and_what_was_meant(text: str, column: int, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_query(text)
    assert caught.value.column == column, caught.value.message
    assert hint in caught.value.hint


def test_everything_has_a_limit() -> None:
    for text in (
        " and ".join(["region = EU"] * (TERMS_MAX + 1)),
        "not " * (DEPTH_MAX + 1) + "region = EU",
        f"vin in ({', '.join(['x'] * (IN_VALUES_MAX + 1))})",
        "region = " + "x" * 300_000,
    ):
        with pytest.raises(QueryError):
            parse_query(text)


@pytest.mark.parametrize(
    ("text", "term", "actual"),
    [
        ("variant = city and region = US and tag = x", "region = US", "region is EU"),
        ("ecu.brake.version < 1.0.0", "ecu.brake.version < 1.0.0", "ecu.brake.version is 1.9.0"),
        ("ecu.radar.version < 1", "ecu.radar.version < 1", "the vehicle has no ECU radar"),
        ("ecu.head.version < 1", "ecu.head.version < 1", "ecu.head.version is not known"),
        ("tag = munich", "tag = munich", "tags are pilot, berlin"),
        ("list = other", "list = other", "it is in recall"),
        (
            "telemetry.Vehicle.Speed > 5",
            "telemetry.Vehicle.Speed > 5",
            "telemetry.Vehicle.Speed is not known",
        ),
        ("not  vin ~  WRR*", "not vin ~ WRR*", "vin is WRR1ZZZ00PA000001"),
        ("variant = x or region = US", "variant = x or region = US", "variant is city; region is EU"),
        (
            "not (variant = city and region = EU)",
            "not (variant = city and region = EU)",
            "variant is city; region is EU",
        ),
    ],
)
def test_a_vehicle_is_left_out_with_the_first_failing_term_and_its_value(
    text: str, term: str, actual: str
) -> None:
    assert match_vehicle(parse_query(text), CAR) == NotSelected(term=term, actual=actual)


def test_a_preview_counts_by_reason() -> None:
    cars = [
        VehicleFacts(
            vin=f"V{number}", programme_id="p", variant="city" if number % 3 else "van", region=region
        )
        for number in range(30)
        for region in ("EU", "US")
    ]
    found = preview(parse_query("variant = city and region = EU"), ((car, 1) for car in cars), examples_max=2)
    assert (found.selected, found.not_selected) == (20, 40)
    assert [(r.term, r.vehicles) for r in found.reasons] == [("region = EU", 20), ("variant = city", 20)]
    assert found.unknown == 0
    assert found.reasons[0].examples == (("V1", "region is US"), ("V2", "region is US"))


def test_a_preview_counts_those_of_whom_too_little_is_known() -> None:
    moving = [
        VehicleFacts(vin="V1", programme_id="p", variant="city", telemetry={"Speed": 90.0}),
        VehicleFacts(vin="V2", programme_id="p", variant="city", telemetry={"Speed": 0.0}),
        VehicleFacts(vin="V3", programme_id="p", variant="city"),
        VehicleFacts(vin="V4", programme_id="p", variant="van"),
    ]
    found = preview(parse_query("variant = city and telemetry.Speed < 5"), ((car, 1) for car in moving))
    assert (found.selected_examples, found.not_selected, found.unknown) == (("V2",), 3, 1)


def test_a_preview_counts_groups_and_names_more_of_them_than_it_counts() -> None:
    def car(number: int, variant: str) -> VehicleFacts:
        return VehicleFacts(vin=f"V{number}", programme_id="p", variant=variant)

    groups = [(car(1, "city"), 300), (car(2, "van"), 40), (car(3, "city"), 0), (car(4, "van"), 0)]
    found = preview(parse_query("variant = city"), groups)
    assert (found.selected, found.not_selected) == (300, 40)
    assert found.selected_examples == ("V1", "V3")
    assert [(each.vehicles, [vin for vin, _ in each.examples]) for each in found.reasons] == [
        (40, ["V2", "V4"])
    ]


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("telemetry.Speed > 5", {"A": "t", "B": "f", "C": "u"}),
        ("not (telemetry.Speed > 5 and telemetry.On = true)", {"A": "tf", "B": "fu", "C": "uu", "D": "ut"}),
        ("telemetry.On = 1", {"A": "f", "D": "f"}),  # true is a word, though Python takes it for 1
        ("fault.brake.C1095 = true and telemetry.Speed > 5", {"A": "ft", "B": "uf", "C": "uu", "D": "tu"}),
        ("telemetry.Height > 5 or variant = city", {}),
        ("variant = city", {}),
    ],
)
def test_what_telemetry_said_is_told_apart_by_what_it_means_for_the_query(
    text: str, marks: dict[str, str]
) -> None:
    latest: dict[str, dict[str, float | bool | str]] = {
        "Speed": {"A": 90.0, "B": 1.0, "C": "fast"},
        "On": {"A": False, "D": True},
        "fault brake.C1095": {"A": False, "D": True},
    }
    assert sample_marks(parse_query(text), latest) == marks


@given(st.text("ab%_\\*", max_size=6), st.text("ab%_\\", max_size=6))
def test_a_pattern_means_the_same_to_the_database(pattern: str, value: str) -> None:
    """LIKE, read by its definition: a backslash takes the next character as it is."""
    parts = re.findall(r"\\.|.", as_like(pattern), re.DOTALL)
    like = "".join(".*" if part == "%" else "." if part == "_" else re.escape(part[-1]) for part in parts)
    car = VehicleFacts(vin="V", programme_id="p", variant=value)
    term = Term(field=Field(root="variant"), op="~", values=frozenset({pattern}), text="", column=1)
    assert holds(term, car) is (re.fullmatch(like, value, re.DOTALL) is not None)


def test_names_that_nothing_has_are_pointed_out() -> None:
    vocabulary = Vocabulary(variants=frozenset({"city"}), ecus=frozenset({"brake"}))
    warnings = lint(parse_query("variant = citty and ecu.break.version < 2 and region = XX"), vocabulary)
    assert warnings == (
        "column 1: no vehicle has variant 'citty', did you mean 'city'?",
        "column 21: no ECU is called 'break', did you mean 'brake'?",
    )


TERMS = st.sampled_from(
    ["variant = city", "region = US", "ecu.head.version < 2", "tag = pilot", "ecu.x.version = 1"]
)
QUERIES = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} and {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} or {pair[1]})"),
        inner.map(lambda one: f"not ({one})"),
    ),
    max_leaves=12,
)


@given(QUERIES)
def test_a_query_and_its_negation_never_both_select_a_vehicle(text: str) -> None:
    query = parse_query(text)
    answers = [holds(query, CAR), holds(Negation(part=query, text=""), CAR)]
    assert answers in ([True, False], [False, True], [None, None])
    if answers[0] is not True:
        reason = match_vehicle(query, CAR)
        assert isinstance(reason, NotSelected)
        assert reason.term in " ".join(text.split())
        assert reason.actual


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_column(text: str) -> None:
    with contextlib.suppress(QueryError):
        parse_query(text)
        return
    with pytest.raises(QueryError) as caught:
        parse_query(text)
    assert 1 <= caught.value.column <= len(text) + 1
