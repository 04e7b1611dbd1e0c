"""Build: vehicles at the end of the line, what went into them, and their birth records."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import structlog
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.build.as_built import PARTS_MAX, TESTS_MAX, BuiltPart, Checked
from ringroad.build.birth import AsBuilt, Installed, NewEcu, register_vehicle
from ringroad.build.quality.results import CheckResult
from ringroad.build.quality.store import take_results
from ringroad.build.quality.store_draw import choose
from ringroad.build.store import get_baseline
from ringroad.build.store_birth import line_of_programme, take_parts
from ringroad.build.store_packages import SQL as BUILD
from ringroad.http import reading_birth, site_births
from ringroad.http.auth import Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import Command, Done, Id, Ref, Req, Title, route
from ringroad.http.views_birth import AskedCheck, BirthView, EndOfLineView, PartsTold, RefusedPart
from ringroad.kernel.errors import Conflict, InvalidInput, RingroadError
from ringroad.storage.db import Connection

ID_CHARS_MAX = 1_000  # of the id of a result that a registration brings
LOG = structlog.get_logger(__name__)
Short = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Vin = Annotated[str, Meta(pattern=r"^[A-HJ-NPR-Z0-9]{17}$")]
Zoned = Annotated[datetime, Meta(tz=True)]


class BornEcu(Command, frozen=True, kw_only=True):
    """One ECU of a new vehicle and what the plant put on it."""

    serial: Title
    name: Title
    hardware_id: Title
    public_key: dict[str, Any]
    key_id: Title
    is_primary: bool
    filename: Title
    version: Title
    image_sha256: Hex


class FittedPart(Command, frozen=True, kw_only=True):
    """A part that went into the vehicle at a station."""

    id: Title  # the sender's own, so that a repeated one is known
    station: Title
    part: Title
    lot: Title
    serial: Short = ""
    supplier: Short = ""
    fitted_at: Zoned


class DoneTest(Command, frozen=True, kw_only=True):
    """A check of the end of the line, as it ended."""

    check: Title
    station: Short = ""  # '' for the last one of the line
    passed: bool
    at: Zoned


class NewVehicle(Command, frozen=True, kw_only=True):
    """A vehicle at the end of the line."""

    vin: Vin
    programme_id: Ref
    variant: Title
    gateway: Literal["native", "ddi"]
    token_sha256: Hex  # of the device token; the token itself stays in the vehicle
    ecus: Annotated[list[BornEcu], Meta(min_length=1, max_length=256)]
    release_id: Ref
    region: Short = ""
    tags: Annotated[list[str], Meta(max_length=100)] = msgspec.field(default_factory=list)
    order_id: Ref | None = None
    parts: Annotated[list[FittedPart], Meta(max_length=PARTS_MAX)] = msgspec.field(default_factory=list)
    tests: Annotated[list[DoneTest], Meta(max_length=TESTS_MAX)] = msgspec.field(default_factory=list)


class ToldPart(FittedPart, frozen=True, kw_only=True):
    """A part that went into a vehicle: by its order, or by its VIN once it is born."""

    order_id: Ref | None = None
    vin: Vin | None = None


class NewParts(Command, frozen=True, kw_only=True):
    """Parts that went into vehicles of a line."""

    strict: ClassVar[bool] = True
    parts: Annotated[list[ToldPart], Meta(min_length=1, max_length=PARTS_MAX)]


@route("POST", "/vehicles", role=Role.OPERATOR, tag="build", status=201, errors=[404, 409, 422])
def bear_vehicle(ctx: Ctx, request: Req, data: JSONBody[NewVehicle]) -> Done:
    """Put a vehicle on record at the end of the line, with its birth record; exactly the same again is fine.

    A vehicle of an order is born only if nothing that was checked of it failed and no check of a gate is missing.
    A site seals the record with its own key, and bears nothing when what it holds of its hub's word has ended.
    """
    now = ctx.clock.now()
    # Kept for themselves: a vehicle that is not born today failed its check, or was to be looked at, today.
    with ctx.transaction() as conn:
        tests = _keep_tests(conn, data, actor=request.user.name, now=now)
        _choose(conn, ctx, data, actor=request.user.name, now=now)
    try:
        return _bear(ctx, request, data, tests, now=now)
    except Conflict as refused:
        if (
            refused.code == "end_of_line"
        ):  # so it is the vehicle of that order: what else is wrong is told before
            # A contained lot that was told once is known however the registration is tried again.
            with ctx.transaction() as conn:
                _choose(conn, ctx, data, actor=request.user.name, now=now, with_parts=True)
        raise


def _bear(ctx: Context, request: Req, data: NewVehicle, tests: list[Checked], *, now: datetime) -> Done:
    """Put a vehicle on record, or nothing of it. Raises: see `register_vehicle`."""
    at_site = site_births.is_site(ctx)
    with ctx.transaction() as conn:
        signer, certificate = site_births.sealing(ctx, conn) if at_site else (_signer(ctx), None)
        built = AsBuilt(
            parts=[_part(each, "") for each in data.parts],
            tests=tests,
            signer=signer,
            certificate=certificate,
        )
        new = register_vehicle(
            conn, ctx.ids, vin=data.vin, programme_id=data.programme_id, variant=data.variant,
            gateway=data.gateway, token_sha256=bytes.fromhex(data.token_sha256),
            ecus=[
                NewEcu(serial=e.serial, name=e.name, hardware_id=e.hardware_id, public_key=e.public_key,
                       key_id=e.key_id, is_primary=e.is_primary)
                for e in data.ecus
            ],
            release_id=data.release_id,
            installed=[
                Installed(serial=e.serial, filename=e.filename, version=e.version, image_sha256=e.image_sha256)
                for e in data.ecus
            ],
            actor=request.user.name, now=now, region=data.region, tags=data.tags,
            order_id=data.order_id, as_built=built,
        )  # fmt: skip
        if new and at_site:
            site_births.tell_hub(ctx, conn, data, tests)
    return Done(id=data.vin, state="born" if new else "known")


@route("GET", "/vehicles/{vin:str}/birth", role=Role.VIEWER, tag="build", errors=[404])
def read_birth(ctx: Ctx, *, vin: Id) -> BirthView:
    """Read a vehicle's birth record, as the vehicle carries it, and what followed."""
    with ctx.connection() as conn:
        return reading_birth.birth(conn, vin)


