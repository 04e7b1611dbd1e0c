"""The demo as a person meets it: one whole lap as a transcript, and what is in the database at its end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringroad.sim.demo.firmware import swupdate_ready
from ringroad.storage.process import is_alive
from support.demo_checks import (
    WITHOUT_BOXES,
    check_campaigns,
    check_lap,
    check_nothing_lost,
    check_processes,
    check_setback,
    check_vehicles,
    story_of,
    waves_of,
)
from support.demo_run import CHECKOUT, STAYS, demo
from support.gateways import eventually

pytestmark = [
    pytest.mark.engines,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHECKOUT / ".firmware/new").exists(), reason="make firmware fetches the images"),
]

GOLDEN = Path(__file__).with_name("golden") / "demo.txt"
VEHICLES = 50  # as many as `make demo`
LATER = 3  # born after the fix
LAP_S_MAX = 1_200.0  # seconds; the machine may be shared


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own account may pass through."""
    made = Path(tempfile.mkdtemp(prefix="ringroad-demo-"))
    made.chmod(0o711)
    yield made / "demo"
    shutil.rmtree(made)


@pytest.mark.timeout(1_800)
def test_the_demo_tells_one_whole_lap(folder: Path) -> None:
    boxes = 2 if swupdate_ready() else 0
    with demo(folder, seed=1, vehicles=VEHICLES) as run:
        run.wait_for("vehicles drive", within_s=LAP_S_MAX)
        pids = run.pids()
        assert {"server", "worker", "postgres", "nats"} <= set(pids)
        assert len(pids["vehicle"]) == 2
        assert len(pids["vecu"]) == 8
        assert len(pids.get("swupdate", ())) in range(boxes + 1)  # one that restarts is away for a moment
        run.wait_for("s in all", within_s=LAP_S_MAX)
        waves = [f"first wave of {name}: {' '.join(vins)}" for name, vins in waves_of(run).items()]
        text = story_of([line for line in run.lines if STAYS not in line]) + "\n".join(["", *waves, ""])
        if os.environ.get("RINGROAD_WRITE_GOLDEN"):
            GOLDEN.parent.mkdir(exist_ok=True)
            GOLDEN.write_text(text)
        check_campaigns(run)
        check_vehicles(run, native=VEHICLES + LATER, boxes=boxes)
        check_lap(run)
        check_setback(run)
        check_processes(run, apart=2)
        check_nothing_lost(run)
        supervised = [pid for each in run.pids().values() for pid in each]
        assert run.stop() == 0
        eventually(lambda: not any(is_alive(pid) for pid in supervised))
    golden = GOLDEN.read_text()
    if not boxes:
        for there, here in WITHOUT_BOXES:
            golden = golden.replace(there, here)
        text, golden = (story.partition("first wave")[0] for story in (text, golden))
    assert text == golden
