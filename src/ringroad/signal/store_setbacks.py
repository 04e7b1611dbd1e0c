"""The signal stage's I/O for setbacks: those that nobody answered yet are decided on, and the answer is made true.

Invariant: the signal that a setback is names it as its cause, once: whoever comes second finds it answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never

import structlog
from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Corrupt
from ringroad.kernel.facts import Fact, FactKind
from ringroad.signal.detect import Key
from ringroad.signal.setback import (
    Answer,
    Known,
    Note,
    OpenNext,
    Reopen,
    Setback,
    SetbackKind,
    decide_setback,
)
from ringroad.signal.store import SQL
from ringroad.storage.db import Connection, apart, expect_one, transaction
from ringroad.storage.ledger import append_fact, open_lap

LOG = structlog.get_logger(__name__)

RULE = "rule:setback"
SETBACKS_MAX = 100  # per call; the next call does the rest


def answer_setbacks(conn: Connection, ids: Ids, *, now: datetime) -> list[str]:
    """Answer every setback that nobody answered yet; return the ids of the findings that are to be decided on.

    One that cannot be answered, or that somebody decided on meanwhile, is told in the log and left to the next call.
    """
    asked: list[str] = []
    for row in list(SQL.setbacks(conn, fact_id=None, rows_max=SETBACKS_MAX)):
        with apart(conn, fact_id=row["fact_id"]), transaction(conn):
            SQL.lock_detection(conn, programme_id=row["programme_id"])
            still = SQL.setbacks(conn, fact_id=row["fact_id"], rows_max=1)
            for again in list(still):  # none: another worker was faster
                asked += _answer(conn, ids, _setback(again), now=now)
    return asked


def _answer(conn: Connection, ids: Ids, setback: Setback, *, now: datetime) -> list[str]:
    live = {
        known.key: known for known in map(_known, SQL.live_findings(conn, programme_id=setback.programme_id))
    }
    try:
        answer = decide_setback(setback, live)
    except (
        Corrupt
    ) as error:  # nothing is opened on what cannot be read; it is told each time, until somebody looks
        LOG.warning("setback unreadable", fact_id=setback.fact_id, detail=error.message)
        return []
    finding_id, signal = _make_true(conn, ids, setback, answer, now=now)
    closes = answer.closes if isinstance(answer, Note | OpenNext) else None
    if closes is not None:
        reason = f"worse after {setback.campaign_id}; goes on as {finding_id}"
        rows = SQL.close_for_next(
            conn, finding_id=closes.id, generation=closes.generation, reason=reason, now=now
        )
        expect_one(rows, f"finding {closes.id}")
        append_fact(
            conn, ids, kind=FactKind.FINDING_CLOSED, subject=closes.id, actor=RULE, now=now,
            lap_id=closes.lap_id, causes=[setback.fact_id], body={"reason": reason},
        )  # fmt: skip
    LOG.info(
        "setback", kind=setback.kind, campaign=setback.campaign_id, finding=finding_id, lap=signal.lap_id,
        answer=type(answer).__name__.lower(),
    )  # fmt: skip
    return [] if isinstance(answer, Note) else [finding_id]


def _make_true(
    conn: Connection, ids: Ids, setback: Setback, answer: Answer, *, now: datetime
) -> tuple[str, Fact]:
    match answer:
        case Note(finding=finding):
            return finding.id, _signal(conn, ids, setback, finding.id, finding.lap_id, now=now)
        case Reopen(finding=finding, reason=reason):
            signal = _signal(conn, ids, setback, finding.id, finding.lap_id, now=now)
            rows = SQL.reopen_finding(
                conn, finding_id=finding.id, generation=finding.generation, reason=reason
            )
            expect_one(rows, f"finding {finding.id}")
            append_fact(
                conn, ids, kind=FactKind.FINDING_REOPENED, subject=finding.id, actor=RULE, now=now,
                lap_id=finding.lap_id, causes=[signal.id, setback.fact_id],
                body={"reason": reason, "was": finding.state},
            )  # fmt: skip
            return finding.id, signal
        case OpenNext():
            return _open_next(conn, ids, setback, answer, now=now)
    assert_never(answer)


def _open_next(
    conn: Connection, ids: Ids, setback: Setback, answer: OpenNext, *, now: datetime
) -> tuple[str, Fact]:
    ecu, version, code = answer.key
    lap_id, finding_id = ids.new("lap"), ids.new("finding")
    open_lap(conn, lap_id=lap_id, title=answer.title, now=now)
    SQL.insert_finding(
        conn, id=finding_id, lap_id=lap_id, title=answer.title, programme_id=setback.programme_id, ecu=ecu,
        software_version=version, fault_code=code, evidence=Jsonb(dict(answer.evidence)), opened_at=now,
    )  # fmt: skip
    signal = _signal(conn, ids, setback, finding_id, lap_id, now=now)
    append_fact(
        conn, ids, kind=FactKind.FINDING_OPENED, subject=finding_id, actor=RULE, now=now, lap_id=lap_id,
        causes=[signal.id, setback.fact_id], body={"title": answer.title, "campaign_id": setback.campaign_id},
    )  # fmt: skip
    return finding_id, signal


def _signal(
    conn: Connection, ids: Ids, setback: Setback, finding_id: str, lap_id: str, *, now: datetime
) -> Fact:
    return append_fact(
        conn, ids, kind=FactKind.SIGNAL_OBSERVED, subject=finding_id, actor=RULE, now=now, lap_id=lap_id,
        causes=[setback.fact_id], event_at=min(setback.at, now),
        body={"setback": setback.kind, "campaign_id": setback.campaign_id},
    )  # fmt: skip


def _setback(row: Mapping[str, Any]) -> Setback:
    kind: SetbackKind = "halted" if row["kind"] == FactKind.CAMPAIGN_HALTED else row["body"]["verdict"]
    return Setback(
        fact_id=row["fact_id"],
        kind=kind,
        campaign_id=row["campaign_id"],
        campaign_name=row["campaign_name"],
        at=row["event_at"],
        programme_id=row["programme_id"],
        body=row["body"] if row["measure"] is None else {**row["body"], **row["measure"]},
        ecus=row["ecus"] or {},
        finding=_known(row) if row["id"] is not None else None,
        policy=row["policy"] or {},
    )


def _known(row: Mapping[str, Any]) -> Known:
    key: Key = (row["ecu"], row["software_version"], row["fault_code"])
    return Known(
        id=row["id"], lap_id=row["lap_id"], key=key, state=row["state"], generation=row["generation"]
    )
