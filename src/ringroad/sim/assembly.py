"""The end of a simulated line: ECUs are made, flashed through the real update agents, and become a vehicle.

What comes out is a vehicle data folder that `ringroad vehicle run` takes as it is, with a file for each of its
virtual ECUs, and the registration that the server needs; `power_on` starts the ECUs of such a folder again.
Keys are made here, in the "plant", and only their public halves leave the folder.

Invariant: a vehicle that is returned runs the baseline on every ECU; an agent's refusal stops the line.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import msgspec

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.kernel.vin import Vin, parse_vin
from ringroad.protocol.vehicle import EcuTarget
from ringroad.sim.vecu.config import EcuConfig as VecuConfig
from ringroad.sim.vecu.config import ServerConfig, ServerTable
from ringroad.sim.vecu.config import read_config as read_vecu_config
from ringroad.sim.vecu.config import write_config as write_vecu_config
from ringroad.sim.vecu.http import SovdFace
from ringroad.sim.vecu.medium import FileMedium, Medium
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import Script
from ringroad.sim.workshop import WRITES, WRITTEN_AT_BIRTH, by_proof, proof_key, proof_pem
from ringroad.trust.keys import key_from_seed, key_id, private_pem, public_key_dict
from ringroad.vehicle.agents.base import BytesSource, EcuImage, Failed, UpdateAgent, no_progress
from ringroad.vehicle.agents.disk import Disk, RealDisk
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.agents.sovd import SovdAgent
from ringroad.vehicle.canway import CanWay
from ringroad.vehicle.config import EcuConfig, FactoryImage, VehicleConfig, read_config, vin_of, write_config
from ringroad.vehicle.connect import make_agents
from ringroad.vehicle.files import Durability
from ringroad.vehicle.proof import prover_of
from ringroad.vehicle.uds import UdsChannel

SECRET_BYTES = 16  # of an ECU's UDS security access
TOKEN_BYTES = 24  # of a vehicle's device token
FLASH = "flash"  # folder with one file per ECU
FIRST_ADDRESS = 0x1000  # DoIP logical address of the first ECU; the others follow
DOIP_PORT = 13400  # ISO 13400-2
TESTER: Final = 0xF1  # address of the vehicle's tester on CAN. Source: ISO 15765-4
CAN_BLOCK_BYTES: Final = (
    4_095  # longest request of an ECU on CAN; a longer one would keep the others off the bus
)
CAN_BUSES: Final[dict[str, Literal["can", "canfd"]]] = {
    "CAN": "can",
    "CAN FD": "canfd",
}  # a programme's words
LOCAL_AGENTS: Final = frozenset({"files", "container"})  # their ECU is a folder of the vehicle
AGENT_NAMES: Final = {"ab": "uds"}  # a programme's word -> a vehicle's
_CHECK_DIGITS = "0123456789X"
_VIN_VALUES = {
    **{str(digit): digit for digit in range(10)},
    **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
    **dict(zip("JKLMN", range(1, 6), strict=True)),
    "P": 7,
    "R": 9,
    **dict(zip("STUVWXYZ", range(2, 10), strict=True)),
}
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselinePackage:
    """One software package of the baseline, with its bytes."""

    ecu: str
    filename: str
    version: str
    format: Literal["bin", "ihex", "srec", "mcuboot", "swu", "mender"]
    image: bytes
    release_counter: int
    hardware_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """What is to be built: ECUs as the programme has them, and the baseline.

    Attributes:
        ecus: name -> the programme's table of that ECU (hardware_id, storage, storage_bytes, primary, ...).
        packages: ECU name -> package; ECUs without one leave the line blank, which the agents refuse later.
        checks: station, gate and check, for each that the gates of the line ask for.
    """

    programme_id: str
    variant: str
    region: str
    release_id: str
    ecus: Mapping[str, Mapping[str, Any]]
    packages: Mapping[str, BaselinePackage]
    checks: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where the vehicle will live: addresses and trust anchors written into its folder."""

    server_url: str
    mqtt_host: str
    mqtt_port: int
    ca_pem: bytes
    image_root: bytes
    director_root: bytes
    telemetry_s: float = 60.0
    retry_base_s: float = 1.0


