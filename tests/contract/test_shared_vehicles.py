"""Campaigns that share vehicles: priorities, an emergency recall, and several programmes at once."""

from __future__ import annotations

import itertools
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ringroad.http import reading
from ringroad.http.console.why import waits_for
from ringroad.kernel.errors import Conflict, Forbidden
from ringroad.kernel.facts import Fact, FactKind
from ringroad.loop import reconciler
from ringroad.loop.lookout import REST_S_MAX, Lookout
from ringroad.loop.reconciler import evaluate
from ringroad.ship import store
from ringroad.ship.gate import GateDecision, GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.storage.db import Connection, transaction
from ringroad.storage.ledger import read_facts
from support.fleet import ANY_WARNING, CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines


class SlowMachine:
    """Each look at the clock is 100 ms after the one before: a look at everything is dear, a gate is cheap."""

    def __init__(self) -> None:
        self._looks = itertools.count()

    def now(self) -> datetime:
        raise AssertionError("nobody asks this clock for the time of day")

    def monotonic_s(self) -> float:
        return next(self._looks) * 0.1


@pytest.fixture(params=["every vehicle", "vehicles that changed"])
def world(request: pytest.FixtureRequest, conn: Connection) -> SimpleNamespace:
    """A programme, and what a round looks at."""
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    lookout = Lookout(SlowMachine()) if request.param == "vehicles that changed" else None
    return SimpleNamespace(conn=conn, ids=ids, lookout=lookout)


def begin(world: SimpleNamespace, *, recall: bool = False, **more: object) -> Story:
    """A campaign that runs, of one wave unless it says more."""
    story = Story(world.conn, world.ids)
    story.lookout = world.lookout
    story.plan(**{"waves": (), "recall": recall, **more})  # type: ignore[arg-type]
    given: dict[str, Any] = {"campaign_id": story.campaign_id, "now": story.now}
    with transaction(story.conn):
        store.approve(
            story.conn, story.ids, generation=story.campaign().generation, actor="ben", four_eyes=True,
            recall=recall, acknowledged=ANY_WARNING, **given,
        )  # fmt: skip
    with transaction(story.conn):
        store.start(story.conn, story.ids, generation=story.campaign().generation, actor="ann", **given)
    return story


def states(story: Story) -> list[str]:
    return [action.state for action in story.vehicles()]


def install(story: Story) -> None:
    for action in story.vehicles("offered"):
        story.ddi(action, "closed", "success", kind="closed")
    story.later(5)
    story.tick()


def kinds_of(facts: list[Fact], *wanted: FactKind) -> list[Fact]:
    return [fact for fact in facts if fact.kind in wanted]


def test_the_higher_priority_is_served_first_and_the_lower_one_after_it(world: SimpleNamespace) -> None:
    add_vehicles(world.conn, range(2))
    blocker = begin(world, release="release_2.0.0", priority=1)
    low = begin(world, release="release_3.0.0")
    high = begin(world, release="release_3.0.0", priority=2)
    assert (states(blocker), states(low), states(high)) == (["offered"] * 2, ["pending"] * 2, ["pending"] * 2)
    install(blocker)  # priority does not take away what is offered; it is served next
    assert (states(blocker), states(low), states(high)) == (
        ["installed"] * 2,
        ["pending"] * 2,
        ["offered"] * 2,
    )
    install(high)
    assert states(high) == ["installed"] * 2
    assert states(low) == ["cancelled"] * 2  # it brings nothing that the vehicles do not have by now
    assert {action.state_detail for action in low.vehicles()} == {"already_installed"}


def test_an_older_release_is_not_offered_after_a_newer_one_came_first(world: SimpleNamespace) -> None:
    add_vehicles(world.conn, range(2))
    add_vehicles(world.conn, range(2, 4), gateway="native")
    high = begin(world, release="release_3.0.0", priority=2)
    low = begin(world, release="release_2.0.0")
    install(high)
    assert [action.state for action in low.vehicles()] == ["cancelled"] * 2 + ["pending"] * 2
    assert low.vehicles("cancelled")[0].state_detail == "mismatch: release_counter: brake runs 3"
    assert low.campaign().state is CampaignState.RUNNING  # the native vehicles have not ended the first one


