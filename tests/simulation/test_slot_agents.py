"""Agents whose slots a program writes: the common half passes the kit on simulated slots, power cuts in each write included."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from ringroad.kernel.errors import InvalidInput
from ringroad.sim.agentkit import Image, Kit, Owed, check_agent
from ringroad.sim.benches import FolderBench
from ringroad.vehicle.agents.base import Done, Failed, Progress, Reason, UpdateAgent, no_progress
from ringroad.vehicle.agents.commands import Ended, run_command
from ringroad.vehicle.agents.disk import RealDisk, replace
from ringroad.vehicle.agents.plugins import AgentSite, factory_of
from ringroad.vehicle.agents.rauc import RaucSlots
from ringroad.vehicle.agents.receive import beside
from ringroad.vehicle.agents.session import Refusal
from ringroad.vehicle.agents.slots import SlotsAgent
from ringroad.vehicle.agents.swupdate import SwupdateSlots

OLD = Image(content=b"old " * 300, version="1.0", release_counter=1)
NEW = Image(content=b"new " * 310, version="2.0", release_counter=2)
GOOD = Ended(status=0, output="")


class DeskSlots:
    """Two files, a bootloader that is two more, and a program that copies in two steps."""

    formats = frozenset({"bin"})

    def __init__(self, site: AgentSite) -> None:
        self.disk = site.disk
        self.folder = site.folder
        self.refuses = ""

    def named(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else "a"

    async def slots(self) -> tuple[str, str]:
        booted = self.named("booted")
        return booted, "ab".replace(booted, "")

    async def write(self, image: Path, slot: str, *, size_bytes: int, progress: Progress) -> Ended:
        if self.refuses == "write":
            return Ended(status=1, output="the signature is wrong")
        content = (self.folder / image.name).read_bytes()
        self.disk.remove(self.content(slot))
        for half in (content[: size_bytes // 2], content[size_bytes // 2 :]):
            self.disk.append(self.content(slot), half)
            progress(len(half), size_bytes)
        return GOOD

    async def boot(self, slot: str) -> Ended:
        if self.refuses == "restart":  # the bootloader was told, and the box did not come back in time
            replace(self.disk, self.folder / "next", slot.encode())
            return Ended(status=1, output="it takes too long")
        if self.refuses != "boot":
            replace(self.disk, self.folder / "booted", slot.encode())
        return GOOD

    async def confirm(self, slot: str) -> Ended:
        replace(self.disk, self.folder / "good", slot.encode())
        if (self.folder / "next").exists():
            self.disk.remove(self.folder / "next")
        return GOOD

    async def self_test(self, slot: str) -> Ended:
        return Ended(status=int(self.refuses == "self_test"), output="sick")

    operations = frozenset({"reset", "self-test"})

    async def restart(self) -> Ended:
        return Ended(status=int(self.refuses == "restart"), output="it takes too long")

    def content(self, slot: str) -> Path:
        return self.folder / f"slot-{slot}"


class SlotBench(FolderBench):
    """Its bootloader takes a trial back when power comes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(self.made, folder, old=OLD, new=NEW)
        self.at = folder
        self.refuses = ""

    def made(self, site: AgentSite) -> SlotsAgent:
        slots = DeskSlots(site)
        slots.refuses = self.refuses
        return SlotsAgent(site, slots)

    def power_on(self) -> UpdateAgent:
        chosen = next((path for name in ("next", "good") if (path := self.at / name).exists()), None)
        (self.at / "booted").write_text(chosen.read_text() if chosen is not None else "a")
        return super().power_on()


def test_the_common_half_passes_the_kit(tmp_path: Path) -> None:
    async def rows() -> list[str]:
        found = [row async for row in check_agent(SlotBench(tmp_path / "box"), keeps=(500,))]
        return [f"{row.name}: {row.problem}" for row in found if row.problem]

    assert asyncio.run(rows()) == []


