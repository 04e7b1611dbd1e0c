"""Plant documents in PostgreSQL.

The caller opens the transaction.

Invariant: a generation of a document is never changed; what a plant runs, it can build.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from psycopg.types.json import Jsonb

from ringroad.build.calendar import closed_times
from ringroad.build.model import Programme
from ringroad.build.plant.check import misspelt_parts
from ringroad.build.plant.line import as_line, check_line_of, plant_of_line
from ringroad.build.plant.model import Plant, Structure
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.read import plant_from_document
from ringroad.build.plant.revise import ESCAPES_DAYS, Lowered, in_words, keep_learned, lowered
from ringroad.build.store_packages import get_programme, list_programmes
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from ringroad.kernel.facts import Fact, FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, expect_one, load_queries
from ringroad.storage.ledger import append_fact, causes_of, latest_of_kinds

SQL = load_queries("ringroad.build.plant")
GATES_NAMED: Final = 3  # of those that a document may not lower unsaid
LOTS_NAMED: Final = 5  # of those that keep a plant from being a site

FILE: Final = "the programme's file"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlant:
    """A plant document as kept.

    Attributes:
        plant: the document.
        generation: the highest one is current; 0: read out of a programme's file.
        made_by: who imported it or let it learn.
        made_at: when.
    """

    plant: Plant
    generation: int
    made_by: str
    made_at: datetime


def save_plant(
    conn: Connection,
    ids: Ids,
    *,
    plant: Plant,
    actor: str,
    now: datetime,
    generation: int | None = None,
    kind: FactKind = FactKind.PLANT_IMPORTED,
    body: Mapping[str, Any] | None = None,
) -> StoredPlant:
    """Keep a document as the newest generation of its plant; the same content twice changes nothing.

    Args:
        conn: a connection in a transaction.
        ids: makes the fact's id.
        plant: the document.
        actor: who made it.
        now: when.
        generation: the one it was made from; needed to replace other content.
        kind: of the fact.
        body: more of the fact's body.

    Raises:
        Conflict: other content is stored, or it moved on since `generation`.
        InvalidInput: the plant runs a programme that it could not build any more.
    """
    row = SQL.plant(conn, plant_id=plant.id, generation=None)
    if row is not None:
        stored = _stored(row)
        if stored.plant == plant:
            return stored
        if generation is None:
            raise Conflict(
                f"plant {plant.id} exists with other content",
                hint=f"to replace it, pass its generation, {stored.generation}",
            )
    for programme in SQL.programmes_of_plant(conn, plant_id=plant.id):
        check_line_of(plant, Programme.from_document(programme["document"]))
    before = generation or 0
    rows = SQL.insert_plant(
        conn, plant_id=plant.id, generation=before, structure_sha256=plant.structure_sha256,
        parameters_sha256=plant.parameters_sha256, document=Jsonb(plant.to_document()), actor=actor, now=now,
    )  # fmt: skip
    expect_one(rows, f"plant {plant.id}")
    append_fact(
        conn, ids, kind=kind, subject=plant.id, actor=actor, now=now,
        causes=causes_of(conn, [(kind, plant.id)]),
        body={
            "generation": before + 1, "structure_sha256": plant.structure_sha256,
            "parameters_sha256": plant.parameters_sha256, "parameters": len(plant.parameters),
            **(body or {}),
        },
    )  # fmt: skip
    return StoredPlant(plant=plant, generation=before + 1, made_by=actor, made_at=now)


class TakenPlant(NamedTuple):
    """A document as it was kept, which parameters stayed that it does not name, and what its gates look at less, in words."""

    stored: StoredPlant
    kept: tuple[Key, ...]
    looks_at_less: tuple[str, ...]


def import_plant(
    conn: Connection, ids: Ids, *, plant: Plant, may_lower: bool, actor: str, now: datetime, generation: int | None = None,
    lower_gates: bool = False,
) -> TakenPlant:  # fmt: skip
    """Keep a document that a person wrote; what was decided and learned of its gates and it does not name stays.

    Args:
        conn: a connection in a transaction.
        ids: makes the fact's id.
        plant: the document.
        may_lower: whether the person may decide that a gate looks at less.
        actor: who wrote it.
        now: when.
        generation: the one it was made from; needed to replace other content.
        lower_gates: whether the person said that gates may look at less of which vehicles came back.

    Raises:
        Forbidden: a gate would look at less.
        Conflict: as `save_plant`, or one of these gates let vehicles pass that came back, and nobody said to go on.
        InvalidInput: as `save_plant`, or one of its lines would never work.
    """
    require_work(plant, now=now)
    lock_site_of_plant(conn, plant.id)
    lock_lines_of_plant(conn, plant.id)
    row = SQL.plant(conn, plant_id=plant.id, generation=None)
    kept: tuple[Key, ...] = ()
    gates: list[Lowered] = []
    if row is not None:
        before = _stored(row).plant
        plant, kept = keep_learned(plant, before)
        gates = lowered(before, plant)
        _check_lowered(conn, gates, plant_id=plant.id, may_lower=may_lower, lower_gates=lower_gates, now=now)
    less = in_words(gates)
    body = {"looks_at_less": list(less)} if less else None
    stored = save_plant(conn, ids, plant=plant, actor=actor, now=now, generation=generation, body=body)
    return TakenPlant(stored, kept, less)


def doubts(conn: Connection, plant: Plant) -> list[str]:
    """Say what of a document is likely to be a mistake, beside the programmes that its lines build."""
    built = {line.programme for line in plant.structure.lines}
    known = {
        each.programme.id: {
            name for of, variant in each.programme.variants.items() for name in (of, *variant.options)
        }
        for each in list_programmes(conn)
        if each.programme.id in built
    }
    return misspelt_parts(plant.structure, known)


def get_plant(conn: Connection, plant_id: str, *, generation: int | None = None) -> StoredPlant:
    """Return a plant document; of a programme without one, what its file says of its line.

    Raises:
        NotFound: there is no such plant, or no such generation of it.
    """
    row = SQL.plant(conn, plant_id=plant_id, generation=generation)
    if row is not None:
        return _stored(row)
    of_file = next(
        (
            each
            for each in list_programmes(conn)
            if each.programme.id == plant_id and each.plant_id is None and not generation
        ),
        None,
    )
    if of_file is None:
        which = f" generation {generation} of" if generation else ""
        raise NotFound(f"there is no{which} plant {plant_id!r}", hint="ringroad plant list")
    return StoredPlant(
        plant=plant_of_line(of_file.programme), generation=0, made_by=FILE, made_at=of_file.imported_at
    )


def find_structure(conn: Connection, sha256: str) -> Structure | None:
    """Return the structure with this content hash, of any generation of any plant; None if none has it."""
    row = SQL.plant_of_structure(conn, sha256=sha256)
    return plant_from_document(row["document"]).structure if row else None


def list_plants(conn: Connection) -> list[StoredPlant]:
    """Return the newest generation of every plant, and the lines of programmes that no document describes."""
    kept = [_stored(row) for row in SQL.newest_plants(conn, rows_max=PAGE_ROWS_MAX)]
    known = {each.plant.id for each in kept}
    read = [
        StoredPlant(plant=plant_of_line(each.programme), generation=0, made_by=FILE, made_at=each.imported_at)
        for each in list_programmes(conn)
        if each.plant_id is None and each.programme.id not in known
    ]
    return sorted([*kept, *read], key=lambda each: each.plant.id)


def runs_of(conn: Connection, stored: StoredPlant) -> list[str]:
    """Return the programmes whose lines are this plant's."""
    if stored.generation == 0:
        return [stored.plant.id]
    return [row["id"] for row in SQL.programmes_of_plant(conn, plant_id=stored.plant.id)]


