"""A vehicle's diagnostics in Chromium, as a technician uses them; the vehicle's answers are put in as they would come."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from ringroad.http import accounts_store
from ringroad.http.auth import Role
from ringroad.http.middleware import COOKIE
from ringroad.kernel.clock import SystemClock, SystemIds, new_secret
from ringroad.protocol.diagnostics import DiagnosticAnswer
from ringroad.signal import store_diagnostics as store
from ringroad.storage.db import connect, transaction
from ringroad.storage.lake import FaultRow, Lake, Rows, SampleRow, to_us
from ringroad.vehicle.diagnostics.faults import fault_status
from support.console_server import serving
from support.console_world import World

pytestmark = [pytest.mark.browser, pytest.mark.engines]
FAULT = {"code": "C0051-00", "status": 0x2F, "words": fault_status("C0051-00", 0x2F).words}


@pytest.fixture
def vin(pg_url: str) -> str:
    now = SystemClock().now()
    with connect(pg_url) as conn:
        found = World(conn, SystemIds(), now=now, vehicles=8).build().vins[0]
        with transaction(conn):
            for name, role in (("admin", Role.ADMIN), ("olga", Role.OPERATOR), ("vera", Role.VIEWER)):
                accounts_store.ensure_account(conn, SystemIds(), name=name, role=role, actor="admin", now=now)
        accounts_store.change_account(
            conn,
            SystemIds(),
            name="olga",
            role=None,
            disabled=None,
            diagnose="service",
            actor="admin",
            now=now,
        )
    return found


def signed_in(pg_url: str, name: str) -> str:
    """A session's cookie, without the slow hash of a password."""
    with connect(pg_url) as conn, transaction(conn):
        return accounts_store.issue_token(
            conn, name=name, kind="session", now=SystemClock().now(), life_s=3_600, secret=new_secret
        )


def page_of(browser: Browser, origin: str, pg_url: str, name: str) -> Page:
    context = browser.new_context(base_url=origin, viewport={"width": 1280, "height": 900})
    context.add_cookies([{"name": COOKIE, "value": signed_in(pg_url, name), "url": origin}])
    return context.new_page()


def vehicle_says(pg_url: str, vin: str, path: str, status: int, body: dict[str, Any]) -> None:
    """The vehicle's answer to the newest request for a path."""
    now = SystemClock().now() + timedelta(milliseconds=1)
    with connect(pg_url) as conn:
        [job] = [each for each in store.read_jobs(conn, vin=vin, rows_max=9) if each.path == path][:1]
        answer = DiagnosticAnswer(id=job.id, status=status, at=now, body=body)
        with transaction(conn):
            assert store.accept_answer(conn, SystemIds(), vin=vin, answer=answer, now=now)


def test_a_technician_opens_a_session_reads_faults_and_clears_one_after_a_question(
    browser: Browser, pg_url: str, vin: str, tmp_path: Path
) -> None:
    with serving(pg_url, tmp_path) as origin:
        page = page_of(browser, origin, pg_url, "olga")
        page.goto(f"/fleet/{vin}")
        page.get_by_role("link", name="Diagnostics").click()
        page.get_by_label("Why; the driver reads it").fill("customer hears a hum")
        page.get_by_label("Scope").select_option("service")
        page.get_by_role("button", name="Ask the vehicle").click()
        expect(page.get_by_text("the driver has not agreed yet").first).to_be_visible()

        vehicle_says(pg_url, vin, "/sessions", 200, {"state": "open", "consent": "driver"})
        expect(page.get_by_text("on the vehicle's driver consent")).to_be_visible()

        page.get_by_role("button", name="Read the components").click()
        expect(page.get_by_role("cell", name="GET /components", exact=True)).to_be_visible()
        brake = {"id": "brake", "name": "brake", "serial": "B-1", "hardware": "ESC-9", "primary": False}
        cluster = {**brake, "id": "cluster", "name": "cluster", "serial": "C-1"}
        vehicle_says(pg_url, vin, "/components", 200, {"items": [brake, cluster]})
        assert (
            page.get_by_role("button", name="Lock brake").count() == 0
        )  # what changes an ECU is of one, and chosen
        page.get_by_role("link", name="brake", exact=True).click()
        expect(page.get_by_role("button", name="Lock brake")).to_be_visible()
        page.get_by_role("textbox", name="Identifier").fill("0100")
        page.get_by_role("button", name="Read an identifier of brake").click()
        expect(page.get_by_role("cell", name="GET /components/brake/data/0100")).to_be_visible()
        write = {"kind": "hex", "bytes": 4, "wanted": "8 hex digits"}
        coding = {"id": "0100", "name": "coding", "data": "00000001", "raw": "00000001", "write": write}
        vehicle_says(pg_url, vin, "/components/brake/data/0100", 200, coding)
        page.get_by_label("New value").fill("0000000a")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Write 0100 of brake").click()
        expect(page.get_by_role("cell", name="PUT /components/brake/data/0100")).to_be_visible()
        with connect(pg_url) as conn:
            [asked_for] = [
                each for each in store.read_jobs(conn, vin=vin, rows_max=1) if each.method == "PUT"
            ]
        assert asked_for.body == {"data": "0000000a"}
        page.get_by_role("button", name="Read every fault").click()
        expect(page.get_by_role("cell", name="GET /functions/vehicle-health")).to_be_visible()
        items = [{"component": "brake", **FAULT}, {"component": "<b>bold</b>", **FAULT}]
        vehicle_says(pg_url, vin, "/functions/vehicle-health", 200, {"items": items, "silent": []})
        expect(page.get_by_text("confirmed and failing now").first).to_be_visible()
        expect(page.get_by_text("<b>bold</b>", exact=True).first).to_be_visible()  # nothing of it is markup

        asked: list[str] = []

        def decline(dialog: Dialog) -> None:
            asked.append(dialog.message)
            dialog.dismiss()

        page.once("dialog", decline)
        page.get_by_role("button", name="Clear C0051-00 of brake").click()
        assert asked == ["Clear C0051-00 of brake? What the ECU knew of it is gone."]
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Clear C0051-00 of brake").click()
        where = "/components/brake/faults/C0051-00"
        expect(page.get_by_role("cell", name=f"DELETE {where}")).to_be_visible()
        error = {"kind": "conflict", "code": "lock_needed", "message": "brake is not locked"}
        vehicle_says(pg_url, vin, where, 409, {"error": error})
        expect(page.get_by_role("cell", name="brake is not locked")).to_be_visible()

        page.get_by_role("button", name="Read the updates").click()
        expect(page.get_by_role("cell", name="GET /updates", exact=True)).to_be_visible()
        name, updates = updates_of(pg_url)
        vehicle_says(pg_url, vin, "/updates", 200, {"items": updates})
        release = page.get_by_role("link", name=name)
        expect(release).to_be_visible()
        table = page.locator("table").filter(has=release)
        for width in (1280, 768):
            page.set_viewport_size({"width": width, "height": 900})
            wide, room = table.evaluate("each => [each.offsetWidth, each.parentElement.clientWidth]")
            assert wide <= room, f"{wide} px in {room} px"


