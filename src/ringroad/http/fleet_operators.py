"""Ship: what a fleet's operator says for its own vehicles; operators of campaigns may say it for all."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.http import reading
from ringroad.http.auth import Account, Role
from ringroad.http.context import Ctx
from ringroad.http.routes import TEXT_PATTERN, Command, Done, Id, Req, route
from ringroad.kernel.hours import HOURS_MAX, Window
from ringroad.ship.store.schedules import give_consent, set_schedule


class VehicleHours(Command, frozen=True, kw_only=True):
    """When a vehicle may begin an update, by its own clock; ``mon-fri 22:00-05:00``."""

    hours: Annotated[list[str], Meta(max_length=HOURS_MAX)] = msgspec.field(default_factory=list)
    quiet: Annotated[list[str], Meta(max_length=HOURS_MAX)] = msgspec.field(default_factory=list)
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, pattern=TEXT_PATTERN)] = "UTC"


class VehicleSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The hours that were set for a vehicle; none: whenever a campaign may."""

    vin: str
    schedule: Window | None


class Consent(Command, frozen=True, kw_only=True):
    """Agree to what the vehicle is asked about, or decline it."""

    agree: bool


@route("GET", "/vehicles/{vin:str}/schedule", role=Role.FLEET, tag="ship")
def get_schedule(ctx: Ctx, request: Req, *, vin: Id) -> VehicleSchedule:
    """Read the hours that were set for a vehicle."""
    with ctx.connection() as conn:
        reading.one(reading.vehicles(conn, vin=vin, fleet=request.user.fleet), f"vehicle {vin}")
        found = reading.vehicle_schedule(conn, vin)
    return VehicleSchedule(vin=vin, schedule=msgspec.convert(found, Window) if found else None)


@route("PUT", "/vehicles/{vin:str}/schedule", role=Role.FLEET, tag="ship", errors=[422])
def put_schedule(ctx: Ctx, request: Req, *, vin: Id, data: JSONBody[VehicleHours]) -> Done:
    """Let a vehicle begin updates in these hours only, beside those of a campaign."""
    schedule = Window(hours=tuple(data.hours), quiet=tuple(data.quiet), time_zone=data.time_zone)
    return _schedule(ctx, request.user, vin, schedule)


@route("DELETE", "/vehicles/{vin:str}/schedule", role=Role.FLEET, tag="ship")
def drop_schedule(ctx: Ctx, request: Req, *, vin: Id) -> Done:
    """Let a vehicle begin updates whenever a campaign may."""
    return _schedule(ctx, request.user, vin, None)


@route("POST", "/vehicles/{vin:str}/consent", role=Role.FLEET, tag="ship", errors=[409])
def post_consent(ctx: Ctx, request: Req, *, vin: Id, data: JSONBody[Consent]) -> Done:
    """Agree to the update that a vehicle is asked about, or decline it, on behalf of its driver."""
    with ctx.transaction() as conn:
        _require(request.user)
        reading.require_own(conn, vin, fleet=request.user.fleet)
        give_consent(conn, ctx.ids, vin=vin, agree=data.agree, actor=request.user.name, now=ctx.clock.now())
    return Done(id=vin, state="agreed" if data.agree else "declined")


def _schedule(ctx: Ctx, account: Account, vin: str, schedule: Window | None) -> Done:
    with ctx.transaction() as conn:
        _require(account)
        reading.require_own(conn, vin, fleet=account.fleet)
        changed = set_schedule(
            conn, ctx.ids, vin=vin, schedule=schedule, actor=account.name, now=ctx.clock.now()
        )
    return Done(id=vin, state="scheduled" if changed else "unchanged")


def _require(account: Account) -> None:
    """Raise unless the account is of a fleet's operator, or may run campaigns: viewers change nothing."""
    if account.role is not Role.FLEET:
        account.require(Role.OPERATOR)


router = Router("/", route_handlers=[get_schedule, put_schedule, drop_schedule, post_consent])
