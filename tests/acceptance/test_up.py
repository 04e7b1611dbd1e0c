"""`ringroad up` as a person meets it: it starts, ends, survives kills, and refuses with one clear message."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import nats
import psycopg
import pytest

from ringroad.cli.errors import EXIT_STATUS
from ringroad.cli.supervisor import end_supervisor, read_state
from ringroad.http import accounts_store
from ringroad.kernel.clock import SystemClock, SystemIds, new_secret
from ringroad.storage.blobs import Blobs
from ringroad.storage.db import connect
from ringroad.storage.process import command_of, is_alive
from support.gateways import eventually
from support.installations import START_S_MAX, Installation, installation, refused

pytestmark = pytest.mark.engines

TELEMETRY = "ringroad.v1.RRTEST00000000001.telemetry"


@pytest.fixture(scope="module")
def seed() -> Iterator[Path]:
    """A var folder that was started and ended once."""
    folder = Path(tempfile.mkdtemp(prefix="ringroad-up-"))  # 0700: as root, nobody else gets in
    made = installation(folder)
    made.up()
    assert made.run("down").returncode == 0
    yield made.var
    shutil.rmtree(folder)


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Installation]:
    """An installation that was never started."""
    made = installation(tmp_path)
    yield made
    if read_state(made.settings()):
        end_supervisor(made.settings(), SystemClock())


@pytest.fixture
def old(new: Installation, seed: Path) -> Installation:
    """An installation that was started before."""
    subprocess.run(["cp", "-a", str(seed), str(new.var)], check=True, timeout=60)
    return new


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_row(url: str, title: str) -> None:
    with psycopg.connect(url) as conn:
        conn.execute("INSERT INTO lap (id, title, opened_at) VALUES (%s, %s, now())", (title, title))


def read_rows(url: str) -> list[str]:
    with psycopg.connect(url) as conn:
        return [row[0] for row in conn.execute("SELECT title FROM lap ORDER BY title").fetchall()]


def publish(url: str, count: int) -> None:
    async def run() -> None:
        connection = await nats.connect(url)
        for number in range(count):
            await connection.jetstream().publish(TELEMETRY, str(number).encode())
        await connection.close()

    asyncio.run(run())


def stored(url: str) -> int:
    async def run() -> int:
        connection = await nats.connect(url)
        info = await connection.jetstream().stream_info("TELEMETRY")
        await connection.close()
        return int(info.state.messages)

    return asyncio.run(run())


def test_up_says_where_the_console_is_and_gives_a_token_that_is_stored_as_a_hash(old: Installation) -> None:
    told = old.up().stdout
    assert f"http://127.0.0.1:{old.env['RINGROAD_HTTP_PORT']}/" in told
    token = next(line.split()[1] for line in told.splitlines() if line.strip().startswith("token"))
    with psycopg.connect(old.database_url()) as conn:
        found = conn.execute(
            "SELECT role, kind FROM access_token JOIN account ON name = account_name WHERE token_sha256 = sha256(%s)",
            (token.encode(),),
        ).fetchall()
    assert found == [("admin", "one_time")]
    assert old.wait_well()["health"] == {"supervisor": "ok", "postgres": "ok", "nats": "ok"}
    told = json.loads(old.run("--json", "status").stdout)
    assert told["well"]
    assert told["health"]["nats"] == "ok"
    with connect(old.database_url()) as record:
        accounts_store.set_first_password(
            record, SystemIds(), token=token, password="correct horse battery", now=SystemClock().now(),
            secret=new_secret,
        )  # fmt: skip
    assert old.run("down").returncode == 0
    assert old.run("status").returncode == EXIT_STATUS["unavailable"]
    again = old.up().stdout  # the token was used: there is no other one, and a word on how to make one
    assert "token" not in again
    assert "ringroad account reset admin" in again


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_cleanly(old: Installation, how: signal.Signals) -> None:
    old.up()
    pids = old.wait_well()["pids"]
    os.kill(pids["supervisor"], how)
    eventually(lambda: not any(is_alive(pid) for pid in pids.values()))
    assert not (old.var / "postgres" / "data" / "postmaster.pid").exists()
    assert "shut down" in (old.var / "postgres" / "log" / "postgres.log").read_text()


def test_killed_engines_are_started_again_without_loss(old: Installation) -> None:
    old.up()
    write_row(old.database_url(), "before")
    publish(old.nats_url(), 20)
    for name in ("postgres", "nats"):
        pid = old.wait_well()["pids"][name]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: old.status()["pids"].get(name) != pid)  # noqa: B023 - asked at once
    old.wait_well()
    write_row(old.database_url(), "later")
    publish(old.nats_url(), 1)
    assert read_rows(old.database_url()) == ["before", "later"]
    assert stored(old.nats_url()) == 21


def test_a_nats_that_hangs_is_told_by_health_status_and_doctor_until_it_answers(old: Installation) -> None:
    done = old.run("up", "--detach")
    assert done.returncode == 0, done.stdout + done.stderr
    told = old.wait_well()
    assert told["health"]["telemetry"] == "ok"
    nats_pid = told["pids"]["nats"]

    def telemetry() -> str:
        answer = httpx.get(f"http://127.0.0.1:{old.env['RINGROAD_HTTP_PORT']}/health", timeout=30)
        assert answer.status_code == 200
        return str(answer.json()["telemetry"])

    os.kill(nats_pid, signal.SIGSTOP)
    try:
        eventually(lambda: telemetry().startswith("silent since"), within_s=90)
        status = old.run("status")
        doctor = old.run("doctor")
    finally:
        os.kill(nats_pid, signal.SIGCONT)
    assert status.returncode == doctor.returncode == EXIT_STATUS["unavailable"]
    assert "telemetry   silent since" in status.stdout
    assert "hint: look at NATS" in status.stdout
    assert "FAIL  telemetry   silent since" in doctor.stdout
    assert "hint: look at NATS" in doctor.stdout
    eventually(lambda: telemetry() == "ok", within_s=60)
    assert old.wait_well()["hint"] == ""
    assert "ok    telemetry   is read as it comes" in old.run("doctor").stdout


def test_a_killed_server_and_worker_are_started_again(old: Installation) -> None:
    done = old.run("up", "--detach")
    assert done.returncode == 0, done.stdout + done.stderr
    before = old.wait_well()["pids"]
    for name in ("server", "worker"):
        os.kill(before[name], signal.SIGKILL)

    def again() -> dict[str, Any] | None:
        told = old.status()
        others = all(told["pids"][name] != before[name] for name in ("server", "worker"))
        return told if told["well"] and others else None

    told = eventually(again)
    assert told["pids"]["postgres"] == before["postgres"]


def listeners(port: int) -> int:
    """How many sockets listen on a loopback port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(words[1].endswith(f":{port:04X}") and words[3] == "0A" for words in lines)


