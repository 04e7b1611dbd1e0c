"""A vehicle on a desk whose ECUs are virtual ones, behind the real update agents; flash in memory, the clock is stepped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from ringroad.sim.vecu.config import EcuConfig as VecuConfig
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.port import EcuPort
from ringroad.vehicle.agents.base import BytesSource, Done, UpdateAgent, image_of, no_progress
from ringroad.vehicle.connect import make_agents
from ringroad.vehicle.proof import Prover
from support.vehicle_world import VIN, World, content_of

BLOCK_BYTES: Final = 1_026  # of a transfer; an image of 3,000 bytes is three writes
EXCHANGE_EVERY: Final = 100  # steps of the orchestrator

Ecu = tuple[str, Literal["ab", "inplace"]]


class FlashedVehicle(World):
    """A vehicle with real agents and virtual ECUs, and its server."""

    def __init__(self, folder: Path, *, ecus: Sequence[Ecu]) -> None:
        """Make the vehicle as it leaves its suppliers: blank. `build` flashes the factory's images."""
        super().__init__(folder, ecus=ecus)
        self.exchange_every = EXCHANGE_EVERY
        self.flash = {name: MemoryMedium() for name in self.ecus}
        self.ports: dict[str, EcuPort] = {}
        self.data_of: dict[str, dict[str, str]] = {}  # what testers may write, by ECU
        self.owners: dict[str, str] = {}  # public keys of ECUs that ask for a proof, by ECU
        self.proofs: dict[str, Prover] = {}  # the proofs, by serial

    def power_on(self) -> None:
        """Start every ECU from what its flash holds."""
        self.ports = {
            name: EcuPort(
                VecuConfig(
                    serial=ecu.serial, hardware_id=f"{name}-hw", vin=VIN, layout=ecu.mode, bank_bytes=8_192,
                    block_bytes=BLOCK_BYTES, data=self.data_of.get(name, {}),
                    authentication_key=self.owners.get(name, ""),
                ),
                self.flash[name], clock=self.clock,
            )
            for name, ecu in self.ecus.items()
        }  # fmt: skip

    def reset(self) -> None:
        self.power_on()

    def agents(self) -> dict[str, UpdateAgent]:
        channels = {ecu.serial: MemoryChannel(self.ports[ecu.name]) for ecu in self.config.ecus}
        return make_agents(self.config.ecus, channels, secrets={}, keys=self.proofs)

    async def build(self) -> None:
        """Flash the factory's images, as the plant does."""
        self.power_on()
        agents = self.agents()
        for ecu in self.config.ecus:
            image, agent = image_of(self.factory(ecu.serial)), agents[ecu.serial]
            source = BytesSource(content_of(ecu.name, "1.0.0"))
            for outcome in (
                await agent.prepare(image, source, progress=no_progress),
                await agent.install(image, source, progress=no_progress),
                await agent.activate(image),
                await agent.commit(image),
            ):
                assert isinstance(outcome, Done), outcome
