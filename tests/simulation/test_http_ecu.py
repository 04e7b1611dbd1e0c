"""A virtual ECU behind HTTP and its agent: over a real socket, over ASGI with power cuts, and against hostile requests."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.vehicle import EcuTarget
from ringroad.sim.agentkit import Image, check_agent
from ringroad.sim.benches import HttpBench
from ringroad.sim.vecu.config import EcuConfig, ServerConfig, ServerTable
from ringroad.sim.vecu.http import SovdFace
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script, Trouble
from ringroad.sim.vecu.server import VecuServer
from ringroad.vehicle.agents.base import (
    BytesSource,
    CheckKind,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    Outcome,
    Reason,
    no_progress,
)
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.agents.plugins import AgentSite, factory_of
from ringroad.vehicle.agents.sovd import SovdAgent

SECRET = b"of the node"
BEARER = {"authorization": f"Bearer {SECRET.hex()}"}
DATA = b"an image " * 300
SHA = hashlib.sha256(DATA).hexdigest()
WANTED = {"version": "2.0", "sha256": SHA, "length": len(DATA), "release_counter": 2, "hardware_id": "hw"}
CHECKS: frozenset[CheckKind] = frozenset({"version", "self_test", "no_new_faults"})


def new_port(script: Script | None = None) -> EcuPort:
    config = EcuConfig(
        serial="NODE", hardware_id="hw", vin="WRR00000000000001", layout="ab", bank_bytes=8_192, secret=SECRET
    )
    return EcuPort(config, MemoryMedium(), clock=SystemClock(), script=script)


def site(url: str = "http://node", secret: bytes = SECRET, **settings: str) -> AgentSite:
    return AgentSite(
        name="node", serial="NODE", hardware_id="hw", mode="ab", folder=Path(), disk=RealDisk(),
        settings={"url": url, **settings}, secret=secret,
    )  # fmt: skip


def image(data: bytes = DATA, counter: int = 2) -> EcuImage:
    return EcuImage(
        serial="NODE", target=EcuTarget(name="node", mode="ab", format="bin", version=f"{counter}.0"), filename="f",
        sha256=hashlib.sha256(data).hexdigest(), length_bytes=len(data), release_counter=counter, hardware_ids=("hw",),
    )  # fmt: skip


async def updated(agent: SovdAgent, wanted: EcuImage, data: bytes) -> None:
    for outcome in (
        await agent.prepare(wanted, BytesSource(data), progress=no_progress),
        await agent.install(wanted, BytesSource(data), progress=no_progress),
        await agent.activate(wanted),
        await agent.verify(wanted, CHECKS),
        await agent.commit(wanted),
    ):
        assert isinstance(outcome, Done), outcome


def test_the_agent_passes_the_kit() -> None:
    old = Image(content=b"old " * 500, version="1.0", release_counter=1)
    new = Image(content=b"new " * 600, version="2.0", release_counter=2)

    async def rows() -> list[str]:
        bench = HttpBench(clock=SystemClock(), old=old, new=new)
        return [f"{row.name}: {row.problem}" async for row in check_agent(bench, keeps=(500,)) if row.problem]

    assert asyncio.run(rows()) == []


def test_bytes_that_lie_in_the_other_bank_are_installed_under_their_new_name() -> None:
    async def story(agent: SovdAgent) -> None:
        again = b"the first " * 400
        for data, counter in ((again, 1), (DATA, 2), (again, 3)):
            await updated(agent, image(data, counter), data)
        found = await agent.inventory()
        assert isinstance(found, EcuInventory)
        assert (found.running and found.running.version, found.committed_counter) == ("3.0", 3)

    over_asgi(new_port(), story)


@asynccontextmanager
async def served(port: EcuPort) -> AsyncIterator[str]:
    face = SovdFace(port)
    number = await face.start()
    try:
        yield f"http://127.0.0.1:{number}"
    finally:
        await face.close()


def test_an_update_goes_over_a_real_connection() -> None:
    async def story() -> None:
        async with served(new_port()) as url:
            agent = factory_of("sovd", {})(site(url))
            assert isinstance(agent, SovdAgent)
            seen: list[int] = []
            big = bytes(range(256)) * 31
            wanted = image(big)
            await agent.prepare(wanted, BytesSource(big), progress=lambda done, _: seen.append(done))
            await updated(agent, wanted, big)
            found = await agent.inventory()
            assert isinstance(found, EcuInventory)
            assert (found.running and found.running.version, found.committed_counter) == ("2.0", 2)
            assert seen[-1] == len(big)
            await agent.close()

    asyncio.run(story())


def test_the_process_of_a_virtual_ecu_serves_it_and_keeps_what_was_installed(tmp_path: Path) -> None:
    config = ServerConfig(
        ecu=new_port().ecu.config, folder=tmp_path,
        server=ServerTable(flash="flash.bin", fsync=False, http=True, port_file="port"),
    )  # fmt: skip

    async def story() -> None:
        for expected in ("0.0", "2.0"):
            server = VecuServer(config, clock=SystemClock())
            agent = SovdAgent(site(f"http://127.0.0.1:{await server.start()}"))
            found = await agent.inventory()
            assert isinstance(found, EcuInventory)
            assert (found.running.version if found.running else "0.0") == expected
            await updated(agent, image(), DATA)
            await agent.close()
            await server.close()

    asyncio.run(story())


def test_an_ecu_that_is_not_there_is_unreachable() -> None:
    async def story() -> Outcome:
        async with served(new_port()) as url:
            pass
        agent = SovdAgent(site(url))
        try:
            return await agent.activate(image())
        finally:
            await agent.close()

    outcome = asyncio.run(story())
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.retryable) == (Reason.UNREACHABLE, True)


def over_asgi(
    port: EcuPort, story: Callable[[SovdAgent], Awaitable[None]], *, secret: bytes = SECRET
) -> None:
    async def run() -> None:
        agent = SovdAgent(site(secret=secret), transport=httpx.ASGITransport(SovdFace(port)))
        await story(agent)
        await agent.close()

    asyncio.run(run())


def reason_of(outcome: object) -> Reason:
    assert isinstance(outcome, Failed), outcome
    return outcome.reason


def test_another_secret_is_refused() -> None:
    async def story(agent: SovdAgent) -> None:
        assert reason_of(await agent.inventory()) is Reason.ACCESS_DENIED
        assert (
            reason_of(await agent.prepare(image(), BytesSource(DATA), progress=no_progress))
            is Reason.ACCESS_DENIED
        )

    over_asgi(new_port(), story, secret=b"guessed")


def test_a_bad_image_is_seen_by_self_test_version_and_faults() -> None:
    async def story(agent: SovdAgent) -> None:
        await updated(agent, image(b"old", 1), b"old")
        wanted = image()
        await agent.prepare(wanted, BytesSource(DATA), progress=no_progress)
        await agent.activate(wanted)
        for check, reason in (
            ("self_test", Reason.SELF_TEST_FAILED),
            ("version", Reason.VERSION_MISMATCH),
            ("no_new_faults", Reason.NEW_FAULTS),
        ):
            assert reason_of(await agent.verify(wanted, frozenset({check}))) is reason  # type: ignore[arg-type]
        assert isinstance(await agent.rollback(wanted, progress=no_progress), Done)
        found = await agent.inventory()
        assert isinstance(found, EcuInventory)
        assert found.running is not None
        assert found.running.version == "1.0"

    bad = Behaviour(
        self_test="fail", reports_version="9.9", faults=(FaultRate(code="U0100-00", rate_permille=1000),)
    )
    over_asgi(new_port(Script(images={SHA: bad})), story)


def test_an_image_that_does_not_start_leaves_the_old_one_running() -> None:
    async def story(agent: SovdAgent) -> None:
        await updated(agent, image(b"old", 1), b"old")
        await agent.prepare(image(), BytesSource(DATA), progress=no_progress)
        assert reason_of(await agent.activate(image())) is Reason.BOOT_FAILED

    over_asgi(new_port(Script(images={SHA: Behaviour(boot="loop")})), story)


class Later(httpx.AsyncBaseTransport):
    """An ECU that answers 202 and restarts when it was asked a few more times."""

    def __init__(self, port: EcuPort) -> None:
        self._ecu = httpx.ASGITransport(SovdFace(port))
        self._due: httpx.Request | None = None
        self._asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(("/execute", "/x-ringroad-rollback")):
            self._due, self._asked = request, 0
            return httpx.Response(202)
        self._asked += 1
        if self._due is not None and self._asked > 5:
            due, self._due = self._due, None
            await self._ecu.handle_async_request(due)
        return await self._ecu.handle_async_request(request)


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_ecu_that_restarts_a_moment_after_its_answer_is_waited_for(*, forgotten: bool) -> None:
    async def story() -> None:
        port = new_port()
        agent = SovdAgent(site(), transport=Later(port))
        await updated(agent, image(b"old", 1), b"old")
        await agent.prepare(image(), BytesSource(DATA), progress=no_progress)
        if forgotten:
            port.power_cycle()
            agent = SovdAgent(site(), transport=Later(port))
        assert await agent.activate(image()) == Done()
        assert await agent.rollback(image(), progress=no_progress) == Done()
        found = await agent.inventory()
        assert isinstance(found, EcuInventory)
        assert found.running is not None
        assert found.running.version == "1.0"
        await agent.close()

    asyncio.run(story())


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 64 << 20:
            read += 1 << 20
            yield bytes(1 << 20)

    async def story() -> None:
        ecu = httpx.MockTransport(lambda _: httpx.Response(200, content=endless()))
        agent = SovdAgent(site(), transport=ecu)
        assert reason_of(await agent.inventory()) is Reason.ECU_REFUSED
        await agent.close()

    asyncio.run(story())
    assert read < 8 << 20


@pytest.mark.parametrize("body", [b'{"a":' + b"[" * 100_000, b'{"a":"\xff"}'])
@pytest.mark.parametrize("status", [200, 409])
def test_an_answer_that_does_not_decode_is_a_refusal(status: int, body: bytes) -> None:
    async def story() -> None:
        agent = SovdAgent(
            site(), transport=httpx.MockTransport(lambda _: httpx.Response(status, content=body))
        )
        for answer in (await agent.inventory(), await agent.datum("a")):
            assert reason_of(answer) is Reason.ECU_REFUSED
        await agent.close()

    asyncio.run(story())


@pytest.mark.parametrize(("away", "reason"), [(False, Reason.BUSY), (True, Reason.UNREACHABLE)])
def test_an_ecu_that_fails_over_one_value_is_not_away(*, away: bool, reason: Reason) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/data/identification") and not away:
            found = {"serial": "NODE", "hardware_id": "hw", "running": None}
            return httpx.Response(200, json={"data": found})
        return httpx.Response(503)

    async def story() -> None:
        agent = SovdAgent(site(), transport=httpx.MockTransport(answer))
        for told in (await agent.datum("a"), await agent.fault("C0051-00")):
            assert reason_of(told) is reason
        await agent.close()

    asyncio.run(story())


# The server, asked by somebody else ------------------------------------------------------------------


def asked(face: SovdFace, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    return face.answer(
        method, f"/v1{path}", {**BEARER, **{k.replace("_", "-"): v for k, v in headers.items()}}, body
    )


def vendor_code(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["vendor_code"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hardware_id": "other"}, (409, "wrong_hardware")),
        ({"length": 8_193}, (409, "too_large")),
        ({"sha256": "short"}, (400, "malformed")),
        ({"length": 0}, (400, "malformed")),
        ({"release_counter": -1}, (400, "malformed")),
        ({"url": "http://elsewhere"}, (400, "malformed")),
    ],
)
def test_a_registration_that_does_not_fit_is_refused(
    change: dict[str, object], expected: tuple[int, str]
) -> None:
    body = msgspec.json.encode({**WANTED, **change})
    assert vendor_code(asked(SovdFace(new_port()), "POST", "/updates", body)) == expected


@pytest.mark.parametrize(
    ("place", "size"),
    [
        ("", 10),
        ("bytes 0-9/5", 10),
        ("bytes 5-14/2700", 10),
        ("bytes 0-99/2700", 10),
        ("bytes 0--1/2700", 0),
        ("0-9", 10),
    ],
)
def test_bytes_that_are_not_due_are_refused(place: str, size: int) -> None:
    face = SovdFace(new_port())
    assert asked(face, "POST", "/updates", msgspec.json.encode(WANTED))[0] == 201
    answer = asked(face, "PUT", f"/bulk-data/updates/{SHA}", DATA[:size], content_range=place)
    assert vendor_code(answer) == (416, "transfer_failed")


@pytest.mark.parametrize("sent", [b"", DATA[:-1], DATA[:-1] + b"X"])
def test_what_was_not_sent_whole_and_right_is_never_executed(sent: bytes) -> None:
    face = SovdFace(new_port())
    asked(face, "POST", "/updates", msgspec.json.encode(WANTED))
    if sent:
        place = f"bytes 0-{len(sent) - 1}/{len(DATA)}"
        assert asked(face, "PUT", f"/bulk-data/updates/{SHA}", sent, content_range=place)[0] == 204
    assert asked(face, "PUT", f"/updates/{SHA}/prepare")[0] == 202
    status = asked(face, "GET", f"/updates/{SHA}/status")[1]
    assert (status["status"], status["vendor_code"]) == ("failed", "hash_mismatch")
    assert vendor_code(asked(face, "PUT", f"/updates/{SHA}/execute")) == (409, "not_staged")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404), ("PUT", "/updates", 404), ("GET", f"/updates/{SHA}/status", 404),
        ("PUT", f"/updates/{SHA}/prepare", 404), ("DELETE", f"/updates/{SHA}", 404),
        ("PUT", f"/updates/{SHA}/x-ringroad-commit", 409), ("POST", "/operations/self-test/executions", 409),
        ("PUT", f"/updates/{SHA}/x-ringroad-rollback", 200),
    ],
)  # fmt: skip
def test_what_is_not_there_or_not_now_is_said(method: str, path: str, status: int) -> None:
    assert asked(SovdFace(new_port()), method, path)[0] == status


def test_without_the_secret_nothing_is_told() -> None:
    face = SovdFace(new_port())
    for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer 00"}):
        for path in ("/v1/data/identification", "/v1/updates", "/nothing"):
            assert face.answer("GET", path, headers, b"")[0] == 401


def test_a_script_that_disturbs_requests_of_uds_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not speak"):
        SovdFace(new_port(Script(transport=(Trouble(kind="delay"),))))


def test_an_ecu_with_one_bank_has_no_such_server() -> None:
    config = EcuConfig(serial="N", hardware_id="hw", vin="WRR00000000000001", layout="inplace")
    with pytest.raises(InvalidInput):
        SovdFace(EcuPort(config, MemoryMedium(), clock=SystemClock()))


@pytest.mark.parametrize(
    "settings", [{}, {"url": "node:80"}, {"url": "http://n", "ca_file": "/missing.pem"}, {"x": "y"}]
)
def test_an_agent_that_could_not_reach_its_ecu_is_not_made(settings: dict[str, str]) -> None:
    made = AgentSite(
        name="node",
        serial="NODE",
        hardware_id="hw",
        mode="ab",
        folder=Path(),
        disk=RealDisk(),
        settings=settings,
    )
    with pytest.raises(InvalidInput):
        SovdAgent(made)
