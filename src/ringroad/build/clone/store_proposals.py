"""What clones found and their parents may want, in PostgreSQL: proposed, proved, accepted, tried, kept or taken back.

The caller opens the transaction.

Invariants: nobody accepts what they proposed; only what the twin proved is accepted; a parent's document is shifted in
the transaction that begins the trial, and put back in the one that ends it without success, but for what somebody
imported meanwhile; a line tries one change at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from psycopg.types.json import Jsonb

from ringroad.build.clone.improvements import (
    MEASURED,
    Improvement,
    decide_improvements,
    improvement_from,
    put_back,
    shifted,
    still_shifted,
)
from ringroad.build.clone.plants import parents_of
from ringroad.build.clone.proof import Proof
from ringroad.build.clone.store import known_plants, observed_of, written_of
from ringroad.build.clone.sums import CloneSums, sums_of
from ringroad.build.clone.trial import Measured, Trial, decide_trial, measured_since
from ringroad.build.plant.line import as_line
from ringroad.build.plant.model import Plant, PlantLine
from ringroad.build.plant.parameters import path_text
from ringroad.build.plant.posterior import Origin, Posterior, observed_times
from ringroad.build.plant.store import StoredPlant, get_plant, lock_lines_of_plant, runs_of, save_plant
from ringroad.build.working_time import worked_gaps
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, expect_one, load_queries
from ringroad.storage.ledger import append_fact, last_of

SQL = load_queries("ringroad.build.clone")

AT_ONCE: Final = 5  # proposals that a worker looks at before others have their turn
DEPARTURES_MAX: Final = (
    2_000  # newest ones read: the last look needs 400 gaps, and a standing line leaves many out
)
STOOD_TAKTS: Final = 10  # between two vehicles: the line stood, and says nothing of its pace
State = Literal["open", "proved", "refused", "rejected", "trial", "kept", "withdrawn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A proposal as kept.

    Attributes:
        id: of it.
        parent_id: the plant that would do it.
        clone_id: the plant that does it.
        state: how far it is.
        generation: counts its changes.
        improvement: what is proposed.
        proof: what the twin said.
        trial: what was measured.
        plant_generation: of the parent's document before it was shifted.
        parent_generation: of the parent's document now.
        proposed_by: who asked for it.
        proposed_at: when.
        decided_by: who accepted or rejected it.
        decided_at: when.
        ended_at: when the trial was over.
    """

    id: str
    parent_id: str
    clone_id: str
    state: State
    generation: int
    improvement: Improvement
    proof: Mapping[str, Any] | None
    trial: Mapping[str, Any] | None
    plant_generation: int | None
    parent_generation: int
    proposed_by: str
    proposed_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    ended_at: datetime | None

    @property
    def outdated(self) -> bool:
        """Whether the twin proved it on a document that is not the parent's any more: it is asked again."""
        return self.state == "proved" and (self.proof or {}).get("plant_generation") != self.parent_generation


def sums_of_plant(conn: Connection, plant_id: str) -> CloneSums:
    """Return what a clone says to its parents. Raises: NotFound, or InvalidInput if it is nobody's clone."""
    stored = get_plant(conn, plant_id)
    return sums_of(stored.plant, observed_of(conn, stored))


def propose(
    conn: Connection, ids: Ids, *, sums: CloneSums, actor: str, now: datetime
) -> tuple[list[Proposal], list[str]]:
    """Keep what a clone found as proposals to those of its parents that are known here, itself a clone or not.

    Returns:
        New proposals, and the parents that were asked.

    Raises:
        InvalidInput: its parent is not here, or the sums are of something else.
    """
    known = known_plants(conn)
    parent = next((each for each in known if each.id == sums.parent), None)
    if parent is None:
        raise InvalidInput(
            f"{sums.parent}, the parent of {sums.plant}, is not known here", hint="import its document first"
        )
    asked_by = Plant(
        identity=replace(parent.identity, id=sums.plant, parent=sums.parent),
        structure=parent.structure,
        parameters={},
    )
    parents = parents_of(asked_by, known)
    made: list[Proposal] = []
    wanted = decide_improvements(parents, sums)
    for each in parents:
        for found in wanted[each.id]:
            new = ids.new("proposal")
            rows = SQL.insert_proposal(
                conn, proposal_id=new, parent_id=each.id, clone_id=sums.plant, what=found.what,
                sha256=found.sha256, document=Jsonb(found.to_document()), actor=actor, now=now,
            )  # fmt: skip
            if rows != 1:
                continue
            append_fact(
                conn, ids, kind=FactKind.IMPROVEMENT_PROPOSED, subject=new, actor=actor, now=now,
                causes=last_of(conn, sums.plant),
                body={"parent_id": each.id, "clone_id": sums.plant} | found.to_document(),
            )  # fmt: skip
            made.append(get_proposal(conn, new))
    return made, [each.id for each in parents]


