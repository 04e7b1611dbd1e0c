"""Debian's unmodified swupdate writes the slots of a box for its agent; what it refuses is refused, with its own words."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ringroad.protocol.vehicle import EcuTarget
from ringroad.vehicle.agents.base import (
    BytesSource,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    Outcome,
    Reason,
    UpdateAgent,
    no_progress,
)
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.agents.plugins import AgentSite, factory_of
from ringroad.vehicle.agents.swupdate import MESSAGE_BYTES, read_progress
from support.swupdate import make_key, run

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in ("swupdate", "openssl", "cpio")),
        reason="swupdate, openssl or cpio is not installed: apt install swupdate openssl cpio",
    ),
]
BOOT = """#!/bin/sh
case "$1" in
  current) cat {folder}/booted ;;
  try) echo "$2" > {folder}/booted ;;
  confirm) echo "$2" > {folder}/good ;;
esac
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keys")
    make_key(made)
    return made


@pytest.fixture
def folder(keys: Path) -> Iterator[Path]:
    """A short path: swupdate's sockets live below it."""
    made = Path(tempfile.mkdtemp(prefix="rrswa"))
    for name in ("swu.key", "swu.crt"):
        shutil.copy(keys / name, made)
    (made / "boot").write_text(BOOT.format(folder=made))
    (made / "boot").chmod(0o755)
    for name in ("booted", "good"):
        (made / name).write_text("slot-a\n")
    for name in ("slot-a", "slot-b"):
        (made / name).touch()
    (made / "room").mkdir()
    yield made
    shutil.rmtree(made)


def agent_for(folder: Path, *, hardware: str = "box:1.0") -> UpdateAgent:
    settings = {
        "public_key": f"{folder}/swu.crt", "hardware": hardware, "boot": f"{folder}/boot",
        "slot_a": f"{folder}/slot-a", "slot_b": f"{folder}/slot-b", "health": f"grep -q well {folder}/slot-b",
    }  # fmt: skip
    site = AgentSite(
        name="box", serial="BOX", hardware_id="box-1", mode="ab", folder=folder / "room", disk=RealDisk("buffered"),
        settings=settings,
    )  # fmt: skip
    return factory_of("swupdate", {})(site)


def pack(folder: Path, payload: bytes, version: str, *, sign: bool = True, digest: str = "") -> bytes:
    """Pack a .swu that can write either slot."""
    (folder / "payload.bin").write_bytes(payload)
    sha256 = digest or hashlib.sha256(payload).hexdigest()
    modes = "".join(
        f'  {slot} : {{ images: ( {{ filename = "payload.bin"; device = "{folder}/{slot}"; type = "raw";'
        f' sha256 = "{sha256}"; }} ); }};\n'
        for slot in ("slot-a", "slot-b")
    )
    (folder / "sw-description").write_text(
        f'software = {{ version = "{version}"; hardware-compatibility: [ "1.0" ];\n stable = {{\n{modes} }}; }}\n'
    )
    names = ["sw-description", "payload.bin"]
    if sign:
        run(
            "openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", "-signer", "swu.crt",
            "-inkey", "swu.key", "-outform", "DER", "-nosmimecap", "-binary", cwd=folder,
        )  # fmt: skip
        names.insert(1, "sw-description.sig")
    run("cpio", "-o", "-H", "crc", "-F", "out.swu", cwd=folder, stdin="\n".join(names).encode())
    return (folder / "out.swu").read_bytes()


def image_of(data: bytes, counter: int) -> EcuImage:
    return EcuImage(
        serial="BOX", target=EcuTarget(name="box", mode="ab", format="swu", version=f"{counter}.0"), filename="box.swu",
        sha256=hashlib.sha256(data).hexdigest(), length_bytes=len(data), release_counter=counter, hardware_ids=("box-1",),
    )  # fmt: skip


async def staged(agent: UpdateAgent, data: bytes, counter: int) -> Outcome:
    return await agent.prepare(image_of(data, counter), BytesSource(data), progress=no_progress)


async def inventory(agent: UpdateAgent) -> EcuInventory:
    found = await agent.inventory()
    assert isinstance(found, EcuInventory), found
    return found


