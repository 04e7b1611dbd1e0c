"""Gates of a line in PostgreSQL: what is known of each, what it should inspect, and what an approver decided.

The caller opens the transaction.

Invariant: a rate is changed by a person, in the plant document, with the counts that it rests on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from ringroad.build.plant.alike import Alike, read_alike
from ringroad.build.plant.model import Gate, Plant
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, Posterior
from ringroad.build.plant.revise import ESCAPES_DAYS
from ringroad.build.plant.store import StoredPlant, get_plant, save_plant
from ringroad.build.quality.draw import Place, reason_of
from ringroad.build.quality.gate_kinds import JEFFREYS, first_of
from ringroad.build.quality.gates import (
    DRAWN_MIN,
    KINDS_MAX,
    GateCosts,
    GateProposal,
    GateRecord,
    propose_rate,
)
from ringroad.build.quality.store import SQL
from ringroad.build.quality.store_days import Looked, gates_since, tallies_since, vehicles_since
from ringroad.build.quality.yields import CELLS_MAX, Tally, fit_yields
from ringroad.build.store_packages import SQL as BUILD
from ringroad.build.store_packages import get_programme
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection

DAYS: Final = ESCAPES_DAYS
ESCAPES_MAX: Final = 100_000  # of one look
NEWEST_MAX: Final = (
    10_000  # choices of a line, of which it is said how many are of the kinds of now: to half a percent
)

ALIKE: Final = f"more than {CELLS_MAX} kinds of vehicles came in {DAYS} days: all are taken to be alike"

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedGate:
    """A gate: what is known of it and what it should inspect."""

    plant_id: str
    generation: int  # of the plant document
    record: GateRecord
    costs: GateCosts | None
    proposal: GateProposal
    decided: Posterior | None  # the rate, where a person decided it


def judge_gates(conn: Connection, programme_id: str, *, now: datetime) -> list[JudgedGate]:
    """Return the gates of a line, in its order; none where no plant document is chosen.

    Raises:
        NotFound: no such programme.
    """
    stored = get_programme(conn, programme_id)
    if stored.plant_id is None:
        return []
    plant = get_plant(conn, stored.plant_id)
    since = now - timedelta(days=DAYS)
    results = gates_since(conn, programme_id, since=since, now=now)
    escaped = list(SQL.escaped(conn, programme_id=programme_id, since=since, rows_max=ESCAPES_MAX))
    left = vehicles_since(conn, programme_id, since=since, now=now)
    gates = list(gates_of(plant.plant, programme_id))
    stations = sorted({path[-2] for path, _ in gates})
    drawn = _drawn_for_kinds(conn, plant.plant, programme_id, since=since)
    tallies: Sequence[Tally] | None = None
    with suppress(InvalidInput):  # too many kinds of vehicles
        tallies = tallies_since(conn, programme_id, since=since, now=now, stations=stations)
    return [
        _judged(
            plant, path, gate, left=left, results=results, escaped=escaped, tallies=tallies,
            drawn=drawn.get((path[-2], gate.name), DrawnForKinds()),
        )
        for path, gate in gates
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnForKinds:
    """How many vehicles a gate looked at for their kind.

    Attributes:
        now: for kinds that it inspects now.
        once: for others, by kind.
        share: of all vehicles that the gate chose lately, that were of the kinds of now; None for too few.
    """

    now: int = 0
    once: tuple[tuple[Alike, int], ...] = ()
    share: float | None = None


def _drawn_for_kinds(
    conn: Connection, plant: Plant, programme_id: str, *, since: datetime
) -> dict[Place, DrawnForKinds]:
    """Return by gate how many vehicles it looked at for their kind."""
    named: dict[tuple[str, str, str], Alike] = {}  # by station, gate and the reason of a choice
    of_now: dict[Place, tuple[Alike, ...]] = {}
    decided_at = [since]
    for path, gate in gates_of(plant, programme_id):
        of_now[path[-2], gate.name] = plant.inspects_all(path)
        for key, each in plant.parameters.items():
            if key.path == path and key.kind == "inspects_all":
                kind = read_alike(key.per)
                named[path[-2], gate.name, reason_of(kind)] = kind
                decided_at += [each.origin.learned_at] if each.origin.learned_at else []
    if not named:
        return {}
    chosen: dict[Place, dict[Alike, int]] = {}
    for row in SQL.kinds_drawn(conn, programme_id=programme_id, since=since, **_columns(named)):
        place = row["station"], row["gate"]
        chosen.setdefault(place, {})[named[*place, row["reason"]]] = row["drawn"]
    now = {each: kind for each, kind in named.items() if kind in of_now[each[:2]]}
    newest = {
        (row["station"], row["gate"]): row["of_kinds"] / row["vehicles"]
        for row in SQL.newest_drawn(
            conn, programme_id=programme_id, decided_at=max(decided_at), rows_max=NEWEST_MAX, **_columns(now)
        )
        if row["vehicles"] >= DRAWN_MIN
    }
    return {
        place: DrawnForKinds(
            now=sum(n for kind, n in chosen.get(place, {}).items() if first_of(kinds, kind)),
            once=tuple((kind, n) for kind, n in chosen.get(place, {}).items() if not first_of(kinds, kind)),
            share=newest.get(place),
        )
        for place, kinds in of_now.items()
    }


def _columns(named: Iterable[tuple[str, str, str]]) -> dict[str, list[str]]:
    rows = list(named)
    return {name: [each[n] for each in rows] for n, name in enumerate(("stations", "gates", "reasons"))}


def gates_of(plant: Plant, programme_id: str) -> Iterator[tuple[Path, Gate]]:
    """Yield the gates of a programme's line, each with its path."""
    for line in plant.structure.lines:
        for cell in line.stations if line.programme == programme_id else ():
            for gate in cell.gates:
                yield (line.area, line.name, cell.name, gate.name), gate


