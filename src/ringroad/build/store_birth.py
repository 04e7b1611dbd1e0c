"""Birth records in PostgreSQL: parts as they are fitted, and what a vehicle was when it left the line.

The caller opens the transaction.

Invariants:
    A part is taken once, however often and whichever way it is told.
    A birth record is written with its vehicle, and never changed; what is told of its parts later stands beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from securesystemslib.signer import Signer

from ringroad.build.as_built import (
    PARTS_MAX,
    TESTS_MAX,
    Asked,
    BuiltPart,
    Checked,
    Known,
    Told,
    Trait,
    checks_of,
    judge_part,
    newest,
    part_traits,
    parts_of_results,
    refusals,
    traits_of,
)
from ringroad.build.model import Programme
from ringroad.build.plan_line import Order
from ringroad.build.plant.line import plant_of_line
from ringroad.build.plant.model import Plant
from ringroad.build.store import get_release
from ringroad.build.store_packages import SQL, get_programme
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.protocol.mes import MesEvent
from ringroad.storage.db import Connection, of_row
from ringroad.trust.birth import BirthRecord, plain_text, read_record, seal_record

SAID_MAX: Final = 5  # checks that a refusal names
RECORD_SPEC: Final = 1  # of what a record holds; a reader refuses none, a later one may hold more


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A programme's line as births need it."""

    programme: Programme
    plant: Plant

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The checks that its gates ask for."""
        return checks_of(self.plant, self.programme.id)

    @property
    def end(self) -> str:
        """The last station, where vehicles are flashed and born; "" for a line without one."""
        stations = self.programme.line.stations
        return stations[-1].name if stations else ""

    @property
    def options(self) -> frozenset[str]:
        """All options and variants."""
        variants = self.programme.variants
        return frozenset(variants) | {each for one in variants.values() for each in one.options}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldPart:
    """What became of a part that was told: taken, known before, or refused and why."""

    part: BuiltPart
    told: Told
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BornEcu:
    """One ECU as it left the line."""

    name: str
    serial: str
    hardware_id: str
    key_id: str
    is_primary: bool
    filename: str
    version: str
    image_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBirth:
    """A birth record as it is kept, and what followed.

    Attributes:
        record: what it says.
        raw: as the vehicle carries it.
        made_at: when.
        later: parts that were told after the birth; they are not in the record.
    """

    record: BirthRecord
    raw: bytes
    made_at: datetime
    later: tuple[BuiltPart, ...]


def line_of_programme(conn: Connection, programme_id: str) -> Line:
    """Return the line that builds a programme. Raises: NotFound."""
    stored = get_programme(conn, programme_id)
    return Line(programme=stored.programme, plant=stored.plant or plant_of_line(stored.programme))


def take_parts(
    conn: Connection,
    line: Line,
    parts: Sequence[BuiltPart],
    *,
    vins: Mapping[str, str],
    actor: str,
    now: datetime,
    at_end: bool = False,
) -> list[ToldPart]:
    """Take parts that went into vehicles of a line, each by itself.

    Args:
        conn: a connection in a transaction.
        line: whose.
        parts: as they were told.
        vins: by id of a part, the VIN that it was told with in place of an order.
        actor: who told.
        now: when.
        at_end: they come with their vehicle to the end of the line, so that nobody has to have told that it entered.
    """
    SQL.lock_programme(conn, programme_id=line.programme.id)  # two deliveries of one part take turns
    return [
        _take(conn, line, part, vin=vins.get(part.id, ""), actor=actor, now=now, at_end=at_end)
        for part in parts
    ]


def take_used(conn: Connection, programme_id: str, event: MesEvent, *, actor: str, now: datetime) -> None:
    """Take the part of a station's event. Raises: InvalidInput, with what is wrong with it."""
    part = BuiltPart(
        id=event.id, order_id=event.order_id, station=event.station, part=event.part, lot=event.lot,
        serial=event.serial, supplier=event.supplier, fitted_at=event.at,
    )  # fmt: skip
    found = _take(conn, line_of_programme(conn, programme_id), part, vin="", actor=actor, now=now)
    if found.told == "refused":
        raise InvalidInput(found.reason)


