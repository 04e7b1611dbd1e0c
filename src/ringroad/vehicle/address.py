"""Where a face of the vehicle is served: one address by number, so that it is known what a browser calls it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from ringroad.kernel.errors import InvalidInput

LOOPBACK: Final = ("127.0.0.1", "[::1]", "localhost")
_HINT: Final = "127.0.0.1:8780, or [::1]:8780"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a face is served."""

    host: str
    port: int

    @property
    def shown(self) -> str:
        """The address as it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody outside this machine reaches it."""
        return ip_address(self.host).is_loopback

    @property
    def names(self) -> frozenset[str]:
        """What a browser may call it over plain HTTP."""
        return self.names_with(usual_port=80)

    def names_with(self, *, usual_port: int) -> frozenset[str]:
        """What a browser may call it: any name of loopback for loopback, itself for another."""
        own = self.shown.rpartition(":")[0]
        hosts = LOOPBACK if own in LOOPBACK else (own,)
        # A browser leaves out the port that is usual.
        return frozenset(f"{host}:{self.port}" for host in hosts) | (
            frozenset(hosts) if self.port == usual_port else frozenset()
        )


def parse_address(text: str) -> Address:
    """Return where to serve.

    Raises:
        InvalidInput: it is no address with a port, or it stands for every address: then nobody knows what a browser
            calls it, and a page of somebody else could speak for the driver.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or not 1 <= len(port) <= 5:
        raise InvalidInput(f"{text[:60]!r} is no address to serve at", hint=_HINT)
    bare = host.removeprefix("[").removesuffix("]")
    try:
        ip = ip_address("127.0.0.1" if bare == "localhost" else bare)
    except ValueError as error:
        raise InvalidInput(f"{text[:60]!r} names no IP address", hint=_HINT) from error
    if ip.is_unspecified or ip.is_multicast or (ip.version == 6) != host.startswith("["):
        raise InvalidInput(f"{text[:60]!r} is no address to serve at", hint=_HINT)
    if not 1 <= int(port) <= 65_535:
        raise InvalidInput("a port is between 1 and 65535", hint=_HINT)
    return Address(host=str(ip), port=int(port))
