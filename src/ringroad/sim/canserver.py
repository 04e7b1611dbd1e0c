"""A CAN bus as a process: virtual ECUs, vehicles and foreign tools connect to it over TCP on loopback.

The wire format is in `vehicle/cannelloni.py`, the bus itself in `canbus.py`.

Invariant: a client that sends faster than the bus is read no further; one that does not read is dropped.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.sim.canbus import BitRates, VirtualBus
from ringroad.vehicle.can import ERROR, REMOTE
from ringroad.vehicle.cannelloni import BANNER, FrameParser, encode_confirmation, encode_frames
from ringroad.vehicle.config import toml_table
from ringroad.vehicle.files import replace_file

CLIENTS_MAX: Final = 256  # connections; a vehicle has at most that many ECUs
QUEUED_FRAMES_MAX: Final = 2_048  # frames of one client that wait for the bus before it is read no further
UNREAD_BYTES_MAX: Final = 4 << 20  # bytes that a client may leave unread


class BusConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bus process. Paths are relative to the file."""

    kind: Literal["can", "canfd"] = "can"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    port_file: str = ""
    bit_rate: Annotated[int, Meta(ge=0, le=1_000_000)] = 500_000  # bit/s; 0: as fast as the machine
    data_bit_rate: Annotated[int, Meta(ge=0, le=8_000_000)] = 2_000_000  # bit/s, of CAN FD's data phase

    @property
    def rates(self) -> BitRates | None:
        """Return what the bus runs at. Raises: InvalidInput."""
        if not self.bit_rate:
            return None
        data = self.data_bit_rate if self.kind == "canfd" else self.bit_rate
        return BitRates(nominal=self.bit_rate, data=data)


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    bus: BusConfig


def read_bus_config(path: Path) -> BusConfig:
    """Return the configuration in a TOML file.

    Raises:
        InvalidInput: the file is missing, is not TOML, or has a wrong or unknown key.
    """
    try:
        config = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), type=_File).bus
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{path}: {error}", hint="see docs/reference/vecu.md") from error
    _ = config.rates
    return config


def write_bus_config(path: Path, config: BusConfig) -> None:
    """Write a file that `read_bus_config` gives back. Raises: Unavailable, the disk cannot be written."""
    lines = ["[bus]", *toml_table(msgspec.structs.asdict(config))]
    replace_file(path, ("\n".join(lines) + "\n").encode(), durability="fsync")


class BusServer:
    """Serves one bus until closed.

    Args:
        config: of the process.
        folder: where its paths start from.
    """

    def __init__(self, config: BusConfig, folder: Path) -> None:
        self.config = config
        self.bus = VirtualBus(config.rates, fd=config.kind == "canfd")
        self.clients: set[_Client] = set()
        self._folder = folder
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; return the TCP port. Raises: Unavailable (the port is taken)."""
        loop = asyncio.get_running_loop()
        config = self.config
        try:
            self._server = await loop.create_server(lambda: _Client(self), config.host, config.port)
        except OSError as error:
            raise Unavailable(
                f"port {config.port} on {config.host} cannot be used: {error.strerror}"
            ) from error
        number = int(self._server.sockets[0].getsockname()[1])
        if config.port_file:
            write_port(self._folder / config.port_file, number)
        return number

    async def close(self) -> None:
        """Stop listening and drop every client."""
        if self._server is not None:
            self._server.close()
        for client in tuple(self.clients):
            client.drop()
        self.bus.close()


def write_port(path: Path, number: int) -> None:
    """Tell a port to whoever waits for the file, whole or not at all."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(f"{number}\n", encoding="ascii")
    part.replace(path)


class _Client(asyncio.Protocol):
    """One connection: one controller on the bus."""

    def __init__(self, server: BusServer) -> None:
        self._server = server
        self._controller = server.bus.controller(self._heard)
        self._parser = FrameParser()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._tells = False  # when frames are on the wire
        self._on_wire = 0
        self._out: list[bytes] = []
        self._flush_due = False
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        if len(self._server.clients) >= CLIENTS_MAX:
            self.drop()
            return
        self._server.clients.add(self)
        self._server.bus.join(self._controller)
        self._write(BANNER)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._server.clients.discard(self)
        self._server.bus.part(self._controller)

    def data_received(self, data: bytes) -> None:
        try:
            for can_id, group in groupby(self._parser.feed(data), key=itemgetter(0)):
                if can_id & ERROR:
                    self._tells = True
                elif not can_id & REMOTE:
                    self._controller.send(can_id, [payload for _, payload in group], self._confirmed)
        except InvalidInput:
            self.drop()
            return
        if self._controller.queued_frames > QUEUED_FRAMES_MAX and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _heard(self, can_id: int, frames: Sequence[bytes]) -> None:
        self._write(encode_frames(can_id, frames, fd=self._server.bus.fd))

    def _confirmed(self, count: int) -> None:
        self._on_wire += count
        self._schedule()
        if self._paused and self._controller.queued_frames < QUEUED_FRAMES_MAX // 2:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        self._schedule()

    def _schedule(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what has come together, in one call."""
        self._flush_due = False
        if self._transport is None:
            return
        if self._tells and self._on_wire:
            self._out.append(encode_confirmation(self._on_wire))
        self._on_wire = 0
        self._transport.write(b"".join(self._out))
        self._out.clear()
        if self._transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            self.drop()
