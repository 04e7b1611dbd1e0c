"""Debian's unmodified mender-artifact: what it writes and signs we read and believe, and what we expect it accepts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringroad.build.artifact_signature import RegisteredKey, judge_signature
from ringroad.build.images import read_image
from ringroad.build.programme import read_programme
from ringroad.trust.artifact_keys import read_artifact_key
from support.docs_pages import ROOT
from support.mender import EC_KEY, RSA_KEY, PrivateKey, make_mender, public_pem, signed_with

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        shutil.which("mender-artifact") is None,
        reason="mender-artifact is not installed: apt install mender-artifact",
    ),
]
ECU = read_programme((ROOT / "examples" / "ddi" / "programme.toml").read_text(encoding="utf-8")).ecus[
    "telebox"
]


def mender_artifact(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["mender-artifact", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def key_files(folder: Path, key: PrivateKey) -> tuple[Path, Path]:
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    public.write_text(public_pem(key))
    return private, public


@pytest.mark.parametrize("key", [RSA_KEY, EC_KEY], ids=["rsa", "ecdsa"])
@pytest.mark.parametrize("packed", ["gzip", "lzma", "none"])
def test_what_it_signs_is_signed_by_that_key_and_by_no_other(
    key: PrivateKey, packed: str, tmp_path: Path
) -> None:
    private, _ = key_files(tmp_path, key)
    (tmp_path / "settings.json").write_text("{}")
    written = mender_artifact(
        "write", "module-image", "-T", "single-file", "-n", "telebox-2.1.0", "-t", "default:1.0", "-f", "settings.json",
        "--compression", packed, "-k", private, "-o", "signed.mender", cwd=tmp_path,
    )  # fmt: skip
    assert written.returncode == 0, written.stderr
    image = read_image(tmp_path / "signed.mender", declared_format="mender")
    assert image.version == "2.1.0"
    for each, state in ((key, "signed"), (EC_KEY if key is RSA_KEY else RSA_KEY, "unknown_key")):
        registered = RegisteredKey(
            id="k", name="theirs", supplier="Egret", key=read_artifact_key(public_pem(each))
        )
        assert judge_signature(image.details, [registered], ecu=ECU).state == state


@pytest.mark.parametrize("signed", [False, True], ids=["bare", "signed"])
def test_a_rootfs_image_that_it_writes_is_read(*, signed: bool, tmp_path: Path) -> None:
    private, _ = key_files(tmp_path, EC_KEY)
    (tmp_path / "rootfs.ext4").write_bytes(bytes(1 << 16))
    written = mender_artifact(
        "write", "rootfs-image", "-f", "rootfs.ext4", "-n", "release-2.1.0", "-t", "default:1.0",
        *(("-k", private) if signed else ()), "-o", "rootfs.mender", cwd=tmp_path,
    )  # fmt: skip
    assert written.returncode == 0, written.stderr
    image = read_image(tmp_path / "rootfs.mender", declared_format="mender")
    assert image.version == "2.1.0"
    assert "rootfs-image" in str(image.details)


@pytest.mark.parametrize("key", [RSA_KEY, EC_KEY], ids=["rsa", "ecdsa"])
def test_what_our_tests_sign_it_validates(key: PrivateKey, tmp_path: Path) -> None:
    _, public = key_files(tmp_path, key)
    for name, signature, status in (
        ("good", signed_with(key), 0),
        ("bad", lambda _: signed_with(key)(b"other"), 1),
    ):
        (tmp_path / f"{name}.mender").write_bytes(make_mender(signature=signature))
        said = mender_artifact("validate", f"{name}.mender", "-k", public, cwd=tmp_path)
        assert (said.returncode != 0) is bool(status), said.stdout + said.stderr
