"""The signal stage's I/O: telemetry into the lake, complaints and quarantine into PostgreSQL, findings opened.

Decisions are made in `ingest.py`, `complaints.py` and `detect.py`; here they are loaded for and carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import structlog
from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import InvalidInput, NotFound, Unavailable
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.signal import complaints
from ringroad.signal.detect import DetectPolicy, Key, NoFinding, OpenFinding, decide_finding
from ringroad.signal.evidence import finding_evidence, finding_title
from ringroad.signal.ingest import DETAIL_CHARS_MAX, IngestLimits, decide_message, subject_vin
from ringroad.signal.model import (
    Accepted,
    Complaint,
    Finding,
    ImportReport,
    Quarantined,
    QuarantineRow,
    VehicleRef,
)
from ringroad.storage.db import Connection, Opener, apart, load_queries, transaction
from ringroad.storage.lake import Lake, Rows, from_us, to_us
from ringroad.storage.ledger import append_fact, open_lap
from ringroad.storage.measures import Window, measure_faults
from ringroad.storage.streams import ACK_WAIT_S, StreamMessage, consume

SQL = load_queries("ringroad.signal")
LOG = structlog.get_logger(__name__)

RULE = "rule:rising-faults"
ROWS_PER_STATEMENT = 1_000
RAW_BYTES_MAX = 64 * 1024  # bytes of a refused message that are kept to be read
TELEMETRY = "telemetry"
COMPACT_BATCHES = 64  # batches between two looks for small files; each costs every question some 2 ms


# Telemetry --------------------------------------------------------------------------------------------


async def run_ingest(
    nats_url: str,
    lake: Lake,
    conn_opener: Opener,
    stop: asyncio.Event,
    clock: Clock,
    *,
    limits: IngestLimits | None = None,
    ack_wait_s: float = ACK_WAIT_S,
) -> None:
    """Bring telemetry from the stream into the lake until `stop` is set.

    A batch is acknowledged after its rows are in the lake and its refused messages in quarantine; a repeated
    delivery writes the same rows again, which count once.

    Args:
        nats_url: the broker.
        lake: where rows go.
        conn_opener: opens a connection to the record, once per batch.
        stop: set it to end.
        clock: for the log's durations.
        limits: how much a message may hold.
        ack_wait_s: after how long an unacknowledged message is delivered again.
    """
    bounds = limits or IngestLimits()
    batches = 0

    def handle(messages: Sequence[StreamMessage]) -> None:
        nonlocal batches
        started_s = clock.monotonic_s()
        with closing(conn_opener()) as conn:
            landed = land(conn, lake, messages, limits=bounds)
        batches += 1
        if batches % COMPACT_BATCHES == 0:
            lake.compact()
        LOG.info("telemetry landed", duration_ms=int((clock.monotonic_s() - started_s) * 1_000), **landed)

    def put_aside(message: StreamMessage, error: Exception) -> None:
        with closing(conn_opener()) as conn:
            give_up(conn, message, error)

    await consume(nats_url, handle, stop, give_up=put_aside, ack_wait_s=ack_wait_s)


def land(
    conn: Connection, lake: Lake, messages: Sequence[StreamMessage], *, limits: IngestLimits
) -> dict[str, int]:
    """Make a batch of messages durable, as rows or as quarantine.

    Returns:
        Counts for the log: messages, rows, quarantined.

    Raises:
        Unavailable: the record or the lake cannot be written; deliver the batch again.
    """
    if not messages:
        return {"messages": 0, "rows": 0, "quarantined": 0}
    vins = sorted({vin for message in messages if (vin := subject_vin(message.subject))})
    with transaction(conn):
        known = {
            row["vin"]: VehicleRef(vin=row["vin"], programme=row["programme_id"], variant=row["variant"])
            for row in SQL.vehicles(conn, vins=vins)
        }
    accepted: list[Accepted] = []
    refused: list[dict[str, Any]] = []
    for message in messages:
        decision = decide_message(
            limits,
            message.payload,
            subject=message.subject,
            seq=message.seq,
            received_at=message.received_at,
            vehicle=known.get(subject_vin(message.subject) or ""),
        )
        if isinstance(decision, Accepted):
            accepted.append(decision)
        else:
            refused.append(
                _refusal(TELEMETRY, _locator(message), decision, message.payload, message.received_at)
            )
    rows = Rows(
        samples=tuple(row for item in accepted for row in item.rows.samples),
        faults=tuple(row for item in accepted for row in item.rows.faults),
        exposure=tuple(row for item in accepted for row in item.rows.exposure),
    )
    lake.write(rows, first_seq=messages[0].seq, last_seq=messages[-1].seq)
    if refused:
        with transaction(conn):
            SQL.insert_quarantine(conn, refused)
    return {
        "messages": len(messages),
        "rows": len(rows.samples) + len(rows.faults) + len(rows.exposure),
        "quarantined": len(refused),
    }


def give_up(conn: Connection, message: StreamMessage, error: Exception) -> None:
    """Put a message that broke us in quarantine, whole: the fault is ours, and it may be wanted once that is mended."""
    why = Quarantined(reason="handler", detail=f"{type(error).__name__}: {error}"[:DETAIL_CHARS_MAX])
    row = _refusal(TELEMETRY, _locator(message), why, message.payload, message.received_at)
    with transaction(conn):
        SQL.insert_quarantine(conn, [row | {"raw": message.payload}])


def _locator(message: StreamMessage) -> str:
    """Name a message: a stream that began anew counts from 1 again, so its number alone is not enough."""
    return f"TELEMETRY:{message.seq}@{message.received_at.isoformat()}"


# Complaints -------------------------------------------------------------------------------------------


def import_complaints(
    conn: Connection, source: Path | BinaryIO, *, now: datetime, name: str | None = None
) -> ImportReport:
    """Import an NHTSA complaints flat file; may be repeated, every row counts once.

    Args:
        conn: the record.
        source: the file, or an open binary stream.
        now: time of import; dates after it are refused.
        name: what quarantine calls the file; its own name by default.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it has more than `complaints.LINES_MAX` lines; those before are imported.
        Unavailable: the file or the record cannot be read or written.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as stream:
                return import_complaints(conn, stream, now=now, name=name or source.name)
        except FileNotFoundError as error:
            raise NotFound(f"there is no file {source}") from error
        except OSError as error:
            raise Unavailable(f"{source} cannot be read", detail=str(error)) from error
    label = name or "stream"
    rows = new = duplicates = quarantined = 0
    numbered = enumerate(complaints.split_lines(source), start=1)
    while block := list(islice(numbered, ROWS_PER_STATEMENT)):
        if block[-1][0] > complaints.LINES_MAX:
            raise InvalidInput(f"{label} has more than {complaints.LINES_MAX} lines", hint="split it")
        good, refused = _read_block(block, label=label, now=now)
        with transaction(conn):
            added = _rowcount(SQL.insert_complaint(conn, good)) if good else 0
            if refused:
                SQL.insert_quarantine(conn, refused)
        rows += len(good) + len(refused)
        new += added
        duplicates += len(good) - added
        quarantined += len(refused)
    return ImportReport(rows=rows, new=new, duplicates=duplicates, quarantined=quarantined)


