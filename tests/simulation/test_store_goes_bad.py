"""Images that go bad after they were verified, and disks that are full: fetched again, or a clear end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ringroad.kernel.errors import Unavailable
from ringroad.vehicle.images import JOURNAL_SHARE_BYTES, ImageStore
from ringroad.vehicle.mend import MENDS_MAX
from support.vehicle_world import World, as_verified, desk_ecu, director_target


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "vehicle")


def drive(world: World) -> str:
    return asyncio.run(world.drive())


def last_code(world: World) -> str:
    return next(one.code for one in reversed(list(world.server.reports.values())) if not one.ecu)


def stored(world: World, name: str, version: str) -> Path:
    return world.folder / "images" / director_target(world.ecus[name], version, 1).sha256


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[7] ^= 1
    file.write_bytes(raw)


def fetched(world: World, filename: str) -> int:
    return sum(path.endswith(filename) for _, path, _ in world.server.asked)


async def until(world: World, state: str) -> None:
    await world.drive(until=lambda one: one.state.state == state)


@pytest.mark.parametrize("spoil", [flip, Path.unlink])
@pytest.mark.parametrize(("state", "name"), [("STAGING", "adas"), ("READY", "brake"), ("INSTALLING", "body")])
def test_an_image_that_went_bad_since_it_was_verified_is_fetched_again(
    world: World, state: str, name: str, spoil: Callable[[Path], None]
) -> None:
    world.order()
    asyncio.run(until(world, state))
    spoil(stored(world, name, "2.0.0"))
    assert drive(world) == "SUCCEEDED"
    assert world.versions() == {"2.0.0"}
    assert fetched(world, f"{name}-2.0.0.bin") == 2
    assert any(one.code == "image_mended" for one in world.server.reports.values())


@pytest.mark.parametrize("spoil", [flip, Path.unlink])
def test_a_backup_that_went_bad_is_fetched_again_in_the_middle_of_a_rollback(
    world: World, spoil: Callable[[Path], None]
) -> None:
    world.order()
    world.ecus["central"].bad_versions.add("2.0.0")
    asyncio.run(until(world, "ROLLING_BACK"))
    spoil(stored(world, "brake", "1.0.0"))
    assert drive(world) == "ROLLED_BACK"
    assert world.versions() == {"1.0.0"}


def test_what_goes_bad_again_and_again_ends_in_the_old_release(world: World) -> None:
    world.order()
    asyncio.run(until(world, "READY"))
    file = stored(world, "brake", "2.0.0")

    async def run() -> str:
        async with world.boot() as orchestrator:
            await orchestrator.exchange()
            while (delay_s := await orchestrator.step()) is not None:
                world.clock.s += delay_s
                if file.exists():
                    file.write_bytes(b"rot")
            await orchestrator.exchange()
            return str(orchestrator.state.state)

    assert asyncio.run(run()) == "ROLLED_BACK"
    assert last_code(world) == "hash_mismatch"
    assert fetched(world, "brake-2.0.0.bin") == 1 + MENDS_MAX
    assert world.versions() == {"1.0.0"}


def test_power_that_goes_while_an_image_is_mended_ends_all_new(tmp_path: Path) -> None:
    def spoiled(number: int) -> World:
        made = World(tmp_path / f"cut{number}")
        made.order()
        asyncio.run(until(made, "READY"))
        flip(stored(made, "brake", "2.0.0"))
        made.exchange_every = 5
        return made

    world = spoiled(0)
    before = world.power.ticks
    assert drive(world) == "SUCCEEDED"
    for cut in range(1, world.power.ticks - before + 1, 3):
        again = spoiled(cut)
        assert asyncio.run(again.live(cut)) == "SUCCEEDED", cut
        assert again.versions() == {"2.0.0"}, cut


def test_room_is_made_of_what_nobody_needs_and_never_of_what_the_campaign_needs(tmp_path: Path) -> None:
    ecu = desk_ecu("brake", "inplace", World(tmp_path / "vehicle").power)
    wanted = replace(as_verified(director_target(ecu, "2.0.0", 1)), length=1_000)
    free = JOURNAL_SHARE_BYTES + 500
    store = ImageStore(tmp_path / "images", durability="buffered", free_bytes=lambda: free)
    for name in ("needed", "old"):
        (tmp_path / "images" / name).write_bytes(b"x" * 600)
    assert store.reserve(wanted, keep={"needed"}, beside=[replace(wanted, sha256="b", length=101)]) == []
    assert store.stored() == {"needed"}
    with pytest.raises(Unavailable) as refused:
        store.reserve(wanted, keep={"needed"})
    assert refused.value.code == "disk_full"
    assert f"of {free} bytes free on the disk {JOURNAL_SHARE_BYTES} are kept back" in refused.value.message
    assert store.stored() == {"needed"}
