"""Ways over several releases, over a real PostgreSQL: A, then B, and C only when B is confirmed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import SequentialPolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.retry import REASON_OF, RetryPolicy
from ringroad.ship.store.returns import read_before
from ringroad.storage.db import Connection, transaction
from support.fleet import ANY_WARNING, CountingIds, Story, add_vehicles, fill_programme, sha, vin
from support.manifests import manifest_of

pytestmark = pytest.mark.engines


@pytest.fixture
def story(conn: Connection) -> Story:
    """Releases 1 to 4; from 2 on the brake's software may be installed only over the one before."""
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0", "4.0.0"))
    conn.execute(
        "UPDATE software_package SET upgrades_from = '>=' || (release_counter - 1) || ', <' || release_counter"
        " WHERE ecu = 'brake' AND release_counter > 1"
    )
    return Story(conn, ids)


def actions(story: Story, name: str) -> list[tuple[str, str | None, str]]:
    rows = story.conn.execute(
        "SELECT kind, coalesce(a.release_id, c.release_id) AS release_id, a.state FROM assignment a"
        " JOIN campaign c ON c.id = a.campaign_id WHERE vin = %s ORDER BY action_id",
        [name],
    )
    return [(row["kind"], row["release_id"], row["state"]) for row in rows]


def open_action(story: Story, name: str) -> SimpleNamespace:
    row = story.conn.execute(
        "SELECT * FROM assignment WHERE vin = %s AND state IN ('offered', 'active')", [name]
    ).fetchone()
    assert row is not None
    return SimpleNamespace(**row)


def succeed(story: Story, name: str) -> None:
    story.later(10)
    story.ddi(open_action(story, name), "closed", "success")
    story.tick()


def test_a_vehicle_gets_each_release_after_the_one_before_is_confirmed(story: Story) -> None:
    add_vehicles(story.conn, [1])
    add_vehicles(story.conn, [3], version="3.0.0")
    plan = story.start(release="release_4.0.0", waves=(2,))
    assert [finding["code"] for finding in plan.findings] == ["one_wave", "vehicles_unheard", "steps_between"]
    assert actions(story, vin(3)) == [("update", "release_4.0.0", "offered")]
    assert actions(story, vin(1)) == [
        ("step", "release_2.0.0", "offered"),
        ("step", "release_3.0.0", "pending"),
        ("update", "release_4.0.0", "pending"),
    ]
    succeed(story, vin(1))
    assert [state for _, _, state in actions(story, vin(1))] == ["installed", "offered", "pending"]
    succeed(story, vin(1))
    assert [state for _, _, state in actions(story, vin(1))] == ["installed", "installed", "offered"]
    succeed(story, vin(1))
    succeed(story, vin(3))
    story.tick()
    assert story.campaign().state is CampaignState.FINISHED
    row = story.conn.execute("SELECT release_id FROM vehicle WHERE vin = %s", [vin(1)]).fetchone()
    assert row is not None
    assert row["release_id"] == "release_4.0.0"
    rows = story.conn.execute(
        "SELECT body ->> 'release_id' AS release_id FROM fact WHERE kind = %s AND subject = %s ORDER BY seq",
        [FactKind.VEHICLE_UPDATED.value, vin(1)],
    )
    assert [fact["release_id"] for fact in rows] == ["release_2.0.0", "release_3.0.0", "release_4.0.0"]


def test_a_native_vehicle_is_led_by_signed_bundles_and_its_manifests(story: Story) -> None:
    add_vehicles(story.conn, [1], gateway="native", version="2.0.0")
    story.start(release="release_4.0.0", waves=(1,))
    story.tick()
    story.tick()
    assert [content["vehicle_package"].release_id for content in story.issued] == ["release_3.0.0"]
    for version, expected in (("3.0.0", "release_4.0.0"), ("4.0.0", None)):
        story.later(10)
        with transaction(story.conn):
            manifest = manifest_of(story.conn, vin(1), version, ("brake", "head"))
            body = version.encode()
            store.apply_manifest(story.conn, story.ids, manifest=manifest, body=body, now=story.now)
        story.tick()
        if expected:
            assert story.issued[-1]["vehicle_package"].release_id == expected
    assert [state for _, _, state in actions(story, vin(1))] == ["installed", "installed"]
    assert story.campaign().state is CampaignState.FINISHED


