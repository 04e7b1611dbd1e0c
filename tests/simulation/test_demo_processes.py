"""The demo is killed without a word: the processes it started do not stay behind."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.sim.demo.boxes import Box
from ringroad.sim.demo.firmware import make_swu_key, swupdate_ready
from ringroad.storage.process import is_alive, leashed, wait_gone

WAIT_S = 60.0

# Keeps the processes of its arguments, each "name=shell words", and writes down who they are.
DEMO = """
import asyncio, shlex, sys
from pathlib import Path
from ringroad.sim.demo.processes import Processes

async def run(folder, commands):
    processes = Processes()
    for command in commands:
        name, _, words = command.partition("=")
        processes.keep(name, shlex.split(words), log=folder / f"{name}.log")
    while len(processes.running) < len(commands):
        await asyncio.sleep(0.01)
    pids = "".join(f"{name} {process.pid}\\n" for name, process in processes.running.items())
    (folder / "pids.part").write_text(pids)
    (folder / "pids.part").rename(folder / "pids")
    await asyncio.sleep(600)

asyncio.run(run(Path(sys.argv[1]), sys.argv[2:]))
"""

STUBBORN = """
import signal, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""

VECU = """
[ecu]
serial = "SN1"
hardware_id = "HW1"
vin = "WRR00000000000001"
layout = "ab"
[server]
flash = "flash.bin"
port_file = "port"
"""


def commands(folder: Path) -> dict[str, list[str]]:
    """What the demo starts, and one program that ends only when it must."""
    (folder / "vecu.toml").write_text(VECU)
    config = str(folder / "vecu.toml")
    found = {
        "stubborn": [sys.executable, "-c", STUBBORN],
        "vecu": [sys.executable, "-m", "ringroad.cli", "vecu", "run", "--config", config],
    }
    if swupdate_ready():
        make_swu_key(folder)
        (folder / "token").write_text("token")
        box = Box(
            folder=folder,
            vin="box",
            hardware="box:1",
            server="http://127.0.0.1:9",
            certificate=folder / "swu.crt",
        )
        (folder / "swupdate.cfg").write_text(box.config())
        found["swupdate"] = box.command(confirm=False)
    return found


@pytest.fixture
def children() -> Iterator[dict[str, int]]:
    """Process ids by name; whoever still runs at the end is ended."""
    found: dict[str, int] = {}
    yield found
    for pid in found.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def until_told(path: Path, what: bytes) -> None:
    deadline = time.monotonic() + WAIT_S
    while not path.exists() or what not in path.read_bytes():
        assert time.monotonic() < deadline, f"{path.name} does not say {what!r}"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's")
def test_everything_the_demo_started_ends_when_it_is_killed(tmp_path: Path, children: dict[str, int]) -> None:
    wanted = commands(tmp_path)
    words = [f"{name}={shlex.join(command)}" for name, command in wanted.items()]
    short = tempfile.mkdtemp(prefix="rrdemo")  # swupdate's sockets live in it
    demo = subprocess.Popen(
        [sys.executable, "-c", DEMO, str(tmp_path), *words], env={**os.environ, "TMPDIR": short}
    )
    try:
        until_told(tmp_path / "pids", b"\n")
        for line in (tmp_path / "pids").read_text().splitlines():
            name, _, pid = line.partition(" ")
            children[name] = int(pid)
        until_told(tmp_path / "stubborn.log", b"up")
        until_told(tmp_path / "port", b"\n")
        if "swupdate" in wanted:
            until_told(tmp_path / "swupdate.log", b"SWUPDATE running")
        assert set(children) == set(wanted)
        assert all(is_alive(pid) for pid in children.values())
    finally:
        demo.kill()
        demo.wait()
        shutil.rmtree(short, ignore_errors=True)
    stayed = [
        name for name, pid in children.items() if not wait_gone(pid, clock=SystemClock(), wait_s=WAIT_S)
    ]
    assert stayed == []


def test_a_program_whose_parent_is_gone_before_it_began_does_not_begin() -> None:
    # Made by us but started by somebody else: what a parent that died in between looks like.
    command = shlex.join(leashed(["echo", "ran"], end_with=signal.SIGKILL))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command}; exit $?"], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the parent is gone\n"


def test_a_program_that_is_missing_is_named() -> None:
    command = leashed(["no-such-program"], end_with=signal.SIGKILL)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr == "error: no-such-program: No such file or directory\n"


def test_a_leashed_program_gets_its_arguments_and_its_status_is_told() -> None:
    command = leashed(["/bin/sh", "-c", 'echo "$1"; exit 7', "sh", "a b"], end_with=signal.SIGTERM)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (7, "a b\n")
