"""Where a webhook may go: never to this machine or its network, unless a setting allows it. Pure.

Whoever may make a webhook could otherwise make the worker ask what only the worker can reach: the database, the broker,
a cloud's metadata service. The rule is applied to the address that is connected to, after the name was resolved, so that
a name that changes its mind between two look-ups gains nothing.

Source: OWASP Server-Side Request Forgery Prevention Cheat Sheet; IANA special-purpose registries, as `ipaddress` has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from ringroad.kernel.errors import InvalidInput
from ringroad.storage.settings import Network

URL_CHARS_MAX: Final = 2_000
HINT: Final = "for example https://hooks.example.com/ringroad"

# Public by their number, and yet not a stranger's: Azure answers its machines there.
_NOT_STRANGERS: Final = frozenset({ip_address("168.63.129.16")})
# They carry an IPv4 address inside, so that a private one would pass for a public one.
_CARRIERS: Final = tuple(
    IPv6Network(each) for each in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)


def may_connect(address: str, *, allowed: Sequence[Network]) -> bool:
    """Say whether an address may be connected to.

    Args:
        address: numeric, as the resolver gave it, perhaps with an IPv6 scope.
        allowed: networks that may be reached although they are not public.
    """
    try:
        ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip.version == network.version and ip in network for network in allowed):
        return True
    if isinstance(ip, IPv6Address) and any(ip in network for network in _CARRIERS):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and ip not in _NOT_STRANGERS


def check_url(url: str, *, allowed: Sequence[Network]) -> str:
    """Return the host of a webhook's address.

    Plain HTTP is for the networks that a setting names; whether it is one of them is seen when it is connected to.

    Raises:
        InvalidInput: it is no address, or one that is never allowed.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise InvalidInput("the address cannot be read", hint=HINT) from error
    if len(url) > URL_CHARS_MAX or not url.isascii() or any(each <= " " for each in url) or not host:
        raise InvalidInput("the address cannot be read", hint=HINT)
    if parts.username is not None or parts.password is not None or parts.fragment or port == 0:
        raise InvalidInput("the address has a user, a fragment or port 0", hint=HINT)
    if parts.scheme != "https" and not (parts.scheme == "http" and allowed):
        raise InvalidInput("the address must begin with https://", hint=HINT)
    if _is_number(host) and not may_connect(host, allowed=allowed):
        raise InvalidInput(
            f"{host} is not a public address", hint="webhook_networks in the settings allows others"
        )
    return host


def is_plain(url: str) -> bool:
    """Say whether an address has no TLS."""
    return urlsplit(url).scheme == "http"


def in_any(address: str, networks: Sequence[Network]) -> bool:
    """Say whether a numeric address is in one of these networks."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip.version == network.version and ip in network for network in networks)


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
