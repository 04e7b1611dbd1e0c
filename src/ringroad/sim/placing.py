"""Gives each virtual ECU of a vehicle's folder an address of its own: then each is a process, and the vehicle one beside them.

A plant bears vehicles whose ECUs run together, in one process and without sockets. What is written here are the same
files that real ECUs would be described in: `config.toml` of the vehicle, one of each ECU, one of each CAN bus.

Invariants:
    Nothing is written while a process drives the vehicle.
    What is written twice for the same ports is the same.
    The texts of faults and the rates of a bus stay as a person wrote them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import msgspec

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.sim.assembly import LOCAL_AGENTS
from ringroad.sim.canserver import BusConfig, read_bus_config, write_bus_config
from ringroad.sim.vecu.config import ServerConfig, ServerTable
from ringroad.sim.vecu.config import read_config as read_vecu_config
from ringroad.sim.vecu.config import write_config as write_vecu_config
from ringroad.vehicle.canway import CanWay
from ringroad.vehicle.config import check_not_rehearsed, read_config, write_config
from ringroad.vehicle.files import FolderLock

PORTS_TRIED_MAX: Final = 1_000  # above the first; 33 ECUs need 35
PORT_MAX: Final = 65_535
HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One process of a vehicle: the name of its ECU or bus, how it is spoken to, where, and the file that says so."""

    name: str
    kind: Literal["bus", "DoIP", "HTTP", "CAN", "CAN FD"]
    address: str
    file: Path


def is_free(port: int) -> bool:
    """Say whether nobody listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def place(folder: Path, *, first_port: int, free: Callable[[int], bool] = is_free) -> list[Placed]:
    """Write where each ECU of a vehicle is, from now on; return the processes to start, buses first.

    Args:
        folder: of a vehicle with virtual ECUs.
        first_port: the lowest that may be given away.
        free: whether a port may.

    Raises:
        Conflict: a process drives the vehicle.
        InvalidInput: this is no vehicle's folder, or a rehearsal's; or one of its ECUs is no virtual one.
        Unavailable: there are not enough free ports, or the disk cannot be written.
    """
    config = read_config(folder)
    check_not_rehearsed(folder, config)
    lock = FolderLock(folder)
    try:
        kinds = {ecu.can.bus for ecu in config.ecus if ecu.can is not None}
        alone = [ecu for ecu in config.ecus if ecu.can is None and ecu.agent not in LOCAL_AGENTS]
        ports = iter(_ports(first_port, len(kinds) + len(alone), free))
        buses: dict[str, Placed] = {}
        placed: list[Placed] = []
        ecus = []
        for ecu in config.ecus:
            if ecu.agent in LOCAL_AGENTS:
                ecus.append(ecu)  # a folder of the vehicle: there is nothing to start
                continue
            file = folder / f"{ecu.serial}.toml"
            found = read_vecu_config(file)
            if ecu.can is not None:
                bus = buses.get(ecu.can.bus) or _bus(folder, ecu.can.bus, next(ports))
                buses[ecu.can.bus] = bus
                can = msgspec.structs.replace(ecu.can, channel=bus.address)
                _rewrite(file, found, found.server, can)
                ecus.append(msgspec.structs.replace(ecu, can=can))
                kind: Literal["CAN", "CAN FD"] = "CAN FD" if can.fd else "CAN"
                placed.append(Placed(name=ecu.name, kind=kind, address=bus.address, file=file))
                continue
            port = next(ports)
            server = msgspec.structs.replace(found.server, host=HOST, port=port)
            _rewrite(file, found, server)
            if ecu.agent == "sovd":
                url = f"http://{HOST}:{port}"
                ecus.append(msgspec.structs.replace(ecu, settings={**ecu.settings, "url": url}))
                placed.append(Placed(name=ecu.name, kind="HTTP", address=url, file=file))
            else:
                ecus.append(msgspec.structs.replace(ecu, host=HOST, port=port))
                placed.append(Placed(name=ecu.name, kind="DoIP", address=f"{HOST}:{port}", file=file))
        write_config(folder, msgspec.structs.replace(config, ecus=tuple(ecus)), durability="fsync")
        return [*buses.values(), *placed]
    finally:
        lock.close()


def _rewrite(file: Path, found: ServerConfig, server: ServerTable, can: CanWay | None = None) -> None:
    write_vecu_config(file, found.ecu, server, can, fault_texts=found.fault_texts, durability="fsync")


def _bus(folder: Path, kind: str, port: int) -> Placed:
    file = folder / f"{kind}.toml"
    new = msgspec.convert({"kind": kind, "bit_rate": 0}, type=BusConfig)
    known = read_bus_config(file) if file.exists() else new
    write_bus_config(file, msgspec.structs.replace(known, kind=new.kind, host=HOST, port=port))
    return Placed(name=kind, kind="bus", address=f"{HOST}:{port}", file=file)


def _ports(first: int, wanted: int, free: Callable[[int], bool]) -> list[int]:
    if not 1 <= first <= PORT_MAX:
        raise InvalidInput(f"{first} is no port")
    last = min(PORT_MAX, first + PORTS_TRIED_MAX)
    found = list(islice((port for port in range(first, last + 1) if free(port)), wanted))
    if len(found) < wanted:
        raise Unavailable(
            f"from {first} to {last} no {wanted} ports are free", hint="--port says from where on"
        )
    return found
