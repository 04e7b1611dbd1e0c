"""Campaigns that only download, and what a campaign asks of the driver on its way to a native vehicle."""

from __future__ import annotations

import pytest

from ringroad.adapt.store import due_outcomes
from ringroad.http import reading
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.kernel.facts import FactKind
from ringroad.protocol.vehicle import OBEYS_CONDUCT, Conduct
from ringroad.ship.gate import GatePolicy, Halt
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.ship.store.schedules import give_consent
from ringroad.storage.db import Connection, transaction
from ringroad.storage.ledger import read_facts
from support.fleet import CountingIds, Story, add_vehicles, fill_programme, vin

pytestmark = pytest.mark.engines


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    return Story(conn, ids)


def store_all(story: Story) -> int:
    story.tick()  # signs what waits
    offered = story.vehicles("offered")
    for action in offered:
        story.native(action, "DOWNLOADED", kind="closed")
    story.later(5)
    story.tick()
    return len(offered)


def test_a_campaign_that_only_downloads_goes_on_by_what_is_stored_and_installs_nothing(story: Story) -> None:
    add_vehicles(story.conn, range(6), gateway="native")
    story.start(waves=(2,), urgency="download_only")
    assert [store_all(story), store_all(story)] == [2, 4]
    assert story.campaign().state is CampaignState.FINISHED
    assert len(story.vehicles("downloaded")) == 6
    assert story.facts(FactKind.VEHICLE_DOWNLOADED) == 6
    assert story.facts(FactKind.VEHICLE_UPDATED) == 0
    kept = story.conn.execute("SELECT DISTINCT release_id FROM vehicle").fetchall()
    assert kept == [{"release_id": "release_1.0.0"}]
    finished = next(f for f in read_facts(story.conn) if f.kind is FactKind.CAMPAIGN_FINISHED)
    assert (finished.body["installed"], finished.body["download_only"]) == (0, True)
    assert due_outcomes(story.conn) == []  # there is nothing to compare: no vehicle runs it
    story.tick()
    empty = [each for each in story.issued if each["vehicle_package"] is None]
    assert len(empty) == 6  # the Director names the release no more


def test_a_later_campaign_installs_the_same_release_on_the_same_vehicles(story: Story) -> None:
    add_vehicles(story.conn, range(2), gateway="native")
    story.start(waves=(2,), urgency="download_only")
    store_all(story)
    plan = story.start(waves=(2,))
    assert plan.document["counts"]["match"] == 2
    story.tick()
    assert {each["vehicle_package"].conduct.urgency for each in story.issued[-2:]} == {"forced"}
    assert len(story.vehicles("offered")) == 2


def test_vehicles_that_cannot_store_it_halt_the_campaign(story: Story) -> None:
    add_vehicles(story.conn, range(8), gateway="native")
    story.start(waves=(4,), urgency="download_only")
    story.tick()
    first, *others = story.vehicles("offered")
    story.native(first, "FAILED", kind="closed")
    for action in others:
        story.native(action, "DOWNLOADED", kind="closed")
    story.later(5)
    ((_, decision),) = story.tick().decisions
    assert decision == Halt("too_many_failures")


def test_devices_on_ddi_that_store_it_are_counted_and_do_not_count_as_lost_when_they_then_keep_silent(
    story: Story,
) -> None:
    add_vehicles(story.conn, range(4))
    plan = story.start(waves=(4,), urgency="download_only", gate=GatePolicy(failed_permille_max=0))
    assert {each["code"] for each in plan.findings} >= {"download_only_not_told"}
    story.tick()
    one, two, three, four = story.vehicles("offered")
    story.conn.execute(
        'UPDATE vehicle SET attributes = \'{"honours_skip": "true"}\' WHERE vin <> %s', [four.vin]
    )
    shown = reading.assignments(story.conn, campaign_id=story.campaign_id, limit=9)
    assert [each.vin for each in shown if each.withheld] == [four.vin]  # it is told nothing, and why says so
    story.ddi(one, "downloaded")
    story.ddi(two, "closed", "success", kind="closed")
    body = {"gateway": "ddi", "execution": "proceeding", "finished": "none"}
    story.report(three, {**body, "details": ["File checksum OK."]})
    story.report(four, {**body, "details": ["Download complete."]})
    story.tick()
    assert [each.state for each in story.vehicles()] == ["downloaded", "downloaded", "downloaded", "active"]
    story.later(3_601)
    story.tick()
    assert [each.state for each in story.vehicles()].count("expired") == 1
    assert story.campaign().state is CampaignState.FINISHED  # silent, not lost: nothing was touched
    assert story.facts(FactKind.VEHICLE_UPDATED) == 0


