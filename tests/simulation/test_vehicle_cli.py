"""The commands that speak for the driver and for the workshop."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from ringroad.cli import run
from ringroad.cli.vehicle import unblock_running
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Unavailable
from ringroad.vehicle.agents.base import Failed, Reason
from ringroad.vehicle.config import write_config
from ringroad.vehicle.files import FolderLock
from ringroad.vehicle.memory import JOURNAL_NAME
from ringroad.vehicle.orchestrator import MANIFEST_AGAIN_S, MANIFEST_AGAIN_S_MAX, Orchestrator
from ringroad.vehicle.unblock import (
    TAKEN_NAME,
    UNBLOCK_NAME,
    WORD_S_MAX,
    AboardEcu,
    heed_unblock,
    is_unblocked,
    read_taken,
)
from support.vehicle_world import World

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


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


def test_status_names_the_value_of_a_precondition_that_does_not_hold(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.config = msgspec.structs.replace(world.config, consent="auto")
    write_config(world.folder, world.config, durability="buffered")
    world.order()
    world.signals.values["Vehicle.Speed"] = 42
    assert asyncio.run(world.drive(until=lambda one: one.state.noted[0] == "precondition")) == "READY"
    assert vehicle(world, "status") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["code"], shown["detail"]) == ("precondition", "Vehicle.Speed == 0, but the value is 42")


def test_status_says_how_much_of_a_download_is_here(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.config = msgspec.structs.replace(world.config, consent="auto")
    write_config(world.folder, world.config, durability="buffered")
    world.order()
    world.downloads_max = 1
    asyncio.run(world.drive(until=lambda _: len(list((world.folder / "images").glob("*"))) == 2))
    whole, begun = sorted((world.folder / "images").glob("*"))
    begun.rename(begun.with_suffix(".part")).write_bytes(b"1234567")
    assert vehicle(world, "status") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["here_bytes"]) == ("DOWNLOADING", whole.stat().st_size + 7)
    assert (
        shown["images_bytes"] == 6 * 3_000
    )  # four new ones, and the old ones of two that are flashed in place


def test_status_says_why_an_ecu_is_tried_again_and_at_the_end_why_it_was_given_up(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.config = msgspec.structs.replace(world.config, consent="auto")
    world.order()
    world.ecus["brake"].answers["install"] = [Failed(reason=Reason.UNREACHABLE, detail="timed out")] * 50
    serial = next(ecu.serial for ecu in world.config.ecus if ecu.name == "brake")

    async def drive_until_tried() -> None:
        async with world.boot() as orchestrator:
            await orchestrator.exchange()
            while serial not in orchestrator.state.failing:
                await orchestrator.step()
            assert vehicle(world, "status") == 0

    asyncio.run(drive_until_tried())
    brake = next(ecu for ecu in json.loads(capsys.readouterr().out)["ecus"] if ecu["name"] == "brake")
    assert re.fullmatch(r"no answer, try 1 of 8, next (in \d+ s|now)", brake["why"])
    world.ecus["brake"].answers["rollback"] = [Failed(reason=Reason.UNREACHABLE, detail="timed out")] * 50
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    assert vehicle(world, "status") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["detail"] == "brake: no answer after 8 tries"
    assert [ecu["why"] for ecu in shown["ecus"] if ecu["why"]] == ["no answer after 8 tries"]
    assert [ecu["why"] for ecu in shown["past"][0]["ecus"] if "why" in ecu] == ["no answer after 8 tries"]


def test_an_update_that_is_done_and_cannot_be_stated_says_why_until_it_is(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.config = msgspec.structs.replace(world.config, consent="auto")
    write_config(world.folder, world.config, durability="buffered")
    world.order()
    brake = world.ecus["brake"]

    def shown() -> tuple[str, str, str]:
        assert vehicle(world, "status") == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        return told["state"], told["code"], told["detail"]

    async def exchanges() -> None:
        async with world.boot() as orchestrator:
            while orchestrator.state.state != "SUCCEEDED":
                await orchestrator.exchange()
                world.clock.s += await orchestrator.step() or 0
            brake.answers["inventory"] = [Failed(reason=Reason.UNREACHABLE)] * 20
            for seconds in (0, MANIFEST_AGAIN_S + 1, 2 * MANIFEST_AGAIN_S + 1, 4 * MANIFEST_AGAIN_S + 1):
                world.clock.s += seconds
                await orchestrator.exchange()
                assert orchestrator.state.notes <= (seconds > 0)  # once, and not of what may pass at once
            await orchestrator.exchange()
            assert shown() == ("SUCCEEDED", "manifest_incomplete", "brake does not answer: unreachable")
            brake.answers.clear()
            world.clock.s += MANIFEST_AGAIN_S_MAX
            await orchestrator.exchange()
            assert shown() == ("SUCCEEDED", "", "")

    asyncio.run(exchanges())
    told = [one for one in world.server.reports.values() if one.code == "manifest_incomplete"]
    assert [(one.state, one.ecu, one.detail) for one in told] == [
        ("SUCCEEDED", "", "brake does not answer: unreachable")
    ]


def test_only_a_blocked_vehicle_is_unblocked_and_then_takes_part_again(world: World) -> None:
    assert vehicle(world, "unblock") != 0
    world.config = msgspec.structs.replace(world.config, consent="auto")
    world.order()
    world.ecus["adas"].bad_versions.add("2.0.0")
    world.ecus["brake"].answers["rollback"] = [Failed(reason=Reason.TRANSFER_FAILED)] * 50
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"
    world.ecus["brake"].answers.clear()  # mended
    assert vehicle(world, "unblock") == 0
    assert asyncio.run(world.drive()) == "ROLLED_BACK"
    world.ecus["adas"].bad_versions.clear()
    world.order(action_id=2)
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert world.versions() == {"2.0.0"}


def test_a_blocked_vehicle_is_unblocked_while_it_runs(world: World) -> None:
    world.config = msgspec.structs.replace(world.config, consent="auto")
    world.order()
    world.ecus["adas"].bad_versions.add("2.0.0")
    world.ecus["brake"].answers["rollback"] = [Failed(reason=Reason.TRANSFER_FAILED)] * 50
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"

    async def story() -> tuple[int, bool, int]:
        async with world.boot() as orchestrator:
            heeds = asyncio.create_task(heed_unblock(world.folder, orchestrator, SystemClock()))
            status = await asyncio.to_thread(vehicle, world, "unblock")
            again = await asyncio.to_thread(vehicle, world, "unblock")
            heeds.cancel()
            return status, orchestrator.state.blocked, again

    assert asyncio.run(story()) == (0, False, 4)
    assert not (world.folder / UNBLOCK_NAME).exists()
    world.ecus["brake"].answers.clear()  # mended
    assert asyncio.run(world.drive()) == "ROLLED_BACK"
    world.ecus["adas"].bad_versions.clear()
    world.order(action_id=2)
    assert asyncio.run(world.drive()) == "SUCCEEDED"


def test_a_vehicle_that_is_unblocked_while_it_runs_says_which_ecus_it_has_aboard_and_not_its_file(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.config = msgspec.structs.replace(world.config, consent="auto")
    world.order()
    world.ecus["adas"].bad_versions.add("2.0.0")
    world.ecus["brake"].answers["rollback"] = [Failed(reason=Reason.TRANSFER_FAILED)] * 50
    assert asyncio.run(world.drive()) == "ROLLBACK_FAILED"

    async def story() -> int:
        async with world.boot() as orchestrator:
            heeds = asyncio.create_task(heed_unblock(world.folder, orchestrator, SystemClock()))
            others = tuple(each for each in world.config.ecus if each.name != "brake")
            fewer = msgspec.structs.replace(world.config, ecus=others)
            write_config(world.folder, fewer, durability="buffered")  # edited behind its back
            status = await asyncio.to_thread(vehicle, world, "unblock")
            heeds.cancel()
            return status

    capsys.readouterr()
    assert asyncio.run(story()) == 0
    out = "\n" + capsys.readouterr().out  # among what the vehicle logs
    said, _ = json.JSONDecoder().raw_decode(out, out.index("\n{") + 1)
    assert "brake" in said["ecus"]
    assert (said["state"], said["exchanged"]) == ("ROLLING_BACK", [])


def test_what_a_process_said_of_another_failure_or_before_is_not_taken_for_its_word(tmp_path: Path) -> None:
    assert read_taken(tmp_path, action_id=7, since=NOW) is None  # an older process says nothing
    said = {"action_id": 7, "at": NOW, "on_board": [{"serial": "brake-1"}]}
    (tmp_path / TAKEN_NAME).write_bytes(msgspec.json.encode(said))
    assert read_taken(tmp_path, action_id=6, since=NOW) is None
    assert read_taken(tmp_path, action_id=7, since=NOW + timedelta(seconds=1)) is None
    assert read_taken(tmp_path, action_id=7, since=NOW) == (AboardEcu(serial="brake-1"),)
    (tmp_path / TAKEN_NAME).write_text("[")
    assert read_taken(tmp_path, action_id=7, since=NOW) is None


def test_a_process_that_does_not_heed_is_named_and_hears_nothing_later(world: World) -> None:
    asyncio.run(world.drive())
    (world.folder / JOURNAL_NAME).unlink()

    async def story() -> None:
        async with world.boot():
            unblock_running(world.folder, SystemClock(), within_s=0.0)

    with pytest.raises(Unavailable) as unheeded:
        asyncio.run(story())
    assert "end that process" in unheeded.value.hint
    assert not (world.folder / UNBLOCK_NAME).exists()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"action_id": 7, "at": NOW}, True),
        ({"action_id": 7, "at": NOW - timedelta(seconds=WORD_S_MAX)}, True),
        ({"action_id": 7, "at": NOW - timedelta(seconds=WORD_S_MAX + 1)}, False),
        ({"action_id": 7, "at": NOW + timedelta(hours=1)}, False),
        ({"action_id": 7, "at": NOW.replace(tzinfo=None)}, False),
        ({"action_id": 6, "at": NOW}, False),
        ({"action_id": None, "at": NOW}, False),
        ({"action_id": 7}, False),
        ({}, False),
        ([], False),
    ],
)
def test_a_word_that_is_old_or_about_another_failure_unblocks_nothing(
    tmp_path: Path,
    said: object,
    expected: bool,  # noqa: FBT001 - a case
) -> None:
    assert not is_unblocked(tmp_path, action_id=7, now=NOW)
    (tmp_path / UNBLOCK_NAME).write_bytes(msgspec.json.encode(said))
    assert is_unblocked(tmp_path, action_id=7, now=NOW) is expected


def test_a_folder_that_is_no_vehicle_is_refused_with_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["vehicle", "run", "--data", str(tmp_path)], {}) == 2
    assert "hint: is this a vehicle folder?" in capsys.readouterr().err


def test_a_second_run_on_a_folder_says_only_that_another_one_runs(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = FolderLock(world.folder)
    try:
        assert vehicle(world, "run") == 4
    finally:
        lock.close()
    said = capsys.readouterr()
    assert "another orchestrator" in said.err
    assert "ECUs" not in said.out + said.err