def test_bytes_that_lie_in_the_other_slot_are_installed_under_their_new_name(tmp_path: Path) -> None:
    again = Image(content=OLD.content, version="1.0.1", release_counter=3)

    async def story() -> None:
        kit = Kit(SlotBench(tmp_path / "box"))
        await kit.begin()
        for image in (NEW, again):
            for verb in ("prepare", "install", "activate", "verify", "commit"):
                await kit.done(verb, kit.verb(verb, image))
        await kit.runs(again, "in the end", for_good=True)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("refuses", "verbs", "reason"),
    [
        ("write", ("prepare",), Reason.CHECK_FAILED),
        ("boot", ("prepare", "activate"), Reason.BOOT_FAILED),
        ("self_test", ("prepare", "activate", "verify"), Reason.SELF_TEST_FAILED),
    ],
)
def test_what_the_program_refuses_fails_and_the_old_software_comes_back(
    tmp_path: Path, refuses: str, verbs: Sequence[str], reason: Reason
) -> None:
    async def story() -> None:
        bench = SlotBench(tmp_path / "box")
        kit = Kit(bench)
        await kit.begin()
        bench.refuses = refuses
        await kit.restart()
        for verb in verbs[:-1]:
            await kit.done(verb, kit.verb(verb))
        await kit.refused(verbs[-1], kit.verb(verbs[-1]), reason)
        await kit.done("rollback", kit.verb("rollback"))
        await kit.runs(OLD, "after a refusal", for_good=True)

    asyncio.run(story())


def test_a_rollback_after_a_restart_that_failed_takes_back_what_the_bootloader_was_told(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        bench = SlotBench(tmp_path / "box")
        kit = Kit(bench)
        await kit.begin()
        await kit.done("prepare", kit.verb("prepare"))
        bench.refuses = "restart"
        await kit.restart()
        await kit.refused("activate", kit.verb("activate"), Reason.BOOT_FAILED)
        await kit.done("rollback", kit.verb("rollback"))
        await kit.restart()
        await kit.runs(OLD, "after the next ignition", for_good=True)

    asyncio.run(story())


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("noted", [True, False], ids=["origin noted", "state of an older agent"])
def test_a_trial_whose_slot_was_written_to_is_rolled_back_by_the_name_of_the_old_slot(
    tmp_path: Path, *, first: bool, noted: bool
) -> None:
    async def story() -> None:
        bench = SlotBench(tmp_path / "box")
        kit = Kit(bench)
        if first:
            bench.renew()
        else:
            await kit.begin()
        before = bench.at / "booted"
        old = before.read_text() if before.exists() else "a"
        for verb in ("prepare", "activate"):
            await kit.done(verb, kit.verb(verb))
        assert before.read_text() != old
        state = bench.at / "state.json"
        if not noted:
            state.write_text(state.read_text().replace(f'"origin":"{old}"', '"origin":""'))
        (bench.at / f"slot-{before.read_text()}").write_bytes(b"mounted read-write")
        found = await kit.inventory()
        assert (found.running, found.trial) == (None, noted)
        assert await kit.verb("rollback") == Done()
        assert before.read_text() == old
        assert await kit.verb("rollback") == Done(already=True)

    asyncio.run(story())


def test_rauc_is_told_which_slot_is_active_when_one_is_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "rauc"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/runs\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    slots = RaucSlots(
        AgentSite(
            name="box", serial="S", hardware_id="h", mode="ab", folder=tmp_path, disk=RealDisk("buffered"),
            settings={"restart": "true"},
        )
    )  # fmt: skip
    assert asyncio.run(slots.confirm("rootfs.0")).good
    assert (tmp_path / "runs").read_text().splitlines() == [
        "status mark-active rootfs.0",
        "status mark-good rootfs.0",
    ]


def test_what_rauc_says_too_deeply_nested_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "rauc"
    program.write_text("#!/bin/sh\nprintf '{\"slots\":'; head -c 8000 /dev/zero | tr '\\0' '['\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    slots = RaucSlots(
        AgentSite(
            name="box", serial="S", hardware_id="h", mode="ab", folder=tmp_path, disk=RealDisk("buffered"),
            settings={"restart": "true"},
        )
    )  # fmt: skip
    with pytest.raises(Refusal) as refused:
        asyncio.run(slots.slots())
    assert refused.value.failed.reason is Reason.ECU_REFUSED


def test_a_slot_that_somebody_else_wrote_is_not_booted(tmp_path: Path) -> None:
    async def story() -> None:
        bench = SlotBench(tmp_path / "box")
        kit = Kit(bench)
        await kit.begin()
        await kit.done("prepare", kit.verb("prepare"))
        (staged,) = [path for path in bench.at.glob("slot-?") if path.read_bytes() == NEW.content]
        staged.write_bytes(b"something else")
        await kit.refused("activate", kit.verb("activate"), Reason.NOT_STAGED)
        await kit.forward()

    asyncio.run(story())


def test_the_kit_is_not_deaf() -> None:
    async def no() -> Failed:
        return Failed(reason=Reason.BUSY)

    with pytest.raises(Owed):
        asyncio.run(Kit(FolderBench(factory_of("files", {}), Path(), old=OLD, new=NEW)).done("x", no()))


@pytest.mark.parametrize("agent", ["swupdate", "rauc"])
def test_an_agent_without_its_settings_is_not_made(agent: str, tmp_path: Path) -> None:
    bench = FolderBench(factory_of(agent, {}), tmp_path, old=OLD, new=NEW, settings={"health": "true"})
    with pytest.raises(InvalidInput, match="needs the setting"):
        bench.power_on()


# What SWUpdate says, however it ends -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "status", "ends"),
    [
        ("SWUPDATE successful ! SWUPDATE successful !", 0, (True, 1)),
        ("SWUPDATE successful ! SWUPDATE successful !", 1, (True, 1)),  # 2022.12 on a busy machine
        ("[ERROR] : SWUPDATE failed [0] ERROR : SWUpdate *failed* !", 1, (False, 1)),
        ("[ERROR] : SWUPDATE failed [0] ERROR : SWUpdate *failed* !", 0, (False, 1)),
        ("", 0, (False, 3)),
        ("", 1, (False, 3)),
    ],
)
def test_what_swupdate_says_counts_and_silence_is_asked_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str,
    status: int,
    ends: tuple[bool, int],
) -> None:
    program = tmp_path / "swupdate"
    program.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\necho '{says}'\nexit {status}\n")
    program.chmod(0o755)
    (tmp_path / "key").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    settings = {
        "public_key": f"{tmp_path}/key",
        "hardware": "b:1",
        "slot_a": "a",
        "slot_b": "b",
        "boot": "true",
    }
    slots = SwupdateSlots(
        AgentSite(
            name="box", serial="S", hardware_id="h", mode="ab", folder=tmp_path, disk=RealDisk("buffered"),
            settings=settings,
        )
    )  # fmt: skip
    ended = asyncio.run(slots.write(tmp_path / "image", "slot-b", size_bytes=5, progress=no_progress))
    assert (ended.good, len((tmp_path / "runs").read_text().split())) == ends


