"""Signal: names of data identifiers and fault codes, per ECU of a programme."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import TEXT_PATTERN, Command, Done, Id, Req, route
from ringroad.http.views_build import NamesView
from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.names import EcuNames
from ringroad.signal import store_names

NAMES_BYTES_MAX = 16 * 1024**2  # bytes; twice 20,000 names of 200 characters, with room for their codes

EcuName = Annotated[
    str, Parameter(pattern=r"^(\*|[A-Za-z0-9_.:\-]{1,200})$", description="The ECU in the programme; * is every one")
]  # fmt: skip


class NewNames(Command, frozen=True, kw_only=True):
    """All names of an ECU; those it had before are gone."""

    source: Annotated[
        str, Meta(min_length=1, max_length=200, pattern=TEXT_PATTERN, description="The file they come from")
    ]
    data: dict[str, str] = msgspec.field(default_factory=dict)
    faults: dict[str, str] = msgspec.field(default_factory=dict)


@route("GET", "/programmes/{programme_id:str}/names", role=Role.VIEWER, tag="signal")
def list_names(ctx: Ctx, *, programme_id: Id) -> list[NamesView]:
    """List the ECUs of a programme whose data and faults have names."""
    with ctx.connection() as conn:
        return reading.listed_names(conn, programme_id)


@route("GET", "/programmes/{programme_id:str}/names/{ecu:str}", role=Role.VIEWER, tag="signal")
def get_names(ctx: Ctx, *, programme_id: Id, ecu: EcuName) -> EcuNames:
    """Read the names of one ECU's data and faults."""
    with ctx.connection() as conn:
        return reading.one(
            [names for owner, names in store_names.load_names(conn, programme_id).items() if owner == ecu],
            f"names of ECU {ecu} of programme {programme_id}",
        )


@route(
    "PUT", "/programmes/{programme_id:str}/names/{ecu:str}", role=Role.OPERATOR, tag="signal",
    errors=[413, 422], body_bytes_max=NAMES_BYTES_MAX,
)  # fmt: skip
def put_names(ctx: Ctx, request: Req, *, programme_id: Id, ecu: EcuName, data: JSONBody[NewNames]) -> Done:
    """Give an ECU's data and faults these names, as its supplier's description has them."""
    with ctx.transaction() as conn:
        changed = store_names.put_names(
            conn, ctx.ids, programme_id=programme_id, ecu=ecu, names=_names(data),
            source=data.source, actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
    return Done(id=ecu, state="changed" if changed else "unchanged")


@route("DELETE", "/programmes/{programme_id:str}/names/{ecu:str}", role=Role.OPERATOR, tag="signal")
def remove_names(ctx: Ctx, request: Req, *, programme_id: Id, ecu: EcuName) -> Done:
    """Show an ECU's codes without names again."""
    with ctx.transaction() as conn:
        store_names.remove_names(
            conn, ctx.ids, programme_id=programme_id, ecu=ecu, actor=request.user.name, now=ctx.clock.now()
        )
    return Done(id=ecu, state="removed")


def _names(data: NewNames) -> EcuNames:
    """Return the names, checked here: OpenAPI as the framework writes it cannot say how the keys and values of an object must look."""
    try:
        return msgspec.convert({"data": data.data, "faults": data.faults}, EcuNames)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"a code or a name is wrong: {error}", hint='"F190" and "P0A1F-00"') from error


router = Router("/", route_handlers=[list_names, get_names, put_names, remove_names])
