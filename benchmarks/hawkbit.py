"""The same DDI devices against Eclipse hawkBit 1.0.4 and against us: idle polls, a campaign, a rollout that is made.

Run: HAWKBIT_JAR=/path/to/hawkbit-update-server-1.0.4.jar make bench-hawkbit

Without HAWKBIT_JAR the jar is asked for at Maven (org.eclipse.hawkbit:hawkbit-update-server:1.0.4, Java 17); where that
has none, this says so and measures our side alone. hawkBit runs on its embedded H2, and then on a PostgreSQL of the same
make and settings as ours, for which it needs the driver (org.postgresql:postgresql, or HAWKBIT_JDBC_JAR).

hawkBit's side is written after its API and tested against answers of the shape that is documented
(`tests/contract/test_bench_hawkbit.py`); it has not met a real one yet, for want of the jar.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.campaign_1m import fill as fill_fleet
from benchmarks.database import fresh_server
from benchmarks.figures import Figure
from benchmarks.gateway import gateways, measure, vin
from benchmarks.load import cpu_s, descendants, read_answer
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.campaigns import create_campaign, plan_campaign
from ringroad.loop.reconciler import tick
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import PlanRequest
from ringroad.storage.db import connect, transaction
from ringroad.storage.postgres import Postgres

CONNECTIONS = 64
START_S_MAX, STEP_S_MAX, MAVEN_S_MAX = 180.0, 1_800.0, 300.0
HAWKBIT = "org.eclipse.hawkbit:hawkbit-update-server:1.0.4"
DRIVER = "org.postgresql:postgresql:42.7.4"
TOKEN = "bench-token"  # noqa: S105 - of devices that exist for a minute
AGAIN_S = 0.5  # seconds between two polls of a device that has no offer yet
CLOSED = b'{"status":{"execution":"closed","result":{"finished":"success"},"details":[]}}'
COUNTED = frozenset({200, 201, 206})
DOWNLOAD = re.compile(rb'"download(?:-http)?":\{"href":"([^"]+)"')


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
class Load:
    """What is asked of either server."""

    targets: int = 100_000  # of the rollout that is made
    devices: int = 10_000  # of the campaign that runs to its end; the first of them
    polls: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One server's numbers."""

    poll_us: float  # CPU per poll
    make_s: float  # until a rollout on all targets can be started
    campaign_s: float  # from the start of a rollout to its end
    campaign_cpu_s: float


def run() -> list[Figure]:
    targets = int(os.environ.get("BENCH_TARGETS", "100000"))
    load = Load(targets=targets, devices=min(10_000, targets))
    with ringroad(load) as server:
        ours = measure_all(server, load)
    figures = figures_of(ours, load)
    jar = find_jar("HAWKBIT_JAR", HAWKBIT)
    if jar is None or shutil.which("java") is None:
        why = missing("HAWKBIT_JAR", HAWKBIT) if jar is None else "there is no java to run it"
        print(f"skipped hawkBit, what stands above is our side alone: {why}")
        return figures
    with hawkbit(jar, load) as peer:
        figures += ratios(measure_all(peer, load), ours, load, name="hawkbit", engine="H2")
    driver = find_jar("HAWKBIT_JDBC_JAR", DRIVER)
    if driver is None:
        print(f"skipped hawkBit on PostgreSQL: {missing('HAWKBIT_JDBC_JAR', DRIVER)}")
        return figures
    with hawkbit_on_postgres(jar, driver, load) as peer:
        figures += ratios(measure_all(peer, load), ours, load, name="hawkbit_postgres", engine="PostgreSQL")
    return figures


def find_jar(variable: str, artifact: str) -> Path | None:
    """Return the file that a variable names, or a jar out of Maven; None: neither is to be had."""
    if named := os.environ.get(variable, ""):
        return Path(named).absolute() if Path(named).is_file() else None
    _, name, version = artifact.split(":")
    folder = Path(".bench/hawkbit").absolute()
    jar = folder / f"{name}-{version}.jar"
    if not jar.is_file() and shutil.which("mvn") is not None:
        folder.mkdir(parents=True, exist_ok=True)
        words = [
            "mvn",
            "-q",
            "-B",
            "dependency:copy",
            f"-Dartifact={artifact}",
            f"-DoutputDirectory={folder}",
        ]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(words, cwd=folder, capture_output=True, check=False, timeout=MAVEN_S_MAX)
    return jar if jar.is_file() else None


def missing(variable: str, artifact: str) -> str:
    """Return why `find_jar` found none."""
    if os.environ.get(variable):
        return f"{variable} names no file"
    if shutil.which("mvn") is None:
        return f"{variable} is not set, and there is no mvn that could ask Maven for {artifact}"
    return f"{variable} is not set, and Maven has no {artifact} for us"