def both_are_back(made: Installation, name: str, before: int) -> bool:
    told = made.status()
    return told["well"] and told["pids"][name] != before and listeners(made.settings().http_port) == 2


def test_server_processes_share_the_ports_and_are_started_again_one_by_one(old: Installation) -> None:
    old.env["RINGROAD_SERVER_PROCESSES"] = "2"
    done = old.run("up", "--detach")
    assert done.returncode == 0, done.stdout + done.stderr
    settings = old.settings()
    ports = (settings.http_port, settings.https_port)
    assert eventually(lambda: [listeners(port) for port in ports] == [2, 2], within_s=START_S_MAX)
    before = old.wait_well()["pids"]
    assert {"server", "server-2", "worker"} <= set(before)
    for name in ("server", "server-2"):
        os.kill(before[name], signal.SIGKILL)
        assert eventually(partial(both_are_back, old, name, before[name]), within_s=START_S_MAX)
    assert old.status()["pids"]["worker"] == before["worker"]
    refused(old.run("serve", RINGROAD_SERVER_PROCESSES="1"), "conflict", "in use")
    assert old.run("down").returncode == 0
    assert [listeners(port) for port in ports] == [0, 0]


def test_children_end_when_the_supervisor_is_killed(old: Installation) -> None:
    done = old.run("up", "--detach")
    assert done.returncode == 0, done.stdout + done.stderr
    pids = old.wait_well()["pids"]
    os.kill(pids["supervisor"], signal.SIGKILL)
    eventually(lambda: not is_alive(pids["server"]) and not is_alive(pids["worker"]))
    old.up()


