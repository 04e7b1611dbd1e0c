"""Tables of demand and of signals: taken whole, or every bad row named."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.signal.demand.panel import Key
from ringroad.signal.demand.read import (
    DEMAND_COLUMNS,
    SIGNAL_COLUMNS,
    Catalogue,
    elapsed_of,
    gaps,
    read_demand,
    read_signals,
)

TODAY = date(2026, 11, 16)
CATALOGUE = Catalogue(
    options={"city": ("sunroof", "tow_bar"), "premium": ("night_vision", "tow_bar")},
    plants=("north", "south"), regions=("EU", "US"),
)  # fmt: skip
GOOD = "2026-09,tow_bar,north,EU,city,4"


def table(*rows: str, columns: tuple[str, ...] = DEMAND_COLUMNS) -> str:
    return "\n".join([",".join(columns), *rows])


def test_rows_are_read_with_their_place_in_any_order_of_columns() -> None:
    found = read_demand(table(GOOD, "2026-09,,south,US,premium,0"), CATALOGUE, today=TODAY)
    assert [(each.row, each.key, each.month, each.units) for each in found] == [
        (2, Key("tow_bar", "north", "EU", "city"), date(2026, 9, 1), 4),
        (3, Key("", "south", "US", "premium"), date(2026, 9, 1), 0),
    ]
    turned = "units,month,model,region,plant,option\n4,2026-09-17,city,EU,north,tow_bar\n"
    assert read_demand(turned, CATALOGUE, today=TODAY)[0] == found[0]


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("2026-10,tow_bar,north,EU,city,-3", "row 3: -3 units: demand is never below zero"),
        ("2026-10,tow_bar,north,EU,city,1.5", "row 3: '1.5' is no number of units"),
        ("2026-09,tow_bar,north,EU,city,4", "row 3: tow_bar/north/EU/city 2026-09 stands in row 2 too"),
        ("2999-01,tow_bar,north,EU,city,4", "row 3: 2999-01 is not over"),
        ("2026-13,tow_bar,north,EU,city,4", "row 3: '2026-13' is no month"),
        ("1826-01,tow_bar,north,EU,city,4", "row 3: 1826-01 is more than 50 years ago"),
        ("2026-10,rocket,north,EU,city,4", "row 3: city has no option 'rocket', one of sunroof, tow_bar"),
        ("2026-10,night_vision,north,EU,city,4", "row 3: city has no option 'night_vision'"),
        ("2026-10,tow_bar,west,EU,city,4", "row 3: there is no plant 'west', one of north, south"),
        ("2026-10,tow_bar,*,EU,city,4", "row 3: there is no plant '*'"),
        ("2026-10,tow_bar,north,MARS,city,4", "row 3: there is no region 'MARS'"),
        ("2026-10,tow_bar,north,EU,boat,4", "row 3: there is no model 'boat'"),
        ("2026-10,tow_bar,north,EU,city", "row 3: 5 cells, not 6"),
        ("2026-10,tow_bar,north,EU,city,999999999", "row 3: 999999999 units are more than 100000000"),
        ('2026-10,"tow_bar,north,EU,city,1', "row 3: unexpected end of data"),
    ],
)
def test_a_row_that_cannot_be_is_named(row: str, word: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_demand(table(GOOD, row), CATALOGUE, today=TODAY)
    assert word in refused.value.message


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("a,clicks,2026-10,tow_bar,*,*,*,-1", "row 2: -1 is not between 0"),
        ("a,clicks,2026-10,tow_bar,*,*,*,many", "row 2: 'many' is no number"),
        ("a,clicks,2026-10,tow_bar,*,*,*,nan", "row 2: nan is not between 0"),
        ("a,rumours,2026-10,tow_bar,*,*,*,1", "row 2: there is no kind 'rumours'"),
        ("a,take_rate,2026-10,tow_bar,*,*,*,1.5", "row 2: a take rate is a share"),
        ("a,clicks,2099-10,tow_bar,*,*,*,1", "row 2: no signal says anything of 2099-10"),
        ("a,clicks,2026-10,rocket,*,*,*,1", "row 2: * has no option 'rocket'"),
        (",clicks,2026-10,tow_bar,*,*,*,1", "row 2: an id of 1 to 100 characters is needed"),
        (
            "a,clicks,2026-10,tow_bar,*,*,*,1\na,clicks,2026-09,tow_bar,*,*,*,1",
            "row 3: id a stands in row 2 too",
        ),
    ],
)
def test_a_signal_that_cannot_be_is_named(row: str, word: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_signals(table(row, columns=SIGNAL_COLUMNS), CATALOGUE, today=TODAY)
    assert word in refused.value.message


@pytest.mark.parametrize("text", ["", "\n", "month,units\n2026-01,4", table(), "a,b,c,d,e,f\n1,2,3,4,5,6"])
def test_what_is_no_table_of_demand_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_demand(text, CATALOGUE, today=TODAY)


@given(st.text(max_size=200))
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    for body in (text, table(text), table(text, columns=SIGNAL_COLUMNS)):
        for read in (read_demand, read_signals):
            try:
                assert read(body, CATALOGUE, today=TODAY)
            except InvalidInput:
                continue


def test_only_the_first_problems_are_told_and_the_others_counted() -> None:
    with pytest.raises(InvalidInput) as refused:
        read_demand(table(*["2026-09,tow_bar,west,EU,city,4"] * 9), CATALOGUE, today=TODAY)
    assert refused.value.message.endswith("; and 4 more")


def test_a_series_that_ends_before_the_others_misses_months_too() -> None:
    key = Key("", "north", "EU", "city")
    assert gaps({key: (date(2026, 1, 1), 9)}, date(2026, 10, 1)) == [
        "vehicle/north/EU/city has 9 of 10 months from 2026-01 to 2026-10"
    ]
    assert gaps({key: (date(2026, 1, 1), 10)}, date(2026, 10, 1)) == []


@pytest.mark.parametrize(
    ("month", "expected"), [(date(2026, 10, 1), 1.0), (date(2026, 11, 1), 0.5), (date(2026, 12, 1), 0.0)]
)
def test_a_month_is_over_by_its_days(month: date, expected: float) -> None:
    assert elapsed_of(month, TODAY) == expected