def figures_of(ours: Measured, load: Load) -> list[Figure]:
    """Return our side's own figures; there is nothing to compare them with yet."""
    note = f"{load.targets:,} targets known; PostgreSQL with fsync; the load of make bench-hawkbit"
    return [
        Figure(name="neutral.poll.cpu_us", value=round(ours.poll_us, 1), unit="µs CPU per poll", target=None, better="lower",
               note=note),
        Figure(name="neutral.campaign_10k_s", value=round(ours.campaign_s, 1), unit="s", target=None, better="lower",
               note=f"{load.devices:,} devices from the start of the rollout to its end, {CONNECTIONS} at once;"
               f" {ours.campaign_cpu_s:.1f} CPU-s; {note}"),
        Figure(name="neutral.create_100k_s", value=round(ours.make_s, 1), unit="s", target=None, better="lower",
               note=f"until a rollout on all can be started; {note}"),
    ]  # fmt: skip


def ratios(peer: Measured, ours: Measured, load: Load, *, name: str, engine: str) -> list[Figure]:
    """Return how many times we are better."""
    note = f"hawkBit on {engine}: {{:,.3g}} {{}}; ours on PostgreSQL: {{:,.3g}}; {load.targets:,} targets known to both"
    return [
        Figure(name=f"gateway.poll.ratio_{name}", value=peer.poll_us / ours.poll_us, unit="x hawkBit's polls per CPU-second",
               target=None, better="higher", note=note.format(peer.poll_us, "µs CPU per poll", ours.poll_us)),
        Figure(name=f"campaign.10k.ratio_{name}", value=peer.campaign_s / ours.campaign_s, unit="x faster than hawkBit",
               target=None, better="higher",
               note=note.format(peer.campaign_s, "s", ours.campaign_s)
               + f"; {peer.campaign_cpu_s:,.1f} and {ours.campaign_cpu_s:,.1f} CPU-s; {load.devices:,} devices end to end"),
        Figure(name=f"campaign.create_100k.ratio_{name}", value=peer.make_s / ours.make_s, unit="x faster than hawkBit",
               target=None, better="higher", note=note.format(peer.make_s, "s", ours.make_s)),
    ]  # fmt: skip


def measure_all(server: Server, load: Load) -> Measured:
    began_s = time.perf_counter()
    server.make_rollout("all", load.targets)
    make_s = time.perf_counter() - began_s
    print(f"  rollout on {load.targets:,} targets made: {make_s:.1f} s", file=sys.stderr)
    rollout = server.make_rollout("some", load.devices)
    began_s, began_cpu_s = time.perf_counter(), server.cpu_s()
    server.start_rollout(rollout)
    asyncio.run(update_all(server.port, [vin(number) for number in range(1, load.devices + 1)]))
    wait(lambda: server.is_finished(rollout), STEP_S_MAX, what="the end of the rollout")
    campaign_s, campaign_cpu_s = time.perf_counter() - began_s, server.cpu_s() - began_cpu_s
    print(f"  campaign: {campaign_s:.1f} s, {campaign_cpu_s:.1f} CPU-s", file=sys.stderr)
    idle = (
        f"GET /DEFAULT/controller/v1/{vin(1 + number * 7_919 % load.targets)} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: TargetToken {TOKEN}\r\n\r\n"
        for number in range(load.polls)
    )
    poll_us = measure(server.pids(), server.port, (each.encode() for each in idle), load.polls)
    print(f"  poll: {poll_us:.0f} µs CPU", file=sys.stderr)
    return Measured(poll_us=poll_us, make_s=make_s, campaign_s=campaign_s, campaign_cpu_s=campaign_cpu_s)


async def update_all(port: int, names: list[str], *, image_bytes: int = 0) -> None:
    """Let each device poll until it is offered an update, download so much of each image, and end that well."""
    waiting = iter(names)
    async with asyncio.timeout(STEP_S_MAX):
        await asyncio.gather(*(_update_some(port, waiting, image_bytes) for _ in range(CONNECTIONS)))


