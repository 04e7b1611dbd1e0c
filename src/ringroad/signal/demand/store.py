"""Demand in PostgreSQL: what may be named, what was wanted, signals of what will be.

The caller opens the transaction.

Invariant: a table is taken whole or not at all; months are without gaps; a signal is kept once, however often it is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, cast

from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.signal.demand.panel import Key
from ringroad.signal.demand.read import (
    Catalogue,
    DemandRow,
    SignalRow,
    elapsed_of,
    gaps,
    read_demand,
    read_signals,
)
from ringroad.storage.db import Connection, expect_one, load_queries, of_row
from ringroad.storage.ledger import append_fact

SQL = load_queries("ringroad.signal.demand")

RESTATED_TOLD: Final = 1_000  # months whose old numbers are kept in the fact; more are refused
GAPS_SHOWN: Final = 3
LAKE: Final = "the telemetry lake: "  # as the source of signals, before the VSS path
VSS_PATH: Final = re.compile(r"Vehicle(\.[A-Za-z][A-Za-z0-9]{0,63}){1,12}")
NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What is forecast of a programme, and what it is for."""

    programme_id: str
    plants: tuple[str, ...]
    regions: tuple[str, ...]
    horizon: int  # months
    holding_milli: int
    shortage_milli: int
    count_orders: bool
    usage: Mapping[str, str]  # option to the VSS path that tells of its use
    generation: int
    set_by: str
    set_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a table."""

    rows: int
    new: int
    repeated: int
    restated: int
    filled: int = 0


def get_book(conn: Connection, programme_id: str) -> Book:
    """Return what is forecast of a programme. Raises: NotFound."""
    row = SQL.book(conn, programme_id=programme_id)
    if row is None:
        raise NotFound(
            f"nobody said yet which plants and regions want {programme_id}",
            hint="ringroad demand set --plant P --region R",
        )
    return of_row(Book, row, plants=tuple(row["plants"]), regions=tuple(row["regions"]))


def set_book(
    conn: Connection, ids: Ids, *, programme_id: str, plants: Sequence[str], regions: Sequence[str], horizon: int,
    holding_milli: int, shortage_milli: int, count_orders: bool, generation: int | None, actor: str, now: datetime,
    usage: Mapping[str, str] | None = None,
) -> Book:  # fmt: skip
    """Say what is forecast of a programme.

    Raises:
        NotFound: no such programme.
        InvalidInput: a name cannot be one, or a plant or region that has demand would not be known any more.
        Conflict: it was changed since `generation` was read.
    """
    for name in (*plants, *regions):
        if not NAME.fullmatch(name):
            raise InvalidInput(
                f"{name[:100]!r} is no name of a plant or region", hint="1 to 100 letters, digits, _ . or -"
            )
    SQL.lock_demand(conn, programme_id=programme_id)
    catalogue = _catalogue(conn, programme_id, plants, regions)
    _check_usage(usage or {}, {each for options in catalogue.options.values() for each in options})
    used = SQL.used_names(conn, programme_id=programme_id)
    for name, given in (("plants", plants), ("regions", regions)):
        lost = sorted(set(used[name] or ()) - set(given))
        if lost:
            raise InvalidInput(f"{', '.join(lost)} has demand, and must stay among the {name}")
    current = SQL.book(conn, programme_id=programme_id)
    seen = generation if generation is not None else (current["generation"] if current else 0)
    rows = SQL.set_book(
        conn, programme_id=programme_id, plants=sorted(set(plants)), regions=sorted(set(regions)), horizon=horizon,
        holding_milli=holding_milli, shortage_milli=shortage_milli, count_orders=count_orders, generation=seen,
        usage=Jsonb(dict(usage or {})), actor=actor, now=now,
    )  # fmt: skip
    expect_one(rows, f"the demand of {programme_id}")
    append_fact(
        conn, ids, kind=FactKind.DEMAND_SET, subject=programme_id, actor=actor, now=now,
        body={
            "plants": sorted(set(plants)), "regions": sorted(set(regions)), "horizon": horizon,
            "holding_milli": holding_milli, "shortage_milli": shortage_milli, "count_orders": count_orders,
            "usage": dict(usage or {}),
        },
    )  # fmt: skip
    return get_book(conn, programme_id)


def import_demand(
    conn: Connection, ids: Ids, *, programme_id: str, text: str, source: str, fill: bool, restate: bool, actor: str,
    now: datetime,
) -> Taken:  # fmt: skip
    """Take a table of demand.

    Args:
        conn: a connection in a transaction.
        ids: for the fact.
        programme_id: whose demand.
        text: the table.
        source: what it is called.
        fill: a series' missing months are months in which nothing was wanted.
        restate: months that are known with other numbers get these.
        actor: who.
        now: when.

    Raises:
        NotFound: no such programme, or nobody said what may be named.
        InvalidInput: a row cannot be, or months are missing.
        Conflict: months are known with other numbers.
    """
    SQL.lock_demand(conn, programme_id=programme_id)
    book = get_book(conn, programme_id)
    rows = read_demand(text, _catalogue(conn, programme_id, book.plants, book.regions), today=now.date())
    columns = _columns(rows)
    restated = list(SQL.differing(conn, programme_id=programme_id, **columns))
    _check_restated(rows, restated, allowed=restate)
    written = SQL.put_months(conn, programme_id=programme_id, source=source, now=now, **columns)
    filled = (
        SQL.fill_months(conn, programme_id=programme_id, source=f"missing in {source}", now=now)
        if fill
        else 0
    )
    if not fill:
        _check_gaps(conn, programme_id)
    taken = Taken(
        rows=len(rows),
        new=written - len(restated),
        repeated=len(rows) - written,
        restated=len(restated),
        filled=filled,
    )
    if written or filled:
        append_fact(
            conn, ids, kind=FactKind.DEMAND_IMPORTED, subject=programme_id, actor=actor, now=now,
            body={
                "source": source, "rows": taken.rows, "new": taken.new, "filled": filled,
                "restated": [
                    f"{_key(row).text} {row['month']:%Y-%m} {row['before']} -> {row['units']}" for row in restated
                ],
            },
        )  # fmt: skip
    return taken


def take_signals(
    conn: Connection, ids: Ids, *, programme_id: str, text: str, source: str, actor: str, now: datetime
) -> Taken:
    """Take a table of signals; one that is known changes nothing.

    Raises:
        NotFound: no such programme, or nobody said what may be named.
        InvalidInput: a row cannot be.
        Conflict: an id was another signal before.
    """
    SQL.lock_demand(conn, programme_id=programme_id)
    book = get_book(conn, programme_id)
    rows = read_signals(text, _catalogue(conn, programme_id, book.plants, book.regions), today=now.date())
    known = {
        row["id"]: (row["kind"], _key(row), row["month"], row["value"])
        for row in SQL.known_signals(conn, programme_id=programme_id, ids=[each.id for each in rows])
    }
    for each in rows:
        if each.id in known and known[each.id] != (each.kind, each.key, each.month, each.value):
            raise Conflict(
                f"row {each.row}: id {each.id} was another signal before", code="event_reused",
                hint="give every signal an id of its own; a later one about the same month takes its place",
            )  # fmt: skip
    fresh = [each for each in rows if each.id not in known]
    if fresh:
        _keep_signals(conn, ids, fresh, programme_id=programme_id, source=source, actor=actor, now=now)
    return Taken(rows=len(rows), new=len(fresh), repeated=len(rows) - len(fresh), restated=0)


def take_usage(
    conn: Connection, ids: Ids, *, programme_id: str, usage: Mapping[str, str], rows: Sequence[SignalRow],
    actor: str, now: datetime,
) -> int:  # fmt: skip
    """Take what the lake says of the use of options; return how much of it is new.

    Args:
        conn: a connection in a transaction.
        ids: for the facts.
        programme_id: whose options.
        usage: option to the VSS path by which it was counted.
        rows: the use of these options.
        actor: who.
        now: when.
    """
    SQL.lock_demand(conn, programme_id=programme_id)
    known = {
        row["id"]
        for row in SQL.known_signals(conn, programme_id=programme_id, ids=[each.id for each in rows])
    }
    fresh: dict[str, list[SignalRow]] = {}
    for each in rows:
        if each.id not in known:
            fresh.setdefault(LAKE + usage[each.key.option], []).append(each)
    for source, told in sorted(fresh.items()):
        _keep_signals(conn, ids, told, programme_id=programme_id, source=source, actor=actor, now=now)
    return sum(map(len, fresh.values()))


def books_with_usage(conn: Connection) -> list[Book]:
    """Return the programmes of which some option's use is told by vehicles."""
    return [
        of_row(Book, row, plants=tuple(row["plants"]), regions=tuple(row["regions"]))
        for row in SQL.books_with_usage(conn)
    ]


