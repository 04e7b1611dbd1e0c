"""Whom a query selects, of a million vehicles: populations out of the database, the query asked once for each.

Vehicles that are the same to the query are one population (`plan.asked_of`); they are told apart in one statement. What
telemetry last said is judged before, since it is not in the database, and goes into it as a mark for each vehicle.

Functions run inside a transaction of the caller that sees one snapshot (`storage.db.one_snapshot`): one vehicle of a
population stands for all of it, and is read after the populations are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from ringroad.ship.match import NotSelected, Preview, match_vehicle, preview, sample_marks
from ringroad.ship.model import VehicleFacts
from ringroad.ship.plan import Population, asked_of
from ringroad.ship.query import Node, parse_query
from ringroad.ship.store.reading import SQL, read_vehicles, read_vocabulary
from ringroad.storage.db import Connection
from ringroad.storage.latest import Latest

# What PostgreSQL looks for in each vehicle by a subquery, and therefore in no process but the first.
LOOKED_INTO = ("vin_patterns", "tags", "tag_patterns", "attributes", "serial_patterns")
EXAMPLES_LOOKED_AT = 1_000  # vehicles, the first by VIN; a rarer kind has one example


def gather(
    conn: Connection,
    query: Node,
    *,
    programme_id: str | None,
    latest: Latest | None = None,
    whole: bool = True,
) -> Iterator[Population]:
    """Yield the populations of a programme's vehicles; they stay in the database until `targets.deal` or `forget`.

    Args:
        conn: a connection in a transaction.
        query: that tells vehicles apart.
        programme_id: None for every vehicle there is.
        latest: what telemetry last said of vehicles, by path and VIN.
        whole: told apart by all their software too; else only by what the query looks at.
    """
    SQL.plan_with_memory(conn)
    SQL.make_planned(conn)
    marks = sample_marks(query, latest or {})
    with conn.cursor() as cursor, cursor.copy("COPY planned_sample (vin, mark) FROM STDIN") as copy:
        for row in marks.items():
            copy.write_row(row)
    given = {name: list(of) if isinstance(of, tuple) else of for name, of in asdict(asked_of(query)).items()}
    _fill(conn, programme_id=programme_id, whole=whole, marked=bool(marks), **given)
    SQL.measure_planned(conn)
    found = {row["vin"]: row for row in SQL.planned_populations(conn)}
    for vehicle in read_vehicles(conn, vins=list(found), latest=latest):
        row = found[vehicle.vin]
        yield Population(kind=bytes(row["kind"]), vehicles=row["vehicles"], vehicle=vehicle)


def _fill(conn: Connection, *, programme_id: str | None, marked: bool, **given: object) -> None:
    """Tell vehicles apart: those before the one in the middle in one process of the server, the others in another.

    How many are on either side changes how long it takes, not what comes out. Where PostgreSQL would give neither half to
    another process, it reads all in one, and shares what it can.
    """
    create, read = SQL.fill_planned.sql.rstrip(" ;").split("\n", 1)
    asked = {"programme_id": programme_id, "marked": marked, "from_vin": "", "to_vin": None, **given}
    halves = not marked and not any(given[name] for name in LOOKED_INTO)
    if halves:
        asked["middle"] = SQL.planned_middle(conn, programme_id=programme_id)
        lower, upper = (read.replace(f"%({bound})s", "%(middle)s") for bound in ("to_vin", "from_vin"))
        read = f"{lower} UNION ALL {upper}"
        SQL.read_in_halves(conn)
    conn.execute(f"{create} {read}", asked)
    SQL.read_as_before(conn)


def forget(conn: Connection) -> None:
    """End what `gather` began."""
    SQL.drop_planned(conn)


def preview_query(
    conn: Connection, query: str, *, programme_id: str | None = None, latest: Latest | None = None
) -> Preview:
    """Count who matches a query and who does not, and why.

    Raises:
        QueryError: the query cannot be read.
    """
    parsed = parse_query(query)

    def groups() -> Iterator[tuple[VehicleFacts, int]]:
        seen = set[str]()
        for each in gather(conn, parsed, programme_id=programme_id, latest=latest, whole=False):
            seen.add(each.vehicle.vin)
            yield each.vehicle, each.vehicles
        first = [row["vin"] for row in SQL.planned_examples(conn, rows_max=EXAMPLES_LOOKED_AT)]
        for vehicle in read_vehicles(conn, vins=[vin for vin in first if vin not in seen], latest=latest):
            yield vehicle, 0

    found = preview(parsed, groups(), vocabulary=read_vocabulary(conn))
    forget(conn)
    return found


def select_vins(
    conn: Connection, query: Node, *, programme_id: str | None, latest: Latest | None = None
) -> list[str]:
    """Return the vehicles of a programme, or of all, that a query selects, by VIN."""
    kinds = [
        each.kind
        for each in gather(conn, query, programme_id=programme_id, latest=latest, whole=False)
        if not isinstance(match_vehicle(query, each.vehicle), NotSelected)
    ]
    vins = [row["vin"] for row in SQL.planned_of(conn, kinds=kinds)]
    forget(conn)
    return vins
