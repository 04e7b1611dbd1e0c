"""What a virtual ECU is, and the file that describes one server process.

The file's tables and keys are listed in docs/reference/vecu.md; unknown ones stop the start.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ringroad.kernel.errors import InvalidInput
from ringroad.sim.vecu.flash import ExchangeName, LayoutName
from ringroad.vehicle.agents.wire import Did
from ringroad.vehicle.canway import CanWay
from ringroad.vehicle.config import toml_table
from ringroad.vehicle.files import Durability, replace_file
from ringroad.vehicle.proof import owner_key
from ringroad.vehicle.uds import dtc_bytes

_RESERVED: Final = frozenset(int(did) for did in Did)  # what an ECU says of itself


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuConfig:
    """What an ECU is. Checked when made.

    Attributes:
        serial: F18C, at most 255 characters of ASCII.
        hardware_id: F191.
        vin: F190.
        layout: ``ab`` (two banks) or ``inplace`` (one bank and a bootloader).
        bank_bytes: capacity of one bank.
        secret: for the security key, see `vehicle.uds.hmac_key`.
        block_bytes: longest TransferData request, at most 65,535.
        erase_pending: "response pending" answers before an erase is done.
        s3_s: session timeout.
        key_delay_s: lockout after `KEY_TRIES_MAX` wrong keys.
        supported_faults: display codes for 19 0A.
        mcuboot_key: public key in PEM of an MCUboot bootloader; empty: the ECU takes what its tester vouches for.
        mcuboot_images: versions of the chip's other images, for dependencies on image 1, 2, ...
        mcuboot_swap: how that bootloader comes from one slot to the other.
        authentication_key: Ed25519 public key in PEM: changes need a proof by 0x29 instead of the key of 0x27.
        data: identifiers that a tester may write, and what each holds at first, in hex; as long it stays.
    """

    serial: str
    hardware_id: str
    vin: str
    layout: LayoutName
    bank_bytes: int = 1 << 20
    secret: bytes = b"ringroad"
    block_bytes: int = 65_535
    erase_pending: int = 1
    s3_s: float = 5.0
    key_delay_s: float = 10.0
    supported_faults: tuple[str, ...] = ()
    mcuboot_key: str = ""
    mcuboot_images: tuple[str, ...] = ()
    mcuboot_swap: ExchangeName = "direct-xip"
    authentication_key: str = ""
    data: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what could not be put into a response."""
        if not 8 <= self.block_bytes <= 65_535:
            raise InvalidInput("block_bytes must be between 8 and 65535")
        if not 0 < self.bank_bytes <= 1 << 32:
            raise InvalidInput("bank_bytes must be between 1 and 4 GiB")
        if not 0 <= self.erase_pending <= 1000:
            raise InvalidInput("erase_pending must be between 0 and 1000")
        if self.mcuboot_swap != "direct-xip" and not (self.mcuboot_key and self.layout == "ab"):
            raise InvalidInput("mcuboot_swap is of an MCUboot with two slots, and mcuboot_key is missing")
        for name in ("serial", "hardware_id", "vin"):
            if not (value := getattr(self, name)).isascii() or not 0 < len(value) < 256:
                raise InvalidInput(f"{name} must be 1 to 255 ASCII characters")
        for code in self.supported_faults:
            dtc_bytes(code)
        if self.authentication_key:
            owner_key(self.authentication_key)
        for did, held in self.data.items():
            if re.fullmatch(r"[0-9A-F]{4}", did) is None or int(did, 16) in _RESERVED:
                raise InvalidInput(f"data: {did[:20]!r} is no identifier that is free", hint="as F198")
            if re.fullmatch(r"([0-9a-f]{2}){1,64}", held) is None:
                raise InvalidInput(f"data: {did} holds 1 to 64 bytes, in hex of small letters")


class _EcuTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    serial: str
    hardware_id: str
    vin: str
    layout: Literal["ab", "inplace"]
    bank_bytes: int = 1 << 20
    secret_hex: str = b"ringroad".hex()
    block_bytes: int = 65_535
    erase_pending: int = 1
    s3_s: float = 5.0
    key_delay_s: float = 10.0
    supported_faults: tuple[str, ...] = ()
    mcuboot_key: str = ""
    mcuboot_images: tuple[str, ...] = ()
    mcuboot_swap: ExchangeName = "direct-xip"
    authentication_key: str = ""


class ServerTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server process is reached and where it keeps its flash. Paths are relative to the file."""

    flash: str
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    port_file: str = ""
    logical_address: Annotated[int, Meta(ge=1, le=0xFFFF)] = 0x1001
    script: str = ""
    seed: int = 0
    fsync: bool = True
    cycle_s: Annotated[float, Meta(ge=0)] = 0.0  # s between operation cycles; 0: only at each start
    pending_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0  # between "response pending" and the answer
    http: bool = False  # serve updates over HTTP instead of UDS over DoIP
    behind: tuple[str, ...] = ()  # configurations of further ECUs that are reached through this DoIP entity
    identification: bool = False  # also answer vehicle identification over UDP, on the same port number


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ecu: _EcuTable
    server: ServerTable
    can: CanWay | None = None
    fault_texts: dict[str, str] = {}
    data: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """One server process: the ECU, how it is served, and the folder its paths start from.

    With a way over CAN the ECU is on that bus, and serves no DoIP.
    """

    ecu: EcuConfig
    server: ServerTable
    folder: Path
    can: CanWay | None = None
    fault_texts: Mapping[str, str] = field(default_factory=dict)  # by code, for its description

    def path(self, name: str) -> Path:
        """Return a path of the file, relative to the file's folder."""
        return self.folder / name

    def moved(self, can: CanWay | None) -> ServerConfig:
        """Return the same ECU on another bus."""
        return dataclasses.replace(self, can=can)


def read_config(path: Path) -> ServerConfig:
    """Return the configuration in a TOML file.

    Raises:
        InvalidInput: the file is missing, is not TOML, or has a wrong or unknown key.
    """
    try:
        parsed = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), type=_File)
        table = msgspec.structs.asdict(parsed.ecu)
        secret = bytes.fromhex(table.pop("secret_hex"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, ValueError) as error:
        raise InvalidInput(f"{path}: {error}", hint="see docs/reference/vecu.md") from error
    ecu = EcuConfig(secret=secret, data=parsed.data, **table)
    for code in parsed.fault_texts:
        dtc_bytes(code)
    return ServerConfig(
        ecu=ecu, server=parsed.server, folder=path.parent, can=parsed.can, fault_texts=parsed.fault_texts
    )


def write_config(
    path: Path,
    ecu: EcuConfig,
    server: ServerTable,
    can: CanWay | None = None,
    *,
    fault_texts: Mapping[str, str] | None = None,
    durability: Durability = "buffered",
) -> None:
    """Write a file that `read_config` gives back; it holds a secret, so only its owner may read it.

    Raises:
        Unavailable: the disk cannot be written; what was there stays.
    """
    table = dataclasses.asdict(ecu)
    table["secret_hex"] = table.pop("secret").hex()
    data = table.pop("data")
    lines = ["[ecu]", *toml_table(table), "", "[server]", *toml_table(msgspec.structs.asdict(server))]
    if fault_texts:
        lines += ["", "[fault_texts]", *toml_table(fault_texts)]
    if data:
        lines += ["", "[data]", *toml_table(data)]
    if can is not None:
        lines += ["", "[can]", *toml_table(msgspec.structs.asdict(can))]
    replace_file(path, ("\n".join(lines) + "\n").encode(), durability=durability)
