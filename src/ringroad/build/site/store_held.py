"""At a site: what it holds of its hub's word, the release that its line is to flash, and the births it has to tell.

The caller opens the transaction.

Invariants:
    Nothing is held that was not verified, and nothing older takes the place of what is held.
    The line's baseline is replaced only by one whose images are all here and in the verified metadata.
    A birth and what goes to the hub of it are in the same transaction, or neither is.
    No vehicle is born whose record would not verify with what is held.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from psycopg.types.json import Jsonb

from ringroad.build.model import Package
from ringroad.build.site.flash import Flash, Held, Stand, decide_flash, not_released
from ringroad.build.site.lines import SQL
from ringroad.build.site.store import believe_time, pass_time, seen_at
from ringroad.build.store import get_baseline, get_release
from ringroad.build.store_packages import SQL as BUILD
from ringroad.build.store_packages import list_programmes, packages_by_id
from ringroad.build.store_plant import replan
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import InvalidInput, Unavailable, Untrusted
from ringroad.kernel.facts import FactKind
from ringroad.protocol.site import ASK_FORMAT, BIRTH_BYTES_MAX, DownBaseline, SiteBirth, Trust
from ringroad.storage.db import Connection, of_row
from ringroad.storage.ledger import append_fact
from ringroad.trust.birth import verify_record
from ringroad.trust.plant_key import VIN_PLANT_AT, verify_plant_key
from ringroad.trust.released import verify_released, verify_roots
from ringroad.trust.state import RepositoryState

ACTOR: Final = "system:hub"
CODE: Final = "may_not_flash"  # of the refusal; the line stands, and goes on by itself
_JSON: Final = frozenset({"findings", "requires", "conflicts"})
_CERTIFICATE: Final = "certificate"
_PARTS: Final = (
    "image.root",
    "image.timestamp",
    "image.snapshot",
    "image.targets",
    "director.root",
    _CERTIFICATE,
)

REASON_CHARS_MAX: Final = 1_000  # of why nothing new is held
_NO_NEWS: Final = "no-news"
_REFUSED: Final = "refused/"  # before the digest of an image
REFUSED_S: Final = 300  # seconds before an image that could not be brought here is asked for again

IsHere = Callable[[str], bool]  # whether the image of a digest is in the blob store


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """What a site trusts from the day it joined, and who it is.

    Attributes:
        site: its name.
        key_id: of its own key.
        image_root: of the Image repository, the first.
        director_root: of the Director, the first.
    """

    site: str
    key_id: str
    image_root: bytes
    director_root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """A baseline that its hub wants, until the line may flash it."""

    programme_id: str
    baseline: DownBaseline
    packages: tuple[Package, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineHolds:
    """What the end of one line may flash.

    Attributes:
        programme_id: whose line.
        release: name and version of its baseline; "" for none.
        decision: whether it may be flashed now.
        coming: name and version of the release that the hub wants instead; "" for none.
        coming_missing: its images that are not here yet.
        refused: an image that the line is to flash and that could not be brought here, and why; "" for none.
    """

    programme_id: str
    release: str
    decision: Flash | Stand
    coming: str
    coming_missing: int
    refused: str


# What the hub says ---------------------------------------------------------------------------------


def read_held(conn: Connection) -> Held | None:
    """Return what is held; None: nothing yet, or not all of it."""
    held = _verified(conn)
    return held if held is not None and held.certificate else None


def _verified(conn: Connection) -> Held | None:
    """Return what was verified last, also without a certificate: dropping that makes nothing older good again."""
    rows = {row["name"]: row for row in SQL.trusts(conn, prefix="")}
    if not set(_PARTS) - {_CERTIFICATE} <= set(rows):
        return None
    raw = {name: bytes(rows[name]["bytes"]) if name in rows else b"" for name in _PARTS}
    verified_at = rows["image.timestamp"]["at"].astimezone(UTC)
    return Held(
        image=RepositoryState(
            root=raw["image.root"], timestamp=raw["image.timestamp"], snapshot=raw["image.snapshot"],
            targets=raw["image.targets"],
        ),
        director_root=raw["director.root"], certificate=raw[_CERTIFICATE],
        verified_at=verified_at, seen_at=seen_at(conn) or verified_at,
    )  # fmt: skip


def take_trust(conn: Connection, given: Trust, *, targets: bytes, anchors: Anchors, now: datetime) -> Held:
    """Verify what the hub answered over what is held, and hold it.

    Raises:
        Unavailable: the hub speaks another format, or has no keys yet.
        Untrusted: any of it does not verify; what was held stays.
    """
    if given.format != ASK_FORMAT:
        raise Unavailable(f"the hub speaks format {given.format}", hint="bring this site up to date")
    if not given.certificate or not given.timestamp:
        raise Unavailable(
            "the hub has signed nothing yet", hint="there: ringroad keys init, and sign a release"
        )
    before = _verified(conn)
    now = max(now, before.verified_at) if before else now
    image = verify_released(
        before.image if before else RepositoryState(root=anchors.image_root),
        roots=[each.encode() for each in given.image_roots], timestamp=given.timestamp.encode(),
        snapshot=given.snapshot.encode(), targets=targets, now=now,
    )  # fmt: skip
    director_root = verify_roots(
        before.director_root if before else anchors.director_root,
        [each.encode() for each in given.director_roots],
        now=now,
    )
    certificate = given.certificate.encode()
    key = verify_plant_key(certificate, director_root=director_root)
    if (key.plant, key.key_id) != (anchors.site, anchors.key_id) or key.expires_at <= now:
        raise Untrusted(
            "the hub's certificate is not of this site's key, or has ended", code="wrong_certificate"
        )
    parts = (image.root, image.timestamp, image.snapshot, image.targets, director_root, certificate)
    for name, raw in zip(_PARTS, parts, strict=True):
        SQL.put_trust(conn, name=name, bytes=raw, now=now)
    believe_time(conn, now=now)
    return Held(
        image=image, director_root=director_root, certificate=certificate, verified_at=now, seen_at=now
    )


def drop_certificate(conn: Connection) -> None:
    """Vouch for no vehicle any more with a key that the hub does not vouch for; the line stands."""
    SQL.drop_trust(conn, name=_CERTIFICATE)


def note_no_news(conn: Connection, reason: str, *, now: datetime) -> None:
    """Note why nothing new of the hub's word is held; "": it is."""
    if reason != no_news(conn):
        SQL.put_trust(conn, name=_NO_NEWS, bytes=reason[:REASON_CHARS_MAX].encode(), now=now)


