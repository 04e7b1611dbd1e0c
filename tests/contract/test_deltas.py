"""Deltas on the server: made for what vehicles run, proved, offered by the Director, served, and never swept."""

from __future__ import annotations

import errno
import hashlib
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.build import store_images
from ringroad.build.deltas.choose import AGAIN_FIRST, NO_DELTA_STATUS, Later
from ringroad.build.deltas.store import turn, wanted_deltas
from ringroad.build.sweep import UNNAMED_S_MIN
from ringroad.http.auth import Role
from ringroad.kernel.clock import Clock, SystemClock
from ringroad.kernel.facts import FactKind
from ringroad.loop.deltas import make_wanted
from ringroad.loop.reconciler import tick
from ringroad.protocol.delta.apply import rebuild
from ringroad.protocol.delta.pieces import ReadAt
from ringroad.storage.blobs import Blobs
from ringroad.storage.db import Connection, connect
from ringroad.trust.sign import DirectorTarget
from support.console_server import add_account
from support.console_server import serving as serving_console
from support.fleet import ECUS, CountingIds, Story, add_vehicles, fill_programme, sha
from support.gateways import FolderBlobs, serving

pytestmark = pytest.mark.engines
KINDS = {"brake": "hpatchlite", "head": "hdiff13"}  # in place and A/B


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs((tmp_path / "blobs").as_uri())


def image(ecu: str, version: str) -> bytes:
    draw = random.Random(ecu)
    content = bytearray(draw.randbytes(30_000))
    for number in range(int(version[0])):
        content[number * 900 : number * 900 + 3] = f"v{version[0]}!".encode()
    return bytes(content)


def real_images(
    conn: Connection, blobs: Blobs, *, lost: tuple[str, str] | None = None, noise: str = ""
) -> None:
    """Give the packages of `fill_programme` images with bytes; `noise`: an ECU whose new image is like nothing."""
    for ecu in ECUS:
        for version in ("1.0.0", "2.0.0"):
            content = image(ecu, version)
            if ecu == noise and version == "2.0.0":
                content = random.Random(9).randbytes(30_000)
            digest = hashlib.sha256(content).hexdigest()
            if (ecu, version) != lost:
                blobs.put([content])
            conn.execute(
                "UPDATE software_package SET image_sha256 = %s, image_sha512 = %s, image_bytes = %s"
                " WHERE image_sha256 = %s",
                [digest, hashlib.sha512(content).hexdigest(), len(content), sha(f"{ecu} {version}")],
            )
            conn.execute(
                "UPDATE ecu_installed SET image_sha256 = %s WHERE image_sha256 = %s",
                [digest, sha(f"{ecu} {version}")],
            )


def read(content: bytes) -> ReadAt:
    return lambda offset, size: content[offset : offset + size]


def make(
    conn: Connection, blobs: Blobs, ids: CountingIds, later: Later | None = None, clock: Clock | None = None
) -> int:
    clock = clock or SystemClock()
    conn.execute("UPDATE release SET signed_at = %s", [clock.now()])
    return make_wanted(conn, blobs, ids, clock, stop=threading.Event(), later=later or Later())


def rows(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute("SELECT * FROM image_delta ORDER BY ecu_class").fetchall()


def facts(conn: Connection, kind: FactKind) -> list[dict[str, Any]]:
    return conn.execute("SELECT * FROM fact WHERE kind = %s ORDER BY seq", [kind.value]).fetchall()


def world(conn: Connection, blobs: Blobs, **more: Any) -> CountingIds:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(4), gateway="native")
    real_images(conn, blobs, **more)
    return ids


def test_what_vehicles_run_gets_a_delta_to_what_a_release_brings_once(conn: Connection, blobs: Blobs) -> None:
    ids = world(conn, blobs)
    assert make(conn, blobs, ids) == 2
    for row in rows(conn):
        assert row["state"] == "ready"
        assert row["delta_bytes"] < 1_000
        base, delta = blobs.read_all(row["from_sha256"]), blobs.read_all(row["sha256"])
        pieces = rebuild(
            row["algorithm"], read(base), len(base), read(delta), len(delta), length=row["image_bytes"]
        )
        assert hashlib.sha256(b"".join(pieces)).hexdigest() == row["to_sha256"]
    assert {row["algorithm"] for row in rows(conn)} == set(KINDS.values())
    made = facts(conn, FactKind.DELTA_MADE)
    assert [fact["body"]["vehicles"] for fact in made] == [4, 4]
    assert all(fact["causes"] and fact["subject"] == "release_2.0.0" for fact in made)
    assert make(conn, blobs, ids) == 0  # nothing is wanted any more
    assert len(facts(conn, FactKind.DELTA_MADE)) == 2


