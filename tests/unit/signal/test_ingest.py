"""One telemetry message becomes rows or a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.signal.ingest import IngestLimits, clock_flag, decide_message, subject_vin
from ringroad.signal.model import Accepted, Quarantined, VehicleRef
from ringroad.storage.lake import to_us

VIN = "WRRTEST0000000001"
SUBJECT = f"ringroad.v1.{VIN}.telemetry"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
VEHICLE = VehicleRef(vin=VIN, programme="p1", variant="base")
LIMITS = IngestLimits()


def message(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "vin": VIN,
        "batch": 3,
        "made_at": "2026-11-23T11:59:00Z",
        "software": {"brake": "1.2.0", "gateway": "7"},
        "samples": [{"at": "2026-11-23T11:58:30Z", "path": "Vehicle.Speed", "value": 12.5}],
        "faults": [
            {
                "at": "2026-11-23T11:58:00Z",
                "ecu": "brake",
                "code": "P0A1F-00",
                "status": 9,
                "software_version": "1.2.0",
            }
        ],
    }
    return body | changes


def decide(
    body: Any, *, subject: str = SUBJECT, vehicle: VehicleRef | None = VEHICLE
) -> Accepted | Quarantined:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decide_message(LIMITS, payload, subject=subject, seq=41, received_at=NOW, vehicle=vehicle)


def test_a_good_message_becomes_rows_of_three_tables() -> None:
    decision = decide(message())
    assert isinstance(decision, Accepted)
    rows = decision.rows
    assert [(row.path, row.kind, row.number, row.index) for row in rows.samples] == [
        ("Vehicle.Speed", "float", 12.5, 0)
    ]
    assert [(row.ecu, row.code, row.status, row.programme) for row in rows.faults] == [
        ("brake", "P0A1F-00", 9, "p1")
    ]
    assert [(row.ecu, row.software_version, row.seq) for row in rows.exposure] == [
        ("brake", "1.2.0", 41),
        ("gateway", "7", 41),
    ]
    # The vehicle was observed from its first event of the batch on.
    assert {row.since_us for row in rows.exposure} == {to_us(NOW - timedelta(minutes=2))}
    assert decision.flags == {"ok": 4}


def test_what_a_vehicle_tells_counts_while_one_of_its_ecus_runs_nothing() -> None:
    body = message(software={"brake": "", "gateway": "7"}, faults=fault(software_version=""))
    decision = decide(body)
    assert isinstance(decision, Accepted)
    assert [(row.ecu, row.software_version) for row in decision.rows.faults] == [("brake", "")]
    assert [(row.ecu, row.software_version) for row in decision.rows.exposure] == [("gateway", "7")]
    assert len(decision.rows.samples) == 1


def fault(**changes: Any) -> list[dict[str, Any]]:
    return [message()["faults"][0] | changes]


def sample(**changes: Any) -> list[dict[str, Any]]:
    return [message()["samples"][0] | changes]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[" * 100_000, "schema"),
        (b" " * (1024**2 + 1), "too_large"),
        ([], "schema"),
        (message(extra=1), "schema"),
        (message(batch="3"), "schema"),
        ({**message(), "software": None}, "schema"),
        (message(vin="WRRTEST0000000002"), "vin_mismatch"),
        (message(batch=-1), "batch_number"),
        (message(batch=2**63), "batch_number"),
        (message(software={f"e{n}": "1" for n in range(257)}), "too_many_ecus"),
        (message(software={"brake": "1" * 201}), "software"),
        (message(software={"": "1"}), "software"),
        (message(made_at="2026-11-23T11:59:00"), "time_zone"),
        (message(samples=sample(at="2026-11-23T11:59:00")), "time_zone"),
        (message(faults=fault(at="2026-11-23T11:59:00")), "time_zone"),
        (message(samples=sample(value="x" * 2_001)), "text_too_long"),
        (message(samples=sample(value=10**400)), "number"),
        (message(samples=sample() * 1_001), "schema"),
        (message(faults=fault(status=256)), "status"),
        (message(faults=fault(status=-1)), "status"),
        (message(faults=fault(software_version="1" * 201)), "software"),
        (message(faults=fault(snapshot={"a": "x" * 20_000})), "snapshot_too_large"),
        # A finding with such a name could not be stored, and would stop the detector at every look.
        (message(faults=fault(code="P0A1F\0")), "nul_character"),
        (message(faults=fault(snapshot={"a": {"\0": 1}})), "nul_character"),
        (message(software={"brake\0": "1"}), "nul_character"),
        (message(software={"brake": "1\0"}), "nul_character"),
        (message(samples=sample(value="\0")), "nul_character"),
        (message(release="\0"), "nul_character"),
    ],
)
def test_a_bad_message_is_quarantined_with_the_reason(body: Any, reason: str) -> None:
    decision = decide(body)
    assert isinstance(decision, Quarantined)
    assert decision.reason == reason
    assert len(decision.detail) <= 300


def test_a_text_that_only_speaks_of_the_nul_character_is_fine() -> None:
    assert isinstance(decide(message(samples=sample(value="\\u0000"))), Accepted)


def test_an_unknown_vehicle_is_quarantined() -> None:
    assert decide(message(), vehicle=None) == Quarantined(reason="unknown_vehicle", detail=VIN)


def test_another_vehicles_record_does_not_vouch_for_this_one() -> None:
    other = VehicleRef(vin="WRRTEST0000000009", programme="p1", variant="base")
    assert isinstance(decide(message(), vehicle=other), Quarantined)


@pytest.mark.parametrize(
    "subject", ["ringroad.v1..telemetry", "ringroad.v1.a.b.telemetry", "ringroad.v1.x.telemetry", "x", ""]
)
def test_a_subject_without_a_vehicle_is_none(subject: str) -> None:
    assert subject_vin(subject) is None
    assert isinstance(decide(message(), subject=subject), Quarantined)


@pytest.mark.parametrize(
    ("age", "flag"),
    [
        (timedelta(0), "ok"),
        (timedelta(seconds=-300), "ok"),
        (timedelta(seconds=-301), "ahead"),
        (timedelta(seconds=3_600), "ok"),
        (timedelta(seconds=3_601), "late"),
        (timedelta(days=399), "late"),
        (timedelta(days=401), "unset"),
    ],
)
def test_clocks_are_flagged(age: timedelta, flag: str) -> None:
    assert clock_flag(LIMITS, NOW - age, received_at=NOW) == flag


def test_a_wrong_clock_is_kept_and_flagged() -> None:
    decision = decide(message(faults=fault(at="1970-01-01T00:00:05Z")))
    assert isinstance(decision, Accepted)
    assert [row.clock for row in decision.rows.faults] == ["unset"]
    # A clock that was never set does not stretch the observed time back to 1970.
    assert {row.since_us for row in decision.rows.exposure} == {to_us(NOW - timedelta(seconds=90))}


@pytest.mark.parametrize(
    ("value", "kind", "number", "text"),
    [(True, "bool", 1.0, None), (3, "int", 3.0, None), (0.5, "float", 0.5, None), ("P", "text", None, "P")],
)
def test_values_keep_their_kind(value: Any, kind: str, number: float | None, text: str | None) -> None:
    decision = decide(message(samples=sample(value=value)))
    assert isinstance(decision, Accepted)
    row = decision.rows.samples[0]
    assert (row.kind, row.number, row.text) == (kind, number, text)


@given(st.binary(max_size=400))
def test_any_bytes_are_decided_without_an_exception(payload: bytes) -> None:
    assert isinstance(decide(payload), Quarantined)


def test_the_same_message_gives_the_same_rows() -> None:
    assert decide(message()) == decide(message())
