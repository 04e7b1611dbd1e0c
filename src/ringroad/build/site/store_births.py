"""At a hub: the keys of sites that it vouches for, and the vehicles that sites bore.

The caller opens the transaction.

Invariants:
    A key is certified for one plant, with a place in VINs that no other plant has.
    A birth is taken once, by its VIN and the digest of its record; one that cannot be taken is kept whole, and shown.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog
from psycopg import DataError
from securesystemslib.signer import Signer

from ringroad.build.adopt import adopt_vehicle, read_elsewhere
from ringroad.build.plant.store import get_plant, runs_of
from ringroad.build.quality.results import CheckResult
from ringroad.build.quality.store import take_results
from ringroad.build.site.lines import SQL, lines_lacking
from ringroad.build.site.store import ACTOR, LACKS, TAKEN, get_site, put_conflict
from ringroad.build.site.store_aside import aside_waiting
from ringroad.build.site.store_keys import KEYS_MAX, check_not_revoked, has_room, why_revoked
from ringroad.build.site.store_stops import stops_otherwise
from ringroad.build.site.store_sums import sums_have
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import (
    Conflict,
    Corrupt,
    InvalidInput,
    NotFound,
    RingroadError,
    Unavailable,
    Untrusted,
)
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.protocol.site import ASK_FORMAT, UP_FORMAT, SiteBirth, Trust
from ringroad.storage.db import Connection, expect_one, of_row, transaction
from ringroad.storage.ledger import append_fact, last_of
from ringroad.trust.birth import CERTIFICATE, BirthRecord, read_record, verify_record
from ringroad.trust.canonical import encode_canonical
from ringroad.trust.keys import key_id, parse_public_key
from ringroad.trust.plant_key import VIN_CHARS, certify_plant_key, read_plant_key, verify_plant_key

LOG = structlog.get_logger(__name__)

BROKEN: Final = (TypeError, ArithmeticError, ValueError, DataError)  # what a birth says breaks who reads it
BREAKS: Final = "breaks_reader"  # of a birth that is refused: nobody foresaw what it says
KEY_DAYS: Final = (
    30  # days that a site's key is good for: as long as it may bear vehicles while it is cut off
)
BACK: Final = timedelta(minutes=10)  # before now that a key is good from: a site's clock may be behind
VIN_PLANTS: Final = VIN_CHARS.replace("A", "")  # what the hub gives sites; A is the plant of its own line
REFUSED_MAX: Final = (
    1_000  # births of a site that are kept here though they cannot be taken, each up to 960 KiB
)
ANOTHER_KEY: Final = (
    "remove birth-key.pem from the folder site of this site's var folder and start it again: it makes another"
)
ID_CHARS_MAX: Final = 1_000  # of a check's id, as a registration makes it


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedBirth:
    """A birth that this hub could not take, as it is shown.

    Attributes:
        vin: whose; "" if it cannot be read.
        sha256: of its record.
        settled_at: when it was taken after all; None: it waits for a person.
    """

    vin: str
    sha256: str
    code: str
    reason: str
    told_at: datetime
    settled_at: datetime | None
    settled_by: str | None


# What a site asks ----------------------------------------------------------------------------------


def trust_for(
    conn: Connection, ids: Ids, signer: Signer | None, *, site_id: str, key: Mapping[str, Any], now: datetime,
    standing: Sequence[str] = (),
) -> Trust:  # fmt: skip
    """Return what a site must hold to flash and to vouch for what it bears.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        signer: the Director's Targets key; None: this server holds none.
        site_id: who asks.
        key: its public key.
        now: UTC.
        standing: what stands there.

    Raises:
        NotFound: it is no site any more.
        Untrusted: the key is none of ours.
        Conflict: no place in VINs is left.
    """
    get_site(conn, site_id)
    roots: dict[str, list[str]] = {"image": [], "director": []}
    for row in SQL.roots(conn):
        roots[row["repository"]].append(bytes(row["bytes"]).decode())
    files = {row["role"]: bytes(row["bytes"]) for row in SQL.image_set(conn)}
    targets = files.get("targets", b"")
    ready = signer is not None and len(files) == 3 and roots["director"]
    certificate = b""
    refused = _why_not(conn, site_id, key, now=now) if ready else ""
    if ready and signer and not refused:
        certificate = certify(conn, ids, signer, site_id=site_id, key=key, now=now)
    events_have, stops_have = lines_lacking(conn, site_id)
    return Trust(
        format=ASK_FORMAT, image_roots=roots["image"], director_roots=roots["director"],
        timestamp=files.get("timestamp", b"").decode(), snapshot=files.get("snapshot", b"").decode(),
        targets_sha256=hashlib.sha256(targets).hexdigest(), targets_bytes=len(targets),
        certificate=certificate.decode(), no_certificate=refused, births_have=births_lacking_after(conn, site_id),
        events_have=events_have, stops_have=stops_have, sums_have=sums_have(conn, site_id), up_format=UP_FORMAT,
        aside=aside_waiting(conn, site_id), stops=stops_otherwise(conn, site_id, standing),
    )  # fmt: skip


def _why_not(conn: Connection, site_id: str, key: Mapping[str, Any], *, now: datetime) -> str:
    """Return why a site's key is not certified; "": it may be. Raises: Untrusted, the key is none of ours."""
    keyid = key_id(parse_public_key(key))
    revoked = why_revoked(conn, site_id, keyid)
    if revoked is not None:
        return f"{revoked}; {ANOTHER_KEY}"
    SQL.lock_site_keys(conn)  # two questions take turns: each sees what the other had certified
    row = SQL.site_key(conn, site_id=site_id, key_id=keyid)
    if row is None and (other := SQL.other_site_of_key(conn, site_id=site_id, key_id=keyid)) is not None:
        reason = f"key {keyid[:8]} is of site {other}, and of no other; {ANOTHER_KEY}"
        put_conflict(conn, site_id, "key_of_another", site_id, reason, now=now)
        return reason
    if (row is None or row["expires_at"] <= now) and not has_room(conn, site_id, now=now):
        reason = f"another key is not certified: {KEYS_MAX} keys of this site are; revoke those that are not in use"
        put_conflict(conn, site_id, "too_many_keys", site_id, reason, now=now)
        return reason
    return ""


