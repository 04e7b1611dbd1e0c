"""Build: DDI vehicles that are registered, invited and shut out; and the tenant's gateway tokens.

A secret is shown once, in the answer that makes it; only its digest is stored.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.build.register import Invitation, Registration, invite, register_devices, shut_out
from ringroad.http.accounts_store import SQL
from ringroad.http.auth import TOKEN_BYTES, Role, render_token, token_digest
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import Command, Done, Id, Ref, Req, Title, route
from ringroad.kernel.errors import Conflict, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import REGISTRATIONS_MAX
from ringroad.storage.ledger import append_fact, last_of

ENROLMENT_S = 30 * 86_400  # seconds that an invitation may wait for its vehicle
GATEWAY_TOKENS_MAX = 8  # good at once; each poll with one is compared with all
NAME_CHARS_MAX = 200

Short = Annotated[str, Meta(max_length=NAME_CHARS_MAX, pattern=r"^[^\x00]*$")]


class NewDevice(Command, frozen=True, kw_only=True):
    """A vehicle that speaks DDI."""

    vin: Annotated[str, Meta(pattern=r"^[A-HJ-NPR-Z0-9]{17}$")]
    variant: Ref
    region: Short = ""
    tags: Annotated[list[str], Meta(max_length=64)] = msgspec.field(default_factory=list)
    serials: Annotated[dict[str, str], Meta(max_length=100)] = msgspec.field(default_factory=dict)


class NewDevices(Command, frozen=True, kw_only=True):
    """Vehicles of one programme; all are registered, or none."""

    programme_id: Ref
    vehicles: Annotated[list[NewDevice], Meta(min_length=1, max_length=REGISTRATIONS_MAX)]


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """A vehicle's one-time token; it cannot be read again."""

    vin: str
    enrolment_token: str
    expires_at: datetime


class NewGatewayToken(Command, frozen=True, kw_only=True):
    """What it is for."""

    name: Title


class GatewayToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that speaks for every DDI vehicle of the tenant."""

    id: str
    name: str
    created_by: str
    created_at: datetime
    revoked_at: datetime | None = None
    token: str | None = None  # in the answer that makes it, and never again


@route("POST", "/vehicles/register", role=Role.OPERATOR, tag="build", status=201, errors=[404, 409, 422])
def register(ctx: Ctx, request: Req, data: JSONBody[NewDevices]) -> list[Invited]:
    """Put DDI vehicles on record and return each one's one-time enrolment token."""
    now = ctx.clock.now()
    wanted, made = [], []
    for each in data.vehicles:
        invited, invitation = _invitation(ctx, each.vin, now)
        made.append(invited)
        wanted.append(
            (
                Registration(
                    vin=each.vin, variant=each.variant, region=each.region, tags=tuple(each.tags),
                    serials=each.serials,
                ),
                invitation,
            )
        )  # fmt: skip
    with ctx.transaction() as conn:
        register_devices(
            conn, ctx.ids, programme_id=data.programme_id, wanted=wanted, actor=request.user.name, now=now
        )
    return made


@route("POST", "/vehicles/{vin:str}/invite", role=Role.OPERATOR, tag="build", status=201, errors=[404])
def invite_vehicle(ctx: Ctx, request: Req, *, vin: Id) -> Invited:
    """Return a new one-time token with which a vehicle enrols (again); one that waits already ends."""
    now = ctx.clock.now()
    made, invitation = _invitation(ctx, vin, now)
    with ctx.transaction() as conn:
        invite(conn, ctx.ids, vin=vin, invitation=invitation, actor=request.user.name, now=now)
    return made


@route("POST", "/vehicles/{vin:str}/shut-out", role=Role.OPERATOR, tag="build", errors=[404])
def shut_out_vehicle(ctx: Ctx, request: Req, *, vin: Id) -> Done:
    """End a vehicle's token, certificates and invitation at once; gateways know within a second."""
    nobodys = token_digest(ctx.secret(TOKEN_BYTES).hex())
    with ctx.transaction() as conn:
        shut_out(conn, ctx.ids, vin=vin, nobodys_sha256=nobodys, actor=request.user.name, now=ctx.clock.now())
    return Done(id=vin, state="shut out")


@route("GET", "/gateway-tokens", role=Role.ADMIN, tag="accounts")
def list_gateway_tokens(ctx: Ctx) -> list[GatewayToken]:
    """List gateway tokens, newest first."""
    with ctx.connection() as conn:
        return msgspec.convert(list(SQL.gateway_tokens(conn)), list[GatewayToken])


@route("POST", "/gateway-tokens", role=Role.ADMIN, tag="accounts", status=201, errors=[409])
def create_gateway_token(ctx: Ctx, request: Req, data: JSONBody[NewGatewayToken]) -> GatewayToken:
    """Make a token that speaks for every DDI vehicle on record, for a device gateway."""
    now, actor = ctx.clock.now(), request.user.name
    token, token_id = render_token(ctx.secret(TOKEN_BYTES), "gw"), ctx.ids.new("gateway")
    with ctx.transaction() as conn:
        SQL.lock_gateway_tokens(conn)
        if SQL.count_gateway_tokens(conn) >= GATEWAY_TOKENS_MAX:
            raise Conflict(f"there are {GATEWAY_TOKENS_MAX} gateway tokens", hint="revoke one first")
        SQL.insert_gateway_token(
            conn, id=token_id, name=data.name, token_sha256=token_digest(token), actor=actor, now=now
        )
        append_fact(
            conn, ctx.ids, kind=FactKind.GATEWAY_TOKEN_CREATED, subject=token_id, actor=actor, now=now,
            body={"name": data.name},
        )  # fmt: skip
    return GatewayToken(id=token_id, name=data.name, created_by=actor, created_at=now, token=token)


@route("DELETE", "/gateway-tokens/{token_id:str}", role=Role.ADMIN, tag="accounts", errors=[404])
def revoke_gateway_token(ctx: Ctx, request: Req, *, token_id: Id) -> Done:
    """End a gateway token at once."""
    now, actor = ctx.clock.now(), request.user.name
    with ctx.transaction() as conn:
        if SQL.revoke_gateway_token(conn, id=token_id, actor=actor, now=now) != 1:
            raise NotFound(f"there is no gateway token {token_id!r} that is good")
        append_fact(
            conn, ctx.ids, kind=FactKind.GATEWAY_TOKEN_REVOKED, subject=token_id, actor=actor, now=now,
            causes=last_of(conn, token_id),
        )  # fmt: skip
    return Done(id=token_id, state="revoked")


def _invitation(ctx: Context, vin: str, now: datetime) -> tuple[Invited, Invitation]:
    token = render_token(ctx.secret(TOKEN_BYTES), "enrol")
    until = now + timedelta(seconds=ENROLMENT_S)
    kept = Invitation(
        enrolment_sha256=token_digest(token), until=until,
        nobodys_sha256=token_digest(ctx.secret(TOKEN_BYTES).hex()),
    )  # fmt: skip
    return Invited(vin=vin, enrolment_token=token, expires_at=until), kept


router = Router(
    "/",
    route_handlers=[
        register, invite_vehicle, shut_out_vehicle, list_gateway_tokens, create_gateway_token, revoke_gateway_token,
    ],
)  # fmt: skip
