"""A flash session as udsoncan, which we did not write, does it: on any connection."""

from __future__ import annotations

import hashlib
import importlib.resources
from typing import Any, Literal

import pytest
import udsoncan
import udsoncan.configs
from udsoncan.exceptions import NegativeResponseException

from ringroad.vehicle.agents.wire import Identity
from ringroad.vehicle.segments import decode_text, flash_image
from ringroad.vehicle.uds import hmac_key

SECRET = bytes.fromhex("00112233445566778899aabbccddeeff")


def firmware(name: str = "default") -> bytes:
    package = f"zephyr_4_4_0_hci_usb_nrf52840dk_{name}"
    return (importlib.resources.files(package) / "firmware.hex").read_bytes()


class Raw(udsoncan.DidCodec):
    """Bytes as they are."""

    def encode(self, *data: Any) -> bytes:
        return bytes(data[0])

    def decode(self, string_bin: bytes) -> bytes:
        return string_bin

    def __len__(self) -> int:
        raise udsoncan.DidCodec.ReadAllRemainingData


def client_config() -> Any:
    config: Any = dict(udsoncan.configs.default_client_config)
    config["data_identifiers"] = dict.fromkeys(
        (0xF190, 0xF18C, 0xF191, 0xF195, 0xF15A, 0xF15B, 0xFD00, 0xFD01, 0xFD02), Raw
    )
    config["security_algo"] = lambda level, seed, params: hmac_key(params)(level, seed)
    config["security_algo_params"] = SECRET
    # can-isotp sends in the background, so that udsoncan counts the sending of a block as waiting for its answer.
    config |= {"request_timeout": 60, "p2_timeout": 30, "p2_star_timeout": 30, "use_server_timing": False}
    return config


def flash(client: Any, data: bytes, mode: Literal["ab", "inplace"]) -> None:
    """Read, unlock, flash and reset: an Intel HEX image onto an ECU with serial SN1 and hardware HW1."""
    content = flash_image(decode_text("ihex", data))
    assert client.read_data_by_identifier_first(0xF190) == b"WRR00000000000001"
    client.change_session(3)
    assert client.routine_control(0x0203, 1).service_data.routine_status_record == b"\x00"
    client.change_session(2)
    with pytest.raises(NegativeResponseException) as refused:
        client.request_download(udsoncan.MemoryLocation(0, 8, 32, 32))
    assert refused.value.response.code == 0x33
    client.unlock_security_access(1)
    client.write_data_by_identifier(0xF15A, b"udsoncan")
    identity = Identity(
        version="7.0",
        sha256=hashlib.sha256(data).digest(),
        content_sha256=content.content_sha256,
        release_counter=7,
        hardware_id="HW1",
    )
    client.write_data_by_identifier(0xFD02, identity.encode())
    client.routine_control(0xFF00, 1)
    for segment in content.segments:
        assert segment.data is not None
        answer = client.request_download(
            udsoncan.MemoryLocation(segment.address, segment.length_bytes, 32, 32)
        )
        size = answer.service_data.max_length - 2
        for index, at in enumerate(range(0, segment.length_bytes, size), start=1):
            client.transfer_data(index & 0xFF, segment.data[at : at + size])
        client.request_transfer_exit()
    checked = client.routine_control(0x0202, 1, content.content_sha256)
    assert checked.service_data.routine_status_record == b"\x00"
    assert client.routine_control(0xFF01, 1).service_data.routine_status_record == b"\x00"
    if mode == "ab":
        client.routine_control(0x0301, 1)
    client.ecu_reset(1)


def look_at_what_runs(client: Any, data: bytes) -> None:
    """Read back version, digest and fingerprint, find the fault that the image makes, and clear it."""
    assert client.read_data_by_identifier_first(0xF195) == b"7.0"
    assert client.read_data_by_identifier_first(0xFD00) == hashlib.sha256(data).digest()
    assert client.read_data_by_identifier_first(0xF15B) == b"udsoncan"
    found = client.get_dtc_by_status_mask(0x08).service_data
    assert [(dtc.id, dtc.status.get_byte_as_int()) for dtc in found.dtcs] == [(0x0A1F00, 0x2F)]
    client.clear_dtc(0xFFFFFF)
    assert client.get_dtc_by_status_mask(0x08).service_data.dtcs == []


def faulty(data: bytes) -> dict[str, Any]:
    """Return a fault script under which this image raises P0A1F-00 in every cycle."""
    behaviour = {"faults": [{"code": "P0A1F-00", "rate_permille": 1000}]}
    return {"images": {hashlib.sha256(data).hexdigest(): behaviour}}
