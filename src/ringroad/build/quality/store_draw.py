"""Which vehicles the gates of a line look at, and lots of which every vehicle is looked at, in PostgreSQL.

The caller opens the transaction.

Invariants:
    A choice is made once, when the vehicle comes to the gate or somebody asks, and is a fact; it is changed only to look
        at a vehicle after all, which is another.
    The seed leaves the database only for a choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ringroad.build.quality.draw import (
    SEED_BYTES,
    Arrived,
    BadLot,
    Drawn,
    Gated,
    Place,
    contained_at,
    draw,
    gates_of_line,
)
from ringroad.build.quality.store import SQL
from ringroad.build.quality.store_days import take_back_choices
from ringroad.build.store_birth import Line, line_of_programme
from ringroad.build.store_packages import SQL as BUILD
from ringroad.kernel.clock import Ids, new_secret
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, of_row
from ringroad.storage.ledger import append_fact, last_of

ORDERS_MAX: Final = 1_000  # on a line, that one containment looks at again at once; the others at their gates
NO_GATE: Final = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What was chosen for a vehicle.

    Attributes:
        drawn: by station and gate.
        unseen: what it must not leave the line with, since no gate looks at it; "" for nothing.
        asks: False where somebody else chose, whose word counts: gates that look at some vehicles ask for nothing here.
    """

    drawn: dict[Place, Drawn]
    unseen: str = ""
    asks: bool = True

    @property
    def passed_by(self) -> frozenset[Place]:
        """The gates that were to let the vehicle pass unseen."""
        return frozenset(place for place, each in self.drawn.items() if not each.inspect)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDraw:
    """A choice as it is kept. `passed`: what the gate said last; None for nothing yet. `born`: it left the line."""

    order_id: str
    vin: str | None
    station: str
    gate: str
    inspect: bool
    permille: int
    reason: str
    drawn_at: datetime
    passed: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainedLot:
    """A lot of which every vehicle on the line is looked at."""

    id: str
    programme_id: str
    part: str
    lot: str
    reason: str
    contained_at: datetime
    contained_by: str
    released_at: datetime | None
    released_by: str
    release_reason: str


def choose(
    conn: Connection, ids: Ids, line: Line, *, order_id: str, actor: str, now: datetime, station: str | None = None
) -> Choices:  # fmt: skip
    """Choose which gates look at a vehicle, and keep it: at one station, or at all. Asked again, the answer is the same.

    Args:
        conn: a connection in a transaction.
        ids: makes the fact's id.
        line: that builds it.
        order_id: of the vehicle.
        actor: who asks.
        now: when.
        station: that it came to; None for all.
    """
    programme_id = line.programme.id
    if SQL.line_of_site(
        conn, programme_id=programme_id
    ):  # a site chooses for its own line, with its own seed
        return Choices(drawn={}, asks=False)
    gates = [
        each for each in gates_of_line(line.plant, programme_id) if station is None or each.station == station
    ]
    lots = [
        of_row(BadLot, row) for row in SQL.bad_lots_of(conn, programme_id=programme_id, order_id=order_id)
    ]
    before = {
        (row["station"], row["gate"]): of_row(Drawn, row)
        for row in SQL.draws_of(conn, programme_id=programme_id, order_id=order_id)
    }
    contained = contained_at(line.plant, programme_id, lots)
    unseen = contained.get(NO_GATE)
    seed = _seed(conn, programme_id, gates, now=now)
    new = list(draw(seed, _arrived(conn, programme_id, order_id, gates), gates, before, contained))
    for each in new:
        SQL.keep_draw(
            conn, programme_id=programme_id, order_id=order_id, station=each.station, gate=each.gate,
            inspect=each.inspect, permille=each.permille, reason=each.reason, every=each.every, now=now,
        )  # fmt: skip
    if new:
        take_back_choices(conn, programme_id, order_id, [each.station for each in new])
        append_fact(
            conn, ids, kind=FactKind.GATE_CHOSE, subject=order_id, actor=actor, now=now,
            causes=last_of(conn, order_id),
            body={
                "gates": [
                    {"station": each.station, "gate": each.gate, "inspect": each.inspect, "permille": each.permille,
                     "reason": each.reason}
                    for each in new
                ]
            },
        )  # fmt: skip
    return Choices(
        drawn=before | {(each.station, each.gate): each for each in new},
        unseen=f"lot {unseen.lot} of {unseen.part} is contained, and no gate from {unseen.station or 'there'} on looks at it"
        if unseen
        else "",
    )


