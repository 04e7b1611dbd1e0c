"""A campaign that runs with a release which does harm in another one does not go on as if nobody knew."""

from __future__ import annotations

from typing import Any

import pytest

from ringroad.cli.campaign_text import next_text
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.ship import store
from ringroad.ship.gate import Pause
from ringroad.ship.model import CampaignState
from ringroad.ship.replay import decide_again
from ringroad.storage.db import Connection, transaction
from support.fleet import CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(4))
    return Story(conn, ids)


def halted_elsewhere(story: Story, reason: str) -> str:
    """Start a campaign on the premium half while that of the city half runs, and halt it; return its name and id."""
    other = Story(story.conn, story.ids)
    other.now = story.now
    other.start(query="variant = premium", waves=(1,))
    other.later(5)
    with transaction(story.conn):
        store.halt(story.conn, story.ids, other.campaign(), actor="gate", reason=reason, now=other.now)
    story.now = other.now
    return f"fix ({other.campaign_id})"


def test_it_pauses_and_says_which_and_a_plan_that_names_the_harm_goes_on(story: Story) -> None:
    story.start(query="variant = city", waves=(1,))
    assert len(story.vehicles("offered")) == 1
    which = halted_elsewhere(story, "worse_than_control: fault")
    expected = Pause(f"release_harmed_elsewhere: {which}")
    assert [decision for _, decision in story.tick().decisions] == [expected]
    campaign = story.campaign()
    assert (campaign.state, campaign.state_reason) == (CampaignState.PAUSED, expected.reason)
    assert story.vehicles("offered") == []
    row = store.list_gate_decisions(story.conn, story.campaign_id)[0]
    assert decide_again(row["facts"], row["policy"], decided_at=row["decided_at"]) == expected
    told = {"id": campaign.id, "state": "paused", "state_reason": expected.reason, "failed": 0}
    assert "plan another campaign" in next_text(told, None)
    given: dict[str, Any] = {"campaign_id": campaign.id, "generation": campaign.generation, "now": story.now}
    with pytest.raises(Conflict, match="has halted campaign fix"), transaction(story.conn):
        store.resume(story.conn, story.ids, actor="ben", **given)
    with transaction(story.conn):
        store.abort(story.conn, story.ids, actor="ben", reason="look at it", **given)
    story.start(query="variant = city", waves=(1,))  # its plan names the harm, and somebody accepts it
    story.tick()
    assert story.campaign().state is CampaignState.RUNNING


def test_a_withdrawn_release_says_nothing_of_its_software_elsewhere(story: Story) -> None:
    story.start(query="variant = city", waves=(1,))
    halted_elsewhere(story, "release_withdrawn")
    story.tick()
    assert story.campaign().state is CampaignState.RUNNING


def test_a_person_does_not_give_the_reason_of_the_gate(story: Story) -> None:
    story.start(query="variant = city", waves=(1,))
    with pytest.raises(InvalidInput, match="reason of the gate"), transaction(story.conn):
        store.pause(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation, actor="ann",
            reason="release_harmed_elsewhere: fix", now=story.now,
        )  # fmt: skip


def test_who_resumes_a_campaign_that_its_gate_halted_is_told_what_can_be_done(story: Story) -> None:
    story.start(query="variant = city", waves=(1,))
    with transaction(story.conn):
        story.later(5)
        store.halt(
            story.conn, story.ids, story.campaign(), actor="gate", reason="too_many_failures", now=story.now
        )
    halted = story.campaign()
    with (
        pytest.raises(Conflict, match="is halted, it cannot become running") as refused,
        transaction(story.conn),
    ):
        store.resume(
            story.conn,
            story.ids,
            campaign_id=halted.id,
            generation=halted.generation,
            actor="ben",
            now=story.now,
        )
    assert (refused.value.code, refused.value.hint) == (
        "campaign_state", "it does not come back: plan another campaign",
    )  # fmt: skip
