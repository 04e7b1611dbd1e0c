"""The driver page in headless Chromium: what changes, the question, progress, the result, and why it waits."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from ringroad.protocol.vehicle import Conduct
from support.driver_screen import real_time_world, running
from support.vehicle_world import World

pytestmark = pytest.mark.browser
WAIT_MS = 60_000  # a machine that is busy
TOUCH_PX_MIN = 48  # the smallest side of what a finger must hit
SIDES = """[...document.querySelectorAll("button")].filter(one => one.offsetParent !== null)
    .flatMap(one => [one.getBoundingClientRect().width, one.getBoundingClientRect().height])"""
CONTRAST_MIN = 4.5  # of text, WCAG 2.2 AA
NOTES = "Brakes release more softly.\u2028The range display no longer <jumps>."
ASKING = Conduct(consent=["download", "install"], install_s=540)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return real_time_world(tmp_path / "vehicle")


@contextmanager
def screen(
    browser: Browser,
    origin: str,
    *,
    width: int = 800,
    scheme: str = "light",
    scripts: bool = True,
    framed: bool = False,
) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=scripts,
    )  # fmt: skip
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if "Security" in line.text else None)
    go(page, origin)
    yield page
    context.close()
    assert [line for line in complaints if not (framed and "frame-ancestors 'none'" in line)] == []
    assert bool(complaints) is framed


def go(page: Page, origin: str) -> None:
    """Open the page; the vehicle may not listen yet."""
    end_s = time.monotonic() + WAIT_MS / 1000
    while True:
        try:
            page.goto(origin)
        except Error:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.05)
        else:
            return


def headline(page: Page, text: str) -> None:
    expect(page.locator("h1")).to_have_text(text)


def test_a_driver_reads_agrees_twice_is_told_why_it_waits_and_sees_the_result(
    browser: Browser, world: World
) -> None:
    world.order(conduct=ASKING, notes=NOTES)
    world.signals.values["Vehicle.Speed"] = 42
    with running(world) as origin, screen(browser, origin) as page:
        headline(page, "An update is available")
        expect(page.get_by_text("The range display no longer <jumps>.")).to_be_visible()
        expect(page.get_by_text("about 9 minutes")).to_be_visible()
        page.get_by_role("button", name="Download", exact=True).click()
        expect(page.get_by_role("heading", name="May the vehicle install it?")).to_be_visible()
        page.get_by_role("button", name="Install").click()
        expect(page.get_by_text("It waits for the vehicle to stand still.")).to_be_visible()
        expect(page.get_by_role("button")).to_have_count(0)
        world.signals.values["Vehicle.Speed"] = 0
        headline(page, "The update is installed")
        expect(page.locator("li b")).to_have_text(["done"] * 4)
        expect(page.get_by_role("status")).to_have_text("The update is installed")  # said aloud, too
    assert world.versions() == {"2.0.0"}
    given = [one.detail for one in world.server.reports.values() if one.code == "consent_given"]
    assert len(given) == 2
    assert all("agreed to by driver page" in detail for detail in given)


def test_a_driver_declines_by_keyboard(browser: Browser, world: World) -> None:
    world.order(conduct=ASKING, notes=NOTES)
    with running(world) as origin, screen(browser, origin) as page:
        headline(page, "An update is available")
        for _ in range(4):
            page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Decline this update")).to_be_focused()
        page.keyboard.press("Enter")
        headline(page, "You declined the update")
    assert world.versions() == {"1.0.0"}


def test_without_scripts_a_page_from_before_a_restart_asks_again_instead_of_being_believed(
    browser: Browser, world: World
) -> None:
    world.order(conduct=ASKING, notes=NOTES)
    with running(world) as origin, screen(browser, origin, scripts=False) as page:
        headline(page, "An update is available")
        # In one go: without scripts the page loads itself again every few seconds.
        with page.expect_response("**/answer") as answer:
            page.locator("form").evaluate(
                "form => { form.elements.token.value = 'guess'; form.requestSubmit(document.getElementById('say-yes')) }"
            )
        assert answer.value.status == 403
        assert not (world.folder / "consent.json").exists()
        page.get_by_role("button", name="Ask me tomorrow").click()
        expect(page.get_by_text(re.compile("You put it off until"))).to_be_visible()


def test_another_page_cannot_speak_for_the_driver(browser: Browser, world: World, tmp_path: Path) -> None:
    world.order(conduct=ASKING)
    with running(world) as origin, screen(browser, origin, framed=True) as page:
        headline(page, "An update is available")
        form = page.locator("form").evaluate("form => form.outerHTML")
        evil = tmp_path / "evil.html"
        evil.write_text(
            form.replace('action="/answer"', f'action="{origin}/answer"')
            + f'<iframe src="{origin}"></iframe>'
        )
        page.goto(evil.as_uri())
        page.locator("#say-all").click()  # even with the token
        expect(page.get_by_text("this was sent by another page")).to_be_visible()
        assert not (world.folder / "consent.json").exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_can_be_read_and_touched_in_both_themes(
    browser: Browser, world: World, scheme: str, width: int
) -> None:
    world.order(conduct=ASKING, notes=NOTES)
    with running(world) as origin, screen(browser, origin, width=width, scheme=scheme) as page:
        headline(page, "An update is available")
        sides = page.evaluate(SIDES)  # in one go: the page's first look replaces its buttons
        assert sides
        assert min(sides) >= TOUCH_PX_MIN
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CONTRASTS)
        low = [found for found in page.evaluate(CONTRASTS) if found[1] < CONTRAST_MIN]
        assert low == []


CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("h1, h2, p, dt, dd, li span, li b, button")]
    .filter((node) => node.offsetParent !== null && node.textContent.trim())
    .map((node) => {
      const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
      return [node.textContent.trim(), (a + 0.05) / (b + 0.05)];
    });
}"""
