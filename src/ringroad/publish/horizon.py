"""How far the ledger can be read so that nothing ever appears behind the reader.

Numbers are drawn before they are committed: a transaction that took long leaves a number that others have passed.
Whoever reads on from the highest number seen would miss it.
So the newest number drawn is looked at first, and the transactions that were writing facts then, second; once they are
over, everything up to that number is there for good or will never be.

Invariant: no fact is committed with a number that was settled before. What is settled only grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from ringroad.publish.rows import SQL
from ringroad.storage.db import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the ledger.

    Attributes:
        top: newest number drawn, by whomever.
        writers: transactions that were writing facts after `top` was read.
    """

    top: int
    writers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What is known.

    Attributes:
        seq: up to here nothing will appear any more.
        pending: an earlier look whose writers are not all over yet.
    """

    seq: int = 0
    pending: Look | None = None


def settle(known: Settled, look: Look) -> Settled:
    """Decide what is settled after one more look."""
    if not look.writers:
        return Settled(seq=max(known.seq, look.top))
    if known.pending is None:
        return Settled(seq=known.seq, pending=look)
    left = known.pending.writers & look.writers
    if left:
        return Settled(seq=known.seq, pending=Look(top=known.pending.top, writers=left))
    return Settled(seq=max(known.seq, known.pending.top), pending=look)


class Horizon:
    """Remembers the last look; one per process and database, for every reader in it."""

    def __init__(self) -> None:
        self._known = Settled()
        self._lock = Lock()

    def read(self, conn: Connection) -> int:
        """Look, and return the number up to which the ledger can be read."""
        with self._lock:
            top = int(SQL.newest_drawn(conn))
            writers = frozenset(row["virtualtransaction"] for row in SQL.fact_writers(conn))
            self._known = settle(self._known, Look(top=top, writers=writers))
            return self._known.seq

    @property
    def is_waiting(self) -> bool:
        """Whether somebody was still writing facts at the last look."""
        return self._known.pending is not None
