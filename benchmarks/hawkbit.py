"""The same DDI devices against Eclipse hawkBit 1.0.4 and against us: idle polls, a campaign, a rollout that is made.

Run: HAWKBIT_JAR=/path/to/hawkbit-update-server-1.0.4.jar make bench-hawkbit

The load and our side have run; hawkBit's side is written after its API and has not been run, for want of the jar.
The jar (Maven: org.eclipse.hawkbit:hawkbit-update-server:1.0.4) and Java 17 are yours to bring; without them this says
so and measures nothing. hawkBit runs on its embedded H2, we on PostgreSQL with fsync.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import psycopg

from benchmarks.campaign_1m import fill as fill_fleet
from benchmarks.figures import Figure
from benchmarks.gateway import gateways, measure, polls, vin
from benchmarks.load import cpu_s, descendants, read_answer
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.campaigns import create_campaign, plan_campaign
from ringroad.loop.reconciler import tick
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import PlanRequest
from ringroad.storage.db import connect, transaction
from ringroad.storage.migrate import migrate
from ringroad.storage.postgres import Postgres

TARGETS = int(os.environ.get("BENCH_TARGETS", "100000"))  # of the rollout that is made
DEVICES = min(10_000, TARGETS)  # of the campaign that runs to its end
POLLS = 10_000
CONNECTIONS = 64
START_S_MAX, STEP_S_MAX = 180.0, 1_800.0
TOKEN = "bench-token"  # noqa: S105 - of devices that exist for a minute
AGAIN_S = 0.5  # seconds between two polls of a device that has no offer yet
CLOSED = b'{"status":{"execution":"closed","result":{"finished":"success"},"details":[]}}'
COUNTED = frozenset({200, 201})


class Server(Protocol):
    """What is measured, of either server."""

    port: int

    def cpu_s(self) -> float: ...
    def pids(self) -> list[int]: ...
    def make_rollout(self, name: str, devices: int) -> Any:
        """Return what was made once it can be started."""
        ...

    def start_rollout(self, rollout: Any) -> None: ...
    def is_finished(self, rollout: Any) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One server's numbers."""

    poll_us: float  # CPU per poll
    make_s: float  # until a rollout on all targets can be started
    campaign_s: float  # from the start of a rollout to its end
    campaign_cpu_s: float


def run() -> list[Figure]:
    jar = os.environ.get("HAWKBIT_JAR", "")
    if not jar or not Path(jar).is_file() or shutil.which("java") is None:
        print("skipped: HAWKBIT_JAR names no file, or there is no java; see benchmarks/hawkbit.py")
        return []
    with hawkbit(Path(jar).absolute()) as server:
        peer = measure_all(server)
    with ringroad() as server:
        ours = measure_all(server)
    note = f"hawkBit on H2: {{:,.3g}} {{}}; ours on PostgreSQL: {{:,.3g}}; {TARGETS:,} targets known to both"
    return [
        Figure(name="gateway.poll.ratio_hawkbit", value=peer.poll_us / ours.poll_us, unit="x hawkBit's polls per CPU-second",
               target=None, better="higher", note=note.format(peer.poll_us, "µs CPU per poll", ours.poll_us)),
        Figure(name="campaign.10k.ratio_hawkbit", value=peer.campaign_s / ours.campaign_s, unit="x faster than hawkBit",
               target=None, better="higher",
               note=note.format(peer.campaign_s, "s", ours.campaign_s)
               + f"; {peer.campaign_cpu_s:,.1f} and {ours.campaign_cpu_s:,.1f} CPU-s; {DEVICES:,} devices end to end"),
        Figure(name="campaign.create_100k.ratio_hawkbit", value=peer.make_s / ours.make_s, unit="x faster than hawkBit",
               target=None, better="higher", note=note.format(peer.make_s, "s", ours.make_s)),
    ]  # fmt: skip


