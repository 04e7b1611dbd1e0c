"""Two gateways over one database, one of which is cut off from it without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from ringroad.storage.blobs import Blobs
from support.gateways import TOKEN, VIN, FolderBlobs, eventually, fill, rows, serving
from support.partition import namespace, way_through, way_to
from support.servers import START_S_MAX, is_up, server_process

pytestmark = pytest.mark.engines
Do = Callable[[], None]


@contextmanager
def frozen(url: str) -> Iterator[tuple[str, Do, Do]]:
    """A way to the database on which everything stands still; nobody's kernel notices."""
    with way_to(url) as way:
        yield way.url(), way.cut, way.mend


@contextmanager
def unplugged(url: str) -> Iterator[tuple[str, Do, Do]]:
    """A way to the database over a pair of interfaces, one of which goes down."""
    try:
        with namespace() as made, way_through(made, url) as through:
            yield through, made.cut, made.mend
    except PermissionError as error:
        pytest.skip(str(error))


@contextmanager
def threads(url: str, through: str, folder: Path, blobs: FolderBlobs) -> Iterator[tuple[str, str]]:
    """Two gateways of this process."""
    del folder
    with serving(url, blobs) as here, serving(through, blobs, silence_s_max=2.0) as there:
        yield here, there


@contextmanager
def processes(url: str, through: str, folder: Path, blobs: FolderBlobs) -> Iterator[tuple[str, str]]:
    """Two servers as people start them, each a process."""
    del blobs
    var = folder / "var"
    Blobs((var / "blobs").as_uri()).put([b"image"])
    with (
        server_process(folder, url, var=var) as (here, _),
        server_process(folder, through, var=var) as (there, _),
    ):
        for origin in (here, there):
            assert eventually(partial(is_up, origin), within_s=START_S_MAX)
        yield here, there


@pytest.mark.timeout(600)  # servers may take minutes to start on a shared machine
@pytest.mark.parametrize(
    ("way", "gateways"), [(frozen, threads), (unplugged, threads), (unplugged, processes)]
)
def test_a_gateway_that_is_cut_off_offers_nothing_and_acknowledges_nothing(
    pg_url: str, tmp_path: Path, way: Any, gateways: Any
) -> None:
    blobs = FolderBlobs(tmp_path)
    action = fill(pg_url, blobs, b"image")
    with (
        way(pg_url) as (through, cut, mend),
        gateways(pg_url, through, tmp_path, blobs) as (here, there),
        httpx.Client(headers={"Authorization": f"TargetToken {TOKEN}"}, timeout=10.0) as client,
    ):
        path = f"/DEFAULT/controller/v1/{VIN}"

        def links(origin: str) -> Any:
            answer = client.get(origin + path)
            return answer.json()["_links"] if answer.status_code == 200 else {}

        def report(origin: str, about: str, step: str) -> int:
            status = {"execution": "proceeding", "details": [step]}
            url = f"{origin}{path}/{about}/{action}/feedback"
            try:
                return client.post(url, json={"status": status}).status_code
            except httpx.TimeoutException:
                return 0

        assert "deploymentBase" in links(here)
        assert eventually(
            lambda: "deploymentBase" in links(there)
        )  # a busy machine may be silent for two seconds
        cut()
        assert report(there, "deploymentBase", "while it does not know") in (0, 503)
        with psycopg.connect(pg_url, autocommit=True) as conn:
            conn.execute("UPDATE assignment SET state = 'cancelling'")
        assert eventually(lambda: "cancelAction" in links(here))
        assert eventually(lambda: client.get(there + path).status_code == 503, within_s=60)
        assert links(there) == {}
        assert report(there, "deploymentBase", "while it knows") == 503
        assert [row for row in stored(pg_url) if row == "while it knows"] == []
        mend()
        assert eventually(lambda: "cancelAction" in links(there), within_s=60)
        for origin in (here, there):
            for about, step in (("cancelAction", "after it"), ("deploymentBase", "while it does not know")):
                assert eventually(lambda: report(origin, about, step) == 200)  # noqa: B023 - asked at once
    assert sorted(stored(pg_url)) == ["after it", "while it does not know"]


def stored(url: str) -> list[str]:
    return [row["step"] for row in rows(url, "SELECT body -> 'details' ->> 0 AS step FROM device_report")]
