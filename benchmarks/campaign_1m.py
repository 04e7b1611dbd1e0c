"""A campaign over a million vehicles of three ECUs: created, planned, approved, started; its first wave released.

Run: python -m benchmarks campaign_1m
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.figures import Figure
from benchmarks.load import cpu_s
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.campaigns import create_campaign, plan_campaign
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.migrate import migrate
from ringroad.storage.postgres import Postgres

VEHICLES = int(os.environ.get("BENCH_VEHICLES", "1000000"))
ECUS = {"brake": "inplace", "gateway": "ab", "head": "ab"}
VARIANTS = ("city", "touring")
VERSIONS = ("1.0.0", "1.1.0", "1.2.0", "2.0.0")  # the last one is shipped
TARGET_S = 30
PREVIEWED = ("variant = city and region = EU", "ecu.brake.version < 1.2.0 and not tag = pilot", "vin ~ *17")

FLEET = """
INSERT INTO vehicle (vin, programme_id, variant, region, gateway, token_sha256, primary_serial, release_id, born_at)
SELECT 'WRRBENCH' || lpad(n::text, 9, '0'), 'roadster', (ARRAY['city', 'touring'])[1 + n %% 2],
       (ARRAY['EU', 'NO', 'US', 'JP'])[1 + n / 7 %% 4], 'native', sha256(n::text::bytea), 'gateway-' || n,
       'release_' || (ARRAY['1.0.0', '1.1.0', '1.2.0'])[1 + n / 11 %% 3], '2026-01-01'
  FROM generate_series(1, %(vehicles)s) AS n;
"""
# One vehicle in a hundred has one ECU on another version than its release says; one in a thousand an older part.
PARTS = """
INSERT INTO ecu (vin, serial, name, hardware_id, public_key, key_id, is_primary, added_at)
SELECT 'WRRBENCH' || lpad(n::text, 9, '0'), name || '-' || n, name,
       name || CASE WHEN n %% 1000 = 5 AND name = 'head' THEN '-hw0' ELSE '-hw1' END,
       '{"keytype": "ed25519", "keyval": {"public": "00"}}', 'k', name = 'gateway', '2026-01-01'
  FROM generate_series(1, %(vehicles)s) AS n, unnest(ARRAY['brake', 'gateway', 'head']) AS name;
"""
SOFTWARE = """
INSERT INTO ecu_installed (vin, serial, filename, version, image_sha256, reported_at)
SELECT vin, serial, name || '-' || version || '.bin', version,
       encode(sha256((name || ' ' || version)::bytea), 'hex'), '2026-01-02'
  FROM (SELECT vin, serial, name,
               (ARRAY['1.0.0', '1.1.0', '1.2.0'])[1 + (n / 11 + (n %% 100 = 3 AND name = 'brake')::int) %% 3] AS version
          FROM generate_series(1, %(vehicles)s) AS n, unnest(ARRAY['brake', 'gateway', 'head']) AS name,
               LATERAL (SELECT 'WRRBENCH' || lpad(n::text, 9, '0') AS vin, name || '-' || n AS serial) AS of) AS made;
