"""``config.toml`` of a vehicle's data folder: read, checked and written.

Paths in it are relative to the folder, so that the folder can be moved.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from securesystemslib.signer import CryptoSigner

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import Window, find_zone
from ringroad.kernel.limits import ECUS_MAX, IMAGE_BYTES_MAX
from ringroad.kernel.vin import Vin, parse_vin
from ringroad.protocol.vehicle import EcuTarget, Name, Sha256
from ringroad.trust.keys import key_from_pem
from ringroad.trust.state import TrustState, VerifiedTarget, provision
from ringroad.vehicle.address import Address, parse_address
from ringroad.vehicle.canway import CanWay
from ringroad.vehicle.doip import PORT
from ringroad.vehicle.files import Durability, replace_file
from ringroad.vehicle.images import STORE_BYTES_MAX
from ringroad.vehicle.peers import PEERS_MAX, check_peer
from ringroad.vehicle.plan import EcuOnBoard
from ringroad.vehicle.writable import parse_writes

CONFIG_NAME: Final = "config.toml"
DESK_URL: Final = "http://desk"  # server of a rehearsed vehicle: it lives in the process that rehearses

Port = Annotated[int, Meta(ge=1, le=65_535)]


class FactoryImage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The image an ECU left the plant with; the way back from the first update of an in-place ECU."""

    filename: Name
    length: Annotated[int, Meta(ge=1, le=IMAGE_BYTES_MAX)]
    sha256: Sha256
    sha512: Annotated[str, Meta(pattern="^[0-9a-f]{128}$")]
    version: Name
    format: Literal["bin", "ihex", "srec", "mcuboot", "swu", "mender"]
    release_counter: Annotated[int, Meta(ge=0)] = 0


class EcuConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ECU: who it is and where it answers, at a DoIP entity or on a CAN bus."""

    name: Name
    serial: Name
    hardware_id: Name
    mode: Literal["ab", "inplace"]
    host: str = ""  # of its DoIP entity
    port: Port = PORT
    logical_address: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0
    can: CanWay | None = None
    key_file: str  # PEM, signs this ECU's version reports
    security_secret_file: str = ""  # for UDS SecurityAccess
    authentication_key_file: str = ""  # PEM, an Ed25519 key: the ECU asks for UDS Authentication instead
    primary: bool = False
    agent: Name = "uds"  # built in, or allowed in the table [plugins]
    settings: dict[str, str | int | bool] = {}  # of the agent
    writes: dict[str, str] = {}  # data that diagnostics may write: identifier -> kind, bytes, name
    factory: FactoryImage | None = None

    def __post_init__(self) -> None:
        """Refuse an ECU that cannot be reached, or in two ways."""
        parse_writes(self.writes)
        ways = bool(self.host) + (self.can is not None)
        if ways == 2 or (ways == 0 and self.agent == "uds"):
            raise InvalidInput(
                f"{self.name} needs one way to it", hint="host of its DoIP entity, or a table [ecus.can]"
            )


class VehicleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One vehicle."""

    vin: str
    server_url: str
    ca_file: str = "ca.pem"
    token_file: str = "token"  # noqa: S105 - a file name
    image_root_file: str = "image.root.json"
    director_root_file: str = "director.root.json"
    mqtt_host: str = ""  # empty: no telemetry
    mqtt_port: Port = 1883
    consent: Literal["auto", "ask", "agreed"] = "auto"
    quiet_hours: tuple[str, ...] = ()  # in which no installation begins, by the clock of `time_zone`
    time_zone: str = "UTC"
    diagnostics: Literal["off", "driver", "standing", "test"] = "driver"  # whose consent a session needs
    diagnostics_preconditions: Annotated[tuple[str, ...], Meta(max_length=16)] = ("Vehicle.Speed == 0",)
    diagnostics_http: str = ""  # HOST:PORT of the diagnostics for testers beside it; empty: there are none
    diagnostics_cert_file: str = ""  # PEM; an address that is not loopback needs both
    diagnostics_key_file: str = ""
    page: str = ""  # HOST:PORT of the driver page; empty: there is none
    signals_file: str = "signals.json"
    telemetry_s: Annotated[float, Meta(gt=0)] = 60.0  # s; between two telemetry batches
    kuksa_port: Annotated[int, Meta(ge=0, le=65_535)] = 0  # on loopback; 0: no kuksa.val.v2 server
    vss_file: str = ""  # VSS catalogue in JSON; empty: the tree is what the signals show
    fault_signals: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()  # of a freeze frame; empty: all
    fault_before_s: Annotated[float, Meta(ge=0, le=60)] = 10.0  # s of signals kept for a fault; 0: no ring
    fault_after_s: Annotated[float, Meta(ge=0, le=60)] = (
        5.0  # s of signals told after a fault, if a ring is kept
    )
    store_bytes_max: Annotated[int, Meta(gt=0)] = STORE_BYTES_MAX
    downloads_max: Annotated[int, Meta(ge=1, le=8)] = 3  # images at a time
    peers: Annotated[tuple[str, ...], Meta(max_length=PEERS_MAX)] = ()  # URLs that are asked for images first
    share_images: str = ""  # HOST:PORT at which its peers get this vehicle's images; empty: they do not
    retry_base_s: Annotated[float, Meta(gt=0)] = 1.0
    plugins: dict[
        str, str
    ] = {}  # update agents of others: name -> module:attribute or entry-point:distribution
    ecus: Annotated[tuple[EcuConfig, ...], Meta(min_length=1, max_length=ECUS_MAX)]

    def __post_init__(self) -> None:
        """Refuse vehicles that could not be told apart or have no Primary."""
        parse_vin(self.vin)
        if len({ecu.serial for ecu in self.ecus}) != len(self.ecus):
            raise InvalidInput("two ECUs have the same serial")
        ways = [ecu.can for ecu in self.ecus if ecu.can is not None]
        if len({way.place() for way in ways}) != len(ways):
            raise InvalidInput(
                "two ECUs answer with the same CAN identifier", hint="response_id, for each its own"
            )
        quiet_window(self)
        if find_zone(self.time_zone) is None:
            raise InvalidInput(
                f"there is no time zone {self.time_zone[:60]!r}", hint="an IANA name: Europe/Oslo"
            )
        if self.page:
            parse_address(self.page)
        for peer in self.peers:
            check_peer(peer)
        if self.share_images:
            parse_address(self.share_images)
        if bool(self.diagnostics_cert_file) != bool(self.diagnostics_key_file):
            raise InvalidInput("diagnostics_cert_file and diagnostics_key_file go together")
        if self.diagnostics_http:
            address = _tester_address(self.diagnostics_http)
            if not address.is_loopback and not self.diagnostics_cert_file:
                raise InvalidInput(
                    f"diagnostics_http: diagnostics on {address.shown} need a certificate",
                    hint="diagnostics_cert_file and diagnostics_key_file, two PEM files, or an address of loopback",
                )
        if sum(ecu.primary for ecu in self.ecus) != 1:
            raise InvalidInput("exactly one ECU is the Primary", hint="set primary = true on one of them")


def _tester_address(text: str) -> Address:
    try:
        return parse_address(text)
    except InvalidInput as error:
        raise InvalidInput(
            f"diagnostics_http: {error.message}",
            hint="127.0.0.1:8790, or one IP address of this machine with a certificate: "
            "diagnostics_cert_file and diagnostics_key_file, two PEM files",
        ) from error


def read_config(folder: Path) -> VehicleConfig:
    """Return the configuration in `folder`.

    Raises:
        InvalidInput: it is missing, not TOML, or a setting is wrong or unknown.
    """
    path = folder / CONFIG_NAME
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), VehicleConfig)
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror}", hint="is this a vehicle folder?"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{path}: {error}") from error


def check_not_rehearsed(folder: Path, config: VehicleConfig) -> None:
    """Refuse a vehicle that `ringroad vehicle rehearse` built. Raises: InvalidInput."""
    if config.server_url == DESK_URL:
        raise InvalidInput(
            f"{folder} is of a rehearsal: its server and the power of its ECUs live in the process that rehearses",
            hint=f"to go on with its update: ringroad vehicle rehearse PROGRAMME --folder {folder}",
        )


