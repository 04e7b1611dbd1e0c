"""Power cuts of the distributed example's vehicle, 33 ECUs of every kind that is simulated, with the real agents.

Power goes before, in the middle of and after every journal record, every flash write and every change of a folder that is
an ECU, of an update that is taken, of one whose self-test fails on one ECU, and of one that an ECU does not start with;
one ECU alone loses it in every flash write; and it goes a second time in steps behind either, drawn by seed until
`SCENARIOS` were tried: the vehicle's, and in a flash write also that of the ECU that writes, alone.

Run: python -m benchmarks powercut; an hour of CPU, on the cores it may use (`taskset`). Each finished
part is kept under `var/powercut/` by commit, so that a run that was stopped goes on where it was; a changed tree begins anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from benchmarks.figures import Figure, commit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.power_cuts import KEEPS, VARIANTS, Lab, Scenario, Variant

SCENARIOS = 20_000
SEED = 1
PARTS = 12  # pieces of work per variant
SHOWN_MAX = 10  # torn vehicles told of
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in memory, of our own inside
KEPT = Path("var/powercut")  # finished parts, in a folder per commit

# The second cuts are more than `Lab` is asked for: not every recovery is as long as it thinks, and in a flash write
# power goes twice, the vehicle's and the ECU's. Scenarios per picture asked for, behind a cut of the vehicle and of one ECU:
PER_SECOND = (1.35, 1.6)

Found = tuple[str, str, str]  # whose power went, the scenario in words, what is wrong with its end


def prepared(folder: str, variant: Variant) -> Lab:
    lab = Lab(folder=Path(folder), variant=variant)
    asyncio.run(lab.prepare())
    return lab


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="ringroad-powercut-")


def part(variant: Variant, number: int, second_cuts: float, second_ecu_cuts: float) -> list[Found]:
    """Every `PARTS`-th step of one variant."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    draw = random.Random(f"{SEED} {variant} {number}")
    found: list[Found] = []

    def note(scenario: Scenario) -> None:
        found.append((" ".join(scenario.kind), str(scenario), scenario.problem))

    async def explore(lab: Lab) -> None:
        for keep in KEEPS:
            for picture in lab.pictures[number::PARTS]:
                async for scenario in lab.cut(picture, keep, second_cuts=second_cuts, draw=draw):
                    note(scenario)
            for step in lab.flash_steps[number::PARTS]:
                async for scenario in lab.cut_one_ecu(step, keep, second_cuts=second_ecu_cuts, draw=draw):
                    note(scenario)

    with scratch() as folder:
        asyncio.run(explore(prepared(folder, variant)))
    return found


def plan() -> tuple[float, float]:
    """Second cuts per cut of the vehicle and per cut of one ECU: as many of each, and a little more than `SCENARIOS` in all."""
    cuts = ecu_cuts = 0
    for variant in VARIANTS:
        with scratch() as folder:
            lab = prepared(folder, variant)
            cuts += len(lab.pictures) * len(KEEPS)
            ecu_cuts += len(lab.flash_steps) * len(KEEPS)
    half = 1.08 * (SCENARIOS - cuts - ecu_cuts) / 2
    return half / cuts / PER_SECOND[0], half / ecu_cuts / PER_SECOND[1]


def run() -> list[Figure]:
    started_s = time.perf_counter()
    second_cuts = plan()
    tree = commit()
    folder = None if tree.endswith("+") else KEPT / f"{tree}-{SEED}"
    wanted = [(variant, number) for number in range(PARTS) for variant in VARIANTS]
    done: dict[tuple[Variant, int], list[Found]] = {}
    for piece in wanted:
        if folder is not None and file_of(folder, piece).exists():
            done[piece] = read(folder, piece)
    kept = len(done)
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores) as pool:
        work = {pool.submit(part, *piece, *second_cuts): piece for piece in wanted if piece not in done}
        for each in as_completed(work):
            done[work[each]] = each.result()
            if folder is not None:
                write(folder, work[each], each.result())
            scenarios = sum(map(len, done.values()))
            print(f"part {len(done)} of {len(wanted)}: {scenarios} scenarios", file=sys.stderr, flush=True)
    took = f"{time.perf_counter() - started_s:.0f} s on {cores} core{'s' * (cores > 1)}"
    if kept:
        took += f", {kept} of {len(wanted)} parts before that"
    return figures_of([one for piece in wanted for one in done[piece]], took=took)


def file_of(folder: Path, piece: tuple[Variant, int]) -> Path:
    return folder / f"{piece[0]}-{piece[1]}-of-{PARTS}.json"


def read(folder: Path, piece: tuple[Variant, int]) -> list[Found]:
    """What an earlier run of this commit found in one part."""
    return [(row[0], row[1], row[2]) for row in json.loads(file_of(folder, piece).read_text("utf-8"))]


def write(folder: Path, piece: tuple[Variant, int], found: Iterable[Found]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = file_of(folder, piece)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(list(found)), encoding="utf-8")
    fresh.replace(path)


def figures_of(found: list[Found], *, took: str) -> list[Figure]:
    torn = [scenario for _, scenario, problem in found if problem]
    for scenario in torn[:SHOWN_MAX]:
        print(f"torn: {scenario}")
    count = Counter(kind for kind, _, _ in found)
    return [
        Figure(
            name="powercut.scenarios",
            value=len(found),
            unit="scenarios",
            target=SCENARIOS,
            better="higher",
            note=f"33 ECUs of every kind; {count['vehicle']} cuts of the vehicle, {count['ecu']} of one ECU; a second one "
            f"behind the vehicle's: {count['vehicle vehicle']} of the vehicle, {count['vehicle ecu']} of one ECU; "
            f"behind one ECU's: {count['ecu vehicle']} of the vehicle, {count['ecu ecu']} of one ECU; seed {SEED}; {took}",
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