def no_news(conn: Connection) -> str:
    """Return why nothing new of the hub's word is held; "": it is, or was the last time that the hub was reached."""
    return "".join(bytes(row["bytes"]).decode() for row in SQL.trusts(conn, prefix=_NO_NEWS))


def want_baseline(conn: Connection, programme_id: str, baseline: DownBaseline, *, now: datetime) -> None:
    """Note what the hub wants the line to flash; it does from when its images are here and verified."""
    here = get_baseline(conn, programme_id)
    same = here is not None and (here.release_id, here.packages, here.rxswins) == (
        baseline.release["id"], baseline.targets, baseline.rxswins,
    )  # fmt: skip
    if same:
        SQL.drop_trust(conn, name=f"baseline/{programme_id}")
        return
    SQL.put_trust(conn, name=f"baseline/{programme_id}", bytes=msgspec.json.encode(baseline), now=now)


def coming(conn: Connection) -> list[Coming]:
    """Return the baselines that the hub wants and the lines do not have."""
    found = []
    for row in SQL.trusts(conn, prefix="baseline/"):
        baseline = msgspec.json.decode(bytes(row["bytes"]), type=DownBaseline)
        packages = tuple(
            of_row(Package, each, hardware_ids=tuple(each["hardware_ids"]), requires=(), conflicts=())
            for each in baseline.packages
        )
        found.append(
            Coming(programme_id=row["name"].removeprefix("baseline/"), baseline=baseline, packages=packages)
        )
    return found


def images_to_fetch(conn: Connection, held: Held, is_here: IsHere) -> dict[str, int]:
    """Return digest and bytes of each image that a line is to flash, that is released, and that is not here."""
    packages = [package for each in coming(conn) for package in each.packages]
    for programme in list_programmes(conn):
        packages += _of_baseline(conn, programme.programme.id)
    unknown = set(not_released(held.image, packages))
    return {
        each.image_sha256: each.image_bytes
        for each in packages
        if each.filename not in unknown and not is_here(each.image_sha256)
    }


