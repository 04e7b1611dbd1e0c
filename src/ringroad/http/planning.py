"""Ship: how far a plan is that is being made."""

from __future__ import annotations

import msgspec
from litestar import Router

from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Id, route
from ringroad.ship import store
from ringroad.ship.store.planning import STEPS, read_planning


class PlanningNow(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is. Step 0: nobody makes a plan for this campaign now."""

    step: int
    steps: int
    doing: str
    running_s: int


@route("GET", "/campaigns/{campaign_id:str}/planning", role=Role.VIEWER, tag="ship", errors=[404])
def planning_now(ctx: Ctx, campaign_id: Id) -> PlanningNow:
    """Say how far the plan is that is being made for a campaign; ask again while its answer is awaited."""
    with ctx.connection() as conn:
        store.read_campaign(conn, campaign_id)
        found = read_planning(conn, campaign_id)
    if found is None:
        return PlanningNow(step=0, steps=len(STEPS), doing="", running_s=0)
    return PlanningNow(step=found.step, steps=len(STEPS), doing=found.doing, running_s=found.running_s)


router = Router("/", route_handlers=[planning_now])
