"""Field faults and claims traced back to the line, in PostgreSQL: who had what, and the gate that should have caught it.

The caller opens the transaction. `field_trace` is a plain table, a row for each vehicle and claim or finding: whoever
judges gates reads it (`list_traces`).

Invariants:
    A claim is taken once, however often it is told; one that cannot be is refused by itself.
    A trace names only what the vehicle's own birth traits say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from ringroad.build.as_built import Told
from ringroad.build.station_times import AHEAD_S_MAX
from ringroad.build.store_birth import Line
from ringroad.build.store_packages import SQL
from ringroad.build.trace import (
    SUSPECTS_MAX,
    TRAITS_MAX,
    GateChoice,
    Traced,
    TraitCount,
    ask,
    gate_for,
    tell_apart,
)
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, of_row

FAULTY_MAX: Final = 100_000  # vehicles with a fault that one question may name
CLAIMS_MAX: Final = 1_000  # per request
CONTAINED_MAX: Final = 1_000_000  # vehicles of one lot
ORDERS_MAX: Final = 10_000  # on the line, of one lot
_TOO_MANY: Final = "stop the line, and contain the whole programme"
Source = Literal["claim", "finding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What went wrong with one vehicle, as a workshop or an owner said it.

    Attributes:
        id: the sender's own, to know a repeated one of the same programme by.
        vin: the vehicle.
        part: what failed: a part or an ECU, by the name it was built under; "" for not known.
        fault_code: "" for none.
        text: in words.
        occurred_at: when.
    """

    id: str
    vin: str
    part: str = ""
    fault_code: str = ""
    text: str = ""
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldClaim:
    """What became of a claim: taken, known before, or refused and why."""

    claim: Claim
    told: Told
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldTrace:
    """One vehicle's claim or fault, traced to where it was built.

    Attributes:
        source: a claim or a finding.
        source_id: which.
        part: a part or an ECU.
        lot: of the part; "" for software.
        software_version: of the ECU at birth; "" for a part.
        station: where it was fitted or flashed.
        gate_station: of the gate that should have caught it; "" for none.
        gate: its name.
        reason: how the gate was found, or why none was.
    """

    source: Source
    source_id: str
    vin: str
    programme_id: str
    part: str = ""
    lot: str = ""
    supplier: str = ""
    software_version: str = ""
    station: str = ""
    gate_station: str = ""
    gate: str = ""
    reason: str
    occurred_at: datetime
    traced_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Contained:
    """Who has a lot of a part: vehicles by VIN, and orders that are still on the line."""

    part: str
    lot: str
    vins: tuple[str, ...]
    orders: tuple[str, ...]


def trace_vins(conn: Connection, programme_id: str, vins: Sequence[str]) -> Traced:
    """Return what faulty vehicles have in common, against all others of their programme with a birth record.

    Raises:
        InvalidInput: more vehicles than a question may name.
    """
    if len(vins) > FAULTY_MAX:
        raise InvalidInput(f"{len(vins)} vehicles, limit {FAULTY_MAX}", hint="ask about some of them")
    faulty = [row["vin"] for row in SQL.born_of(conn, programme_id=programme_id, vins=sorted(set(vins)))]
    total = SQL.count_born(conn, programme_id=programme_id)
    counts = [
        of_row(TraitCount, row)
        for row in SQL.trait_counts(conn, programme_id=programme_id, vins=faulty, rows_max=TRAITS_MAX)
    ]
    found = ask(counts, faulty=len(faulty), total=total)
    if len(found.suspects) < 2:
        return found
    first, *others = (each.trait for each in found.suspects)
    rows = SQL.rest_counts(
        conn, programme_id=programme_id, vins=faulty, kind=first.kind, thing=first.thing, value=first.value,
        kinds=[each.kind for each in others], things=[each.thing for each in others],
        values=[each.value for each in others],
    )  # fmt: skip
    rest = {each.key: each for each in (of_row(TraitCount, row) for row in rows)}
    told = tell_apart(found, rest, faulty=len(faulty) - first.with_fault, total=total - first.vehicles)
    return replace(found, suspects=told)


