"""Compile what searches a sequence and runs a line's twin before a line needs it, or load what was compiled.

For the worker: compiling takes some 20 s of CPU once on a machine, loading two. By planning a few vehicles of made
lines, so that nothing has to be listed here twice: whatever a plan calls is called.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ringroad.build.model import Line, Ratio, Station
from ringroad.build.plan_line import Order, line_problem
from ringroad.build.twin.compare import compare

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
VEHICLES: Final = 6  # all with the option that every second may have, so that no sequence is without a fault
MOVES: Final = 1_000
STATION: Final = Station(name="a", cycle_s=60)
FLOW: Final = Line(name="l", stations=(STATION,), ratios=(Ratio(option="roof", p=1, q=2, station="a"),))
EVENTS: Final = Line(
    name="l", stations=(Station(name="a", cycle_s=60, rework_permille=100, rework_s=60),), ratios=()
)


def warm_up() -> None:
    """Plan some vehicles of a flow line and of one with rework, each once."""
    from ringroad.build.sequence.solve import solve_twice  # noqa: PLC0415 - loads a compiler: a second, 100 MB

    orders = [
        Order(id=str(number), programme_id="p", variant="v", options=("roof",), received_at=NOW)
        for number in range(VEHICLES)
    ]
    problem = line_problem(orders, FLOW, frozen=0, now=NOW)
    solve_twice(problem, moves_max=MOVES, seed=1)
    ids = [order.id for order in orders]
    for line in (FLOW, EVENTS):
        compare(
            ids, ids[::-1], {order.id: order for order in orders}, line, now=NOW, seed=1, threads=1, replications=1
        )  # fmt: skip
