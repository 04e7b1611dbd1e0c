"""Update agents for the ECUs of a configuration: UDS over DoIP or over ISO-TP.

A DoIP ECU has a connection of its own; those on one CAN bus share a controller. Each is opened when first used.

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
from ringroad.vehicle.can import CanBus
from ringroad.vehicle.config import EcuConfig, VehicleConfig, read_secret
from ringroad.vehicle.doip import DoipChannel
from ringroad.vehicle.isotp.channel import IsotpChannel
from ringroad.vehicle.uds import UdsChannel, hmac_key

DEVELOPMENT_SECRET: Final = b"ringroad"  # of virtual ECUs whose configuration names no other


def connect_agents(folder: Path, config: VehicleConfig) -> dict[str, UpdateAgent]:
    """Return an agent for each ECU, by serial. Nothing is connected yet.

    Raises:
        InvalidInput: a secret file is missing.
    """
    return make_agents(
        config.ecus,
        connect_channels(config.ecus),
        secrets={
            ecu.serial: read_secret(folder / ecu.security_secret_file)
            for ecu in config.ecus
            if ecu.security_secret_file
        },
    )


def connect_channels(ecus: Sequence[EcuConfig]) -> dict[str, UdsChannel]:
    """Return the way to each ECU, by serial. ECUs on one bus share the vehicle's controller on it."""
    buses: dict[tuple[str, str, bool], CanBus] = {}
    channels: dict[str, UdsChannel] = {}
    for ecu in ecus:
        way = ecu.can
        if way is None:
            channels[ecu.serial] = DoipChannel(ecu.host, ecu.port, ecu_address=ecu.logical_address)
        else:
            place = (way.interface, way.channel, way.fd)
            bus = buses.get(place)
            if bus is None:
                bus = buses[place] = way.make_bus()
            channels[ecu.serial] = IsotpChannel(bus, way.tester(), functional_id=way.functional())
    return channels


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
