"""The page of quality: what a gate should do is read, and decided, on a narrow screen too."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from ringroad.build.plant.read import read_plant
from ringroad.build.plant.store import save_plant
from ringroad.build.quality.results import CheckResult
from ringroad.build.quality.store import take_results
from ringroad.http.auth import Role
from ringroad.storage.db import connect, transaction
from support.births import END, PLANT, line_with_baseline, who
from support.console_server import PASSWORD, add_account, serving
from support.mes import CLOCK, IDS

pytestmark = [pytest.mark.browser, pytest.mark.engines]
COSTS = 'checks = ["leak", "torque", "software"]\ninspect_cost = 1\nescape_cost = 40\ninspect_permille = 300'


@pytest.mark.parametrize("width", [1280, 768])
def test_why_a_gate_should_do_something_else_has_the_width_of_the_page(
    browser: Browser, pg_url: str, tmp_path: Path, width: int
) -> None:
    add_account(pg_url, "anna", Role.APPROVER)
    results = [
        CheckResult(
            id=f"r{n}", vehicle=f"v{n}", station=END, check="leak", passed=n % 16 != 0, variant="van", software="1.0",
            at=CLOCK.now() - timedelta(minutes=600 - n), lots={"cell": "B-17" if n % 4 == 0 else "A-16"},
        )
        for n in range(400)
    ]  # fmt: skip
    with connect(pg_url) as conn, transaction(conn):
        line_with_baseline(conn)
        plant = PLANT.replace('checks = ["leak", "torque", "software"]', COSTS)
        save_plant(conn, IDS, plant=read_plant(plant), generation=1, **who())
        assert not take_results(conn, programme_id="wren", delivered=results, **who()).refused
    with serving(pg_url, tmp_path) as origin:
        page = browser.new_context(base_url=origin, viewport={"width": width, "height": 900}).new_page()
        page.goto("/login")
        page.get_by_label("Account").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        page.goto("/quality")
        gates = page.locator("#gates")
        why = gates.get_by_role("cell").filter(has_text="looking at 1,000 vehicles would catch")
        expect(why).to_contain_text("all of van, cell lot B-17")
        expect(why.get_by_role("button")).to_have_text("Inspect all of 1 kind, and 5.0 % of others")
        box, button = why.bounding_box(), why.get_by_role("button").bounding_box()
        assert box is not None
        assert button is not None
        assert box["width"] > 0.6 * width
        assert button["x"] + button["width"] < width
        page.context.close()
