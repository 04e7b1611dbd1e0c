"""A vehicle is born: it leaves the line with its keys and the baseline's software, and is registered.

The caller opens the transaction. Private keys and tokens never come here: public keys and a digest do.

Invariant: a vehicle on record has exactly its variant's ECUs, one Primary, and known images on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from psycopg.types.json import Jsonb

from ringroad.build.model import Package, Variant
from ringroad.build.store import baseline_targets, get_baseline, get_programme
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
) -> bool:
    """Put a vehicle on record and append `vehicle.born`.

    Returns:
        True if it is new; False if exactly this vehicle was registered before.

    Raises:
        NotFound: no such programme, variant or baseline.
        InvalidInput: not a VIN, or the ECUs or images are not those of the variant.
        Conflict: another vehicle has this VIN, the release is not the line's baseline, or the order is gone.
    """
    parse_vin(vin)
    found = get_programme(conn, programme_id).programme
    if variant not in found.variants:
        raise NotFound(f"programme {programme_id} has no variant {variant!r}")
    _check_ecus(found.variants[variant], {name: ecu.hardware_id for name, ecu in found.ecus.items()}, ecus)
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
    _check_baseline(conn, programme_id, release_id)
    _check_installed(baseline_targets(conn, programme_id, variant), ecus, installed)
    _write_ecus(conn, vin, ecus, installed, now=now)
    if order_id is not None and SQL.finish_order(conn, order_id=order_id, vin=vin) != 1:
        raise Conflict(f"order {order_id} is not open or building", hint="read the orders again")
    ordered = last_of(conn, order_id) if order_id else []
    causes = [
        fact
        for kind in (FactKind.BASELINE_SET, FactKind.SCHEDULE_REPLANNED)
        if (fact := latest_fact(conn, kind=kind, subject=programme_id))
    ]
    append_fact(
        conn, ids, kind=FactKind.VEHICLE_BORN, subject=vin, actor=actor, now=now, lap_id=causes[0].lap_id,
        causes=[*(fact.id for fact in causes), *ordered], work_started_at=work_started_at,
        body={"variant": variant, "release_id": release_id, "ecus": len(ecus), "order_id": order_id},
    )  # fmt: skip
    return True


def _check_baseline(conn: Connection, programme_id: str, release_id: str) -> None:
    baseline = get_baseline(conn, programme_id)
    if baseline is None or baseline.release_id != release_id:
        current = baseline.release_id if baseline else "none"
        raise Conflict(
            f"release {release_id} is not the line's baseline; it is {current}",
            code="baseline_moved",
            hint="flash again",
        )


def _write_ecus(
    conn: Connection, vin: str, ecus: Sequence[NewEcu], installed: Sequence[Installed], *, now: datetime
) -> None:
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


def _check_ecus(variant: Variant, hardware: Mapping[str, str], ecus: Sequence[NewEcu]) -> None:
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