def test_what_comes_after_returns_to_what_was_there_before_it(world: SimpleNamespace) -> None:
    add_vehicles(world.conn, range(2))
    first = begin(world, release="release_2.0.0", priority=2)
    second = begin(world, release="release_3.0.0", rollback_installed=True)
    install(first)
    assert states(second) == ["offered"] * 2
    assert {action.previous_release_id for action in second.vehicles()} == {"release_2.0.0"}


def test_of_two_campaigns_of_one_priority_the_second_is_refused(world: SimpleNamespace) -> None:
    add_vehicles(world.conn, range(4))
    begin(world, priority=3)
    other = Story(world.conn, world.ids)
    plan = other.plan(release="release_3.0.0", priority=3)
    assert [finding["code"] for finding in plan.findings if finding["severity"] == "blocking"] == [
        "other_open_campaign"
    ]
    assert other.campaign().plan_id is None


def test_a_recall_takes_the_place_of_what_waits_never_of_what_is_being_installed(
    world: SimpleNamespace,
) -> None:
    add_vehicles(world.conn, range(4))
    fix = begin(world, release="release_2.0.0", priority=9)
    working, told, *_ = fix.vehicles()
    fix.ddi(working, "proceeding")
    fix.tick()
    fix.ddi(told, "proceeding")  # acknowledged, not folded yet
    recall = begin(world, release="release_3.0.0", recall=True)
    assert states(fix) == ["active", "offered", "pending", "pending"]
    assert states(recall) == ["pending", "pending", "offered", "offered"]
    assert fix.vehicles("pending")[0].state_detail == "gave way to the emergency recall fix"
    recall.tick()
    assert states(fix) == ["active", "active", "pending", "pending"]
    install(recall)
    assert states(recall) == ["pending", "pending", "installed", "installed"]
    for action in (working, told):
        fix.ddi(action, "closed", "success", kind="closed")
    fix.later(5)
    fix.tick()
    fix.tick()
    assert states(recall) == ["offered", "offered", "installed", "installed"]


@pytest.mark.parametrize("gateway", ["ddi", "native"])
def test_vehicles_of_a_recalls_later_waves_are_kept_for_it(world: SimpleNamespace, gateway: str) -> None:
    add_vehicles(world.conn, range(4), gateway=gateway)

    def rounds(story: Story) -> None:
        for _ in range(3):
            story.later(5)
            story.tick()

    fix = begin(world, release="release_2.0.0", priority=9)
    rounds(fix)
    assert states(fix) == ["offered"] * 4
    recall = begin(world, release="release_3.0.0", recall=True, waves=(2,))
    recall.now = fix.now
    rounds(recall)
    assert sorted(states(recall)) == ["offered", "offered", "pending", "pending"]
    assert states(fix) == ["pending"] * 4  # those of the second wave, too, wait for the recall
    late = begin(world, release="release_2.0.0", priority=5, query="variant = city")
    late.now = recall.now
    rounds(late)
    assert states(late) == ["pending"] * 2
    given: dict[str, Any] = {
        "campaign_id": recall.campaign_id,
        "actor": "ann",
        "reason": "x",
        "now": late.now,
    }
    with transaction(recall.conn):
        store.pause(recall.conn, recall.ids, generation=recall.campaign().generation, **given)
    rounds(late)
    assert (states(fix), states(late)) == (["pending"] * 4, ["pending"] * 2)  # a pause gives nobody away
    told = {action.vin for action in recall.vehicles() if action.offered_at}
    with transaction(recall.conn):
        store.abort(recall.conn, recall.ids, generation=recall.campaign().generation, **given)
    rounds(late)
    assert {action.vin for action in fix.vehicles("offered")} == {
        action.vin for action in fix.vehicles()
    } - told
    assert states(late) == ["pending"] * 2  # the other one goes first