def test_what_was_stored_says_nothing_of_how_installations_end(story: Story) -> None:
    add_vehicles(story.conn, range(3), gateway="native")
    story.start(waves=(3,), urgency="download_only", gate=GatePolicy(failed_permille_max=400))
    story.tick()
    first, *others = story.vehicles("offered")
    story.native(first, "FAILED", kind="closed")
    for action in others:
        story.native(action, "DOWNLOADED", kind="closed")
    story.later(5)
    story.tick()
    assert story.campaign().state is CampaignState.FINISHED
    plan = story.plan(waves=(2,))
    assert [past["failed"] for past in plan.document["past"].values()] == [0, 0]


@pytest.mark.parametrize(
    ("asked", "conduct", "held"),
    [
        ({}, Conduct(), False),
        ({"urgency": "soft"}, Conduct(urgency="soft"), False),
        ({"urgency": "download_only"}, Conduct(urgency="download_only"), True),
        ({"consent": True}, Conduct(consent=["download", "install"]), True),
        ({"consent": True, "consent_phases": ("activate",)}, Conduct(consent=["activate"]), True),
        ({"consent_phases": ("activate",)}, Conduct(), False),  # asked of nobody
    ],
)
def test_what_a_campaign_asks_of_the_driver_is_signed_for_the_vehicle(
    story: Story, asked: dict[str, object], conduct: Conduct, *, held: bool
) -> None:
    add_vehicles(story.conn, range(1), gateway="native")
    plan = story.start(waves=(1,), **asked)
    story.tick()
    (signed,) = [each["vehicle_package"] for each in story.issued]
    assert signed.conduct.install_s == plan.document["install_s_estimate"] > 0
    assert (signed.conduct.urgency, signed.conduct.consent) == (conduct.urgency, conduct.consent)
    assert (OBEYS_CONDUCT in signed.preconditions) is held


def test_a_plan_of_the_release_before_asks_before_download_and_installation(story: Story) -> None:
    add_vehicles(story.conn, range(1), gateway="native")
    story.start(waves=(1,), consent=True)
    story.conn.execute("UPDATE campaign_plan SET document = document #- '{request,consent_phases}'")
    story.tick()
    assert story.issued[-1]["vehicle_package"].conduct.consent == ["download", "install"]


@pytest.mark.parametrize(
    "more",
    [
        {"rollback_installed": True},
        {"control": WaveSize(vehicles=2)},
    ],
)
def test_a_plan_that_only_downloads_refuses_what_needs_vehicles_that_run_the_release(
    more: dict[str, object],
) -> None:
    with pytest.raises(InvalidInput, match="only downloads"):
        PlanRequest(query="all", urgency="download_only", **more)  # type: ignore[arg-type]


def test_all_that_a_plan_that_only_downloads_has_no_use_for_is_told_at_once() -> None:
    with pytest.raises(InvalidInput, match="a control group, a return after a halt"):
        PlanRequest(
            query="all", urgency="download_only", control=WaveSize(vehicles=2), rollback_installed=True
        )


def test_consent_that_asks_before_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="phase"):
        PlanRequest(query="all", consent=True, consent_phases=())