def usage_known(conn: Connection, programme_id: str) -> date | None:
    """Return the newest month of which the lake said all that is asked now; None if something was never asked."""
    return cast("date | None", SQL.usage_known(conn, programme_id=programme_id, lake=LAKE))


def options_by_model(conn: Connection, programme_id: str) -> Mapping[str, Collection[str]]:
    """Return the models of a programme with their options. Raises: NotFound."""
    return _catalogue(conn, programme_id, (), ()).options


def _check_usage(usage: Mapping[str, str], options: Collection[str]) -> None:
    for option, path in usage.items():
        if option not in options:
            raise InvalidInput(
                f"no model has an option {option[:100]!r}, nobody can use it",
                hint=f"one of {', '.join(sorted(options)[:10])}",
            )
        if not VSS_PATH.fullmatch(path):
            raise InvalidInput(
                f"{path[:100]!r} is no signal of a vehicle", hint="for example Vehicle.Trailer.IsConnected"
            )


def _keep_signals(
    conn: Connection,
    ids: Ids,
    fresh: Sequence[SignalRow],
    *,
    programme_id: str,
    source: str,
    actor: str,
    now: datetime,
) -> None:
    kinds = sorted({each.kind for each in fresh})
    fact = append_fact(
        conn, ids, kind=FactKind.DEMAND_SIGNALLED, subject=programme_id, actor=actor, now=now,
        body={"source": source, "signals": len(fresh), "kinds": kinds},
    )  # fmt: skip
    SQL.insert_signal(
        conn,
        [
            {
                "programme_id": programme_id, "id": each.id, "kind": each.kind, **each.key._asdict(),
                "month": each.month, "value": each.value,
                "elapsed_permille": round(1000 * elapsed_of(each.month, now.date())), "source": source,
                "fact_id": fact.id, "told_at": now,
            }
            for each in fresh
        ],
    )  # fmt: skip