def test_what_gave_way_goes_on_after_the_recall_and_the_ledger_says_so(world: SimpleNamespace) -> None:
    add_vehicles(world.conn, range(3), version="2.0.0")
    fix = begin(world, release="release_3.0.0")
    recall = begin(world, release="release_3.0.0", query="variant = city", recall=True)
    assert sorted(states(fix)) == ["offered", "offered", "pending"]
    with transaction(recall.conn):
        store.abort(
            recall.conn, recall.ids, campaign_id=recall.campaign_id, generation=recall.campaign().generation,
            actor="ann", reason="false alarm", now=recall.now,
        )  # fmt: skip
    for action in recall.vehicles("cancelling"):
        recall.ddi(action, "closed", "success", kind="cancel")
    recall.tick()
    assert states(fix) == ["offered"] * 3
    facts = {fact.id: fact for fact in read_facts(world.conn)}
    (gave_way,) = kinds_of(list(facts.values()), FactKind.VEHICLES_PREEMPTED)
    assert gave_way.subject == fix.campaign_id
    assert gave_way.body["recall"] == recall.campaign_id
    assert [facts[cause].subject for cause in gave_way.causes] == [recall.campaign_id]
    offers = [
        fact
        for fact in kinds_of(list(facts.values()), FactKind.VEHICLES_OFFERED)
        if fact.subject == fix.campaign_id
    ]
    assert offers[-1].body["actions"] == gave_way.body["actions"]
    assert gave_way.id in offers[-1].causes


def fetched(story: Story, action: SimpleNamespace) -> None:
    """The gateway notes that the image was handed out whole; the device has said nothing yet."""
    story.report(action, {"gateway": "ddi"}, kind="fetched")


@pytest.mark.parametrize("answer", ["closed", "proceeding, then closed", "rejected", "installed", "none"])
def test_a_device_that_may_have_begun_is_told_to_cancel_for_a_recall(
    world: SimpleNamespace, answer: str
) -> None:
    add_vehicles(world.conn, (1, 3))
    fix = begin(world, release="release_3.0.0")
    (mine, _) = fix.vehicles("offered")
    fetched(fix, mine)
    fix.tick()
    recall = begin(world, release="release_2.0.0", recall=True)
    recall.now = fix.now
    recall.tick()
    assert states(fix) == ["cancelling", "pending"]
    assert states(recall) == ["pending", "offered"]  # one thing at a time
    assert fix.vehicles("cancelling")[0].state_detail == "gave way to the emergency recall fix"
    assert fix.vehicles("cancelling")[0].deadline_at == mine.deadline_at
    kinds = [
        row["kind"]
        for row in fix.conn.execute(
            "SELECT kind FROM fact WHERE body ->> 'recall' = %s", [recall.campaign_id]
        )
    ]
    assert kinds == ["vehicles.preempted", "vehicles.cancelling"]
    if answer == "none":
        recall.later(3_700)
        recall.tick()
        assert (states(fix)[0], states(recall)[0]) == ("expired", "offered")
        return
    match answer:
        case "rejected":
            fix.ddi(mine, "rejected", kind="cancel")
            fix.tick()
            assert (states(fix)[0], states(recall)[0]) == ("active", "pending")
            fix.ddi(mine, "closed", "success", kind="closed")
        case "installed":
            fix.ddi(mine, "closed", "success", kind="closed")
        case "closed":
            fix.ddi(mine, "closed", "success", kind="cancel")
        case _:
            fix.ddi(mine, "proceeding")
            fix.ddi(mine, "proceeding", kind="cancel")
            fix.tick()
            assert fix.vehicles("cancelling")[0].state_detail == "gave way to the emergency recall fix"
            fix.ddi(mine, "closed", "success", kind="cancel")
    for _ in range(2):
        recall.tick()
    if answer in ("rejected", "installed"):  # it runs what is newer than the recall's
        assert (states(fix)[0], states(recall)[0]) == ("installed", "cancelled")
        return
    assert states(recall)[0] == "offered"
    (waits, _) = fix.vehicles("pending")
    assert (waits.action_id != mine.action_id, waits.began_at) == (True, None)
    install(recall)
    for _ in range(2):
        fix.tick()
    assert sorted(states(fix)) == ["offered", "offered"]


