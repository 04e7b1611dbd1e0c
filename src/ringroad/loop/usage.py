"""What the lake says of the use of options becomes signals of demand, and a new forecast where there is something new."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import date
from typing import Final

import structlog

from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict, InvalidInput, Unavailable
from ringroad.signal.demand.store import books_with_usage, options_by_model, take_usage, usage_known
from ringroad.signal.demand.store_runs import ask_run
from ringroad.signal.demand.usage import months_due, signals_of
from ringroad.storage.db import Connection, apart, transaction
from ringroad.storage.lake import Lake, to_us
from ringroad.storage.usage import count_usage

LOG = structlog.get_logger(__name__)
ACTOR: Final = "system:usage"


def tell_usage(
    conn: Connection, ids: Ids, clock: Clock, lake: Lake, seen: dict[str, tuple[int, date]]
) -> int:
    """Look once a day, and whenever it was set anew, how many vehicles used the options; return how many signals are new.

    Args:
        conn: a connection, not in a transaction.
        ids: makes the ids.
        clock: tells the day.
        lake: of the telemetry.
        seen: generation of the demand and day of the last look, by programme; is changed.
    """
    today, new = clock.now().date(), 0
    with transaction(conn):
        books = books_with_usage(conn)
    for book in books:
        if seen.get(book.programme_id) == (book.generation, today):
            continue
        seen[book.programme_id] = (book.generation, today)  # also where it fails: the next look is tomorrow's
        with _apart(conn, book.programme_id):
            with transaction(conn):
                newest = usage_known(conn, book.programme_id)
                models = options_by_model(conn, book.programme_id)
            months = [
                (name, to_us(since), to_us(until))
                for name, since, until in months_due(newest, now=clock.now())
            ]
            if not months:
                continue
            used = count_usage(lake, book.programme_id, set(book.usage.values()), months)
            rows = signals_of(book.usage, used, models)
            with transaction(conn):
                fresh = take_usage(
                    conn, ids, programme_id=book.programme_id, usage=book.usage, rows=rows, actor=ACTOR,
                    now=clock.now(),
                )  # fmt: skip
                if fresh:
                    with contextlib.suppress(
                        Conflict, InvalidInput
                    ):  # one is on its way, or nothing was wanted yet
                        with conn.transaction():
                            ask_run(conn, ids, programme_id=book.programme_id, actor=ACTOR, now=clock.now())
            new += fresh
    return new


@contextlib.contextmanager
def _apart(conn: Connection, programme_id: str) -> Iterator[None]:
    """Keep what is wrong with one programme, or that the lake cannot be read now, from the others and from forecasts."""
    with apart(conn, programme_id=programme_id):
        try:
            yield
        except Unavailable as error:
            if conn.closed:
                raise
            LOG.warning("use of options not read today", programme_id=programme_id, reason=str(error))
