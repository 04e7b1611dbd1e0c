"""Car sequencing on CSPLib's instances: how many reach the best known value, and in how many seconds.

One thread. Each answer is counted again by `count_cost`, which shares nothing with the search.
The instances lie beside the repository in ../shared/data and are not part of it.

Run: python -m benchmarks sequence
"""

from __future__ import annotations

import statistics
import sys
import time
import zipfile
from pathlib import Path

from benchmarks.figures import Figure
from ringroad.build.sequence.csplib import read_csplib
from ringroad.build.sequence.problem import Problem
from ringroad.build.sequence.solve import solve

DATA = Path(__file__).parents[2] / "shared" / "data" / "car_sequencing_csplib"
# Violated windows; CSPLib prob001, best known results
HARD = {
    "4/72": 0, "6/76": 6, "10/93": 3, "16/81": 0, "19/71": 2, "21/90": 2, "36/92": 2, "41/66": 0, "26/82": 0,
}  # fmt: skip
SEEDS = (1, 2, 3)
MOVES_HARD = 100_000_000  # some 30 s at most
MOVES_SATISFIABLE = 20_000_000
MOVES_LARGE = 10_000_000


def timed(problem: Problem, *, goal: int, moves_max: int, seed: int) -> tuple[int, float]:
    """Return the violations found and the seconds that took."""
    started_s = time.perf_counter()
    found = solve(problem, moves_max=moves_max, seed=seed, stop=lambda cost, _: cost[0] <= goal)
    return found.rank[0], time.perf_counter() - started_s


def run() -> list[Figure]:
    if not DATA.exists():
        sys.exit(f"error: {DATA} is not here\nhint: CSPLib prob001, data.txt and ProblemDataSet200to400.zip")
    instances = read_csplib((DATA / "data.txt").read_text())
    solve(instances["4/72"], moves_max=1_000, seed=1)  # loads or compiles machine code
    hits, seconds, worst = 0, [], 0.0
    for name, goal in HARD.items():
        runs = [timed(instances[name], goal=goal, moves_max=MOVES_HARD, seed=seed) for seed in SEEDS]
        hits += all(found == goal for found, _ in runs)
        seconds += [took_s for _, took_s in runs]
        worst = max(worst, *(took_s for _, took_s in runs))
    satisfiable = [problem for name, problem in instances.items() if name not in HARD]
    runs = [timed(problem, goal=0, moves_max=MOVES_SATISFIABLE, seed=1) for problem in satisfiable]
    with zipfile.ZipFile(DATA / "ProblemDataSet200to400.zip") as archive:
        texts = [archive.read(name).decode() for name in sorted(archive.namelist()) if name.endswith(".txt")]
    large = [timed(read_csplib(text)["instance"], goal=0, moves_max=MOVES_LARGE, seed=1)[0] for text in texts]
    return [
        Figure(name="sequence.csplib_hard_hits", value=hits, unit="of 9", target=9, better="higher",
               note=f"best known with each of {len(SEEDS)} seeds"),
        Figure(name="sequence.csplib_hard_median_s", value=statistics.median(seconds), unit="s", target=5,
               better="lower", note=f"to the best known value, one thread; worst {worst:.1f} s"),
        Figure(name="sequence.csplib_sat_solved", value=sum(found == 0 for found, _ in runs), unit="of 70",
               target=70, better="higher",
               note=f"median {statistics.median(took_s for _, took_s in runs):.2f} s"),
        Figure(name="sequence.gagne_solved", value=sum(found == 0 for found in large), unit="of 30", target=None,
               better="higher", note=f"{MOVES_LARGE} moves each; all violations together {sum(large)}"),
    ]  # fmt: skip