def list_proposals(
    conn: Connection, *, plant_id: str | None = None, state: str | None = None, limit: int = PAGE_ROWS_MAX
) -> list[Proposal]:
    """Return proposals to or of a plant, newest first."""
    rows = SQL.proposals(conn, proposal_id=None, plant_id=plant_id, state=state, rows_max=limit)
    return [_proposal(row) for row in rows]


def unproved(conn: Connection) -> list[Proposal]:
    """Return proposals that the twin was not asked of, or of an older document of the parent, the oldest first."""
    return [_proposal(row) for row in SQL.unproved(conn, rows_max=AT_ONCE)]


def get_proposal(conn: Connection, proposal_id: str) -> Proposal:
    """Return a proposal. Raises: NotFound."""
    for row in SQL.proposals(conn, proposal_id=proposal_id, plant_id=None, state=None, rows_max=1):
        return _proposal(row)
    raise NotFound(f"there is no proposal {proposal_id!r}", hint="ringroad plant proposal list")


def save_proof(conn: Connection, ids: Ids, *, proposal: Proposal, proof: Proof, now: datetime) -> None:
    """Keep what the twin said. Raises: Conflict if the proposal moved on."""
    state = "proved" if proof.proved else "refused"
    rows = SQL.save_proof(
        conn, proposal_id=proposal.id, generation=proposal.generation, state=state,
        proof=Jsonb(proof.to_document()),
    )  # fmt: skip
    expect_one(rows, f"proposal {proposal.id}")
    kind = FactKind.IMPROVEMENT_PROVED if proof.proved else FactKind.IMPROVEMENT_REFUSED
    _note(conn, ids, proposal, kind, actor="system:planner", now=now, body=proof.to_document())


def reject(
    conn: Connection,
    ids: Ids,
    *,
    proposal_id: str,
    generation: int | None,
    reason: str,
    actor: str,
    now: datetime,
) -> None:
    """Leave a parent as it is. Raises: NotFound, or Conflict if it was decided or moved on since `generation`."""
    proposal = _read(conn, proposal_id, generation, ("open", "proved"), "rejected")
    rows = SQL.reject_proposal(
        conn, proposal_id=proposal_id, generation=proposal.generation, actor=actor, now=now
    )
    expect_one(rows, f"proposal {proposal_id}")
    _note(conn, ids, proposal, FactKind.IMPROVEMENT_REJECTED, actor=actor, now=now, body={"reason": reason})