@dataclass(slots=True, kw_only=True)
class BornVehicle:
    """A vehicle that left the line: its folder, and its ECUs under power."""

    vin: Vin
    folder: Path
    config: VehicleConfig
    ports: dict[str, EcuPort]  # by serial
    agents: dict[str, UpdateAgent]  # by serial


def make_vin(number: int, *, maker: str = "WRR", year_code: str = "T", plant: str = "A") -> Vin:
    """Return the VIN of a serial number, with its check digit.

    Source: ISO 3779; 49 CFR 565.15 for the check digit.
    """
    body = f"{maker}DEM12{year_code}{plant}{number:06d}"  # maker 3, descriptor 5, [check 1], year, plant, serial 6
    draft = body[:8] + "0" + body[8:]
    total = sum(_VIN_VALUES[char] * weight for char, weight in zip(draft, _VIN_WEIGHTS, strict=True))
    return parse_vin(draft[:8] + _CHECK_DIGITS[total % 11] + draft[9:])


async def assemble(
    folder: Path,
    vin: Vin,
    blueprint: Blueprint,
    surroundings: Surroundings,
    *,
    clock: Clock,
    secret: Callable[[int], bytes],
    script: Script | None = None,
    seed: int = 0,
    medium: Callable[[str], Medium] | None = None,
    durability: Durability = "fsync",
) -> tuple[BornVehicle, dict[str, Any]]:
    """Build one vehicle: make its ECUs, flash the baseline through the agents, write its folder.

    Args:
        folder: the vehicle's data folder; made.
        vin: its identity.
        blueprint: what it is.
        surroundings: where it will live.
        clock: for the ECUs' session times.
        secret: random bytes by count, for keys and token.
        script: how images behave on its ECUs.
        seed: of every draw of its ECUs.
        medium: flash by ECU serial; default files in the folder, which survive the process.
        durability: of the folder's files.

    Returns:
        The vehicle, and its registration.

    Raises:
        Unavailable: an agent refused the baseline; the message names ECU and reason.
        InvalidInput: an ECU cannot be simulated.
    """
    _check_simulated(blueprint)
    _make_folders(folder)
    flash = medium or (
        lambda serial: FileMedium(folder / FLASH / f"{serial}.bin", fsync=durability == "fsync")
    )
    ports: dict[str, EcuPort] = {}
    ecus: list[EcuConfig] = []
    registered: list[dict[str, Any]] = []
    for number, (name, table) in enumerate(blueprint.ecus.items()):
        serial = f"{vin[-6:]}-{number:02d}-{name}"[:64]
        security = secret(SECRET_BYTES)
        _write_secrets(folder, serial, table, security)
        if _agent(table) not in LOCAL_AGENTS:
            ecu = _vecu_config(vin, serial, table, security)
            server = _server(serial, table, number, fsync=durability == "fsync")
            write_vecu_config(folder / f"{serial}.toml", ecu, server, _can_way(table["bus"], number))
            ports[serial] = EcuPort(ecu, flash(serial), clock=clock, script=script, seed=seed)
        package = blueprint.packages.get(name)
        ecus.append(_ecu_config(serial, name, number, table, package))
        if package is not None:
            # It is on no bus yet: nobody else has to be still while it is flashed.
            agent = agents_here(folder, ecus[-1:], ports, disk=RealDisk(durability))[serial]
            await flash_baseline(agent, serial, name, table["storage"], package)
        registered.append(_make_identity(folder, serial, name, table, secret(32)))
    config = VehicleConfig(
        vin=vin, server_url=surroundings.server_url, mqtt_host=surroundings.mqtt_host,
        mqtt_port=surroundings.mqtt_port, telemetry_s=surroundings.telemetry_s,
        retry_base_s=surroundings.retry_base_s, ecus=tuple(ecus),
        diagnostics="test",  # nobody sits in it who could be asked
    )  # fmt: skip
    token = secret(TOKEN_BYTES).hex()
    _write_folder(folder, config, surroundings, token, durability=durability)
    agents = agents_here(folder, ecus, ports, disk=RealDisk(durability))
    born = BornVehicle(vin=vin, folder=folder, config=config, ports=ports, agents=agents)
    return born, _registration(vin, blueprint, registered, token)


