"""Build: faults and claims of the field traced back to the line, and who has a lot."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.build import store_trace
from ringroad.build.store_birth import Line, line_of_programme
from ringroad.build.store_packages import SQL
from ringroad.build.store_trace import CLAIMS_MAX, FAULTY_MAX, Claim
from ringroad.build.trace import Traced, gate_for, label, sentence
from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import NAME_PATTERN, Command, Id, Limit, Name, Req, Title, route
from ringroad.http.views import FindingView
from ringroad.http.views_birth import (
    ClaimsTold,
    ClaimView,
    FieldTraceView,
    LotView,
    RefusedClaim,
    SuspectView,
    TracedView,
)
from ringroad.kernel.errors import InvalidInput
from ringroad.ship.store import fleet
from ringroad.storage.db import Connection
from ringroad.storage.lake import Lake, View

VINS_ASKED_MAX = 1_000  # by name; claims and findings name more
VINS_SHOWN_MAX = 1_000  # of a lot, in one answer; a list holds all
ANY_ECU = "*"  # of a finding that is about several

VIN = re.compile(r"[A-HJ-NPR-Z0-9]{17}")
Vin = Annotated[str, Meta(pattern=r"^[A-HJ-NPR-Z0-9]{17}$")]
Short = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Lot = Annotated[str, Parameter(pattern=NAME_PATTERN, min_length=1, max_length=200, description="The lot")]
Part = Annotated[
    str,
    Parameter(pattern=NAME_PATTERN, max_length=200, description="The part; none: the only one of that lot"),
]


class NewClaim(Command, frozen=True, kw_only=True):
    """What went wrong with one vehicle."""

    id: Title  # the sender's own, so that a repeated one is known
    vin: Vin
    part: Short = ""  # a part or an ECU, by the name it was built under
    fault_code: Short = ""
    text: Annotated[str, Meta(max_length=2_000, pattern=r"^[^\x00]*$")] = ""
    occurred_at: Annotated[datetime, Meta(tz=True)]


class NewClaims(Command, frozen=True, kw_only=True):
    """Claims of vehicles of one programme."""

    strict: ClassVar[bool] = True
    claims: Annotated[list[NewClaim], Meta(min_length=1, max_length=CLAIMS_MAX)]


class WantedTrace(Command, frozen=True, kw_only=True):
    """Vehicles that have a fault: by VIN, or all with claims of a part or fault code."""

    vins: Annotated[list[str], Meta(max_length=VINS_ASKED_MAX)] = msgspec.field(default_factory=list)
    claims_of_part: Short = ""
    claims_of_code: Short = ""


class LotList(Command, frozen=True, kw_only=True):
    """A lot to make a list of vehicles of, which queries of campaigns may name."""

    lot: Title
    part: Short = ""
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+:\-]{0,63}$")]


@route("POST", "/programmes/{programme_id:str}/claims", role=Role.OPERATOR, tag="signal", errors=[404, 422])
def tell_claims(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[NewClaims]) -> ClaimsTold:
    """Tell claims; each counts once and is traced to where the part was fitted, one that cannot be is refused by itself."""
    claims = [Claim(**msgspec.structs.asdict(each)) for each in data.claims]
    with ctx.transaction() as conn:
        told = store_trace.take_claims(
            conn, line_of_programme(conn, programme_id), claims, actor=request.user.name, now=ctx.clock.now()
        )
    return ClaimsTold(
        taken=sum(each.told == "taken" for each in told),
        known=sum(each.told == "known" for each in told),
        refused=[
            RefusedClaim(id=each.claim.id, vin=each.claim.vin, reason=each.reason)
            for each in told
            if each.told == "refused"
        ],
    )


@route("GET", "/programmes/{programme_id:str}/claims", role=Role.VIEWER, tag="signal")
def list_claims(ctx: Ctx, *, programme_id: Id, vin: Name = None, limit: Limit = 100) -> list[ClaimView]:
    """List claims, newest first, each with where what failed was built."""
    with ctx.connection() as conn:
        rows = list(SQL.claims(conn, programme_id=programme_id, vin=vin, rows_max=limit))
    return msgspec.convert(rows, list[ClaimView])


@route("GET", "/programmes/{programme_id:str}/field-traces", role=Role.VIEWER, tag="build")
def list_field_traces(
    ctx: Ctx, *, programme_id: Id, gate: Name = None, limit: Limit = 100
) -> list[FieldTraceView]:
    """List what the field had that a gate should have caught, newest first."""
    with ctx.connection() as conn:
        found = store_trace.list_traces(conn, programme_id, gate=gate, rows_max=limit)
    return [msgspec.convert(each, FieldTraceView, from_attributes=True) for each in found]


@route("POST", "/programmes/{programme_id:str}/trace", role=Role.VIEWER, tag="build", errors=[404, 422])
def trace(ctx: Ctx, programme_id: Id, data: JSONBody[WantedTrace]) -> TracedView:
    """Say what vehicles with a fault have in common that others have not; nothing is kept of the question."""
    if bool(data.vins) == bool(data.claims_of_part or data.claims_of_code):
        raise InvalidInput("name vins, or the part or code of their claims")
    wrong = next((each for each in data.vins if not VIN.fullmatch(each)), None)
    if wrong is not None:
        raise InvalidInput(f"{wrong[:40]!r} is no VIN")
    with ctx.connection() as conn:
        line = line_of_programme(conn, programme_id)
        vins: list[str] = data.vins or [
            row["vin"]
            for row in SQL.vins_of_claims(
                conn, programme_id=programme_id, part=data.claims_of_part, fault_code=data.claims_of_code,
                rows_max=FAULTY_MAX,
            )
        ]  # fmt: skip
        found = store_trace.trace_vins(conn, programme_id, vins)
    return traced_view(line, found, named=len(set(vins)), words=[data.claims_of_part, data.claims_of_code])


@route("GET", "/findings/{finding_id:str}/built", role=Role.VIEWER, tag="build", errors=[404, 422])
def get_built(ctx: Ctx, finding_id: Id) -> TracedView:
    """Say what the vehicles of a finding have in common: lot, supplier, station, software at birth, check, week."""
    return built(ctx, finding_id)[1]


@route("POST", "/findings/{finding_id:str}/trace", role=Role.OPERATOR, tag="build", errors=[404, 422])
def keep_finding_trace(ctx: Ctx, finding_id: Id) -> TracedView:
    """Trace each vehicle of a finding to where it was built, and keep that for the gates that should have caught it."""
    with ctx.connection() as conn:
        finding = _finding(conn, finding_id)
    vins = _faulty(ctx, finding)
    with ctx.transaction() as conn:
        line = line_of_programme(conn, finding.programme_id)
        found = store_trace.trace_finding(
            conn, line, finding_id=finding_id, vins=vins, ecu=finding.ecu, fault_code=finding.fault_code,
            occurred_at=finding.opened_at, now=ctx.clock.now(),
        )  # fmt: skip
    return traced_view(line, found, named=len(vins), words=[finding.ecu, finding.fault_code])


@route("GET", "/programmes/{programme_id:str}/lots", role=Role.VIEWER, tag="build", errors=[404, 422])
def get_lot(ctx: Ctx, *, programme_id: Id, lot: Lot, part: Part = "") -> LotView:
    """Say which vehicles have a lot, and which orders on the line; the first thousand by VIN."""
    with ctx.connection() as conn:
        found = store_trace.contain(conn, programme_id, lot=lot, part=part)
    return LotView(
        part=found.part, lot=lot, vehicles=len(found.vins), vins=list(found.vins[:VINS_SHOWN_MAX]), orders=list(found.orders)
    )  # fmt: skip


@route(
    "POST",
    "/programmes/{programme_id:str}/lots/list",
    role=Role.OPERATOR,
    tag="build",
    errors=[404, 409, 422],
)
def list_lot(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[LotList]) -> LotView:
    """Make a named list of all vehicles that have a lot, for campaigns (`list = NAME`); again, it is brought up to date."""
    with ctx.transaction() as conn:
        found = store_trace.contain(conn, programme_id, lot=data.lot, part=data.part)
        fleet.save_list(
            conn, ctx.ids, name=data.name, data="\n".join(found.vins).encode(), mode="replace", partial=False,
            actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
    return LotView(
        part=found.part, lot=data.lot, vehicles=len(found.vins), vins=list(found.vins[:VINS_SHOWN_MAX]),
        orders=list(found.orders),
    )  # fmt: skip


def built(ctx: Context, finding_id: str) -> tuple[FindingView, TracedView]:
    """Return a finding, and what its vehicles have in common. Raises: NotFound."""
    with ctx.connection() as conn:
        finding = _finding(conn, finding_id)
    vins = _faulty(ctx, finding)
    with ctx.connection() as conn:
        line = line_of_programme(conn, finding.programme_id)
        found = store_trace.trace_vins(conn, finding.programme_id, vins)
    return finding, traced_view(line, found, named=len(vins), words=[finding.ecu, finding.fault_code])


def traced_view(line: Line, found: Traced, *, named: int, words: list[str]) -> TracedView:
    """Return a trace as it is told, each suspect with the gate that should have caught it."""
    suspects = []
    for each in found.suspects:
        gate = gate_for(
            line.plant, line.programme.id, station=each.trait.station, words=[each.trait.thing, *words]
        )
        suspects.append(
            SuspectView(
                kind=each.trait.kind, thing=each.trait.thing, value=each.trait.value, label=label(each.trait),
                station=each.trait.station, vehicles=each.trait.vehicles, with_fault=each.trait.with_fault,
                chance=each.chance, ratio_milli=each.ratio.point_milli, ratio_low_milli=each.ratio.low_milli,
                ratio_high_milli=each.ratio.high_milli, standing=each.standing, gate_station=gate.station,
                gate=gate.gate, gate_reason=gate.reason,
            )
        )  # fmt: skip
    return TracedView(
        programme_id=line.programme.id, sentence=sentence(found), named=named, faulty=found.faulty, total=found.total,
        asked=found.asked, threshold=found.threshold, noticed=found.noticed, suspects=suspects,
    )  # fmt: skip


def _finding(conn: Connection, finding_id: str) -> FindingView:
    return reading.one(reading.findings(conn, finding_id=finding_id), f"finding {finding_id}")


def _faulty(ctx: Context, finding: FindingView) -> list[str]:
    """Return the vehicles that had a finding's fault since its rise began."""
    since = finding.evidence.get("measured_from_us")

    def ask(view: View) -> list[dict[str, Any]]:
        faults = view.table("faults")
        wanted = faults.filter(
            (faults.programme == finding.programme_id)
            & (faults.code == finding.fault_code)
            & (faults.status != 0)
        )
        if finding.ecu != ANY_ECU:
            wanted = wanted.filter(wanted.ecu == finding.ecu)
        if isinstance(since, int):
            wanted = wanted.filter(wanted.at_us >= since)
        return view.rows(wanted.select("vin").distinct().order_by("vin").limit(FAULTY_MAX))

    return [row["vin"] for row in Lake(ctx.settings.lake).read(ask)]


router = Router(
    "/",
    route_handlers=[
        tell_claims, list_claims, list_field_traces, trace, get_built, keep_finding_trace, get_lot, list_lot,
    ],
)  # fmt: skip