def _catalogue(
    conn: Connection, programme_id: str, plants: Sequence[str], regions: Sequence[str]
) -> Catalogue:
    row = SQL.programme(conn, programme_id=programme_id)
    if row is None:
        raise NotFound(f"there is no programme {programme_id!r}")
    variants = row["document"]["variants"]
    return Catalogue(
        options={name: tuple(body["options"]) for name, body in variants.items()},
        plants=plants,
        regions=regions,
    )


def _columns(rows: Sequence[DemandRow]) -> dict[str, list[Any]]:
    return {
        "options": [row.key.option for row in rows], "plants": [row.key.plant for row in rows],
        "regions": [row.key.region for row in rows], "models": [row.key.model for row in rows],
        "months": [row.month for row in rows], "units": [row.units for row in rows],
    }  # fmt: skip


def _check_restated(rows: Sequence[DemandRow], restated: Sequence[Any], *, allowed: bool) -> None:
    if restated and not allowed:
        first = restated[0]
        key, month = _key(first), first["month"]
        row = next(each.row for each in rows if (each.key, each.month) == (key, month))
        more = f", and {len(restated) - 1} more" if len(restated) > 1 else ""
        raise Conflict(
            f"row {row}: {key.text} {month:%Y-%m} was {first['before']} units, not {first['units']}{more}",
            code="restated", hint="--restate takes the new numbers, and keeps the old ones in the ledger",
        )  # fmt: skip
    if len(restated) > RESTATED_TOLD:
        raise InvalidInput(
            f"{len(restated)} months restated at once, limit {RESTATED_TOLD}", hint="restate in parts"
        )


def _check_gaps(conn: Connection, programme_id: str) -> None:
    rows = list(SQL.spans(conn, programme_id=programme_id))
    last: date = max(row["last"] for row in rows)
    missing = gaps({_key(row): (row["first"], row["months"]) for row in rows}, last)
    if missing:
        more = f"; and {len(missing) - GAPS_SHOWN} more" if len(missing) > GAPS_SHOWN else ""
        raise InvalidInput(
            f"months are missing: {'; '.join(missing[:GAPS_SHOWN])}{more}",
            code="months_missing", hint="add them, or --fill: in months that are missing nothing was wanted",
        )  # fmt: skip


def _key(row: Any) -> Key:
    return Key(row["option"], row["plant"], row["region"], row["model"])
