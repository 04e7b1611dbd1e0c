"""A DDI vehicle that was not born on our line is put on record, and invited to get its own secret.

The caller opens the transaction. Tokens never come here: their digests do.

Invariant: a registered vehicle has exactly its variant's ECUs; what they run is not known until it says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from psycopg.types.json import Jsonb

from ringroad.build.birth import SERIAL_CHARS_MAX, TAGS_MAX
from ringroad.build.model import Programme
from ringroad.build.store_packages import SQL, get_programme
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.vin import parse_vin
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, causes_of, last_of

TAG_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One vehicle to put on record."""

    vin: str
    variant: str
    region: str = ""
    tags: tuple[str, ...] = ()
    serials: Mapping[str, str] = field(default_factory=dict)  # by ECU; who has none is named by VIN and ECU


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What the database keeps of a one-time token, and of the device token that nobody knows."""

    enrolment_sha256: bytes
    until: datetime
    nobodys_sha256: bytes


def decide_ecus(programme: Programme, wanted: Registration) -> dict[str, str]:
    """Decide the serial of each ECU.

    Raises:
        NotFound: there is no such variant.
        InvalidInput: no VIN, no ECU that speaks DDI, a serial of a foreign ECU, or one that is used twice.
    """
    parse_vin(wanted.vin)
    variant = programme.variants.get(wanted.variant)
    if variant is None:
        raise NotFound(f"programme {programme.id} has no variant {wanted.variant!r}")
    if not any(programme.ecus[name].agent == "ddi" for name in variant.ecus):
        raise InvalidInput(
            f"no ECU of variant {variant.name} speaks DDI", hint='give it agent = "ddi" in programme.toml'
        )
    foreign = sorted(set(wanted.serials) - set(variant.ecus))
    if foreign:
        raise InvalidInput(f"{wanted.vin}: variant {variant.name} has no ECU {foreign[0]!r}")
    serials = {name: wanted.serials.get(name) or f"{wanted.vin}-{name}" for name in variant.ecus}
    if len(set(serials.values())) != len(serials):
        raise InvalidInput(f"{wanted.vin}: two ECUs have the same serial")
    if max(map(len, serials.values())) > SERIAL_CHARS_MAX or any(
        "\0" in serial for serial in serials.values()
    ):
        raise InvalidInput(f"{wanted.vin}: an ECU serial has 1 to {SERIAL_CHARS_MAX} characters")
    if any(not 0 < len(tag) <= TAG_CHARS_MAX or "\0" in tag for tag in wanted.tags):
        raise InvalidInput(f"{wanted.vin}: a tag has 1 to {TAG_CHARS_MAX} characters")
    if len(wanted.tags) > TAGS_MAX:
        raise InvalidInput(f"{wanted.vin}: {len(wanted.tags)} tags, limit {TAGS_MAX}")
    return serials


def register_devices(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    wanted: Sequence[tuple[Registration, Invitation]],
    actor: str,
    now: datetime,
) -> None:
    """Put DDI vehicles on record, all or none.

    Raises:
        NotFound: no such programme or variant.
        InvalidInput: one of them cannot be.
        Conflict: one of them is on record already.
    """
    programme = get_programme(conn, programme_id).programme
    causes = causes_of(conn, [(FactKind.PROGRAMME_IMPORTED, programme_id)])
    for each, invitation in wanted:
        serials = decide_ecus(programme, each)
        names = [name for name in serials if programme.ecus[name].primary] or list(serials)
        rows = SQL.insert_vehicle(
            conn, vin=each.vin, programme_id=programme_id, variant=each.variant, region=each.region,
            tags=sorted(set(each.tags)), gateway="ddi", token_sha256=invitation.nobodys_sha256,
            primary_serial=serials[names[0]], release_id=None, now=now,
        )  # fmt: skip
        if rows != 1:
            raise Conflict(
                f"vehicle {each.vin} is on record already",
                hint="ringroad fleet invite VIN lets it enrol again", code="vin_taken",
            )  # fmt: skip
        for name, serial in serials.items():
            SQL.insert_ecu(
                conn, vin=each.vin, serial=serial, name=name, hardware_id=programme.ecus[name].hardware_id,
                public_key=Jsonb({}), key_id="", is_primary=name == names[0], now=now,
            )  # fmt: skip
        SQL.invite_vehicle(
            conn, vin=each.vin, enrolment_sha256=invitation.enrolment_sha256, until=invitation.until
        )
        append_fact(
            conn, ids, kind=FactKind.VEHICLE_REGISTERED, subject=each.vin, actor=actor, now=now, causes=causes,
            body={"variant": each.variant, "ecus": len(serials)},
        )  # fmt: skip


def invite(
    conn: Connection, ids: Ids, *, vin: str, invitation: Invitation, actor: str, now: datetime
) -> None:
    """Let a vehicle enrol (again); what it has stays good until it does. Raises: NotFound."""
    if (
        SQL.invite_vehicle(
            conn, vin=vin, enrolment_sha256=invitation.enrolment_sha256, until=invitation.until
        )
        != 1
    ):
        raise NotFound(f"there is no vehicle {vin}")
    append_fact(
        conn, ids, kind=FactKind.VEHICLE_INVITED, subject=vin, actor=actor, now=now, causes=last_of(conn, vin)
    )


def shut_out(
    conn: Connection, ids: Ids, *, vin: str, nobodys_sha256: bytes, actor: str, now: datetime
) -> None:
    """End a vehicle's token, certificates and invitation at once. Raises: NotFound."""
    if SQL.shut_out_vehicle(conn, vin=vin, token_sha256=nobodys_sha256, now=now) != 1:
        raise NotFound(f"there is no vehicle {vin}")
    append_fact(
        conn,
        ids,
        kind=FactKind.VEHICLE_SHUT_OUT,
        subject=vin,
        actor=actor,
        now=now,
        causes=last_of(conn, vin),
    )