def test_nothing_is_made_for_ddi_devices_for_older_images_and_for_releases_nobody_signed(
    conn: Connection, blobs: Blobs
) -> None:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(2), gateway="ddi")
    add_vehicles(conn, range(2, 4), gateway="native", version="2.0.0")
    real_images(conn, blobs)
    assert make(conn, blobs, ids) == 0
    conn.execute("UPDATE vehicle SET gateway = 'native'")
    conn.execute("UPDATE release SET state = 'checked' WHERE id = 'release_2.0.0'")
    assert make(conn, blobs, ids) == 0


def test_images_that_are_nothing_alike_or_gone_are_left_out_once_and_say_why(
    conn: Connection, blobs: Blobs
) -> None:
    ids = world(conn, blobs, lost=("brake", "1.0.0"), noise="head")
    assert make(conn, blobs, ids) == 2
    reasons = {row["ecu_class"]: row["reason"] for row in rows(conn)}
    assert "saves too little" in reasons["linux"]
    assert "no such blob" in reasons["mcu"]
    assert len(facts(conn, FactKind.DELTA_LEFT_OUT)) == 2
    assert make(conn, blobs, ids) == 0


class Ahead(SystemClock):
    """Ahead of the system's clock."""

    def now(self) -> datetime:
        return super().now() + AGAIN_FIRST