def test_a_vehicle_whose_planned_way_still_leads_there_is_led_on_though_a_shorter_one_does_too(
    story: Story,
) -> None:
    add_vehicles(story.conn, [1])
    story.plan(release="release_4.0.0", waves=())
    story.conn.execute("UPDATE software_package SET upgrades_from = '*' WHERE version = '3.0.0'")
    story.conn.execute("UPDATE vehicle SET config_generation = config_generation + 1")
    story.approve_and_start()
    story.tick()
    assert actions(story, vin(1)) == [
        ("step", "release_2.0.0", "offered"),
        ("step", "release_3.0.0", "pending"),
        ("update", "release_4.0.0", "pending"),
    ]


def test_a_vehicle_that_refuses_since_a_confirmed_step_fell_back_failed(story: Story) -> None:
    add_vehicles(story.conn, [1], gateway="native")
    gate = GatePolicy(failed_permille_max=0, reports_min=1, silence_s_max=600)
    story.start(release="release_3.0.0", waves=(1,), gate=gate)
    story.tick()
    for version in ("2.0.0", "1.0.0"):
        story.later(10)
        with transaction(story.conn):
            manifest = manifest_of(story.conn, vin(1), version, ("brake", "head"))
            store.apply_manifest(
                story.conn, story.ids, manifest=manifest, body=version.encode(), now=story.now
            )
        story.tick()
    assert [state for _, _, state in actions(story, vin(1))] == ["installed", "offered"]
    story.native(open_action(story, vin(1)), "FAILED", kind="closed", code="upgrades_from", detail="over 2")
    story.later(5)
    story.tick()
    assert [state for _, _, state in actions(story, vin(1))] == ["installed", "failed"]
    assert story.campaign().state is CampaignState.HALTED


@pytest.mark.parametrize("gateway", ["ddi", "native"])
def test_a_vehicle_that_is_blocked_on_its_way_is_led_no_further(story: Story, gateway: str) -> None:
    add_vehicles(story.conn, [1], gateway=gateway, version="2.0.0")
    story.start(release="release_4.0.0", waves=(1,))
    story.tick()
    story.later(10)
    if gateway == "ddi":
        story.ddi(open_action(story, vin(1)), "closed", "success")
    else:
        with transaction(story.conn):
            manifest = manifest_of(story.conn, vin(1), "3.0.0", ("brake", "head"))
            store.apply_manifest(story.conn, story.ids, manifest=manifest, body=b"3", now=story.now)
    story.conn.execute("UPDATE vehicle SET blocked_reason = 'ROLLBACK_FAILED'")
    story.tick()
    story.tick()
    assert [state for _, _, state in actions(story, vin(1))] == ["installed", "cancelled"]