def test_a_device_that_cancelled_for_a_recall_does_not_go_on_with_what_was_stopped_since(
    world: SimpleNamespace,
) -> None:
    add_vehicles(world.conn, (1, 3))
    fix = begin(world, release="release_3.0.0")
    (mine, _) = fix.vehicles("offered")
    fetched(fix, mine)
    fix.tick()
    recall = begin(world, release="release_2.0.0", recall=True)
    given: dict[str, Any] = {"actor": "ann", "reason": "x", "now": fix.now}
    with transaction(fix.conn):
        store.abort(
            fix.conn, fix.ids, campaign_id=fix.campaign_id, generation=fix.campaign().generation, **given
        )
    fix.ddi(mine, "closed", "success", kind="cancel")
    for _ in range(2):
        recall.tick()
    assert (states(fix), states(recall)) == (["cancelled"] * 2, ["offered"] * 2)


@pytest.mark.parametrize("how", ["abort", "halt"])
def test_a_campaign_is_stopped_though_its_vehicles_gave_way_to_a_recall(
    world: SimpleNamespace, how: str
) -> None:
    add_vehicles(world.conn, range(4))
    fix = begin(world, release="release_2.0.0")
    working = fix.vehicles()[0]
    fix.ddi(working, "proceeding")
    fix.tick()
    recall = begin(world, release="release_3.0.0", query="variant = premium", recall=True)
    assert states(fix) == ["active", "offered", "pending", "offered"]
    with transaction(fix.conn):
        if how == "halt":
            store.halt(fix.conn, fix.ids, fix.campaign(), actor="rule:gate", reason="x", now=fix.now)
        else:
            store.abort(
                fix.conn, fix.ids, campaign_id=fix.campaign_id, generation=fix.campaign().generation,
                actor="ann", reason="x", now=fix.now,
            )  # fmt: skip
    assert states(fix) == ["cancelling", "cancelling", "cancelled", "cancelling"]
    assert states(recall) == ["pending", "offered"]


def test_a_campaign_is_resumed_though_another_one_has_its_vehicles_by_now(world: SimpleNamespace) -> None:
    add_vehicles(world.conn, range(2))
    fix = begin(world, release="release_2.0.0")
    given: dict[str, Any] = {"campaign_id": fix.campaign_id, "actor": "ann", "now": fix.now}
    with transaction(fix.conn):
        store.pause(fix.conn, fix.ids, generation=fix.campaign().generation, reason="x", **given)
    other = begin(world, release="release_3.0.0", priority=1)
    assert (states(fix), states(other)) == (["pending"] * 2, ["offered"] * 2)
    with transaction(fix.conn):
        store.resume(fix.conn, fix.ids, generation=fix.campaign().generation, **given)
    fix.tick()
    assert (states(fix), states(other)) == (["pending"] * 2, ["offered"] * 2)


def test_a_native_vehicle_gives_way_too_and_gets_the_recalls_bundle(world: SimpleNamespace) -> None:
    add_vehicles(world.conn, range(2), gateway="native")
    fix = begin(world, release="release_2.0.0", priority=9)
    fix.tick()
    assert states(fix) == ["offered"] * 2
    recall = begin(world, release="release_3.0.0", recall=True)
    recall.tick()
    assert (states(fix), states(recall)) == (["pending"] * 2, ["offered"] * 2)
    assert {bundle["vehicle_package"].release_id for bundle in recall.issued} == {"release_3.0.0"}
    for action in recall.vehicles():
        recall.native(action, "FAILED")
    fix.later(5)
    fix.tick()
    fix.tick()
    assert states(fix) == ["offered"] * 2


