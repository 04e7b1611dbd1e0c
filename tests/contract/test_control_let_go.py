"""Vehicles of a control group that get other software: let go with a reason, and compared no longer than they were one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.loop.evidence import read_campaign_evidence
from ringroad.loop.joining import join_running
from ringroad.ship import store
from ringroad.ship.control import OTHER_SOFTWARE
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import WaveSize
from ringroad.ship.store.control import read_control, read_control_let_go
from ringroad.storage.db import Connection, transaction
from ringroad.storage.lake import Lake, to_us
from ringroad.storage.ledger import read_facts
from support.fleet import ANY_WARNING, CountingIds, Story, add_vehicles, fill_programme
from support.manifests import manifest_of

pytestmark = pytest.mark.engines

QUICK = SequentialPolicy(
    metrics=(Metric(name=MetricName.FAULT, margin_milli=1_250),),
    window_s=3_600, tick_s=60, late_s=0, gap_s=150, quiet_s=600,
)  # fmt: skip
GATE = GatePolicy(reports_min=2, silence_s_max=7_200, sequential=QUICK)
OLDER = "mismatch: release_counter: brake runs 3"


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0", "4.0.0"))
    add_vehicles(conn, range(30), gateway="native")
    return Story(conn, ids)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def plan(story: Story, *, release: str = "release_2.0.0") -> None:
    story.plan(release=release, gate=GATE, control=WaveSize(vehicles=10), waves=(5,))


def held(story: Story) -> list[str]:
    plan_id = story.campaign().plan_id
    assert plan_id is not None
    return [row["vin"] for row in store.list_targets(story.conn, plan_id, verdict="control")]


def runs(story: Story, names: list[str], version: str, *ecus: str) -> None:
    """A workshop or another campaign: the manifests say that these ECUs run another version by now."""
    for name in names:
        manifest = manifest_of(story.conn, name, version, ecus or ("brake", "head"))
        with transaction(story.conn):
            store.apply_manifest(
                story.conn, story.ids, manifest=manifest, body=manifest.digest.encode(), now=story.now
            )


def told(story: Story) -> list[dict[str, Any]]:
    return [
        dict(fact.body)
        for fact in read_facts(story.conn)
        if fact.kind is FactKind.CAMPAIGN_CONTROL_LET_GO and fact.subject == story.campaign_id
    ]


def left(story: Story) -> int:
    campaign = story.campaign()
    assert campaign.plan_id is not None
    return read_control(story.conn, campaign, store.read_plan(story.conn, campaign.plan_id)).left


def episodes(story: Story) -> dict[str, int]:
    """By vehicle of the control group, until when it is compared in the first hour, in seconds since the start."""
    campaign = story.campaign()
    assert campaign.plan_id is not None
    saved = store.read_plan(story.conn, campaign.plan_id)
    (began,) = [
        fact
        for fact in read_facts(story.conn)
        if fact.kind is FactKind.CAMPAIGN_STARTED and fact.subject == campaign.id
    ]
    at = to_us(began.event_at)
    found = store.evidence.read_episodes(
        story.conn, campaign, saved, since_us=at, started_us=at, until_us=at + 3_599 * 1_000_000
    )
    return {
        row["vin"]: min(3_600, (row["to_us"] - at) // 1_000_000) for row in found if row["arm"] == "control"
    }


def test_who_got_other_software_before_the_start_is_no_control(story: Story) -> None:
    plan(story)
    names = held(story)
    runs(story, names[:2], "3.0.0")
    runs(story, names[2:3], "2.0.0")
    story.approve_and_start()
    assert told(story) == [
        {"vehicles": 3, "reasons": {OLDER: 2, "already_installed": 1}, "left": 7},
    ]
    assert left(story) == 7
    assert set(episodes(story)) == set(names[3:])
    assert held(story) == names  # the plan's rows stay as its digest binds them


def test_whom_the_release_still_fits_at_the_start_stays_as_its_like_in_a_wave_is_offered_it(
    story: Story,
) -> None:
    plan(story, release="release_3.0.0")
    names = held(story)
    runs(story, names[:9], "2.0.0")
    story.approve_and_start()
    assert told(story) == []
    assert set(episodes(story)) == set(names)


def test_who_got_any_other_software_later_is_a_control_until_then(story: Story, lake: Lake) -> None:
    plan(story, release="release_3.0.0")
    names = held(story)
    story.approve_and_start()
    story.later(600)
    runs(story, names[:1], "2.0.0")  # the release fits it still, and it is another comparison
    runs(story, names[1:2], "4.0.0")
    story.later(60)
    read_campaign_evidence(story.conn, story.ids, lake, story.campaign_id, now=story.now)
    older = OLDER.replace("3", "4")
    assert told(story) == [{"vehicles": 2, "reasons": {OTHER_SOFTWARE: 1, older: 1}, "left": 8}]
    assert episodes(story) == {**dict.fromkeys(names, 3_600), names[0]: 600, names[1]: 600}
    story.later(60)
    read_campaign_evidence(story.conn, story.ids, lake, story.campaign_id, now=story.now)
    assert len(told(story)) == 1


def test_what_was_compared_already_stays_compared(story: Story, lake: Lake) -> None:
    plan(story)
    names = held(story)
    story.approve_and_start()
    story.later(600)
    read_campaign_evidence(story.conn, story.ids, lake, story.campaign_id, now=story.now)
    story.now, reported = story.now, story.now
    story.later(-300)  # what the vehicle ran was told before that, and is folded only now
    runs(story, names[:1], "3.0.0")
    story.now = reported
    story.later(60)
    read_campaign_evidence(story.conn, story.ids, lake, story.campaign_id, now=story.now)
    assert episodes(story)[names[0]] == 600


def test_a_campaign_does_not_start_with_less_than_half_of_its_control_group(story: Story) -> None:
    plan(story)
    runs(story, held(story)[:6], "3.0.0")
    with transaction(story.conn):
        store.approve(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation, actor="ben",
            four_eyes=True, acknowledged=ANY_WARNING, now=story.now,
        )  # fmt: skip
    with pytest.raises(Conflict, match="4 of 10 vehicles of the control group are left") as refused:
        with transaction(story.conn):
            store.start(
                story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
                actor="ann", now=story.now,
            )  # fmt: skip
    assert refused.value.code == "control_too_small"
    assert story.campaign().state is CampaignState.APPROVED
    assert told(story) == []
    assert left(story) == 10


def test_the_gate_holds_when_too_few_controls_are_left_under_way(story: Story, lake: Lake) -> None:
    plan(story)
    names = held(story)
    story.approve_and_start()
    story.tick()
    runs(story, sorted({action.vin for action in story.vehicles("offered")}), "2.0.0")
    story.later(60)
    runs(story, names[:6], "3.0.0")
    story.later(60)
    read_campaign_evidence(story.conn, story.ids, lake, story.campaign_id, now=story.now)
    story.tick()
    last = story.conn.execute(
        "SELECT decision, reason, facts FROM gate_decision WHERE campaign_id = %s ORDER BY id DESC LIMIT 1",
        [story.campaign_id],
    ).fetchone()
    assert last is not None
    assert (last["decision"], last["reason"]) == ("hold", "control_too_small")
    assert last["facts"]["evidence"]["control_short"].startswith("4 of 10")


def test_a_stratum_whose_controls_are_gone_is_too_small_though_the_others_are_not(story: Story) -> None:
    add_vehicles(story.conn, range(30, 300), gateway="native")
    story.plan(gate=GATE, control=WaveSize(vehicles=120), waves=(5,))
    city = [name for name in held(story) if int(name[-3:]) % 2]  # as `add_vehicles` deals them
    assert len(city) == 60
    runs(story, city[:29], "3.0.0")
    story.approve_and_start()
    campaign = story.campaign()
    assert campaign.plan_id is not None
    saved = store.read_plan(story.conn, campaign.plan_id)
    assert read_control(story.conn, campaign, saved).too_few == ""
    story.conn.execute(
        "UPDATE campaign_target SET let_go_at = %s, let_go_reason = %s WHERE plan_id = %s AND vin = ANY (%s)",
        [story.now, OTHER_SOFTWARE, saved.id, city[29:31]],
    )
    assert read_control(story.conn, campaign, saved).too_few == (
        "29 of 60 vehicles of the control group in city/EU are left, less than half"
    )


def block(story: Story, name: str) -> None:
    """Its way back from another campaign failed."""
    story.conn.execute(
        "UPDATE vehicle SET blocked_reason = 'ROLLBACK_FAILED', config_generation = config_generation + 1"
        " WHERE vin = %s",
        [name],
    )


def test_who_is_blocked_at_the_start_is_no_control_as_its_like_in_a_wave_is_offered_nothing(
    story: Story,
) -> None:
    plan(story)
    block(story, held(story)[0])
    story.approve_and_start()
    assert told(story) == [{"vehicles": 1, "reasons": {"mismatch: blocked: ROLLBACK_FAILED": 1}, "left": 9}]


def test_who_is_blocked_under_way_stays_a_control_unless_it_runs_other_software(
    story: Story, lake: Lake
) -> None:
    plan(story)
    first, second, *_ = held(story)
    story.approve_and_start()
    story.later(600)
    block(story, first)
    block(story, second)
    runs(story, [second], "4.0.0", "head")
    story.later(60)
    read_campaign_evidence(story.conn, story.ids, lake, story.campaign_id, now=story.now)
    assert [each["vehicles"] for each in told(story)] == [1]
    assert episodes(story)[first] == 3_600
    assert episodes(story)[second] == 600


def test_a_control_group_that_was_let_go_for_many_reasons_is_told_with_those_of_most(story: Story) -> None:
    add_vehicles(story.conn, range(30, 200), gateway="native")
    story.start(gate=GATE, control=WaveSize(vehicles=60), waves=(5,))
    story.conn.execute(
        "UPDATE campaign_target SET let_go_at = %s, let_go_reason = 'mismatch: ' || vin"
        " WHERE plan_id = %s AND verdict = 'control'",
        [story.now, story.campaign().plan_id],
    )
    said = read_control_let_go(story.conn, story.campaign_id)
    assert (len(said), said["other"]) == (51, 10)
    assert left(story) == 0


def join(story: Story, tmp_path: Path) -> list[str]:
    """Vehicles are born under way and join the campaign; return those of its control group."""
    before = set(held(story))
    names = add_vehicles(story.conn, range(100, 140), gateway="native")
    story.conn.execute("UPDATE ecu_installed SET first_at = %s WHERE vin = ANY (%s)", [story.now, names])
    story.later(60)
    join_running(story.conn, story.ids, Lake(tmp_path), {}, now=story.now)
    return [name for name in held(story) if name not in before]


@pytest.mark.parametrize("known", [True, False])
def test_a_late_joiner_is_not_let_go_for_the_software_that_it_was_born_with(
    story: Story, lake: Lake, tmp_path: Path, *, known: bool
) -> None:
    story.start(gate=GATE, control=WaveSize(vehicles=10), waves=(5,), late_joiners="included")
    story.later(60)
    first, second, *_ = join(story, tmp_path)
    if not known:  # it joined by the code of a release before, which kept no number and no time
        story.conn.execute("UPDATE campaign_target SET config_generation = NULL, joined_at = NULL")
    story.conn.execute("UPDATE vehicle SET config_generation = config_generation + 1 WHERE vin = %s", [first])
    story.later(900)
    read_campaign_evidence(story.conn, story.ids, lake, story.campaign_id, now=story.now)
    assert told(story) == []
    runs(story, [second], "3.0.0")
    story.later(900)
    read_campaign_evidence(story.conn, story.ids, lake, story.campaign_id, now=story.now)
    assert [each["vehicles"] for each in told(story)] == [1]


def test_another_campaign_may_take_who_was_let_go(story: Story) -> None:
    plan(story)
    names = held(story)
    runs(story, names[:1], "3.0.0")
    story.approve_and_start()
    other = Story(story.conn, story.ids)
    made = other.plan(release="release_4.0.0", query=f"vin in ('{names[0]}', '{names[1]}')", waves=())
    (finding,) = [each for each in made.findings if each["code"] == "other_open_campaign"]
    assert finding["message"].startswith("1 ")