def _take(
    conn: Connection, line: Line, part: BuiltPart, *, vin: str, actor: str, now: datetime, at_end: bool = False
) -> ToldPart:  # fmt: skip
    programme_id = line.programme.id
    if vin:
        row = SQL.order_of_vin(conn, vin=vin)
        if row is None or row["programme_id"] != programme_id:
            word = "no vehicle that this line built" if SQL.vehicle(conn, vin=vin) else "no vehicle"
            reason = f"{word} has the VIN {vin}, {part.station} cannot have fitted {part.part} to it"
            return ToldPart(part=part, told="refused", reason=reason)
        part = replace(part, order_id=row["id"])
    rows = list(SQL.orders_by_id(conn, programme_id=programme_id, order_ids=[part.order_id]))
    order = of_row(Order, rows[0], options=tuple(rows[0]["options"])) if rows else None
    if at_end and order and order.state == "open":
        order = replace(order, state="building")
    vehicle = SQL.vehicle(conn, vin=order.vin) if order and order.vin else None
    before = SQL.built_part(conn, programme_id=programme_id, event_id=part.id)
    serial_of = (
        SQL.part_of_serial(conn, programme_id=programme_id, part=part.part, serial=part.serial)
        if part.serial
        else None
    )
    known = Known(
        line=line.programme.line, order=order, options=line.options,
        born_at=vehicle["born_at"] if vehicle else None, same_id=of_row(BuiltPart, before) if before else None,
        same_serial=serial_of,
    )  # fmt: skip
    told, reason = judge_part(part, known, now=now)
    if told == "taken" and SQL.count_parts(conn, order_id=part.order_id) >= PARTS_MAX:
        told, reason = "refused", f"order {part.order_id} has {PARTS_MAX} parts, the limit"
    if told == "taken":
        SQL.insert_part(
            conn, programme_id=programme_id, event_id=part.id, order_id=part.order_id, station=part.station,
            part=part.part, lot=part.lot, serial=part.serial, supplier=part.supplier, fitted_at=part.fitted_at,
            actor=actor, now=now,
        )  # fmt: skip
        if vehicle is not None:
            keep_traits(conn, programme_id, vehicle["vin"], part_traits(part))
    return ToldPart(part=part, told=told, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was checked of a vehicle that may be born, and parts that are known only by the lots of those checks."""

    tests: tuple[Checked, ...] = ()
    parts: tuple[BuiltPart, ...] = ()


def may_be_born(
    conn: Connection,
    line: Line,
    *,
    order_id: str | None,
    tests: Sequence[Checked],
    passed_by: Collection[tuple[str, str]] = (),
    unseen: str = "",
) -> Found:
    """Return what was found of a vehicle that may be born.

    Args:
        conn: a connection in a transaction.
        line: that built it.
        order_id: of the vehicle; None for one that was built elsewhere, which the gates of this line never saw.
        tests: that it is registered with, besides those that stations told.
        passed_by: station and gate of those that were to let it pass unseen.
        unseen: what keeps it from being born, since no gate looks at it; "" for nothing.

    Raises:
        Conflict: a check of its line failed or is missing; each is named.
    """
    programme_id = line.programme.id
    rows = (
        SQL.results_of_order(conn, programme_id=programme_id, order_id=order_id, rows_max=TESTS_MAX)
        if order_id
        else []
    )
    told = [
        (
            row["event_id"],
            Checked(
                check=row["check_name"], station=row["station"], passed=row["passed"], at=row["at"],
                attempt=row["attempt"],
            ),
            row["lots"],
        )
        for row in rows
    ]  # fmt: skip
    # What came with the registration may have been kept as a result as well: it counts once.
    found = tuple(dict.fromkeys([*(test for _, test, _ in told), *tests]))
    said = refusals(line.asked if order_id else (), found, end=line.end, passed_by=passed_by)
    said += [unseen] if unseen else []
    if said:
        more = f", and {len(said) - SAID_MAX} more" if len(said) > SAID_MAX else ""
        raise Conflict(
            f"not born: {'; '.join(said[:SAID_MAX])}{more}",
            code="end_of_line",
            hint="repair it, tell the new result, and register it again",
        )
    if order_id is None:
        return Found(tests=found)
    return Found(tests=found, parts=tuple(parts_of_results(order_id, told, _parts_of(conn, order_id))))


def keep_birth(
    conn: Connection,
    line: Line,
    *,
    vin: str,
    variant: str,
    region: str,
    order_id: str | None,
    release_id: str,
    rxswins: Mapping[str, str],
    ecus: Sequence[BornEcu],
    found: Found,
    signer: Signer | None,
    certificate: bytes | None = None,
    now: datetime,
) -> str:
    """Write the birth record of a vehicle that is on record since this transaction; return its digest."""
    parts, tests = [*(_parts_of(conn, order_id) if order_id else ()), *found.parts], found.tests
    release = get_release(conn, release_id)
    document = {
        "spec": RECORD_SPEC,
        "vin": vin,
        "programme": line.programme.id,
        "variant": variant,
        "region": plain_text(region),
        "order": order_id or "",
        "born_at": _moment(now),
        "plant": {
            "id": line.plant.id, "line": plain_text(line.programme.line.name),
            "structure_sha256": line.plant.structure_sha256, "parameters_sha256": line.plant.parameters_sha256,
        },
        "release": {"id": release_id, "name": plain_text(release.name), "version": plain_text(release.version)},
        "rxswins": {plain_text(system): plain_text(number) for system, number in rxswins.items()},
        "ecus": [
            {
                "name": each.name, "serial": plain_text(each.serial), "hardware": each.hardware_id, "key": each.key_id,
                "primary": each.is_primary, "file": each.filename, "version": plain_text(each.version),
                "image_sha256": each.image_sha256,
            }
            for each in ecus
        ],
        "parts": [_part_document(each) for each in parts],
        "tests": [
            {
                "check": plain_text(check), "station": plain_text(station), "passed": test.passed,
                "at": _moment(test.at), "failed_before": failed - (not test.passed),
            }
            for (station, check), (test, failed) in newest(tests).items()
        ],
    }  # fmt: skip
    traits = traits_of(
        parts, tests, {each.name: each.version for each in ecus}, plant_id=line.plant.id,
        flashed_at=line.end if order_id else "", born_at=now,
    )  # fmt: skip
    raw = seal_record(document, signer, certificate=certificate)
    return file_birth(conn, raw, programme_id=line.programme.id, vin=vin, traits=traits, now=now)


def file_birth(
    conn: Connection, raw: bytes, *, programme_id: str, vin: str, traits: frozenset[Trait], now: datetime
) -> str:
    """Keep a vehicle's record as it is, and what the vehicle has in common with others; return its digest."""
    record = read_record(raw)
    SQL.insert_birth_record(
        conn, vin=vin, sha256=record.sha256, record=raw, key_id=next(iter(record.key_ids), ""), now=now
    )
    keep_traits(conn, programme_id, vin, traits)
    return record.sha256


def keep_traits(
    conn: Connection,
    programme_id: str,
    vin: str,
    traits: frozenset[Trait] | set[Trait],
) -> None:
    """Note what a vehicle has in common with others."""
    for kind, thing, value, station in sorted(traits):
        SQL.insert_trait(
            conn, programme_id=programme_id, kind=kind, thing=thing, value=value, vin=vin, station=station
        )


def get_birth(conn: Connection, vin: str) -> StoredBirth:
    """Return the birth record of a vehicle.

    Raises:
        NotFound: no such vehicle, or one from before records were kept.
    """
    row = SQL.birth_record(conn, vin=vin)
    if row is None:
        if SQL.vehicle(conn, vin=vin) is None:
            raise NotFound(f"no vehicle {vin}", hint="check the VIN")
        raise NotFound(
            f"vehicle {vin} has no birth record: it was registered without a line, or before records were kept",
            code="no_birth_record",
        )
    raw = bytes(row["record"])
    record = read_record(raw)
    order_id = record.signed["order"]
    recorded = {each["id"] for each in record.signed["parts"]}
    later = (
        [each for each in _parts_of(conn, order_id) if plain_text(each.id) not in recorded]
        if order_id
        else []
    )
    return StoredBirth(record=record, raw=raw, made_at=row["made_at"], later=tuple(later))


def _parts_of(conn: Connection, order_id: str) -> tuple[BuiltPart, ...]:
    return tuple(
        of_row(BuiltPart, row) for row in SQL.built_parts(conn, order_id=order_id, rows_max=PARTS_MAX)
    )


def _part_document(part: BuiltPart) -> dict[str, Any]:
    words = {
        "id": part.id,
        "part": part.part,
        "lot": part.lot,
        "serial": part.serial,
        "supplier": part.supplier,
    }
    return {key: plain_text(word) for key, word in words.items()} | {
        "station": plain_text(part.station),
        "at": _moment(part.fitted_at),
    }


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
