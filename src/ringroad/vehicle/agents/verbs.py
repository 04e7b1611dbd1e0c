"""The seven verbs over UDS: what agents of A/B and of in-place ECUs have in common.

A subclass says how an ECU of its kind is staged, installed, activated and rolled back;
every verb ends here in a value, whatever the ECU or its connection did (`guarded`),
and with the ECU in its default session, unless it is in its bootloader.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable

from ringroad.vehicle.agents.base import (
    CheckKind,
    EcuImage,
    EcuInventory,
    Failed,
    Fault,
    ImageSource,
    Outcome,
    Progress,
)
from ringroad.vehicle.agents.session import EcuAccess, EcuSession, guarded
from ringroad.vehicle.uds import Session, UdsChannel


class UdsAgent(ABC):
    """An `UpdateAgent` for one ECU behind one channel."""

    _left = frozenset({Session.EXTENDED})  # sessions that end with a verb; a bootloader is left by a restart

    def __init__(self, channel: UdsChannel, access: EcuAccess) -> None:
        self._ecu = EcuSession(channel, access)
        self._home = False  # in its default session; who lived before may have left it in another

    @property
    def ecu(self) -> EcuSession:
        """The ECU itself, for whoever has the agent alone and asks for more than an update: diagnostics."""
        return self._ecu

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """Do all that leaves the running software alone."""
        return await self._verb(self._prepare(image, source, progress))

    async def install(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """Put the image where it can be activated."""
        return await self._verb(self._install(image, source, progress))

    async def activate(self, image: EcuImage) -> Outcome:
        """Make the image run."""
        return await self._verb(self._activate(image))

    async def verify(
        self,
        image: EcuImage,
        checks: frozenset[CheckKind],
        *,
        known_faults: frozenset[str] = frozenset(),
    ) -> Outcome:
        """Check the running software."""
        return await self._verb(self._ecu.verify(image, checks, known_faults))

    async def commit(self, image: EcuImage) -> Outcome:
        """Make the running image permanent."""
        return await self._verb(self._ecu.commit(image))

    async def rollback(
        self,
        image: EcuImage,
        *,
        backup: EcuImage | None = None,
        source: ImageSource | None = None,
        progress: Progress,
    ) -> Outcome:
        """Go back to what ran before."""
        return await self._verb(self._rollback(image, backup, source, progress))

    async def inventory(self) -> EcuInventory | Failed:
        """Ask the ECU what it is and what it runs."""
        return await guarded(self._ecu.inventory())

    async def faults(self) -> tuple[Fault, ...] | Failed:
        """Ask the ECU for its stored fault codes alone."""
        if not self._home or self._ecu.uds.entered is None:
            await self._go_home()
        return await guarded(self._ecu.faults())

    async def close(self) -> None:
        """Drop the connection."""
        if self._ecu.access.silence is not None:
            await self._ecu.access.silence.close()
        await self._ecu.channel.close()

    async def _verb(self, work: Awaitable[Outcome]) -> Outcome:
        outcome = await guarded(work)
        self._home = self._ecu.uds.entered is Session.DEFAULT
        if self._ecu.uds.entered in self._left:
            await self._go_home()
        return outcome

    async def _go_home(self) -> None:
        """Bring the ECU back into its default session: whoever asks it for faults keeps any other one alive.

        Once it did not answer it is asked again with the next faults, which are asked for between updates only.
        """
        self._home = not isinstance(await guarded(self._ecu.leave()), Failed)

    @abstractmethod
    async def _prepare(self, image: EcuImage, source: ImageSource, progress: Progress) -> Outcome: ...

    @abstractmethod
    async def _install(self, image: EcuImage, source: ImageSource, progress: Progress) -> Outcome: ...

    @abstractmethod
    async def _activate(self, image: EcuImage) -> Outcome: ...

    @abstractmethod
    async def _rollback(
        self, image: EcuImage, backup: EcuImage | None, source: ImageSource | None, progress: Progress
    ) -> Outcome: ...
