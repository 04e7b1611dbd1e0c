"""What planners ask the line's twin before deciding, in PostgreSQL.

The caller opens the transactions. Nothing follows from a question or its answer, so there is no fact of them.

Invariant: a question is answered once; the newest of each line are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg.types.json import Jsonb

from ringroad.build.store import get_programme
from ringroad.build.store_packages import SQL
from ringroad.build.store_past import Branch, load_past
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.storage.db import Connection, of_row

DOWN_S_MAX: Final = 7 * 86_400  # a week; a line that stands longer is planned anew
OPEN_MAX: Final = 20  # questions of one line that wait for the worker
KEPT: Final = 100  # questions of one line
ANSWERED_AT_ONCE: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenQuestion:
    """A question that waits for the worker."""

    id: str
    programme_id: str
    station: str
    down_s: int
    branch: Branch | None = None  # None: from now on


def ask_what_if(
    conn: Connection, ids: Ids, *, programme_id: str, station: str, down_s: int, actor: str, now: datetime,
    branch: Branch | None = None,
) -> str:  # fmt: skip
    """Keep a question for the worker and return its id.

    Raises:
        NotFound: no such programme, or no such state or schedule where the branch ends.
        InvalidInput: the line has no such station, a time out of bounds, or an event of the branch cannot be.
        Conflict: too many questions wait.
    """
    SQL.lock_programme(conn, programme_id=programme_id)
    names = [each.name for each in get_programme(conn, programme_id).programme.line.stations]
    if station not in names:
        raise InvalidInput(
            f"the line of {programme_id} has no station {station!r}", hint=f"one of {', '.join(names)}"
        )
    if not 1 <= down_s <= DOWN_S_MAX:
        raise InvalidInput(f"{station} cannot stand for {down_s} s", hint=f"from 1 to {DOWN_S_MAX} seconds")
    if SQL.count_open_what_ifs(conn, programme_id=programme_id) >= OPEN_MAX:
        raise Conflict(
            f"{OPEN_MAX} questions about {programme_id} wait for an answer",
            hint="see that `ringroad work` runs",
        )
    if branch is not None:
        load_past(conn, programme_id, branch)
    what_if_id = ids.new("whatif")
    SQL.insert_what_if(
        conn,
        what_if_id=what_if_id,
        programme_id=programme_id,
        station=station,
        down_s=down_s,
        actor=actor,
        now=now,
        asked=Jsonb({"branch": branch.to_document()}) if branch is not None else None,
    )
    SQL.forget_what_ifs(conn, programme_id=programme_id, kept=KEPT)
    return what_if_id


def open_questions(conn: Connection) -> list[OpenQuestion]:
    """Return the oldest questions that nobody answered."""
    return [_question(row) for row in SQL.open_what_ifs(conn, rows_max=ANSWERED_AT_ONCE)]


def _question(row: Mapping[str, Any]) -> OpenQuestion:
    return of_row(OpenQuestion, row, branch=Branch.from_document(row["branch"]) if row["branch"] else None)


def answer_what_if(
    conn: Connection, *, what_if_id: str, generation: int | None, answer: Mapping[str, Any], now: datetime
) -> bool:
    """Keep an answer. Returns: False if somebody else answered before."""
    rows: int = SQL.answer_what_if(
        conn, what_if_id=what_if_id, generation=generation, answer=Jsonb(dict(answer)), now=now
    )
    return rows == 1
