"""A fleet in a real database: one programme of two variants, releases, vehicles; and vehicles that report."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from psycopg.types.json import Jsonb

from ringroad.kernel.facts import FactKind
from ringroad.loop.campaigns import create_campaign, plan_campaign
from ringroad.loop.lookout import Lookout
from ringroad.loop.reconciler import Round, tick
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import Campaign
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.storage.db import Connection, transaction
from ringroad.storage.ledger import append_fact

T0 = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
# What a checker may warn of in these small worlds, and whoever approves accepts.
ANY_WARNING = frozenset({
    "one_wave", "wave_1_large", "wave_below_reports_min", "silence_below_soak", "control_group_small", "control_group_large",
    "control_cannot_decide", "control_unused", "vehicles_mismatch", "vehicles_unknown", "targets_mostly_unknown", "deadline_short",
    "recall_takes_control", "download_only_not_told", "success_unconfirmed", "success_is_word", "release_halted_before",
    "reports_min_small", "vehicles_unheard",
})  # fmt: skip
CONFIRMS = {"success": "after_restart"}  # DDI vehicles that say success when they run it
ECUS = {"brake": "inplace", "head": "ab"}


class CountingIds:
    """Ids that sort by creation and repeat in each run."""

    def __init__(self, start: int = 0) -> None:
        self._count = itertools.count(start + 1)

    def new(self, prefix: str) -> str:
        return f"{prefix}_{next(self._count):026d}"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def vin(number: int) -> str:
    return f"WRRSH{number:012d}"


def fill_programme(
    conn: Connection,
    ids: CountingIds,
    *,
    versions: Sequence[str] = ("1.0.0", "2.0.0"),
    settings: Mapping[str, str] | None = None,
) -> None:
    """One programme, per version one signed release ``release_<version>`` with a package for each ECU."""
    programme = {
        "variants": {"city": {"ecus": list(ECUS)}, "premium": {"ecus": list(ECUS)}},
        "ecus": {
            name: {"hardware_id": f"{name}-hw", "storage": storage, "settings": dict(settings or CONFIRMS)}
            for name, storage in ECUS.items()
        },
    }
    conn.execute(
        "INSERT INTO programme (id, digest, source, document, imported_at) VALUES ('roadster', '', '', %s, %s)",
        [Jsonb(programme), T0],
    )
    conn.execute("INSERT INTO lap (id, title, opened_at) VALUES ('lap_1', 'brake faults', %s)", [T0])
    for counter, version in enumerate(versions, 1):
        add_release(conn, ids, version, counter=counter)


def add_release(conn: Connection, ids: CountingIds, version: str, *, counter: int) -> None:
    for ecu in ECUS:
        image = sha(f"{ecu} {version}")
        conn.execute(
            "INSERT INTO software_package (id, programme_id, ecu, name, version, filename, format, hardware_ids,"
            " image_sha256, image_sha512, image_bytes, release_counter, added_at)"
            " VALUES (%s, 'roadster', %s, %s, %s, %s, 'bin', %s, %s, %s, 1000, %s, %s)",
            [
                f"pkg_{ecu}_{version}", ecu, ecu, version, f"{ecu}-{version}.bin", [f"{ecu}-hw"], image,
                hashlib.sha512(image.encode()).hexdigest(), counter, T0,
            ],
        )  # fmt: skip
    packages = {ecu: f"pkg_{ecu}_{version}" for ecu in ECUS}
    document = {
        "variants": {"city": packages, "premium": packages},
        "groups": [{"name": "chassis", "ecus": ["brake"], "after": []}],
        "post_checks": [{"ecu": "brake", "kind": "self_test"}],
    }
    release_id = f"release_{version}"
    conn.execute(
        "INSERT INTO release (id, programme_id, name, version, state, lap_id, document, created_by, created_at,"
        " signed_at) VALUES (%s, 'roadster', %s, %s, 'signed', 'lap_1', %s, 'ann', %s, %s)",
        [release_id, version, version, Jsonb(document), T0, T0],
    )
    append_fact(
        conn, ids, kind=FactKind.RELEASE_SIGNED, subject=release_id, actor="ann", now=T0, lap_id="lap_1"
    )


def add_vehicles(
    conn: Connection, numbers: Iterable[int], *, gateway: str = "ddi", version: str = "1.0.0"
) -> list[str]:
    """Vehicles that run `version` on every ECU; odd ones are city, even ones premium."""
    chosen = list(numbers)
    with conn.cursor() as cursor:
        with cursor.copy(
            "COPY vehicle (vin, programme_id, variant, region, gateway, token_sha256, primary_serial, release_id,"
            " born_at) FROM STDIN"
        ) as copy:
            for number in chosen:
                variant = "city" if number % 2 else "premium"
                copy.write_row(
                    (
                        vin(number),
                        "roadster",
                        variant,
                        "EU",
                        gateway,
                        b"\0" * 32,
                        "S",
                        f"release_{version}",
                        T0,
                    )
                )
        with cursor.copy(
            "COPY ecu (vin, serial, name, hardware_id, public_key, key_id, is_primary, added_at) FROM STDIN"
        ) as copy:
            for number, ecu in itertools.product(chosen, ECUS):
                copy.write_row(
                    (vin(number), f"{ecu}-{number}", ecu, f"{ecu}-hw", Jsonb({}), "k", ecu == "head", T0)
                )
        with cursor.copy(
            "COPY ecu_installed (vin, serial, filename, version, image_sha256, reported_at) FROM STDIN"
        ) as copy:
            for number, ecu in itertools.product(chosen, ECUS):
                name = f"{ecu}-{version}.bin"
                copy.write_row((vin(number), f"{ecu}-{number}", name, version, sha(f"{ecu} {version}"), T0))
    return [vin(number) for number in chosen]


def wait_for_locks(conn: Connection, count: int) -> None:
    """Return when `count` connections to this database wait for a lock; fail after a minute."""
    asked = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(3_000):
        conn.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees what it saw first
        row = conn.execute(asked).fetchone()
        if row and row["n"] >= count:
            return
        conn.execute("SELECT pg_sleep(0.02)")
    raise AssertionError(f"no {count} connections wait for a lock")


class Story:
    """One campaign and its vehicles, told step by step with a clock of its own."""

    def __init__(self, conn: Connection, ids: CountingIds) -> None:
        self.conn = conn
        self.ids = ids
        self.now = T0
        self.campaign_id = ""
        self.issued: list[dict[str, Any]] = []
        self.lookout: Lookout | None = None
        self._reports = itertools.count(1)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def campaign(self) -> Campaign:
        return store.read_campaign(self.conn, self.campaign_id)

    def plan(
        self,
        *,
        release: str = "release_2.0.0",
        query: str = "all",
        waves: Sequence[int | WaveSize] = (4,),
        gate: GatePolicy | None = None,
        **more: Any,
    ) -> store.SavedPlan:
        created = create_campaign(
            self.conn, self.ids, name="fix", release_id=release, actor="ann", now=self.now
        )
        self.campaign_id = created.id
        request = PlanRequest(
            query=query,
            waves=tuple(WaveSize(vehicles=size) if isinstance(size, int) else size for size in waves),
            gate=gate or GatePolicy(failed_permille_max=100, reports_min=2, silence_s_max=600),
            **{"vehicle_deadline_s": 3_600, **more},
        )
        return plan_campaign(
            self.conn,
            self.ids,
            campaign_id=created.id,
            generation=1,
            request=request,
            actor="ann",
            now=self.now,
        )

    def start(self, **more: Any) -> store.SavedPlan:
        plan = self.plan(**more)
        self.approve_and_start()
        return plan

    def approve_and_start(self, *, recall: bool = False) -> None:
        with transaction(self.conn):
            store.approve(
                self.conn, self.ids, campaign_id=self.campaign_id, generation=self.campaign().generation,
                actor="ben", four_eyes=True, acknowledged=ANY_WARNING, now=self.now, recall=recall,
            )  # fmt: skip
        with transaction(self.conn):
            store.start(
                self.conn, self.ids, campaign_id=self.campaign_id, generation=self.campaign().generation,
                actor="ann", now=self.now,
            )  # fmt: skip

    def tick(self) -> Round:
        return tick(self.conn, self.ids, now=self.now, issue=self.issue, lookout=self.lookout)

    def issue(self, conn: Connection, **content: Any) -> None:
        """Stands for the signing repository: keeps what was to be signed."""
        self.issued.append(content)

    def vehicles(self, state: str | None = None, *, kind: str = "update") -> list[SimpleNamespace]:
        rows = store.list_assignments(self.conn, self.campaign_id, state=state)
        return [SimpleNamespace(**row) for row in rows if row["kind"] == kind]

    def report(
        self, action: SimpleNamespace, body: dict[str, Any], *, kind: str = "progress", key: str = ""
    ) -> None:
        self.conn.execute(
            "INSERT INTO device_report (vin, dedupe_key, action_id, kind, event_at, received_at, body)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (vin, dedupe_key) DO NOTHING",
            [
                action.vin, key or f"r{next(self._reports)}.{action.action_id}", action.action_id, kind, self.now, self.now,
                Jsonb(body),
            ],
        )  # fmt: skip

    def ddi(self, action: SimpleNamespace, execution: str, finished: str = "none", **more: Any) -> None:
        self.report(
            action, {"gateway": "ddi", "execution": execution, "finished": finished, "details": []}, **more
        )

    def native(
        self, action: SimpleNamespace, state: str, *, kind: str = "progress", key: str = "", **said: str
    ) -> None:
        self.report(action, {"gateway": "native", "state": state, **said}, kind=kind, key=key)

    def facts(self, kind: FactKind) -> int:
        row = self.conn.execute("SELECT count(*) AS n FROM fact WHERE kind = %s", [kind.value]).fetchone()
        assert row is not None
        return int(row["n"])
