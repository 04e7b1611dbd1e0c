"""Signal: demand: what was wanted, signals of what will be, forecasts and their grades."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.http import reading, reading_demand
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import (
    LONG_NAME_PATTERN,
    NAME_PATTERN,
    TEXT_PATTERN,
    Command,
    Generation,
    Go,
    Id,
    Limit,
    Offset,
    Req,
    route,
)
from ringroad.http.views_demand import (
    DemandBookView,
    DemandForecastView,
    DemandPastView,
    DemandRunView,
    DemandSamplesView,
    DemandTaken,
)
from ringroad.kernel.limits import REQUEST_BYTES_MAX
from ringroad.signal.demand import store, store_runs
from ringroad.signal.demand.panel import ALL, Key

NAMES_MAX = 200  # plants or regions of a programme
COST_MILLI_MAX = 1_000_000_000

Source = Annotated[
    str, Meta(min_length=1, max_length=200, pattern=TEXT_PATTERN, description="What it is called")
]
Table = Annotated[
    str, Meta(max_length=REQUEST_BYTES_MAX, pattern=LONG_NAME_PATTERN, description="CSV with a head")
]
Some = Annotated[
    str | None, Parameter(pattern=NAME_PATTERN, max_length=100, description="Only this one; * is the sum")
]
One = Annotated[str, Parameter(pattern=NAME_PATTERN, max_length=100, description="* is the sum")]
Option = Annotated[
    str, Parameter(pattern=NAME_PATTERN, max_length=100, description="Empty: the vehicle itself")
]


class SetDemand(Command, frozen=True, kw_only=True):
    """What is forecast of a programme: what may be named, how far, and what stock costs."""

    plants: Annotated[list[str], Meta(min_length=1, max_length=NAMES_MAX)]
    regions: Annotated[list[str], Meta(min_length=1, max_length=NAMES_MAX)]
    horizon: Annotated[int, Meta(ge=1, le=24)] = 6
    holding_milli: Annotated[int, Meta(ge=1, le=COST_MILLI_MAX)] = 1_000
    shortage_milli: Annotated[int, Meta(ge=1, le=COST_MILLI_MAX)] = 9_000
    count_orders: bool = False
    usage: Annotated[dict[str, str], Meta(max_length=NAMES_MAX)] = msgspec.field(
        default_factory=dict
    )  # option to VSS path
    generation: Generation = None


class DemandTable(Command, frozen=True, kw_only=True):
    """A table of what was wanted: month, option, plant, region, model, units."""

    source: Source
    text: Table
    fill: bool = False
    restate: bool = False


class SignalTable(Command, frozen=True, kw_only=True):
    """A table of signals: id, kind, month, option, plant, region, model, value."""

    source: Source
    text: Table


@route("GET", "/programmes/{programme_id:str}/demand", role=Role.VIEWER, tag="signal", errors=[404])
def get_demand(ctx: Ctx, *, programme_id: Id) -> DemandBookView:
    """Read what is forecast of a programme."""
    with ctx.connection() as conn:
        return reading_demand.book(conn, programme_id)


@route(
    "PUT", "/programmes/{programme_id:str}/demand", role=Role.OPERATOR, tag="signal", errors=[404, 409, 422]
)
def set_demand(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[SetDemand]) -> DemandBookView:
    """Say what is forecast of a programme."""
    with ctx.transaction() as conn:
        store.set_book(
            conn, ctx.ids, programme_id=programme_id, plants=data.plants, regions=data.regions, horizon=data.horizon,
            holding_milli=data.holding_milli, shortage_milli=data.shortage_milli, count_orders=data.count_orders,
            usage=data.usage, generation=data.generation, actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
        return reading_demand.book(conn, programme_id)


@route(
    "POST",
    "/programmes/{programme_id:str}/demand/months",
    role=Role.OPERATOR,
    tag="signal",
    errors=[404, 409, 413, 422],
)
def import_demand(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[DemandTable]) -> DemandTaken:
    """Take what was wanted, whole or not at all; the same rows again change nothing."""
    with ctx.transaction() as conn:
        taken = store.import_demand(
            conn, ctx.ids, programme_id=programme_id, text=data.text, source=data.source, fill=data.fill,
            restate=data.restate, actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
    return _taken(taken)


@route(
    "POST",
    "/programmes/{programme_id:str}/demand/signals",
    role=Role.OPERATOR,
    tag="signal",
    errors=[404, 409, 413, 422],
)
def take_demand_signals(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[SignalTable]) -> DemandTaken:
    """Take orders, clicks, take rates and feature use by month; each id counts once."""
    with ctx.transaction() as conn:
        taken = store.take_signals(
            conn, ctx.ids, programme_id=programme_id, text=data.text, source=data.source, actor=request.user.name,
            now=ctx.clock.now(),
        )  # fmt: skip
    return _taken(taken)


@route(
    "POST", "/programmes/{programme_id:str}/demand/forecasts", role=Role.OPERATOR, tag="signal", status=201,
    errors=[404, 409, 422],
)  # fmt: skip
def ask_forecast(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[Go]) -> DemandRunView:
    """Ask for a forecast; the worker makes it."""
    del data
    with ctx.transaction() as conn:
        run_id = store_runs.ask_run(
            conn, ctx.ids, programme_id=programme_id, actor=request.user.name, now=ctx.clock.now()
        )
        return reading.one(reading_demand.runs(conn, programme_id, run_id=run_id), f"forecast {run_id}")


@route("GET", "/programmes/{programme_id:str}/demand/forecasts", role=Role.VIEWER, tag="signal")
def list_forecasts(ctx: Ctx, *, programme_id: Id, limit: Limit = 20) -> list[DemandRunView]:
    """List forecasts, newest first: how far each is, what it knew, how it is graded, what shifted."""
    with ctx.connection() as conn:
        return reading_demand.runs(conn, programme_id, limit=limit)


@route("GET", "/programmes/{programme_id:str}/demand/series", role=Role.VIEWER, tag="signal", errors=[404])
def list_expected(
    ctx: Ctx, *, programme_id: Id, option: Some = None, plant: Some = None, region: Some = None, model: Some = None,
    limit: Limit = 100, offset: Offset = 0,
) -> list[DemandForecastView]:  # fmt: skip
    """List what the newest forecast expects, whole sums first."""
    with ctx.connection() as conn:
        return reading_demand.forecasts(
            conn, reading_demand.newest_run(conn, programme_id), option=option, plant=plant, region=region, model=model,
            limit=limit, offset=offset,
        )  # fmt: skip


@route("GET", "/programmes/{programme_id:str}/demand/samples", role=Role.VIEWER, tag="signal", errors=[404])
def get_expected_samples(
    ctx: Ctx, *, programme_id: Id, option: Option = "", plant: One = ALL, region: One = ALL, model: One = ALL
) -> DemandSamplesView:
    """Read the draws of one series or sum; draw number k of all of them belongs together."""
    with ctx.connection() as conn:
        run_id = reading_demand.newest_run(conn, programme_id)
        return reading_demand.samples(conn, run_id, Key(option, plant, region, model))


@route("GET", "/programmes/{programme_id:str}/demand/months", role=Role.VIEWER, tag="signal")
def list_demand(
    ctx: Ctx, *, programme_id: Id, option: Option = "", plant: One = ALL, region: One = ALL, model: One = ALL,
    limit: Limit = 48,
) -> list[DemandPastView]:  # fmt: skip
    """List what was wanted of one series or sum, the newest months."""
    with ctx.connection() as conn:
        return reading_demand.past(conn, programme_id, Key(option, plant, region, model), limit=limit)


def _taken(taken: store.Taken) -> DemandTaken:
    return DemandTaken(
        rows=taken.rows, new=taken.new, repeated=taken.repeated, restated=taken.restated, filled=taken.filled
    )


router = Router(
    "/",
    route_handlers=[
        get_demand, set_demand, import_demand, take_demand_signals, ask_forecast, list_forecasts, list_expected,
        get_expected_samples, list_demand,
    ],
)  # fmt: skip
