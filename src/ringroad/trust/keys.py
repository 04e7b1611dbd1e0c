"""Keys: Ed25519 key pairs, their TUF key ids, and their PEM form.

Not a key store: writing files is the command line's work, and the random seed is an argument.

Only Ed25519: TUF writes P-256 and ML-DSA keys as PEM, whose line breaks have no canonical form here (ADR 0010).

Invariant: a key id is the SHA-256 of (type, scheme, value) in canonical form, and is checked wherever a key is
read, so one key can never count twice towards a threshold under two ids.

Source: Uptane 2.1 section 5.2.1; TUF 1.0.31 section 4.2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from ringroad.kernel.errors import InvalidInput
from ringroad.trust.attacks import Attack, refuse
from ringroad.trust.canonical import encode_canonical

SEED_BYTES: Final = 32  # RFC 8032 section 5.1.5
_ED25519_PUBLIC = re.compile(r"[0-9a-f]{64}")


class PublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key as TUF metadata writes it."""

    keytype: str
    scheme: str
    keyval: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the TUF key dict."""
        return {"keytype": self.keytype, "scheme": self.scheme, "keyval": dict(self.keyval)}


def key_from_seed(seed: bytes) -> CryptoSigner:
    """Return the Ed25519 signer of a 32-byte secret seed, for example ``secrets.token_bytes(32)``.

    Raises:
        InvalidInput: the seed is not 32 bytes.
    """
    if len(seed) != SEED_BYTES:
        raise InvalidInput(f"a key seed has {SEED_BYTES} bytes, not {len(seed)}")
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))


def public_key_dict(signer: CryptoSigner) -> dict[str, Any]:
    """Return the TUF key dict of a signer's public half."""
    return dict(signer.public_key.to_dict())


def key_id(key: PublicKey | Mapping[str, Any]) -> str:
    """Return the TUF key id: SHA-256, in hex, of key type, scheme and value in canonical form."""
    fields = key.to_dict() if isinstance(key, PublicKey) else key
    return hashlib.sha256(
        encode_canonical({name: fields[name] for name in ("keytype", "scheme", "keyval")})
    ).hexdigest()


def parse_public_key(fields: Mapping[str, Any]) -> PublicKey:
    """Return a key dict as a checked public key.

    Raises:
        Untrusted: `malformed`: not a key dict, an algorithm we do not use, or a second spelling of a key.
    """
    try:
        key = msgspec.convert(dict(fields), PublicKey)
    except msgspec.ValidationError as error:
        raise refuse(Attack.MALFORMED, "not a public key", detail=str(error)) from error
    check_public_key(key)
    return key


def check_public_key(key: PublicKey) -> None:
    """Refuse keys of other algorithms, and every spelling of a key but one.

    Raises:
        Untrusted: `malformed`.
    """
    public = key.keyval.get("public", "")
    if set(key.keyval) != {"public"}:
        raise refuse(Attack.MALFORMED, "a public key has one member, public")
    if (key.keytype, key.scheme) != ("ed25519", "ed25519") or not _ED25519_PUBLIC.fullmatch(public):
        raise refuse(Attack.MALFORMED, f"{key.scheme[:20]!r} is not the scheme of our keys, ed25519")


def verifies(key: PublicKey, *, keyid: str, signature: str, data: bytes) -> bool:
    """Say whether `signature`, in hex, is this key's signature of `data`."""
    try:
        SSlibKey(keyid, key.keytype, key.scheme, dict(key.keyval)).verify_signature(
            Signature(keyid, signature), data
        )
    except (UnverifiedSignatureError, VerificationError, ValueError):
        return False
    return True


def private_pem(signer: CryptoSigner, *, passphrase: bytes = b"") -> bytes:
    """Return a signer's private key as PKCS#8 PEM, encrypted when a passphrase is given."""
    if not passphrase:
        return signer.private_bytes
    plain = load_pem_private_key(signer.private_bytes, None)
    return plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def key_from_pem(pem: bytes, *, passphrase: bytes = b"") -> CryptoSigner:
    """Return the signer whose private key is in a PKCS#8 PEM.

    Raises:
        InvalidInput: not a PEM private key, a wrong or missing passphrase, or an algorithm we do not use.
    """
    try:
        private = load_pem_private_key(pem, passphrase or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            "the private key cannot be read",
            hint="is the passphrase right, and the file one that `ringroad keys init` wrote?",
            detail=str(error),
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise InvalidInput("the private key is not an Ed25519 key")
    return CryptoSigner(private)
