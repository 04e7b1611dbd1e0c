"""The lake on real files: whole or not at all, counted once, asked through Ibis on DuckDB."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import count, islice
from pathlib import Path
from threading import Thread

import pyarrow.parquet as pq
import pytest

from ringroad.kernel.errors import Corrupt, InvalidInput, Unavailable
from ringroad.kernel.fault_counts import FaultCount
from ringroad.storage.lake import ExposureRow, FaultRow, Lake, Rows, SampleRow, View
from ringroad.storage.measures import MARKS, Measurement, Window, measure_faults

MINUTE_US = 60_000_000
T0_US = 1_795_000_000_000_000 // (60 * MINUTE_US) * (60 * MINUTE_US)  # a full hour in November 2026
WINDOW = Window(
    programme="p1",
    since_us=T0_US,
    until_us=T0_US + 600 * MINUTE_US,
    tick_us=10 * MINUTE_US,
    gap_us=30 * MINUTE_US,
)


def seen(vin: str, minute: int, *, version: str = "1.0", batch: int | None = None, since: int | None = None,
         clock: str = "ok", programme: str = "p1") -> ExposureRow:  # fmt: skip
    return ExposureRow(
        vin=vin,
        batch=minute if batch is None else batch,
        index=0,
        programme=programme,
        variant="base",
        at_us=T0_US + minute * MINUTE_US,
        since_us=T0_US + (minute if since is None else since) * MINUTE_US,
        ecu="brake",
        software_version=version,
        release="",
        clock=clock,
        received_us=T0_US + minute * MINUTE_US,
        seq=minute,
    )


def fault(vin: str, minute: int, *, version: str = "1.0", status: int = 9, clock: str = "ok",
          batch: int | None = None) -> FaultRow:  # fmt: skip
    return FaultRow(
        vin=vin,
        batch=minute if batch is None else batch,
        index=0,
        programme="p1",
        variant="base",
        at_us=T0_US + minute * MINUTE_US,
        ecu="brake",
        code="P1",
        status=status,
        software_version=version,
        snapshot="{}",
        clock=clock,
        received_us=T0_US + minute * MINUTE_US,
        seq=minute,
    )


def sample(number: int) -> SampleRow:
    return SampleRow(
        vin="A",
        batch=1,
        index=number,
        programme="p1",
        variant="base",
        at_us=T0_US + number,
        path="Vehicle.Speed",
        kind="float",
        number=float(number),
        text=None,
        clock="ok",
        received_us=T0_US,
        seq=1,
    )


def measure(lake: Lake, window: Window = WINDOW) -> Measurement:
    return measure_faults(lake, window)


def one(lake: Lake, window: Window = WINDOW, *, version: str = "1.0") -> FaultCount:
    return next(item for item in measure(lake, window).counts if item.software_version == version)


def test_an_empty_lake_answers_with_nothing(tmp_path: Path) -> None:
    assert measure(Lake(tmp_path / "lake")).counts == ()


def test_rows_come_back_as_written_in_zstd_by_date(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    written = lake.write(Rows(samples=(sample(0), sample(1))), first_seq=1, last_seq=9)
    (path,) = written
    assert str(path.relative_to(tmp_path)).startswith(
        "samples/date=2026-11-18/seq-000000000001-000000000009-"
    )
    assert pq.ParquetFile(written[0]).metadata.row_group(0).column(0).compression == "ZSTD"
    rows = lake.read(lambda view: view.rows(view.table("samples").order_by("index")))
    assert [row["number"] for row in rows] == [0.0, 1.0]


def test_a_redelivered_range_rewrites_the_same_file(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    first = lake.write(Rows(samples=(sample(0),)), first_seq=1, last_seq=1)
    assert lake.write(Rows(samples=(sample(0),)), first_seq=1, last_seq=1) == first
    assert lake.files("samples") == first


def test_a_part_of_a_range_that_is_delivered_again_takes_nothing_of_the_whole_away(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(Rows(samples=(sample(0), sample(1), sample(2))), first_seq=1, last_seq=3)
    # The middle one was acknowledged, the first and the last were not.
    lake.write(Rows(samples=(sample(0), sample(2))), first_seq=1, last_seq=3)
    rows = lake.read(lambda view: view.rows(view.table("samples").order_by("index")))
    assert [row["number"] for row in rows] == [0.0, 1.0, 2.0]


def test_a_stream_that_began_anew_takes_nothing_of_the_old_one_away(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(Rows(samples=(sample(0),)), first_seq=1, last_seq=1)
    lake.compact(files_min=1)
    lake.write(Rows(samples=(replace(sample(5), batch=2),)), first_seq=1, last_seq=1)
    assert len(lake.read(lambda view: view.rows(view.table("samples")))) == 2


def test_rows_delivered_in_another_grouping_count_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(Rows(samples=(sample(0), sample(1))), first_seq=1, last_seq=2)
    lake.write(Rows(samples=(replace(sample(1), number=99.0, seq=3), sample(2))), first_seq=2, last_seq=3)
    rows = lake.read(lambda view: view.rows(view.table("samples").order_by("index")))
    assert [row["number"] for row in rows] == [0.0, 1.0, 2.0]  # the first delivery wins
    assert len(lake.read(lambda view: view.rows(view.raw("samples")))) == 4


def test_late_rows_go_to_their_own_date_and_unbelievable_ones_to_the_date_of_receipt(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    late = replace(seen("A", 0), at_us=T0_US - 86_400_000_000, clock="late")
    unset = replace(seen("B", 0), at_us=5, clock="unset")
    lake.write(Rows(exposure=(late, unset)), first_seq=1, last_seq=2)
    assert [path.parent.name for path in lake.files("exposure")] == ["date=2026-11-17", "date=2026-11-18"]


def test_half_written_files_are_not_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    (path,) = lake.write(Rows(samples=(sample(0),)), first_seq=1, last_seq=1)
    path.with_name(f".{path.name}.7.tmp").write_bytes(b"half")
    path.with_name("notes.parquet").write_bytes(b"foreign")
    assert len(lake.read(lambda view: view.rows(view.table("samples")))) == 1


def test_a_damaged_file_is_corrupt_not_empty(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    (path,) = lake.write(Rows(exposure=(seen("A", 0),)), first_seq=1, last_seq=1)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises((Corrupt, Unavailable)):
        measure(lake)


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file in the way")
    with pytest.raises(Unavailable):
        Lake(tmp_path / "lake").write(Rows(samples=(sample(0),)), first_seq=1, last_seq=1)


def test_a_range_backwards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        Lake(tmp_path).write(Rows(), first_seq=2, last_seq=1)


def test_compaction_keeps_every_answer(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for number in range(20):
        lake.write(Rows(samples=(sample(number),)), first_seq=number, last_seq=number)
    before = lake.read(lambda view: view.rows(view.table("samples").order_by("index")))
    assert lake.compact() == 20
    (merged,) = lake.files("samples")
    assert merged.name.startswith("compact-000000000000-000000000019-")
    lake.write(Rows(samples=(sample(7),)), first_seq=7, last_seq=7)  # delivered again after compaction
    assert lake.read(lambda view: view.rows(view.table("samples").order_by("index"))) == before
    assert lake.compact() == 0


def test_compaction_rewrites_no_file_that_outweighs_what_came_since(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    many = tuple(replace(sample(number), vin=sha256(b"%d" % number).hexdigest()) for number in range(2_000))
    (big,) = lake.write(Rows(samples=many), first_seq=0, last_seq=0)
    gone = []
    for number in range(1, 129):
        lake.write(Rows(samples=(sample(number),)), first_seq=number, last_seq=number)
        if number % 16 == 0:
            gone.append((lake.compact(), big.exists()))
    assert gone[:2] == [(16, True), (17, True)]  # with what was merged before, without what is bigger
    assert lake.read(lambda view: len(view.rows(view.table("samples")))) == 2_000 + 128
    assert len(lake.files("samples")) == 2


def test_files_that_are_compacted_away_at_every_reading_are_not_missed(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    compactions, numbers = [], count()
    for number in islice(numbers, 2):
        lake.write(Rows(samples=(sample(number),)), first_seq=number, last_seq=number)

    def question(view: View) -> int:
        """A worker that compacts as soon as there is something to compact, in each reading."""
        for number in islice(numbers, 2):
            lake.write(Rows(samples=(sample(number),)), first_seq=number, last_seq=number)
        compactions.append(Thread(target=lake.compact, kwargs={"files_min": 1}))
        compactions[-1].start()
        compactions[-1].join(1.0)  # ends, or waits for this reading
        return len(view.rows(view.table("samples")))

    assert lake.read(question) == 4  # those that the second reading found
    for each in compactions:
        each.join()
    assert lake.read(lambda view: len(view.rows(view.table("samples")))) == 6
    assert len(lake.files("samples")) == 1


def test_time_at_risk_ends_at_the_first_fault(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    exposure = tuple(seen(vin, minute) for vin in ("A", "B") for minute in (0, 20, 40, 60))
    lake.write(
        Rows(exposure=exposure, faults=(fault("A", 25), fault("A", 35, batch=900))), first_seq=1, last_seq=9
    )
    count = one(lake)
    assert (count.vehicles_exposed, count.vehicles_with_fault, count.vehicles_outside) == (2, 1, 0)
    assert count.first_fault_us == T0_US + 25 * MINUTE_US
    assert count.exposure_us == (25 + 60) * MINUTE_US + 1
    assert {cell.tick - T0_US // WINDOW.tick_us: cell.faulted for cell in count.cells if cell.faulted} == {
        2: 1
    }
    assert [cell.exposure_us for cell in count.cells][:2] == [20 * MINUTE_US, 20 * MINUTE_US]


def test_a_gap_is_not_time_at_risk_unless_data_reach_back(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(
        Rows(
            exposure=(
                seen("A", 0),
                seen("A", 100),
                seen("B", 0),
                seen("B", 100, since=-1),
                seen("C", 100, since=90),
            ),
            faults=(fault("C", 95),),
        ),
        first_seq=1,
        last_seq=9,
    )
    assert one(lake).exposure_us == (0 + 100 + 5) * MINUTE_US + 1


def test_a_change_of_version_counts_for_the_new_one(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(
        Rows(
            exposure=(seen("A", 0), seen("A", 10), seen("A", 20, version="2.0")),
            faults=(fault("A", 15, version="2.0"), fault("A", 16, version="1.0", batch=901)),
        ),
        first_seq=1,
        last_seq=9,
    )
    new, old = one(lake, version="2.0"), one(lake)
    assert (new.vehicles_with_fault, new.exposure_us) == (1, 5 * MINUTE_US + 1)
    assert (old.vehicles_with_fault, old.vehicles_outside, old.exposure_us) == (0, 1, 10 * MINUTE_US)


@pytest.mark.parametrize(
    "row",
    [
        fault("A", 5, status=0x50),  # not failed, not confirmed
        fault("A", 5, clock="ahead"),
        fault("Z", 5),  # never observed
        fault("A", 5, version="9.9"),
        fault("A", 700),
    ],
)
def test_faults_that_cannot_be_believed_do_not_count(tmp_path: Path, row: FaultRow) -> None:
    lake = Lake(tmp_path)
    lake.write(Rows(exposure=(seen("A", 0), seen("A", 10)), faults=(row,)), first_seq=1, last_seq=1)
    assert sum(count.vehicles_with_fault for count in measure(lake).counts) == 0


def test_a_fault_of_an_ecu_that_ran_no_software_is_evidence_against_none(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(
        Rows(exposure=(seen("A", 0), seen("A", 10)), faults=(fault("A", 5, version=""),)),
        first_seq=1,
        last_seq=1,
    )
    assert measure(lake).counts == ()


def test_a_fault_at_the_last_moment_of_a_tick_has_exposure(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(
        Rows(exposure=(seen("A", 0), seen("A", 10), seen("B", 10, since=10)), faults=(fault("A", 10),)),
        first_seq=1,
        last_seq=1,
    )
    assert [(cell.faulted, cell.exposure_us) for cell in one(lake).cells] == [(1, 10 * MINUTE_US)]


def test_programmes_do_not_mix_and_bad_clocks_are_counted(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(
        Rows(
            exposure=(
                seen("A", 0),
                seen("A", 10),
                seen("B", 5, since=0, programme="p2"),
                seen("C", 5, since=0, clock="ahead"),
            ),
            faults=(fault("A", 5),),
        ),
        first_seq=1,
        last_seq=1,
    )
    measured = measure(lake)
    assert [count.vehicles_exposed for count in measured.counts] == [1]
    assert (measured.exposure_rows, measured.unbelieved_rows) == (2, 1)


def test_the_queries_are_kept_as_readable_sql(tmp_path: Path) -> None:
    queries = measure(Lake(tmp_path)).queries
    assert set(queries) == {
        "at_risk",
        "failures",
        "first_failures",
        "cells",
        "versions",
        "reported",
        "clocks",
    }
    assert all(text.lstrip().startswith(("SELECT", "WITH")) for text in queries.values())


@pytest.mark.parametrize("wrong", [{"until_us": T0_US}, {"tick_us": 0}, {"gap_us": 0}, {"tick_us": 1}])
def test_empty_or_too_fine_windows_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        replace(WINDOW, **wrong)  # type: ignore[arg-type]


def test_a_programme_is_a_value_of_the_questions_whatever_it_is_called(tmp_path: Path) -> None:
    name = "it's <ecu>'"
    rows = Rows(exposure=(seen("A", 0, programme=name), seen("A", 20, programme=name)))
    rows = replace(rows, faults=(replace(fault("A", 10), programme=name),))
    Lake(tmp_path).write(rows, first_seq=1, last_seq=1)
    found = measure(Lake(tmp_path), replace(WINDOW, programme=name, ecu="brake"))
    assert [(item.vehicles_exposed, item.vehicles_with_fault) for item in found.counts] == [(1, 1)]
    assert measure(Lake(tmp_path), replace(WINDOW, programme=name, ecu=name)).counts == ()
    assert measure(Lake(tmp_path)).counts == ()
    told = " ".join(found.queries.values())
    assert "'it''s <ecu>'''" in told
    assert "'brake'" in told
    assert not [mark for mark in MARKS.values() if isinstance(mark, int) and str(mark) in told]
