"""The slow loop: look at the balance of each line whose work was told, where what it rests on changed.

Load, balance, ask the twin, keep the answer. A line is looked at when its work is told, and then at most once in
`every_s`; an answer that would be the same is not given again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta

from ringroad.build.balance.line_work import state_of
from ringroad.build.balance.slow import look_again
from ringroad.build.balance.store import newest_balance, save_balance, told_work
from ringroad.build.store_packages import get_programme, list_programmes
from ringroad.build.store_plant import waiting_orders
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict
from ringroad.storage.db import Connection, apart, transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAt:
    """When a line was looked at last, and the fact of the work that it did."""

    work: str
    at: datetime


def look_at_balances(
    conn: Connection, ids: Ids, clock: Clock, seen: dict[str, LookedAt], *, every_s: int
) -> list[str]:
    """Look at every line that is due; return the programmes of those that have a new answer.

    Args:
        conn: a connection, not in a transaction.
        ids: makes the ids.
        clock: for when a line is due.
        seen: when each was looked at by this process; is changed.
        every_s: seconds between two looks at one line.
    """
    with transaction(conn):
        programmes = [each.programme.id for each in list_programmes(conn)]
    answered = []
    for programme_id in programmes:
        with apart(conn, programme_id=programme_id):
            if _look(conn, ids, clock, seen, programme_id, every_s=every_s):
                answered.append(programme_id)
    return answered


def _look(
    conn: Connection, ids: Ids, clock: Clock, seen: dict[str, LookedAt], programme_id: str, *, every_s: int
) -> bool:
    now = clock.now()
    with transaction(conn):
        told = told_work(conn, programme_id)
        before = newest_balance(conn, programme_id)
        if told is None:
            return False
        fact, tasks = told
        looked = seen.get(programme_id)
        if looked is None and before is not None:
            looked = LookedAt(work=before.body["work"], at=before.recorded_at)
        if looked and looked.work == fact.id and now < looked.at + timedelta(seconds=every_s):
            return False
        line = get_programme(conn, programme_id).programme.line
        orders = waiting_orders(conn, programme_id=programme_id)
    seen[programme_id] = LookedAt(work=fact.id, at=now)
    state = state_of(tasks, line, orders)
    if before is not None and (before.body["work"], before.body["state"]) == (fact.id, state):
        return False
    found = look_again(tasks, line, orders, threads=os.cpu_count() or 1)
    try:
        with transaction(conn):
            save_balance(conn, ids, programme_id=programme_id, told=fact, state=state, found=found, now=now)
    except Conflict:
        seen.pop(programme_id, None)
        return False  # looked at next time
    return True
