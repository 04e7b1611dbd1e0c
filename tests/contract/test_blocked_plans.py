"""A plan that is blocked takes the place of the one before, and one whose release did harm before says so."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from psycopg.types.json import Jsonb

from ringroad.cli.campaign_text import campaign_head
from ringroad.cli.release import halted_text
from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.loop.campaigns import plan_campaign
from ringroad.ship import store
from ringroad.ship.gate import GateDecision, GatePolicy, Grow, Hold
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.replay import decide_again
from ringroad.ship.store.evidence import record_reading
from ringroad.ship.ticks import TickRow
from ringroad.ship.wave_facts import WaveFacts
from ringroad.storage.db import Connection, transaction
from ringroad.storage.lake import to_us
from ringroad.storage.ledger import append_fact, latest_fact
from support.console_server import add_account, serving
from support.fleet import ANY_WARNING, CountingIds, Story, add_vehicles, fill_programme, vin

pytestmark = pytest.mark.engines

COMPARED = SequentialPolicy(metrics=(Metric(name=MetricName.FAULT, margin_milli=1_250),), alpha_ppm=1)


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids)
    return Story(conn, ids)


def blocking(plan: store.SavedPlan) -> list[str]:
    return [finding["code"] for finding in plan.findings if finding["severity"] == "blocking"]


def _refused(story: Story, campaign: store.Campaign) -> list[str]:
    """Return why a campaign can neither be approved nor started."""
    common: dict[str, Any] = {"campaign_id": campaign.id, "generation": campaign.generation, "now": story.now}
    with pytest.raises(Conflict) as approving, transaction(story.conn):
        store.approve(story.conn, story.ids, actor="ben", four_eyes=True, acknowledged=ANY_WARNING, **common)
    with pytest.raises(Conflict) as starting, transaction(story.conn):
        store.start(story.conn, story.ids, actor="ben", **common)
    return [approving.value.message, starting.value.message]


@pytest.mark.parametrize("approved", [False, True])
def test_a_blocked_plan_takes_the_place_of_the_one_before_and_nothing_can_be_started_until_another_is_made(
    story: Story, *, approved: bool
) -> None:
    add_vehicles(story.conn, range(4))
    first = story.plan()
    if approved:
        with transaction(story.conn):
            store.approve(
                story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
                actor="ben", four_eyes=True, acknowledged=ANY_WARNING, now=story.now,
            )  # fmt: skip
    before = story.campaign()
    narrow = PlanRequest(query="region = NOWHERE", waves=(WaveSize(vehicles=1),), gate=GatePolicy())
    again = plan_campaign(
        story.conn, story.ids, campaign_id=before.id, generation=before.generation, request=narrow, actor="ann",
        now=story.now,
    )  # fmt: skip
    assert (blocking(again), again.generation, again.parent_id) == (["no_targets"], 2, first.id)
    campaign = story.campaign()
    said = "generation 2 of its plan is blocked: no_targets; plan again"
    assert (campaign.state, campaign.plan_id, campaign.state_reason) == (CampaignState.DRAFT, None, said)
    assert campaign.generation == before.generation + 1
    assert _refused(story, campaign) == [said, said]
    with (
        pytest.raises(Conflict),
        transaction(story.conn),
    ):  # what was seen before is not approved by it either
        store.approve(
            story.conn, story.ids, campaign_id=before.id, generation=before.generation, actor="ben", four_eyes=True,
            acknowledged=ANY_WARNING, now=story.now,
        )  # fmt: skip
    mended = plan_campaign(
        story.conn, story.ids, campaign_id=campaign.id, generation=campaign.generation, actor="ann", now=story.now,
        request=PlanRequest(query="all", waves=(WaveSize(vehicles=1),), gate=GatePolicy()),
    )  # fmt: skip
    campaign = story.campaign()
    assert (campaign.state, campaign.plan_id, campaign.state_reason) == (CampaignState.PLANNED, mended.id, "")
    fact = latest_fact(story.conn, kind=FactKind.CAMPAIGN_PLANNED, subject=campaign.id)
    assert fact is not None
    assert "replaced" not in fact.body


@pytest.mark.parametrize("state", ["planned", "approved"])
def test_a_plan_that_a_server_of_before_left_current_beside_a_newer_blocked_one_is_not_started(
    story: Story, state: str
) -> None:
    add_vehicles(story.conn, range(4))
    first = story.plan()
    story.conn.execute("UPDATE release SET state = 'checked' WHERE id = 'release_2.0.0'")
    before = story.campaign()
    plan_campaign(
        story.conn, story.ids, campaign_id=before.id, generation=before.generation, request=first.request,
        actor="ann", now=story.now,
    )  # fmt: skip
    story.conn.execute("UPDATE release SET state = 'signed' WHERE id = 'release_2.0.0'")
    story.conn.execute("UPDATE campaign SET plan_id = %s, state = %s", [first.id, state])
    said = "generation 2 of its plan is blocked: release_not_signed; plan again"
    assert _refused(story, story.campaign()) == [said, said]


def test_a_release_that_halted_a_campaign_is_shipped_again_only_by_who_accepts_that(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.start()
    campaign = story.campaign()
    with transaction(story.conn):
        store.halt(
            story.conn, story.ids, campaign, actor="gate", reason="worse_than_control: fault", now=story.now
        )
    again = story.plan()
    (found,) = [each for each in again.findings if each["code"] == "release_halted_before"]
    assert found["severity"] == "warning"
    assert found["message"].startswith(f"release 2.0.0 halted campaign fix ({campaign.id}) on ")
    now = story.campaign()
    with pytest.raises(Conflict) as refused, transaction(story.conn):
        store.approve(
            story.conn, story.ids, campaign_id=now.id, generation=now.generation, actor="ben", four_eyes=True,
            acknowledged=[each["code"] for each in again.findings if each != found], now=story.now,
        )  # fmt: skip
    assert "release_halted_before" in refused.value.message
    (release,) = reading.releases(story.conn, release_id="release_2.0.0")
    (halted,) = release.halted
    assert (halted.campaign_id, halted.reason, halted.halted_at) == (
        campaign.id, "worse_than_control: fault", story.now,
    )  # fmt: skip
    assert halted_text(msgspec.to_builtins(halted)).endswith("worse than the control group: faults")
    assert reading.releases(story.conn, release_id="release_1.0.0")[0].halted == []


def fails_in(story: Story, faults: int, policy: SequentialPolicy = COMPARED) -> None:
    """Fold readings in: so many of the updated vehicles have a fault, one of the controls, over the same time."""
    hours = 3_600 * 1_000_000
    row = TickRow(
        metric=MetricName.FAULT, tick=1, stratum="city/EU", counts=(faults, 2, hours, hours, hours, hours)
    )
    with transaction(story.conn):
        record_reading(
            story.conn, story.campaign_id, policy, [row], through_us=to_us(story.now), now=story.now
        )


@pytest.mark.parametrize("paused", [False, True])
def test_who_aborts_a_campaign_whose_gate_saw_harm_leaves_it_to_the_next_plan(
    story: Story, *, paused: bool
) -> None:
    add_vehicles(story.conn, range(60))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=COMPARED), control=WaveSize(vehicles=20), waves=(),
        ramp=HarmBudget(harmed_first=2, harmed_last=500),
    )  # fmt: skip
    fails_in(story, 20)
    story.tick()
    (held, *_) = store.list_gate_decisions(story.conn, story.campaign_id)
    assert (held["decision"], held["reason"]) == ("hold", "harm_seen: fault")
    again = decide_again(held["facts"], held["policy"], decided_at=held["decided_at"])
    assert again == Hold("harm_seen: fault")
    campaign = story.campaign()
    (shown,) = reading.campaigns(story.conn, campaign_id=campaign.id)
    assert (shown.state, shown.harm_holds) == ("running", "harm_seen: fault")
    assert reading.overview(story.conn).campaigns_harm_holds == 1
    common: dict[str, Any] = {
        "campaign_id": campaign.id,
        "actor": "ben",
        "reason": "let us see",
        "now": story.now,
    }
    with transaction(story.conn):
        if paused:
            campaign = store.pause(story.conn, story.ids, generation=campaign.generation, **common)
        store.abort(story.conn, story.ids, generation=campaign.generation, **common)
    assert (story.campaign().state, story.campaign().state_reason) == (CampaignState.ABORTED, "let us see")
    fact = latest_fact(story.conn, kind=FactKind.CAMPAIGN_ABORTED, subject=campaign.id)
    assert fact is not None
    assert fact.body["harm"] == "harm_seen: fault"
    planned = story.plan()
    (found,) = [each for each in planned.findings if each["code"] == "release_halted_before"]
    assert found["message"] == (
        f"release 2.0.0 did harm in campaign fix ({campaign.id}), aborted on {story.now:%Y-%m-%d}: more harm than is accepted: faults"
    )
    (release,) = reading.releases(story.conn, release_id="release_2.0.0")
    (told,) = release.halted
    assert (told.campaign_id, told.reason, told.halted_at, told.aborted) == (
        campaign.id, "harm_seen: fault", story.now, True,
    )  # fmt: skip
    assert ", aborted on " in halted_text(msgspec.to_builtins(told))


def test_that_harm_holds_a_campaign_is_a_fact_once_and_so_is_that_it_does_not_any_more(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_vehicles(story.conn, range(60))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=COMPARED), control=WaveSize(vehicles=20), waves=(),
        ramp=HarmBudget(harmed_first=2, harmed_last=500),
    )  # fmt: skip
    assert reading.campaigns(story.conn, campaign_id=story.campaign_id)[0].harm_holds is None
    fails_in(story, 20)
    story.tick()
    story.tick()
    held = latest_fact(story.conn, kind=FactKind.CAMPAIGN_HARM_HELD, subject=story.campaign_id)
    assert held is not None
    assert held.body == {"wave": 1, "reason": "harm_seen: fault"}

    def told(decision: GateDecision) -> tuple[int, int]:
        with transaction(story.conn):
            store.tell_harm(
                story.conn, story.ids, story.campaign(), decision, last_wave=False, actor="system:reconciler",
                now=story.now,
            )  # fmt: skip
        return story.facts(FactKind.CAMPAIGN_HARM_HELD), story.facts(FactKind.CAMPAIGN_HARM_PASSED)

    assert told(Hold("reading_too_old")) == (1, 0)
    assert told(Hold("harm_seen: fault in city/EU")) == (1, 0)
    assert told(Grow(2)) == (1, 1)
    passed = latest_fact(story.conn, kind=FactKind.CAMPAIGN_HARM_PASSED, subject=story.campaign_id)
    assert passed is not None
    assert passed.causes == (held.id,)
    assert told(Hold("budget_in_flight")) == (1, 1)
    numbers = itertools.count()
    monkeypatch.setattr(
        story.ids, "new", lambda prefix: f"{prefix}_{0:020d}-{next(numbers)}"
    )  # a clock is set back
    assert told(Hold("harm_seen: fault")) == (2, 1)
    assert told(Hold("harm_seen: fault")) == (2, 1)
    assert told(Grow(2)) == (2, 2)


@pytest.mark.parametrize("last_wave", [False, True])
def test_harm_that_is_over_is_not_shown_while_the_last_wave_soaks(story: Story, *, last_wave: bool) -> None:
    add_vehicles(story.conn, range(4))
    story.start()
    given: dict[str, Any] = {
        "policy": GatePolicy(),
        "wave": WaveFacts(vehicles_targeted=4),
        "released": WaveFacts(vehicles_targeted=4),
    }
    rest = {"last_wave": last_wave, "harm_ends": True}
    for reason in ("harm_seen: fault", "soaking"):
        with transaction(story.conn):
            store.record_gate_decision(
                story.conn, story.campaign(), Hold(reason), now=story.now, rest=rest, **given
            )
    held = None if last_wave else "harm_seen: fault"
    assert reading.campaigns(story.conn, campaign_id=story.campaign_id)[0].harm_holds == held
    assert reading.overview(story.conn).campaigns_harm_holds == int(not last_wave)


def test_that_harm_holds_is_told_of_a_campaign_that_was_held_before_it_was_told(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_vehicles(story.conn, range(60))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=COMPARED), control=WaveSize(vehicles=20), waves=(),
        ramp=HarmBudget(harmed_first=2, harmed_last=500),
    )  # fmt: skip
    fails_in(story, 20)
    with monkeypatch.context() as before:
        before.setattr(store, "tell_harm", lambda *_args, **_more: None)
        story.tick()
    for _ in range(2):
        story.tick()
        assert story.facts(FactKind.CAMPAIGN_HARM_HELD) == 1


def test_harm_that_shows_after_the_gate_paused_for_silence_halts_and_orders_back(story: Story) -> None:
    add_vehicles(story.conn, range(60))
    policy = SequentialPolicy(metrics=COMPARED.metrics)
    story.start(
        gate=GatePolicy(reports_min=3, sequential=policy), control=WaveSize(vehicles=20), waves=(3,), rollback_installed=True
    )  # fmt: skip
    story.ddi(story.vehicles("offered")[0], "closed", "success", kind="closed")
    story.later(3_601)
    story.tick()
    assert story.campaign().state_reason == "too_few_reports_for_good"
    paused = story.campaign().generation
    decided = len(store.list_gate_decisions(story.conn, story.campaign_id))
    assert story.tick().decisions == ()
    assert len(store.list_gate_decisions(story.conn, story.campaign_id)) == decided
    assert story.campaign().generation == paused
    fails_in(story, 200, policy)
    story.tick()
    assert (story.campaign().state, story.campaign().state_reason) == (
        CampaignState.HALTED,
        "worse_than_control: fault",
    )
    assert len(story.vehicles(kind="rollback")) == 1


def test_an_abort_without_harm_leaves_nothing_to_the_next_plan(story: Story) -> None:
    add_vehicles(story.conn, range(60))
    gate = GatePolicy(reports_min=2, sequential=COMPARED)
    story.start(gate=gate, control=WaveSize(vehicles=20), waves=(10,))
    fails_in(story, 2)
    other = story.campaign()
    story.plan()  # a second one, which never starts
    for campaign in (other, story.campaign()):
        with transaction(story.conn):
            store.abort(
                story.conn, story.ids, campaign_id=campaign.id, generation=campaign.generation, actor="ben",
                reason="no more of it", now=story.now,
            )  # fmt: skip
        fact = latest_fact(story.conn, kind=FactKind.CAMPAIGN_ABORTED, subject=campaign.id)
        assert fact is not None
        assert fact.body == {"reason": "no more of it"}
    assert "release_halted_before" not in {each["code"] for each in story.plan().findings}
    assert reading.releases(story.conn, release_id="release_2.0.0")[0].halted == []


def test_a_paused_campaign_goes_on_after_another_one_of_its_release_was_aborted_without_harm(
    story: Story,
) -> None:
    add_vehicles(story.conn, range(4))
    story.start(query="variant = city")
    mine = story.campaign()
    given: dict[str, Any] = {"actor": "ben", "now": story.now}
    with transaction(story.conn):
        mine = store.pause(
            story.conn, story.ids, campaign_id=mine.id, generation=mine.generation, reason="look", **given
        )
    story.start(query="variant = premium")
    story.later(5)
    given["now"] = story.now
    other = story.campaign()
    with transaction(story.conn):
        store.abort(
            story.conn,
            story.ids,
            campaign_id=other.id,
            generation=other.generation,
            reason="not today",
            **given,
        )
        went_on = store.resume(
            story.conn, story.ids, campaign_id=mine.id, generation=mine.generation, **given
        )
    assert went_on.state is CampaignState.RUNNING


def test_a_plan_that_was_checked_before_a_campaign_was_aborted_for_harm_is_neither_approved_nor_started(
    story: Story,
) -> None:
    add_vehicles(story.conn, range(60))
    gate = GatePolicy(reports_min=2, sequential=COMPARED)
    story.start(gate=gate, control=WaveSize(vehicles=20), waves=(10,))
    first = story.campaign()
    fails_in(story, 20)
    add_vehicles(story.conn, range(60, 62))
    story.plan(query=f"vin = {vin(60)}")
    with transaction(story.conn):
        store.abort(
            story.conn, story.ids, campaign_id=first.id, generation=first.generation, actor="ben",
            reason="brakes", now=story.now + timedelta(seconds=1),
        )  # fmt: skip
    said = f"its release did harm in campaign fix ({first.id}), aborted since: more harm than is accepted: faults"
    assert _refused(story, story.campaign())[0] == said
    story.conn.execute("UPDATE campaign SET state = 'approved' WHERE id = %s", [story.campaign_id])
    assert _refused(story, story.campaign())[1] == said


def test_a_release_that_halted_another_campaign_after_the_plan_was_checked_ships_only_by_a_new_plan(
    story: Story,
) -> None:
    add_vehicles(story.conn, range(4))
    story.plan()
    other = {
        "id": "campaign_other",
        "name": "elsewhere",
        "state": "halted",
        "state_reason": "too_many_failures",
    }
    later = {"state_at": (story.now + timedelta(hours=1)).isoformat(), "plan_id": None}
    with transaction(story.conn):  # as a server makes it, but for the steps in between
        story.conn.execute(
            "INSERT INTO campaign SELECT (jsonb_populate_record(c, %s)).* FROM campaign c",
            [Jsonb(other | later)],
        )
        append_fact(
            story.conn, story.ids, kind=FactKind.CAMPAIGN_HALTED, subject="campaign_other", actor="gate",
            now=story.now, causes=[], body={},
        )  # fmt: skip
    said = "its release has halted campaign elsewhere (campaign_other) since: too many failures"
    assert _refused(story, story.campaign())[0] == said
    story.conn.execute("UPDATE campaign SET state = 'approved' WHERE id <> 'campaign_other'")
    assert _refused(story, story.campaign())[1] == said
    story.conn.execute("UPDATE campaign SET state = 'paused' WHERE id <> 'campaign_other'")
    now = story.campaign()
    with pytest.raises(Conflict, match="elsewhere") as resuming, transaction(story.conn):
        store.resume(
            story.conn, story.ids, campaign_id=now.id, generation=now.generation, actor="ben", now=story.now
        )
    assert resuming.value.code == "release_halted_since"


def test_a_halt_because_the_release_was_withdrawn_says_nothing_of_its_software(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.start()
    with transaction(story.conn):
        store.halt(
            story.conn, story.ids, story.campaign(), actor="gate", reason="release_withdrawn", now=story.now
        )
    assert "release_halted_before" not in {each["code"] for each in story.plan().findings}


def test_the_pages_and_the_api_name_the_generation_that_they_show_and_offer_no_approval_of_it(
    story: Story, pg_url: str, tmp_path: Path
) -> None:
    add_vehicles(story.conn, range(4))
    story.start()
    with transaction(story.conn):
        store.halt(
            story.conn,
            story.ids,
            story.campaign(),
            actor="gate",
            reason="worse_than_control: fault",
            now=story.now,
        )
    story.plan()
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'ada', Role.ADMIN)}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, timeout=30, headers=headers) as client,
    ):
        path = f"/campaigns/{story.campaign_id}"
        page = client.get(path).raise_for_status().text
        assert "Approve generation 1 of the plan?" in page
        made = (
            client.post(f"/api/v1{path}/plan", json={"query": "region = NOWHERE"}).raise_for_status().json()
        )
        assert (made["generation"], made["current"]) == (2, False)
        page = client.get(path).raise_for_status().text
        assert "Draft: generation 2 of its plan is blocked: no targets; plan again." in page
        assert "generation 2, blocked, 2 in all" in page
        assert "Approve plan" not in page
        shown = client.get(f"/api/v1{path}").json()
        assert "generation 2, made by ada, not current" in campaign_head(
            shown, client.get(f"/api/v1{path}/plans").json()[0]
        )
        assert "It halted <a" in client.get("/releases/release_2.0.0").raise_for_status().text

        before = client.get(f"/api/v1{path}/plans").json()[1]["id"]  # as a server of before left it
        story.conn.execute(
            "UPDATE campaign SET plan_id = %s, state = 'approved', state_reason = ''", [before]
        )
        page = client.get(path).raise_for_status().text
        assert "Generation 2 of the plan is blocked; this page shows generation 1." in page
        assert "/start" not in page


def test_a_campaign_is_not_resumed_once_its_release_did_harm_elsewhere_since_its_plan_even_before_the_pause(
    story: Story,
) -> None:
    add_vehicles(story.conn, range(8))
    story.start(query=f"vin = {vin(0)}", waves=(1,))
    first = story.campaign()
    story.start(query=f"vin = {vin(1)}", waves=(1,))
    halted = story.campaign()
    later: dict[str, Any] = {"actor": "ben", "now": story.now + timedelta(hours=1)}
    with transaction(story.conn):
        store.halt(story.conn, story.ids, halted, actor="gate", reason="too_many_failures", now=later["now"])
    later["now"] += timedelta(hours=1)
    given: dict[str, Any] = {"campaign_id": first.id, **later}
    with transaction(story.conn):
        paused = store.pause(story.conn, story.ids, generation=first.generation, reason="look", **given)
    with pytest.raises(Conflict) as refused, transaction(story.conn):
        store.resume(story.conn, story.ids, generation=paused.generation, **given)
    assert refused.value.code == "release_halted_since"


def test_a_campaign_whose_plan_cannot_be_read_is_stopped_all_the_same_and_the_next_plan_says_so(
    story: Story,
) -> None:
    add_vehicles(story.conn, range(4))
    story.start()
    campaign = story.campaign()
    story.conn.execute(
        "UPDATE campaign_plan SET document = jsonb_set(document, '{request,gate}', '7') WHERE id = %s",
        [campaign.plan_id],
    )
    with transaction(story.conn):
        store.abort(
            story.conn, story.ids, campaign_id=campaign.id, generation=campaign.generation, actor="ben",
            reason="stop", now=story.now,
        )  # fmt: skip
    assert story.campaign().state is CampaignState.ABORTED
    fact = latest_fact(story.conn, kind=FactKind.CAMPAIGN_ABORTED, subject=campaign.id)
    assert fact is not None
    assert fact.body == {"reason": "stop", "harm": "not_known"}
    (found,) = [each for each in story.plan().findings if each["code"] == "release_halted_before"]
    assert found["message"].endswith("not known yet")
