"""A campaign over a million vehicles of three ECUs: created, planned, approved, started; its first wave released.

Run: python -m benchmarks campaign_1m
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.database import fresh_server
from benchmarks.figures import Figure
from benchmarks.load import cpu_s
from ringroad.http.auth import Account, Role
from ringroad.http.console.ship import whole_campaign
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.campaigns import create_campaign, plan_campaign
from ringroad.loop.lookout import Lookout
from ringroad.loop.reconciler import tick
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.postgres import Postgres

VEHICLES = int(os.environ.get("BENCH_VEHICLES", "1000000"))
ECUS = {"brake": "inplace", "gateway": "ab", "head": "ab"}
VARIANTS = ("city", "touring")
VERSIONS = ("1.0.0", "1.1.0", "1.2.0", "2.0.0")  # the last one is shipped
TARGET_S = 30
REPORTS, ROUNDS = max(20, VEHICLES // 500), 12
ENDINGS = """
INSERT INTO device_report (vin, dedupe_key, action_id, kind, event_at, received_at, body)
SELECT vin, 'end.' || action_id, action_id, 'closed', now(), now(),
       '{"gateway": "ddi", "execution": "closed", "finished": "success", "details": []}'
  FROM assignment WHERE wave = 1 AND state = 'offered' ORDER BY action_id LIMIT %(reports)s
"""
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
    with fresh_server() as (server, _):
        fill(server.url(), VEHICLES)
        return measure(server)


def fill(url: str, vehicles: int) -> None:
    """Register the fleet, four releases of three packages, and what each vehicle last reported."""
    with psycopg.connect(url, autocommit=True) as conn:
        programme = {
            "variants": {name: {"ecus": list(ECUS)} for name in VARIANTS},
            "ecus": {
                name: {
                    "hardware_id": f"{name}-hw1",
                    "storage": storage,
                    "settings": {"success": "after_restart"},
                }
                for name, storage in ECUS.items()
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
        rounds = Rounds(conn, ids)
        with_reports_s = rounds.with_reports()
        waiting = rounds.add_overlapping_campaign()
        overlapping_s = rounds.alone(ROUNDS)
        pages_s = time_page(conn)
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
        Figure(name="campaign.round_1m_s", value=round(statistics.median(with_reports_s), 2), unit="s", target=1, better="lower",
               note=f"one round of the reconciler with {REPORTS:,} outcomes to fold, gate included, in a campaign over"
               f" {VEHICLES:,} vehicles; median of {len(with_reports_s)}, the longest {max(with_reports_s):.2f} s"),
        Figure(name="campaign.round_overlapping_s", value=round(statistics.median(overlapping_s), 3), unit="s", target=0.1,
               better="lower",
               note=f"one round with nothing to do where two campaigns wait for the same {waiting:,} vehicles; median of"
               f" {len(overlapping_s)} with what is remembered between rounds; a look at everything {max(overlapping_s):.1f} s"),
        Figure(name="campaign.page_1m_ms", value=round(statistics.median(pages_s) * 1000, 1), unit="ms", target=300,
               better="lower",
               note=f"the console's page of the campaign over {VEHICLES:,} vehicles, read and rendered; median of {len(pages_s)},"
               f" the longest {max(pages_s) * 1000:.0f} ms; by state, too"),
        Figure(name="campaign.create_1m_rss_mib", value=round(rss_mib), unit="MiB", target=512, better="lower",
               note="most that the planning process held, libraries included; PostgreSQL has shared_buffers of 128 MB"),
    ]  # fmt: skip


class Rounds:
    """Rounds of the reconciler as its worker does them, timed."""

    def __init__(self, conn: Connection, ids: SystemIds) -> None:
        self._conn, self._ids = conn, ids
        self._lookout = Lookout(SystemClock())

    def alone(self, count: int) -> list[float]:
        """Do rounds; return the seconds that each took."""
        took_s = []
        for _ in range(count):
            began_s = time.perf_counter()
            tick(self._conn, self._ids, now=SystemClock().now(), lookout=self._lookout)
            took_s.append(time.perf_counter() - began_s)
        print(f"  rounds: {', '.join(f'{each:.2f}' for each in took_s)} s", file=sys.stderr)
        return took_s

    def with_reports(self) -> list[float]:
        """Let the vehicles of the first wave end their update, some in each round."""
        self.alone(1)
        self._conn.execute(
            "UPDATE assignment SET state = 'offered', offered_at = now(), deadline_at = now() + interval '7 days'"
            " WHERE wave = 1 AND state = 'pending'"
        )
        took_s: list[float] = []
        while len(took_s) < ROUNDS and self._conn.execute(ENDINGS, {"reports": REPORTS}).rowcount == REPORTS:
            took_s += self.alone(1)
        return took_s

    def add_overlapping_campaign(self) -> int:
        """Start another campaign on a quarter of the fleet, and let all vehicles of both wait; return how many do."""
        now = SystemClock().now()
        made = create_campaign(
            self._conn, self._ids, name="other", release_id=f"release_{VERSIONS[-1]}", actor="ann", now=now
        )
        request = PlanRequest(query="region = EU", waves=(), gate=GatePolicy(reports_min=100), priority=1)
        plan = plan_campaign(
            self._conn, self._ids, campaign_id=made.id, generation=made.generation, request=request, actor="ann", now=now
        )  # fmt: skip
        with transaction(self._conn):
            approved = store.approve(
                self._conn, self._ids, campaign_id=made.id, actor="ben", four_eyes=True, now=now,
                generation=store.read_campaign(self._conn, made.id).generation,
                acknowledged={str(each["code"]) for each in plan.findings},
            )  # fmt: skip
        with transaction(self._conn):
            store.start(
                self._conn,
                self._ids,
                campaign_id=made.id,
                generation=approved.generation,
                actor="ann",
                now=now,
            )
        return self._conn.execute(
            "UPDATE assignment SET released_at = now() WHERE state = 'pending' AND released_at IS NULL"
            " AND vin IN (SELECT vin FROM assignment WHERE campaign_id = %s)", [made.id],
        ).rowcount  # fmt: skip


def time_page(conn: Connection) -> list[float]:
    """Return how many seconds the console's page of the largest campaign takes, whole and by state."""
    row = conn.execute(
        "SELECT campaign_id FROM assignment GROUP BY campaign_id ORDER BY count(*) DESC LIMIT 1"
    ).fetchone()
    viewer, took_s = Account(name="vera", role=Role.VIEWER, via="session"), []
    for state in (None, "pending", "installed", "failed") * 5:
        began_s = time.perf_counter()
        whole_campaign(
            conn, (row or {})["campaign_id"], state=state, account=viewer, url="/", now=SystemClock().now()
        )
        took_s.append(time.perf_counter() - began_s)
    print(f"  page: {', '.join(f'{each * 1000:.0f}' for each in took_s)} ms", file=sys.stderr)
    return took_s


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
