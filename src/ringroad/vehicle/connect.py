"""Update agents for the ECUs of a configuration, each of the kind that it names; UDS over DoIP or over ISO-TP by default.

ECUs behind one DoIP entity share the connection to it, those on one CAN bus a controller. Each is opened when first used.

The agents of one vehicle share the silence that an in-place flash needs of the other ECUs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.vehicle.agents.ab import AbAgent
from ringroad.vehicle.agents.base import UpdateAgent
from ringroad.vehicle.agents.disk import Disk, RealDisk
from ringroad.vehicle.agents.inplace import UdsInplaceAgent
from ringroad.vehicle.agents.missing import MissingAgent
from ringroad.vehicle.agents.plugins import AgentMissing, AgentSite, factory_of
from ringroad.vehicle.agents.quiet import Silence
from ringroad.vehicle.agents.session import EcuAccess
from ringroad.vehicle.can import CanBus
from ringroad.vehicle.config import EcuConfig, VehicleConfig, read_secret
from ringroad.vehicle.doip import DoipChannel, DoipEntity
from ringroad.vehicle.isotp.channel import IsotpChannel
from ringroad.vehicle.proof import Prover, prover_of
from ringroad.vehicle.uds import UdsChannel, hmac_key

AGENTS: Final = "agents"  # folder with one folder per ECU whose agent keeps files
_FOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
DEVELOPMENT_SECRET: Final = b"ringroad"  # of virtual ECUs whose configuration names no other


def connect_agents(folder: Path, config: VehicleConfig) -> dict[str, UpdateAgent]:
    """Return an agent for each ECU, by serial; where one cannot be had, what says so. Nothing is connected yet.

    Raises:
        InvalidInput: a secret file is missing, an agent refuses its settings, or a plugin hides an agent of ours.
    """
    return make_agents(
        config.ecus,
        connect_channels(config.ecus),
        secrets={
            ecu.serial: read_secret(folder / ecu.security_secret_file)
            for ecu in config.ecus
            if ecu.security_secret_file
        },
        plugins=config.plugins,
        stand_in=True,
        folder=folder,
        keys={
            ecu.serial: prover_of(read_secret(folder / ecu.authentication_key_file), ecu.serial)
            for ecu in config.ecus
            if ecu.authentication_key_file
        },
    )


def connect_channels(ecus: Sequence[EcuConfig]) -> dict[str, UdsChannel]:
    """Return the way to each ECU, by serial.

    ECUs on one bus share the vehicle's controller on it, ECUs behind one DoIP
    entity the connection to it.

    Raises:
        InvalidInput: two ECUs have one address.
    """
    buses: dict[tuple[str, str, bool], CanBus] = {}
    entities: dict[tuple[str, int], DoipEntity] = {}
    taken: dict[tuple[str, int, int], str] = {}
    channels: dict[str, UdsChannel] = {}
    for ecu in ecus:
        way = ecu.can
        if way is None and not ecu.host:
            continue  # its agent has a way of its own
        if way is None:
            other = taken.setdefault((ecu.host, ecu.port, ecu.logical_address), ecu.name)
            if other != ecu.name:
                raise InvalidInput(
                    f"{ecu.name} and {other} have one logical address behind {ecu.host}:{ecu.port}"
                )
            entity = entities.setdefault((ecu.host, ecu.port), DoipEntity(ecu.host, ecu.port))
            channels[ecu.serial] = DoipChannel(entity, ecu_address=ecu.logical_address)
        else:
            place = (way.interface, way.channel, way.fd)
            bus = buses.get(place)
            if bus is None:
                bus = buses[place] = way.make_bus()
            channels[ecu.serial] = IsotpChannel(bus, way.tester(), functional_id=way.functional())
    return channels


def make_agents(
    ecus: Sequence[EcuConfig],
    channels: Mapping[str, UdsChannel],
    *,
    secrets: Mapping[str, bytes],
    keys: Mapping[str, Prover] = MappingProxyType({}),
    plugins: Mapping[str, str] = MappingProxyType({}),
    stand_in: bool = False,
    folder: Path = Path(),
    disk: Disk = RealDisk(),  # noqa: B008 - it is a frozen value
) -> dict[str, UpdateAgent]:
    """Return the agents of one vehicle, by serial, whatever their channels are made of.

    Args:
        ecus: all of the vehicle.
        channels: by serial, for those that speak UDS.
        secrets: for the security key, by serial; `DEVELOPMENT_SECRET` where there is none.
        keys: proofs of ownership, by serial, for ECUs that ask for one instead of the security key.
        plugins: agents of others that may be loaded.
        stand_in: an agent that cannot be had is none to raise for: `MissingAgent` takes its place.
        folder: of the vehicle; agents that keep files get room below it.
        disk: for those files.

    Raises:
        InvalidInput: an agent is not allowed, cannot be loaded or refuses its settings.
        Unavailable: no room can be made for an agent's files.
    """
    silence = Silence(channels)
    agents: dict[str, UpdateAgent] = {}
    for ecu in ecus:
        channel = channels.get(ecu.serial)
        secret = secrets.get(ecu.serial, DEVELOPMENT_SECRET)
        access = EcuAccess(
            serial=ecu.serial, derive=hmac_key(secret), silence=silence, key=keys.get(ecu.serial)
        )
        site = AgentSite(
            name=ecu.name,
            serial=ecu.serial,
            hardware_id=ecu.hardware_id,
            mode=ecu.mode,
            folder=_room(folder, ecu, channel),
            disk=disk,
            settings=ecu.settings,
            channel=channel,
            access=access if channel is not None else None,
            secret=secret,
        )
        try:
            factory = factory_of(ecu.agent, plugins)
        except AgentMissing as error:
            if not stand_in:
                raise
            agents[ecu.serial] = MissingAgent(error)
            continue
        agents[ecu.serial] = factory(site)
    return agents


def _room(folder: Path, ecu: EcuConfig, channel: UdsChannel | None) -> Path:
    """Return the folder for an agent's own files; an ECU with flash of its own needs none until its agent asks."""
    name = ecu.serial if _FOLDER.fullmatch(ecu.serial) else hashlib.sha256(ecu.serial.encode()).hexdigest()
    room = folder / AGENTS / name
    if channel is None:
        try:
            room.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot make {room}: {error.strerror}", code="disk") from error
    return room


def make_agent(mode: Literal["ab", "inplace"], channel: UdsChannel, access: EcuAccess) -> UpdateAgent:
    """Return the agent for one ECU."""
    return AbAgent(channel, access) if mode == "ab" else UdsInplaceAgent(channel, access)
