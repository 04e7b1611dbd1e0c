"""Ship: the way back for vehicles that kept the release of a stopped campaign."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.adapt.recovery import recovery_body, standing
from ringroad.adapt.store import read_recovery_page
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Command, Id, Req, route
from ringroad.ship import store
from ringroad.ship.returns import ReturnPlan

VEHICLES_MAX = 20_000  # vehicles counted in one request; some 0.3 s of the database
After = Annotated[str, Parameter(pattern=r"^[A-Za-z0-9]{0,17}$", description="VIN of the page before")]
Vehicles = Annotated[int, Parameter(ge=1, le=VEHICLES_MAX, description="Vehicles to count")]


class ReturnPlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What ordering the returns would do: vehicles by release and by ECU's version they return to, or why they cannot."""

    vehicles: int
    to: dict[str, int]
    packages: dict[str, int]
    cannot: dict[str, int]
    sha256: str


class RecoveryView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a stopped campaign's vehicles, as it stands: of one page of them; counts of pages add up."""

    verdict: str  # recovered, kept (some still run the release), unknown or not_recovered
    reason: str
    vehicles: dict[str, int]
    moved_on_to: dict[str, int]  # of those that moved on, by the version of the release they run since
    next: str | None  # ask again with it as `after`; null: these were the last


class OrderReturns(Command, frozen=True, kw_only=True):
    """Order the returns; with a digest, only those that were read."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None


@route("GET", "/campaigns/{campaign_id:str}/returns", role=Role.VIEWER, tag="ship", errors=[404, 409])
def get_return_plan(ctx: Ctx, *, campaign_id: Id) -> ReturnPlanView:
    """Plan the returns of vehicles that kept the release of a halted or aborted campaign."""
    with ctx.transaction() as conn:
        return _view(store.read_return_plan(conn, campaign_id))


@route("GET", "/campaigns/{campaign_id:str}/recovery", role=Role.VIEWER, tag="ship", errors=[404, 409])
def get_recovery(
    ctx: Ctx, *, campaign_id: Id, after: After = "", limit: Vehicles = VEHICLES_MAX
) -> RecoveryView:
    """Count what became of the vehicles of a halted or aborted campaign, those that were ordered back among them."""
    with ctx.connection() as conn:
        found, next_ = read_recovery_page(conn, campaign_id, after_vin=after, vehicles_max=limit)
    body = recovery_body(found)
    return RecoveryView(
        verdict=standing(body),
        reason=body["reason"],
        vehicles=body["vehicles"],
        moved_on_to=body["moved_on_to"],
        next=next_,
    )


@route("POST", "/campaigns/{campaign_id:str}/returns", role=Role.APPROVER, tag="ship", errors=[404, 409])
def order_returns(ctx: Ctx, request: Req, campaign_id: Id, data: JSONBody[OrderReturns]) -> ReturnPlanView:
    """Order them: each vehicle gets a signed order to return to what its ECUs ran before."""
    with ctx.transaction() as conn:
        plan = store.order_returns(
            conn, ctx.ids, campaign_id=campaign_id, sha256=data.sha256, actor=request.user.name,
            now=ctx.clock.now(),
        )  # fmt: skip
    return _view(plan)


def _view(plan: ReturnPlan) -> ReturnPlanView:
    return ReturnPlanView(
        vehicles=plan.vehicles,
        to=dict(plan.to),
        packages=dict(plan.packages),
        cannot=dict(plan.cannot),
        sha256=plan.sha256,
    )


router = Router("/", route_handlers=[get_return_plan, get_recovery, order_returns])
