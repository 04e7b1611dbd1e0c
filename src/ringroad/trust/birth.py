"""Birth records: what a vehicle was when it left the line, in one canonical form, sealed with the Director's key.

A plant that is cut off seals with a key of its own, whose certificate by the Director is part of what it signs.

The envelope is that of metadata, ``{"signatures": [...], "signed": {...}}``; its type keeps it from being taken for any.
Bytes in, values out: who stores them, and which root is trusted, is the caller's.

Invariant: `verify_record` returns only what a Targets key of the given Director root signed, or a plant's key that it
certified for that plant, those VINs and that day; and only for the given vehicle.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ringroad.trust.attacks import Attack, refuse
from ringroad.trust.canonical import decode_canonical, encode_canonical, encode_decoded
from ringroad.trust.keys import verifies
from ringroad.trust.metadata import MetadataSignature
from ringroad.trust.plant_key import PlantKey, read_plant_key, signed_by_targets, verify_plant_key

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

RECORD_TYPE: Final = "birth-record"
RECORD_BYTES_MAX: Final = 1024**2  # bytes; 256 ECUs and 1,000 parts take some 400 kB
CERTIFICATE: Final = "certificate"  # member of a record that a plant's key signed
_SIGNATURES_MAX: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BirthRecord:
    """A birth record, read.

    Attributes:
        signed: what it says.
        sha256: of that in canonical form, hex.
        key_ids: who signed it; nobody's word for it before `verify_record`.
    """

    signed: Mapping[str, Any]
    sha256: str
    key_ids: tuple[str, ...]


def plain_text(text: str) -> str:
    """Return a text as canonical JSON can hold it: composed, without control characters."""
    return "".join(
        c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) not in {"Cc", "Cs"}
    )


def seal_record(
    document: Mapping[str, Any], signer: Signer | None, *, certificate: bytes | None = None
) -> bytes:
    """Return a birth record as it is kept and carried; without a signer nobody vouches for it yet.

    Args:
        document: what it says.
        signer: the Director's Targets key, or that of the plant.
        certificate: of the plant's key.

    Raises:
        InvalidInput: it has no canonical form.
        Untrusted: the certificate cannot be read.
    """
    signed = {**document, "_type": RECORD_TYPE}
    if certificate is not None:
        read_plant_key(certificate)
        signed[CERTIFICATE] = decode_canonical(certificate, bytes_max=RECORD_BYTES_MAX)
    data = encode_canonical(signed)
    signatures = []
    if signer is not None:
        made = signer.sign(data)
        signatures.append({"keyid": made.keyid, "sig": made.signature})
    return encode_canonical({"signatures": signatures, "signed": signed})


def read_record(raw: bytes) -> BirthRecord:
    """Return what a birth record says, believing no signature.

    Raises:
        Untrusted: `endless_data` or `malformed`.
    """
    document = decode_canonical(raw, bytes_max=RECORD_BYTES_MAX)
    if not isinstance(document, dict) or set(document) != {"signatures", "signed"}:
        raise refuse(Attack.MALFORMED, "a birth record has two members, signatures and signed")
    signed = document["signed"]
    if not isinstance(signed, dict) or signed.get("_type") != RECORD_TYPE:
        raise refuse(Attack.MALFORMED, "this is no birth record")
    return BirthRecord(
        signed=signed,
        sha256=hashlib.sha256(encode_decoded(signed)).hexdigest(),
        key_ids=tuple(each.keyid for each in _signatures(document)),
    )


def verify_record(raw: bytes, *, director_root: bytes, vin: str) -> BirthRecord:
    """Return a birth record of a vehicle that the Director signed.

    The root's expiry is not looked at: a record is of a day, and is to be read for as long as the vehicle lives.

    Raises:
        Untrusted: `malformed`, `arbitrary_software` or `wrong_vehicle`.
    """
    record = read_record(raw)
    document = decode_canonical(raw, bytes_max=RECORD_BYTES_MAX)
    data, signatures = encode_decoded(document["signed"]), _signatures(document)
    plant_key = plant_key_of(record, director_root=director_root)
    if plant_key is not None:
        good = any(
            each.keyid == plant_key.key_id
            and verifies(plant_key.key, keyid=each.keyid, signature=each.sig, data=data)
            for each in signatures
        )
    else:
        good = signed_by_targets(signatures, data, director_root=director_root)
    if not good:
        raise refuse(
            Attack.ARBITRARY_SOFTWARE,
            "nobody signed this birth record"
            if not record.key_ids
            else "no key of this root signed this birth record",
        )
    if record.signed.get("vin") != vin:
        raise refuse(
            Attack.WRONG_VEHICLE, f"the birth record is of {str(record.signed.get('vin'))[:40]}, not of {vin}"
        )
    if plant_key is not None:
        _check_scope(record, plant_key)
    return record


def plant_key_of(record: BirthRecord, *, director_root: bytes) -> PlantKey | None:
    """Return the key of the plant that says it sealed a record, with the Director's word for it; None: no plant does.

    Raises:
        Untrusted: its certificate is `malformed`, or not signed by the Director.
    """
    if CERTIFICATE not in record.signed:
        return None
    return verify_plant_key(encode_decoded(record.signed[CERTIFICATE]), director_root=director_root)


def _check_scope(record: BirthRecord, plant_key: PlantKey) -> None:
    """Refuse what a plant's key may not sign: another plant's vehicle, another's VIN, another day."""
    plant, vin = record.signed.get("plant"), str(record.signed.get("vin"))
    try:
        born_at = datetime.fromisoformat(str(record.signed.get("born_at")))
        good = (
            isinstance(plant, dict)
            and plant.get("id") == plant_key.plant
            and plant_key.may_sign(vin, born_at)
        )
    except (ValueError, TypeError) as error:
        raise refuse(Attack.MALFORMED, "this birth record has no time of birth") from error
    if not good:
        raise refuse(
            Attack.ARBITRARY_SOFTWARE,
            f"the key of plant {plant_key.plant[:40]} may not sign for {vin[:40]}, born {born_at.isoformat()}",
        )


def _signatures(document: Mapping[str, Any]) -> list[MetadataSignature]:
    try:
        found = msgspec.convert(document["signatures"], list[MetadataSignature])
    except msgspec.ValidationError as error:
        raise refuse(Attack.MALFORMED, "these are no signatures", detail=str(error)) from error
    if len(found) > _SIGNATURES_MAX:
        raise refuse(Attack.MALFORMED, f"more than {_SIGNATURES_MAX} signatures")
    return found