@pytest.fixture
def overtaken(conn: Connection) -> SimpleNamespace:
    """A native vehicle that opened what it was offered; before it said so, another campaign took the place."""
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    world = SimpleNamespace(conn=conn, ids=ids, lookout=None)
    add_vehicles(conn, [1], gateway="native")
    fix = begin(world, release="release_3.0.0")
    fix.tick()
    (opened,) = fix.vehicles("offered")
    return SimpleNamespace(fix=fix, opened=opened, begin=lambda **more: begin(world, **more))


def say_superseded(story: Story, action: SimpleNamespace) -> None:
    story.native(action, "SYNCING")
    story.native(action, "SUPERSEDED", kind="closed", code="superseded", detail="by action 2")


@pytest.mark.parametrize("ahead", ["a recall", "a higher priority", "a recall that nobody answered"])
def test_a_vehicle_that_dropped_what_gave_way_gets_it_again_under_a_new_number(
    overtaken: SimpleNamespace, ahead: str
) -> None:
    fix, opened = overtaken.fix, overtaken.opened
    given: dict[str, Any] = {"campaign_id": fix.campaign_id, "actor": "ann", "now": fix.now}
    if ahead == "a higher priority":
        with transaction(fix.conn):
            store.pause(fix.conn, fix.ids, generation=fix.campaign().generation, reason="x", **given)
        other = overtaken.begin(release="release_2.0.0", priority=5)
        other.tick()
        with transaction(fix.conn):
            store.resume(fix.conn, fix.ids, generation=fix.campaign().generation, **given)
    else:
        other = overtaken.begin(release="release_2.0.0", recall=True)
        other.tick()
    (told,) = other.vehicles("offered")
    if ahead == "a recall that nobody answered":
        other.later(3_700)
        other.tick()
        assert states(fix) == ["offered"]  # again, under the number that the vehicle keeps as ended
    say_superseded(other, opened)
    other.later(5)
    other.tick()
    (again,) = fix.vehicles()
    if ahead != "a recall that nobody answered":
        assert again.state == "pending"
        assert again.state_detail.startswith("gave way to ")
        other.native(told, "FAILED", kind="closed")
        other.later(5)
        for _ in range(2):
            other.tick()
    else:
        other.tick()
    (again,) = fix.vehicles("offered")
    assert again.action_id > opened.action_id
    assert again.attempt == 1
    (fact,) = kinds_of(list(read_facts(fix.conn)), FactKind.VEHICLE_OVERTAKEN)
    assert (fact.subject, fact.body["by"]) == (opened.vin, other.campaign_id)
    assert (fact.body["action_id"], fact.body["next_action_id"]) == (opened.action_id, again.action_id)
    other.native(again, "FAILED", kind="closed")  # its outcome counts
    other.tick()
    assert states(fix) == ["failed"]


@pytest.mark.parametrize(
    "why", ["nothing was told in its place", "said of the new number too", "it had begun"]
)
def test_what_no_other_campaign_took_the_place_of_does_not_wait_again(
    overtaken: SimpleNamespace, why: str
) -> None:
    fix, opened = overtaken.fix, overtaken.opened
    if why != "nothing was told in its place":
        recall = overtaken.begin(release="release_2.0.0", recall=True)
        recall.tick()
    if why == "it had begun":
        fix.native(opened, "INSTALLING")
    say_superseded(fix, opened)
    fix.later(5)
    fix.tick()
    if why == "said of the new number too":
        fix.native(recall.vehicles("offered")[0], "FAILED", kind="closed")
        for _ in range(2):
            fix.tick()
        (again,) = fix.vehicles("offered")
        say_superseded(fix, again)
        fix.later(5)
        fix.tick()
    assert states(fix) == ["cancelled"]


