"""How much a vehicle's program is: on a disk, and what its start imports."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import ringroad

# Libraries import these where they are; development tools bring them, and a vehicle has none of them.
OTHERS = ("rich", "pygments", "zstandard", "attr", "greenlet")
PROGRAM = f"""
import json, sys
sys.modules.update(dict.fromkeys({OTHERS!r}))
import ringroad.vehicle.run, ringroad.vehicle.connect, ringroad.cli.vehicle
print(json.dumps([name for name, module in sys.modules.items() if module]))
"""
BY_PATH_FILES = {"google", "_distutils_hack"}  # imported by .pth files of development tools, by no vehicle
OURS = ("kernel", "protocol", "trust", "vehicle", "cli")


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a vehicle's program is made of, without Python itself."""

    installed_bytes: int  # of our rooms and of the libraries
    libraries: list[str]
    modules: int  # that its start imports, Python's own among them


def size_of_the_vehicle() -> Size:
    """Return what `ringroad vehicle run` imports and what that takes on a disk."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120
    )
    modules = json.loads(done.stdout)
    owners = packages_distributions()
    roots = {name.partition(".")[0] for name in modules} - BY_PATH_FILES
    names = sorted({owners[root][0] for root in roots if root in owners} - {"ringroad"})
    total = 0
    for name in names:
        for file in distribution(name).files or ():
            path = Path(str(file.locate()))
            total += path.stat().st_size if path.exists() and "__pycache__" not in path.parts else 0
    source = Path(ringroad.__file__).parent
    total += sum(
        path.stat().st_size
        for room in OURS
        for path in (source / room).rglob("*")
        if path.suffix != ".pyc" and path.is_file()
    )
    return Size(installed_bytes=total, libraries=names, modules=len(modules))
