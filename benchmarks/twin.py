"""The twin's kernels beside SimPy on the same lines with the same times, in one run; and many replications of a line.

Both sides are given the same arrays and must give the same times. One thread, the best of some runs each.

Run: python -m benchmarks twin
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import simpy

from benchmarks.figures import Figure
from ringroad.build.model import Line as PlantLine
from ringroad.build.model import Station
from ringroad.build.plan_line import Order
from ringroad.build.twin.arrays import line_arrays
from ringroad.build.twin.run import replicate
from ringroad.kernel.clock import SystemClock

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.simpy_line import Line, by_events, by_flow, simulate

STATIONS = 20
VEHICLES = 2_000
RUNS_OF_SIMPY = 3
RUNS_OF_OURS = 20
REPLICATIONS, REPLICATED_VEHICLES = 1_000, 500


def a_line(*, full: bool) -> Line:
    """Gamma times, rooms of three and a half minutes; with `full`, breakdowns, rework, operators and carriers."""
    rng = np.random.default_rng(1)
    none: list[list[float]] = [[] for _ in range(STATIONS)]
    line = Line(
        order=list(range(VEHICLES)), work=rng.gamma(16, 58 / 16, (VEHICLES, STATIONS)),
        release=[60.0 * number for number in range(VEHICLES)], places=[4] * STATIONS,
        transfer=[0.0] * STATIONS, returns=[0.0] * STATIONS, pools=[3, 2], operators=[-1] * STATIONS,
        carriers=[-1] * STATIONS, bad=np.zeros((VEHICLES, STATIONS), dtype=np.int64),
        rework=[300.0] * STATIONS, rework_to=list(range(STATIONS)), up=none, down=none, crews=[],
    )  # fmt: skip
    if full:
        line.transfer = rng.uniform(4, 6, STATIONS).tolist()
        line.returns = rng.uniform(4, 6, STATIONS).tolist()
        for station in (3, 4, 5):
            line.operators[station] = 0
        line.carriers[8] = 1
        line.bad[:, 15] = rng.random(VEHICLES) < 0.05
        line.up = [rng.exponential(7_200, 400).tolist() if s in (5, 12) else [] for s in range(STATIONS)]
        line.down = [rng.exponential(240, len(up)).tolist() for up in line.up]
    return line


def lean_simpy(line: Line) -> Any:
    """A flow line in as little SimPy as it takes."""
    env = simpy.Environment()
    rooms = [simpy.Resource(env, places) for places in line.places]
    stations = [simpy.Resource(env, 1) for _ in line.places]
    work = line.work.tolist()
    finish = [0.0] * len(work)

    def drive(vehicle: int, room: Any) -> Any:
        for s, seconds in enumerate(work[vehicle]):
            station = stations[s].request()
            yield station
            yield env.timeout(seconds)
            if s + 1 < len(stations):
                following = rooms[s + 1].request()
                yield following
            stations[s].release(station)
            rooms[s].release(room)
            room = following
        finish[vehicle] = env.now

    def enter() -> Any:
        for vehicle, release in zip(line.order, line.release, strict=True):
            if env.now < release:
                yield env.timeout(release - env.now)
            room = rooms[0].request()
            yield room
            env.process(drive(vehicle, room))

    env.process(enter())
    env.run()
    return np.array(finish)


def best_s(run: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times):
        started_s = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started_s)
    return min(taken)


def replications_s() -> float:
    stations = tuple(Station(name=f"s{number}", cycle_s=58, buffer=3) for number in range(STATIONS))
    orders = [
        Order(id=str(number), programme_id="p", variant="v", received_at=SystemClock().now())
        for number in range(REPLICATED_VEHICLES)
    ]
    arrays = line_arrays(PlantLine(name="l", stations=stations, ratios=()), orders)
    plan = list(range(REPLICATED_VEHICLES))

    def run() -> None:
        replicate(arrays, [plan], on_line=0, replications=REPLICATIONS, seed=1, threads=os.cpu_count() or 1)

    run()
    return best_s(run, 5)


def run() -> list[Figure]:
    flow_line, full_line = a_line(full=False), a_line(full=True)
    ours, theirs = by_flow(flow_line), lean_simpy(flow_line)
    assert np.array_equal(ours, theirs), "the flow kernel and SimPy differ"
    ours, theirs = by_events(full_line)[0], simulate(full_line)[0]
    assert np.allclose(ours, theirs, rtol=0, atol=1e-9), "the event kernel and SimPy differ"
    flow = best_s(lambda: lean_simpy(flow_line), RUNS_OF_SIMPY) / best_s(
        lambda: by_flow(flow_line), RUNS_OF_OURS
    )
    heap_s = best_s(lambda: by_events(full_line), RUNS_OF_OURS)
    heap = best_s(lambda: simulate(full_line), RUNS_OF_SIMPY) / heap_s
    million = by_events(full_line)[1] / heap_s / 1e6
    what = f"{VEHICLES} vehicles, {STATIONS} stations"
    return [
        Figure(name="twin.maxplus.ratio_simpy", value=round(flow), unit="times", target=1000, better="higher",
               note=f"{what}; the same times to the last digit"),
        Figure(name="twin.heap.ratio_simpy", value=round(heap), unit="times", target=50, better="higher",
               note=f"{what}, breakdowns, rework, operators, carriers; {million:.0f} million events a second"),
        Figure(name="twin.replications_s", value=round(replications_s(), 3), unit="s", target=3, better="lower",
               note=f"{REPLICATIONS} replications of {REPLICATED_VEHICLES} vehicles at {STATIONS} stations"),
    ]  # fmt: skip
