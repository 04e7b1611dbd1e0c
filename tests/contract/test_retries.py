"""Vehicles that are tried again: each attempt has a number and a fact, and the gate counts a vehicle once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from ringroad.kernel.facts import FactKind
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.retry import RetryPolicy
from ringroad.storage.db import Connection, transaction
from ringroad.storage.ledger import read_facts
from support.fleet import CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines
POLICY = RetryPolicy(attempts_max=3, first_s=600, last_s=900)
STRICT = GatePolicy(failed_permille_max=0, reports_min=1, silence_s_max=86_400)


def begin(conn: Connection, *, gateway: str = "native", **more: Any) -> Story:
    """A campaign of two vehicles, both offered."""
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(2), gateway=gateway)
    story = Story(conn, ids)
    story.start(waves=(), gate=STRICT, **{"retry": POLICY, **more})
    story.tick()
    return story


def fail(story: Story, code: str = "offline") -> None:
    """The first vehicle ends its attempt with nothing installed."""
    action = story.vehicles()[0]
    story.report(action, {"gateway": "native", "state": "FAILED", "code": code}, kind="closed")
    story.later(5)
    story.tick()


def test_a_failure_that_may_pass_is_tried_again_later_under_another_number(conn: Connection) -> None:
    story = begin(conn)
    first = story.vehicles()[0]
    fail(story)
    waiting = story.vehicles()[0]
    assert (waiting.state, waiting.attempt) == ("pending", 2)
    assert waiting.action_id > first.action_id
    assert timedelta(seconds=300) <= waiting.not_before - story.now <= timedelta(seconds=600)
    assert waiting.state_detail.startswith("attempt 1 failed, again from ")
    assert story.campaign().state is CampaignState.RUNNING  # the gate would halt at one failure
    story.tick()
    assert story.vehicles()[0].state == "pending"
    story.later(601)
    story.tick()
    offered = story.vehicles()[0]
    assert (offered.state, offered.action_id) == ("offered", waiting.action_id)
    assert story.issued[-1]["vehicle_package"].action_id == waiting.action_id
    (fact,) = [fact for fact in read_facts(conn) if fact.kind is FactKind.VEHICLE_ATTEMPT_FAILED]
    assert fact.subject == first.vin
    assert fact.body["attempt"] == 1
    assert fact.body["reason"] == "network"
    assert (fact.body["action_id"], fact.body["next_action_id"]) == (first.action_id, waiting.action_id)
    assert fact.causes


def test_after_the_last_attempt_it_counts_as_failed_once(conn: Connection) -> None:
    story = begin(conn)
    for _ in range(3):
        assert story.vehicles()[0].state == "offered"
        fail(story)
        story.later(901)
        story.tick()
    ended = story.vehicles()[0]
    assert (ended.state, ended.attempt) == ("failed", 3)
    assert story.campaign().state is CampaignState.HALTED
    assert story.facts(FactKind.VEHICLE_ATTEMPT_FAILED) == 2
    assert story.facts(FactKind.VEHICLE_UPDATE_FAILED) == 1


@pytest.mark.parametrize("code", ["hash_mismatch", "", "wrong_hardware", "offline;"])
def test_a_failure_that_will_not_pass_counts_at_once(conn: Connection, code: str) -> None:
    story = begin(conn)
    fail(story, code)
    assert (story.vehicles()[0].state, story.campaign().state) == ("failed", CampaignState.HALTED)


@pytest.mark.parametrize("folded", [False, True])
def test_a_failure_after_it_had_begun_counts_at_once(conn: Connection, *, folded: bool) -> None:
    story = begin(conn)
    story.native(story.vehicles()[0], "INSTALLING")
    if folded:
        story.tick()
    fail(story)
    assert (story.vehicles()[0].state, story.campaign().state) == ("failed", CampaignState.HALTED)


def proceed_and_fail(story: Story, *, fetched: bool = False, success: bool = False) -> None:
    """What SWUpdate does: it says that it proceeds, downloads and installs at once, and that this failed."""
    (action, *_) = story.vehicles("offered")
    story.ddi(action, "proceeding")
    if fetched:  # by the gateway, before it handed out the last byte
        story.report(action, {"gateway": "ddi"}, kind="fetched", key=f"fetched:{action.action_id}")
    if success:
        story.ddi(action, "closed", "success", kind="closed")
    story.tick()
    story.ddi(action, "closed", "failure", kind="closed", key=f"failed {action.action_id}")
    story.later(5)
    story.tick()


def keep_old(conn: Connection, *, success: str = "after_restart") -> None:
    """Let the plan's vehicles have two banks each."""
    rule = {"success": success, "attributes": {}, "keeps_old": True}
    conn.execute(
        "UPDATE campaign_plan SET document = jsonb_set(document, '{success}', %s)",
        [Jsonb({"city": rule, "premium": rule})],
    )


def test_a_download_that_failed_is_tried_again_though_the_client_said_that_it_proceeds(
    conn: Connection,
) -> None:
    story = begin(conn, gateway="ddi")
    keep_old(conn)
    proceed_and_fail(story)
    waiting = next(one for one in story.vehicles() if one.attempt == 2)
    assert (waiting.state, waiting.began_at) == ("pending", None)
    assert story.campaign().state is CampaignState.RUNNING
    (fact,) = [fact for fact in read_facts(conn) if fact.kind is FactKind.VEHICLE_ATTEMPT_FAILED]
    assert fact.body["reason"] == "network"


