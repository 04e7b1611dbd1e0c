"""Would a line that is balanced anew build faster? Both on the twin, with the same luck. Nothing follows by itself.

For the worker and the command line: the twin's kernels are machine code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import numpy as np

from ringroad.build.balance.problem import Balance, Work
from ringroad.build.model import Line, Station
from ringroad.build.plan_line import Order
from ringroad.build.twin.arrays import line_arrays
from ringroad.build.twin.compare import REPLICATIONS
from ringroad.build.twin.judge import P_BETTER_PERMILLE_MIN

VEHICLES: Final = 200  # a shift or less; longer than a line takes to fill
_THEN: Final = datetime(2026, 1, 1, tzinfo=UTC)  # orders need a time; nothing depends on it


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceCheck:
    """What the twin said.

    Attributes:
        better_permille: runs in which the last of the vehicles leaves earlier with the new balance.
        end_s: when it leaves, now and with the new balance, in the mean.
        proposed: whether the new balance may be proposed.
    """

    better_permille: int
    end_s: tuple[int, int]
    proposed: bool


def line_now(tasks: Sequence[Work], base: Line | None = None) -> Line:
    """Return the line as its tasks say who does them now. Raises: InvalidInput by `line_arrays` without stations."""
    names = list(dict.fromkeys(task.station for task in tasks if task.station))
    known = {station.name: station for station in base.stations} if base else {}
    names.sort(key=lambda name: list(known).index(name) if name in known else len(known))
    return _line(
        {name: sum(task.seconds for task in tasks if task.station == name) for name in names}, known, base
    )


def line_new(tasks: Sequence[Work], balance: Balance, now: Line) -> Line:
    """Return the line with the new balance; its stations keep the present ones' names, buffers and spreads."""
    seconds = {task.id: task.seconds for task in tasks}
    known = {station.name: station for station in now.stations}
    names = [*known, *(f"new {number}" for number in range(1, len(balance.stations) + 1))][
        : len(balance.stations)
    ]
    loads = [sum(seconds[name] for name in each) for each in balance.stations]
    return _line(dict(zip(names, loads, strict=True)), known, now)


def check_on_twin(now: Line, new: Line, *, seed: int, threads: int) -> BalanceCheck:
    """Run both lines a thousand times, each entered at its own takt; draws are the same for both."""
    from ringroad.build.twin.run import replicate  # noqa: PLC0415 - loads a compiler

    orders = [
        Order(id=f"order_{number}", programme_id="", variant="", received_at=_THEN)
        for number in range(VEHICLES)
    ]
    ends = [
        replicate(
            line_arrays(line, orders), [list(range(VEHICLES))],
            on_line=0, replications=REPLICATIONS, seed=seed, threads=threads,
        )[:, 0].max(axis=1)
        for line in (now, new)
    ]  # fmt: skip
    better = int(1000 * np.mean(ends[1] < ends[0]))
    return BalanceCheck(
        better_permille=better,
        end_s=(round(float(ends[0].mean())), round(float(ends[1].mean()))),
        proposed=bool(better >= P_BETTER_PERMILLE_MIN),
    )


def _line(loads: Mapping[str, int], known: Mapping[str, Station], base: Line | None) -> Line:
    stations = tuple(
        replace(known[name], cycle_s=load, extra_s={}) if name in known else Station(name=name, cycle_s=load)
        for name, load in loads.items()
    )
    return Line(
        name=base.name if base else "line", stations=stations, ratios=(), pools=base.pools if base else {}
    )
