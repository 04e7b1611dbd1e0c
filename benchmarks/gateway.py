"""Polls and feedback per CPU-second of our DDI gateway, and of goosebit, under one load generator."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg

from benchmarks.database import fresh_server
from benchmarks.figures import Figure
from benchmarks.load import cpu_s, descendants, drive, rss_bytes
from ringroad.storage.postgres import Postgres

VEHICLES = 100_000
ROUNDS = 3  # each with one worker and with two, in turn
POLLS = 30_000
FEEDBACKS = 10_000
OPEN_ACTIONS = 2_000
GOOSEBIT_POLLS = 1_500
GOOSEBIT_FEEDBACKS = 600  # each is written into a log of its device that grows, and is read each time
GOOSEBIT = "goosebit==0.2.12"
CONNECTIONS = 64
TOKEN = "bench-token"  # noqa: S105 - of vehicles that exist for a minute


def vin(number: int) -> str:
    return f"WRRBENCH{number:09d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """CPU microseconds of one round: one worker, then two on the same port."""

    poll_us: float
    poll_two_us: float
    feedback_us: float


def run() -> list[Figure]:
    with fresh_server() as (server, _):
        with gateways(server.url()) as (pids, _):
            empty_rss = rss_bytes(*pids)
        actions = fill(server.url())
        with gateways(server.url()) as (pids, _):
            vehicle_bytes = (rss_bytes(*pids) - empty_rss) / VEHICLES
        rounds = [measure_round(server, actions, number) for number in range(ROUNDS)]
    peer = goosebit()
    poll_us = statistics.median(each.poll_us for each in rounds)
    feedback_us = statistics.median(each.feedback_us for each in rounds)
    figures = [
        Figure(name="gateway.poll.cpu_us", value=poll_us, unit="µs CPU per poll", target=60, better="lower",
               note=f"{VEHICLES:,} vehicles registered in PostgreSQL, one worker; median of {ROUNDS} rounds"),
        Figure(name="gateway.feedback.cpu_us", value=feedback_us,
               unit="µs CPU, Python and PostgreSQL", target=130, better="lower",
               note=f"durable before it is answered (fsync on); median of {ROUNDS} rounds"),
        Figure(name="gateway.vehicle_bytes", value=vehicle_bytes, unit="bytes per vehicle", target=1024, better="lower"),
        Figure(name="gateway.two_workers.cpu_ratio",
               value=statistics.median(each.poll_two_us / each.poll_us for each in rounds),
               unit="x one worker's CPU per poll", target=1.3, better="lower",
               note="two processes on one port; each report sent to both was stored once"),
    ]  # fmt: skip
    if peer is not None:
        peer_us, peer_feedback_us = peer
        figures += [
            Figure(name="gateway.poll.ratio_goosebit", value=peer_us / poll_us, unit="x goosebit's polls per CPU-second",
                   target=60, better="higher", note=f"{GOOSEBIT} {peer_us:,.0f} µs per poll in the same run"),
            Figure(name="gateway.feedback.ratio_goosebit", value=peer_feedback_us / feedback_us,
                   unit="x goosebit's feedback per CPU-second", target=60, better="higher",
                   note=f"{GOOSEBIT} {peer_feedback_us:,.0f} µs per feedback in the same run, on SQLite inside its process; ours"
                   " counts PostgreSQL's processes too"),
        ]  # fmt: skip
    return figures


def measure_round(server: Postgres, actions: dict[str, int], number: int) -> Round:
    """Poll and report to one worker, then to two.

    Raises:
        RuntimeError: what was acknowledged is not what is stored.
    """
    assert server.process is not None
    with gateways(server.url()) as (pids, port):
        poll_us = measure(pids, port, polls(POLLS), POLLS)
        reports = feedbacks(actions, f"{number}, one worker")
        feedback_us = measure(pids, port, reports, FEEDBACKS, also=server.process.pid)
    expect_stored(server.url(), (2 * number + 1) * FEEDBACKS)
    with gateways(server.url(), workers=2) as (pids, port):
        poll_two_us = measure(pids, port, polls(POLLS), POLLS)
        twice = (each for report in feedbacks(actions, f"{number}, two") for each in (report, report))
        measure(pids, port, twice, 2 * FEEDBACKS)
    expect_stored(server.url(), (2 * number + 2) * FEEDBACKS)
    return Round(poll_us=poll_us, poll_two_us=poll_two_us, feedback_us=feedback_us)


def expect_stored(url: str, count: int) -> None:
    with psycopg.connect(url) as conn:
        (stored,) = conn.execute("SELECT count(*) FROM device_report").fetchone() or (0,)
    if stored != count:
        raise RuntimeError(f"{count} different reports were acknowledged, {stored} are stored")


def measure(
    pids: list[int], port: int, requests: Iterator[bytes], count: int, *, also: int | None = None
) -> float:
    """Return CPU microseconds per request of processes, and of another with all the children it has then."""

    def spent_s() -> float:
        return cpu_s(pids) + (cpu_s(descendants(also)) if also else 0.0)

    before_s = spent_s()
    answered = asyncio.run(drive(port, requests, connections=CONNECTIONS))
    used_s = spent_s() - before_s
    if answered != count:
        raise RuntimeError(f"{count} requests, {answered} answers")
    return used_s * 1e6 / count


def polls(count: int, vehicles: int = VEHICLES) -> Iterator[bytes]:
    for number in range(count):
        name = vin(OPEN_ACTIONS + number * 7_919 % (vehicles - OPEN_ACTIONS))  # spread over the idle ones
        yield (
            f"GET /DEFAULT/controller/v1/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: TargetToken {TOKEN}\r\n\r\n"
        ).encode()


def feedbacks(actions: dict[str, int], story: str) -> Iterator[bytes]:
    names = list(actions)
    for number in range(FEEDBACKS):
        name = names[number % len(names)]
        result = {"finished": "none", "progress": {"cnt": number, "of": FEEDBACKS}}
        body = json.dumps(
            {
                "status": {
                    "execution": "proceeding",
                    "result": result,
                    "details": [f"step {number} of {story}"],
                }
            }
        )
        yield (
            f"POST /DEFAULT/controller/v1/{name}/deploymentBase/{actions[name]}/feedback HTTP/1.1\r\n"
            f"Host: 127.0.0.1\r\nAuthorization: TargetToken {TOKEN}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def fill(url: str, vehicles: int = VEHICLES) -> dict[str, int]:
    """Register vehicles, give some of them an open action; return those actions by VIN."""
    token = hashlib.sha256(TOKEN.encode()).digest()
    with psycopg.connect(url) as conn:
        conn.execute(
            "INSERT INTO programme (id, digest, source, document, imported_at) VALUES ('p', '', '', '{}', now());"
            "INSERT INTO release (id, programme_id, name, version, state, document, created_by, created_at)"
            " VALUES ('release_1', 'p', 'r', '1', 'signed', '{}', 'bench', now());"
            "INSERT INTO campaign (id, name, release_id, state, created_by, created_at)"
            " VALUES ('campaign_1', 'c', 'release_1', 'running', 'bench', now())"
        )
        columns = "vin, programme_id, variant, gateway, token_sha256, primary_serial, born_at, attributes"
        with conn.cursor().copy(f"COPY vehicle ({columns}) FROM STDIN") as copy:
            for number in range(vehicles):
                copy.write_row((vin(number), "p", "box", "ddi", token, "S", "2026-01-01", '{"hw": "1"}'))
        rows = conn.execute(
            "INSERT INTO assignment (campaign_id, vin, wave, state)"
            " SELECT 'campaign_1', vin, 1, 'offered' FROM vehicle ORDER BY vin LIMIT %s RETURNING vin, action_id",
            (OPEN_ACTIONS,),
        ).fetchall()
        conn.execute("ANALYZE")
    return dict(rows)


@contextlib.contextmanager
def gateways(url: str, *, workers: int = 1, pki: Path | None = None) -> Iterator[tuple[list[int], int]]:
    """Run our gateway in so many processes on one port, over TLS with a PKI; yield their pids and the port."""
    pids, port = [], 0
    with contextlib.ExitStack() as stack:
        for _ in range(workers):
            env = {"BENCH_DATABASE_URL": url, "BENCH_PORT": str(port), "BENCH_PKI": str(pki or "")}
            child = stack.enter_context(process([sys.executable, "-m", "benchmarks.gateway_process"], env))
            assert child.stdout is not None
            port = int(child.stdout.readline())
            pids.append(child.pid)
        yield pids, port


@contextlib.contextmanager
def process(
    command: list[str], env: dict[str, str], cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, env={**os.environ, **env}, cwd=cwd, stdout=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.terminate()


def goosebit() -> tuple[float, float] | None:
    """Return goosebit's CPU microseconds per poll and per feedback on its SQLite default; None: it cannot be installed."""
    home = Path(".bench/goosebit").absolute()
    python = home / "venv/bin/python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "uv", "venv", "-q", str(home / "venv")], check=True)
            subprocess.run(
                [sys.executable, "-m", "uv", "pip", "install", "-q", "-p", str(python), GOOSEBIT], check=True
            )
    except subprocess.CalledProcessError:
        print(f"skipped: {GOOSEBIT} cannot be installed here, so there is no ratio")
        return None
    work = Path(tempfile.mkdtemp(prefix="goosebit-"))
    try:
        return _measure_goosebit(python, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _measure_goosebit(python: Path, work: Path) -> tuple[float, float]:
    site = next((python.parent.parent / "lib").glob("python*/site-packages"))
    (work / "pyproject.toml").write_text(
        f'[tool.aerich]\ntortoise_orm = "goosebit.db.config.TORTOISE_CONF"\n'
        f'location = "{site}/goosebit/db/migrations"\nsrc_folder = "./."\n'
    )
    (work / "goosebit.yaml").write_text(
        f"db_uri: sqlite:///{work}/db.sqlite3\nartifacts_dir: {work}/artifacts\n"
        "logging:\n  version: 1\n  disable_existing_loggers: true\n"
    )
    env = {
        "GOOSEBIT_SETTINGS": str(work / "goosebit.yaml"),
        "GOOSEBIT_DB_URI": f"sqlite:///{work}/db.sqlite3",
    }
    subprocess.run(
        [python, "-m", "aerich", "upgrade"],
        cwd=work,
        env={**os.environ, **env},
        check=True,
        capture_output=True,
    )
    port = 60_057
    command = [str(python), "-m", "uvicorn", "goosebit:app", "--host", "127.0.0.1", "--port", str(port),
               "--log-level", "error", "--no-access-log"]  # fmt: skip
    with process(command, env, cwd=work) as child:
        url = f"http://127.0.0.1:{port}/DEFAULT/controller/v1"
        for _ in range(100):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/bench-0").status_code == 200:
                    break
            time.sleep(0.2)
        for number in range(20):  # known devices, as ours are
            httpx.get(f"{url}/bench-{number}")
            httpx.put(f"{url}/bench-{number}/configData", json={"data": {"hw_boardname": "default"}})
        requests = (
            f"GET /DEFAULT/controller/v1/bench-{n % 20} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
            for n in range(GOOSEBIT_POLLS)
        )
        poll_us = measure([child.pid], port, requests, GOOSEBIT_POLLS)
        # It takes feedback for any action, so that none has to be open.
        devices = {f"bench-{number}": 1 for number in range(20)}
        reports = itertools.islice(feedbacks(devices, "the peer"), GOOSEBIT_FEEDBACKS)
        return poll_us, measure([child.pid], port, reports, GOOSEBIT_FEEDBACKS)
