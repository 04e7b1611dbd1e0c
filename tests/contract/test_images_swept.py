"""Images that no package names: none is left by a refused upload, and no other is ever removed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.build import store_images
from ringroad.build.sweep import UNNAMED_S_MIN
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import Conflict
from ringroad.storage.blobs import Blobs
from ringroad.storage.db import Connection, connect
from support.console_server import add_account, serving
from support.console_world import World

pytestmark = pytest.mark.engines
GOOD = {"programme_id": "meridian", "ecu": "display", "name": "display", "version": "9.0.0"}
IMAGE = b"\x01\x02" * 40_000


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        yield opened


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs((tmp_path / "blobs").as_uri())


@pytest.fixture
def upload(pg_url: str, conn: Connection, tmp_path: Path) -> Iterator[Any]:
    World(conn, SystemIds(), now=SystemClock().now(), vehicles=1)._programme()
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'admin', Role.ADMIN)}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, headers=headers, timeout=60) as client,
    ):

        def send(image: bytes = IMAGE, **wrong: str) -> int:
            return client.post("/api/v1/packages", params=GOOD | wrong, content=image).status_code

        yield send


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file())


def make_old(blobs: Blobs, sha256: str) -> None:
    path, then = blobs.path(sha256), SystemClock().now() - timedelta(seconds=UNNAMED_S_MIN + 60)
    assert path is not None
    os.utime(path, (then.timestamp(), then.timestamp()))


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"programme_id": "nobody"}, 404),
        ({"ecu": "toaster"}, 404),
        ({"filename": "a b"}, 422),
        ({"requires": "brake>=x!"}, 422),
        ({"version": "not a version"}, 422),
    ],
)
def test_a_refused_upload_leaves_no_image(
    upload: Any, tmp_path: Path, wrong: dict[str, str], status: int
) -> None:
    assert upload(**wrong) == status
    assert files(tmp_path) == []
    assert upload() == 201
    assert files(tmp_path) == [hashlib.sha256(IMAGE).hexdigest()]
    assert upload(image=b"other" * 999) == 409
    assert len(files(tmp_path)) == 1


def test_what_no_package_names_is_swept_once_it_is_old(
    upload: Any, conn: Connection, blobs: Blobs, tmp_path: Path
) -> None:
    assert upload() == 201
    named = hashlib.sha256(IMAGE).hexdigest()
    old, young = blobs.put([b"old"]).sha256, blobs.put([b"young"]).sha256
    (tmp_path / "blobs" / "notes.txt").write_text("not ours")
    make_old(blobs, old)
    make_old(blobs, named)
    found = store_images.look_at_images(conn, blobs, now=SystemClock().now())
    assert ([each.sha256 for each in found.unnamed], found.missing, found.named) == ([old], (), 1)
    assert store_images.sweep_images(conn, blobs, now=SystemClock().now()) == found
    assert files(tmp_path) == sorted([named, young, "notes.txt"])
    assert store_images.sweep_images(conn, blobs, now=SystemClock().now()).unnamed == ()


def test_an_image_that_is_being_stored_is_never_swept(pg_url: str, conn: Connection, blobs: Blobs) -> None:
    sha256 = blobs.put([b"left by a refused upload, and now uploaded again"]).sha256
    make_old(blobs, sha256)
    with connect(pg_url) as other:
        with store_images.storing(other), pytest.raises(Conflict, match="being stored"):
            store_images.sweep_images(conn, blobs, now=SystemClock().now())
        assert blobs.exists(sha256)
        with (
            store_images.storing(other),
            store_images.storing(conn),
        ):  # two uploads do not wait for each other
            pass
    store_images.sweep_images(conn, blobs, now=SystemClock().now())
    assert not blobs.exists(sha256)


def test_an_image_that_is_missing_is_told(
    upload: Any, conn: Connection, blobs: Blobs, tmp_path: Path
) -> None:
    assert upload() == 201
    sha256 = hashlib.sha256(IMAGE).hexdigest()
    blobs.delete(sha256)
    blobs.delete(sha256)  # gone already
    assert store_images.look_at_images(conn, blobs, now=SystemClock().now()).missing == (sha256,)
    assert upload() == 201  # the same image again
    assert store_images.look_at_images(conn, blobs, now=SystemClock().now()).missing == ()
