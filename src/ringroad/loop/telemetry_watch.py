"""Does the stream of telemetry answer, and is it read? A server process or a worker asks, and tells when that changes.

It has a connection of its own: what else becomes of a process' connections says nothing of telemetry.
Several may look; what one of them told is not told again, and who hears the stream says that it is back. That it does not
answer is told where nobody hears it: what one server alone does not hear, it says of itself, and no campaign waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import psycopg
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import RingroadError
from ringroad.signal.silence import Backlog, Silence, Watched, Why
from ringroad.signal.store_silence import hear, tell_back, tell_silence
from ringroad.storage.broker import open_connection
from ringroad.storage.db import Connection
from ringroad.storage.streams import read_backlog

LOOK_S: Final = 5.0  # s between two looks
ANSWER_S_MAX: Final = 5.0  # s that an answer may take; a connection has as long

LOG = structlog.get_logger()

Transaction = Callable[[], AbstractContextManager[Connection]]


class TelemetryWatch:
    """Asks the stream every few seconds, for one process."""

    def __init__(self, nats_url: str, transaction: Transaction, *, clock: Clock, ids: Ids) -> None:
        self._url = nats_url
        self._transaction = transaction
        self._clock = clock
        self._ids = ids
        self._client: Client | None = None
        self._seen = Watched(answered_s=clock.monotonic_s())
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; NATS may come later."""
        self._task = asyncio.create_task(self._keep_looking(), name="telemetry watch")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._hang_up()

    async def look_until(self, stop: asyncio.Event) -> None:
        """Look until somebody stops it."""
        await self.start()
        await stop.wait()
        await self.stop()

    @property
    def deaf(self) -> Silence | None:
        """Return that this process does not hear the stream, though others may; None while it does."""
        silent = self._silence(self._seen)
        return replace(silent, alone=True) if silent is not None and silent.why is Why.UNANSWERED else None

    async def look(self) -> None:
        """Ask once, and tell what changed by it; the next look tells what could not be told.

        Raises:
            psycopg.Error, RingroadError: the database does not take it now.
        """
        asked_at = self._clock.now()
        self._seen = self._seen.after(await self._ask(), now_s=self._clock.monotonic_s())
        await asyncio.to_thread(self._tell, self._seen, asked_at)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
            except (psycopg.Error, RingroadError) as error:
                LOG.warning("telemetry_watch_waits", detail=repr(error))
            except Exception:  # a fault of ours must not end the watch
                LOG.exception("telemetry_watch_failed")
            await asyncio.sleep(LOOK_S)

    async def _ask(self) -> Backlog | None:
        try:
            if self._client is None or not self._client.is_connected:
                await self._hang_up()
                self._client = await open_connection(self._url)
            waiting, taken = await read_backlog(self._client, within_s=ANSWER_S_MAX)
        except (NatsError, OSError) as error:  # a time that is over is one of them
            LOG.debug("telemetry_unanswered", detail=repr(error))
            await self._hang_up()
            return None
        return Backlog(waiting=waiting, taken=taken)

    def _tell(self, seen: Watched, asked_at: datetime) -> None:
        now, silence = self._clock.now(), self._silence(seen)
        with self._transaction() as conn:
            if seen.answers:
                hear(conn, now=asked_at)
            if silence is None:
                if tell_back(conn, self._ids, seen, asked_at=asked_at, now=now):
                    LOG.info("telemetry_back")
            elif tell_silence(conn, self._ids, silence, now=now):
                LOG.warning("telemetry_silent", since=silence.since.isoformat(), why=silence.why.value)

    def _silence(self, seen: Watched) -> Silence | None:
        silent = seen.silent_s(now_s=self._clock.monotonic_s())
        if silent is None:
            return None
        return Silence(since=self._clock.now() - timedelta(seconds=silent[0]), why=silent[1])

    async def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(NatsError, OSError):
                await client.close()
