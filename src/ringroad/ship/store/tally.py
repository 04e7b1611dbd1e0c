"""How many vehicles are where, counted by triggers as they move, folded together here: of a campaign, of the whole fleet.

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
    """Fold what statements added, where it is much; inside a transaction of the caller. Return how many sums that made."""
    made = 0
    for new, fold in ((SQL.new_tallies, SQL.fold_tallies), (SQL.new_fleet_tallies, SQL.fold_fleet_tallies)):
        if new(conn, rows_max=UNFOLDED_MAX + 1) > UNFOLDED_MAX:
            made += fold(conn, rows_max=FOLDED_MAX)
    return made
