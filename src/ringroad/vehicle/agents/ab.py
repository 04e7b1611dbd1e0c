"""Update agent of an A/B ECU: the other bank is filled while the car drives, the flip takes one restart.

Procedure, over the routines of docs/reference/vecu.md:

1. prepare: erase, transfer and check the inactive bank.
2. activate: ACTIVATE, reset; the bank runs on trial, the next reset goes back by itself.
3. commit: COMMIT; the trial is over and the counter advances.

Rule 4 of the reference: `activate` may be called again after an unwanted reset took the trial back.
"""

from __future__ import annotations

from ringroad.vehicle.agents.base import (
    Done,
    EcuImage,
    Failed,
    ImageSource,
    Outcome,
    Progress,
    Reason,
    is_as_signed,
)
from ringroad.vehicle.agents.session import Refusal, is_committed, require_layout
from ringroad.vehicle.agents.verbs import UdsAgent
from ringroad.vehicle.agents.wire import Layout, Rid, SlotStatus, Swap
from ringroad.vehicle.uds import Session


class AbAgent(UdsAgent):
    """An `UpdateAgent` for one A/B ECU."""

    _left = frozenset({Session.EXTENDED, Session.PROGRAMMING})  # the application is programmed while it runs

    async def _prepare(self, image: EcuImage, source: ImageSource, progress: Progress) -> Outcome:
        status = await self._status()
        if _runs(status, image):
            return Done(already=True)
        if self._named(status, image) and image.release_counter >= status.committed_counter:
            return Done(already=True)  # an older one in the other bank is refused below
        content = await self._ecu.check_image(image, source, status)
        await self._look(image, source)
        if status.swap is Swap.TRIAL:
            raise Refusal(Reason.PRECONDITION, "another image is on trial")
        await self._ecu.unlock(Session.PROGRAMMING, progress=progress)
        await self._ecu.flash(image, source, content, progress=progress)
        await self._ecu.uds.session(Session.DEFAULT)
        return Done()

    async def _install(self, image: EcuImage, source: ImageSource, progress: Progress) -> Outcome:
        # The bank may have been lost since it was staged; then it is filled again.
        status = await self._status()
        if _staged(status, image) and image.release_counter >= status.committed_counter:
            return Done(already=True)
        return await self._prepare(image, source, progress)

    async def _look(self, image: EcuImage, source: ImageSource) -> None:
        """Look into the image, where the agent knows what is in it. Raises: Refusal, OSError."""

    async def _activate(self, image: EcuImage) -> Outcome:
        status = await self._status()
        if _runs(status, image):
            return Done(already=True)
        if not _staged(status, image):
            return Failed(reason=Reason.NOT_STAGED, detail="the inactive bank does not hold this image")
        await self._ecu.unlock(Session.EXTENDED)
        await self._ecu.uds.routine(Rid.ACTIVATE)
        after = await self._ecu.restart()
        if not _runs(after, image):
            return Failed(reason=Reason.BOOT_FAILED, detail="the ECU came back with its old software")
        return Done()

    async def _rollback(
        self,
        image: EcuImage,
        backup: EcuImage | None,  # noqa: ARG002 - the old bank is the backup
        source: ImageSource | None,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> Outcome:
        status = await self._status()
        if is_committed(status, image):
            return Failed(reason=Reason.ALREADY_COMMITTED, detail="roll forward with a new release")
        due = status.swap is Swap.TEST and _staged(status, image)
        if not _runs(status, image) and not due:
            return Done(already=True)
        if _runs(status, image) and status.swap is not Swap.TRIAL:
            return Done(already=True)  # it ran before the update and no other bank is waiting
        await self._ecu.unlock(Session.EXTENDED)
        if await self._ecu.uds.routine(Rid.ROLLBACK) != b"\x00":
            status = await self._ecu.restart()
            if _runs(status, image):
                return Failed(reason=Reason.BOOT_FAILED, detail="the ECU did not go back")
        return Done()

    def _named(self, status: SlotStatus, image: EcuImage) -> bool:
        """Say whether the other bank holds the image under the name that it has now."""
        return is_as_signed(status.staged, image)

    async def _status(self) -> SlotStatus:
        status = await self._ecu.status()
        require_layout(status, Layout.AB)
        return status


def _runs(status: SlotStatus, image: EcuImage) -> bool:
    return status.running is not None and status.running.sha256.hex() == image.sha256


def _staged(status: SlotStatus, image: EcuImage) -> bool:
    return status.staged is not None and status.staged.sha256.hex() == image.sha256
