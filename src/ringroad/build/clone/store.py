"""Clones in PostgreSQL: made of the plants that are known here. They, and any plant, learn from what their stations measured.

The caller opens the transaction.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ringroad.build.clone.plants import (
    Lesson,
    clone_plant,
    learn_plant,
    observed,
    parents_of,
    remember_plant,
)
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
from ringroad.storage.ledger import latest_fact

_WRITTEN: Final = (FactKind.PLANT_IMPORTED, FactKind.PLANT_SHIFTED)
TIMES_MAX: Final = 1_000  # newest times of each station that a plant learns from


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
    lesson = clone_plant(parent, known_plants(conn), identity=identity, now=now)
    return save_plant(
        conn, ids, plant=lesson.plant, actor=actor, now=now,
        body={"cloned_from": parent_id, "inherited_from": list(lesson.parents)},
    )  # fmt: skip


def lesson_of(conn: Connection, plant_id: str, *, now: datetime) -> tuple[StoredPlant, Lesson]:
    """Return what a plant would believe now.

    A clone joins what its line measured since it runs it with what its parents believe; any other plant joins what
    was measured since its document was imported with what that says.

    Raises:
        NotFound: there is no such plant.
        InvalidInput: it has no document, or is a clone whose parent is not known here.
    """
    stored = get_plant(conn, plant_id)
    if not stored.generation:
        raise InvalidInput(
            f"plant {plant_id} has no document that could learn",
            hint="ringroad plant import FILE, then plant choose",
        )
    if stored.plant.identity.parent:
        parents = parents_of(stored.plant, known_plants(conn))
        return stored, learn_plant(stored.plant, parents, observed_of(conn, stored), now=now)
    imported = written_of(conn, stored)
    own = observed_of(conn, stored, since=imported.made_at)
    return stored, remember_plant(stored.plant, imported.plant, own, now=now)


def save_lesson(
    conn: Connection, ids: Ids, *, plant_id: str, actor: str, now: datetime
) -> tuple[StoredPlant, Lesson]:
    """Keep what a plant believes now as its newest generation. Raises: as `lesson_of`, and Conflict."""
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


def known_plants(conn: Connection) -> list[Plant]:
    """Return every plant that has a document here."""
    return [each.plant for each in list_plants(conn) if each.generation]


def observed_of(
    conn: Connection, stored: StoredPlant, *, since: datetime | None = None, until: datetime | None = None
) -> dict[Key, Posterior]:
    """Return the sums of what a plant's lines measured since they are its own, since a time and until one."""
    found: dict[Key, Posterior] = {}
    for programme_id in runs_of(conn, stored):
        line = line_of(stored.plant, programme_id)
        if line is None:
            continue
        chosen = latest_fact(conn, kind=FactKind.PLANT_CHOSEN, subject=stored.plant.id)
        begins = [each for each in (since, chosen.event_at if chosen else None) if each]
        times = recent_work(
            conn, programme_id, line, rows_max=TIMES_MAX, since=max(begins, default=None), until=until
        )
        found |= observed(stored.plant, line, programme_id, times)
    return found


def written_of(conn: Connection, stored: StoredPlant) -> StoredPlant:
    """Return the newest generation that a person wrote or that was shifted, not learned."""
    facts = [latest_fact(conn, kind=kind, subject=stored.plant.id) for kind in _WRITTEN]
    generation = max((each.body["generation"] for each in facts if each), default=None)
    return get_plant(conn, stored.plant.id, generation=generation) if generation else stored
