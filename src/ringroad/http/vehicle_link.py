"""The server's end of the vehicles' own connections: diagnostic requests go out over NATS, answers come in.

A request lies in the database until its vehicle has answered; it is sent again and again, by whichever server process is
first, and the vehicle does it once. So nothing here has to be remembered: not what was sent, not what came.

Invariants:
    * An answer counts for the vehicle of its subject; NATS lets no vehicle use another's (`storage/nats_auth.py`).
    * What a vehicle says is bounded and decoded before it reaches the database.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Final

import msgspec
import nats
import psycopg
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import InvalidInput, RingroadError, Unavailable
from ringroad.kernel.vin import Vin, parse_vin
from ringroad.protocol.diagnostics import ANSWER_BYTES_MAX, DiagnosticAnswer, DiagnosticRequest
from ringroad.signal.diagnose import next_try_s
from ringroad.signal.store_diagnostics import accept_answer, due_requests, note_sent, sweep
from ringroad.storage.db import Connection

QUEUE: Final = "ringroad-diagnostics"  # several server processes share the answers
ANSWER_SUBJECT: Final = "ringroad.v1.*.diagnostics.answer"
LOOK_S: Final = 1.0  # s between two looks for what is due, unless somebody says that there is something
SWEEP_S: Final = 5.0  # s between two looks for what is over
SEND_ROWS_MAX: Final = 200  # requests per look
ANSWERS_MAX: Final = 1_024  # answers not yet stored; more are dropped, and asked for again
RETRY_S: Final = 1.0
DEAF_MAX: Final = 10_000  # vehicles remembered as not listening

log = structlog.get_logger()

Transaction = Callable[[], AbstractContextManager[Connection]]


class VehicleLink:
    """Sends what is due and stores what is answered, for one server process."""

    def __init__(self, nats_url: str, transaction: Transaction, *, clock: Clock, ids: Ids) -> None:
        self._url = nats_url
        self._transaction = transaction
        self._clock = clock
        self._ids = ids
        self._due = asyncio.Event()
        self._answers: asyncio.Queue[Msg] = asyncio.Queue(ANSWERS_MAX)
        self._deaf: dict[str, float] = {}  # vehicles whose topic nobody heard, and when that was
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; NATS may come later."""
        self._task = asyncio.create_task(self._keep_running(), name="vehicle link")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def kick(self) -> None:
        """Look for what is due now; on the server's event loop."""
        self._due.set()

    def is_deaf(self, vin: str, *, since: float) -> bool:
        """Whether nobody listened when this vehicle was asked, at or after a moment by the monotonic clock."""
        return self._deaf.get(vin, 0.0) >= since

    async def _keep_running(self) -> None:
        while True:
            try:
                connection = await nats.connect(
                    self._url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=_quiet
                )
                try:
                    await self._serve(connection)
                finally:
                    with contextlib.suppress(nats.errors.Error, OSError):
                        await connection.close()
            except (nats.errors.Error, OSError, RingroadError, psycopg.Error) as error:
                log.warning("vehicle_link_interrupted", detail=repr(error))
            except Exception:  # a fault of ours in one answer must not silence every vehicle
                log.exception("vehicle_link_interrupted")
            await asyncio.sleep(RETRY_S)

    async def _serve(self, connection: Client) -> None:
        inbox = connection.new_inbox()

        async def take(message: Msg) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                self._answers.put_nowait(message)

        async def unheard(message: Msg) -> None:
            if (message.headers or {}).get("Status") == "503":
                self._note_deaf(message.subject.rpartition(".")[2])

        await connection.subscribe(ANSWER_SUBJECT, queue=QUEUE, cb=take)
        await connection.subscribe(f"{inbox}.*", cb=unheard)
        tasks = [
            asyncio.create_task(self._send(connection, inbox)),
            asyncio.create_task(self._store()),
            asyncio.create_task(self._sweep()),
        ]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended:
            task.result()

    async def _send(self, connection: Client, inbox: str) -> None:
        while True:
            self._due.clear()
            for vin, request in await asyncio.to_thread(self._take_due):
                # The reply is only how NATS says that nobody listens: MQTT hands it to no vehicle.
                await connection.publish(
                    f"ringroad.v1.{vin}.diagnostics.request",
                    msgspec.json.encode(request),
                    reply=f"{inbox}.{vin}",
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), LOOK_S)

    def _take_due(self) -> list[tuple[str, DiagnosticRequest]]:
        now = self._clock.now()
        with self._transaction() as conn:
            due = due_requests(conn, now=now, rows_max=SEND_ROWS_MAX)
            for job, _ in due:
                wait_s = next_try_s(job.tries + 1, heard=job.vin not in self._deaf)
                note_sent(conn, job_id=job.id, next_at=now + timedelta(seconds=wait_s))
        return [(job.vin, request) for job, request in due]

    async def _store(self) -> None:
        while True:
            message = await self._answers.get()
            read = read_answer(message.subject, message.data)
            if read is None:
                log.warning("diagnostic_answer_unreadable", subject=message.subject[:100])
                continue
            vin, answer = read
            self._deaf.pop(vin, None)
            try:
                wanted = await asyncio.to_thread(self._accept, vin, answer)
            except (Unavailable, psycopg.OperationalError):
                raise
            except Exception:  # what is wrong with one answer is no reason to drop the others
                log.exception("diagnostic_answer_not_stored", vin=vin, job=answer.id)
                continue
            if not wanted:
                log.debug("diagnostic_answer_unwanted", vin=vin, job=answer.id, final=answer.final)

    def _accept(self, vin: Vin, answer: DiagnosticAnswer) -> bool:
        with self._transaction() as conn:
            return accept_answer(conn, self._ids, vin=vin, answer=answer, now=self._clock.now())

    async def _sweep(self) -> None:
        while True:
            await asyncio.to_thread(self._end_over)
            await asyncio.sleep(SWEEP_S)

    def _end_over(self) -> None:
        with self._transaction() as conn:
            sweep(conn, self._ids, now=self._clock.now())

    def _note_deaf(self, vin: str) -> None:
        self._deaf.pop(vin, None)
        self._deaf[vin] = self._clock.monotonic_s()
        while len(self._deaf) > DEAF_MAX:
            del self._deaf[next(iter(self._deaf))]


def read_answer(subject: str, payload: bytes) -> tuple[Vin, DiagnosticAnswer] | None:
    """Return whose answer this is and what it says; None for what is none. Pure."""
    parts = subject.split(".")
    if len(parts) != 5 or parts[:2] != ["ringroad", "v1"] or parts[3:] != ["diagnostics", "answer"]:
        return None
    if len(payload) > ANSWER_BYTES_MAX + 1024:
        return None
    try:
        vin = parse_vin(parts[2])
        answer = msgspec.json.decode(payload, type=DiagnosticAnswer)
    except (InvalidInput, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if "\\u0000" in payload.decode("utf-8", "replace"):
        return None  # PostgreSQL has no place for it
    return vin, answer


async def _quiet(error: Exception) -> None:
    log.warning("nats_connection", detail=repr(error))