def accept(
    conn: Connection, ids: Ids, *, proposal_id: str, generation: int, actor: str, now: datetime
) -> Proposal:
    """Shift what the parent believes to what it would be, and begin the trial.

    Raises:
        NotFound: no such proposal.
        Forbidden: the actor proposed it.
        Conflict: the twin has not proved it, it moved on since `generation`, its line tries another one, the parent's
            document is not the one that was proved any more, or nothing here could measure it.
        InvalidInput: the parent has not what would be changed any more.
    """
    proposal = _read(conn, proposal_id, generation, ("proved",), "accepted")
    if actor == proposal.proposed_by:
        raise Forbidden("whoever proposed an improvement cannot accept it", hint="ask another approver")
    stored = get_plant(conn, proposal.parent_id)  # before the trials: one that begins meanwhile makes it old
    _check_untried(conn, proposal)
    if (proposal.proof or {}).get("plant_generation") != stored.generation:
        raise Conflict(
            f"the document of {proposal.parent_id} changed since the twin proved {proposal.id}",
            hint="the worker asks the twin again: read what it says now, then decide",
        )
    if unmeasured := [each.key for each in proposal.improvement.shifts if each.key.kind not in MEASURED]:
        raise Conflict(
            f"nothing here measures {unmeasured[0]}: a trial of it could not end", hint="reject it"
        )
    evidence = f"{proposal.id}: moved as at {proposal.clone_id}, not measured here"
    plant = shifted(stored.plant, proposal.improvement, clone=proposal.clone_id, evidence=evidence, now=now)
    trial = decide_trial((), looked_n=0)
    rows = SQL.accept_proposal(
        conn, proposal_id=proposal_id, generation=generation, actor=actor, now=now,
        plant_generation=stored.generation, trial=Jsonb(trial.to_document()),
    )  # fmt: skip
    expect_one(rows, f"proposal {proposal_id}")
    _note(
        conn, ids, proposal, FactKind.IMPROVEMENT_ACCEPTED, actor=actor, now=now,
        body={"plant_generation": stored.generation},
    )  # fmt: skip
    _shift(conn, ids, stored, plant, proposal, actor=actor, now=now)
    return get_proposal(conn, proposal_id)


def look_at_trial(conn: Connection, ids: Ids, *, proposal: Proposal, now: datetime) -> Trial:
    """Look at what the parent measured since it accepted; keep the change or take it back where that is clear.

    Raises:
        Conflict: the proposal or the parent's document moved on.
    """
    looked_n = int((proposal.trial or {}).get("looked_n", 0))
    trial = decide_trial(_measured(conn, proposal), looked_n=looked_n)
    if trial.outcome != "running" or trial.looked_n != looked_n:
        _end(conn, ids, proposal, trial, actor="system:planner", now=now)
    return trial


def withdraw(
    conn: Connection,
    ids: Ids,
    *,
    proposal_id: str,
    generation: int | None,
    reason: str,
    actor: str,
    now: datetime,
) -> None:
    """Take back what is on trial. Raises: NotFound, or Conflict if it is not on trial or moved on."""
    proposal = _read(conn, proposal_id, generation, ("trial",), "withdrawn")
    looked_n = int((proposal.trial or {}).get("looked_n", 0))
    measured = tuple(_measured(conn, proposal))
    trial = Trial(outcome="withdrawn", reason=reason, looked_n=looked_n, measured=measured)
    _end(conn, ids, proposal, trial, actor=actor, now=now)


def _end(conn: Connection, ids: Ids, proposal: Proposal, trial: Trial, *, actor: str, now: datetime) -> None:
    state = "trial" if trial.outcome == "running" else trial.outcome
    rows = SQL.look_at_trial(
        conn, proposal_id=proposal.id, generation=proposal.generation, state=state,
        trial=Jsonb(trial.to_document()), now=now,
    )  # fmt: skip
    expect_one(rows, f"proposal {proposal.id}")
    kinds = {
        "running": FactKind.IMPROVEMENT_LOOKED_AT, "kept": FactKind.IMPROVEMENT_KEPT,
        "withdrawn": FactKind.IMPROVEMENT_WITHDRAWN,
    }  # fmt: skip
    body = trial.to_document()
    if trial.outcome == "withdrawn":
        stored = get_plant(conn, proposal.parent_id)
        before = get_plant(conn, proposal.parent_id, generation=proposal.plant_generation).plant
        improvement, left = still_shifted(
            written_of(conn, stored).plant, proposal.improvement, evidence=f"{proposal.id}: "
        )
        body |= {"left_as_imported": left}
        back = put_back(stored.plant, before, improvement)
        _shift(conn, ids, stored, back, proposal, actor=actor, now=now)
    _note(conn, ids, proposal, kinds[trial.outcome], actor=actor, now=now, body=body)


