"""An update meets the lock of whoever works at an ECU: it waits, says for whom and until when, and harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ringroad.vehicle.agents.base import Failed, Reason
from ringroad.vehicle.orchestrator import Orchestrator
from support.vehicle_world import World

HELD_S = 300  # s
TOUCHING = {"prepare", "erase", "install", "activate", "commit", "rollback"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "vehicle")


def lock(world: World, orchestrator: Orchestrator, component: str) -> None:
    now = world.clock.now()
    orchestrator.ecus.locks.take(
        component, session="s", by="ole", seconds=HELD_S, now=now, until=now + timedelta(hours=1)
    )


def drive(world: World, until: Callable[[Orchestrator], bool] | None = None) -> str:
    return asyncio.run(world.drive(until=until))


def told(world: World) -> list[str]:
    return [one.detail for one in world.server.reports.values() if one.code == "ecu_locked"]


@pytest.mark.parametrize("state", ["AWAITING_CONSENT", "READY"])
@pytest.mark.parametrize("component", ["adas", "brake", "body"])
def test_an_ecu_is_not_touched_while_somebody_holds_it_and_the_update_ends_well_after(
    world: World, state: str, component: str
) -> None:
    world.order()
    held: list[int] = []

    def look(orchestrator: Orchestrator) -> bool:
        if orchestrator.state.state == state and not held:
            lock(world, orchestrator, component)
            held.append(len(world.ecus[component].verbs))
        if held and orchestrator.ecus.locks.of(component, now=world.clock.now()):
            verbs = world.ecus[component].verbs[held[0] :]
            assert not TOUCHING & set(verbs), verbs
            assert orchestrator.state.state != "INSTALLING"
        return False

    assert drive(world, look) == "SUCCEEDED"
    assert world.clock.s >= HELD_S
    assert len(told(world)) == 1
    assert told(world)[0].startswith(f"{component} is locked by ole until ")


def test_a_lock_that_is_held_longer_every_few_seconds_is_told_now_and_then(world: World) -> None:
    world.order()

    def look(orchestrator: Orchestrator) -> bool:
        if orchestrator.state.state == "READY" and world.clock.s < 1_500:
            lock(world, orchestrator, "brake")
        return False

    assert drive(world, look) == "SUCCEEDED"
    assert world.clock.s > 1_500
    assert 2 <= len(told(world)) <= 4  # once for each quarter of an hour


def test_a_power_cut_while_it_waits_changes_nothing_and_ends_the_lock(world: World) -> None:
    world.order()

    def waits(orchestrator: Orchestrator) -> bool:
        if orchestrator.state.state == "READY":
            lock(world, orchestrator, "brake")
        return orchestrator.state.noted[0] == "ecu_locked"

    assert drive(world, waits) == "READY"
    assert world.versions() == {"1.0.0"}
    world.reset()
    began_s = world.clock.s
    assert drive(world) == "SUCCEEDED"
    assert world.clock.s - began_s < HELD_S


def test_an_unblocked_vehicle_waits_for_whoever_works_at_the_ecu_that_it_brings_back(world: World) -> None:
    world.order()
    brake = world.ecus["brake"]
    brake.falls_silent = 50
    brake.answers["rollback"] = [Failed(reason=Reason.UNREACHABLE)] * 50
    assert drive(world) == "ROLLBACK_FAILED"
    brake.falls_silent = 0
    brake.answers.clear()
    began = len(brake.verbs)

    async def mended() -> str:
        async with world.boot() as orchestrator:
            lock(world, orchestrator, "brake")
            orchestrator.unblock()
            until_s = world.clock.s + HELD_S
            for _ in range(1_000):
                delay_s = await orchestrator.step()
                if delay_s is None:
                    break
                world.clock.s += delay_s
                if world.clock.s < until_s:
                    assert "rollback" not in brake.verbs[began:]
            return str(orchestrator.state.state)

    assert asyncio.run(mended()) == "ROLLED_BACK"
    assert world.versions() == {"1.0.0"}
