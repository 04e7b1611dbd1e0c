"""Fetches images into the store, several at a time where there is room, and stops when the server changes its mind.

Invariant: only the first image's failure is this fetch's; what was fetched beside it is judged when its turn comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.gateway import Gateway
from ringroad.vehicle.images import ImageStore
from ringroad.vehicle.memory import Memory
from ringroad.vehicle.progress import ProgressReports
from ringroad.vehicle.states import Noted

FROM_PEERS: Final = "from_peers"  # what the server is told by


class Interrupted(Exception):  # noqa: N818 - not an error: the server changed its mind during a download
    """The server wants something else; stop downloading."""


class Fetcher:
    """Downloads of one vehicle's campaign."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        images: ImageStore,
        memory: Memory,
        reports: ProgressReports,
        interrupted: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._gateway = gateway
        self._images = images
        self._memory = memory
        self._reports = reports
        self._interrupted = interrupted
        self._clock = clock

    async def fetch(
        self,
        target: VerifiedTarget,
        *,
        serial: str,
        keep: Collection[str],
        beside: Sequence[VerifiedTarget] = (),
    ) -> None:
        """Fetch `target`, and with it those of `beside` that there is room for.

        Args:
            target: into the store.
            serial: of the ECU whose progress it is.
            keep: digests that are not dropped to make room, beside what the campaign needs.
            beside: further images; whether they arrived is seen in the store.

        Raises:
            Interrupted: the server wants something else.
            RingroadError: `target` did not arrive; what did is kept.
        """
        plan = self._memory.state.plan
        kept = {one.sha256 for one in plan.images()} if plan is not None else set()
        fitting = self._images.reserve(target, keep=kept.union(keep), beside=beside)
        others = [asyncio.create_task(self._one(one, one.serial)) for one in fitting]
        try:
            await self._one(target, serial)
            if others:
                await asyncio.wait(others)
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _one(self, target: VerifiedTarget, serial: str) -> None:
        report = self._reports.of(serial)

        def progress(done_bytes: int, total_bytes: int) -> None:
            report(done_bytes, total_bytes)
            if self._interrupted():
                raise Interrupted

        given = await self._gateway.download(target, self._images, progress=progress)
        if given:
            told = f"{given} of {target.length} bytes came from peers"
            self._memory.write(
                Noted(code=FROM_PEERS, at=self._clock.now(), about=serial, detail=told, peer_bytes=given)
            )
