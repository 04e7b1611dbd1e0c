"""Signal: the places of one vehicle's diagnostics that belong to no single ECU: updates, and bulk data.

As `diagnostics_tree.py`: what each place asks of the vehicle, and nothing more. An update is triggered here, never brought:
the vehicle's orchestrator verifies what the Director assigned, asks its driver and keeps its preconditions as ever.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Response, Router
from litestar.params import HeaderParameter, Parameter

from ringroad.http.context import Ctx
from ringroad.http.diagnostics import WAIT_S, Wait, answer_of, ask, ask_vehicle
from ringroad.http.diagnostics_tree import Component, declare
from ringroad.http.routes import Id, Req
from ringroad.kernel.errors import Unavailable
from ringroad.protocol.diagnostics import BULK_TYPE, BulkChunk, parse_range

Update = Annotated[
    str, Parameter(pattern=r"^[0-9]{1,18}$", description="The update: the number of its action")
]


Category = Annotated[
    str, Parameter(pattern=r"^[a-z]{1,40}$", description="journal, log, signals, ecus or audit")
]


@declare("GET", "updates")
async def list_vehicle_updates(
    ctx: Ctx, request: Req, *, vin: Id, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List the updates that the vehicle knows: the one under way or last, and one that is assigned."""
    return await ask(ctx, request.user, vin, "GET", ["updates"], wait_s=wait_s)


@declare("POST", "updates")
async def look_for_vehicle_updates(
    ctx: Ctx, request: Req, *, vin: Id, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Let the vehicle ask the Director now what it is assigned."""
    return await ask(ctx, request.user, vin, "POST", ["updates"], wait_s=wait_s)


@declare("GET", "updates/{update_id:str}")
async def get_vehicle_update(
    ctx: Ctx, request: Req, *, vin: Id, update_id: Update, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Show one update: what it changes, how far it is, what it waits for."""
    return await ask(ctx, request.user, vin, "GET", ["updates", update_id], wait_s=wait_s)


@declare("GET", "updates/{update_id:str}/status")
async def get_vehicle_update_status(
    ctx: Ctx, request: Req, *, vin: Id, update_id: Update, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Show how one update stands."""
    return await ask(ctx, request.user, vin, "GET", ["updates", update_id, "status"], wait_s=wait_s)


@declare("PUT", "updates/{update_id:str}/prepare")
async def prepare_vehicle_update(
    ctx: Ctx, request: Req, *, vin: Id, update_id: Update, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Let the vehicle get an assigned update ready now; 409 with what it waits for, the driver's consent for one."""
    return await ask(ctx, request.user, vin, "PUT", ["updates", update_id, "prepare"], wait_s=wait_s)


@declare("PUT", "updates/{update_id:str}/execute")
async def execute_vehicle_update(
    ctx: Ctx, request: Req, *, vin: Id, update_id: Update, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Let the vehicle begin with an update that is ready; 409 with what it waits for, 423 while an ECU is locked."""
    return await ask(ctx, request.user, vin, "PUT", ["updates", update_id, "execute"], wait_s=wait_s)


@declare("GET", "bulk-data")
async def list_vehicle_bulk_data(
    ctx: Ctx, request: Req, *, vin: Id, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List what can be read as a whole: journal, log, signals, fault memories, visits of testers."""
    return await ask(ctx, request.user, vin, "GET", ["bulk-data"], wait_s=wait_s)


@declare("GET", "bulk-data/{category:str}")
async def list_vehicle_bulk_items(
    ctx: Ctx, request: Req, *, vin: Id, category: Category, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List the pieces of one category."""
    return await ask(ctx, request.user, vin, "GET", ["bulk-data", category], wait_s=wait_s)


@declare("GET", "bulk-data/{category:str}/{item:str}", media_type=BULK_TYPE, in_part=True)
async def get_vehicle_bulk_item(
    ctx: Ctx,
    request: Req,
    *,
    vin: Id,
    category: Category,
    item: Component,
    wanted: Annotated[
        str | None, HeaderParameter(name="Range", description="bytes=FIRST-LAST of the data", max_length=100)
    ] = None,
    if_range: Annotated[
        str | None,
        HeaderParameter(name="If-Range", description="the ETag that the range is of", max_length=100),
    ] = None,
    wait_s: Wait = WAIT_S,
) -> Response[Any]:
    """Read one piece of bulk data, one JSON value per line; 2 MiB at most, without secrets and positions.

    Each chunk is a request of the session. The range is cut out of what the vehicle has now; `ETag` says which that is, and with `If-Range`
    another one is told whole.
    """
    path, content, sha256 = ["bulk-data", category, item], b"", ""
    while True:
        body = {"offset": len(content), **({"sha256": sha256} if sha256 else {})}
        job = await ask_vehicle(ctx, request.user, vin=vin, method="GET", path=path, body=body, wait_s=wait_s)
        if job.state != "answered" or job.status != 200:
            if job.state == "queued" and content:
                raise Unavailable(
                    "the vehicle fell silent in the middle of it",
                    hint="read it again when the vehicle is online",
                )
            return answer_of(job)
        piece, size, sha256 = _piece(job.answer, len(content))
        content += piece
        if len(content) >= size:
            break
    same = if_range is None or if_range == f'"{sha256}"'
    span = parse_range(wanted or "", size) if same else None
    headers = {
        "ETag": f'"{sha256}"', "Accept-Ranges": "bytes", "Content-Disposition": f'attachment; filename="{vin}-{category}.jsonl"'
    }  # fmt: skip
    if span is None:
        return Response(content, headers=headers, media_type=BULK_TYPE)
    headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{size}"
    return Response(content[span[0] : span[1]], status_code=206, headers=headers, media_type=BULK_TYPE)


def _piece(answer: Mapping[str, Any] | None, offset: int) -> tuple[bytes, int, str]:
    """Return a chunk's bytes, the size of the whole and its digest; what a vehicle says is not trusted to be right."""
    try:
        chunk = msgspec.convert(answer, BulkChunk)
        piece = base64.b64decode(chunk.data, validate=True)
    except (msgspec.ValidationError, binascii.Error) as error:
        raise Unavailable("the vehicle's data cannot be read", code="strange_answer") from error
    if chunk.offset != offset or (not piece and offset < chunk.size):
        raise Unavailable("the vehicle's data has a gap", code="strange_answer")
    return piece, chunk.size, chunk.sha256


router = Router(
    "/",
    route_handlers=[
        list_vehicle_updates,
        look_for_vehicle_updates,
        get_vehicle_update,
        get_vehicle_update_status,
        prepare_vehicle_update,
        execute_vehicle_update,
        list_vehicle_bulk_data,
        list_vehicle_bulk_items,
        get_vehicle_bulk_item,
    ],
)
