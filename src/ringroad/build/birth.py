"""A vehicle is born: it leaves the line with its keys and the baseline's software, and is registered.

The caller opens the transaction. Private keys and tokens never come here: public keys and a digest do.

Invariants:
    A vehicle on record has exactly its variant's ECUs, one Primary, and known images on all of them.
    A vehicle of an order was checked by every gate that was to look at it, and nothing that was checked of it failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from psycopg.types.json import Jsonb
from securesystemslib.signer import Signer

from ringroad.build.as_built import BuiltPart, Checked
from ringroad.build.model import Package, Variant
from ringroad.build.quality.store_draw import choose
from ringroad.build.station_times import AHEAD_S_MAX
from ringroad.build.store import Baseline, baseline_targets, get_baseline
from ringroad.build.store_birth import BornEcu, Found, keep_birth, line_of_programme, may_be_born, take_parts
from ringroad.build.store_birth import Line as BirthLine
from ringroad.build.store_packages import SQL
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.vin import parse_vin
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, last_of, latest_fact

TAGS_MAX: Final = 64
SERIAL_CHARS_MAX: Final = 200
_SHA256_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEcu:
    """One ECU of a new vehicle."""

    serial: str
    name: str  # in the programme
    hardware_id: str
    public_key: Mapping[str, Any]  # TUF key dict
    key_id: str
    is_primary: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What the plant put on one ECU."""

    serial: str
    filename: str
    version: str
    image_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AsBuilt:
    """What a vehicle is registered with besides its ECUs.

    Attributes:
        parts: that went into it and were not told before; their order is the vehicle's.
        tests: of its end of line.
        signer: the Director's key, where this server holds it; at a site its own.
        certificate: of a site's key.
    """

    parts: Sequence[BuiltPart] = ()
    tests: Sequence[Checked] = ()
    signer: Signer | None = None
    certificate: bytes | None = None


def register_vehicle(
    conn: Connection,
    ids: Ids,
    *,
    vin: str,
    programme_id: str,
    variant: str,
    gateway: Literal["native", "ddi"],
    token_sha256: bytes,
    ecus: Sequence[NewEcu],
    release_id: str,
    installed: Sequence[Installed],
    actor: str,
    now: datetime,
    region: str = "",
    tags: Sequence[str] = (),
    order_id: str | None = None,
    work_started_at: datetime | None = None,
    as_built: AsBuilt | None = None,
) -> bool:
    """Put a vehicle on record with its birth record, and append `vehicle.born`.

    Returns:
        True if it is new; False if exactly this vehicle was registered before.

    Raises:
        NotFound: no such programme, variant or baseline.
        InvalidInput: not a VIN, or the ECUs or images are not those of the variant.
        Conflict: another vehicle has this VIN, the release is not the line's baseline, the order is gone or of another
            programme or variant, or a check of its line failed or is missing.
    """
    parse_vin(vin)
    line = line_of_programme(conn, programme_id)
    found = line.programme
    if variant not in found.variants:
        raise NotFound(f"programme {programme_id} has no variant {variant!r}")
    check_ecus(found.variants[variant], {name: ecu.hardware_id for name, ecu in found.ecus.items()}, ecus)
    if len(token_sha256) != _SHA256_BYTES:
        raise InvalidInput("token_sha256 has 32 bytes")
    if len(tags) > TAGS_MAX:
        raise InvalidInput(f"{len(tags)} tags, limit {TAGS_MAX}")
    primary = next(ecu for ecu in ecus if ecu.is_primary)
    rows = SQL.insert_vehicle(
        conn, vin=vin, programme_id=programme_id, variant=variant, region=region, tags=sorted(set(tags)),
        gateway=gateway, token_sha256=token_sha256, primary_serial=primary.serial, release_id=release_id, now=now,
    )  # fmt: skip
    if rows == 0:
        _same_or_conflict(conn, vin, token_sha256, ecus)
        return False
    rxswins = _check_baseline(conn, programme_id, release_id).rxswins
    _check_installed(baseline_targets(conn, programme_id, variant), ecus, installed)
    write_ecus(conn, vin, ecus, installed, now=now)
    if order_id is not None:
        finish_order(conn, order_id, vin=vin, programme_id=programme_id, variant=variant)
    built = as_built or AsBuilt()
    _fit(conn, line, built, order_id=order_id, actor=actor, now=now)
    checked = _checked(conn, ids, line, order_id=order_id, tests=built.tests, actor=actor, now=now)
    record_sha256 = keep_birth(
        conn, line, vin=vin, variant=variant, region=region, order_id=order_id, release_id=release_id, rxswins=rxswins,
        ecus=_born_ecus(ecus, installed), found=checked, signer=built.signer, certificate=built.certificate, now=now,
    )  # fmt: skip
    causes, lap_id = _causes(conn, programme_id, order_id)
    append_fact(
        conn, ids, kind=FactKind.VEHICLE_BORN, subject=vin, actor=actor, now=now, lap_id=lap_id, causes=causes,
        work_started_at=work_started_at,
        body={"variant": variant, "release_id": release_id, "ecus": len(ecus), "order_id": order_id,
              "birth_record_sha256": record_sha256},
    )  # fmt: skip
    return True


