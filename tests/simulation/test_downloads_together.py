"""Several images at a time, within a budget of bytes, and with the same end whatever breaks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.vehicle.decide import FLIGHT_BYTES_MAX, Download, Facts, next_step
from ringroad.vehicle.states import CampaignState, EcuPlan, Plan
from support.uptane import NOW
from support.vehicle_world import Server, World, as_verified, desk_ecu, director_target


class Counting(Server):
    """Holds each image back until no more are asked for, and counts how many are on their way."""

    now_open = 0
    most_open = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        image = "/image/targets/" in scope["path"]
        self.now_open += image
        self.most_open = max(self.most_open, self.now_open)
        for _ in range(20 * image):
            await asyncio.sleep(0)
        await super().__call__(scope, receive, send)
        self.now_open -= image


def counting(world: World, downloads_max: int) -> Counting:
    world.server.__class__ = Counting
    assert isinstance(world.server, Counting)
    world.downloads_max = downloads_max
    return world.server


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "vehicle")


def drive(world: World) -> str:
    return asyncio.run(world.drive())


@pytest.mark.parametrize("downloads_max", [1, 3])
def test_images_come_as_many_at_a_time_as_are_allowed(world: World, downloads_max: int) -> None:
    server = counting(world, downloads_max)
    world.order()
    assert drive(world) == "SUCCEEDED"
    assert server.most_open == downloads_max
    asked = [path for _, path, _ in server.asked if "/image/targets/" in path]
    assert len(asked) == len(set(asked)) == 6  # four images, two backups, each once


def test_an_image_that_fails_beside_another_is_fetched_when_its_turn_comes(world: World) -> None:
    counting(world, 3)
    world.order()
    spoiled = director_target(world.ecus["adas"], "2.0.0", 2)
    name = f"{spoiled.sha256}.{spoiled.filename}"
    whole = world.server.images[name]
    world.server.images[name] = b"x" * len(whole)

    async def run() -> str:
        async with world.boot() as orchestrator:
            await orchestrator.exchange()
            while (delay_s := await orchestrator.step()) is not None:
                world.clock.s += delay_s
                if any(path.endswith(spoiled.filename) for _, path, _ in world.server.asked):
                    world.server.images[name] = whole
            return str(orchestrator.state.state)

    assert asyncio.run(run()) == "SUCCEEDED"
    assert world.versions() == {"2.0.0"}


def test_a_connection_that_breaks_under_all_of_them_is_taken_up_again(world: World) -> None:
    server = counting(world, 3)
    world.order()
    asyncio.run(world.drive(until=lambda one: one.state.state == "DOWNLOADING"))
    good = world.transport

    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "/image/targets/" in request.url.path:
                raise httpx.ReadError("gone", request=request)
            return await good.handle_async_request(request)

    world.transport = Broken()

    async def a_few_steps() -> None:
        async with world.boot() as orchestrator:
            for _ in range(3):
                assert await orchestrator.step()
            assert orchestrator.state.state == "DOWNLOADING"

    asyncio.run(a_few_steps())
    world.transport = good
    assert drive(world) == "SUCCEEDED"
    assert server.now_open == 0


def test_what_is_fetched_together_keeps_to_the_budget_of_bytes(world: World) -> None:
    half = FLIGHT_BYTES_MAX // 2
    sizes = [half, half, 1, 3 * FLIGHT_BYTES_MAX, 1]
    plans = []
    for number, size in enumerate(sizes):
        target = as_verified(director_target(desk_ecu(f"ecu{number}", "ab", world.power), "2.0.0", 1))
        changed = {name: getattr(target, name) for name in target.__slots__} | {"length": size}
        plans.append(EcuPlan(target=type(target)(**changed), from_version="1", from_sha256="1"))
    plan = Plan(release_id="r", release_version="2", groups=(), ecus=tuple(plans))
    state = CampaignState(state="DOWNLOADING", action_id=1, plan=plan)

    def fetched(downloads_max: int, stored: int = 0) -> list[int]:
        whole = frozenset(one.target.sha256 for one in plans[:stored])
        facts = Facts(now=NOW, command=None, stored=whole, refusal=None, downloads_max=downloads_max)
        step = next_step(state, facts)
        assert isinstance(step, Download)
        return [one.length for one in (step.target, *step.beside)]

    assert fetched(1) == [half]
    assert fetched(8) == [half, half]
    assert fetched(8, stored=1) == [half, 1, 1]
    assert fetched(2, stored=1) == [half, 1]
    assert fetched(8, stored=3) == [3 * FLIGHT_BYTES_MAX]