def first_roots(conn: Connection) -> dict[str, str]:
    """Return the first root of each repository that has one: what a site trusts from the day it joins."""
    found: dict[str, str] = {}
    for row in SQL.roots(conn):
        found.setdefault(row["repository"], bytes(row["bytes"]).decode())
    return found


def targets_of(conn: Connection, sha256: str) -> bytes:
    """Return the newest Image Targets. Raises: NotFound, they are others by now."""
    for row in SQL.image_set(conn):
        raw = bytes(row["bytes"])
        if row["role"] == "targets" and hashlib.sha256(raw).hexdigest() == sha256:
            return raw
    raise NotFound("these targets are not the newest any more")


def may_have(conn: Connection, site_id: str, sha256: str) -> bool:
    """Say whether an image is one that a site's line flashes; no other is given to it."""
    programmes = runs_of(conn, get_plant(conn, site_id))
    return any(row["image_sha256"] == sha256 for row in SQL.baseline_images(conn, programme_ids=programmes))


def certify(
    conn: Connection, ids: Ids, signer: Signer, *, site_id: str, key: Mapping[str, Any], now: datetime
) -> bytes:
    """Return the Director's word for a site's key: the newest, or a new one when half of that one's time is over.

    Raises:
        NotFound: there is no such site.
        Untrusted: the key is none of ours.
        Conflict: no place in VINs is left.
    """
    public = parse_public_key(key)
    keyid = key_id(public)
    lifetime = timedelta(days=KEY_DAYS)
    row = SQL.site_key(conn, site_id=site_id, key_id=keyid)
    if row and now < row["expires_at"] - lifetime / 2 and _signed_by(bytes(row["certificate"]), signer):
        return bytes(row["certificate"])
    vin_plant = _vin_plant(conn, site_id)
    expires_at = now + lifetime
    made = certify_plant_key(
        signer, plant=site_id, vin_plant=vin_plant, key=public.to_dict(), issued_at=now - BACK, expires_at=expires_at
    )  # fmt: skip
    if row is None and SQL.newest_site_key(conn, site_id=site_id) is not None:
        reason = "the site showed another key than before; what the key before signed stays good"
        put_conflict(conn, site_id, "another_key", keyid[:16], reason, now=now)
    SQL.put_site_key(
        conn, site_id=site_id, key_id=keyid, certificate=made, issued_at=now, expires_at=expires_at
    )
    append_fact(
        conn, ids, kind=FactKind.SITE_KEY_CERTIFIED, subject=site_id, actor=ACTOR, now=now, causes=last_of(conn, site_id),
        body={"key_id": keyid, "vin_plant": vin_plant, "expires_at": expires_at.isoformat()},
    )  # fmt: skip
    return made


def _signed_by(certificate: bytes, signer: Signer) -> bool:
    """Say whether the Director's key of now signed it: another one is in newer roots only."""
    found: list[dict[str, str]] = msgspec.json.decode(certificate)["signatures"]
    return any(each["keyid"] == signer.public_key.keyid for each in found)