def finish_order(conn: Connection, order_id: str, *, vin: str, programme_id: str, variant: str) -> None:
    """End a vehicle's order. Raises: Conflict, it is gone, or of another programme or variant."""
    if SQL.finish_order(conn, order_id=order_id, vin=vin, programme_id=programme_id, variant=variant) == 1:
        return
    order = SQL.order(conn, order_id=order_id)
    if order and order["programme_id"] == programme_id and order["variant"] != variant:
        raise Conflict(
            f"order {order_id} is of variant {order['variant']}, not {variant}", hint="read the orders again"
        )
    raise Conflict(f"order {order_id} is not open or building", hint="read the orders again")


def _causes(conn: Connection, programme_id: str, order_id: str | None) -> tuple[list[str], str | None]:
    """Return the facts that a birth follows from, and the lap of the first."""
    facts = [
        fact
        for kind in (FactKind.BASELINE_SET, FactKind.SCHEDULE_REPLANNED)
        if (fact := latest_fact(conn, kind=kind, subject=programme_id))
    ]
    ordered = last_of(conn, order_id) if order_id else []
    return [*(fact.id for fact in facts), *ordered], facts[0].lap_id


def _fit(
    conn: Connection, line: BirthLine, built: AsBuilt, *, order_id: str | None, actor: str, now: datetime
) -> None:
    """Take the parts that a vehicle is registered with. Raises: InvalidInput, with what is wrong with the first of them."""
    if built.parts and order_id is None:
        raise InvalidInput("parts go into the vehicle of an order", hint="name the order_id it was built for")
    parts = [replace(each, order_id=order_id or "") for each in built.parts]
    for told in take_parts(conn, line, parts, vins={}, actor=actor, now=now):
        if told.told == "refused":
            raise InvalidInput(told.reason, code="part_refused")
    for test in built.tests:
        if test.at > now + timedelta(seconds=AHEAD_S_MAX):
            raise InvalidInput(f"the check {test.check!r} was made in the future: set the station's clock")


def _checked(
    conn: Connection, ids: Ids, line: BirthLine, *, order_id: str | None, tests: Sequence[Checked], actor: str,
    now: datetime,
) -> Found:  # fmt: skip
    """Return what was checked of a vehicle, of which each gate that was to look at it did. Raises: Conflict."""
    if order_id is None:
        return may_be_born(conn, line, order_id=None, tests=tests)
    choices = choose(conn, ids, line, order_id=order_id, actor=actor, now=now)
    some = {(each.station, each.gate) for each in line.asked if not each.always}
    return may_be_born(
        conn, line, order_id=order_id, tests=tests, passed_by=choices.passed_by if choices.asks else some,
        unseen=choices.unseen,
    )  # fmt: skip


def _born_ecus(ecus: Sequence[NewEcu], installed: Sequence[Installed]) -> list[BornEcu]:
    images = {image.serial: image for image in installed}
    return [
        BornEcu(
            name=ecu.name, serial=ecu.serial, hardware_id=ecu.hardware_id, key_id=ecu.key_id, is_primary=ecu.is_primary,
            filename=images[ecu.serial].filename, version=images[ecu.serial].version,
            image_sha256=images[ecu.serial].image_sha256,
        )
        for ecu in ecus
    ]  # fmt: skip


