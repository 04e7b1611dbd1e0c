"""Ways over several releases: what becomes of the rest of a way when one of its steps ends.

Each step is an action of its own, confirmed by manifest or report like any other; the next one is offered only after
that (`offer_ddi`, `waiting_for_bundle`), because the vehicle's release must be the one it follows.

Invariants:
    No step and no update is offered before every step in front of it is confirmed.
    A way that broke ends the vehicle's update with the same outcome: the gate counts it, and silence never skips it.
"""

from __future__ import annotations

from datetime import datetime

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind
from ringroad.ship.model import AssignmentState
from ringroad.ship.store.batches import RECONCILER, append_by_wave
from ringroad.ship.store.reading import SQL
from ringroad.ship.store.reports import append_outcome
from ringroad.storage.db import Connection

STEPS_ROWS_MAX = 1_000  # actions per transaction


def settle_steps(conn: Connection, ids: Ids, *, now: datetime) -> int:
    """Close what can never be offered any more; inside a transaction of the caller. Return how many actions.

    1. Steps that wait and whose release is not signed any more have failed.
    2. What comes behind a step that was not installed ends as that step did.
    """
    given = {"now": now, "rows_max": STEPS_ROWS_MAX}
    closed = [*SQL.fail_withdrawn_steps(conn, **given), *SQL.close_behind_steps(conn, **given)]
    cancelled = [row for row in closed if row["state"] == AssignmentState.CANCELLED]
    append_by_wave(conn, ids, FactKind.VEHICLES_CANCELLED, cancelled, actor=RECONCILER, now=now)
    for row in closed:
        if row["state"] != AssignmentState.CANCELLED:
            state, reason = AssignmentState(row["state"]), row["state_detail"]
            append_outcome(conn, ids, row["action_id"], state, reason=reason, now=now)
    for campaign_id in sorted({row["campaign_id"] for row in closed}):
        SQL.notify_assignment(conn, campaign_id=campaign_id)
    return len(closed)