def test_after_everything_is_killed_the_next_start_goes_on_without_loss(old: Installation) -> None:
    old.up()
    write_row(old.database_url(), "kept")
    publish(old.nats_url(), 20)
    pids = old.wait_well()["pids"]
    for name in ("supervisor", "postgres", "nats"):
        os.kill(pids[name], signal.SIGKILL)
    old.up()
    assert read_rows(old.database_url()) == ["kept"]
    assert stored(old.nats_url()) == 20


def test_after_the_supervisor_is_killed_the_next_start_takes_over_its_engines(old: Installation) -> None:
    old.up()
    write_row(old.database_url(), "kept")
    pids = old.wait_well()["pids"]
    os.kill(pids["supervisor"], signal.SIGKILL)
    eventually(lambda: not old.status()["well"])  # the kernel takes a moment to end it
    old.up()
    assert not is_alive(pids["postgres"])
    assert not is_alive(pids["nats"])
    assert read_rows(old.database_url()) == ["kept"]


def test_a_lock_file_that_names_a_strange_process_does_not_stop_the_start(old: Installation) -> None:
    lock = old.var / "postgres" / "data" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{lock.parent}\n0\n5432\n\n\n0 0\nready\n")
    old.up()
    assert old.wait_well()["health"]["postgres"] == "ok"


def test_a_second_up_is_refused_and_the_first_goes_on(old: Installation) -> None:
    old.up()
    pids = old.wait_well()["pids"]
    refused(old.run("up", "--engines-only"), "conflict", "already runs", "ringroad down")
    assert old.wait_well()["pids"] == pids


@pytest.mark.parametrize("name", ["HTTP_PORT", "HTTPS_PORT"])
def test_a_port_of_ours_in_use_is_told_before_anything_is_made(new: Installation, name: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(new.env[f"RINGROAD_{name}"])))
        other.listen()
        refused(new.run("up"), "conflict", "in use", name.lower())
    assert not new.var.exists()


@pytest.mark.parametrize("name", ["NATS_PORT", "MQTT_PORT"])
def test_a_port_of_the_broker_in_use_ends_what_was_started(old: Installation, name: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(old.env[f"RINGROAD_{name}"])))
        other.listen()
        done = old.run("--json", "up", "--engines-only")
        assert done.returncode == EXIT_STATUS["conflict"]
        assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == "port_in_use"
    assert not (old.var / "postgres" / "data" / "postmaster.pid").exists()
    old.up()


def test_a_database_port_in_use_is_told(old: Installation) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = old.run("--json", "up", "--engines-only", RINGROAD_DATABASE_PORT=str(other.getsockname()[1]))
    assert done.returncode == EXIT_STATUS["conflict"]
    assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == "port_in_use"


def test_a_foreign_var_folder_is_left_alone(new: Installation) -> None:
    new.var.mkdir()
    (new.var / "thesis.txt").write_text("years of work")
    before = contents(new.var)
    for words in (("up",), ("up", "--detach"), ("up", "--engines-only")):
        refused(new.run(*words), "conflict", "not a Ringroad folder", "nothing was changed")
    assert contents(new.var) == before


def test_a_file_in_the_place_of_the_var_folder_is_left_alone(new: Installation) -> None:
    new.var.write_text("a file")
    refused(new.run("up", "--engines-only"), "conflict", "not a Ringroad folder")
    assert new.var.read_text() == "a file"


@pytest.mark.parametrize("engine", ["postgres/data", "nats"])
def test_a_foreign_engine_folder_is_left_alone(new: Installation, engine: str) -> None:
    (new.var / engine).mkdir(parents=True)
    (new.var / "RINGROAD").write_text("{}")
    (new.var / engine / "thesis.txt").write_text("years of work")
    before = contents(new.var)
    refused(new.run("up", "--engines-only"), "conflict", "nothing was changed")
    assert contents(new.var) == before


