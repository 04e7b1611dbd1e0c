"""A blocked vehicle whose ECU was mended: what its update left undone is done once it is unblocked."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from ringroad.cli import run
from ringroad.trust.keys import parse_public_key, public_key_dict
from ringroad.trust.manifest import InventoryKey
from ringroad.vehicle.agents.base import Failed, Reason
from ringroad.vehicle.config import write_config
from ringroad.vehicle.decide import COMMIT_TRIES_MAX
from ringroad.vehicle.memory import read_state
from ringroad.vehicle.states import TOUCHED
from support.uptane import seeded
from support.vehicle_world import DeskEcu, Installed, PowerCut, World, content_of, desk_ecu

CUTS_MAX = 300
TOUCHING = {"prepare", "erase", "install", "activate", "commit", "rollback"}


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


def both_blocked(folder: Path) -> World:
    """Leave a vehicle blocked, with its body in the bootloader and its brake with the new software."""
    world = World(folder)
    write_config(world.folder, world.config, durability="buffered")
    world.order()
    for name in ("brake", "body"):
        world.ecus[name].answers["rollback"] = [Failed(reason=Reason.UNREACHABLE)] * 50
    world.ecus["body"].falls_silent = 50
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    assert world.versions() == {"1.0.0", "2.0.0", "nothing"}
    for name in ("brake", "body"):
        world.ecus[name].answers.clear()
    world.ecus["body"].falls_silent = 0
    return world


def exchange(world: World, name: str) -> DeskEcu:
    """Put a spare part with the same software in the place of an ECU, and on the vehicle's record."""
    old = world.ecus[name]
    spare = desk_ecu(f"spare-{name}", old.mode, world.power)
    spare.banks[0] = Installed(content=content_of(name, "1.0.0"), version="1.0.0", counter=1)
    world.ecus[name] = spare
    world.keys[spare.serial] = seeded(spare.serial)
    key = parse_public_key(public_key_dict(world.keys[spare.serial]))
    world.server.keys = [
        InventoryKey(serial=spare.serial, key=key, is_primary=False) if one.serial == old.serial else one
        for one in world.server.keys
    ]
    ecus = [
        msgspec.structs.replace(ecu, serial=spare.serial, hardware_id=f"{spare.name}-hw") if ecu.name == name else ecu
        for ecu in world.config.ecus
    ]  # fmt: skip
    world.config = msgspec.structs.replace(world.config, ecus=tuple(ecus))
    write_config(world.folder, world.config, durability="buffered")
    return spare


def unblock(world: World) -> int:
    return run(["--json", "vehicle", "unblock", "--data", str(world.folder)], {})


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    said: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return said


def last_report(world: World) -> tuple[str, str]:
    """The state and the detail that the server was told last of the vehicle as a whole."""
    *_, last = (one for one in world.server.reports.values() if not one.ecu)
    return last.state, last.detail


def test_an_ecu_that_was_mended_is_brought_back_and_its_vehicle_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = blocked(tmp_path / "vehicle")
    world.ecus["brake"].answers.clear()
    assert unblock(world) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "state": "ROLLING_BACK",
        "ecus": ["brake"],
        "exchanged": [],
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
    spare = exchange(world, "brake")
    assert run(["vehicle", "unblock", "--data", str(world.folder)], {}) == 0
    said = capsys.readouterr().out
    assert "no ECU is touched" in said
    assert (
        "brake-serial is not in the vehicle any more: what is there in its place needs its software" in said
    )
    assert asyncio.run(world.drive()) == "IDLE"
    assert not TOUCHING & set(spare.verbs)
    assert last_report(world) == (
        "IDLE",
        "no ECU was touched, look at what is there: rollback_failed: brake: no answer after 8 tries",
    )


@pytest.mark.parametrize(("name", "other"), [("brake", "body"), ("body", "brake")])
def test_of_several_undone_ecus_those_aboard_are_brought_back_and_the_exchanged_one_blocks_until_it_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, other: str
) -> None:
    world = both_blocked(tmp_path / "vehicle")
    spare = exchange(world, name)
    assert unblock(world) == 0
    assert shown(capsys) == {"state": "ROLLING_BACK", "ecus": [other], "exchanged": [name]}
    told = len(world.states())
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    assert world.versions() == {"1.0.0"}
    assert world.states()[told:] == ["ROLLING_BACK", "ROLLBACK_FAILED"]  # the server frees it by neither
    assert last_report(world) == (
        "ROLLBACK_FAILED",
        f"{name}: {name}-serial is not in the vehicle any more",
    )
    world.order(action_id=2)
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"

    assert unblock(world) == 0
    assert shown(capsys) == {"state": "IDLE", "ecus": [], "exchanged": [name]}
    assert read_state(world.folder).state == "IDLE"
    assert asyncio.run(world.drive(until=lambda _: True)) == "IDLE"
    assert last_report(world) == (
        "IDLE",
        f"no ECU was touched, look at what is there: rollback_failed: {name}: {name}-serial is not in the vehicle any more",
    )
    assert not TOUCHING & set(spare.verbs)


