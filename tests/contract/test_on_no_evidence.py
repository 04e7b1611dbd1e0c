"""Nothing is released on no evidence at all, and an approver may go on without what can never be known."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ringroad.kernel.errors import Conflict, Forbidden
from ringroad.kernel.facts import FactKind
from ringroad.ship import store
from ringroad.ship.gate import Advance, GatePolicy, Grow, Pause
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.replay import decide_again
from ringroad.ship.store.evidence import record_reading
from ringroad.ship.ticks import TickRow
from ringroad.signal.silence import Backlog, Silence, Watched, Why
from ringroad.signal.store_silence import tell_back, tell_silence
from ringroad.storage.db import Connection, transaction
from ringroad.storage.lake import to_us
from ringroad.storage.ledger import latest_fact
from support.fleet import CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines

COMPARED = SequentialPolicy(
    metrics=(Metric(name=MetricName.FAULT, margin_milli=1_250),), window_s=60, tick_s=10, late_s=5
)

WIDE = replace(
    COMPARED, metrics=(Metric(name=MetricName.FAULT, margin_milli=4_000),)
)  # harm within the margin


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids)
    return Story(conn, ids)


def succeed(story: Story) -> int:
    offered = story.vehicles("offered")
    for action in offered:
        story.ddi(action, "closed", "success", kind="closed")
    return len(offered)


def begin_a_ramp(story: Story) -> None:
    """Two vehicles of forty run the update, as many as may be harmed at first; twenty are the control group."""
    add_vehicles(story.conn, range(60))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=COMPARED), control=WaveSize(vehicles=20), waves=(),
        ramp=HarmBudget(harmed_first=2, harmed_last=5, reaction_s=10),
    )  # fmt: skip
    assert succeed(story) == 2


def reads_nothing(story: Story) -> None:
    with transaction(story.conn):
        record_reading(
            story.conn, story.campaign_id, COMPARED, [], through_us=to_us(story.now), now=story.now
        )


def go_on(story: Story, actor: str, *, without_reports: bool = True) -> None:
    with transaction(story.conn):
        store.resume(
            story.conn, story.ids, campaign_id=story.campaign_id, actor=actor, now=story.now,
            generation=story.campaign().generation, without_reports=without_reports, four_eyes=True,
        )  # fmt: skip


def newest(story: Story) -> tuple[str, str]:
    """Return the newest decision, which comes out the same when it is made again."""
    row = store.list_gate_decisions(story.conn, story.campaign_id)[0]
    again = decide_again(row["facts"], row["policy"], decided_at=row["decided_at"])
    assert again is not None
    assert (type(again).__name__.lower(), again.reason) == (row["decision"], row["reason"])
    return row["decision"], row["reason"]


@pytest.mark.parametrize("joiners", ["frozen", "included"])
def test_a_first_wave_that_was_let_go_pauses_and_an_approver_goes_on(story: Story, joiners: Any) -> None:
    add_vehicles(story.conn, range(4))
    story.start(waves=(1,), late_joiners=joiners)
    (only,) = story.vehicles("offered")
    story.conn.execute(
        "UPDATE assignment SET state = 'cancelled', finished_at = %s WHERE action_id = %s",
        (story.now, only.action_id),
    )
    story.later(5)
    assert [decision for _, decision in story.tick().decisions] == [Pause("too_few_reports_for_good")]
    assert newest(story) == ("pause", "too_few_reports_for_good")
    assert (story.campaign().wave, story.vehicles("offered")) == (1, [])
    go_on(story, "ben")
    assert [decision for _, decision in story.tick().decisions] == [Advance("silence_accepted")]
    assert len(story.vehicles("offered")) == 3


def test_a_budget_does_not_grow_by_windows_of_which_nothing_is_known(story: Story) -> None:
    begin_a_ramp(story)
    story.later(6)
    reads_nothing(story)
    story.tick()
    assert newest(story) == ("hold", "not_known: fault")
    story.later(65)
    reads_nothing(story)
    assert [decision for _, decision in story.tick().decisions] == [Pause("not_known_for_good: fault")]
    assert newest(story) == ("pause", "not_known_for_good: fault")
    go_on(story, "eve", without_reports=False)  # whoever may resume: the gate looks again
    story.tick()
    assert newest(story) == ("pause", "not_known_for_good: fault")
    with pytest.raises(Forbidden, match="maker"):
        go_on(story, "ann")
    assert story.campaign().state is CampaignState.PAUSED
    go_on(story, "ben")
    resumed = latest_fact(story.conn, kind=FactKind.CAMPAIGN_RESUMED, subject=story.campaign_id)
    assert resumed is not None
    assert (resumed.body["without_metrics_of_wave"], "without_reports_of_wave" in resumed.body) == (1, False)
    (decision,) = [decision for _, decision in story.tick().decisions]
    assert isinstance(decision, Grow)
    assert newest(story) == ("grow", "unknown_accepted")


def test_a_wave_whose_metric_was_never_known_pauses_and_harm_is_not_accepted_with_it(story: Story) -> None:
    add_vehicles(story.conn, range(40))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=COMPARED), control=WaveSize(vehicles=10), waves=(3,)
    )
    assert succeed(story) == 3
    story.later(6)
    reads_nothing(story)
    story.tick()
    assert newest(story) == ("hold", "not_known: fault")
    story.now += timedelta(seconds=65)
    reads_nothing(story)
    story.tick()
    assert newest(story) == ("pause", "not_known_for_good: fault")
    go_on(story, "ben")
    assert [decision for _, decision in story.tick().decisions] == [Advance("unknown_accepted")]
    assert succeed(story) == 27


def sees(story: Story, *, tick: int, vehicles: int = 20) -> None:
    """Both arms drove through a tick and sent, and a reading is made now."""
    amount = vehicles * COMPARED.tick_s * 1_000_000
    row = TickRow(
        metric=MetricName.FAULT, tick=tick, stratum="", counts=(0, 0, amount, amount, amount, amount)
    )
    with transaction(story.conn):
        record_reading(
            story.conn, story.campaign_id, COMPARED, [row], through_us=to_us(story.now), now=story.now
        )


def tick_of(story: Story) -> int:
    """The tick that is read by now, as vehicles have sent by then."""
    return int(to_us(story.now) // 1_000_000 - COMPARED.late_s) // COMPARED.tick_s


def test_a_budget_does_not_grow_by_windows_after_telemetry_broke(story: Story) -> None:
    begin_a_ramp(story)
    story.later(20)
    sees(story, tick=tick_of(story))
    story.tick()
    assert newest(story) == ("hold", "budget_in_flight")
    for seconds in (5, 60):  # the second time, all have been updated for longer than a window
        story.later(seconds)
        reads_nothing(story)
        story.tick()
    assert newest(story) == ("pause", "not_known_for_good: fault")
    go_on(story, "ben")
    (decision,) = [decision for _, decision in story.tick().decisions]
    assert isinstance(decision, Grow)
    assert newest(story) == ("grow", "unknown_accepted")


def test_who_goes_on_without_telemetry_releases_one_step_and_is_asked_again(story: Story) -> None:
    begin_a_ramp(story)
    story.later(20)
    sees(story, tick=tick_of(story))
    story.tick()
    for step in (1, 2):
        story.later(75)
        reads_nothing(story)
        story.tick()
        assert newest(story) == ("pause", "not_known_for_good: fault")
        assert len(story.vehicles("installed")) == 2 * step
        go_on(story, "ben")
        assert [decision for _, decision in story.tick().decisions] == [Grow(2, "unknown_accepted")]
        assert newest(story) == ("grow", "unknown_accepted")
        assert succeed(story) == 2


def test_who_went_on_is_asked_again_once_telemetry_was_back(story: Story) -> None:
    begin_a_ramp(story)
    story.later(75)
    reads_nothing(story)
    story.tick()
    go_on(story, "ben")

    def accepted() -> bool:
        plan = store.read_plan(story.conn, story.campaign().plan_id or "")
        return store.is_unknown_accepted(story.conn, story.campaign(), plan)

    story.later(20)
    reads_nothing(story)
    assert accepted()
    story.later(1)
    sees(story, tick=tick_of(story))
    assert not accepted()


def test_telemetry_that_is_back_lets_a_campaign_go_on_without_an_approver(story: Story) -> None:
    begin_a_ramp(story)
    story.later(75)
    reads_nothing(story)
    story.tick()
    assert newest(story) == ("pause", "not_known_for_good: fault")
    story.later(10)
    sees(story, tick=tick_of(story))
    go_on(story, "eve", without_reports=False)
    (decision,) = [decision for _, decision in story.tick().decisions]
    assert isinstance(decision, Grow)
    assert newest(story) == ("grow", "evidence_good")


def test_a_budget_grows_by_windows_of_which_something_was_seen_to_the_end(story: Story) -> None:
    begin_a_ramp(story)
    story.later(75)
    sees(story, tick=tick_of(story))
    (decision,) = [decision for _, decision in story.tick().decisions]
    assert isinstance(decision, Grow)
    assert newest(story) == ("grow", "evidence_good")


def harms(story: Story, *, treated: int, control: int) -> None:
    """Both arms drove as long, in which so many updated and so many control vehicles failed; a reading is made now."""
    amount = 1_000 * COMPARED.tick_s * 1_000_000
    counts = (treated, control, amount, amount, amount, amount)
    row = TickRow(metric=MetricName.FAULT, tick=tick_of(story), stratum="", counts=counts)
    with transaction(story.conn):
        record_reading(story.conn, story.campaign_id, WIDE, [row], through_us=to_us(story.now), now=story.now)


def test_a_budget_that_is_spent_by_proved_harm_pauses_until_an_approver_goes_on_for_as_much_again(
    story: Story,
) -> None:
    add_vehicles(story.conn, range(60))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=WIDE), control=WaveSize(vehicles=20), waves=(),
        ramp=HarmBudget(harmed_first=2, harmed_last=20, reaction_s=10),
    )  # fmt: skip
    assert succeed(story) == 2
    story.later(20)
    harms(story, treated=200, control=80)
    (decision,) = [decision for _, decision in story.tick().decisions]
    assert decision == Pause("budget_spent")
    assert newest(story) == ("pause", "budget_spent")
    with pytest.raises(Conflict, match="would pause again"):
        go_on(story, "ben", without_reports=False)
    with pytest.raises(Conflict, match="no report is missing"), transaction(story.conn):
        go_on_as(story, "ben", without_reports=True, beyond_budget=True)
    with pytest.raises(Forbidden, match="maker of a plan"):
        go_on_as(story, "ann", beyond_budget=True)
    go_on_as(story, "ben", beyond_budget=True)
    resumed = latest_fact(story.conn, kind=FactKind.CAMPAIGN_RESUMED, subject=story.campaign_id)
    assert resumed is not None
    proved = resumed.body["harm_accepted"]
    assert 20 <= proved < 200
    story.tick()
    assert story.campaign().state is CampaignState.RUNNING
    story.later(20)
    harms(story, treated=400, control=160)  # on top
    story.tick()
    assert newest(story) == ("pause", "budget_spent")
    with pytest.raises(Conflict, match="not spent"):
        go_on_as(story, "ben", beyond_budget=True, resumed_before=True)


def test_a_budget_over_the_whole_campaign_pauses_once_more_cannot_be_excluded_and_an_approver_adds_one(
    story: Story,
) -> None:
    """Both arms fail alike, so nothing is proved; time frees nobody who began."""
    add_vehicles(story.conn, range(60))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=WIDE), control=WaveSize(vehicles=20), waves=(),
        ramp=HarmBudget(harmed_first=2, harmed_last=2, reaction_s=10, counts="whole_campaign"),
    )  # fmt: skip
    assert succeed(story) == 2
    for times in (1, 2):
        story.later(200)
        harms(story, treated=4_000, control=4_000)
        assert [decision for _, decision in story.tick().decisions] == [Pause("budget_spent_unproved")]
        assert newest(story) == ("pause", "budget_spent_unproved")
        with pytest.raises(Conflict, match="cannot be excluded"):
            go_on(story, "ben", without_reports=False)
        with pytest.raises(Forbidden, match="maker of a plan"):
            go_on_as(story, "ann", beyond_budget=True)
        go_on_as(story, "ben", beyond_budget=True)
        story.later(20)
        harms(story, treated=0, control=0)
        (decision,) = [decision for _, decision in story.tick().decisions]
        assert isinstance(decision, Grow)
        assert decision.vehicles == succeed(story) > 0
        row = store.list_gate_decisions(story.conn, story.campaign_id)[0]
        assert row["facts"]["ramp"]["budgets"] == 1 + times


def go_on_as(story: Story, actor: str, **how: bool) -> None:
    """Resume; `resumed_before`: after somebody paused it by hand meanwhile."""
    if how.pop("resumed_before", False):
        go_on_as(story, actor, beyond_budget=True)
        with transaction(story.conn):
            store.pause(
                story.conn, story.ids, campaign_id=story.campaign_id, actor="eve", now=story.now,
                generation=story.campaign().generation, reason="lunch",
            )  # fmt: skip
    with transaction(story.conn):
        store.resume(
            story.conn, story.ids, campaign_id=story.campaign_id, actor=actor, now=story.now,
            generation=story.campaign().generation, four_eyes=True, **how,
        )  # fmt: skip


def test_a_wave_of_which_nothing_was_seen_opens_no_other(story: Story) -> None:
    add_vehicles(story.conn, range(40))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=COMPARED), control=WaveSize(vehicles=10), waves=(3, 5)
    )
    assert succeed(story) == 3
    story.later(20)
    sees(story, tick=tick_of(story))
    assert [decision for _, decision in story.tick().decisions] == [Advance()]
    assert succeed(story) == 5
    story.later(20)
    reads_nothing(story)
    story.tick()
    assert newest(story) == ("hold", "not_known: fault")
    story.later(65)
    reads_nothing(story)
    story.tick()
    assert newest(story) == ("pause", "not_known_for_good: fault")
    go_on(story, "ben")
    assert [decision for _, decision in story.tick().decisions] == [Advance("unknown_accepted")]


def test_a_wave_waits_while_telemetry_is_silent_and_goes_on_by_itself(story: Story) -> None:
    add_vehicles(story.conn, range(40))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=COMPARED), control=WaveSize(vehicles=10), waves=(3, 5)
    )
    assert succeed(story) == 3
    story.later(20)
    sees(story, tick=tick_of(story))
    with transaction(story.conn):
        tell_silence(story.conn, story.ids, Silence(since=story.now, why=Why.UNANSWERED), now=story.now)
    story.tick()
    assert newest(story) == ("hold", "telemetry_silent")
    story.later(1)
    seen = Watched(answered_s=0.0).after(Backlog(waiting=0, taken=0), now_s=1.0)
    with transaction(story.conn):
        assert tell_back(story.conn, story.ids, seen, asked_at=story.now, now=story.now)
    assert [decision for _, decision in story.tick().decisions] == [Advance()]


def lose(story: Story) -> None:
    with transaction(story.conn):
        tell_silence(story.conn, story.ids, Silence(since=story.now, why=Why.UNANSWERED), now=story.now)


def reads_nothing_for_ever(story: Story) -> list[tuple[str, str]]:
    """Telemetry stays silent for three minutes, longer than a window and than a reading is fresh."""
    decided = []
    for _ in range(12):
        story.later(15)
        reads_nothing(story)
        story.tick()
        decided.append(newest(story))
    return decided


def test_a_campaign_does_not_finish_on_windows_that_nobody_watched(story: Story) -> None:
    add_vehicles(story.conn, range(40))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=COMPARED), control=WaveSize(vehicles=10), waves=(30,)
    )
    assert succeed(story) == 30
    story.later(5)
    sees(story, tick=tick_of(story))
    lose(story)
    decided = reads_nothing_for_ever(story)
    assert (decided[0], ("hold", "telemetry_silent") in decided) == (("hold", "watching"), True)
    assert (decided[-1], story.campaign().state) == (("pause", "not_known_for_good: fault"), "paused")
    go_on(story, "ben")
    story.tick()
    assert (newest(story), story.campaign().state) == (("finish", "every_outcome_known"), "finished")


def test_an_approver_goes_on_past_telemetry_that_stays_silent(story: Story) -> None:
    add_vehicles(story.conn, range(40))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=COMPARED), control=WaveSize(vehicles=10), waves=(3,)
    )
    assert succeed(story) == 3
    story.later(5)
    sees(story, tick=tick_of(story))
    lose(story)
    decided = reads_nothing_for_ever(story)
    assert (decided[0], decided[-1]) == (("hold", "telemetry_silent"), ("pause", "not_known_for_good: fault"))
    go_on(story, "ben")
    assert [decision for _, decision in story.tick().decisions] == [Advance()]


def test_who_goes_on_where_no_reading_comes_releases_one_step_and_is_asked_again(story: Story) -> None:
    begin_a_ramp(story)
    story.later(20)
    sees(story, tick=tick_of(story))  # and no other, as the lake cannot be read
    story.tick()
    for step in (1, 2):
        story.later(120)
        story.tick()
        assert newest(story) == ("hold", "reading_too_old")
        story.later(60)
        story.tick()
        assert newest(story) == ("pause", "not_known_for_good: fault")
        assert len(story.vehicles("installed")) == 2 * step
        go_on(story, "ben")
        assert [decision for _, decision in story.tick().decisions] == [Grow(2, "unknown_accepted")]
        assert succeed(story) == 2
        story.tick()
        assert len(story.vehicles("offered")) == 0


def test_a_wave_of_which_no_reading_ever_comes_pauses_and_an_approver_goes_on(story: Story) -> None:
    add_vehicles(story.conn, range(40))
    story.start(
        gate=GatePolicy(reports_min=2, sequential=COMPARED), control=WaveSize(vehicles=10), waves=(3,)
    )
    assert succeed(story) == 3
    story.later(120)
    story.tick()
    assert newest(story) == ("hold", "no_reading")
    story.later(60)
    story.tick()
    assert newest(story) == ("pause", "not_known_for_good: fault")
    go_on(story, "ben")
    assert [decision for _, decision in story.tick().decisions] == [Advance("unknown_accepted")]
    assert succeed(story) == 27
    story.later(180)
    story.tick()
    assert newest(story) == ("pause", "not_known_for_good: fault")
    go_on(story, "ben")
    story.tick()
    assert (newest(story), story.campaign().state) == (("finish", "unknown_accepted"), "finished")
