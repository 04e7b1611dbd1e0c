"""The ledger: facts are appended in the transaction that makes them true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import CAUSES_MAX, Fact, FactKind
from ringroad.storage.db import Connection, load_queries

SQL = load_queries("ringroad.storage")

_SETBACKS = (
    FactKind.CAMPAIGN_HALTED, FactKind.CAMPAIGN_ABORTED, FactKind.FINDING_REOPENED, FactKind.OUTCOME_MEASURED,
)  # fmt: skip


def open_lap(conn: Connection, *, lap_id: str, title: str, now: datetime) -> None:
    """Open a lap: the frame from a first signal to a measured outcome."""
    SQL.insert_lap(conn, lap_id=lap_id, title=title, opened_at=now)


def append_fact(
    conn: Connection,
    ids: Ids,
    *,
    kind: FactKind,
    subject: str,
    actor: str,
    now: datetime,
    lap_id: str | None = None,
    causes: Sequence[str] = (),
    event_at: datetime | None = None,
    work_started_at: datetime | None = None,
    body: Mapping[str, Any] | None = None,
) -> Fact:
    """Append one fact inside the caller's transaction and return it.

    Raises:
        InvalidInput: the fact could not be ordered or traced.
    """
    event_at = event_at or now
    fact = Fact(
        id=ids.new("fact"),
        kind=kind,
        subject=subject,
        lap_id=lap_id,
        causes=tuple(causes),
        actor=actor,
        work_started_at=work_started_at or event_at,
        event_at=event_at,
        recorded_at=now,
        body=dict(body or {}),
    )
    SQL.insert_fact(
        conn,
        id=fact.id,
        kind=fact.kind.value,
        stage=fact.stage,
        subject=fact.subject,
        lap_id=fact.lap_id,
        causes=list(fact.causes),
        actor=fact.actor,
        work_started_at=fact.work_started_at,
        event_at=fact.event_at,
        recorded_at=fact.recorded_at,
        body=Jsonb(dict(fact.body)),
    )
    SQL.notify_fact(conn, payload=f"{fact.kind.value} {fact.subject}"[:200])
    return fact


def append_facts(conn: Connection, facts: Sequence[Fact]) -> None:
    """Append many facts inside the caller's transaction, in their order: what one batch made true."""
    if not facts:
        return
    columns = "id, kind, stage, subject, lap_id, causes, actor, work_started_at, event_at, recorded_at, body"
    with conn.cursor() as cursor, cursor.copy(f"COPY fact ({columns}) FROM STDIN") as copy:
        for fact in facts:
            copy.write_row(
                (
                    fact.id,
                    fact.kind.value,
                    fact.stage,
                    fact.subject,
                    fact.lap_id,
                    list(fact.causes),
                    fact.actor,
                    fact.work_started_at,
                    fact.event_at,
                    fact.recorded_at,
                    Jsonb(dict(fact.body)),
                )
            )
    for kind, count in Counter(fact.kind for fact in facts).items():
        SQL.notify_fact(conn, payload=f"{kind.value} {count}")


def read_facts(
    conn: Connection,
    *,
    lap_id: str | None = None,
    subject: str | None = None,
    after_seq: int = 0,
    rows_max: int = 10_000,
) -> list[Fact]:
    """Return facts in the order they were recorded, of one lap or about one subject."""
    return [
        _fact(row)
        for row in SQL.facts(conn, lap_id=lap_id, subject=subject, after_seq=after_seq, rows_max=rows_max)
    ]


def latest_fact(conn: Connection, *, kind: FactKind, subject: str) -> Fact | None:
    """Return the newest fact of a kind about a subject: what the next fact names as its cause."""
    row = SQL.latest_fact(conn, kind=kind.value, subject=subject)
    return _fact(row) if row else None


def latest_of_kinds(
    conn: Connection, kinds: Sequence[FactKind], *, subject: str, programme_id: str | None = None
) -> Fact | None:
    """Return the fact about a subject that was appended last among those of some kinds, whatever the clocks said.

    With a programme, facts whose body names another one are left out.
    """
    row = SQL.latest_of_kinds(
        conn, kinds=[kind.value for kind in kinds], subject=subject, programme_id=programme_id
    )
    return _fact(row) if row else None


def causes_of(conn: Connection, wanted: Sequence[tuple[FactKind, str | None]]) -> list[str]:
    """Return the ids of the newest fact of each kind and subject that exists, `CAUSES_MAX` at most."""
    facts = [
        latest_fact(conn, kind=kind, subject=subject) for kind, subject in wanted[:CAUSES_MAX] if subject
    ]
    return [fact.id for fact in facts if fact]


def last_of(conn: Connection, subject: str) -> list[str]:
    """Return the id of the newest fact about a subject, whatever its kind: the cause of the one that follows it."""
    row = SQL.latest_about(conn, subject=subject)
    return [row["id"]] if row else []


def latest_setback(conn: Connection, lap_id: str | None) -> Fact | None:
    """Return the newest fact that sent a lap back to work: what the next change and the next release answer.

    A campaign that was stopped, the finding that was opened again for it, or an outcome that was not better.
    None in a lap that went straight on.
    """
    row = SQL.latest_setback(conn, lap_id=lap_id, kinds=[kind.value for kind in _SETBACKS])
    fact = _fact(row) if row else None
    return None if fact is not None and fact.body.get("verdict") == "better" else fact


def _fact(row: Mapping[str, Any]) -> Fact:
    return Fact(
        id=row["id"],
        kind=FactKind(row["kind"]),
        subject=row["subject"],
        lap_id=row["lap_id"],
        causes=tuple(row["causes"]),
        actor=row["actor"],
        work_started_at=row["work_started_at"],
        event_at=row["event_at"],
        recorded_at=row["recorded_at"],
        body=row["body"],
    )
