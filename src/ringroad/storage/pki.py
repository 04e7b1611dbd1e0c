"""Our local certificate authority and the server's certificate, for a first run.

Vehicles get `ca.pem`; the gateway uses `server.pem` and `server.key`. In real use the gateway stands behind
a certificate of the maker's own authority, and this folder is not used.

Invariants: the CA's key is written once and never replaced; the server's certificate is renewed while it still
holds, and when the names it must carry changed.
"""

from __future__ import annotations

import fcntl
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ringroad.kernel.errors import Corrupt
from ringroad.storage.process import folder_error, write_private, write_whole

CA_D = 3650  # days
SERVER_D = 397  # days; the most that TLS clients accept (CA/Browser Forum Baseline Requirements 6.3.2, 2020)
RENEW_D = 60  # days before its end that the server's certificate is made anew
SKEW = timedelta(hours=1)  # a vehicle's clock may be behind ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """Paths of PEM files."""

    ca_certificate: Path
    server_certificate: Path
    server_key: Path


def pki_in(folder: Path) -> Pki:
    """Return where things are in a folder, whether they were made or not."""
    return Pki(
        ca_certificate=folder / "ca.pem",
        server_certificate=folder / "server.pem",
        server_key=folder / "server.key",
    )


def ensure_pki(folder: Path, *, names: Sequence[str], now: datetime) -> Pki:
    """Make what is missing or runs out, and return where it is.

    Args:
        folder: `var/pki`.
        names: host names and addresses for the server's certificate.
        now: the time.

    Raises:
        Corrupt: a file is there and cannot be read as what it should be.
        Unavailable: the folder cannot be written.
    """
    pki = pki_in(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another server of this folder may be making the same
            if not pki.ca_certificate.exists():
                _make_ca(folder, now)
            ca, ca_key = read_certificate(pki.ca_certificate), read_key(folder / "ca.key")
            if not _still_good(pki, names, now):
                _make_server(pki, ca, ca_key, names, now)
    except OSError as error:
        raise folder_error(error, folder) from error
    return pki


def _make_ca(folder: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ringroad local CA")])
    certificate = (
        _builder(name, name, key.public_key(), now, days=CA_D)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(folder / "ca.key", _pem(key))
    _write_public(folder / "ca.pem", certificate)  # last: its presence says that both are there


def _make_server(
    pki: Pki, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    certificate = (
        _builder(subject, ca.subject, key.public_key(), now, days=SERVER_D)
        .add_extension(x509.SubjectAlternativeName(_alternative(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pki.server_certificate.unlink(
        missing_ok=True
    )  # a crash between the two files must not leave a wrong pair
    write_private(pki.server_key, _pem(key))
    _write_public(pki.server_certificate, certificate)


def _still_good(pki: Pki, names: Sequence[str], now: datetime) -> bool:
    if not (pki.server_certificate.exists() and pki.server_key.exists()):
        return False
    certificate = read_certificate(pki.server_certificate)
    if certificate.not_valid_after_utc - now < timedelta(days=RENEW_D):
        return False
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(found) == set(_alternative(names))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, *, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what a key may be used for: to sign certificates, or to speak TLS."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(names: Sequence[str]) -> list[x509.GeneralName]:
    result: list[x509.GeneralName] = []
    for name in names:
        try:
            result.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            result.append(x509.DNSName(name))
    return result


def read_certificate(path: Path) -> x509.Certificate:
    """Read a certificate. Raises: Corrupt."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise Corrupt(f"{path} is not a certificate", hint="restore it from a backup") from error


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key. Raises: Corrupt."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise Corrupt(f"{path} is not a private key", hint="restore it from a backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Corrupt(f"{path} is not an elliptic-curve key", hint="restore it from a backup")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().strip()


def _write_public(path: Path, certificate: x509.Certificate) -> None:
    write_whole(path, certificate.public_bytes(Encoding.PEM), mode=0o644)