def measure_all(server: Server) -> Measured:
    began_s = time.perf_counter()
    server.make_rollout("all", TARGETS)
    make_s = time.perf_counter() - began_s
    print(f"  rollout on {TARGETS:,} targets made: {make_s:.1f} s", file=sys.stderr)
    rollout = server.make_rollout("some", DEVICES)
    began_s, began_cpu_s = time.perf_counter(), server.cpu_s()
    server.start_rollout(rollout)
    asyncio.run(update_all(server.port, [vin(number) for number in range(1, DEVICES + 1)]))
    wait(lambda: server.is_finished(rollout), STEP_S_MAX, what="the end of the rollout")
    campaign_s, campaign_cpu_s = time.perf_counter() - began_s, server.cpu_s() - began_cpu_s
    print(f"  campaign: {campaign_s:.1f} s, {campaign_cpu_s:.1f} CPU-s", file=sys.stderr)
    poll_us = measure(server.pids(), server.port, polls(POLLS, TARGETS), POLLS)
    print(f"  poll: {poll_us:.0f} µs CPU", file=sys.stderr)
    return Measured(poll_us=poll_us, make_s=make_s, campaign_s=campaign_s, campaign_cpu_s=campaign_cpu_s)


async def update_all(port: int, names: list[str]) -> None:
    """Let each device poll until it is offered an update, and end that well."""
    waiting = iter(names)
    async with asyncio.timeout(STEP_S_MAX):
        await asyncio.gather(*(_update_some(port, waiting) for _ in range(CONNECTIONS)))


async def _update_some(port: int, names: Iterator[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(words: str, body: bytes = b"") -> bytes:
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        head = f"{words} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: TargetToken {TOKEN}\r\n{kind}\r\n"
        writer.write(head.encode() + body)
        status, answer = await read_answer(reader)
        if status not in COUNTED:
            raise RuntimeError(f"{words}: {status} {answer[:200]!r}")
        return answer

    for name in names:
        base = f"/DEFAULT/controller/v1/{name}"
        while b"/deploymentBase/" not in (answer := await ask(f"GET {base}")):  # noqa: ASYNC110 - a device polls
            await asyncio.sleep(AGAIN_S)
        action = answer.partition(b"/deploymentBase/")[2].partition(b"?")[0].decode()
        await ask(f"GET {base}/deploymentBase/{action}")
        await ask(f"POST {base}/deploymentBase/{action}/feedback", CLOSED)
    writer.close()
    await writer.wait_closed()


def wait(check: Any, seconds: float, *, what: str) -> None:
    end_s = time.perf_counter() + seconds
    while not check():
        if end_s < time.perf_counter():
            raise RuntimeError(f"{what} did not come within {seconds:g} s")
        time.sleep(0.1)


class Hawkbit:
    """hawkBit's update server in one Java process, asked over its management API."""

    def __init__(self, port: int, pid: int, client: httpx.Client) -> None:
        self.port = port
        self._pid, self._client = pid, client
        self._set_id = 0

    def pids(self) -> list[int]:
        return [self._pid]

    def cpu_s(self) -> float:
        return cpu_s([self._pid])

    def prepare(self) -> None:
        """Let devices in by their tokens, register them, and make a distribution set."""
        self._ask("PUT", "/system/configs/authentication.targettoken.enabled", {"value": True})
        for first in range(0, TARGETS, 500):
            numbers = range(first, min(first + 500, TARGETS))
            self._ask("POST", "/targets", [
                {"controllerId": vin(n + 1), "name": f"{n + 1:09d}", "securityToken": TOKEN} for n in numbers
            ])  # fmt: skip
        module = self._ask("POST", "/softwaremodules", [{"name": "fw", "version": "2", "type": "os"}])[0][
            "id"
        ]
        given = {"name": "release", "version": "2", "type": "os", "modules": [{"id": module}]}
        self._set_id = self._ask("POST", "/distributionsets", [given])[0]["id"]

    def make_rollout(self, name: str, devices: int) -> int:
        given = {
            "name": name, "distributionSetId": self._set_id, "targetFilterQuery": f"name=le={devices:09d}",
            "amountGroups": 1, "successCondition": {"condition": "THRESHOLD", "expression": "100"},
        }  # fmt: skip
        made = int(self._ask("POST", "/rollouts", given)["id"])
        wait(lambda: self._status(made) == "ready", STEP_S_MAX, what="a rollout that can be started")
        return made

    def start_rollout(self, rollout: int) -> None:
        self._ask("POST", f"/rollouts/{rollout}/start", None)

    def is_finished(self, rollout: int) -> bool:
        return self._status(rollout) == "finished"

    def _status(self, rollout: int) -> str:
        return str(self._ask("GET", f"/rollouts/{rollout}", None)["status"])

    def _ask(self, method: str, path: str, given: Any) -> Any:
        answer = self._client.request(method, f"/rest/v1{path}", json=given)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextlib.contextmanager
def hawkbit(jar: Path) -> Iterator[Hawkbit]:
    port = 60_058
    folder = Path(tempfile.mkdtemp(prefix="hawkbit-bench-"))
    command = [
        "java", "-Xmx2g", "-jar", str(jar), f"--server.port={port}", "--server.address=127.0.0.1",
        "--hawkbit.server.security.dos.filter.enabled=false",
        "--hawkbit.server.security.dos.maxTargetsPerRolloutGroup=1000000",
    ]  # fmt: skip
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as child,
    ):
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", auth=("admin", "admin"), timeout=300
            ) as client:
                wait(lambda: _answers(client), START_S_MAX, what="hawkBit's first answer")
                made = Hawkbit(port, child.pid, client)
                made.prepare()
                yield made
        finally:
            child.terminate()
    shutil.rmtree(folder, ignore_errors=True)


