"""Update agents for the ECUs of a configuration: UDS over DoIP, one connection per ECU, opened when first used.

The agents of one vehicle share the silence that an in-place flash needs of the other ECUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from ringroad.vehicle.agents.ab import AbAgent
from ringroad.vehicle.agents.base import UpdateAgent
from ringroad.vehicle.agents.inplace import UdsInplaceAgent
from ringroad.vehicle.agents.quiet import Silence
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
    return make_agents(
        config.ecus,
        {ecu.serial: DoipChannel(ecu.host, ecu.port, ecu_address=ecu.logical_address) for ecu in config.ecus},
        secrets={
            ecu.serial: read_secret(folder / ecu.security_secret_file)
            for ecu in config.ecus
            if ecu.security_secret_file
        },
    )


def make_agents(
    ecus: Sequence[EcuConfig], channels: Mapping[str, UdsChannel], *, secrets: Mapping[str, bytes]
) -> dict[str, UpdateAgent]:
    """Return the agents of one vehicle, by serial, whatever their channels are made of.

    Args:
        ecus: all of the vehicle.
        channels: by serial.
        secrets: for the security key, by serial; `DEVELOPMENT_SECRET` where there is none.
    """
    silence = Silence(channels)
    return {
        ecu.serial: make_agent(
            ecu.mode,
            channels[ecu.serial],
            EcuAccess(
                serial=ecu.serial,
                derive=hmac_key(secrets.get(ecu.serial, DEVELOPMENT_SECRET)),
                silence=silence,
            ),
        )
        for ecu in ecus
    }


def make_agent(mode: Literal["ab", "inplace"], channel: UdsChannel, access: EcuAccess) -> UpdateAgent:
    """Return the agent for one ECU."""
    return AbAgent(channel, access) if mode == "ab" else UdsInplaceAgent(channel, access)
