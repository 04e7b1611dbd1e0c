"""What a worker compiles before a line needs it: nothing is left for the first plan."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(400)  # compiles, once per machine

PLANS = """
import sys
from dataclasses import replace
from datetime import timedelta

from numba.core.dispatcher import Dispatcher

from ringroad.build.model import Line, Paint, Ratio, Station
from ringroad.build.plan_line import Order, ScheduleDocument
from ringroad.build.improve_line import improve_schedule
from ringroad.build.twin.compare import compare
from ringroad.build.twin.what_if import stop_station
from ringroad.build.warm_up import NOW, warm_up


def compiled():
    return {
        (name, each): len(kernel.signatures)
        for name, module in sorted(sys.modules.items()) if name.startswith("ringroad.build.kernels.")
        for each, kernel in vars(module).items() if isinstance(kernel, Dispatcher)
    }


if sys.argv[1] == "warm":
    warm_up()
before = compiled()
stations = tuple(Station(name=f"s{n}", cycle_s=50 + n, buffer=2, uptime_s=900 * n, repair_s=60 * n) for n in range(4))
line = Line(name="l", stations=stations, ratios=(Ratio(option="roof", p=1, q=2, station="s1"),),
            paint=Paint(colours=("red", "blue"), batch_max=3))
rework = replace(line, stations=(*stations, Station(name="t", cycle_s=50, rework_permille=50, rework_s=90, operators="x")),
                 pools={"x": 1}, paint=None)
orders = {
    str(n): Order(id=str(n), programme_id="p", variant="v", received_at=NOW, due_at=NOW + timedelta(minutes=n),
                  options=("roof", "red") if n < 20 else ("blue",))
    for n in range(40)
}
ids = list(orders)
plan = ScheduleDocument(sequence=tuple(ids), held=(), violations=0, late_orders=0, baseline_release_id=None, frozen=0)
for each in (line, rework):
    found = improve_schedule(plan, list(orders.values()), each, now=NOW, seed=1, moves_max=5_000)
    assert found is not None
    check = compare(ids, found.sequence, orders, each, now=NOW, seed=1, threads=2, replications=100, stops={"s2": 90.0})
    assert check.twin.replications == 100, check
    stop_station(ids, orders, each, station="s1", down_s=600, now=NOW, seed=1, threads=2, replications=100)
after = compiled()
print(sorted(".".join(key) for key in after if after[key] != before.get(key, 0)))
"""


def plans(start: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PLANS, start], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_warm_process_compiles_and_loads_nothing_for_its_first_plan() -> None:
    assert "search" in plans("cold")
    assert plans("warm") == "[]"
