"""Vehicles of which something else is known than when they were planned: judged again before they are offered anything."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from msgspec import structs
from psycopg.types.json import Jsonb

from ringroad.kernel.facts import FactKind
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.ship.store.judging import judge_today, read_let_go
from ringroad.storage.db import Connection, transaction
from ringroad.storage.ledger import read_facts
from ringroad.trust.manifest import UNLISTED
from support.fleet import ANY_WARNING, CountingIds, Story, add_vehicles, fill_programme, sha, vin
from support.manifests import manifest_of

pytestmark = pytest.mark.engines
STRICT = GatePolicy(failed_permille_max=0, reports_min=1, silence_s_max=600)
OLDER = "mismatch: release_counter: brake runs 3"


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    return Story(conn, ids)


def approve(story: Story) -> None:
    with transaction(story.conn):
        store.approve(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation, actor="ben",
            four_eyes=True, acknowledged=ANY_WARNING, now=story.now,
        )  # fmt: skip


def start(story: Story) -> None:
    with transaction(story.conn):
        store.start(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation, actor="ann",
            now=story.now,
        )  # fmt: skip


def says(story: Story, name: str, version: str, *ecus: str) -> None:
    """A native vehicle's manifest arrives: these ECUs run another version."""
    manifest = manifest_of(story.conn, name, version, ecus or ("brake", "head"))
    with transaction(story.conn):
        store.apply_manifest(
            story.conn, story.ids, manifest=manifest, body=manifest.digest.encode(), now=story.now
        )


def update_elsewhere(story: Story, *names: str, release: str = "release_3.0.0") -> None:
    """Another campaign brings vehicles to a release, from its plan to its end."""
    other = Story(story.conn, story.ids)
    other.now = story.now
    listed = ", ".join(f"'{name}'" for name in names)
    other.start(release=release, query=f"vin in ({listed})", waves=(), gate=STRICT)
    other.tick()
    for action in other.vehicles("offered"):
        if action.offered_at and is_native(story, action.vin):
            says(other, action.vin, release.removeprefix("release_"))
        else:
            other.ddi(action, "closed", "success", kind="closed")
    for _ in range(2):
        other.later(5)
        other.tick()
    assert other.campaign().state is CampaignState.FINISHED


def is_native(story: Story, name: str) -> bool:
    row = story.conn.execute("SELECT gateway FROM vehicle WHERE vin = %s", [name]).fetchone()
    return row is not None and row["gateway"] == "native"


def by_vin(story: Story) -> dict[str, SimpleNamespace]:
    return {action.vin: action for action in story.vehicles()}


@pytest.mark.parametrize("gateway", ["ddi", "native"])
def test_vehicles_that_got_a_newer_release_after_the_plan_are_let_go_and_no_failures(
    story: Story, gateway: str
) -> None:
    names = add_vehicles(story.conn, range(4), gateway=gateway)
    story.plan(waves=(), gate=STRICT)
    approve(story)
    update_elsewhere(story, *names[:2])
    start(story)
    story.tick()
    found = by_vin(story)
    assert [found[name].state for name in names] == ["cancelled", "cancelled", "offered", "offered"]
    assert {found[name].state_detail for name in names[:2]} == {OLDER}
    assert all(found[name].offered_at is None for name in names[:2])
    assert story.campaign().state is CampaignState.RUNNING
    (fact,) = [
        fact
        for fact in read_facts(story.conn)
        if fact.kind is FactKind.VEHICLES_CANCELLED and fact.subject == story.campaign_id
    ]
    assert (fact.body["reason"], fact.body["verdicts"]) == ("judged again", {OLDER: 2})
    assert read_let_go(story.conn, story.campaign_id) == {OLDER: 2}
    for action in story.vehicles("offered"):
        if gateway == "native":
            says(story, action.vin, "2.0.0")
        else:
            story.ddi(action, "closed", "success", kind="closed")
    for _ in range(2):
        story.later(5)
        story.tick()
    assert story.campaign().state is CampaignState.FINISHED


def test_a_vehicle_that_has_the_release_by_now_is_let_go_as_such(story: Story) -> None:
    names = add_vehicles(story.conn, range(2))
    story.plan(waves=(), gate=STRICT)
    approve(story)
    update_elsewhere(story, names[0], release="release_2.0.0")
    start(story)
    story.tick()
    assert {name: action.state_detail for name, action in by_vin(story).items()} == {
        names[0]: "already_installed",
        names[1]: "",
    }


def test_a_vehicle_that_changed_and_still_fits_is_offered_and_returns_to_what_it_has_now(
    story: Story,
) -> None:
    names = add_vehicles(story.conn, range(2))
    story.plan(release="release_3.0.0", waves=())
    approve(story)
    update_elsewhere(story, names[0], release="release_2.0.0")
    start(story)
    assert [action.state for action in story.vehicles()] == ["pending", "offered"]  # the second never changed
    story.tick()
    assert [(action.state, action.previous_release_id) for action in story.vehicles()] == [
        ("offered", "release_2.0.0"),
        ("offered", "release_1.0.0"),
    ]


