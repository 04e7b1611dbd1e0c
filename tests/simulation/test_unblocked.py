"""A blocked vehicle whose ECU was mended: what its update left undone is done once it is unblocked."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from ringroad.cli import run
from ringroad.vehicle.agents.base import Failed, Reason
from ringroad.vehicle.config import write_config
from ringroad.vehicle.decide import COMMIT_TRIES_MAX
from ringroad.vehicle.memory import read_state
from support.vehicle_world import Installed, World, content_of

CUTS_MAX = 60


def blocked(folder: Path) -> World:
    """Leave a vehicle blocked, with its brake in the bootloader and nothing on it."""
    world = World(folder)
    write_config(world.folder, world.config, durability="buffered")
    world.order()
    brake = world.ecus["brake"]
    brake.falls_silent = 50
    brake.answers["rollback"] = [Failed(reason=Reason.UNREACHABLE)] * 50
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    assert brake.running is None
    brake.falls_silent = 0
    return world


def unblock(world: World) -> int:
    return run(["--json", "vehicle", "unblock", "--data", str(world.folder)], {})


def test_an_ecu_that_was_mended_is_brought_back_and_its_vehicle_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = blocked(tmp_path / "vehicle")
    world.ecus["brake"].answers.clear()
    assert unblock(world) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "state": "ROLLING_BACK",
        "ecus": ["brake"],
    }
    told = len(world.server.manifests)
    assert asyncio.run(world.drive()) == "ROLLED_BACK"
    assert world.versions() == {"1.0.0"}
    assert len(world.server.manifests) > told
    world.order(action_id=2)
    assert asyncio.run(world.drive()) == "SUCCEEDED"


def test_an_ecu_that_was_not_mended_blocks_again_and_is_named(tmp_path: Path) -> None:
    world = blocked(tmp_path / "vehicle")
    world.ecus["brake"].answers["rollback"] = [Failed(reason=Reason.UNREACHABLE)] * 50
    assert unblock(world) == 0
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    assert read_state(world.folder).detail == "brake: no answer after 8 tries"
    world.ecus["brake"].answers.clear()
    assert unblock(world) == 0
    assert asyncio.run(world.drive()) == "ROLLED_BACK"


def test_an_ecu_that_a_workshop_flashed_is_not_flashed_again(tmp_path: Path) -> None:
    world = blocked(tmp_path / "vehicle")
    brake = world.ecus["brake"]
    brake.answers.clear()
    brake.banks[0] = Installed(content=content_of("brake", "1.0.0"), version="1.0.0", counter=1)
    brake.verbs.clear()
    assert unblock(world) == 0
    assert asyncio.run(world.drive()) == "ROLLED_BACK"
    assert "erase" not in brake.verbs


def test_an_image_that_left_the_store_is_named_and_fetched_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = blocked(tmp_path / "vehicle")
    world.ecus["brake"].answers.clear()
    old = hashlib.sha256(content_of("brake", "1.0.0")).hexdigest()
    (world.folder / "images" / old).unlink()
    assert run(["vehicle", "unblock", "--data", str(world.folder)], {}) == 0
    assert (
        "for brake is not in images/ any more: it is fetched from the server first" in capsys.readouterr().out
    )
    assert asyncio.run(world.drive()) == "ROLLED_BACK"
    assert world.versions() == {"1.0.0"}


def test_an_ecu_that_was_exchanged_is_named_and_nothing_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = blocked(tmp_path / "vehicle")
    ecus = [
        msgspec.structs.replace(ecu, serial="another") if ecu.name == "brake" else ecu
        for ecu in world.config.ecus
    ]
    write_config(world.folder, msgspec.structs.replace(world.config, ecus=tuple(ecus)), durability="buffered")
    assert run(["vehicle", "unblock", "--data", str(world.folder)], {}) == 0
    said = capsys.readouterr().out
    assert "no ECU is touched" in said
    assert "is not in the vehicle any more: what is there in its place needs its software" in said
    assert read_state(world.folder).state == "IDLE"


def test_past_the_commit_point_the_mended_ecu_takes_what_the_others_run(tmp_path: Path) -> None:
    world = World(tmp_path / "vehicle")
    write_config(world.folder, world.config, durability="buffered")
    world.order()
    world.ecus["brake"].answers["commit"] = [Failed(reason=Reason.UNREACHABLE)] * 2 * COMMIT_TRIES_MAX
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    world.ecus["brake"].answers.clear()
    assert unblock(world) == 0
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert world.versions() == {"2.0.0"}


def test_power_that_goes_anywhere_on_the_way_back_changes_nothing_of_its_end(tmp_path: Path) -> None:
    for cut in range(1, CUTS_MAX):
        world = blocked(tmp_path / str(cut))
        world.ecus["brake"].answers.clear()
        assert unblock(world) == 0
        before = world.power.ticks
        assert asyncio.run(world.live(cut)) == "ROLLED_BACK", cut
        assert world.versions() == {"1.0.0"}, cut
        if world.power.ticks - before < cut:
            return
    pytest.fail("power was still being cut")
