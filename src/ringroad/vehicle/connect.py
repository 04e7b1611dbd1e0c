"""Update agents for the ECUs of a configuration: UDS over DoIP, one connection per ECU, opened when first used."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ringroad.vehicle.agents.ab import AbAgent
from ringroad.vehicle.agents.base import UpdateAgent
from ringroad.vehicle.agents.inplace import UdsInplaceAgent
from ringroad.vehicle.agents.session import EcuAccess
from ringroad.vehicle.config import EcuConfig, VehicleConfig, read_secret
from ringroad.vehicle.doip import DoipChannel
from ringroad.vehicle.uds import UdsChannel, hmac_key

DEVELOPMENT_SECRET: Final = b"ringroad"  # of virtual ECUs whose configuration names no other


def connect_agents(folder: Path, config: VehicleConfig) -> dict[str, UpdateAgent]:
    """Return an agent for each ECU, by serial. Nothing is connected yet.

    Raises:
        InvalidInput: a secret file is missing.
    """
    return {
        ecu.serial: make_agent(
            ecu,
            DoipChannel(ecu.host, ecu.port, ecu_address=ecu.logical_address),
            secret=read_secret(folder / ecu.security_secret_file)
            if ecu.security_secret_file
            else DEVELOPMENT_SECRET,
        )
        for ecu in config.ecus
    }


def make_agent(ecu: EcuConfig, channel: UdsChannel, *, secret: bytes = DEVELOPMENT_SECRET) -> UpdateAgent:
    """Return the agent for one ECU behind `channel`, whatever the channel is made of."""
    access = EcuAccess(serial=ecu.serial, derive=hmac_key(secret))
    return AbAgent(channel, access) if ecu.mode == "ab" else UdsInplaceAgent(channel, access)
