"""What the first start writes for TLS is on the disk, each part before the one that vouches for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest

from ringroad.kernel.errors import Corrupt
from ringroad.storage.pki import CA_D, SERVER_D, ensure_pki, read_certificate, read_key
from ringroad.storage.pki_clients import read_expiries

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def test_the_key_is_on_the_disk_before_the_certificate_that_says_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name.removesuffix(".tmp"))

    monkeypatch.setattr("os.fsync", fsync)
    ensure_pki(tmp_path / "pki", names=["localhost"], now=NOW)
    assert synced == [
        word for name in ("ca.key", "ca.pem", "server.key", "server.pem") for word in (name, "pki")
    ]


def test_what_vehicles_trust_is_named_with_its_end(tmp_path: Path) -> None:
    folder, other = tmp_path / "pki", tmp_path / "other"
    assert read_expiries(folder, "") == {}
    ensure_pki(folder, names=["localhost"], now=NOW)
    ours = read_expiries(folder, "")
    assert ours == {
        "authority of Ringroad": NOW + timedelta(days=CA_D),
        "certificate of the server": NOW + timedelta(days=SERVER_D),
    }
    theirs = ensure_pki(other, names=["localhost"], now=NOW - timedelta(days=CA_D - 1)).ca_certificate
    (added,) = read_expiries(folder, str(theirs)).items() - ours.items()
    assert added == ("authority CN=Ringroad local CA", NOW + timedelta(days=1))


def test_keys_are_for_their_owner_and_nothing_is_made_twice(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    first = ensure_pki(folder, names=["localhost"], now=NOW)
    for name in ("ca.key", "server.key"):
        assert (folder / name).stat().st_mode & 0o077 == 0
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert ensure_pki(folder, names=["localhost"], now=NOW) == first
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_empty_certificate_is_told_and_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    ensure_pki(folder, names=["localhost"], now=NOW)
    (folder / "ca.pem").write_bytes(b"")
    with pytest.raises(Corrupt, match="not a certificate"):
        ensure_pki(folder, names=["localhost"], now=NOW)


def test_servers_that_start_at_once_on_one_folder_make_one_authority(tmp_path: Path) -> None:
    folder, at_once = tmp_path / "pki", Barrier(8)

    def start(_: int) -> bytes:
        at_once.wait()
        return ensure_pki(folder, names=["localhost"], now=NOW).ca_certificate.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1
    key = read_key(folder / "server.key")
    assert read_certificate(folder / "server.pem").public_key() == key.public_key()
