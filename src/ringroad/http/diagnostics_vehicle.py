"""Signal: the places of one vehicle's diagnostics that belong to no single ECU: updates that it was assigned.

As `diagnostics_tree.py`: what each place asks of the vehicle, and nothing more. An update is triggered here, never brought:
the vehicle's orchestrator verifies what the Director assigned, asks its driver and keeps its preconditions as ever.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, Router
from litestar.params import Parameter

from ringroad.http.context import Ctx
from ringroad.http.diagnostics import WAIT_S, Wait, ask
from ringroad.http.diagnostics_tree import declare
from ringroad.http.routes import Id, Req

Update = Annotated[
    str, Parameter(pattern=r"^[0-9]{1,18}$", description="The update: the number of its action")
]


@declare("GET", "updates")
async def list_vehicle_updates(
    ctx: Ctx, request: Req, *, vin: Id, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List the updates that the vehicle knows: the one under way or last, and one that is assigned."""
    return await ask(ctx, request.user, vin, "GET", ["updates"], wait_s=wait_s)


@declare("POST", "updates")
async def look_for_vehicle_updates(
    ctx: Ctx, request: Req, *, vin: Id, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Let the vehicle ask the Director now what it is assigned."""
    return await ask(ctx, request.user, vin, "POST", ["updates"], wait_s=wait_s)


@declare("GET", "updates/{update_id:str}")
async def get_vehicle_update(
    ctx: Ctx, request: Req, *, vin: Id, update_id: Update, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Show one update: what it changes, how far it is, what it waits for."""
    return await ask(ctx, request.user, vin, "GET", ["updates", update_id], wait_s=wait_s)


@declare("GET", "updates/{update_id:str}/status")
async def get_vehicle_update_status(
    ctx: Ctx, request: Req, *, vin: Id, update_id: Update, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Show how one update stands."""
    return await ask(ctx, request.user, vin, "GET", ["updates", update_id, "status"], wait_s=wait_s)


@declare("PUT", "updates/{update_id:str}/prepare")
async def prepare_vehicle_update(
    ctx: Ctx, request: Req, *, vin: Id, update_id: Update, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Let the vehicle get an assigned update ready now; 409 with what it waits for, the driver's consent for one."""
    return await ask(ctx, request.user, vin, "PUT", ["updates", update_id, "prepare"], wait_s=wait_s)


@declare("PUT", "updates/{update_id:str}/execute")
async def execute_vehicle_update(
    ctx: Ctx, request: Req, *, vin: Id, update_id: Update, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Let the vehicle begin with an update that is ready; 409 with what it waits for, 423 while an ECU is locked."""
    return await ask(ctx, request.user, vin, "PUT", ["updates", update_id, "execute"], wait_s=wait_s)


router = Router(
    "/",
    route_handlers=[
        list_vehicle_updates,
        look_for_vehicle_updates,
        get_vehicle_update,
        get_vehicle_update_status,
        prepare_vehicle_update,
        execute_vehicle_update,
    ],
)
