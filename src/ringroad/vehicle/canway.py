"""The way to one ECU on a CAN bus, as a configuration says it: which bus, which identifiers, which timing.

A vehicle and a virtual ECU read the same table; only the direction differs.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.can import CLASSIC_BYTES_MAX, EXTENDED_ID_MAX, FD_BYTES_MAX, CanBus, can_id
from ringroad.vehicle.cannelloni import BusConnection
from ringroad.vehicle.isotp.model import Address, IsotpSettings
from ringroad.vehicle.python_can import PythonCanBus

TCP: Final = "tcp"  # the interface that is a bus process

Number = Annotated[int, Meta(ge=0, le=EXTENDED_ID_MAX)]
Byte = Annotated[int, Meta(ge=0, le=255)]


class CanWay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table ``can`` of an ECU. Identifiers above 0x7FF have 29 bits."""

    bus: Literal["can", "canfd"]
    interface: str = TCP  # or python-can's name of one, for example "socketcan"
    channel: str  # "127.0.0.1:29536" of a bus process, or python-can's name, for example "can0"
    request_id: Number
    response_id: Number
    functional_id: Number | None = None  # that all ECUs of the bus hear
    target_address: Byte | None = None  # extended addressing: of the ECU, with source_address of the tester
    source_address: Byte | None = None
    extension: Byte | None = None  # mixed addressing
    block_size: Byte = (
        0  # consecutive frames the reader of this table takes between two flow controls; 0: all
    )
    st_min_us: int = 0  # shortest gap it asks for
    bit_rate: Annotated[int, Meta(ge=0)] = 0  # of a real interface; 0: as it is set up
    data_bit_rate: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        """Refuse ways that lead nowhere."""
        _ = self.tester()
        if self.interface == TCP:
            _ = self._host_and_port()

    @property
    def fd(self) -> bool:
        """Whether the bus is CAN FD."""
        return self.bus == "canfd"

    def tester(self) -> IsotpSettings:
        """Return how the vehicle talks to the ECU. Raises: InvalidInput."""
        return self._settings(self._address())

    def ecu(self) -> IsotpSettings:
        """Return how the ECU talks to the vehicle."""
        address = self._address()
        return self._settings(
            Address(
                tx_id=address.rx_id, rx_id=address.tx_id, tx_prefix=address.rx_prefix, rx_prefix=address.tx_prefix
            )
        )  # fmt: skip

    def place(self) -> tuple[str, str, int, bytes]:
        """Return what tells this ECU's answers from others': the bus and where on it they come."""
        address = self._address()
        return self.interface, self.channel, address.rx_id, address.rx_prefix

    def functional(self) -> int | None:
        """Return the identifier of functional requests."""
        return None if self.functional_id is None else can_id(self.functional_id)

    def make_bus(self) -> CanBus:
        """Return the controller for this bus, not open yet."""
        if self.interface == TCP:
            host, port = self._host_and_port()
            return BusConnection(host, port, fd=self.fd)
        options: dict[str, Any] = {}
        if self.bit_rate:
            options["bitrate"] = self.bit_rate
        if self.data_bit_rate:
            options["data_bitrate"] = self.data_bit_rate
        return PythonCanBus(self.interface, self.channel, fd=self.fd, **options)

    def _address(self) -> Address:
        tx, rx = self.request_id, self.response_id
        target, source = self.target_address, self.source_address
        if target is not None and source is not None and self.extension is None:
            return Address.extended(tx, rx, target=target, source=source)
        if target is not None or source is not None:
            raise InvalidInput(
                "extended addressing needs target_address and source_address, and no extension"
            )
        if self.extension is not None:
            return Address.mixed(tx, rx, extension=self.extension)
        return Address.normal(tx, rx)

    def _settings(self, address: Address) -> IsotpSettings:
        return IsotpSettings(
            address=address,
            frame_bytes=FD_BYTES_MAX if self.fd else CLASSIC_BYTES_MAX,
            block_size=self.block_size,
            st_min_us=self.st_min_us,
        )

    def _host_and_port(self) -> tuple[str, int]:
        host, _, port = self.channel.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) <= 65_535:
            raise InvalidInput(f"{self.channel!r} is no bus process", hint='host and port: "127.0.0.1:29536"')
        return host, int(port)
