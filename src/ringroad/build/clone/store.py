"""Clones in PostgreSQL: made of the plants that are known here; they, and any plant, learn from what was measured.

What is measured are the times of stations here, or the sums that a plant says which builds elsewhere, or is a site.

The caller opens the transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from ringroad.build.clone.improvements import improvement_from
from ringroad.build.clone.measured import Breakdowns, Move, observed_breakdowns, observed_transfers
from ringroad.build.clone.plants import (
    Lesson,
    clone_plant,
    learn_plant,
    observed,
    observed_passes,
    parents_of,
    remember_plant,
)
from ringroad.build.clone.sums import TOLD_MAX, CloneSums, Path, own_document, own_from
from ringroad.build.plant.line import line_of
from ringroad.build.plant.model import Identity, Plant, PlantLine
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Posterior
from ringroad.build.plant.store import (
    StoredPlant,
    get_plant,
    list_plants,
    lock_lines_of_plant,
    runs_of,
    save_plant,
)
from ringroad.build.quality.store import recent_passes
from ringroad.build.store_times import recent_work
from ringroad.build.working_time import worked_spans
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection, load_queries, of_row
from ringroad.storage.ledger import append_fact, last_of, latest_fact

SQL = load_queries("ringroad.build.clone")

_WRITTEN: Final = (FactKind.PLANT_IMPORTED, FactKind.PLANT_SHIFTED)
TIMES_MAX: Final = 1_000  # newest times of each station that a plant learns from
PASSES_MAX: Final = 10_000  # newest vehicles that a station's checks told of: one in a hundred fails
MOVES_MAX: Final = (
    20_000  # newest events of a line that ways are read from; five hundred vehicles of twenty stations
)
WORK_MAX: Final = 10_000  # newest times of each station that its breakdowns are counted in; ten days
WINDOWED: Final = frozenset(
    {"transfer_s", "uptime_s", "repair_s"}
)  # counted in the newest work or events: a newer message may hold fewer of them
TAKEN_MAX: Final = 500  # improvements of one plant that it still goes by


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
        return stored, learn_plant(
            stored.plant, parents, observed_of(conn, stored), now=now, taken=taken_over(conn, stored)
        )
    imported = written_of(conn, stored)
    own = observed_of(conn, stored, since=imported.made_at)
    return stored, remember_plant(stored.plant, imported.plant, own, now=now)


def save_lesson(
    conn: Connection, ids: Ids, *, plant_id: str, actor: str, now: datetime
) -> tuple[StoredPlant, Lesson]:
    """Keep what a plant believes now as its newest generation. Raises: as `lesson_of`, and Conflict."""
    stored, lesson = lesson_of(conn, plant_id, now=now)
    return _save(conn, ids, stored, lesson, actor=actor, now=now), lesson


def save_told(
    conn: Connection, ids: Ids, *, sums: CloneSums, actor: str, now: datetime
) -> tuple[StoredPlant, Lesson]:
    """Let the document of a clone that builds elsewhere learn from what that says of itself.

    The newest message stands in the fact, and is what the plant observed from then on.

    Raises:
        NotFound: its document is not here.
        InvalidInput: it is no clone of whom it says, its parent is not here, or it observed what it does not have, or
            more than is learned at once.
        Conflict: it builds here and measures itself, or it has said more before.
    """
    stored = get_plant(conn, sums.plant)
    if stored.plant.identity.parent != sums.parent:
        raise InvalidInput(f"the document of {sums.plant} here is no clone of {sums.parent}")
    if len(sums.own) > TOLD_MAX:
        raise InvalidInput(f"{sums.plant} says {len(sums.own)} parameters, limit {TOLD_MAX}")
    if builds := runs_of(conn, stored):
        raise Conflict(
            f"{sums.plant} builds {builds[0]} here, and learns from its own stations",
            hint=f"ringroad plant learn {sums.plant}",
        )
    for key, before in _told_of(conn, stored).items():
        if key.kind in WINDOWED:
            continue
        if key not in sums.own or sums.own[key].n < before.n:
            raise Conflict(
                f"{sums.plant} has said more of {key} before: this is an older message",
                hint="to begin anew, import its document again",
            )
    parents = parents_of(stored.plant, known_plants(conn))
    lesson = learn_plant(stored.plant, parents, sums.own, now=now, taken=taken_over(conn, stored))
    return _save(conn, ids, stored, lesson, actor=actor, now=now, told=sums.own), lesson


def keep_said(
    conn: Connection,
    ids: Ids,
    *,
    sums: CloneSums,
    number: int,
    number_max: int,
    since: datetime | None,
    actor: str,
    now: datetime,
) -> bool:
    """Keep the sums that a clone says of itself, which is a site here; its document learns from them later.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        sums: what it says.
        number: of what it says.
        number_max: what it said last counts for nothing if its number is above that.
        since: nor if it said it before then, when it became a site; None: always.
        actor: who tells it.
        now: UTC.

    Returns:
        False if the number is not above that of what it said last.

    Raises:
        NotFound: its document is not here.
        InvalidInput: it is no clone of whom it says, or it observed what it does not have, or more than is learned at
            once.
    """
    stored = get_plant(conn, sums.plant)
    if stored.plant.identity.parent != sums.parent:
        raise InvalidInput(f"the document of {sums.plant} here is no clone of {sums.parent}")
    if len(sums.own) > TOLD_MAX:
        raise InvalidInput(f"{sums.plant} says {len(sums.own)} parameters, limit {TOLD_MAX}")
    if unknown := sorted(sums.own.keys() - stored.plant.parameters.keys()):
        raise InvalidInput(f"plant {sums.plant} has no parameter {unknown[0]}")
    before = latest_fact(conn, kind=FactKind.PLANT_SUMS_TOLD, subject=sums.plant)
    counts = (
        before is not None
        and before.body["number"] <= number_max
        and (since is None or since <= before.recorded_at)
    )
    if before is not None and counts and number <= before.body["number"]:
        return False
    append_fact(
        conn, ids, kind=FactKind.PLANT_SUMS_TOLD, subject=sums.plant, actor=actor, now=now,
        causes=last_of(conn, sums.plant),
        body={"number": number, "parent": sums.parent, "told": own_document(sums.own)},
    )  # fmt: skip
    return True


def _save(
    conn: Connection,
    ids: Ids,
    stored: StoredPlant,
    lesson: Lesson,
    *,
    actor: str,
    now: datetime,
    told: Mapping[Key, Posterior] | None = None,
) -> StoredPlant:
    told = told or _told_of(conn, stored)
    lock_lines_of_plant(conn, stored.plant.id)
    return save_plant(
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
        } | ({"told": own_document(told)} if told else {}),
    )  # fmt: skip


def known_plants(conn: Connection) -> list[Plant]:
    """Return every plant that has a document here."""
    return [each.plant for each in list_plants(conn) if each.generation]


def observed_of(
    conn: Connection,
    stored: StoredPlant,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    wanted: Collection[Key] | None = None,
) -> dict[Key, Posterior]:
    """Return the sums of what a plant's lines measured and checked since they are its own, since a time and until one.

    With `wanted`, what is read is of these lines and kinds alone.


    Of a plant that builds nothing here, what it said of itself last; that has no times. Of a site that is a clone,
    what it said where that rests on more: its events come here too, so that the two are not added.
    """
    runs = runs_of(conn, stored)
    if since is not None or until is not None:
        return _measured(conn, stored, runs, since=since, until=until, wanted=wanted)
    own = _measured(conn, stored, runs, wanted=wanted) if runs else _told_of(conn, stored)
    said = _said_of(conn, stored)
    return own | {key: each for key, each in said.items() if key not in own or own[key].n < each.n}


def _measured(
    conn: Connection,
    stored: StoredPlant,
    runs: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    wanted: Collection[Key] | None = None,
) -> dict[Key, Posterior]:
    plant = stored.plant
    found: dict[Key, Posterior] = {}
    for programme_id in runs:
        line = line_of(plant, programme_id)
        if line is None:
            continue
        built = next(each for each in plant.structure.lines if each.programme == programme_id)
        keys = plant.parameters if wanted is None else wanted
        kinds = {key.kind for key in keys if key.path[:2] == (built.area, built.name)}
        chosen = latest_fact(conn, kind=FactKind.PLANT_CHOSEN, subject=plant.id)
        begins = max((each for each in (since, chosen.event_at if chosen else None) if each), default=None)
        if "cycle_s" in kinds or wanted is None:
            times = recent_work(conn, programme_id, line, rows_max=TIMES_MAX, since=begins, until=until)
            found |= observed(plant, line, programme_id, times)
        if "first_pass" in kinds:
            passes = recent_passes(
                conn, programme_id, [each.name for each in line.stations], rows_max=PASSES_MAX, since=begins, until=until
            )  # fmt: skip
            found |= observed_passes(plant, programme_id, passes)
        found |= _of_events(conn, stored, built, kinds, since=begins, until=until)
    return found


def _of_events(
    conn: Connection,
    stored: StoredPlant,
    built: PlantLine,
    kinds: Collection[str],
    *,
    since: datetime | None,
    until: datetime | None,
) -> dict[Key, Posterior]:
    """Return the sums of a line's ways and breakdowns, of these kinds."""
    plant, programme_id = stored.plant, built.programme
    found: dict[Key, Posterior] = {}
    if "transfer_s" in kinds:
        rows = SQL.recent_moves(conn, programme_id=programme_id, since=since, until=until, rows_max=MOVES_MAX)
        found |= observed_transfers(plant, built, (of_row(Move, row) for row in rows))
    if not {"uptime_s", "repair_s"}.isdisjoint(kinds):
        stations = [each.name for each in built.stations]
        rows = SQL.recent_breakdowns(
            conn, programme_id=programme_id, stations=stations, since=since, until=until, rows_max=WORK_MAX
        )
        calendar = plant.calendars().get(built.calendar)
        told = [
            Breakdowns(
                station=row["station"], worked_s=float(row["worked_ms"]) / 1000, begun=row["begun"],
                stood_s=worked_spans(calendar, list(zip(row["began_at"], row["ended_at"], strict=True))),
            )
            for row in rows
        ]  # fmt: skip
        written = written_of(conn, stored).plant  # what was learned since would be believed twice
        found |= observed_breakdowns(plant, built, told, believed=written.parameters)
    return found


