"""A report that the server refuses for good: it is put aside, counted and told, and loses none of the others."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from ringroad.cli import run
from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.vehicle import Report
from ringroad.vehicle.config import write_config
from ringroad.vehicle.kept import REFUSED_KEPT
from ringroad.vehicle.memory import read_state
from ringroad.vehicle.orchestrator import REFUSALS_MAX
from support.vehicle_world import PowerCut, World

POLLS = 40  # more than any story below needs


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "vehicle")
    made.order()
    return made


def staged(report: Report) -> bool:
    """The report of one ECU's staging: one in the middle of all."""
    return report.ecu == "adas-serial" and report.ecu_state == "STAGED"


async def exchange(world: World, times: int = POLLS) -> None:
    async with world.boot() as orchestrator:
        for _ in range(times):
            await orchestrator.exchange()


async def drive_unheard(world: World, state: str) -> None:
    """Drive as far as `state` with one exchange, at the beginning."""
    world.exchange_every = 10**6
    await world.drive(until=lambda one: one.state.state == state)
    world.exchange_every = 1


def told_by_a_vehicle_without_trouble(folder: Path) -> list[Report]:
    world = World(folder)
    world.order()
    asyncio.run(world.drive())
    return list(world.server.reports.values())


def shape(reports: list[Report]) -> list[tuple[str, str, str]]:
    return [(one.state, one.ecu, one.ecu_state) for one in reports if one.code != "report_refused"]


def test_everything_behind_a_refused_report_arrives_in_order(world: World, tmp_path: Path) -> None:
    expected = [one for one in told_by_a_vehicle_without_trouble(tmp_path / "other") if not staged(one)]
    world.server.refuses = staged
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    asyncio.run(exchange(world))
    assert shape(list(world.server.reports.values())) == shape(expected)
    assert len(world.server.manifests) == 2  # the one of the end waits until all reports have arrived


def test_one_bad_report_among_many_that_waited_is_found_and_only_that_one_put_aside(
    world: World, tmp_path: Path
) -> None:
    expected = [one for one in told_by_a_vehicle_without_trouble(tmp_path / "other") if not staged(one)]
    world.server.refuses = staged
    asyncio.run(drive_unheard(world, "COMMITTING"))
    asyncio.run(world.drive())
    asyncio.run(exchange(world))
    (kept,) = read_state(world.folder).refused
    assert staged(kept.report)
    assert Counter(shape(list(world.server.reports.values()))) == Counter(shape(expected))


def test_the_server_is_told_which_report_it_refused_and_the_vehicle_keeps_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.server.refuses = staged
    asyncio.run(world.drive())
    asyncio.run(exchange(world))
    (told,) = [one for one in world.server.reports.values() if one.code == "report_refused"]
    state = read_state(world.folder)
    (kept,) = state.refused
    assert staged(kept.report)
    assert (kept.code, state.refused_count) == ("http_400", 1)
    assert told.detail == f"report {kept.report.id} was refused as http_400; 1 so far"
    write_config(world.folder, world.config, durability="buffered")
    capsys.readouterr()
    assert run(["--json", "vehicle", "status", "--data", str(world.folder)], {}) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["reports_refused"] == 1
    assert shown["refused"][0]["report"]["id"] == kept.report.id
    assert run(["vehicle", "status", "--data", str(world.folder)], {}) == 0
    assert "1 report refused by the server" in capsys.readouterr().out


def test_a_vehicle_keeps_polling_while_its_reports_are_refused(world: World) -> None:
    world.server.refuses = lambda _: True
    assert asyncio.run(world.drive()) == "SUCCEEDED"  # it heard the order, and would hear a cancel
    assert world.server.reports == {}


def test_a_server_that_refuses_for_a_moment_loses_nothing(world: World, tmp_path: Path) -> None:
    asyncio.run(drive_unheard(world, "CHECKING"))

    async def story() -> None:
        async with world.boot() as orchestrator:
            for _ in range(5):
                world.server.refuses = lambda _: True
                for _ in range(REFUSALS_MAX - 1):
                    await orchestrator.exchange()
                world.server.refuses = lambda _: False
                await orchestrator.exchange()

    asyncio.run(story())
    asyncio.run(world.drive())
    assert read_state(world.folder).refused_count == 0
    expected = told_by_a_vehicle_without_trouble(tmp_path / "other")
    assert Counter(shape(list(world.server.reports.values()))) == Counter(shape(expected))


def test_a_server_that_refuses_every_request_is_not_believed_about_reports(world: World) -> None:
    asyncio.run(drive_unheard(world, "READY"))

    async def story() -> None:
        async with world.boot() as orchestrator:
            for _ in range(5 * REFUSALS_MAX):
                world.server.broken = 100
                with pytest.raises(InvalidInput):
                    await orchestrator.exchange()
            world.server.broken = 0
            await orchestrator.exchange()

    asyncio.run(story())
    assert read_state(world.folder).refused_count == 0


def test_what_is_put_aside_is_bounded_and_its_count_is_not(world: World) -> None:
    world.server.refuses = lambda _: True
    asyncio.run(world.drive())
    asyncio.run(exchange(world, 400))
    state = read_state(world.folder)
    assert len(state.refused) == REFUSED_KEPT < state.refused_count
    world.server.refuses = lambda _: False
    asyncio.run(exchange(world))
    assert world.server.reports == {}  # all of them were refused, and it ends there
    assert len(world.server.manifests) == 2
    world.order(action_id=2, version="3.0.0", counter=3)
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert read_state(world.folder).refused == state.refused  # over the next campaign and a compaction


def test_a_power_cut_while_a_report_is_put_aside_counts_it_once(tmp_path: Path) -> None:
    for cut in range(1, 12):
        world = World(tmp_path / str(cut))
        world.order()
        world.server.refuses = staged
        asyncio.run(world.drive())
        world.power.cut_at = world.power.ticks + cut
        try:
            asyncio.run(exchange(world))
        except PowerCut:
            world.power.cut_at = 0
            asyncio.run(exchange(world))
        told = [one for one in world.server.reports.values() if one.code == "report_refused"]
        assert len(told) == read_state(world.folder).refused_count == 1


def test_a_server_that_acknowledges_only_what_is_newer_is_asked_once_per_exchange(world: World) -> None:
    answer = world.server.answer

    def newest_only(method: str, path: str, headers: dict[str, str], body: bytes) -> object:
        status, content, extra = answer(method, path, headers, body)
        if method == "POST":
            ids = msgspec.json.decode(content)["ids"]
            content = msgspec.json.encode({"ids": ids[1:]})
        return status, content, extra

    asyncio.run(world.drive(until=lambda one: one.state.state == "READY"))
    world.server.answer = newest_only  # type: ignore[method-assign, assignment]
    asyncio.run(world.drive(until=lambda one: one.state.state == "INSTALLING"))
    before = len(world.server.asked)
    asyncio.run(exchange(world, 5))
    posts = [one for one in world.server.asked[before:] if one[0] == "POST"]
    assert len(posts) == 5