def refuse_image(conn: Connection, sha256: str, reason: str, *, now: datetime) -> None:
    """Note an image that could not be brought here; the others are, and it is asked for again later."""
    SQL.put_trust(conn, name=f"{_REFUSED}{sha256}", bytes=reason.encode(), now=now)


def refused_images(conn: Connection, *, now: datetime) -> dict[str, str]:
    """Return digest and reason of images that could not be brought here, and are not asked for again yet."""
    return {
        row["name"].removeprefix(_REFUSED): bytes(row["bytes"]).decode()
        for row in SQL.trusts(conn, prefix=_REFUSED)
        if timedelta() <= now - row["at"] < timedelta(seconds=REFUSED_S)
    }


def forget_refused(conn: Connection, missing: Collection[str]) -> None:
    """Forget what was noted of images that are here by now, or that no line is to flash any more."""
    for row in SQL.trusts(conn, prefix=_REFUSED):
        if row["name"].removeprefix(_REFUSED) not in missing:
            SQL.drop_trust(conn, name=row["name"])


def take_coming(conn: Connection, ids: Ids, clock: Clock, *, is_here: IsHere) -> list[str]:
    """Let each line flash what its hub wants, once all of it is here and verified; return the programmes."""
    held, taken = read_held(conn), []
    for each in coming(conn):
        missing = {package.image_sha256 for package in each.packages if not is_here(package.image_sha256)}
        if isinstance(decide_flash(held, each.packages, missing=missing, now=clock.now()), Stand):
            continue
        _take_baseline(conn, ids, each, now=clock.now())
        SQL.drop_trust(conn, name=f"baseline/{each.programme_id}")
        replan(
            conn, ids, clock, programme_id=each.programme_id, cause="new_release", actor=ACTOR,
            triggered_s=clock.monotonic_s(), triggered_at=clock.now(), parent=_sequence(conn, each.programme_id),
        )  # fmt: skip
        taken.append(each.programme_id)
    return taken


def keep_sequence(conn: Connection, programme_id: str, sequence: Sequence[str], *, now: datetime) -> None:
    """Note the hub's sequence for when the line may flash: without a baseline it holds every order back."""
    SQL.put_trust(conn, name=f"sequence/{programme_id}", bytes=msgspec.json.encode(list(sequence)), now=now)


def _sequence(conn: Connection, programme_id: str) -> list[str] | None:
    name = f"sequence/{programme_id}"
    rows = [row for row in SQL.trusts(conn, prefix=name) if row["name"] == name]
    return msgspec.json.decode(bytes(rows[0]["bytes"]), type=list[str]) if rows else None


def _take_baseline(conn: Connection, ids: Ids, given: Coming, *, now: datetime) -> None:
    baseline, programme_id = given.baseline, given.programme_id
    here = get_baseline(conn, programme_id)
    BUILD.lock_programme(conn, programme_id=programme_id)
    for package in baseline.packages:
        SQL.put_package(conn, **_columns(package))
    SQL.put_release(conn, **_columns(baseline.release))
    release_id = str(baseline.release["id"])
    SQL.put_baseline(
        conn, programme_id=programme_id, release_id=release_id, packages=Jsonb(baseline.targets),
        rxswins=Jsonb(baseline.rxswins), now=now,
    )  # fmt: skip
    append_fact(
        conn, ids, kind=FactKind.BASELINE_SET, subject=programme_id, actor=ACTOR, now=now,
        body={"release_id": release_id, "generation": (here.generation if here else 0) + 1},
    )  # fmt: skip


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Jsonb(value) if isinstance(value, dict) or name in _JSON else value
        for name, value in row.items()
    }


# What its line may do ------------------------------------------------------------------------------


def line_holds(conn: Connection, programme_id: str, *, is_here: IsHere, now: datetime) -> LineHolds:
    """Return what the end of a line may flash."""
    packages = _of_baseline(conn, programme_id)
    baseline = get_baseline(conn, programme_id)
    missing = {each.image_sha256 for each in packages if not is_here(each.image_sha256)}
    decision = decide_flash(read_held(conn), packages, missing=missing, now=now)
    if baseline is None and isinstance(decision, Flash):
        decision = Stand(code="no_baseline", reason="the line has no baseline yet", until=decision.until)
    wanted = next((each for each in coming(conn) if each.programme_id == programme_id), None)
    release = get_release(conn, baseline.release_id) if baseline else None
    return LineHolds(
        programme_id=programme_id, release=f"{release.name} {release.version}" if release else "", decision=decision,
        coming=f"{wanted.baseline.release['name']} {wanted.baseline.release['version']}" if wanted else "",
        coming_missing=sum(not is_here(each.image_sha256) for each in wanted.packages) if wanted else 0,
        refused=_first_refused(conn, [*packages, *(wanted.packages if wanted else ())], is_here=is_here),
    )  # fmt: skip


