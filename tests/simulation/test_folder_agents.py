"""An ECU that is a folder goes back to what it ran before, and to nothing that does not read back."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from ringroad.sim.agentkit import Image, Kit
from ringroad.sim.benches import FolderBench
from ringroad.vehicle.agents.base import Done, Reason
from ringroad.vehicle.agents.plugins import factory_of

OLD = Image(content=b"old firmware", version="1.0", release_counter=1)
NEW = Image(content=b"new firmware", version="2.0", release_counter=2)


def kit_of(folder: Path) -> Kit:
    return Kit(FolderBench(factory_of("files", {}), folder, old=OLD, new=NEW))


def test_a_version_that_was_changed_while_another_was_on_trial_is_not_gone_back_to(tmp_path: Path) -> None:
    box = tmp_path / "box"
    old, new = (hashlib.sha256(one.content).hexdigest() for one in (OLD, NEW))

    async def story() -> None:
        kit = kit_of(box)
        await kit.begin()
        for verb in ("prepare", "activate"):
            await kit.done(verb, kit.verb(verb))
        file = box / "versions" / old / "image"
        file.chmod(0o600)
        file.write_bytes(b"spoilt")
        await kit.refused("rollback", kit.verb("rollback"), Reason.BOOT_FAILED)
        assert (box / "current").readlink().name == new

    asyncio.run(story())


def test_bytes_that_were_staged_are_installed_under_their_new_name(tmp_path: Path) -> None:
    again = Image(content=NEW.content, version="2.0.1", release_counter=3)

    async def story() -> None:
        kit = kit_of(tmp_path / "box")
        await kit.begin()
        await kit.done("prepare", kit.verb("prepare", NEW))
        for verb in ("prepare", "install", "activate", "verify", "commit"):
            await kit.done(verb, kit.verb(verb, again))
        await kit.runs(again, "in the end", for_good=True)

    asyncio.run(story())


@pytest.mark.parametrize("activated", [True, False])
def test_a_rollback_of_the_first_image_gives_back_what_the_supplier_had_put_there(
    tmp_path: Path, *, activated: bool
) -> None:
    box = tmp_path / "box"

    async def story() -> None:
        kit = kit_of(box)
        kit.bench.renew()
        (box / "factory").mkdir()
        (box / "current").symlink_to("factory")
        await kit.done("prepare", kit.verb("prepare"))
        if activated:
            await kit.done("activate", kit.verb("activate"))
            await kit.restart()
        assert await kit.verb("rollback") == Done(already=not activated)
        assert str((box / "current").readlink()) == "factory"
        assert await kit.verb("rollback") == Done(already=True)

    asyncio.run(story())
