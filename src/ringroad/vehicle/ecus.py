"""The vehicle's ECUs, each behind its agent and a lock, so that a flash and a question never meet on one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.agents.base import EcuInventory, Failed, Fault, FaultAgent, UpdateAgent
from ringroad.vehicle.agents.missing import MissingAgent
from ringroad.vehicle.locks import Lock, Locks
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
        self._lines = {ecu.serial: asyncio.Lock() for ecu in on_board}
        self.locks = Locks()  # of whoever diagnoses the vehicle

    def locked(self, serials: Collection[str], *, now: datetime) -> dict[str, Lock]:
        """Return which of these ECUs whoever diagnoses the vehicle holds, by serial."""
        held = {
            ecu.serial: self.locks.of(ecu.name, now=now) for ecu in self.on_board if ecu.serial in serials
        }
        return {serial: lock for serial, lock in held.items() if lock is not None}

    def gone(self, serials: Collection[str]) -> frozenset[str]:
        """Return which of these ECUs are not in the vehicle, as those that were exchanged since they were planned."""
        return frozenset(serials) - {ecu.serial for ecu in self.on_board}

    def missing(self) -> dict[str, MissingAgent]:
        """Return what stands in for agents that cannot be had, by serial."""
        return {serial: one for serial, one in self._agents.items() if isinstance(one, MissingAgent)}

    async def on_each_line(
        self, serials: Sequence[str], work: Callable[[str], Awaitable[float]], *, go_on: Callable[[], bool]
    ) -> float:
        """Work on ECUs, on all lines at once: buses do not wait for each other.

        Args:
            serials: in order; those of one line are worked on one after another.
            work: returns the seconds to wait before more may be done; a line ends with them.
            go_on: asked before each ECU but the first of a line.

        Returns:
            The longest of those seconds.

        Raises:
            Whatever `work` raises first; it ends the other lines.
        """
        names = {ecu.serial: ecu.line for ecu in self.on_board}
        lines: dict[str, list[str]] = {}
        for serial in serials:
            lines.setdefault(names[serial], []).append(serial)

        async def along(line: Sequence[str]) -> float:
            for number, serial in enumerate(line):
                if number:
                    await asyncio.sleep(0)  # let the uplink speak
                    if not go_on():
                        return 0.0
                if (wait_s := await work(serial)) > 0:
                    return wait_s
            return 0.0

        if len(lines) == 1:
            return await along(serials)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(along(line)) for line in lines.values()]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return max(task.result() for task in tasks)

    @asynccontextmanager
    async def agent(self, serial: str) -> AsyncIterator[UpdateAgent]:
        """Have an ECU's agent alone."""
        async with self._lines[serial]:
            yield self._agents[serial]

    def peek(self, serial: str) -> UpdateAgent:
        """Return an ECU's agent, to see what it can do; whoever asks anything of it has it alone."""
        return self._agents[serial]

    async def inventory(self, serial: str) -> EcuInventory | Failed:
        """Ask one ECU what it is and what it runs."""
        async with self.agent(serial) as agent:
            return await agent.inventory()

    async def inventories(self) -> dict[str, EcuInventory | Failed]:
        """Ask every ECU; by serial."""
        serials = [ecu.serial for ecu in self.on_board]
        answers = await asyncio.gather(*(self.inventory(serial) for serial in serials))
        return dict(zip(serials, answers, strict=True))

    async def faults(self, serials: Collection[str]) -> dict[str, Sequence[Fault] | Failed]:
        """Ask these ECUs for their fault memories, where their agent can do that alone and nobody has the line; by serial."""

        async def of(serial: str, agent: FaultAgent) -> Sequence[Fault] | Failed:
            async with self._lines[serial]:
                return await agent.faults()

        asked = {
            serial: of(serial, agent)
            for serial, agent in self._agents.items()
            if serial in serials and isinstance(agent, FaultAgent) and not self._lines[serial].locked()
        }
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def close(self) -> None:
        """Drop every connection."""
        for agent in self._agents.values():
            await agent.close()