def test_a_signed_update_is_written_booted_on_trial_reverted_booted_again_and_committed(folder: Path) -> None:
    new = b"all is well " * 20_000

    async def story() -> None:
        agent, swu = agent_for(folder), pack(folder, new, "2.0")
        wanted = image_of(swu, 2)
        seen: list[int] = []
        outcome = await agent.prepare(wanted, BytesSource(swu), progress=lambda done, _: seen.append(done))
        assert outcome == Done(), outcome
        assert seen[-1] == len(swu)
        assert (folder / "slot-b").read_bytes() == new
        assert (folder / "slot-a").read_bytes() == b""
        assert (await staged(agent, swu, 2)) == Done(already=True)
        assert (await inventory(agent)).running is None  # slot a came with the box
        assert await agent.activate(wanted) == Done()
        found = await inventory(agent)
        assert (found.running and found.running.version, found.trial, found.committed_counter) == (
            "2.0",
            True,
            0,
        )
        (folder / "booted").write_text("slot-a\n")  # a reset that nobody wanted
        refused = await agent.commit(wanted)
        assert isinstance(refused, Failed)
        assert refused.reason is Reason.NOT_ACTIVE
        for outcome in (
            await agent.activate(wanted),
            await agent.verify(wanted, frozenset({"version", "self_test"})),
            await agent.commit(wanted),
        ):
            assert outcome == Done(), outcome
        found = await inventory(agent_for(folder))
        assert (found.trial, found.committed_counter) == (False, 2)
        assert (folder / "good").read_text() == "slot-b\n"

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["tampered", "unsigned", "other hardware", "no such slot"])
def test_what_swupdate_refuses_fails_with_its_words_and_nothing_is_staged(folder: Path, fault: str) -> None:
    async def story() -> None:
        payload = b"new firmware " * 9_000
        swu = pack(folder, payload, "2.0", sign=fault != "unsigned")
        if fault == "tampered":
            at = swu.rindex(b"new firmware") + 4
            swu = swu[:at] + b"X" + swu[at + 1 :]
        if fault == "no such slot":
            (folder / "boot").write_text("#!/bin/sh\necho slot-c\n")
        agent = agent_for(folder, hardware="box:9.9" if fault == "other hardware" else "box:1.0")
        outcome = await staged(agent, swu, 2)
        assert isinstance(outcome, Failed), outcome
        assert outcome.reason is (Reason.ECU_REFUSED if fault == "no such slot" else Reason.CHECK_FAILED)
        assert outcome.detail
        if fault != "no such slot":
            refused = await agent.activate(image_of(swu, 2))
            assert isinstance(refused, Failed)
            assert refused.reason is Reason.NOT_STAGED

    asyncio.run(story())


def test_a_large_image_is_seen_growing(folder: Path) -> None:
    async def story() -> None:
        agent, swu = agent_for(folder), pack(folder, os.urandom(8_000_000), "2.0")
        seen: list[int] = []
        outcome = await agent.prepare(
            image_of(swu, 2), BytesSource(swu), progress=lambda done, _: seen.append(done)
        )
        assert outcome == Done(), outcome
        written = seen[seen.index(0) :]  # after it was received, swupdate begins at 0
        assert written[-1] == len(swu)
        assert written == sorted(written)

    asyncio.run(story())


def test_only_messages_of_the_version_that_is_known_are_read() -> None:
    def message(steps: int, step: int, percent: int) -> bytes:
        return struct.pack("<III4xQIII", 0, 2, 0, 0, steps, step, percent).ljust(MESSAGE_BYTES, b"\0")

    assert [read_progress(message(*one)) for one in ((1, 1, 0), (2, 1, 50), (2, 2, 50), (4, 4, 100))] == [
        0, 250, 750, 1000,
    ]  # fmt: skip
    for other in ((0, 0, 0), (1, 2, 0), (2, 1, 101), (5_000, 1, 0)):
        assert read_progress(message(*other)) is None
    assert read_progress(message(1, 1, 1)[:-8]) is None


def test_a_box_whose_new_software_is_sick_goes_back(folder: Path) -> None:
    async def story() -> None:
        agent = agent_for(folder)
        old = pack(folder, b"all is well " * 500, "1.0")
        for outcome in (
            await staged(agent, old, 1),
            await agent.activate(image_of(old, 1)),
            await agent.commit(image_of(old, 1)),
        ):
            assert isinstance(outcome, Done), outcome
        sick = pack(folder, b"sick " * 500, "2.0")
        assert isinstance(await staged(agent, sick, 2), Done)
        assert isinstance(await agent.activate(image_of(sick, 2)), Done)
        assert (folder / "booted").read_text() == "slot-a\n"
        assert isinstance(await agent.rollback(image_of(sick, 2), progress=no_progress), Done)
        found = await inventory(agent)
        assert (found.running and found.running.version, found.trial) == ("1.0", False)

    asyncio.run(story())


def test_an_image_of_another_format_is_not_given_to_swupdate(folder: Path) -> None:
    async def story() -> None:
        wanted = image_of(b"bytes", 2)
        plain = EcuTarget(name="box", mode="ab", format="bin", version="2.0")
        other = replace(wanted, target=plain)
        outcome = await agent_for(folder).prepare(other, BytesSource(b"bytes"), progress=no_progress)
        assert isinstance(outcome, Failed)
        assert outcome.reason is Reason.UNSUPPORTED_FORMAT

    asyncio.run(story())
