"""What people read of how often a fault was seen: two counts, which need not agree."""

from __future__ import annotations

from datetime import UTC, datetime

from ringroad.cli.diagnose import _fault_text, _health_text
from ringroad.cli.diagnose_words import frames_text
from ringroad.http.console.render import page
from ringroad.http.faults import FaultHistoryView

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def line(frame: dict[str, float]) -> FaultHistoryView:
    return FaultHistoryView(
        ecu="brake", code="C0051-00", name="", status=1, active=True, occurrences=12, first_at=NOW, last_at=NOW,
        odometer_first_km=None, odometer_last_km=None, software_versions=["1.0"], frame=frame, counted_from=None,
    )  # fmt: skip


def history(frame: dict[str, float]) -> str:
    return page("fault_history.html", vin="V", history=[line(frame)], counted_from=None).content


def test_one_signal_is_one_and_the_count_of_a_history_is_said_to_be_a_least_one() -> None:
    assert "<summary>1 signal at that moment</summary>" in history({"Vehicle.Speed": 4})
    two = history({"Vehicle.Speed": 4, "Vehicle.TraveledDistance": 5})
    assert "<summary>2 signals at that moment</summary>" in two
    assert "<dt>Speed</dt><dd>4" in two
    assert "at least; as often as the vehicle saw it begin" in history({})


def test_the_signals_of_each_fault_of_a_history_are_one_line() -> None:
    rows = [
        {"ecu": "brake", "code": "C0051-00", "frame": {"Vehicle.Speed": 4.5, "Vehicle.Cabin.DoorCount": 2}},
        {"ecu": "gateway", "code": "U0100-00", "frame": {}},
    ]
    assert frames_text(rows).splitlines() == [
        "brake C0051-00: Cabin.DoorCount 2, Speed 4.5",
        "gateway U0100-00: no signals were told with it",
    ]


def test_a_faults_details_say_that_the_count_is_the_ecus_own() -> None:
    for count, words in ((1, "1 time"), (20, "20 times")):
        around = {"extended_data": {"occurrences": count, "aging": 0}, "snapshots": []}
        told = _fault_text({"code": "C0051-00", "words": "failing", "environment_data": around})
        assert f"seen {words} by the ECU's own count" in told


def test_no_faults_is_not_said_of_ecus_that_did_not_answer() -> None:
    silent = [{"component": "brake", "code": "timeout", "message": "no answer"}]
    assert _health_text({"items": [], "silent": []}) == "no faults"
    assert _health_text({"items": [], "silent": silent}).splitlines() == [
        "brake did not answer: no answer",
        "no other ECU told a fault",
    ]
