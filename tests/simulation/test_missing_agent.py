"""An update agent that cannot be had: the vehicle says so, and nothing is begun that only it could end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ringroad.vehicle.agents.missing import MissingAgent
from ringroad.vehicle.agents.plugins import AgentMissing
from ringroad.vehicle.decide import INSTALLING_RESTARTS_MAX
from ringroad.vehicle.memory import read_state
from ringroad.vehicle.orchestrator import Orchestrator
from support.vehicle_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "vehicle")


def lose_the_agent(world: World, ecu: str) -> None:
    """Its plugin can no longer be loaded; the ECU itself is as it was."""
    agents, serial = world.agents, world.ecus[ecu].serial

    def without() -> dict[str, Any]:
        return {**agents(), serial: MissingAgent(AgentMissing(f"no update agent for {ecu}"))}

    world.agents = without  # type: ignore[method-assign]


def test_an_update_of_an_ecu_without_an_agent_is_refused_in_syncing_with_its_reason(world: World) -> None:
    lose_the_agent(world, "body")
    world.order()
    assert asyncio.run(world.drive()) == "FAILED"
    last = list(world.server.reports.values())[-1]
    assert (last.code, last.detail) == ("no_agent", "body: no update agent for body")
    assert world.states() == ["SYNCING", "FAILED"]
    assert not [path for _, path, _ in world.server.asked if "/targets/" in path]


def test_the_other_ecus_are_updated_without_it(world: World) -> None:
    lose_the_agent(world, "body")
    body = world.ecus.pop("body")
    world.order()
    world.ecus["body"] = body
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert {name: one.running.version for name, one in world.ecus.items() if one.running} == {
        "central": "2.0.0", "adas": "2.0.0", "brake": "2.0.0", "body": "1.0.0",
    }  # fmt: skip


@pytest.mark.parametrize("state", ["INSTALLING", "CHECKING", "COMMITTING", "ROLLING_BACK"])
def test_a_vehicle_that_needs_it_to_end_an_update_does_not_start_before_it_is_back(
    world: World, state: str
) -> None:
    world.order()
    if state == "ROLLING_BACK":
        world.ecus["adas"].bad_versions.add("2.0.0")
    assert asyncio.run(world.drive(until=lambda one: one.state.state == state)) == state
    before, journal = world.agents, (world.folder / "journal").read_bytes()
    lose_the_agent(world, "brake")
    for _ in range(INSTALLING_RESTARTS_MAX + 2):
        with pytest.raises(AgentMissing, match=f"no update agent for brake, and update 1 is {state}"):
            asyncio.run(world.drive())
    assert (world.folder / "journal").read_bytes() == journal  # no start was counted against the update
    world.agents = before  # type: ignore[method-assign]
    assert asyncio.run(world.drive()) == ("ROLLED_BACK" if state == "ROLLING_BACK" else "SUCCEEDED")
    assert not read_state(world.folder).blocked


def test_a_vehicle_that_only_prepares_gives_the_update_up(world: World) -> None:
    world.order()
    asyncio.run(world.drive(until=lambda one: one.state.state == "STAGING"))
    lose_the_agent(world, "brake")
    assert asyncio.run(world.drive()) == "FAILED"
    assert world.versions() == {"1.0.0"}


def test_a_vehicle_that_was_about_to_install_gives_the_update_up_before_it_touches_an_ecu(
    world: World,
) -> None:
    def about_to_install(one: Orchestrator) -> bool:
        return one.state.state == "READY" and one.state.known_faults is not None

    world.order()
    assert asyncio.run(world.drive(until=about_to_install)) == "READY"
    lose_the_agent(world, "brake")
    assert asyncio.run(world.drive()) == "FAILED"
    last = list(world.server.reports.values())[-1]
    assert (last.code, last.detail) == ("no_agent", "brake: no update agent for brake")
    assert world.versions() == {"1.0.0"}
    assert not read_state(world.folder).blocked
