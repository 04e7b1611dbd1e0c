"""Blobs: whole or not at all, named by their hash, never silently wrong."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringroad.cli.external import check_store
from ringroad.kernel.errors import Corrupt, InvalidInput, NotFound, Unavailable, Untrusted
from ringroad.storage.blobs import Blobs
from support.s3 import BUCKET, serving_bucket

DATA = bytes(range(256)) * 9_000  # more than one part
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A bucket on an S3 server, and the folder in which that keeps it. It looks at no credentials."""
    with serving_bucket(tmp_path, monkeypatch) as folder:
        yield folder


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "folder":
        return Blobs((tmp_path / "with space").as_uri())
    request.getfixturevalue("bucket")
    return Blobs(f"s3://{BUCKET}/with/prefix")


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


def test_a_folder_says_which_file_a_blob_is(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path.as_uri())
    blobs.put([DATA])
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


def test_a_large_blob_goes_in_parts_and_comes_back_whole(blobs: Blobs, tmp_path: Path) -> None:
    data = hashlib.sha256(b"seed").digest() * 640_000  # 20 MB; a part has 8
    blob = blobs.put(parts(data))
    assert blobs.read_all(blob.sha256) == data
    assert blobs.read_range(blob.sha256, start=len(data) - 5, length=100) == data[-5:]
    assert len(files(tmp_path)) == 1


def test_what_is_stored_is_listed_and_what_is_deleted_is_gone(blobs: Blobs) -> None:
    made = {blobs.put([bytes([count]) * 9]).sha256 for count in range(3)}
    assert {each.sha256 for each in blobs.listed()} == made
    assert {each.bytes for each in blobs.listed()} == {9}
    gone = made.pop()
    blobs.delete(gone)
    blobs.delete(gone)
    assert not blobs.exists(gone)
    assert {each.sha256 for each in blobs.listed()} == made


def test_two_prefixes_of_a_bucket_do_not_see_each_other(bucket: Path) -> None:
    one, other = Blobs(f"s3://{BUCKET}/one"), Blobs(f"s3://{BUCKET}/other")
    one.put([DATA])
    assert not other.exists(SHA)
    assert list(other.listed()) == []
    assert [path.relative_to(bucket).parts[0] for path in files(bucket)] == ["one"]


def test_a_store_that_answers_is_well(bucket: Path) -> None:
    assert check_store(f"s3://{BUCKET}/prefix") == "s3 store, of blob_url"
    assert list(bucket.iterdir()) == []  # it was looked at, and not changed


def test_a_bucket_that_is_not_there_is_one_clear_error(bucket: Path) -> None:
    bucket.rmdir()
    with pytest.raises(Unavailable, match="no such bucket"):
        check_store(f"s3://{BUCKET}/prefix")
    with pytest.raises(Unavailable, match="not there any more"):
        Blobs(f"s3://{BUCKET}/prefix").put([DATA])


def test_an_object_store_that_is_away_is_asked_a_few_times_and_then_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How long it waits between is bounded too: 100 ms at first, 2 s at most, 10 s in all."""
    with counting_connections() as (port, connections):
        for name, value in {
            "ENDPOINT": f"http://127.0.0.1:{port}", "ALLOW_HTTP": "true", "REGION": "us-east-1", "ACCESS_KEY_ID": "test",
            "SECRET_ACCESS_KEY": "test",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"AWS_{name}", value)
        with pytest.raises(Unavailable):
            Blobs(f"s3://{BUCKET}").size(SHA)
    assert 1 <= len(connections) <= 4


@contextmanager
def counting_connections() -> Iterator[tuple[int, list[int]]]:
    """A port on which every connection is cut at once."""
    cut: list[int] = []

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, peer = listener.accept()
                cut.append(peer[1])
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        yield listener.getsockname()[1], cut
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def test_a_folder_that_vanished_is_no_missing_blob(tmp_path: Path) -> None:
    blobs = Blobs((tmp_path / "images").as_uri())
    (tmp_path / "images").rmdir()
    with pytest.raises(Unavailable, match="not there any more"):
        blobs.put([DATA])


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
def test_damaged_bytes_are_reported_when_read(blobs: Blobs, damage: object, tmp_path: Path) -> None:
    blobs.put([DATA])
    (path,) = files(tmp_path)
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
