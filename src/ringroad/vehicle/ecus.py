"""The vehicle's ECUs, each behind its agent and a lock, so that a flash and a question never meet on one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.agents.base import EcuInventory, Failed, UpdateAgent
from ringroad.vehicle.plan import EcuOnBoard


class Ecus:
    """Configured ECUs and their agents, by serial."""

    def __init__(self, on_board: Sequence[EcuOnBoard], agents: Mapping[str, UpdateAgent]) -> None:
        """Take the ECUs of one vehicle.

        Raises:
            InvalidInput: an ECU has no agent, or not exactly one ECU is the Primary.
        """
        missing = [ecu.name for ecu in on_board if ecu.serial not in agents]
        if missing:
            raise InvalidInput(f"no update agent for ECU {missing[0]}")
        if sum(ecu.primary for ecu in on_board) != 1:
            raise InvalidInput("exactly one ECU of a vehicle is the Primary")
        self.on_board = tuple(on_board)
        self._agents = agents
        self._locks = {ecu.serial: asyncio.Lock() for ecu in on_board}

    @asynccontextmanager
    async def agent(self, serial: str) -> AsyncIterator[UpdateAgent]:
        """Have an ECU's agent alone."""
        async with self._locks[serial]:
            yield self._agents[serial]

    async def inventory(self, serial: str) -> EcuInventory | Failed:
        """Ask one ECU what it is and what it runs."""
        async with self.agent(serial) as agent:
            return await agent.inventory()

    async def inventories(self) -> dict[str, EcuInventory | Failed]:
        """Ask every ECU; by serial."""
        serials = [ecu.serial for ecu in self.on_board]
        answers = await asyncio.gather(*(self.inventory(serial) for serial in serials))
        return dict(zip(serials, answers, strict=True))

    async def close(self) -> None:
        """Drop every connection."""
        for agent in self._agents.values():
            await agent.close()