@pytest.mark.parametrize("why", ["fetched", "in place", "claimed"])
def test_a_failure_with_the_image_whole_or_without_a_second_bank_or_after_a_claim_counts_at_once(
    conn: Connection, why: str
) -> None:
    story = begin(conn, gateway="ddi")
    if why != "in place":
        keep_old(conn, success="stated" if why == "claimed" else "after_restart")
    proceed_and_fail(story, fetched=why == "fetched", success=why == "claimed")
    assert [one.state for one in story.vehicles() if one.state == "failed"] == ["failed"]
    assert story.campaign().state is CampaignState.HALTED


@pytest.mark.parametrize(("urgency", "states"), [("forced", ["failed"]), ("download_only", [])])
def test_a_client_that_says_nothing_until_it_failed_may_have_installed_the_whole_image(
    conn: Connection, urgency: str, states: list[str]
) -> None:
    story = begin(conn, gateway="ddi", urgency=urgency)
    keep_old(conn)
    (action, *_) = story.vehicles("offered")
    story.report(action, {"gateway": "ddi"}, kind="fetched", key=f"fetched:{action.action_id}")
    story.ddi(action, "closed", "failure", kind="closed")
    story.later(5)
    story.tick()
    assert [one.state for one in story.vehicles("failed")] == states
    assert story.facts(FactKind.VEHICLE_ATTEMPT_FAILED) == (not states)


def test_an_image_that_an_earlier_attempt_fetched_may_be_what_failed(conn: Connection) -> None:
    story = begin(conn, gateway="ddi")
    keep_old(conn)
    (action, *_) = story.vehicles("offered")
    story.ddi(action, "closed", "failure", kind="closed")  # it never said that it proceeds
    story.tick()
    story.report(action, {"gateway": "ddi"}, kind="fetched", key=f"fetched:{action.action_id}")  # stored late
    assert action.vin not in {one.vin for one in story.vehicles("offered")}
    story.later(901)
    story.tick()
    again = next(one for one in story.vehicles("offered") if one.attempt == 2)
    story.ddi(again, "proceeding")
    story.ddi(again, "closed", "failure", kind="closed")  # with the image that it kept
    story.later(5)
    story.tick()
    assert [one.vin for one in story.vehicles("failed")] == [action.vin]


def test_an_image_that_a_campaign_before_had_stored_may_be_what_failed(conn: Connection) -> None:
    before = begin(conn, gateway="ddi", urgency="download_only", retry=None)
    for action in before.vehicles("offered"):
        before.report(action, {"gateway": "ddi"}, kind="fetched", key=f"fetched:{action.action_id}")
        before.ddi(action, "closed", "success", kind="closed")
    before.later(5)
    before.tick()
    assert {one.state for one in before.vehicles()} == {"downloaded"}
    story = Story(conn, before.ids)
    story.now = before.now
    story.start(waves=(), gate=STRICT, retry=POLICY)
    keep_old(conn)
    story.tick()
    proceed_and_fail(story)
    assert [one.state for one in story.vehicles() if one.state == "failed"] == ["failed"]


def test_a_vehicle_that_rolled_back_is_not_tried_again(conn: Connection) -> None:
    story = begin(conn)
    story.native(story.vehicles()[0], "ROLLED_BACK", kind="closed")
    story.later(5)
    story.tick()
    assert story.vehicles()[0].state == "rolled_back"


def test_without_a_policy_every_failure_counts_at_once(conn: Connection) -> None:
    story = begin(conn, retry=None)
    fail(story)
    assert story.vehicles()[0].state == "failed"


@pytest.mark.parametrize(("said", "state"), [("download", "pending"), ("proceeding", "failed")])
def test_over_ddi_only_what_never_went_beyond_the_download_is_tried_again(
    conn: Connection, said: str, state: str
) -> None:
    story = begin(conn, gateway="ddi")
    action = story.vehicles()[0]
    story.ddi(action, said)
    story.ddi(action, "closed", "failure", kind="closed")
    story.later(5)
    story.tick()
    assert story.vehicles()[0].state == state


def test_reports_of_an_attempt_that_is_over_change_nothing(conn: Connection) -> None:
    story = begin(conn)
    first = story.vehicles()[0]
    fail(story)
    story.native(first, "SUCCEEDED", kind="closed")
    story.tick()
    assert story.vehicles()[0].state == "pending"
    late = conn.execute("SELECT outcome FROM device_report ORDER BY id DESC LIMIT 1").fetchone()
    assert late == {"outcome": "unknown_action"}


def test_a_campaign_that_is_aborted_ends_waiting_attempts_and_empties_their_bundle(conn: Connection) -> None:
    story = begin(conn)
    fail(story)
    assert story.issued[-1]["vehicle_package"] is None  # the Director names the failed attempt no more
    with transaction(conn):
        store.abort(
            conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation, actor="ann",
            reason="enough", now=story.now,
        )  # fmt: skip
    assert story.vehicles()[0].state == "cancelled"


def test_a_cancelled_vehicle_is_not_tried_again(conn: Connection) -> None:
    story = begin(conn)
    story.native(story.vehicles()[0], "DOWNLOADING")
    story.tick()
    with transaction(conn):
        store.abort(
            conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation, actor="ann",
            reason="enough", now=story.now,
        )  # fmt: skip
    fail(story)
    assert story.vehicles()[0].state == "failed"
