"""The sheet of one ECU in the bulk data: one refusal costs one line, and an ECU that falls silent keeps what it told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ringroad.kernel.errors import Conflict, Unavailable
from ringroad.vehicle.agents.base import DataItem, Done, EcuInventory, Failed, Fault, Reason
from ringroad.vehicle.diagnostics.bulk import text_of
from ringroad.vehicle.diagnostics.sheet import FAULTS_MAX, UPDATING, sheet_of
from ringroad.vehicle.diagnostics.ways import DATUM_BYTES_MAX, AgentWay, Way

ENTRY = {"id": "door", "state": "Online"}
FOUND = EcuInventory(
    serial="D-1", hardware_id="door-hw", mode="application", running=None, trial=False, staged=None, committed_counter=3,
    faults=(Fault(code="B1234-00", status=0x09), Fault(code="B1235-00", status=0x09)),
)  # fmt: skip
NAMES = ("hinge-angle", "motor-hours", "gps-fix", "supply")


class Door:
    """An agent of a supplier's ECU that tells data, each as `says`, and counts what it is asked."""

    def __init__(
        self, says: dict[str, Any], found: EcuInventory = FOUND, names: tuple[str, ...] = NAMES
    ) -> None:
        self.says, self.found, self.names = says, found, names
        self.asked: Counter[str] = Counter()

    async def inventory(self) -> EcuInventory | Failed:
        self.asked["inventory"] += 1
        return self.found

    async def data(self) -> tuple[DataItem, ...] | Failed:
        listed = self.says.get("data")
        items = tuple(DataItem(id=each, name=each, category="currentData") for each in self.names)
        return listed if isinstance(listed, Failed) else items

    async def datum(self, name: str) -> Mapping[str, Any] | Failed | None:
        self.asked[name] += 1
        said = self.says.get(name, 7)
        return said if isinstance(said, Failed) or said is None else {"id": name, "data": said}

    async def faults(self) -> tuple[Fault, ...] | Failed:
        return self.found.faults

    async def fault(self, code: str) -> Mapping[str, Any] | Failed | None:
        self.asked["fault"] += 1
        said = self.says.get(code, {})
        return said if isinstance(said, Failed) else dict(said)

    async def clear_faults(self, code: str) -> Done:
        return Done()


def told(door: Door, *, error: Exception | None = None) -> list[dict[str, Any]]:
    agent: Any = door

    @asynccontextmanager
    async def alone() -> AsyncIterator[Way]:
        if error is not None:
            raise error
        yield AgentWay("door", agent, FOUND if door.found is FOUND else door.found)

    return asyncio.run(sheet_of(dict(ENTRY), alone, {}))


