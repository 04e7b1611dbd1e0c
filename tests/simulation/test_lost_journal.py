"""A journal that is gone while the rest of the vehicle's files is there: never taken for a new vehicle."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ringroad.cli import run
from ringroad.kernel.errors import Corrupt
from ringroad.protocol.vehicle import Command
from ringroad.vehicle.config import write_config
from ringroad.vehicle.memory import JOURNAL_NAME, WITNESSES, read_state
from ringroad.vehicle.observe import BLOCKED_FAULT, FaultWatch
from support.vehicle_world import Installed, PowerCut, World, content_of


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A vehicle after its first update."""
    made = World(tmp_path / "vehicle")
    write_config(made.folder, made.config, durability="buffered")
    made.order()
    assert drive(made) == "SUCCEEDED"
    made.server.command = Command(kind="none", poll_s=1)  # as the server says once the update is closed
    made.server.reports.clear()
    return made


def drive(world: World) -> str:
    return asyncio.run(world.drive())


def lose(world: World, *, emptied: bool = False) -> None:
    (world.folder / JOURNAL_NAME).unlink()
    if emptied:
        (world.folder / JOURNAL_NAME).touch()


def last_code(world: World) -> str:
    return [one.code for one in world.server.reports.values()][-1]


def vehicle(world: World, command: str) -> int:
    return run(["--json", "vehicle", command, "--data", str(world.folder)], {})


@pytest.mark.parametrize("emptied", [False, True])
def test_a_vehicle_without_its_journal_takes_no_order_and_tells_why(world: World, *, emptied: bool) -> None:
    lose(world, emptied=emptied)
    assert drive(world) == "ROLLBACK_FAILED"
    world.order(action_id=2, version="3.0.0", counter=3)
    for _ in range(3):
        assert drive(world) == "ROLLBACK_FAILED"
    assert world.versions() == {"2.0.0"}
    (told,) = world.server.reports.values()
    assert (told.action_id, told.state, told.code) == (2, "ROLLBACK_FAILED", "blocked")
    assert told.detail.startswith("blocked since journal_missing: no journal beside trust.state")


@pytest.mark.parametrize("witness", WITNESSES)
def test_any_file_of_an_earlier_life_is_witness_enough(tmp_path: Path, witness: str) -> None:
    world = World(tmp_path)
    asyncio.run(world.drive())
    (world.folder / "telemetry").mkdir()
    lose(world)
    for name in WITNESSES:
        path = world.folder / name
        if name != witness and path.exists():
            path.unlink() if path.is_file() else path.rmdir()
    if not (
        world.folder / witness
    ).exists():  # a vehicle that was never offered anything has no trust of its own
        (world.folder / witness).write_bytes(b"")
    assert read_state(world.folder).code == "journal_missing"


def test_a_vehicle_as_it_left_the_line_is_new(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert not read_state(world.folder).blocked
    assert drive(world) == "IDLE"


def test_power_that_goes_while_the_loss_is_written_down_does_not_hide_it(world: World) -> None:
    for cut in range(1, 8):
        lose(world)
        world.power.cut_at = world.power.ticks + cut
        try:
            drive(world)
        except PowerCut:
            world.power.cut_at = 0
        assert drive(world) == "ROLLBACK_FAILED", cut
        world.power.cut_at = 0


def test_status_says_so_before_anything_was_started(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    lose(world)
    assert vehicle(world, "status") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["code"], shown["blocked"]) == ("ROLLBACK_FAILED", "journal_missing", True)
    assert not (world.folder / JOURNAL_NAME).exists()  # looking changes nothing


def test_a_person_confirms_and_the_vehicle_takes_part_again(world: World) -> None:
    lose(world)
    assert vehicle(world, "unblock") == 0
    assert drive(world) == "IDLE"
    world.order(action_id=2, version="3.0.0", counter=3)
    assert drive(world) == "FAILED"
    # Which image the in-place ECUs could go back to went with the journal; the plant's is not what they run.
    assert last_code(world) == "no_backup"
    for name in ("brake", "body"):  # the technician flashes it
        factory = content_of(name, "1.0.0")
        world.ecus[name].banks[0] = Installed(content=factory, version="1.0.0", counter=1)
        world.ecus[name].counter = 1
    world.order(action_id=3, version="3.0.0", counter=3)
    assert drive(world) == "SUCCEEDED"
    assert world.versions() == {"3.0.0"}


def test_the_server_that_was_declined_hears_that_nothing_is_blocked_any_more(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    lose(world)
    world.order(action_id=2)
    assert drive(world) == "ROLLBACK_FAILED"
    assert vehicle(world, "unblock") == 0
    assert drive(world) == "IDLE"
    *_, last = world.server.reports.values()
    assert (last.action_id, last.state, last.code) == (2, "IDLE", "unblocked")
    capsys.readouterr()
    assert vehicle(world, "status") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["code"] == "unblocked"
    assert shown["detail"].startswith(
        "no ECU was touched, look at what is there: journal_missing: no journal"
    )


def test_a_journal_older_than_what_the_server_has_is_damage(world: World) -> None:
    old = (world.folder / JOURNAL_NAME).read_bytes()
    world.order(action_id=2, version="3.0.0", counter=3)
    drive(world)
    (world.folder / JOURNAL_NAME).write_bytes(old)
    with pytest.raises(Corrupt, match="the server acknowledged"):
        drive(world)


def test_a_blocked_vehicle_calls_home_without_being_asked(world: World) -> None:
    lose(world)

    async def story() -> list[tuple[str, str, bool]]:
        told = []
        async with world.boot() as orchestrator:
            watch = FaultWatch(orchestrator)
            for _ in range(3):
                events = await watch.look([], now=world.clock.now())
                watch.told()
                told += [(one.ecu, one.code, bool(one.status)) for one in events]
                orchestrator.unblock()
        return told

    assert asyncio.run(story()) == [("central", BLOCKED_FAULT, True), ("central", BLOCKED_FAULT, False)]
