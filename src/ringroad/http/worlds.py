"""Build: what simulated plants showed with and without cloning, kept for the console.

A person ran the simulation (`ringroad plant world`) and says what came of it: a seed gives the same again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.build.plant.store import get_plant
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import TEXT_PATTERN, Command, Done, Id, Req, route
from ringroad.http.views import View
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, causes_of, latest_fact

RESULT_BYTES_MAX: Final = 256 * 1024  # of a world: 20 plants, three ways each, and what flowed back
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
Count = Annotated[int, Meta(ge=0, le=10_000)]
Words = Annotated[str, Meta(min_length=1, max_length=200, pattern=TEXT_PATTERN)]
Sentence = Annotated[str, Meta(max_length=1_000, pattern=TEXT_PATTERN)]


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A figure over all worlds: its mean, and between what nine of ten are."""

    mean: Number
    low: Number
    high: Number


class WayFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a plant did that began one way."""

    days_to_known: Figure  # until times are known within 5 %
    cycles_to_known: Figure
    vehicles_to_rate: Figure  # until the line is within 5 % of what it does when all is known
    unit_cost: Figure  # euro per vehicle, over the first ten days
    first_pass: Figure  # share of vehicles that leave the line right, over the same days


class PlantFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plant of the world."""

    id: Words
    name: Words
    site: Words
    continent: Words
    kind: Words  # clone or bought
    helps: bool  # nine of ten worlds cost less with cloning
    saved: Annotated[dict[Words, Figure], Meta(max_length=10)]  # within each world; more is better
    cloned: WayFigures
    alone: WayFigures
    copied: WayFigures


class FlowFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of one proposal, in how many worlds."""

    clone: Words
    stations: Annotated[list[Words], Meta(max_length=500)]
    proposed: Count
    proved: Count
    kept: Count
    reason: Sentence


class FlowBackFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What flowed back to the mother and was taken over."""

    seeds: Count
    flows: Annotated[list[FlowFigures], Meta(max_length=200)]
    saved: Annotated[dict[Words, Figure], Meta(max_length=50)]  # euro per vehicle, by plant


class WorldFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a world showed, with and without cloning."""

    seeds: Annotated[int, Meta(ge=1, le=10_000)]
    plants: Annotated[list[PlantFigures], Meta(min_length=1, max_length=20)]
    flow_back: FlowBackFigures | None = None


class NewWorld(Command, frozen=True, kw_only=True):
    """What a world showed, as `ringroad plant world --keep` sends it."""

    figures: dict[str, Any]


class WorldView(View, frozen=True, kw_only=True):
    """What the newest world of a mother plant showed, and who says so."""

    seeds: int
    plants: list[PlantFigures]
    flow_back: FlowBackFigures | None
    told_by: str
    told_at: datetime


@route(
    "POST", "/plants/{plant_id:str}/worlds", role=Role.OPERATOR, tag="build", status=201, errors=[404, 413, 422],
    body_bytes_max=RESULT_BYTES_MAX,
)  # fmt: skip
def keep_world(ctx: Ctx, request: Req, plant_id: Id, data: JSONBody[NewWorld]) -> Done:
    """Keep what plants that are made after this one showed in a simulation, with and without cloning."""
    try:
        figures = msgspec.convert(data.figures, WorldFigures, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"those are no figures of a world: {error}") from error
    body: dict[str, Any] = msgspec.to_builtins(figures)
    with ctx.transaction() as conn:
        stored = get_plant(conn, plant_id)
        if not stored.generation:
            raise InvalidInput(f"plant {plant_id} has no document", hint="ringroad plant import FILE")
        append_fact(
            conn, ctx.ids, kind=FactKind.PLANT_WORLD_SHOWN, subject=plant_id, actor=request.user.name,
            now=ctx.clock.now(), causes=causes_of(conn, [(FactKind.PLANT_IMPORTED, plant_id)]),
            body=body | {"generation": stored.generation},
        )  # fmt: skip
    return Done(id=plant_id, state="kept")


@route("GET", "/plants/{plant_id:str}/worlds/newest", role=Role.VIEWER, tag="build", errors=[404])
def show_world(ctx: Ctx, *, plant_id: Id) -> WorldView:
    """Read what plants that are made after this one showed last, with and without cloning."""
    with ctx.connection() as conn:
        found = newest_world(conn, plant_id)
    if found is None:
        raise NotFound(f"no world of {plant_id} was kept", hint="ringroad plant world FILE --keep")
    return found


def newest_world(conn: Connection, plant_id: str) -> WorldView | None:
    """Return what the newest world of a mother plant showed; None if none was kept."""
    fact = latest_fact(conn, kind=FactKind.PLANT_WORLD_SHOWN, subject=plant_id)
    if fact is None:
        return None
    body = {name: fact.body[name] for name in ("seeds", "plants", "flow_back")}
    return msgspec.convert(
        body | {"told_by": fact.actor, "told_at": fact.recorded_at}, WorldView, strict=False
    )


router = Router("/", route_handlers=[keep_world, show_world])
