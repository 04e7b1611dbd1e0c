"""The only module that reads the clock or draws randomness.

Everything else takes `now` and ids as arguments, so that a run can be repeated.
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Protocol

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


class Clock(Protocol):
    """Wall and monotonic time; real in production, simulated in `sim/`."""

    def now(self) -> datetime:
        """Return the current time, timezone-aware, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start, never going back."""
        ...


class Ids(Protocol):
    """A source of new ids."""

    def new(self, prefix: str) -> str:
        """Return a fresh id such as ``"finding_01j9..."``, sortable by creation time."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current time, timezone-aware, UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start, never going back."""
        return time.monotonic()


class SystemIds:
    """Ids of 48 bits of milliseconds and 80 random bits, in Crockford base 32 (the ULID layout)."""

    def new(self, prefix: str) -> str:
        """Return a fresh id such as ``"finding_01j9..."``, sortable by creation time."""
        return f"{prefix}_{encode_ulid(time.time_ns() // 1_000_000, secrets.randbits(80))}"


def new_secret(size_bytes: int) -> bytes:
    """Return fresh random bytes for tokens and salts; never written to a log or stored as they are."""
    return secrets.token_bytes(size_bytes)


def system_fraction() -> float:
    """Return a random number in [0, 1), for jitter."""
    return secrets.randbits(53) / (1 << 53)


def encode_ulid(time_ms: int, random_80: int) -> str:
    """Encode milliseconds since 1970 and 80 bits as 26 lower-case characters."""
    value = (time_ms & (1 << 48) - 1) << 80 | random_80
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))