def taken_over(conn: Connection, stored: StoredPlant) -> dict[Key, tuple[Posterior, Posterior | None]]:
    """Return what a plant took over from its clones: the belief that it was moved to, and what it observed since.

    A document that somebody imported after that says what the belief is, and observations count from then on.
    """
    fact = latest_fact(conn, kind=FactKind.PLANT_IMPORTED, subject=stored.plant.id)
    imported = int(fact.body["generation"]) if fact else 0
    found: dict[Key, tuple[Posterior, Posterior | None]] = {}
    read: dict[tuple[datetime, frozenset[tuple[Path, str]]], Mapping[Key, Posterior]] = {}
    for row in SQL.taken_over(conn, plant_id=stored.plant.id, rows_max=TAKEN_MAX):
        shifts = improvement_from(row["document"]).shifts
        if not shifts:
            continue
        base = get_plant(conn, stored.plant.id, generation=max(row["plant_generation"] + 1, imported))
        keys = [each.key for each in shifts]
        asked = (base.made_at, frozenset((key.path[:2], key.kind) for key in keys))
        if asked not in read:
            read[asked] = observed_of(conn, stored, since=base.made_at, wanted=keys)
        own = read[asked]
        for each in shifts:
            if each.key in base.plant.parameters:
                found[each.key] = (base.plant.parameters[each.key], own.get(each.key))
    return found