def list_complaints(
    conn: Connection, *, component: str | None = None, after_id: str = "", rows_max: int = 100
) -> list[Complaint]:
    """Return complaints by id; pass the last id on for the next page."""
    return [
        Complaint(**{name: row[name] for name in Complaint.__dataclass_fields__})
        for row in SQL.complaints(
            conn, component=component, after_id=after_id, rows_max=min(rows_max, PAGE_ROWS_MAX)
        )
    ]


def list_components(conn: Connection, *, rows_max: int = 100) -> list[dict[str, Any]]:
    """Return components by number of complaints: component, complaints, first_on, last_on."""
    return list(SQL.complaint_components(conn, rows_max=min(rows_max, PAGE_ROWS_MAX)))


def list_quarantine(
    conn: Connection, *, source: str | None = None, before_id: int = 2**62, rows_max: int = 100
) -> list[QuarantineRow]:
    """Return what could not be read, newest first; pass the last id on for the next page."""
    return [
        QuarantineRow(**{**row, "raw": bytes(row["raw"])})
        for row in SQL.quarantined(
            conn, source=source, before_id=before_id, rows_max=min(rows_max, PAGE_ROWS_MAX)
        )
    ]


def count_quarantine(conn: Connection) -> list[dict[str, Any]]:
    """Return how much is in quarantine: source, reason, rows."""
    return list(SQL.quarantine_counts(conn))


# Findings ---------------------------------------------------------------------------------------------


def detect_now(
    conn: Connection, lake: Lake, ids: Ids, clock: Clock, *, policy: DetectPolicy | None = None
) -> list[Finding]:
    """Look for rising faults in every programme; open a finding and a lap for each.

    Returns:
        The findings opened by this call.

    A programme that cannot be looked at is told in the log and opens nothing; the others are looked at.

    Raises:
        Unavailable: the lake or the record does not answer.
    """
    rule = policy or DetectPolicy()
    opened: list[Finding] = []
    if not lake.files("faults"):
        return opened  # no vehicle ever told of a fault
    for row in list(SQL.programmes(conn)):
        with apart(conn, programme_id=row["id"]):
            opened += _detect_programme(conn, lake, ids, clock, policy=rule, programme_id=row["id"])
    return opened


def list_findings(
    conn: Connection,
    *,
    state: str | None = None,
    programme_id: str | None = None,
    before_id: str | None = None,
    rows_max: int = 100,
) -> list[Finding]:
    """Return findings, newest first; pass the last id on for the next page."""
    return [
        _finding(row)
        for row in SQL.findings(
            conn,
            state=state,
            programme_id=programme_id,
            before_id=before_id,
            rows_max=min(rows_max, PAGE_ROWS_MAX),
        )
    ]


