from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringroad.kernel.errors import Corrupt
from ringroad.protocol.vehicle import Report
from ringroad.vehicle.backoff import backoff_s
from ringroad.vehicle.outbox import SENT_NAME, Outbox

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def report(number: int) -> Report:
    return Report(id=f"e.{number}", action_id=1, state="SYNCING", at=NOW)


def outbox(folder: Path, epoch: str = "e") -> Outbox:
    return Outbox(folder, epoch=epoch, durability="fsync")


def test_a_report_is_offered_until_it_is_acknowledged(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.put(1, report(1))
    box.put(2, report(2))
    assert [one.id for one in box.batch()] == ["e.1", "e.2"]
    assert [one.id for one in box.batch()] == ["e.1", "e.2"]
    box.acknowledge(frozenset({"e.1"}))
    assert [one.id for one in box.batch()] == ["e.2"]
    assert not box.settled


def test_a_restart_does_not_tell_again_what_was_acknowledged(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for number in (1, 2, 3):
        box.put(number, report(number))
    box.acknowledge(frozenset({"e.1", "e.2"}))
    again = outbox(tmp_path)
    for number in (1, 2, 3):
        again.put(number, report(number))
    assert [one.id for one in again.batch()] == ["e.3"]


def test_an_acknowledgement_out_of_order_keeps_what_is_older(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.put(1, report(1))
    box.put(2, report(2))
    box.acknowledge(frozenset({"e.2"}))
    assert [one.id for one in box.batch()] == ["e.1", "e.2"]


def test_another_journal_is_told_from_its_beginning(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.put(5, report(5))
    box.acknowledge(frozenset({"e.5"}))
    again = outbox(tmp_path, epoch="f")
    again.put(1, report(1))
    assert len(again) == 1


def test_a_damaged_file_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / SENT_NAME).write_text("e x\n")
    with pytest.raises(Corrupt):
        outbox(tmp_path)


def test_progress_gives_way_to_news_and_to_newer_progress(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for done in (10, 20):
        box.put_progress(
            Report(id=f"p{done}", action_id=1, state="STAGING", at=NOW, ecu="a", done_bytes=done)
        )
    assert [one.id for one in box.batch()] == ["p20"]
    box.put(1, Report(id="e.1", action_id=1, state="STAGING", at=NOW, ecu="a", ecu_state="STAGED"))
    assert [one.id for one in box.batch()] == ["e.1"]
    box.acknowledge(frozenset({"e.1"}))
    assert box.batch() == []


def test_waiting_doubles_up_to_a_cap_and_is_spread() -> None:
    assert [backoff_s(n, fraction=0.999999, base_s=1, cap_s=10) for n in (1, 2, 3, 4, 5, 100)] == [
        pytest.approx(s, rel=1e-4) for s in (1, 2, 4, 8, 10, 10)
    ]
    assert backoff_s(1, fraction=0, base_s=1) == 0.5
