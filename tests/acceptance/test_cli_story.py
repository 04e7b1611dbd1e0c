"""The command line from an empty server to a running campaign, over real HTTP and a real PostgreSQL."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli_story import PROGRAMME, Terminal, at_a_terminal

pytestmark = pytest.mark.engines

GOLDEN = Path(__file__).with_name("cli_story.txt")
IDS = re.compile(r"\b(programme|pkg|release|campaign|plan|order|schedule|lap|change|finding)_[0-9a-z]{26}\b")
TIMES = re.compile(r"20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?( UTC|Z)?")


@pytest.fixture
def terminal(pg_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    with at_a_terminal(tmp_path, pg_url=pg_url, capture=capsys) as found:
        yield found


def test_from_a_programme_to_a_running_campaign(terminal: Terminal) -> None:
    t = terminal
    t("programme", "list", status=5)
    t.sign_in()
    t("account", "whoami")
    _build(t)
    t.bear(6, variant="city", region="NO")
    t.bear(4, variant="touring", region="DE", first=6)
    t("fleet", "versions")
    _second_release(t)
    _campaign(t)
    text = _steady(t)
    if os.environ.get("RINGROAD_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def _build(t: Terminal) -> None:
    t("programme", "import", t.file("programme.toml", PROGRAMME))
    t("programme", "show", "meridian")
    for ecu, version in (("gateway", "1.0.0"), ("brake", "1.0.0"), ("display", "1.0.0"), ("brake", "1.1.0")):
        image = t.file(f"{ecu}-{version}.bin", f"{ecu} {version} ".encode() * 100)
        t("package", "add", image, "--ecu", ecu, "--version", version)
    t("package", "list")
    words = ["--package", "brake@1.0.0", "--package", "display@1.0.0", "--package", "gateway@1.0.0"]
    t("release", "create", "--name", "First", "--version", "1.0.0", *words)
    t("release", "sign", "1.0.0", status=4)
    t("release", "check", "1.0.0")
    t("release", "sign", "1.0.0", "--yes")
    t("release", "baseline", "set", "1.0.0")
    t("order", "add", "--variant", "touring", "--option", "sunroof", "--rush")
    t("schedule", "block", "sunroof", "--reason", "glass is late")
    t("schedule", "show")
    t("schedule", "unblock", "sunroof")


def _second_release(t: Terminal) -> None:
    file = t.file(
        "second.toml",
        'name = "Second"\nversion = "1.1.0"\nnotes = "Quieter brakes"\n'
        '[variants.city]\nbrake = "1.1.0"\n[variants.touring]\nbrake = "brake@1.1.0"\n'
        '[untouched]\ncity = ["gateway"]\ntouring = ["display", "gateway"]\n'
        '[[post_checks]]\necu = "brake"\nkind = "version"\n',
    )
    t("release", "create", file)
    t("release", "check", "Second")
    t("release", "sign", "Second", "--yes")
    t("release", "show", "1.1.0")


def _campaign(t: Terminal) -> None:
    t("campaign", "preview", "region = NO and ecu.brake.version < 1.1.0")
    t("campaign", "create", "Quiet", "--release", "1.1.0")
    t(
        "campaign",
        "plan",
        "Quiet",
        "--query",
        "region = NO",
        "--wave",
        "1",
        "--wave",
        "50%",
        "--failed-max",
        "0.5%",
        "--seed",
        "1",
    )
    t("campaign", "check", "Quiet")
    t("campaign", "approve", "Quiet", "--yes", "--accept", "vehicles_unheard")
    t("campaign", "start", "Quiet")
    t("campaign", "show", "Quiet")
    t("campaign", "vehicles", "Quiet")
    t("fleet", "show", "WRRZZZ9Z000000000")
    t("campaign", "gate", "Quiet")
    t("campaign", "pause", "Quiet", "--reason", "service desk is full")
    t("campaign", "resume", "Quiet")
    t("campaign", "abort", "Quiet", "--reason", "enough seen")
    t("campaign", "watch", "Quiet", status=1)
    t("campaign", "list")


def _steady(t: Terminal) -> str:
    """Replace what differs from run to run, each id by its kind and order of appearance."""
    text = "\n\n".join(t.transcript) + "\n"
    seen: dict[str, str] = {}
    for match in IDS.finditer(text):
        seen.setdefault(match[0], f"{match[1]}-{len(seen) + 1:04}")
    for identifier, name in seen.items():
        # The end of an id keeps its width, so that tables stay straight.
        text = text.replace(identifier, name).replace(identifier[-8:], name[:3] + name[-5:])
    text = TIMES.sub("TIME", text)
    text = re.sub(r"\b\d\d:\d\d:\d\d\b", "TIME", text)
    text = re.sub(r"in( +)\d+\.\d ms", r"in\1N ms", text)
    text = re.sub(r"\bonce_\S+", "TOKEN", text)
    text = text.replace(str(t.folder), "HERE").replace(str(t.settings.http_port), "PORT")
    return re.sub(r"[ ]+$", "", text, flags=re.MULTILINE)
