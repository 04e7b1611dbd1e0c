"""Forecasts that are asked for: load, work out option by option, keep; what shifted reaches the line.

Invariant: a forecast that cannot be made leaves the one before, with a fact that says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
import structlog

from ringroad.build import store_plant
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import InvalidInput, NotFound, Unavailable
from ringroad.signal.demand.block import forecasted_of, to_bytes
from ringroad.signal.demand.engines import run_blocks
from ringroad.signal.demand.store_runs import (
    ACTOR,
    Run,
    fail_run,
    load_work,
    next_run,
    note_progress,
    save_run,
    start_run,
)
from ringroad.storage.db import Connection, transaction

LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What became of a forecast that was asked for."""

    run_id: str
    shifts: int = 0
    error: str = ""


def forecast_asked(conn: Connection, ids: Ids, clock: Clock, *, engine: str = "local") -> Made | None:
    """Make the forecast that waits longest; None if none does.

    Args:
        conn: a connection, not in a transaction.
        ids: makes the ids.
        clock: for months that are under way, and the latency of a replan.
        engine: ``local``, or the master of a Spark.
    """
    with transaction(conn):
        run = next_run(conn)
    if run is None:
        return None
    try:
        with transaction(conn):
            work = load_work(conn, run, now=clock.now())
            start_run(conn, work, engine=engine, now=clock.now())
        tasks = [to_bytes(block) for block in work.blocks]
        results = run_blocks(tasks, engine=engine, progress=lambda done: _progress(conn, run, done))
    except (InvalidInput, NotFound, Unavailable) as error:
        with transaction(conn):
            fail_run(conn, ids, run, error=error.message, now=clock.now())
        return Made(run_id=run.id, error=error.message)
    except psycopg.Error:
        raise  # the database's own trouble passes; the run waits for it
    except Exception as error:
        LOG.exception("a forecast breaks", run=run.id, programme=run.programme_id)
        with transaction(conn):
            fail_run(conn, ids, run, error=f"it breaks: {type(error).__name__}", now=clock.now())
        return Made(run_id=run.id, error=type(error).__name__)
    found = [forecasted_of(result) for result in results]
    triggered_s, now = clock.monotonic_s(), clock.now()
    with transaction(conn):
        shifts = save_run(conn, ids, work, found, now=now)
        if shifts and store_plant.current_schedule(conn, run.programme_id) is not None:
            store_plant.replan(
                conn, ids, clock, programme_id=run.programme_id, cause="demand_shift", actor=ACTOR,
                triggered_s=triggered_s, triggered_at=now,
            )  # fmt: skip
    return Made(run_id=run.id, shifts=len(shifts))


def _progress(conn: Connection, run: Run, done: int) -> None:
    with transaction(conn):
        note_progress(conn, run, done)
