"""Server-sent events: each new fact's kind and subject, to every open console page.

One database connection listens; clients have bounded queues. A client that cannot keep up is told to
read everything again, and so is everybody when the database connection was lost: the stream carries
hints, never truth.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg
import structlog

from ringroad.http.auth import TooMany

log = structlog.get_logger()

CHANNEL = "ringroad_fact"
CLIENTS_MAX = 500  # open pages; each costs one queue and one socket
CLIENTS_PER_ACCOUNT_MAX = 20  # open pages of one account; a person has a handful of tabs
QUEUE_MAX = 256  # events a client may lag behind
HEARTBEAT_S = 15.0  # seconds; proxies close what is silent for 30
STREAM_S_MAX = 3_600.0  # seconds; then the browser reconnects and is authenticated again
RETRY_S = 0.5  # seconds between attempts to reach the database

RESYNC = "event: resync\ndata: {}\n\n"


class FactFeed:
    """Fans facts out to clients; lives on the server's event loop."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._clients: dict[asyncio.Queue[str], str] = {}  # and whose each is
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._news = asyncio.Event()  # set at the next notice, then replaced

    async def start(self) -> None:
        """Start listening."""
        self._closing.clear()
        self._task = asyncio.create_task(self._listen(), name="fact feed")

    async def stop(self) -> None:
        """Stop listening and end every stream."""
        self._closing.set()
        for queue in self._clients:
            _offer(queue, "")
        self._news.set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def stream(self, account: str) -> AsyncIterator[str]:
        """Return encoded events until the client leaves, the server stops or the hour is over.

        Raises:
            TooMany: too many pages are open already, by this account or by all.
        """
        own = sum(holder == account for holder in self._clients.values())
        if len(self._clients) >= CLIENTS_MAX or own >= CLIENTS_PER_ACCOUNT_MAX:
            raise TooMany("too many live pages are open", wait_s=30)
        return self._stream(account)

    @property
    def is_closing(self) -> bool:
        """Whether every stream has to end."""
        return self._closing.is_set()

    @property
    def news(self) -> asyncio.Event:
        """What is set when something is recorded from now on; a hint, as all of this is."""
        return self._news

    async def _stream(self, account: str) -> AsyncIterator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue(QUEUE_MAX)
        self._clients[queue] = account
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + STREAM_S_MAX
        try:
            yield "retry: 2000\nevent: hello\ndata: {}\n\n"
            while not self._closing.is_set() and loop.time() < ends_at:
                try:
                    event = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
                except TimeoutError:
                    event = ": still here\n\n"
                yield event
        finally:
            self._clients.pop(queue, None)

    async def _listen(self) -> None:
        while True:
            try:
                conn = await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=5)
                async with conn:
                    await conn.execute(f"LISTEN {CHANNEL}".encode())
                    self._publish(RESYNC)
                    async for notice in conn.notifies():
                        self._publish(render_event(notice.payload))
            except (psycopg.Error, OSError) as error:
                log.warning("live events interrupted", detail=str(error))
            except Exception:  # a fault of ours must not leave every open page without news
                log.exception("live events interrupted")
            await asyncio.sleep(RETRY_S)

    def _publish(self, event: str) -> None:
        self._news.set()
        self._news = asyncio.Event()
        for queue in self._clients:
            _offer(queue, event)


def render_event(payload: str) -> str:
    """Return one notification, ``"campaign.started campaign_01..."``, as an event.

    Line breaks would end the event early, so they are dropped.
    """
    text = payload.replace("\r", " ").replace("\n", " ")
    return f"event: fact\ndata: {text}\n\n"


def _offer(queue: asyncio.Queue[str], event: str) -> None:
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        event = RESYNC
    queue.put_nowait(event)
