"""What a workshop finds on simulated ECUs: data that may be written, and the proof that some ask for first.

An ECU whose programme secures it with 0x29 has a key of its own. It follows from the ECU's secret, so that the ECU and its
vehicle know it without a word between them; a real ECU is given the public half alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ringroad.trust.keys import key_from_seed, private_pem

AUTHENTICATION: Final = "0x29"  # in a programme's word for how an ECU is secured

# What may be written into every simulated ECU that speaks UDS, and what each holds when it leaves the line.
WRITES: Final[Mapping[str, str]] = {"F198": "text 16 repair shop", "0100": "hex 4 variant coding"}
WRITTEN_AT_BIRTH: Final[Mapping[str, str]] = {"F198": "00" * 16, "0100": "00000001"}


def by_proof(table: Mapping[str, Any]) -> bool:
    """Say whether a programme's ECU asks for Authentication (0x29) instead of SecurityAccess (0x27)."""
    return AUTHENTICATION in str(table.get("security", ""))


def proof_pem(secret: bytes) -> bytes:
    """Return the private key that an ECU with this secret asks a proof of, in PEM."""
    return private_pem(key_from_seed(hashlib.sha256(AUTHENTICATION.encode() + secret).digest()))


def proof_key(secret: bytes) -> str:
    """Return its public half in PEM."""
    public = load_pem_private_key(proof_pem(secret), password=None).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
