"""Read models of demand, read. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np

from ringroad.http.views_demand import (
    DemandBookView,
    DemandForecastView,
    DemandPastView,
    DemandRunView,
    DemandSamplesView,
)
from ringroad.kernel.errors import NotFound
from ringroad.signal.demand.panel import Key
from ringroad.signal.demand.store import SQL, get_book
from ringroad.storage.db import Connection

T = TypeVar("T")


def book(conn: Connection, programme_id: str) -> DemandBookView:
    """Return what is forecast of a programme. Raises: NotFound."""
    found = get_book(conn, programme_id)
    return msgspec.convert(found, DemandBookView, from_attributes=True)


def runs(
    conn: Connection, programme_id: str, *, run_id: str | None = None, limit: int = 20
) -> list[DemandRunView]:
    """Return forecasts of a programme, newest first."""
    return _all(SQL.runs(conn, programme_id=programme_id, run_id=run_id, rows_max=limit), DemandRunView)


def newest_run(conn: Connection, programme_id: str) -> str:
    """Return the id of the newest forecast that was made. Raises: NotFound."""
    row = SQL.done_run(conn, programme_id=programme_id)
    if row is None:
        raise NotFound(f"there is no forecast of {programme_id} yet", hint="ringroad demand forecast")
    return str(row["id"])


def forecasts(
    conn: Connection, run_id: str, *, option: str | None = None, plant: str | None = None, region: str | None = None,
    model: str | None = None, limit: int = 100, offset: int = 0,
) -> list[DemandForecastView]:  # fmt: skip
    """Return what a run expects, whole sums first."""
    rows = SQL.forecasts(
        conn, run_id=run_id, option=option, plant=plant, region=region, model=model, rows_max=limit,
        rows_skipped=offset,
    )  # fmt: skip
    return _all(rows, DemandForecastView)


def samples(conn: Connection, run_id: str, key: Key) -> DemandSamplesView:
    """Return the draws of one key. Raises: NotFound."""
    row = SQL.samples_of(conn, run_id=run_id, **key._asdict())
    if row is None:
        raise NotFound(f"there is no forecast of {key.text}")
    drawn = np.frombuffer(row["samples"], dtype=np.float32).reshape(row["horizon"], -1)
    return DemandSamplesView(
        run_id=run_id, **key._asdict(), samples=[[float(each) for each in month] for month in drawn]
    )


def past(conn: Connection, programme_id: str, key: Key, *, limit: int = 48) -> list[DemandPastView]:
    """Return what was wanted of a key, oldest month first."""
    rows = SQL.past(conn, programme_id=programme_id, **key._asdict(), rows_max=limit)
    return list(reversed(_all(rows, DemandPastView)))


def _all(rows: Iterable[Mapping[str, Any]], kind: type[T]) -> list[T]:
    return [msgspec.convert(row, kind, strict=False) for row in rows]
