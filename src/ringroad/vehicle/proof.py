"""Proof of ownership towards an ECU that asks for Authentication (0x29): challenge and response, Ed25519.

Tester and ECU agree here on what is signed. The ECU keeps a public key only: whoever reads one out can unlock none.
A proof names the ECU's serial, so that an ECU cannot have another's challenge signed for itself.

Source: ISO 14229-1, service 0x29, tasks 05 and 06 (ACR, unidirectional, asymmetric); RFC 8410 for the identifier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from ringroad.kernel.errors import InvalidInput

ALGORITHM: Final = bytes.fromhex("06032b6570").ljust(16, b"\x00")  # Ed25519, as the standard pads it
CHALLENGE_BYTES: Final = 32
PROOF_BYTES: Final = 64
_LABEL: Final = b"ringroad uds 29\x00"

Prover = Callable[[bytes], bytes]  # challenge -> proof


def prover_of(pem: bytes, serial: str) -> Prover:
    """Return what proves to one ECU that its tester owns a key. Raises: InvalidInput, it is no Ed25519 key."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput("the authentication key is no PEM key without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput("the authentication key is not Ed25519")
    return lambda challenge: key.sign(_signed(serial, challenge))


def owner_key(pem: str) -> Ed25519PublicKey:
    """Return the key that an ECU asks a proof of. Raises: InvalidInput."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput("authentication_key is no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput("authentication_key is not Ed25519")
    return key


def is_proof(key: Ed25519PublicKey, serial: str, challenge: bytes, proof: bytes) -> bool:
    """Say whether a proof is one, of this challenge to this ECU."""
    try:
        key.verify(proof, _signed(serial, challenge))
    except InvalidSignature:
        return False
    return True


def _signed(serial: str, challenge: bytes) -> bytes:
    return _LABEL + len(serial).to_bytes(1, "big") + serial.encode() + challenge