def _vin_plant(conn: Connection, site_id: str) -> str:
    here: str | None = SQL.site(conn, site_id=site_id)["vin_plant"]
    if here is not None:
        return here
    taken = {row["plant"] for row in SQL.vin_plants(conn)}
    free = next((each for each in VIN_PLANTS if each not in taken), None)
    if free is None:
        raise Conflict(f"{len(taken)} sites have every place that a VIN has for a plant", code="no_vin_plant")
    SQL.put_vin_plant(conn, site_id=site_id, plant=free)
    return free


# What a site bore ----------------------------------------------------------------------------------


def take_birth(conn: Connection, ids: Ids, clock: Clock, site_id: str, told: SiteBirth) -> None:
    """Take a vehicle that a site bore, once; one that cannot be taken is kept whole, and listed.

    Raises:
        Unavailable, Corrupt: it cannot be decided for now; it comes again.
    """
    now = clock.now()
    vin, sha256 = "", hashlib.sha256(told.record.encode()).hexdigest()
    try:
        record = read_record(told.record.encode())
        sha256, vin = record.sha256, str(record.signed.get("vin"))[:40]
        if _is_known(conn, vin, sha256):
            return
        with transaction(conn):
            check_not_revoked(conn, record)
            _adopt(conn, ids, site_id, told, record, now=now)
    except (Unavailable, Corrupt):
        raise
    except RingroadError as error:
        _keep_refused(conn, site_id, told, vin, sha256, code=error.code, reason=error.message, now=now)
    except BROKEN as error:
        LOG.warning("a birth breaks its reader", site=site_id, vin=vin, exc_info=True)
        _keep_refused(conn, site_id, told, vin, sha256, code=BREAKS, reason=f"{error!r}", now=now)


def keep_birth(conn: Connection, site_id: str, told: SiteBirth, reason: str, *, now: datetime) -> None:
    """Keep a birth whole that broke its reader in a way that nobody foresaw; a person has it taken later."""
    vin, sha256 = "", hashlib.sha256(told.record.encode()).hexdigest()
    with contextlib.suppress(Untrusted):
        record = read_record(told.record.encode())
        sha256, vin = record.sha256, str(record.signed.get("vin"))[:40]
    _keep_refused(conn, site_id, told, vin, sha256, code=BREAKS, reason=reason, now=now)


def _keep_refused(
    conn: Connection, site_id: str, told: SiteBirth, vin: str, sha256: str, *, code: str, reason: str, now: datetime
) -> None:  # fmt: skip
    reason = reason.replace("\x00", "")[:2_000]
    if SQL.births_refused_count(conn, site_id=site_id) < REFUSED_MAX:
        SQL.put_birth_refused(
            conn, site_id=site_id, vin=vin, sha256=sha256, told=msgspec.json.encode(told), code=code, reason=reason, now=now
        )  # fmt: skip
    reason = f"its birth is not taken; {site_id} has it whole: {reason}"
    put_conflict(conn, site_id, "birth_refused", vin or sha256[:16], reason, now=now)


def note_births(conn: Connection, site_id: str, *, number: int | None, told: int, now: datetime) -> None:
    """Note how far births of a site are here without gaps, and whether any before are missing, as after a backup.

    A hub that noted nothing yet asks for all: each is known by its VIN and record, so none is taken twice.

    Args:
        conn: a connection in a transaction.
        site_id: whose.
        number: of the birth that came, whether it was taken or is kept; None: none came.
        told: number of the last birth before that the hub's broker has.
        now: UTC.
    """
    name, row = TAKEN + site_id, SQL.place(conn, name=TAKEN + site_id)
    taken = int(row["number"]) if row else 0
    if number == taken + 1:
        taken += 1
    if number is None:
        taken = min(
            taken, told
        )  # its database is an older one than it was: its births are numbered on from there
    if row is None or row["number"] != taken:
        SQL.set_place(conn, name=name, number=taken, now=now)
    before, lacking = _lacking(conn, site_id), max(0, told - taken)
    if lacking != before:
        SQL.set_place(conn, name=LACKS + site_id, number=lacking, now=now)
    if lacking and not before and row is not None:
        reason = f"{lacking} that it told, from number {taken + 1} on, were not here, as after a backup; it tells them again"
        put_conflict(conn, site_id, "births_missed", str(taken + 1), reason, now=now)


def births_lacking_after(conn: Connection, site_id: str) -> int | None:
    """Return behind which birth a site is to tell again; None: none is missing."""
    if not _lacking(conn, site_id):
        return None
    row = SQL.place(conn, name=TAKEN + site_id)
    return int(row["number"]) if row else 0


def _lacking(conn: Connection, site_id: str) -> int:
    row = SQL.place(conn, name=LACKS + site_id)
    return int(row["number"]) if row else 0


