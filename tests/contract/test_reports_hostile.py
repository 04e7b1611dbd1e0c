"""Vehicles that speak about others, or whose clocks were never set, change neither outcomes nor lead times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ringroad.kernel.facts import FactKind
from ringroad.ship import store
from ringroad.storage.db import Connection, transaction
from ringroad.storage.ledger import read_facts
from support.fleet import CountingIds, Story, add_vehicles, fill_programme
from support.manifests import manifest_of

pytestmark = pytest.mark.engines


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0"))
    return Story(conn, ids)


def test_anothers_word_does_not_deny_what_a_manifest_shows(story: Story) -> None:
    add_vehicles(story.conn, range(2), gateway="native")
    story.start(waves=(2,))
    story.tick()
    mine, other = story.vehicles("offered")
    other.action_id = mine.action_id  # a vehicle that reports a failure of somebody else's action
    story.native(other, "ROLLED_BACK", kind="closed")
    story.tick()
    with transaction(story.conn):
        result = store.apply_manifest(
            story.conn, story.ids, manifest=manifest_of(story.conn, mine.vin, "2.0.0", ("brake", "head")),
            body=b"{}", now=story.now,
        )  # fmt: skip
    assert result.value == "installed"
    assert [action.vin for action in story.vehicles("installed")] == [mine.vin]


def test_an_unset_clock_does_not_lengthen_a_lap(story: Story) -> None:
    add_vehicles(story.conn, range(1))
    story.start(waves=(1,))
    (action,) = story.vehicles("offered")
    story.later(60)
    story.ddi(action, "closed", "success", kind="closed")
    story.conn.execute("UPDATE device_report SET event_at = %s", [datetime(1970, 1, 2, tzinfo=UTC)])
    story.tick()
    (updated,) = [fact for fact in read_facts(story.conn) if fact.kind is FactKind.VEHICLE_UPDATED]
    assert updated.event_at >= action.offered_at
    assert updated.work_started_at == action.offered_at
