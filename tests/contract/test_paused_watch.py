"""A campaign that a person paused is watched on, and its reports do not grow old by the pause."""

from __future__ import annotations

from typing import Any

import pytest

from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.replay import decide_again, word_of
from ringroad.storage.db import Connection, transaction
from support.fleet import CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines

DAY_S = 86_400


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(12))
    return Story(conn, ids)


def _given(story: Story) -> dict[str, Any]:
    now = story.campaign()
    return {"campaign_id": now.id, "generation": now.generation, "actor": "ann", "now": story.now}


def _pause(story: Story) -> None:
    with transaction(story.conn):
        store.pause(story.conn, story.ids, reason="smoke", **_given(story))


def test_a_campaign_that_a_person_paused_halts_on_harm_and_nothing_good_is_decided(story: Story) -> None:
    story.start(waves=(6,), rollback_installed=True)
    offered = story.vehicles("offered")
    for action in offered:
        story.ddi(action, "proceeding")
    story.later(1)
    story.tick()
    _pause(story)
    story.tick()
    assert story.campaign().state is CampaignState.PAUSED
    for action in offered:
        story.ddi(action, "closed", "failure", kind="closed")
    story.later(1)
    story.tick()
    assert (story.campaign().state, story.campaign().state_reason) == (
        CampaignState.HALTED,
        "too_many_failures",
    )


def test_the_time_of_a_pause_does_not_make_reports_old(story: Story) -> None:
    policy = GatePolicy(failed_permille_max=100, reports_min=4, soak_s=3_600, silence_s_max=DAY_S)
    story.start(waves=(4,), gate=policy)
    for action in story.vehicles("offered"):
        story.ddi(action, "closed", "success", kind="closed")
    story.later(60)
    story.tick()
    _pause(story)
    story.later(2 * DAY_S)
    with transaction(story.conn):
        store.resume(story.conn, story.ids, **_given(story))
    story.tick()
    assert (story.campaign().state, story.campaign().wave) == (CampaignState.RUNNING, 2)
    good = store.list_gate_decisions(story.conn, story.campaign_id)[0]
    assert (good["decision"], good["facts"]["wave"]["paused_s"]) == ("advance", 2 * DAY_S)
    again = decide_again(good["facts"], good["policy"], decided_at=good["decided_at"])
    assert again is not None
    assert word_of(again) == (good["decision"], good["reason"])


def test_reports_that_are_too_old_without_the_pause_are_too_old_with_it(story: Story) -> None:
    policy = GatePolicy(failed_permille_max=100, reports_min=4, silence_s_max=600, soak_s=7_000)
    story.start(waves=(4,), gate=policy)
    for action in story.vehicles("offered"):
        story.ddi(action, "closed", "success", kind="closed")
    story.tick()
    _pause(story)
    story.later(6_000)
    with transaction(story.conn):
        store.resume(story.conn, story.ids, **_given(story))
    story.later(1_200)
    story.tick()
    assert story.campaign().state_reason == "evidence_too_old_for_good"