def test_what_a_workshop_flashed_between_two_waves_is_seen_though_no_release_says_it(story: Story) -> None:
    names = add_vehicles(story.conn, range(4), gateway="native")
    story.start(waves=(2,), gate=STRICT)
    story.tick()
    first = {action.vin for action in story.vehicles("offered")}
    later = sorted(set(names) - first)
    says(story, later[0], "3.0.0", "brake")
    for name in sorted(first):
        says(story, name, "2.0.0")
    for _ in range(3):
        story.later(5)
        story.tick()
    found = by_vin(story)
    assert [(found[name].state, found[name].state_detail) for name in later] == [
        ("cancelled", OLDER),
        ("offered", ""),
    ]


@pytest.mark.parametrize("named", ["brake-1.0.0.bin", "brake-1.0.1.bin"])
def test_a_vehicle_that_runs_again_what_it_ran_before_fell_back_though_a_newer_package_has_the_same_bytes(
    story: Story, named: str
) -> None:
    (name,) = add_vehicles(story.conn, range(1), gateway="native")
    story.start(waves=(), gate=GatePolicy(failed_permille_max=500, reports_min=1, soak_s=3_600))
    story.tick()
    says(story, name, "2.0.0")
    story.conn.execute(
        "INSERT INTO software_package SELECT (jsonb_populate_record(p, %s)).* FROM software_package p WHERE id = %s",
        [
            Jsonb(
                {"id": "pkg_again", "version": "1.0.1", "filename": "brake-1.0.1.bin", "release_counter": 9}
            ),
            "pkg_brake_1.0.0",
        ],
    )
    story.later(60)
    manifest = manifest_of(story.conn, name, "1.0.0", ("brake",))
    reports = {
        serial: structs.replace(each, installed_image=structs.replace(each.installed_image, filename=named))
        if each.installed_image.filename == "brake-1.0.0.bin" else each
        for serial, each in manifest.reports.items()
    }  # fmt: skip
    with transaction(story.conn):
        store.apply_manifest(
            story.conn, story.ids, manifest=replace(manifest, reports=reports), body=b"{}", now=story.now
        )
    assert [action.state for action in story.vehicles()] == ["rolled_back"]


def test_a_confirmed_vehicle_that_a_workshop_brought_further_did_not_fall_back(story: Story) -> None:
    names = add_vehicles(story.conn, range(2), gateway="native")
    story.start(waves=(), gate=GatePolicy(failed_permille_max=500, reports_min=2, soak_s=3_600))
    story.tick()
    for name in names:
        says(story, name, "2.0.0")
    says(story, names[0], "3.0.0", "brake")  # newer, and known to be
    says(story, names[1], "1.0.0", "brake")
    assert {name: action.state for name, action in by_vin(story).items()} == {
        names[0]: "installed",
        names[1]: "rolled_back",
    }


def test_a_vehicle_that_was_blocked_after_the_plan_is_not_offered_anything(story: Story) -> None:
    names = add_vehicles(story.conn, range(2))
    story.plan(waves=())
    approve(story)
    story.conn.execute("UPDATE vehicle SET blocked_reason = 'ROLLBACK_FAILED' WHERE vin = %s", [names[0]])
    start(story)
    story.tick()
    assert by_vin(story)[names[0]].state_detail == "mismatch: blocked: ROLLBACK_FAILED"


def test_a_tag_or_a_manifest_that_says_nothing_new_changes_nothing(story: Story) -> None:
    names = add_vehicles(story.conn, range(2), gateway="native")
    story.plan(waves=())
    approve(story)
    story.conn.execute("UPDATE vehicle SET tags = '{press}', generation = generation + 1")
    says(story, names[0], "1.0.0")
    start(story)
    with transaction(story.conn):
        assert store.judge_again(story.conn, story.ids, story.campaign(), actor="x", now=story.now) == 0


def test_what_a_server_of_the_version_before_assigned_is_judged_first(story: Story) -> None:
    add_vehicles(story.conn, range(2))
    story.plan(waves=())
    approve(story)
    story.conn.execute("UPDATE campaign_target SET config_generation = NULL")
    start(story)
    assert [action.state for action in story.vehicles()] == ["pending"] * 2
    story.tick()
    assert [action.state for action in story.vehicles()] == ["offered"] * 2


@pytest.mark.parametrize(
    ("code", "known", "began", "state"),
    [
        ("downgrade_undecided", True, False, "cancelled"),
        ("counter_too_low", True, False, "cancelled"),
        ("rollback", True, False, "cancelled"),  # the same, by the verifier's word
        ("rollback", False, False, "failed"),
        (
            "downgrade_undecided",
            False,
            False,
            "failed",
        ),  # by all that is known it fits: its word is not enough
        ("upgrades_from", True, False, "failed"),  # it names another reason than what is known
        ("wrong_hardware", True, False, "failed"),
        ("downgrade_undecided", True, True, "failed"),  # something was touched
    ],
)
def test_a_refusal_is_let_go_only_where_what_is_known_today_says_the_same(
    story: Story, code: str, state: str, *, known: bool, began: bool
) -> None:
    names = add_vehicles(story.conn, range(2), gateway="native")
    story.start(waves=(), gate=STRICT)
    story.tick()
    if known:
        says(story, names[0], "3.0.0", "brake")  # after the offer
    refused = by_vin(story)[names[0]]
    if began:
        story.native(refused, "INSTALLING")
    story.native(refused, "FAILED", kind="closed", code=code, detail="brake would go back")
    story.later(5)
    story.tick()
    after = by_vin(story)[names[0]]
    assert after.state == state
    assert (OLDER in after.state_detail) is (state == "cancelled")
    assert code in after.state_detail
    assert read_let_go(story.conn, story.campaign_id) == ({OLDER: 1} if state == "cancelled" else {})
    halted = story.campaign().state is CampaignState.HALTED
    assert halted is (state == "failed")