def list_refused_births(
    conn: Connection, site_id: str, *, rows_max: int = PAGE_ROWS_MAX
) -> list[RefusedBirth]:
    """Return births of a site that could not be taken, newest first, with what became of them."""
    return [of_row(RefusedBirth, row) for row in SQL.births_refused(conn, site_id=site_id, rows_max=rows_max)]


def take_again(conn: Connection, ids: Ids, *, site_id: str, sha256: str, actor: str, now: datetime) -> str:
    """Take a birth that was refused, once what was in its way is gone; return its VIN.

    Raises:
        NotFound: no such birth is kept.
        Conflict: it was settled before, or still cannot be.
        InvalidInput, Untrusted: it still cannot be.
    """
    row = SQL.birth_refused(conn, site_id=site_id, sha256=sha256)
    if row is None:
        raise NotFound(f"no such birth is kept for site {site_id}", hint=f"ringroad site births {site_id}")
    vin = str(row["vin"])
    told = msgspec.json.decode(bytes(row["told"]), type=SiteBirth)
    record = read_record(told.record.encode())
    if not _is_known(conn, vin, sha256):
        try:
            _adopt(conn, ids, site_id, told, record, now=now)
        except BROKEN as error:
            raise Conflict(
                f"the birth of {vin} still breaks its reader: {error!r}",
                code=BREAKS,
                hint="it is kept; a later version of this software may take it",
            ) from error
    expect_one(
        SQL.settle_birth(conn, site_id=site_id, sha256=sha256, actor=actor, now=now),
        f"the birth of {vin}",
    )
    append_fact(
        conn, ids, kind=FactKind.SITE_BIRTH_SETTLED, subject=vin, actor=actor, now=now, causes=last_of(conn, vin),
        body={"site": site_id, "birth_record_sha256": sha256},
    )  # fmt: skip
    return vin


def _is_known(conn: Connection, vin: str, sha256: str) -> bool:
    row = SQL.born_as(conn, vin=vin)
    return row is not None and row["sha256"] == sha256


def _adopt(
    conn: Connection, ids: Ids, site_id: str, told: SiteBirth, record: BirthRecord, *, now: datetime
) -> None:
    said = read_elsewhere(record)
    if said.programme != told.programme_id or said.programme not in runs_of(conn, get_plant(conn, site_id)):
        raise InvalidInput(
            f"the line of {said.programme[:200]} is not of plant {site_id}", code="not_its_line"
        )
    raw = told.record.encode()
    _verify(conn, site_id, record, raw, vin=said.vin)
    adopted = adopt_vehicle(
        conn, ids, record, raw=raw, gateway=told.gateway, token_sha256=bytes.fromhex(told.token_sha256),
        public_keys=told.public_keys, tags=told.tags, now=now,
    )  # fmt: skip
    if told.tests:
        software = str(record.signed["release"].get("version", ""))
        vehicle = said.order or said.vin
        results = [
            CheckResult(
                id=f"{vehicle}:{test.station}:{test.check}:{test.at.isoformat()}"[:ID_CHARS_MAX], vehicle=vehicle,
                station=test.station, check=test.check, passed=test.passed, at=test.at, variant=said.variant, software=software,
            )
            for test in told.tests
        ]  # fmt: skip
        take_results(conn, programme_id=said.programme, delivered=results, actor=ACTOR, now=now)
    if adopted.settled is not None:
        put_conflict(conn, site_id, "order_settled", said.order, adopted.settled, now=now)
    if adopted.parts_refused:
        reason = f"of the parts in its birth record, {len(adopted.parts_refused)} cannot be among those here: {adopted.parts_refused[0]}"
        put_conflict(conn, site_id, "parts_refused", said.vin, reason, now=now)


def _verify(conn: Connection, site_id: str, record: BirthRecord, raw: bytes, *, vin: str) -> None:
    """Refuse a record that the site's own key did not seal, certified by this hub. Raises: Untrusted."""
    if CERTIFICATE not in record.signed:
        raise Untrusted("the record was not sealed with a site's key", code="arbitrary_software")
    certificate = encode_canonical(record.signed[CERTIFICATE])
    if read_plant_key(certificate).plant != site_id:
        raise Untrusted(
            f"the record was sealed with the key of another plant, not of {site_id}", code="wrong_plant"
        )
    refused: Untrusted | None = None
    for root in reversed([bytes(row["bytes"]) for row in SQL.roots(conn) if row["repository"] == "director"]):
        try:  # a certificate of before a rotation has the key of an older root
            verify_plant_key(certificate, director_root=root)
            verify_record(raw, director_root=root, vin=vin)
        except Untrusted as error:
            refused = error
        else:
            return
    raise refused or Untrusted("this hub has no root of the Director", code="arbitrary_software")