def _first_refused(conn: Connection, packages: Iterable[Package], *, is_here: IsHere) -> str:
    refused = {
        row["name"].removeprefix(_REFUSED): bytes(row["bytes"]) for row in SQL.trusts(conn, prefix=_REFUSED)
    }
    return next(
        (
            f"{each.filename}: {refused[each.image_sha256].decode()}"
            for each in packages
            if each.image_sha256 in refused and not is_here(each.image_sha256)
        ),
        "",
    )


def must_flash(conn: Connection, programme_id: str, *, is_here: IsHere, now: datetime) -> Held:
    """Return what is held, if the line may flash. Raises: Unavailable, with why and until when."""
    found = line_holds(conn, programme_id, is_here=is_here, now=now)
    held = read_held(conn)
    if isinstance(found.decision, Stand) or held is None:
        reason = found.decision.reason if isinstance(found.decision, Stand) else "nothing is held"
        raise Unavailable(
            f"the line of {programme_id} may not flash: {reason}",
            hint="ringroad site status shows what is held and until when; nothing is flashed past its end",
            code=CODE,
        )
    return held


def check_vin(held: Held, vin: str) -> None:
    """Refuse a VIN that is not this plant's. Raises: InvalidInput."""
    if vin[VIN_PLANT_AT] != held.plant_key.vin_plant:
        raise InvalidInput(
            f"the VINs of this plant have {held.plant_key.vin_plant} in place {VIN_PLANT_AT + 1}, {vin} has {vin[VIN_PLANT_AT]}",
            hint="its hub gave it that place, so that no two plants make one VIN",
            code="vin_of_another_plant",
        )


def keep_to_tell(conn: Connection, born: SiteBirth, *, vin: str, now: datetime) -> None:
    """Note a birth of this transaction for the hub; its number and place among the events are given here.

    Raises:
        Unavailable: nobody could verify its record.
        InvalidInput: it is larger than what the link takes.
    """
    _check_seal(conn, born, vin=vin)
    SQL.lock_births(conn)
    pass_time(conn, now=now)
    numbered = msgspec.structs.replace(
        born,
        number=SQL.last_birth(conn) + 1,
        after=SQL.last_position(conn, programme_id=born.programme_id),
    )
    told = msgspec.json.encode(numbered)
    try:
        msgspec.json.decode(
            told, type=SiteBirth
        )  # what its hub could not read would stand before all that follows
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"the birth of {vin} is not as its hub reads it: {error}", code="birth_unreadable"
        ) from error
    if len(told) > BIRTH_BYTES_MAX:
        raise InvalidInput(
            f"the birth of {vin} takes {len(told)} bytes, its hub takes {BIRTH_BYTES_MAX}",
            code="birth_oversized",
        )
    SQL.put_birth(conn, number=numbered.number, vin=vin, told=told, now=now)


def _check_seal(conn: Connection, born: SiteBirth, *, vin: str) -> None:
    """Refuse a birth whose record does not verify with what is held. Raises: Unavailable, with why."""
    held = read_held(conn)
    root = held.director_root if held else b""
    try:
        verify_record(born.record.encode(), director_root=root, vin=vin)
    except Untrusted as error:
        raise Unavailable(
            f"the line may not bear {vin}: nobody could verify its birth record: {error.message}",
            hint="set this site's clock; after its key file was replaced, its hub has to be reached once",
            code="birth_not_sealed",
        ) from error


def _of_baseline(conn: Connection, programme_id: str) -> Sequence[Package]:
    baseline = get_baseline(conn, programme_id)
    if baseline is None:
        return ()
    package_ids = {each for ecus in baseline.packages.values() for each in ecus.values()}
    return tuple(packages_by_id(conn, tuple(sorted(package_ids))).values())
