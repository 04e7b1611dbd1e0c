"""A line's work, and what balancing it anew would bring, in the ledger: each is a fact about the programme.

The caller opens the transaction. Invariant: an answer is about the work that was told last.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ringroad.build.balance.line_work import Balanced, check_work, work_document, work_from
from ringroad.build.balance.problem import BalanceProblem, Work
from ringroad.build.store_packages import SQL, get_programme
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import Fact, FactKind
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, causes_of, latest_fact

ACTOR = "system:planner"


def tell_work(
    conn: Connection, ids: Ids, *, programme_id: str, tasks: Sequence[Work], actor: str, now: datetime
) -> None:
    """Keep which tasks a line does, and where.

    Raises:
        NotFound: no such programme.
        InvalidInput: the tasks cannot be dealt out, or the line does not do them.
    """
    line = get_programme(conn, programme_id).programme.line
    check_work(tasks, line)
    ordered = BalanceProblem(tasks=tuple(tasks), stations=len(line.stations)).tasks
    append_fact(
        conn, ids, kind=FactKind.LINE_WORK_TOLD, subject=programme_id, actor=actor, now=now,
        causes=causes_of(conn, [(FactKind.PROGRAMME_IMPORTED, programme_id)]),
        body={"tasks": work_document(ordered)},
    )  # fmt: skip


def told_work(conn: Connection, programme_id: str) -> tuple[Fact, tuple[Work, ...]] | None:
    """Return the work that was told of a line last; None if none was."""
    fact = latest_fact(conn, kind=FactKind.LINE_WORK_TOLD, subject=programme_id)
    return None if fact is None else (fact, work_from(fact.body["tasks"]))


def newest_balance(conn: Connection, programme_id: str) -> Fact | None:
    """Return what came of looking at a line last."""
    return latest_fact(conn, kind=FactKind.LINE_BALANCED, subject=programme_id)


def save_balance(
    conn: Connection, ids: Ids, *, programme_id: str, told: Fact, state: str, found: Balanced, now: datetime
) -> None:
    """Keep what came of looking at a line. Raises: Conflict if other work was told meanwhile."""
    SQL.lock_programme(conn, programme_id=programme_id)
    newest = latest_fact(conn, kind=FactKind.LINE_WORK_TOLD, subject=programme_id)
    if newest is None or newest.id != told.id:
        raise Conflict(f"other work was told of the line of {programme_id}", hint="look again")
    plant_id = get_programme(conn, programme_id).plant_id
    append_fact(
        conn, ids, kind=FactKind.LINE_BALANCED, subject=programme_id, actor=ACTOR, now=now,
        causes=[told.id, *causes_of(conn, [(FactKind.PLANT_LEARNED, plant_id)])],
        body={"work": told.id, "state": state, **found.to_document()},
    )  # fmt: skip
