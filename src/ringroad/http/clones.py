"""Build: plants cloned from others, and what they learn."""

from __future__ import annotations

from typing import Annotated

from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.build.clone import store
from ringroad.build.clone.plants import Lesson
from ringroad.build.plant.model import Identity
from ringroad.build.plant.read_identity import ID_PATTERN
from ringroad.build.plant.store import StoredPlant, get_plant, runs_of
from ringroad.build.store_replanned import replanned
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import TEXT_PATTERN, Command, Id, Req, route
from ringroad.http.views import View
from ringroad.http.views_plant import ParameterView, PlantDocumentView, document_view, parameter_view

Words = Annotated[str, Meta(min_length=1, max_length=100, pattern=TEXT_PATTERN)]


class NewClone(Command, frozen=True, kw_only=True):
    """Who the clone is."""

    id: Annotated[str, Meta(pattern=f"^{ID_PATTERN}$")]
    name: Words
    site: Words
    enterprise: Words | None = None  # none: its parent's
    time_zone: Annotated[str, Meta(max_length=100, pattern=TEXT_PATTERN)] = (
        ""  # of its calendars; empty: as its parent's
    )


class LearnedView(View, frozen=True, kw_only=True):
    """One parameter that a plant learned."""

    belief: ParameterView
    inherited: float  # what was believed without its own observations; as `belief.mean`
    different: float  # probability that it is locally different; 0 or 1 of a plant that is nobody's clone
    own_n: float  # observations of its own


class LessonKindView(View, frozen=True, kw_only=True):
    """What was found of the parameters of one kind."""

    kind: str
    plant: float  # effect of the whole plant, on the scale of logarithms, of a share of its odds: 0.05 is 5 % more
    plant_low: float  # its 5 % quantile
    plant_high: float  # its 95 % quantile
    transfer_sd: float  # between plants, of parameters that are alike
    different_share: float  # expected share that is locally different
    parameters: list[LearnedView]


class LessonView(View, frozen=True, kw_only=True):
    """What a plant believes, from whom, and where its own observations contradict that."""

    id: str
    generation: int
    inherited_from: list[str]  # none: it is nobody's clone
    different: list[str]  # locally different with a probability of 0.9, or clearly not what the document said
    kinds: list[LessonKindView]


@route(
    "POST",
    "/plants/{plant_id:str}/clone",
    role=Role.OPERATOR,
    tag="build",
    status=201,
    errors=[404, 409, 422],
)
def clone_plant(ctx: Ctx, request: Req, plant_id: Id, data: JSONBody[NewClone]) -> PlantDocumentView:
    """Clone a plant: its structure by reference, its parameters as priors."""
    with ctx.transaction() as conn:
        parent = get_plant(conn, plant_id).plant.identity
        identity = Identity(
            id=data.id, name=data.name, enterprise=data.enterprise or parent.enterprise, site=data.site,
            time_zone=data.time_zone or parent.time_zone,
        )  # fmt: skip
        found = store.make_clone(
            conn, ctx.ids, parent_id=plant_id, identity=identity, actor=request.user.name, now=ctx.clock.now()
        )
        return document_view(found, runs_of(conn, found))


@route("GET", "/plants/{plant_id:str}/lesson", role=Role.VIEWER, tag="build", errors=[404, 422])
def show_lesson(ctx: Ctx, *, plant_id: Id) -> LessonView:
    """Say what a plant would believe now, and where that is not what it inherited or was told; nothing is kept."""
    with ctx.connection() as conn:
        stored, lesson = store.lesson_of(conn, plant_id, now=ctx.clock.now())
        return lesson_view(stored, lesson)


@route("POST", "/plants/{plant_id:str}/learn", role=Role.OPERATOR, tag="build", errors=[404, 409, 422])
def learn(ctx: Ctx, request: Req, plant_id: Id) -> LessonView:
    """Let a plant learn from its measured station times: its beliefs become the newest generation, and its lines replan."""
    with ctx.transaction() as conn, replanned(conn, ctx.ids, ctx.clock, actor=request.user.name):
        stored, lesson = store.save_lesson(
            conn, ctx.ids, plant_id=plant_id, actor=request.user.name, now=ctx.clock.now()
        )
        return lesson_view(stored, lesson)


def lesson_view(stored: StoredPlant, lesson: Lesson) -> LessonView:
    """Return a lesson as people read it."""
    return LessonView(
        id=stored.plant.id,
        generation=stored.generation,
        inherited_from=list(lesson.parents),
        different=[str(each.key) for each in lesson.different],
        kinds=[
            LessonKindView(
                kind=kind, plant=clone.plant, plant_low=clone.plant_low, plant_high=clone.plant_high,
                transfer_sd=clone.transfer_sd, different_share=clone.different_share,
                parameters=[
                    LearnedView(
                        belief=parameter_view(lesson.plant, each.key, lesson.plant.parameters[each.key]),
                        inherited=lesson.plant.parameters[each.key].mean_at(each.inherited),
                        different=each.different, own_n=each.own_n,
                    )
                    for each in clone.learned
                ],
            )
            for kind, clone in lesson.kinds
        ],
    )  # fmt: skip


router = Router("/", route_handlers=[clone_plant, show_lesson, learn])
