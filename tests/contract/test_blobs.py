"""Blobs: whole or not at all, named by their hash, never silently wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringroad.kernel.errors import Corrupt, InvalidInput, NotFound, Unavailable, Untrusted
from ringroad.storage.blobs import Blobs

DATA = bytes(range(256)) * 9_000  # more than one part
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs((tmp_path / "with space").as_uri())


def parts(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


def files(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_stream_is_stored_under_its_hash_and_read_back(blobs: Blobs) -> None:
    blob = blobs.put(parts(DATA), expected_sha256=SHA)
    assert (blob.sha256, blob.bytes, blob.sha512) == (SHA, len(DATA), hashlib.sha512(DATA).hexdigest())
    assert blobs.read_all(SHA) == DATA
    assert blobs.size(SHA) == len(DATA)
    path = blobs.path(SHA)
    assert path is not None
    assert path.read_bytes() == DATA


def test_storing_twice_keeps_one_file(blobs: Blobs, tmp_path: Path) -> None:
    assert blobs.put([DATA]) == blobs.put(parts(DATA))
    assert len(files(tmp_path)) == 1


def test_other_bytes_than_announced_store_nothing(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(Untrusted):
        blobs.put([DATA[:-1]], expected_sha256=SHA)
    assert files(tmp_path) == []


def test_a_stream_that_breaks_stores_nothing(blobs: Blobs, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield DATA
        raise RuntimeError("connection lost")

    with pytest.raises(RuntimeError):
        blobs.put(broken())
    assert files(tmp_path) == []


def test_nothing_is_no_blob(blobs: Blobs) -> None:
    with pytest.raises(InvalidInput):
        blobs.put([])


@pytest.mark.parametrize(("start", "length"), [(0, 1), (100, 1000), (len(DATA) - 1, 50), (0, len(DATA))])
def test_a_range_is_read(blobs: Blobs, start: int, length: int) -> None:
    blobs.put([DATA])
    assert blobs.read_range(SHA, start=start, length=length) == DATA[start : start + length]


@pytest.mark.parametrize(("start", "length"), [(len(DATA), 1), (-1, 5), (0, 0)])
def test_a_range_outside_is_refused(blobs: Blobs, start: int, length: int) -> None:
    blobs.put([DATA])
    with pytest.raises(InvalidInput):
        blobs.read_range(SHA, start=start, length=length)


def test_what_is_not_there_is_not_found(blobs: Blobs) -> None:
    assert not blobs.exists(SHA)
    assert blobs.path(SHA) is None
    with pytest.raises(NotFound):
        blobs.read_all(SHA)
    with pytest.raises(NotFound):
        blobs.read_range(SHA, start=0, length=1)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", SHA[:-1], SHA.upper(), SHA + "0", "*"])
def test_a_name_that_is_no_hash_never_becomes_a_path(blobs: Blobs, name: str) -> None:
    with pytest.raises(InvalidInput):
        blobs.exists(name)


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1] + b"x", lambda raw: raw[:-1], lambda raw: raw + b"x"]
)
def test_damaged_bytes_are_reported_when_read(blobs: Blobs, damage: object) -> None:
    blobs.put([DATA])
    path = blobs.path(SHA)
    assert path is not None
    assert callable(damage)
    path.write_bytes(damage(DATA))
    with pytest.raises(Corrupt):
        blobs.read_all(SHA)


def test_a_store_we_do_not_know_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Blobs("gopher://somewhere/else")


def test_a_folder_that_cannot_be_written_is_one_clear_error() -> None:
    with pytest.raises(Unavailable) as caught:
        Blobs("file:///proc/ringroad")
    assert caught.value.code == "cannot_write"
    assert caught.value.hint
