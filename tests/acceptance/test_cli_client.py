"""The command line against a real server: refusals and their exit statuses, JSON, sign-in, watching, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from ringroad.cli.keys import KeyCounts, KeyFolders, init_keys
from ringroad.kernel.clock import SystemIds
from ringroad.storage.db import Connection, connect
from support.cli_story import PASSWORD, PROGRAMME, Terminal, at_a_terminal
from support.console_world import World
from support.ports import free_port

pytestmark = pytest.mark.engines


@pytest.fixture
def terminal(pg_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    with at_a_terminal(tmp_path, pg_url=pg_url, capture=capsys) as signed_in:
        signed_in.sign_in()
        yield signed_in


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        yield opened


@pytest.fixture
def world(conn: Connection) -> World:
    return World(conn, SystemIds(), now=datetime.now(UTC), vehicles=12).build()


def test_each_class_of_refusal_has_its_exit_status(terminal: Terminal) -> None:
    t = terminal
    broken = t.file("broken.toml", PROGRAMME.replace('bus = "DoIP"', 'buss = "DoIP"', 1))
    said = t("programme", "import", broken, status=2).err
    assert re.search(r"broken\.toml:\d+: unknown key 'buss' in \[ecus\.gateway\]; did you mean 'bus'", said)
    assert "cannot be read" in t("package", "add", "nowhere.bin", "--ecu", "brake", status=2).err
    t("release", "show", "nothing", status=3)
    t(
        "package", "add", t.file("a.bin", b"a"), "--ecu", "brake", "--version", "1", status=3
    )  # no programme yet
    good = t.file("programme.toml", PROGRAMME)
    t("programme", "import", good)
    other = t.file("other.toml", PROGRAMME.replace('name = "Meridian"', 'name = "Other"'))
    assert "hint" in t("programme", "import", other, status=4).err
    t("programme", "import", other, "--replace")
    t("programme", "list", "--server", f"http://127.0.0.1:{free_port()}", status=7)
    t("programme", "list", "--server", "http://ringroad.example.com", status=2)


def test_an_error_is_one_json_object_when_asked(terminal: Terminal) -> None:
    result = terminal("release", "show", "nothing", "--json", status=3)
    assert result.out == ""
    assert result.error["kind"] == "not_found"
    assert result.error["hint"]


def test_a_viewer_may_look_and_nothing_else(terminal: Terminal) -> None:
    t = terminal
    token = t("--json", "account", "create", "ole", "--role", "viewer").value["token"]
    t("account", "login", "--one-time", "--password-file", t.file("password", PASSWORD), piped=token)
    assert t("--json", "account", "whoami").value["role"] == "viewer"
    t("programme", "list")
    t("programme", "import", t.file("programme.toml", PROGRAMME), status=5)
    t("account", "list", status=5)
    spent = ("account", "login", "--one-time", "--password-file", t.file("password", PASSWORD))
    t(*spent, piped=token, status=5)
    assert "no one-time token" in t(*spent, status=2).err
    t(*spent, token, status=2)  # not as a word of the command: everybody who lists processes would see it


def test_a_locked_account_loses_its_token_at_once(terminal: Terminal) -> None:
    t = terminal
    one_time = t("--json", "account", "create", "ole", "--role", "viewer").value["token"]
    admin = t.token()
    t(
        "account",
        "login",
        "--one-time",
        "--password-file",
        t.file("password", PASSWORD),
        piped=f"{one_time}\n",
    )
    t.env["RINGROAD_TOKEN"] = admin  # the environment wins over the stored token
    assert t("--json", "account", "whoami").value["name"] == "admin"
    t("account", "change", "ole", "--lock")
    del t.env["RINGROAD_TOKEN"]
    assert "not valid any more" in t("account", "whoami", status=5).err


def test_the_token_is_kept_for_its_owner_and_never_shown(terminal: Terminal) -> None:
    t = terminal
    path = t.settings.var / "run" / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = t("--json", "account", "login", "--name", "admin", "--password-file", str(t.folder / "password"))
    assert t.token() not in shown.out + shown.err
    assert t.token() not in t("account", "whoami").out
    t("account", "login", "--name", "admin", "--password-file", t.file("wrong", "wrong"), status=5)
    t("account", "whoami")  # a failed login leaves the old one
    t("account", "logout")
    t("account", "whoami", status=5)
    t("account", "login", "--name", "admin", status=2)  # there is no terminal to ask on


def test_signing_with_foreign_keys_is_refused_as_untrusted(terminal: Terminal) -> None:
    t = terminal
    release = _release(t)
    counts = KeyCounts(keys=1, threshold=1)
    (t.folder / "other").mkdir()
    foreign = KeyFolders(public=t.folder / "other" / "keys", offline=t.folder / "foreign")
    init_keys(foreign, root=counts, image_targets=counts)
    pending = str(t.folder / "pending.json")
    t("release", "sign", release, "--export", pending)
    t("release", "sign", release, "--export", pending, status=4)  # a file is never overwritten
    signed = str(t.folder / "signed.json")
    stolen = str(t.folder / "stolen.json")
    t(
        "keys",
        "sign-targets",
        pending,
        "--out",
        stolen,
        "--var",
        str(t.folder / "other"),
        "--offline",
        str(foreign.offline),
    )
    t("release", "sign", release, "--signed", stolen, status=6)
    t("release", "sign", release, "--signed", pending, status=6)  # nobody signed it
    t(
        "keys", "sign-targets", pending, "--out", signed, "--var", str(t.settings.var),
        "--offline", str(t.settings.keys_offline),
    )  # fmt: skip
    assert t("--json", "release", "sign", release, "--signed", signed).value["state"] == "signed"
    assert "already" in t("release", "sign", release, "--yes").out


def test_an_old_signature_does_not_pass_for_that_of_a_new_release(terminal: Terminal) -> None:
    t = terminal
    pending, signed = str(t.folder / "pending.json"), str(t.folder / "signed.json")
    first = _release(t)
    t("release", "sign", first, "--export", pending)
    t(
        "keys", "sign-targets", pending, "--out", signed, "--var", str(t.settings.var),
        "--offline", str(t.settings.keys_offline),
    )  # fmt: skip
    t("release", "sign", first, "--signed", signed)
    t("package", "add", t.file("brake2.bin", b"never signed" * 9), "--ecu", "brake", "--version", "2.0.0")
    words = ("--package", "brake@2.0.0", "--package", "gateway@1.0.0", "--package", "display@1.0.0")
    made = t("--json", "release", "create", "--name", "Second", "--version", "2.0.0", *words).value
    t("release", "check", made["id"])
    t("release", "sign", made["id"], "--signed", signed, status=2)  # valid, published, and of other images
    assert t("--json", "release", "show", made["id"]).value["state"] == "checked"


def test_nothing_is_signed_without_being_asked(terminal: Terminal) -> None:
    release = _release(terminal)
    result = terminal("release", "sign", release, status=2)
    assert "this release" in result.err  # what would be signed is shown first
    assert terminal("--json", "release", "show", release).value["state"] == "checked"


def test_a_blocked_release_says_why_and_exits_with_no(terminal: Terminal) -> None:
    t = terminal
    t("programme", "import", t.file("programme.toml", PROGRAMME))
    t("package", "add", t.file("a.bin", b"brake" * 50), "--ecu", "brake", "--version", "1.0.0")
    file = t.file("half.toml", 'name = "Half"\nversion = "1"\n[variants.city]\nbrake = "1.0.0"\n')
    t("release", "create", file)
    result = t("release", "check", "Half", status=1)
    assert "blocking" in result.out
    assert "cannot be signed" in result.out
    assert t("--json", "release", "check", "Half", status=1).value["state"] == "draft"
    t("release", "sign", "Half", "--yes", status=4)


def test_who_adds_the_bytes_of_another_version_is_told(terminal: Terminal) -> None:
    t = terminal
    t("programme", "import", t.file("programme.toml", PROGRAMME))
    file = t.file("a.bin", b"brake" * 50)
    first = t("package", "add", file, "--ecu", "brake", "--version", "1.0.0")
    assert "these are the bytes" not in first.out
    second = t("package", "add", file, "--ecu", "brake", "--version", "2.0.0")
    assert (
        "these are the bytes of brake 1.0.0: a vehicle that runs them leaves brake out of an update"
        in second.out
    )
    t(
        "release",
        "create",
        t.file("two.toml", 'name = "Two"\nversion = "2"\n[variants.city]\nbrake = "2.0.0"\n'),
    )
    assert "has the bytes of 1.0.0  [same_bytes]" in t("release", "check", "Two", status=1).out


def test_a_blocked_plan_says_why_and_exits_with_no(terminal: Terminal, world: World) -> None:
    t = terminal
    t("campaign", "create", "Nobody", "--release", "2.1.1")
    result = t("campaign", "plan", "Nobody", "--query", "region = XX", status=1)
    assert "matches     none" in result.out
    assert "blocking" in result.out
    assert "column" in t("campaign", "plan", "Nobody", "--query", "region = ", status=2).err
    t("campaign", "approve", "Nobody", status=4)
    t("campaign", "start", "Nobody", status=4)


def test_a_plan_made_while_a_person_reads_another_is_not_approved(terminal: Terminal, world: World) -> None:
    t = terminal
    t("campaign", "create", "Slow", "--release", "2.1.1")
    t("campaign", "plan", "Slow", "--query", "all", "--wave", "1")
    found = t("--json", "campaign", "check", "Slow").value["findings"]
    warnings = sorted({each["code"] for each in found if each["severity"] == "warning"})
    assert warnings
    accepting = [word for code in warnings for word in ("--accept", code)]
    for given in ([], ["--yes"], ["--yes", "--accept", warnings[0]]):
        assert "--accept" in t("campaign", "approve", "Slow", *given, status=2).err
    assert "no terminal" in t("campaign", "approve", "Slow", *accepting, status=2).err
    here, there = os.openpty()
    words = [
        sys.executable,
        "-m",
        "ringroad.cli",
        "--var",
        str(t.settings.var),
        "campaign",
        "approve",
        "Slow",
    ]
    process = subprocess.Popen(
        words, env=dict(os.environ) | t.environment(), stdin=there, stdout=there, stderr=there
    )
    os.close(there)
    shown = b""
    for question in [*(f"Accept {code}" for code in warnings), "Approve this plan"]:
        while question.encode() not in shown:  # pytest-timeout ends a wait in vain
            shown += os.read(here, 4096)
        if question != "Approve this plan":
            os.write(here, b"y\n")
    assert b"made by admin" in shown
    t("campaign", "plan", "Slow", "--query", "all", "--wave", "2")
    os.write(here, b"y\n")
    assert process.wait(timeout=60) == 4
    os.close(here)
    assert t("--json", "campaign", "show", "Slow").value["state"] == "planned"
    t("campaign", "approve", "Slow", "--yes", *accepting)


def test_every_list_and_show_answers_in_json(terminal: Terminal, world: World) -> None:
    for words in (
        ("programme", "list"), ("programme", "show", "meridian"), ("package", "list"), ("release", "list"),
        ("release", "show", "2.1.1"), ("order", "list"), ("schedule", "show"), ("finding", "list"),
        ("finding", "show", world.finding_id), ("change", "list"), ("change", "show", world.change_id),
        ("campaign", "list"), ("campaign", "show", world.campaign_id), ("campaign", "check", world.campaign_id),
        ("campaign", "vehicles", world.campaign_id), ("campaign", "gate", world.campaign_id), ("fleet", "list"),
        ("fleet", "versions"), ("fleet", "show", world.vins[0]), ("lap", "list"), ("lap", "show", world.lap_id),
        ("complaint", "list"), ("complaint", "quarantine"), ("account", "list"), ("account", "whoami"),
    ):  # fmt: skip
        assert terminal(*words, "--json").value, words
        assert terminal(*words).out.strip(), words


def test_a_thing_is_named_by_id_end_of_id_or_name(terminal: Terminal, world: World) -> None:
    t = terminal
    for word in (world.campaign_id, world.campaign_id[-8:], "Second fix, battery 2.1.1"):
        assert t("--json", "campaign", "show", word).value["id"] == world.campaign_id
    t("campaign", "show", world.campaign_id[-3:], status=3)  # too short to be meant
    assert "called 'Meridian'" in t("release", "show", "Meridian", status=2).err  # three are


def test_a_finding_becomes_an_approved_change(terminal: Terminal, world: World) -> None:
    t = terminal
    words = ["--title", "Restart less", "--target", "B1042-13 below 1 per 1000 h"]
    change = t("--json", "finding", "accept", world.open_finding_id, *words).value["id"]
    t("change", "approve", change, "--yes", status=5)  # whoever proposed it cannot
    token = t("--json", "account", "create", "ines", "--role", "approver").value["token"]
    t("account", "login", "--one-time", "--password-file", t.file("password", PASSWORD), piped=token)
    unasked = t("change", "approve", "Restart less", status=2)
    assert "B1042-13 below 1 per 1000 h" in unasked.err  # what would be approved is shown first
    t("change", "approve", "Restart less", "--yes")
    assert t("--json", "change", "show", change).value["approved_by"] == "ines"
    t("change", "propose", "--finding", world.open_finding_id, "--title", "Also", "--target", "none left")
    t("change", "reject", "Also", "--reason", "one is enough")


def test_two_people_at_one_terminal_approve_what_the_other_one_proposed(
    terminal: Terminal, world: World
) -> None:
    t = terminal
    words = ["--title", "Restart less", "--target", "B1042-13 below 1 per 1000 h"]
    change = t("--json", "finding", "accept", *words).value["id"]
    assert (
        t("--json", "change", "show", change).value["finding_id"] == world.open_finding_id
    )  # the only open one
    one_time = t("--json", "account", "create", "ines", "--role", "approver").value["token"]
    password = t.file("password", PASSWORD)
    t("account", "login", "--as", "ines", "--one-time", "--password-file", password, piped=one_time)
    assert t("--json", "account", "whoami").value["name"] == "admin"
    t.env["RINGROAD_TOKEN"] = t.token()  # the command line wins over the environment
    assert t("--json", "account", "whoami", "--as", "ines").value["name"] == "ines"
    t("change", "approve", "Restart less", "--as", "ines", "--yes")
    t("account", "logout", "--as", "ines")
    assert "ringroad account login --as ines" in t("account", "whoami", "--as", "ines", status=5).err
    assert t("--json", "account", "whoami").value["name"] == "admin"


def test_hours_are_said_for_many_vehicles_shown_and_taken_back(terminal: Terminal, world: World) -> None:
    t, (first, second, *_) = terminal, world.vins
    day = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
    nights = ("--hours", "01:00-05:00", "--not-before", day, "--time-zone", "Europe/Oslo")
    assert (
        "hours of 2 vehicles are set; that changes 2 of them"
        in t("fleet", "hours", first.lower(), second, *nights).out
    )
    assert "vehicle" in t("fleet", "hours", first, *nights).out
    said = f"01:00-05:00, not before {day} 00:00; Europe/Oslo"
    assert t("fleet", "hours", first).out.strip() == said
    shown = [line.split(maxsplit=1) for line in t("fleet", "hours", "--all").out.splitlines()[1:]]
    assert [number for number, _ in shown] == ["10", "2"]
    assert shown[1][1].startswith(said)
    assert "12 vehicles are cleared; that changes 2 of them" in t("fleet", "hours", "--all", "--clear").out
    assert t("fleet", "hours", first).out.strip() == "whenever a campaign may"
    for wrong, status in (
        (("--hours", "01:00-05:00"), 2), (("--all", "--tag", "van", "--clear"), 2), ((first, second), 2),
        (("--all", "--clear", "--hours", "01:00-05:00"), 2), (("--all", "--not-before", "soon"), 2),
        (("--list", "none", "--clear"), 3), ((first, "WRRZZZ9ZZZZZZZZZZ", "--clear"), 3),
    ):  # fmt: skip
        t("fleet", "hours", *wrong, status=status)


def test_the_tab_key_completes_a_query_from_what_the_fleet_has(terminal: Terminal, world: World) -> None:
    assert world.vins  # the fleet has vehicles
    for typed, word, offered in (
        ("campaign preview 'variant = to", 3, ["variant = touring"]),  # as bash tells a quote that is open
        ("campaign plan winter --query 'variant = city and regi", 5, ["variant = city and region"]),
        ("fleet tag pilot --query bl", 5, ["blocked"]),
        ("fleet query 'regoin = ", 3, []),  # there is no such field
        ("fleet query --server http://127.0.0.1:1 bl", 5, []),  # nobody answers there
    ):
        asked = {
            "COMP_WORDS": f"ringroad --var {terminal.settings.var} {typed}", "COMP_CWORD": str(word + 2),
            "_RINGROAD_COMPLETE": "bash_complete",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "ringroad.cli"], env={**os.environ, **terminal.environment(), **asked},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        assert [each.removeprefix("plain,") for each in done.stdout.splitlines() if each] == offered, typed


def test_what_is_waited_for_is_shown_or_its_absence_is_an_error(terminal: Terminal) -> None:
    t = terminal
    t("finding", "list")
    assert "did not come within 1s" in t("finding", "list", "--wait", "1s", status=7).err
    t("finding", "list", "--wait", "soon", status=2)
    assert "no finding is open" in t("finding", "accept", "--title", "x", "--target", "y", status=3).err
    assert "no lap yet" in t("lap", "show", "--wait", "1s", status=3).err


def test_what_is_there_is_not_waited_for(terminal: Terminal, world: World) -> None:
    t = terminal
    assert t("--json", "finding", "list", "--wait", "1h").value
    laps = t("--json", "lap", "list").value
    assert t("--json", "lap", "show").value["lap_id"] == laps[0]["id"]
    assert "an outcome did not come within 1s" in t("lap", "show", world.lap_id, "--wait", "1s", status=7).err


def test_vehicles_that_cannot_drive_are_told(terminal: Terminal) -> None:
    t = terminal
    t("fleet", "drive", "--fault", "brake", status=2)
    t("fleet", "drive", "--fault", "brake@1.1.0=C0040-64", status=3)
    t("fleet", "drive", "--script", "nowhere.json", status=2)
    t("fleet", "drive", "--cycle", "often", status=2)
    words = [sys.executable, "-m", "ringroad.cli", "--var", str(t.settings.var), "fleet", "drive"]
    with subprocess.Popen(
        words, env=dict(os.environ) | t.environment(), cwd=t.folder, text=True, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert "drive until Ctrl-C" in process.stdout.readline()
            assert "ringroad plant run bears some" in process.stdout.readline()
            process.terminate()
            assert process.stdout.read() == "0 vehicles parked\n"
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_the_line_is_blocked_and_replanned(terminal: Terminal, world: World) -> None:
    t = terminal
    before = t("--json", "schedule", "show").value["generation"]
    assert "is blocked" in t("schedule", "block", "sunroof", "--reason", "glass is late").out
    assert "sunroof (glass is late)" in t("schedule", "show").out
    t("schedule", "unblock", "sunroof")
    assert t("--json", "schedule", "replan").value["generation"] == before + 3


def test_an_order_is_cancelled_once_and_leaves_the_schedule(terminal: Terminal, world: World) -> None:
    t = terminal
    order = t("--json", "order", "add", "--variant", "city").value["id"]
    held = t("--json", "schedule", "show").value["document"]["held"]  # this line has no software yet
    assert order in [each["order_id"] for each in held]
    t("order", "cancel", order, status=2)  # no reason
    assert t("order", "cancel", order[-8:], "--reason", "customer withdrew").out.endswith("city, cancelled\n")
    assert "cancelled" in t("order", "cancel", order, "--reason", "again", status=4).err
    after = t("--json", "schedule", "show").value
    assert order not in [each["order_id"] for each in after["document"]["held"]]
    assert after["cause"] == "order_cancelled"
    building = t("--json", "order", "list", "--state", "building").value[0]["id"]
    t("order", "cancel", building, "--reason", "too late", status=4)
    t("order", "cancel", "order_00000000000000000000000000", "--reason", "never was", status=3)


def test_complaints_are_imported_and_bad_rows_are_told(terminal: Terminal) -> None:
    row = "\t".join(["1", "10000001", "MAKER", "MERIDIAN", "CITY", "2026", *[""] * 43])
    result = terminal("complaint", "import", terminal.file("my complaints.txt", f"{row}\nshort\trow\n"))
    assert "2 rows" in result.out
    assert "quarantine" in result.out
    assert "fields" in terminal("complaint", "quarantine").out


def watching(terminal: Terminal, campaign_id: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "ringroad.cli", "--var", str(terminal.settings.var), "campaign", "watch"]
    return subprocess.Popen(
        [*words, campaign_id], env=dict(os.environ) | terminal.environment(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def test_watching_ends_with_the_campaign(terminal: Terminal, world: World, conn: Connection) -> None:
    process = watching(terminal, world.campaign_id)
    assert process.stdout is not None
    assert "running, wave 2" in process.stdout.readline()
    conn.execute("UPDATE campaign SET state = 'finished' WHERE id = %s", (world.campaign_id,))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "finished" in out.splitlines()[-1]
    assert terminal("--json", "campaign", "watch", world.halted_id, status=1).value["state"] == "halted"


def test_ctrl_c_ends_the_watching_and_not_the_campaign(terminal: Terminal, world: World) -> None:
    process = watching(terminal, world.campaign_id)
    assert process.stdout is not None
    assert "running" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == ""
    assert terminal("--json", "campaign", "show", world.campaign_id).value["state"] == "running"


def test_events_are_listed_and_followed_from_where_one_left_off(terminal: Terminal, world: World) -> None:
    t = terminal
    rows = t("--json", "events", "list", "--type", "campaign.*", "--limit", "3").value
    assert [row["type"].startswith("ringroad.campaign.") for row in rows] == [True] * 3
    assert rows[0]["id"] in t("events", "list", "--type", "campaign.*").out
    rest = t("events", "follow", "--from", rows[1]["id"], "--type", "campaign.*", "--count", "1").out
    assert rows[2]["subject"] in rest
    lines = t("--json", "events", "follow", "--from", "start", "--count", "2").out.splitlines()
    assert [msgspec.json.decode(line)["specversion"] for line in lines] == ["1.0", "1.0"]
    assert world.campaign_id in t("events", "list", "--from", "2000-01-01", "--limit", "1000", "--json").out


def test_events_from_nowhere_are_refused(terminal: Terminal) -> None:
    t = terminal
    assert "neither an event nor a time" in t("events", "list", "--from", "yesterday", status=2).err
    assert "no event" in t("events", "follow", "--from", "fact_nothing", status=3).err
    assert "campaign.*" in t("events", "follow", "--type", "nonsense", status=2).err


def test_a_webhook_is_made_changed_replayed_and_deleted(terminal: Terminal, world: World) -> None:
    t = terminal
    made = t("webhook", "create", "https://hooks.example.com/x", "--type", "campaign.*").out
    assert re.search(r"^secret, shown once: whsec_[A-Za-z0-9+/=]{44}$", made, flags=re.MULTILINE)
    webhook_id = re.search(r"webhook_\w+", made)[0]  # type: ignore[index]
    assert "hooks.example.com" in t("webhook", "list").out
    assert "whsec_" not in t("webhook", "show", webhook_id, "--json").out
    assert "is paused" in t("webhook", "change", "https://hooks.example.com/x", "--pause").out
    assert "paused" in t("webhook", "show", webhook_id[-8:]).out
    assert "is active" in t("webhook", "change", webhook_id, "--go-on", "--type", "*").out
    assert made not in t("webhook", "rotate", webhook_id).out
    event = t("--json", "events", "list", "--limit", "1").value[0]["id"]
    assert "sends it again" in t("webhook", "replay", webhook_id, "--event", event).out
    assert t("--json", "webhook", "show", webhook_id).value["replays"] == 1
    assert "behind it again" in t("webhook", "replay", webhook_id, "--after", event).out
    assert "nothing was sent" in t("webhook", "deliveries", webhook_id).out
    assert "--yes" in t("webhook", "delete", webhook_id, status=2).err
    assert "is deleted" in t("webhook", "delete", webhook_id, "--yes").out
    assert world.campaign_id not in t("webhook", "list").out
    t("webhook", "show", webhook_id, status=3)


def test_a_webhook_that_leads_inside_or_asks_for_nothing_is_refused(terminal: Terminal) -> None:
    t = terminal
    for words in (
        ("create", "http://hooks.example.com/x"), ("create", "https://127.0.0.1/x"),
        ("create", "https://hooks.example.com/x", "--type", "nonsense"), ("change", "x"), ("replay", "x"),
    ):  # fmt: skip
        t("webhook", *words, status=2)


def test_an_export_is_written_whole_or_not_at_all(terminal: Terminal, world: World, tmp_path: Path) -> None:
    t, file = terminal, tmp_path / "out" / "vehicles.csv"
    assert "cannot be written" in t("export", "write", "vehicles", str(file), status=7).err
    file.parent.mkdir()
    assert "12 rows" in t("export", "write", "vehicles", str(file)).out
    assert len(file.read_text().splitlines()) == 13
    assert [each.name for each in file.parent.iterdir()] == ["vehicles.csv"]
    results = tmp_path / "results.jsonl"
    made = t("--json", "export", "write", "results", str(results), "--campaign", world.campaign_id).value
    assert made["bytes"] == results.stat().st_size
    assert made["rows"] == len(results.read_text().splitlines()) > 0
    whole, begun = results.read_bytes(), tmp_path / "results.jsonl.part.source"
    source = {
        "what": "results",
        "campaign_id": world.campaign_id,
        "server": f"http://127.0.0.1:{t.settings.http_port}",
    }
    for cut in (len(whole) // 2, len(whole.splitlines(keepends=True)[0]), 3, 0):  # where it broke off
        results.with_name("results.jsonl.part").write_bytes(whole[:cut])
        begun.write_text(json.dumps(source))
        t("export", "write", "results", str(results), "--campaign", world.campaign_id, "--resume")
        assert results.read_bytes() == whole
    assert not begun.exists()
    words = ("export", "write", "results", str(results), "--campaign", world.campaign_id, "--resume")
    results.with_name("results.jsonl.part").write_bytes(whole)
    assert "nothing says" in t(*words, status=2).err
    for other in ({"campaign_id": "cmp_other"}, {"server": "http://127.0.0.1:1"}, {"what": "vehicles"}):
        begun.write_text(json.dumps(source | other))
        assert "of another campaign" in t(*words, status=2).err
    results.with_name("results.jsonl.part").write_bytes(b"not ours\n")
    assert "is no export of results" in t(*words, status=2).err
    t("export", "write", "vehicles", str(file), "--resume", status=2)
    t("export", "write", "results", str(results), status=2)  # of which campaign?
    assert ".parquet" in t("export", "write", "vehicles", str(tmp_path / "vehicles.xlsx"), status=2).err


def _release(t: Terminal) -> str:
    t("programme", "import", t.file("programme.toml", PROGRAMME))
    for ecu in ("brake", "gateway", "display"):
        t("package", "add", t.file(f"{ecu}.bin", ecu.encode() * 99), "--ecu", ecu, "--version", "1.0.0")
    words = [word for ecu in ("brake", "gateway", "display") for word in ("--package", f"{ecu}@1.0.0")]
    made = t("--json", "release", "create", "--name", "First", "--version", "1.0.0", *words).value
    t("release", "check", made["id"])
    return str(made["id"])
