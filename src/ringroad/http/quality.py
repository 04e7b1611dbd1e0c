"""Build: quality: results of checks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

import msgspec
from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.build.quality import store
from ringroad.build.quality.results import LOTS_MAX, RESULTS_MAX, CheckResult, Outcome
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import NAME_PATTERN, Command, Id, Limit, Ref, Req, Title, route
from ringroad.http.views import View

Word = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Lots = Annotated[dict[Title, Title], Meta(max_length=LOTS_MAX)]
Only = Annotated[
    str | None,
    Parameter(pattern=NAME_PATTERN, min_length=1, max_length=200, description="Only results of this"),
]


class NewResult(Command, frozen=True, kw_only=True):
    """A check passed or failed."""

    id: Title  # the station's own, so that a repeated one is known
    vehicle: Ref  # an order, the VIN of one, or the sender's own number of a vehicle built elsewhere
    station: Title
    check: Title
    passed: bool
    at: Annotated[datetime, Meta(tz=True)]
    variant: Word = ""  # needed of a vehicle that is no order
    software: Word = ""  # none: the line's baseline
    lots: Lots = msgspec.field(default_factory=dict)  # part to lot, of what was fitted at this station


class NewResults(Command, frozen=True, kw_only=True):
    """What checks said, in order for each vehicle; each counts once."""

    strict: ClassVar[bool] = True
    results: Annotated[list[NewResult], Meta(min_length=1, max_length=RESULTS_MAX)]


class RefusedResultView(View, frozen=True, kw_only=True):
    """A result that was not believed."""

    id: str
    vehicle: str
    station: str
    reason: str


class ResultsTaken(View, frozen=True, kw_only=True):
    """What became of a delivery of results."""

    taken: int
    repeated: int  # known before
    refused: list[RefusedResultView]


class ResultView(View, frozen=True, kw_only=True):
    """One result of a check, as it is kept."""

    id: str
    plant_id: str
    station: str
    gate: str  # that makes this check; empty if none does
    check: str
    vehicle: str
    order_id: str | None  # the vehicle, if it is an order of ours
    variant: str
    software: str
    lots: dict[str, str]  # part to lot, of what was fitted at this station
    passed: bool
    attempt: int  # of this check on this vehicle; above 1 after rework
    outcome: Outcome
    at: datetime
    told_at: datetime
    told_by: str


@route(
    "POST",
    "/programmes/{programme_id:str}/station-results",
    role=Role.OPERATOR,
    tag="build",
    errors=[404, 422],
)
def take_station_results(
    ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[NewResults]
) -> ResultsTaken:
    """Take results of checks; what cannot be is refused one by one, and the rest is taken."""
    delivered = [CheckResult(**msgspec.structs.asdict(each)) for each in data.results]
    with ctx.transaction() as conn:
        found = store.take_results(
            conn, programme_id=programme_id, delivered=delivered, actor=request.user.name, now=ctx.clock.now()
        )
        store.forget(conn, programme_id, now=ctx.clock.now())
    refused = [
        RefusedResultView(id=each.id, vehicle=each.vehicle, station=each.station, reason=each.reason)
        for each in found.refused
    ]
    return ResultsTaken(taken=len(found.taken), repeated=found.repeated, refused=refused)


@route("GET", "/programmes/{programme_id:str}/station-results", role=Role.VIEWER, tag="build")
def list_station_results(
    ctx: Ctx, *, programme_id: Id, vehicle: Only = None, station: Only = None, limit: Limit = 100
) -> list[ResultView]:
    """List results of checks, newest first: of all vehicles, or of one by its order, VIN or number."""
    with ctx.connection() as conn:
        found = store.list_results(conn, programme_id, vehicle=vehicle, station=station, rows_max=limit)
    return [msgspec.convert(each, ResultView, from_attributes=True) for each in found]


router = Router("/", route_handlers=[take_station_results, list_station_results])
