from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.vin import parse_vin
from ringroad.ship import lists
from ringroad.ship.lists import RefusedRow, check_name, digest_vins, read_list, refuse_strangers

A, B = "WRR1ZZZ00PA000001", "WRR1ZZZ00PA000002"


@pytest.mark.parametrize(
    "text",
    [
        f"{A}\n{B}\n",
        f"\ufeff{A}\r\n{B}",
        f"vin\n{A}\n{B}",
        f"VIN;plate\n{A};B-RR 1\n{B};B-RR 2\n",
        f'"{A}",x\n{B}\t7\n',
        f"# a recall\n\n  {A.lower()}  # first\n{B}\n\n",
    ],
)
def test_a_file_of_vins_is_read_however_it_was_saved(text: str) -> None:
    found = read_list(text.encode())
    assert list(found.lines) == [A, B]
    assert (found.rows, found.duplicates, found.refused) == (2, 0, ())


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (f"{A}\nWRR1\n", [RefusedRow(line=2, text="WRR1", reason="not a VIN")]),
        (
            f"{A}\n{A[:-1]}O\n",
            [RefusedRow(line=2, text=A[:-1] + "O", reason="not a VIN")],
        ),  # O is no letter of one
        (
            f"{A}\nvin\n",
            [RefusedRow(line=2, text="vin", reason="not a VIN")],
        ),  # a head stands first or nowhere
        (f"{A} {B}\n", [RefusedRow(line=1, text=f"{A} {B}", reason="not a VIN")]),
        ("\0\x1b[31m\n", [RefusedRow(line=1, text="??[31m", reason="not a VIN")]),
        ("x" * 99_999, [RefusedRow(line=1, text="x" * 40 + "…", reason="not a VIN")]),
    ],
)
def test_a_refused_row_is_told_with_its_line(text: str, refused: list[RefusedRow]) -> None:
    assert list(read_list(text.encode()).refused) == refused


def test_bytes_that_are_no_text_are_a_refused_row() -> None:
    assert [row.line for row in read_list(b"\xff\xfe\x00\n" + A.encode()).refused] == [1]


def test_a_vehicle_named_twice_counts_once() -> None:
    found = read_list(f"{A}\n{B}\n{A.lower()}\n".encode())
    assert (found.lines, found.rows, found.duplicates) == ({A: 1, B: 2}, 3, 1)


def test_a_vin_that_no_vehicle_has_is_refused_in_its_place() -> None:
    found = refuse_strangers(read_list(f"{A}\nbad\n{B}\nworse\n".encode()), {A})
    assert list(found.lines) == [A]
    assert [(row.line, row.reason) for row in found.refused] == [
        (2, "not a VIN"), (3, "no such vehicle"), (4, "not a VIN"),
    ]  # fmt: skip


def test_a_list_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "LIST_ROWS_MAX", 2)
    with pytest.raises(InvalidInput, match="line 3: more than 2"):
        read_list(f"{A}\n{B}\n{A}\n".encode())


@pytest.mark.parametrize("name", ["", "-x", "a b", "a*", "ä", "x" * 65, "a\0", "a\n", '"a"', "a,b"])
def test_a_name_that_would_need_quotes_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name, "list")


def test_the_digest_of_a_list_does_not_depend_on_its_order() -> None:
    assert digest_vins([A, B]) == digest_vins([B, A]) != digest_vins([A])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_into_vins_and_refused_rows(data: bytes) -> None:
    found = read_list(data)
    assert found.rows == len(found.lines) + found.duplicates + len(found.refused)
    assert all(parse_vin(vin) == vin for vin in found.lines)
    assert all(row.text.isprintable() for row in found.refused)