def errors(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {each.get("id") or each["code"]: each["error"]["code"] for each in lines if "error" in each}


def test_all_of_it_is_told_and_the_inventory_is_not_asked_again() -> None:
    door = Door({"supply": None})
    first, *lines = told(door)
    assert first == ENTRY
    data = {each["id"]: each["data"] for each in lines if "data" in each}
    assert (data["F18C"], data["hinge-angle"], data["motor-hours"]) == ("D-1", 7, 7)
    assert "supply" not in data  # it has none
    assert [each["code"] for each in lines if "environment_data" in each] == ["B1234-00", "B1235-00"]
    assert errors(lines) == {}
    assert door.asked["inventory"] == 0


def test_what_is_named_as_a_position_is_not_even_asked_for() -> None:
    door = Door({})
    [line] = [each for each in told(door) if each.get("id") == "gps-fix"]
    assert line == {"id": "gps-fix", "name": "gps-fix", "left_out": "named as a position"}
    assert line in [msgspec.json.decode(each) for each in text_of(told(Door({}))).splitlines()]
    assert door.asked["gps-fix"] == 0


@pytest.mark.parametrize("refused", ["hinge-angle", "B1234-00", "data"])
def test_what_is_refused_stands_with_its_reason_and_the_others_stay(refused: str) -> None:
    whole = told(Door({}))
    lines = told(Door({refused: Failed(reason=Reason.ACCESS_DENIED, detail="not you")}))
    assert errors(lines) == {refused: "access_denied"}
    (line,) = [each for each in lines if "error" in each]
    assert "not you" in line["error"]["message"]
    assert [each for each in lines if "error" not in each] == [
        each for each in whole if each in lines and "error" not in each
    ]
    assert {each["code"] for each in lines if "code" in each} == {"B1234-00", "B1235-00"}
    if refused != "data":
        assert len(lines) == len(whole)


def test_a_value_over_the_bound_is_refused_alone() -> None:
    lines = told(Door({"hinge-angle": "x" * DATUM_BYTES_MAX}))
    assert errors(lines) == {"hinge-angle": "too_large"}
    assert len(lines) == len(told(Door({})))


def test_an_ecu_that_falls_silent_is_asked_no_further() -> None:
    door = Door({"motor-hours": Failed(reason=Reason.UNREACHABLE)})
    lines = told(door)
    assert errors(lines) == {"motor-hours": "unreachable"}
    assert lines[-1]["id"] == "motor-hours"
    assert "hinge-angle" in {each.get("id") for each in lines}
    assert (door.asked["supply"], door.asked["fault"]) == (0, 0)


@pytest.mark.parametrize(
    "reason", [Reason.BUSY, Reason.LOCKED_OUT, Reason.PRECONDITION, Reason.TRANSFER_FAILED]
)
@pytest.mark.parametrize("refused", ["hinge-angle", "B1234-00"])
def test_what_may_be_asked_again_later_is_no_silence(reason: Reason, refused: str) -> None:
    lines = told(Door({refused: Failed(reason=reason)}))
    assert errors(lines) == {refused: str(reason)}
    assert len(lines) == len(told(Door({})))


def test_what_surrounded_a_fault_over_the_bound_is_refused_alone() -> None:
    lines = told(Door({"B1234-00": {"extended_data": {"raw": "x" * DATUM_BYTES_MAX}}}))
    assert errors(lines) == {"B1234-00": "too_large"}
    assert len(lines) == len(told(Door({})))


def test_no_more_is_asked_than_a_file_holds_and_the_first_line_and_every_fault_are_in_it() -> None:
    large = "x" * (DATUM_BYTES_MAX - 1_000)
    names = tuple(f"value-{number}" for number in range(60))
    codes = tuple(Fault(code=f"B{number:04X}-00", status=9) for number in range(60))
    says: dict[str, Any] = dict.fromkeys(names, large)
    says |= {each.code: {"extended_data": {"raw": large}} for each in codes}
    found = replace(FOUND, faults=codes)
    door = Door(says, found, names)
    lines = [msgspec.json.decode(each) for each in text_of(told(door)).splitlines()]
    assert lines[0] == ENTRY
    assert next(each["left_out"] for each in lines if each.get("id") == "data").startswith("4")
    assert 10 < door.asked["fault"] + sum(door.asked[name] for name in names) < 30
    assert door.asked["fault"] > 5
    assert [each["code"] for each in lines if "code" in each] == [each.code for each in codes]


def test_an_update_that_begins_ends_it_and_a_lost_line_does_not() -> None:
    with pytest.raises(Conflict):
        told(Door({}), error=Conflict("an update is under way", code=UPDATING))
    lines = told(Door({}), error=Unavailable("cut", code="connection_lost"))
    assert (lines[0], errors(lines)) == (ENTRY, {"data": "connection_lost"})


def test_many_faults_are_all_told_and_so_many_with_what_surrounded_them() -> None:
    many = tuple(Fault(code=f"B{number:04X}-00", status=9) for number in range(FAULTS_MAX + 3))
    found = EcuInventory(
        serial="D-1", hardware_id="h", mode="application", running=None, trial=False, staged=None, committed_counter=0, faults=many
    )  # fmt: skip
    door = Door({}, found)
    lines = [each for each in told(door) if "code" in each]
    assert [each["code"] for each in lines] == [each.code for each in many]
    assert len([each for each in lines if "environment_data" in each]) == FAULTS_MAX == door.asked["fault"]
