"""A vehicle that one of the maker's sites bore is put on record here, with the record that the site sealed.

The caller opens the transaction, and has verified the record. Gates are not asked again: what the site's line passed is
born, and what happened is taken as it was.

Invariant: what is on record is what the record says; nothing is taken in part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec

from ringroad.build.as_built import BuiltPart, Checked, traits_of
from ringroad.build.birth import Installed, NewEcu, check_ecus, finish_order, write_ecus
from ringroad.build.plan_line import Order
from ringroad.build.quality.store_days import take_back_birth
from ringroad.build.station_times import AHEAD_S_MAX
from ringroad.build.store import get_release
from ringroad.build.store_birth import file_birth, line_of_programme, take_parts
from ringroad.build.store_packages import SQL
from ringroad.build.store_plant import keep_order, resume_order
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.vin import parse_vin
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, last_of
from ringroad.trust.birth import BirthRecord
from ringroad.trust.keys import key_id, parse_public_key

ACTOR: Final = "system:site"
RESUMED: Final = "cancelled here while its site built it"


_At = Annotated[datetime, msgspec.Meta(tz=True)]


class _Ecu(msgspec.Struct, frozen=True):
    name: str
    serial: str
    hardware: str
    key: str
    primary: bool
    file: str
    version: str
    image_sha256: str


class _Part(msgspec.Struct, frozen=True):
    id: str
    part: str
    lot: str
    serial: str
    supplier: str
    station: str
    at: _At


class _Test(msgspec.Struct, frozen=True):
    check: str
    station: str
    passed: bool
    at: _At
    failed_before: int


class _Named(msgspec.Struct, frozen=True):
    id: str


class BornElsewhere(msgspec.Struct, frozen=True):
    """A record as far as it is needed here; it may hold more."""

    vin: str
    programme: str
    variant: str
    region: str
    order: str
    born_at: datetime
    plant: _Named
    release: _Named
    ecus: list[_Ecu]
    parts: list[_Part]
    tests: list[_Test]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What of a vehicle that was put on record a person is to see.

    Attributes:
        settled: what of its order had to be settled; None: nothing.
        parts_refused: of its record, why each part cannot be among the parts here.
    """

    settled: str | None
    parts_refused: tuple[str, ...]


def read_elsewhere(record: BirthRecord) -> BornElsewhere:
    """Return what a record says. Raises: InvalidInput, it is of another shape."""
    try:
        return msgspec.convert(dict(record.signed), BornElsewhere)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"this birth record is of another shape: {error}", code="record_malformed"
        ) from error


def adopt_vehicle(
    conn: Connection,
    ids: Ids,
    record: BirthRecord,
    *,
    raw: bytes,
    gateway: Literal["native", "ddi"],
    token_sha256: bytes,
    public_keys: Mapping[str, Mapping[str, Any]],
    tags: Sequence[str],
    now: datetime,
) -> Adopted:
    """Put a vehicle on record as its verified record says, and append `vehicle.born`.

    Raises:
        NotFound: no such programme, variant or release.
        InvalidInput: its keys, ECUs or images are not those of the record or of the programme, or it is of the future.
        Conflict: another vehicle has its VIN, or its order is another vehicle's.
        Untrusted: a public key is none.
    """
    said = read_elsewhere(record)
    parse_vin(said.vin)
    if said.born_at.tzinfo is None or said.born_at > now + timedelta(seconds=AHEAD_S_MAX):
        raise InvalidInput(f"{said.vin} was born in the future: set the site's clock")
    line = line_of_programme(conn, said.programme)
    if said.variant not in line.programme.variants:
        raise NotFound(f"programme {said.programme} has no variant {said.variant!r}")
    ecus = [_ecu(each, public_keys) for each in said.ecus]
    hardware = {name: ecu.hardware_id for name, ecu in line.programme.ecus.items()}
    check_ecus(line.programme.variants[said.variant], hardware, ecus)
    if get_release(conn, said.release.id).programme_id != said.programme:
        raise NotFound(f"programme {said.programme} has no release {said.release.id}")
    _check_images(conn, said)
    primary = next(ecu.serial for ecu in ecus if ecu.is_primary)
    rows = SQL.insert_vehicle(
        conn, vin=said.vin, programme_id=said.programme, variant=said.variant, region=said.region,
        tags=sorted(set(tags)), gateway=gateway, token_sha256=token_sha256, primary_serial=primary,
        release_id=said.release.id, now=said.born_at,
    )  # fmt: skip
    if rows == 0:
        raise Conflict(f"another vehicle has the VIN {said.vin}", code="vin_taken")
    installed = [
        Installed(serial=e.serial, filename=e.file, version=e.version, image_sha256=e.image_sha256) for e in said.ecus
    ]  # fmt: skip
    write_ecus(conn, said.vin, ecus, installed, now=said.born_at)
    settled = _settle_order(conn, ids, said, line.options, now=now) if said.order else None
    if said.order:
        take_back_birth(conn, said.programme, born_at=said.born_at)
    parts = _parts(said)
    # One that cannot be here stays in the record, which is what the vehicle carries; a person is told.
    taken = take_parts(conn, line, parts, vins={}, actor=ACTOR, now=now) if said.order else []
    traits = traits_of(
        parts, _tests(said), {each.name: each.version for each in said.ecus}, plant_id=said.plant.id,
        flashed_at=line.end if said.order else "", born_at=said.born_at,
    )  # fmt: skip
    sha256 = file_birth(conn, raw, programme_id=said.programme, vin=said.vin, traits=traits, now=said.born_at)
    append_fact(
        conn, ids, kind=FactKind.VEHICLE_BORN, subject=said.vin, actor=ACTOR, now=now, event_at=said.born_at,
        causes=last_of(conn, said.order) if said.order else [],
        body={"variant": said.variant, "release_id": said.release.id, "ecus": len(ecus), "order_id": said.order or None,
              "birth_record_sha256": sha256, "site": said.plant.id},
    )  # fmt: skip
    return Adopted(
        settled=settled, parts_refused=tuple(each.reason for each in taken if each.told == "refused")
    )


