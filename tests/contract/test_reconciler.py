"""Whole campaigns over a real PostgreSQL: plan, waves, gate, reports, deadlines, halts, crashes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from ringroad.build.register import shut_out
from ringroad.http import reading
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput
from ringroad.kernel.facts import FactKind
from ringroad.kernel.hours import OwnHours
from ringroad.loop.campaigns import plan_campaign
from ringroad.loop.joining import join_running
from ringroad.loop.reconciler import evaluate, tick
from ringroad.ship import store
from ringroad.ship.gate import Advance, Finish, GatePolicy, Halt, Hold, Pause
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import PlanRequest
from ringroad.ship.replay import decide_again
from ringroad.ship.store.schedules import count_reached, set_schedules
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.lake import Lake
from ringroad.storage.ledger import append_fact, read_facts
from support.fleet import CountingIds, Story, add_vehicles, fill_programme, vin

pytestmark = pytest.mark.engines


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    return Story(conn, ids)


def success(story: Story) -> int:
    offered = story.vehicles("offered")
    for action in offered:
        story.ddi(action, "closed", "success", kind="closed")
    return len(offered)


def test_a_good_campaign_reaches_every_vehicle_wave_by_wave(story: Story) -> None:
    add_vehicles(story.conn, range(20))
    plan = story.start(waves=(4, 6))
    assert plan.document["wave_vehicles"] == [4, 6, 10]
    sizes = []
    for _ in range(3):
        sizes.append(success(story))
        story.later(5)
        round_ = story.tick()
        assert len(round_.decisions) == 1
    assert sizes == [4, 6, 10]
    campaign = story.campaign()
    assert campaign.state is CampaignState.FINISHED
    assert isinstance(round_.decisions[0][1], Finish)
    assert len(story.vehicles("installed")) == 20
    assert story.facts(FactKind.VEHICLE_UPDATED) == 20
    releases = story.conn.execute("SELECT DISTINCT release_id FROM vehicle").fetchall()
    assert releases == [{"release_id": "release_2.0.0"}]
    installed = story.conn.execute("SELECT DISTINCT version FROM ecu_installed").fetchall()
    assert installed == [{"version": "2.0.0"}]
    assert story.tick().idle


def test_every_fact_of_the_campaign_names_its_cause_and_lap(story: Story) -> None:
    add_vehicles(story.conn, range(6))
    story.start(waves=(2,))
    for _ in range(2):
        success(story)
        story.later(5)
        story.tick()
    facts = {fact.id: fact for fact in read_facts(story.conn, lap_id="lap_1")}
    kinds = [fact.kind for fact in facts.values()]
    assert kinds[-1] is FactKind.CAMPAIGN_FINISHED
    for fact in facts.values():
        if fact.kind is not FactKind.RELEASE_SIGNED:
            assert fact.causes, fact.kind
            assert all(cause in facts for cause in fact.causes)
    updated = next(fact for fact in facts.values() if fact.kind is FactKind.VEHICLE_UPDATED)
    assert facts[updated.causes[0]].kind is FactKind.CAMPAIGN_WAVE_STARTED
    assert facts[updated.causes[0]].body["wave"] == updated.body["wave"]


def test_a_bad_first_wave_halts_and_the_rest_is_never_offered(story: Story) -> None:
    add_vehicles(story.conn, range(20))
    story.start(waves=(4,))
    first = story.vehicles("offered")
    story.ddi(first[0], "closed", "failure", kind="closed")
    story.later(5)
    ((_, decision),) = story.tick().decisions
    assert decision == Halt("too_many_failures")
    assert story.campaign().state is CampaignState.HALTED
    states = [action.state for action in story.vehicles()]
    assert sorted(states) == ["cancelled"] * 16 + ["cancelling"] * 3 + ["failed"]
    for action in story.vehicles("cancelling"):
        story.ddi(action, "closed", "success", kind="cancel")
    story.tick()
    assert len(story.vehicles("cancelled")) == 19
    (halted,) = [f for f in read_facts(story.conn) if f.kind is FactKind.CAMPAIGN_HALTED]
    causes = {fact.kind for fact in read_facts(story.conn) if fact.id in halted.causes}
    assert causes == {FactKind.CAMPAIGN_WAVE_STARTED, FactKind.VEHICLE_UPDATE_FAILED}


def batches(story: Story) -> list[tuple[str, int, str]]:
    """The facts about many vehicles at once: what, how many, and the kind of what caused it."""
    facts = {fact.id: fact for fact in read_facts(story.conn)}
    return [
        (fact.kind.value.removeprefix("vehicles."), fact.body["vehicles"], facts[fact.causes[0]].kind.value)
        for fact in facts.values()
        if fact.kind.value.startswith("vehicles.")
    ]


def test_offers_cancels_and_what_becomes_of_them_are_facts_that_name_their_actions(story: Story) -> None:
    add_vehicles(story.conn, range(20))
    story.start(waves=(4,))
    first, second, *_ = offered = story.vehicles("offered")
    story.ddi(second, "proceeding")
    story.tick()
    story.ddi(first, "closed", "failure", kind="closed")
    story.later(5)
    story.tick()
    for action in story.vehicles("cancelling"):
        story.ddi(action, "closed", "success", kind="cancel")
    story.tick()
    assert batches(story) == [
        ("offered", 4, "campaign.wave_started"),
        ("active", 1, "campaign.wave_started"),
        ("cancelled", 16, "campaign.halted"),
        ("cancelling", 3, "campaign.halted"),
        ("cancelled", 3, "campaign.wave_started"),
    ]
    told = [fact for fact in read_facts(story.conn, subject=story.campaign_id) if "actions" in fact.body]
    numbers = sorted(action.action_id for action in offered)
    assert told[0].body["actions"] == f"{numbers[0]}-{numbers[-1]}"
    assert told[1].body["actions"] == str(second.action_id)
    assert {fact.lap_id for fact in told} == {"lap_1"}


def test_a_pause_and_what_it_withholds_are_facts_and_so_is_the_offer_after_it(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    story.start(waves=(4,))
    moves: list[tuple[Callable[..., Any], dict[str, str]]] = [
        (store.pause, {"reason": "holiday"}),
        (store.resume, {}),
    ]
    for move, more in moves:
        with transaction(story.conn):
            move(
                story.conn, story.ids, campaign_id=story.campaign_id, actor="ann", now=story.now,
                generation=story.campaign().generation, **more,
            )  # fmt: skip
    assert batches(story)[1:] == [("withheld", 4, "campaign.paused"), ("offered", 4, "campaign.resumed")]
    assert {fact.actor for fact in read_facts(story.conn, subject=story.campaign_id)[-2:]} == {"ann"}


def test_silent_vehicles_hold_the_wave_and_become_an_outcome_at_their_deadline(story: Story) -> None:
    add_vehicles(story.conn, range(10))
    gate = GatePolicy(failed_permille_max=100, reports_min=4, silence_s_max=86_400, silent_permille_max=250)
    story.start(waves=(4,), gate=gate)
    for action in story.vehicles("offered")[:2]:
        story.ddi(action, "closed", "success", kind="closed")
    story.later(60)
    assert story.tick().decisions == ()
    assert store.list_gate_decisions(story.conn, story.campaign_id)[0]["reason"] == "too_few_reports"
    story.later(3_600)
    assert story.tick().expired == 2
    assert {action.state_detail for action in story.vehicles("expired")} == {"never answered"}
    assert story.facts(FactKind.VEHICLE_DEADLINE_PASSED) == 2
    campaign = story.campaign()
    assert campaign.wave == 1  # two of four silent: above 250 permille, and never enough reports
    assert (campaign.state, campaign.state_reason) == (CampaignState.PAUSED, "too_few_reports_for_good")
    assert story.facts(FactKind.CAMPAIGN_PAUSED) == 1
    newest = store.list_gate_decisions(story.conn, story.campaign_id)[0]
    again = decide_again(newest["facts"], newest["policy"], decided_at=newest["decided_at"])
    assert (newest["decision"], again) == ("pause", Pause("too_few_reports_for_good"))


def test_an_approver_goes_on_without_reports_that_never_come_and_nobody_else(story: Story) -> None:
    add_vehicles(story.conn, range(6))
    story.start(waves=(3, 3))

    def resume(actor: str, *, without_reports: bool) -> None:
        with transaction(story.conn):
            store.resume(
                story.conn, story.ids, campaign_id=story.campaign_id, actor=actor, now=story.now,
                generation=story.campaign().generation, without_reports=without_reports, four_eyes=True,
            )  # fmt: skip

    story.ddi(story.vehicles("offered")[0], "closed", "success", kind="closed")
    story.later(3_601)
    story.tick()
    assert story.campaign().state is CampaignState.PAUSED
    with pytest.raises(Conflict, match="would pause again"):
        resume("ben", without_reports=False)
    with pytest.raises(Forbidden, match="maker"):
        resume("ann", without_reports=True)
    resume("ben", without_reports=True)
    (resumed,) = [
        fact
        for fact in read_facts(story.conn, subject=story.campaign_id)
        if fact.kind == FactKind.CAMPAIGN_RESUMED
    ]
    assert (resumed.actor, resumed.body["without_reports_of_wave"]) == ("ben", 1)
    moves: list[tuple[Callable[..., Any], dict[str, str]]] = [
        (store.pause, {"reason": "lunch"}),
        (store.resume, {}),
    ]
    for move, more in moves:  # which does not undo it
        with transaction(story.conn):
            move(
                story.conn, story.ids, campaign_id=story.campaign_id, actor="ann", now=story.now,
                generation=story.campaign().generation, **more,
            )  # fmt: skip
    assert [decision for _, decision in story.tick().decisions] == [Advance("silence_accepted")]
    story.later(3_601)
    story.tick()
    ended = story.campaign()
    assert (ended.state, ended.state_reason) == (CampaignState.FINISHED, "5 of 6 vehicles never answered")


def test_nobody_accepts_missing_reports_where_none_is_missing(story: Story) -> None:
    add_vehicles(story.conn, range(3))
    story.start(waves=(3,))
    with transaction(story.conn):
        paused = store.pause(
            story.conn, story.ids, campaign_id=story.campaign_id, actor="ann", now=story.now,
            generation=story.campaign().generation, reason="lunch",
        )  # fmt: skip
    with pytest.raises(Conflict, match="no report is missing"), transaction(story.conn):
        store.resume(
            story.conn, story.ids, campaign_id=story.campaign_id, actor="ben", now=story.now,
            generation=paused.generation, without_reports=True,
        )  # fmt: skip


def test_silence_pauses_a_campaign_that_vehicles_may_join_too_and_an_approver_goes_on(
    story: Story, tmp_path: Path
) -> None:
    add_vehicles(story.conn, range(6))
    story.start(waves=(3,), late_joiners="included")
    story.later(3_601)
    assert story.tick().expired == 3
    newest = store.list_gate_decisions(story.conn, story.campaign_id)[0]
    assert (newest["decision"], newest["reason"]) == ("pause", "too_few_reports_for_good")
    paused = story.campaign()
    assert paused.state is CampaignState.PAUSED
    joiner = add_vehicles(story.conn, [6])[0]
    with transaction(story.conn):
        store.resume(
            story.conn, story.ids, campaign_id=story.campaign_id, actor="ben", now=story.now,
            generation=paused.generation, without_reports=True,
        )  # fmt: skip
    assert [decision for _, decision in story.tick().decisions] == [Advance("silence_accepted")]
    join_running(story.conn, story.ids, Lake(tmp_path), {}, now=story.now)
    assert joiner in {action.vin for action in story.vehicles()}


def test_what_a_person_writes_decides_nothing_of_who_resumes(story: Story) -> None:
    add_vehicles(story.conn, range(3))
    story.start(waves=(3,))
    common: dict[str, Any] = {"campaign_id": story.campaign_id, "actor": "ann", "now": story.now}
    generation = story.campaign().generation
    with pytest.raises(InvalidInput, match="a reason of the gate"), transaction(story.conn):
        store.pause(story.conn, story.ids, generation=generation, reason="too_many_silent_for_good", **common)
    with transaction(story.conn):
        paused = store.pause(story.conn, story.ids, generation=generation, reason="not_for_good", **common)
        resumed = store.resume(story.conn, story.ids, generation=paused.generation, **common)
    assert resumed.state is CampaignState.RUNNING


LET_GO = "put off by its fleet until after its deadline"
LATE = "put off by its fleet after its wave had begun, and silent"


@pytest.mark.parametrize(
    ("before", "after", "recall", "ended"),
    [
        (48, None, False, ("cancelled", LET_GO)),
        (0.5, None, False, ("expired", "never answered")),  # it had half an hour of its deadline left
        (
            None,
            48,
            False,
            ("expired", LATE),
        ),  # it may have been told by then: nobody's wish hides what came of it
        (0.5, 48, False, ("cancelled", LET_GO)),  # put off without a gap, never told
        (48, None, True, ("expired", "never answered")),
    ],
)
def test_a_vehicle_that_its_fleet_put_off_before_its_wave_is_let_go_and_one_put_off_later_is_silent(
    story: Story, before: float | None, after: float | None, *, recall: bool, ended: tuple[str, str]
) -> None:
    first, second, *_ = add_vehicles(story.conn, range(2))

    def put_off(hours: float | None) -> None:
        if hours is None:
            return
        own = OwnHours(hours=("00:00-24:00",), not_before=story.now + timedelta(hours=hours))
        with transaction(story.conn):
            set_schedules(
                story.conn, story.ids, vins=[first], schedule=own, subject="cabs", actor="cabs", now=story.now
            )

    story.plan(waves=())
    put_off(before)
    story.later(5)
    assert count_reached(story.conn, [first, second]) == 0
    story.approve_and_start()
    assert count_reached(story.conn, [first, second]) == (1 if before == 48 else 2)
    story.conn.execute(
        "UPDATE campaign_plan SET document = jsonb_set(document, '{request,recall}', %s)", [Jsonb(recall)]
    )
    story.later(5)
    put_off(after)
    assert count_reached(story.conn, [first, second]) == (1 if ended[0] == "cancelled" else 2)
    story.later(3_601)
    assert story.tick().expired == 2
    ends = {action.vin: (action.state, action.state_detail) for action in story.vehicles()}
    assert ends == {first: ended, second: ("expired", "never answered")}
    told = [fact.actor for fact in read_facts(story.conn) if fact.kind is FactKind.VEHICLES_CANCELLED]
    assert told == (["rule:put_off"] if ended[0] == "cancelled" else [])


def test_planning_a_campaign_that_runs_is_refused_with_what_helps(story: Story) -> None:
    add_vehicles(story.conn, range(2))
    story.start(waves=(1,))
    with pytest.raises(Conflict, match="fix is running; its plan is fixed") as refused:
        plan_campaign(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
            request=PlanRequest(query="all", vehicle_deadline_s=3_600), actor="ann", now=story.now,
        )  # fmt: skip
    assert refused.value.hint == "make a new campaign"


def test_a_wave_whose_vehicles_were_all_let_go_is_passed_by_and_one_that_let_some_go_counts_the_rest(
    story: Story,
) -> None:
    add_vehicles(story.conn, range(9))
    story.start(waves=(3, 3), gate=GatePolicy(reports_min=3, soak_s=0))
    first, *others = story.vehicles("offered")
    let_go = "UPDATE assignment SET state = 'cancelled', finished_at = %s WHERE action_id = ANY (%s)"
    story.conn.execute(let_go, (story.now, [action.action_id for action in others]))
    story.later(5)
    assert story.tick().decisions == ()  # one may still answer
    story.ddi(first, "closed", "success", kind="closed")
    story.later(5)
    assert [decision for _, decision in story.tick().decisions] == [Advance()]
    story.conn.execute(let_go, (story.now, [action.action_id for action in story.vehicles("offered")]))
    story.later(5)
    assert [decision for _, decision in story.tick().decisions] == [Advance("wave_let_go")]
    assert story.campaign().wave == 3
    assert store.list_gate_decisions(story.conn, story.campaign_id)[0]["reason"] == "wave_let_go"


def test_a_vehicle_that_goes_silent_while_installing_counts_as_failed(story: Story) -> None:
    add_vehicles(story.conn, range(10))
    story.start(waves=(4,))
    story.ddi(story.vehicles("offered")[0], "proceeding")
    story.tick()
    assert [action.state for action in story.vehicles() if action.state == "active"] == ["active"]
    story.later(3_601)
    ((_, decision),) = story.tick().decisions
    assert decision == Halt("too_many_failures")


def test_a_vehicle_that_waits_for_consent_until_its_deadline_is_no_harm(story: Story) -> None:
    add_vehicles(story.conn, range(4), gateway="native")
    story.start(waves=(2,))
    story.tick()
    story.native(story.vehicles("offered")[0], "AWAITING_CONSENT")
    story.tick()
    story.later(3_601)
    assert story.tick().expired == 2
    assert story.campaign().state_reason == "too_few_reports_for_good"  # and not halted
    details = {action.state_detail for action in story.vehicles("expired")}
    assert details == {"never answered", "silent after: AWAITING_CONSENT"}


def say(story: Story, action: Any, word: str) -> None:
    story.report(action, {"gateway": "ddi", "confirmation": word, "details": []}, kind="confirmation")
    story.tick()


def test_a_driver_who_said_no_is_an_outcome_a_day_later_and_no_harm(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.start(waves=(2,), consent=True, vehicle_deadline_s=7 * 86_400)
    story.tick()
    no, silent = story.vehicles("offered")
    say(story, no, "denied")
    story.later(86_000)
    assert story.tick().expired == 0  # may still change their mind
    story.later(401)
    assert story.tick().expired == 1
    ((vin, state, detail),) = [(a.vin, a.state, a.state_detail) for a in story.vehicles() if a.vin == no.vin]
    assert (vin, state, detail) == (no.vin, "cancelled", "consent_denied")
    assert [action.vin for action in story.vehicles("offered")] == [silent.vin]
    assert story.facts(FactKind.VEHICLES_CANCELLED) == 1
    assert story.facts(FactKind.VEHICLE_DEADLINE_PASSED) == 0
    assert story.campaign().state is CampaignState.RUNNING


def test_a_driver_who_changes_their_mind_has_the_whole_time_again(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.start(waves=(2,), consent=True, vehicle_deadline_s=7 * 86_400)
    story.tick()
    first = story.vehicles("offered")[0]
    say(story, first, "denied")
    story.later(3_600)
    say(story, first, "confirmed")
    story.later(2 * 86_400)
    assert story.tick().expired == 0
    (still,) = [action for action in story.vehicles("offered") if action.vin == first.vin]
    assert still.deadline_at == first.deadline_at


def test_a_no_never_gives_more_time_than_the_deadline(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.start(waves=(2,), consent=True)
    story.tick()
    first = story.vehicles("offered")[0]
    say(story, first, "denied")
    story.later(3_601)
    assert story.tick().expired == 2
    assert {action.state for action in story.vehicles() if action.vin == first.vin} == {"cancelled"}


def test_a_pause_withholds_offers_and_resuming_moves_deadlines(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    story.start(waves=(4,))
    busy = story.vehicles("offered")[0]
    story.ddi(busy, "proceeding")
    story.tick()
    generation = story.campaign().generation
    with transaction(story.conn):
        store.pause(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=generation, actor="ann",
            reason="holiday", now=story.now,
        )  # fmt: skip
    assert story.vehicles("offered") == []
    assert [action.vin for action in story.vehicles("active")] == [busy.vin]
    story.later(100_000)
    assert story.tick().expired == 0
    with transaction(story.conn):
        store.resume(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=generation + 1, actor="ann",
            now=story.now,
        )  # fmt: skip
    assert len(story.vehicles("offered")) == 3
    assert story.vehicles("active")[0].deadline_at == busy.deadline_at + timedelta(seconds=100_000)
    assert story.tick().expired == 0


def test_a_report_during_a_pause_is_kept_and_a_failure_counts(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    story.start(
        waves=(4,), gate=GatePolicy(failed_permille_max=500, reports_min=2)
    )  # one failure halts nothing
    heard, other = story.vehicles("offered")[:2]
    with transaction(story.conn):
        store.pause(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
            actor="ann", reason="", now=story.now,
        )  # fmt: skip
    story.ddi(heard, "proceeding")
    story.ddi(other, "closed", "failure", kind="closed")
    story.tick()
    states = {action.vin: action for action in story.vehicles()}
    assert (states[heard.vin].state, states[heard.vin].last_report_at) == ("pending", story.now)
    assert states[other.vin].state == "failed"


def test_an_abort_cancels_what_is_open(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    story.start(waves=(4,))
    with transaction(story.conn):
        store.abort(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
            actor="ann", reason="wrong release", now=story.now,
        )  # fmt: skip
    assert story.campaign().state is CampaignState.ABORTED
    assert len(story.vehicles("cancelling")) == 4
    assert len(story.vehicles("cancelled")) == 4
    story.ddi(story.vehicles("cancelling")[0], "closed", "success", kind="closed")  # it was faster
    story.tick()
    assert len(story.vehicles("installed")) == 1


def test_repeated_foreign_unknown_and_late_reports_change_nothing_and_are_kept(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    story.start(waves=(4,))
    action, other = story.vehicles("offered")[:2]
    for _ in range(3):
        story.ddi(action, "closed", "success", kind="closed", key="same")
    story.ddi(action, "closed", "failure", kind="closed", key="after")
    foreign = type(action)(**{**vars(action), "vin": other.vin})
    story.ddi(foreign, "closed", "failure", kind="closed", key="foreign")
    waiting = story.vehicles("pending")[0]
    story.ddi(waiting, "closed", "failure", kind="closed", key="never offered")
    unknown = type(action)(vin=action.vin, action_id=999_999)
    story.ddi(unknown, "closed", "failure", kind="closed", key="unknown")
    story.report(action, {"gateway": "ddi"}, key="malformed")
    story.report(action, {}, kind="config", key="config")
    story.later(1)
    done = story.tick()
    assert (done.reports_applied, done.reports_refused) == (1, 6)
    rows = story.conn.execute("SELECT dedupe_key, outcome FROM device_report ORDER BY id").fetchall()
    assert {row["dedupe_key"]: row["outcome"] for row in rows} == {
        "same": "applied",
        "after": "closed",
        "foreign": "unknown_action",
        "never offered": "unknown_action",
        "unknown": "unknown_action",
        "malformed": "no_action",
        "config": "no_action",
    }
    assert len(story.vehicles("installed")) == 1
    assert story.facts(FactKind.VEHICLE_UPDATED) == 1
    assert story.tick().idle


def test_an_older_generation_is_refused(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    story.start(waves=(2, 2))
    old = story.campaign()
    success(story)
    story.later(1)
    story.tick()
    moved = story.campaign()
    assert (moved.wave, moved.generation) == (2, old.generation + 1)
    for decision in (Advance(), Halt("late"), Finish()):
        with pytest.raises(Conflict), transaction(story.conn):
            store.apply_decision(story.conn, story.ids, old, decision, actor="test", now=story.now)
    assert story.campaign() == moved


def test_two_reconcilers_at_once_make_each_move_once(story: Story, pg_url: str) -> None:
    add_vehicles(story.conn, range(300))
    story.start(waves=(100, 100))
    success(story)
    story.later(1)
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def reconcile(number: int) -> None:
        ids = CountingIds(1_000_000 * (number + 1))
        try:
            with closing(connect(pg_url)) as conn:
                start.wait(60)
                for _ in range(4):
                    tick(conn, ids, now=story.now)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=reconcile, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert story.facts(FactKind.VEHICLE_UPDATED) == 100
    assert story.facts(FactKind.CAMPAIGN_WAVE_STARTED) == 2
    assert story.campaign().wave == 2
    assert len(story.vehicles("offered")) == 100


def test_a_campaign_that_cannot_be_decided_on_does_not_keep_another_from_being_halted(story: Story) -> None:
    add_vehicles(story.conn, range(20))
    bad = Story(story.conn, story.ids)
    for each, numbers in ((story, range(10)), (bad, range(10, 20))):
        each.start(query=f"vin in ({', '.join(vin(number) for number in numbers)})", waves=(4,))
    story.conn.execute(
        "UPDATE campaign_plan SET document = document - 'request' WHERE campaign_id = %s", [bad.campaign_id]
    )
    for each in (story, bad):
        each.ddi(each.vehicles("offered")[0], "closed", "failure", kind="closed")
        each.later(5)
    assert [decision for _, decision in story.tick().decisions] == [Halt("too_many_failures")]
    assert story.campaign().state is CampaignState.HALTED
    assert bad.campaign().state is CampaignState.RUNNING
    assert len(bad.vehicles("pending")) == 6  # and nothing more of it is offered


class Died(Exception):  # noqa: N818 - stands for a killed process
    pass


@pytest.mark.parametrize("statement", range(1, 35))
def test_a_crash_at_any_statement_of_a_round_leaves_consistent_facts(
    story: Story, pg_url: str, statement: int
) -> None:
    add_vehicles(story.conn, range(6))
    story.start(waves=(2,))
    success(story)
    story.later(1)
    executed = 0

    with closing(connect(pg_url)) as dying:
        backend = dying.info.backend_pid

        def kill_at(*_: Any) -> None:
            nonlocal executed
            executed += 1
            if executed == statement:
                story.conn.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])

        class Killing(type(dying.cursor())):  # type: ignore[misc]
            def execute(self, *args: Any, **more: Any) -> Any:
                kill_at()
                return super().execute(*args, **more)

        dying.cursor_factory = Killing
        # The connection is gone in the middle; what counts is what is left behind.
        with contextlib.suppress(Exception):
            tick(dying, CountingIds(500_000), now=story.now)
        assert dying.closed or executed < statement
        assert executed > 26 or dying.closed
    counts = {state: len(story.vehicles(state)) for state in ("installed", "offered", "pending")}
    assert counts["installed"] == story.facts(FactKind.VEHICLE_UPDATED)
    assert story.campaign().wave == story.facts(FactKind.CAMPAIGN_WAVE_STARTED)
    unapplied = story.conn.execute(
        "SELECT count(*) AS n FROM device_report WHERE applied_at IS NULL"
    ).fetchone()
    assert unapplied == {"n": 2 - counts["installed"]}
    story.tick()
    success(story)
    story.later(1)
    story.tick()
    assert story.campaign().state is CampaignState.FINISHED
    assert story.facts(FactKind.VEHICLE_UPDATED) == 6


def test_native_vehicles_are_offered_only_with_a_signed_bundle(story: Story) -> None:
    vins = add_vehicles(story.conn, range(4), gateway="native")
    story.start(waves=(4,))
    tick(story.conn, story.ids, now=story.now, issue=None)
    assert story.vehicles("offered") == []
    assert story.tick().bundles == 4
    assert sorted(content["vin"] for content in story.issued) == sorted(vins)
    package = story.issued[0]["vehicle_package"]
    assert [group.name for group in package.groups] == ["chassis", "head"]
    assert {target.ecu_target.mode for target in story.issued[0]["targets"]} == {"inplace", "ab"}
    assert len(story.vehicles("offered")) == 4
    (offered,) = batches(story)
    assert offered == ("offered", 4, "campaign.wave_started")
    action = story.vehicles("offered")[0]
    story.native(action, "SUCCEEDED", kind="closed")
    story.tick()
    (claimed,) = story.vehicles("active")  # its word alone does not close the action
    assert claimed.state_detail == "SUCCEEDED, manifest awaited"


def test_a_rolled_back_native_vehicle_halts_and_its_bundle_is_withdrawn(story: Story) -> None:
    add_vehicles(story.conn, range(4), gateway="native")
    story.start(waves=(4,))
    story.tick()
    story.native(story.vehicles("offered")[0], "ROLLED_BACK", kind="closed")
    story.issued.clear()
    done = story.tick()
    assert done.decisions[0][1] == Halt("too_many_failures")
    assert done.withdrawn == 1
    assert (story.issued[0]["vehicle_package"], story.issued[0]["targets"]) == (None, ())
    assert story.facts(FactKind.VEHICLE_ROLLED_BACK) == 1


def test_after_a_halt_a_return_waits_for_a_release_with_a_counter_that_may_be_installed(story: Story) -> None:
    add_vehicles(story.conn, range(4), gateway="native")
    story.start(waves=(4,), rollback_installed=True, gate=GatePolicy(failed_permille_max=300, reports_min=2))
    story.tick()
    good, bad = story.vehicles("offered")[:2]
    confirm(story, good.vin)
    story.native(bad, "ROLLED_BACK", kind="closed")
    story.later(1)
    assert story.tick().decisions[0][1] == Halt("too_many_failures")
    (answer,) = story.vehicles(kind="rollback")
    # release 1.0.0 has counter 1, the vehicle committed 2: the maker must sign a new release
    assert (answer.vin, answer.state, answer.state_detail) == (good.vin, "failed", "release_counter: brake")


def test_after_a_halt_a_return_is_signed_where_counters_allow_it(story: Story) -> None:
    story.conn.execute("UPDATE software_package SET release_counter = 2")
    add_vehicles(story.conn, range(4), gateway="native")
    story.start(waves=(4,), rollback_installed=True, gate=GatePolicy(failed_permille_max=300, reports_min=2))
    story.tick()
    good, bad = story.vehicles("offered")[:2]
    confirm(story, good.vin)
    story.native(bad, "ROLLBACK_FAILED", kind="closed")
    story.issued.clear()
    story.later(1)
    story.tick()
    (answer,) = story.vehicles(kind="rollback")
    assert (answer.state, answer.release_id) == ("offered", "release_1.0.0")
    package = next(c["vehicle_package"] for c in story.issued if c["vin"] == good.vin)
    assert (package.rollback, package.release_id, package.action_id) == (
        True,
        "release_1.0.0",
        answer.action_id,
    )
    blocked = story.conn.execute("SELECT vin FROM vehicle WHERE blocked_reason IS NOT NULL").fetchall()
    assert blocked == [{"vin": bad.vin}]
    assert batches(story)[-1] == ("offered", 1, "campaign.halted")
    confirm(story, good.vin, version="1.0.0")
    assert story.vehicles(kind="rollback")[0].state == "installed"
    row = story.conn.execute("SELECT release_id FROM vehicle WHERE vin = %s", [good.vin]).fetchone()
    assert row == {"release_id": "release_1.0.0"}


def test_a_vehicle_that_waits_twice_does_not_keep_the_others_from_their_bundles(story: Story) -> None:
    story.conn.execute("UPDATE software_package SET release_counter = 2")
    vins = add_vehicles(story.conn, range(4), gateway="native")
    story.start(waves=(2,), rollback_installed=True, gate=GatePolicy(failed_permille_max=300, reports_min=2))
    story.tick()
    good, bad = story.vehicles("offered")
    confirm(story, good.vin)
    story.native(bad, "ROLLED_BACK", kind="closed")
    story.later(1)
    tick(story.conn, story.ids, now=story.now, issue=None)  # halted; the keys are away, nothing is signed yet
    halted = story.campaign_id
    assert [action.state for action in story.vehicles(kind="rollback")] == ["pending"]
    story.start(release="release_3.0.0", waves=(4,))
    assert story.tick().bundles == 4
    assert len(story.vehicles("offered")) == 3  # of the new campaign
    story.campaign_id = halted
    (answer,) = story.vehicles(kind="rollback")
    assert (answer.vin, answer.state) == (good.vin, "offered")  # the older action first
    assert good.vin in vins


def test_vehicles_on_ddi_are_told_to_return_too(story: Story) -> None:
    story.conn.execute("UPDATE software_package SET release_counter = 2")
    add_vehicles(story.conn, range(4))
    story.start(waves=(4,), rollback_installed=True, gate=GatePolicy(failed_permille_max=300, reports_min=2))
    good, bad = story.vehicles("offered")[:2]
    story.ddi(good, "closed", "success", kind="closed")
    story.ddi(bad, "closed", "failure", kind="closed")
    story.later(1)
    story.tick()
    (answer,) = story.vehicles(kind="rollback")
    assert (answer.vin, answer.state, answer.release_id) == (good.vin, "offered", "release_1.0.0")
    assert story.issued == []  # nothing is signed for them
    story.ddi(answer, "closed", "success", kind="closed")
    story.tick()
    row = story.conn.execute("SELECT release_id FROM vehicle WHERE vin = %s", [good.vin]).fetchone()
    assert row == {"release_id": "release_1.0.0"}


@pytest.mark.parametrize("gateway", ["native", "ddi"])
def test_who_comes_by_the_release_after_the_halt_is_told_to_return_as_well(
    story: Story, gateway: str
) -> None:
    story.conn.execute("UPDATE software_package SET release_counter = 2")
    add_vehicles(story.conn, range(4), gateway=gateway)
    story.start(waves=(4,), rollback_installed=True, gate=GatePolicy(failed_permille_max=300, reports_min=2))
    story.tick()
    late, *bad = story.vehicles("offered")
    for action in bad:
        if gateway == "native":
            story.native(action, "ROLLED_BACK", kind="closed")
        else:
            story.ddi(action, "closed", "failure", kind="closed")
    story.later(1)
    assert story.tick().decisions[0][1] == Halt("too_many_failures")
    assert (story.vehicles(kind="rollback"), story.vehicles("cancelling")[0].vin) == ([], late.vin)
    if gateway == "native":  # it could not stop any more
        confirm(story, late.vin)
    else:
        story.ddi(late, "closed", "success", kind="closed")
    story.later(1)
    story.tick()
    story.later(1)
    story.tick()
    (answer,) = story.vehicles(kind="rollback")
    assert (answer.vin, answer.state) == (late.vin, "offered")
    assert batches(story)[-1] == ("offered", 1, "campaign.return_ordered")


def test_who_confirmed_while_the_campaign_halted_is_told_to_return_by_a_later_round(story: Story) -> None:
    story.conn.execute("UPDATE software_package SET release_counter = 2")
    add_vehicles(story.conn, range(4), gateway="native")
    story.start(waves=(4,), rollback_installed=True, gate=GatePolicy(failed_permille_max=300, reports_min=2))
    story.tick()
    late, *bad = story.vehicles("offered")
    for action in bad:
        story.native(action, "ROLLED_BACK", kind="closed")
    story.later(1)
    assert story.tick().decisions[0][1] == Halt("too_many_failures")
    story.conn.execute("UPDATE campaign SET state = 'running'")  # as the vehicle's transaction still sees it
    confirm(story, late.vin)
    story.conn.execute("UPDATE campaign SET state = 'halted'")
    assert story.vehicles(kind="rollback") == []
    for _ in range(2):
        story.later(1)
        story.tick()
        (answer,) = story.vehicles(kind="rollback")
    assert (answer.vin, answer.state, answer.attempt) == (late.vin, "offered", 1)
    assert story.facts(FactKind.CAMPAIGN_RETURN_ORDERED) == 1


def test_a_withdrawn_release_halts_its_campaign(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    story.start(waves=(2,))
    success(story)
    story.conn.execute("UPDATE release SET state = 'withdrawn' WHERE id = 'release_2.0.0'")
    story.later(1)
    ((_, decision),) = story.tick().decisions
    assert decision == Halt("release_withdrawn")
    assert (len(story.vehicles("installed")), len(story.vehicles("cancelled"))) == (2, 6)


def test_nothing_good_is_decided_and_nobody_is_late_while_reports_wait(story: Story) -> None:
    add_vehicles(story.conn, range(6))
    story.start(waves=(3,), gate=GatePolicy(failed_permille_max=999, reports_min=1))
    success(story)
    story.later(3_601)
    done = tick(story.conn, story.ids, now=story.now, reports_max=1)
    assert (done.reports_applied, done.expired, done.decisions) == (1, 0, ())
    assert store.list_gate_decisions(story.conn, story.campaign_id)[0]["reason"] == "reports_waiting"
    done = story.tick()
    assert (done.reports_applied, done.expired) == (2, 0)
    assert len(story.vehicles("installed")) == 3
    assert story.campaign().wave == 2


def test_deadlines_of_a_paused_campaign_do_not_keep_others_from_theirs(story: Story) -> None:
    add_vehicles(story.conn, range(6))
    story.start(query="variant = city", waves=(3,))
    for action in story.vehicles("offered"):
        story.ddi(action, "proceeding")
    story.tick()
    with transaction(story.conn):
        store.pause(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
            actor="ann", reason="", now=story.now,
        )  # fmt: skip
    story.later(1)
    story.start(release="release_3.0.0", query="variant = premium", waves=(3,))
    story.later(3_601)
    with transaction(story.conn):
        assert store.expire_deadlines(story.conn, story.ids, now=story.now, rows_max=3) == 3
    assert len(story.vehicles("expired")) == 3


def test_a_failed_roll_back_blocks_the_vehicle_even_after_the_action_was_closed(story: Story) -> None:
    add_vehicles(story.conn, range(2), gateway="native")
    story.start(waves=(2,))
    story.tick()
    action = story.vehicles("offered")[0]
    confirm(story, action.vin)
    story.native(action, "ROLLBACK_FAILED", kind="closed")
    story.tick()
    blocked = story.conn.execute("SELECT vin FROM vehicle WHERE blocked_reason IS NOT NULL").fetchall()
    assert blocked == [{"vin": action.vin}]
    *_, updated, told = read_facts(story.conn, subject=action.vin)
    assert (told.kind, told.causes, told.lap_id) == (FactKind.VEHICLE_BLOCKED, (updated.id,), "lap_1")
    story.native(action, "ROLLBACK_FAILED", kind="closed", key="said again")
    story.tick()
    assert story.facts(FactKind.VEHICLE_BLOCKED) == 1


def test_a_second_campaign_waits_for_vehicles_that_still_have_to_confirm_a_cancel(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.start(waves=(4,))
    story.ddi(story.vehicles("offered")[0], "closed", "failure", kind="closed")
    story.later(1)
    story.tick()
    waiting = story.vehicles("cancelling")
    story.start(release="release_3.0.0", waves=(4,))
    assert (len(story.vehicles("offered")), len(story.vehicles("pending"))) == (1, 3)
    for action in waiting:
        story.ddi(action, "closed", "success", kind="cancel")
    story.later(1)
    assert story.tick().offered == 3


def test_the_gate_records_what_it_saw_so_that_it_can_be_replayed(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    story.start(waves=(4,))
    story.tick()
    story.tick()
    success(story)
    story.later(1)
    story.tick()
    newest, oldest = store.list_gate_decisions(story.conn, story.campaign_id)
    assert (oldest["decision"], oldest["reason"]) == ("hold", "too_few_reports")  # once, not per round
    assert newest["decision"] == "advance"
    assert newest["facts"]["wave"]["vehicles_installed"] == 4
    assert newest["policy"]["reports_min"] == 2
    again = [
        decide_again(row["facts"], row["policy"], decided_at=row["decided_at"]) for row in (newest, oldest)
    ]
    assert again == [Advance(), Hold("too_few_reports")]


def test_a_vehicle_that_is_shut_out_is_no_match_until_it_enrols_or_is_heard_of(story: Story) -> None:
    out, enrolled, heard, *_ = add_vehicles(story.conn, range(4))
    with transaction(story.conn):
        for each in (out, enrolled, heard):
            shut_out(
                story.conn, story.ids, vin=each, nobodys_sha256=each.encode(), actor="ann", now=story.now
            )
    assert story.plan().document["counts"] == {
        "match": 1, "control": 0, "already_installed": 0, "mismatch": 3, "unknown": 0,
    }  # fmt: skip
    assert {each.shut_out for each in reading.vehicles(story.conn, vin=out)} == {True}
    story.later(60)
    with transaction(story.conn):
        append_fact(
            story.conn,
            story.ids,
            kind=FactKind.VEHICLE_ENROLLED,
            subject=enrolled,
            actor="ann",
            now=story.now,
        )
    story.conn.execute(
        "INSERT INTO device_report (vin, dedupe_key, kind, event_at, received_at, body) VALUES (%s, 'k', 'progress', %s, %s, '{}')",
        [heard, story.now, story.now],
    )
    assert story.plan().document["counts"]["mismatch"] == 1
    assert [
        row["reason"]
        for row in store.list_targets(story.conn, story.campaign().plan_id or "")
        if row["vin"] == out
    ] == ["shut_out"]
    assert [each.shut_out for each in reading.vehicles(story.conn, vin=heard)] == [False]


def test_a_campaign_that_does_not_run_is_not_evaluated(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.plan()
    with pytest.raises(Conflict), transaction(story.conn):
        evaluate(story.conn, story.ids, story.campaign_id, now=story.now)


def confirm(
    story: Story, vin: str, *, version: str = "2.0.0", ecus: tuple[str, ...] = ("brake", "head")
) -> Any:
    """Apply a verified manifest that shows `version` on the named ECUs."""
    from support.manifests import manifest_of  # noqa: PLC0415

    with transaction(story.conn):
        return store.apply_manifest(
            story.conn,
            story.ids,
            manifest=manifest_of(story.conn, vin, version, ecus),
            body=b"{}",
            now=story.now,
        )
