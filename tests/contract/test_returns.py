"""Ordering vehicles back from a stopped campaign by hand, and the verdict on them."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.adapt.recovery import recovery_body, recovery_of
from ringroad.adapt.store import (
    due_outcomes,
    list_outcomes,
    measure_recovery,
    read_recovery,
    read_recovery_page,
)
from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.returns import ReturnPlan
from ringroad.ship.store.returns import halted_unswept, order_back_late
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import read_facts
from support.console_server import add_account, serving
from support.fleet import CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines


@pytest.fixture
def halted(conn: Connection) -> Story:
    """A campaign that halted with one vehicle on the bad release; its plan did not ask for it back."""
    ids = CountingIds()
    fill_programme(conn, ids)
    conn.execute("UPDATE software_package SET release_counter = 2")
    add_vehicles(conn, range(4))
    story = Story(conn, ids)
    story.start(waves=(4,), gate=GatePolicy(failed_permille_max=300, reports_min=2))
    good, bad, *rest = story.vehicles("offered")
    story.ddi(good, "closed", "success", kind="closed")
    story.ddi(bad, "closed", "failure", kind="closed")
    story.later(1)
    story.tick()
    for action in rest:
        story.ddi(action, "closed", "success", kind="cancel")
    story.tick()
    assert story.campaign().state == "halted"
    return story


def stop(conn: Connection, numbers: int = 4) -> Story:
    """A campaign that halted, as `halted`, whose vehicles had a release that held the brake only."""
    conn.execute(
        "UPDATE release SET document = document #- '{variants,city,head}' #- '{variants,premium,head}'"
        " WHERE version = '1.0.0'"
    )
    story = Story(conn, CountingIds(50))
    story.start(waves=(numbers,), gate=GatePolicy(failed_permille_max=300, reports_min=2))
    bad, *good = story.vehicles("offered")
    for action in good:
        story.ddi(action, "closed", "success", kind="closed")
    story.ddi(bad, "closed", "failure", kind="closed")
    story.later(1)
    story.tick()
    return story


def planned(story: Story) -> ReturnPlan:
    with transaction(story.conn):
        return store.read_return_plan(story.conn, story.campaign_id)


def order(story: Story, sha256: str | None = None) -> None:
    with transaction(story.conn):
        store.order_returns(
            story.conn, story.ids, campaign_id=story.campaign_id, sha256=sha256, actor="ben", now=story.now
        )


def test_the_plan_is_read_then_ordered_and_every_vehicle_is_told(halted: Story) -> None:
    with transaction(halted.conn):
        plan = store.read_return_plan(halted.conn, halted.campaign_id)
    assert (plan.to, plan.cannot) == ({"1.0.0": 1}, {})
    assert halted.vehicles(kind="rollback") == []
    halted.later(60)
    order(halted, plan.sha256)
    halted.tick()
    (answer,) = halted.vehicles(kind="rollback")
    assert (answer.state, answer.release_id) == ("offered", "release_1.0.0")
    halted.ddi(answer, "closed", "success", kind="closed")
    halted.tick()
    facts = {fact.id: fact for fact in read_facts(halted.conn)}
    (back,) = [fact for fact in facts.values() if fact.kind is FactKind.VEHICLE_ROLLED_BACK]
    assert (back.subject, back.body["kind"], back.body["release_id"]) == (
        answer.vin,
        "rollback",
        "release_1.0.0",
    )
    (ordered,) = [fact for fact in facts.values() if fact.kind is FactKind.CAMPAIGN_RETURN_ORDERED]
    assert (ordered.actor, ordered.body["sha256"], ordered.body["vehicles"]) == ("ben", plan.sha256, 1)
    assert [facts[cause].kind for cause in ordered.causes] == [FactKind.CAMPAIGN_HALTED]
    offers = [fact for fact in facts.values() if fact.kind is FactKind.VEHICLES_OFFERED]
    assert offers[-1].causes == (ordered.id,)


def test_a_plan_that_is_another_one_by_now_is_not_ordered(halted: Story) -> None:
    with pytest.raises(Conflict):
        order(halted, "0" * 64)
    assert halted.vehicles(kind="rollback") == []


def test_what_the_release_before_did_not_hold_returns_to_what_the_ecu_ran_and_what_is_not_known_is_not_ordered(
    conn: Connection,
) -> None:
    fill_programme(conn, CountingIds())
    conn.execute("UPDATE software_package SET release_counter = 2")
    add_vehicles(conn, range(3))
    story = stop(conn, 3)
    foreign, other = story.vehicles("installed")
    assert story.campaign().state == "halted"
    plan = planned(story)
    assert (plan.to, plan.cannot) == ({"1.0.0": 2}, {})
    assert plan.packages == {"brake 1.0.0": 2, "head 1.0.0": 2}
    conn.execute(
        "UPDATE ecu_replaced SET image_sha256 = 'x' WHERE vin = %s AND serial LIKE 'head%%'", [foreign.vin]
    )
    assert planned(story).cannot == {"image_not_ours: head": 1}
    conn.execute("DELETE FROM ecu_replaced WHERE vin = %s AND serial LIKE 'head%%'", [foreign.vin])
    plan = planned(story)
    assert (plan.packages, plan.cannot) == ({"brake 1.0.0": 1, "head 1.0.0": 1}, {"before_unknown: head": 1})
    story.later(60)
    order(story, plan.sha256)
    story.tick()
    states = {each.vin: each.state for each in story.vehicles(kind="rollback")}
    assert states == {other.vin: "offered"}  # who cannot return is not ordered
    (back,) = story.vehicles("offered", kind="rollback")
    story.ddi(back, "closed", "success", kind="closed")
    story.later(60)
    story.tick()
    with transaction(conn):
        vehicle = store.read_vehicle(conn, other.vin)
    assert vehicle.release_id == "release_1.0.0"
    assert {name: ecu.version for name, ecu in vehicle.ecus.items()} == {"brake": "1.0.0", "head": "1.0.0"}


def test_a_return_that_came_to_nothing_is_ordered_again_under_another_number(halted: Story) -> None:
    order(halted)
    halted.tick()
    (first,) = halted.vehicles("offered", kind="rollback")
    assert planned(halted).vehicles == 0  # it is on its way
    halted.ddi(first, "closed", "failure", kind="closed")
    halted.later(1)
    halted.tick()
    assert halted.vehicles("failed", kind="rollback")
    order(halted)
    halted.tick()
    (second,) = halted.vehicles(kind="rollback")
    assert (second.state, second.attempt) == ("offered", 2)
    assert first.action_id < second.action_id
    halted.ddi(first, "closed", "success", kind="closed", key="late")
    halted.later(1)
    halted.tick()
    assert halted.vehicles("offered", kind="rollback")  # what the first one says is nothing to the second
    halted.ddi(second, "closed", "success", kind="closed")
    halted.later(1)
    halted.tick()
    assert halted.vehicles("installed", kind="rollback")
    assert (planned(halted).to, planned(halted).cannot) == ({}, {})


def test_page_and_api_say_who_can_go_back_who_is_on_the_way_and_what_became_of_them(
    halted: Story, pg_url: str, tmp_path: Path
) -> None:
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'ben', Role.APPROVER)}"}
    place = f"/api/v1/campaigns/{halted.campaign_id}"
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, timeout=60, headers=headers) as client,
    ):

        def read(path: str) -> Any:
            return client.get(path).raise_for_status().json()

        def counts() -> tuple[int, ...]:
            row = read(place)
            return row["installed"], row["returns_ordered"], row["returned"], row["returns_failed"]

        def listed() -> list[tuple[str, str]]:
            rows = read(f"{place}/assignments")
            updates = [row["vin"] for row in rows if row["kind"] == "update"]
            assert len(set(updates)) == len(updates) == 4
            return [(row["kind"], row["state"]) for row in rows if row["kind"] == "rollback"]

        assert (counts(), listed()) == ((1, 0, 0, 0), [])
        assert read(f"{place}/recovery")["vehicles"]["kept"] == 1
        assert f'hx-get="/campaigns/{halted.campaign_id}/returns"' in client.get(place[7:]).text
        piece = client.get(f"{place[7:]}/returns").text
        assert "get back, by ECU: " in piece
        assert "head 1.0.0 (1)" in piece
        assert "Order 1 back" in piece
        plan = read(f"{place}/returns")
        client.post(f"{place}/returns", json={"sha256": plan["sha256"]}).raise_for_status()
        assert (counts(), listed()) == ((1, 1, 0, 0), [("rollback", "pending")])
        assert "1 on their way" in client.get(place[7:]).text
        assert "Order 1 back" not in client.get(f"{place[7:]}/returns").text
        assert read(f"{place}/recovery")["verdict"] == "unknown"
        halted.later(60)
        halted.tick()
        halted.ddi(halted.vehicles("offered", kind="rollback")[0], "closed", "success", kind="closed")
        halted.later(60)
        halted.tick()
        assert (counts(), listed()) == ((1, 1, 1, 0), [("rollback", "installed")])
        of_state = {row["state"]: (row["vehicles"], row["returned"]) for row in read(f"{place}/progress")}
        assert of_state == {"installed": (1, 1), "failed": (1, 0), "cancelled": (2, 0)}
        assert_shown_as_returned(client.get(place[7:]).text)
        with connect(pg_url) as conn, transaction(conn):
            add_fleet(conn, "cabs", halted.vehicles("installed", kind="rollback")[0].vin)
            rows = reading.campaign_progress(conn, halted.campaign_id, fleet="cabs")
        assert [(row.state, row.vehicles, row.returned) for row in rows] == [("installed", 1, 1)]
        recovery = read(f"{place}/recovery")
        assert (recovery["verdict"], recovery["vehicles"]["recovered"]) == ("recovered", 1)
        assert client.get("/api/v1/campaigns/none/recovery").status_code == 404


def assert_shown_as_returned(page: str) -> None:
    assert "0 of 4 installed, 1 returned" in page
    assert "went back" in page


def test_a_vehicle_that_moved_on_needs_no_return_and_is_not_called_lost(conn: Connection) -> None:
    fill_programme(conn, CountingIds())
    conn.execute("UPDATE software_package SET release_counter = 2")
    add_vehicles(conn, range(4))
    story = Story(conn, CountingIds(50))
    story.start(waves=(4,), gate=GatePolicy(failed_permille_max=300, reports_min=2), rollback_installed=True)
    good, *bad = story.vehicles("offered")
    story.ddi(good, "closed", "success", kind="closed")
    story.tick()
    conn.execute("UPDATE ecu_installed SET image_sha256 = 'fixed' WHERE vin = %s", [good.vin])
    for action in bad:
        story.ddi(action, "closed", "failure", kind="closed")
    story.later(1)
    story.tick()
    assert story.campaign().state == "halted"
    story.tick()
    (refused,) = story.vehicles("failed", kind="rollback")
    assert refused.state_detail.startswith("not_on_release")
    recovery = read_recovery(conn, story.campaign_id)
    assert (recovery.word, recovery.kept, recovery.not_recovered) == ("recovered", 0, 0)
    assert (recovery.moved_on, recovery.moved_on_to) == (1, {})
    conn.execute("UPDATE assignment SET offered_at = %s WHERE kind = 'rollback'", [story.now])
    assert read_recovery(conn, story.campaign_id).not_recovered == 1  # told to, and it said so itself


def test_who_moved_on_is_nowhere_said_to_run_the_stopped_release(
    halted: Story, pg_url: str, tmp_path: Path
) -> None:
    conn, place = halted.conn, f"/api/v1/campaigns/{halted.campaign_id}"
    (vin,) = planned(halted).vins
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'ben', Role.APPROVER)}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, timeout=60, headers=headers) as client,
    ):

        def said() -> tuple[Any, ...]:
            found, plan = (
                client.get(f"{place}/{path}").raise_for_status().json() for path in ("recovery", "returns")
            )
            kept, moved_on = found["vehicles"]["kept"], found["vehicles"]["moved_on"]
            return found["verdict"], kept, moved_on, found["moved_on_to"], plan["vehicles"], plan["cannot"]

        assert said() == ("kept", 1, 0, {}, 1, {})
        # Only one of its ECUs gets other software: what is left of the release is on it still.
        conn.execute(
            "UPDATE ecu_installed SET image_sha256 = 'fixed' WHERE vin = %s AND serial LIKE 'head%%'", [vin]
        )
        assert said() == ("kept", 1, 0, {}, 0, {"not_on_release: head": 1})
        # A release that has the same software for the other one was confirmed on it.
        conn.execute(
            'INSERT INTO release SELECT (jsonb_populate_record(r, \'{"id": "release_3", "version": "3.0.0"}\')).*'
            " FROM release r WHERE id = (SELECT release_id FROM campaign WHERE id = %s)",
            [halted.campaign_id],
        )
        conn.execute("UPDATE vehicle SET release_id = 'release_3' WHERE vin = %s", [vin])
        assert said() == ("recovered", 0, 1, {"3.0.0": 1}, 0, {})
        piece = client.get(f"{place[7:]}/returns").text
    assert "1 moved on to 3.0.0" in piece
    assert "Order" not in piece


def test_a_vehicle_that_another_campaign_updated_is_that_campaigns(halted: Story) -> None:
    kept = planned(halted)
    assert kept.vehicles == 1
    other = Story(halted.conn, halted.ids)
    other.now = halted.now
    halted.later(60)
    other.start(waves=(4,), gate=GatePolicy(failed_permille_max=300, reports_min=2))
    other.later(120)
    for action in other.vehicles("offered"):
        other.ddi(action, "closed", "success", kind="closed")
    other.later(1)
    other.tick()
    updated = {action.vin for action in other.vehicles("installed")}
    assert updated
    assert updated.isdisjoint(kept.vins)
    assert planned(halted).vins == kept.vins
    order(halted)
    assert {action.vin for action in halted.vehicles(kind="rollback")} == set(kept.vins)


def test_lists_have_the_return_of_a_vehicle_and_what_it_returns_from(halted: Story) -> None:
    (kept,) = planned(halted).vins
    order(halted)
    halted.tick()
    listed = partial(reading.assignments, halted.conn, campaign_id=halted.campaign_id)
    for fleet in (None, "cabs"):
        if fleet:
            add_fleet(halted.conn, fleet, kept)
        whole = [(a.vin, a.kind) for a in listed(fleet=fleet)]
        assert [each for each in whole if each[0] == kept] == [(kept, "rollback"), (kept, "update")]
        installed = listed(fleet=fleet, state="installed")
        assert [(a.vin, a.kind) for a in installed] == [(kept, "update")]


def add_fleet(conn: Connection, name: str, vin: str) -> None:
    conn.execute(
        "INSERT INTO account (name, role, password_hash, created_at) VALUES (%s, 'fleet', 'x', now())", [name]
    )
    conn.execute("INSERT INTO account_fleet (account_name, kind, name) VALUES (%s, 'tag', %s)", [name, name])
    conn.execute("UPDATE vehicle SET tags = tags || %s::text WHERE vin = %s", [name, vin])


def test_a_vehicle_that_is_ordered_back_late_is_named(halted: Story) -> None:
    (kept,) = planned(halted).vins
    rows = [{"campaign_id": halted.campaign_id, "vin": kept, "goes_back": True}]
    with transaction(halted.conn):
        order_back_late(halted.conn, halted.ids, rows, now=halted.now)
    (ordered,) = [fact for fact in read_facts(halted.conn) if fact.kind is FactKind.CAMPAIGN_RETURN_ORDERED]
    assert ordered.body == {"vehicles": 1, "asked": [kept]}


@pytest.mark.parametrize("late_s", [1, 14 * 60, 30 * 86_400])
def test_whom_a_halt_did_not_see_is_ordered_back_however_late_anybody_looks(
    halted: Story, late_s: int
) -> None:
    (kept,) = planned(halted).vins  # confirmed while the halt committed: its order is missing
    halted.conn.execute(
        "UPDATE campaign_plan SET document = jsonb_set(document, '{request,rollback_installed}', 'true')"
    )
    assert halted_unswept(halted.conn) == [halted.campaign_id]
    halted.later(late_s)
    halted.tick()
    assert [action.vin for action in halted.vehicles(kind="rollback")] == [kept]
    still = late_s < 15 * 60  # what was being written when it halted may not be over
    assert bool(halted_unswept(halted.conn)) is still
    halted.later(15 * 60)
    halted.tick()
    assert halted_unswept(halted.conn) == []
    assert len(halted.vehicles(kind="rollback")) == 1


def test_whom_another_campaign_brought_the_release_later_holds_up_no_sweep(
    halted: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringroad.ship.store.returns.PLANNED_AT_ONCE", 1)
    (kept,) = planned(halted).vins
    halted.conn.execute(
        "UPDATE campaign_plan SET document = jsonb_set(document, '{request,rollback_installed}', 'true')"
    )
    other = Story(halted.conn, halted.ids)
    other.now = halted.now
    other.start(waves=(4,), gate=GatePolicy(failed_permille_max=300, reports_min=2))
    halted.later(20 * 60)
    halted.conn.execute(
        "UPDATE assignment SET vin = %s, state = 'installed', finished_at = %s WHERE action_id ="
        " (SELECT min(action_id) FROM assignment WHERE campaign_id = %s)",
        [kept, halted.now, other.campaign_id],
    )
    halted.tick()
    assert halted.vehicles(kind="rollback") == []
    assert halted_unswept(halted.conn) == []


@pytest.mark.parametrize("vehicles_max", [1, 2, 3, 100])
def test_what_became_of_vehicles_is_counted_page_by_page_each_vehicle_once(
    halted: Story, vehicles_max: int
) -> None:
    whole = read_recovery(halted.conn, halted.campaign_id)
    counts: Counter[str] = Counter()
    after: str | None = ""
    pages = 0
    while after is not None:
        found, after = read_recovery_page(
            halted.conn, halted.campaign_id, after_vin=after, vehicles_max=vehicles_max
        )
        counts.update(recovery_body(found)["vehicles"])
        pages += 1
    assert recovery_of(counts, {}) == whole
    assert pages == len(halted.vehicles()) // vehicles_max + 1
    assert whole.kept == 1


def test_what_was_ordered_is_not_ordered_again(halted: Story) -> None:
    order(halted)
    with pytest.raises(Conflict):
        order(halted)
    assert len(halted.vehicles(kind="rollback")) == 1


def test_a_campaign_that_was_not_stopped_returns_nobody(conn: Connection) -> None:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(2))
    story = Story(conn, ids)
    story.start()
    with pytest.raises(Conflict):
        order(story)


def test_the_verdict_on_the_vehicles_is_given_again_when_they_were_ordered_back(halted: Story) -> None:
    conn = halted.conn

    def measure() -> str:
        return measure_recovery(
            conn, halted.ids, campaign_id=halted.campaign_id, finding_id=finding, now=halted.now,
            record_unknown=False,
        ).word  # fmt: skip

    conn.execute(
        "INSERT INTO finding (id, lap_id, title, programme_id, ecu, software_version, fault_code, state, evidence,"
        " opened_at) VALUES ('finding_1', 'lap_1', 't', 'roadster', 'brake', '1.0.0', 'P1', 'open', '{}', %s)",
        [halted.now],
    )
    finding = "finding_1"
    assert measure() == "recovered"  # nobody was asked back, and nobody is lost
    assert list_outcomes(conn)[0].measure["vehicles"]["kept"] == 1
    assert due_outcomes(conn) == []
    halted.later(60)
    order(halted)
    assert [due.measure for due in due_outcomes(conn)] == ["recovery"]
    assert measure() == "unknown"
    halted.tick()
    halted.ddi(halted.vehicles(kind="rollback")[0], "closed", "success", kind="closed")
    halted.later(60)
    halted.tick()
    assert measure() == "recovered"
    (outcome,) = list_outcomes(conn)
    assert (outcome.measure["vehicles"]["kept"], outcome.measure["vehicles"]["recovered"]) == (0, 1)
    assert due_outcomes(conn) == []
    assert halted.facts(FactKind.OUTCOME_MEASURED) == 2
