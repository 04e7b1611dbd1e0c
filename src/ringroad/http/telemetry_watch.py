"""Does the stream of telemetry answer, and is it read? One server process asks, and tells when that changes.

It has a connection of its own: what else becomes of a server's connections says nothing of telemetry.
Several servers may look; what one of them told is not told again, and who hears the stream says that it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Final

import psycopg
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import RingroadError
from ringroad.signal.silence import Backlog, Silence, Watched
from ringroad.signal.store_silence import tell_back, tell_silence
from ringroad.storage.broker import open_connection
from ringroad.storage.db import Connection
from ringroad.storage.streams import read_backlog

LOOK_S: Final = 5.0  # s between two looks
ANSWER_S_MAX: Final = 5.0  # s that an answer may take; a connection has as long

LOG = structlog.get_logger()

Transaction = Callable[[], AbstractContextManager[Connection]]


class TelemetryWatch:
    """Asks the stream every few seconds, for one server process."""

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
        now = self._clock.now()
        silent = seen.silent_s(now_s=self._clock.monotonic_s())
        with self._transaction() as conn:
            if silent is None:
                if tell_back(conn, self._ids, seen, asked_at=asked_at, now=now):
                    LOG.info("telemetry_back")
                return
            silent_s, why = silent
            silence = Silence(since=now - timedelta(seconds=silent_s), why=why)
            if tell_silence(conn, self._ids, silence, now=now):
                LOG.warning("telemetry_silent", since=silence.since.isoformat(), why=why.value)

    async def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(NatsError, OSError):
                await client.close()
