"""A native vehicle through a campaign with real keys: signed bundle out, signed manifest in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from psycopg.types.json import Jsonb

from ringroad.build.repository.store import (
    OnlineSigners,
    accept_image_targets,
    install_roots,
    pending_targets,
    read_metadata,
)
from ringroad.kernel.errors import Untrusted
from ringroad.loop.bundles import signing_with
from ringroad.loop.manifests import accept_manifest
from ringroad.loop.reconciler import tick
from ringroad.ship import store
from ringroad.ship.model import CampaignState
from ringroad.storage.db import Connection, connect, transaction
from ringroad.trust import sign
from ringroad.trust.keys import public_key_dict
from ringroad.trust.manifest import build_ecu_report, build_manifest
from support.fleet import T0, CountingIds, Story, add_vehicles, fill_programme, vin, wait_for_locks
from support.uptane import Repo, seeded

pytestmark = pytest.mark.engines
IMAGE, DIRECTOR = Repo("image"), Repo("director", vin=vin(0))
SIGNERS = OnlineSigners(
    image_snapshot=IMAGE.signers("snapshot")[0],
    image_timestamp=IMAGE.signers("timestamp")[0],
    director_targets=DIRECTOR.signers("targets")[0],
    director_snapshot=DIRECTOR.signers("snapshot")[0],
    director_timestamp=DIRECTOR.signers("timestamp")[0],
)


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        yield opened


def publish(conn: Connection, *releases: str) -> None:
    expires = T0 + timedelta(days=400)
    with transaction(conn):
        install_roots(
            conn, image_root=IMAGE.put_root(1, expires=expires), director_root=DIRECTOR.put_root(1, expires=expires),
            now=T0,
        )  # fmt: skip
    images = [
        sign.ImageTarget(
            filename=package.filename, length=package.image_bytes, sha256=package.image_sha256,
            sha512=package.image_sha512, hardware_ids=package.hardware_ids, release_counter=package.release_counter,
        )
        for release in releases or ["release_2.0.0"]
        for package in store.read_release(conn, release).variants["city"].values()
    ]  # fmt: skip
    payload = pending_targets(conn, packages=images, now=T0)
    assert payload is not None
    accept_image_targets(conn, SIGNERS, sign.add_signatures(payload, IMAGE.signers("targets")), now=T0)


def told(conn: Connection, order: int = 1) -> Any:
    """What the Director listed for the vehicle at its so-manieth order."""
    raw = read_metadata(conn, repository="director", vin=vin(0), filename=f"{order}.targets.json")
    return msgspec.json.decode(raw)


def manifest(conn: Connection, *, counter: int, at: datetime = T0, order: int = 1) -> bytes:
    """What the vehicle signs after installing everything the Director listed."""
    listed = {
        serial: (name, target["length"], target["hashes"]["sha256"], target["hashes"]["sha512"])
        for name, target in told(conn, order)["signed"]["targets"].items()
        for serial in target["custom"]["ecus"]
    }
    with transaction(conn):
        runs = {ecu.serial: ecu for ecu in store.read_vehicle(conn, vin(0)).ecus.values()}
    for serial, ecu in runs.items():  # the others run on
        listed.setdefault(serial, (ecu.filename or "", 1_000, ecu.image_sha256 or "", "0" * 128))
    reports = [
        build_ecu_report(
            seeded(serial), serial=serial, filename=name, length=length, sha256=sha256, sha512=sha512, latest_time=at,
            counter=counter,
        )
        for serial, (name, length, sha256, sha512) in sorted(listed.items())
    ]  # fmt: skip
    return build_manifest(seeded("head-0"), vin=vin(0), primary_serial="head-0", reports=reports)


def test_a_native_vehicle_is_updated_by_signed_bundle_and_signed_manifest(conn: Connection) -> None:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(1), gateway="native")
    for serial in ("head-0", "brake-0"):
        conn.execute(
            "UPDATE ecu SET public_key = %s WHERE serial = %s",
            [Jsonb(public_key_dict(seeded(serial))), serial],
        )
    publish(conn)
    story = Story(conn, ids)
    story.start(waves=(1,))
    assert tick(conn, ids, now=story.now, issue=signing_with(SIGNERS)).bundles == 1
    (action,) = story.vehicles("offered")
    accept = partial(accept_manifest, ids)
    raw = manifest(conn, counter=1)
    forged = raw.replace(b'"counter":1', b'"counter":2')
    with pytest.raises(Untrusted):
        accept(conn, action.vin, forged, story.now)
    assert story.vehicles("installed") == []
    for _ in range(2):  # the answer was lost, the vehicle sends it again
        accept(conn, action.vin, raw, story.now)
    assert [one.vin for one in story.vehicles("installed")] == [vin(0)]
    story.later(1)
    tick(conn, ids, now=story.now, issue=signing_with(SIGNERS))
    assert story.campaign().state is CampaignState.FINISHED


def test_of_two_manifests_at_once_with_one_counter_one_is_a_replay(conn: Connection, pg_url: str) -> None:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(1), gateway="native")
    for serial in ("head-0", "brake-0"):
        conn.execute(
            "UPDATE ecu SET public_key = %s WHERE serial = %s",
            [Jsonb(public_key_dict(seeded(serial))), serial],
        )
    publish(conn)
    story = Story(conn, ids)
    story.start(waves=(1,))
    tick(conn, ids, now=story.now, issue=signing_with(SIGNERS))
    both = [manifest(conn, counter=1, at=T0), manifest(conn, counter=1, at=T0 - timedelta(seconds=1))]
    refused: list[str] = []

    def send(raw: bytes) -> None:
        with closing(connect(pg_url)) as other:
            try:
                accept_manifest(ids, other, vin(0), raw, story.now)
            except Untrusted as error:
                refused.append(error.code)

    threads = [threading.Thread(target=send, args=(raw,)) for raw in both]
    with transaction(conn):  # holds both up at the vehicle
        conn.execute("SELECT 1 FROM vehicle FOR UPDATE")
        for thread in threads:
            thread.start()
        wait_for_locks(conn, 2)
    for thread in threads:
        thread.join(60)
    assert refused == ["replay"]
    row = conn.execute("SELECT count(*) AS n FROM vehicle_manifest").fetchone()
    assert row == {"n": 1}


def test_a_vehicle_whose_image_is_not_published_is_refused_with_the_reason(conn: Connection) -> None:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(1), gateway="native")
    publish(conn)
    conn.execute("UPDATE software_package SET image_sha512 = repeat('0', 128) WHERE id = 'pkg_brake_2.0.0'")
    story = Story(conn, ids)
    story.start(waves=(1,))
    tick(conn, ids, now=story.now, issue=signing_with(SIGNERS))
    (action,) = story.vehicles()
    assert action.state == "failed"
    assert action.state_detail.startswith("not signable: ")


def test_a_vehicle_returns_to_what_each_of_its_ecus_ran_though_the_release_before_held_one_of_them(
    conn: Connection,
) -> None:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    conn.execute("UPDATE software_package SET release_counter = 3")
    conn.execute(  # the second release holds one ECU of two
        "UPDATE release SET document = jsonb_set(document, '{variants}', document #- '{variants,city,brake}'"
        " #- '{variants,premium,brake}' -> 'variants') WHERE version = '2.0.0'"
    )
    add_vehicles(conn, range(1), gateway="native")
    for serial in ("head-0", "brake-0"):
        conn.execute(
            "UPDATE ecu SET public_key = %s WHERE serial = %s",
            [Jsonb(public_key_dict(seeded(serial))), serial],
        )
    publish(conn, "release_1.0.0", "release_2.0.0", "release_3.0.0")
    story = Story(conn, ids)

    def round_(order: int) -> None:
        story.later(60)
        tick(conn, ids, now=story.now, issue=signing_with(SIGNERS))
        accept_manifest(
            ids, conn, vin(0), manifest(conn, counter=order, at=story.now, order=order), story.now
        )

    story.start(waves=(1,))
    round_(1)
    story.later(60)
    tick(conn, ids, now=story.now, issue=signing_with(SIGNERS))
    assert story.campaign().state is CampaignState.FINISHED
    story.start(release="release_3.0.0", waves=(1,))
    round_(2)
    with transaction(conn):
        store.abort(
            conn, ids, campaign_id=story.campaign_id, generation=story.campaign().generation, actor="ann",
            reason="brakes squeal", now=story.now,
        )  # fmt: skip
    with transaction(conn):
        plan = store.read_return_plan(conn, story.campaign_id)
        assert (plan.to, plan.cannot) == ({"2.0.0": 1}, {})
        assert plan.packages == {"brake 1.0.0": 1, "head 2.0.0": 1}
        store.order_returns(
            conn, ids, campaign_id=story.campaign_id, sha256=plan.sha256, actor="ben", now=story.now
        )
    round_(3)
    order = told(conn, 3)["signed"]
    assert sorted(order["targets"]) == ["brake-1.0.0.bin", "head-2.0.0.bin"]
    assert order["vehicle_package"]["rollback"] is True
    (back,) = story.vehicles(kind="rollback")
    assert (back.state, back.release_id) == ("installed", "release_2.0.0")
    with transaction(conn):
        vehicle = store.read_vehicle(conn, vin(0))
    assert vehicle.release_id == "release_2.0.0"
    assert {name: ecu.version for name, ecu in vehicle.ecus.items()} == {"brake": "1.0.0", "head": "2.0.0"}
