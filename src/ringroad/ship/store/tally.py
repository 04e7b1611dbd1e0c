"""How many vehicles of a campaign are in which state: counted by triggers as they move, folded together here.

Each statement that moves vehicles adds rows of what it changed, which lock nothing that another statement wants; whoever
reads sums them up. Folding keeps that sum short and does not change it: it may be done at any time, by anybody, or never.
"""

from __future__ import annotations

from typing import Final

from ringroad.ship.store.reading import SQL
from ringroad.storage.db import Connection

UNFOLDED_MAX: Final = 200  # rows that readers sum up; more are folded in the next round
FOLDED_MAX: Final = 5_000  # rows per transaction; a round of the largest campaign makes under 100


def fold_tallies(conn: Connection) -> int:
    """Fold what statements added, if it is much; inside a transaction of the caller. Return how many sums that made."""
    if SQL.new_tallies(conn, rows_max=UNFOLDED_MAX + 1) <= UNFOLDED_MAX:
        return 0
    return int(SQL.fold_tallies(conn, rows_max=FOLDED_MAX))