def set_rate(
    conn: Connection, ids: Ids, *, programme_id: str, station: str, gate: str, inspect_permille: int,
    generation: int, reason: str, actor: str, now: datetime, all_of: Sequence[str] = (),
) -> StoredPlant:  # fmt: skip
    """Decide how many vehicles a gate inspects: the plant document's next generation says so, and on what it rests.

    Args:
        conn: a connection in a transaction.
        ids: makes the fact's id.
        programme_id: that the line builds.
        station: of the gate.
        gate: its name.
        inspect_permille: of 1,000 vehicles of none of these kinds.
        generation: of the plant document that the decision was made on.
        reason: why.
        actor: who decides.
        now: when.
        all_of: keys of kinds of which it inspects every vehicle (`Alike.key`); others that it did inspect, no more.

    Raises:
        NotFound: no such programme or gate.
        Conflict: the plant document moved on since `generation`.
        InvalidInput: no reason, too many kinds, or one that is none.
    """
    if not reason.strip():
        raise InvalidInput("a rate is decided with a reason")
    if len(all_of) > KINDS_MAX:
        raise InvalidInput(
            f"{len(all_of)} kinds of vehicles, limit {KINDS_MAX}", hint="inspect more by chance"
        )
    kinds = {read_alike(each) for each in all_of}
    BUILD.lock_programme(conn, programme_id=programme_id)  # no day is counted or taken back meanwhile
    found, stored, path = _to_decide(conn, programme_id, (station, gate), generation=generation, now=now)
    record = found.record
    says = f"{record.refused} of {record.inspected} inspected refused, {record.missed + record.slipped} of {record.left} escaped; {reason.strip()}"
    origin = Origin(plant=found.plant_id, learned_at=now, evidence=says[:200])
    n = float(max(1, record.inspected))
    escapes = record.escapes
    parameters = {
        **stored.plant.parameters,
        **_decided_kinds(stored.plant, path, kinds, origin=origin),
        Key(path, "inspects"): Posterior(
            family="share", n=n, total=n * inspect_permille / 1000, origin=origin
        ),
        Key(path, "escapes"): Posterior(
            family="share", n=escapes.bad + escapes.good, total=escapes.bad, origin=origin
        ),
    }
    return save_plant(
        conn, ids, plant=replace(stored.plant, parameters=parameters), actor=actor, now=now,
        generation=generation, kind=FactKind.PLANT_LEARNED,
        body={
            "gate": gate, "station": station, "inspect_permille": inspect_permille, "reason": reason.strip(),
            "all_of": sorted(each.key for each in kinds),
            "before": record.inspect_permille, "proposed": found.proposal.inspect_permille,
            "inspected": record.inspected, "refused": record.refused, "left": record.left,
            "missed": record.missed, "slipped": record.slipped,
        },
    )  # fmt: skip


