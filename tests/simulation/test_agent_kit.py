"""The conformance kit of update agents: ours pass it, the example of the documentation passes it, and bad ones do not."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from door_agent import DoorAgent, State

from ringroad.kernel.clock import SystemClock
from ringroad.sim.agentkit import Bench, Checked, Image, check_agent
from ringroad.sim.benches import FolderBench, VecuBench
from ringroad.sim.vecu.medium import PowerCut
from ringroad.vehicle.agents.base import Done, EcuImage, Failed, ImageSource, Outcome, Progress
from ringroad.vehicle.agents.plugins import AgentSite, factory_of

OLD = Image(content=b"old firmware " * 200, version="1.0", release_counter=1)
NEW = Image(content=b"new firmware " * 210, version="2.0", release_counter=2)


def checked(bench: Bench) -> list[Checked]:
    async def run() -> list[Checked]:
        return [row async for row in check_agent(bench, keeps=(500,))]

    return asyncio.run(run())


def archive(version: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("app/main")
        entry.size = len(version)
        tar.addfile(entry, io.BytesIO(version.encode()))
    return out.getvalue()


def uds(mode: str) -> Callable[[Path], Bench]:
    def make(_: Path) -> Bench:
        return VecuBench(factory_of("uds", {}), clock=SystemClock(), old=OLD, new=NEW, mode=mode)  # type: ignore[arg-type]

    return make


def files(folder: Path) -> Bench:
    return FolderBench(factory_of("files", {}), folder, old=OLD, new=NEW)


def container(folder: Path) -> Bench:
    old = Image(content=archive("1.0"), version="1.0", release_counter=1)
    new = Image(content=archive("2.0"), version="2.0", release_counter=2)
    return FolderBench(factory_of("container", {}), folder, old=old, new=new)


def example(folder: Path) -> Bench:
    return FolderBench(factory_of("door", {"door": "door_agent:DoorAgent"}), folder, old=OLD, new=NEW)


@pytest.mark.parametrize(
    "make",
    [uds("ab"), uds("inplace"), files, container, example],
    ids=["uds ab", "uds inplace", "files", "container", "example"],
)
def test_an_agent_passes_the_kit(make: Callable[[Path], Bench], tmp_path: Path) -> None:
    rows = checked(make(tmp_path / "ecu"))
    assert [(row.name, row.problem) for row in rows if row.problem] == []
    assert sum(row.scenarios for row in rows) > 30


class Forgetful(DoorAgent):
    """Keeps in memory alone that an image is on trial."""

    trial = False

    def state(self) -> State:
        return msgspec.structs.replace(super().state(), trial=self.trial)

    def keep(self, state: State) -> Done:
        self.trial = state.trial
        return super().keep(msgspec.structs.replace(state, trial=False))


class Trusting(DoorAgent):
    """Takes what it is given for what was signed."""

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        outcome = await super().prepare(image, source, progress=progress)
        return Done() if isinstance(outcome, Failed) and outcome.reason == "hash_mismatch" else outcome

    install = prepare


class Hasty(DoorAgent):
    """Makes permanent what should be on trial."""

    async def activate(self, image: EcuImage) -> Outcome:
        await super().activate(image)
        return await self.commit(image)


class Torn(DoorAgent):
    """Writes its state over the old one."""

    def keep(self, state: State) -> Done:
        self.site.disk.remove(self.file)
        self.site.disk.append(self.file, msgspec.json.encode(state))
        return Done()


class Explosive(DoorAgent):
    """Raises where it should answer."""

    async def verify(self, image: EcuImage, *args: object, **more: object) -> Outcome:
        raise RuntimeError("out of order")


class Labelled(DoorAgent):
    """Finds staged by the digest alone what came before under another version."""

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        other = self.state().other
        if other is not None and other.sha256 == image.sha256:
            return Done(already=True)
        return await super().prepare(image, source, progress=progress)

    install = prepare


class Blind(DoorAgent):
    """Checks nothing that it is asked to check."""

    async def verify(self, image: EcuImage, *args: object, **more: object) -> Outcome:
        return await super().verify(image, frozenset())


class Careless(Labelled, Blind):
    """Commits under the wrong version, and finds nothing wrong with it."""


@pytest.mark.parametrize(
    ("kind", "check", "problem"),
    [
        (Forgetful, "Power may go between", "rollback after a power cycle failed: already_committed"),
        (Trusting, "Images that may not go there", "prepare with another digest was done"),
        (Hasty, "An update runs through", "the counter advanced before commit"),
        (Labelled, "What lies ready under another version", "version_mismatch '1.0' is here"),
        (Careless, "What lies ready under another version", "under another version 1.0 runs, not 2.0"),
        (Blind, "Another version than the signed one", "verify of another version was done"),
        (Torn, "Power may go in any step of a verb", "after power went halfway through durable step "),
        (Explosive, "An update runs through", "a verb raised RuntimeError: out of order"),
    ],
)
def test_an_agent_that_owes_something_does_not_pass(
    kind: Callable[[AgentSite], DoorAgent], check: str, problem: str, tmp_path: Path
) -> None:
    failed = {
        row.name: row.problem
        for row in checked(FolderBench(kind, tmp_path / "ecu", old=OLD, new=NEW))
        if row.problem
    }
    found = next((told for name, told in failed.items() if name.startswith(check)), None)
    assert found is not None, failed
    assert problem in found, failed


def test_a_bench_whose_power_goes_stays_dark_until_it_is_started_again(tmp_path: Path) -> None:
    bench = FolderBench(DoorAgent, tmp_path / "ecu", old=OLD, new=NEW)
    bench.renew()
    bench.cut(1, 500)
    for _ in range(2):
        with pytest.raises(PowerCut):
            bench.disk.append(tmp_path / "ecu" / "file", b"12345678")
    assert (tmp_path / "ecu" / "file").read_bytes() == b"1234"
    assert bench.was_cut
