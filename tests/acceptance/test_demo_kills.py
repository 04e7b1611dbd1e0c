"""The same lap while its processes are killed: server, worker, database, broker, a vehicle, an ECU.

Where each is killed is drawn from a seed (`RINGROAD_KILLS=7` draws others); the story must not change by it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringroad.sim.demo.firmware import swupdate_ready
from support.demo_checks import (
    WITHOUT_BOXES,
    check_campaigns,
    check_lap,
    check_nothing_lost,
    check_processes,
    check_vehicles,
    story_of,
    waves_of,
)
from support.demo_run import CHECKOUT, STAYS, Demo, demo

pytestmark = [
    pytest.mark.engines,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHECKOUT / ".firmware/new").exists(), reason="make firmware fetches the images"),
]

GOLDEN = Path(__file__).with_name("golden") / "demo.txt"
VEHICLES = 50  # as many as `make demo`
LATER = 3  # born after the fix
LAP_S_MAX = 1_200.0  # seconds; the machine may be shared
SEED = int(os.environ.get("RINGROAD_KILLS", "2"))  # of the story and of the kills

# After which line of the story somebody may be killed, and who is there by then.
EARLY = ("programme roadster", "release 2026.1:", "line: .* release 2026.1", "release 2026.2:")
LATE = (
    "vehicles drive", "finding:", "change approved", "campaign first fix: planned", "campaign first fix: halted",
    "campaign second fix: planned", "second fix: wave 1 begins", "second fix: wave 2 begins",
    "second fix: wave 3 begins", "campaign second fix: finished",
)  # fmt: skip
VICTIMS = (
    ("server", EARLY), ("worker", EARLY), ("postgres", EARLY), ("nats", EARLY[2:] + LATE), ("server", LATE),
    ("worker", LATE), ("postgres", LATE), ("vehicle", LATE[:-1]), ("vecu", LATE[:-1]),
)  # fmt: skip
DELAY_S_MAX = 2.0  # seconds between the line and the kill


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own account may pass through."""
    made = Path(tempfile.mkdtemp(prefix="ringroad-kills-"))
    made.chmod(0o711)
    yield made / "demo"
    shutil.rmtree(made)


def plan_kills(seed: int) -> list[tuple[str, str, float]]:
    """Return (line, victim, delay) in the order of the story."""
    draw = random.Random(seed)
    kills = [(draw.choice(lines), victim, draw.uniform(0, DELAY_S_MAX)) for victim, lines in VICTIMS]
    return sorted(kills, key=lambda kill: (EARLY + LATE).index(kill[0]))


def kill(run: Demo, victim: str) -> str:
    """End one process of this demo without a word; wait until there is one to end."""
    for _ in range(1_200):  # one that was killed before may be started again after half a minute only
        pids = run.pids().get(victim, [])
        if pids:
            os.kill(pids[0], signal.SIGKILL)
            return f"{victim} {pids[0]}"
        assert run.alive, run.told()
        time.sleep(0.1)
    raise AssertionError(f"there was no {victim} to kill\n{run.told()}")


@pytest.mark.timeout(1_800)
def test_the_lap_ends_right_although_everything_is_killed(folder: Path) -> None:
    boxes = 2 if swupdate_ready() else 0
    killed = []
    with demo(folder, seed=SEED, vehicles=VEHICLES) as run:
        for line, victim, delay_s in plan_kills(SEED):
            after = run.wait_for(line, within_s=LAP_S_MAX)
            time.sleep(delay_s)
            killed.append(f"{kill(run, victim)} after {after.strip()!r} + {delay_s:.1f} s")
            print(killed[-1])  # noqa: T201 - pytest shows it with a failure
        run.wait_for("s in all", within_s=LAP_S_MAX)
        print("\n".join(run.lines))  # noqa: T201 - same
        check_campaigns(run)
        check_vehicles(run, native=VEHICLES + LATER, boxes=boxes)
        check_lap(run)
        check_processes(run, apart=2)
        check_nothing_lost(run)
        text = story_of([line for line in run.lines if STAYS not in line])
        waves = [f"first wave of {name}: {' '.join(vins)}" for name, vins in waves_of(run).items()]
        assert run.stop() == 0
    story, _, golden_waves = GOLDEN.read_text().partition("\nfirst wave")
    if not boxes:
        for there, here in WITHOUT_BOXES:
            story = story.replace(there, here)
    assert text.strip() == story.strip()
    assert len(killed) == len(VICTIMS)
    assert all(wave not in f"first wave{golden_waves}" for wave in waves), "another seed, another wave"
