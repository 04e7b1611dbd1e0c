"""Which delta is made next, and whether one is worth offering. Pure.

Invariant: a delta that is offered saves at least `SAVED_PERMILLE_MIN` of the image; the others are remembered as left
out, so that none is made twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

EcuClass = Literal["linux", "mcu"]

IMAGE_BYTES_MAX: Final = 128 * 1024**2  # bytes; HDiffPatch takes up to nine times both images in memory
SAVED_PERMILLE_MIN: Final = 400  # a larger delta saves less than the whole image's simplicity is worth
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
    def saved_bytes(self) -> int:
        """Bytes that do not go over the air when each of these vehicles uses the delta."""
        return 0 if self.delta_bytes is None else (self.to_bytes - self.delta_bytes) * self.vehicles


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
