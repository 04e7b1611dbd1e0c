"""Build: plants as Asset Administration Shells."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from litestar import Router
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream

from ringroad.build.plant import store
from ringroad.build.plant.aas import AAS_BYTES_MAX, MEDIA, Form, export_aas, import_aas
from ringroad.build.store_replanned import replanned
from ringroad.http.auth import Account, Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import Id, Req, route
from ringroad.http.uploads import spooled
from ringroad.http.views_plant import ImportedPlantView, imported_view

InForm = Annotated[Form, QueryParameter(name="form", description="json or aasx")]
Which = Annotated[int | None, Parameter(ge=1, le=2**31 - 1, description="Of the document; none: the newest")]
SeenPlant = Annotated[
    int | None,
    Parameter(ge=1, le=2**31 - 1, description="The generation that it replaces; none: a new plant"),
]
LowerGates = Annotated[bool, Parameter(description="Gates may look at less of which vehicles came back")]


@route("GET", "/plants/{plant_id:str}/aas", role=Role.VIEWER, tag="build", errors=[404])
def get_shell(ctx: Ctx, *, plant_id: Id, form: InForm = "json", generation: Which = None) -> Stream:
    """Return a plant as an Asset Administration Shell, in JSON or as an AASX package."""
    with ctx.connection() as conn:
        plant = store.get_plant(conn, plant_id, generation=generation).plant
    return Stream(iter([export_aas(plant, form=form)]), media_type=MEDIA[form])


@route(
    "POST", "/plant-shells", role=Role.OPERATOR, tag="build", status=201, errors=[403, 409, 413, 422],
    body_bytes_max=AAS_BYTES_MAX, upload="application/octet-stream",
)  # fmt: skip
async def import_shell(
    ctx: Ctx, request: Req, *, generation: SeenPlant = None, lower_gates: LowerGates = False
) -> ImportedPlantView:
    """Import a plant out of an Asset Administration Shell, in either form."""
    async with spooled(ctx, request, bytes_max=AAS_BYTES_MAX) as path:
        return await to_thread.run_sync(
            partial(_import, ctx, path, generation=generation, account=request.user, lower_gates=lower_gates)
        )


def _import(
    ctx: Context, path: Path, *, generation: int | None, account: Account, lower_gates: bool
) -> ImportedPlantView:
    plant = import_aas(path.read_bytes())
    with ctx.transaction() as conn, replanned(conn, ctx.ids, ctx.clock, actor=account.name):
        taken = store.import_plant(
            conn, ctx.ids, plant=plant, may_lower=account.may(Role.APPROVER), actor=account.name,
            now=ctx.clock.now(), generation=generation, lower_gates=lower_gates,
        )  # fmt: skip
        return imported_view(taken, store.runs_of(conn, taken.stored), store.doubts(conn, plant))


router = Router("/", route_handlers=[get_shell, import_shell])