def test_data_of_another_postgresql_are_left_alone_with_a_way_out(old: Installation) -> None:
    version = old.var / "postgres" / "data" / "PG_VERSION"
    version.write_text("16\n")
    before = contents(old.var)
    refused(old.run("up", "--engines-only"), "conflict", "PostgreSQL 16", "pg_dump", "restore")
    assert contents(old.var) == before
    doctor = old.run("doctor")
    assert doctor.returncode == EXIT_STATUS["unavailable"]
    assert "pg_dump" in doctor.stdout
    version.write_text("18\n")
    old.up()


def test_doctor_finds_and_removes_what_no_package_names(old: Installation) -> None:
    old.up()
    orphan = Blobs(old.settings().blobs.as_uri()).put([b"of a refused upload"])
    piece = old.settings().uploads / "tmp1"
    piece.parent.mkdir()
    piece.write_bytes(b"of an upload that broke")
    path = old.settings().blobs / orphan.sha256[:2] / orphan.sha256
    assert "removed 0 B in 0 images" in old.run("doctor", "--tidy").stdout  # they may be in use
    for each in (path, piece):
        os.utime(each, (0, 0))
    assert "19 B in 1 image that no package names" in old.run("doctor").stdout
    assert path.exists()
    told = old.run("doctor", "--tidy").stdout
    assert "removed 19 B in 1 image that no package names, and 1 piece of broken uploads" in told
    assert not path.exists()
    assert not piece.exists()


def test_data_with_a_part_missing_are_left_alone(old: Installation) -> None:
    (old.var / "postgres" / "data" / "global" / "pg_control").unlink()
    before = contents(old.var)
    refused(old.run("up", "--engines-only"), "corrupt", "lacks parts", "backup")
    assert contents(old.var) == before


def test_data_with_damaged_bytes_stop_the_start(old: Installation) -> None:
    control = old.var / "postgres" / "data" / "global" / "pg_control"
    raw = bytearray(control.read_bytes())
    raw[16:80] = bytes(64)
    control.write_bytes(raw)
    done = old.run("--json", "up", "--engines-only")
    assert done.returncode == EXIT_STATUS["corrupt"], done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == "data_corrupt"
    assert control.read_bytes() == bytes(raw)