def test_a_maker_that_was_killed_is_tried_again_later(
    conn: Connection, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, later = world(conn, blobs), Later()
    with monkeypatch.context() as broken:
        broken.setattr("sys.executable", "/bin/false")
        assert make(conn, blobs, ids, later) == 0
    assert rows(conn) == []
    assert make(conn, blobs, ids, later) == 0  # not yet
    assert make(conn, blobs, ids, later, Ahead()) == 2
    assert {row["state"] for row in rows(conn)} == {"ready"}


def test_a_delta_that_does_not_give_the_image_is_left_out_for_good(
    conn: Connection, blobs: Blobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ids = world(conn, blobs)
    maker = tmp_path / "maker"
    maker.write_text(f"#!/bin/sh\nexit {NO_DELTA_STATUS}\n")
    maker.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(maker))
    assert make(conn, blobs, ids) == 2
    assert {row["reason"] for row in rows(conn)} == {"what was made does not give the new image"}


def test_no_room_for_one_pair_keeps_no_other_waiting(
    conn: Connection, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, later = world(conn, blobs), Later()
    first = hashlib.sha256(
        image(min(ECUS, key=lambda ecu: hashlib.sha256(image(ecu, "2.0.0")).hexdigest()), "2.0.0")
    ).hexdigest()
    whole = Blobs.read

    def full(self: Blobs, sha256: str, *args: Any, **more: Any) -> Iterator[bytes]:
        if sha256 == first:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, sha256, *args, **more)

    with monkeypatch.context() as broken:
        broken.setattr(Blobs, "read", full)
        assert make(conn, blobs, ids, later) == 1
    assert make(conn, blobs, ids, later, Ahead()) == 1
    assert [row["state"] for row in rows(conn)] == ["ready", "ready"]


def test_a_worker_that_is_told_to_stop_settles_nothing(conn: Connection, blobs: Blobs) -> None:
    ids = world(conn, blobs)
    stop = threading.Event()
    stop.set()
    assert make_wanted(conn, blobs, ids, SystemClock(), stop=stop, later=Later()) == 0
    assert not rows(conn)


def test_two_workers_never_make_deltas_at_once(conn: Connection, blobs: Blobs, pg_url: str) -> None:
    ids = world(conn, blobs)
    with closing(connect(pg_url)) as other, turn(other) as mine:
        assert mine
        assert make(conn, blobs, ids) == 0
    assert make(conn, blobs, ids) == 2


def offered(conn: Connection, ids: CountingIds) -> dict[str, list[str]]:
    """Start a campaign and return the algorithms offered, by ECU serial."""
    story = Story(conn, ids)
    story.now = SystemClock().now()
    story.start(waves=(4,))
    told: dict[str, list[str]] = {}

    def issue(
        conn: Connection, *, vin: str, targets: Sequence[DirectorTarget], vehicle_package: Any, now: Any
    ) -> None:
        for target in targets:
            told[target.serial] = [one.algorithm for one in target.ecu_target.deltas]

    tick(conn, ids, now=story.now, issue=issue)
    return told


def test_the_director_offers_each_ecu_the_delta_from_what_it_runs_and_plans_count_it(
    conn: Connection, blobs: Blobs
) -> None:
    ids = world(conn, blobs)
    story = Story(conn, ids)
    story.plan(waves=(4,))
    make(conn, blobs, ids)
    story.plan(waves=(4,))
    found = conn.execute(
        "SELECT p.id, max(r.install_bytes) AS install_bytes FROM campaign_resolution r"
        " JOIN campaign_plan p ON p.id = r.plan_id GROUP BY p.id, p.made_at ORDER BY p.id"
    ).fetchall()
    assert [row["install_bytes"] for row in found] == [
        60_000,
        sum(row["delta_bytes"] for row in rows(conn)),
    ]
    conn.execute("UPDATE ecu_installed SET image_sha256 = %s WHERE serial = 'head-1'", ["9" * 64])
    told = offered(conn, ids)
    assert told["brake-1"] == ["hpatchlite"]
    assert told["head-2"] == ["hdiff13"]
    assert told["head-1"] == []  # it runs something else by now


def test_without_deltas_the_director_offers_none(conn: Connection, blobs: Blobs) -> None:
    assert set(map(tuple, offered(conn, world(conn, blobs)).values())) == {()}


def test_a_delta_is_told_of_served_by_range_under_its_own_digest_and_never_swept(
    conn: Connection, blobs: Blobs, pg_url: str, tmp_path: Path
) -> None:
    ids = world(conn, blobs)
    now = SystemClock().now()
    assert {pair.state for pair in wanted_deltas(conn, now=now, release_id="release_2.0.0")} == {None}
    make(conn, blobs, ids)
    told = wanted_deltas(conn, now=now, release_id="release_2.0.0")
    assert {(pair.ecu, pair.state, pair.algorithm, pair.vehicles) for pair in told} == {
        (ecu, "ready", kind, 4) for ecu, kind in KINDS.items()
    }
    assert wanted_deltas(conn, now=now, release_id="release_1.0.0") == []
    row = rows(conn)[0]
    folder = tmp_path / "flat"  # as the gateways' tests keep their images
    folder.mkdir()
    (folder / row["sha256"]).write_bytes(blobs.read_all(row["sha256"]))
    with serving(pg_url, FolderBlobs(folder)) as origin, httpx.Client(timeout=60) as client:
        url = f"{origin}/uptane/v1/image/targets"
        whole = client.get(f"{url}/{row['sha256']}.delta").content
        assert hashlib.sha256(whole).hexdigest() == row["sha256"]
        part = client.get(f"{url}/{row['sha256']}.delta", headers={"Range": "bytes=10-"})
        assert (part.status_code, part.content) == (206, whole[10:])
        assert client.get(f"{url}/{row['to_sha256']}.delta").status_code == 404
        assert client.get(f"{url}/{'0' * 64}.delta").status_code == 404
    later = now + timedelta(seconds=UNNAMED_S_MIN * 2)
    assert not store_images.sweep_images(conn, blobs, now=later).unnamed
    assert blobs.exists(row["sha256"])


def test_the_api_says_what_became_of_each_delta(
    conn: Connection, blobs: Blobs, pg_url: str, tmp_path: Path
) -> None:
    ids = world(conn, blobs, noise="head")
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'vera', Role.VIEWER)}"}
    with (
        serving_console(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, headers=headers, timeout=60) as client,
    ):
        path = "/api/v1/releases/release_2.0.0/deltas"
        assert {each["state"] for each in client.get(path).json()} == {"wanted"}
        make(conn, blobs, ids)
        told = {each["ecu"]: each for each in client.get(path).json()}
        assert told["brake"]["state"] == "ready"
        assert told["brake"]["full_bytes"] == 4 * 30_000
        assert told["brake"]["saved_bytes"] == 4 * (30_000 - told["brake"]["delta_bytes"])
        assert (told["head"]["state"], told["head"]["saved_bytes"]) == ("left_out", 0)
        assert client.get("/api/v1/releases/release_9/deltas").status_code == 404
