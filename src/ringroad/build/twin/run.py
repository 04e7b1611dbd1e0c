"""Run a line many times over one or more plans, with the same luck for each: machine code on all cores.

Not for the server: see `kernels/`. Replications are numbered and each has its own luck, so the same seed gives
the same answer on any number of cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from ringroad.build.kernels.replicas import run_flow, run_full
from ringroad.build.twin.arrays import Floats, Ints, LineArrays
from ringroad.kernel.errors import InvalidInput

REPLICATIONS_MAX: Final = 100_000
FINISHES_MAX: Final = 20_000_000  # replications times plans times vehicles; 160 MB
_SHARE: Final = 25  # replications that a thread takes at once
_BREAKDOWNS_MAX: Final = 10_000  # of one station in one run


def replicate(
    arrays: LineArrays,
    plans: Sequence[Sequence[int]],
    *,
    on_line: int,
    replications: int,
    seed: int,
    threads: int,
    ready: Floats | None = None,
) -> Floats:
    """Return when each vehicle leaves the line, in seconds from now: [replication, plan, vehicle].

    Args:
        arrays: of the line; rows are vehicles.
        plans: each all vehicles in an order.
        on_line: vehicles at the head of each plan that entered before now, one takt apart.
        replications: how many runs.
        seed: of all draws.
        threads: to use.
        ready: [replication, vehicle] when its parts are there, in seconds from now, see `parts.py`; None: all are.

    Raises:
        InvalidInput: more runs than allowed, or a plan that does not have each vehicle once.
    """
    vehicles = len(arrays.mean)
    if not 0 <= replications <= REPLICATIONS_MAX or replications * len(plans) * vehicles > FINISHES_MAX:
        raise InvalidInput(f"{replications} runs of {len(plans)} plans with {vehicles} vehicles are too many")
    if any(sorted(plan) != list(range(vehicles)) for plan in plans):
        raise InvalidInput("a plan must have each vehicle once")
    orders = np.array([list(plan) for plan in plans], dtype=np.int64).reshape(len(plans), vehicles)
    release: Floats = np.array([(position - on_line) * arrays.takt_s for position in range(vehicles)])
    finish: Floats = np.zeros((replications, len(plans), vehicles))
    if vehicles == 0:
        return finish
    parts: Floats = np.empty((0, 0)) if ready is None else ready
    if parts.size and parts.shape != (replications, vehicles):
        raise InvalidInput(
            f"parts are said for {parts.shape}, runs and vehicles are {replications, vehicles}"
        )
    shares = [(first, min(first + _SHARE, replications)) for first in range(0, replications, _SHARE)]
    with ThreadPoolExecutor(max_workers=threads) as pool:  # machine code lets Python's lock go
        jobs = [
            pool.submit(_run, arrays, (seed, first, last, orders), (release, parts), finish[first:last])
            for first, last in shares
        ]
        for job in jobs:
            job.result()
    return finish


def _run(
    arrays: LineArrays, which: tuple[int, int, int, Ints], enters: tuple[Floats, Floats], finish: Floats
) -> None:
    """Fill `finish` for some replications.

    `which` is the seed, the first, the one behind the last, the plans; `enters` when there is a turn and when parts are.
    """
    crews = (arrays.crew_from, arrays.crews, arrays.crew_hold, arrays.wants)
    drawn = (*which, arrays.mean, arrays.factors, *enters)
    breaks = (arrays.up, arrays.down, arrays.stop, _breakdowns(arrays, *enters))
    if arrays.is_flow:
        places, transfer = arrays.plan[:, 0].copy(), arrays.times[:, 0].copy()
        run_flow(*drawn, places, transfer, *breaks, *crews, finish)
    else:
        given = (arrays.plan, arrays.times, arrays.pools, arrays.refused)
        run_full(*drawn, *given, *breaks, *crews, arrays.shares_people, arrays.needs_events, finish)


def _breakdowns(arrays: LineArrays, release: Floats, ready: Floats) -> int:
    """Return how many breakdowns to draw for a station: twice what is expected in twice the planned time."""
    running, stops = arrays.up > 0, int((arrays.stop > 0).any())
    if not running.any():
        return stops
    planned_s = (
        max(release[-1], ready.max(initial=-np.inf))
        - release[0]
        + arrays.mean.sum(axis=1).max()
        + arrays.times.sum()
        + arrays.stop.max()
    )
    cycle_s = float((arrays.up + arrays.down)[running].min())
    return stops + int(min(_BREAKDOWNS_MAX, 10 + 4 * planned_s / cycle_s))
