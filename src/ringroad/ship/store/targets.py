"""Plans over many vehicles: populations out, the lot in; a million vehicles never pass through Python.

1. `selecting.gather` puts each vehicle of a programme into its population, in a table that lives as long as the transaction.
2. The planner resolves one vehicle of each (`plan.make_plan`).
3. `deal` writes what became of each population, and deals the matches out.
4. `read_dealt` counts what was written, for the checker.

The lot: within a stratum vehicles are ordered by hash(seed, VIN); their relative place orders them across strata, so
that the control group and each wave, which are cut from that order, have about the same share of each stratum.

Invariant: who is in which wave depends on seed, stratum and VIN, never on the order in which vehicles lie.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from ringroad.ship.check import Dealt
from ringroad.ship.plan import Plan
from ringroad.ship.resolve import Verdict
from ringroad.ship.store.reading import SQL
from ringroad.storage.db import Connection


def deal(conn: Connection, plan: Plan, *, plan_id: str) -> None:
    """Write what became of each population and of each of its vehicles; ends what `gather` began."""
    columns = "plan_id, number, kind, stratum, vehicles, example, verdict, reason, sentence, steps, install_bytes, install_s"
    with conn.cursor() as cursor, cursor.copy(f"COPY campaign_resolution ({columns}) FROM STDIN") as copy:
        for each in plan.resolved:
            is_ = each.resolution
            copy.write_row((
                plan_id, each.number, each.kind, each.stratum, each.vehicles, each.example, is_.verdict, is_.reason, is_.sentence,
                list(is_.steps), is_.install_bytes, is_.install_s,
            ))  # fmt: skip
    SQL.deal_lot(
        conn,
        plan_id=plan_id,
        seed=plan.request.seed,
        held=plan.control_vehicles,
        starts=plan.wave_starts,
    )
    SQL.drop_planned(conn)


def measure(conn: Connection) -> None:
    """Tell the planner of PostgreSQL how many vehicles there are now; else a start looks each of them up by itself.

    Holds back another plan's `measure` to the end of the caller's transaction, so call it late.
    """
    SQL.measure_targets(conn)


def read_dealt(conn: Connection, plan_id: str) -> Dealt:
    """Count a plan's vehicles as they were written."""
    verdicts: Counter[Verdict] = Counter()
    waves: Counter[int] = Counter()
    strangers = 0
    for row in SQL.dealt(conn, plan_id=plan_id):
        verdicts[row["verdict"]] += row["vehicles"]
        strangers += row["strangers"]
        if row["wave"]:
            waves[row["wave"]] += row["vehicles"]
    places = SQL.dealt_places(conn, plan_id=plan_id)
    return Dealt(verdicts=dict(verdicts), waves=dict(waves), strangers=strangers, places=places)


def digest_targets(conn: Connection, plan_id: str) -> str:
    """Return the SHA-256 that binds a plan's document to its vehicles: of their rows in the order of the VIN."""
    digest = hashlib.sha256()
    with (
        conn.cursor() as cursor,
        cursor.copy(SQL.targets_as_text.sql, {"plan_id": plan_id}) as copy,
    ):
        for row in copy:
            digest.update(row)
    return digest.hexdigest()
