"""Suppliers' keys and the signatures that they put on artifacts: bytes in, values out.

Not Uptane's keys: what these sign is verified once, before an artifact becomes a package.

1. A key is a PEM `PUBLIC KEY`: RSA from 2,048 to 8,192 bits, or ECDSA on P-256.
2. What is signed is the SHA-256 of the artifact's manifest: RSA as PKCS #1 v1.5; ECDSA as r and s of 32 bytes each, and
   as DER from signing services that give nothing else.
3. The signature is Base64, with its padding, perhaps with a line break behind it.

Source: mender-artifact, artifact-format-v3.md, `manifest.sig`, and its signer.

Invariant: whatever cannot be read was signed by nobody.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import PUBLIC_KEY_CHARS_MAX

RSA_BITS_MIN, RSA_BITS_MAX = 2_048, 8_192  # NIST SP 800-131A; more only takes time
SIGNATURE_CHARS_MAX: Final = 2_048  # characters of Base64; RSA of 8,192 bits has 1,368
_COORDINATE_BYTES: Final = 32  # of P-256


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactKey:
    """A public key that artifacts may be signed with."""

    sha256: str  # hex, of its DER
    kind: str  # rsa-3072, ecdsa-p256
    pem: str  # written again, so that one key has one form


def read_artifact_key(pem: str) -> ArtifactKey:
    """Read a public key.

    Raises:
        InvalidInput: it is none, a private one, or one that artifacts are not signed with.
    """
    if len(pem) > PUBLIC_KEY_CHARS_MAX:
        raise InvalidInput(f"a key has up to {PUBLIC_KEY_CHARS_MAX} characters", code="artifact_key")
    if "PRIVATE KEY" in pem:
        raise InvalidInput(
            "this is a private key",
            hint="keep it where artifacts are signed; register what `openssl pkey -pubout` makes of it",
            code="artifact_key",
        )
    try:
        key = load_pem_public_key(pem.encode("ascii", "replace"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            "this is no public key in PEM",
            hint="it begins with -----BEGIN PUBLIC KEY-----",
            code="artifact_key",
        ) from error
    match key:
        case rsa.RSAPublicKey() if RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            kind = f"rsa-{key.key_size}"
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            kind = "ecdsa-p256"
        case _:
            raise InvalidInput(
                f"artifacts are signed with RSA of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits or ECDSA on P-256",
                code="artifact_key",
            )
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return ArtifactKey(sha256=hashlib.sha256(der).hexdigest(), kind=kind, pem=text)


def find_signer(keys: Iterable[ArtifactKey], *, manifest_sha256: str, signature: str) -> ArtifactKey | None:
    """Return the key that made a signature; None: none of these.

    Args:
        keys: to try.
        manifest_sha256: hex, of what was signed.
        signature: Base64.
    """
    if len(signature) > SIGNATURE_CHARS_MAX:
        return None
    try:
        made, digest = base64.b64decode(signature.strip(), validate=True), bytes.fromhex(manifest_sha256)
    except (binascii.Error, ValueError):
        return None
    return next((key for key in keys if _made_by(key, digest, made)), None)


def _made_by(key: ArtifactKey, digest: bytes, made: bytes) -> bool:
    public = load_pem_public_key(key.pem.encode())
    try:
        match public:
            case rsa.RSAPublicKey():
                public.verify(made, digest, padding.PKCS1v15(), Prehashed(SHA256()))
            case ec.EllipticCurvePublicKey():
                public.verify(_der(made), digest, ec.ECDSA(Prehashed(SHA256())))
            case _:
                return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _der(made: bytes) -> bytes:
    if len(made) != 2 * _COORDINATE_BYTES:
        return made
    r, s = (int.from_bytes(part) for part in (made[:_COORDINATE_BYTES], made[_COORDINATE_BYTES:]))
    return encode_dss_signature(r, s)
