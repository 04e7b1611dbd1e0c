"""A whole vehicle against a whole server: what it does, and what it refuses."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.kernel.errors import Conflict, Unavailable
from ringroad.protocol.vehicle import TERMINAL_STATES, Command, PostCheck, Report, UpdateGroup
from ringroad.trust.manifest import UNLISTED, InstalledImage, RunningHashes
from ringroad.trust.metadata import Terms
from ringroad.vehicle.agents.base import Failed, Fault, Reason
from ringroad.vehicle.decide import AWAY_TRIES_MAX, COMMIT_INSTALLS_MAX, COMMIT_TRIES_MAX, ECU_TRIES_MAX
from ringroad.vehicle.identity import LOOKS_MAX
from ringroad.vehicle.memory import read_state
from ringroad.vehicle.observe import FaultWatch
from ringroad.vehicle.orchestrator import MANIFEST_AGAIN_S, MANIFEST_AGAIN_S_MAX, Orchestrator
from ringroad.vehicle.states import Tried
from support.uptane import OTHER_VIN
from support.vehicle_world import STEPS_MAX, Installed, World, content_of, director_target

HAPPY = [
    "SYNCING", "AWAITING_CONSENT", "DOWNLOADING", "VERIFYING", "STAGING", "READY", "INSTALLING", "CHECKING",
    "COMMITTING", "SUCCEEDED",
]  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "vehicle")


def drive(world: World) -> str:
    return asyncio.run(world.drive())


def last_code(world: World) -> str:
    return next(one.code for one in reversed(list(world.server.reports.values())) if not one.ecu)


def test_an_update_passes_through_every_state_and_tells_the_server_each_of_them(world: World) -> None:
    world.order()
    assert drive(world) == "SUCCEEDED"
    assert world.states() == HAPPY
    assert world.versions() == {"2.0.0"}
    manifest = world.server.manifests[-1]
    assert {report.installed_image.filename for report in manifest.reports.values()} == {
        f"{name}-2.0.0.bin" for name in world.ecus
    }


def test_a_vehicle_without_orders_rests_and_has_told_who_it_is(world: World) -> None:
    assert drive(world) == "IDLE"
    assert len(world.server.manifests) == 1
    assert not world.server.reports


def flash_elsewhere(world: World, *names: str, listed: bool = True) -> None:
    """A workshop brings ECUs to 3.0.0 without the orchestrator; its images are in the Image repository, or not."""
    for name in names:
        ecu = world.ecus[name]
        new = director_target(ecu, "3.0.0", 3)
        if listed:
            image = dataclasses.replace(new.image(), terms=Terms(version="3.0.0"))
            world.server.add_image(image, content_of(name, "3.0.0"))
        ecu.banks[0] = Installed(content=content_of(name, "3.0.0"), version="3.0.0", counter=3)
        ecu.counter = 3


def told(world: World) -> list[set[str]]:
    """The files that each manifest named."""
    return [
        {report.installed_image.filename for report in one.reports.values()} for one in world.server.manifests
    ]


def test_what_a_workshop_flashed_is_told_before_the_update_is_refused_for_it(world: World) -> None:
    assert drive(world) == "IDLE"
    flash_elsewhere(world, "brake", "adas")
    seen: list[int] = []

    def takes(report: Report) -> bool:
        if report.state == "FAILED":
            seen.append(len(world.server.manifests))
        return False

    world.server.refuses = takes
    world.order()
    assert drive(world) == "FAILED"
    assert last_code(world) == "rollback"  # the verifier's word for a counter that is too low
    before, known, *_ = told(world)
    assert {"brake-1.0.0.bin", "adas-1.0.0.bin"} <= before
    assert {"brake-3.0.0.bin", "adas-3.0.0.bin"} <= known
    assert min(seen) >= 2  # the manifest was there when the refusal came


def test_what_a_workshop_flashed_is_told_after_the_next_start_and_once(world: World) -> None:
    new = dataclasses.replace(
        director_target(world.ecus["brake"], "3.0.0", 3).image(), terms=Terms(version="3.0.0")
    )
    world.server.add_image(new, content_of("brake", "3.0.0"))
    world.order()
    assert drive(world) == "SUCCEEDED"
    count = len(world.server.manifests)
    drive(world)
    assert len(world.server.manifests) == count  # nothing else runs than it said
    flash_elsewhere(world, "brake")
    drive(world)
    drive(world)
    assert len(world.server.manifests) == count + 1
    assert {"brake-3.0.0.bin", "adas-2.0.0.bin"} <= told(world)[-1]


def flashed_after_an_update(world: World) -> None:
    """The brake runs 3.0.0 by a workshop; the vehicle trusts that image, and said something else."""
    new = director_target(world.ecus["brake"], "3.0.0", 3).image()
    world.server.add_image(
        dataclasses.replace(new, terms=Terms(version="3.0.0")), content_of("brake", "3.0.0")
    )
    world.order()
    assert drive(world) == "SUCCEEDED"
    flash_elsewhere(world, "brake")


async def exchanged(world: World, count: int) -> None:
    """Start, and exchange so often, minutes apart."""
    async with world.boot() as orchestrator:
        for _ in range(count):
            await orchestrator.exchange()
            world.clock.s += MANIFEST_AGAIN_S + 1


def test_what_a_workshop_flashed_is_told_again_where_the_server_was_away_in_that_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    flashed_after_an_update(world)
    answer, asked = world.server.answer, [0]

    def away(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        if method != "PUT":
            return answer(method, path, headers, body)
        asked[0] += 1
        return (503, b"", []) if asked[0] < 3 else answer(method, path, headers, body)

    monkeypatch.setattr(world.server, "answer", away)
    asyncio.run(exchanged(world, 6))
    assert asked == [3]
    assert "brake-3.0.0.bin" in told(world)[-1]


@pytest.mark.parametrize(("away", "known"), [(2, True), (LOOKS_MAX + 20, False)])
def test_an_ecu_that_is_away_is_asked_a_few_times_for_what_another_tells(
    world: World, *, away: int, known: bool
) -> None:
    flashed_after_an_update(world)
    world.ecus["adas"].answers["inventory"] = [Failed(reason=Reason.UNREACHABLE)] * away
    asyncio.run(exchanged(world, LOOKS_MAX + 5))
    assert ("brake-3.0.0.bin" in told(world)[-1]) is known
    asked = away - len(world.ecus["adas"].answers["inventory"])
    assert asked == (away if known else LOOKS_MAX)


@pytest.mark.parametrize(("away", "known"), [(2, True), (LOOKS_MAX + 20, False)])
def test_an_ecu_that_is_away_is_asked_a_few_times_for_what_it_tells_itself(
    world: World, *, away: int, known: bool
) -> None:
    flashed_after_an_update(world)
    world.ecus["brake"].answers["inventory"] = [Failed(reason=Reason.UNREACHABLE)] * away
    asyncio.run(exchanged(world, LOOKS_MAX + 5))
    assert ("brake-3.0.0.bin" in told(world)[-1]) is known
    asked = away - len(world.ecus["brake"].answers["inventory"])
    assert asked == (away if known else LOOKS_MAX)
    assert world.ecus["adas"].verbs.count("inventory") == world.ecus["brake"].verbs.count("inventory")


def test_what_syncing_waits_for_is_told_on_the_vehicle_too(world: World) -> None:
    world.ecus["brake"].answers["inventory"] = [Failed(reason=Reason.UNREACHABLE, detail="no answer")] * 30
    seen: list[tuple[str, str]] = []
    world.observer = lambda entry, state: (
        seen.append(state.noted) if isinstance(entry, Tried) and state.state == "SYNCING" else None
    )
    world.order()
    drive(world)
    assert set(seen) == {("unreachable", "brake: no answer")}


def test_looks_at_an_ecu_that_is_away_are_a_minute_apart(world: World) -> None:
    flashed_after_an_update(world)
    world.ecus["brake"].answers["inventory"] = [Failed(reason=Reason.UNREACHABLE)] * 20

    async def exchanges() -> None:
        async with world.boot() as orchestrator:
            world.ecus["brake"].verbs.clear()
            for _ in range(10):
                await orchestrator.exchange()
            assert world.ecus["brake"].verbs.count("inventory") == 1
            world.clock.s += MANIFEST_AGAIN_S + 1
            await orchestrator.exchange()
            assert world.ecus["brake"].verbs.count("inventory") == 2

    asyncio.run(exchanges())


def test_an_ecu_that_keeps_a_manifest_that_is_due_is_asked_ever_more_seldom_until_it_answers(
    world: World,
) -> None:
    brake = world.ecus["brake"]
    brake.answers["inventory"] = [Failed(reason=Reason.UNREACHABLE)] * 20

    async def exchanges() -> None:
        async with world.boot() as orchestrator:
            brake.verbs.clear()
            for _ in range(4 * 60):
                await orchestrator.exchange()
                world.clock.s += MANIFEST_AGAIN_S
            assert 7 <= brake.verbs.count("inventory") <= 10  # 1, 2, 4 ... 60 minutes apart
            assert world.server.manifests == []
            brake.answers["inventory"] = []
            world.clock.s += MANIFEST_AGAIN_S_MAX
            await orchestrator.exchange()
            assert len(world.server.manifests) == 1

    asyncio.run(exchanges())


def test_an_image_that_nobody_lists_is_told_with_its_digest_and_no_name_before_the_update_is_refused(
    world: World,
) -> None:
    assert drive(world) == "IDLE"
    flash_elsewhere(world, "brake", listed=False)
    assert drive(world) == "IDLE"
    assert len(told(world)) == 1  # not at its start: it may be listed by now, and nobody asked
    seen: list[int] = []

    def takes(report: Report) -> bool:
        if report.state == "FAILED":
            seen.append(len(world.server.manifests))
        return False

    world.server.refuses = takes
    world.order()
    assert drive(world) == "FAILED"
    assert last_code(world) == "rollback"  # the update's counter is lower
    assert min(seen) == 2
    image = world.server.manifests[-1].reports["brake-serial"].installed_image
    assert image == InstalledImage(
        filename=UNLISTED,
        hashes=RunningHashes(sha256=hashlib.sha256(content_of("brake", "3.0.0")).hexdigest()),
    )
    flash_elsewhere(world, "brake")  # it is listed late
    world.order(action_id=2)
    assert drive(world) == "FAILED"
    assert "brake-3.0.0.bin" in told(world)[-1]


def test_an_image_is_told_as_listed_nowhere_only_where_it_was_asked_what_is_listed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert drive(world) == "IDLE"
    flash_elsewhere(world, "brake", listed=False)
    answer = world.server.answer

    def lists_nothing(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        if "/image/" in path and path.endswith(".json"):
            return 404, b"", []
        return answer(method, path, headers, body)

    monkeypatch.setattr(world.server, "answer", lists_nothing)
    world.order()
    assert drive(world) == "FAILED"
    assert last_code(world) == "drop_request"
    assert all(UNLISTED not in names for names in told(world))


def test_an_image_that_nobody_lists_keeps_nobody_from_a_server_of_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert drive(world) == "IDLE"
    flash_elsewhere(world, "brake", listed=False)
    answer, asked = world.server.answer, [0]

    def refuses(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        if method != "PUT":
            return answer(method, path, headers, body)
        asked[0] += 1
        return 403, b"", []

    monkeypatch.setattr(world.server, "answer", refuses)
    world.order()
    assert drive(world) == "FAILED"
    assert asked[0] >= 1
    assert len(told(world)) == 1


def test_in_place_ecus_are_flashed_before_ab_ecus_flip_and_the_primary_is_last(world: World) -> None:
    world.order()
    drive(world)
    installing = [
        one.ecu for one in world.server.reports.values() if one.ecu_state == "INSTALLING"
    ]  # fmt: skip
    assert installing == ["brake-serial", "body-serial", "adas-serial", "central-serial"]


def test_a_failed_check_rolls_the_whole_group_back_in_reverse_order(world: World) -> None:
    world.order()
    world.ecus["brake"].bad_versions.add("2.0.0")
    assert drive(world) == "ROLLED_BACK"
    assert world.versions() == {"1.0.0"}
    assert last_code(world) == "self_test_failed"
    undone = [one.ecu for one in world.server.reports.values() if one.ecu_state == "ROLLED_BACK"]
    assert undone == ["central-serial", "adas-serial", "body-serial", "brake-serial"]
    assert {ecu.counter for ecu in world.ecus.values()} == {1}


@pytest.mark.parametrize(("said", "told"), [("0x22", "brake: 0x22"), ("", "brake")])
def test_an_update_that_is_undone_names_the_ecu_that_undid_it(world: World, said: str, told: str) -> None:
    world.order()
    world.ecus["brake"].answers["verify"] = [Failed(reason=Reason.BOOT_FAILED, detail=said)]
    assert drive(world) == "ROLLED_BACK"
    ended = [one for one in world.server.reports.values() if one.state == "ROLLED_BACK" and not one.ecu]
    assert [(one.code, one.detail) for one in ended] == [("boot_failed", told)]
    assert read_state(world.folder).detail == told


def test_an_agent_that_finds_all_well_does_not_have_the_wrong_version_committed(world: World) -> None:
    adas = world.ecus["adas"]
    adas.banks[1] = Installed(content=content_of("adas", "2.0.0"), version="1.5.0", counter=1)
    adas.claims = {"prepare"}  # by the digest of what lies there
    world.order()
    assert drive(world) == "ROLLED_BACK"
    assert last_code(world) == "version_mismatch"
    assert "commit" not in adas.verbs
    assert world.versions() == {"1.0.0"}


def test_an_agent_that_finds_all_well_does_not_have_another_image_committed(world: World) -> None:
    adas = world.ecus["adas"]
    adas.claims = {"activate", "verify"}
    world.order()
    assert drive(world) == "ROLLED_BACK"
    assert last_code(world) == "not_active"
    assert "commit" not in adas.verbs


def test_a_fault_that_was_there_before_is_not_held_against_the_update(world: World) -> None:
    world.ecus["body"].faults.append(Fault(code="B1234-00", status=8))
    world.order()
    assert drive(world) == "SUCCEEDED"


def test_a_fault_that_appears_with_the_update_undoes_it(world: World) -> None:
    world.order()
    world.ecus["body"].answers["activate"] = []
    world.observer = lambda entry, _: (
        world.ecus["body"].faults.append(Fault(code="B1234-00", status=8))
        if getattr(entry, "state", "") == "CHECKING"
        else None
    )
    assert drive(world) == "ROLLED_BACK"
    assert last_code(world) == "new_faults"


def test_an_image_that_was_tampered_with_is_refused_before_any_ecu_is_touched(world: World) -> None:
    world.order()
    for name in [name for name in world.server.images if name.endswith("brake-2.0.0.bin")]:
        world.server.images[name] = b"x" + world.server.images[name][1:]
    assert drive(world) == "FAILED"
    assert last_code(world) == "arbitrary_software"
    assert world.versions() == {"1.0.0"}
    assert not any("install" in ecu.verbs or "prepare" in ecu.verbs for ecu in world.ecus.values())


def test_metadata_for_another_vehicle_is_refused(world: World) -> None:
    world.order(vin=OTHER_VIN)
    assert drive(world) == "FAILED"
    assert last_code(world) == "wrong_vehicle"


def test_an_exchanged_ecu_is_refused_before_anything_is_downloaded(world: World) -> None:
    world.order()
    world.ecus["brake"].answering_serial = "somebody-else"
    assert drive(world) == "FAILED"
    assert last_code(world) == "serial_mismatch"
    assert not [path for _, path, _ in world.server.asked if "/targets/" in path]


def test_an_in_place_ecu_whose_old_image_is_gone_is_refused(world: World) -> None:
    for name in [name for name in world.server.images if name.endswith("body-1.0.0.bin")]:
        del world.server.images[name]
    world.order()
    assert drive(world) == "FAILED"
    assert last_code(world) == "no_backup"
    assert not any("install" in ecu.verbs for ecu in world.ecus.values())


def test_a_precondition_that_does_not_hold_is_named_with_its_value_and_holds_the_update(world: World) -> None:
    world.order()
    world.signals.values["Vehicle.Speed"] = 42

    def waited(orchestrator: Orchestrator) -> bool:
        return orchestrator.state.noted[0] == "precondition"

    assert asyncio.run(world.drive(until=waited)) == "READY"
    told = [one for one in world.server.reports.values() if one.code == "precondition"]
    assert [one.detail for one in told] == ["Vehicle.Speed == 0, but the value is 42"]
    world.signals.values["Vehicle.Speed"] = 0
    assert drive(world) == "SUCCEEDED"


def test_driving_off_between_two_ecus_pauses_the_installation(world: World) -> None:
    world.order()

    def drive_off(entry: object, _: object) -> None:
        if getattr(entry, "state", "") == "ACTIVATED":
            world.signals.values["Vehicle.Speed"] = 30

    world.observer = drive_off

    def paused(orchestrator: Orchestrator) -> bool:
        return orchestrator.state.noted[0] == "precondition"

    assert asyncio.run(world.drive(until=paused)) == "INSTALLING"
    assert [ecu.name for ecu in world.ecus.values() if "install" in ecu.verbs] == ["brake"]
    world.observer = None
    world.signals.values["Vehicle.Speed"] = 0
    assert drive(world) == "SUCCEEDED"


def cancel_when(world: World, state: str) -> None:
    def observe(entry: object, _: object) -> None:
        if getattr(entry, "state", "") == state:
            world.server.command = Command(kind="cancel", poll_s=1, action_id=1)

    world.observer = observe


@pytest.mark.parametrize(
    "state", ["SYNCING", "AWAITING_CONSENT", "DOWNLOADING", "VERIFYING", "STAGING", "READY"]
)
def test_a_cancel_before_installing_is_obeyed(world: World, state: str) -> None:
    world.order()
    if state == "SYNCING":
        world.server.command = Command(kind="cancel", poll_s=1, action_id=1)
    cancel_when(world, state)
    assert drive(world) == "CANCELLED"
    assert world.versions() == {"1.0.0"}
    told = next(one for one in world.server.reports.values() if one.state == "CANCELLED")
    assert told.detail == "its campaign took the update back, and its page says why"  # no reason came with it


def test_a_cancel_carries_its_reason_into_the_report(world: World) -> None:
    world.order()
    world.server.command = Command(
        kind="cancel", poll_s=1, action_id=1, reason="its campaign was halted: too many failures"
    )
    assert drive(world) == "CANCELLED"
    told = next(one for one in world.server.reports.values() if one.state == "CANCELLED")
    assert (told.code, told.detail) == ("cancelled", "its campaign was halted: too many failures")


@pytest.mark.parametrize("state", ["INSTALLING", "CHECKING", "COMMITTING"])
def test_a_cancel_after_installing_began_is_refused_and_said_so_once(world: World, state: str) -> None:
    world.order()
    cancel_when(world, state)
    assert drive(world) == "SUCCEEDED"
    assert [one.code for one in world.server.reports.values()].count("cancel_refused") == 1


def test_a_newer_order_supersedes_one_that_waits(world: World) -> None:
    world.order()
    world.signals.values["Vehicle.Speed"] = 42
    asyncio.run(world.drive(until=lambda orchestrator: orchestrator.state.state == "READY"))
    world.signals.values["Vehicle.Speed"] = 0
    world.order(action_id=2, version="3.0.0", counter=3)
    assert drive(world) == "SUCCEEDED"
    assert "SUPERSEDED" in world.states()
    assert world.versions() == {"3.0.0"}


@pytest.mark.parametrize("state", ["INSTALLING", "CHECKING", "COMMITTING", "ROLLING_BACK"])
def test_a_newer_order_that_comes_while_one_is_installed_waits_for_its_end(world: World, state: str) -> None:
    world.order()
    if state == "ROLLING_BACK":
        world.ecus["adas"].bad_versions.add("2.0.0")
    assert asyncio.run(world.drive(until=lambda orchestrator: orchestrator.state.state == state)) == state
    world.order(action_id=2, version="3.0.0", counter=3)
    assert drive(world) == "SUCCEEDED"
    assert world.versions() == {"3.0.0"}
    told = world.server.reports.values()
    ends = [(one.action_id, one.state) for one in told if one.state in TERMINAL_STATES and not one.ecu]
    first = "ROLLED_BACK" if state == "ROLLING_BACK" else "SUCCEEDED"
    assert ends == [(1, first), (2, "SUCCEEDED")]


def test_a_second_update_uses_the_first_as_its_backup(world: World) -> None:
    world.order()
    drive(world)
    world.order(action_id=2, version="3.0.0", counter=3)
    world.ecus["adas"].bad_versions.add("3.0.0")
    assert drive(world) == "ROLLED_BACK"
    assert world.versions() == {"2.0.0"}


def test_a_finished_order_is_not_started_again(world: World) -> None:
    world.order()
    drive(world)
    count = len(world.server.reports)
    assert drive(world) == "SUCCEEDED"
    assert len(world.server.reports) == count


def test_a_connection_that_breaks_is_tried_again_a_bounded_number_of_times(world: World) -> None:
    gone = Failed(reason=Reason.UNREACHABLE)
    world.order()
    world.ecus["adas"].answers["install"] = [gone] * (AWAY_TRIES_MAX - 1)
    assert drive(world) == "SUCCEEDED"
    world.order(action_id=2, version="3.0.0", counter=3)
    world.ecus["adas"].answers["install"] = [gone] * AWAY_TRIES_MAX
    assert drive(world) == "ROLLED_BACK"
    assert world.versions() == {"2.0.0"}


@pytest.mark.parametrize("verb", ["prepare", "install", "verify"])
def test_a_bus_that_is_away_for_a_minute_ends_no_update(world: World, verb: str) -> None:
    world.order()
    world.ecus["brake"].answers[verb] = [Failed(reason=Reason.UNREACHABLE)] * (AWAY_TRIES_MAX - 1)

    async def waited_s() -> float:
        waited_s = 0.0
        async with world.boot() as orchestrator:
            await orchestrator.exchange()
            for _ in range(STEPS_MAX):
                delay_s = await orchestrator.step()
                if delay_s is None:
                    break
                waited_s += delay_s
            assert orchestrator.state.state == "SUCCEEDED"
        return waited_s

    assert asyncio.run(waited_s()) > 60


def test_an_ecu_that_is_busy_after_it_restarted_has_its_own_tries(world: World) -> None:
    away, busy = Failed(reason=Reason.UNREACHABLE), Failed(reason=Reason.BUSY)
    world.order()
    world.ecus["adas"].answers["install"] = [away] * (AWAY_TRIES_MAX - 1) + [busy] * (ECU_TRIES_MAX - 1)
    assert drive(world) == "SUCCEEDED"
    world.order(action_id=2, version="3.0.0", counter=3)
    world.ecus["adas"].answers["install"] = [busy] * ECU_TRIES_MAX
    assert drive(world) == "ROLLED_BACK"


@pytest.mark.parametrize(("ecu", "ends"), [("brake", "ROLLED_BACK"), ("adas", "FAILED")])
def test_an_ecu_that_falls_silent_in_each_flash_is_flashed_no_more_often_than_one_that_refuses(
    world: World, ecu: str, ends: str
) -> None:
    world.order()
    desk = world.ecus[ecu]
    desk.falls_silent = ECU_TRIES_MAX
    assert drive(world) == ends
    assert last_code(world) == "unreachable"
    assert world.versions() == {"1.0.0"}
    assert desk.verbs.count("erase") == ECU_TRIES_MAX + (ends == "ROLLED_BACK")  # its way back is one more
    world.order(action_id=2)
    desk.falls_silent = ECU_TRIES_MAX - 1
    assert drive(world) == "SUCCEEDED"


def test_an_ecu_that_is_away_after_it_fell_silent_in_a_flash_is_still_waited_for(world: World) -> None:
    world.order()
    brake = world.ecus["brake"]
    brake.falls_silent = ECU_TRIES_MAX - 1

    def go_away() -> None:
        if brake.falls_silent == 1:
            brake.answers["install"] = [Failed(reason=Reason.UNREACHABLE)] * (AWAY_TRIES_MAX - 1)

    brake.at_install = go_away
    assert drive(world) == "SUCCEEDED"
    assert world.versions() == {"2.0.0"}


def test_a_restart_forgets_no_flash_that_an_ecu_fell_silent_in(world: World) -> None:
    world.order()
    brake = world.ecus["brake"]
    brake.falls_silent = ECU_TRIES_MAX
    tried = f"install:{brake.serial}"
    for flash in range(1, ECU_TRIES_MAX):
        asyncio.run(world.drive(until=lambda one, after=flash: one.state.tries.get(tried, 0) == after))  # type: ignore[misc]
    assert drive(world) == "ROLLED_BACK"
    assert brake.verbs.count("erase") == ECU_TRIES_MAX + 1


def test_after_the_commit_point_trouble_never_undoes_the_update(world: World) -> None:
    world.order()
    world.ecus["body"].answers["commit"] = [Failed(reason=Reason.UNREACHABLE)] * 40
    assert drive(world) == "SUCCEEDED"
    assert world.versions() == {"2.0.0"}
    assert "ROLLING_BACK" not in world.states()


def test_an_ecu_that_never_answers_again_blocks_the_vehicle_once_the_others_are_committed(
    world: World,
) -> None:
    world.order()
    world.ecus["brake"].answers["commit"] = [Failed(reason=Reason.UNREACHABLE)] * 2 * COMMIT_TRIES_MAX
    assert drive(world) == "ROLLBACK_FAILED"
    assert last_code(world) == "commit_failed"
    assert {name: ecu.counter for name, ecu in world.ecus.items()} == {
        "central": 2, "adas": 2, "brake": 1, "body": 2,
    }  # fmt: skip
    assert not any(ecu.trial for ecu in world.ecus.values())
    assert drive(world) == "ROLLBACK_FAILED"


def test_an_ecu_that_keeps_losing_its_image_is_not_flashed_for_ever(world: World) -> None:
    world.order()
    asyncio.run(world.drive(until=lambda orchestrator: orchestrator.state.state == "COMMITTING"))
    brake = world.ecus["brake"]
    brake.verbs.clear()
    brake.answers["activate"] = [Failed(reason=Reason.NOT_STAGED)] * 4 * COMMIT_TRIES_MAX
    assert drive(world) == "ROLLBACK_FAILED"
    assert brake.verbs.count("install") == COMMIT_INSTALLS_MAX


def test_a_rollback_that_fails_blocks_the_vehicle_until_a_technician_comes(world: World) -> None:
    world.order()
    world.ecus["adas"].bad_versions.add("2.0.0")
    world.ecus["brake"].answers["rollback"] = [Failed(reason=Reason.TRANSFER_FAILED)] * 50
    assert drive(world) == "ROLLBACK_FAILED"
    assert {name for name, ecu in world.ecus.items() if ecu.running and ecu.running.version == "1.0.0"} == {
        "central", "adas", "body",
    }  # fmt: skip
    world.order(action_id=2, version="3.0.0", counter=3)
    assert drive(world) == "ROLLBACK_FAILED"
    assert read_state(world.folder).blocked


def test_a_group_waits_for_the_one_it_names_and_keeps_what_that_one_committed(world: World) -> None:
    groups = [
        UpdateGroup(name="chassis", ecus=["brake-serial", "body-serial"], after=["brain"]),
        UpdateGroup(name="brain", ecus=["central-serial", "adas-serial"]),
    ]
    world.order(groups=groups)
    world.ecus["body"].bad_versions.add("2.0.0")
    assert drive(world) == "ROLLED_BACK"
    running = {name: ecu.running.version for name, ecu in world.ecus.items() if ecu.running}
    assert running == {"central": "2.0.0", "adas": "2.0.0", "brake": "1.0.0", "body": "1.0.0"}
    assert world.ecus["central"].counter == 2
    assert world.ecus["brake"].counter == 1


def test_two_orchestrators_on_one_folder_are_refused(world: World) -> None:
    async def twice() -> None:
        async with world.boot():
            with pytest.raises(Conflict, match="another orchestrator"):
                async with world.boot():
                    pass

    asyncio.run(twice())


def test_reports_made_while_the_server_is_away_arrive_later_once_each(world: World) -> None:
    world.order()

    async def offline_from_staging() -> None:
        async with world.boot() as orchestrator:
            for _ in range(STEPS_MAX):
                if orchestrator.state.state not in {
                    "STAGING",
                    "READY",
                    "INSTALLING",
                    "CHECKING",
                    "COMMITTING",
                }:
                    await orchestrator.exchange()
                if await orchestrator.step() is None:
                    return

    asyncio.run(offline_from_staging())
    told = len(world.server.reports)
    assert drive(world) == "SUCCEEDED"
    assert len(world.server.reports) > told or world.states()[-1] == "SUCCEEDED"
    assert world.states() == HAPPY


def test_an_ecu_that_already_runs_the_image_is_left_alone(world: World) -> None:
    world.order()
    drive(world)
    world.server.command = Command(kind="update", poll_s=1, action_id=2)
    world.order(action_id=2)
    installs = {name: ecu.verbs.count("install") for name, ecu in world.ecus.items()}
    assert drive(world) == "SUCCEEDED"
    assert last_code(world) == "already_installed"
    assert {name: ecu.verbs.count("install") for name, ecu in world.ecus.items()} == installs


def test_an_image_below_the_committed_counter_is_refused(world: World) -> None:
    world.order()
    world.ecus["adas"].counter = 9
    assert drive(world) == "FAILED"
    assert last_code(world) == "rollback"


def test_only_the_checks_the_package_names_are_run(world: World) -> None:
    world.order(checks=[PostCheck(ecu="adas-serial", kind="self_test")])
    world.ecus["brake"].bad_versions.add("2.0.0")
    assert drive(world) == "SUCCEEDED"


def test_a_download_goes_on_where_it_broke(world: World) -> None:
    world.order(size=200_000)
    target = director_target(world.ecus["brake"], "2.0.0", 2, size=200_000)
    content = content_of("brake", "2.0.0", 200_000)
    part = world.folder / "images" / f"{target.sha256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:150_000])
    assert drive(world) == "SUCCEEDED"
    ranges = [span for _, path, span in world.server.asked if path.endswith("brake-2.0.0.bin")]
    assert ranges == ["bytes=150000-"]


def test_a_partial_download_of_wrong_bytes_is_dropped_and_fetched_whole(world: World) -> None:
    world.order()
    target = director_target(world.ecus["brake"], "2.0.0", 2)
    part = world.folder / "images" / f"{target.sha256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"garbage")
    assert drive(world) == "SUCCEEDED"
    ranges = [span for _, path, span in world.server.asked if path.endswith("brake-2.0.0.bin")]
    assert ranges == ["bytes=7-", ""]


def test_a_store_that_is_too_small_ends_the_campaign_before_installing(world: World) -> None:
    world.order(size=50_000)
    world.config = type(world.config)(
        vin=world.config.vin, server_url="http://server", ecus=world.config.ecus, store_bytes_max=60_000
    )
    assert drive(world) == "FAILED"
    assert last_code(world) == "store_full"
    assert world.versions() == {"1.0.0"}


def test_a_full_disk_stops_a_step_and_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.order()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    async def run() -> str:
        async with world.boot() as orchestrator:
            await orchestrator.exchange()
            with monkeypatch.context() as disk:
                disk.setattr("os.write", full)
                with pytest.raises(Unavailable, match="No space"):
                    await orchestrator.step()
            return str(orchestrator.state.state)

    assert asyncio.run(run()) == "IDLE"
    assert drive(world) == "SUCCEEDED"


def test_a_server_too_busy_for_polls_still_hears_how_the_update_ended(world: World) -> None:
    world.order()

    async def run() -> list[int | None]:
        async with world.boot() as orchestrator:
            waits = [await orchestrator.exchange()]
            world.server.busy_s = 77
            while (delay_s := await orchestrator.step()) is not None:
                waits.append(await orchestrator.exchange())
                world.clock.s += delay_s
            waits.append(await orchestrator.exchange())
            return waits

    first, *others = asyncio.run(run())
    assert first is None
    assert set(others) == {77}
    assert list(world.server.reports.values())[-1].state == "SUCCEEDED"
    assert world.server.manifests


def test_a_fault_is_told_again_until_it_was_stored(world: World) -> None:
    world.ecus["brake"].faults = [Fault(code="P0A1F-00", status=9)]

    async def look() -> list[list[str]]:
        async with world.boot() as orchestrator:
            watch, found = FaultWatch(orchestrator), []
            for stored in (False, True, True):  # the disk was full at first
                found.append([event.code for event in await watch.look([], now=world.clock.now())])
                if stored:
                    watch.told()
            return found

    assert asyncio.run(look()) == [["P0A1F-00"], ["P0A1F-00"], []]


class Breaks(httpx.AsyncBaseTransport):
    """A connection that breaks in the moment its request is cancelled, as one under TLS may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.set()
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            raise httpx.ReadError("connection reset", request=request) from None
        raise AssertionError("nobody waits an hour")


def test_a_vehicle_that_is_told_to_end_ends_though_its_connection_breaks_in_that_moment(world: World) -> None:
    async def end() -> bool:
        world.transport = breaks = Breaks()
        async with world.boot() as orchestrator:
            life = asyncio.create_task(orchestrator.run())
            await breaks.asked.wait()
            life.cancel()
            await asyncio.wait({life}, timeout=60)
            ended = life.done()
            life.cancel()
            return ended

    assert asyncio.run(end())
