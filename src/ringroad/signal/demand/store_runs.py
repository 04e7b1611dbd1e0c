"""Forecasts in PostgreSQL: asked, worked on, kept.

The caller opens the transactions: one to load, short ones for progress, one to save, none while it is worked out.

Invariant: one forecast of a programme is open at a time; what is shown is of one run, never of two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import numpy as np
from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.kernel.facts import FactKind
from ringroad.signal.demand.block import Block, Forecasted
from ringroad.signal.demand.panel import ALL, Floats, Key, month_after, months_between, quantiles
from ringroad.signal.demand.read import elapsed_of
from ringroad.signal.demand.score import StockCost
from ringroad.signal.demand.shift import Shift, find_shifts
from ringroad.signal.demand.signals import Booked, Regressor, SignalKind
from ringroad.signal.demand.store import LAKE, SQL, Book, get_book
from ringroad.storage.db import Connection, expect_one
from ringroad.storage.ledger import append_fact, causes_of

ACTOR: Final = "system:forecaster"
RUNS_KEPT: Final = 5  # of a programme, with their samples
SHOWN: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # quantiles of each month
SERIES_MAX: Final = 30_000  # of a programme at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A forecast that is asked for."""

    id: str
    programme_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a forecast is made from."""

    run: Run
    book: Book
    first_month: date  # the first that is forecast
    blocks: tuple[Block, ...]
    signals: dict[str, Any]


def ask_run(conn: Connection, ids: Ids, *, programme_id: str, actor: str, now: datetime) -> str:
    """Ask for a forecast; return the id of the run.

    Raises:
        NotFound: nobody said what is to be forecast.
        InvalidInput: there is no demand yet.
        Conflict: one is being worked on.
    """
    SQL.lock_demand(conn, programme_id=programme_id)
    get_book(conn, programme_id)
    if not list(SQL.spans(conn, programme_id=programme_id)):
        raise InvalidInput(f"there is no demand of {programme_id}", hint="ringroad demand import FILE")
    run_id = ids.new("forecast")
    waiting = SQL.next_run(conn)
    if waiting is not None and waiting["programme_id"] == programme_id:
        raise Conflict(f"a forecast of {programme_id} is being worked on", code="busy", hint="wait for it")
    SQL.insert_run(conn, run_id=run_id, programme_id=programme_id, actor=actor, now=now)
    append_fact(
        conn, ids, kind=FactKind.DEMAND_ASKED, subject=programme_id, actor=actor, now=now, body={"run_id": run_id},
        causes=causes_of(conn, [(FactKind.DEMAND_IMPORTED, programme_id), (FactKind.DEMAND_SIGNALLED, programme_id)]),
    )  # fmt: skip
    return run_id


def next_run(conn: Connection) -> Run | None:
    """Return the forecast that waits longest; one that a worker left behind is begun again."""
    row = SQL.next_run(conn)
    return Run(id=row["id"], programme_id=row["programme_id"]) if row else None


def load_work(conn: Connection, run: Run, *, now: datetime) -> Work:
    """Return what a forecast is made from, option by option. Raises: NotFound, InvalidInput."""
    book = get_book(conn, run.programme_id)
    keys, first, units = _panel(list(SQL.months(conn, programme_id=run.programme_id)))
    if len(keys) > SERIES_MAX:
        raise InvalidInput(f"{len(keys)} series, limit {SERIES_MAX}", hint="forecast programmes apart")
    months = units.shape[1]
    ahead = month_after(first, months)
    rows = list(SQL.signals(conn, programme_id=run.programme_id, lake=LAKE))
    regressors = _regressors(rows, first, months, now.date())
    booked = _booked(rows, ahead, book.horizon)
    counted = _counted(conn, run.programme_id, ahead, book, now) if book.count_orders else []
    cost = StockCost(holding=book.holding_milli / 1000, shortage=book.shortage_milli / 1000)
    blocks = []
    for option in sorted({key.option for key in keys}):
        mine = [row for row, key in enumerate(keys) if key.option == option]
        blocks.append(
            Block(
                keys=tuple(keys[row] for row in mine), units=units[mine], horizon=book.horizon, cost=cost,
                regressors=tuple(each for each in regressors if each.key.option == option),
                booked=tuple(each for each in [*booked, *counted] if each.key.option == option),
            )
        )  # fmt: skip
    told = {
        "known": [{"kind": kind, "source": source, "signals": count, "fact_id": fact_id}
                  for (kind, source, fact_id), count in sorted(_by_source(rows).items())],
        "orders_of_the_line": int(sum(each.units for each in counted if each.key.option == "")),
    }  # fmt: skip
    return Work(run=run, book=book, first_month=ahead, blocks=tuple(blocks), signals=told)


def start_run(conn: Connection, work: Work, *, engine: str, now: datetime) -> None:
    """Note that a forecast is worked on. Raises: Conflict."""
    rows = SQL.start_run(conn, run_id=work.run.id, options=len(work.blocks), engine=engine, now=now)
    expect_one(rows, f"forecast {work.run.id}")


def save_run(
    conn: Connection, ids: Ids, work: Work, found: Sequence[Forecasted], *, now: datetime
) -> list[Shift]:
    """Keep a forecast, and say what changed materially since the one before.

    Raises:
        Conflict: the run is not worked on any more.
    """
    SQL.lock_demand(conn, programme_id=work.run.programme_id)
    shifts = _shifts(conn, work, found)
    grades = {each.keys[0].option: {"levels": each.levels, "reconciled": each.reconciled} for each in found}
    rows = SQL.finish_run(
        conn, run_id=work.run.id, horizon=work.book.horizon, first_month=work.first_month, grades=Jsonb(grades),
        signals=Jsonb(work.signals), shifts=Jsonb([each.to_document() for each in shifts]), now=now,
    )  # fmt: skip
    expect_one(rows, f"forecast {work.run.id}")
    for each in found:
        SQL.insert_forecast(conn, [_row(work, each, place) for place in range(len(each.keys))])
    SQL.forget_runs(conn, programme_id=work.run.programme_id, kept=RUNS_KEPT)
    programme_id = work.run.programme_id
    fact = append_fact(
        conn, ids, kind=FactKind.DEMAND_FORECAST, subject=programme_id, actor=ACTOR, now=now,
        causes=causes_of(
            conn, [(kind, programme_id) for kind in
                   (FactKind.DEMAND_ASKED, FactKind.DEMAND_IMPORTED, FactKind.DEMAND_SIGNALLED, FactKind.DEMAND_SET)]
        ),
        body={
            "run_id": work.run.id, "first_month": work.first_month.isoformat(), "horizon": work.book.horizon,
            "series": sum(each.series for each in found), "shifts": len(shifts),
        },
    )  # fmt: skip
    if shifts:
        append_fact(
            conn, ids, kind=FactKind.DEMAND_SHIFTED, subject=programme_id, actor=ACTOR, now=now, causes=[fact.id],
            body={"run_id": work.run.id, "shifts": [each.to_document() for each in shifts]},
        )  # fmt: skip
    return shifts


def fail_run(conn: Connection, ids: Ids, run: Run, *, error: str, now: datetime) -> None:
    """Note that a forecast could not be made, and why."""
    if SQL.fail_run(conn, run_id=run.id, error=error, now=now) == 1:
        append_fact(
            conn, ids, kind=FactKind.DEMAND_FAILED, subject=run.programme_id, actor=ACTOR, now=now,
            causes=causes_of(conn, [(FactKind.DEMAND_ASKED, run.programme_id)]), body={"run_id": run.id, "error": error},
        )  # fmt: skip


def note_progress(conn: Connection, run: Run, done: int) -> None:
    """Note how many options of a forecast are done."""
    SQL.progress(conn, run_id=run.id, options_done=done)


def _panel(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[Key, ...], date, Floats]:
    if not rows:
        raise InvalidInput("there is no demand", hint="ringroad demand import FILE")
    first = min(row["month"] for row in rows)
    count = months_between(first, max(row["month"] for row in rows)) + 1
    keys = sorted({_key(row) for row in rows})
    place = {key: index for index, key in enumerate(keys)}
    units = np.full((len(keys), count), np.nan)
    for row in rows:
        units[place[_key(row)], months_between(first, row["month"])] = row["units"]
    return tuple(keys), first, units


def _regressors(rows: Sequence[Mapping[str, Any]], first: date, months: int, today: date) -> list[Regressor]:
    """Return signals by kind and key, month by month; orders of months to come are no regressor.

    A month that is under way is left out: half of its clicks are no fall.
    """
    values: dict[tuple[SignalKind, Key], dict[int, float]] = {}
    for row in rows:
        place = months_between(first, row["month"])
        over = row["month"] < today.replace(day=1)
        if place >= 0 and (place < months if row["kind"] == "orders" else over):
            values.setdefault((row["kind"], _key(row)), {})[place] = row["value"]
    return [
        Regressor(
            kind=kind, key=key, values=tuple(told.get(place, float("nan")) for place in range(max(told) + 1))
        )
        for (kind, key), told in sorted(values.items())
    ]


def _booked(rows: Sequence[Mapping[str, Any]], ahead: date, horizon: int) -> list[Booked]:
    return [
        Booked(
            key=_key(row), ahead=months_between(ahead, row["month"]), units=row["value"],
            elapsed=row["elapsed_permille"] / 1000,
        )
        for row in rows
        if row["kind"] == "orders" and 0 <= months_between(ahead, row["month"]) < horizon
    ]  # fmt: skip


def _counted(conn: Connection, programme_id: str, ahead: date, book: Book, now: datetime) -> list[Booked]:
    """Return the line's own orders since the last known month, by model and region."""
    since = datetime(ahead.year, ahead.month, 1, tzinfo=now.tzinfo)
    return [
        Booked(
            key=Key(row["option"], ALL, row["region"] if row["region"] in book.regions else ALL, row["model"]),
            ahead=months_between(ahead, row["month"]), units=float(row["units"]),
            elapsed=elapsed_of(row["month"], now.date()),
        )
        for row in SQL.line_orders(conn, programme_id=programme_id, since=since)
    ]  # fmt: skip


