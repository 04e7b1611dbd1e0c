"""Signal: complaints, quarantine, telemetry."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
from anyio import to_thread
from litestar import Router

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import Limit, Name, Offset, Req, route
from ringroad.http.uploads import UploadName, spooled
from ringroad.http.views_build import ComplaintView, QuarantineView
from ringroad.signal import store

COMPLAINTS_BYTES_MAX = 2 * 1024**3  # bytes; the whole NHTSA file is 1.5 GB


@route("GET", "/complaints", role=Role.VIEWER, tag="signal")
def list_complaints(
    ctx: Ctx,
    *,
    component: Name = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[ComplaintView]:
    """List complaints, newest first; `component` is any part of its name."""
    with ctx.connection() as conn:
        return reading.complaints(conn, component=component, limit=limit, offset=offset)


@route("GET", "/quarantine", role=Role.VIEWER, tag="signal")
def list_quarantine(
    ctx: Ctx,
    *,
    source: Name = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[QuarantineView]:
    """List what could not be read, and why."""
    with ctx.connection() as conn:
        return reading.quarantined(conn, source=source, limit=limit, offset=offset)


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did: every row is new, a duplicate or quarantined."""

    rows: int
    new: int
    duplicates: int
    quarantined: int


@route(
    "POST", "/complaints/import", role=Role.OPERATOR, tag="signal", errors=[413, 422],
    body_bytes_max=COMPLAINTS_BYTES_MAX, upload="text/tab-separated-values",
)  # fmt: skip
async def import_complaints(ctx: Ctx, request: Req, name: UploadName = "upload.txt") -> Imported:
    """Import an NHTSA complaints flat file (tab separated, 49 fields); repeating it changes nothing."""
    async with spooled(ctx, request, bytes_max=COMPLAINTS_BYTES_MAX) as path:
        return await to_thread.run_sync(partial(_import, ctx, path, name))


def _import(ctx: Context, path: Path, name: str) -> Imported:
    with ctx.connection() as conn:
        report = store.import_complaints(conn, path, now=ctx.clock.now(), name=name)
    return Imported(
        rows=report.rows, new=report.new, duplicates=report.duplicates, quarantined=report.quarantined
    )


router = Router("/", route_handlers=[list_complaints, list_quarantine, import_complaints])