ELSEWHERE = "changed_elsewhere: brake runs what no package holds"


@pytest.mark.parametrize("code", ["no_backup", "rollback", "downgrade_undecided", "upgrades_from"])
def test_a_vehicle_that_refuses_for_what_a_workshop_flashed_is_no_failure_though_nobody_lists_the_image(
    story: Story, code: str
) -> None:
    names = add_vehicles(story.conn, range(2), gateway="native")
    story.start(waves=(), gate=STRICT)
    story.tick()
    says(story, names[0], UNLISTED, "brake")
    story.native(by_vin(story)[names[0]], "FAILED", kind="closed", code=code, detail="brake")
    story.later(5)
    story.tick()
    after = by_vin(story)[names[0]]
    assert (after.state, story.campaign().state) == ("cancelled", CampaignState.RUNNING)
    assert after.state_detail.startswith(f"{ELSEWHERE}; the vehicle said FAILED {code}")
    assert read_let_go(story.conn, story.campaign_id) == {ELSEWHERE: 1}
    says(story, names[1], "2.0.0")
    for _ in range(2):
        story.later(5)
        story.tick()
    assert story.campaign().state is CampaignState.FINISHED


def began_and_failed(story: Story, name: str, *, told_late: bool = False) -> None:
    """An update of another campaign began on the vehicle, and did not end installed; it may say so after its deadline."""
    other = Story(story.conn, story.ids)
    other.start(release="release_2.0.0", query=f"vin = '{name}'", waves=(), gate=STRICT)
    other.tick()
    (action,) = other.vehicles("offered")
    if told_late:
        other.later(3_601)
        other.tick()
    other.native(action, "INSTALLING")
    other.native(action, "ROLLED_BACK", kind="closed")
    other.later(5)
    other.tick()
    assert [each.state for each in other.vehicles()] == ["expired" if told_late else "rolled_back"]
    story.now = other.now


@pytest.mark.parametrize(
    "given",
    [
        "nothing shown", "another ecu", "a listed image", "never ran a known one", "began", "an update before",
        "an update before, told late", "a refusal about another ecu",
    ],
)  # fmt: skip
def test_what_nobody_lists_excuses_nothing_that_our_own_update_may_have_done(
    story: Story, given: str
) -> None:
    names = add_vehicles(story.conn, range(2), gateway="native")
    if given.startswith("an update before"):
        began_and_failed(story, names[0], told_late=given.endswith("late"))
    story.start(release="release_3.0.0", waves=(), gate=STRICT)
    story.tick()
    if given == "never ran a known one":
        story.conn.execute("UPDATE ecu_installed SET image_sha256 = repeat('e', 64)")
        story.conn.execute("DELETE FROM ecu_replaced")
    if given == "a listed image":  # the bytes of 2.0.0, by whatever name
        story.conn.execute(
            "UPDATE software_package SET image_sha256 = %s WHERE id = 'pkg_brake_2.0.0'",
            [sha(f"brake {UNLISTED}")],
        )
    if given == "another ecu":  # the release has nothing for it
        story.conn.execute(
            "UPDATE release SET document = document #- '{variants,city,head}' #- '{variants,premium,head}'"
            " WHERE id = 'release_3.0.0'"
        )
    action = by_vin(story)[names[0]]
    if given == "began":
        story.native(action, "INSTALLING")
    if given != "nothing shown":
        says(story, names[0], UNLISTED, "head" if given == "another ecu" else "brake")
    about = "head" if given.endswith("another ecu") else "brake"
    story.native(action, "FAILED", kind="closed", code="no_backup", detail=about)
    story.later(5)
    story.tick()
    assert by_vin(story)[names[0]].state == "failed"
    assert story.campaign().state is CampaignState.HALTED
    assert read_let_go(story.conn, story.campaign_id) == {}


def test_a_vehicle_is_judged_by_what_is_known_of_it_now_whatever_was_planned(story: Story) -> None:
    names = add_vehicles(story.conn, range(2), gateway="native")
    story.plan(waves=())
    says(story, names[0], "3.0.0", "brake")
    with transaction(story.conn):
        for name, verdict in zip(names, ("mismatch", "match"), strict=True):
            today = judge_today(story.conn, vin=name, release_ids=["release_2.0.0"], now=story.now)
            assert today["release_2.0.0"].verdict == verdict
        assert judge_today(story.conn, vin=vin(9), release_ids=["release_2.0.0"], now=story.now) == {}