def choose_for(
    conn: Connection, ids: Ids, *, programme_id: str, order_id: str, station: str | None, actor: str, now: datetime
) -> list[KeptDraw]:  # fmt: skip
    """Choose for a vehicle that came to a station, and return all that was chosen for it there.

    Raises:
        NotFound: no such programme, no such order on its line, no such station.
        Conflict: the order never entered the line, or left it.
    """
    BUILD.lock_programme(conn, programme_id=programme_id)  # two that ask at once get one answer
    line = line_of_programme(conn, programme_id)
    names = [each.name for each in line.programme.line.stations]
    if station is not None and station not in names:
        raise NotFound(f"the line has no station {station!r}", hint=f"one of {', '.join(names)}")
    row = next(iter(BUILD.orders_by_id(conn, programme_id=programme_id, order_ids=[order_id])), None)
    if row is None:
        raise NotFound(f"there is no order {order_id} for this line", hint="ringroad order list")
    if row["state"] == "building":
        choose(conn, ids, line, order_id=order_id, station=station, actor=actor, now=now)
    elif row["state"] != "born":
        raise Conflict(f"order {order_id} is {row['state']}: it never entered the line")
    found = list_draws(conn, programme_id, order_id=order_id)
    return [each for each in found if station is None or each.station == station]


def list_draws(
    conn: Connection, programme_id: str, *, order_id: str | None = None, rows_max: int = PAGE_ROWS_MAX
) -> list[KeptDraw]:
    """Return choices, newest first: of all vehicles, or of one by its order or VIN."""
    rows = SQL.list_draws(conn, programme_id=programme_id, vehicle=order_id, rows_max=rows_max)
    return [of_row(KeptDraw, row) for row in rows]


def contain_lot(
    conn: Connection, ids: Ids, *, programme_id: str, part: str, lot: str, reason: str, actor: str, now: datetime
) -> tuple[ContainedLot, int]:  # fmt: skip
    """Let every vehicle with a lot be looked at from now on; return it, and how many on the line have it.

    Raises:
        NotFound: no such programme.
        Conflict: it is contained already, or a site builds the programme and chooses for its own line.
    """
    BUILD.lock_programme(conn, programme_id=programme_id)
    line = line_of_programme(conn, programme_id)
    if SQL.line_of_site(conn, programme_id=programme_id):
        raise Conflict(
            f"{programme_id} is built at site {line.plant.id}, whose gates hear nothing of this server",
            code="line_of_site",
            hint=f"contain it at site {line.plant.id}",
        )
    lot_id = ids.new("contained")
    rows = SQL.insert_contained(
        conn,
        lot_id=lot_id,
        programme_id=programme_id,
        part=part,
        lot=lot,
        reason=reason,
        now=now,
        actor=actor,
    )
    if rows == 0:
        raise Conflict(f"lot {lot} of {part} is contained already", hint="ringroad quality contained")
    orders = [
        row["order_id"]
        for row in BUILD.orders_with_lot(
            conn, programme_id=programme_id, part=part, lot=lot, rows_max=ORDERS_MAX
        )
    ]
    append_fact(
        conn, ids, kind=FactKind.LOT_CONTAINED, subject=lot_id, actor=actor, now=now,
        body={
            "programme_id": programme_id, "part": part, "lot": lot, "reason": reason, "orders": len(orders),
            "born": born_with(conn, programme_id=programme_id, part=part, lot=lot),
        },
    )  # fmt: skip
    for order_id in orders:
        been = {row["station"] for row in SQL.draws_of(conn, programme_id=programme_id, order_id=order_id)}
        for station in sorted(been):  # it may have passed there already
            choose(conn, ids, line, order_id=order_id, station=station, actor=actor, now=now)
    return get_contained(conn, lot_id), len(orders)


