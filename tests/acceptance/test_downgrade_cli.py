"""Taking vehicles back on purpose, from the command line and on the console: two people, then the offline keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ringroad.http.auth import Role
from support.cli_story import PROGRAMME, Terminal, at_a_terminal
from support.console_server import add_account

pytestmark = pytest.mark.engines
FORBIDDEN = 5  # exit status


@pytest.fixture
def terminal(pg_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    with at_a_terminal(tmp_path, pg_url=pg_url, capture=capsys) as found:
        yield found


def on_the_road(t: Terminal) -> None:
    """Three vehicles whose brakes run 1.1.0; 1.0.0 was never on them."""
    t.sign_in()
    t("programme", "import", t.file("programme.toml", PROGRAMME))
    for ecu, version in (("gateway", "1.0.0"), ("display", "1.0.0"), ("brake", "1.0.0"), ("brake", "1.1.0")):
        image = t.file(f"{ecu}-{version}.bin", f"{ecu} {version} ".encode() * 100)
        t("package", "add", image, "--ecu", ecu, "--version", version)
    words = ["--package", "brake@1.1.0", "--package", "display@1.0.0", "--package", "gateway@1.0.0"]
    t("release", "create", "--name", "First", "--version", "1.1.0", *words)
    t("release", "check", "1.1.0")
    t("release", "sign", "1.1.0", "--yes")
    t("release", "baseline", "set", "1.1.0")
    t.bear(3, variant="city", region="NO")


def plan(t: Terminal, name: str, release: str, *, status: int = 0) -> list[str]:
    """Plan a campaign for all vehicles; return why some do not fit."""
    t("campaign", "create", name, "--release", release)
    t("campaign", "plan", name, "--query", "all", status=status)
    findings = t("--json", "campaign", "check", name, status=status).value["findings"]
    return [f"{each['code']}: {each['message']}" for each in findings]


def test_a_vehicle_goes_back_only_by_a_decision_of_two_people_and_the_offline_keys_until_it_is_withdrawn(
    terminal: Terminal, pg_url: str
) -> None:
    t = terminal
    on_the_road(t)
    # Unmarked: signed, and no vehicle takes it.
    t("release", "create", "--name", "Old", "--version", "1.2.0", "--package", "brake@1.0.0")
    assert "downgrade_unmarked" in t("release", "check", "1.2.0").out
    t("release", "sign", "1.2.0", "--yes")
    found = plan(t, "Oldies", "1.2.0", status=1)
    assert (
        "vehicles_mismatch: 3 vehicles do not fit the release: downgrade: brake 1.1.0 to 1.0.0 (3)" in found
    )
    # Marked: two people.
    back = ["--back", "brake=>=1.1", "--back-reason", "noise at low speed"]
    words = ["--name", "Back", "--version", "1.3.0", "--package", "brake@1.0.0"]
    t("release", "create", *words, "--back", "brake=>=1.1", status=2)
    t("release", "create", *words, *back)
    t("release", "approve-downgrade", "1.3.0", "--yes", status=4)  # not checked yet
    assert "approve-downgrade" in t("release", "check", "1.3.0").out
    assert (
        t("--json", "release", "sign", "1.3.0", "--yes", status=4).error["code"] == "downgrade_not_approved"
    )
    t("release", "approve-downgrade", "1.3.0", "--yes", status=FORBIDDEN)  # its own maker
    t.env = {"RINGROAD_TOKEN": add_account(pg_url, "ines", Role.APPROVER)}
    said = t("release", "approve-downgrade", "1.3.0", "--yes")
    assert "asked by admin: noise at low speed" in said.err
    assert "brake back to 1.0.0" in said.out
    t.env = {}
    # The keys' holder is shown the decision; then it is published.
    assert "asked by admin, approved by ines" in t("release", "sign", "1.3.0", "--yes").err
    assert "brake back from >=1.1" in t("release", "show", "1.3.0").out
    found = plan(t, "Return", "1.3.0")
    assert "downgrade: vehicles go back to older software by decision, by ECU: brake (3)" in found
    page = console(t, pg_url)
    assert "Goes back to older software" in page
    assert "admin, approved by ines" in page
    # Withdrawn: it leaves with the next signature.
    image = t.file("brake-1.4.0.bin", b"brake 1.4.0 " * 100)
    t("package", "add", image, "--ecu", "brake", "--version", "1.4.0")
    t("release", "create", "--name", "Next", "--version", "1.4.0", "--package", "brake@1.4.0")
    t("release", "check", "1.4.0")
    t("release", "sign", "1.4.0", "--export", str(t.folder / "kept.json"))
    assert "downgrades" in (t.folder / "kept.json").read_text()
    t("release", "withdraw", "1.3.0", "--reason", "found something better")
    t("release", "sign", "1.4.0", "--export", str(t.folder / "gone.json"))
    assert "downgrades" not in (t.folder / "gone.json").read_text()


def console(t: Terminal, pg_url: str) -> str:
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'vera', Role.VIEWER)}"}
    release = t.ask("--json", "release", "show", "1.3.0").value["id"]
    url = f"http://127.0.0.1:{t.settings.http_port}/releases/{release}"
    return httpx.get(url, headers=headers, timeout=60).raise_for_status().text