def updates_of(pg_url: str) -> tuple[str, list[dict[str, Any]]]:
    """The name of the newest release, and an update to it as a vehicle lists it."""
    with connect(pg_url) as conn:
        found = conn.execute("SELECT id, name, version FROM release ORDER BY created_at DESC").fetchone()
    assert found is not None
    why = "ESC-9 000001-03-brake did not tell the version that was signed for it, 2.0.0, but 1.9.0"
    update = {
        "id": "7", "release": found["id"], "version": found["version"], "state": "ROLLED_BACK",
        "code": "version_mismatch", "detail": why,
        "began_at": "2026-11-26T12:00:00+00:00", "ended_at": "2026-11-26T12:09:00+00:00",
    }  # fmt: skip
    return f"{found['name']} {found['version']}", [update]


def test_who_may_not_diagnose_sees_who_did_and_nothing_to_press(
    browser: Browser, pg_url: str, vin: str, tmp_path: Path
) -> None:
    now = SystemClock().now()
    told = [(now - timedelta(hours=2), 0x2F, "1.0"), (now - timedelta(hours=1), 0x28, "1.1")]
    faults = tuple(
        FaultRow(
            vin=vin, batch=number, index=0, programme="meridian", variant="v", at_us=to_us(at), ecu="brake",
            code="C0040-64", status=status, software_version=version, clock="ok",
            snapshot='{"Vehicle.Powertrain.TractionBattery.StateOfCharge.Current": 76.5}',
            received_us=to_us(at), seq=1,
        )
        for number, (at, status, version) in enumerate(told, start=1)
    )  # fmt: skip
    samples = tuple(
        SampleRow(
            vin=vin, batch=1, index=10 * number + second, programme="meridian", variant="v", path=path, kind="float",
            text=None, at_us=faults[0].at_us + second * 1_000_000, number=41.0 + second, clock="ok",
            received_us=to_us(now), seq=1,
        )
        for number, path in enumerate(["Vehicle.Speed", *(f"Vehicle.Chassis.Axle.Row{row}.SteeringAngle" for row in range(6))])
        for second in range(-3, 3)
    )  # fmt: skip
    Lake(tmp_path / "lake").write(Rows(samples=samples, faults=faults, exposure=()), first_seq=1, last_seq=1)
    with connect(pg_url) as conn, transaction(conn):
        store.open_session(
            conn, SystemIds(), vin=vin, account="olga", scope="read", minutes=5, reason="a hum", now=now
        )
    with serving(pg_url, tmp_path) as origin:
        page = page_of(browser, origin, pg_url, "vera")
        page.goto(f"/fleet/{vin}/diagnostics")
        expect(page.get_by_role("cell", name="a hum")).to_be_visible()
        expect(page.get_by_text("has no permission for diagnostics")).to_be_visible()
        page.get_by_text("Every fault, how often").click()
        expect(page.get_by_role("cell", name="C0040-64")).to_be_visible()
        expect(page.get_by_role("cell", name="1.0, 1.1")).to_be_visible()
        page.get_by_text("Seconds before and after").click()
        expect(page.get_by_role("cell", name="fault", exact=True)).to_be_visible()
        expect(page.get_by_role("cell", name="41", exact=True).first).to_be_visible()
        page.get_by_text("1 signal at that moment").click()
        expect(page.get_by_text("76.5", exact=True)).to_be_in_viewport()
        for width in (1280, 820):  # seven signals scroll in their own table, and the history stays as it is
            page.set_viewport_size({"width": width, "height": 900})
            around, history = (
                page.locator("table").filter(has_text=words).last for words in ("Axle.Row5", "On software")
            )
            wide, room = history.evaluate("each => [each.offsetWidth, each.parentElement.clientWidth]")
            assert wide <= room, f"{wide} px in {room} px"
            assert around.evaluate("each => each.parentElement.clientWidth") > room - 60
        page.get_by_text("Who else, by software and lot").click()
        expect(page.get_by_text("the vehicles have no birth record with parts")).to_be_visible()
        assert page.get_by_role("button", name="Ask the vehicle").count() == 0
        assert page.get_by_role("button", name="Close the session").count() == 0
