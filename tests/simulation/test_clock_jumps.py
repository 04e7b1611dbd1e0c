"""The wall clock is set while a campaign is under way, far back or far ahead: the update ends as it would have."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from support.uptane import NOW
from support.vehicle_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "vehicle")
    made.server.clock = lambda: NOW + timedelta(seconds=made.clock.s)  # the server's is right
    return made


@pytest.mark.parametrize("days", [-4_000, -1, 1, 4_000])
@pytest.mark.parametrize(
    "state", ["DOWNLOADING", "READY", "INSTALLING", "CHECKING", "COMMITTING", "ROLLING_BACK"]
)
def test_a_clock_that_is_set_during_a_campaign_changes_nothing_of_its_end(
    world: World, state: str, days: int
) -> None:
    world.order(preconditions=["Vehicle.Speed == 0 FOR 10 WITHIN 5"])
    bad = state == "ROLLING_BACK"
    if bad:
        world.ecus["brake"].bad_versions.add("2.0.0")

    async def run() -> str:
        await world.drive(until=lambda one: one.state.state == state)
        world.clock.wrong = timedelta(days=days)
        async with world.boot() as orchestrator:
            while (delay_s := await orchestrator.step()) is not None:
                world.clock.s += delay_s
            return str(orchestrator.state.state)

    assert asyncio.run(run()) == ("ROLLED_BACK" if bad else "SUCCEEDED")
    assert world.versions() == {"1.0.0" if bad else "2.0.0"}


def test_a_clock_far_ahead_refuses_and_does_not_keep_the_vehicle_from_the_next_update(world: World) -> None:
    world.clock.wrong = timedelta(days=4_000)
    world.order()

    async def run() -> str:
        async with world.boot() as orchestrator:
            await orchestrator.exchange()
            while (delay_s := await orchestrator.step()) is not None:
                world.clock.s += delay_s
            return f"{orchestrator.state.state} {orchestrator.state.code}"

    assert asyncio.run(run()) == "FAILED freeze"
    assert world.versions() == {"1.0.0"}
    world.clock.wrong = timedelta()
    world.order(action_id=2)
    assert asyncio.run(run()) == "SUCCEEDED "
    assert world.versions() == {"2.0.0"}
