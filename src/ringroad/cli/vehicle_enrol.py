"""`ringroad vehicle enrol`: a device's side of the enrolment, for a bench, a script or a first look."""

from __future__ import annotations

import csv
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ringroad.cli.groups import example
from ringroad.cli.shell import Shell
from ringroad.kernel.errors import Forbidden, InvalidInput, Unavailable
from ringroad.kernel.vin import parse_vin
from ringroad.storage.process import write_private

TRIES_MAX: Final = 10  # a server knows within a second what was registered at another
PAUSE_S: Final = 0.3
TIMEOUT_S: Final = 20.0
FILE_BYTES_MAX: Final = 64 * 1024**2


@click.command("enrol", epilog=example("ringroad vehicle enrol WRR1ZZZ00PA000001 --tokens tokens.csv"))
@click.argument("vin")
@click.option(
    "--tokens",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of one-time tokens that `ringroad fleet register --tokens` wrote.",
)
@click.option("--server", help="Its HTTPS address; default: on this machine.")
@click.option(
    "--ca", type=click.Path(path_type=Path, dir_okay=False), help="Its authority; default: Ringroad's own."
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the secret; default: the VIN.",
)
@click.option("--certificate", is_flag=True, help="A key and a certificate instead of a device token.")
@click.pass_obj
def enrol(
    shell: Shell,
    *,
    vin: str,
    tokens: Path,
    server: str | None,
    ca: Path | None,
    into: Path | None,
    certificate: bool,
) -> None:
    """Get the device VIN its own secret, with its one-time token, and poll once with it.

    Writes `token`, or `device.key` and `device.pem`, that only you can read.
    """
    vin = parse_vin(vin.upper())
    settings = shell.settings()
    origin = (server or f"https://127.0.0.1:{settings.https_port}").rstrip("/")
    folder = into or Path(vin)
    given = {"Authorization": f"EnrolmentToken {_find_token(tokens, vin)}"}
    context = _context(ca or settings.pki / "ca.pem")
    url = f"{origin}/enrol/v1/{vin}"
    with httpx.Client(verify=context, timeout=TIMEOUT_S) as http:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if certificate:
                key = ec.generate_private_key(ec.SECP256R1())
                body = _request(vin, key)
                pem = _until(lambda: http.post(f"{url}/certificate", content=body, headers=given)).text
                secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().strip()
                write_private(folder / "device.key", secret)
                write_private(folder / "device.pem", pem.strip())
                context.load_cert_chain(folder / "device.pem", folder / "device.key")
                own: dict[str, str] = {}
            else:
                token = _until(lambda: http.post(f"{url}/token", headers=given)).json()["token"]
                write_private(folder / "token", token)
                own = {"Authorization": f"TargetToken {token}"}
        except OSError as error:
            raise InvalidInput(f"{folder} cannot be written: {error.strerror}") from error
    with httpx.Client(verify=context, timeout=TIMEOUT_S) as http:
        poll = _until(lambda: http.get(f"{origin}/DEFAULT/controller/v1/{vin}", headers=own)).json()
    kind = "certificate" if certificate else "token"
    shell.show(
        {"vin": vin, "folder": str(folder), "secret": kind, "poll": poll},
        text=f"{vin} has its {kind} in {folder} and polls with it",
    )


def _find_token(path: Path, vin: str) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InvalidInput(f"{path} is too large")
        with path.open(encoding="utf-8", newline="") as source:
            for row in csv.reader(source):
                if len(row) > 1 and row[0] == vin:
                    return row[1]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    raise InvalidInput(f"{path} has no token for {vin}", hint=f"ringroad fleet invite {vin} makes a new one")


def _context(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"{ca} holds no certificates", hint="--ca names the server's authority") from error


def _request(vin: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, vin)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


def _until(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask until the server knows the device.

    Raises:
        Forbidden: it does not let the device in.
        Unavailable: it does not answer.
    """
    answer: httpx.Response | None = None
    for _ in range(TRIES_MAX):
        try:
            answer = ask()
        except httpx.HTTPError as error:
            raise Unavailable(f"the server does not answer: {error}", hint="is it up?") from error
        if answer.status_code not in (401, 503):
            break
        time.sleep(PAUSE_S)
    if answer is None or answer.status_code != 200:
        raise Forbidden(
            f"the server does not let this device in: {answer.status_code if answer else 'no answer'}",
            hint="a one-time token works once, and for 30 days; ringroad fleet invite makes a new one",
        )
    return answer