def test_an_update_that_was_taken_back_from_a_vehicle_that_dropped_it_is_cancelled(
    overtaken: SimpleNamespace,
) -> None:
    fix, opened = overtaken.fix, overtaken.opened
    recall = overtaken.begin(release="release_2.0.0", recall=True)
    recall.tick()
    say_superseded(fix, opened)
    fix.later(5)
    fix.tick()
    assert states(fix) == ["pending"]
    with transaction(fix.conn):
        store.abort(
            fix.conn, fix.ids, campaign_id=fix.campaign_id, generation=fix.campaign().generation,
            actor="ann", reason="x", now=fix.now,
        )  # fmt: skip
    assert states(fix) == ["cancelled"]  # it knows nothing of the new number


@pytest.mark.parametrize(("actor", "recall"), [("ann", True), ("ben", False)])
def test_a_recall_is_approved_as_one_by_somebody_else(
    world: SimpleNamespace, actor: str, *, recall: bool
) -> None:
    add_vehicles(world.conn, range(2))
    story = Story(world.conn, world.ids)
    story.plan(recall=True)
    generation = story.campaign().generation
    with pytest.raises(Forbidden if recall else Conflict), transaction(story.conn):
        store.approve(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=generation, actor=actor,
            four_eyes=False, recall=recall, acknowledged=ANY_WARNING, now=story.now,
        )  # fmt: skip
    assert story.campaign().state is CampaignState.PLANNED


def test_a_common_campaign_cannot_be_approved_as_a_recall(world: SimpleNamespace) -> None:
    add_vehicles(world.conn, range(2))
    story = Story(world.conn, world.ids)
    story.plan()
    with pytest.raises(Conflict), transaction(story.conn):
        store.approve(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
            actor="ben", four_eyes=True, recall=True, acknowledged=ANY_WARNING, now=story.now,
        )  # fmt: skip


def add_programme(world: SimpleNamespace, name: str, numbers: range) -> None:
    """Copy the programme, its releases and packages under another name, with vehicles of its own."""
    conn = world.conn
    conn.execute(
        "INSERT INTO programme (id, digest, source, document, imported_at)"
        " SELECT %s, digest, source, document, imported_at FROM programme WHERE id = 'roadster'", [name]
    )  # fmt: skip
    conn.execute(
        "INSERT INTO software_package (id, programme_id, ecu, name, version, filename, format, hardware_ids,"
        " image_sha256, image_sha512, image_bytes, release_counter, added_at)"
        " SELECT id || %(name)s, %(name)s, ecu, name, version, %(name)s || filename, format, hardware_ids, image_sha256,"
        " image_sha512, image_bytes, release_counter, added_at FROM software_package WHERE programme_id = 'roadster'",
        {"name": name},
    )
    conn.execute(
        "INSERT INTO release (id, programme_id, name, version, state, lap_id, document, created_by, created_at, signed_at)"
        " SELECT id || %(name)s, %(name)s, name, version, state, lap_id,"
        " replace(replace(document::text, '.0.0\"}', '.0.0' || %(name)s || '\"}'), '.0.0\",', '.0.0' || %(name)s || '\",')::jsonb,"
        " created_by, created_at, signed_at FROM release WHERE programme_id = 'roadster'",
        {"name": name},
    )
    vins = add_vehicles(conn, numbers)
    conn.execute(
        "UPDATE vehicle SET programme_id = %(name)s, release_id = release_id || %(name)s WHERE vin = ANY (%(vins)s)",
        {"name": name, "vins": vins},
    )


