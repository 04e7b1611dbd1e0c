"""Which delta is made next, and whether one is worth offering. Pure.

Invariants:
    A delta that is offered saves at least `SAVED_PERMILLE_MIN` of the image; the others are remembered as left out, so
    that none is made twice.
    What failed for a reason that may pass is tried again, and never keeps another pair waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

EcuClass = Literal["linux", "mcu"]

IMAGE_BYTES_MAX: Final = 128 * 1024**2  # bytes; HDiffPatch takes up to nine times both images in memory
SAVED_PERMILLE_MIN: Final = 400  # a larger delta saves less than the whole image's simplicity is worth
NO_DELTA_STATUS: Final = 3  # of the process that makes one: what it made does not give the new image
AGAIN_FIRST: Final = timedelta(minutes=10)  # before a pair is tried again; each further time twice as long
AGAIN_LAST: Final = timedelta(days=1)  # at most
VEHICLES_LOOKED_AT: Final = 20_000  # that changed last; what they run, the fleet runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An image that vehicles have and the one that a release brings them.

    Attributes:
        release_id: that brings it.
        ecu: by name.
        ecu_class: what its ECUs can apply.
        from_sha256: what the vehicles run.
        from_version: of that.
        from_bytes: of that.
        to_sha256: what the release brings.
        to_version: of that.
        to_bytes: of that.
        vehicles: that have it, of those that were looked at.
        state: "ready", "left_out", or None when it was not tried yet.
        reason: why it was left out.
        algorithm: of the delta.
        delta_bytes: of the delta.
    """

    release_id: str
    ecu: str
    ecu_class: EcuClass
    from_sha256: str
    from_version: str
    from_bytes: int
    to_sha256: str
    to_version: str
    to_bytes: int
    vehicles: int
    state: str | None = None
    reason: str | None = None
    algorithm: str | None = None
    delta_bytes: int | None = None

    @property
    def full_bytes(self) -> int:
        """Bytes over the air when each of these vehicles fetches the whole image."""
        return self.to_bytes * self.vehicles

    @property
    def saved_bytes(self) -> int:
        """Bytes that do not go over the air when each of these vehicles uses the delta."""
        return 0 if self.delta_bytes is None else (self.to_bytes - self.delta_bytes) * self.vehicles


@dataclass(slots=True)
class Later:
    """Pairs that failed for a reason that may pass, while a process lives: each with its wait, and when it ends."""

    held: dict[tuple[str, str, str], tuple[timedelta, datetime]] = field(default_factory=dict)

    def hold(self, pair: Pair, *, now: datetime) -> datetime:
        """Keep a pair back, and return until when."""
        before = self.held.get(_key(pair))
        wait = AGAIN_FIRST if before is None else min(2 * before[0], AGAIN_LAST)
        self.held[_key(pair)] = (wait, now + wait)
        return now + wait

    def without(self, pairs: Sequence[Pair], *, now: datetime) -> list[Pair]:
        """Return the pairs that are not held back now, and forget those that nobody waits for any more."""
        waiting = {_key(pair) for pair in pairs if pair.state is None}
        self.held = {key: until for key, until in self.held.items() if key in waiting}
        return [pair for pair in pairs if _key(pair) not in self.held or self.held[_key(pair)][1] <= now]


def _key(pair: Pair) -> tuple[str, str, str]:
    return pair.ecu_class, pair.from_sha256, pair.to_sha256


def choose_next(pairs: Sequence[Pair]) -> Pair | None:
    """Return the pair that most vehicles wait for, or None when every one was tried."""
    waiting = [pair for pair in pairs if pair.state is None]
    return min(waiting, key=lambda pair: (-pair.vehicles, pair.to_sha256, pair.from_sha256), default=None)


def too_large(pair: Pair) -> str:
    """Say why no delta is tried, or nothing."""
    largest = max(pair.from_bytes, pair.to_bytes)
    return f"an image of {largest} bytes, limit {IMAGE_BYTES_MAX}" if largest > IMAGE_BYTES_MAX else ""


def too_little(pair: Pair, delta_bytes: int) -> str:
    """Say why a delta is not offered, or nothing."""
    if delta_bytes * 1000 <= pair.to_bytes * (1000 - SAVED_PERMILLE_MIN):
        return ""
    return f"{delta_bytes} bytes instead of {pair.to_bytes}: it saves too little"
