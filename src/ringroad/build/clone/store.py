"""Clones in PostgreSQL: made of the plants that are known here, and learning from what their stations measured.

The caller opens the transaction.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ringroad.build.clone.plants import Lesson, clone_plant, learn_plant, observed, parents_of
from ringroad.build.plant.line import line_of
from ringroad.build.plant.model import Identity, Plant
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Posterior
from ringroad.build.plant.store import StoredPlant, get_plant, list_plants, runs_of, save_plant
from ringroad.build.store_times import recent_work
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection

TIMES_MAX: Final = 1_000  # newest times of each station that a clone learns from


def make_clone(
    conn: Connection, ids: Ids, *, parent_id: str, identity: Identity, actor: str, now: datetime
) -> StoredPlant:
    """Keep a new plant with another one's structure and what it may believe.

    Raises:
        NotFound: there is no such parent.
        Conflict: there is a plant of this name already.
    """
    parent = get_plant(conn, parent_id).plant
    try:
        get_plant(conn, identity.id)
    except NotFound:
        pass
    else:
        raise Conflict(f"there is a plant {identity.id} already", hint="a clone needs a name of its own")
    lesson = clone_plant(parent, _others(conn), identity=identity, now=now)
    return save_plant(
        conn, ids, plant=lesson.plant, actor=actor, now=now,
        body={"cloned_from": parent_id, "inherited_from": list(lesson.parents)},
    )  # fmt: skip


def lesson_of(conn: Connection, plant_id: str, *, now: datetime) -> tuple[StoredPlant, Lesson]:
    """Return what a clone would believe now.

    Raises:
        NotFound: there is no such plant.
        InvalidInput: it is nobody's clone, or its parent is not known here.
    """
    stored = get_plant(conn, plant_id)
    if not stored.plant.identity.parent:
        raise InvalidInput(
            f"plant {plant_id} is nobody's clone", hint="ringroad plant clone A --to B makes one"
        )
    parents = parents_of(stored.plant, _others(conn))
    return stored, learn_plant(stored.plant, parents, _observed(conn, stored), now=now)


def save_lesson(
    conn: Connection, ids: Ids, *, plant_id: str, actor: str, now: datetime
) -> tuple[StoredPlant, Lesson]:
    """Keep what a clone believes now as its newest generation. Raises: as `lesson_of`, and Conflict."""
    stored, lesson = lesson_of(conn, plant_id, now=now)
    kept = save_plant(
        conn, ids, plant=lesson.plant, actor=actor, now=now, generation=stored.generation,
        kind=FactKind.PLANT_LEARNED,
        body={
            "inherited_from": list(lesson.parents),
            "different": [str(each.key) for each in lesson.different],
            "kinds": {
                kind: {
                    "plant": clone.plant, "transfer_sd": clone.transfer_sd, "different_share": clone.different_share,
                    "own_n": sum(each.own_n for each in clone.learned),
                }
                for kind, clone in lesson.kinds
            },
        },
    )  # fmt: skip
    return kept, lesson


def _others(conn: Connection) -> list[Plant]:
    return [each.plant for each in list_plants(conn) if each.generation]


def _observed(conn: Connection, stored: StoredPlant) -> dict[Key, Posterior]:
    found: dict[Key, Posterior] = {}
    for programme_id in runs_of(conn, stored):
        line = line_of(stored.plant, programme_id)
        if line is None:
            continue
        times = recent_work(conn, programme_id, line, rows_max=TIMES_MAX)
        found |= observed(stored.plant, line, programme_id, times)
    return found
