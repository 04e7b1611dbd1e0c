"""Build: quality: results of checks, first-pass yield, alarms."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

import msgspec
from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.build.quality import store, store_gates, store_watch
from ringroad.build.quality.gates import KINDS_MAX
from ringroad.build.quality.results import LOTS_MAX, RESULTS_MAX, CheckResult
from ringroad.build.quality.store_watch import DAYS, DAYS_MAX
from ringroad.build.store_packages import get_programme
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import NAME_PATTERN, Command, Id, Limit, Ref, Req, Seen, Text, Title, route
from ringroad.http.views_quality import (
    AlarmView,
    GateView,
    RefusedResultView,
    ResultsTaken,
    ResultView,
    YieldsView,
    alarm_view,
    gate_view,
    yields_view,
)
from ringroad.kernel.errors import InvalidInput
from ringroad.storage.db import one_snapshot

Word = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Lots = Annotated[
    dict[str, str], Meta(max_length=LOTS_MAX)
]  # an API's schema says nothing of keys: looked at below
WORD_CHARS_MAX = 200  # of a part, and of a lot
Days = Annotated[int, Parameter(ge=1, le=DAYS_MAX, description="Results of the last days")]
OnlyOpen = Annotated[bool, Parameter(description="Only what is not closed")]
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


class GateRate(Command, frozen=True, kw_only=True):
    """How many vehicles a gate inspects from now on."""

    station: Title
    gate: Title
    inspect_permille: Annotated[int, Meta(ge=0, le=1000)]  # of those that are of none of these kinds
    # keys of kinds of which it inspects every vehicle
    all_of: Annotated[list[str], Meta(max_length=KINDS_MAX)] = msgspec.field(default_factory=list)
    generation: Seen  # of the plant document
    reason: Text


class CloseAlarm(Command, frozen=True, kw_only=True):
    """An alarm is over."""

    reason: Text  # what was wrong, and what was done


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
    """Take results of checks; what cannot be is refused one by one, and the rest is taken.

    With a result that has not the form of one, nothing of the request is.
    """
    for each in data.results:
        if any(
            not w.strip() or "\x00" in w or len(w) > WORD_CHARS_MAX
            for pair in each.lots.items()
            for w in pair
        ):
            raise InvalidInput(
                f"result {each.id} of {each.vehicle} at {each.station}: a part and its lot have 1 to {WORD_CHARS_MAX}"
                " characters each; nothing of the request was taken"
            )
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


@route("GET", "/programmes/{programme_id:str}/yields", role=Role.VIEWER, tag="build", errors=[404, 422])
def get_yields(ctx: Ctx, *, programme_id: Id, days: Days = DAYS) -> YieldsView:
    """Say how many vehicles are right at once, by station, variant, software version and lot."""
    with ctx.transaction() as conn:
        one_snapshot(conn)  # the worker counts days meanwhile
        get_programme(conn, programme_id)
        found = store_watch.line_yields(conn, programme_id, now=ctx.clock.now(), days=days)
    return yields_view(programme_id, found, days=days)


@route("GET", "/programmes/{programme_id:str}/quality-alarms", role=Role.VIEWER, tag="build")
def list_quality_alarms(
    ctx: Ctx, *, programme_id: Id, only_open: OnlyOpen = False, limit: Limit = 100
) -> list[AlarmView]:
    """List what fails more often than before: what stands first, then the newest."""
    with ctx.connection() as conn:
        found = store_watch.list_alarms(conn, programme_id, only_open=only_open, rows_max=limit)
    return [alarm_view(each) for each in found]


@route(
    "POST", "/quality-alarms/{alarm_id:str}/close", role=Role.OPERATOR, tag="build", errors=[404, 409, 422]
)
def close_quality_alarm(ctx: Ctx, request: Req, alarm_id: Id, data: JSONBody[CloseAlarm]) -> AlarmView:
    """Close an alarm, with what was wrong; its station is watched anew."""
    with ctx.transaction() as conn:
        found = store_watch.close_alarm(
            conn, ctx.ids, alarm_id=alarm_id, reason=data.reason, actor=request.user.name, now=ctx.clock.now()
        )
    return alarm_view(found)


@route("GET", "/programmes/{programme_id:str}/gates", role=Role.VIEWER, tag="build", errors=[404])
def list_gates(ctx: Ctx, *, programme_id: Id) -> list[GateView]:
    """List the quality gates of a line: what escapes each, and how many vehicles it should inspect."""
    with ctx.transaction() as conn:
        one_snapshot(conn)
        found = store_gates.judge_gates(conn, programme_id, now=ctx.clock.now())
    return [gate_view(each) for each in found]


@route(
    "POST",
    "/programmes/{programme_id:str}/gates/rate",
    role=Role.APPROVER,
    tag="build",
    errors=[404, 409, 422],
)
def set_gate_rate(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[GateRate]) -> list[GateView]:
    """Decide how many vehicles a gate inspects; the plant document says so from now on, with the evidence."""
    with ctx.transaction() as conn:
        store_gates.set_rate(
            conn, ctx.ids, programme_id=programme_id, station=data.station, gate=data.gate,
            inspect_permille=data.inspect_permille, generation=data.generation, reason=data.reason,
            actor=request.user.name, now=ctx.clock.now(), all_of=data.all_of,
        )  # fmt: skip
        found = store_gates.judge_gates(conn, programme_id, now=ctx.clock.now())
    return [gate_view(each) for each in found]


router = Router(
    "/",
    route_handlers=[
        take_station_results, list_station_results, get_yields, list_quality_alarms, close_quality_alarm, list_gates, set_gate_rate,
    ],
)  # fmt: skip
