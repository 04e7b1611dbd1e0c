"""What clones found: ask the parent's twin of each proposal, and look at what is on trial.

Load, run both lines on the twin, keep what it says; load, look at what was measured, keep the change or take it back.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import replace
from typing import Final

from ringroad.build.clone.proof import Proof
from ringroad.build.clone.prove import VEHICLES, prove_improvement
from ringroad.build.clone.store_proposals import (
    Proposal,
    list_proposals,
    look_at_trial,
    save_proof,
    unproved,
)
from ringroad.build.plant.store import get_plant, runs_of
from ringroad.build.store_plant import waiting_orders
from ringroad.build.store_replanned import replanned
from ringroad.build.store_times import line_drift
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict
from ringroad.storage.db import Connection, apart, transaction

ACTOR: Final = "system:planner"
BROKEN: Final = "the line cannot be read; the worker's log says why"


def prove_open(conn: Connection, ids: Ids, clock: Clock) -> int:
    """Ask the twin of proposals that nobody asked of, or of an older document; return how many were answered."""
    with transaction(conn):
        proposals = unproved(conn)
    answered = 0
    for proposal in proposals:
        proof = Proof(proved=False, reason=BROKEN)
        with apart(conn, proposal_id=proposal.id):
            proof = _prove(conn, proposal)
        try:
            with transaction(conn):
                save_proof(conn, ids, proposal=proposal, proof=proof, now=clock.now())
        except Conflict:
            continue  # somebody decided it meanwhile
        answered += 1
    return answered


def look_at_trials(conn: Connection, ids: Ids, clock: Clock) -> int:
    """Look at everything that is on trial; return how many trials are over."""
    with transaction(conn):
        proposals = list_proposals(conn, state="trial")
    ended = 0
    for proposal in proposals:
        with apart(conn, proposal_id=proposal.id):
            try:
                with transaction(conn), replanned(conn, ids, clock, actor=ACTOR):
                    ended += look_at_trial(conn, ids, proposal=proposal, now=clock.now()).outcome != "running"
            except Conflict:
                continue  # looked at again next time
    return ended


def _prove(conn: Connection, proposal: Proposal) -> Proof:
    with transaction(conn):
        stored = get_plant(conn, proposal.parent_id)
        built = next(
            (
                each
                for each in stored.plant.structure.lines
                if (each.area, each.name) == proposal.improvement.line
            ),
            None,
        )
        runs = built is not None and built.programme in runs_of(conn, stored)
        orders = waiting_orders(conn, programme_id=built.programme)[:VEHICLES] if built and runs else []
        drift = line_drift(conn, built.programme) if built and runs else ()
    proof = prove_improvement(
        stored.plant, proposal.improvement, mix=orders, drift=drift, seed=zlib.crc32(proposal.id.encode()),
        threads=os.cpu_count() or 1,
    )  # fmt: skip
    return replace(proof, plant_generation=stored.generation)
