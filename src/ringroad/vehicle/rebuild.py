"""Makes images out of deltas in the store, and gives a delta up: the effects behind `deltas.py`.

Invariant: nothing here ends a campaign; what cannot be rebuilt is fetched whole.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Corrupt, RingroadError
from ringroad.protocol.vehicle import DeltaOffer
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.agents.receive import beside
from ringroad.vehicle.deltas import APPLIED, DELTA_TRIES_MAX, FAILED, applied_text, delta_file, tried_as
from ringroad.vehicle.images import ImageStore
from ringroad.vehicle.memory import Memory
from ringroad.vehicle.states import Noted, Tried

SMALL_BYTES: Final = (
    256 * 1024
)  # bytes of base and image; rebuilding more would hold up the other vehicles of the process


class Rebuilder:
    """Rebuilds images of one vehicle."""

    def __init__(self, *, images: ImageStore, memory: Memory, clock: Clock) -> None:
        self._images = images
        self._memory = memory
        self._clock = clock

    async def rebuild(self, target: VerifiedTarget, offer: DeltaOffer, *, keep: Collection[str]) -> None:
        """Make `target` out of its base and a delta, or give the delta up.

        Args:
            target: that is wanted.
            offer: whose base and bytes are in the store.
            keep: what the campaign needs beside them.

        Raises:
            Corrupt: the journal contradicts itself.
            Unavailable: the journal cannot be written.
        """
        # Counted when it begins: a delta that ends the process is not begun for ever.
        self._tried(offer, "delta_begun", f"{offer.length} bytes instead of {target.length}")
        delta = delta_file(target, offer)
        try:
            self._images.reserve(target, keep={offer.from_sha256, offer.sha256, *keep})
            await beside(
                lambda: self._images.rebuild(target, delta, offer),
                size_bytes=target.length + self._images.size_bytes(offer.from_sha256),
                small_bytes=SMALL_BYTES,
            )
        except Corrupt:
            raise
        except RingroadError as error:
            self.give_up(offer, error, serial=target.serial)
            return
        now, text = self._clock.now(), applied_text(offer, target)
        self._memory.write(Noted(code=APPLIED, at=now, about=target.serial, detail=text))

    def give_up(self, offer: DeltaOffer, error: RingroadError, *, serial: str) -> None:
        """Go on without a delta, for the rest of the campaign."""
        self._images.drop(offer.sha256)
        now = self._clock.now()
        self._memory.write(Noted(code=FAILED, at=now, about=serial, detail=error.message))
        while self._memory.state.tries.get(tried_as(offer), 0) < DELTA_TRIES_MAX:
            self._tried(offer, error.code, error.message)

    def _tried(self, offer: DeltaOffer, code: str, detail: str) -> None:
        self._memory.write(Tried(what=tried_as(offer), at=self._clock.now(), code=code, detail=detail))
