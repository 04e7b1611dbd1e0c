"""What a campaign asks of the driver, on board: download only, consent per phase, soft, quiet hours, power cuts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from ringroad.protocol.vehicle import DRIVER_ALONE, OBEYS_CONDUCT, Command, Conduct, Phase
from ringroad.vehicle.agents.base import Fault
from ringroad.vehicle.consent import digest_notes, write_word
from ringroad.vehicle.observe import FaultWatch
from ringroad.vehicle.orchestrator import Orchestrator
from ringroad.vehicle.states import EcuState
from support.vehicle_world import World

NOTES = "Brakes release more softly."


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "vehicle")


def say(
    world: World,
    word: Literal["yes", "later", "no"] = "yes",
    through: Phase = "activate",
    *,
    action_id: int = 1,
    hours: int = 72,
    by: str = "ann",
) -> None:
    write_word(
        world.folder, action_id=action_id, word=word, through=through, by=by, now=world.clock.now(), hours=hours,
        notes_sha256=digest_notes(NOTES), durability="buffered",
    )  # fmt: skip


def drive_to(world: World, code: str, about: str = "") -> Orchestrator:
    """Run until the vehicle waits for something."""
    seen: list[Orchestrator] = []

    def waiting(orchestrator: Orchestrator) -> bool:
        seen[:] = [orchestrator]
        return orchestrator.state.noted == (code, about)

    asyncio.run(world.drive(until=waiting))
    assert seen[0].state.noted == (code, about)
    return seen[0]


def drive(world: World) -> str:
    return asyncio.run(world.drive())


def set_config(world: World, **fields: Any) -> None:
    world.config = msgspec.structs.replace(world.config, **fields)


def told(world: World, code: str) -> list[str]:
    return [one.detail for one in world.server.reports.values() if one.code == code]


def downloads(world: World) -> int:
    return sum("/image/targets/" in path for _, path, _ in world.server.asked)


# Download only --------------------------------------------------------------------------------------


def test_a_download_only_update_is_stored_and_a_later_one_installs_it_without_the_network(
    world: World,
) -> None:
    only = Conduct(urgency="download_only")
    world.order(conduct=only, preconditions=("Vehicle.Speed == 0", OBEYS_CONDUCT))
    world.signals.values["Vehicle.Speed"] = 50  # it is on its way all the time
    assert drive(world) == "DOWNLOADED"
    assert world.states()[-2:] == ["STAGING", "DOWNLOADED"]
    assert world.versions() == {"1.0.0"}
    assert not any(
        one.ecu for one in world.server.reports.values()
    )  # no ECU was touched, not even a spare bank
    fetched = downloads(world)
    assert fetched == 6  # four images and two backups
    world.signals.values["Vehicle.Speed"] = 0
    world.order(action_id=2)
    assert drive(world) == "SUCCEEDED"
    assert world.versions() == {"2.0.0"}
    assert downloads(world) == fetched


def test_power_that_goes_at_any_step_of_a_download_only_update_leaves_it_stored_once(tmp_path: Path) -> None:
    for cut in range(1, 200):
        world = World(tmp_path / str(cut))
        world.order(conduct=Conduct(urgency="download_only"))
        before = world.power.ticks
        assert asyncio.run(world.live(cut)) == "DOWNLOADED"
        assert world.versions() == {"1.0.0"}
        ends = [one for one in world.server.reports.values() if one.state == "DOWNLOADED"]
        assert len(ends) == 1
        assert drive(world) == "DOWNLOADED"
        if world.power.ticks - before < cut:
            return
    pytest.fail("power was still being cut")


def test_what_runs_already_is_not_stored(world: World) -> None:
    world.order()
    assert drive(world) == "SUCCEEDED"
    world.order(action_id=2, conduct=Conduct(urgency="download_only"))
    assert drive(world) == "SUCCEEDED"  # there is nothing to store


# Consent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["download", "install"])
def test_a_vehicle_that_waits_for_its_driver_goes_on_telling_its_faults(world: World, phase: Phase) -> None:
    world.order(conduct=Conduct(consent=[phase]))
    drive_to(world, "consent", phase)
    world.ecus["brake"].faults = [Fault(code="P0A1F-00", status=9)]

    async def look() -> list[str]:
        async with world.boot() as orchestrator:
            assert not orchestrator.state.resting
            return [event.code for event in await FaultWatch(orchestrator).look([], now=world.clock.now())]

    assert asyncio.run(look()) == ["P0A1F-00"]


def test_a_campaign_asks_the_driver_of_a_vehicle_that_asks_nobody_by_itself(world: World) -> None:
    world.order(conduct=Conduct(consent=["download", "install"]), notes=NOTES)
    assert drive_to(world, "consent", "download").state.state == "AWAITING_CONSENT"
    assert downloads(world) == 0
    say(world, through="download")
    assert drive_to(world, "consent", "install").state.state == "READY"
    assert world.versions() == {"1.0.0"}
    say(world, through="install")
    assert drive(world) == "SUCCEEDED"
    sha = digest_notes(NOTES)[:12]
    first, second = told(world, "consent_given")
    assert first.startswith("download agreed to by ann 20")
    assert second.startswith("download, install agreed to by ann 20")
    assert first.endswith(f"release notes {sha}")


def test_where_activation_is_asked_for_no_ecu_is_changed_for_good_before_it(world: World) -> None:
    world.order(conduct=Conduct(consent=["download", "install", "activate"]))
    say(world, through="download")
    waits = drive_to(world, "consent", "install")
    assert (waits.state.state, set(waits.state.ecus.values())) == ("STAGING", {EcuState.IDLE})
    say(world, through="install")
    waits = drive_to(world, "consent", "activate")
    assert (waits.state.state, set(waits.state.ecus.values())) == ("READY", {EcuState.STAGED})
    assert world.versions() == {"1.0.0"}
    say(world, through="activate")
    assert drive(world) == "SUCCEEDED"


def test_an_owner_who_agreed_in_advance_is_not_asked(world: World) -> None:
    set_config(world, consent="agreed")
    world.order(conduct=Conduct(consent=["download", "install", "activate"]))
    assert drive(world) == "SUCCEEDED"
    assert not told(world, "consent")


def test_an_agreement_that_ended_is_asked_for_again_and_the_server_hears_it(world: World) -> None:
    world.order(conduct=Conduct(consent=["install"]))
    drive_to(world, "consent", "install")
    say(world, hours=1)
    world.signals.values["Vehicle.Speed"] = 50
    drive_to(world, "precondition", "Vehicle.Speed == 0")
    world.clock.s += 3_600
    world.signals.values["Vehicle.Speed"] = 0
    drive_to(world, "consent", "install")
    assert len(told(world, "consent")) == 2
    assert "what ann agreed to ended" in told(world, "consent")[1]
    assert world.versions() == {"1.0.0"}
    say(world)
    assert drive(world) == "SUCCEEDED"


def test_a_vehicle_that_obeys_takes_the_term_that_holds_older_ones_back_for_true(world: World) -> None:
    world.order(conduct=Conduct(consent=["install"]), preconditions=("Vehicle.Speed == 0", OBEYS_CONDUCT))
    drive_to(world, "consent", "install")
    say(world)
    assert drive(world) == "SUCCEEDED"
    assert not told(world, "precondition")


def test_what_is_still_waited_for_after_a_word_is_told_again(world: World) -> None:
    world.order(conduct=Conduct(consent=["install"]))
    drive_to(world, "consent", "install")
    say(world, through="download")  # not enough
    asyncio.run(world.drive(until=lambda _: len(told(world, "consent")) == 2))
    assert [one.code for one in world.server.reports.values() if one.state == "READY" and one.code] == [
        "consent", "consent_given", "consent",
    ]  # fmt: skip


def test_a_refusal_ends_the_update_and_the_server_hears_who_when_and_of_which_notes(world: World) -> None:
    world.order(conduct=Conduct(consent=["install"]), notes=NOTES)
    drive_to(world, "consent", "install")
    said_at = world.clock.now()
    say(world, "no", by="bea")
    assert drive(world) == "CANCELLED"
    end = next(one for one in world.server.reports.values() if one.state == "CANCELLED")
    assert end.code == "consent_denied"
    assert end.detail == (
        f"declined by bea {said_at:%Y-%m-%d %H:%M} UTC, release notes {digest_notes(NOTES)[:12]}"
    )
    assert world.versions() == {"1.0.0"}
    assert drive(world) == "CANCELLED"


def test_a_word_on_another_update_changes_nothing(world: World) -> None:
    world.order(conduct=Conduct(consent=["download"]))
    say(world, action_id=2)
    drive_to(world, "consent", "download")
    (world.folder / "consent.json").write_text('{"action_id": 1, "install": tr')
    drive_to(world, "consent", "download")
    assert not told(world, "consent_given")


def test_power_that_goes_while_the_driver_is_asked_asks_or_obeys_but_never_forgets_a_word(
    tmp_path: Path,
) -> None:
    for cut in range(1, 200):
        world = World(tmp_path / str(cut))
        world.order(conduct=Conduct(consent=["download", "install"]))
        drive_to(world, "consent", "download")
        say(world)
        before = world.power.ticks
        assert asyncio.run(world.live(cut)) == "SUCCEEDED"
        assert len(told(world, "consent_given")) == 1
        assert world.versions() == {"2.0.0"}
        if world.power.ticks - before < cut:
            return
        if cut > 12:  # behind the word it is an update like any other
            return
    pytest.fail("power was still being cut")


def agree_for_driver(world: World) -> None:
    world.server.command = msgspec.structs.replace(world.server.command, agreed=True)


def test_whoever_runs_the_fleet_agrees_where_the_driver_said_nothing(world: World) -> None:
    world.order(conduct=Conduct(consent=["download", "install", "activate"]))
    drive_to(world, "consent", "download")
    agree_for_driver(world)
    assert drive(world) == "SUCCEEDED"
    (said,) = told(world, "consent_given")
    assert said.startswith("download, install, activate agreed to by the fleet's operator")


@pytest.mark.parametrize("asked", [[], ["download", "install", "activate"]])
def test_a_vehicle_that_always_asks_hears_nobody_in_its_drivers_place(
    world: World, asked: list[Phase]
) -> None:
    set_config(world, consent="ask")
    world.order(conduct=Conduct(consent=asked))
    agree_for_driver(world)
    drive_to(world, "consent", "download")
    assert told(world, "consent")[0].endswith(DRIVER_ALONE)  # so that nobody tries
    assert not told(world, "consent_given")
    assert not downloads(world)
    say(world)
    assert drive(world) == "SUCCEEDED"


def test_what_the_fleet_agreed_to_ends_when_the_vehicle_is_set_to_ask(world: World) -> None:
    world.order(conduct=Conduct(consent=["install"]))
    agree_for_driver(world)
    world.signals.values["Vehicle.Speed"] = 30
    drive_to(world, "precondition", "Vehicle.Speed == 0")
    world.signals.values["Vehicle.Speed"] = 0
    set_config(world, consent="ask")
    drive_to(world, "consent", "install")
    say(world)
    assert drive(world) == "SUCCEEDED"


def test_what_a_driver_said_against_it_stands_whatever_the_fleet_agrees_to(world: World) -> None:
    world.order(conduct=Conduct(consent=["download"]))
    agree_for_driver(world)
    say(world, "later", hours=2)
    drive_to(world, "postponed", "download")
    world.clock.s += 2 * 3_600
    assert drive(world) == "SUCCEEDED"
    world.order(action_id=2, version="3.0.0", counter=3, conduct=Conduct(consent=["download"]))
    agree_for_driver(world)
    say(world, "no", action_id=2)
    assert drive(world) == "CANCELLED"


def test_what_the_fleet_agreed_to_another_update_counts_for_none(world: World) -> None:
    world.order(conduct=Conduct(consent=["install"]))
    drive_to(world, "consent", "install")
    world.server.command = Command(kind="cancel", poll_s=1, action_id=7, agreed=True)
    drive_to(world, "consent", "install")
    assert not told(world, "consent_given")


# Soft, later, quiet hours ---------------------------------------------------------------------------


def test_a_driver_may_put_a_soft_update_off_and_then_it_goes_on_by_itself(world: World) -> None:
    world.order(conduct=Conduct(urgency="soft"))
    say(world, "later", hours=2)
    orchestrator = drive_to(world, "postponed", "install")
    assert orchestrator.state.state == "READY"
    world.clock.s += 2 * 3_600
    assert drive(world) == "SUCCEEDED"
    assert "put off by ann" in told(world, "postponed")[0]


def test_what_is_forced_without_asking_cannot_be_put_off(world: World) -> None:
    world.order()
    say(world, "later")
    set_config(world, quiet_hours=("00:00-23:59",))
    assert drive(world) == "SUCCEEDED"


@pytest.mark.parametrize("conduct", [Conduct(urgency="soft"), Conduct(consent=["download"])])
def test_nothing_that_the_driver_has_a_say_in_begins_in_quiet_hours(world: World, conduct: Conduct) -> None:
    now = world.clock.now()
    ends = (now + timedelta(hours=3)).replace(minute=0)
    set_config(world, quiet_hours=(f"{now - timedelta(hours=2):%H:00}-{ends:%H:%M}",))
    world.order(conduct=conduct)
    say(world)
    assert drive_to(world, "quiet_hours").state.state == "READY"
    assert told(world, "quiet_hours")[0].startswith(f"quiet hours until {ends:%Y-%m-%d %H:%M}")
    world.clock.s += 4 * 3_600
    assert drive(world) == "SUCCEEDED"
