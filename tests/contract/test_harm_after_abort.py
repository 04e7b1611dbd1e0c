"""What a campaign's vehicles say after it was aborted is not forgotten."""

from __future__ import annotations

import pytest

from ringroad.kernel.errors import Conflict
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import SequentialPolicy
from ringroad.ship.plan import WaveSize
from ringroad.storage.db import Connection, transaction
from support.fleet import CountingIds, Story, add_vehicles, fill_programme, vin

pytestmark = pytest.mark.engines

CODE = "release_halted_before"


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(60))
    return Story(conn, ids)


def _abort(story: Story) -> None:
    now = story.campaign()
    with transaction(story.conn):
        store.abort(
            story.conn, story.ids, campaign_id=now.id, generation=now.generation, actor="ann", reason="cars fail",
            now=story.now,
        )  # fmt: skip


def _codes(story: Story) -> list[str]:
    return [each["code"] for each in story.plan().findings]


@pytest.mark.parametrize("told", ["before", "after"])
def test_failures_that_are_counted_after_the_abort_are_harm_of_the_release(story: Story, told: str) -> None:
    story.start(waves=(6,))
    offered = story.vehicles("offered")
    for action in offered:
        story.ddi(action, "proceeding")
    story.later(1)
    story.tick()
    if told == "after":
        _abort(story)
    elsewhere = Story(story.conn, story.ids)
    elsewhere.now = story.now
    planned = elsewhere.plan(query=f"vin = {vin(59)}", waves=())
    assert CODE not in [each["code"] for each in planned.findings]
    story.later(1)
    for action in offered:
        story.ddi(action, "closed", "failure", kind="closed")
    if told == "before":
        _abort(story)
    story.later(60)
    story.tick()
    assert CODE in _codes(story)
    if told == "after":  # before, the campaign was open as the other was planned, which blocks that
        with pytest.raises(Conflict, match="did harm in campaign fix"):
            elsewhere.approve_and_start()


def test_few_outcomes_that_were_failures_are_harm_of_a_compared_campaign_that_a_person_ended(
    story: Story,
) -> None:
    gate = GatePolicy(reports_min=2, sequential=SequentialPolicy())
    story.start(waves=(2,), gate=gate, control=WaveSize(vehicles=20))
    for action in story.vehicles("offered"):
        story.ddi(action, "closed", "failure", kind="closed")
    story.later(1)
    story.tick()
    assert story.campaign().state == "running"
    _abort(story)
    assert CODE in _codes(story)


def test_one_failure_among_many_outcomes_is_no_harm_of_a_campaign_that_a_person_ended(story: Story) -> None:
    story.start(waves=(8,), gate=GatePolicy(failed_permille_max=200, reports_min=2))
    failed, *fine = story.vehicles("offered")
    story.ddi(failed, "closed", "failure", kind="closed")
    for action in fine:
        story.ddi(action, "closed", "success", kind="closed")
    _abort(story)
    story.later(1)
    story.tick()
    assert CODE not in _codes(story)


def test_harm_of_few_outcomes_says_why_and_is_accepted_by_name_once(story: Story) -> None:
    """Vehicles of the aborted campaign that answer after the plan was made do not refuse it anew."""
    story.start(waves=(5,))
    offered = story.vehicles("offered")
    for action in offered:
        story.ddi(action, "proceeding")
    story.later(1)
    story.tick()
    _abort(story)
    aborted = story.campaign()
    for action, result in zip(offered, ("failure", "success", "success"), strict=False):
        story.ddi(action, "closed", result, kind="closed")
    story.later(1)
    story.tick()
    planned = story.plan(query=f"vin = {vin(59)}", waves=())
    (found,) = [each for each in planned.findings if each["code"] == CODE]
    assert f"did harm in campaign fix ({aborted.id}), aborted" in found["message"]
    assert found["message"].endswith("too many failures")
    story.later(60)
    story.ddi(offered[3], "closed", "failure", kind="closed")
    story.tick()
    story.approve_and_start()
    assert story.campaign().state == "running"


@pytest.mark.parametrize("began", [True, False])
def test_a_vehicle_that_began_to_install_and_is_silent_after_the_abort_is_harm(
    story: Story, *, began: bool
) -> None:
    """An abort asks a vehicle to cancel, which it answers; what it does to an ECU is not undone by the question."""
    story.start(waves=(2,))
    for action in story.vehicles("offered"):
        story.ddi(action, "proceeding" if began else "download")
    story.later(1)
    story.tick()
    _abort(story)
    story.later(8 * 86_400)
    story.tick()
    assert {each.state for each in story.vehicles()} >= {"expired"}
    assert (CODE in _codes(story)) == began
