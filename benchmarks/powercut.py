"""Power cuts of the distributed example's vehicle, 33 ECUs of every kind that is simulated, with the real agents.

Power goes before, in the middle of and after every journal record, every flash write and every change of a folder that is
an ECU, of an update that is taken, of one whose self-test fails on one ECU, and of one that an ECU does not start with;
one ECU alone loses it in every flash write; and it goes a second time in steps of the recovery, drawn by seed until
`SCENARIOS` were tried.

Run: python -m benchmarks powercut; three quarters of an hour of CPU, on the cores it may use (`taskset`). Each finished
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

Found = tuple[
    int, str, str
]  # how many cuts of the whole vehicle, the scenario in words, what is wrong with its end


def prepared(folder: str, variant: Variant) -> Lab:
    lab = Lab(folder=Path(folder), variant=variant)
    asyncio.run(lab.prepare())
    return lab


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="ringroad-powercut-")


def part(variant: Variant, number: int, second_cuts: float) -> list[Found]:
    """Every `PARTS`-th step of one variant."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    draw = random.Random(f"{SEED} {variant} {number}")
    found: list[Found] = []

    def note(cuts: int, scenario: Scenario) -> None:
        found.append((cuts, str(scenario), scenario.problem))

    async def explore(lab: Lab) -> None:
        for keep in KEEPS:
            for picture in lab.pictures[number::PARTS]:
                async for scenario in lab.cut(picture, keep, second_cuts=second_cuts, draw=draw):
                    note(len(scenario.cuts), scenario)
            for step in lab.flash_steps[number::PARTS]:
                note(0, await lab.cut_one_ecu(step, keep))

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
    return 1.4 * (SCENARIOS - cuts - ecu_cuts) / cuts  # not every recovery is as long as `Lab.cut` thinks


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
        work = {pool.submit(part, *piece, second_cuts): piece for piece in wanted if piece not in done}
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
    count = [sum(cuts == wanted for cuts, _, _ in found) for wanted in (1, 0, 2)]
    return [
        Figure(
            name="powercut.scenarios",
            value=len(found),
            unit="scenarios",
            target=SCENARIOS,
            better="higher",
            note=f"33 ECUs of every kind; {count[0]} cuts of the vehicle, {count[1]} of one ECU, {count[2]} during a recovery; "
            f"seed {SEED}; {took}",
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