def take_claims(
    conn: Connection, line: Line, claims: Sequence[Claim], *, actor: str, now: datetime
) -> list[ToldClaim]:
    """Take claims, each by itself, and trace each one that is taken."""
    SQL.lock_programme(conn, programme_id=line.programme.id)  # two deliveries of the same take turns
    return [_take(conn, line, claim, actor=actor, now=now) for claim in claims]


def trace_finding(
    conn: Connection,
    line: Line,
    *,
    finding_id: str,
    vins: Sequence[str],
    ecu: str,
    fault_code: str,
    occurred_at: datetime,
    now: datetime,
) -> Traced:
    """Trace the vehicles of a finding: what they have in common, and for each where that came to it.

    A vehicle with the first suspect among parts is traced to that part; every other one to its ECU's software.
    """
    found = trace_vins(conn, line.programme.id, vins)
    lots = [
        each.trait for each in found.suspects if each.trait.kind == "lot" and each.standing != "goes_with"
    ]
    for vin, traits in _traits(conn, line.programme.id, vins).items():
        part = next((each.thing for each in lots if ("lot", each.thing, each.value) in traits), "")
        _keep(
            conn, line, source="finding", source_id=finding_id, vin=vin, part=part or ecu, traits=traits,
            words=[fault_code, ecu], occurred_at=occurred_at, now=now,
        )  # fmt: skip
    return found


def contain(conn: Connection, programme_id: str, *, lot: str, part: str = "") -> Contained:
    """Return who has a lot.

    Raises:
        NotFound: no vehicle and no order has it.
        InvalidInput: parts of several kinds came in a lot of that name, and none is named; or more have
            it than can be told: never some of them as if they were all.
    """
    things = [
        row["thing"]
        for row in SQL.things_of_lot(conn, programme_id=programme_id, lot=lot, rows_max=PAGE_ROWS_MAX)
    ]
    if not part and len(things) > 1:
        raise InvalidInput(f"lot {lot} is of {', '.join(things[:10])}", hint="name the part")
    named = part or next(iter(things), "")
    vins, after = list[str](), ""
    while True:
        rows = SQL.vins_of_trait(
            conn,
            programme_id=programme_id,
            kind="lot",
            thing=named,
            value=lot,
            after_vin=after,
            rows_max=PAGE_ROWS_MAX,
        )
        page = [row["vin"] for row in rows]
        vins += page
        if len(vins) > CONTAINED_MAX:
            raise InvalidInput(
                f"more than {CONTAINED_MAX} vehicles have lot {lot}, the limit", hint=_TOO_MANY
            )
        if len(page) < PAGE_ROWS_MAX:
            break
        after = page[-1]
    orders = [
        row["order_id"]
        for row in SQL.orders_with_lot(
            conn, programme_id=programme_id, part=named, lot=lot, rows_max=ORDERS_MAX + 1
        )
    ]
    if len(orders) > ORDERS_MAX:
        raise InvalidInput(f"more than {ORDERS_MAX} orders have lot {lot}, the limit", hint=_TOO_MANY)
    if not vins and not orders:
        of = f" of {part}" if part else ""
        raise NotFound(
            f"no vehicle of {programme_id} has lot {lot}{of}", hint="ringroad fleet birth VIN shows lots"
        )
    return Contained(part=named, lot=lot, vins=tuple(vins), orders=tuple(orders))


def list_traces(
    conn: Connection,
    programme_id: str,
    *,
    gate: str | None = None,
    since: datetime | None = None,
    rows_max: int = PAGE_ROWS_MAX,
) -> list[FieldTrace]:
    """Return traces of a programme, newest first: of one gate, or of all; what judges gates reads this."""
    rows = SQL.field_traces(conn, programme_id=programme_id, gate=gate, since=since, rows_max=rows_max)
    return [of_row(FieldTrace, row) for row in rows]


