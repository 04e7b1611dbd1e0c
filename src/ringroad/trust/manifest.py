"""Vehicle version manifests: what every ECU runs, said and signed by the ECUs and by the Primary.

Two layers of the same envelope ``{"signatures": [...], "signed": {...}}`` in canonical JSON:

1. ECU version report: signed by the ECU's key: serial, installed image, attack seen, time, counter.
2. Vehicle version manifest: signed by the Primary's key: VIN, Primary's serial, all reports.

Invariant: `verify_manifest` returns only what every ECU of the inventory signed, each with a counter that was
never seen before.

Source: Uptane 2.1 sections 5.4.2.1.1, 5.4.2.1.2 and 5.3.2.1 (whose SHOULD checks are all mandatory here).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from securesystemslib.signer import CryptoSigner

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import ECUS_MAX, IMAGE_BYTES_MAX, MANIFEST_BYTES_MAX
from ringroad.protocol.vehicle import Sha256
from ringroad.trust.attacks import Attack, refuse
from ringroad.trust.canonical import INTEGER_MAX, decode_canonical, encode_canonical, encode_decoded
from ringroad.trust.keys import PublicKey, check_public_key, key_id, verifies
from ringroad.trust.metadata import EXPIRES, KeyId, Serial, Sha512, Shape, check_filename, parse_time

CLOCK_SKEW_S_MAX: Final = (
    300  # seconds an ECU's clock may be ahead of ours; RFC 8633 keeps NTP within a second
)


UNLISTED: Final = "unlisted"  # filename of an image that the Image repository does not list


class RunningHashes(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digests of what runs on an ECU; of an image that nobody lists only the one that the ECU itself tells."""

    sha256: Sha256
    sha512: Sha512 | UnsetType = UNSET


class InstalledImage(Shape, frozen=True, kw_only=True):
    """What runs on an ECU: an image as it is listed, or `UNLISTED` with its digest and nothing else."""

    filename: str
    hashes: RunningHashes
    length: Annotated[int, Meta(ge=1, le=IMAGE_BYTES_MAX)] | UnsetType = UNSET