# Programs ---------------------------------------------------------------------------------------------


def ran(command: Sequence[str], *, within_s: float = 60) -> tuple[Ended, list[str]]:
    lines: list[str] = []
    ended = asyncio.run(run_command(command, within_s=within_s, folder=Path("/"), line=lines.append))
    return ended, lines


def test_a_program_ends_with_its_status_and_each_line_is_told() -> None:
    ended, lines = ran(["sh", "-c", "echo one; echo two >&2; exit 3"])
    assert (ended.status, ended.good, lines) == (3, False, ["one\n", "two\n"])
    assert ended.told == "one\ntwo"


def test_a_program_that_is_missing_says_so() -> None:
    ended, _ = ran(["/no/such/program"])
    assert (ended.status, ended.told) == (-1, "/no/such/program: No such file or directory")


def test_a_program_that_takes_too_long_is_ended_with_all_it_started() -> None:
    ended, _ = ran(["sh", "-c", "sleep 600 & sleep 600"], within_s=0.2)
    assert ended.status == -1
    assert "took longer than 0.2 s" in ended.told


def test_only_the_end_of_what_a_program_says_is_kept() -> None:
    ended, _ = ran(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end"])
    assert ended.good
    assert len(ended.output) <= 1 << 20
    assert ended.told.endswith("the end")


def test_long_work_has_ended_when_who_waits_for_it_is_cancelled() -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        may_end.wait(60)
        ended.set()

    async def story() -> None:
        waiting = asyncio.create_task(beside(work, size_bytes=1 << 30))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(began.wait, 60)
        waiting.cancel()
        await asyncio.sleep(0.01)
        assert not waiting.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended.is_set()

    asyncio.run(story())
