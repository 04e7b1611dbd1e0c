"""The console in headless Chromium: signing in, keyboard, roles, live updates, both themes, both widths."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Dialog, Page, Route, expect

from ringroad.build.store_packages import get_programme, import_programme
from ringroad.build.store_what_if import answer_what_if, open_questions
from ringroad.build.twin.what_if import StopEffect
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.facts import FactKind
from ringroad.loop.mes import land_events
from ringroad.protocol.mes import MesEvent
from ringroad.storage.db import connect, transaction
from ringroad.storage.ledger import append_fact, latest_fact
from ringroad.storage.streams import StreamMessage
from support.console_server import PASSWORD, add_account, serving
from support.console_world import World
from support.docs_pages import ROOT
from support.mender import EC_KEY, make_mender, public_pem, signed_with

pytestmark = [pytest.mark.browser, pytest.mark.engines]


@pytest.fixture
def world(pg_url: str) -> World:
    add_account(pg_url, "olga", Role.OPERATOR)
    add_account(pg_url, "vera", Role.VIEWER)
    add_account(pg_url, "admin", Role.ADMIN)
    with connect(pg_url) as conn:
        return World(conn, SystemIds(), now=SystemClock().now(), vehicles=24).build()


@pytest.fixture
def origin(pg_url: str, world: World, tmp_path: Path) -> Iterator[str]:
    with serving(pg_url, tmp_path) as address:
        yield address


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    context = browser.new_context(base_url=origin, viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console",
        lambda line: complaints.append(line.text) if "Content Security Policy" in line.text else None,
    )
    yield opened
    context.close()
    assert complaints == []


def sign_in(page: Page, name: str) -> None:
    fill_in(page, name)
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()


def fill_in(page: Page, name: str) -> None:
    page.goto("/login")
    page.get_by_label("Account").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_signing_in_by_keyboard_alone_goes_on_to_the_wanted_page(page: Page) -> None:
    page.goto("/campaigns")
    page.keyboard.type("olga")
    page.keyboard.press("Tab")
    page.keyboard.type("not the password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    page.get_by_label("Password").focus()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Campaigns", level=1)).to_be_visible()


def test_the_first_tab_skips_to_the_content_and_focus_is_always_visible(page: Page) -> None:
    sign_in(page, "vera")
    page.goto("/fleet")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    for _ in range(12):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", page.evaluate("document.activeElement.outerHTML")


def test_an_operator_pauses_and_resumes_a_campaign(page: Page, world: World) -> None:
    sign_in(page, "olga")
    page.goto(f"/campaigns/{world.campaign_id}")
    why = page.locator("#pause-reason")
    why.fill("desk_2 is full, v1.1.0")
    page.get_by_role("button", name="Pause").focus()
    with page.expect_response(lambda answer: world.campaign_id in answer.url):
        page.evaluate("htmx.trigger('#live', 'refresh')")
    expect(why).to_have_value(
        "desk_2 is full, v1.1.0"
    )  # what a person wrote stays when the page is read again
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.locator(".head .state")).to_have_text("paused")
    expect(page.locator(".note.warn").first).to_contain_text("Paused: desk_2 is full, v1.1.0.")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_a_form_that_is_sent_before_the_scripts_ran_is_sent_once_they_did(page: Page, world: World) -> None:
    sign_in(page, "olga")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/static/app.js", hold)
    page.goto(f"/campaigns/{world.campaign_id}", wait_until="commit")
    page.locator("#pause-reason").fill("ice")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    for _ in range(2):
        page.get_by_role("button", name="Pause").click(no_wait_after=True)
    assert page.url.endswith(world.campaign_id)
    held[0].continue_()
    expect(page.locator(".note.warn").first).to_contain_text("Paused: ice.")
    assert len(sent) == 1


def test_a_campaign_shows_how_updated_vehicles_fare_against_the_control_group(
    page: Page, world: World
) -> None:
    sign_in(page, "vera")
    page.goto(f"/campaigns/{world.campaign_id}")
    panel = page.locator("section", has=page.get_by_role("heading", name="What is compared"))
    row = panel.get_by_role("row").filter(has_text="fault")
    expect(row).to_contain_text("0.80 times · between 0.31 and 1.90 times")
    expect(row).to_contain_text("400 to 1")
    expect(panel.locator(".chart canvas")).to_have_count(2)  # one for each metric
    panel.get_by_text("By stratum").click()
    expect(panel.get_by_role("row").filter(has_text="city, SE").first).to_contain_text(
        "3.00 times · between 0.20 and 9.00 times"
    )
    expect(page.locator("#exposure-chart canvas")).to_be_visible()
    expect(page.locator("dl.facts")).to_contain_text("at most 1.25 times the control group")
    expect(page.locator("dl.facts")).not_to_contain_text("failed at most 10 %")


def test_devices_are_registered_invited_and_shut_out_and_gateway_tokens_made(
    page: Page, world: World, pg_url: str
) -> None:
    with connect(pg_url) as conn, transaction(conn):
        source = (ROOT / "examples" / "ddi" / "programme.toml").read_text(encoding="utf-8")
        import_programme(conn, SystemIds(), source=source, actor="test", now=SystemClock().now())
    sign_in(page, "admin")
    page.goto("/fleet")
    page.get_by_label("VINs, one per line").fill("WRRDDP00000000001\nWRRDDP00000000002")
    page.get_by_role("button", name="Register").click()
    expect(page.locator("#registered-1")).to_contain_text("WRRDDP00000000002 enrol_")
    page.get_by_role("button", name="Register").click()
    expect(page.locator("form", has=page.locator("#registered-1")).get_by_role("alert")).to_contain_text(
        "WRRDDP"
    )
    page.goto("/fleet/WRRDDP00000000001")
    page.get_by_role("button", name="Invite it to enrol").click()
    expect(page.locator("#invitation")).to_contain_text("enrol_")
    page.once("dialog", lambda dialog: dialog.accept())
    with page.expect_response(lambda answer: answer.url.endswith("/shut-out")) as told:
        page.get_by_role("button", name="Shut out").click()
    assert told.value.status == 200
    page.goto("/accounts")
    page.get_by_label("What it is for").fill("line gateway")
    page.get_by_role("button", name="Make").click()
    expect(page.locator("#new-gateway-token")).to_contain_text("gw_")
    row = page.get_by_role("row").filter(has_text="line gateway")
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    page.goto(f"/fleet/{world.vins[0]}")  # one that speaks Uptane proves itself by its keys
    expect(page.get_by_role("button", name="Invite it to enrol")).to_have_count(0)


def test_the_operator_of_a_fleet_puts_all_of_it_off_and_takes_that_back(
    page: Page, world: World, pg_url: str
) -> None:
    add_account(pg_url, "cabs", Role.FLEET)
    with connect(pg_url) as conn:
        conn.execute("UPDATE vehicle SET tags = tags || ARRAY['cab'] WHERE vin = ANY (%s)", [world.vins[:3]])
        conn.execute("INSERT INTO account_fleet (account_name, kind, name) VALUES ('cabs', 'tag', 'cab')")
    fill_in(page, "cabs")
    expect(page.get_by_role("heading", name="Fleet", exact=True)).to_be_visible()
    panel = page.locator("section", has=page.get_by_role("heading", name="When they may begin an update"))
    expect(panel).to_contain_text("whenever a campaign may")
    panel.get_by_role("button", name="Set").click()
    expect(panel.get_by_role("alert")).to_contain_text("a window has hours")
    panel.get_by_label("Vehicles").select_option("tag cab")
    panel.get_by_label("Hours").fill("01:00-05:00, sun 00:00-24:00")
    day = (SystemClock().now() + timedelta(days=9)).date().isoformat()
    panel.get_by_label("Not before").fill(f"{day}T08:00Z")
    panel.get_by_role("button", name="Set").click()
    row = panel.get_by_role("row").filter(
        has_text=f"01:00-05:00, sun 00:00-24:00, not before {day} 08:00; UTC"
    )
    expect(row).to_contain_text("3")
    panel.get_by_role("button", name="Whenever a campaign may").click()
    expect(panel.get_by_role("row").filter(has_text="whenever a campaign may")).to_contain_text("3")


def test_what_was_qualified_elsewhere_is_looked_at_and_imported_by_whoever_is_known_to_sign_it(
    page: Page, world: World, pg_url: str, tmp_path: Path
) -> None:
    with connect(pg_url) as conn, transaction(conn):
        source = (ROOT / "examples" / "ddi" / "programme.toml").read_text(encoding="utf-8")
        import_programme(conn, SystemIds(), source=source, actor="test", now=SystemClock().now())
    bundle = b"a RAUC bundle"
    module = {
        "name": "rootfs", "version": "2.1.0", "type": "os",
        "artifacts": [{"providedFilename": "fw.raucb", "size": 13, "hashes": {"sha256": sha256(bundle).hexdigest()}}],
    }  # fmt: skip
    winter = {"name": "Winter", "version": "2.1.0", "modules": [module]}
    files = {
        "r.mender": make_mender(signature=signed_with(EC_KEY)),
        "winter.json": json.dumps(winter).encode(),
        "fw.raucb": bundle,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    sign_in(page, "admin")
    page.goto("/releases")
    page.get_by_role("link", name="Import what was qualified elsewhere").click()
    look, take = page.get_by_role("button", name="Look"), page.get_by_role("button", name="Import")
    page.locator("form[data-import]").get_by_label("Programme").select_option("dipper")
    page.get_by_label("The artifact").set_input_files(tmp_path / "r.mender")
    look.click()
    expect(page.locator("[data-looked]")).to_contain_text("signed with no registered key")
    expect(take).to_be_disabled()
    page.get_by_label("What it is called").fill("Egret build server")
    page.locator("form[action='/api/v1/artifact-keys']").get_by_label("Programme").select_option("dipper")
    page.get_by_label("Public key, PEM").fill(public_pem(EC_KEY))
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("row").filter(has_text="Egret build server")).to_contain_text("ecdsa-p256")
    page.locator("form[data-import]").get_by_label("Programme").select_option("dipper")
    page.get_by_label("The artifact").set_input_files([tmp_path / "winter.json", tmp_path / "fw.raucb"])
    look.click()
    expect(page.locator("[data-looked]")).to_contain_text("And a release, as a draft")
    page.get_by_label("The artifact").set_input_files(tmp_path / "r.mender")
    expect(page.locator("[data-looked]")).to_be_empty()
    look.click()
    expect(page.locator("[data-looked]")).to_contain_text("signed with the key 'Egret build server'")
    take.click()
    page.wait_for_url("**/releases/release_*")
    expect(page.get_by_role("main")).to_contain_text("release-2.1.0")


def test_a_campaign_is_planned_with_fields_that_stand_there_again(
    page: Page, world: World, pg_url: str
) -> None:
    draft = make_draft(pg_url, world)
    sign_in(page, "olga")
    page.goto(f"/campaigns/{draft}")
    page.get_by_label("Waves; what they leave").fill("3, 20 %")
    page.get_by_label("Failed at most, %").fill("1.5")
    page.get_by_label("Soak, hours").fill("0.5")
    page.get_by_label("Control group, held back").fill("20%")
    page.get_by_label("What must not get worse").fill("fault=1.5 silence boot-time")
    page.get_by_label("May begin, by its own clock").fill("mon-fri 22:00-05:00, sat 20:00-24:00")
    page.get_by_label("Attempts where nothing was touched").fill("3")
    page.get_by_role("button", name="Plan", exact=True).click()
    alert = page.locator("form[action$='/plan']").get_by_role("alert")
    expect(alert).to_contain_text("“boot-time” is no metric, such as fault=1.25")
    page.get_by_label("What must not get worse").fill("fault=1.5 silence")
    with page.expect_response(lambda answer: answer.url.endswith("/plan")) as told:
        page.get_by_role("button", name="Plan", exact=True).click()
    assert told.value.status == 200
    asked = told.value.json()["document"]["request"]
    assert [(size["vehicles"], size["permille"]) for size in asked["waves"]] == [(3, None), (None, 200)]
    gate = asked["gate"]
    assert (gate["failed_permille_max"], gate["soak_s"], asked["control"]["permille"]) == (15, 1_800, 200)
    metrics = [(metric["name"], metric["margin_milli"]) for metric in gate["sequential"]["metrics"]]
    assert metrics == [("fault", 1_500), ("silence", 1_250)]
    assert asked["window"]["hours"] == ["mon-fri 22:00-05:00", "sat 20:00-24:00"]
    assert asked["retry"]["attempts_max"] == 3
    page.reload()
    expect(page.get_by_label("Waves; what they leave")).to_have_value("3, 20%")
    expect(page.get_by_label("What must not get worse")).to_have_value("fault=1.5 silence=1.25")
    page.get_by_label("Control group, held back").fill("")
    page.get_by_label("May begin, by its own clock").fill("")
    with page.expect_response(lambda answer: answer.url.endswith("/plan")) as told:
        page.get_by_role("button", name="Plan", exact=True).click()
    asked = told.value.json()["document"]["request"]
    assert (asked["gate"]["sequential"], asked["control"], asked["window"]) == (None, None, None)


def test_a_wave_is_planned_with_a_date_that_stands_there_again(page: Page, world: World, pg_url: str) -> None:
    draft = make_draft(pg_url, world)
    sign_in(page, "olga")
    page.goto(f"/campaigns/{draft}")
    monday = f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}T08:00"
    form = page.locator("form[action$='/plan']")
    form.get_by_label("Waves; what they leave").fill(f"3, 20%@{monday}")
    form.get_by_role("button", name="Plan", exact=True).click()
    expect(form.get_by_role("alert")).to_contain_text(f"“{monday}” is no time with its time zone")
    form.get_by_label("Waves; what they leave").fill(f"3, 20 % @ {monday}+02:00")
    with page.expect_response(lambda answer: answer.url.endswith("/plan")) as told:
        form.get_by_role("button", name="Plan", exact=True).click()
    assert told.value.status == 200
    first, second = told.value.json()["document"]["request"]["waves"]
    assert (first["not_before"], second["permille"]) == (None, 200)
    assert datetime.fromisoformat(second["not_before"]) == datetime.fromisoformat(f"{monday}+02:00")
    page.reload()
    expect(form.get_by_label("Waves; what they leave")).to_have_value(f"3, 20%@{monday[:-5]}06:00Z")
    expect(page.locator(".wave").nth(1)).to_contain_text("not before")
    expect(page.locator(".wave").first).not_to_contain_text("not before")


def test_the_advanced_fields_of_a_plan_name_themselves_when_refused_and_stand_in_the_next_plan(
    page: Page, world: World, pg_url: str
) -> None:
    draft = make_draft(pg_url, world)
    sign_in(page, "olga")
    page.goto(f"/campaigns/{draft}")
    form = page.locator("form[action$='/plan']")
    alert = form.get_by_role("alert")
    form.get_by_label("Control group, held back").fill("20%")
    form.get_by_label("Attempts where nothing was touched").fill("3")
    form.get_by_text("Advanced", exact=True).click()
    every = form.get_by_label("Compared every, minutes")
    expect(every).to_have_value("15")
    every.fill("5000")
    form.get_by_text("Advanced", exact=True).click()  # an error opens it again
    form.get_by_role("button", name="Plan", exact=True).click()
    expect(alert).to_contain_text("Compared every, minutes: gate.sequential.tick_s: Expected `int` <= 86400")
    expect(every).to_be_focused()
    expect(every).to_have_attribute("aria-invalid", "true")
    every.fill("")
    form.get_by_role("button", name="Plan", exact=True).click()
    expect(alert).to_contain_text("Compared every, minutes: “” is no number of minutes")
    every.fill("-1")
    form.get_by_text("Advanced", exact=True).click()
    form.get_by_role("button", name="Plan", exact=True).click()
    expect(every).to_be_focused()  # the browser complains, and the fold is open for it
    every.fill("20")
    for label, value in (
        ("Read after", "30"), ("Still seen across a gap of", "45"), ("Silent after", "6"), ("Second attempt within", "20"),
        ("Any attempt within", "12"),
    ):  # fmt: skip
        form.get_by_label(label).fill(value)
    form.get_by_role("group", name="The driver is asked before").get_by_label("download").uncheck()
    for box in form.get_by_role("group", name="Tried again after").get_by_role("checkbox").all():
        box.uncheck()
    form.get_by_role("button", name="Plan", exact=True).click()
    expect(alert).to_contain_text("Tried again after: choose at least one")
    form.get_by_label("no network").check()
    with page.expect_response(lambda answer: answer.url.endswith("/plan")) as told:
        form.get_by_role("button", name="Plan", exact=True).click()
    asked = told.value.json()["document"]["request"]
    compared = asked["gate"]["sequential"]
    names = ("tick_s", "late_s", "gap_s", "quiet_s")
    assert [compared[name] for name in names] == [1_200, 1_800, 2_700, 21_600]
    assert (asked["retry"]["first_s"], asked["retry"]["last_s"]) == (1_200, 43_200)
    assert (asked["retry"]["reasons"], asked["consent_phases"]) == (["network"], ["install"])
    page.reload()
    form.get_by_text("Advanced", exact=True).click()
    expect(every).to_have_value("20")
    every.fill("10")
    with page.expect_response(lambda answer: answer.url.endswith("/plan")) as told:
        form.get_by_role("button", name="Plan", exact=True).click()
    kept = told.value.json()["document"]["request"]
    compared["tick_s"] = 600
    assert kept == asked
    page.get_by_text("What generation 2 changes").click()
    row = page.get_by_role("row").filter(has_text="compared every")
    expect(row.locator("del")).to_have_text("20 min")
    expect(row.locator("ins")).to_have_text("10 min")


def test_whoever_approves_a_plan_reads_all_that_they_sign_for(page: Page, world: World, pg_url: str) -> None:
    draft = make_draft(pg_url, world)
    sign_in(page, "olga")
    page.goto(f"/campaigns/{draft}")
    form = page.locator("form[action$='/plan']")
    form.get_by_label("Hours a vehicle has after the offer").fill("90")
    form.get_by_label("May begin, by its own clock").fill("mon-fri 22:00-05:00")
    form.get_by_label("Never").fill("sun 00:00-24:00")
    form.get_by_label("Priority where campaigns share").fill("4")
    form.get_by_label("How it is told").select_option("soft")
    form.get_by_label("Ask each driver first").select_option("true")
    with page.expect_response(lambda answer: answer.url.endswith("/plan")):
        form.get_by_role("button", name="Plan", exact=True).click()
    page.context.clear_cookies()
    sign_in(page, "admin")
    page.goto(f"/campaigns/{draft}")
    asked: list[str] = []

    def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", refuse)
    for box in page.locator("input[name=acknowledged]").all():
        box.check()
    page.get_by_role("button", name="Approve plan").click()
    (text,) = asked
    for line in (
        "Deadline: 3 d 18 h after its offer", "May begin: mon-fri 22:00-05:00, by the vehicle's clock", "Quiet hours: sun 00:00-24:00",
        "Served: with priority 4", "Urgency: soft", "Consent: each driver is asked first", "download, install", "Takes in: ",
        "waves", "Control group: none", "Gate: failed at most: 2 %; decides after: 1 outcome", "After a halt: vehicles that have it stay on it",
    ):  # fmt: skip
        assert line in text
    expect(page.locator(".head .state")).to_have_text("planned")
    shown = page.locator("section").filter(has=page.get_by_role("heading", name="Plan", exact=True))
    for name in ("deadline", "quiet hours", "late joiners", "served", "urgency", "consent", "attempts", "after a halt"):  # fmt: skip
        expect(shown.locator("dt").get_by_text(name, exact=True)).to_be_visible()


def make_draft(pg_url: str, world: World) -> str:
    draft = SystemIds().new("campaign")
    with connect(pg_url) as conn, transaction(conn):
        conn.execute(
            "INSERT INTO campaign (id, name, release_id, state, created_by, created_at)"
            " VALUES (%s, 'Winter', %s, 'draft', 'olga', %s)",
            [draft, world.good, SystemClock().now()],
        )
    return draft


def test_aborting_asks_first(page: Page, world: World) -> None:
    sign_in(page, "olga")
    page.goto(f"/campaigns/{world.campaign_id}")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Abort").click()
    expect(page.locator(".head .state")).to_have_text("running")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Abort").click()
    expect(page.locator(".head .state")).to_have_text("aborted")


def test_the_plant_shows_what_the_twin_said_of_the_newest_schedule(page: Page) -> None:
    sign_in(page, "vera")
    page.goto("/plant")
    panel = page.locator("section", has=page.get_by_role("heading", name="Checked on the twin"))
    expect(panel).to_contain_text("Generation 7 stays: better in only 41.2 % of 1000 runs")
    expect(panel).to_contain_text("6 of 24 vehicles")
    expect(panel).to_contain_text("times spread by 5 % at every station; no station breaks down")
    expect(panel.locator("#twin-times canvas")).to_be_visible()
    expect(panel.locator("#twin-stations canvas")).to_be_visible()
    expect(page.locator(".figures")).to_contain_text("1.84 s")


def test_the_plant_shows_what_schedules_moved_and_not_what_a_plan_that_was_kept_out_would_have(
    page: Page,
) -> None:
    sign_in(page, "vera")
    page.goto("/plant")
    figures = page.locator(".figures > div")
    expect(figures.filter(has_text="of vehicles moved by the last repair")).to_contain_text("8.3 %")
    expect(figures.filter(has_text="of vehicles moved by the schedule")).to_contain_text("12.5 %")
    expect(figures.filter(has_text="25 %")).to_have_count(0)  # 6 of 24, in the check of what was kept out
    chart = page.locator("#moved-chart")
    expect(chart.locator("canvas")).to_be_visible()
    expect(chart).to_have_attribute(
        "data-chart", re.compile(r"\[0\.0, 0\.0, 37\.5, 4\.1, 0\.0, 8\.3, 12\.5\]")
    )


def test_the_plant_shows_the_line_in_motion_until_it_is_held_and_who_is_where_when(page: Page) -> None:
    sign_in(page, "vera")
    page.goto("/plant")
    panel = page.locator("section", has=page.get_by_role("heading", name="The line from now on"))
    expect(panel.locator(".gantt rect[class^=tone] title").first).to_contain_text("min")
    first = panel.locator(".motion circle").first
    expect(first.locator("animate")).to_have_count(1)
    place = "circle => circle.cx.animVal.value"
    start = first.evaluate(place)
    page.wait_for_function(
        "([old]) => document.querySelector('.motion circle').cx.animVal.value !== old", arg=[start]
    )
    panel.get_by_role("button", name="Pause").click()
    held = first.evaluate(place)
    page.wait_for_timeout(300)
    assert first.evaluate(place) == held


def test_the_plant_shows_that_its_twin_is_out_of_calibration_and_what_to_do(page: Page) -> None:
    sign_in(page, "vera")
    page.goto("/plant")
    panel = page.locator("section", has=page.get_by_role("heading", name="Twin against the line"))
    expect(panel.get_by_role("status")).to_contain_text("releases no schedule: Trim takes 71.3 s")
    expect(panel.get_by_role("row").filter(has_text="Trim")).to_contain_text("slower")
    expect(panel).to_contain_text("ringroad plant drift")


def test_a_planner_asks_what_a_stop_would_do_by_keyboard_or_by_dragging_and_sees_the_answer(
    page: Page, pg_url: str
) -> None:
    sign_in(page, "olga")
    page.goto("/plant")
    panel = page.locator("section", has=page.get_by_role("heading", name="What if a station stands?"))
    panel.get_by_label("Station").focus()
    page.keyboard.type("Paint")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(panel.get_by_role("status")).to_contain_text("Paint for 30 minutes: the twin was asked")
    page.evaluate("scrollTo(0, 0)")
    for thing in (
        page.locator(".line li", has_text="Trim"),
        panel.get_by_role("button", name="Ask the twin"),
    ):
        box = thing.bounding_box()
        assert box
        assert box["y"] + box["height"] < 800  # both are seen at once: nobody scrolls with a station in hand
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
        if thing.get_attribute("draggable"):
            page.mouse.down()
    page.mouse.up()
    expect(panel.get_by_role("status")).to_contain_text("Trim for 30 minutes: the twin was asked")
    effect = StopEffect(
        vehicles=24, later_s=1_500, end_s=(2_000, 3_500), late=1, late_named=("order_x",),
        times=(("order_x", 300, 1_800, 900), ("order_y", 360, 1_860, None)),
    )  # fmt: skip
    with connect(pg_url) as conn, transaction(conn):
        for question in open_questions(conn):
            answer_what_if(
                conn,
                what_if_id=question.id,
                generation=7,
                answer=effect.to_document(),
                now=SystemClock().now(),
            )
    expect(panel.get_by_role("status")).to_contain_text("leaves 25.0 minutes later, and 1 order in time now")
    expect(panel.locator("#what-if-chart canvas")).to_be_visible()


def test_an_order_is_cancelled_with_a_reason(page: Page, world: World, pg_url: str) -> None:
    sign_in(page, "olga")
    page.goto("/plant")
    button = page.get_by_role("button", name="Cancel order_").first
    order_id = str(button.get_attribute("aria-label")).removeprefix("Cancel ")
    button.click()  # without a reason nothing is sent
    page.get_by_label("Reason, to cancel an order").fill("customer withdrew")
    page.once("dialog", lambda dialog: dialog.accept())
    button.click()
    expect(page.get_by_role("button", name=f"Cancel {order_id}")).to_have_count(0)
    with connect(pg_url) as conn:
        told = latest_fact(conn, kind=FactKind.ORDER_CANCELLED, subject=order_id)
    assert told
    assert (told.actor, told.body["reason"]) == ("olga", "customer withdrew")


def test_a_planner_blocks_an_option_with_a_reason_and_lifts_the_block_again(page: Page, pg_url: str) -> None:
    sign_in(page, "olga")
    page.goto("/plant")
    panel = page.locator("section", has=page.get_by_role("heading", name="Blocked options"))
    panel.get_by_label("Option or variant").select_option("sunroof")
    block = panel.get_by_role("button", name="Block", exact=True)
    block.click()  # without a reason nothing is sent
    panel.get_by_label("Reason").fill("glass is late")
    panel.locator("option", has_text="sunroof").evaluate("option => { option.value = 'skylight' }")
    block.click()  # as from a page that is older than the programme
    expect(panel.locator("#block").get_by_role("alert")).to_contain_text("no option or variant 'skylight'")
    panel.locator("option", has_text="sunroof").evaluate("option => { option.value = 'sunroof' }")
    block.click()
    line = panel.get_by_role("listitem").filter(has_text="sunroof")
    expect(line).to_contain_text("glass is late")
    held = page.get_by_role("list", name="Orders held back")
    expect(held).to_contain_text("sunroof is blocked: glass is late")
    line.get_by_role("button", name="Unblock sunroof").click()
    expect(line).to_have_count(0)
    expect(held).not_to_contain_text("sunroof")
    with connect(pg_url) as conn:
        told = [
            latest_fact(conn, kind=kind, subject="meridian")
            for kind in (FactKind.OPTION_BLOCKED, FactKind.OPTION_UNBLOCKED)
        ]
    assert [(each.actor, each.body["option"]) for each in told if each] == [("olga", "sunroof")] * 2


def test_what_is_approved_is_what_was_seen(page: Page, world: World, pg_url: str) -> None:
    with connect(pg_url) as conn:
        conn.execute(
            "UPDATE change SET state = 'proposed', approved_by = NULL WHERE id = %s", [world.change_id]
        )
        sign_in(page, "admin")
        page.goto(f"/changes/{world.change_id}")
        button = page.get_by_role("button", name="Approve")
        expect(button).to_be_visible()
        conn.execute(
            "UPDATE change SET generation = generation + 1"
        )  # another proposal, behind this page's back
        button.click()
        expect(page.get_by_role("alert")).not_to_be_empty()
        page.reload()
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        row = conn.execute("SELECT state FROM change WHERE id = %s", [world.change_id]).fetchone()
    assert row == {"state": "approved"}


def test_a_viewer_sees_everything_and_has_no_controls(page: Page, world: World) -> None:
    sign_in(page, "vera")
    for path in (
        f"/campaigns/{world.campaign_id}",
        f"/findings/{world.open_finding_id}",
        f"/findings/{world.open_finding_id}/built",
        f"/releases/{world.good}",
        "/campaigns",
        "/plant",
    ):
        page.goto(path)
        expect(page.locator("main h1")).to_be_visible()
        expect(page.locator("main form[data-api]")).to_have_count(0)
    page.goto("/fleet")
    page.get_by_label("Export as").select_option("jsonl")
    with page.expect_download() as begun:
        page.get_by_role("button", name="All ECUs").click()
    assert begun.value.suggested_filename == "ecus.jsonl"
    page.goto("/accounts")
    expect(page.locator("body")).to_contain_text("this needs the role admin")


def test_a_finding_is_accepted_into_a_change(page: Page, world: World) -> None:
    sign_in(page, "olga")
    page.goto(f"/findings/{world.open_finding_id}")
    page.get_by_role("button", name="Accept into a change").click()
    expect(page.locator(".head .state").first).to_have_text("accepted")
    expect(page.get_by_role("link", name="Fix B1042-13 in display")).to_be_visible()


def test_a_new_fact_appears_without_reloading(page: Page, world: World, pg_url: str) -> None:
    sign_in(page, "vera")
    page.goto("/")
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    page.evaluate("window.stillTheSamePage = true")
    with connect(pg_url) as conn, transaction(conn):
        append_fact(
            conn, SystemIds(), kind=FactKind.CAMPAIGN_PAUSED, subject=world.campaign_id, actor="somebody-else",
            now=SystemClock().now(), body={"reason": "rain"},
        )  # fmt: skip
    expect(page.locator(".feed li").first).to_contain_text("somebody-else")
    assert page.evaluate("window.stillTheSamePage") is True


def test_an_opened_detail_stays_open_while_the_page_updates(page: Page, world: World, pg_url: str) -> None:
    sign_in(page, "vera")
    page.goto(f"/campaigns/{world.campaign_id}")
    page.get_by_text("Whole plan").click()
    with connect(pg_url) as conn:
        conn.execute("UPDATE campaign SET name = 'Renamed meanwhile' WHERE id = %s", (world.campaign_id,))
        with transaction(conn):
            append_fact(
                conn, SystemIds(), kind=FactKind.CAMPAIGN_PAUSED, subject=world.campaign_id, actor="x",
                now=SystemClock().now(),
            )  # fmt: skip
    expect(page.get_by_role("heading", name="Renamed meanwhile")).to_be_visible()
    expect(page.locator("details[open]")).to_have_count(1)


def test_the_fleet_is_filtered_while_typing_and_the_address_can_be_shared(page: Page, world: World) -> None:
    sign_in(page, "vera")
    page.goto("/fleet")
    page.get_by_label("VIN contains").fill(world.vins[7][-4:])
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text(world.vins[7])
    page.get_by_label("VIN contains").fill("")
    page.get_by_label("State").select_option("failed")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_vehicles_own_hours_are_written_as_words(page: Page, world: World) -> None:
    sign_in(page, "olga")
    page.goto(f"/fleet/{world.vins[0]}")
    panel = page.locator("section", has=page.get_by_role("heading", name="When it may begin an update"))
    panel.get_by_label("Hours").fill("mon-fri 22:00-05:00, sat 20:00-24:00")
    panel.get_by_label("Never").fill("sun 00:00-24:00")
    panel.get_by_role("button", name="Set").click()
    expect(panel.locator("header")).to_contain_text(
        "mon-fri 22:00-05:00, sat 20:00-24:00, not sun 00:00-24:00; UTC"
    )
    expect(panel.get_by_label("Hours")).to_have_value("mon-fri 22:00-05:00, sat 20:00-24:00")


def test_the_theme_is_the_systems_until_somebody_chooses(browser: Browser, origin: str) -> None:
    context = browser.new_context(base_url=origin, color_scheme="dark")
    page = context.new_page()
    sign_in(page, "vera")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Switch between light and dark").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    context.close()


@pytest.mark.parametrize("width", [1280, 768])
def test_no_page_is_wider_than_the_window(page: Page, world: World, width: int) -> None:
    sign_in(page, "admin")
    page.set_viewport_size({"width": width, "height": 800})
    for path in (
        "/", f"/laps/{world.lap_id}", "/fleet", f"/fleet/{world.vins[0]}", "/campaigns", f"/campaigns/{world.campaign_id}",
        "/imports", "/plant", "/logistics", "/clones", "/quality", "/findings", f"/findings/{world.finding_id}", f"/findings/{world.finding_id}/built", f"/changes/{world.change_id}", "/releases",
        f"/releases/{world.good}", "/facts", "/accounts", "/webhooks",
    ):  # fmt: skip
        page.goto(path)
        expect(page.locator("main h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_the_plant_page_shows_the_document_and_what_stations_said(page: Page, pg_url: str) -> None:
    clock = SystemClock()
    told = [
        MesEvent(id="1", kind="stopped", station="battery", at=clock.now(), reason="lift jammed"),
        MesEvent(id="2", kind="entered", station="battery", at=clock.now(), order_id="order_nobody"),
    ]
    with connect(pg_url) as conn:
        stations = [station.name for station in get_programme(conn, "meridian").programme.line.stations]
        told = [msgspec.structs.replace(each, station=stations[0]) for each in told]
        land_events(conn, SystemIds(), clock, [
            StreamMessage(
                subject="ringroad.mes.v1.meridian", payload=msgspec.json.encode(each), seq=seq, received_at=clock.now()
            )
            for seq, each in enumerate(told)
        ])  # fmt: skip
    sign_in(page, "vera")
    page.goto("/plant")
    document, state = page.locator("#document"), page.locator("#state")
    expect(document).to_contain_text("read out of the programme's file")
    expect(document.get_by_role("row").nth(1)).to_contain_text("a person: the programme's file")
    expect(state).to_contain_text("lift jammed")
    expect(state.get_by_role("list", name="Events that cannot be")).to_contain_text(
        "there is no order order_nobody for this line"
    )


def test_nothing_is_fetched_from_elsewhere(page: Page, origin: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, "vera")
    page.goto("/plant")
    page.goto("/fleet")
    assert asked
    assert [url for url in asked if not url.startswith((origin, "data:"))] == []


def test_a_query_is_written_by_keyboard_from_what_the_fleet_has(
    page: Page, world: World, pg_url: str
) -> None:
    with connect(pg_url) as conn:
        draft = SystemIds().new("campaign")
        conn.execute(
            "INSERT INTO campaign (id, name, release_id, state, created_by, created_at)"
            " VALUES (%s, 'Pilots', %s, 'draft', 'olga', %s)",
            [draft, world.good, SystemClock().now()],
        )
    sign_in(page, "olga")
    page.goto(f"/campaigns/{draft}")
    field = page.get_by_role("combobox", name="Which vehicles")
    choices = page.get_by_role("listbox").get_by_role("option")  # not those of the form's own lists
    field.fill("")
    field.press_sequentially("reg")
    expect(choices.first).to_contain_text("region")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")  # takes the choice, and does not send the form
    expect(field).to_have_value("region ")
    expect(choices.first).to_contain_text("=")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(field).to_have_value("region = ")
    expect(choices.first).to_contain_text("DE")
    page.keyboard.press("ArrowUp")  # from above the first to the last
    page.keyboard.press("Enter")
    expect(field).to_have_value("region = NO ")
    expect(choices.first).to_contain_text("and")
    page.keyboard.press("Escape")
    expect(choices).to_have_count(0)
    page.get_by_role("button", name="Who matches?").click()
    expect(page.locator("#query-preview")).to_contain_text("8 of 24 vehicles match")
    field.fill("regoin = NO")
    expect(page.locator("#query-choices")).to_contain_text("Did you mean 'region'?")
