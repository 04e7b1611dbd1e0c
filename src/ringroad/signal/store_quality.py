"""A plant's alarm about a software version as the next signal: it opens a finding, in a lap of its own.

The caller opens the transaction.

Invariant: while a finding is live for a station and a version, no second one is opened; the signal is noted on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind
from ringroad.signal.setback import SEVERAL
from ringroad.signal.store import SQL
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, causes_of, open_lap

RULE: Final = "rule:quality"
AT_ONCE: Final = "FIRST-PASS"  # stands where a fault code does; no vehicle reports it


def open_alarmed(
    conn: Connection, ids: Ids, *, alarm_id: str, programme_id: str, station: str, version: str, title: str,
    evidence: Mapping[str, Any], now: datetime,
) -> tuple[str, bool]:  # fmt: skip
    """Open a finding about a version that fails at a station.

    Returns:
        The finding, and whether it is new.
    """
    causes = causes_of(conn, [(FactKind.QUALITY_ALARMED, alarm_id)])
    code = f"{AT_ONCE} {station}"[:200]
    live = [
        row
        for row in SQL.live_findings(conn, programme_id=programme_id)
        if (row["software_version"], row["fault_code"]) == (version, code)
    ]
    finding_id = live[0]["id"] if live else ids.new("finding")
    lap_id = live[0]["lap_id"] if live else ids.new("lap")
    if not live:
        open_lap(conn, lap_id=lap_id, title=title, now=now)
        SQL.insert_finding(
            conn, id=finding_id, lap_id=lap_id, title=title, programme_id=programme_id, ecu=SEVERAL,
            software_version=version, fault_code=code, opened_at=now,
            evidence=Jsonb({"rule": "first-pass-yield", "alarm_id": alarm_id, "station": station} | dict(evidence)),
        )  # fmt: skip
    signal = append_fact(
        conn, ids, kind=FactKind.SIGNAL_OBSERVED, subject=finding_id, actor=RULE, now=now, lap_id=lap_id,
        causes=causes, body={"alarm_id": alarm_id, "station": station},
    )  # fmt: skip
    if not live:
        append_fact(
            conn, ids, kind=FactKind.FINDING_OPENED, subject=finding_id, actor=RULE, now=now, lap_id=lap_id,
            causes=[signal.id], body={"title": title, "alarm_id": alarm_id},
        )  # fmt: skip
    return finding_id, not live
