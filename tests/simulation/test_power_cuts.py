"""Power goes at every durable step of a mixed update: the vehicle ends all old or all new."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from ringroad.vehicle.decide import INSTALLING_RESTARTS_MAX, ROLLBACK_TRIES_MAX
from ringroad.vehicle.memory import read_state
from support.vehicle_world import PowerCut, World

TICKS_MAX = 300  # more than any run below needs; the loops end by themselves


def assert_whole(world: World, state: str) -> None:
    """All old or all new, bootable, and one more power cycle changes nothing."""
    assert world.versions() == ({"2.0.0"} if state == "SUCCEEDED" else {"1.0.0"}), state
    assert not any(ecu.trial for ecu in world.ecus.values())
    assert {ecu.counter for ecu in world.ecus.values()} == ({2} if state == "SUCCEEDED" else {1})
    before = world.versions()
    world.reset()
    assert world.versions() == before


async def every_cut(folder: Path, *, bad: bool, stride: int = 1, second: int = 0) -> set[str]:
    ends: set[str] = set()
    for cut in range(1, TICKS_MAX, stride):
        world = World(folder / str(cut))
        world.exchange_every = 7
        world.order()
        if bad:
            world.ecus["brake"].bad_versions.add("2.0.0")
        cuts = (cut, second) if second else (cut,)
        before = world.power.ticks
        state = await world.live(*cuts)
        assert_whole(world, state)
        ends.add(state)
        again = await world.drive()
        assert again == state, f"cut {cuts}: a restart at rest changed {state} to {again}"
        assert_whole(world, again)
        if world.power.ticks - before < cut:
            return ends
    pytest.fail(f"power was still being cut after {TICKS_MAX} steps")


def test_a_power_cut_at_any_step_of_a_good_update_ends_in_the_new_release(tmp_path: Path) -> None:
    assert asyncio.run(every_cut(tmp_path, bad=False)) == {"SUCCEEDED"}


def test_a_power_cut_at_any_step_of_a_bad_update_ends_in_the_old_release(tmp_path: Path) -> None:
    assert asyncio.run(every_cut(tmp_path, bad=True)) == {"ROLLED_BACK"}


def first_cut_in_a_flash(folder: Path) -> int:
    """The tick at which power goes while nothing bootable is on an in-place ECU."""
    for cut in range(1, TICKS_MAX):
        world = World(folder / str(cut))
        world.order()
        world.power.cut_at = cut
        with contextlib.suppress(PowerCut):
            asyncio.run(world.drive())
        if "nothing" in world.versions():
            return cut
    pytest.fail("nothing was ever flashed")


# Ticks from a start into the middle of a flash: two of each record before it, two of the flash.
AGAIN, FIRST_ROLLBACK = 4, 8


def test_power_that_goes_in_every_try_of_one_flash_ends_in_the_old_release(tmp_path: Path) -> None:
    world = World(tmp_path / "vehicle")
    world.order()
    cuts = [first_cut_in_a_flash(tmp_path), *[AGAIN] * INSTALLING_RESTARTS_MAX]
    state = asyncio.run(world.live(*cuts))
    assert state == "ROLLED_BACK"
    assert_whole(world, state)


def test_power_that_goes_in_every_try_of_the_rollback_too_ends_in_a_blocked_vehicle(tmp_path: Path) -> None:
    world = World(tmp_path / "vehicle")
    world.order()
    cuts = [first_cut_in_a_flash(tmp_path), *[AGAIN] * INSTALLING_RESTARTS_MAX]
    cuts += [FIRST_ROLLBACK, *[AGAIN] * (ROLLBACK_TRIES_MAX - 1)]
    assert asyncio.run(world.live(*cuts)) == "ROLLBACK_FAILED"
    assert read_state(world.folder).blocked
    assert world.versions() == {"1.0.0", "nothing"}
    told = next(one for one in world.server.reports.values() if one.state == "ROLLBACK_FAILED")
    assert told.code == "rollback_failed"


@pytest.mark.parametrize("second", [1, 3, 8])
def test_a_second_power_cut_during_recovery_changes_nothing_of_that(tmp_path: Path, second: int) -> None:
    assert asyncio.run(every_cut(tmp_path, bad=False, stride=4, second=second)) == {"SUCCEEDED"}
    assert asyncio.run(every_cut(tmp_path / "bad", bad=True, stride=5, second=second)) == {"ROLLED_BACK"}
