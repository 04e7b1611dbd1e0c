"""Bulk exports: streamed out of one snapshot, with bounded memory, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import anyio.to_thread
from anyio import CancelScope
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from ringroad.http.auth import Role, TooMany
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import NAME_PATTERN, Req, stream
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
After = Annotated[
    str | None,
    QueryParameter(
        name="after",
        pattern=r"^[A-Za-z0-9_.:\-]{1,64}(/[^\x00]{0,200})?$",  # a serial is any text
        description="Go on behind this row: its vin, vin/serial, vin/action_id, id or seq; not for parquet",
    ),
]


@stream(
    "/exports/{name:str}", role=Role.VIEWER, tag="ledger", media=list(MEDIA_TYPE.values()), errors=[404, 422]
)
async def export(
    ctx: Ctx,
    request: Req,
    name: FromPath[str],
    *,
    form: Form = Format.CSV,
    campaign_id: Campaign = None,
    after: After = None,
) -> Stream:
    """Send everything of one kind, or what is behind a row, as it was when the answer began."""
    table = find_table(name)
    if len(ctx.exports) >= EXPORTS_MAX:
        raise TooMany("too many exports are under way", wait_s=30)
    ctx.exports.append(request.user.name)
    try:
        begun = await anyio.to_thread.run_sync(_begin, ctx, name, form, campaign_id, after)
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


def _begin(ctx: Context, name: str, form: Format, campaign_id: str | None, after: str | None) -> Export:
    with ctx.connection() as borrowed:
        settled_seq = ctx.horizon.read(borrowed)
    conn = connect(ctx.settings.database_url)
    try:
        return begin(
            conn, find_table(name), form, campaign_id=campaign_id, after=after, settled_seq=settled_seq
        )
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
