"""What the gateways read from and write to PostgreSQL. Nothing here decides.

Feedback is group-committed: many devices' reports share one transaction, and each is answered after it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import psycopg
import structlog
from psycopg.types.json import Jsonb

from ringroad.http.device.ddi import ATTRIBUTES_MAX
from ringroad.http.device.read_model import ReadModel
from ringroad.kernel.errors import InvalidInput, RingroadError, Unavailable
from ringroad.storage.db import Connection, load_queries

SQL = load_queries("ringroad.http.device")
log = structlog.get_logger()

FLUSH_EVERY_S = 0.005  # seconds; measured: durable feedback becomes cheaper than one statement each
FLUSH_WRITES_MAX = 1_000  # devices' writes per transaction
QUEUE_ROWS_MAX = 50_000  # rows waiting; beyond it devices are asked to come back later
SEQ_SLACK = 1_000  # numbers drawn by transactions that commit out of order
DEBOUNCE_S = 0.05  # seconds; a burst of changes is read once
LISTEN_S = 1.0  # seconds one wait for a notification may take; bounds how long a stop takes
RELOAD_S = 30.0  # seconds; a belt for the braces of NOTIFY
RETRY_S = 0.5  # seconds between attempts to reach the database again

WAKING = frozenset({"closed", "cancel"})  # kinds that the worker should fold at once

# One parameter for the whole batch: adapting arrays value by value cost more than everything else together.
INSERT_REPORTS = """
INSERT INTO device_report (vin, dedupe_key, action_id, kind, event_at, received_at, body)
SELECT * FROM jsonb_to_recordset(%s::jsonb)
    AS given (vin text, dedupe_key text, action_id int, kind text, event_at timestamptz, received_at timestamptz, body jsonb)
ON CONFLICT (vin, dedupe_key) DO NOTHING
"""
UPDATE_ATTRIBUTES = """
UPDATE vehicle SET attributes = CASE %(mode)s
    WHEN 'replace' THEN %(data)s
    WHEN 'remove' THEN attributes - ARRAY(SELECT jsonb_object_keys(%(data)s))
    ELSE attributes || %(data)s END
 WHERE vin = %(vin)s
   AND (%(mode)s <> 'merge' OR %(attributes_max)s >=
        (SELECT count(*) FROM jsonb_object_keys(attributes || %(data)s)))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReport:
    """One report on its way into `device_report`."""

    vin: str
    dedupe_key: str
    action_id: int | None
    kind: str  # progress, closed, cancel, config
    event_at: datetime
    received_at: datetime
    body: dict[str, Any]


class ReportWriter:
    """Group commit: `write` returns when the report is durable, or raises.

    Invariant: what one device sent never keeps another's report from being stored.
    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._waiting: list[tuple[list[NewReport], asyncio.Future[None]]] = []
        self._rows = 0
        self._wake = asyncio.Event()
        self._conn: psycopg.AsyncConnection[Any] | None = None

    async def write(self, reports: list[NewReport]) -> None:
        """Make reports durable; a repeated one is stored once.

        Raises:
            InvalidInput: these reports cannot be stored; sending them again will not help.
            Unavailable: the queue is full or the database does not answer; nothing was acknowledged.
        """
        if self._rows + len(reports) > QUEUE_ROWS_MAX:
            raise Unavailable("too many reports are waiting", hint="come back later", code="overload")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((reports, future))
        self._rows += len(reports)
        self._wake.set()
        await future

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
            await self._disconnect()

    async def _flush(self, batch: list[tuple[list[NewReport], asyncio.Future[None]]]) -> None:
        self._rows -= sum(len(some) for some, _ in batch)
        refusal = await self._store([report for some, _ in batch for report in some])
        if isinstance(refusal, InvalidInput) and len(batch) > 1:
            for some, future in batch:  # one of them is to blame: each for itself
                _settle(future, await self._store(some))
            return
        for _, future in batch:
            _settle(future, refusal)

    async def _store(self, reports: list[NewReport]) -> RingroadError | None:
        """Write in one transaction; return why it could not be done. Never raises: the next batch must go on."""
        try:
            if self._conn is None or self._conn.closed:
                self._conn = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
            async with self._conn.transaction():
                await self._insert(self._conn, reports)
        except (psycopg.DataError, orjson.JSONEncodeError) as error:
            return InvalidInput("the report cannot be stored", code="unstorable", detail=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing was acknowledged
            await self._disconnect()
            return Unavailable("the report could not be stored", hint="send it again", detail=str(error))
        return None

    async def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await conn.close()

    @staticmethod
    async def _insert(conn: psycopg.AsyncConnection[Any], reports: list[NewReport]) -> None:
        document = orjson.dumps(reports)  # dataclasses and times as they are
        if b"\\u0000" in document:
            document = orjson.dumps(_without_nul(orjson.loads(document)))
        await conn.execute(INSERT_REPORTS, (document.decode(),))
        if any(report.kind in WAKING for report in reports):
            await conn.execute("SELECT pg_notify('ringroad_report', '')")
        for report in reports:
            if report.kind == "config":
                given = {
                    "mode": report.body["mode"],
                    "data": Jsonb(_without_nul(report.body["data"])),
                    "vin": report.vin,
                    "attributes_max": ATTRIBUTES_MAX,
                }
                await conn.execute(UPDATE_ATTRIBUTES, given)


def _settle(future: asyncio.Future[None], refusal: RingroadError | None) -> None:
    if future.done():  # its client went away
        return
    if refusal is None:
        future.set_result(None)
    else:
        future.set_exception(refusal)


async def keep_fresh(model: ReadModel, open_connection: Callable[[], Connection]) -> None:
    """Follow the change feed until cancelled; drop the model whenever the feed breaks."""
    while True:
        try:
            await _follow(model, open_connection)
        except (psycopg.Error, Unavailable, OSError) as error:
            model.drop()
            log.warning("read model dropped", reason=str(error).split("\n", maxsplit=1)[0])
            await asyncio.sleep(RETRY_S)


async def _follow(model: ReadModel, open_connection: Callable[[], Connection]) -> None:
    conn = await asyncio.to_thread(open_connection)
    try:
        await asyncio.to_thread(_listen, conn)
        await asyncio.to_thread(_load, conn, model)
        model.fresh = True
        log.info("read model loaded", devices=len(model.devices))
        quiet_s = 0.0
        while True:
            if await asyncio.to_thread(_woken, conn):
                await asyncio.sleep(DEBOUNCE_S)
            elif (quiet_s := quiet_s + LISTEN_S) < RELOAD_S:
                continue
            quiet_s = 0.0
            await asyncio.to_thread(_load, conn, model)
    finally:
        with contextlib.suppress(psycopg.Error):
            conn.close()


def _listen(conn: Connection) -> None:
    conn.execute("LISTEN ringroad_gateway")


def _woken(conn: Connection) -> bool:
    return any(True for _ in conn.notifies(timeout=LISTEN_S, stop_after=1))


def _load(conn: Connection, model: ReadModel) -> None:
    first = model.device_seq == 0 and not model.devices
    with conn.transaction():
        model.fold_devices(SQL.devices(conn, after_seq=0 if first else max(0, model.device_seq - SEQ_SLACK)))
        model.fold_assignments(
            SQL.assignments(conn, after_seq=0 if first else max(1, model.assignment_seq - SEQ_SLACK))
        )


def _without_nul(value: Any) -> Any:
    """Drop the one character that PostgreSQL cannot keep in a text."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value