def _by_source(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], int]:
    counts: dict[tuple[str, str, str], int] = {}
    for row in rows:
        name = (row["kind"], row["source"], row["fact_id"])
        counts[name] = counts.get(name, 0) + 1
    return counts


def _shifts(conn: Connection, work: Work, found: Sequence[Forecasted]) -> list[Shift]:
    before = SQL.done_run(conn, programme_id=work.run.programme_id)
    if before is None:
        return []
    old = {
        _key(row): np.frombuffer(row["samples"], dtype=np.float32)
        .reshape(before["horizon"], -1)
        .astype(float)
        for row in SQL.forecast_samples(conn, run_id=before["id"])
    }
    new = {key: samples for each in found for key, samples in zip(each.keys, each.samples, strict=True)}
    return find_shifts(old, new, moved_on=months_between(before["first_month"], work.first_month))


def _row(work: Work, found: Forecasted, place: int) -> dict[str, Any]:
    samples = found.samples[place]
    ordered = quantiles(np.sort(samples), SHOWN)
    months = [
        {
            "month": f"{month_after(work.first_month, step):%Y-%m}", "mean": round(float(samples[step].mean()), 3),
            **{f"q{round(100 * level):02}": round(float(ordered[step, at]), 3) for at, level in enumerate(SHOWN)},
        }
        for step in range(len(samples))
    ]  # fmt: skip
    return {
        "run_id": work.run.id, **found.keys[place]._asdict(), "is_sum": place >= found.series,
        "told": Jsonb(json.loads(json.dumps(found.told[place], default=float))), "months": Jsonb(months),
        "samples": samples.astype(np.float32).tobytes(),
    }  # fmt: skip


def _key(row: Mapping[str, Any]) -> Key:
    return Key(row["option"], row["plant"], row["region"], row["model"])
