"""Lines of the complaints flat file become complaints or reasons."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.signal import complaints
from ringroad.signal.complaints import parse_line, split_lines
from ringroad.signal.model import Complaint, Quarantined

TODAY = date(2026, 11, 23)
SAMPLE = Path(__file__).parents[4] / "shared/data/nhtsa_complaints_sample/nhtsa-complaints.txt"


def line(**fields: str) -> bytes:
    """A line with 49 fields; `f12="BRAKES"` sets field 12."""
    values = [""] * 49
    given_fields = {
        "f1": "1",
        "f2": "958173",
        "f4": "ACME",
        "f5": "ROADSTER",
        "f6": "2024",
        "f8": "20260102",
        "f12": "SERVICE BRAKES",
        "f15": "1LNLM82W8RY123456",
        "f16": "20260103",
        "f20": "PEDAL FELL OFF",
    } | fields
    for name, value in given_fields.items():
        values[int(name[1:]) - 1] = value
    return "\t".join(values).encode()


def test_reads_the_fields_by_their_numbers() -> None:
    complaint = parse_line(line(), today=TODAY)
    assert isinstance(complaint, Complaint)
    assert (complaint.make, complaint.model, complaint.model_year) == ("ACME", "ROADSTER", 2024)
    assert (complaint.occurred_on, complaint.received_on) == (date(2026, 1, 2), date(2026, 1, 3))
    assert (complaint.component, complaint.text) == ("SERVICE BRAKES", "PEDAL FELL OFF")
    assert complaint.vin_prefix == "1LNLM82W8RY"  # never a whole VIN


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "field_count"),
        (line() + b"\textra", "field_count"),
        (b"\t".join([b"x"] * 48), "field_count"),
        (line(f20="A\tB"), "field_count"),
        (line(f2="ABC"), "odi_number"),
        (line(f2=""), "odi_number"),
        (line(f12=" "), "missing"),
        (line(f4=""), "missing"),
        (line(f6="24"), "year"),
        (line(f6="1200"), "year"),
        (line(f6="2030"), "year"),
        (line(f8="20261301"), "date"),
        (line(f8="20260230"), "date"),
        (line(f8="2026-1-2"), "date"),
        (line(f8="²0260102"), "date"),
        (line(f16="20261124"), "date"),
        (line(f16="00010101"), "date"),
        (line(f20="A\0B"), "nul_byte"),
        (line(f20="x" * 65_536), "line_too_long"),
    ],
)
def test_malformed_lines_say_why(raw: bytes, reason: str) -> None:
    decision = parse_line(raw, today=TODAY)
    assert isinstance(decision, Quarantined)
    assert decision.reason == reason


@pytest.mark.parametrize(("field", "value"), [("f6", "9999"), ("f6", ""), ("f8", ""), ("f16", "")])
def test_unknown_years_and_dates_are_no_reason(field: str, value: str) -> None:
    assert isinstance(parse_line(line(**{field: value}), today=TODAY), Complaint)


def test_latin_1_and_utf_8_are_both_read() -> None:
    utf8 = parse_line(line(f20="caf\u00e9"), today=TODAY)
    latin = parse_line(line(f20="XX").replace(b"XX", b"caf\xe9"), today=TODAY)
    assert isinstance(utf8, Complaint)
    assert isinstance(latin, Complaint)
    assert utf8.text == latin.text == "caf\u00e9"
    assert utf8.id == latin.id


def test_the_id_is_number_component_and_text() -> None:
    ids = {
        item.id
        for raw in (
            line(),
            line(f12="ENGINE"),
            line(f20="OTHER"),
            line(f2="7"),
            line(f1="99", f13="ELSEWHERE"),
        )
        if isinstance(item := parse_line(raw, today=TODAY), Complaint)
    }
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\r\nb\n", [b"a", b"b"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
    ],
)
def test_lines_are_split_at_either_end(raw: bytes, lines: list[bytes]) -> None:
    assert list(split_lines(io.BytesIO(raw))) == lines


def test_an_endless_line_is_cut_and_the_next_line_is_read() -> None:
    raw = b"x" * (3 * 1024**2) + b"\n" + b"next\n"
    first, second = split_lines(io.BytesIO(raw))
    assert len(first) == complaints.LINE_BYTES_MAX + 1
    assert second == b"next"


@given(st.binary(max_size=300))
def test_any_line_is_decided_without_an_exception(raw: bytes) -> None:
    parse_line(raw, today=TODAY)


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"{SAMPLE} is absent")
def test_every_real_record_is_read() -> None:
    with SAMPLE.open("rb") as stream:
        decisions = [parse_line(raw, today=TODAY) for raw in split_lines(stream)]
    assert len(decisions) == 101
    assert [item for item in decisions if isinstance(item, Quarantined)] == []