def power_on(
    folder: Path,
    *,
    clock: Clock,
    script: Callable[[EcuConfig, ServerConfig], Script] | None = None,
    seed: int = 0,
) -> BornVehicle:
    """Give the ECUs of a vehicle's folder power again, in this process.

    Args:
        folder: as `assemble` left it.
        clock: for the ECUs' session times.
        script: what goes wrong on one of its ECUs, of which are given the vehicle's and its own configuration.
        seed: of every draw of its ECUs.

    Raises:
        InvalidInput: this is no vehicle's folder, or not one with virtual ECUs.
        Conflict: another process gives one of them power.
        Corrupt: the flash of an ECU does not read back.
    """
    config = read_config(folder)
    ports: dict[str, EcuPort] = {}
    with ExitStack() as opened:
        for ecu in config.ecus:
            if ecu.agent in LOCAL_AGENTS:
                continue
            found = read_vecu_config(folder / f"{ecu.serial}.toml")
            flash = found.path(found.server.flash)
            medium = opened.enter_context(closing(FileMedium(flash, fsync=found.server.fsync, alone=True)))
            wrong = script(ecu, found) if script is not None else None
            ports[ecu.serial] = EcuPort(found.ecu, medium, clock=clock, script=wrong, seed=seed)
        opened.pop_all()  # they stay open as long as the vehicle has power
    agents = agents_here(folder, config.ecus, ports, disk=RealDisk())
    return BornVehicle(vin=vin_of(config), folder=folder, config=config, ports=ports, agents=agents)


def agents_here(
    folder: Path,
    ecus: Sequence[EcuConfig],
    ports: Mapping[str, EcuPort],
    *,
    disk: Disk,
    channel: Callable[[EcuPort], UdsChannel] = MemoryChannel,
) -> dict[str, UpdateAgent]:
    """Return the agents of these ECUs, whose virtual ones are reached without a socket and share the vehicle's bus.

    Args:
        folder: of the vehicle.
        ecus: of its configuration.
        ports: by serial, of those that are virtual ECUs.
        disk: for those that are folders of the vehicle.
        channel: makes the way to one that speaks UDS.
    """
    here = {ecu.serial: ports[ecu.serial] for ecu in ecus if ecu.agent not in LOCAL_AGENTS}
    secrets = {serial: port.ecu.config.secret for serial, port in here.items()}
    behind_http = [ecu for ecu in ecus if ecu.agent == "sovd"]
    channels = {
        ecu.serial: channel(here[ecu.serial]) for ecu in ecus if ecu.serial in here and ecu not in behind_http
    }
    others = [ecu for ecu in ecus if ecu not in behind_http]
    proofs = {
        serial: prover_of(proof_pem(secrets[serial]), serial)
        for serial in channels
        if here[serial].ecu.config.authentication_key
    }
    agents = make_agents(others, channels, secrets=secrets, keys=proofs, folder=folder, disk=disk)
    for ecu in behind_http:
        site = AgentSite(
            name=ecu.name, serial=ecu.serial, hardware_id=ecu.hardware_id, mode=ecu.mode, folder=folder, disk=disk,
            settings=ecu.settings, secret=secrets[ecu.serial],
        )  # fmt: skip
        agents[ecu.serial] = SovdAgent(site, transport=httpx.ASGITransport(SovdFace(here[ecu.serial])))
    return agents


SIGNALS_S = (
    2.0  # seconds between two signs of life of what writes a vehicle's signals; preconditions may ask for 5
)

ODOMETER: Final = "Vehicle.TraveledDistance"
BORN_KM: Final = 12.0  # km on the test track

