"""Secrets and signatures of webhooks. Pure.

A secret is not stored: it is derived from the installation's key, the subscription and a salt, so that who reads the
database alone has none. The key is a file beside the online signing keys (`keyfile.py`).

Source: Standard Webhooks 1.0.0, "Signature scheme": HMAC-SHA256 over ``id.timestamp.body``, ``v1,`` and base64; several
signatures are separated by spaces, and one that fits is enough. Secrets are ``whsec_`` and base64 of 24 to 64 bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how secrets begin
SALT_BYTES: Final = 16
_PURPOSE: Final = b"ringroad webhook secret v1"


def key_id(key: bytes) -> str:
    """Return what tells two installations' keys apart, and nothing of the key."""
    return hmac.digest(key, b"ringroad webhook key id v1", hashlib.sha256).hex()[:16]


def derive_secret(key: bytes, *, webhook_id: str, salt: bytes) -> bytes:
    """Return the 32 bytes that sign what a subscription is sent."""
    return hmac.digest(key, b"\0".join((_PURPOSE, webhook_id.encode(), salt)), hashlib.sha256)


def show_secret(secret: bytes) -> str:
    """Return a secret as its holder keeps it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def sign(secrets: Sequence[bytes], *, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the header `webhook-signature`, one signature for each secret.

    Args:
        secrets: the one in use first, then the one before it while it is still valid.
        message_id: the header `webhook-id`, the same at every attempt.
        timestamp_s: the header `webhook-timestamp`, of this attempt, seconds since 1970.
        body: exactly what is sent.
    """
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    return " ".join(
        f"v1,{base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()}" for secret in secrets
    )
