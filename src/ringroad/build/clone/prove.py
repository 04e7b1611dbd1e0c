"""Would what a clone found make its parent better? Both lines run on the parent's twin with the same luck.

What a change brings at another plant is not known: each set of runs draws it anew, from what the clone's sums say and
from how much plants differ. So a gain that only the clone's own hall explains does not pass.

For the worker: the twin's kernels are machine code. Invariant: a twin that cannot run the line proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import numpy as np

from ringroad.build.clone.improvements import Improvement, shifted
from ringroad.build.clone.proof import Proof, judge_runs
from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.build.plant.line import as_line
from ringroad.build.plant.model import Plant
from ringroad.build.twin.arrays import Floats, LineArrays, line_arrays
from ringroad.build.twin.drift import StationDrift, out_of_calibration
from ringroad.build.twin.judge import NAMED_MAX
from ringroad.kernel.errors import InvalidInput

VEHICLES: Final = 200  # a shift or less; longer than a line takes to fill
DRAWS: Final = 50  # of what the change brings
RUNS: Final = 20  # of each draw, of the line as it is and as it would be: 1,000 of each
_THEN: Final = datetime(2026, 1, 1, tzinfo=UTC)  # orders need a time; nothing depends on it


def prove_improvement(
    plant: Plant,
    improvement: Improvement,
    *,
    mix: Sequence[Order] = (),
    drift: Sequence[StationDrift] = (),
    seed: int,
    threads: int,
) -> Proof:
    """Run a parent's line as it is and as it would be.

    Args:
        plant: the parent.
        improvement: what it would do.
        mix: orders that it builds, for their variants and options; none: plain vehicles.
        drift: how its twin fares against what was measured.
        seed: of all luck.
        threads: to use.
    """
    built = next((each for each in plant.structure.lines if (each.area, each.name) == improvement.line), None)
    if built is None:
        return Proof(proved=False, reason=f"plant {plant.id} has no line {improvement.line[-1]}")
    wrong = out_of_calibration(drift)
    if wrong:
        named = "; ".join(str(each) for each in wrong[:NAMED_MAX])
        return Proof(proved=False, reason=f"the twin is out of calibration: {named}")
    plain = Order(id="", programme_id="", variant="", received_at=_THEN)
    orders = [replace((mix or [plain])[at % max(1, len(mix))], id=f"order_{at}") for at in range(VEHICLES)]
    now = as_line(plant, built)
    try:
        ends = _ends(plant, now, improvement, orders, seed=seed, threads=threads)
    except InvalidInput as error:
        return Proof(proved=False, reason=f"the twin cannot run this line: {error.message}")
    if not np.isfinite(ends).all():
        return Proof(proved=False, reason="the twin did not run through")
    return judge_runs(ends, vehicles=VEHICLES, takt_s=now.takt_s)


def _ends(
    plant: Plant, now: Line, improvement: Improvement, orders: Sequence[Order], *, seed: int, threads: int
) -> Floats:
    from ringroad.build.twin.run import replicate  # noqa: PLC0415 - loads a compiler

    roomy = replace(improvement, shifts=())
    with_room = shifted(plant, roomy, clone="", evidence="", now=_THEN)
    built = next(each for each in with_room.structure.lines if (each.area, each.name) == improvement.line)
    before, base = line_arrays(now, orders), line_arrays(as_line(with_room, built), orders)
    names = [station.name for station in now.stations]
    deltas = _draws(improvement, seed)
    found: list[Floats] = []
    for draw in range(DRAWS):
        after = _moved(base, now, names, improvement, deltas[draw].tolist())
        found.append(
            np.stack(
                [
                    replicate(
                        arrays, [list(range(len(orders)))], on_line=0, replications=RUNS, seed=seed * DRAWS + draw,
                        threads=threads,
                    )[:, 0].max(axis=1)
                    for arrays in (before, after)
                ]
            )
        )  # fmt: skip
    return np.concatenate(found, axis=1)


def _draws(improvement: Improvement, seed: int) -> Floats:
    """Return [draw, shift]: what each change brings at this plant."""
    random = np.random.default_rng(seed)
    deltas = np.array([each.delta for each in improvement.shifts])
    spread = np.array([math.sqrt(each.variance) for each in improvement.shifts])
    return np.asarray(deltas + spread * random.standard_normal((DRAWS, len(deltas))))


def _moved(
    arrays: LineArrays, line: Line, names: Sequence[str], improvement: Improvement, deltas: Sequence[float]
) -> LineArrays:
    """Return a line whose stations are moved by one draw."""
    mean, times = arrays.mean.copy(), arrays.times.copy()
    up, down, refused = arrays.up.copy(), arrays.down.copy(), arrays.refused.copy()
    cycle_s = np.array([float(station.cycle_s) for station in line.stations])
    for each, delta in zip(improvement.shifts, deltas, strict=True):
        at, factor = names.index(each.key.path[-1]), math.exp(delta)
        match each.key.kind:
            case "cycle_s":
                mean[:, at] *= factor
                cycle_s[at] *= factor
            case "transfer_s":
                times[at, 0] *= factor
            case "rework_s":
                times[at, 2] *= factor
            case "uptime_s":
                up[at] *= factor
            case "repair_s":
                down[at] *= factor
            case "first_pass":
                odds = (1 - refused[at]) / max(refused[at], 1e-9) * factor
                refused[at] = 1 / (1 + odds)
    return replace(
        arrays, mean=mean, times=times, up=up, down=down, refused=refused, takt_s=float(cycle_s.max())
    )
