"""Bulk exports: streamed out of one snapshot, with bounded memory, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import anyio.to_thread
from anyio import CancelScope
from litestar import get
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from ringroad.http.auth import Role, TooMany
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import NAME_PATTERN, Req, needs
from ringroad.publish.export import EXPORT_S_MAX, Export, begin, find_table
from ringroad.publish.tables import MEDIA_TYPE, Format
from ringroad.storage.db import connect

EXPORTS_MAX = 2  # exports under way at a server; each keeps a connection and a snapshot
ROWS_HEADER = "Ringroad-Rows"

Form = Annotated[Format, QueryParameter(name="format", description="csv, jsonl or parquet")]
Campaign = Annotated[
    str | None,
    QueryParameter(
        name="campaign_id",
        pattern=NAME_PATTERN,
        min_length=1,
        max_length=200,
        description="Of which campaign",
    ),
]


@get(
    "/api/v1/exports/{name:str}",
    guards=[needs(Role.VIEWER)],
    include_in_schema=False,  # as long as the fleet is large; described in docs/howto/exports.md
)
async def export(
    ctx: Ctx, request: Req, name: FromPath[str], *, form: Form = Format.CSV, campaign_id: Campaign = None
) -> Stream:
    """Send everything of one kind, as it was when the answer began."""
    table = find_table(name)
    if len(ctx.exports) >= EXPORTS_MAX:
        raise TooMany("too many exports are under way", wait_s=30)
    ctx.exports.append(request.user.name)
    try:
        begun = await anyio.to_thread.run_sync(_begin, ctx, name, form, campaign_id)
    except BaseException:
        ctx.exports.remove(request.user.name)
        raise
    return Stream(
        _pieces(ctx, begun, request.user.name),
        media_type=MEDIA_TYPE[form],
        headers={
            ROWS_HEADER: str(begun.rows),
            "Content-Disposition": f'attachment; filename="{table.name}.{form.value}"',
            "X-Accel-Buffering": "no",
        },
    )


def _begin(ctx: Context, name: str, form: Format, campaign_id: str | None) -> Export:
    conn = connect(ctx.settings.database_url)
    try:
        return begin(conn, find_table(name), form, campaign_id=campaign_id)
    except BaseException:
        conn.close()
        raise


async def _pieces(ctx: Context, begun: Export, account: str) -> AsyncIterator[bytes]:
    """Yield the export; one that fails half way breaks the connection off, so that nobody takes it for whole."""
    try:
        async with asyncio.timeout(EXPORT_S_MAX):
            while (piece := await anyio.to_thread.run_sync(begun.next_piece)) is not None:
                if piece:
                    yield piece
    finally:
        ctx.exports.remove(account)
        with CancelScope(shield=True):
            await anyio.to_thread.run_sync(begun.close)


handlers = [export]
