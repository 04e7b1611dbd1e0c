"""Software images are read to the last byte, or refused with code and place."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import struct
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.images import detect_format, read_image
from ringroad.build.images.libconfig import parse_libconfig
from ringroad.kernel.errors import InvalidInput, NotFound

ZEPHYR = [
    "zephyr_4_4_0_hci_usb_nrf52840dk_default",
    "zephyr_4_4_0_hci_usb_nrf52840dk_legacy",
    "zephyr_4_4_0_hci_usb_nrf52840dk_acl_502",
    "zephyr_4_4_0_hci_usb_nrf5340dk_default",
]
IHEX = b":0400000001020304F2\n:04001000AABBCCDDDE\n:0400000500000100F6\n:00000001FF\n"
SREC = b"S00600004844521B\nS1070000010203 04EE\n".replace(b" ", b"") + b"S5030001FB\nS9030000FC\n"


def refused(data: bytes | Path, declared: str | None = None) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read_image(data, declared_format=declared)
    return caught.value


# Intel HEX -----------------------------------------------------------------------------------------


def test_reads_ranges_entry_and_length_of_intel_hex() -> None:
    facts = read_image(IHEX)
    assert (facts.format, facts.load_address, facts.entry, facts.length) == ("ihex", 0, 0x100, 8)
    assert [(area.start, area.end) for area in facts.ranges] == [(0, 4), (0x10, 0x14)]
    assert facts.sha256 == hashlib.sha256(IHEX).hexdigest()
    assert facts.file_bytes == len(IHEX)


@pytest.mark.parametrize("package", ZEPHYR)
def test_reads_real_zephyr_firmware_as_an_independent_reader_does(package: str) -> None:
    intelhex = pytest.importorskip("intelhex")
    path: Path = pytest.importorskip(package).HEX_PATH
    facts = read_image(path)
    other = intelhex.IntelHex(str(path))
    assert [(area.start, area.end) for area in facts.ranges] == other.segments()
    assert facts.length == sum(end - start for start, end in other.segments())
    assert facts.sha256 == import_module(package).HEX_SHA256


@pytest.mark.parametrize("package", ZEPHYR[:1])
def test_reads_the_same_areas_after_objcopy_turned_hex_into_s_records(package: str, tmp_path: Path) -> None:
    objcopy = shutil.which("objcopy")
    if objcopy is None:
        pytest.skip("objcopy is not installed: apt install binutils")
    path: Path = pytest.importorskip(package).HEX_PATH
    srec = tmp_path / "a.srec"
    subprocess.run([objcopy, "-I", "ihex", "-O", "srec", str(path), str(srec)], check=True, timeout=20)
    there, back = read_image(path), read_image(srec)
    assert back.format == "srec"
    assert (back.ranges, back.length, back.entry) == (there.ranges, there.length, there.entry)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (IHEX.replace(b"F2", b"F3"), "image_checksum", "line 1: checksum is F3, computed F2"),
        (IHEX.replace(b":00000001FF\n", b""), "image_truncated", "end record"),
        (IHEX[:-5], "image_truncated", "line 4"),
        (IHEX + b":00000001FF\n", "image_malformed", "line 5: a record follows"),
        (
            IHEX.replace(b":040010", b":040002").replace(b"DDDE", b"DDEC"),
            "image_malformed",
            "line 2: address 0x00000002 was already",
        ),
        (IHEX.replace(b"CCDDDE", b"CCDE"), "image_truncated", "line 2"),
        (IHEX.replace(b"AABB", b"AA  B"), "image_malformed", "line 2: not pairs"),
        (b":0000000100\n" + IHEX, "image_checksum", "line 1"),
        (b":00000001FF\n", "image_empty", "no data"),
        (b":0100000600F9\n:00000001FF\n", "image_malformed", "unknown record type 06"),
        (b":02000004FFFFFC\n:04FFFE0000000000FF\n:00000001FF\n", "image_malformed", "beyond address"),
    ],
)
def test_refuses_bad_intel_hex(data: bytes, code: str, words: str) -> None:
    error = refused(data, "ihex")
    assert (error.code, words in error.message) == (code, True), error.message


def ihex_record(address: int, kind: int, data: bytes) -> bytes:
    body = bytes([len(data)]) + address.to_bytes(2, "big") + bytes([kind]) + data
    return b":" + (body + bytes([-sum(body) & 0xFF])).hex().upper().encode() + b"\n"


def test_segment_addresses_wrap_at_64_kib_and_linear_ones_go_on() -> None:
    end = ihex_record(0, 1, b"")
    data = ihex_record(0xFFFE, 0, b"abcd")
    segment = read_image(ihex_record(0, 2, b"\x10\x00") + data + end)
    linear = read_image(ihex_record(0, 4, b"\x00\x01") + data + end)
    assert [(area.start, area.end) for area in segment.ranges] == [(0x10000, 0x10002), (0x1FFFE, 0x20000)]
    assert [(area.start, area.end) for area in linear.ranges] == [(0x1FFFE, 0x20002)]


# S-record ------------------------------------------------------------------------------------------


def test_reads_s_records() -> None:
    facts = read_image(SREC)
    assert (facts.format, facts.load_address, facts.entry, facts.length) == ("srec", 0, 0, 4)
    assert facts.details["header"] == "HDR"


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (SREC.replace(b"04EE", b"04EF"), "image_checksum", "line 2: checksum is EF, computed EE"),
        (SREC.replace(b"S5030001FB", b"S5030002FA"), "image_truncated", "2 data records announced, 1 found"),
        (SREC.replace(b"S9030000FC\n", b""), "image_truncated", "end record"),
        (SREC.replace(b"0304EE", b"03EE"), "image_truncated", "line 2"),
        (SREC + SREC, "image_malformed", "line 5: a record follows"),
        (SREC.replace(b"S5", b"S4"), "image_malformed", "line 3: unknown record type S4"),
        (b"S9030000FC\n", "image_empty", "no data"),
    ],
)
def test_refuses_bad_s_records(data: bytes, code: str, words: str) -> None:
    error = refused(data, "srec")
    assert (error.code, words in error.message) == (code, True), error.message


# MCUboot -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mcuboot(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    pytest.importorskip("imgtool")
    folder = tmp_path_factory.mktemp("mcuboot")
    (folder / "app.bin").write_bytes(bytes(range(256)) * 8)
    imgtool(folder, "keygen", "-k", "key.pem", "-t", "ecdsa-p256")
    sign(folder, "out.bin", "--dependencies", "(1, 1.1.0+2)")
    return (folder / "out.bin").read_bytes()


def imgtool(folder: Path, *arguments: str) -> int:
    """Run the real tool in this process: a process each would cost more than all other tests here."""
    main = pytest.importorskip("imgtool.main")
    with contextlib.chdir(folder):
        result: int | None = main.imgtool(list(arguments), standalone_mode=False)
    return result or 0


def sign(folder: Path, out: str, *more: str) -> None:
    given = "sign -k key.pem --header-size 0x200 --pad-header -S 0x60000 --align 8 --version 1.2.3+4 --security-counter 7"
    assert imgtool(folder, *given.split(), *more, "app.bin", out) == 0


def test_reads_what_imgtool_wrote(mcuboot: bytes) -> None:
    facts = read_image(mcuboot, declared_format="mcuboot")
    assert (facts.version, facts.security_counter) == ("1.2.3+4", 7)
    assert facts.details["dependencies"] == [{"image": 1, "version_min": "1.1.0+2"}]
    assert (facts.details["hash"], facts.details["signatures"]) == ("sha256", ["ecdsa"])
    assert facts.details["payload_bytes"] == 2048


def test_reads_a_padded_and_confirmed_slot_and_a_signed_hex_file(tmp_path: Path) -> None:
    intelhex = pytest.importorskip("intelhex")
    (tmp_path / "app.bin").write_bytes(bytes(1000))
    imgtool(tmp_path, "keygen", "-k", "key.pem", "-t", "ed25519")
    sign(tmp_path, "pad.bin", "--pad", "--confirm")
    sign(tmp_path, "plain.bin")
    padded = read_image(tmp_path / "pad.bin")
    assert padded.file_bytes == 0x60000
    assert padded.details["trailing_bytes"] > 0
    source = intelhex.IntelHex()
    source.loadbin(str(tmp_path / "plain.bin"), offset=0xC000)
    source.write_hex_file(str(tmp_path / "plain.hex"))
    inside = read_image(tmp_path / "plain.hex")
    assert (inside.format, inside.version, inside.security_counter, inside.load_address) == (
        "ihex",
        "1.2.3+4",
        7,
        0xC000,
    )


def test_accepts_no_flipped_byte_that_imgtool_refuses(mcuboot: bytes, tmp_path: Path) -> None:
    image = pytest.importorskip("imgtool.image")
    end_of_payload = 0x200 + 2048
    places = [*range(32), 0x1FF, 0x200, 0x500, *range(end_of_payload, len(mcuboot))]
    path = tmp_path / "x.bin"
    refusals = 0
    for at in places:
        broken = bytearray(mcuboot)
        broken[at] ^= 0x41
        path.write_bytes(broken)
        try:
            theirs = image.Image.verify(str(path), None)[0] == image.VerifyResult.OK
        except Exception:  # noqa: BLE001 - imgtool dies of struct.error on broken areas
            theirs = False
        try:
            read_image(bytes(broken), declared_format="mcuboot")
            ours = True
        except InvalidInput:
            ours = False
            refusals += 1
        # We may refuse more than imgtool, which ignores some lengths, never accept more.
        assert theirs or not ours, f"byte {at}"
    # What may change unseen is the signature and the key's hash: the device checks those.
    assert len(places) - refusals <= 32 + 72 + 8


@pytest.mark.parametrize("end", [10, 31, 500, 0x200 + 100, 0x200 + 2048, 0x200 + 2048 + 3, -1])
def test_refuses_a_cut_mcuboot_image(mcuboot: bytes, end: int) -> None:
    assert refused(mcuboot[:end], "mcuboot").code == "image_truncated"


def test_refuses_bytes_that_no_hash_covers(mcuboot: bytes) -> None:
    error = refused(mcuboot + b"evil")
    assert (error.code, "4 bytes follow" in error.message) == ("image_malformed", True)


def test_refuses_an_image_without_a_hash_or_encrypted_or_empty() -> None:
    def image(*, flags: int = 0, size: int = 4, header: int = 32) -> bytes:
        head = struct.pack(
            "<4sIHHIIBBHI", b"\x3d\xb8\xf3\x96", 0, header, 0, size, flags, 1, 0, 0, 0
        ) + bytes(4)
        return head + b"\1" * size + struct.pack("<HHHHI", 0x6907, 12, 0xA0, 4, 0)

    assert refused(image()).code == "image_hash_missing"
    assert refused(image(flags=4)).code == "image_unsupported"
    assert refused(image(size=0)).code == "image_empty"
    assert refused(image(header=16)).code == "image_malformed"


def test_names_a_hash_mismatch(mcuboot: bytes) -> None:
    broken = mcuboot[:0x300] + b"\0\0\0" + mcuboot[0x303:]
    assert refused(broken).code == "image_hash_mismatch"


# SWUpdate ------------------------------------------------------------------------------------------

PAYLOAD = b"payload of the box\n"
DESCRIPTION = """software = {
  version = "1.0.1"; /* by hand */
  hardware-compatibility: [ "1.0", "1.1" ];
  files: ( { filename = "payload.txt"; path = "/tmp/x"; sha256 = "%s"; } );
}
"""


def cpio(members: list[tuple[str, bytes]], *, magic: str = "070702", trailer: bool = True) -> bytes:
    out = b""
    for name, content in [*members, *([("TRAILER!!!", b"")] if trailer else [])]:
        check = sum(content) & 0xFFFFFFFF if magic == "070702" else 0
        fields = [1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, check]
        out += magic.encode() + "".join(f"{value:08X}" for value in fields).encode() + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + content
        out += b"\0" * (-len(out) % 4)
    return out


def swu(
    *, payload: bytes = PAYLOAD, description: str = DESCRIPTION, announced: str = ""
) -> list[tuple[str, bytes]]:
    text = description.replace("%s", announced or hashlib.sha256(PAYLOAD).hexdigest())
    return [("sw-description", text.encode()), ("payload.txt", payload)]


@pytest.mark.parametrize("magic", ["070701", "070702"])
def test_reads_version_hardware_and_members_of_a_swu(magic: str) -> None:
    facts = read_image(cpio(swu(), magic=magic))
    assert (facts.format, facts.version) == ("swu", "1.0.1")
    assert facts.details["hardware_compatibility"] == ["1.0", "1.1"]
    assert facts.details["signature"] == "absent"


@pytest.mark.parametrize("kind", ["crc", "newc"])
def test_reads_what_openssl_signed_and_cpio_packed(kind: str, tmp_path: Path) -> None:
    if shutil.which("openssl") is None or shutil.which("cpio") is None:
        pytest.skip("openssl or cpio is not installed: apt install openssl cpio")
    for name, content in swu():
        (tmp_path / name).write_bytes(content)
    make = "req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 2 -subj /CN=swu"
    sign_it = "cms -sign -in sw-description -out sw-description.sig -signer c -inkey k -outform DER -nosmimecap -binary"
    for command in (make, sign_it):
        subprocess.run(
            ["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True, timeout=30
        )
    packed = subprocess.run(
        ["cpio", "-o", "-H", kind],
        cwd=tmp_path,
        input=b"sw-description\nsw-description.sig\npayload.txt\n",
        check=True,
        capture_output=True,
        timeout=30,
    ).stdout
    facts = read_image(packed, declared_format="swu")
    assert (facts.version, facts.details["signature"]) == ("1.0.1", "cms")
    assert facts.details["unnamed_members"] == []


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (cpio(swu(payload=b"tampered")), "image_hash_mismatch", "'payload.txt' has sha256"),
        (cpio(swu(), trailer=False), "image_truncated", "without its trailer"),
        (cpio(swu())[:400], "image_truncated", "byte"),
        (cpio(swu()[:1]), "image_truncated", "not in the archive"),
        (cpio(swu()[::-1]), "image_malformed", "first member must be sw-description"),
        (cpio([]), "image_malformed", "found 'nothing'"),
        (
            cpio(swu(description=DESCRIPTION.replace(' sha256 = "%s";', ""))),
            "image_hash_missing",
            "no sha256",
        ),
        (cpio(swu(description='software = { version = "1"; }')), "image_empty", "installs nothing"),
        (cpio(swu(description="software = { version = 1")), "image_malformed", "line 1"),
        (cpio(swu(description="hardware = {}")), "image_malformed", "no 'software'"),
        (cpio(swu(description='@include "/etc/passwd"')), "image_malformed", "unexpected '@'"),
        (cpio([*swu(), swu()[1]]), "image_malformed", "stands twice"),
        (b"070707" + bytes(200), "image_unsupported", "odc"),
        (
            cpio(swu()).replace(PAYLOAD, PAYLOAD[::-1]).replace(b"payload of", b"payload of"),
            "image_hash_mismatch",
            "",
        ),
        (
            cpio(swu()).replace(PAYLOAD, b"q" + PAYLOAD[1:]),
            "image_checksum",
            "cpio checksum of 'payload.txt'",
        ),
    ],
)
def test_refuses_bad_swu_files(data: bytes, code: str, words: str) -> None:
    error = refused(data)
    assert (error.code, words in error.message) == (code, True), error.message


def test_libconfig_values() -> None:
    text = (
        'a = 1; b : -0x1FL, c = [1, 2]; d = ({x = true;}, "s" "t"); e = 1.5e3; f = "l\\"n\\x41"; # end\ng {'
    )
    with pytest.raises(InvalidInput):
        parse_libconfig(text)
    found = parse_libconfig(text[:-3])
    assert found == {"a": 1, "b": -31, "c": [1, 2], "d": [{"x": True}, "st"], "e": 1500.0, "f": 'l"nA'}


# All formats ---------------------------------------------------------------------------------------


def test_tells_formats_apart(mcuboot: bytes) -> None:
    found = [detect_format(data) for data in (IHEX, SREC, mcuboot, cpio(swu()), b"\x7fELF...", b":)", b"S")]
    assert found == ["ihex", "srec", "mcuboot", "swu", "bin", "bin", "bin"]


@pytest.mark.parametrize(
    ("data", "declared"), [(IHEX, "bin"), (SREC, "ihex"), (b"\x7fELF", "mcuboot"), (b"x", "swu")]
)
def test_refuses_an_image_that_is_not_what_its_sender_says(data: bytes, declared: str) -> None:
    assert refused(data, declared).code == "image_mislabelled"


def test_refuses_empty_unknown_and_absent(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert refused(b"").code == "image_empty"
    assert refused(tmp_path / "empty").code == "image_empty"
    assert refused(b"x", "elf").code == "image_unsupported"
    with pytest.raises(NotFound):
        read_image(tmp_path / "absent")


def test_a_raw_binary_is_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "lib.so").write_bytes(b"\x7fELF" + bytes(5000))
    facts = read_image(tmp_path / "lib.so", declared_format="bin")
    assert (facts.length, facts.version, facts.ranges) == (5004, None, ())


def test_a_broken_file_on_disk_is_refused_like_broken_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.swu").write_bytes(cpio(swu(payload=b"tampered")))
    assert refused(tmp_path / "x.swu").code == "image_hash_mismatch"


@settings(max_examples=300, deadline=None)
@given(
    start=st.sampled_from([b"", b":", IHEX, b"S1", SREC, b"\x3d\xb8\xf3\x96", b"070701", cpio(swu())]),
    cut=st.integers(0, 700),
    tail=st.binary(max_size=200),
    declared=st.sampled_from([None, "ihex", "srec", "mcuboot", "swu", "bin"]),
)
def test_any_bytes_are_read_or_refused_with_a_code(
    start: bytes, cut: int, tail: bytes, declared: str | None
) -> None:
    data = start[:cut] + tail
    code, facts = "", None
    try:
        facts = read_image(data, declared_format=declared)
    except InvalidInput as error:
        code = error.code
    assert code.startswith("image_") or (facts and facts.file_bytes == len(data))


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(IHEX) - 1), value=st.integers(0, 255))
def test_one_changed_character_of_a_hex_file_never_changes_its_memory_unseen(at: int, value: int) -> None:
    changed = bytearray(IHEX)
    changed[at] = value
    try:
        facts = read_image(bytes(changed), declared_format="ihex")
    except InvalidInput:
        return
    good = read_image(IHEX)
    assert (facts.ranges, facts.entry) == (good.ranges, good.entry)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='{}()[]=:;,"\\abc 123.0xL#/*\n-', max_size=200))
def test_libconfig_ends_on_every_text(text: str) -> None:
    code = "image_malformed"
    try:
        parse_libconfig(text)
    except InvalidInput as error:
        code = error.code
    assert code == "image_malformed"
