"""Preconditions while a vehicle installs: a pause before the erase, never one between the erase and the check."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ringroad.vehicle.agents.base import Failed, Reason
from ringroad.vehicle.decide import CHECKING_RESTARTS_MAX
from ringroad.vehicle.memory import read_state
from ringroad.vehicle.orchestrator import Orchestrator
from ringroad.vehicle.states import EcuState
from ringroad.vehicle.watch import PAUSES_MAX
from support.vehicle_world import Installed, World, content_of


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "vehicle")


def drive(world: World) -> str:
    return asyncio.run(world.drive())


def last_code(world: World) -> str:
    return next(one.code for one in reversed(list(world.server.reports.values())) if not one.ecu)


def drive_off_once(world: World) -> list[str]:
    """Drive for one look when the brake is about to be erased; return what it runs each time it is begun."""
    brake = world.ecus["brake"]
    ran: list[str] = []

    def at_install() -> None:
        if not ran:
            world.signals.once.append(30)
        ran.append(brake.running.version if brake.running else "nothing")

    brake.at_install = at_install
    return ran


def test_driving_off_while_an_ecu_is_unlocked_pauses_before_its_old_software_is_erased(world: World) -> None:
    world.order()
    ran = drive_off_once(world)
    assert drive(world) == "SUCCEEDED"
    assert ran == ["1.0.0", "1.0.0"]
    assert world.versions() == {"2.0.0"}
    details = [one.detail for one in world.server.reports.values() if one.code == "precondition"]
    assert details == ["Vehicle.Speed == 0, but the value is 30"]


def test_an_ecu_whose_software_is_gone_is_finished_whatever_the_vehicle_does(world: World) -> None:
    world.order()
    brake = world.ecus["brake"]

    def drive_off() -> None:
        brake.banks[0] = None  # as after a cut in the middle of the flash
        world.signals.values["Vehicle.Speed"] = 30

    brake.at_install = drive_off

    async def until_it_waits() -> None:
        await world.drive(
            until=lambda one: one.state.noted[0] == "precondition" and one.state.state == "INSTALLING"
        )

    asyncio.run(until_it_waits())
    assert brake.running == Installed(content=content_of("brake", "2.0.0"), version="2.0.0", counter=2)
    assert "install" not in world.ecus["body"].verbs  # the next one waits


def waits_in(world: World, state: str) -> None:
    def waits(one: Orchestrator) -> bool:
        return one.state.state == state and one.state.noted == ("precondition", "Vehicle.Speed == 0")

    assert asyncio.run(world.drive(until=waits)) == state


def drive_on(world: World, *, looks: int) -> None:
    """Let the vehicle look so many times more."""

    async def looking() -> None:
        async with world.boot() as orchestrator:
            for _ in range(looks):
                world.clock.s += await orchestrator.step() or 0

    asyncio.run(looking())


def test_driving_off_while_a_lost_bank_is_filled_again_restarts_no_ab_ecu(world: World) -> None:
    world.order()
    adas = world.ecus["adas"]
    asyncio.run(world.drive(until=lambda one: one.state.state == "READY"))
    adas.banks[1] = None

    def drive_off() -> None:
        if adas.banks[1] is not None:
            world.signals.values["Vehicle.Speed"] = 30

    adas.at_install = drive_off
    waits_in(world, "INSTALLING")
    drive_on(world, looks=5)
    assert adas.running is not None
    assert (adas.running.version, adas.trial) == ("1.0.0", False)
    adas.at_install = lambda: None
    world.signals.values["Vehicle.Speed"] = 0
    assert drive(world) == "SUCCEEDED"
    assert world.versions() == {"2.0.0"}


@pytest.mark.parametrize("state", ["INSTALLING", "CHECKING"])
def test_an_ab_ecu_that_went_back_is_not_restarted_while_the_vehicle_drives(world: World, state: str) -> None:
    world.order()
    adas = world.ecus["adas"]
    if state == "INSTALLING":  # the answer to its activation is lost
        adas.answers["activate"] = [Failed(reason=Reason.UNREACHABLE)]
        asyncio.run(world.drive(until=lambda one: one.state.ecus.get(adas.serial) is EcuState.INSTALLING))
    else:
        asyncio.run(world.drive(until=lambda one: one.state.state == state))
    world.reset()
    world.signals.values["Vehicle.Speed"] = 30
    adas.verbs.clear()
    waits_in(world, state)
    drive_on(world, looks=5)
    assert adas.running is not None
    assert (adas.running.version, adas.trial) == ("1.0.0", False)
    assert not {"install", "activate"} & set(adas.verbs)
    assert adas.verbs.count("inventory") == 2  # once after each start
    world.signals.values["Vehicle.Speed"] = 0
    assert drive(world) == "SUCCEEDED"
    assert world.versions() == {"2.0.0"}


def test_an_ab_ecu_that_runs_its_new_software_already_is_checked_while_the_vehicle_drives(
    world: World,
) -> None:
    world.order()
    asyncio.run(world.drive(until=lambda one: one.state.state == "CHECKING"))
    world.signals.values["Vehicle.Speed"] = 30
    assert drive(world) == "SUCCEEDED"


def test_a_vehicle_that_drives_off_in_the_middle_of_the_checks_goes_back_after_a_bounded_time(
    world: World,
) -> None:
    world.order()
    asyncio.run(world.drive(until=lambda one: one.state.state == "CHECKING"))
    world.signals.values["Vehicle.Speed"] = 30
    for _ in range(CHECKING_RESTARTS_MAX):
        world.reset()
        waits_in(world, "CHECKING")
    world.reset()
    assert drive(world) == "ROLLED_BACK"
    assert world.versions() == {"1.0.0"}


def test_a_term_that_fails_at_every_erase_ends_in_the_old_release_after_a_bounded_time(world: World) -> None:
    world.order()
    world.ecus["brake"].at_install = lambda: world.signals.once.append(3)
    assert drive(world) == "ROLLED_BACK"
    assert world.ecus["brake"].verbs.count("install") == PAUSES_MAX
    assert last_code(world) == "precondition"
    assert world.versions() == {"1.0.0"}


def test_power_that_goes_around_a_pause_ends_all_new(tmp_path: Path) -> None:
    world = World(tmp_path / "whole")
    world.order()
    drive_off_once(world)
    assert drive(world) == "SUCCEEDED"
    for cut in range(1, world.power.ticks + 1, 3):
        again = World(tmp_path / f"cut{cut}")
        again.exchange_every = 5
        again.order()
        drive_off_once(again)
        assert asyncio.run(again.live(cut)) == "SUCCEEDED", cut
        assert again.versions() == {"2.0.0"}, cut


def test_a_hold_time_is_waited_for_and_begins_anew_after_a_restart(world: World) -> None:
    world.order(preconditions=["Vehicle.Speed == 0 FOR 30"])
    asyncio.run(world.drive(until=lambda one: one.state.state == "READY" and world.clock.s > 20))
    assert read_state(world.folder).state == "READY"
    begun_s = world.clock.s
    assert drive(world) == "SUCCEEDED"
    assert world.clock.s - begun_s >= 30


@pytest.mark.parametrize("change", ["serial", "software", "ab_software"])
def test_an_ecu_that_is_exchanged_while_the_vehicle_waits_is_refused_before_any_is_touched(
    world: World, change: str
) -> None:
    world.order(preconditions=["Vehicle.Speed == 0"])
    world.signals.values["Vehicle.Speed"] = 30
    asyncio.run(
        world.drive(until=lambda one: one.state.state == "READY" and one.state.noted[0] == "precondition")
    )
    world.signals.values["Vehicle.Speed"] = 0
    other = Installed(content=b"other", version="1.0.1", counter=1)
    if change == "serial":
        world.ecus["brake"].answering_serial = "another"
    elif change == "software":
        world.ecus["brake"].banks[0] = other
    else:
        world.ecus["adas"].banks[world.ecus["adas"].active] = other
    assert drive(world) == "FAILED"
    assert last_code(world) == ("serial_mismatch" if change == "serial" else "changed_meanwhile")
    if change == "serial":
        assert any("answers in the place of" in one.detail for one in world.server.reports.values())
    assert not any("install" in ecu.verbs for ecu in world.ecus.values())