def _answers(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/rest/v1/targets", params={"limit": 1}).status_code == 200
    return False


class Ringroad:
    """Our gateway and our reconciler in a process each, over PostgreSQL; campaigns by the functions behind the API."""

    def __init__(self, postgres: Postgres, pids: list[int], port: int) -> None:
        self.port = port
        self._postgres, self._pids = postgres, pids
        self._ids = SystemIds()
        self._warnings: dict[str, set[str]] = {}  # by campaign: what the checker found

    def pids(self) -> list[int]:
        return self._pids[:1]

    def cpu_s(self) -> float:
        assert self._postgres.process is not None
        return cpu_s(self._pids) + cpu_s(descendants(self._postgres.process.pid))

    def make_rollout(self, name: str, devices: int) -> str:
        now = SystemClock().now()
        request = PlanRequest(
            query="all" if name == "all" else "tag = some", waves=(), gate=GatePolicy(reports_min=devices)
        )
        with connect(self._postgres.url()) as conn:
            made = create_campaign(
                conn, self._ids, name=name, release_id="release_2.0.0", actor="ann", now=now
            )
            plan = plan_campaign(conn, self._ids, campaign_id=made.id, generation=made.generation, request=request,
                          actor="ann", now=now)  # fmt: skip
        self._warnings[made.id] = {str(each["code"]) for each in plan.findings}
        return made.id

    def start_rollout(self, rollout: str) -> None:
        now = SystemClock().now()
        with connect(self._postgres.url()) as conn, transaction(conn):
            campaign = store.read_campaign(conn, rollout)
            approved = store.approve(
                conn, self._ids, campaign_id=rollout, generation=campaign.generation, actor="ben", four_eyes=True,
                acknowledged=self._warnings[rollout], now=now,
            )  # fmt: skip
            store.start(
                conn, self._ids, campaign_id=rollout, generation=approved.generation, actor="ann", now=now
            )

    def is_finished(self, rollout: str) -> bool:
        with connect(self._postgres.url()) as conn:
            return store.read_campaign(conn, rollout).state is CampaignState.FINISHED


def reconcile(url: str) -> None:
    """Do what the worker does about campaigns, until ended."""
    ids = SystemIds()
    with connect(url) as conn:
        while True:
            if tick(conn, ids, now=SystemClock().now()).idle:
                time.sleep(0.25)


@contextlib.contextmanager
def ringroad() -> Iterator[Ringroad]:
    folder = Path(tempfile.mkdtemp(prefix="ringroad-bench-"))
    folder.chmod(0o711)
    postgres = Postgres(home=folder / "postgres", clock=SystemClock(), may_create_account=False)
    postgres.start()
    try:
        with connect(postgres.url()) as conn:
            migrate(conn, now=SystemClock().now())
        fill_fleet(postgres.url(), TARGETS)
        with psycopg.connect(postgres.url(), autocommit=True) as conn:
            conn.execute(
                "UPDATE vehicle SET gateway = 'ddi', token_sha256 = sha256(%s), attributes = '{\"hw\": \"1\"}'",
                [TOKEN.encode()],
            )
            conn.execute("UPDATE ecu SET hardware_id = name || '-hw1'")  # each is to match
            conn.execute("UPDATE vehicle SET tags = '{some}' WHERE vin <= %s", [vin(DEVICES)])
        worker = multiprocessing.get_context("spawn").Process(
            target=reconcile, args=(postgres.url(),), daemon=True
        )
        worker.start()
        with gateways(postgres.url()) as (pids, port):
            yield Ringroad(postgres, [*pids, worker.pid or 0], port)
        worker.terminate()
        worker.join(20)
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
