"""A package with the bytes of an older one: the vehicle leaves its ECU out, and tells the older file's name."""

from __future__ import annotations

import pytest

from ringroad.adapt.store import read_recovery
from ringroad.ship import store
from ringroad.ship.store.manifests import ManifestResult
from ringroad.storage.db import Connection, transaction
from support.fleet import CountingIds, Story, add_vehicles, fill_programme, sha, vin
from support.manifests import manifest_of

pytestmark = pytest.mark.engines

ME = vin(0)


def _story(conn: Connection, *, counter: int) -> Story:
    """A native vehicle is offered 2.0.0, whose package for the head has the bytes that it runs, and this counter."""
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, [0], gateway="native")
    same = sha("head 2.0.0")
    conn.execute("UPDATE software_package SET image_sha256 = %s WHERE ecu = 'head'", [same])
    conn.execute("UPDATE software_package SET release_counter = %s WHERE id = 'pkg_head_2.0.0'", [counter])
    conn.execute("UPDATE ecu_installed SET image_sha256 = %s WHERE filename = 'head-1.0.0.bin'", [same])
    story = Story(conn, ids)
    story.start(waves=(1,))
    story.tick()
    assert [each.vin for each in story.vehicles("offered")] == [ME]
    return story


def _shows(story: Story, version: str, *ecus: str) -> ManifestResult:
    """The vehicle tells `version` of these ECUs; of the others the file and the bytes that it told before."""
    story.later(1)
    manifest = manifest_of(story.conn, ME, version, ecus)
    with transaction(story.conn):
        return store.apply_manifest(
            story.conn, story.ids, manifest=manifest, body=manifest.digest.encode(), now=story.now
        )


def test_an_update_is_confirmed_where_an_ecu_ran_the_bytes_already_under_an_older_name(
    conn: Connection,
) -> None:
    story = _story(conn, counter=1)
    assert _shows(story, "2.0.0", "brake") is ManifestResult.INSTALLED
    assert [each.vin for each in story.vehicles("installed")] == [ME]
    row = conn.execute("SELECT release_id FROM vehicle WHERE vin = %s", [ME]).fetchone()
    assert row == {"release_id": "release_2.0.0"}


def test_a_vehicle_whose_other_ecu_goes_back_fell_back(conn: Connection) -> None:
    story = _story(conn, counter=1)
    assert _shows(story, "2.0.0", "brake") is ManifestResult.INSTALLED
    assert _shows(story, "1.0.0", "brake") is ManifestResult.FELL_BACK


def test_an_ecu_that_has_a_higher_counter_to_commit_over_the_same_bytes_is_awaited(conn: Connection) -> None:
    story = _story(conn, counter=2)
    assert _shows(story, "2.0.0", "brake") is ManifestResult.RECORDED
    assert [each.vin for each in story.vehicles("offered")] == [ME]
    assert _shows(story, "2.0.0", "head") is ManifestResult.INSTALLED


def test_a_confirmed_vehicle_that_tells_another_name_of_the_same_bytes_did_not_fall_back(
    conn: Connection,
) -> None:
    story = _story(conn, counter=2)
    assert _shows(story, "2.0.0", "brake", "head") is ManifestResult.INSTALLED
    conn.execute("UPDATE ecu_installed SET filename = 'head-1.0.0.bin' WHERE filename = 'head-2.0.0.bin'")
    assert _shows(story, "2.0.0", "brake") is ManifestResult.RECORDED
    assert [each.vin for each in story.vehicles("installed")] == [ME]


def test_a_late_vehicle_that_shows_all_bytes_of_a_stopped_release_runs_it(conn: Connection) -> None:
    story = _story(conn, counter=1)
    conn.execute("UPDATE assignment SET state = 'expired', began_at = %s, finished_at = %s", [story.now] * 2)
    conn.execute("UPDATE campaign SET state = 'aborted'")
    assert _shows(story, "1.0.0", "brake") is ManifestResult.RECORDED
    assert read_recovery(conn, story.campaign_id).recovered == 1
    assert _shows(story, "2.0.0", "brake") is ManifestResult.RECORDED
    assert read_recovery(conn, story.campaign_id).kept == 1
