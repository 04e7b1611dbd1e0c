"""The vehicle's own process, killed after every journal record of an update in turn, over real HTTPS, DoIP and CAN FD.

What `powercut` does by the thousand in simulation, done with the process itself: `ringroad vehicle run` ends without a
word after its n-th record, its two ECUs lose their power with it, and the next process must end the update.

Run: python -m benchmarks kills; two starts of a process per record, a minute or two on a quiet machine
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ringroad.vehicle.journal import CRASH_EXIT_STATUS
from simulation.test_vehicle_process import ENDS, Bench, serving
from support.vehicle_world import World

RECORDS_MAX = 200  # of an update of two ECUs; the first life that ends by itself ends the search
LIFE_S_MAX = 300.0


def killed_after(record: int, folder: Path) -> tuple[bool, str]:
    """Kill one update after a record; return whether it came that far, and what is wrong with its end."""
    world = World(folder / "vehicle", ecus=(("central", "ab"), ("brake", "inplace")), now=datetime.now(UTC))
    world.server.clock = lambda: datetime.now(UTC)
    with serving(world.server, folder / "vehicle" / "pki") as url:
        bench = Bench(folder / "vehicle", url, world)
        try:
            bench.world.order()
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
    whole = states[-1] == "SUCCEEDED" and versions == {"2.0.0"}
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
    started_s = time.perf_counter()
    torn: list[str] = []
    kills = 0
    for record in range(1, RECORDS_MAX + 1):
        with tempfile.TemporaryDirectory(prefix="ringroad-kills-") as name:
            was_killed, problem = killed_after(record, Path(name))
        torn += [problem] if problem else []
        if not was_killed:
            break
        kills += 1
        print(f"record {record}: {problem or 'all new'}", file=sys.stderr, flush=True)
    for problem in torn:
        print(f"torn: {problem}")
    return [
        Figure(
            name="powercut.process_kills", value=kills, unit="records", target=None, better="higher",
            note=f"the vehicle's process ended after each record of an update in turn, {len(torn)} of them torn; "
            f"{time.perf_counter() - started_s:.0f} s",
        )
    ]  # fmt: skip