def test_whoever_runs_the_fleet_answers_for_the_driver_of_a_native_vehicle_that_asks(story: Story) -> None:
    add_vehicles(story.conn, range(3), gateway="native")
    story.start(waves=(3,), consent=True)
    story.tick()

    def answer(number: int, *, agree: bool) -> None:
        with transaction(story.conn):
            give_consent(story.conn, story.ids, vin=vin(number), agree=agree, actor="cabs", now=story.now)

    for action in story.vehicles("offered"):
        story.native(action, "AWAITING_CONSENT", code="consent", detail="waiting for consent to download")
    story.tick()
    answer(0, agree=True)
    answer(1, agree=False)
    rows = story.conn.execute(
        "SELECT state, consented_at IS NULL AS open FROM assignment ORDER BY vin"
    ).fetchall()
    assert [(row["state"], row["open"]) for row in rows] == [
        ("active", False), ("cancelling", True), ("active", True),
    ]  # fmt: skip
    with pytest.raises(Conflict):
        answer(0, agree=True)  # it is agreed
    story.native(story.vehicles("active")[1], "INSTALLING")
    story.tick()
    with pytest.raises(Conflict):
        answer(2, agree=True)  # it has begun
    (told,) = story.vehicles("cancelling")
    story.report(told, {"gateway": "native", "state": "CANCELLED", "code": "cancelled"}, kind="closed")
    story.tick()
    assert len(story.vehicles("cancelled")) == 1
    assert (story.facts(FactKind.VEHICLE_CONSENTED), story.facts(FactKind.VEHICLE_DECLINED)) == (1, 1)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({}, "not_asked"),  # on its way to the question
        ({"code": "postponed", "detail": "put off by ann"}, "not_asked"),
        ({"code": "precondition", "detail": "Vehicle.Speed == 0"}, "not_asked"),
        (
            {"code": "consent", "detail": "waiting for consent to download by the driver alone"},
            "driver_alone",
        ),
    ],
)
def test_nobody_agrees_for_a_vehicle_that_does_not_ask_or_hears_its_driver_alone(
    story: Story, said: dict[str, str], code: str
) -> None:
    add_vehicles(story.conn, range(1), gateway="native")
    story.start(waves=(1,), consent=True)
    story.tick()

    def answer(*, agree: bool) -> None:
        with transaction(story.conn):
            give_consent(story.conn, story.ids, vin=vin(0), agree=agree, actor="cabs", now=story.now)

    with pytest.raises(Conflict, match="asks nothing now"):
        answer(agree=True)  # offered, and silent
    (action,) = story.vehicles("offered")
    story.native(action, "AWAITING_CONSENT", **said)
    story.tick()
    with pytest.raises(Conflict) as refused:
        answer(agree=True)
    assert refused.value.code == code
    assert story.facts(FactKind.VEHICLE_CONSENTED) == 0
    answer(agree=False)
    assert story.vehicles()[0].state == "cancelling"  # a no is always heard: it is told to stop
    story.native(action, "DOWNLOADING")  # it has not heard yet
    story.tick()
    assert (story.vehicles()[0].state, story.vehicles()[0].state_detail) == ("cancelling", "declined by cabs")
    story.native(
        action, "CANCELLED", kind="closed", code="cancelled", detail="its campaign took the update back"
    )
    story.tick()
    ended = story.vehicles()[0]
    assert (ended.state, ended.state_detail) == ("cancelled", "consent_denied: declined by cabs")


def test_a_no_for_a_driver_of_a_ddi_device_ends_with_whose_it_was(story: Story) -> None:
    add_vehicles(story.conn, range(2))
    story.start(waves=(2,), consent=True)
    one, other = story.vehicles("offered")
    with transaction(story.conn):
        give_consent(
            story.conn, story.ids, vin=one.vin, agree=False, actor="ann", now=story.now, shown="cabs"
        )
    refusal = {"gateway": "ddi", "confirmation": "denied", "details": []}
    story.report(other, refusal, kind="confirmation")
    story.later(2 * 86_400)
    for _ in range(2):
        story.tick()
    assert [(action.state, action.state_detail) for action in story.vehicles()] == [
        ("cancelled", "consent_denied: declined by cabs"), ("cancelled", "consent_denied"),
    ]  # fmt: skip


def test_what_a_driver_says_on_board_is_a_fact_once(story: Story) -> None:
    add_vehicles(story.conn, range(1), gateway="native")
    story.start(waves=(1,), consent=True)
    story.tick()
    (action,) = story.vehicles("offered")
    said = {"gateway": "native", "state": "AWAITING_CONSENT", "detail": "said by ann, release notes abc"}
    for key in ("one", "one", "two"):
        story.report(action, {**said, "code": "consent_given"}, key=key)
    story.report(action, {**said, "code": "consent_denied"})
    story.report(action, {**said, "state": "CANCELLED", "code": "consent_denied"}, kind="closed")
    story.report(action, {**said, "code": "consent_given"}, key="late")  # the action is closed
    story.tick()
    assert (story.facts(FactKind.VEHICLE_CONSENTED), story.facts(FactKind.VEHICLE_DECLINED)) == (2, 1)
    (declined,) = [fact for fact in read_facts(story.conn) if fact.kind is FactKind.VEHICLE_DECLINED]
    assert declined.actor == f"vehicle:{action.vin}"
    assert declined.body["said"] == "said by ann, release notes abc"
