"""What the gateways read from and write to PostgreSQL. Nothing here decides.

Feedback is group-committed: many devices' reports share one transaction, and each is answered after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg.types.json import Jsonb

from ringroad.http.device.ddi import ATTRIBUTES_MAX
from ringroad.http.device.notices import Closing, closing_notices, parse_notice
from ringroad.http.device.read_model import ReadModel
from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import InvalidInput, RingroadError, Unavailable
from ringroad.storage.db import Connection, Opener, load_queries

SQL = load_queries("ringroad.http.device")
log = structlog.get_logger()
_ENCODER = msgspec.json.Encoder()
Settle = Callable[[RingroadError | None], None]

FLUSH_EVERY_S = 0.01  # seconds; a commit costs 300 µs, so it should be shared; no vehicle waits for 10 ms
FLUSH_WRITES_MAX = 1_000  # devices' writes per transaction
SEQ_SLACK = 1_000  # numbers looked at again where nobody told from which on
DEBOUNCE_S = 0.05  # seconds; a burst of changes is read once
LISTEN_S = 1.0  # seconds one wait for a notification may take; bounds how long a stop takes
RELOAD_S = 30.0  # seconds; a belt for the braces of NOTIFY, which tells of every committed change
YOUNG_MAX = 20_000  # objects made and still held before a collection looks for cycles; a batch of reports holds thousands
RETRY_S = 0.5  # seconds between attempts to reach the database again

WAKING = frozenset(
    {"closed", "cancel", "confirmation", "auto_confirm", "installed"}
)  # kinds that the worker should fold at once

# One parameter for the whole batch: adapting arrays value by value cost more than everything else together.
INSERT_REPORTS = """
INSERT INTO device_report (vin, dedupe_key, action_id, kind, event_at, received_at, body)
SELECT vin, dedupe_key, action_id, kind, coalesce(event_at, %(now)s), %(now)s, body
  FROM jsonb_to_recordset(%(reports)s::jsonb)
    AS given (vin text, dedupe_key text, action_id int, kind text, event_at timestamptz, body jsonb)
ON CONFLICT (vin, dedupe_key) DO NOTHING
"""
# One statement, so that it needs no transaction around it: two round trips less.
INSERT_AND_WAKE = f"""
WITH stored AS ({INSERT_REPORTS})
SELECT pg_notify('ringroad_report', ''), count(pg_notify('ringroad_gateway', notice))
  FROM unnest(%(notices)s::text[]) AS notice
"""  # noqa: S608 - of constants
UPDATE_ATTRIBUTES = """
UPDATE vehicle SET attributes = CASE %(mode)s
    WHEN 'replace' THEN %(data)s
    WHEN 'remove' THEN attributes - ARRAY(SELECT jsonb_object_keys(%(data)s))
    ELSE attributes || %(data)s END
 WHERE vin = %(vin)s
   AND (%(mode)s <> 'merge' OR %(attributes_max)s >=
        (SELECT count(*) FROM jsonb_object_keys(attributes || %(data)s)))
   AND attributes IS DISTINCT FROM CASE %(mode)s
    WHEN 'replace' THEN %(data)s
    WHEN 'remove' THEN attributes - ARRAY(SELECT jsonb_object_keys(%(data)s))
    ELSE attributes || %(data)s END
"""


class NewReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One report on its way into `device_report`. A msgspec value: made and encoded in a tenth of the time."""

    vin: str
    dedupe_key: str
    kind: str  # progress, closed, cancel, config
    body: dict[str, Any]
    action_id: int | None = None
    event_at: datetime | None = None  # None: when it was received


class _Waiting(msgspec.Struct, frozen=True):
    """What one device handed in at once, and whom to tell. A msgspec value, as `NewReport`."""

    rows: bytes  # JSON objects separated by commas
    size: int  # reports
    wakes: bool
    closes: tuple[Closing, ...]
    configs: tuple[NewReport, ...]
    settle: Settle


