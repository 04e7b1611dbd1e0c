"""The distributed example's vehicle, its process killed after a journal record: a sample of `make bench ARGS=kills`."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.kills import (
    ALL,
    PAST,
    TWO,
    WHOLE,
    Kind,
    figures_of,
    killed_after,
    share,
    torn,
)

from support.power_cuts import GUILTY, small
from support.vehicle_process import built, copied, powered


@pytest.mark.slow
@pytest.mark.parametrize(("record", "bad"), [(40, False), (150, True)])
def test_33_ecus_of_every_kind_are_whole_after_a_kill_and_the_next_process(
    tmp_path: Path, record: int, *, bad: bool
) -> None:
    vehicle = built(tmp_path / "built", small(ALL))
    assert killed_after(record, vehicle, tmp_path / "killed", bad=bad) == WHOLE


def test_a_vehicle_is_torn_until_its_update_is_ended_everywhere_and_told(tmp_path: Path) -> None:
    vehicle = built(tmp_path / "built", small(TWO))
    with powered(copied(vehicle, tmp_path / "killed", failing="")) as bench:
        bench.rehearsal.order()
        assert bench.live(RINGROAD_CRASH_AFTER_RECORD="12") != 0
        assert torn(bench, bad=False) == "the server was told of no end"
        assert bench.live() == 0
        assert torn(bench, bad=False) == ""
        assert "SUCCEEDED" in torn(bench, bad=True)
        (brake,) = (ecu for ecu in vehicle.config.ecus if ecu.name == GUILTY)
        flash = f"flash/{brake.serial}.bin"
        (tmp_path / "killed" / flash).write_bytes((tmp_path / "built" / flash).read_bytes())
        bench.power_cycle()
        assert torn(bench, bad=False) == f"SUCCEEDED, at rest: {GUILTY} ('1.0.0', False, 1)"


def test_an_update_with_fewer_records_is_told_as_not_killed(tmp_path: Path) -> None:
    vehicle = built(tmp_path / "built", small(TWO))
    assert killed_after(900, vehicle, tmp_path / "lived", bad=False) == PAST


def test_ends_that_are_kept_are_counted_and_not_tried_again(tmp_path: Path) -> None:
    kinds = [Kind(ecus=TWO, bad=bad) for bad in (False, True)]
    for kind in kinds:
        for record, end in enumerate((WHOLE, "torn", PAST), 1):
            kind.file(tmp_path, record).write_text(end, encoding="utf-8")
        share(kind, tmp_path, 0, 1)
    kills, torn = figures_of("kills", TWO, tmp_path, "10 s")
    assert (kills.value, torn.name, torn.value, torn.met) == (4, "kills_torn", 2, False)