def _ecu(said: _Ecu, public_keys: Mapping[str, Mapping[str, Any]]) -> NewEcu:
    key = public_keys.get(said.serial)
    if key is None or key_id(parse_public_key(key)) != said.key:
        raise InvalidInput(f"the key of {said.name} is not the one that its birth record names")
    return NewEcu(
        serial=said.serial, name=said.name, hardware_id=said.hardware, public_key=key, key_id=said.key,
        is_primary=said.primary,
    )  # fmt: skip


def _check_images(conn: Connection, said: BornElsewhere) -> None:
    """Refuse what is not one of our packages. Raises: InvalidInput."""
    rows = SQL.packages_as_built(
        conn, programme_id=said.programme, filenames=sorted({each.file for each in said.ecus})
    )
    known = {(row["ecu"], row["filename"], row["version"], row["image_sha256"]) for row in rows}
    for each in said.ecus:
        if (each.name, each.file, each.version, each.image_sha256) not in known:
            raise InvalidInput(
                f"{each.name} runs {each.file} {each.version}, which is no package of {said.programme}",
                code="not_the_baseline",
            )


def _settle_order(
    conn: Connection, ids: Ids, said: BornElsewhere, options: Collection[str], *, now: datetime
) -> str | None:
    """End the vehicle's order, whatever became of it here in the meantime.

    One that is not known here was there before anything of it happened, and had ordered what was fitted.

    Raises:
        Conflict: it is another vehicle's.
    """
    row, settled = SQL.order(conn, order_id=said.order), None
    if row is None:
        order = Order(
            id=said.order, programme_id=said.programme, variant=said.variant, region=said.region, rush=False,
            options=tuple(sorted({each.part for each in said.parts} & set(options) - {said.variant})), due_at=None,
            received_at=min([said.born_at, *(each.at for each in said.parts), *(each.at for each in said.tests)]),
        )  # fmt: skip
        keep_order(conn, ids, order, actor=ACTOR, now=now)
        settled = (
            f"{said.vin} was built for order {said.order}, which was taken at its site and not known here"
        )
    elif row["state"] == "cancelled":
        resume_order(conn, ids, order_id=said.order, reason=RESUMED, actor=ACTOR, now=now)
        settled = f"cancelled while its site was building it: {said.vin} is built, and for a person to place"
    finish_order(conn, said.order, vin=said.vin, programme_id=said.programme, variant=said.variant)
    return settled


def _parts(said: BornElsewhere) -> list[BuiltPart]:
    return [
        BuiltPart(
            id=each.id, order_id=said.order, station=each.station, part=each.part, lot=each.lot, serial=each.serial,
            supplier=each.supplier, fitted_at=each.at,
        )
        for each in said.parts
    ]  # fmt: skip


def _tests(said: BornElsewhere) -> list[Checked]:
    """Return the checks of a record as traits are made of them: a failure before counts once."""
    found = []
    for each in said.tests:
        if each.failed_before:
            before = each.at - timedelta(microseconds=1)
            found.append(Checked(check=each.check, station=each.station, passed=False, at=before))
        found.append(Checked(check=each.check, station=each.station, passed=each.passed, at=each.at))
    return found
