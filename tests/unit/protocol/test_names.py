"""Words for data identifiers and fault codes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ringroad.protocol.names import CHARS_MAX, EcuNames, data_name, fault_name

NAMES = {
    "brake": EcuNames(data={"F190": "Vehicle"}, faults={"C0040-00": "Wheel speed sensor, right front"}),
    "*": EcuNames(
        data={"F190": "VIN", "F18C": "Serial number"}, faults={"U0100-87": "No message from the engine"}
    ),
}


@pytest.mark.parametrize(
    ("ecu", "code", "expected"),
    [
        ("brake", "C0040-00", "Wheel speed sensor, right front"),
        ("brake", "U0100-87", "No message from the engine"),  # said of every ECU
        ("engine", "U0100-87", "No message from the engine"),
        ("engine", "C0040-00", ""),  # another ECU's
        ("brake", "C0040-01", ""),  # another failure of the same part
        ("brake", "UPDATE-HALTED", ""),
        ("brake", "", ""),
    ],
)
def test_a_fault_has_the_name_its_own_ecu_gives_it(ecu: str, code: str, expected: str) -> None:
    assert fault_name(NAMES, ecu, code) == expected


@pytest.mark.parametrize(
    ("ecu", "did", "expected"),
    [
        ("brake", 0xF190, "Vehicle"),
        ("engine", 0xF190, "VIN"),
        ("brake", 0xF18C, "Serial number"),
        ("brake", 1, ""),
    ],
)
def test_a_data_identifier_has_the_name_its_own_ecu_gives_it(ecu: str, did: int, expected: str) -> None:
    assert data_name(NAMES, ecu, did) == expected


def test_without_names_nothing_has_one() -> None:
    assert fault_name({}, "brake", "C0040-00") == data_name({}, "brake", 0xF190) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": {"f190": "VIN"}},
        {"data": {"F19": "VIN"}},
        {"data": {"0xF190": "VIN"}},
        {"data": {"F190": " "}},
        {"data": {"F190": ""}},
        {"data": {"F190": 1}},
        {"faults": {"P0A1F": "Battery"}},
        {"faults": {"X0A1F-00": "Battery"}},
        {"faults": {"P4A1F-00": "Battery"}},
        {"faults": {"P0A1F-00": "a" * (CHARS_MAX + 1)}},
        {"faults": {"P0A1F-00": "a\0b"}},
        {"routines": {}},
    ],
)
def test_names_that_could_not_be_looked_up_or_shown_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, type=EcuNames)