class ReportWriter:
    """Group commit: whoever hands in reports is told when they are durable, or why not.

    Invariant: what one device sent never keeps another's report from being stored.
    """

    def __init__(self, open_connection: Opener, *, clock: Clock, rows_max: int) -> None:
        self._open_connection = open_connection
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._rows_max = rows_max  # waiting; beyond it devices are asked to come back later
        self.rows = 0  # waiting, or on their way to the database
        self._wake = asyncio.Event()
        self._conn: Connection | None = None

    def put(self, reports: list[NewReport], settle: Settle) -> None:
        """Make reports durable, then call `settle` with None, or with what kept them from being stored.

        A repeated report is stored once.

        Raises:
            InvalidInput: these reports cannot be stored; sending them again will not help.
            Unavailable: the queue is full; nothing was taken.
        """
        if self.rows + len(reports) > self._rows_max:
            raise Unavailable("too many reports are waiting", hint="come back later", code="overload")
        rows = b",".join([_encode(report) for report in reports])
        wakes = False
        closes: tuple[Closing, ...] = ()
        configs: tuple[NewReport, ...] = ()
        for report in reports:
            if report.kind == "progress":  # nearly all of them
                continue
            wakes = wakes or report.kind in WAKING
            ends = report.kind == "closed" or (
                report.kind == "cancel" and report.body.get("execution") == "closed"
            )
            if ends and report.action_id is not None:
                closes = (*closes, (report.action_id, report.vin))
            elif report.kind == "config":
                configs = (*configs, report)
        self._waiting.append(_Waiting(rows, len(reports), wakes, closes, configs, settle))
        self.rows += len(reports)
        self._wake.set()

    async def write(self, reports: list[NewReport]) -> None:
        """Return when reports are durable.

        Raises:
            InvalidInput: these reports cannot be stored; sending them again will not help.
            Unavailable: the queue is full or the database does not answer; nothing was acknowledged.
        """
        future: asyncio.Future[RingroadError | None] = asyncio.get_running_loop().create_future()
        self.put(reports, lambda error: None if future.done() else future.set_result(error))
        if (error := await future) is not None:
            raise error

    async def run(self) -> None:
        """Write until cancelled."""
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(FLUSH_EVERY_S)
                self._wake.clear()
                while self._waiting:
                    batch, self._waiting = self._waiting[:FLUSH_WRITES_MAX], self._waiting[FLUSH_WRITES_MAX:]
                    await self._flush(batch)
        finally:
            self._disconnect()

    async def _flush(self, batch: list[_Waiting]) -> None:
        refusal = await asyncio.to_thread(self._store, batch)
        self.rows -= sum([each.size for each in batch])
        if isinstance(refusal, InvalidInput) and len(batch) > 1:
            for each in batch:  # one of them is to blame: each for itself
                _settle(each.settle, await asyncio.to_thread(self._store, [each]))
            return
        for each in batch:
            _settle(each.settle, refusal)

    def _store(self, batch: list[_Waiting]) -> RingroadError | None:
        """Write in one transaction; return why it could not be done. Never raises: the next batch must go on.

        In a thread: one hop for a batch costs less than psycopg's waiting on the event loop.
        """
        configs = [report for each in batch for report in each.configs]
        statement = INSERT_AND_WAKE if any([each.wakes for each in batch]) else INSERT_REPORTS  # noqa: C419
        document = b"[%b]" % b",".join([each.rows for each in batch])
        try:
            given = {
                "now": self._clock.now(), "reports": document.decode(),
                "notices": closing_notices([each for waiting in batch for each in waiting.closes]),
            }  # fmt: skip
            if self._conn is None or self._conn.closed:
                self._conn = self._open_connection()
            if configs:
                with self._conn.transaction():
                    self._conn.execute(statement, given)
                    _update_attributes(self._conn, configs)
            else:  # one statement is one transaction
                self._conn.execute(statement, given, prepare=True)
        except psycopg.DataError as error:
            return InvalidInput("the report cannot be stored", code="unstorable", detail=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing was acknowledged
            self._disconnect()
            return Unavailable("the report could not be stored", hint="send it again", detail=str(error))
        return None

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                conn.close()


def _update_attributes(conn: Connection, configs: list[NewReport]) -> None:
    for report in configs:
        given = {
            "mode": report.body["mode"],
            "data": Jsonb(_without_nul(report.body["data"])),
            "vin": report.vin,
            "attributes_max": ATTRIBUTES_MAX,
        }
        conn.execute(UPDATE_ATTRIBUTES, given)


def _encode(report: NewReport) -> bytes:
    try:
        row = _ENCODER.encode(report)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput("the report cannot be stored", code="unstorable", detail=str(error)) from error
    if b"\\u0000" in row:
        row = _ENCODER.encode(_without_nul(msgspec.json.decode(row)))
    return row


def _settle(settle: Settle, refusal: RingroadError | None) -> None:
    """Tell one; that it cannot be told is no reason to keep it from the others."""
    try:
        settle(refusal)
    except Exception:
        log.exception("a report was settled and its answer failed")


async def keep_fresh(model: ReadModel, open_connection: Opener, clock: Clock) -> None:
    """Follow the change feed until cancelled; drop the model whenever the feed breaks."""
    while True:
        try:
            await _follow(model, open_connection, clock)
        except Exception as error:
            model.drop()  # whatever it was: what is not followed any more must not be answered from
            if isinstance(error, psycopg.Error | Unavailable | OSError):
                log.warning("read model dropped", reason=str(error).split("\n", maxsplit=1)[0])
            else:
                log.exception("read model dropped")
            await asyncio.sleep(RETRY_S)


async def _follow(model: ReadModel, open_connection: Opener, clock: Clock) -> None:
    asked_s = clock.monotonic_s()
    conn = await asyncio.to_thread(open_connection)
    try:
        await asyncio.to_thread(_listen, conn)
        await asyncio.to_thread(_load, conn, model, after_seq=0)
        gc.freeze()  # a million small objects that live as long as we do: no collection need visit them
        gc.set_threshold(YOUNG_MAX)
        model.heard_s = asked_s
        model.fresh = True
        log.info("read model loaded", devices=len(model.devices))
        quiet_s = 0.0
        while True:
            asked_s = clock.monotonic_s()  # what is heard from now on is at least as new as this
            told = [parse_notice(payload) for payload in await asyncio.to_thread(_notices, conn)]
            quiet_s = 0.0 if told else quiet_s + LISTEN_S
            for notice in told:
                model.fold_closings(notice.closed)
            froms = [model.seq - SEQ_SLACK if each.changed_from is None else each.changed_from - 1
                     for each in told if not each.closed]  # fmt: skip
            if froms:
                await asyncio.sleep(DEBOUNCE_S)
            elif quiet_s < RELOAD_S:
                model.heard_s = asked_s
                continue
            quiet_s = 0.0
            after_seq = min(froms, default=model.seq - SEQ_SLACK)
            await asyncio.to_thread(_load, conn, model, after_seq=max(1, after_seq))
            model.heard_s = asked_s
    finally:
        with contextlib.suppress(psycopg.Error):
            conn.close()


def _listen(conn: Connection) -> None:
    conn.execute("LISTEN ringroad_gateway")


def _notices(conn: Connection) -> list[str]:
    """Wait for a notice; where none comes, make sure that the database is still there to send one."""
    told = [notify.payload for notify in conn.notifies(timeout=LISTEN_S, stop_after=1)]
    if not told:
        conn.execute("SELECT")
    return told


def _load(conn: Connection, model: ReadModel, *, after_seq: int) -> None:
    """Read what changed after a number; 0: everything."""
    with conn.transaction():
        # One snapshot: whoever is offered something has its terms.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        model.gateway_tokens = tuple(bytes(row["token_sha256"]) for row in SQL.gateway_tokens(conn))
        model.fold_terms(SQL.terms(conn, known=list(model.terms)))
        model.fold_devices(SQL.devices(conn, after_seq=after_seq))
        model.fold_assignments(SQL.assignments(conn, after_seq=after_seq))
        if after_seq == 0:
            model.fold_installed(SQL.installed_actions(conn))


def _without_nul(value: Any) -> Any:
    """Drop the one character that PostgreSQL cannot keep in a text."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value
