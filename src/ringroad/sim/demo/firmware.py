"""The demo's firmware: real images out of registry packages, none of it ours.

In-place ECUs get prebuilt Zephyr firmware (Intel HEX, Apache-2.0, PyPI `zephyr-4-4-0-hci-*`), A/B ECUs the
shared object of two releases of msgspec (BSD-3-Clause), the SWUpdate box a signed .swu made on the spot.
"""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ringroad.kernel.errors import NotFound, Unavailable

ZEPHYR = "zephyr_4_4_0_hci_usb_"
# What the brake ECU runs in each release: three different builds of the same firmware.
BRAKE = {
    "0.9.0": ZEPHYR + "nrf5340dk_default",
    "1.0.0": ZEPHYR + "nrf52840dk_default",
    "1.1.0": ZEPHYR + "nrf52840dk_legacy",
    "1.2.0": ZEPHYR + "nrf52840dk_acl_502",
}
OTHER_INPLACE = ZEPHYR + "nrf5340dk_default"
TOOL_S_MAX = 60  # seconds one openssl or cpio may take

_CMS = """[req]
distinguished_name=dn
x509_extensions=ext
prompt=no
[dn]
CN=ringroad-demo
[ext]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=emailProtection
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """One image as a file of its format."""

    ecu: str
    version: str
    format: Literal["bin", "ihex", "swu"]
    data: bytes
    source: str  # where it comes from, for people

    @property
    def sha256(self) -> str:
        """Hex digest."""
        return hashlib.sha256(self.data).hexdigest()


def zephyr(module: str) -> bytes:
    """Return a Zephyr package's Intel HEX file.

    Raises:
        NotFound: the demo's packages are not installed.
    """
    try:
        return Path(importlib.import_module(module).HEX_PATH).read_bytes()
    except ImportError as error:
        raise NotFound(
            f"the demo's firmware {module} is not installed", hint="make setup installs it"
        ) from error


def shared_object(folder: Path, release: str) -> bytes:
    """Return the shared object of the `old` or `new` release.

    Raises:
        NotFound: it was not fetched.
    """
    found = sorted((folder / release / "msgspec").glob("_core*.so"))
    if not found:
        raise NotFound(f"the demo's firmware {folder / release} is missing", hint="make firmware fetches it")
    return found[0].read_bytes()


def firmware_for(
    ecus: Mapping[str, Mapping[str, Any]], version: str, folder: Path, *, everything: bool
) -> list[Firmware]:
    """Return the images that a release brings to native ECUs.

    Args:
        ecus: the programme's ECUs.
        version: of the brake's software; the compute ECU gets a new one together with 1.2.0.
        folder: where the shared objects are.
        everything: an image for each ECU, as for a first release.
    """
    made = []
    for name, ecu in ecus.items():
        if ecu["agent"] == "ddi":
            continue
        if name == "brake":
            made.append(_zephyr(name, version, BRAKE[version]))
        elif everything and ecu["storage"] == "inplace":
            made.append(_zephyr(name, version, OTHER_INPLACE))
        elif everything or (name == "compute" and version == "1.2.0"):
            release = "old" if everything else "new"
            source = f"msgspec shared object, {release} release"
            data = shared_object(folder, release)
            made.append(Firmware(ecu=name, version=version, format="bin", data=data, source=source))
    return made


def _zephyr(ecu: str, version: str, module: str) -> Firmware:
    return Firmware(ecu=ecu, version=version, format="ihex", data=zephyr(module), source=module)


# SWUpdate -----------------------------------------------------------------------------------------


def swupdate_ready() -> bool:
    """Say whether SWUpdate and the tools that make its images are installed."""
    return all(shutil.which(tool) for tool in ("swupdate", "openssl", "cpio"))


def make_swu_key(folder: Path) -> None:
    """Make the key that signs .swu files, and its certificate.

    Raises:
        Unavailable: openssl failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cms.cnf").write_text(_CMS, encoding="ascii")
    _run(
        folder, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "swu.key", "-out", "swu.crt",
        "-days", "7", "-config", "cms.cnf",
    )  # fmt: skip


def make_swu(folder: Path, *, version: str, revision: str, installed: str, payload: bytes) -> bytes:
    """Pack a signed .swu that writes `payload` to the path `installed`.

    Raises:
        Unavailable: openssl or cpio failed.
    """
    (folder / "payload.bin").write_bytes(payload)
    (folder / "sw-description").write_text(
        f'software = {{ version = "{version}"; hardware-compatibility: [ "{revision}" ];\n'
        f'  files: ( {{ filename = "payload.bin"; path = "{installed}";'
        f' sha256 = "{hashlib.sha256(payload).hexdigest()}"; }} ); }}\n',
        encoding="ascii",
    )
    _run(
        folder, "openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", "-signer", "swu.crt",
        "-inkey", "swu.key", "-outform", "DER", "-nosmimecap", "-binary",
    )  # fmt: skip
    _run(
        folder,
        "cpio",
        "-o",
        "-H",
        "crc",
        "-F",
        "out.swu",
        stdin=b"sw-description\nsw-description.sig\npayload.bin",
    )
    return (folder / "out.swu").read_bytes()


def _run(folder: Path, *command: str, stdin: bytes | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, input=stdin, capture_output=True, timeout=TOOL_S_MAX, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} failed", detail=done.stderr.decode(errors="replace")[-2_000:])