def _check_baseline(conn: Connection, programme_id: str, release_id: str) -> Baseline:
    baseline = get_baseline(conn, programme_id)
    if baseline is None or baseline.release_id != release_id:
        current = baseline.release_id if baseline else "none"
        raise Conflict(
            f"release {release_id} is not the line's baseline; it is {current}",
            code="baseline_moved",
            hint="flash again",
        )
    return baseline


def write_ecus(
    conn: Connection, vin: str, ecus: Sequence[NewEcu], installed: Sequence[Installed], *, now: datetime
) -> None:
    """Put a vehicle's ECUs on record, and what runs on them."""
    for ecu in ecus:
        SQL.insert_ecu(
            conn, vin=vin, serial=ecu.serial, name=ecu.name, hardware_id=ecu.hardware_id,
            public_key=Jsonb(dict(ecu.public_key)), key_id=ecu.key_id, is_primary=ecu.is_primary, now=now,
        )  # fmt: skip
    for image in installed:
        SQL.insert_installed(
            conn, vin=vin, serial=image.serial, filename=image.filename, version=image.version,
            image_sha256=image.image_sha256, now=now,
        )  # fmt: skip


def check_ecus(variant: Variant, hardware: Mapping[str, str], ecus: Sequence[NewEcu]) -> None:
    """Refuse ECUs that are not those of a variant. Raises: InvalidInput."""
    names = sorted(ecu.name for ecu in ecus)
    if names != sorted(variant.ecus):
        missing = ", ".join(sorted(set(variant.ecus) - set(names))) or "none"
        extra = ", ".join(sorted(set(names) - set(variant.ecus))) or "none"
        raise InvalidInput(
            f"variant {variant.name} has {len(variant.ecus)} ECUs; missing {missing}, foreign {extra}"
        )
    if len({ecu.serial for ecu in ecus}) != len(ecus):
        raise InvalidInput("two ECUs have the same serial")
    if sum(ecu.is_primary for ecu in ecus) != 1:
        raise InvalidInput("a vehicle has exactly one Primary")
    for ecu in ecus:
        if not 0 < len(ecu.serial) <= SERIAL_CHARS_MAX:
            raise InvalidInput(f"an ECU serial has 1 to {SERIAL_CHARS_MAX} characters")
        if ecu.hardware_id != hardware[ecu.name]:
            raise InvalidInput(
                f"{ecu.name} has hardware {ecu.hardware_id!r}, the programme says {hardware[ecu.name]!r}"
            )


def _check_installed(
    targets: Mapping[str, Package], ecus: Sequence[NewEcu], installed: Sequence[Installed]
) -> None:
    """Every ECU runs exactly the image that the baseline has for it."""
    by_serial = {image.serial: image for image in installed}
    if len(by_serial) != len(installed) or set(by_serial) != {ecu.serial for ecu in ecus}:
        raise InvalidInput("each ECU must be reported once with what was installed")
    for ecu in ecus:
        image, package = by_serial[ecu.serial], targets[ecu.name]
        wanted = (package.filename, package.version, package.image_sha256)
        if (image.filename, image.version, image.image_sha256) != wanted:
            raise InvalidInput(
                f"{ecu.name} runs {image.filename} {image.version}, the baseline has {package.filename} {package.version}",
                code="not_the_baseline",
            )


def _same_or_conflict(conn: Connection, vin: str, token_sha256: bytes, ecus: Sequence[NewEcu]) -> None:
    stored = SQL.vehicle(conn, vin=vin)
    known = {(row["serial"], row["name"], row["key_id"]) for row in SQL.vehicle_ecus(conn, vin=vin)}
    same = stored and bytes(stored["token_sha256"]) == token_sha256
    if not same or known != {(ecu.serial, ecu.name, ecu.key_id) for ecu in ecus}:
        raise Conflict(f"another vehicle has the VIN {vin}", code="vin_taken")
