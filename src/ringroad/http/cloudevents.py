"""The ledger as CloudEvents: pages after a cursor, and a stream that can be taken up again.

The cursor is the id of the last event that the reader has. Both read the ledger itself, up to where nothing can appear
behind the reader any more (`publish/horizon.py`); notices of the database only say when to look again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import anyio.to_thread
import psycopg
from litestar import Router
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from ringroad.http.accounts_store import account_of_token
from ringroad.http.auth import Role, TooMany
from ringroad.http.context import Context, Ctx
from ringroad.http.events import HEARTBEAT_S, STREAM_S_MAX
from ringroad.http.routes import Limit, Req, route, stream
from ringroad.kernel.errors import Forbidden, InvalidInput, RingroadError
from ringroad.publish import store
from ringroad.publish.cloudevent import BATCH_TYPE, CloudEvent, encode, kinds_of, to_event
from ringroad.storage.db import Connection

STREAMS_MAX = 50  # open streams of one server; each asks the database at every notice
STREAMS_PER_ACCOUNT_MAX = 10  # open streams of one account
PAUSE_S = 0.05  # seconds between two looks at least, however often facts are recorded
UNSETTLED_S = 0.2  # seconds until the next look while somebody still writes facts

Types = Annotated[
    list[str] | None,
    QueryParameter(
        name="type",
        max_items=64,
        description="Only these types, for example ringroad.campaign.halted, campaign.halted or campaign.*",
    ),
]
After = Annotated[
    str | None,
    QueryParameter(
        name="after", pattern=r"^[A-Za-z0-9_.:\-]{1,200}$", description="Id of the last event you have"
    ),
]
Since = Annotated[
    str | None,
    QueryParameter(
        name="since",
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$",
        description="Without `after`: events recorded then or later, for example 2026-11-25T08:00:00Z",
    ),
]


@route("GET", "/cloudevents", role=Role.VIEWER, tag="ledger", errors=[404, 422], media_type=BATCH_TYPE)
def list_events(
    ctx: Ctx, *, types: Types = None, after: After = None, since: Since = None, limit: Limit = 100
) -> list[CloudEvent]:
    """List events, oldest first, after a cursor: the id of the last event you have. An empty list: nothing new yet."""
    kinds = kinds_of(types or [])
    with ctx.connection() as conn:
        start = _start(conn, after=after, since=since)
        rows = store.read_after(
            conn, after_seq=start or 0, settled_seq=ctx.horizon.read(conn), kinds=kinds, rows_max=limit
        )
    return [to_event(row, source=ctx.settings.events_source) for row in rows]


@stream("/cloudevents/stream", role=Role.VIEWER, tag="ledger", media=["text/event-stream"], errors=[404, 422])
async def follow_events(
    ctx: Ctx,
    request: Req,
    *,
    types: Types = None,
    after: After = None,
    since: Since = None,
    last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID", max_length=200)] = None,
) -> Stream:
    """Send events as they are recorded, from a cursor on; without one, from now on."""
    kinds = kinds_of(types or [])

    def begin() -> tuple[int, str]:
        with ctx.connection() as conn:
            start = _start(conn, after=last_event_id or after, since=since)
            seq = ctx.horizon.read(conn) if start is None else start
            return seq, store.id_up_to(conn, seq)

    account, streams = request.user.name, ctx.streams

    def is_welcome(conn: Connection) -> bool:
        found = account_of_token(conn, request.auth, kinds=(request.user.via,), now=ctx.clock.now())
        return found is not None and found.may(Role.VIEWER)

    if len(streams) >= STREAMS_MAX or streams.count(account) >= STREAMS_PER_ACCOUNT_MAX:
        raise TooMany("too many event streams are open", wait_s=30)
    seq, last_id = await anyio.to_thread.run_sync(begin)
    return Stream(
        _follow(ctx, account, _Reader(seq=seq, last_id=last_id, kinds=kinds, is_welcome=is_welcome)),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


@dataclass(kw_only=True)
class _Reader:
    """One open stream: how far it is, what it wants, and whether its account may still read."""

    seq: int
    last_id: str  # of the event at `seq`, or before it; empty: there is none
    kinds: list[str] | None
    is_welcome: Callable[[Connection], bool]


async def _follow(ctx: Context, account: str, reader: _Reader) -> AsyncIterator[bytes]:
    ends_s = ctx.clock.monotonic_s() + STREAM_S_MAX
    ctx.streams.append(account)
    try:
        yield b"retry: 2000\n\n"
        if reader.last_id:  # an event without data: browsers only remember its id
            yield b"id: %b\n\n" % reader.last_id.encode()
        quiet_since_s = ctx.clock.monotonic_s()
        while not ctx.feed.is_closing and ctx.clock.monotonic_s() < ends_s:
            news = ctx.feed.news  # before looking, so that nothing is missed between
            try:
                rows, unsettled = await anyio.to_thread.run_sync(_look, ctx, reader)
            except (RingroadError, psycopg.Error):
                return  # the reader comes back with the last id it has
            for row in rows:
                event = to_event(row, source=ctx.settings.events_source)
                yield b"id: %b\ndata: %b\n\n" % (event.id.encode(), encode(event))
                reader.seq = row["seq"]
            if len(rows) == store.PAGE_ROWS:
                continue
            now_s = ctx.clock.monotonic_s()
            if rows:
                quiet_since_s = now_s
            elif now_s - quiet_since_s >= HEARTBEAT_S:
                quiet_since_s = now_s
                yield b": still here\n\n"
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), UNSETTLED_S if unsettled else HEARTBEAT_S)
    finally:
        ctx.streams.remove(account)


def _look(ctx: Context, reader: _Reader) -> tuple[list[dict[str, Any]], bool]:
    """Return the next rows, and whether somebody is still writing. Raises: Forbidden."""
    with ctx.connection() as conn:
        if not reader.is_welcome(conn):
            raise Forbidden("the account may not read any more")
        settled = ctx.horizon.read(conn)
        rows = store.read_after(conn, after_seq=reader.seq, settled_seq=settled, kinds=reader.kinds)
        return rows, ctx.horizon.is_waiting


def _start(conn: Connection, *, after: str | None, since: str | None) -> int | None:
    """Return the number to read on from; None: none was given. Raises: NotFound, InvalidInput."""
    if after is not None:
        return store.seq_of(conn, after)
    if since is None:
        return None
    try:
        at = datetime.fromisoformat(since).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"since is {since}, which is no time") from error
    return store.seq_before(conn, at)


router = Router("/", route_handlers=[list_events])
handlers = [follow_events]
