"""Ship: the way back for vehicles that kept the release of a stopped campaign."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Command, Id, Req, route
from ringroad.ship import store
from ringroad.ship.returns import ReturnPlan


class ReturnPlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What ordering the returns would do: vehicles by release and by ECU's version they return to, or why they cannot."""

    vehicles: int
    to: dict[str, int]
    packages: dict[str, int]
    cannot: dict[str, int]
    sha256: str


class OrderReturns(Command, frozen=True, kw_only=True):
    """Order the returns; with a digest, only those that were read."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None


@route("GET", "/campaigns/{campaign_id:str}/returns", role=Role.VIEWER, tag="ship", errors=[404, 409])
def get_return_plan(ctx: Ctx, *, campaign_id: Id) -> ReturnPlanView:
    """Plan the returns of vehicles that kept the release of a halted or aborted campaign."""
    with ctx.transaction() as conn:
        return _view(store.read_return_plan(conn, campaign_id))


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


router = Router("/", route_handlers=[get_return_plan, order_returns])
