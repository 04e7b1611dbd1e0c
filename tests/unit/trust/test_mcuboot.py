"""MCUboot images are verified as imgtool verifies them, and what we sign imgtool takes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.trust.mcuboot import (
    Dependency,
    McubootSigner,
    mcuboot_key,
    mcuboot_version,
    parse_mcuboot_version,
    sign_mcuboot,
    verify_mcuboot,
)

imgtool_main = pytest.importorskip("imgtool.main")
imgtool_image = pytest.importorskip("imgtool.image")
imgtool_keys = pytest.importorskip("imgtool.keys")

APP = bytes(range(256)) * 4
KINDS = ("ecdsa-p256", "ed25519")


def imgtool(folder: Path, *arguments: str) -> None:
    with contextlib.chdir(folder):
        assert not imgtool_main.imgtool(list(arguments), standalone_mode=False)


def new_key(kind: str) -> McubootSigner:
    return (
        ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    )


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [(), ("--public-key-format", "full"), ("--pad",)])
def test_what_imgtool_signed_is_verified_and_another_key_refused(
    kind: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    key = new_key(kind)
    (tmp_path / "key.pem").write_bytes(private_pem(key))
    (tmp_path / "app.bin").write_bytes(APP)
    given = "sign -k key.pem --header-size 0x200 --pad-header -S 0x8000 --align 8 --version 1.2.3+4 --security-counter 7"
    imgtool(tmp_path, *given.split(), "--dependencies", "(1, 1.1.0+2)", *more, "app.bin", "out.bin")
    image = verify_mcuboot((tmp_path / "out.bin").read_bytes(), mcuboot_key(public_pem(key)))
    assert (image.version, image.security_counter) == ((1, 2, 3, 4), 7)
    assert image.dependencies == (Dependency(image=1, version_min=(1, 1, 0, 2)),)
    for other in (new_key(kind), new_key(KINDS[KINDS.index(kind) - 1])):
        with pytest.raises(Untrusted):
            verify_mcuboot((tmp_path / "out.bin").read_bytes(), mcuboot_key(public_pem(other)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_sign_imgtool_verifies(kind: str, tmp_path: Path) -> None:
    key, other = new_key(kind), new_key(kind)
    needs = (Dependency(image=1, version_min=(1, 1, 0, 0)),)
    image = sign_mcuboot(
        APP, key, version="2.0.1+9", security_counter=3, dependencies=needs, header_bytes=0x200
    )
    (tmp_path / "image.bin").write_bytes(image)
    for name, one in (("right", key), ("wrong", other)):
        (tmp_path / f"{name}.pem").write_bytes(private_pem(one))
        loaded = imgtool_keys.load(str(tmp_path / f"{name}.pem"))
        found = imgtool_image.Image.verify(str(tmp_path / "image.bin"), loaded)[0]
        assert (found == imgtool_image.VerifyResult.OK) is (one is key)


@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_of_an_image_may_change(kind: str) -> None:
    key = new_key(kind)
    image = sign_mcuboot(APP[:64], key, version="1.0.0", security_counter=1)
    public = mcuboot_key(public_pem(key))
    assert verify_mcuboot(image, public).version == (1, 0, 0, 0)
    for at in range(len(image)):
        broken = bytearray(image)
        broken[at] ^= 0x41
        with pytest.raises((InvalidInput, Untrusted)):
            verify_mcuboot(bytes(broken), public)


def test_an_image_without_a_signature_is_untrusted(tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(APP)
    imgtool(
        tmp_path,
        *[
            "sign",
            "--header-size",
            "0x20",
            "--pad-header",
            "-S",
            "0x8000",
            "--align",
            "8",
            "-v",
            "1.0.0",
            "app.bin",
            "out.bin",
        ],
    )
    with pytest.raises(Untrusted):
        verify_mcuboot((tmp_path / "out.bin").read_bytes(), mcuboot_key(public_pem(new_key("ed25519"))))


def test_a_dependency_is_met_by_an_image_that_is_there_and_new_enough() -> None:
    key = new_key("ed25519")
    needs = (Dependency(image=1, version_min=(1, 1, 0, 0)), Dependency(image=2, version_min=(3, 0, 0, 0)))
    image = verify_mcuboot(
        sign_mcuboot(APP, key, version="1.0.0", security_counter=1, dependencies=needs),
        mcuboot_key(public_pem(key)),
    )
    assert image.unmet({1: (1, 1, 0, 0), 2: (3, 0, 1, 0)}) is None
    assert image.unmet({1: (1, 0, 9, 9), 2: (3, 0, 0, 0)}) == needs[0]
    assert image.unmet({1: (2, 0, 0, 0)}) == needs[1]


@pytest.mark.parametrize(
    "text", ["1.2", "1.2.3.4", "256.0.0", "1.0.65536", "1.0.0+4294967296", "a.b.c", "1.2.3+", ""]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_mcuboot_version(text)


@pytest.mark.parametrize("text", ["1.2.3", "0.0.0", "255.255.65535+4294967295"])
def test_a_version_is_read_and_written_alike(text: str) -> None:
    assert mcuboot_version(parse_mcuboot_version(text)) == text


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no key",
        public_pem(ec.generate_private_key(ec.SECP384R1())),
        public_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    ],
)
def test_what_is_no_key_of_a_bootloader_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidInput):
        mcuboot_key(pem)
