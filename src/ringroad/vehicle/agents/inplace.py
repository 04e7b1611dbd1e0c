"""Update agent of an in-place ECU: one bank and a bootloader, flashed by UDS.

Procedure of `install`, reference in-vehicle 2.4:

1. 10 03, routine 0203: may it be programmed now?
2. 85 02, 28 03 to all other ECUs (`quiet.Silence`).
3. 10 02, then 27: the bootloader answers, unlocked.
   Whoever orders is asked once more; a no ends here, with the software that ran.
4. 2E F15A and identity, FF00 erase, 34 36 37 per segment, 0202 check, FF01 dependencies.

`activate` is 11 01 and waiting; only then, or when the flash failed, the other ECUs may talk again.
When power was cut after the last block, the bank still holds the image: then only step 4's checks are run.
"""

from __future__ import annotations

from collections.abc import Callable

from ringroad.vehicle.agents.base import (
    Done,
    EcuImage,
    Failed,
    ImageSource,
    Outcome,
    Progress,
    Reason,
)
from ringroad.vehicle.agents.session import Refusal, is_committed, require_layout
from ringroad.vehicle.agents.verbs import UdsAgent
from ringroad.vehicle.agents.wire import Layout, Mode, Rid, SlotStatus
from ringroad.vehicle.segments import FlashImage
from ringroad.vehicle.uds import NegativeResponse, Session


class UdsInplaceAgent(UdsAgent):
    """An `UpdateAgent` for one in-place ECU."""

    _ask: Callable[[], str] | None = None

    def ask_before_erase(self, ask: Callable[[], str] | None) -> None:
        """Call `ask` right before software that runs is erased; fail with its text unless empty."""
        self._ask = ask

    async def _prepare(self, image: EcuImage, source: ImageSource, progress: Progress) -> Outcome:
        status = await self._status()
        if _holds(status, image):
            return Done(already=True)
        content = await self._ecu.check_image(image, source, status)
        if status.mode is Mode.APPLICATION:
            await self._check_preconditions()
        progress(content.length_bytes, content.length_bytes)
        return Done()

    async def _install(self, image: EcuImage, source: ImageSource, progress: Progress) -> Outcome:
        status = await self._status()
        if _holds(status, image):
            return Done(already=True)
        content = await self._ecu.check_image(image, source, status)
        if status.mode is Mode.APPLICATION:
            await self._check_preconditions()  # 1
        silence = self._ecu.access.silence
        if silence is not None:
            await silence.begin(image.serial)  # 2
        try:
            await self._ecu.unlock(Session.PROGRAMMING, progress=progress)  # 3
            if status.mode is Mode.APPLICATION and self._ask is not None and (said := self._ask()):
                await self._ecu.restart()  # nothing was erased: the software that ran starts again
                raise Refusal(Reason.PRECONDITION, said)
            if not await self._finish_interrupted(status, image, content, progress):
                await self._ecu.flash(image, source, content, progress=progress)  # 4
        except BaseException:
            await self._end_silence()
            raise
        progress(content.length_bytes, content.length_bytes)
        return Done()

    async def _finish_interrupted(
        self, status: SlotStatus, image: EcuImage, content: FlashImage, progress: Progress
    ) -> bool:
        """Run only the checks when the bank may already hold the whole image."""
        bank = status.banks[0]
        if bank.valid or bank.sha256.hex() != image.sha256:
            return False
        try:
            await self._ecu.name_image(image, content)
            await self._ecu.check_content(content, progress=progress)
        except (NegativeResponse, Refusal):
            return False
        return True

    async def _activate(self, image: EcuImage) -> Outcome:
        try:
            return await self._start(image)
        finally:
            await self._end_silence()

    async def _start(self, image: EcuImage) -> Outcome:
        status = await self._status()
        if not _holds(status, image):
            return Failed(reason=Reason.NOT_STAGED, detail="the ECU does not hold this image")
        if status.mode is Mode.APPLICATION:
            return Done(already=True)
        status = await self._ecu.restart()
        if status.mode is not Mode.APPLICATION:
            return Failed(reason=Reason.BOOT_FAILED, detail="the ECU stays in its bootloader")
        return Done()

    async def _rollback(
        self, image: EcuImage, backup: EcuImage | None, source: ImageSource | None, progress: Progress
    ) -> Outcome:
        try:
            return await self._bring_back(image, backup, source, progress)
        finally:
            await self._end_silence()

    async def _bring_back(
        self, image: EcuImage, backup: EcuImage | None, source: ImageSource | None, progress: Progress
    ) -> Outcome:
        status = await self._status()
        if is_committed(status, image) and (
            # Counters that are alike tell nothing; the orchestrator's journal knows that nothing was committed.
            backup is not None and backup.release_counter < status.committed_counter
        ):
            return Failed(reason=Reason.ALREADY_COMMITTED, detail="roll forward with a new release")
        untouched = status.mode is Mode.APPLICATION and not _holds(status, image)
        if untouched and (backup is None or _holds(status, backup)):
            return Done(already=True)
        if backup is None or source is None:
            return Failed(reason=Reason.NO_BACKUP)
        installed = await self._install(backup, source, progress)
        if isinstance(installed, Failed):
            return installed
        started = await self._activate(backup)
        if isinstance(started, Failed):
            return started
        checked = await self._ecu.verify(backup, frozenset(), frozenset())
        return checked if isinstance(checked, Failed) else Done()

    async def _check_preconditions(self) -> None:
        await self._ecu.uds.session(Session.EXTENDED)
        if await self._ecu.uds.routine(Rid.CHECK_PRECONDITIONS) != b"\x00":
            raise Refusal(Reason.PRECONDITION, "the ECU refuses to be programmed now")

    async def _end_silence(self) -> None:
        if self._ecu.access.silence is not None:
            await self._ecu.access.silence.end()

    async def _status(self) -> SlotStatus:
        status = await self._ecu.status()
        require_layout(status, Layout.INPLACE)
        return status


def _holds(status: SlotStatus, image: EcuImage) -> bool:
    bank = status.banks[0]
    return bank.valid and bank.sha256.hex() == image.sha256
