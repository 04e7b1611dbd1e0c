"""The page of plants and their clones: who came from whom, how far they drifted, what is doubted, what flows back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from litestar import Response

from ringroad.build.clone import store_proposals
from ringroad.build.clone.store import lesson_of
from ringroad.build.plant.diff import diff_plants
from ringroad.build.plant.store import StoredPlant, list_plants
from ringroad.http.clones import LearnedView, LessonView, lesson_view
from ringroad.http.console.render import page
from ringroad.http.console.shared import Req, asked, shown, url_of
from ringroad.http.context import Ctx
from ringroad.http.proposals import proposal_view
from ringroad.http.views_plant import PlantDiffView, amount, diff_view
from ringroad.http.worlds import WorldView, newest_world
from ringroad.kernel.errors import InvalidInput
from ringroad.storage.db import Connection

DEPTH_MAX: Final = 5  # of clones of clones that are shown indented
DOUBTS_SHOWN: Final = 200  # parameters of one plant
DRIFTS_SHOWN: Final = 50
PROPOSALS_SHOWN: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Kin:
    """A plant in the lineage, and how far from it its clones are.

    Attributes:
        plant: as kept.
        depth: generations of clones below the plant that is nobody's clone.
        structure: places that are not as its parent's; None without a parent here.
        parameters: beliefs that contradict its parent's.
    """

    plant: StoredPlant
    depth: int
    structure: int | None = None
    parameters: int | None = None


@shown("/clones")
def clones_page(ctx: Ctx, request: Req) -> Response[str]:
    """Lineage, drift and doubt of a plant, and proposals."""
    wanted = asked(request, "plant_id")["plant_id"]
    with ctx.connection() as conn:
        plants = [each for each in list_plants(conn) if each.generation]
        kin = lineage(plants)
        chosen = next((each.plant for each in kin if each.plant.plant.id == wanted), None) or next(
            (each.plant for each in kin if each.depth), kin[0].plant if kin else None
        )
        lesson = _lesson(conn, chosen, now=ctx.clock.now()) if chosen else None
        world = _world(conn, chosen)
        proposals = [
            proposal_view(each) for each in store_proposals.list_proposals(conn, limit=PROPOSALS_SHOWN)
        ]
    return page(
        "clones.html", account=request.user, url=url_of(request), kin=kin, chosen=chosen, lesson=lesson,
        doubts=_doubts(lesson), drift=_drift(chosen, plants), amount=amount, proposals=proposals,
        drifts_shown=DRIFTS_SHOWN, world=world,
    )  # fmt: skip


def lineage(plants: list[StoredPlant]) -> list[Kin]:
    """Return plants with their clones below them. Pure; one whose parent is not here stands by itself."""
    by_id = {each.plant.id: each for each in plants}
    below: dict[str, list[StoredPlant]] = {}
    for each in plants:
        parent = each.plant.identity.parent
        below.setdefault(parent if parent in by_id else "", []).append(each)
    found: list[Kin] = []
    seen: set[str] = set()

    def add(plant: StoredPlant, depth: int) -> None:
        if plant.plant.id in seen:
            return
        seen.add(plant.plant.id)
        found.append(_kin(plant, by_id.get(plant.plant.identity.parent), depth))
        for clone in below.get(plant.plant.id, ()):
            add(clone, min(depth + 1, DEPTH_MAX))

    for root in below.get("", ()):
        add(root, 0)
    for each in plants:  # whose parents are each other's
        add(each, 0)
    return found


def _kin(plant: StoredPlant, parent: StoredPlant | None, depth: int) -> Kin:
    if parent is None:
        return Kin(plant=plant, depth=depth)
    diff = diff_plants(parent.plant, plant.plant)
    return Kin(
        plant=plant, depth=depth, structure=len(diff.structure),
        parameters=sum(each.how == "differs" for each in diff.parameters),
    )  # fmt: skip


def _world(conn: Connection, chosen: StoredPlant | None) -> WorldView | None:
    """Return what a plant's clones showed, or those of its mother; None if nobody kept it."""
    if chosen is None:
        return None
    identity = chosen.plant.identity
    return newest_world(conn, identity.id) or (
        newest_world(conn, identity.parent) if identity.parent else None
    )


def _lesson(conn: Connection, stored: StoredPlant, *, now: datetime) -> LessonView | None:
    """Return what a plant would learn now; None where it cannot."""
    try:
        return lesson_view(*lesson_of(conn, stored.plant.id, now=now))
    except InvalidInput:
        return None


def _doubts(lesson: LessonView | None) -> list[LearnedView]:
    """Return what a plant measured itself, the most different first."""
    if lesson is None:
        return []
    rows = [each for kind in lesson.kinds for each in kind.parameters if each.own_n]
    return sorted(rows, key=lambda each: (-each.different, each.belief.key))[:DOUBTS_SHOWN]


def _drift(chosen: StoredPlant | None, plants: list[StoredPlant]) -> PlantDiffView | None:
    if chosen is None:
        return None
    parent = next((each for each in plants if each.plant.id == chosen.plant.identity.parent), None)
    if parent is None:
        return None
    return diff_view(parent.plant, chosen.plant, diff_plants(parent.plant, chosen.plant))


handlers: list[Any] = [clones_page]
