"""The simulated plant from the command line, over real HTTP and a real PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ringroad.build.store_improve import save_answer
from ringroad.build.store_running import load_running
from ringroad.build.twin.compare import compare
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.planning import answer_questions
from ringroad.storage.db import connect, transaction
from support.cli_story import PROGRAMME, Terminal, at_a_terminal

pytestmark = pytest.mark.engines

WAIT_S_MAX = 60  # until a plant that was told to end has ended
STATION = "trim"
FAST = ("--speed", "100000")


@pytest.fixture
def terminal(pg_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    with at_a_terminal(tmp_path, pg_url=pg_url, capture=capsys) as signed_in:
        signed_in.settings.pki.mkdir()
        (signed_in.settings.pki / "ca.pem").write_text("the authority that vehicles trust")
        signed_in.sign_in()
        yield signed_in


def set_up(t: Terminal) -> None:
    """A programme, a release of it that is the line's baseline."""
    t("programme", "import", t.file("programme.toml", PROGRAMME))
    release(t, "1.0.0", "gateway", "brake", "display")


def release(t: Terminal, version: str, *ecus: str) -> None:
    for ecu in ecus:
        image = t.file(f"{ecu}.bin", f"{ecu} {version} ".encode() * 100)
        t("package", "add", image, "--ecu", ecu, "--version", version)
    words = [word for ecu in ecus for word in ("--package", f"{ecu}@{version}")]
    t("release", "create", "--name", "R", "--version", version, *words)
    t("release", "check", version)
    t("release", "sign", version, "--yes")
    t("release", "baseline", "set", version)


def folders(t: Terminal) -> dict[str, set[str]]:
    """Return the names of what lies in each vehicle's folder, by VIN."""
    return {
        folder.name: {item.name for item in folder.iterdir()}
        for folder in (t.settings.var / "vehicles").glob("*/")
    }


def test_what_is_in_the_way_is_said_with_what_to_do(terminal: Terminal) -> None:
    t = terminal
    assert "ringroad programme import" in t("plant", "run", "--once", status=3).err
    t("programme", "import", t.file("programme.toml", PROGRAMME))
    assert "ringroad order add" in t("plant", "run", "--once", status=3).err
    t("order", "add", "--variant", "city", "--option", "sunroof")
    assert "ringroad release baseline set" in t("plant", "run", "--count", "1", status=4).err
    release(t, "1.0.0", "gateway", "brake", "display")
    t("schedule", "block", "sunroof", "--reason", "glass is late")
    said = t("plant", "run", "--once", status=4).err
    assert "1 order: sunroof is blocked: glass is late" in said
    assert "ringroad schedule unblock" in said
    (t.settings.pki / "ca.pem").unlink()
    assert "ca.pem" in t("plant", "run", "--once", status=3).err
    t("plant", "run", "--once", "--as", "nobody", status=5)
    assert not (t.settings.var / "vehicles").exists()


def test_a_station_that_stands_is_seen_and_ended_by_its_name(terminal: Terminal) -> None:
    t = terminal
    set_up(t)
    t("order", "add", "--variant", "city")
    assert "has no station 'moon'" in t("schedule", "stop", "moon", "--reason", "far", status=2).err
    stopped = t("schedule", "stop", STATION, "--reason", "robot 3", "--minutes", "20").out
    assert f"{STATION} stands, 20 min are expected" in stopped
    assert f"{STATION} (breakdown: robot 3)" in t("schedule", "show").out
    assert "robot 3" in t("schedule", "stops").out
    assert f"{STATION} goes on" in t("schedule", "resume", STATION).out
    assert "does not stand" in t("schedule", "resume", STATION, status=3).err
    held = t("schedule", "stop", STATION, "--quality", "--only", "city", "--reason", "glass").out
    assert f"{STATION} stands for city" in held
    assert "0 cars, 1 held" in held


