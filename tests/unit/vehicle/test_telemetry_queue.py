from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from ringroad.kernel.errors import Corrupt
from ringroad.kernel.vin import parse_vin
from ringroad.protocol.vehicle import FaultEvent, Sample, TelemetryBatch
from ringroad.vehicle.collector import DROPPED_PATH, QUEUE_BYTES_MAX, SENT_NAME, Collector, TelemetryQueue

VIN = parse_vin("LRWRR0000TEST0001")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class StillClock:
    def now(self) -> datetime:
        return NOW

    def monotonic_s(self) -> float:
        return 0.0


def queue(folder: Path, bytes_max: int = QUEUE_BYTES_MAX) -> TelemetryQueue:
    return TelemetryQueue(folder, bytes_max=bytes_max, durability="fsync")


def collect(queue_: TelemetryQueue, *, samples: int = 1, faults: int = 0) -> int:
    collector = Collector(vin=VIN, queue=queue_, clock=StillClock(), fraction=lambda: 0.5)
    return collector.collect(
        [Sample(at=NOW, path=f"Vehicle.Signal{n}", value=n) for n in range(samples)],
        [
            FaultEvent(
                at=NOW + timedelta(seconds=n), ecu="brake", code="C1234-00", status=8, software_version="1"
            )
            for n in range(faults)
        ],
        software={"brake": "1"},
        release="r",
    )


def drained(queue_: TelemetryQueue) -> list[TelemetryBatch]:
    found = []
    while (oldest := queue_.oldest()) is not None:
        number, content = oldest
        found.append(msgspec.json.decode(content, type=TelemetryBatch))
        queue_.acknowledge(number)
    return found


def test_batches_leave_in_the_order_they_came(tmp_path: Path) -> None:
    first = queue(tmp_path)
    for _ in range(3):
        collect(first)
    assert [batch.batch for batch in drained(first)] == [1, 2, 3]
    assert len(first) == 0


def test_a_restart_loses_nothing_and_uses_no_number_twice(tmp_path: Path) -> None:
    first = queue(tmp_path)
    collect(first)
    collect(first)
    first.acknowledge(1)
    second = queue(tmp_path)
    collect(second)
    assert [batch.batch for batch in drained(second)] == [2, 3]
    assert collect(queue(tmp_path)) == 4  # also when nothing is waiting


def test_a_batch_is_offered_again_until_it_is_acknowledged(tmp_path: Path) -> None:
    first = queue(tmp_path)
    collect(first)
    assert first.oldest() == first.oldest()
    assert queue(tmp_path).oldest() == first.oldest()


def test_a_batch_cut_off_while_it_was_written_was_never_there(tmp_path: Path) -> None:
    collect(queue(tmp_path))
    (tmp_path / "000000000002.json.new").write_bytes(b'{"vin"')
    again = queue(tmp_path)
    assert collect(again) == 2
    assert [batch.batch for batch in drained(again)] == [1, 2]


def test_over_the_bound_the_oldest_samples_go_and_every_fault_stays(tmp_path: Path) -> None:
    small = queue(tmp_path, bytes_max=8_000)
    for _ in range(10):
        collect(small, samples=20, faults=1)
    batches = drained(small)
    assert sum(len(batch.faults) for batch in batches) == 10
    kept = [len(batch.samples) for batch in batches]
    assert kept[0] == 0
    assert kept[-1] == 21  # the newest, with one more that says how many were lost
    lost = next(sample.value for sample in batches[-1].samples if sample.path == DROPPED_PATH)
    assert isinstance(lost, int)
    assert lost > 0


def test_what_was_dropped_is_counted_exactly_across_restarts(tmp_path: Path) -> None:
    made = 0
    for _ in range(6):
        small = queue(tmp_path, bytes_max=4_000)
        collect(small, samples=20)
        made += 20
    last = queue(tmp_path, bytes_max=4_000)
    dropped = last.dropped
    kept = [sample for batch in drained(last) for sample in batch.samples]
    told = [sample for sample in kept if sample.path == DROPPED_PATH]
    own = len(kept) - len(told)
    told_and_lost = dropped + own - made  # lost samples that were themselves counts of lost samples
    assert 0 <= told_and_lost <= 6
    assert dropped > 0


def test_faults_go_only_when_no_samples_are_left_to_drop(tmp_path: Path) -> None:
    tiny = queue(tmp_path, bytes_max=2_000)
    for _ in range(10):
        collect(tiny, samples=0, faults=3)
    batches = drained(tiny)
    assert 0 < sum(len(batch.faults) for batch in batches) < 30
    assert batches[-1].batch == 10


def test_files_that_do_not_belong_there_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(Corrupt, match=r"notes\.json"):
        queue(tmp_path)


def test_a_damaged_count_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / SENT_NAME).write_text("not json")
    with pytest.raises(Corrupt):
        queue(tmp_path)
