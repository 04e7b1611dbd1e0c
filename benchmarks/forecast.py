"""How well is rare demand forecast? 2,674 car parts, 51 months, the last twelve held out.

Candidates are weighed by rolling validation on the months before; the hold-out is looked at once. Beside it, in the
same run: the floor, last year's month, and nothing. The all-zero forecast wins by MASE and WAPE, which is why neither
chooses anything.

Run: python -m benchmarks forecast
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.figures import Figure
from ringroad.kernel.clock import SystemClock
from ringroad.signal.demand import empirical
from ringroad.signal.demand.candidates import candidates
from ringroad.signal.demand.choose import choose, forecast_chosen
from ringroad.signal.demand.panel import Floats
from ringroad.signal.demand.score import Grade, grade, skill

DATA: Final = Path(__file__).parents[2] / "shared" / "data" / "carparts" / "carparts_wide.csv"
HELD_OUT: Final = 12  # months


def parts(file: Path) -> Floats:
    """Return demand by part and month; NaN where a month is not known."""
    with file.open(encoding="ascii", newline="") as stream:
        rows = list(csv.reader(stream))
    return np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in rows[1:]]).T


def run() -> list[Figure]:
    if not DATA.exists():
        print("forecast: ../shared/data/carparts is not there")
        return []
    units, clock = parts(DATA), SystemClock()
    known, came = units[:, :-HELD_OUT], units[:, -HELD_OUT:]
    started_s = clock.monotonic_s()
    offered = candidates()
    choice = choose(known, HELD_OUT, offered)
    chosen = grade(came, forecast_chosen(known, HELD_OUT, offered, choice.weights), known)
    took_s = clock.monotonic_s() - started_s
    floor = grade(came, empirical.window(known, HELD_OUT), known)
    naive = grade(came, empirical.seasonal_naive(known, HELD_OUT), known)
    zero = grade(came, empirical.zero(known, HELD_OUT), known)
    used = ", ".join(
        f"{name} {share:.0f} %"
        for name, share in sorted(
            zip(choice.names, 100 * choice.weights.mean(axis=0), strict=True), key=lambda e: -e[1]
        )
        if share >= 1
    )
    note = f"{len(units)} parts, {known.shape[1]} months known, {HELD_OUT} held out, {took_s:.0f} s; {used}"
    return [
        Figure(name="forecast.carparts_wql", value=round(chosen.wql, 4), unit="WQL", target=0.8925, better="lower",
               note=f"{note}; {told(chosen)}"),
        Figure(name="forecast.carparts_wql.floor", value=round(floor.wql, 4), unit="WQL", target=None,
               better="lower", note=f"last 12 months of each part; {told(floor)}"),
        Figure(name="forecast.carparts_wql.seasonal_naive", value=round(naive.wql, 4), unit="WQL", target=None,
               better="lower", note=told(naive)),
        Figure(name="forecast.carparts_wql.zero", value=round(zero.wql, 4), unit="WQL", target=None,
               better="lower", note=told(zero)),
        Figure(name="forecast.carparts_skill_pct", value=round(100 * skill(chosen.wql, naive.wql), 1), unit="%",
               target=None, better="higher",
               note=f"of WQL against last year's month; {100 * skill(chosen.wql, floor.wql):.2f} % against the floor"),
    ]  # fmt: skip


def told(found: Grade) -> str:
    """Return what else a forecast scored."""
    return (
        f"pooled RMSE {found.rmse:.3f}, cumulative {found.cumulative:.3f}, bias {found.bias:+.3f}, stock cost "
        f"{found.stock_cost:.2f} at 9:1; MASE {found.mase:.3f}, WAPE {found.wape:.3f}"
    )
