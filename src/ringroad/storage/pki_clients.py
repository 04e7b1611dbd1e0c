"""Client certificates: issued by our own authority to a vehicle's key, and read when a vehicle shows one.

Not here: whether a certificate is admitted now (`http/device/identity.py`); TLS proves that its holder has the key.

Invariants: a certificate names exactly one vehicle; what is not issued directly by an authority we were told to trust
is no certificate; a private key never comes here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ringroad.kernel.errors import Corrupt, InvalidInput
from ringroad.storage.pki import SKEW, read_certificate, read_key, usage

CLIENT_D: Final = 365  # days a vehicle's certificate holds; it may renew at any time while it holds one
CSR_BYTES_MAX: Final = 16 * 1024  # bytes; a request with an RSA 4096 key has 1.7 kB
CERTIFICATE_BYTES_MAX: Final = 16 * 1024  # bytes of what a proxy hands on
AUTHORITIES_MAX: Final = 32  # certificates in a bundle
RSA_BITS_MIN: Final = 2_048  # NIST SP 800-57, 2020
RSA_BITS_MAX: Final = 8_192  # checking a longer one only costs time
CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
CERTIFICATES_KEPT: Final = 4_096  # vehicles' certificates that stay read; some 2 kB each
_UNREADABLE: Final = (ValueError, TypeError, x509.ExtensionNotFound, x509.DuplicateExtension)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """What a certificate of an authority we trust says."""

    name: str  # its one common name: the VIN
    sha256: bytes
    not_before: datetime
    not_after: datetime
    ours: bool  # issued by our own authority, so we know which ones are good


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A fresh certificate."""

    pem: bytes  # with the authority's behind it
    sha256: bytes
    serial: int
    not_after: datetime


class ClientTrust:
    """The authorities whose client certificates are read. They are read from their files once, when first needed."""

    def __init__(self, folder: Path, others: Path | None = None) -> None:
        """Trust our own authority in `folder`, and those in the bundle `others`."""
        self._folder = folder
        self._others = others
        self._authorities: tuple[tuple[x509.Certificate, bool], ...] = ()
        self.read = lru_cache(maxsize=CERTIFICATES_KEPT)(self._read)

    def _read(self, der: bytes) -> ClientCertificate | None:
        """Read a certificate, DER; None for what is none, is for something else, or is of nobody we trust."""
        try:
            certificate = x509.load_der_x509_certificate(der)
            if not _is_for_clients(certificate):
                return None
            names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            issuer = self._issuer(certificate)
        except _UNREADABLE:
            return None
        if len(names) != 1 or issuer is None:
            return None
        return ClientCertificate(
            name=str(names[0].value),
            sha256=hashlib.sha256(der).digest(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            ours=issuer,
        )

    def _issuer(self, certificate: x509.Certificate) -> bool | None:
        """Return whether our own authority issued it; None: nobody we trust did."""
        if not self._authorities:
            self._authorities = tuple(_authorities(self._folder, self._others))
        for authority, ours in self._authorities:
            try:
                certificate.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return ours
        return None


def client_authorities(folder: Path, others: Path | None) -> Path:
    """Write the bundle that TLS asks clients' certificates against; return where it is.

    Raises:
        InvalidInput: the bundle `others` cannot be read.
        Corrupt: our own authority cannot be read.
    """
    pem = b"".join(each.public_bytes(Encoding.PEM) for each, _ in _authorities(folder, others))
    path = folder / "clients.pem"
    temporary = path.with_name("clients.pem.tmp")
    temporary.write_bytes(pem)
    temporary.replace(path)
    return path


def read_expiries(folder: Path, others: str) -> dict[str, datetime]:
    """Return until when the certificates hold that vehicles and gateways trust, by their names; {} where there are none.

    Args:
        folder: with our own authority and the server's certificate.
        others: bundle of other authorities; empty: none.

    Raises:
        InvalidInput: the bundle cannot be read.
        Corrupt: one of ours cannot be read.
    """
    if not (folder / "ca.pem").exists():
        return {}
    found = {"authority of Ringroad": read_certificate(folder / "ca.pem").not_valid_after_utc}
    if (folder / "server.pem").exists():
        found["certificate of the server"] = read_certificate(folder / "server.pem").not_valid_after_utc
    for authority, ours in _authorities(folder, Path(others) if others else None):
        if not ours:
            found[f"authority {authority.subject.rfc4514_string()[:80]}"] = authority.not_valid_after_utc
    return found


def parse_csr(body: bytes, *, name: str) -> x509.CertificateSigningRequest:
    """Read a certificate signing request of a vehicle; it proves that who asks has the key.

    Raises:
        InvalidInput: none, not signed by its own key, for another name, or of a key that is too weak.
    """
    if len(body) > CSR_BYTES_MAX:
        raise InvalidInput(f"the request has more than {CSR_BYTES_MAX} bytes", code="csr")
    try:
        csr = x509.load_pem_x509_csr(body)
        signed = csr.is_signature_valid
        names = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = csr.public_key()
    except Exception as error:  # whatever a stranger's bytes make of the parser
        raise InvalidInput("not a certificate signing request, PEM", code="csr") from error
    if not signed:
        raise InvalidInput("the request is not signed by its own key", code="csr")
    if [str(each.value) for each in names] != [name]:
        raise InvalidInput("the request's one common name must be the VIN", hint=f"/CN={name}", code="csr")
    strong = (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES))
        or (isinstance(key, rsa.RSAPublicKey) and RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX)
    )
    if not strong:
        raise InvalidInput(
            "the request's key is too weak", hint="P-256, Ed25519, or RSA of 2048 bits", code="csr"
        )
    return csr


def issue_client(folder: Path, csr: x509.CertificateSigningRequest, *, name: str, now: datetime) -> Issued:
    """Issue a certificate to a request that was read by `parse_csr`; what else the request asks for is not heeded.

    Raises:
        Corrupt: our own authority cannot be read.
    """
    authority, key = read_certificate(folder / "ca.pem"), read_key(folder / "ca.key")
    not_after = min(now + timedelta(days=CLIENT_D), authority.not_valid_after_utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issued(
        pem=certificate.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM),
        sha256=certificate.fingerprint(hashes.SHA256()),
        serial=certificate.serial_number,
        not_after=certificate.not_valid_after_utc,
    )


def _is_for_clients(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is a client's; one that signs others, or says that it is a server's, is not."""
    try:
        if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except x509.ExtensionNotFound:
        pass
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return ExtendedKeyUsageOID.CLIENT_AUTH in purposes


def _authorities(folder: Path, others: Path | None) -> list[tuple[x509.Certificate, bool]]:
    found = []
    own = folder / "ca.pem"
    try:
        found += [(each, True) for each in x509.load_pem_x509_certificates(own.read_bytes())]
    except FileNotFoundError:
        pass  # no installation of ours: nothing of it is trusted
    except ValueError as error:
        raise Corrupt(f"{own} is not a certificate", hint="restore it from a backup") from error
    if others is not None:
        try:
            bundle = x509.load_pem_x509_certificates(others.read_bytes())
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"client_ca: {others} holds no certificates", hint="PEM, one after the other"
            ) from error
        found += [(each, False) for each in bundle[:AUTHORITIES_MAX]]
    return found