def _to_decide(
    conn: Connection, programme_id: str, place: Place, *, generation: int, now: datetime
) -> tuple[JudgedGate, StoredPlant, Path]:
    """Return a gate, its document as the decision saw it, and its path there. Raises: NotFound, Conflict."""
    found = next(
        (
            each
            for each in judge_gates(conn, programme_id, now=now)
            if (each.record.station, each.record.gate) == place
        ),
        None,
    )
    if found is None:
        raise NotFound(f"the line has no gate {place[1]!r} at {place[0]!r}", hint="ringroad quality gates")
    stored = get_plant(conn, found.plant_id)
    if stored.generation != generation:
        raise Conflict(f"plant {found.plant_id} is at generation {stored.generation}", hint="read it again")
    return (
        found,
        stored,
        next(path for path, each in gates_of(stored.plant, programme_id) if (path[-2], each.name) == place),
    )


def _decided_kinds(
    plant: Plant, path: Path, kinds: Collection[Alike], *, origin: Origin
) -> dict[Key, Posterior]:
    """Return what is decided of kinds: 1 for each that is looked at, 0 for each that was, so that it is not believed anew."""
    names = {each.key for each in kinds}
    old = {
        key.per for key, each in plant.parameters.items() if key.path == path and key.kind == "inspects_all"
    }
    return {
        Key(path, "inspects_all", per): Posterior(
            family="share", n=1.0, total=float(per in names), origin=origin
        )
        for per in sorted(names | old)
        if per in names or plant.parameters[Key(path, "inspects_all", per)].mean > 0
    }


def _judged(
    plant: StoredPlant, path: Path, gate: Gate, *, left: int, results: Mapping[tuple[str, str], Looked],
    escaped: Sequence[Mapping[str, Any]], tallies: Sequence[Tally] | None,
    drawn: DrawnForKinds,
) -> JudgedGate:  # fmt: skip
    station = path[-2]
    looked = results.get((station, gate.name), Looked(inspected=0, refused=0))
    own = [row for row in escaped if (row["station"], row["gate"]) == (station, gate.name)]
    slipped = [row for row in own if not row["inspected"]]
    finds = plant.plant.parameters.get(Key(path, "finds"))
    record = GateRecord(
        station=station, gate=gate.name, inspect_permille=plant.plant.inspect_permille(path, gate),
        left=max(left, looked.inspected + len(slipped)), inspected=looked.inspected, refused=looked.refused,
        missed=len(own) - len(slipped), slipped=len(slipped),
        missed_named=sum(row["inspected"] and not row["by_chance"] for row in own),
        finds=(JEFFREYS, JEFFREYS) if finds is None else (JEFFREYS + finds.total, JEFFREYS + finds.n - finds.total),
        all_of=plant.plant.inspects_all(path), all_of_drawn=drawn.now, all_of_share=drawn.share,
        once_drawn=drawn.once,
    )  # fmt: skip
    costs = (
        GateCosts(inspect=gate.inspect_cost, escape=gate.escape_cost)
        if gate.inspect_cost and gate.escape_cost
        else None
    )
    counts = [each for each in tallies or () if each.station == station]
    proposal = propose_rate(record, costs, fit_yields(counts).cells)
    if tallies is None:
        proposal = replace(proposal, reasons=(*proposal.reasons, ALIKE))
    return JudgedGate(
        plant_id=plant.plant.id, generation=plant.generation, record=record, costs=costs,
        proposal=proposal,
        decided=plant.plant.parameters.get(Key(path, "inspects")),
    )  # fmt: skip
