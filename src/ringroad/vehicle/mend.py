"""Fetches an image again that went bad in the store after it was verified: on the way to an ECU, or to bring one back.

READY may last for weeks, and so may flash that forgets. Every agent hashes an image before it destroys anything; what
it refuses is looked at here.

Invariant: an image that is whole is never fetched again, and one that goes bad again and again not for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Corrupt, RingroadError, Unavailable, Untrusted
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.agents.base import Done, Outcome, Reason
from ringroad.vehicle.images import ImageStore
from ringroad.vehicle.memory import Memory
from ringroad.vehicle.states import Tried

MENDS_MAX: Final = 3  # per image and phase; a store that forgets more often is broken
BIG_BYTES: Final = (
    4 * 1024**2
)  # bytes; hashing more than this would hold up the other vehicles of the process
# What an agent says whose image does not read as it was signed.
SOURCE_REASONS: Final = frozenset({Reason.HASH_MISMATCH, Reason.IMAGE_MALFORMED, Reason.TRANSFER_FAILED})


class Mender:
    """Looks after the images of one vehicle's campaign."""

    def __init__(
        self,
        *,
        images: ImageStore,
        memory: Memory,
        clock: Clock,
        fetch: Callable[[VerifiedTarget], Awaitable[None]],
    ) -> None:
        self._images = images
        self._memory = memory
        self._clock = clock
        self._fetch = fetch
        self._turn = asyncio.Lock()

    async def verify(self, target: VerifiedTarget) -> None:
        """Compare an image in the store with what was signed; drop it if it differs.

        Raises:
            Untrusted: it differs.
            Unavailable: it cannot be read.
        """
        if target.length > BIG_BYTES:
            await asyncio.to_thread(self._images.verify, target)
        else:
            self._images.verify(target)

    async def mend(self, target: VerifiedTarget, outcome: Outcome) -> bool | RingroadError:
        """Fetch `target` again if it is why a verb failed.

        Returns:
            True if it was fetched and the verb is to be repeated; why it could not be fetched yet, to try later;
            False if the image is whole, or goes bad too often.

        Raises:
            Corrupt: the journal contradicts itself.
            Unavailable: the journal cannot be written.
        """
        if isinstance(outcome, Done) or outcome.reason not in SOURCE_REASONS:
            return False
        what = f"mend:{target.sha256}"
        seen = self._memory.state.tries.get(what, 0)
        async with self._turn:  # ECUs on two lines may meet the same bad image
            if seen < self._memory.state.tries.get(what, 0):
                return True
            return await self._mend(target, what)

    async def _mend(self, target: VerifiedTarget, what: str) -> bool | RingroadError:
        if self._memory.state.tries.get(what, 0) >= MENDS_MAX:
            return False
        try:
            await self.verify(target)
        except (Untrusted, Unavailable):
            pass
        else:
            return False
        try:
            await self._fetch(target)
        except Corrupt:
            raise
        except Unavailable as error:
            return error  # a network that is away, or a disk that is full, is waited for
        except RingroadError as error:
            self._tried(what, error.code, error.message)
            return error
        self._tried(what, "image_mended", f"{target.filename} went bad in the store and was fetched again")
        return True

    def _tried(self, what: str, code: str, detail: str) -> None:
        self._memory.write(Tried(what=what, at=self._clock.now(), code=code, detail=detail))