def _take(conn: Connection, line: Line, claim: Claim, *, actor: str, now: datetime) -> ToldClaim:
    before = SQL.claim(conn, programme_id=line.programme.id, claim_id=claim.id)
    if before is not None:
        if of_row(Claim, before) == claim:
            return ToldClaim(claim=claim, told="known")
        reason = f"claim {claim.id} was of {before['vin']} before, and says something else now"
        return ToldClaim(claim=claim, told="refused", reason=reason)
    vehicle = SQL.vehicle(conn, vin=claim.vin)
    if vehicle is None or vehicle["programme_id"] != line.programme.id:
        reason = f"claim {claim.id}: no vehicle of {line.programme.id} has the VIN {claim.vin}"
    elif claim.occurred_at > now + timedelta(seconds=AHEAD_S_MAX):
        reason = f"claim {claim.id} of {claim.vin} is from the future"
    elif claim.occurred_at < vehicle["born_at"]:
        reason = f"claim {claim.id} is from before {claim.vin} was born"
    elif not (claim.part or claim.fault_code or claim.text.strip()):
        reason = f"claim {claim.id} of {claim.vin} says nothing of what is wrong"
    else:
        reason = ""
    if reason:
        return ToldClaim(claim=claim, told="refused", reason=reason)
    rows = SQL.insert_claim(
        conn, claim_id=claim.id, programme_id=line.programme.id, vin=claim.vin, part=claim.part,
        fault_code=claim.fault_code, text=claim.text, occurred_at=claim.occurred_at, actor=actor, now=now,
    )  # fmt: skip
    if rows == 0:
        reason = f"claim {claim.id} is one of another programme, while the release before still runs: tell it again later"
        return ToldClaim(claim=claim, told="refused", reason=reason)
    traits = _traits(conn, line.programme.id, [claim.vin]).get(claim.vin, {})
    _keep(
        conn, line, source="claim", source_id=claim.id, vin=claim.vin, part=claim.part, traits=traits,
        words=[claim.part, claim.fault_code], occurred_at=claim.occurred_at, now=now,
    )  # fmt: skip
    return ToldClaim(claim=claim, told="taken")


Traits = Mapping[tuple[str, str, str], str]  # kind, thing, value -> station


def _traits(
    conn: Connection, programme_id: str, vins: Iterable[str]
) -> dict[str, dict[tuple[str, str, str], str]]:
    found: dict[str, dict[tuple[str, str, str], str]] = {}
    for row in SQL.traits_of_vins(conn, programme_id=programme_id, vins=sorted(set(vins))):
        found.setdefault(row["vin"], {})[row["kind"], row["thing"], row["value"]] = row["station"]
    return found


def _keep(
    conn: Connection,
    line: Line,
    *,
    source: Source,
    source_id: str,
    vin: str,
    part: str,
    traits: Traits,
    words: Sequence[str],
    occurred_at: datetime,
    now: datetime,
) -> None:
    """Write where the part or the software of a vehicle came to it, and the gate behind that."""

    def values(kind: str) -> list[tuple[str, str]]:
        return [
            (value, station) for (k, thing, value), station in traits.items() if k == kind and thing == part
        ]

    lots, suppliers, software = values("lot"), values("supplier"), values("software")
    station = next((place for _, place in (*lots, *software)), "")
    if not traits:
        gate = GateChoice(reason="the vehicle has no birth record")
    elif not lots and not software:
        what = f"its birth record has no part and no ECU {part!r}" if part else "it is not known what failed"
        gate = GateChoice(reason=what)
    else:
        gate = gate_for(line.plant, line.programme.id, station=station, words=words)
    SQL.keep_trace(
        conn, source=source, source_id=source_id, vin=vin, programme_id=line.programme.id, part=part,
        lot=", ".join(value for value, _ in lots[:SUSPECTS_MAX]), supplier=", ".join(value for value, _ in suppliers),
        software_version=next((value for value, _ in software), "") if not lots else "", station=station,
        gate_station=gate.station, gate=gate.gate, reason=gate.reason, occurred_at=occurred_at, now=now,
    )  # fmt: skip
