"""Who a device is: by its token, by the tenant's gateway token, or by a client certificate. Pure.

1. A token that is sent decides, and a certificate beside it does not help: a wrong one is refused.
2. Without one, the certificate of the TLS connection counts; behind a proxy that ends TLS the one that the proxy hands
   on, and from `trusted_proxies` only.
3. A certificate of our own authority counts while its vehicle's record names it; one of another authority while it is
   newer than the last time the vehicle's certificates were revoked. Both only while they are valid.
4. Whoever is unknown, wrong, expired or revoked gets the same answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import unquote_to_bytes

from ringroad.http.device.read_model import Device
from ringroad.storage.pki_clients import CERTIFICATE_BYTES_MAX, ClientCertificate

TOKEN_BYTES_MAX: Final = 512
HANDED_ON: Final = b"x-ssl-client-cert"  # nginx: proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert;
_PEM: Final = re.compile(
    rb"\s*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*", re.ASCII
)


def token_of(value: bytes, scheme: bytes) -> bytes | None:
    """Return the token of an Authorization header of that scheme; None: it is of another, or empty or too long."""
    if value[: len(scheme)].lower() != scheme.lower():
        return None
    token = value[len(scheme) :]
    return token if 0 < len(token) <= TOKEN_BYTES_MAX else None


def is_gateway_token(token: bytes, known_sha256: Iterable[bytes]) -> bool:
    """Tell whether a token is one of the tenant's, in a time that does not tell how much of it is right."""
    digest = hashlib.sha256(token).digest()
    found = False
    for each in known_sha256:
        found |= hmac.compare_digest(digest, each)
    return found


def handed_on(value: bytes) -> bytes | None:
    """Return the certificate, DER, out of what a proxy hands on: PEM, percent-encoded; None: it is none."""
    if len(value) > 3 * CERTIFICATE_BYTES_MAX:
        return None
    match = _PEM.fullmatch(unquote_to_bytes(value))
    if match is None:
        return None
    try:
        return base64.b64decode(b"".join(match[1].split()), validate=True)
    except ValueError:
        return None


def admits(device: Device, vin: str, certificate: ClientCertificate, *, now: datetime) -> bool:
    """Decide whether this certificate is this vehicle's, now."""
    if certificate.name != vin or not certificate.not_before <= now < certificate.not_after:
        return False
    if certificate.ours:
        return certificate.sha256 in device.certificates
    return device.certificates_after is None or device.certificates_after <= certificate.not_before


def is_one_of(token: bytes, sha256: bytes | None) -> bool:
    """Tell whether a token is the one with this digest; in constant time where there is one."""
    return sha256 is not None and hmac.compare_digest(hashlib.sha256(token).digest(), sha256)


def values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> Sequence[str]:
    """Return the values of every header of that lower-case name."""
    return [value.decode("latin-1") for key, value in headers if key == name]