"""


def run() -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="ringroad-bench-"))
    folder.chmod(0o711)
    server = Postgres(home=folder / "postgres", clock=SystemClock(), may_create_account=False)
    server.start()
    try:
        with connect(server.url()) as conn:
            migrate(conn, now=SystemClock().now())
        fill(server.url(), VEHICLES)
        return measure(server)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def fill(url: str, vehicles: int) -> None:
    """Register the fleet, four releases of three packages, and what each vehicle last reported."""
    with psycopg.connect(url, autocommit=True) as conn:
        programme = {
            "variants": {name: {"ecus": list(ECUS)} for name in VARIANTS},
            "ecus": {
                name: {"hardware_id": f"{name}-hw1", "storage": storage} for name, storage in ECUS.items()
            },
        }
        conn.execute(
            "INSERT INTO programme (id, digest, source, document, imported_at) VALUES ('roadster', '', '', %s, now())",
            [Jsonb(programme)],
        )
        for counter, version in enumerate(VERSIONS, 1):
            conn.execute(
                "INSERT INTO software_package (id, programme_id, ecu, name, version, filename, format, hardware_ids,"
                " image_sha256, image_sha512, image_bytes, release_counter, added_at)"
                " SELECT 'pkg_' || ecu || '_' || %(v)s, 'roadster', ecu, ecu, %(v)s, ecu || '-' || %(v)s || '.bin', 'bin',"
                " ARRAY[ecu || '-hw1'], encode(sha256((ecu || ' ' || %(v)s)::bytea), 'hex'), '', 1000000, %(counter)s, now()"
                " FROM unnest(%(ecus)s::text[]) AS ecu",
                {"v": version, "counter": counter, "ecus": list(ECUS)},
            )
            packages = {ecu: f"pkg_{ecu}_{version}" for ecu in ECUS}
            document = {"variants": dict.fromkeys(VARIANTS, packages), "groups": []}
            conn.execute(
                "INSERT INTO release (id, programme_id, name, version, state, document, created_by, created_at, signed_at)"
                " VALUES (%s, 'roadster', %s, %s, 'signed', %s, 'bench', now(), now())",
                [f"release_{version}", version, version, Jsonb(document)],
            )
        for statement in (FLEET, PARTS, SOFTWARE):
            conn.execute(statement, {"vehicles": vehicles})
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")


class Steps:
    """Times each step, prints it as it ends."""

    def __init__(self, conn: Connection) -> None:
        self._pids = [os.getpid(), conn.info.backend_pid]
        self.took_s: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began_s, began_cpu_s = time.perf_counter(), self.cpu_s()
        yield
        self.took_s[name] = time.perf_counter() - began_s
        print(f"  {name}: {self.took_s[name]:.1f} s, {self.cpu_s() - began_cpu_s:.1f} CPU-s", file=sys.stderr)

    def cpu_s(self) -> float:
        """CPU seconds of this process and of its backend so far."""
        return cpu_s(self._pids)


def measure(server: Postgres) -> list[Figure]:
    ids, now = SystemIds(), SystemClock().now()
    with connect(server.url()) as conn:
        previews_s = {query: time_preview(conn, query) for query in PREVIEWED}
        steps = Steps(conn)
        before_cpu_s = steps.cpu_s()
        offered = whole(conn, steps, ids, now)
        cpu = steps.cpu_s() - before_cpu_s
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    total_s = sum(steps.took_s.values())
    parts = ", ".join(f"{name} {took:.1f} s" for name, took in steps.took_s.items())
    note = (
        f"{VEHICLES:,} vehicles of {len(ECUS)} ECUs in PostgreSQL; {parts}; {offered:,} vehicles in the first wave;"
        f" {cpu:.1f} CPU-s with its backend; load {os.getloadavg()[0]:.1f}"
    )
    return [
        Figure(name="query.preview_1m_s", value=round(max(previews_s.values()), 1), unit="s", target=5, better="lower",
               note=f"{VEHICLES:,} vehicles; "
               + ", ".join(f"{query}: {took_s:.1f} s" for query, took_s in previews_s.items())),
        Figure(name="campaign.create_1m_s", value=round(total_s, 1), unit="s", target=TARGET_S, better="lower", note=note),
        Figure(name="campaign.create_1m_rss_mib", value=round(rss_mib), unit="MiB", target=512, better="lower",
               note="most that the planning process held, libraries included; PostgreSQL has shared_buffers of 128 MB"),
    ]  # fmt: skip


def time_preview(conn: Connection, query: str) -> float:
    """Return how many seconds it takes to say who matches."""
    began_s = time.perf_counter()
    with transaction(conn):
        store.preview_query(conn, query)
    took_s = time.perf_counter() - began_s
    print(f"  preview of {query}: {took_s:.1f} s", file=sys.stderr)
    return took_s


def whole(conn: Connection, steps: Steps, ids: SystemIds, now: datetime) -> int:
    """Take a campaign from nothing to its first wave; return how many vehicles that is."""
    with steps.step("create"):
        made = create_campaign(
            conn, ids, name="winter", release_id=f"release_{VERSIONS[-1]}", actor="ann", now=now
        )
    request = PlanRequest(
        query="region in (EU, NO, US, JP) and ecu.brake.version < 2.0.0",
        waves=(WaveSize(permille=10), WaveSize(permille=200)),
        gate=GatePolicy(reports_min=100),
    )
    with steps.step("plan"):
        plan = plan_campaign(
            conn, ids, campaign_id=made.id, generation=made.generation, request=request, actor="ann", now=now
        )
    with steps.step("approve"), transaction(conn):
        campaign = store.approve(
            conn, ids, campaign_id=made.id, generation=store.read_campaign(conn, made.id).generation, actor="ben",
            four_eyes=True, acknowledged={str(each["code"]) for each in plan.findings}, now=now,
        )  # fmt: skip
    with steps.step("start"), transaction(conn):
        store.start(conn, ids, campaign_id=made.id, generation=campaign.generation, actor="ann", now=now)
    print(f"  {plan.document['counts']}", file=sys.stderr)
    return int(plan.document["wave_vehicles"][0])
