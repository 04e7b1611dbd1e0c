"""An update that waits behind another one hides nothing of it, and takes no word that was not meant for it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ringroad.http.reading import assignments, vehicles
from ringroad.kernel.errors import Conflict
from ringroad.ship.store.schedules import give_consent
from ringroad.storage.db import Connection, transaction
from support.fleet import CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    return Story(conn, ids)


def test_a_campaign_that_waits_for_longer_does_not_hide_that_a_newer_one_failed(story: Story) -> None:
    add_vehicles(story.conn, range(2))
    story.start(waves=(1, 1))
    (waits,) = [each for each in story.vehicles() if each.wave == 2]
    failed = Story(story.conn, story.ids)
    failed.now = story.now + timedelta(minutes=10)
    failed.start(release="release_3.0.0", query=f"vin = '{waits.vin}'", waves=(), priority=5)
    failed.tick()
    (action,) = failed.vehicles("offered")
    failed.ddi(action, "closed", "failure", kind="closed")
    failed.later(5)
    failed.tick()
    assert [each.update_state for each in vehicles(story.conn, vin=waits.vin)] == ["failed"]
    assert [each.vin for each in vehicles(story.conn, state="failed")] == [waits.vin]
    assert waits.vin not in {each.vin for each in vehicles(story.conn, state="quiet")}
    assert [each.state for each in assignments(story.conn, vin=waits.vin)] == ["failed", "pending"]
    story.conn.execute(  # one that was approved since is newer than what failed
        "UPDATE campaign_plan SET approved_at = %s WHERE campaign_id = %s",
        [failed.now + timedelta(hours=1), story.campaign_id],
    )
    assert [each.update_state for each in vehicles(story.conn, vin=waits.vin)] == ["pending"]


def test_a_word_for_a_driver_is_not_taken_by_an_update_that_waits_behind_another(story: Story) -> None:
    add_vehicles(story.conn, range(1))
    story.start(waves=(1,), consent=True)
    story.tick()
    (first,) = story.vehicles("offered")
    story.conn.execute(  # it gave way, and the vehicle works on another one
        "UPDATE assignment SET state = 'pending' WHERE action_id = %s", [first.action_id]
    )
    other = Story(story.conn, story.ids)
    other.now = story.now
    other.start(release="release_3.0.0", waves=(1,), priority=5)
    other.tick()
    other.ddi(other.vehicles("offered")[0], "proceeding")
    other.later(5)
    other.tick()
    given = {"vin": first.vin, "agree": True, "actor": "cabs", "now": other.now}
    with pytest.raises(Conflict) as refused, transaction(story.conn):
        give_consent(story.conn, story.ids, **given)
    assert "asked about nothing" in refused.value.message
    story.conn.execute(
        "UPDATE assignment SET state = 'cancelled' WHERE campaign_id = %s", [other.campaign_id]
    )
    with transaction(story.conn):
        assert give_consent(story.conn, story.ids, **given) == first.action_id
