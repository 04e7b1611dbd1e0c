"""Seconds of one whole lap, from the command to its end: engines, fifty vehicles, two campaigns, verdict.

Run: python -m benchmarks demo
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure

VEHICLES = 50
SECONDS_MAX = 900.0


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="ringroad-demo-") as name:
        words = ["--json", "demo", "--once", "--vehicles", str(VEHICLES), "--folder", f"{name}/demo"]
        Path(name).chmod(0o711)  # PostgreSQL may run under an account of its own
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "ringroad.cli", *words],
            stdout=subprocess.PIPE,
            timeout=SECONDS_MAX,
            check=False,
        )
        wall_s = time.perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError(f"the demo ended with {done.returncode}")
    told = json.loads(done.stdout)
    lap_s = told["lap"]["elapsed_us"] / 1e6
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime  # of everything that was started and waited for
    note = f"{VEHICLES} vehicles, {cpu_s:.0f} CPU-s; lap {lap_s:.0f} s, verdict {told['outcome']['verdict']}"
    return [
        Figure(name="demo.wall_s", value=round(wall_s, 1), unit="s", target=180.0, better="lower", note=note)
    ]