@route("GET", "/programmes/{programme_id:str}/end-of-line", role=Role.VIEWER, tag="build", errors=[404])
def read_end_of_line(ctx: Ctx, *, programme_id: Id) -> EndOfLineView:
    """Read what the end of a line flashes, and which checks its gates ask for before a vehicle is born."""
    with ctx.connection() as conn:
        asked = line_of_programme(conn, programme_id).asked
        baseline = get_baseline(conn, programme_id)
    return EndOfLineView(
        release_id=baseline.release_id if baseline else None,
        rxswins=dict(baseline.rxswins) if baseline else {},
        checks=[AskedCheck(station=a.station, gate=a.gate, check=a.check, always=a.always) for a in asked],
    )


@route(
    "POST", "/programmes/{programme_id:str}/built-parts", role=Role.OPERATOR, tag="build", errors=[404, 422]
)
def tell_parts(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[NewParts]) -> PartsTold:
    """Tell which parts went into vehicles; each counts once, one that cannot be is refused by itself."""
    wrong = next((each for each in data.parts if (each.order_id is None) == (each.vin is None)), None)
    if wrong is not None:
        raise InvalidInput(f"part {wrong.id} needs an order_id or a vin, one of them")
    now = ctx.clock.now()
    with ctx.transaction() as conn:
        told = take_parts(
            conn, line_of_programme(conn, programme_id), [_part(each, each.order_id or "") for each in data.parts],
            vins={each.id: each.vin for each in data.parts if each.vin}, actor=request.user.name, now=now,
        )  # fmt: skip
    return PartsTold(
        taken=sum(each.told == "taken" for each in told),
        known=sum(each.told == "known" for each in told),
        refused=[
            RefusedPart(id=each.part.id, station=each.part.station, reason=each.reason)
            for each in told
            if each.told == "refused"
        ],
    )


def _keep_tests(conn: Connection, data: NewVehicle, *, actor: str, now: datetime) -> list[Checked]:
    """Keep what the end of the line checked as results of the line. Raises: InvalidInput, with what is wrong."""
    if not data.tests:
        return []
    end, vehicle = line_of_programme(conn, data.programme_id).end, data.order_id or data.vin
    tests = [Checked(check=t.check, station=t.station or end, passed=t.passed, at=t.at) for t in data.tests]
    results = [
        CheckResult(
            id=f"{vehicle}:{test.station}:{test.check}:{test.at.isoformat()}"[:ID_CHARS_MAX], vehicle=vehicle,
            station=test.station, check=test.check, passed=test.passed, at=test.at, variant=data.variant,
        )
        for test in tests
    ]  # fmt: skip
    done = take_results(conn, programme_id=data.programme_id, delivered=results, actor=actor, now=now)
    if done.refused:
        raise InvalidInput(done.refused[0].reason, code="check_refused")
    return tests


def _choose(
    conn: Connection, ctx: Context, data: NewVehicle, *, actor: str, now: datetime, with_parts: bool = False
) -> None:
    """Choose which gates look at the vehicle, where nobody asked before; and keep its parts before."""
    if data.order_id is None:
        return
    BUILD.lock_programme(conn, programme_id=data.programme_id)
    line = line_of_programme(conn, data.programme_id)
    known = list(BUILD.orders_by_id(conn, programme_id=data.programme_id, order_ids=[data.order_id]))
    if known and known[0]["state"] in {"open", "building"}:
        if with_parts:
            parts = [_part(each, data.order_id) for each in data.parts]
            take_parts(conn, line, parts, vins={}, actor=actor, now=now, at_end=True)
        choose(conn, ctx.ids, line, order_id=data.order_id, actor=actor, now=now)


def _part(told: FittedPart, order_id: str) -> BuiltPart:
    return BuiltPart(
        id=told.id, order_id=order_id, station=told.station, part=told.part, lot=told.lot, serial=told.serial,
        supplier=told.supplier, fitted_at=told.fitted_at,
    )  # fmt: skip


def _signer(ctx: Context) -> Any:
    """Return the Director's key; without one the record says that nobody signed it, and the line goes on."""
    if ctx.load_signers is None:
        return None
    try:
        return ctx.load_signers().director_targets
    except RingroadError as error:
        LOG.warning("birth record not signed", reason=error.code)
        return None


router = Router("/", route_handlers=[bear_vehicle, read_birth, read_end_of_line, tell_parts])
