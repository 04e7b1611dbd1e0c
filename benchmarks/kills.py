"""The vehicle's own process, killed after every journal record of an update in turn, over real HTTPS, DoIP and CAN FD.

What `powercut` does by the thousand in simulation, done with the process itself: `ringroad vehicle run` ends without a
word after its n-th record, its ECUs lose their power with it, and the next process must end the update: in the new
release where it is good, in the old one where the brake's new software fails its self-test. A vehicle of two ECUs is
killed after every record, the example's of 33 after every `KILLS_EVERY`-th (1 for all of them, two hours).

Run: python -m benchmarks kills; two starts of a process per record, a quarter of an hour on a quiet machine
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from benchmarks.figures import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ringroad.sim.vecu.script import Behaviour, Script
from ringroad.vehicle.journal import CRASH_EXIT_STATUS
from simulation.test_vehicle_process import ENDS, Bench, serving
from support.flashed_vehicle import ecus_of_the_example
from support.vehicle_world import World, content_of

RECORDS_MAX = 1_000  # of an update; the first life that ends by itself ends the search
EVERY_DEFAULT = 16  # records
LIFE_S_MAX = 300.0
GUILTY = "brake"  # whose new software may fail

Ecus = Sequence[tuple[str, Literal["ab", "inplace"]]]
TWO: Ecus = (("central", "ab"), (GUILTY, "inplace"))


def killed_after(record: int, folder: Path, *, ecus: Ecus, bad: bool) -> tuple[bool, str]:
    """Kill one update after a record; return whether it came that far, and what is wrong with its end."""
    world = World(folder / "vehicle", ecus=ecus, now=datetime.now(UTC))
    world.server.clock = lambda: datetime.now(UTC)
    with serving(world.server, folder / "vehicle" / "pki") as url:
        bench = Bench(folder / "vehicle", url, world)
        try:
            bench.world.order()
            if bad:
                new = hashlib.sha256(content_of(GUILTY, "2.0.0")).hexdigest()
                for server in bench.servers:
                    server.port.follow(Script(images={new: Behaviour(self_test="fail")}))
            process = bench.start(RINGROAD_CRASH_AFTER_RECORD=str(record))
            if came_far := not ended(bench, process):
                assert process.returncode == CRASH_EXIT_STATUS, process.communicate()[0]
                for server in bench.servers:
                    server.port.power_cycle()
                process = bench.start()
                assert ended(bench, process), process.communicate()[0]
            process.terminate()
            process.communicate(timeout=LIFE_S_MAX)
            versions, states = bench.versions(), world.states()
        finally:
            bench.close()
    whole = (states[-1], versions) == (("ROLLED_BACK", {"1.0.0"}) if bad else ("SUCCEEDED", {"2.0.0"}))
    return came_far, "" if whole else f"after record {record}: {states}, {versions}"


def ended(bench: Bench, process: subprocess.Popen[str]) -> bool:
    """Wait until the server was told of the update's end, or the process is no more; return whether it was the first."""
    until = time.monotonic() + LIFE_S_MAX
    while process.poll() is None and not ENDS & set(bench.world.states()):
        if until < time.monotonic():
            process.kill()
        time.sleep(0.05)
    return process.poll() is None


def run() -> list[Figure]:
    two = killed(TWO, every=1)
    many = killed(ecus_of_the_example(), every=int(os.environ.get("KILLS_EVERY", EVERY_DEFAULT)))
    return [figure_of("powercut.process_kills", *two), figure_of("powercut.process_kills_33_ecus", *many)]


def killed(ecus: Ecus, *, every: int) -> tuple[list[int], list[str], str]:
    """Kill updates of a vehicle after every `every`-th record; return how many, good and bad, what was torn, and how."""
    started_s = time.perf_counter()
    torn: list[str] = []
    kills = []
    for bad in (False, True):
        records = range(1, RECORDS_MAX + 1, every)
        for count, record in enumerate(records):
            with tempfile.TemporaryDirectory(prefix="ringroad-kills-") as name:
                was_killed, problem = killed_after(record, Path(name), ecus=ecus, bad=bad)
            torn += [problem] if problem else []
            if not was_killed:
                kills.append(count)
                break
            print(f"{len(ecus)} ECUs, record {record}: {problem or 'whole'}", file=sys.stderr, flush=True)
    for problem in torn:
        print(f"torn: {problem}")
    how = "each record in turn" if every == 1 else f"record 1 and each {every}th behind it"
    return kills, torn, f"{how}; {time.perf_counter() - started_s:.0f} s"


def figure_of(name: str, kills: list[int], torn: list[str], how: str) -> Figure:
    return Figure(
        name=name, value=sum(kills), unit="records", target=None, better="higher",
        note=f"the vehicle's process killed after {kills[0]} records of an update and {kills[1]} of one that is undone, "
        f"{how}; {len(torn)} torn",
    )  # fmt: skip