def choose_plant(
    conn: Connection, ids: Ids, *, plant_id: str, programme_id: str, actor: str, now: datetime, may_lower: bool = True,
    lower_gates: bool = True,
) -> bool:  # fmt: skip
    """Let a plant's line take the place of the one in a programme's file.

    Returns:
        False if it did before.

    Raises:
        NotFound: no such plant document or programme.
        InvalidInput: the plant cannot build the programme.
        Forbidden: a gate of the line would look at less, and the person may not decide that (`may_lower`).
        Conflict: the plant is a site, which would not hear that a lot is contained for the line; or a gate that would
            look at less let vehicles pass that came back, and nobody said to go on (`lower_gates`).
    """
    lock_site_of_plant(conn, plant_id)
    stored = get_programme(conn, programme_id)
    if SQL.plant(conn, plant_id=plant_id, generation=None) is None:
        raise NotFound(f"there is no plant document {plant_id!r}", hint="ringroad plant import FILE")
    if stored.plant_id == plant_id:
        return False
    chosen = get_plant(conn, plant_id).plant
    check_line_of(chosen, stored.programme)
    gates: list[Lowered] = []
    if stored.plant_id is not None:
        gates = lowered(get_plant(conn, stored.plant_id).plant, chosen, programme_id=programme_id)
        _check_lowered(
            conn, gates, plant_id=stored.plant_id, may_lower=may_lower, lower_gates=lower_gates, now=now
        )
    rows = SQL.choose_plant(conn, plant_id=plant_id, programme_id=programme_id, generation=stored.generation)
    expect_one(rows, f"programme {programme_id}")
    require_none_contained(conn, plant_id)
    append_fact(
        conn, ids, kind=FactKind.PLANT_CHOSEN, subject=plant_id, actor=actor, now=now,
        causes=causes_of(conn, [(FactKind.PLANT_IMPORTED, plant_id), (FactKind.PROGRAMME_IMPORTED, programme_id)]),
        body={
            "programme_id": programme_id, "before": stored.plant_id,
            **({"looks_at_less": list(in_words(gates))} if gates else {}),
        },
    )  # fmt: skip
    return True


