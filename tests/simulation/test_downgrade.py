"""A whole vehicle that is told to go back: by nobody who may, by decision, and by order of a return."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from ringroad.trust.metadata import EXPIRES, Downgrade, EcuRange
from support.uptane import NOW
from support.vehicle_world import World, director_target


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A vehicle that was updated from 1.0.0 to 2.0.0."""
    made = World(tmp_path / "vehicle")
    made.order()
    assert drive(made) == "SUCCEEDED"
    return made


def drive(world: World) -> str:
    return asyncio.run(world.drive())


def last_code(world: World) -> str:
    return next(one.code for one in reversed(list(world.server.reports.values())) if not one.ecu)


def installing(world: World) -> int:
    return sum(one.ecu_state == "INSTALLING" for one in world.server.reports.values())


def decide(world: World, version: str, *, over: str, release_id: str = "release_2", counter: int = 2) -> None:
    world.server.downgrades = [
        Downgrade(
            release_id=release_id, ecu=ecu.name, version=version, sha256=director_target(ecu, version, counter).sha256,
            over={director_target(ecu, over, counter).sha256: over}, reason="noise", asked_by="ole", approved_by="ines",
            expires=(NOW + timedelta(days=9)).strftime(EXPIRES),
        )
        for ecu in world.ecus.values()
    ]  # fmt: skip


def test_an_older_release_is_refused_before_any_ecu_is_touched(world: World) -> None:
    before = installing(world)
    world.order(action_id=2, version="1.5.0", counter=2)
    assert drive(world) == "FAILED"
    assert last_code(world) == "downgrade_undecided"
    assert world.versions() == {"2.0.0"}
    assert installing(world) == before


def test_a_signed_decision_takes_the_vehicle_back_and_only_once(world: World) -> None:
    decide(world, "1.5.0", over="2.0.0")
    world.order(action_id=2, version="1.5.0", counter=2)
    assert drive(world) == "SUCCEEDED"
    assert world.versions() == {"1.5.0"}
    # Forward again, and the release that went back is offered anew: its decision holds for its own images only.
    world.order(action_id=3, version="3.0.0", counter=2)
    assert drive(world) == "SUCCEEDED"
    world.order(action_id=4, version="1.5.0", counter=2)
    assert drive(world) == "FAILED"
    assert last_code(world) == "downgrade_undecided"
    assert world.versions() == {"3.0.0"}


def test_a_decision_below_the_committed_counter_moves_nothing(world: World) -> None:
    decide(world, "1.5.0", over="2.0.0", counter=1)
    world.order(action_id=2, version="1.5.0", counter=1)
    assert drive(world) == "FAILED"
    assert last_code(world) == "rollback"
    assert world.versions() == {"2.0.0"}


def test_an_ordered_return_goes_to_what_ran_before_and_nowhere_else(tmp_path: Path) -> None:
    world = World(tmp_path / "vehicle")
    for action_id, version in ((1, "1.1.0"), (2, "1.2.0"), (3, "1.3.0")):
        world.order(action_id=action_id, version=version, counter=1)
        assert drive(world) == "SUCCEEDED"
    # Whoever holds the Director's keys may not choose how far back.
    world.order(action_id=4, version="1.1.0", counter=1, rollback=True)
    assert drive(world) == "FAILED"
    assert last_code(world) == "downgrade_undecided"
    world.order(action_id=5, version="1.2.0", counter=1, rollback=True)
    assert drive(world) == "SUCCEEDED"
    # Back once more would be two steps back.
    world.order(action_id=6, version="1.1.0", counter=1, rollback=True)
    assert drive(world) == "FAILED"
    assert world.versions() == {"1.2.0"}


def test_what_a_package_conflicts_with_is_held_by_the_vehicle(world: World) -> None:
    before = installing(world)
    terms = {"conflicts": [EcuRange(ecu="brake", range=">=3")]}
    world.order(action_id=2, version="3.0.0", counter=2, terms=terms)
    assert drive(world) == "FAILED"
    assert last_code(world) == "conflicts"
    world.order(action_id=3, version="3.1.0", counter=2, terms={"upgrades_from": ">=2.5"})
    assert drive(world) == "FAILED"
    assert last_code(world) == "upgrades_from"
    assert installing(world) == before