def test_three_campaigns_of_three_programmes_run_at_once_and_each_is_judged_by_its_own(
    world: SimpleNamespace,
) -> None:
    add_vehicles(world.conn, range(10))
    add_programme(world, "wagon", range(10, 20))
    add_programme(world, "truck", range(20, 30))
    gate = GatePolicy(failed_permille_max=300, reports_min=2, silence_s_max=600)
    good, bad, slow = (
        begin(world, release=f"release_2.0.0{name}", gate=gate) for name in ("", "wagon", "truck")
    )
    assert [len(story.vehicles("offered")) for story in (good, bad, slow)] == [10, 10, 10]
    for action in good.vehicles():
        good.ddi(action, "closed", "success", kind="closed")
    for action in bad.vehicles()[:4]:
        bad.ddi(action, "closed", "failure", kind="closed")
    for action in slow.vehicles()[:4]:
        slow.ddi(action, "closed", "success", kind="closed")
    good.later(5)
    round_ = good.tick()
    assert {campaign_id for campaign_id, _ in round_.decisions} == {good.campaign_id, bad.campaign_id}
    assert [story.campaign().state.value for story in (good, bad, slow)] == ["finished", "halted", "running"]
    for story, programme in ((good, "roadster"), (bad, "wagon"), (slow, "truck")):
        owners = world.conn.execute(
            "SELECT DISTINCT v.programme_id FROM assignment a JOIN vehicle v ON v.vin = a.vin WHERE a.campaign_id = %s",
            [story.campaign_id],
        ).fetchall()
        assert owners == [{"programme_id": programme}]
    halted = kinds_of(list(read_facts(world.conn)), FactKind.CAMPAIGN_HALTED)
    assert [fact.subject for fact in halted] == [bad.campaign_id]


class HandClock:
    """Stands until it is told."""

    at_s = 0.0

    def now(self) -> datetime:
        raise AssertionError("nobody asks this clock for the time of day")

    def monotonic_s(self) -> float:
        return self.at_s


def test_nobody_is_told_of_a_campaign_whose_gate_could_not_look_until_it_has_looked(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, ids = HandClock(), CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    world = SimpleNamespace(conn=conn, ids=ids, lookout=Lookout(clock))
    add_vehicles(conn, range(2))
    first = begin(world, release="release_2.0.0", priority=9)
    add_vehicles(conn, range(2, 4), gateway="native")
    blind = begin(world, release="release_3.0.0", priority=5)
    low = begin(world, release="release_3.0.0")

    def stall(conn: Connection, ids: CountingIds, campaign_id: str, **given: Any) -> GateDecision:
        if campaign_id != blind.campaign_id:
            return evaluate(conn, ids, campaign_id, **given)
        clock.at_s += 1.0  # so that it rests, and rounds go on without it
        raise ValueError("the plan does not read back")

    monkeypatch.setattr(reconciler, "evaluate", stall)
    install(first)
    for _ in range(3):
        blind.tick()
    assert states(first) == ["installed"] * 2
    assert (states(blind), states(low), blind.issued) == (["pending"] * 4, ["pending"] * 4, [])
    monkeypatch.setattr(reconciler, "evaluate", evaluate)
    clock.at_s += REST_S_MAX
    blind.tick()
    assert (states(blind), states(low)) == (["offered"] * 4, ["pending"] * 4)
    assert len(blind.issued) == 2


def test_a_vehicle_names_the_paused_campaign_whose_update_it_never_ended(world: SimpleNamespace) -> None:
    """No deadline is held against it while that one is paused, and others wait for it."""
    add_vehicles(world.conn, range(2))
    first = begin(world)
    silent, other = first.vehicles()
    first.ddi(silent, "proceeding")
    first.later(1)
    first.tick()
    with transaction(world.conn):
        store.pause(
            world.conn, world.ids, campaign_id=first.campaign_id, generation=first.campaign().generation, actor="ann",
            reason="wait", now=first.now,
        )  # fmt: skip
    second = begin(world, recall=True, release="release_3.0.0")
    listed = reading.assignments(world.conn, campaign_id=second.campaign_id)
    assert {each.vin: each.behind for each in listed} == {silent.vin: "fix", other.vin: ""}
    of_vehicle = reading.assignments(world.conn, vin=silent.vin)
    (waits,) = [each for each in of_vehicle if each.campaign_id == second.campaign_id]
    assert (waits.behind, waits.behind_state) == ("fix", "paused")
    assert "paused: no deadline ends it" in waits_for(waits, now=second.now)
