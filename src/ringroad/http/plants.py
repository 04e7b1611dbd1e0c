"""Build: plant documents: what a plant is made of, what it believes, and how two differ."""

from __future__ import annotations

import functools
from typing import Annotated, Any

from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.build.plant import store
from ringroad.build.plant.diff import diff_plants
from ringroad.build.plant.model import plain
from ringroad.build.plant.read import PLANT_BYTES_MAX, plant_from_document, read_plant
from ringroad.build.store_replanned import replanned
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import LONG_TEXT_PATTERN, Command, Done, Generation, Id, Ref, Req, route
from ringroad.http.views_plant import (
    ImportedPlantView,
    PlantDiffView,
    PlantDocumentView,
    PlantView,
    diff_view,
    document_view,
    imported_view,
    plant_view,
)
from ringroad.kernel.errors import InvalidInput, NotFound

Which = Annotated[int | None, Parameter(ge=1, le=2**31 - 1, description="Of the document; none: the newest")]
Sha256 = Annotated[str, Parameter(pattern=r"^[0-9a-f]{64}$", description="Content hash of a structure")]
Other = Annotated[
    str, Parameter(pattern=r"^[A-Za-z0-9_.:\-]{1,200}$", description="The plant to compare with")
]


class NewPlant(Command, frozen=True, kw_only=True):
    """A plant document: the file as it is, or the document in JSON."""

    source: Annotated[str, Meta(max_length=PLANT_BYTES_MAX, pattern=LONG_TEXT_PATTERN)] | None = None
    document: dict[str, Any] | None = None
    generation: Generation = None
    lower_gates: bool = False  # gates may look at less of which vehicles came back


class ChoosePlant(Command, frozen=True, kw_only=True):
    """The programme whose line the plant takes over."""

    programme_id: Ref
    lower_gates: bool = False  # gates may look at less of which vehicles came back


@route("GET", "/plants", role=Role.VIEWER, tag="build")
def list_plants(ctx: Ctx) -> list[PlantView]:
    """List plants; a programme's own line is one of generation 0."""
    with ctx.connection() as conn:
        return [plant_view(each, store.runs_of(conn, each)) for each in store.list_plants(conn)]


@route("GET", "/plants/{plant_id:str}", role=Role.VIEWER, tag="build", errors=[404])
def get_plant(ctx: Ctx, *, plant_id: Id, generation: Which = None) -> PlantDocumentView:
    """Read a plant document, with its beliefs as people read them."""
    with ctx.connection() as conn:
        found = store.get_plant(conn, plant_id, generation=generation)
        return document_view(found, store.runs_of(conn, found))


@route("GET", "/plant-structures/{sha256:str}", role=Role.VIEWER, tag="build", errors=[404])
def get_structure(ctx: Ctx, *, sha256: Sha256) -> dict[str, Any]:
    """Read a structure by its content hash: what the file of a clone refers to."""
    with ctx.connection() as conn:
        found = store.find_structure(conn, sha256)
    if found is None:
        raise NotFound(
            f"no plant here has the structure {sha256[:12]}", hint="import the parent's document first"
        )
    document: dict[str, Any] = plain(found)
    return document


@route(
    "POST", "/plants", role=Role.OPERATOR, tag="build", status=201, errors=[403, 409, 413, 422],
    body_bytes_max=2 * PLANT_BYTES_MAX,
)  # fmt: skip
def import_plant(ctx: Ctx, request: Req, data: JSONBody[NewPlant]) -> ImportedPlantView:
    """Import a plant document; every problem is named, with its line in a file.

    What was decided and learned of its gates and it does not name stays; what makes a gate look at less needs an
    approver, is said in the answer, and where vehicles came back that this gate had let pass, `lower_gates`.
    """
    if (data.source is None) == (data.document is None):
        raise InvalidInput("either 'source' or 'document' says what the plant is")
    with ctx.transaction() as conn, replanned(conn, ctx.ids, ctx.clock, actor=request.user.name):
        find = functools.partial(store.find_structure, conn)
        if data.source is not None:
            plant = read_plant(data.source, find=find)
        else:
            plant = plant_from_document(data.document or {}, find=find, new=True)
        taken = store.import_plant(
            conn, ctx.ids, plant=plant, may_lower=request.user.may(Role.APPROVER), actor=request.user.name,
            now=ctx.clock.now(), generation=data.generation, lower_gates=data.lower_gates,
        )  # fmt: skip
        return imported_view(taken, store.runs_of(conn, taken.stored), store.doubts(conn, plant))


@route("POST", "/plants/{plant_id:str}/choose", role=Role.OPERATOR, tag="build", errors=[403, 404, 409, 422])
def choose_plant(ctx: Ctx, request: Req, plant_id: Id, data: JSONBody[ChoosePlant]) -> Done:
    """Let a plant's line take the place of the one in a programme's file, or of another plant's.

    Where a gate of the line would look at less, an approver; and `lower_gates` as for an import.
    """
    with ctx.transaction() as conn, replanned(conn, ctx.ids, ctx.clock, actor=request.user.name):
        store.require_work(store.get_plant(conn, plant_id).plant, now=ctx.clock.now())
        store.choose_plant(
            conn, ctx.ids, plant_id=plant_id, programme_id=data.programme_id, actor=request.user.name,
            now=ctx.clock.now(), may_lower=request.user.may(Role.APPROVER), lower_gates=data.lower_gates,
        )  # fmt: skip
    return Done(id=plant_id, state="chosen")


@route("GET", "/plants/{plant_id:str}/difference", role=Role.VIEWER, tag="build", errors=[404])
def compare_plants(
    ctx: Ctx, *, plant_id: Id, other: Other, generation: Which = None, other_generation: Which = None
) -> PlantDiffView:
    """Say how a plant differs from another one, or a generation of it from another."""
    with ctx.connection() as conn:
        before = store.get_plant(conn, plant_id, generation=generation).plant
        after = store.get_plant(conn, other, generation=other_generation).plant
    return diff_view(before, after, diff_plants(before, after))


router = Router(
    "/", route_handlers=[list_plants, get_plant, get_structure, import_plant, choose_plant, compare_plants]
)
