"""Ship: tags and named lists of vehicles, which queries and accounts of fleet operators name."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
from anyio import to_thread
from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.http.auth import Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import Command, Done, Limit, Ref, Req, Text, route
from ringroad.http.uploads import spooled
from ringroad.kernel.errors import InvalidInput
from ringroad.loop.latest import latest_for
from ringroad.ship import store
from ringroad.ship.lists import LIST_BYTES_MAX, VINS_MAX, Mode, RefusedRow
from ringroad.ship.query import names_in, parse_query
from ringroad.ship.store import fleet
from ringroad.storage.db import one_snapshot
from ringroad.storage.lake import Lake

ListName = Annotated[str, Parameter(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+:\-]{0,63}$", description="Its name")]
SeenList = Annotated[
    int | None, Parameter(ge=0, le=2**31 - 1, description="As it was read, 0: it must be new; none: as it is")
]
How = Annotated[Mode, Parameter(description="What the file's vehicles are to the list")]
Partial = Annotated[bool, Parameter(description="Store the good rows of a file that has refused ones")]
AfterVin = Annotated[str, Parameter(pattern=r"^[A-Z0-9]{0,17}$", description="Only VINs after this one")]


class VehicleList(msgspec.Struct, frozen=True, kw_only=True):
    """A named list of vehicles."""

    name: str
    generation: int
    changed_by: str
    changed_at: datetime
    vehicles: int


class ListUpload(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload did; `stored` is false when a row was refused, and nothing changed."""

    name: str
    stored: bool
    generation: int
    vehicles: int
    added: int
    removed: int
    rows: int
    duplicates: int
    refused: int
    refused_rows: list[RefusedRow]  # the first hundred


class TagChange(Command, frozen=True, kw_only=True):
    """Vehicles to tag: by VIN, or all of a programme that a query selects."""

    vins: Annotated[list[str], Meta(max_length=VINS_MAX)] = msgspec.field(default_factory=list)
    query: Text | None = None
    programme_id: Ref | None = None
    remove: bool = False


class TagChanged(msgspec.Struct, frozen=True, kw_only=True):
    """What tagging did."""

    tag: str
    changed: int
    unchanged: int
    unknown: list[str]  # VINs that no vehicle has
    full: list[str]  # VINs of vehicles that have as many tags as they may


@route("GET", "/fleet/lists", role=Role.VIEWER, tag="ship")
def list_lists(ctx: Ctx) -> list[VehicleList]:
    """List the named lists of vehicles."""
    with ctx.connection() as conn:
        return msgspec.convert(fleet.read_lists(conn), list[VehicleList])


@route("GET", "/fleet/lists/{name:str}/vehicles", role=Role.VIEWER, tag="ship", errors=[404])
def list_members(ctx: Ctx, name: ListName, after_vin: AfterVin = "", limit: Limit = 100) -> list[str]:
    """List the VINs of a list, in order; go on after the last."""
    with ctx.transaction() as conn:
        return fleet.read_members(conn, name, after_vin=after_vin, rows_max=limit)


@route(
    "PUT", "/fleet/lists/{name:str}", role=Role.OPERATOR, tag="ship", errors=[404, 409, 413, 422],
    body_bytes_max=LIST_BYTES_MAX, upload="text/plain",
)  # fmt: skip
async def upload_list(
    ctx: Ctx,
    request: Req,
    name: ListName,
    mode: How = "replace",
    generation: SeenList = None,
    *,
    partial_rows: Partial = False,
) -> ListUpload:
    """Make a list of a file of VINs, one per line; a refused row is told with its line, and stops all of it."""
    async with spooled(ctx, request, bytes_max=LIST_BYTES_MAX) as path:
        save = partial(
            _save, ctx, path, name=name, mode=mode, partial=partial_rows, generation=generation,
            actor=request.user.name,
        )  # fmt: skip
        done = await to_thread.run_sync(save)
    return msgspec.convert(msgspec.to_builtins(done), ListUpload)


def _save(
    ctx: Context, path: Path, *, name: str, mode: Mode, partial: bool, generation: int | None, actor: str
) -> fleet.Listed:
    with ctx.transaction() as conn:
        return fleet.save_list(
            conn, ctx.ids, name=name, data=path.read_bytes(), mode=mode, partial=partial,
            generation=generation, actor=actor, now=ctx.clock.now(),
        )  # fmt: skip


@route("DELETE", "/fleet/lists/{name:str}", role=Role.OPERATOR, tag="ship", errors=[404, 409])
def remove_list(ctx: Ctx, request: Req, name: ListName) -> Done:
    """Remove a list; plans that named it keep their vehicles."""
    with ctx.transaction() as conn:
        fleet.remove_list(conn, ctx.ids, name=name, actor=request.user.name, now=ctx.clock.now())
    return Done(id=name, state="removed")


@route("POST", "/fleet/tags/{tag:str}", role=Role.OPERATOR, tag="ship", errors=[404, 422])
def change_tag(ctx: Ctx, request: Req, tag: ListName, data: JSONBody[TagChange]) -> TagChanged:
    """Give vehicles a tag, or take it away; by VIN, or all that a query selects."""
    if (data.query is None) == (not data.vins) or (data.query is None) != (data.programme_id is None):
        raise InvalidInput("name vehicles by vins, or by query and programme_id", hint='{"vins": ["..."]}')
    vins = [vin.strip().upper() for vin in data.vins]
    if data.query is not None:
        query = parse_query(data.query)
        latest = latest_for(Lake(ctx.settings.lake), query, now=ctx.clock.now())
        with ctx.transaction() as conn:
            one_snapshot(conn)
            fleet.require_lists(conn, names_in(query, "list"))
            vins = store.select_vins(conn, query, programme_id=data.programme_id, latest=latest)
    with ctx.transaction() as conn:  # of its own: whom it writes may have changed since
        done = fleet.change_tag(
            conn,
            ctx.ids,
            tag=tag,
            vins=vins,
            remove=data.remove,
            actor=request.user.name,
            now=ctx.clock.now(),
        )
    return msgspec.convert(msgspec.to_builtins(done), TagChanged)


router = Router("/", route_handlers=[list_lists, list_members, upload_list, remove_list, change_tag])