@pytest.mark.parametrize("gateway", ["ddi", "native"])
def test_what_a_step_replaced_is_not_what_the_update_after_it_replaced(story: Story, gateway: str) -> None:
    add_vehicles(story.conn, [1], gateway=gateway)
    story.conn.execute(
        "UPDATE release SET document = jsonb_set(document, '{variants,city,head}', '\"pkg_head_2.0.0\"')"
        " WHERE id = 'release_3.0.0'"
    )
    story.start(release="release_3.0.0", waves=(1,))
    for version, ecus in (("2.0.0", ("brake", "head")), ("3.0.0", ("brake",))):
        story.tick()
        story.later(10)
        if gateway == "ddi":
            story.ddi(open_action(story, vin(1)), "closed", "success", kind="closed")
        else:
            with transaction(story.conn):
                manifest = manifest_of(story.conn, vin(1), version, ecus)
                body = version.encode()
                store.apply_manifest(story.conn, story.ids, manifest=manifest, body=body, now=story.now)
        story.later(5)  # a report is folded some time after it came
        story.tick()
    assert [state for _, _, state in actions(story, vin(1))] == ["installed", "installed"]
    before = read_before(story.conn, [(story.campaign_id, vin(1))])[story.campaign_id, vin(1)]
    assert before["brake"].image_sha256 == sha("brake 2.0.0")
    assert before["brake"].filename == "brake-2.0.0.bin"
    assert before["head"].image_sha256 is None  # the release before names it, and the step brought it


@pytest.mark.parametrize(
    ("execution", "finished", "outcome"),
    [("closed", "failure", "failed"), ("canceled", "none", "cancelled")],
)
def test_a_broken_step_ends_the_way_as_it_ended(
    story: Story, execution: str, finished: str, outcome: str
) -> None:
    add_vehicles(story.conn, [1])
    add_vehicles(story.conn, [3], version="3.0.0")
    story.start(release="release_4.0.0", waves=(2,))
    story.later(5)
    story.ddi(open_action(story, vin(1)), execution, finished)
    story.tick()
    assert [state for _, _, state in actions(story, vin(1))] == [outcome] * 3
    last = story.vehicles(outcome)[0]
    assert last.state_detail.startswith("step to 2.0.0: ")
    halted = outcome == "failed"  # one bad of two, with a tenth allowed
    assert story.campaign().state is (CampaignState.HALTED if halted else CampaignState.RUNNING)


def test_a_vehicle_that_is_silent_on_its_way_counts_as_silent(story: Story) -> None:
    add_vehicles(story.conn, [1])
    story.start(release="release_4.0.0", waves=(1,))
    story.later(4_000)
    story.tick()
    assert [state for _, _, state in actions(story, vin(1))] == ["expired"] * 3
    (wave,) = store.read_wave_progress(story.conn, story.campaign_id)
    assert (wave["silent"], wave["lost"], wave["targeted"]) == (1, 0, 1)


def test_a_step_whose_release_is_withdrawn_is_never_offered(story: Story) -> None:
    add_vehicles(story.conn, [1])
    story.start(release="release_4.0.0", waves=(1,))
    story.conn.execute("UPDATE release SET state = 'withdrawn' WHERE id = 'release_3.0.0'")
    succeed(story, vin(1))
    story.tick()
    assert [state for _, _, state in actions(story, vin(1))] == ["installed", "failed", "failed"]
    assert story.vehicles("failed")[0].state_detail == ("step to 3.0.0: release 3.0.0 is not signed any more")


def test_a_halted_or_aborted_campaign_offers_no_further_step(story: Story) -> None:
    add_vehicles(story.conn, [1])
    story.start(release="release_4.0.0", waves=(1,))
    succeed(story, vin(1))
    with transaction(story.conn):
        store.abort(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
            actor="ann", reason="no", now=story.now,
        )  # fmt: skip
    story.tick()
    assert [state for _, _, state in actions(story, vin(1))] == ["installed", "cancelling", "cancelled"]


def test_a_paused_campaign_goes_on_with_the_step_it_was_at(story: Story) -> None:
    add_vehicles(story.conn, [1])
    story.start(release="release_4.0.0", waves=(1,))
    for act in (store.pause, store.resume):
        more: dict[str, Any] = {"reason": "x"} if act is store.pause else {}
        with transaction(story.conn):
            act(
                story.conn, story.ids, campaign_id=story.campaign_id, actor="ann", now=story.now,
                generation=story.campaign().generation, **more,
            )  # fmt: skip
    assert [state for _, _, state in actions(story, vin(1))] == ["offered", "pending", "pending"]