class PayloadHash(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The digest of the signed part."""

    function: Literal["sha256"]
    value: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class ReportSignature(Shape, frozen=True, kw_only=True):
    """One signature: key id, method, digest and its function, signature."""

    keyid: KeyId
    method: Annotated[str, Meta(max_length=40)]
    hash: PayloadHash
    sig: Annotated[str, Meta(pattern="^([0-9a-f]{2})+$", max_length=16_384)]


class EcuReport(Shape, frozen=True, kw_only=True):
    """The signed part of an ECU version report."""

    ecu_serial: Serial
    installed_image: InstalledImage
    attacks_detected: Annotated[str, Meta(max_length=200)]  # an `Attack` code, or empty
    latest_time: str
    counter: Annotated[int, Meta(ge=1, le=INTEGER_MAX)]


class _Envelope(Shape, frozen=True, kw_only=True):
    signatures: Annotated[list[ReportSignature], Meta(min_length=1, max_length=4)]
    signed: dict[str, Any]


class _ManifestBody(Shape, frozen=True, kw_only=True):
    vin: str
    primary_ecu_serial: Serial
    ecu_reports: Annotated[list[_Envelope], Meta(max_length=ECUS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleManifest:
    """A vehicle version manifest, read.

    Attributes:
        vin: the vehicle.
        primary_serial: the ECU that put it together.
        reports: by ECU serial.
        digest: SHA-256, in hex, of the whole manifest as it was received.
    """

    vin: str
    primary_serial: str
    reports: Mapping[str, EcuReport]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryKey:
    """What the Director knows of one ECU."""

    serial: str
    key: PublicKey
    is_primary: bool = False


def build_ecu_report(
    signer: CryptoSigner,
    *,
    serial: str,
    filename: str,
    length: int | None,
    sha256: str,
    sha512: str | None,
    latest_time: datetime,
    counter: int,
    attacks_detected: str = "",
) -> dict[str, Any]:
    """Return a signed ECU version report, to be put into a manifest.

    Args:
        signer: of the ECU's own key.
        serial: of the ECU.
        filename: target name of the installed image; `UNLISTED` if it has none.
        length: of the installed image, bytes; None if it is not listed, and so not known.
        sha256: hex.
        sha512: hex; None as with `length`.
        latest_time: the latest time the ECU verified, UTC.
        counter: higher than in every report before.
        attacks_detected: an `Attack` code, or empty.
    """
    return _seal(
        {
            "ecu_serial": serial,
            "installed_image": {
                "filename": filename,
                "hashes": {"sha256": sha256} | ({} if sha512 is None else {"sha512": sha512}),
            }
            | ({} if length is None else {"length": length}),
            "attacks_detected": attacks_detected,
            "latest_time": latest_time.astimezone(UTC).strftime(EXPIRES),
            "counter": counter,
        },
        signer,
    )


def build_manifest(
    signer: CryptoSigner, *, vin: str, primary_serial: str, reports: Sequence[Mapping[str, Any]]
) -> bytes:
    """Return a vehicle version manifest signed by the Primary.

    Args:
        signer: of the Primary's key.
        vin: of the vehicle.
        primary_serial: the Primary's ECU serial.
        reports: from `build_ecu_report`, one for each ECU, the Primary's own included.
    """
    body = {
        "vin": vin,
        "primary_ecu_serial": primary_serial,
        "ecu_reports": [dict(report) for report in reports],
    }
    return encode_canonical(_seal(body, signer))


def decode_manifest(raw: bytes) -> VehicleManifest:
    """Return what a manifest says, believing no signature; for manifests that were verified before.

    Raises:
        Untrusted: `endless_data`, `malformed`, `repeated_ecu` or `path_traversal`.
    """
    _, body, reports = _open(raw)
    return _manifest(raw, body, reports)


def verify_manifest(
    raw: bytes,
    *,
    vin: str,
    inventory: Sequence[InventoryKey],
    previous: VehicleManifest | None,
    now: datetime,
) -> VehicleManifest:
    """Return a manifest that the vehicle's own keys signed.

    A manifest that was sent twice is a replay: the caller compares `digest` first to answer a retry.

    Args:
        raw: as received.
        vin: whom the connection belongs to.
        inventory: every ECU of the vehicle that is not removed.
        previous: the last accepted manifest, for counters and times; None for the first.
        now: UTC.

    Raises:
        InvalidInput: the inventory has not exactly one Primary.
        Untrusted: `wrong_vehicle`, `unknown_ecu`, `incomplete_manifest`, `forged_report`, `replay`, `time`,
            and what `decode_manifest` raises.
    """
    known = {ecu.serial: ecu for ecu in inventory}
    primaries = [ecu for ecu in inventory if ecu.is_primary]
    if len(primaries) != 1 or len(known) != len(inventory):
        raise InvalidInput("an inventory has one Primary, and each serial once")
    envelope, body, reports = _open(raw)
    _check_sealed(envelope, primaries[0])
    if body.vin != vin:
        raise refuse(Attack.WRONG_VEHICLE, "the manifest is of another vehicle")
    if body.primary_ecu_serial != primaries[0].serial:
        raise refuse(Attack.UNKNOWN_ECU, f"{body.primary_ecu_serial} is not the Primary of this vehicle")
    for report_envelope, report in reports:
        ecu = known.get(report.ecu_serial)
        if ecu is None:
            raise refuse(Attack.UNKNOWN_ECU, f"ECU {report.ecu_serial} is not in this vehicle")
        _check_sealed(report_envelope, ecu)
    manifest = _manifest(raw, body, reports)
    missing = sorted(known.keys() - manifest.reports.keys())
    if missing:
        raise refuse(Attack.INCOMPLETE_MANIFEST, f"no report of ECU {missing[0]}")
    for serial, report in manifest.reports.items():
        before = previous.reports.get(serial) if previous else None
        _check_fresh(report, before, now=now)
    return manifest


def _seal(signed: Mapping[str, Any], signer: CryptoSigner) -> dict[str, Any]:
    data = encode_canonical(signed)
    signature = signer.sign(data)
    return {
        "signatures": [
            {
                "keyid": signature.keyid,
                "method": signer.public_key.scheme,
                "hash": {"function": "sha256", "value": hashlib.sha256(data).hexdigest()},
                "sig": signature.signature,
            }
        ],
        "signed": dict(signed),
    }


def _open(raw: bytes) -> tuple[_Envelope, _ManifestBody, list[tuple[_Envelope, EcuReport]]]:
    document = decode_canonical(raw, bytes_max=MANIFEST_BYTES_MAX)
    try:
        envelope = msgspec.convert(document, _Envelope)
        body = msgspec.convert(envelope.signed, _ManifestBody)
        reports = [(one, msgspec.convert(one.signed, EcuReport)) for one in body.ecu_reports]
    except msgspec.ValidationError as error:
        raise refuse(Attack.MALFORMED, "not a vehicle version manifest", detail=str(error)) from error
    for _, report in reports:
        check_filename(report.installed_image.filename)
        _check_whole(report)
        parse_time(report.latest_time)
    return envelope, body, reports


def _check_whole(report: EcuReport) -> None:
    """Refuse an image that says less of itself than a listed one has to, and does not say that it is not listed."""
    image = report.installed_image
    said = (image.length is not UNSET, image.hashes.sha512 is not UNSET)
    if said not in ({(True, True)} if image.filename != UNLISTED else {(False, False)}):
        raise refuse(Attack.MALFORMED, f"ECU {report.ecu_serial}: half an image")


def _manifest(
    raw: bytes, body: _ManifestBody, reports: Sequence[tuple[_Envelope, EcuReport]]
) -> VehicleManifest:
    by_serial = {report.ecu_serial: report for _, report in reports}
    if len(by_serial) != len(reports):
        raise refuse(Attack.REPEATED_ECU, "an ECU reports twice")
    return VehicleManifest(
        vin=body.vin,
        primary_serial=body.primary_ecu_serial,
        reports=by_serial,
        digest=hashlib.sha256(raw).hexdigest(),
    )


def _check_sealed(envelope: _Envelope, ecu: InventoryKey) -> None:
    check_public_key(ecu.key)
    expected = key_id(ecu.key)
    data = encode_decoded(envelope.signed)
    digest = hashlib.sha256(data).hexdigest()
    for signature in envelope.signatures:
        if (
            signature.keyid == expected
            and signature.method == ecu.key.scheme
            and signature.hash.value == digest
            and verifies(ecu.key, keyid=expected, signature=signature.sig, data=data)
        ):
            return
    raise refuse(Attack.FORGED_REPORT, f"not signed by the key of ECU {ecu.serial}")


def _check_fresh(report: EcuReport, before: EcuReport | None, *, now: datetime) -> None:
    at = parse_time(report.latest_time)
    if now + timedelta(seconds=CLOCK_SKEW_S_MAX) < at:
        raise refuse(Attack.TIME, f"ECU {report.ecu_serial} reports from the future")
    if before is None:
        return
    if report.counter <= before.counter:
        raise refuse(Attack.REPLAY, f"ECU {report.ecu_serial}: counter {report.counter} was seen before")
    if at < parse_time(before.latest_time):
        raise refuse(Attack.TIME, f"ECU {report.ecu_serial}: its time went back")
