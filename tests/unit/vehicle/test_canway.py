"""The way to an ECU on CAN, as configurations say it: read whole, or refused with a reason."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.sim.vecu.config import read_config as read_vecu_config
from ringroad.vehicle.can import EXTENDED
from ringroad.vehicle.cannelloni import BusConnection
from ringroad.vehicle.canway import CanWay
from ringroad.vehicle.config import EcuConfig, VehicleConfig, read_config, write_config
from ringroad.vehicle.connect import connect_channels
from ringroad.vehicle.doip import DoipChannel
from ringroad.vehicle.isotp.channel import IsotpChannel
from ringroad.vehicle.python_can import PythonCanBus

PLAIN = {"bus": "can", "channel": "127.0.0.1:29536", "request_id": 0x7E0, "response_id": 0x7E8}


def way(**changes: Any) -> CanWay:
    return msgspec.convert({**PLAIN, **changes}, CanWay)


def ecu(name: str, **changes: Any) -> EcuConfig:
    given: dict[str, Any] = {
        "name": name, "serial": f"SN-{name}", "hardware_id": "HW1", "mode": "ab", "key_file": "key.pem", **changes,
    }  # fmt: skip
    return msgspec.convert(given, EcuConfig)


@pytest.mark.parametrize(
    "changes",
    [
        {"bus": "lin"},
        {"request_id": 1 << 29},
        {"request_id": -1},
        {"response_id": 0x7E0},
        {"functional_id": 1 << 29},
        {"target_address": 1},
        {"source_address": 1},
        {"target_address": 1, "source_address": 2, "extension": 3},
        {"extension": 256},
        {"block_size": 256},
        {"st_min_us": 1500},
        {"st_min_us": 128_000},
        {"channel": "127.0.0.1"},
        {"channel": "127.0.0.1:0"},
        {"channel": "127.0.0.1:65536"},
        {"channel": ":29536"},
        {"channel": "127.0.0.1:x"},
        {"baudrate": 500_000},
    ],
)
def test_a_way_that_leads_nowhere_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((InvalidInput, msgspec.ValidationError)):
        way(**changes)


@pytest.mark.parametrize(
    ("changes", "prefixes"),
    [
        ({}, (b"", b"")),
        ({"target_address": 0x12, "source_address": 0xF1}, (b"\x12", b"\xf1")),
        ({"extension": 0x33}, (b"\x33", b"\x33")),
    ],
)
def test_both_ends_of_a_way_fit_each_other(changes: dict[str, Any], prefixes: tuple[bytes, bytes]) -> None:
    tester, other = way(**changes).tester().address, way(**changes).ecu().address
    assert (tester.tx_id, tester.rx_id, tester.tx_prefix, tester.rx_prefix) == (0x7E0, 0x7E8, *prefixes)
    assert (other.tx_id, other.rx_id, other.tx_prefix, other.rx_prefix) == (0x7E8, 0x7E0, *prefixes[::-1])


def test_a_way_says_frame_length_functional_identifier_and_interface() -> None:
    assert way().tester().frame_bytes == 8
    assert way(bus="canfd").tester().frame_bytes == 64
    assert (way().functional(), way(functional_id=0x18DB33F1).functional()) == (None, EXTENDED | 0x18DB33F1)
    assert isinstance(way().make_bus(), BusConnection)
    real = way(interface="socketcan", channel="can0", bus="canfd", bit_rate=500_000, data_bit_rate=2_000_000)
    bus = real.make_bus()
    assert isinstance(bus, PythonCanBus)
    assert bus._arguments == {
        "interface": "socketcan", "channel": "can0", "fd": True, "bitrate": 500_000, "data_bitrate": 2_000_000,
    }  # fmt: skip


def test_an_ecu_has_exactly_one_way_to_it() -> None:
    for changes in ({}, {"host": "127.0.0.1", "can": PLAIN}):
        with pytest.raises(InvalidInput, match="one way"):
            ecu("body", **changes)


def vehicle(*ecus: EcuConfig) -> VehicleConfig:
    return VehicleConfig(vin="WRRDEM121TA000001", server_url="https://127.0.0.1", ecus=ecus)


def test_two_ecus_that_answer_alike_on_one_bus_are_refused() -> None:
    first = ecu("first", can=PLAIN, primary=True)
    with pytest.raises(InvalidInput, match="same CAN identifier"):
        vehicle(first, ecu("second", can={**PLAIN, "request_id": 0x7E1}))
    for elsewhere in (
        {**PLAIN, "channel": "127.0.0.1:29537"},
        {**PLAIN, "response_id": 0x7E9},
    ):
        assert len(vehicle(first, ecu("second", can=elsewhere)).ecus) == 2


def test_ecus_behind_one_gateway_are_told_apart_by_their_address_byte() -> None:
    one, other = ({**PLAIN, "extension": number} for number in (1, 2))
    assert len(vehicle(ecu("first", can=one, primary=True), ecu("second", can=other)).ecus) == 2


def test_a_vehicle_on_three_buses_reads_back_and_shares_a_controller_per_bus(tmp_path: Path) -> None:
    config = vehicle(
        ecu("gateway", host="127.0.0.1", port=13400, logical_address=1, primary=True),
        ecu("body", can=PLAIN),
        ecu("brake", can={**PLAIN, "request_id": 0x7E1, "response_id": 0x7E9, "functional_id": 0x7DF}),
        ecu("battery", can={**PLAIN, "bus": "canfd", "channel": "127.0.0.1:29537"}),
    )
    write_config(tmp_path, config, durability="buffered")
    assert read_config(tmp_path) == config
    channels = connect_channels(config.ecus)
    assert isinstance(channels["SN-gateway"], DoipChannel)
    buses = [channels[f"SN-{name}"] for name in ("body", "brake", "battery")]
    assert all(isinstance(each, IsotpChannel) for each in buses)
    body, brake, battery = (each._bus for each in buses if isinstance(each, IsotpChannel))
    assert body is brake
    assert battery is not body


def test_a_virtual_ecu_reads_the_same_table(tmp_path: Path) -> None:
    path = tmp_path / "ecu.toml"
    rows = "\n".join(f"{name} = {value!r}" for name, value in PLAIN.items())
    text = (
        '[ecu]\nserial = "1"\nhardware_id = "2"\nvin = "3"\nlayout = "ab"\n[server]\nflash = "f"\n[can]\n'
        + rows
    )
    path.write_text(text, encoding="utf-8")
    assert read_vecu_config(path).can == way()
    path.write_text(text.replace("29536", "x"), encoding="utf-8")
    with pytest.raises(InvalidInput):
        read_vecu_config(path)


def test_without_python_can_an_interface_is_refused_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert importlib.util.find_spec("can") is not None
    monkeypatch.setitem(sys.modules, "can", None)
    with pytest.raises(InvalidInput) as missing:
        asyncio.run(way(interface="socketcan", channel="can0").make_bus().open())
    assert missing.value.hint == "pip install 'ringroad[can]'"
    with pytest.raises(Unavailable):
        asyncio.run(way(channel="127.0.0.1:1").make_bus().open())
