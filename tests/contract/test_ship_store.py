"""The ship store over a real PostgreSQL: plans, approval, manifests, previews."""

from __future__ import annotations

import contextlib
import threading
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from ringroad.http import reading
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.hours import Window
from ringroad.loop.campaigns import create_campaign, plan_campaign
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.ship.query import QueryError, parse_query
from ringroad.ship.store.manifests import ManifestResult
from ringroad.storage.db import Connection, connect, load_queries, transaction
from support.fleet import (
    ANY_WARNING,
    T0,
    CountingIds,
    Story,
    add_vehicles,
    fill_programme,
    vin,
    wait_for_locks,
)
from support.manifests import manifest_of

pytestmark = pytest.mark.engines
BOTH = ("brake", "head")


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    return Story(conn, ids)


def confirm(story: Story, name: str, version: str = "2.0.0", ecus: tuple[str, ...] = BOTH) -> ManifestResult:
    manifest = manifest_of(story.conn, name, version, ecus)
    with transaction(story.conn):
        return store.apply_manifest(story.conn, story.ids, manifest=manifest, body=b"{}", now=story.now)


def blocking(plan: store.SavedPlan) -> list[str]:
    return [finding["code"] for finding in plan.findings if finding["severity"] == "blocking"]


def test_a_plan_says_for_each_selected_vehicle_why(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    add_vehicles(story.conn, range(10, 12), version="2.0.0")
    story.conn.execute("UPDATE ecu SET hardware_id = 'old' WHERE vin = %s AND name = 'brake'", [vin(0)])
    story.conn.execute("DELETE FROM ecu_installed WHERE vin = %s", [vin(1)])
    story.conn.execute("UPDATE vehicle SET gateway = 'native' WHERE vin = %s", [vin(1)])
    story.conn.execute("UPDATE vehicle SET region = 'US' WHERE vin = %s", [vin(2)])
    plan = story.plan(query="region = EU", waves=(1,))
    assert blocking(plan) == []
    rows = {row["vin"]: (row["verdict"], row["reason"]) for row in store.list_targets(story.conn, plan.id)}
    assert rows == {
        vin(0): ("mismatch", "hardware: brake old"),
        vin(1): ("unknown", "configuration: brake never reported"),
        vin(3): ("match", ""),
        vin(10): ("already_installed", ""),
        vin(11): ("already_installed", ""),
    }
    assert plan.document["not_selected"] == {"region = EU": 1}
    assert store.list_targets(story.conn, plan.id, verdict="match", after_vin=vin(3)) == []


def test_a_blocked_plan_is_kept_and_does_not_become_current(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.conn.execute("UPDATE release SET state = 'checked' WHERE id = 'release_2.0.0'")
    plan = story.plan()
    assert blocking(plan) == ["release_not_signed"]
    campaign = story.campaign()
    assert (campaign.state, campaign.plan_id) == (CampaignState.DRAFT, None)
    with pytest.raises(Conflict), transaction(story.conn):
        store.approve(
            story.conn, story.ids, campaign_id=campaign.id, generation=campaign.generation, actor="ben",
            four_eyes=True, acknowledged=ANY_WARNING, now=story.now,
        )  # fmt: skip


def test_a_plan_is_warned_of_vehicles_that_no_gateway_ever_heard_of_or_not_for_long(story: Story) -> None:
    vins = add_vehicles(story.conn, range(6))
    days = "INSERT INTO vehicle_contact (vin, heard_at) VALUES (%s, %s)"
    for number, ago in ((0, 0), (1, 1), (2, 3)):
        story.conn.execute(days, [vins[number], story.now - timedelta(days=ago)])
    said = "INSERT INTO device_report (vin, dedupe_key, kind, event_at, received_at, body) VALUES (%s, 'x', 'config', %s, %s, '{}')"
    story.conn.execute(said, [vins[3], T0, T0])  # before contacts were kept
    plan = story.plan(vehicle_deadline_s=2 * 86_400)
    (found,) = [each for each in plan.findings if each["code"] == "vehicles_unheard"]
    assert found["severity"] == "warning"
    assert (
        "of 6 vehicles 2 were never heard of and 1 was last heard of before 2026-11-21 08:00 UTC"
        in found["message"]
    )
    heard = {each.vin: each.heard_at for each in reading.vehicles(story.conn)}
    assert [heard[each] is None for each in vins] == [False] * 4 + [True] * 2
    assert heard[vins[1]] == story.now - timedelta(days=1)


def test_a_plan_is_warned_of_the_hours_that_fleets_set_for_its_vehicles_and_of_no_others(
    story: Story,
) -> None:
    vins = add_vehicles(story.conn, range(4))
    for number, hours in enumerate((["00:00-24:00"], ["02:00-02:01"], ["02:00-02:01"])):
        own = {
            "hours": hours,
            "quiet": [],
            "time_zone": "Europe/Oslo",
        }  # as they were stored before putting off
        story.conn.execute("UPDATE vehicle SET schedule = %s WHERE vin = %s", [Jsonb(own), vins[number]])
    plan = story.plan(query=f"not vin = {vins[2]}", vehicle_deadline_s=86_400)
    (found,) = [each for each in plan.findings if each["code"].startswith("own_hours")]
    assert (found["code"], found["severity"]) == ("own_hours_no_time", "warning")
    assert "leave 1 vehicle no time" in found["message"]
    assert "02:00-02:01" in found["message"]


def test_vehicles_whose_certificate_ends_before_the_campaign_can_are_counted(story: Story) -> None:
    add_vehicles(story.conn, range(6))
    until = {vin(0): 3_000, vin(1): 3_600, vin(2): 3_601}
    for name, seconds in until.items():
        story.conn.execute(
            "UPDATE vehicle SET certificate_until = %s WHERE vin = %s",
            [story.now + timedelta(seconds=seconds), name],
        )
    story.conn.execute(
        "UPDATE vehicle SET release_id = 'release_2.0.0', certificate_until = now() - interval '1 d' WHERE vin = %s",
        [vin(5)],
    )
    plan = story.plan(query=f"vin != {vin(5)}", vehicle_deadline_s=3_600)
    (found,) = [each for each in plan.findings if each["code"] == "vehicle_certificates_expire"]
    assert found["message"].startswith("the certificates of 2 vehicles expire before")


def test_vehicles_of_a_running_campaign_block_another(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.start()
    assert blocking(story.plan(release="release_3.0.0")) == ["other_open_campaign"]


def test_a_campaign_whose_vehicles_were_taken_meanwhile_does_not_start(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.plan()
    first = story.campaign()
    story.start(release="release_3.0.0")
    with transaction(story.conn):
        approved = store.approve(
            story.conn, story.ids, campaign_id=first.id, generation=first.generation, actor="ben",
            four_eyes=True, acknowledged=ANY_WARNING, now=story.now,
        )  # fmt: skip
    with pytest.raises(Conflict, match="4 vehicles"), transaction(story.conn):
        store.start(
            story.conn,
            story.ids,
            campaign_id=first.id,
            generation=approved.generation,
            actor="ann",
            now=story.now,
        )
    assert store.list_assignments(story.conn, first.id) == []


def test_a_new_plan_is_a_child_and_takes_the_approval_away(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    first = story.plan()
    with transaction(story.conn):
        approved = store.approve(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=2, actor="ben", four_eyes=True,
            acknowledged=ANY_WARNING, now=story.now,
        )  # fmt: skip
    assert approved.state is CampaignState.APPROVED
    second = plan_campaign(
        story.conn, story.ids, campaign_id=story.campaign_id, generation=approved.generation,
        request=PlanRequest(query="variant = city", waves=(WaveSize(vehicles=1),)), actor="ann", now=story.now,
    )  # fmt: skip
    assert (second.generation, second.parent_id) == (2, first.id)
    assert (story.campaign().state, story.campaign().plan_id) == (CampaignState.PLANNED, second.id)
    assert store.read_plan(story.conn, first.id).approved_by == "ben"
    with pytest.raises(Conflict) as refused, transaction(story.conn):
        store.start(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation, actor="ann",
            now=story.now,
        )  # fmt: skip
    assert "ringroad campaign approve" in refused.value.hint


def test_planning_on_an_older_generation_is_refused_and_leaves_no_plan(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.plan()
    with pytest.raises(Conflict):
        plan_campaign(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=1,
            request=PlanRequest(query="all"), actor="ann", now=story.now,
        )  # fmt: skip
    row = story.conn.execute("SELECT count(*) AS n FROM campaign_plan").fetchone()
    assert row == {"n": 1}


@pytest.mark.parametrize(
    ("four_eyes", "actor", "expected"),
    [
        (True, "ann", CampaignState.PLANNED),
        (True, "ben", CampaignState.APPROVED),
        (False, "ann", CampaignState.APPROVED),
    ],
)
def test_four_eyes_keep_the_maker_from_approving(
    story: Story, *, four_eyes: bool, actor: str, expected: CampaignState
) -> None:
    add_vehicles(story.conn, range(4))
    story.plan()
    refusal = contextlib.nullcontext() if expected is CampaignState.APPROVED else pytest.raises(Forbidden)
    with refusal, transaction(story.conn):
        store.approve(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=2, actor=actor,
            four_eyes=four_eyes, acknowledged=ANY_WARNING, now=story.now,
        )  # fmt: skip
    assert story.campaign().state is expected


def test_transitions_out_of_order_are_refused(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.plan()
    campaign = story.campaign()
    conn, ids, name, generation, now = story.conn, story.ids, campaign.id, campaign.generation, story.now
    with pytest.raises(Conflict), transaction(conn):
        store.start(conn, ids, campaign_id=name, generation=generation, actor="ann", now=now)
    with pytest.raises(Conflict), transaction(conn):
        store.pause(conn, ids, campaign_id=name, generation=generation, actor="ann", reason="", now=now)
    with pytest.raises(Conflict), transaction(conn):
        store.resume(conn, ids, campaign_id=name, generation=generation, actor="ann", now=now)
    assert story.campaign() == campaign


def test_an_unknown_release_or_query_makes_no_campaign_and_no_plan(story: Story) -> None:
    with pytest.raises(NotFound):
        create_campaign(story.conn, story.ids, name="x", release_id="nothing", actor="ann", now=story.now)
    with pytest.raises(InvalidInput):
        create_campaign(
            story.conn, story.ids, name=" ", release_id="release_2.0.0", actor="ann", now=story.now
        )
    with pytest.raises(QueryError):
        story.plan(query="variant = ")
    assert story.facts(FactKind.CAMPAIGN_PLANNED) == 0


def test_a_manifest_closes_the_action_only_when_every_target_is_shown(story: Story) -> None:
    add_vehicles(story.conn, range(2), gateway="native")
    story.start(waves=(2,))
    story.tick()
    name = vin(0)
    assert confirm(story, name, ecus=("brake",)) is ManifestResult.RECORDED
    assert story.vehicles("installed") == []
    assert confirm(story, name) is ManifestResult.INSTALLED
    (done,) = story.vehicles("installed")
    assert (done.vin, done.state_detail) == (name, "confirmed by manifest")
    row = story.conn.execute("SELECT release_id FROM vehicle WHERE vin = %s", [name]).fetchone()
    assert row == {"release_id": "release_2.0.0"}
    assert story.facts(FactKind.VEHICLE_UPDATED) == 1


def test_a_vehicle_that_shows_every_image_and_says_its_roll_back_failed_is_not_installed(
    story: Story,
) -> None:
    add_vehicles(story.conn, range(2), gateway="native")
    story.start(waves=(2,))
    story.tick()
    hurt, well = story.vehicles("offered")
    story.native(hurt, "ROLLBACK_FAILED", kind="closed")
    story.native(well, "SUCCEEDED", kind="closed")
    assert confirm(story, hurt.vin) is ManifestResult.RECORDED  # its report is not even folded yet
    assert confirm(story, well.vin) is ManifestResult.INSTALLED
    story.tick()
    states = {action.vin: action.state for action in story.vehicles()}
    assert states == {hurt.vin: "failed", well.vin: "installed"}
    row = story.conn.execute(
        "SELECT release_id, blocked_reason FROM vehicle WHERE vin = %s", [hurt.vin]
    ).fetchone()
    assert row == {"release_id": "release_1.0.0", "blocked_reason": "ROLLBACK_FAILED"}


@pytest.mark.parametrize("moment", ["start", "resume"])
def test_a_campaign_of_a_withdrawn_release_neither_starts_nor_goes_on(story: Story, moment: str) -> None:
    add_vehicles(story.conn, range(4))
    story.plan()
    conn, ids, name, now = story.conn, story.ids, story.campaign_id, story.now
    with transaction(conn):
        store.approve(
            conn,
            ids,
            campaign_id=name,
            generation=2,
            actor="ben",
            four_eyes=True,
            acknowledged=ANY_WARNING,
            now=now,
        )
    if moment == "resume":
        with transaction(conn):
            moved = store.start(conn, ids, campaign_id=name, generation=3, actor="ann", now=now)
            store.pause(
                conn, ids, campaign_id=name, generation=moved.generation, actor="ann", reason="", now=now
            )
    before = story.campaign()
    conn.execute("UPDATE release SET state = 'withdrawn' WHERE id = 'release_2.0.0'")
    move = store.start if moment == "start" else store.resume
    with pytest.raises(Conflict, match="not signed any more"), transaction(conn):
        move(conn, ids, campaign_id=name, generation=before.generation, actor="ann", now=now)
    assert story.campaign() == before
    assert story.vehicles("offered") == []


def test_two_campaigns_that_start_at_once_do_not_take_the_same_vehicles(story: Story, pg_url: str) -> None:
    add_vehicles(story.conn, range(4))
    names = []
    for release in ("release_2.0.0", "release_3.0.0"):
        story.plan(release=release)
        names.append(story.campaign_id)
        with transaction(story.conn):
            store.approve(
                story.conn, story.ids, campaign_id=story.campaign_id, generation=2, actor="ben", four_eyes=True,
                acknowledged=ANY_WARNING, now=story.now,
            )  # fmt: skip
    started: list[str] = []
    refused: list[str] = []

    def start(name: str) -> None:
        with closing(connect(pg_url)) as other:
            try:
                with transaction(other):
                    store.start(
                        other, CountingIds(1_000_000 * (1 + names.index(name))), campaign_id=name, generation=3,
                        actor="ann", now=story.now,
                    )  # fmt: skip
                started.append(name)
            except Conflict as conflict:
                refused.append(conflict.message)

    threads = [threading.Thread(target=start, args=(name,)) for name in names]
    with transaction(story.conn):  # holds both up until they are where they would not see each other
        story.conn.execute("SELECT 1 FROM campaign FOR UPDATE")
        for thread in threads:
            thread.start()
        wait_for_locks(story.conn, 2)
    for thread in threads:
        thread.join(60)
    assert (len(started), len(refused)) == (1, 1)
    assert "4 vehicles" in refused[0]


def test_the_same_manifest_again_changes_nothing(story: Story) -> None:
    add_vehicles(story.conn, range(1), gateway="native")
    story.start(waves=(1,))
    story.tick()
    manifest = manifest_of(story.conn, vin(0), "2.0.0", BOTH)
    results = []
    for _ in range(2):
        with transaction(story.conn):
            results.append(
                store.apply_manifest(story.conn, story.ids, manifest=manifest, body=b"{}", now=story.now)
            )
    assert results == [ManifestResult.INSTALLED, ManifestResult.REPEATED]
    assert story.facts(FactKind.VEHICLE_UPDATED) == 1


def test_a_vehicle_that_falls_back_after_it_was_confirmed_counts_as_rolled_back(story: Story) -> None:
    add_vehicles(story.conn, range(2), gateway="native")
    story.start(waves=(2,), gate=GatePolicy(failed_permille_max=1, reports_min=2))
    story.tick()
    confirm(story, vin(0))
    assert confirm(story, vin(0), "1.0.0") is ManifestResult.FELL_BACK
    assert [action.vin for action in story.vehicles("rolled_back")] == [vin(0)]
    story.later(1)
    story.tick()
    assert story.campaign().state is CampaignState.HALTED
    row = story.conn.execute("SELECT release_id FROM vehicle WHERE vin = %s", [vin(0)]).fetchone()
    assert row == {"release_id": "release_1.0.0"}


def test_a_manifest_after_the_deadline_updates_the_vehicle_and_not_the_outcome(story: Story) -> None:
    add_vehicles(story.conn, range(1), gateway="native")
    story.start(waves=(1,))
    story.tick()
    story.later(3_601)
    story.tick()
    assert confirm(story, vin(0)) is ManifestResult.RECORDED
    assert [action.state for action in story.vehicles()] == ["expired"]
    row = story.conn.execute("SELECT release_id FROM vehicle").fetchone()
    assert row == {"release_id": "release_2.0.0"}


def test_a_manifest_of_an_unknown_vehicle_is_refused(story: Story) -> None:
    manifest = manifest_of(story.conn, vin(7), "2.0.0", BOTH)
    with pytest.raises(NotFound), transaction(story.conn):
        store.apply_manifest(story.conn, story.ids, manifest=manifest, body=b"{}", now=story.now)


def test_the_database_allows_one_open_action_per_vehicle(story: Story) -> None:
    add_vehicles(story.conn, range(1))
    story.start(waves=(1,))
    with pytest.raises(psycopg.errors.UniqueViolation, match="assignment_one_open"):
        story.conn.execute(
            "INSERT INTO assignment (campaign_id, vin, wave, kind, state) VALUES (%s, %s, 1, 'rollback', 'offered')",
            [story.campaign_id, vin(0)],
        )


def test_the_gateways_read_the_terms_that_a_plan_asks_for(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    window = Window(hours=("22:00-05:00",), time_zone="Europe/Oslo")
    story.start(urgency="soft", consent=True, window=window, vehicle_deadline_s=86_400)
    (terms,) = load_queries("ringroad.http.device").terms(story.conn, known=[])
    assert (terms["urgency"], terms["consent"]) == ("soft", True)
    assert terms["window"] == {"hours": ["22:00-05:00"], "quiet": [], "time_zone": "Europe/Oslo"}
    assert terms["install_s"] > 0


def test_a_time_zone_is_set_for_those_that_a_query_selects_and_said_once(story: Story) -> None:
    add_vehicles(story.conn, range(6))

    def put(query: str, time_zone: str) -> int:
        with transaction(story.conn):
            vins = store.select_vins(story.conn, parse_query(query), programme_id="roadster")
            return store.set_time_zone(
                story.conn, story.ids, vins=vins, query=query, programme_id="roadster", time_zone=time_zone, actor="ann",
                now=story.now,
            )  # fmt: skip

    assert put("variant = city", "Europe/Oslo") == 3
    assert put("all", "Europe/Oslo") == 3
    assert put("all", "Europe/Oslo") == 0
    assert story.facts(FactKind.VEHICLES_TIME_ZONE_SET) == 2
    for zone in ("Europe/Olso", "", "../UTC"):
        with pytest.raises(InvalidInput):
            put("all", zone)
    with transaction(story.conn):
        zones = {vehicle.attributes["time_zone"] for vehicle in store.read_vehicles(story.conn)}
    assert zones == {"Europe/Oslo"}


def test_a_preview_counts_reasons_and_names_what_nothing_has(story: Story) -> None:
    add_vehicles(story.conn, range(6))
    story.conn.execute("UPDATE vehicle SET tags = '{pilot}' WHERE vin = %s", [vin(1)])
    with transaction(story.conn):
        found = store.preview_query(
            story.conn, "variant = city and (tag = pilott or ecu.brake.version < 1.0.0)"
        )
    assert (found.selected, found.not_selected) == (0, 6)
    assert [(reason.term, reason.vehicles) for reason in found.reasons] == [
        ("tag = pilott or ecu.brake.version < 1.0.0", 3),
        ("variant = city", 3),
    ]
    assert found.warnings == ("column 21: no vehicle has tag 'pilott', did you mean 'pilot'?",)
