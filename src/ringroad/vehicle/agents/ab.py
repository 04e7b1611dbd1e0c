"""Update agent of an A/B ECU: the other bank is filled while the car drives, the flip takes one restart.

Procedure, over the routines of docs/reference/vecu.md:

1. prepare: erase, transfer and check the inactive bank.
2. activate: ACTIVATE, reset; the bank runs on trial, the next reset goes back by itself.
3. commit: COMMIT; the trial is over and the counter advances.

Rule 4 of the reference: `activate` may be called again after an unwanted reset took the trial back.
"""

from __future__ import annotations

from ringroad.vehicle.agents.base import (
    CheckKind,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    ImageSource,
    Outcome,
    Progress,
    Reason,
)
from ringroad.vehicle.agents.session import (
    EcuAccess,
    EcuSession,
    Refusal,
    guarded,
    is_committed,
    require_layout,
)
from ringroad.vehicle.agents.wire import Layout, Rid, SlotStatus, Swap
from ringroad.vehicle.uds import Session, UdsChannel


class AbAgent:
    """An `UpdateAgent` for one A/B ECU behind one channel."""

    def __init__(self, channel: UdsChannel, access: EcuAccess) -> None:
        self._ecu = EcuSession(channel, access)

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """Stage the image into the inactive bank."""
        return await guarded(self._prepare(image, source, progress))

    async def install(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """Make sure that the image is staged; stage it again when the bank was lost."""
        return await guarded(self._prepare(image, source, progress))

    async def activate(self, image: EcuImage) -> Outcome:
        """Boot the staged image on trial."""
        return await guarded(self._activate(image))

    async def verify(
        self,
        image: EcuImage,
        checks: frozenset[CheckKind],
        *,
        known_faults: frozenset[str] = frozenset(),
    ) -> Outcome:
        """Check the running software."""
        return await guarded(self._ecu.verify(image, checks, known_faults))

    async def commit(self, image: EcuImage) -> Outcome:
        """Confirm the running bank."""
        return await guarded(self._ecu.commit(image))

    async def rollback(
        self,
        image: EcuImage,
        *,
        backup: EcuImage | None = None,  # noqa: ARG002 - the old bank is the backup
        source: ImageSource | None = None,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> Outcome:
        """Go back to the bank that ran before."""
        return await guarded(self._rollback(image))

    async def inventory(self) -> EcuInventory | Failed:
        """Ask the ECU what it is and what it runs."""
        return await guarded(self._ecu.inventory())

    async def close(self) -> None:
        """Drop the connection."""
        await self._ecu.channel.close()

    async def _prepare(self, image: EcuImage, source: ImageSource, progress: Progress) -> Outcome:
        status = await self._status()
        if _runs(status, image) or _staged(status, image):
            return Done(already=True)
        content = await self._ecu.check_image(image, source, status)
        if status.swap is Swap.TRIAL:
            raise Refusal(Reason.PRECONDITION, "another image is on trial")
        await self._ecu.unlock(Session.PROGRAMMING)
        await self._ecu.flash(image, source, content, progress=progress)
        await self._ecu.uds.session(Session.DEFAULT)
        return Done()

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

    async def _rollback(self, image: EcuImage) -> Outcome:
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

    async def _status(self) -> SlotStatus:
        status = await self._ecu.status()
        require_layout(status, Layout.AB)
        return status


def _runs(status: SlotStatus, image: EcuImage) -> bool:
    return status.running is not None and status.running.sha256.hex() == image.sha256


def _staged(status: SlotStatus, image: EcuImage) -> bool:
    return status.staged is not None and status.staged.sha256.hex() == image.sha256
