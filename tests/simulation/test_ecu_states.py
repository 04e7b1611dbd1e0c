"""Each ECU's state as the vehicle tells it: the states of the design, and how far the work on it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ringroad.vehicle.agents.base import Failed, Outcome, Reason, tell_step
from ringroad.vehicle.progress import PROGRESS_S
from ringroad.vehicle.states import CampaignState, EcuMoved, EcuState, Entry, Tried
from support.vehicle_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "vehicle")


def look_while(world: World, ecu: str, verb: str) -> list[tuple[str, dict[str, tuple[int, int]]]]:
    """Look at the vehicle while an agent's verb is under way, after it told how far it is."""
    seen: list[tuple[str, dict[str, tuple[int, int]]]] = []
    agent = world.ecus[ecu]
    work = getattr(agent, verb)

    async def told() -> None:
        async with world.boot() as orchestrator:

            async def watched(image: object, source: object, *, progress: object) -> Outcome:
                tell_step(progress, "erase")  # type: ignore[arg-type]
                world.clock.s += 2 * PROGRESS_S
                progress(1, 3)  # type: ignore[operator]
                glance = orchestrator.glance()
                seen.append((str(glance.state.told(agent.serial)), dict(glance.done)))
                await orchestrator.exchange()
                outcome: Outcome = await work(image, source, progress=progress)
                return outcome

            setattr(agent, verb, watched)
            while not seen:
                await orchestrator.exchange()
                await orchestrator.step()

    asyncio.run(told())
    return seen


@pytest.mark.parametrize(
    ("ecu", "verb", "state"), [("adas", "prepare", "STAGING"), ("brake", "install", "INSTALLING")]
)
def test_who_looks_at_the_vehicle_and_the_server_see_how_far_each_ecu_is(
    world: World, ecu: str, verb: str, state: str
) -> None:
    world.order()
    serial = world.ecus[ecu].serial
    (found,) = look_while(world, ecu, verb)
    assert found[0] == state
    assert found[1][serial] == (1, 3)
    told = [one for one in world.server.reports.values() if one.ecu == serial and one.total_bytes == 3]
    assert [(one.ecu_state, one.done_bytes, one.detail) for one in told] == [(state, 1, "erase")]


def test_bytes_of_one_state_are_not_shown_in_the_next(world: World) -> None:
    world.order()

    async def story() -> None:
        async with world.boot() as orchestrator:
            while orchestrator.state.state != "READY":
                await orchestrator.exchange()
                await orchestrator.step()
                if orchestrator.state.state == "DOWNLOADING" and orchestrator.glance().done:
                    seen.append(orchestrator.glance().done)
            assert orchestrator.glance().done == {}

    seen: list[object] = []
    asyncio.run(story())
    assert seen


def test_an_ecu_that_does_not_answer_is_told_as_unreachable_until_it_does(world: World) -> None:
    world.order()
    adas = world.ecus["adas"]
    adas.answers["install"] = [Failed(reason=Reason.UNREACHABLE, detail="no answer")]
    seen: list[tuple[str, EcuState]] = []

    def observe(entry: Entry, state: CampaignState) -> None:
        if isinstance(entry, Tried | EcuMoved) and state.state == "INSTALLING":
            seen.append((type(entry).__name__, state.told(adas.serial)))

    world.observer = observe
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    at = seen.index(("Tried", EcuState.UNREACHABLE))
    assert seen[at - 1 :][:3] == [
        ("EcuMoved", EcuState.INSTALLING), ("Tried", EcuState.UNREACHABLE), ("EcuMoved", EcuState.ACTIVATED),
    ]  # fmt: skip
    told = [one for one in world.server.reports.values() if one.code == "unreachable"]
    assert [(one.ecu, one.ecu_state, one.state) for one in told] == [
        (adas.serial, "UNREACHABLE", "INSTALLING")
    ]


def test_an_orchestrator_from_before_these_states_still_reads_the_journal(world: World) -> None:
    world.order()
    world.ecus["adas"].answers["install"] = [Failed(reason=Reason.UNREACHABLE)]
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    journal = (world.folder / "journal").read_text()
    assert '"INSTALLING"' in journal
    assert '"state":"UNREACHABLE"' not in journal
    moved = [line for line in journal.splitlines() if '"type":"EcuMoved"' in line]
    assert moved
    assert not any("STAGING" in line for line in moved)