def born_with(conn: Connection, *, programme_id: str, part: str, lot: str) -> int:
    """Return how many vehicles left the line with a lot; a lot that none ever had may be spelt as no station tells it."""
    row = BUILD.born_with_lot(conn, programme_id=programme_id, part=part, lot=lot)
    return int(row["vehicles"]) if row else 0


def release_lot(
    conn: Connection, ids: Ids, *, lot_id: str, reason: str, actor: str, now: datetime
) -> ContainedLot:
    """End a containment; vehicles that were chosen for it are still looked at.

    Raises:
        NotFound: no such containment.
        Conflict: it is over already.
    """
    found = get_contained(conn, lot_id)
    if SQL.release_contained(conn, lot_id=lot_id, reason=reason, actor=actor, now=now) == 0:
        raise Conflict(f"lot {found.lot} of {found.part} is released already")
    append_fact(
        conn, ids, kind=FactKind.LOT_RELEASED, subject=lot_id, actor=actor, now=now, causes=last_of(conn, lot_id),
        body={"programme_id": found.programme_id, "part": found.part, "lot": found.lot, "reason": reason},
    )  # fmt: skip
    return get_contained(conn, lot_id)


def get_contained(conn: Connection, lot_id: str) -> ContainedLot:
    """Return a containment. Raises: NotFound."""
    row = SQL.contained(conn, lot_id=lot_id)
    if row is None:
        raise NotFound(f"no contained lot {lot_id}", hint="ringroad quality contained")
    return of_row(ContainedLot, row)


def list_contained(
    conn: Connection, programme_id: str, *, only_open: bool = True, rows_max: int = PAGE_ROWS_MAX
) -> list[ContainedLot]:
    """Return contained lots, newest first."""
    rows = SQL.list_contained(conn, programme_id=programme_id, only_open=only_open, rows_max=rows_max)
    return [of_row(ContainedLot, row) for row in rows]


def _arrived(conn: Connection, programme_id: str, order_id: str, gates: Sequence[Gated]) -> Arrived:
    """Return what is known of a vehicle, as far as its gates ask."""
    if not any(each.all_of for each in gates):
        return Arrived(order_id=order_id)
    row = next(iter(BUILD.orders_by_id(conn, programme_id=programme_id, order_ids=[order_id])), None)
    lots = SQL.lots_of(conn, programme_id=programme_id, order_id=order_id)
    return Arrived(
        order_id=order_id, variant=row["variant"] if row else "",
        software=SQL.baseline_version(conn, programme_id=programme_id) or "",
        lots=frozenset((each["station"], each["part"], each["lot"]) for each in lots),
    )  # fmt: skip


def _seed(conn: Connection, programme_id: str, gates: Sequence[Gated], *, now: datetime) -> bytes:
    """Return the seed of a line; the first choice makes it."""
    if not gates:
        return b""
    SQL.make_seed(conn, programme_id=programme_id, seed=new_secret(SEED_BYTES), now=now)
    return bytes(SQL.seed(conn, programme_id=programme_id))


def untold(conn: Connection, *, rows_max: int) -> list[tuple[str, KeptDraw]]:
    """Return choices that the line has not been told through the broker, the oldest first, each with its programme."""
    return [(row["programme_id"], of_row(KeptDraw, row)) for row in SQL.untold_draws(conn, rows_max=rows_max)]


def has_told(conn: Connection, told: Sequence[tuple[str, KeptDraw]], *, now: datetime) -> None:
    """Note that the line was told of choices; one that was changed meanwhile is told again."""
    for programme_id, each in told:
        SQL.told_draw(
            conn, programme_id=programme_id, order_id=each.order_id, station=each.station, gate=each.gate,
            drawn_at=each.drawn_at, now=now,
        )  # fmt: skip


def required(what: str, text: str) -> str:
    """Return a text without blanks around it. Raises: InvalidInput, if nothing is left."""
    if not text.strip():
        raise InvalidInput(f"{what} is said in words")
    return text.strip()
