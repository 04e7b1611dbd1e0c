"""Power cuts of the example programme's 33-ECU vehicle: the real orchestrator, agents and virtual ECUs in this process.

Power goes before, in the middle of and after every journal record and every flash write of an update that is taken,
of one whose self-test fails on one ECU, and of one that an ECU does not start with; one ECU alone loses it in every
flash write; and it goes a second time in steps of the recovery, drawn by seed until `SCENARIOS` were tried.

Run: python -m benchmarks powercut; about half an hour of CPU, on all cores.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.figures import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.power_cuts import KEEPS, VARIANTS, Lab, Scenario, Variant

SCENARIOS = 20_000
SEED = 1
PARTS = 12  # pieces of work per variant
SHOWN_MAX = 10  # torn vehicles told of
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in memory, of our own inside


def prepared(folder: str, variant: Variant) -> Lab:
    lab = Lab(folder=Path(folder), variant=variant)
    asyncio.run(lab.prepare())
    return lab


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="ringroad-powercut-")


def part(variant: Variant, number: int, second_cuts: float) -> list[tuple[int, Scenario]]:
    """Every `PARTS`-th step of one variant; scenarios and how many cuts of the whole vehicle each has."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    draw = random.Random(f"{SEED} {variant} {number}")
    found = []

    async def explore(lab: Lab) -> None:
        for keep in KEEPS:
            for picture in lab.pictures[number::PARTS]:
                lives = lab.cut(picture, keep, second_cuts=second_cuts, draw=draw)
                found.extend([(len(scenario.cuts), scenario) async for scenario in lives])
            for step in lab.flash_steps[number::PARTS]:
                found.extend([(0, await lab.cut_one_ecu(step, keep))])

    with scratch() as folder:
        asyncio.run(explore(prepared(folder, variant)))
    return found


def plan() -> float:
    """Second cuts per first one, so that all together are a little more than `SCENARIOS`."""
    cuts = ecu_cuts = 0
    for variant in VARIANTS:
        with scratch() as folder:
            lab = prepared(folder, variant)
            cuts += len(lab.pictures) * len(KEEPS)
            ecu_cuts += len(lab.flash_steps) * len(KEEPS)
    return 1.2 * (SCENARIOS - cuts - ecu_cuts) / cuts  # not every recovery is as long as `Lab.cut` thinks


def run() -> list[Figure]:
    started_s = time.perf_counter()
    second_cuts = plan()
    found = []
    with ProcessPoolExecutor() as pool:
        work = [
            pool.submit(part, variant, number, second_cuts) for number in range(PARTS) for variant in VARIANTS
        ]
        for done, each in enumerate(work, start=1):
            found += each.result()
            print(f"part {done} of {len(work)}: {len(found)} scenarios", file=sys.stderr, flush=True)
    return figures_of(found, took_s=time.perf_counter() - started_s)


def figures_of(found: list[tuple[int, Scenario]], *, took_s: float) -> list[Figure]:
    torn = [scenario for _, scenario in found if scenario.problem]
    for scenario in torn[:SHOWN_MAX]:
        print(f"torn: {scenario}")
    count = [sum(kind == wanted for kind, _ in found) for wanted in (1, 0, 2)]
    return [
        Figure(
            name="powercut.scenarios",
            value=len(found),
            unit="scenarios",
            target=SCENARIOS,
            better="higher",
            note=f"33 ECUs; {count[0]} cuts of the vehicle, {count[1]} of one ECU, {count[2]} during a recovery; "
            f"seed {SEED}; {took_s:.0f} s on {os.cpu_count()} cores",
        ),
        Figure(
            name="powercut.torn",
            value=len(torn),
            unit="vehicles",
            target=0,
            better="lower",
            note="neither all old nor all new, not bootable, or changed by one more reboot",
        ),
    ]