def get_finding(conn: Connection, finding_id: str) -> Finding:
    """Return one finding with its evidence.

    Raises:
        NotFound: there is none with this id.
    """
    row = SQL.finding(conn, finding_id=finding_id)
    if row is None:
        raise NotFound(f"there is no finding {finding_id!r}")
    return _finding(row)


def _detect_programme(
    conn: Connection, lake: Lake, ids: Ids, clock: Clock, *, policy: DetectPolicy, programme_id: str
) -> list[Finding]:
    started = clock.now()
    until_us = to_us(started) + 1
    window = Window(
        programme=programme_id,
        since_us=until_us - policy.window_s * 1_000_000,
        until_us=until_us,
        tick_us=policy.tick_s * 1_000_000,
        gap_us=policy.gap_s * 1_000_000,
    )
    keys = _keys(conn, programme_id)
    live = {key for key, (is_live, _) in keys.items() if is_live}
    opened = []

    def look(window: Window, *, only: Key | None) -> None:
        measurement = measure_faults(lake, window)
        for decision in decide_finding(policy, measurement.counts, live=live, until_us=until_us):
            key = decision.key
            # Evidence from before a finding was closed is spent; its key is looked at from there on.
            spent = only is None and key not in live and keys.get(key, (False, None))[1] is not None
            if spent:
                again.append(key)
            elif isinstance(decision, NoFinding):
                LOG.debug("no finding", key=key, reason=decision.reason)
            elif only is None or key == only:
                evidence = finding_evidence(decision, measurement, window=window, policy=policy)
                finding = _open(
                    conn, ids, clock, decision, evidence, started=started, programme_id=programme_id
                )
                opened.extend([finding] if finding else [])

    again: list[Key] = []
    look(window, only=None)
    for key in again:
        closed_at = keys[key][1]
        if closed_at is not None and to_us(closed_at) < until_us:
            since_us = max(window.since_us, to_us(closed_at))
            look(replace(window, since_us=since_us, ecu=key[0]), only=key)
    return opened


def _open(
    conn: Connection,
    ids: Ids,
    clock: Clock,
    decision: OpenFinding,
    evidence: Mapping[str, Any],
    *,
    started: datetime,
    programme_id: str,
) -> Finding | None:
    """Open a finding with its lap, unless somebody else just did."""
    ecu, version, code = decision.key
    title = finding_title(decision)
    with transaction(conn):
        SQL.lock_detection(conn, programme_id=programme_id)
        if _keys(conn, programme_id).get(decision.key, (False, None))[0]:
            return None
        now = clock.now()
        lap_id, finding_id = ids.new("lap"), ids.new("finding")
        open_lap(conn, lap_id=lap_id, title=title, now=now)
        SQL.insert_finding(
            conn,
            id=finding_id,
            lap_id=lap_id,
            title=title,
            programme_id=programme_id,
            ecu=ecu,
            software_version=version,
            fault_code=code,
            evidence=Jsonb(dict(evidence)),
            opened_at=now,
        )
        first_at = min(from_us(decision.first_signal_us), now)
        signal = append_fact(
            conn,
            ids,
            kind=FactKind.SIGNAL_OBSERVED,
            subject=finding_id,
            actor=RULE,
            now=now,
            lap_id=lap_id,
            event_at=first_at,
            body={"ecu": ecu, "software_version": version, "fault_code": code},
        )
        append_fact(
            conn,
            ids,
            kind=FactKind.FINDING_OPENED,
            subject=finding_id,
            actor=RULE,
            now=now,
            lap_id=lap_id,
            causes=[signal.id],
            work_started_at=min(started, now),
            body={
                "title": title,
                "counts": evidence["counts"],
                "population": evidence["population"],
                "ratio": evidence["ratio"],
                "log_e_micronats": evidence["log_e_micronats"],
            },
        )
        LOG.info("finding opened", finding=finding_id, lap=lap_id, key=decision.key)
        return get_finding(conn, finding_id)


def _keys(conn: Connection, programme_id: str) -> dict[Key, tuple[bool, datetime | None]]:
    return {
        (row["ecu"], row["software_version"], row["fault_code"]): (row["live"], row["closed_at"])
        for row in SQL.finding_keys(conn, programme_id=programme_id)
    }


def _finding(row: Mapping[str, Any]) -> Finding:
    return Finding(**{name: row[name] for name in Finding.__dataclass_fields__})


def _read_block(
    block: Iterable[tuple[int, bytes]], *, label: str, now: datetime
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    good: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for number, line in block:
        decision = complaints.parse_line(line, today=now.date())
        if isinstance(decision, Complaint):
            good.append({**asdict(decision), "imported_at": now})
        else:
            refused.append(_refusal(complaints.SOURCE, f"{label}:{number}", decision, line, now))
    return good, refused


def _refusal(
    source: str, locator: str, why: Quarantined, raw: bytes, received_at: datetime
) -> dict[str, Any]:
    return {
        "source": source,
        "locator": locator,
        "reason": f"{why.reason}: {why.detail}".replace("\0", "\\0"),
        "raw": raw[:RAW_BYTES_MAX],
        "received_at": received_at,
    }


def _rowcount(result: Any) -> int:
    return int(result)
