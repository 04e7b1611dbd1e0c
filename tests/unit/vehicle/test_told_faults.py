"""Which fault codes were told as there: noted before a batch is stored, and until their end is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringroad.kernel.errors import Unavailable
from ringroad.protocol.vehicle import FaultEvent, TelemetryBatch
from ringroad.vehicle import told_faults
from ringroad.vehicle.collector import TelemetryQueue
from ringroad.vehicle.told_faults import ToldFaults
from support.uptane import NOW
from support.vehicle_world import VIN


def event(status: int, code: str = "C0051-00") -> FaultEvent:
    return FaultEvent(at=NOW, ecu="brake", code=code, status=status, software_version="1", snapshot={})


def told(folder: Path) -> ToldFaults:
    return ToldFaults(folder / "faults", durability="buffered")


def put(queue: TelemetryQueue, *events: FaultEvent) -> None:
    queue.put(
        lambda number: TelemetryBatch(
            vin=VIN, batch=number, made_at=NOW, software={}, release="", samples=[], faults=list(events)
        )
    )


def test_a_code_is_known_to_the_next_life_until_its_end_was_stored(tmp_path: Path) -> None:
    put(TelemetryQueue(tmp_path, durability="buffered"), event(9), event(8, "U0100-00"))
    again = TelemetryQueue(tmp_path, durability="buffered")
    assert again.told.codes == {"brake": ["C0051-00", "U0100-00"]}
    put(again, event(0), event(9), event(0))
    assert TelemetryQueue(tmp_path, durability="buffered").told.codes == {"brake": ["U0100-00"]}


def test_power_that_goes_before_a_batch_is_stored_costs_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = TelemetryQueue(tmp_path, durability="buffered")

    def lost(*_: object) -> None:
        raise Unavailable("the disk is full", code="disk")

    monkeypatch.setattr(queue, "_store", lost)
    for status in (9, 0):
        with pytest.raises(Unavailable):
            put(queue, event(status))
    assert told(tmp_path).codes == {"brake": ["C0051-00"]}


def test_a_disk_that_is_full_behind_a_batch_keeps_what_was_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = told(tmp_path)
    known.expect([event(9)])

    def full(*_: object, **__: object) -> None:
        raise Unavailable("the disk is full", code="disk")

    monkeypatch.setattr(told_faults, "replace_file", full)
    known.stored([event(0)])
    assert known.codes == {"brake": ["C0051-00"]}
    monkeypatch.undo()
    known.stored([event(0)])
    assert (known.codes, told(tmp_path).codes) == ({}, {})


def test_so_many_are_noted_and_one_that_does_not_read_back_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told_faults, "CODES_MAX", 2)
    known = told(tmp_path)
    known.expect([event(9, f"C000{number}-00") for number in range(3)])
    assert known.codes == {"brake": ["C0000-00", "C0001-00"]}
    (tmp_path / "faults").write_bytes(b'["brake"]')
    assert told(tmp_path).codes == {}