# A parked, charged vehicle: what preconditions usually ask for.
PARKED: dict[str, float | int | bool | str] = {
    "Vehicle.Speed": 0,
    "Vehicle.Powertrain.Transmission.IsParkLockEngaged": True,
    "Vehicle.LowVoltageBattery.CurrentVoltage": 12.7,
    "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current": 76.0,
}


async def flash_baseline(
    agent: UpdateAgent, serial: str, name: str, storage: Literal["ab", "inplace"], package: BaselinePackage
) -> None:
    """Put a package onto a blank ECU, in the order the orchestrator would.

    Raises:
        Unavailable: the agent refused; the message names ECU and reason.
    """
    image = EcuImage(
        serial=serial,
        target=EcuTarget(name=name, mode=storage, format=package.format, version=package.version),
        filename=package.filename,
        sha256=hashlib.sha256(package.image).hexdigest(),
        length_bytes=len(package.image),
        release_counter=package.release_counter,
        hardware_ids=package.hardware_ids,
    )
    source = BytesSource(package.image)
    outcome = await agent.prepare(image, source, progress=no_progress)
    if not isinstance(outcome, Failed):
        outcome = await agent.install(image, source, progress=no_progress)
    if not isinstance(outcome, Failed):
        outcome = await agent.activate(image)
    if not isinstance(outcome, Failed):
        outcome = await agent.verify(image, frozenset({"version"}))
    if not isinstance(outcome, Failed):
        outcome = await agent.commit(image)
    if isinstance(outcome, Failed):
        raise Unavailable(
            f"end of line: {name} refused {package.filename}: {outcome.reason}",
            hint=outcome.detail,
            code=outcome.reason,
        )


def _ecu_config(
    serial: str, name: str, number: int, table: Mapping[str, Any], package: BaselinePackage | None
) -> EcuConfig:
    factory = None
    if package is not None:
        factory = FactoryImage(
            filename=package.filename, length=len(package.image), version=package.version, format=package.format,
            sha256=hashlib.sha256(package.image).hexdigest(), sha512=hashlib.sha512(package.image).hexdigest(),
            release_counter=package.release_counter,
        )  # fmt: skip
    can = _can_way(table["bus"], number)
    own_way = _agent(table) in {"sovd", *LOCAL_AGENTS}
    settings = dict(table.get("settings", {}))
    if _agent(table) == "sovd":
        settings.setdefault("url", "http://127.0.0.1:8080")  # whoever starts the ECU knows its port
    return EcuConfig(
        name=name, serial=serial, hardware_id=table["hardware_id"], mode=table["storage"],
        host="" if can or own_way else "127.0.0.1", port=DOIP_PORT, logical_address=FIRST_ADDRESS + number, can=can,
        key_file=f"{serial}.pem", security_secret_file=f"{serial}.secret", primary=bool(table["primary"]),
        agent=_agent(table), settings=settings, factory=factory, writes={} if own_way else dict(WRITES),
        authentication_key_file=f"{serial}.auth.pem" if by_proof(table) else "",
    )  # fmt: skip


def _can_way(bus: str, number: int) -> CanWay | None:
    """Return the way to an ECU on a CAN bus of the programme; which process the bus is, who starts it knows."""
    kind = CAN_BUSES.get(bus)
    if kind is None:
        return None
    # Normal fixed addressing as of ISO 15765-2: 29 bits with target and source.
    if number >= TESTER:
        raise InvalidInput("a simulated CAN bus has room for 240 ECUs")
    return CanWay(
        bus=kind, channel="127.0.0.1:29536", request_id=0x18DA_0000 | number << 8 | TESTER,
        response_id=0x18DA_0000 | TESTER << 8 | number, functional_id=0x18DB_33F1,
    )  # fmt: skip


def _registration(
    vin: Vin, blueprint: Blueprint, ecus: Sequence[dict[str, Any]], token: str
) -> dict[str, Any]:
    installed = []
    for ecu in ecus:
        package = blueprint.packages.get(ecu["name"])
        if package is not None:
            installed.append(
                {"serial": ecu["serial"], "filename": package.filename, "version": package.version,
                 "image_sha256": hashlib.sha256(package.image).hexdigest()}
            )  # fmt: skip
    return {
        "vin": vin,
        "programme_id": blueprint.programme_id,
        "variant": blueprint.variant,
        "region": blueprint.region,
        "release_id": blueprint.release_id,
        "gateway": "native",
        "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
        "ecus": list(ecus),
        "installed": installed,
    }


