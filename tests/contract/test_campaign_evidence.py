"""Campaigns with a control group over a real database and a real lake: held back, compared, halted, grown, replayed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.errors import IntegrityConstraintViolation
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from ringroad.http.reading_compared import compared
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.kernel.hours import OwnHours
from ringroad.loop.evidence import read_campaign_evidence, read_due
from ringroad.ship import store
from ringroad.ship.gate import Advance, GatePolicy, Grow, Halt
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.replay import decide_again, word_of
from ringroad.ship.store.evidence import (
    read_past,
    read_reading,
    read_through,
    read_ticks,
    record_reading,
    replay,
)
from ringroad.ship.store.schedules import set_schedules
from ringroad.storage.db import Connection, transaction
from ringroad.storage.lake import ExposureRow, FaultRow, Lake, Rows, to_us
from ringroad.storage.ledger import read_facts
from support.fleet import T0, CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines

FAULTS_ONLY = (Metric(name=MetricName.FAULT, margin_milli=1_250),)
QUICK = SequentialPolicy(metrics=FAULTS_ONLY, window_s=3_600, tick_s=60, late_s=0, gap_s=150, quiet_s=600)
GATE = GatePolicy(reports_min=2, silence_s_max=7_200, sequential=QUICK)


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    add_vehicles(conn, range(60))
    return Story(conn, ids)


class Road:
    """What the vehicles of a story send into a lake."""

    def __init__(self, folder: Path) -> None:
        self.lake = Lake(folder)
        self._batches = itertools.count(1)

    def drive(
        self, vins: Iterable[str], *, since: datetime, minutes: int, faults: Iterable[str] = ()
    ) -> None:
        """A batch a minute of each vehicle; those with a fault report it in the last minute."""
        exposure: list[ExposureRow] = []
        failed: list[FaultRow] = []
        first = next(self._batches)
        for vin in vins:
            for minute in range(minutes + 1):
                at_us = to_us(since + timedelta(minutes=minute))
                head: dict[str, Any] = {
                    "vin": vin, "batch": first * 10_000 + minute, "programme": "roadster", "variant": "city",
                    "at_us": at_us, "clock": "ok", "received_us": at_us, "seq": first,
                }  # fmt: skip
                exposure.append(
                    ExposureRow(
                        **head, index=0, since_us=at_us, ecu="brake", software_version="1", release=""
                    )
                )
                if minute == minutes and vin in set(faults):
                    failed.append(
                        FaultRow(
                            **head,
                            index=1,
                            ecu="brake",
                            code="P1",
                            status=9,
                            software_version="1",
                            snapshot="{}",
                        )
                    )
        self.lake.write(Rows(exposure=tuple(exposure), faults=tuple(failed)), first_seq=first, last_seq=first)


@pytest.fixture
def road(tmp_path: Path) -> Road:
    return Road(tmp_path)


def held(story: Story) -> list[str]:
    plan_id = story.campaign().plan_id
    assert plan_id is not None
    return [row["vin"] for row in store.list_targets(story.conn, plan_id, verdict="control")]


def install(story: Story) -> list[str]:
    """Every vehicle with an offer installs it."""
    offered = story.vehicles("offered")
    for action in offered:
        story.ddi(action, "closed", "success", kind="closed")
    story.tick()
    return [action.vin for action in offered]


def read(story: Story, road: Road) -> Any:
    return read_campaign_evidence(story.conn, story.ids, road.lake, story.campaign_id, now=story.now)


def test_a_control_group_is_held_back_and_told_nothing(story: Story) -> None:
    plan = story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(10,))
    assert plan.document["counts"]["control"] == 20
    assert plan.document["wave_vehicles"] == [10, 30]
    taking_part = {action.vin for action in story.vehicles()}
    assert len(taking_part) == 40
    assert taking_part.isdisjoint(held(story))
    codes = {finding["code"]: finding["severity"] for finding in plan.findings}
    assert codes["control_group_small"] == "warning"


@pytest.mark.parametrize(
    "jump", [timedelta(days=400), timedelta(days=7), timedelta(hours=1), timedelta(days=-7)]
)
def test_one_look_by_a_wrong_clock_keeps_no_harm_from_being_read(
    story: Story, road: Road, jump: timedelta
) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(15,))
    updated = install(story)
    road.drive(updated, since=story.now, minutes=5)
    road.drive(held(story), since=T0, minutes=6)
    story.later(300)
    assert read(story, road) is not None
    right, story.now = story.now, story.now + jump
    ahead = read(story, road)
    assert (ahead is not None) == (timedelta(0) < jump)
    story.now = right
    story.tick()
    road.drive(updated, since=story.now, minutes=5, faults=updated)
    road.drive(held(story), since=story.now, minutes=5)
    story.later(420)
    found = read(story, road)
    assert found is not None
    assert found.refused == "fault"
    assert [decision for _, decision in story.tick().decisions] == [Halt("worse_than_control: fault")]


def test_without_a_control_group_the_plan_is_blocked(story: Story) -> None:
    plan = story.plan(gate=GATE)
    assert "no_control_group" in [each["code"] for each in plan.findings if each["severity"] == "blocking"]
    assert story.campaign().state is CampaignState.DRAFT


def test_who_is_held_back_by_a_campaign_under_way_takes_part_in_no_other(story: Story) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(10,))
    first, vin = story.campaign_id, held(story)[0]
    story.plan(release="release_3.0.0", query=f"vin = {vin}")
    (finding,) = [each for each in story_findings(story) if each["code"] == "other_open_campaign"]
    assert "campaign fix" in finding["message"]
    with transaction(story.conn):
        store.abort(
            story.conn, story.ids, campaign_id=first, actor="ann", reason="over", now=story.now,
            generation=store.read_campaign(story.conn, first).generation,
        )  # fmt: skip
    assert story.plan(release="release_3.0.0", query=f"vin = {vin}").document["counts"]["match"] == 1


def story_findings(story: Story) -> list[dict[str, Any]]:
    row = story.conn.execute(
        "SELECT findings FROM campaign_plan WHERE campaign_id = %s ORDER BY generation DESC LIMIT 1",
        [story.campaign_id],
    ).fetchone()
    assert row is not None
    found: list[dict[str, Any]] = row["findings"]
    return found


def test_waves_advance_only_on_a_reading_and_a_regression_halts(story: Story, road: Road) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(15,))
    updated = install(story)
    story.later(60)
    assert story.tick().decisions == ()  # no reading: holds
    road.drive(updated, since=story.now, minutes=5)
    road.drive(held(story), since=T0, minutes=6)
    story.later(300)
    reading = read(story, road)
    assert reading.readings[0].known
    ((_, decision),) = story.tick().decisions
    assert decision == Advance()
    updated += install(story)
    road.drive(updated, since=story.now, minutes=5, faults=updated[:24])
    road.drive(held(story), since=story.now, minutes=5)
    story.later(420)
    refused = read(story, road)
    assert refused.refused == "fault"
    ((_, decision),) = story.tick().decisions
    assert decision == Halt("worse_than_control: fault")
    assert story.campaign().state is CampaignState.HALTED
    assert story.campaign().state_reason == "worse_than_control: fault"
    assert len(replayed(story)) >= 3
    assert all(replayed(story))


def test_a_refusal_is_not_forgotten_when_later_readings_are_better(story: Story, road: Road) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(30,))
    updated = install(story)
    road.drive(updated, since=story.now, minutes=3, faults=updated[:24])
    road.drive(held(story), since=T0, minutes=3)
    story.later(240)
    assert read(story, road).refused == "fault"
    road.drive(updated, since=story.now, minutes=40)
    road.drive(held(story), since=story.now, minutes=40, faults=held(story))
    story.later(2_460)
    assert read(story, road).refused == ""
    ((_, decision),) = story.tick().decisions
    assert decision == Halt("worse_than_control: fault")


def test_a_shock_to_both_arms_halts_nothing(story: Story, road: Road) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(20,))
    updated = install(story)
    road.drive(updated, since=story.now, minutes=5, faults=updated[:15])
    road.drive(held(story), since=story.now, minutes=5, faults=held(story)[:15])
    story.later(420)
    reading = read(story, road)
    assert (reading.readings[0].treated, reading.readings[0].control) == (15, 15)
    assert reading.refused == ""
    ((_, decision),) = story.tick().decisions
    assert decision == Advance()


def test_a_ramp_starts_with_a_few_and_grows_once_per_reading(story: Story, road: Road) -> None:
    budget = HarmBudget(harmed_first=4, harmed_last=400, reaction_s=60)
    story.start(gate=GATE, control=WaveSize(vehicles=20), ramp=budget)
    updated = install(story)
    assert len(updated) == 4
    lot = [action.action_id for action in story.vehicles()]
    first = [action.action_id for action in story.vehicles("installed")]
    assert sorted(first) == sorted(lot)[:4]  # the lot's order, not the VIN's
    assert [action.vin for action in story.vehicles("installed")] != sorted(held(story) + updated)[:4]
    assert story.tick().decisions == ()
    # Failures of the control group tell what a window costs by itself: 20 vehicles, 20 failures.
    road.drive(updated, since=story.now, minutes=59)
    road.drive(held(story), since=story.now, minutes=59, faults=held(story))
    story.later(3_600)
    reading = read(story, road)
    assert reading.readings[0].high_milli is not None
    ((_, decision),) = story.tick().decisions
    assert isinstance(decision, Grow)
    assert 0 < decision.vehicles <= 36
    assert story.tick().decisions == ()  # that reading is used
    assert len(story.vehicles("offered")) == decision.vehicles
    assert story.facts(FactKind.CAMPAIGN_GREW) == 1
    assert story.facts(FactKind.CAMPAIGN_WAVE_STARTED) == 1
    assert len(replayed(story)) >= 2
    assert all(replayed(story))


@pytest.mark.parametrize(
    ("first", "recall", "offered", "let_go"),
    [(34, False, 34, 0), (35, False, 34, 6), (40, True, 40, 0)],  # nobody puts a recall off
)
def test_a_ramp_passes_over_who_is_put_off_and_lets_them_go_when_nobody_else_is_left(
    story: Story, first: int, *, recall: bool, offered: int, let_go: int
) -> None:
    budget = HarmBudget(harmed_first=first, reaction_s=60)
    plan = story.plan(gate=GATE, control=WaveSize(vehicles=20), ramp=budget, recall=recall)
    off = sorted(row["vin"] for row in store.list_targets(story.conn, plan.id, verdict="match"))[:6]
    own = OwnHours(hours=("00:00-24:00",), not_before=story.now + timedelta(days=28))
    with transaction(story.conn):
        set_schedules(
            story.conn, story.ids, vins=off, schedule=own, subject="cabs", actor="cabs", now=story.now
        )
    story.approve_and_start(recall=recall)
    assert len(story.vehicles("offered")) == offered
    assert recall or not {action.vin for action in story.vehicles("offered")} & set(off)
    gone = [(action.vin, action.state_detail) for action in story.vehicles("cancelled")]
    assert sorted(gone) == [(vin, "put off by its fleet until after its deadline") for vin in off[:let_go]]
    told = [fact for fact in read_facts(story.conn) if fact.kind is FactKind.VEHICLES_CANCELLED]
    assert [(fact.actor, fact.body["vehicles"]) for fact in told] == [("rule:put_off", 6)] * bool(let_go)


def replayed(story: Story) -> list[bool]:
    """Whether each decision of the gate comes out of what was recorded with it."""
    rows = store.list_gate_decisions(story.conn, story.campaign_id)
    again = [decide_again(row["facts"], row["policy"], decided_at=row["decided_at"]) for row in rows]
    return [
        found is not None and word_of(found) == (row["decision"], row["reason"])
        for row, found in zip(rows, again, strict=True)
    ]


def test_a_ramp_ends_when_every_vehicle_has_an_outcome(story: Story, road: Road) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), ramp=HarmBudget(harmed_first=40))
    updated = install(story)
    assert len(updated) == 40
    assert story.campaign().state is CampaignState.RUNNING  # every outcome is known, not what comes of it
    road.drive([*updated, *held(story)], since=story.now, minutes=40)
    story.later(3_600)
    read(story, road)
    story.tick()
    assert story.campaign().state is CampaignState.FINISHED
    assert len(held(story)) == 20


def test_installations_that_fail_grossly_halt_without_any_telemetry(story: Story) -> None:
    policy = replace(QUICK, metrics=SequentialPolicy().metrics)
    story.start(gate=replace(GATE, sequential=policy), control=WaveSize(vehicles=20), waves=(20,))
    for action in story.vehicles("offered")[:12]:
        story.ddi(action, "closed", "failure", kind="closed")
    ((_, decision),) = story.tick().decisions
    assert decision == Halt("worse_than_before: install_failed")
    rows = compared(story.conn, story.campaign_id)
    assert [(row.metric, row.against, row.halted) for row in rows] == [
        ("install_failed", "past", True), ("rolled_back", "past", False), ("fault", "control", False),
        ("silence", "control", False),
    ]  # fmt: skip
    assert rows[0].refused
    assert rows[0].updated == rows[0].updated_of
    assert rows[2].log_e_micronats is None  # nobody read the control group yet


def test_a_control_group_that_sends_always_has_trials_of_silence_at_any_time(
    story: Story, road: Road
) -> None:
    silence = Metric(name=MetricName.SILENCE, margin_milli=1_250)
    policy = replace(QUICK, metrics=(silence,))
    gate = replace(GATE, sequential=policy, silent_permille_max=1_000)
    story.start(gate=gate, control=WaveSize(vehicles=20), waves=(39,))
    story.tick()
    story.later(4_500)  # in the second window of the control group
    updated = install(story)
    road.drive(held(story), since=T0, minutes=160)
    story.later(4_500)
    read(story, road)
    rows, _ = read_ticks(story.conn, story.campaign_id)
    assert sum(row.counts[0] for row in rows) == len(updated)
    # Whenever an updated vehicle's trial ends, some of the control group's end about then, too.
    assert len({row.tick for row in rows if row.counts[3]}) > 20


def test_a_reading_can_be_computed_again_from_its_counts(story: Story, road: Road) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(15,))
    updated = install(story)
    saved = []
    for _ in range(3):
        road.drive(updated, since=story.now, minutes=3, faults=updated[:2])
        road.drive(held(story), since=story.now, minutes=3, faults=held(story)[:1])
        story.later(240)
        saved.append(read(story, road))
    assert len({reading.readings for reading in saved}) == 3
    for reading in saved:
        assert replay(story.conn, story.campaign_id, reading) == reading.readings
    assert read_through(story.conn, story.campaign_id, until_us=to_us(story.now)) == saved[-1].through_us
    assert read_reading(story.conn, story.campaign_id, saved[-1].id) == saved[-1]


def test_what_arrives_late_is_counted_in_the_tick_of_its_own_time(story: Story, road: Road) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(15,))
    updated = install(story)
    began = story.now
    road.drive(held(story), since=began, minutes=3)
    story.later(240)
    before = read(story, road)
    assert not before.readings[0].known
    road.drive(updated, since=began, minutes=3, faults=updated[:2])  # the vehicles were offline meanwhile
    story.later(60)
    after = read(story, road)
    assert after.readings[0].treated == 2
    rows, _ = read_ticks(story.conn, story.campaign_id)
    ticks = {row.tick for row in rows if row.counts[0]}
    assert max(ticks) < to_us(story.now - timedelta(seconds=60)) // 60_000_000
    story.later(60)
    assert read(story, road).readings[0].treated == 2  # and once


def test_a_stretch_is_read_once(story: Story, road: Road) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(15,))
    road.drive(held(story), since=story.now, minutes=3)
    story.later(240)
    assert [read_due(story.conn, story.ids, road.lake, now=story.now) for _ in range(2)] == [1, 0]
    story.later(60)
    assert read_due(story.conn, story.ids, road.lake, now=story.now) == 1


def test_a_campaign_whose_plan_does_not_read_back_keeps_no_other_from_its_evidence(
    story: Story, road: Road
) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(15,))
    road.drive(held(story), since=story.now, minutes=3)
    broken = "campaign_" + "0" * 26
    story.conn.execute(
        "INSERT INTO campaign SELECT (c).* FROM (SELECT jsonb_populate_record(campaign, %s) AS c FROM campaign) AS copied",
        [Jsonb({"id": broken})],
    )
    story.conn.execute(
        "INSERT INTO campaign_plan SELECT (c).* FROM (SELECT jsonb_populate_record(p, %s) AS c FROM campaign_plan AS p)"
        " AS copied",
        [
            Jsonb(
                {
                    "id": "plan_broken",
                    "campaign_id": broken,
                    "document": {"request": {"gate": {"sequential": {}}}},
                }
            )
        ],
    )
    story.conn.execute("UPDATE campaign SET plan_id = 'plan_broken' WHERE id = %s", [broken])
    story.later(240)
    assert read_due(story.conn, story.ids, road.lake, now=story.now) == 1
    assert read_through(story.conn, story.campaign_id, until_us=to_us(story.now)) > 0


def test_who_comes_second_keeps_nothing(story: Story, road: Road) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(15,))
    road.drive(held(story), since=story.now, minutes=3)
    story.later(240)
    reading = read(story, road)
    rows, _ = read_ticks(story.conn, story.campaign_id)
    with pytest.raises(Conflict), transaction(story.conn):
        record_reading(
            story.conn, story.campaign_id, QUICK, rows, through_us=reading.through_us, now=story.now
        )
    assert read_ticks(story.conn, story.campaign_id)[0] == rows


def test_the_past_is_how_finished_campaigns_ended(story: Story) -> None:
    assert read_past(story.conn, "roadster")["install_failed"].tried == 0
    story.start(waves=(60,), gate=GatePolicy(failed_permille_max=1_000 - 1))
    offered = story.vehicles("offered")
    for action in offered[:3]:
        story.ddi(action, "closed", "failure", kind="closed")
    for action in offered[3:]:
        story.ddi(action, "closed", "success", kind="closed")
    story.tick()
    assert story.campaign().state is CampaignState.FINISHED
    past = read_past(story.conn, "roadster")
    assert (past["install_failed"].failed, past["install_failed"].tried) == (3, 60)
    assert (past["rolled_back"].failed, past["rolled_back"].tried) == (0, 57)
    planned = story.plan(release="release_3.0.0", gate=GATE, control=WaveSize(vehicles=20))
    assert planned.document["past"]["install_failed"] == {"failed": 3, "tried": 60}


def test_a_gate_of_rules_reads_no_evidence(story: Story, road: Road) -> None:
    story.start(waves=(15,))
    story.later(240)
    assert read(story, road) is None
    assert read_due(story.conn, story.ids, road.lake, now=story.now) == 0


@pytest.mark.parametrize("table", ["gate_decision", "gate_reading", "gate_tick"])
@pytest.mark.parametrize("change", ["UPDATE {} SET campaign_id = 'other'", "DELETE FROM {}", "TRUNCATE {}"])
def test_what_a_gate_counted_read_and_decided_is_append_only(
    story: Story, road: Road, table: str, change: str
) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=20), waves=(20,))
    road.drive([*install(story), *held(story)], since=story.now, minutes=5)
    story.later(420)
    read(story, road)
    story.tick()
    count = SQL("SELECT count(*) AS n FROM {}").format(Identifier(table))
    before = story.conn.execute(count).fetchone()
    with pytest.raises(IntegrityConstraintViolation, match="append-only"), story.conn.transaction():
        story.conn.execute(SQL(change).format(Identifier(table)))
    assert story.conn.execute(count).fetchone() == before
    assert before
    assert before["n"] > 0