async def _update_some(port: int, names: Iterator[str], image_bytes: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(words: str, body: bytes = b"", part: str = "") -> bytes:
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        head = (
            f"{words} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: TargetToken {TOKEN}\r\n{part}{kind}\r\n"
        )
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
        told = await ask(f"GET {base}/deploymentBase/{action}")
        for url in DOWNLOAD.findall(told) if image_bytes else ():
            await ask(f"GET {urlsplit(url.decode()).path}", part=f"Range: bytes=0-{image_bytes - 1}\r\n")
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

    def __init__(self, port: int, pid: int, client: httpx.Client, postgres: Postgres | None = None) -> None:
        self.port = port
        self._pid, self._client, self._postgres = pid, client, postgres
        self._set_id = 0

    def pids(self) -> list[int]:
        return [self._pid]

    def cpu_s(self) -> float:
        process = self._postgres.process if self._postgres else None
        return cpu_s([self._pid]) + (cpu_s(descendants(process.pid)) if process else 0.0)

    def prepare(self, targets: int) -> None:
        """Let devices in by their tokens, register them, and make a distribution set."""
        self._ask("PUT", "/system/configs/authentication.targettoken.enabled", {"value": True})
        for first in range(0, targets, 500):
            numbers = range(first, min(first + 500, targets))
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
def hawkbit(jar: Path, load: Load) -> Iterator[Hawkbit]:
    """Run hawkBit on its embedded H2."""
    with _hawkbit(["-jar", str(jar)], [], load) as server:
        yield server


@contextlib.contextmanager
def hawkbit_on_postgres(jar: Path, driver: Path, load: Load) -> Iterator[Hawkbit]:
    """Run hawkBit on a PostgreSQL as ours is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = Path(tempfile.mkdtemp(prefix="hawkbit-bench-"))
    folder.chmod(0o711)
    postgres = Postgres(
        home=folder / "postgres", clock=SystemClock(), may_create_account=False, listen_port=port
    )
    postgres.start()
    try:
        way = conninfo_to_dict(postgres.url())
        launcher = "org.springframework.boot.loader.launch.PropertiesLauncher"  # takes jars beside its own
        java = ["-cp", str(jar), f"-Dloader.path={driver}", launcher]
        settings = [
            f"--spring.datasource.url=jdbc:postgresql://127.0.0.1:{port}/{way['dbname']}",
            f"--spring.datasource.username={way['user']}", f"--spring.datasource.password={way.get('password', '')}",
            "--spring.datasource.driverClassName=org.postgresql.Driver", "--spring.jpa.database=POSTGRESQL",
        ]  # fmt: skip
        with _hawkbit(java, settings, load, postgres) as server:
            yield server
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _hawkbit(
    java: list[str], settings: list[str], load: Load, postgres: Postgres | None = None
) -> Iterator[Hawkbit]:
    port = 60_058
    folder = Path(tempfile.mkdtemp(prefix="hawkbit-bench-"))
    command = [
        "java", "-Xmx2g", *java, f"--server.port={port}", "--server.address=127.0.0.1",
        "--hawkbit.server.security.dos.filter.enabled=false",
        "--hawkbit.server.security.dos.maxTargetsPerRolloutGroup=1000000", *settings,
    ]  # fmt: skip
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as child,
    ):
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", auth=("admin", "admin"), timeout=300
            ) as client:
                wait(lambda: _answers(client, child), START_S_MAX, what="hawkBit's first answer")
                made = Hawkbit(port, child.pid, client, postgres)
                made.prepare(load.targets)
                yield made
        finally:
            child.terminate()
    shutil.rmtree(folder, ignore_errors=True)


def _answers(client: httpx.Client, child: subprocess.Popen[bytes]) -> bool:
    if child.poll() is not None:
        raise RuntimeError(f"hawkBit ended with {child.returncode}; its log lies beside its data")
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

    def count_installed(self) -> int:
        with connect(self._postgres.url()) as conn:
            row = conn.execute(
                "SELECT count(*) AS count FROM assignment WHERE state = 'installed'"
            ).fetchone()
        return int(row["count"]) if row else 0


def reconcile(url: str) -> None:
    """Do what the worker does about campaigns, until ended."""
    ids = SystemIds()
    with connect(url) as conn:
        while True:
            if tick(conn, ids, now=SystemClock().now()).idle:
                time.sleep(0.25)


@contextlib.contextmanager
def ringroad(load: Load) -> Iterator[Ringroad]:
    with fresh_server() as (postgres, _):
        fill_fleet(postgres.url(), load.targets)
        with psycopg.connect(postgres.url(), autocommit=True) as conn:
            conn.execute(
                "UPDATE vehicle SET gateway = 'ddi', token_sha256 = sha256(%s), attributes = '{\"hw\": \"1\"}'",
                [TOKEN.encode()],
            )
            conn.execute("UPDATE ecu SET hardware_id = name || '-hw1'")  # each is to match
            conn.execute("UPDATE vehicle SET tags = '{some}' WHERE vin <= %s", [vin(load.devices)])
        worker = multiprocessing.get_context("spawn").Process(
            target=reconcile, args=(postgres.url(),), daemon=True
        )
        worker.start()
        with gateways(postgres.url()) as (pids, port):
            yield Ringroad(postgres, [*pids, worker.pid or 0], port)
        worker.terminate()
        worker.join(20)
