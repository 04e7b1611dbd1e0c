"""What if a station stood from now on? The schedule as it is runs on the twin with it and without, with the same luck.

For the worker: the twin's kernels are machine code. Nothing follows from an answer; a person decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np

from ringroad.build.logistics.availability import PartAvailability
from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.build.twin.arrays import Floats, line_arrays
from ringroad.build.twin.compare import REPLICATIONS, VEHICLES_SHOWN
from ringroad.build.twin.judge import DUE_QUANTILE_PERMILLE
from ringroad.build.twin.parts import draw_ready, waits_of
from ringroad.build.working_time import WorkingTime, stands_at_work, working_time
from ringroad.kernel.errors import InvalidInput

LATE_NAMED_MAX: Final = 10  # orders


@dataclass(frozen=True, slots=True, kw_only=True)
class StopEffect:
    """What a stop does to the schedule.

    Attributes:
        refused: why the twin could not say; empty if it could.
        vehicles: of the schedule.
        later_s: by how much later the last vehicle leaves, in the mean.
        end_s: when it leaves without and with the stop, in the mean.
        late: orders in time at the 0.9 quantile without the stop, and not with it.
        late_named: the first of them.
        times: of the first vehicles: order, leaves without the stop, with it, due; seconds at the 0.9 quantile.
    """

    refused: str = ""
    vehicles: int = 0
    later_s: int = 0
    end_s: tuple[int, int] = (0, 0)
    late: int = 0
    late_named: tuple[str, ...] = ()
    times: tuple[tuple[str, int, int, int | None], ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form kept in `line_what_if.answer`."""
        return {
            "refused": self.refused, "vehicles": self.vehicles, "later_s": self.later_s, "end_s": list(self.end_s),
            "late": self.late, "late_named": list(self.late_named),
            "times": [
                {"order_id": order_id, "running_s": running_s, "new_s": new_s, "due_s": due_s}
                for order_id, running_s, new_s, due_s in self.times
            ],
        }  # fmt: skip


def stop_station(
    sequence: Sequence[str],
    orders: Mapping[str, Order],
    line: Line,
    *,
    station: str,
    down_s: int,
    now: datetime,
    seed: int,
    threads: int,
    replications: int = REPLICATIONS,
    standing: Mapping[str, float] | None = None,
    available: Mapping[str, PartAvailability] | None = None,
) -> StopEffect:
    """Ask the twin.

    Args:
        sequence: order ids as the line builds them, the ones on the line first.
        orders: by id.
        line: stations and ratios.
        station: that stands from now on.
        down_s: for so many seconds.
        now: when the runs begin.
        seed: of the twin's luck.
        threads: to use.
        replications: runs of each.
        standing: stations that stand already, and for how many seconds more; in both runs.
        available: when the parts of an order are there, where they are on their way; in both runs.
    """
    placed = [orders[order_id] for order_id in sequence]
    if not placed:
        return StopEffect(refused="nothing is scheduled")
    from ringroad.build.twin.run import replicate  # noqa: PLC0415 - loads a compiler

    on_line = sum(order.state == "building" for order in placed)
    plan, time = [list(range(len(placed)))], working_time(line.calendar, start=now)
    runs: list[Floats] = []
    try:
        before = line_arrays(line, placed, stops=stands_at_work(standing, time))
        longer = stands_at_work(
            {**(standing or {}), station: max((standing or {}).get(station, 0.0), down_s)}, time
        )
        waits = waits_of(placed, available or {}, now=now)
        ready = draw_ready(waits, replications=replications, seed=seed, time=time)
        for arrays in (before, replace(before, stop=line_arrays(line, (), stops=longer).stop)):
            found = replicate(
                arrays,
                plan,
                on_line=on_line,
                replications=replications,
                seed=seed,
                threads=threads,
                ready=ready,
            )
            runs.append(found[:, 0])
    except InvalidInput as error:
        return StopEffect(refused=error.message, vehicles=len(placed))
    if not all(np.isfinite(each).all() for each in runs):
        return StopEffect(refused="the twin did not run through", vehicles=len(placed))
    return _effect(runs[0], runs[1], placed, time, now=now)


def _effect(
    without: Floats, stopped: Floats, placed: Sequence[Order], time: WorkingTime, *, now: datetime
) -> StopEffect:
    due = [(order.due_at - now).total_seconds() if order.due_at else float("inf") for order in placed]
    before, after = (
        time.done_each(np.quantile(each, DUE_QUANTILE_PERMILLE / 1000, axis=0)) for each in (without, stopped)
    )
    late = [
        order.id
        for order, was, will, at in zip(placed, before, after, due, strict=True)
        if was <= at < will
    ]  # fmt: skip
    ends = [float(time.done_each(each.max(axis=1)).mean()) for each in (without, stopped)]
    shown = list(zip(placed, before, after, due, strict=True))[:VEHICLES_SHOWN]
    return StopEffect(
        vehicles=len(placed),
        later_s=round(ends[1] - ends[0]),
        end_s=(round(ends[0]), round(ends[1])),
        late=len(late),
        late_named=tuple(late[:LATE_NAMED_MAX]),
        times=tuple(
            (order.id, round(float(was)), round(float(will)), round(at) if np.isfinite(at) else None)
            for order, was, will, at in shown
        ),
    )