def _vecu_config(vin: Vin, serial: str, table: Mapping[str, Any], security: bytes) -> VecuConfig:
    return VecuConfig(
        serial=serial,
        hardware_id=table["hardware_id"],
        vin=vin,
        layout=table["storage"],
        bank_bytes=table["storage_bytes"],
        secret=security,
        block_bytes=CAN_BLOCK_BYTES if table["bus"] in CAN_BUSES else 65_535,
        erase_pending=0,
        mcuboot_key=_public_key(table) if _agent(table) == "mcuboot" else "",
        mcuboot_swap=table.get("settings", {}).get("swap", "direct-xip"),
        authentication_key=proof_key(security) if by_proof(table) else "",
        data={} if _agent(table) == "sovd" else WRITTEN_AT_BIRTH,
    )


def _server(serial: str, table: Mapping[str, Any], number: int, *, fsync: bool) -> ServerTable:
    return ServerTable(
        flash=f"{FLASH}/{serial}.bin", fsync=fsync, logical_address=FIRST_ADDRESS + number,
        http=_agent(table) == "sovd",
    )  # fmt: skip


def _check_simulated(blueprint: Blueprint) -> None:
    for name, table in blueprint.ecus.items():
        if _agent(table) in {"swupdate", "rauc"}:
            raise InvalidInput(f"{name} is written by a program of its own, which is not simulated")


def _agent(table: Mapping[str, Any]) -> str:
    """Return the agent of an ECU as a vehicle's configuration names it."""
    name = str(table.get("agent", "uds"))
    return AGENT_NAMES.get(name, name)


def _write_secrets(folder: Path, serial: str, table: Mapping[str, Any], security: bytes) -> None:
    _write_private(folder / f"{serial}.secret", security)
    if by_proof(table):
        _write_private(folder / f"{serial}.auth.pem", proof_pem(security))


def _public_key(table: Mapping[str, Any]) -> str:
    """Return the key that an ECU's MCUboot is made with. Raises: InvalidInput."""
    key = table.get("settings", {}).get("public_key")
    if not key:
        raise InvalidInput(
            f"{table['hardware_id']} has MCUboot, whose public key is not known",
            hint='settings = { public_key = "-----BEGIN PUBLIC KEY-----..." } in programme.toml',
        )
    return str(key)


def _make_identity(
    folder: Path, serial: str, name: str, table: Mapping[str, Any], key_seed: bytes
) -> dict[str, Any]:
    """Make an ECU's key; return what the server shall know of it."""
    signer = key_from_seed(key_seed)
    _write_private(folder / f"{serial}.pem", private_pem(signer))
    public = public_key_dict(signer)
    return {
        "serial": serial,
        "name": name,
        "hardware_id": table["hardware_id"],
        "public_key": public,
        "key_id": key_id(public),
        "is_primary": bool(table["primary"]),
    }


def _write_folder(
    folder: Path, config: VehicleConfig, surroundings: Surroundings, token: str, *, durability: Durability
) -> None:
    _write_private(folder / config.token_file, token.encode())
    (folder / config.ca_file).write_bytes(surroundings.ca_pem)
    (folder / config.image_root_file).write_bytes(surroundings.image_root)
    (folder / config.director_root_file).write_bytes(surroundings.director_root)
    (folder / config.signals_file).write_bytes(msgspec.json.encode(PARKED | {ODOMETER: BORN_KM}))
    write_config(folder, config, durability=durability)


def _make_folders(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / FLASH).mkdir(exist_ok=True)


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


async def keep_signals(path: Path) -> None:
    """Keep a vehicle's signals current until cancelled, as the gateway ECU of a parked vehicle does."""
    while True:
        await asyncio.to_thread(path.touch)
        await asyncio.sleep(SIGNALS_S)