def test_a_plant_builds_what_may_be_built_and_says_what_is_held(terminal: Terminal) -> None:
    t = terminal
    set_up(t)
    t("order", "add", "--variant", "city", "--count", "2")
    t("order", "add", "--variant", "touring", "--option", "sunroof")
    t("schedule", "block", "sunroof", "--reason", "glass is late")
    result = t("plant", "run", "--once", *FAST, "--json")
    assert [born["variant"] for born in result.value["born"]] == ["city", "city"]
    assert [each["reason"] for each in result.value["held"]] == ["sunroof is blocked: glass is late"]
    assert result.err.count("R 1.0.0, 2 ECUs flashed") == 2
    on_record = {row["vin"]: row for row in t.ask("fleet", "list", "--json").value}
    assert set(on_record) == set(folders(t)) == {born["vin"] for born in result.value["born"]}
    assert all("born.json" in names for names in folders(t).values())
    assert "no car is to be built" in t("schedule", "show").out
    t("schedule", "unblock", "sunroof")
    assert "1 vehicle born" in t("plant", "run", "--count", "1", *FAST).out
    assert "0 vehicles born" in t("plant", "run", "--once", *FAST).out


def test_what_the_twin_said_is_shown_with_its_numbers_and_what_it_assumed(
    terminal: Terminal, pg_url: str
) -> None:
    t = terminal
    set_up(t)
    t("order", "add", "--variant", "city", "--count", "2")
    assert "nothing was checked yet" in t("schedule", "checks").out
    with connect(pg_url) as conn:
        running = load_running(conn, "meridian")
        first, second = running.schedule.document.sequence
        check = compare(
            [first, second], [second, first], {order.id: order for order in running.orders},
            replace(running.line, stations=()), now=SystemClock().now(), seed=1, threads=1,
        )  # fmt: skip
        with transaction(conn):
            save_answer(
                conn, SystemIds(), SystemClock(), running=running, document=running.schedule.document,
                check=replace(check, assumed=("no station breaks down",)),
                triggered_s=SystemClock().monotonic_s(),
            )  # fmt: skip
    (row,) = t("schedule", "checks", "--json").value
    assert (row["released"], row["generation"], row["moved"]) == (False, running.schedule.generation, 1)
    said = t("schedule", "checks").out
    assert "1 of 2" in said
    assert "stays, the twin cannot run this line" in said
    assert "assumed: no station breaks down" in said
    assert "the twin cannot run this line" in t("schedule", "show").out


def test_a_plant_tells_what_its_stations_measured_and_drift_shows_it(terminal: Terminal) -> None:
    t = terminal
    set_up(t)
    t("order", "add", "--variant", "city", "--count", "2")
    assert "no station was measured enough" in t("plant", "drift").out
    t("plant", "run", "--once", *FAST, "--slow", "trim=900")
    twin = t("plant", "drift", "--json").value
    assert [each["vehicles"] for each in twin["stations"]] == [2] * len(twin["stations"])
    slow = next(each for each in twin["stations"] if each["name"] == "trim")
    assert slow["measured_cycle_s"] > 8 * slow["cycle_s"]
    assert "the line has no station 'nowhere'" in t("plant", "run", "--slow", "nowhere=5", status=2).err
    assert "STATION=PERCENT" in t("plant", "run", "--slow", "trim=fast", status=2).err


@pytest.mark.timeout(400)  # the first answer on a machine compiles
def test_a_planner_asks_what_a_stop_would_do(terminal: Terminal, pg_url: str) -> None:
    t = terminal
    set_up(t)
    t("order", "add", "--variant", "city", "--count", "2")
    said = t("schedule", "what-if", "nowhere", status=2).err
    assert "has no station 'nowhere'" in said
    assert "one of trim" in said
    ended = threading.Event()

    def answer() -> None:
        with connect(pg_url) as conn:
            while not ended.wait(0.1) and not answer_questions(conn, SystemClock()):
                continue

    worker = threading.Thread(target=answer, daemon=True)
    worker.start()
    try:
        said = t("schedule", "what-if", "trim", "--minutes", "10").out
    finally:
        ended.set()
        worker.join(60)
    assert "trim stands for 10 min: the last of 2 cars leaves 10.0 min later" in said
    assert "0 orders in time now would be late" in said