def test_an_ecu_that_is_put_back_is_brought_back_after_all(tmp_path: Path) -> None:
    world = both_blocked(tmp_path / "vehicle")
    config, brake = world.config, world.ecus["brake"]
    exchange(world, "brake")
    assert unblock(world) == 0
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    world.config, world.ecus["brake"] = config, brake
    write_config(world.folder, config, durability="buffered")
    assert unblock(world) == 0
    assert asyncio.run(world.drive()) == "ROLLED_BACK"
    assert world.versions() == {"1.0.0"}


def test_past_the_commit_point_those_aboard_take_what_the_others_run_and_the_exchanged_one_blocks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path / "vehicle")
    write_config(world.folder, world.config, durability="buffered")
    world.order()
    for name in ("brake", "body"):
        world.ecus[name].answers["commit"] = [Failed(reason=Reason.UNREACHABLE)] * COMMIT_TRIES_MAX
    world.exchange_every = 50
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    spare = exchange(world, "brake")
    assert unblock(world) == 0
    assert shown(capsys) == {"state": "COMMITTING", "ecus": ["body"], "exchanged": ["brake"]}
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    state = read_state(world.folder)
    assert (state.code, state.detail) == (
        "commit_failed",
        "brake: brake-serial is not in the vehicle any more",
    )
    assert world.ecus["body"].counter == 2
    assert unblock(world) == 0
    assert asyncio.run(world.drive()) == "IDLE"
    assert not TOUCHING & set(spare.verbs)


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


def test_power_that_goes_anywhere_while_the_others_are_brought_back_changes_nothing_of_the_end(
    tmp_path: Path,
) -> None:
    for cut in range(1, CUTS_MAX):
        world = both_blocked(tmp_path / str(cut))
        spare = exchange(world, "body")
        assert unblock(world) == 0
        before = world.power.ticks
        assert asyncio.run(world.live(cut)) == "ROLLBACK_FAILED", cut
        whole = world.power.ticks - before < cut
        assert (world.versions(), world.states()[-1]) == ({"1.0.0"}, "ROLLBACK_FAILED"), cut
        assert unblock(world) == 0
        assert asyncio.run(world.live(cut)) == "IDLE", cut
        assert not TOUCHING & set(spare.verbs), cut
        if whole:
            return
    pytest.fail("power was still being cut")


def went_on(ecu: DeskEcu, told: int) -> set[str]:
    """What was done to an ECU for the update since its first `told` verbs, until it was brought back."""
    verbs = ecu.verbs[told:]
    return {"erase", "install", "activate"} & set(verbs[: (*verbs, "rollback").index("rollback")])


@pytest.mark.parametrize("name", ["brake", "body", "adas"])
def test_an_ecu_that_is_exchanged_at_any_step_of_an_update_leaves_the_others_all_old_or_all_new(
    tmp_path: Path, name: str
) -> None:
    ends = set()
    for cut in range(1, CUTS_MAX):
        world = World(tmp_path / str(cut))
        world.order()
        before = world.power.ticks
        with suppress(PowerCut):
            world.power.cut_at = before + cut
            asyncio.run(world.drive())
        world.power.cut_at = 0
        whole = world.power.ticks - before < cut
        world.reset()
        spare = exchange(world, name)
        began, told = read_state(world.folder).state, {key: len(ecu.verbs) for key, ecu in world.ecus.items()}
        end = asyncio.run(world.drive())
        ends.add(end)
        if began != "COMMITTING":
            assert not any(went_on(ecu, told[key]) for key, ecu in world.ecus.items()), (cut, began)
        others = {
            ecu.running.version if ecu.running else "" for key, ecu in world.ecus.items() if key != name
        }
        assert len(others) == 1, (cut, end, others)
        state = read_state(world.folder)
        touched = state.ecus.get(f"{name}-serial") in TOUCHED
        assert (end == "ROLLBACK_FAILED") == touched, (cut, end)
        if touched or end == "FAILED":
            assert f"{name}-serial is not in th" in state.detail, cut
        assert not TOUCHING & set(spare.verbs), cut
        if whole:
            assert ends >= {"FAILED", "ROLLED_BACK", "ROLLBACK_FAILED", "SUCCEEDED"}
            return
    pytest.fail("power was still being cut")
