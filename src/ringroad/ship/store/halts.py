"""Whether a release did harm on the road since somebody looked.

Invariant: nobody approves, starts or resumes a campaign whose release halted another one after its plan was checked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ringroad.kernel.errors import Conflict
from ringroad.ship.store.reading import SQL
from ringroad.storage.db import Connection

AGAIN: Final = "plan again: the checker names it, and whoever approves the plan accepts it"


def refuse_halted_since(conn: Connection, release_id: str, since: datetime | None, *, hint: str) -> None:
    """Raise if a release halted a campaign for harm after a time; None: nobody looked yet, and who plans will.

    Raises:
        Conflict: it did.
    """
    if since is None:
        return
    row = SQL.halted_since(conn, release_id=release_id, since=since)
    if row is not None:
        raise Conflict(
            f"its release has halted campaign {row['name']} ({row['id']}) since:"
            f" {row['state_reason'].replace('_', ' ')}",
            code="release_halted_since",
            hint=hint,
        )