def test_a_newer_database_is_left_alone(old: Installation) -> None:
    old.up()
    with psycopg.connect(old.database_url()) as conn:
        conn.execute("INSERT INTO schema_migration VALUES ('0099_from_the_future_pre.sql', 'x', now())")
    write_row(old.database_url(), "kept")
    assert old.run("down").returncode == 0
    done = old.run("--json", "up", "--engines-only")
    assert done.returncode == EXIT_STATUS["conflict"]
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["code"] == "database_newer"
    assert error["hint"]
    assert not (old.var / "postgres" / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize(
    ("damage", "kind", "word"),
    [
        ("run/state.json=[]", None, ""),  # nobody's word
        ('run/state.json={"pid": "x"}', None, ""),
        ("RINGROAD={}", "conflict", "another version"),
        ("nats/login.key=zz", "corrupt", "login.key is no key"),
        ("postgres/password=", "conflict", "password"),
        ("nats/jetstream/**/obs/ringroad-keeper/*=zz", "corrupt", "cannot read its streams"),
        ("nats/jetstream/**/obs/lake/*=zz", "corrupt", "place in the telemetry stream"),
    ],
)
def test_a_damaged_var_folder_is_one_clear_error(
    old: Installation, damage: str, kind: str | None, word: str
) -> None:
    pattern, _, text = damage.partition("=")
    damaged = [path for path in old.var.glob(pattern) if path.is_file()] or [old.var / pattern]
    for path in damaged:
        path.write_text(text)
    if kind is None:
        old.up()
        return
    done = old.run("--json", "up", "--engines-only")
    assert done.returncode == EXIT_STATUS[kind], done.stderr
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert word in error["message"]
    assert error["hint"]
    assert not (old.var / "nats" / "nats.pid").exists()  # nothing is left running
    assert all(path.read_text() == text for path in damaged if path.parent.name != "lake")


def test_an_unknown_setting_stops_the_start(new: Installation) -> None:
    refused(new.run("up", RINGROAD_HTTP_PROT="1"), "invalid_input", "RINGROAD_HTTP_PORT")
    (new.folder / "ringroad.toml").write_text("pol_s = 5\n")
    refused(new.run("up"), "invalid_input", "pol_s", "did you mean poll_s?")
    assert not new.var.exists()


def test_a_folder_that_cannot_be_written_is_one_clear_error(new: Installation) -> None:
    new.var = Path("/proc/ringroad")
    refused(new.run("up", "--engines-only"), "unavailable", "cannot write to", "--var")


def in_small_world(
    made: Installation, mount: str, *words: str, steps: str = 'shift && exec "$@"'
) -> subprocess.CompletedProcess[str]:
    """Run with a file system of its own mounted on the var folder, $1; works for root and for others."""
    made.var.mkdir()

    def run(script: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        alone = [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            f"mount -t tmpfs {mount} && {script}",
        ]
        command = [*alone, "sh", str(made.var), *made.command(*words)]
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=made.folder,
            env=made.env,
            timeout=timeout_s,
        )

    if run("true", 60).returncode != 0:
        pytest.skip("this machine allows no user namespaces with mounts")
    return run(steps, 2 * START_S_MAX)


# before the first file; in the middle of initdb; all but what the telemetry stream may take
@pytest.mark.parametrize("size", ["4k", "12m", "200m"])
def test_a_full_disk_is_one_clear_error(new: Installation, size: str) -> None:
    done = in_small_world(new, f'-o size={size} tmpfs "$1"', "--json", "up", "--engines-only")
    assert done.returncode == EXIT_STATUS["unavailable"], done.stderr
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["code"] == "cannot_write"
    assert "space" in error["message"] + error["hint"]


@pytest.mark.parametrize(
    ("then", "word"),
    [
        ('head -c 999m /dev/zero >"$1/fill" 2>/dev/null; true', "No space left"),
        ('mount -o remount,ro "$1"', "ead-only"),
    ],
)
def test_a_disk_that_fills_up_or_fails_later_is_one_clear_error_and_nothing_is_lost(
    new: Installation, seed: Path, then: str, word: str
) -> None:
    up, down = shlex.join(new.command("up", "--engines-only")), shlex.join(new.command("down"))
    steps = (
        f'cp -a {seed}/. "$1" && {{ {then}; }} && {{ {up}; echo "ended with $?"; }}'
        f' && mount -o remount,rw "$1" && rm -f "$1/fill" && {up} --detach && {down}'
    )
    done = in_small_world(new, '-o size=400m tmpfs "$1"', steps=steps)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ended with {EXIT_STATUS['unavailable']}" in done.stdout
    assert [line.split(":")[0] for line in done.stderr.strip().splitlines()] == ["error", "hint"], done.stderr
    assert word in done.stderr


def test_a_read_only_disk_is_one_clear_error(new: Installation) -> None:
    done = in_small_world(new, '-o ro tmpfs "$1"', "up", "--engines-only")
    refused(done, "unavailable", "ead-only", "--var")


def test_a_long_path_does_not_matter(old: Installation) -> None:
    deep = old.folder / ("d" * 120) / ("e" * 40)
    deep.mkdir(parents=True)
    old.var = old.var.rename(deep / "var")
    old.up()
    assert old.wait_well()["well"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has the choice")
def test_as_root_the_database_runs_as_nobody_special(old: Installation) -> None:
    old.up()
    pid = old.wait_well()["pids"]["postgres"]
    assert "postgres" in command_of(pid)[0]
    user = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("CapEff")
    )
    assert int(user.split()[1], 16) == 0


def test_nobody_but_us_can_read_the_secrets(seed: Path) -> None:
    for name in ("postgres/password", "nats/password", "nats/login.key", "pki/ca.key", "pki/server.key"):
        assert (seed / name).stat().st_mode & 0o077 == 0, name
