"""Exports as bytes: what readers that we did not write make of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from ringroad.publish.tables import TABLES, Format, Kind, Table, cell, encode

AT = datetime(2026, 11, 25, 8, 0, 0, 250_000, tzinfo=UTC)
TABLE = Table(
    name="things",
    columns={"vin": Kind.TEXT, "wave": Kind.INTEGER, "on": Kind.FLAG, "at": Kind.TIME, "tags": Kind.JSON},
    query="export_things",
    of_campaign=False,
    key=("vin", "wave"),
)
ROWS: list[dict[str, Any]] = [
    {"vin": "W1", "wave": -1, "on": True, "at": AT, "tags": ["a", "b,c"]},
    {"vin": 'quote " and\nline', "wave": 2**40, "on": False, "at": None, "tags": None},
    {"vin": "=1+1", "wave": None, "on": None, "at": AT, "tags": {"x": "ä"}},
]


def written(form: Format, *batches: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(encode(TABLE, form, batches))


def test_csv_is_read_back_with_formulas_defused() -> None:
    read = list(csv.reader(io.StringIO(written(Format.CSV, ROWS[:1], ROWS[1:]).decode(), newline="")))
    assert read == [
        ["vin", "wave", "on", "at", "tags"],
        ["W1", "-1", "true", "2026-11-25T08:00:00.250000Z", "a, b,c"],
        ['quote " and\nline', str(2**40), "false", "", ""],
        ["'=1+1", "", "", "2026-11-25T08:00:00.250000Z", "x=ä"],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["cab", "night"], "cab, night"),
        ({"wave": 2, "reason": "harm_seen", "on": True, "by": None}, "by=; on=true; reason=harm_seen; wave=2"),
        ({"gate": {"soak_s": 600, "metrics": [{"name": "fault"}, {"name": "silence"}]}}, "gate.metrics.1.name=fault; gate.metrics.2.name=silence; gate.soak_s=600"),
        ({"vins": ["W1", "W2"]}, "vins=W1, W2"),
        ({}, ""),
        ([], ""),
        (["=1+1"], "'=1+1"),
    ],
)  # fmt: skip
def test_no_cell_of_csv_is_json(value: object, text: str) -> None:
    assert cell(Kind.JSON, value) == text


def test_csv_leaves_out_what_its_other_columns_spell_out_and_the_other_forms_do_not() -> None:
    table = replace(TABLE, spelled_out=frozenset({"tags"}))
    assert b"".join(encode(table, Format.CSV, [ROWS[:1]])).splitlines() == [
        b"vin,wave,on,at",
        b"W1,-1,true,2026-11-25T08:00:00.250000Z",
    ]
    assert b"".join(encode(table, Format.JSONL, [ROWS[:1]])) == written(Format.JSONL, ROWS[:1])
    assert b"".join(encode(table, Format.PARQUET, [ROWS[:1]])) == written(Format.PARQUET, ROWS[:1])
    assert all(each.spelled_out < each.columns.keys() - set(each.key) for each in TABLES.values())


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert cell(Kind.TEXT, text) == f"'{text}"
    assert json.loads(b"".join(encode(TABLE, Format.JSONL, [[ROWS[0] | {"vin": text}]])))["vin"] == text


@pytest.mark.parametrize("text", ["", "a=1", "'=1", "1", " =1"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert cell(Kind.TEXT, text) == text


def test_lines_are_json_each() -> None:
    lines = written(Format.JSONL, ROWS[:2], ROWS[2:]).decode().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"vin": "W1", "wave": -1, "on": True, "at": "2026-11-25T08:00:00.250000Z", "tags": ["a", "b,c"]},
        {"vin": 'quote " and\nline', "wave": 2**40, "on": False, "at": None, "tags": None},
        {"vin": "=1+1", "wave": None, "on": None, "at": "2026-11-25T08:00:00.250000Z", "tags": {"x": "ä"}},
    ]


def test_parquet_is_read_back_with_its_types() -> None:
    table = pq.read_table(io.BytesIO(written(Format.PARQUET, ROWS[:1], ROWS[1:])))
    assert table.column_names == list(TABLE.columns)
    assert table.to_pylist() == [
        {"vin": "W1", "wave": -1, "on": True, "at": AT, "tags": '["a","b,c"]'},
        {"vin": 'quote " and\nline', "wave": 2**40, "on": False, "at": None, "tags": None},
        {"vin": "=1+1", "wave": None, "on": None, "at": AT, "tags": '{"x":"ä"}'},
    ]


@pytest.mark.parametrize("form", list(Format))
def test_nothing_is_a_whole_file_too(form: Format) -> None:
    empty = written(form)
    match form:
        case Format.CSV:
            assert empty == b"vin,wave,on,at,tags\r\n"
        case Format.JSONL:
            assert empty == b""
        case Format.PARQUET:
            assert pq.read_table(io.BytesIO(empty)).num_rows == 0


@pytest.mark.parametrize("form", list(Format))
def test_no_batch_is_read_before_the_one_before_it_was_written(form: Format) -> None:
    read = []

    def batches() -> Iterator[list[dict[str, Any]]]:
        for number in range(4):
            read.append(number)
            yield [ROWS[0]] * 10

    pieces = encode(TABLE, form, batches())
    next(pieces)
    assert read == [0]


def test_every_table_has_columns_that_its_name_does_not_give_away() -> None:
    for table in TABLES.values():
        assert "token" not in " ".join(table.columns)
        assert "secret" not in " ".join(table.columns)
