"""Waves by calendar over a real database: a date and a gate, both must let a wave begin."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ringroad.kernel.facts import FactKind
from ringroad.ship import store
from ringroad.ship.gate import Advance, Halt
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import WaveSize
from ringroad.ship.replay import decide_again, word_of
from ringroad.storage.db import Connection
from support.fleet import CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines
DAY_S = 86_400


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(12))
    return Story(conn, ids)


def on_day(story: Story, day: int, vehicles: int) -> WaveSize:
    return WaveSize(vehicles=vehicles, not_before=story.now + timedelta(days=day))


def install(story: Story) -> int:
    offered = story.vehicles("offered")
    for action in offered:
        story.ddi(action, "closed", "success", kind="closed")
    return len(offered)


def newest(story: Story) -> tuple[str, str]:
    row = store.list_gate_decisions(story.conn, story.campaign_id)[0]
    return row["decision"], row["reason"]


def replays(story: Story) -> bool:
    rows = store.list_gate_decisions(story.conn, story.campaign_id)
    again = [decide_again(row["facts"], row["policy"], decided_at=row["decided_at"]) for row in rows]
    return [each and word_of(each) for each in again] == [(row["decision"], row["reason"]) for row in rows]


def test_a_good_wave_waits_for_the_date_of_the_next_and_no_report_grows_old_by_it(story: Story) -> None:
    story.start(waves=(4, on_day(story, 5, 4)))
    assert install(story) == 4
    story.later(60)
    until = f"{story.now + timedelta(days=5, seconds=-60):%Y-%m-%d %H:%M} UTC"
    assert story.tick().decisions == ()
    assert newest(story) == ("hold", f"before_its_time: {until}")
    story.later(3 * DAY_S)  # older than silence_s_max
    assert story.tick().decisions == ()
    assert story.campaign().state is CampaignState.RUNNING
    story.later(2 * DAY_S - 61)
    assert story.tick().decisions == ()
    assert newest(story) == ("hold", f"before_its_time: {until}")
    story.later(1)
    assert [decision for _, decision in story.tick().decisions] == [Advance()]
    assert (story.campaign().wave, len(story.vehicles("offered"))) == (2, 4)
    assert replays(story)


def test_a_date_opens_nothing_that_the_gate_does_not_open(story: Story) -> None:
    story.start(waves=(4, on_day(story, 1, 4)), vehicle_deadline_s=7 * DAY_S)
    story.later(DAY_S)
    assert story.tick().decisions == ()
    assert (newest(story), story.campaign().wave) == (("hold", "too_few_reports"), 1)


def test_harm_halts_before_the_date_of_the_next_wave(story: Story) -> None:
    story.start(waves=(4, on_day(story, 9, 4)))
    for action in story.vehicles("offered"):
        story.ddi(action, "closed", "failure", kind="closed")
    story.later(5)
    assert [decision for _, decision in story.tick().decisions] == [Halt("too_many_failures")]


def test_the_first_wave_begins_on_its_date(story: Story) -> None:
    story.start(waves=(on_day(story, 1, 4), 4))
    assert (story.campaign().state, story.campaign().wave) == (CampaignState.RUNNING, 0)
    story.tick()
    assert story.vehicles("offered") == []
    assert newest(story)[1].startswith("before_its_time: ")
    assert story.facts(FactKind.CAMPAIGN_WAVE_STARTED) == 0
    story.later(DAY_S)
    assert [decision for _, decision in story.tick().decisions] == [Advance("its_time_came")]
    assert (story.campaign().wave, install(story)) == (1, 4)
    story.later(5)
    story.tick()
    assert story.campaign().wave == 2
    assert replays(story)


def test_a_release_that_is_withdrawn_before_the_first_date_halts(story: Story) -> None:
    story.start(waves=(on_day(story, 1, 4),))
    story.conn.execute("UPDATE release SET state = 'withdrawn' WHERE id = 'release_2.0.0'")
    assert [decision for _, decision in story.tick().decisions] == [Halt("release_withdrawn")]
