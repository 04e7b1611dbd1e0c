"""A DDI client that says success before it restarts: a claim, until the device says what it runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from ringroad.kernel.facts import FactKind
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.storage.db import Connection, transaction
from support.ddi_device import Device, feedback, serving_device
from support.fleet import CountingIds, Story, add_release, add_vehicles, fill_programme
from support.gateways import eventually, rows

pytestmark = pytest.mark.engines
STATES = {"version_attribute": "sw_version"}


@pytest.fixture
def updater(pg_url: str, tmp_path: Path) -> Iterator[Device]:
    """A device with rauc-hawkbit-updater, whose configuration file is a part of what is installed."""
    rule = {"box": {"success": "stated", "attributes": {"box": "sw_version"}}}
    with serving_device(pg_url, tmp_path, success=rule) as made:
        yield made


def action(device: Device) -> dict[str, Any]:
    (row,) = rows(device.url, "SELECT state, state_detail, claimed_at, began_at, release_id FROM assignment")
    return row


def install(device: Device) -> None:
    """Do what the updater does up to its restart: download, install, say success."""
    assert device.put("/configData", {"mode": "merge", "data": {"sw_version": "1"}}) == 200
    eventually(lambda: device.links().keys() == {"deploymentBase"})
    path = f"/deploymentBase/{device.action}/feedback"
    assert device.post(path, feedback("proceeding")) == 200
    assert device.post(path, feedback("closed", "success")) == 200
    device.fold()
    eventually(lambda: device.links().keys() == {"configData"})


def test_success_before_the_restart_is_a_claim_until_the_device_states_its_new_version(
    updater: Device,
) -> None:
    install(updater)
    claimed = action(updater)
    assert claimed["state"] == "active"
    assert claimed["claimed_at"] is not None
    # It polls once more before it restarts, and says what still runs.
    assert updater.put("/configData", {"mode": "merge", "data": {"sw_version": "1"}}) == 200
    assert updater.fold()[-1] == "no_action"
    assert action(updater)["state"] == "active"
    for _ in range(3):
        assert updater.links().keys() == {"configData"}  # never told the update again, and asked on
    # It restarted into the new software, whose configuration file says so.
    assert updater.put("/configData", {"mode": "merge", "data": {"sw_version": "2"}}) == 200
    assert updater.fold()[-1] == "applied"
    confirmed = action(updater)
    assert (confirmed["state"], confirmed["state_detail"]) == (
        "installed",
        "claimed, and says that it runs it",
    )
    (vehicle,) = rows(updater.url, "SELECT release_id FROM vehicle")
    assert vehicle["release_id"] == "release_1"
    assert [kind for kind in updater.facts() if "claimed" in kind or "updated" in kind] == [
        "vehicles.claimed", "vehicle.updated",
    ]  # fmt: skip
    eventually(lambda: updater.links().keys() == {"installedBase"})


def test_a_device_that_states_its_release_confirms_its_claim(updater: Device) -> None:
    install(updater)
    assert updater.put("/installedBase", {"name": "r", "version": "2"}) == 201
    assert updater.fold()[-1] == "applied"
    assert action(updater)["state"] == "installed"


def test_what_a_device_stated_before_its_claim_confirms_nothing(updater: Device) -> None:
    assert updater.put("/configData", {"mode": "merge", "data": {"sw_version": "2"}}) == 200
    install(updater)
    assert action(updater)["state"] == "active"
    assert updater.fold()[0] == "no_action"


def test_what_a_device_stated_behind_its_claim_counts_though_both_are_folded_at_once(updater: Device) -> None:
    path = f"/deploymentBase/{updater.action}/feedback"
    assert updater.post(path, feedback("closed", "success")) == 200
    assert updater.put("/configData", {"mode": "replace", "data": {"sw_version": "2"}}) == 200
    assert updater.fold() == ["applied", "applied"]
    assert action(updater)["state"] == "installed"


def test_what_a_device_says_again_of_its_claim_is_not_stored_again(updater: Device) -> None:
    install(updater)
    old, new = ({"mode": "merge", "data": {"sw_version": each}} for each in "12")

    def stored() -> tuple[int, int]:
        (row,) = rows(
            updater.url,
            "SELECT (SELECT count(*) FROM device_report WHERE kind = 'config') AS reports, changed_seq FROM vehicle",
        )
        return row["reports"], row["changed_seq"]

    assert updater.put("/configData", old) == 200
    first = stored()
    for _ in range(3):  # at each poll, as it is asked
        assert updater.put("/configData", old) == 200
    assert stored() == first
    updater.fold()
    assert updater.put("/configData", old) == 200
    assert stored() == first
    assert updater.put("/configData", new) == 200
    assert updater.fold()[-1] == "applied"
    assert action(updater)["state"] == "installed"


def test_a_device_whose_programme_names_no_attribute_is_not_asked_for_any(
    pg_url: str, tmp_path: Path
) -> None:
    rule = {"box": {"success": "stated", "attributes": {}}}
    with serving_device(pg_url, tmp_path, success=rule) as device:
        assert device.put("/configData", {"mode": "merge", "data": {"hw": "1"}}) == 200
        path = f"/deploymentBase/{device.action}/feedback"
        eventually(lambda: device.links().keys() == {"deploymentBase"})
        assert device.post(path, feedback("closed", "success")) == 200
        device.fold()
        assert action(device)["claimed_at"] is not None
        with psycopg.connect(device.url, autocommit=True) as conn:  # by now the gateway knows of the claim
            conn.execute("UPDATE vehicle SET auto_confirm = '{}'")
        eventually(lambda: "deactivateAutoConfirm" in device.get("/confirmationBase").text)
        assert not device.links()
        assert device.post(path, feedback("closed", "failure")) == 200


def test_a_failure_after_the_claim_is_taken(updater: Device) -> None:
    install(updater)
    path = f"/deploymentBase/{updater.action}/feedback"
    assert updater.post(path, feedback("closed", "failure")) == 200
    assert updater.fold()[-1] == "applied"
    assert action(updater)["state"] == "failed"
    eventually(lambda: updater.post(path, feedback("closed", "success")) == 410)


def test_a_failure_right_behind_a_success_is_taken_though_nobody_knows_yet_that_it_is_a_claim(
    updater: Device,
) -> None:
    path = f"/deploymentBase/{updater.action}/feedback"
    assert updater.post(path, feedback("closed", "success")) == 200
    assert updater.post(path, feedback("closed", "success")) == 410
    assert updater.post(path, feedback("closed", "failure")) == 200
    assert updater.post(path, feedback("closed", "failure", x=1)) == 410
    assert updater.fold() == ["applied", "applied"]
    assert action(updater)["state"] == "failed"


def test_another_vehicles_statement_confirms_nothing(updater: Device) -> None:
    install(updater)
    with psycopg.connect(updater.url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO vehicle (vin, programme_id, variant, gateway, token_sha256, primary_serial, born_at)"
            " SELECT 'WRRDEM00000000002', programme_id, variant, gateway, token_sha256, primary_serial, born_at FROM vehicle"
        )
        conn.execute(
            "INSERT INTO device_report (vin, dedupe_key, kind, event_at, received_at, body)"
            " VALUES ('WRRDEM00000000002', 'x', 'config', now(), now(), %s)",
            [Jsonb({"gateway": "ddi", "mode": "merge", "data": {"sw_version": "2"}})],
        )
    updater.fold()
    assert action(updater)["state"] == "active"


def fetched(device: Device) -> list[str]:
    return [
        row["dedupe_key"]
        for row in rows(device.url, "SELECT dedupe_key FROM device_report WHERE kind = 'fetched'")
    ]


def test_the_gateway_keeps_that_an_image_was_handed_out_whole_before_its_last_byte_is(
    updater: Device,
) -> None:
    document = updater.client.get(updater.links()["deploymentBase"]["href"]).json()
    (file,) = document["deployment"]["chunks"][0]["artifacts"]
    href, last = file["_links"]["download"]["href"], file["size"] - 1
    assert updater.client.head(href).status_code == 200
    assert updater.client.get(href, headers={"Range": f"bytes=0-{last - 1}"}).status_code == 206
    assert fetched(updater) == []
    for span in (
        f"bytes={last}-",
        "bytes=0-",
    ):  # the rest of a download that was cut off, and one that was not
        assert updater.client.get(href, headers={"Range": span}).status_code == 206
        assert eventually(lambda: fetched(updater)) == [f"fetched:{updater.action}"]
    assert updater.fold() == ["noted"]


# The campaign ----------------------------------------------------------------------------------------


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, settings=STATES)
    add_vehicles(conn, range(1, 5))
    return Story(conn, ids)


GATE = GatePolicy(failed_permille_max=100, reports_min=2, silence_s_max=3_600)


def states(story: Story, one: SimpleNamespace, version: str) -> None:
    said = {"gateway": "ddi", "mode": "merge", "data": {"sw_version": version}}
    story.report(SimpleNamespace(vin=one.vin, action_id=None), said, kind="config")


def test_the_gate_does_not_count_a_claim_and_a_claim_never_confirmed_is_harm_at_its_deadline(
    story: Story,
) -> None:
    story.start(waves=(2, 2), gate=GATE)
    story.tick()
    first = story.vehicles("offered")
    for one in first:
        story.ddi(one, "closed", "success", kind="closed")
    story.later(60)
    story.tick()
    assert {one.state for one in story.vehicles()} == {"active", "pending"}
    assert story.campaign().wave == 1
    assert story.facts(FactKind.VEHICLE_UPDATED) == 0
    assert story.facts(FactKind.VEHICLES_CLAIMED) == 1
    states(story, first[0], "2.0.0")
    states(story, first[1], "1.0.0")
    story.later(60)
    story.tick()
    assert [one.state for one in story.vehicles() if one.wave == 1] == ["installed", "active"]
    assert story.campaign().wave == 1
    story.later(3_600)
    story.tick()
    lost = next(one for one in story.vehicles() if one.vin == first[1].vin)
    assert (lost.state, lost.state_detail) == ("expired", "claimed, and never said that it runs it")
    assert story.campaign().state is CampaignState.HALTED  # one of two is more than a tenth
    # It comes back too late: what it runs is known again, what it did to the campaign stays.
    story.later(60)
    states(story, first[1], "2.0.0")
    story.tick()
    row = story.conn.execute("SELECT release_id FROM vehicle WHERE vin = %s", [first[1].vin]).fetchone()
    assert row is not None
    assert row["release_id"] == "release_2.0.0"
    assert next(one for one in story.vehicles() if one.vin == first[1].vin).state == "expired"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.0.0", ["installed", "active"]),
        ("3.0.0", ["pending", "installed"]),
        ("1.0.0", ["pending", "active"]),
    ],
)
def test_of_two_claims_what_the_device_states_confirms_the_one_that_put_it_there(
    story: Story, version: str, expected: list[str]
) -> None:
    add_release(story.conn, CountingIds(900), "3.0.0", counter=3)
    story.start(waves=(), query="variant = city")
    (one, *_) = story.vehicles("offered")
    with transaction(story.conn):
        store.pause(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
            actor="ann", reason="x", now=story.now,
        )  # fmt: skip
    later = Story(story.conn, story.ids)
    later.now = story.now
    later.start(release="release_3.0.0", waves=(), priority=5, query="variant = city")
    for told in (one, next(each for each in later.vehicles("offered") if each.vin == one.vin)):
        later.ddi(told, "closed", "success", kind="closed")
    later.tick()
    states(later, one, version)
    later.later(5)
    later.tick()
    found = [each.state for of in (story, later) for each in of.vehicles() if each.vin == one.vin]
    assert found == expected


def test_a_halt_leaves_a_claim_to_be_confirmed_so_that_the_vehicle_can_be_told_to_return(
    story: Story,
) -> None:
    story.start(waves=(4,), gate=GATE, rollback_installed=True)
    story.tick()
    claims, bad = story.vehicles("offered")[:2], story.vehicles("offered")[2:]
    for one in claims:
        story.ddi(one, "closed", "success", kind="closed")
    for one in bad:
        story.ddi(one, "closed", "failure", kind="closed")
    story.tick()
    assert story.campaign().state is CampaignState.HALTED
    assert {one.state for one in story.vehicles() if one.vin in {each.vin for each in claims}} == {
        "cancelling"
    }
    for one in claims:
        states(story, one, "2.0.0")
    story.now += timedelta(seconds=60)
    story.tick()
    assert {one.state for one in story.vehicles() if one.vin in {each.vin for each in claims}} == {
        "installed"
    }


def test_a_plan_from_before_there_were_claims_takes_its_clients_at_their_word(story: Story) -> None:
    story.start(waves=(4,), gate=GATE)
    story.conn.execute("UPDATE campaign_plan SET document = document - 'success'")
    story.tick()
    for one in story.vehicles("offered"):
        story.ddi(one, "closed", "success", kind="closed")
    story.tick()
    assert {one.state for one in story.vehicles()} == {"installed"}


def test_a_plan_that_has_rules_and_none_for_a_variant_takes_its_success_for_a_claim(story: Story) -> None:
    story.start(waves=(4,), gate=GATE)
    story.conn.execute("UPDATE campaign_plan SET document = document || '{\"success\": {}}'")
    story.tick()
    for one in story.vehicles("offered"):
        story.ddi(one, "closed", "success", kind="closed")
    story.tick()
    assert {one.state for one in story.vehicles()} == {"active"}


@pytest.mark.parametrize("settings", [{}, {"success": "word"}])
def test_a_plan_says_that_success_will_be_a_word_or_will_wait(
    conn: Connection, settings: dict[str, str]
) -> None:
    ids = CountingIds()
    fill_programme(conn, ids, settings=settings or {"x": "nothing of success"})
    add_vehicles(conn, range(1, 5))
    plan = Story(conn, ids).plan(waves=(4,), gate=GATE)
    code = "success_is_word" if settings else "success_unconfirmed"
    (found,) = [each for each in plan.findings if each["code"] == code]
    assert found["severity"] == "warning"
    assert "4 DDI vehicles" in found["message"]