def _check_untried(conn: Connection, proposal: Proposal) -> None:
    """Raise Conflict if the line tries something already: neither could be measured, nor be taken back alone."""
    for other in list_proposals(conn, plant_id=proposal.parent_id, state="trial"):
        if (other.parent_id, other.improvement.line) == (proposal.parent_id, proposal.improvement.line):
            raise Conflict(
                f"{path_text(other.improvement.line)} of {other.parent_id} tries {other.id} already",
                hint="accept it when that trial is over, or withdraw that one first",
            )


def _measured(conn: Connection, proposal: Proposal) -> list[Measured]:
    """Return what has to be better at the parent, before it was shifted and since."""
    before = get_plant(conn, proposal.parent_id, generation=proposal.plant_generation)
    if proposal.improvement.what == "station":
        parent = get_plant(conn, proposal.parent_id)
        keys = [each.key for each in proposal.improvement.shifts]
        was = observed_of(conn, parent, until=proposal.decided_at, wanted=keys)
        own = observed_of(conn, parent, since=proposal.decided_at, wanted=keys)
        return [
            measured_since(each.key, believed=before.plant.parameters.get(each.key), was=was, own=own)
            for each in proposal.improvement.shifts
        ]
    lines = before.plant.structure.lines
    built = next(each for each in lines if (each.area, each.name) == proposal.improvement.line)
    runs = built.programme in runs_of(conn, before)
    paced, now = (
        _pace(conn, before.plant, built, after=after, until=until) if runs else None
        for after, until in ((None, proposal.decided_at), (proposal.decided_at, None))
    )
    return [Measured(name="seconds between two vehicles", kind="interval_s", before=paced, after=now)]


def _pace(
    conn: Connection, plant: Plant, built: PlantLine, *, after: datetime | None, until: datetime | None
) -> Posterior | None:
    """Return the sums of the seconds between vehicles that left a line; None before the first two."""
    line = as_line(plant, built)
    rows = SQL.departures(
        conn, programme_id=built.programme, station=line.stations[-1].name, after=after, until=until,
        rows_max=DEPARTURES_MAX,
    )  # fmt: skip
    gaps = worked_gaps(line.calendar, [row["finished_at"] for row in rows])
    paced = [each for each in gaps if 0 < each <= STOOD_TAKTS * line.takt_s]
    return observed_times(paced, origin=Origin(plant=plant.id)) if paced else None


def _read(
    conn: Connection, proposal_id: str, generation: int | None, states: Sequence[State], done: str
) -> Proposal:
    """Return a proposal that may be decided. Raises: NotFound, Conflict."""
    proposal = get_proposal(conn, proposal_id)
    if generation is not None and proposal.generation != generation:
        raise Conflict(f"proposal {proposal_id} changed", hint="read it again, then decide again")
    if proposal.state not in states:
        hint = "the worker asks the twin first" if proposal.state == "open" else ""
        raise Conflict(f"proposal {proposal_id} is {proposal.state}: it cannot be {done}", hint=hint)
    return proposal


def _shift(
    conn: Connection,
    ids: Ids,
    stored: StoredPlant,
    plant: Plant,
    proposal: Proposal,
    *,
    actor: str,
    now: datetime,
) -> None:
    lock_lines_of_plant(conn, stored.plant.id)
    save_plant(
        conn, ids, plant=plant, actor=actor, now=now, generation=stored.generation, kind=FactKind.PLANT_SHIFTED,
        body={"proposal_id": proposal.id, "clone_id": proposal.clone_id},
    )  # fmt: skip


def _note(
    conn: Connection, ids: Ids, proposal: Proposal, kind: FactKind, *, actor: str, now: datetime,
    body: Mapping[str, Any],
) -> None:  # fmt: skip
    append_fact(
        conn, ids, kind=kind, subject=proposal.id, actor=actor, now=now, causes=last_of(conn, proposal.id),
        body={
            "parent_id": proposal.parent_id, "clone_id": proposal.clone_id, "what": proposal.improvement.what,
            "line": path_text(proposal.improvement.line), **body,
        },
    )  # fmt: skip


def _proposal(row: Mapping[str, Any]) -> Proposal:
    return Proposal(
        improvement=improvement_from(row["document"]),
        **{name: row[name] for name in Proposal.__slots__ if name != "improvement"},
    )