def write_config(folder: Path, config: VehicleConfig, *, durability: Durability) -> None:
    """Write `config` into `folder`, so that `read_config` gives it back.

    Raises:
        Unavailable: the disk cannot be written.
    """
    fields: dict[str, Any] = msgspec.to_builtins(config)
    ecus, plugins = fields.pop("ecus"), fields.pop("plugins")
    lines = toml_table(fields)
    if plugins:
        lines += ["", "[plugins]", *toml_table(plugins)]
    for ecu in ecus:
        tables = {
            name: table for name in ("can", "settings", "writes", "factory") if (table := ecu.pop(name))
        }
        lines += ["", "[[ecus]]", *toml_table(ecu)]
        for name, table in tables.items():
            lines += ["", f"[ecus.{name}]", *toml_table(table)]
    replace_file(folder / CONFIG_NAME, ("\n".join(lines) + "\n").encode(), durability=durability)


def on_board(config: VehicleConfig) -> tuple[EcuOnBoard, ...]:
    """Return the ECUs of `config` as the orchestrator knows them."""
    return tuple(
        EcuOnBoard(
            name=ecu.name,
            serial=ecu.serial,
            hardware_id=ecu.hardware_id,
            mode=ecu.mode,
            primary=ecu.primary,
            factory=_factory_target(ecu),
            line="" if ecu.can is None else f"{ecu.can.interface} {ecu.can.channel}",
        )
        for ecu in config.ecus
    )


def read_keys(folder: Path, config: VehicleConfig) -> dict[str, CryptoSigner]:
    """Return each ECU's signer, by serial.

    Raises:
        InvalidInput: a key file is missing or not a key.
    """
    return {ecu.serial: key_from_pem(read_secret(folder / ecu.key_file)) for ecu in config.ecus}


def read_roots(folder: Path, config: VehicleConfig) -> TrustState:
    """Return the trust a new vehicle starts with.

    Raises:
        InvalidInput: a root file is missing.
        Untrusted: a root is not signed by itself.
    """
    return provision(
        image_root=read_secret(folder / config.image_root_file),
        director_root=read_secret(folder / config.director_root_file),
    )


def read_secret(path: Path) -> bytes:
    """Return a file of the data folder. Raises: InvalidInput, if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", hint="see config.toml") from error


def read_token(folder: Path, config: VehicleConfig) -> str:
    """Return the device token. Raises: InvalidInput, if it is missing or empty."""
    token = read_secret(folder / config.token_file).decode("ascii", "replace").strip()
    if not token:
        raise InvalidInput(f"{config.token_file} is empty", hint="it holds the device token")
    return token


def quiet_window(config: VehicleConfig) -> Window | None:
    """Return when an installation may begin; None without quiet hours. Raises: InvalidInput, they are none."""
    if not config.quiet_hours:
        return None
    return Window(quiet=config.quiet_hours, time_zone=config.time_zone)


def vin_of(config: VehicleConfig) -> Vin:
    """Return the VIN, which `VehicleConfig` checked."""
    return parse_vin(config.vin)


def _factory_target(ecu: EcuConfig) -> VerifiedTarget | None:
    image = ecu.factory
    if image is None:
        return None
    return VerifiedTarget(
        serial=ecu.serial, filename=image.filename, length=image.length, sha256=image.sha256,
        sha512=image.sha512, hardware_ids=(ecu.hardware_id,), release_counter=image.release_counter,
        ecu_target=EcuTarget(name=ecu.name, mode=ecu.mode, format=image.format, version=image.version),
    )  # fmt: skip


def toml_table(fields: Mapping[str, Any]) -> list[str]:
    """Return the lines of one TOML table of strings, numbers, booleans and lists of them; None is left out."""
    # A JSON value of these kinds is a TOML one as well.
    return [
        f"{name} = {json.dumps(value, ensure_ascii=False)}"
        for name, value in fields.items()
        if value is not None
    ]