def looks_at_less(conn: Connection, programme_id: str) -> tuple[Fact, tuple[str, ...]] | None:
    """Return what wrote the plant document of a line last, and where its gates look at less than before, by what rules now.

    Returns:
        The fact of the document, or of the choice of it for this line, and words; None where they look at no less.

    Raises:
        NotFound: no such programme.
    """
    plant_id = get_programme(conn, programme_id).plant_id
    if plant_id is None:
        return None
    kinds = (FactKind.PLANT_IMPORTED, FactKind.PLANT_CHOSEN)
    fact = latest_of_kinds(conn, kinds, subject=plant_id, programme_id=programme_id)
    if fact is None or "looks_at_less" not in fact.body:
        return None
    if fact.kind is FactKind.PLANT_CHOSEN:
        before = get_plant(conn, fact.body["before"])
    else:
        before = get_plant(conn, plant_id, generation=fact.body["generation"] - 1)
    gates = lowered(before.plant, get_plant(conn, plant_id).plant, programme_id=programme_id)
    return (fact, in_words(gates)) if gates else None


def lock_site_of_plant(conn: Connection, plant_id: str) -> None:
    """Take turns with whoever lets a plant be a site, or gives it a line: each sees what the other did."""
    SQL.lock_site_of_plant(conn, plant_id=plant_id)


def lock_lines_of_plant(conn: Connection, plant_id: str) -> None:
    """Take the lines of a plant before its document, as whoever decides on a gate or replans one does."""
    list(SQL.lock_lines_of_plant(conn, plant_id=plant_id))


def require_none_contained(conn: Connection, plant_id: str, *, becomes_site: bool = False) -> None:
    """Refuse lots that are contained here for the lines of a plant that is a site, or becomes one: it hears nothing of them.

    Raises:
        Conflict: some are; the first ones are named.
    """
    lock_lines_of_plant(conn, plant_id)  # none is contained meanwhile
    lots = [
        f"lot {row['lot']} of {row['part']} for {row['programme_id']}"
        for row in SQL.contained_at_site(conn, plant_id=plant_id, becomes=becomes_site, rows_max=LOTS_NAMED)
    ]
    if lots:
        raise Conflict(
            f"contained here, where site {plant_id} does not hear of it: {', '.join(lots)}",
            code="lots_contained",
            hint=f"ringroad quality release each, and contain it at site {plant_id}",
        )


def require_work(plant: Plant, *, now: datetime) -> None:
    """Refuse lines whose calendar leaves no time to work. Raises: InvalidInput, naming line and calendar."""
    for line in plant.structure.lines:
        calendar = as_line(plant, line).calendar
        try:
            if calendar is not None:
                closed_times(calendar, start=now)
        except InvalidInput as error:
            raise InvalidInput(f"line {line.name!r}: {error.message}", hint=error.hint) from error


def _check_lowered(
    conn: Connection, gates: Sequence[Lowered], *, plant_id: str, may_lower: bool, lower_gates: bool, now: datetime
) -> None:  # fmt: skip
    """Refuse that gates look at less.

    Raises:
        Forbidden: the person may not decide it.
        Conflict: vehicles came back that one of them had let pass, and the person did not say to go on all the same.
    """
    if not gates:
        return
    more = f", and {len(gates) - 1} more" if len(gates) > 1 else ""
    if not may_lower:
        raise Forbidden(
            f"{gates[0].says}{more}: this needs the role approver",
            hint="an approver decides what gates look at: ask one to do it, or: ringroad quality rate",
        )
    since = now - timedelta(days=ESCAPES_DAYS)
    escaped = {
        (row["programme_id"], row["station"], row["gate"]): row["vehicles"]
        for row in SQL.escapes_of_gates(conn, plant_id=plant_id, since=since)
    }
    came = [(each, n) for each in gates if (n := escaped.get((each.line, each.station, each.gate)))]
    if came and not lower_gates:
        told = "; ".join(
            f"{each.says}, and {n} vehicle{'s' * (n > 1)} that it let pass came back in {ESCAPES_DAYS} days"
            for each, n in came[:GATES_NAMED]
        )
        raise Conflict(
            f"{told}: nothing was changed",
            code="gates_lowered",
            hint="--lower-gates, or lower_gates in the request, says that it is meant",
        )


def _stored(row: Mapping[str, Any]) -> StoredPlant:
    return StoredPlant(
        plant=plant_from_document(row["document"], what=f"plant {row['id']}"),
        generation=row["generation"],
        made_by=row["made_by"],
        made_at=row["made_at"],
    )
