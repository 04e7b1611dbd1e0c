"""A vehicle that falls back after it was confirmed counts for its campaign, whatever other campaigns told it since."""

from __future__ import annotations

from typing import Literal

import pytest

from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.store.manifests import ManifestResult
from ringroad.storage.db import Connection, transaction
from support.fleet import CountingIds, Story, add_vehicles, fill_programme, vin
from support.manifests import manifest_of

pytestmark = pytest.mark.engines

BOTH = ("brake", "head")
ME = vin(0)


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    return Story(conn, ids)


def _shows(story: Story, version: str, ecus: tuple[str, ...] = BOTH) -> ManifestResult:
    story.later(1)
    manifest = manifest_of(story.conn, ME, version, ecus)
    with transaction(story.conn):
        return store.apply_manifest(
            story.conn, story.ids, manifest=manifest, body=manifest.digest.encode(), now=story.now
        )


def _confirmed(story: Story) -> None:
    """A vehicle of a running campaign of 2.0.0 runs it."""
    add_vehicles(story.conn, range(2), gateway="native")
    story.start(waves=(2,), gate=GatePolicy(failed_permille_max=1, reports_min=2))
    story.tick()
    assert _shows(story, "2.0.0") is ManifestResult.INSTALLED


def _told_by_another(story: Story, release: str = "release_3.0.0") -> Story:
    """Another campaign offers it another release."""
    other = Story(story.conn, story.ids)
    other.now = story.now
    other.start(release=release, query=f"vin = {ME}", waves=())
    other.tick()
    assert [each.vin for each in other.vehicles("offered")] == [ME]
    return other


@pytest.mark.parametrize("told", ["offered", "cancelled", "failed"])
def test_a_vehicle_that_falls_back_is_counted_though_another_campaign_told_it_something_since(
    story: Story, told: Literal["offered", "cancelled", "failed"]
) -> None:
    _confirmed(story)
    other = _told_by_another(story)
    (action,) = other.vehicles("offered")
    if told == "cancelled":
        campaign = other.campaign()
        with transaction(other.conn):
            store.abort(
                other.conn, other.ids, campaign_id=campaign.id, generation=campaign.generation, actor="ann",
                reason="no", now=other.now,
            )  # fmt: skip
    if told != "offered":
        other.native(action, told.upper(), kind="closed")
        other.tick()
        assert [each.state for each in other.vehicles()] == [told]
    assert _shows(story, "1.0.0") is ManifestResult.FELL_BACK
    assert [each.vin for each in story.vehicles("rolled_back")] == [ME]
    story.tick()
    assert story.campaign().state is CampaignState.HALTED
    row = story.conn.execute("SELECT release_id FROM vehicle WHERE vin = %s", [ME]).fetchone()
    assert row == {"release_id": "release_1.0.0"}


def test_what_a_later_update_puts_on_a_vehicle_bit_by_bit_is_no_fall_back(story: Story) -> None:
    _confirmed(story)
    other = _told_by_another(story)
    assert _shows(story, "3.0.0", ("brake",)) is ManifestResult.RECORDED
    assert _shows(story, "3.0.0") is ManifestResult.INSTALLED
    assert [each.vin for each in story.vehicles("installed")] == [ME]
    assert [each.vin for each in other.vehicles("installed")] == [ME]


def test_a_vehicle_that_is_given_older_images_by_another_campaign_did_not_fall_back(story: Story) -> None:
    _confirmed(story)
    other = _told_by_another(story)
    story.conn.execute(  # as a release whose packages are older than what it replaces, allowed by a signed decision
        'UPDATE assignment SET packages = \'{"brake": "pkg_brake_1.0.0", "head": "pkg_head_3.0.0"}\''
        " WHERE campaign_id = %s",
        [other.campaign_id],
    )
    assert _shows(story, "1.0.0", ("brake",)) is ManifestResult.RECORDED
    assert [each.vin for each in story.vehicles("installed")] == [ME]
    assert _shows(story, "1.0.0", ("head",)) is ManifestResult.FELL_BACK
