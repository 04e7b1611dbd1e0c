"""Debian's unmodified swupdate as a client, and .swu files made with openssl and cpio."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CMS = """[req]
distinguished_name=dn
x509_extensions=ext
prompt=no
[dn]
CN=swu-signer
[ext]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=emailProtection
"""


def run(*command: str, cwd: Path, stdin: bytes | None = None) -> None:
    subprocess.run(command, cwd=cwd, input=stdin, check=True, capture_output=True, timeout=60)


def make_key(folder: Path) -> None:
    (folder / "cms.cnf").write_text(CMS)
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "swu.key", "-out", "swu.crt",
        "-days", "2", "-config", "cms.cnf", cwd=folder,
    )  # fmt: skip


def make_swu(folder: Path, payload: bytes, *, version: str, installed: Path, sign: bool = True) -> bytes:
    """Pack a signed .swu that writes `payload` to the path `installed`."""
    (folder / "payload.bin").write_bytes(payload)
    (folder / "sw-description").write_text(
        f'software = {{ version = "{version}"; hardware-compatibility: [ "1.0" ];\n'
        f'  files: ( {{ filename = "payload.bin"; path = "{installed}";'
        f' sha256 = "{hashlib.sha256(payload).hexdigest()}"; }} ); }}\n'
    )
    names = ["sw-description", "payload.bin"]
    if sign:
        run(
            "openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", "-signer", "swu.crt",
            "-inkey", "swu.key", "-outform", "DER", "-nosmimecap", "-binary", cwd=folder,
        )  # fmt: skip
        names.insert(1, "sw-description.sig")
    run("cpio", "-o", "-H", "crc", "-F", "out.swu", cwd=folder, stdin="\n".join(names).encode())
    return (folder / "out.swu").read_bytes()


@contextmanager
def swupdate(
    folder: Path,
    origin: str,
    *,
    vin: str,
    token: str,
    hardware: str = "default:1.0",
    confirm: str = "",
    version: str = "1",
) -> Iterator[Path]:
    """Run swupdate in suricatta mode until the block ends; yield the path of its log."""
    config = folder / "swupdate.cfg"
    board, revision = hardware.split(":")
    config.write_text(
        f'globals : {{ verbose = true; loglevel = 5; syslog = false; bootloader = "none";'
        f' public-key-file = "{folder}/swu.crt"; }};\n'
        f'identify : ( {{ name = "hw_boardname"; value = "{board}"; }}, {{ name = "hw_revision"; value = "{revision}"; }},'
        f' {{ name = "sw_version"; value = "{version}"; }} );\n'
        f'suricatta : {{ tenant = "DEFAULT"; id = "{vin}"; url = "{origin}"; polldelay = 1; retry = 4; retrywait = 1;'
        f' userid = {os.getuid()}; groupid = {os.getgid()}; targettoken = "{token}"; }};\n'
    )
    temporary = folder / f"tmp{confirm or 0}"
    temporary.mkdir(exist_ok=True)
    log = folder / f"swupdate{confirm or 0}.log"
    suricatta = f"-c {confirm}" if confirm else ""
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["swupdate", "-v", "-f", str(config), "-H", hardware, "-u", suricatta],
            env={**os.environ, "TMPDIR": str(temporary)}, cwd=folder, stdout=out, stderr=out,
        )  # fmt: skip
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)
