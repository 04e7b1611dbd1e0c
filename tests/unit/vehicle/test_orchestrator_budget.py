"""The vehicle must fit in a vehicle: what it imports and how much memory that takes."""

from __future__ import annotations

import json
import subprocess
import sys

from support.vehicle_size import size_of_the_vehicle

INSTALLED_BYTES_MAX = 25_000_000  # without Python itself; a telematics unit's partition has hundreds of MB
MODULES_MAX = 550  # that its start imports: what start-up takes, in a count that no machine's load changes
MEMORY_KIB_MAX = 70 * 1024  # KiB resident after all imports; a small telematics unit has 512 MiB
FORBIDDEN = (
    "psycopg",
    "duckdb",
    "pyarrow",
    "numpy",
    "ibis",
    "litestar",
    "nats",
    "tuf",
    "can",
    "jinja2",
    "uvicorn",
)

PROGRAM = """
import json, sys
from pathlib import Path
import ringroad.vehicle.run, ringroad.vehicle.connect
roots = sorted({name.partition(".")[0] for name in sys.modules})
lines = Path("/proc/self/status").read_text().splitlines()
print(json.dumps([roots, next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))]))
"""


def test_the_vehicle_imports_no_server_library_and_stays_small() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    roots, memory_kib = json.loads(done.stdout)
    assert not set(roots) & set(FORBIDDEN)
    assert memory_kib < MEMORY_KIB_MAX


def test_the_vehicle_installs_little_and_its_start_imports_little() -> None:
    size = size_of_the_vehicle()
    assert size.installed_bytes < INSTALLED_BYTES_MAX, size.libraries
    assert size.modules < MODULES_MAX
