"""Flexible job shops: Brandimarte's ten instances, our search beside PyJobShop and plain CP-SAT in the same run.

The gap is to the best known last end of each instance (`BEST`): the lowest upper bound that is published, which
no schedule has undercut, not a proved bound; against that the gap would look larger for mk02, mk05 to mk07 and
mk10, whose optima are not known. Each answer of ours is checked by `check_schedule`, which shares nothing with
the search. Two threads each; the peers get 30 s, our search the moves that take about that on two quiet cores.

The instances lie beside the repository in ../shared/data and are not part of it.

Run: python -m benchmarks fjsp
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from ringroad.build.shop.brandimarte import read_brandimarte
from ringroad.build.shop.check import check_schedule
from ringroad.build.shop.problem import Level, ShopProblem
from ringroad.build.shop.solve import solve, solve_twice

DATA = Path(__file__).parents[2] / "shared" / "data" / "fjsp" / "brandimarte"
BEST = {
    "mk01": 40, "mk02": 26, "mk03": 204, "mk04": 60, "mk05": 172,
    "mk06": 57, "mk07": 139, "mk08": 523, "mk09": 307, "mk10": 189,
}  # fmt: skip
SECONDS = 30.0
MOVES_TASKS = 900_000_000  # moves times tasks of each of two threads; about 20 s on two quiet cores
WORKERS = 2


def ours(problem: ShopProblem) -> int:
    tasks = sum(len(job.tasks) for job in problem.jobs)
    found = solve_twice(problem, moves_max=MOVES_TASKS // tasks, seed=1)
    assert check_schedule(problem, found.placed) == []
    return found.cost[Level.MAKESPAN]


def plain_cp_sat(problem: ShopProblem) -> int:
    """The textbook model: an optional interval for each choice, no hint, no bound of ours."""
    from ortools.sat.python import cp_model  # noqa: PLC0415 - heavy

    model: Any = cp_model.CpModel()
    horizon = sum(max(task.work.values()) for _, task in problem.tasks())
    on: dict[str, list[Any]] = {each.id: [] for each in problem.resources}
    last = model.new_int_var(0, horizon, "")
    for job in problem.jobs:
        ready: Any = 0
        for task in job.tasks:
            start, end = model.new_int_var(0, horizon, ""), model.new_int_var(0, horizon, "")
            chosen = []
            for resource, work in task.work.items():
                chosen.append(model.new_bool_var(""))
                on[resource].append(model.new_optional_interval_var(start, work, end, chosen[-1], ""))
            model.add_exactly_one(chosen)
            model.add(start >= ready)
            ready = end
        model.add(last >= ready)
    for intervals in on.values():
        model.add_no_overlap(intervals)
    model.minimize(last)
    solver: Any = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds, solver.parameters.num_workers = SECONDS, WORKERS
    solver.solve(model)
    return int(solver.objective_value)


def pyjobshop(problem: ShopProblem) -> int:
    from pyjobshop import Model  # noqa: PLC0415 - heavy

    model: Any = Model()
    machines = {each.id: model.add_machine() for each in problem.resources}
    for job in problem.jobs:
        theirs, before = model.add_job(), None
        for each in job.tasks:
            task = model.add_task(theirs)
            for resource, work in each.work.items():
                model.add_mode(task, machines[resource], work)
            if before is not None:
                model.add_end_before_start(before, task)
            before = task
    return int(
        model.solve(solver="ortools", time_limit=SECONDS, num_workers=WORKERS, display=False).objective
    )


def run() -> list[Figure]:
    if not DATA.exists():
        sys.exit(f"error: {DATA} is not here\nhint: Brandimarte's instances, mk01.txt to mk10.txt")
    gaps: dict[str, list[float]] = {"ours": [], "CP-SAT": [], "PyJobShop": []}
    slowest_s, most_cpu_s = 0.0, 0.0
    for name, best in BEST.items():
        problem = read_brandimarte((DATA / f"{name}.txt").read_text())
        solve(problem, moves_max=10, seed=1)  # loads or compiles machine code
        started_s, cpu_s = time.perf_counter(), time.process_time()
        found = {"ours": ours(problem)}
        took_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        slowest_s, most_cpu_s = max(slowest_s, took_s), max(most_cpu_s, cpu_s)
        found |= {"CP-SAT": plain_cp_sat(problem), "PyJobShop": pyjobshop(problem)}
        for peer, makespan in found.items():
            gaps[peer].append((makespan - best) / best * 100)
        print(f"{name}: best known {best}, {found}, ours {took_s:.1f} s, {cpu_s:.1f} s of CPU", flush=True)
    load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    beside = "to the best known, 2 threads, 30 s each, same run"
    return [
        Figure(name="fjsp.brandimarte_mean_gap_pct", value=round(statistics.mean(gaps["ours"]), 2), unit="%",
               target=2, better="lower",
               note=f"to the best known (mk06 57, mk10 189); at most {most_cpu_s:.0f} s of CPU, {slowest_s:.0f} s; {load}"),
        *(
            Figure(name=f"fjsp.brandimarte_{key}_gap_pct", value=round(statistics.mean(gaps[peer]), 2), unit="%",
                   target=None, better="lower", note=f"{peer}, {beside}")
            for peer, key in (("CP-SAT", "cp_sat"), ("PyJobShop", "pyjobshop"))
        ),
    ]  # fmt: skip
