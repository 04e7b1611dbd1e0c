"""ECUs that speak no UDS, as diagnostics ask them: what their agents offer, and what they cannot."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from ringroad.kernel.errors import Conflict, NotFound, Unavailable
from ringroad.protocol.vehicle import EcuTarget
from ringroad.vehicle.agents.base import (
    BytesSource,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    Fault,
    Reason,
    no_progress,
)
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.agents.folders import FilesAgent
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.diagnostics.ways import AgentWay, NotOffered

CONTENT = b"maps of the north"


def files_agent(folder: Path, **settings: str) -> FilesAgent:
    folder.mkdir(exist_ok=True)
    return FilesAgent(
        AgentSite(
            name="maps", serial="M-1", hardware_id="maps-hw", mode="ab", folder=folder, disk=RealDisk("buffered"),
            settings=settings,
        )
    )  # fmt: skip


async def way_of(folder: Path, **settings: str) -> AgentWay:
    """A box whose software is a file, with one version installed."""
    agent = files_agent(folder, **settings)
    image = EcuImage(
        serial="M-1", target=EcuTarget(name="maps", mode="ab", format="bin", version="4.2"), filename="maps.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(), length_bytes=len(CONTENT), release_counter=1, hardware_ids=("maps-hw",),
    )  # fmt: skip
    for step in (
        await agent.prepare(image, BytesSource(CONTENT), progress=no_progress), await agent.activate(image),
        await agent.commit(image),
    ):  # fmt: skip
        assert isinstance(step, Done), step
    return AgentWay("maps", agent)


def test_a_folder_tells_what_it_is_and_has_no_faults(tmp_path: Path) -> None:
    async def story() -> None:
        way = await way_of(tmp_path / "maps")
        assert way.offers == ("data", "faults")
        told = {each["id"]: (await way.read(each["id"]))["data"] for each in await way.data()}
        assert (told["F18C"], told["F191"], told["F195"]) == ("M-1", "maps-hw", "4.2")
        assert (await way.read("f195"))["id"] == "F195"
        assert told["software-state"] == {"mode": "application", "trial": False, "staged": ""}
        assert await way.faults(0xFF) == []
        for refused in (way.clear(""), way.operate("reset")):
            with pytest.raises(NotOffered) as found:
                await refused
            assert found.value.code == "not_offered"
            assert "data, faults" in found.value.hint
        with pytest.raises(NotOffered):
            _ = way.uds
        for unknown in ("F190", "speed"):
            with pytest.raises(NotFound, match=f"no data {unknown}"):
                await way.read(unknown)

    asyncio.run(story())


def test_a_folder_with_programs_restarts_and_tests_itself(tmp_path: Path) -> None:
    async def story() -> None:
        way = await way_of(tmp_path / "maps", restart="touch ../../restarted", health="false")
        (tmp_path / "maps" / "restarted").unlink()
        assert way.operations == ("reset", "self-test")
        assert await way.operate("reset") == {}
        assert (tmp_path / "maps" / "restarted").exists()
        assert (await way.operate("self-test"))["passed"] is False
        sick = AgentWay("maps", files_agent(tmp_path / "maps", restart="false"))
        assert sick.operations == ("reset",)
        with pytest.raises(Conflict, match="boot_failed"):
            await sick.operate("reset")

    asyncio.run(story())


class Bare:
    """An agent of a supplier, with the verbs and no more; of those diagnostics ask for one."""

    def __init__(self, answer: EcuInventory | Failed) -> None:
        self.answer = answer

    async def inventory(self) -> EcuInventory | Failed:
        return self.answer


KNOWN = EcuInventory(
    serial="D-1", hardware_id="door-hw", mode="bootloader", running=None, trial=False, staged=None, committed_counter=3,
    faults=(Fault(code="B1234-00", status=0x09),),
)  # fmt: skip


def bare(answer: EcuInventory | Failed) -> AgentWay:
    agent: Any = Bare(answer)
    return AgentWay("door", agent)


def test_a_suppliers_agent_is_asked_for_its_inventory_alone(tmp_path: Path) -> None:
    async def story() -> None:
        way = bare(KNOWN)
        assert way.offers == ("data", "faults")
        assert (await way.read("F195"))["data"] == ""
        assert (await way.read("FD03"))["data"] == 3
        assert await way.faults(0x08) == [("B1234-00", 9)]
        assert await way.faults(0x80) == []
        empty = {"snapshots": [], "extended_data": {"occurrences": None, "aging": None, "raw": ""}}
        assert await way.fault("B1234-00") == ("B1234-00", 9, empty)
        with pytest.raises(NotFound):
            await way.fault("B1235-00")
        with pytest.raises(NotOffered):
            await way.clear("B1234-00")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("reason", "error"), [(Reason.UNREACHABLE, Unavailable), (Reason.SERIAL_MISMATCH, Conflict)]
)
def test_an_ecu_that_does_not_answer_or_is_another_tells_nothing(
    reason: Reason, error: type[Exception]
) -> None:
    async def story() -> None:
        way = bare(Failed(reason=reason))
        for asked in (way.read("F195"), way.faults(0xFF), way.fault("B1234-00")):
            with pytest.raises(error, match=str(reason)):
                await asked

    asyncio.run(story())


@pytest.mark.parametrize("around", [{"snapshots": "none"}, {"snapshots": [{"record": "x"}]}])
def test_an_answer_that_is_not_understood_is_no_answer(around: dict[str, Any]) -> None:
    class Strange(Bare):
        async def faults(self) -> tuple[Fault, ...]:
            return KNOWN.faults

        async def fault(self, code: str) -> dict[str, Any]:
            return around

        async def clear_faults(self, code: str) -> Done:
            return Done()

    async def story() -> None:
        agent: Any = Strange(KNOWN)
        with pytest.raises(Unavailable, match="not understood"):
            await AgentWay("door", agent).fault("B1234-00")

    asyncio.run(story())