def test_later_waves_wait_with_all_of_their_steps(story: Story) -> None:
    add_vehicles(story.conn, range(1, 5))
    story.start(release="release_3.0.0", waves=(1,), gate=GatePolicy(reports_min=1, silence_s_max=600))
    first = story.vehicles("offered", kind="step")
    assert len(first) == 1
    started = story.conn.execute("SELECT body FROM fact WHERE kind = 'campaign.wave_started'").fetchone()
    assert started is not None
    assert started["body"]["vehicles"] == 1
    succeed(story, first[0].vin)
    assert len(story.vehicles("offered", kind="step")) == 0
    succeed(story, first[0].vin)
    story.tick()
    assert len(story.vehicles("offered", kind="step")) == 3


def test_a_vehicle_without_a_way_is_told_why(story: Story) -> None:
    add_vehicles(story.conn, [1])
    add_vehicles(story.conn, [3], version="3.0.0")
    story.conn.execute("UPDATE release SET state = 'withdrawn' WHERE id = 'release_2.0.0'")
    plan = story.plan(release="release_4.0.0", waves=(1,))
    row = story.conn.execute(
        "SELECT sentence FROM campaign_resolution WHERE plan_id = %s AND verdict = 'mismatch'", [plan.id]
    ).fetchone()
    assert row is not None
    assert row["sentence"] == (
        "brake 4.0.0 may be installed only over brake >=3, <4, but the vehicle runs brake 1.0.0,"
        " and no sequence of signed releases leads there. Release 3.0.0 between does not fit:"
        " brake 3.0.0 may be installed only over brake >=2, <3, but the vehicle runs brake 1.0.0."
    )


def test_a_budget_of_harm_does_not_lead_vehicles_over_releases(story: Story) -> None:
    add_vehicles(story.conn, range(1, 9))
    plan = story.plan(
        release="release_3.0.0", waves=(), ramp=HarmBudget(), control=WaveSize(vehicles=3),
        gate=GatePolicy(sequential=SequentialPolicy()),
    )  # fmt: skip
    assert "steps_with_ramp" in {finding["code"] for finding in plan.findings}
    with pytest.raises(Conflict), transaction(story.conn):
        store.approve(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
            actor="ben", four_eyes=True, acknowledged=ANY_WARNING, now=story.now,
        )  # fmt: skip


def test_a_step_that_is_tried_again_is_still_in_front_of_what_follows(story: Story) -> None:
    add_vehicles(story.conn, [1], gateway="native", version="2.0.0")
    story.start(
        release="release_4.0.0", waves=(1,), retry=RetryPolicy(attempts_max=2, first_s=60, last_s=60),
        gate=GatePolicy(reports_min=1, silence_s_max=600),
    )  # fmt: skip
    story.tick()
    failed = {"gateway": "native", "state": "FAILED", "code": next(iter(REASON_OF))}
    story.report(open_action(story, vin(1)), failed, kind="closed")
    story.later(5)
    story.tick()
    assert [state for _, _, state in actions(story, vin(1))] == ["pending", "pending"]
    story.later(120)
    for version in ("3.0.0", "4.0.0"):
        story.tick()
        story.later(10)
        with transaction(story.conn):
            manifest = manifest_of(story.conn, vin(1), version, ("brake", "head"))
            body = version.encode()
            store.apply_manifest(story.conn, story.ids, manifest=manifest, body=body, now=story.now)
    with transaction(
        story.conn
    ):  # what it says later is about its last action, not about the one with the highest number
        manifest = manifest_of(story.conn, vin(1), "4.0.0", ("brake", "head"))
        store.apply_manifest(story.conn, story.ids, manifest=manifest, body=b"again", now=story.now)
    assert sorted(actions(story, vin(1))) == [
        ("step", "release_3.0.0", "installed"), ("update", "release_4.0.0", "installed"),
    ]  # fmt: skip