def _told_of(conn: Connection, stored: StoredPlant) -> dict[Key, Posterior]:
    """Return what a plant that builds elsewhere said of itself last, since somebody wrote its document."""
    fact = latest_fact(conn, kind=FactKind.PLANT_LEARNED, subject=stored.plant.id)
    if (
        fact is None
        or "told" not in fact.body
        or fact.body["generation"] < written_of(conn, stored).generation
    ):
        return {}
    return own_from(fact.body["told"], plant=stored.plant.id)


def _said_of(conn: Connection, stored: StoredPlant) -> dict[Key, Posterior]:
    """Return what a site said of itself last, of what its document has."""
    fact = latest_fact(conn, kind=FactKind.PLANT_SUMS_TOLD, subject=stored.plant.id)
    if fact is None or fact.body["parent"] != stored.plant.identity.parent:
        return {}
    told = own_from(fact.body["told"], plant=stored.plant.id)
    return {key: each for key, each in told.items() if key in stored.plant.parameters}


def written_of(conn: Connection, stored: StoredPlant) -> StoredPlant:
    """Return the newest generation that a person wrote or that was shifted, not learned."""
    facts = [latest_fact(conn, kind=kind, subject=stored.plant.id) for kind in _WRITTEN]
    generation = max((each.body["generation"] for each in facts if each), default=None)
    return get_plant(conn, stored.plant.id, generation=generation) if generation else stored
