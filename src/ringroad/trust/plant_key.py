"""Keys of plants: what the Director lets a plant that is cut off sign by itself, birth records of its own vehicles.

A certificate names one plant, one key, the place that its VINs have for the plant, and until when; it is signed with the
Director's Targets key, in the envelope of metadata with a type of its own. A record that such a key signed carries it.
Bytes in, values out: no file, no network, no clock.

Invariant: a certificate is believed only if a Targets key of the given Director root signed it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from ringroad.kernel.errors import InvalidInput
from ringroad.trust.attacks import Attack, refuse
from ringroad.trust.canonical import decode_canonical, encode_canonical, encode_decoded
from ringroad.trust.keys import PublicKey, check_public_key, key_id, verifies
from ringroad.trust.metadata import EXPIRES, MetadataSignature, Root, parse_file, parse_time

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

PLANT_KEY_TYPE: Final = "plant-key"
CERTIFICATE_BYTES_MAX: Final = 16 * 1024  # bytes; one takes some 700
SIGNATURES_MAX: Final = 4
VIN_PLANT_AT: Final = 10  # of the plant in a VIN, counted from 0. Source: 49 CFR 565.15 (e), position 11
VIN_CHARS: Final = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"  # of a VIN. Source: ISO 3779
_PLANT: Final = r"^[^\x00]{1,200}$"


class _Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate says, as it is written."""

    type: Literal["plant-key"] = msgspec.field(name="_type")
    plant: Annotated[str, Meta(pattern=_PLANT)]
    vin_plant: Annotated[str, Meta(pattern=f"^[{VIN_CHARS}]$")]
    key: PublicKey
    issued: str
    expires: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantKey:
    """A certificate, read.

    Attributes:
        plant: whose key it is.
        vin_plant: what every VIN that it may sign for has in the place of the plant.
        key: the public key.
        key_id: of the key.
        issued_at: from when on it may sign.
        expires_at: the first moment at which it may not.
    """

    plant: str
    vin_plant: str
    key: PublicKey
    key_id: str
    issued_at: datetime
    expires_at: datetime

    def may_sign(self, vin: str, at: datetime) -> bool:
        """Say whether it may sign for a vehicle that is born then."""
        return (
            self.issued_at <= at < self.expires_at and vin[VIN_PLANT_AT : VIN_PLANT_AT + 1] == self.vin_plant
        )


def certify_plant_key(
    signer: Signer,
    *,
    plant: str,
    vin_plant: str,
    key: Mapping[str, Any],
    issued_at: datetime,
    expires_at: datetime,
) -> bytes:
    """Return a certificate of a plant's key, with the Director's word for it.

    Raises:
        InvalidInput: no such place in a VIN, or it ends before it begins.
        Untrusted: `malformed`: not a key of ours.
    """
    if vin_plant not in VIN_CHARS or len(vin_plant) != 1:
        raise InvalidInput(
            f"{vin_plant[:20]!r} cannot stand for a plant in a VIN", hint=f"one of {VIN_CHARS}"
        )
    if expires_at <= issued_at:
        raise InvalidInput("a plant's key has to end after it begins")
    public = msgspec.convert(dict(key), PublicKey)
    check_public_key(public)
    signed = {
        "_type": PLANT_KEY_TYPE, "plant": plant, "vin_plant": vin_plant, "key": public.to_dict(),
        "issued": issued_at.strftime(EXPIRES), "expires": expires_at.strftime(EXPIRES),
    }  # fmt: skip
    made = signer.sign(encode_canonical(signed))
    return encode_canonical({"signatures": [{"keyid": made.keyid, "sig": made.signature}], "signed": signed})


def read_plant_key(raw: bytes) -> PlantKey:
    """Return what a certificate says, believing no signature. Raises: Untrusted: `endless_data` or `malformed`."""
    return _parts(raw)[0]


def verify_plant_key(raw: bytes, *, director_root: bytes) -> PlantKey:
    """Return a certificate that the Director signed; whether it has ended is the caller's question.

    Raises:
        Untrusted: `malformed` or `arbitrary_software`.
    """
    found, signatures, data = _parts(raw)
    if not signed_by_targets(signatures, data, director_root=director_root):
        raise refuse(
            Attack.ARBITRARY_SOFTWARE, f"no key of this root vouches for the key of plant {found.plant[:40]}"
        )
    return found


def signed_by_targets(signatures: Sequence[MetadataSignature], data: bytes, *, director_root: bytes) -> bool:
    """Say whether a Targets key of a Director root signed `data`. Raises: Untrusted, the root cannot be read."""
    root = parse_file(director_root, Root).signed
    trusted = set(root.roles.of("targets").keyids)
    return any(
        each.keyid in trusted
        and verifies(root.keys[each.keyid], keyid=each.keyid, signature=each.sig, data=data)
        for each in signatures
    )


def _parts(raw: bytes) -> tuple[PlantKey, list[MetadataSignature], bytes]:
    document = decode_canonical(raw, bytes_max=CERTIFICATE_BYTES_MAX)
    if not isinstance(document, dict) or set(document) != {"signatures", "signed"}:
        raise refuse(Attack.MALFORMED, "a certificate has two members, signatures and signed")
    try:
        signed = msgspec.convert(document["signed"], _Signed)
        signatures = msgspec.convert(document["signatures"], list[MetadataSignature])
    except msgspec.ValidationError as error:
        raise refuse(
            Attack.MALFORMED, "this is no certificate of a plant's key", detail=str(error)
        ) from error
    if len(signatures) > SIGNATURES_MAX:
        raise refuse(Attack.MALFORMED, f"more than {SIGNATURES_MAX} signatures")
    check_public_key(signed.key)
    found = PlantKey(
        plant=signed.plant, vin_plant=signed.vin_plant, key=signed.key, key_id=key_id(signed.key),
        issued_at=parse_time(signed.issued), expires_at=parse_time(signed.expires),
    )  # fmt: skip
    return found, signatures, encode_decoded(document["signed"])
