"""Ship: what a fleet's operator says for its own vehicles; operators of campaigns may say it for all."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta

from ringroad.http import reading, reading_hours
from ringroad.http.auth import Account, Role
from ringroad.http.context import Ctx
from ringroad.http.routes import NAME_PATTERN, TEXT_PATTERN, Command, Done, Id, Name, Req, route
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import ALWAYS, HOURS_MAX, OwnHours
from ringroad.ship.store.schedules import count_reached, give_consent, set_schedule, set_schedules

SCHEDULED_MAX = 100_000  # vehicles at once; they are read into memory and written in one transaction
Called = Annotated[str, Meta(min_length=1, max_length=64, pattern=TEXT_PATTERN)]
InList = Annotated[
    str | None,
    QueryParameter(
        name="list", pattern=NAME_PATTERN, min_length=1, max_length=64, description="Only of this list"
    ),
]


class VehicleHours(Command, frozen=True, kw_only=True):
    """When a vehicle may begin an update, by its own clock; ``mon-fri 22:00-05:00``."""

    hours: Annotated[list[str], Meta(max_length=HOURS_MAX)] = msgspec.field(default_factory=list)
    quiet: Annotated[list[str], Meta(max_length=HOURS_MAX)] = msgspec.field(default_factory=list)
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, pattern=TEXT_PATTERN)] = "UTC"
    not_before: Annotated[datetime, Meta(tz=True)] | None = None  # updates are put off until then

    def own(self) -> OwnHours:
        """Return the hours that are asked for.

        Raises:
            InvalidInput: they cannot be read, are never open, or none are named.
        """
        return OwnHours(
            hours=ALWAYS if self.not_before and not self.hours else tuple(self.hours),
            quiet=tuple(self.quiet), time_zone=self.time_zone, not_before=self.not_before,
        )  # fmt: skip


class FleetHours(Command, frozen=True, kw_only=True):
    """Hours for many vehicles: of a tag, of a list, of VINs, or all that the account sees."""

    schedule: VehicleHours | None  # none: whenever a campaign may
    everyone: bool = False
    tag: Called | None = None
    list_name: Called | None = msgspec.field(default=None, name="list")
    vins: Annotated[list[str], Meta(max_length=SCHEDULED_MAX)] | None = None


class VehicleSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The hours that were set for a vehicle; none: whenever a campaign may."""

    vin: str
    schedule: OwnHours | None


class SharedHours(msgspec.Struct, frozen=True, kw_only=True):
    """Vehicles of the same hours."""

    schedule: OwnHours | None  # none: whenever a campaign may
    vehicles: int
    example: str


class Consent(Command, frozen=True, kw_only=True):
    """Agree to what the vehicle is asked about, or decline it."""

    agree: bool


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """For how many vehicles hours were set."""

    vehicles: int  # that were named
    changed: int  # of those, for whom something else held before, if only that nothing did
    reached: int = 0  # of those that are put off: whom a campaign's wave had reached; their silence counts


@route("GET", "/vehicles/{vin:str}/schedule", role=Role.FLEET, tag="ship")
def get_schedule(ctx: Ctx, request: Req, *, vin: Id) -> VehicleSchedule:
    """Read the hours that were set for a vehicle."""
    with ctx.connection() as conn:
        reading.one(reading.vehicles(conn, vin=vin, fleet=request.user.fleet), f"vehicle {vin}")
        found = reading_hours.vehicle_hours(conn, vin)
    return VehicleSchedule(vin=vin, schedule=msgspec.convert(found, OwnHours) if found else None)


@route("PUT", "/vehicles/{vin:str}/schedule", role=Role.FLEET, tag="ship", errors=[422])
def put_schedule(ctx: Ctx, request: Req, *, vin: Id, data: JSONBody[VehicleHours]) -> Done:
    """Let a vehicle begin updates in these hours only, beside those of a campaign; or put them off."""
    return _schedule(ctx, request.user, vin, data.own())


@route("DELETE", "/vehicles/{vin:str}/schedule", role=Role.FLEET, tag="ship")
def drop_schedule(ctx: Ctx, request: Req, *, vin: Id) -> Done:
    """Let a vehicle begin updates whenever a campaign may."""
    return _schedule(ctx, request.user, vin, None)


@route("GET", "/fleet/schedule", role=Role.FLEET, tag="ship")
def list_vehicle_hours(
    ctx: Ctx, request: Req, *, tag: Name = None, list_name: InList = None
) -> list[SharedHours]:
    """List the hours of vehicles, those of the same hours together, most vehicles first."""
    with ctx.connection() as conn:
        rows = reading_hours.own_hours(conn, fleet=request.user.fleet, tag=tag, list_name=list_name)
    return msgspec.convert(rows, list[SharedHours])


@route("PUT", "/fleet/schedule", role=Role.FLEET, tag="ship", errors=[422])
def set_vehicle_hours(ctx: Ctx, request: Req, *, data: JSONBody[FleetHours]) -> Scheduled:
    """Set or clear the hours of many vehicles at once; of a fleet's operator, of their own only."""
    account = request.user
    named = (data.everyone or None, data.tag, data.list_name, data.vins)
    if sum(each is not None for each in named) != 1:
        raise InvalidInput("name vehicles by one of everyone, tag, list and vins", hint='{"tag": "vans"}')
    with ctx.transaction() as conn:
        _require(account)
        vins = reading_hours.vehicles_named(
            conn, fleet=account.fleet, vins=data.vins, tag=data.tag, list_name=data.list_name,
            rows_max=SCHEDULED_MAX,
        )  # fmt: skip
        changed = set_schedules(
            conn, ctx.ids, vins=vins, schedule=data.schedule.own() if data.schedule else None,
            subject=data.tag or data.list_name or account.name, actor=account.name, now=ctx.clock.now(),
        )  # fmt: skip
        put_off = data.schedule is not None and data.schedule.not_before is not None
        reached = count_reached(conn, vins) if put_off else 0
    return Scheduled(vehicles=len(vins), changed=changed, reached=reached)


@route("POST", "/vehicles/{vin:str}/consent", role=Role.FLEET, tag="ship", errors=[409])
def post_consent(ctx: Ctx, request: Req, *, vin: Id, data: JSONBody[Consent]) -> Done:
    """Agree to the update that a vehicle is asked about, or decline it, on behalf of its driver."""
    with ctx.transaction() as conn:
        _require(request.user)
        reading.require_own(conn, vin, fleet=request.user.fleet)
        give_consent(
            conn, ctx.ids, vin=vin, agree=data.agree, actor=request.user.name, now=ctx.clock.now(),
            shown="a person at the maker" if request.user.fleet is None else "",
        )  # fmt: skip
    return Done(id=vin, state="agreed" if data.agree else "declined")


def _schedule(ctx: Ctx, account: Account, vin: str, schedule: OwnHours | None) -> Done:
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


router = Router(
    "/",
    route_handlers=[
        get_schedule,
        put_schedule,
        drop_schedule,
        list_vehicle_hours,
        set_vehicle_hours,
        post_consent,
    ],
)
