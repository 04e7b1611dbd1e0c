"""What an engine wrote before it ended becomes one error; folders that are not ours are refused."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ringroad.kernel.errors import Conflict, Corrupt, RingroadError, Unavailable
from ringroad.storage import broker, postgres
from ringroad.storage.pki import ensure_pki
from ringroad.storage.process import SOCKET_NAME_BYTES_MAX, SOCKET_PATH_BYTES_MAX, folder_error, socket_folder

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected", "code"),
    [
        ('could not bind IPv4 address "127.0.0.1": Address already in use', Conflict, "port_in_use"),
        ("FATAL: could not write to file: No space left on device", Unavailable, "cannot_write"),
        ("initdb: error: could not create directory: Read-only file system", Unavailable, "cannot_write"),
        ("PANIC: could not locate a valid checkpoint record at 0/1", Corrupt, "data_corrupt"),
        ("FATAL: incorrect checksum in control file", Corrupt, "data_corrupt"),
        ("Segmentation fault", Unavailable, "unavailable"),
        ("", Unavailable, "unavailable"),
    ],
)
def test_postgres_explains_its_end(text: str, expected: type[RingroadError], code: str) -> None:
    error = postgres.explain(text, where=Path("var/postgres"))
    assert type(error) is expected
    assert error.code == code
    assert error.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[FTL] Error listening: bind: address already in use", Conflict),
        ("[ERR] no space left on device", Unavailable),
        ("", Unavailable),
    ],
)
def test_nats_explains_its_end(text: str, expected: type[RingroadError]) -> None:
    error = broker.explain(text, Path("var/nats"))
    assert type(error) is expected
    assert error.hint


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EIO]
)
def test_a_folder_that_refuses_becomes_unavailable_with_a_hint(number: int) -> None:
    error = folder_error(OSError(number, os.strerror(number)), Path("var"))
    assert (error.kind, error.code) == ("unavailable", "cannot_write")
    assert "--var" in error.hint


def test_a_data_folder_is_judged_before_it_is_touched(tmp_path: Path) -> None:
    postgres.check_data_folder(tmp_path / "missing")
    (tmp_path / "PG_VERSION").write_text("18\n")
    with pytest.raises(Corrupt):
        postgres.check_data_folder(tmp_path)
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "pg_control").write_bytes(b"x")
    postgres.check_data_folder(tmp_path)
    (tmp_path / "PG_VERSION").write_text("19\n")
    with pytest.raises(Conflict, match="PostgreSQL 19"):
        postgres.check_data_folder(tmp_path)


def test_a_socket_always_fits(tmp_path: Path) -> None:
    for near in (tmp_path / "run", tmp_path / ("long" * 40) / "run"):
        folder = socket_folder(near)
        assert len(os.fsencode(folder)) + SOCKET_NAME_BYTES_MAX <= SOCKET_PATH_BYTES_MAX
        assert folder.stat().st_mode & 0o077 == 0
        assert socket_folder(near) == folder
        folder.rmdir()


def test_the_server_certificate_is_signed_by_our_ca_and_renewed_in_time(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, names=["localhost", "127.0.0.1"], now=NOW)
    ca = pki.ca_certificate.read_bytes()
    first = x509.load_pem_x509_certificate(pki.server_certificate.read_bytes())
    first.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
    ensure_pki(tmp_path, names=["localhost", "127.0.0.1"], now=NOW + timedelta(days=30))
    assert serial(pki.server_certificate) == first.serial_number
    ensure_pki(tmp_path, names=["localhost", "127.0.0.1"], now=NOW + timedelta(days=350))
    second = serial(pki.server_certificate)
    assert second != first.serial_number
    ensure_pki(tmp_path, names=["ringroad.example"], now=NOW + timedelta(days=350))
    assert serial(pki.server_certificate) != second
    assert pki.ca_certificate.read_bytes() == ca


def test_a_damaged_ca_is_never_replaced(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, names=["localhost"], now=NOW)
    pki.ca_certificate.write_text("damaged")
    with pytest.raises(Corrupt):
        ensure_pki(tmp_path, names=["localhost"], now=NOW)
    assert pki.ca_certificate.read_text() == "damaged"


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number
