"""The commands that speak for the driver and for the workshop."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from ringroad.cli import run
from ringroad.vehicle.agents.base import Failed, Reason
from ringroad.vehicle.config import write_config
from ringroad.vehicle.orchestrator import Orchestrator
from support.vehicle_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "vehicle")
    made.config = msgspec.structs.replace(made.config, consent="ask")
    write_config(made.folder, made.config, durability="buffered")
    return made


def vehicle(world: World, command: str, *arguments: str) -> int:
    return run(["--json", "vehicle", command, "--data", str(world.folder), *arguments], {})


def drive_until_consent(world: World, what: str) -> str:
    def waiting(orchestrator: Orchestrator) -> bool:
        return orchestrator.state.noted == ("consent", what)

    return asyncio.run(world.drive(until=waiting))


def test_a_driver_is_asked_before_the_download_and_before_the_installation(world: World) -> None:
    world.order(action_id=17)
    assert drive_until_consent(world, "download") == "AWAITING_CONSENT"
    assert vehicle(world, "consent", "16") == 3  # there is no such update
    assert drive_until_consent(world, "download") == "AWAITING_CONSENT"
    assert vehicle(world, "consent", "17", "--download-only") == 0
    assert drive_until_consent(world, "install") == "READY"
    assert world.versions() == {"1.0.0"}
    assert vehicle(world, "consent", "17") == 0
    assert asyncio.run(world.drive()) == "SUCCEEDED"


@pytest.mark.parametrize("agreed_to", [None, "--download-only"])
def test_a_driver_who_declines_ends_the_update_and_nothing_is_installed(
    world: World, agreed_to: str | None
) -> None:
    world.order(action_id=17)
    drive_until_consent(world, "download")
    if agreed_to:
        assert vehicle(world, "consent", "17", agreed_to) == 0
        assert drive_until_consent(world, "install") == "READY"
    assert vehicle(world, "consent", "16", "--deny") == 3  # there is no such update
    waits_for, state = ("install", "READY") if agreed_to else ("download", "AWAITING_CONSENT")
    assert drive_until_consent(world, waits_for) == state
    assert vehicle(world, "consent", "17", "--deny") == 0
    assert asyncio.run(world.drive()) == "CANCELLED"
    assert world.versions() == {"1.0.0"}
    assert vehicle(world, "status") == 0


def test_status_names_the_reason_for_waiting(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.order(action_id=17)
    drive_until_consent(world, "download")
    assert vehicle(world, "status") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["action_id"], shown["code"]) == ("AWAITING_CONSENT", 17, "consent")
    assert [ecu["committed"] for ecu in shown["ecus"]] == ["1.0.0"] * 4


def test_only_a_blocked_vehicle_is_unblocked_and_then_takes_part_again(world: World) -> None:
    assert vehicle(world, "unblock") != 0
    world.config = msgspec.structs.replace(world.config, consent="auto")
    world.order()
    world.ecus["adas"].bad_versions.add("2.0.0")
    world.ecus["brake"].answers["rollback"] = [Failed(reason=Reason.TRANSFER_FAILED)] * 50
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    assert vehicle(world, "unblock") == 0
    world.ecus["adas"].bad_versions.clear()
    world.order(action_id=2)
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert world.versions() == {"2.0.0"}


def test_a_folder_that_is_no_vehicle_is_refused_with_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["vehicle", "run", "--data", str(tmp_path)], {}) == 2
    assert "hint: is this a vehicle folder?" in capsys.readouterr().err
