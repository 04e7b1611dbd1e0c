"""Image files become segments; anything that is not what it says is refused with its line."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.resources
import io
from pathlib import Path

import pytest
from intelhex import IntelHex  # type: ignore[import-untyped]

from ringroad.kernel.errors import Untrusted
from ringroad.protocol.vehicle import EcuTarget
from ringroad.vehicle.agents.base import BytesSource, EcuImage, FileSource
from ringroad.vehicle.segments import MalformedImage, content_digest, decode_text, open_image

END = b":00000001FF\n"


@pytest.mark.parametrize(
    "package", ["zephyr_4_4_0_hci_usb_nrf52840dk_default", "zephyr_4_4_0_hci_usb_nrf5340dk_default"]
)
def test_real_firmware_decodes_as_intelhex_decodes_it(package: str) -> None:
    data = (importlib.resources.files(package) / "firmware.hex").read_bytes()
    oracle = IntelHex(io.StringIO(data.decode()))
    segments = decode_text("ihex", data)
    assert [(s.address, s.address + s.length_bytes) for s in segments] == oracle.segments()
    assert all(s.data == oracle.tobinstr(s.address, size=s.length_bytes) for s in segments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b":0400000001020304F2\n", "truncated"),
        (b":0400000001020304F3\n" + END, "line 1: wrong length or checksum"),
        (b":0400000001020304\n" + END, "line 1: wrong length or checksum"),
        (b"hello\n" + END, "line 1: an Intel HEX record"),
        (b":0400000001ZZ0304F2\n" + END, "line 1: not hexadecimal"),
        (b":0400000001020304F2\n:00000009F7\n" + END, "line 2: unknown record type 09"),
        (END + b":0400000001020304F2\n", "line 2: data after"),
        (b":0400000001020304F2\n:0400020001020304F0\n" + END, "written twice"),
        (END, "no data"),
    ],
)
def test_a_wrong_hex_file_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(MalformedImage, match=message):
        decode_text("ihex", text)


def test_s_records_of_all_address_sizes_decode() -> None:
    text = b"S0030000FC\nS107100001020304DE\nS20820000005060708BD\nS3093000000009000A00B3\nS5030003F9\nS9030000FC\n"
    fixed = b"\n".join(_with_checksum(line) for line in text.splitlines())
    found = [(s.address, s.data) for s in decode_text("srec", fixed)]
    assert found == [
        (0x1000, bytes.fromhex("01020304")),
        (0x200000, bytes.fromhex("05060708")),
        (0x30000000, bytes.fromhex("09000A00")),
    ]


def _with_checksum(line: bytes) -> bytes:
    body = bytes.fromhex(line[2:-2].decode())
    return line[:-2] + f"{~sum(body) & 0xFF:02X}".encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"S107100001020304DD\nS9030000FC", "line 1: wrong length or checksum"),
        (b"S107100001020304DE", "truncated|wrong length"),
        (b"X107100001020304DE\nS9030000FC", "line 1: not an S-record"),
        (b"S407100001020304DE\nS9030000FC", "line 1: not an S-record"),
        (b"S9030000FC", "no data"),
    ],
)
def test_a_wrong_s_record_file_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(MalformedImage, match=message):
        decode_text("srec", text)


def image_of(data: bytes, file_format: str) -> EcuImage:
    return EcuImage(
        serial="S",
        target=EcuTarget(name="e", mode="ab", format=file_format, version="1"),  # type: ignore[arg-type]
        filename="f",
        sha256=hashlib.sha256(data).hexdigest(),
        length_bytes=len(data),
        release_counter=1,
        hardware_ids=("H",),
    )


def test_a_binary_is_streamed_and_its_digest_names_its_address(tmp_path: Path) -> None:
    data = b"binary" * 400_000
    path = tmp_path / "image"
    path.write_bytes(data)
    opened = asyncio.run(open_image(image_of(data, "bin"), FileSource(path)))
    assert [(s.address, s.length_bytes, s.data) for s in opened.segments] == [(0, len(data), None)]
    assert opened.content_sha256 == content_digest([(0, data)]) != content_digest([(1, data)])


@pytest.mark.parametrize("file_format", ["bin", "ihex"])
def test_bytes_that_were_not_signed_are_never_decoded(file_format: str) -> None:
    data = b":0400000001020304F2\n" + END
    for other in (data[:-1], data.replace(b"F2", b"F3"), b""):
        with pytest.raises(Untrusted):
            asyncio.run(open_image(image_of(data, file_format), BytesSource(other)))


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(MalformedImage, match="empty"):
        asyncio.run(open_image(image_of(b"", "bin"), BytesSource(b"")))