def test_a_vehicle_that_refuses_the_baseline_is_told_and_its_order_stays_open(terminal: Terminal) -> None:
    t = terminal
    set_up(t)
    image = t.file("large.bin", bytes(400_000))
    t("package", "add", image, "--ecu", "brake", "--version", "2.0.0")
    small = PROGRAMME.replace("storage_bytes = 500000", "storage_bytes = 300000")
    t("release", "create", "--name", "Large", "--version", "2.0.0", "--package", "brake@2.0.0")
    t("release", "check", "2.0.0")
    t("release", "sign", "2.0.0", "--yes")
    t("release", "baseline", "set", "2.0.0")
    t("order", "add", "--variant", "city")
    t("programme", "import", t.file("small.toml", small), "--replace")
    result = t("plant", "run", "--once", *FAST, "--json", status=1)
    assert [each["code"] for each in result.value["refused"]] == ["too_large"]
    assert "is open again" in result.err
    assert folders(t) == {}
    assert [row["state"] for row in t.ask("order", "list", "--json").value] == ["open"]


def test_a_plant_with_another_folder_takes_vins_that_are_free(terminal: Terminal) -> None:
    t = terminal
    set_up(t)
    t("order", "add", "--variant", "city", "--count", "2")
    t("plant", "run", "--count", "1", *FAST)
    t("plant", "run", "--count", "1", "--folder", "elsewhere", *FAST)
    assert len(t.ask("fleet", "list", "--json").value) == 2


@contextmanager
def running(t: Terminal, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A plant as a process of its own; it is gone at the end of the block."""
    command = [sys.executable, "-m", "ringroad.cli", "--var", str(t.settings.var), "plant", "run", *words]
    with subprocess.Popen(
        command, env={**os.environ, **t.environment()}, cwd=t.folder, stdout=subprocess.PIPE, text=True
    ) as plant:
        try:
            yield plant
        finally:
            plant.kill()


def read_until(plant: subprocess.Popen[str], words: str, *, times: int = 1) -> None:
    assert plant.stdout is not None
    for _ in range(times):
        line = plant.stdout.readline()
        while line and words not in line:
            line = plant.stdout.readline()
        assert line, f"the plant ended without saying {words!r}"


@pytest.mark.slow
def test_a_plant_that_is_killed_again_and_again_builds_every_order_once(terminal: Terminal) -> None:
    t = terminal
    set_up(t)
    t("order", "add", "--variant", "city", "--count", "7")
    for births in (1, 2, 1):
        with running(t, *FAST) as plant:
            read_until(plant, "flashed", times=births)
    result = t("plant", "run", "--once", *FAST, "--json")
    assert result.value["refused"] == []
    orders = t.ask("order", "list", "--json").value
    assert [row["state"] for row in orders] == ["born"] * 7
    built = folders(t)
    assert set(built) == {row["vin"] for row in orders}
    assert all("born.json" in names for names in built.values())
    notes = [json.loads((t.settings.var / "vehicles" / vin / "born.json").read_text()) for vin in built]
    assert {note["order_id"] for note in notes} == {row["id"] for row in orders}


@pytest.mark.slow
def test_a_plant_that_waits_is_alone_in_its_folder_takes_new_orders_and_ends_when_told(
    terminal: Terminal,
) -> None:
    t = terminal
    set_up(t)
    with running(t) as plant:
        read_until(plant, "nothing to build, the line waits: no order is open")
        assert "a plant already builds" in t("plant", "run", status=4).err
        t("order", "add", "--variant", "city")
        read_until(plant, "flashed")
        plant.terminate()
        read_until(plant, "1 vehicle born")
        assert plant.wait(WAIT_S_MAX) == 0
