"""Build: shops of plants: their plans, how planning goes, and resources that stand."""

from __future__ import annotations

from typing import Annotated

from litestar import Router
from litestar.params import JSONBody, Parameter, QueryParameter
from msgspec import Meta

from ringroad.build.plant.store import get_plant
from ringroad.build.shop import store, store_replan
from ringroad.build.shop.of_plant import find_shop, shop_id
from ringroad.build.shop.store import BUDGET_DEFAULT, BUDGET_MAX, MOVES_DEFAULT, MOVES_MAX
from ringroad.build.shop.store_stops import get_stop, list_stops
from ringroad.build.stops import EXPECTED_S_MAX
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import NAME_PATTERN, Command, Go, Id, Req, Text, Title, route
from ringroad.http.views_shop import ShopPlanView, ShopStopView, ShopView, plan_view, shop_view, stop_view
from ringroad.kernel.errors import NotFound
from ringroad.storage.db import Connection

ShopName = Annotated[str, Meta(max_length=400, pattern=NAME_PATTERN)]
OfShop = Annotated[
    str,
    QueryParameter(
        name="shop", pattern=NAME_PATTERN, max_length=400,
        description="Name, or area/name; none: the only one",
    ),
]  # fmt: skip
OldPlan = Annotated[int | None, Parameter(ge=1, le=2**31 - 1, description="Of the plan; none: the newest")]


class NewShopPlan(Command, frozen=True, kw_only=True):
    """A plan that is asked for."""

    shop: ShopName = ""  # none: the only one
    moves: Annotated[int, Meta(ge=0, le=MOVES_MAX)] = MOVES_DEFAULT  # of each of two searches
    prove: Annotated[int, Meta(ge=0, le=BUDGET_MAX)] = BUDGET_DEFAULT  # CP-SAT's deterministic time


class NewShopStop(Command, frozen=True, kw_only=True):
    """A unit of a shop that stands."""

    shop: ShopName = ""
    resource: Title
    reason: Text
    expected_s: Annotated[int, Meta(ge=1, le=EXPECTED_S_MAX)]


@route("GET", "/plants/{plant_id:str}/shops", role=Role.VIEWER, tag="build", errors=[404])
def list_shops(ctx: Ctx, *, plant_id: Id) -> list[ShopView]:
    """List the shops of a plant, how far planning is, and what stands."""
    with ctx.connection() as conn:
        shops = get_plant(conn, plant_id).plant.structure.shops
        return [shown_shop(conn, plant_id, shop_id(shop)) for shop in shops]


@route("GET", "/plants/{plant_id:str}/shop-plan", role=Role.VIEWER, tag="build", errors=[404, 422])
def get_shop_plan(ctx: Ctx, *, plant_id: Id, shop: OfShop = "", generation: OldPlan = None) -> ShopPlanView:
    """Read the plan that a shop follows, or an older one."""
    with ctx.connection() as conn:
        name = shop_id(find_shop(get_plant(conn, plant_id).plant, shop))
        found = shown_plan(conn, plant_id, name, generation=generation)
    if found is None:
        raise NotFound(f"shop {name} has no such plan", hint="ringroad shop plan asks for one")
    return found


@route("POST", "/plants/{plant_id:str}/shop-plan", role=Role.OPERATOR, tag="build", errors=[404, 409, 422])
def plan_shop(ctx: Ctx, request: Req, plant_id: Id, data: JSONBody[NewShopPlan]) -> ShopView:
    """Ask the worker to plan a shop for the orders that are open; what it follows stays until there is a new plan."""
    with ctx.transaction() as conn:
        work = store.ask_plan(
            conn, ctx.ids, plant_id=plant_id, shop=data.shop, moves=data.moves, budget=data.prove,
            actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
        return shown_shop(conn, plant_id, work.shop)


@route(
    "POST", "/plants/{plant_id:str}/shop-stops", role=Role.OPERATOR, tag="build", status=201, errors=[404, 409, 422]
)  # fmt: skip
def stop_resource(ctx: Ctx, request: Req, plant_id: Id, data: JSONBody[NewShopStop]) -> ShopStopView:
    """Record that a unit of a shop stands; the worker repairs the plan."""
    with ctx.transaction() as conn:
        stop = store_replan.stop_resource(
            conn, ctx.ids, plant_id=plant_id, shop=data.shop, resource=data.resource, reason=data.reason,
            expected_s=data.expected_s, actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
    return stop_view(stop)


@route("POST", "/shop-stops/{stop_id:str}/end", role=Role.OPERATOR, tag="build", errors=[404, 409, 422])
def resume_resource(ctx: Ctx, request: Req, stop_id: Id, data: JSONBody[Go]) -> ShopStopView:
    """Record that a unit goes on; the worker repairs the plan. One that went on before stays as it is."""
    del data
    with ctx.transaction() as conn:
        store_replan.resume_resource(
            conn, ctx.ids, stop_id=stop_id, actor=request.user.name, now=ctx.clock.now()
        )
        return stop_view(get_stop(conn, stop_id))


def shown_shop(conn: Connection, plant_id: str, name: str) -> ShopView:
    """Return a shop as it is shown. Raises: NotFound."""
    return shop_view(
        plant_id,
        find_shop(get_plant(conn, plant_id).plant, name),
        store.current_plan(conn, plant_id, name),
        store.work_of(conn, plant_id, name),
        list_stops(conn, plant_id, name, only_open=True),
    )


def shown_plan(
    conn: Connection, plant_id: str, name: str, *, generation: int | None = None
) -> ShopPlanView | None:
    """Return a plan as it is shown, with what was proved since; None if there is none."""
    plan = store.current_plan(conn, plant_id, name, generation=generation)
    if plan is None:
        return None
    work = store.work_of(conn, plant_id, name)
    return plan_view(plan, work.bound if work and generation is None else {})


router = Router("/", route_handlers=[list_shops, get_shop_plan, plan_shop, stop_resource, resume_resource])
