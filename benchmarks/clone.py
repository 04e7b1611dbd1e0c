"""How well does a cloned plant know its stations, and does it know when it is no clone? Four worlds with known truth.

Four mature plants of 60 stations and a fifth one: a true clone, one with 10 % or 30 % of its stations re-tooled, and
one that is no clone at all. Each estimate after n cycles per station is held against the truth, beside the mean of
the plant's own cycles and a copy of the parents. Worlds are drawn from seeds. The example world then shows what that
is worth: four clones on three continents, ramped up with and without what their mother knows.

Run: python -m benchmarks clone
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure
from ringroad.build.clone.inherit import inherit
from ringroad.build.clone.learn import learn
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, Posterior
from ringroad.build.plant.read import read_plant
from ringroad.cli.plant_world import read_world
from ringroad.sim.world import Ramp
from ringroad.sim.world_result import run_world

WORLDS: Final = ("a true clone", "10 % re-tooled", "30 % re-tooled", "no clone")
CYCLES: Final = (1, 2, 3, 5, 10, 30, 100, 1000)
SEEDS: Final = 20
RAMP_SEEDS: Final = 5
SEED_FIRST: Final = 1_000  # the priors were chosen on worlds before it
STATIONS, PARENTS, MATURE_N = 60, 4, 1000
STATION_SD, PLANT_SD, TRANSFER_SD, NOISE_SD = 0.4, 0.1, 0.09, 0.25  # of log seconds
RETOOLED_SD, OTHER_SD = 0.8, 0.4
TELL_N, TELL_SHARE = 3, 0.05  # cycles at which worlds are told; error that ramp-up is over at

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One world after n cycles."""

    world: str
    n: int
    own: float  # root mean square errors of log seconds
    copied: float
    learned: float
    covered: float

    @property
    def excess(self) -> float:
        """Error beyond that of the plant's own mean, in percent."""
        return 100 * (self.learned / self.own - 1)


def run() -> list[Figure]:
    cells = [measure(world, n) for world in WORLDS for n in CYCLES]
    for cell in cells:
        print(
            f"{cell.world:<16} n {cell.n:>4}  own {cell.own:.4f}  copied {cell.copied:.4f}  learned {cell.learned:.4f}"
            f"  covered {cell.covered:.3f}"
        )
    worst = max(cells, key=lambda cell: cell.excess)
    least, most = (choose(cells, key=lambda cell: cell.covered) for choose in (min, max))
    few = {cell.world: cell for cell in cells if cell.n == TELL_N}
    told = "; ".join(
        f"{cell.world} {cell.own:.3f} / {cell.copied:.3f} / {cell.learned:.3f}" for cell in few.values()
    )
    return [
        *ramp_figures(),
        Figure(
            name="clone.worst_excess_error", value=round(worst.excess, 2), unit="%", target=5, better="lower",
            note=f"beyond own data alone; {worst.world} after {worst.n} cycles; after {TELL_N} cycles own / copied /"
            f" learned: {told}",
        ),
        Figure(
            name="clone.coverage_min", value=round(least.covered, 3), unit="", target=0.87, better="higher",
            note=f"of 90 % intervals; {least.world} after {least.n} cycles; {SEEDS * STATIONS} intervals each",
        ),
        Figure(
            name="clone.coverage_max", value=round(most.covered, 3), unit="", target=0.93, better="lower",
            note=f"{most.world} after {most.n} cycles",
        ),
        Figure(
            name="clone.first_cycle_worth", value=round((few[WORLDS[0]].own / few[WORLDS[0]].learned) ** 2 * TELL_N, 1),
            unit="cycles", target=None, better="higher",
            note=f"of a station's own, that {TELL_N} cycles of a true clone are worth",
        ),
    ]  # fmt: skip


def ramp_figures() -> list[Figure]:
    """Return what cloning saves the clones of the example world, against a work study alone."""
    folder = Path(__file__).parents[1] / "examples" / "world"
    world = read_world((folder / "world.toml").read_text(encoding="utf-8"), name="world.toml")
    mother = read_plant((folder / world.mother).read_text(encoding="utf-8"))
    ramp = Ramp(takt_s=world.takt_s, pilot=world.pilot, days=world.days)
    results = run_world(mother, world.plants, ramp, seeds=RAMP_SEEDS)
    clones = [each for each in results if each.site.kind == "clone"]
    (bought,) = (each for each in results if each.site.kind == "bought")
    figures = []
    for name, unit, saved, scale in (
        ("clone.ramp_cycles_saved", "cycles", "cycles_to_known", 1), ("clone.ramp_vehicles_saved", "vehicles", "vehicles_to_rate", 1),
        ("clone.unit_cost_saved", "EUR", "unit_cost", 1), ("clone.first_pass_gained", "%", "first_pass", 100),
    ):  # fmt: skip
        each = ", ".join(f"{of.site.id} {scale * of.saved[saved].mean:.1f}" for of in results)
        spread = f"{scale * min(of.saved[saved].low for of in clones):.1f} to {scale * max(of.saved[saved].high for of in clones):.1f}"
        figures.append(
            Figure(
                name=name, value=round(scale * sum(of.saved[saved].mean for of in clones) / len(clones), 1), unit=unit,
                target=None, better="higher",
                note=f"mean of four clones, {RAMP_SEEDS} worlds, nine of ten between {spread}; {each};"
                f" {bought.site.id} is no clone",
            )
        )  # fmt: skip
    return figures


def measure(world: str, n: int) -> Cell:
    """Return the errors and the coverage of one cell."""
    errors: list[Array] = []
    covered = 0
    for seed in range(SEED_FIRST, SEED_FIRST + SEEDS):
        draw = np.random.default_rng([seed, WORLDS.index(world), n])
        parents, truth = draw_world(draw, world)
        cycles = truth[:, None] + draw.normal(0, NOISE_SD, (STATIONS, n))
        keys = [Key(("assembly", "Line 1", f"station {at}"), "cycle_s") for at in range(STATIONS)]
        of_parents = {
            f"plant {at}": dict(
                zip(
                    keys, (of_cycles(row + draw.normal(0, NOISE_SD, MATURE_N)) for row in parent), strict=True
                )
            )
            for at, parent in enumerate(parents)
        }
        own = dict(zip(keys, (of_cycles(each) for each in cycles), strict=True))
        found = learn(inherit(of_parents, keys), own).learned
        copied = np.array([np.mean([of[key].log_mean for of in of_parents.values()]) for key in keys])
        learned = np.array([each.centre for each in found])
        errors.append(np.stack([cycles.mean(axis=1) - truth, copied - truth, learned - truth]))
        covered += sum(each.low <= real <= each.high for each, real in zip(found, truth, strict=True))
    own_error, copied_error, learned_error = np.sqrt((np.concatenate(errors, axis=1) ** 2).mean(axis=1))
    return Cell(
        world=world, n=n, own=float(own_error), copied=float(copied_error), learned=float(learned_error),
        covered=covered / (SEEDS * STATIONS),
    )  # fmt: skip


def draw_world(draw: np.random.Generator, world: str) -> tuple[Array, Array]:
    """Return log seconds of the parents [plant, station] and of the new plant."""
    stations = draw.normal(np.log(60), STATION_SD, STATIONS)
    plants = draw.normal(0, PLANT_SD, PARENTS + 1)
    every = stations + plants[:, None] + draw.normal(0, TRANSFER_SD, (PARENTS + 1, STATIONS))
    truth = every[-1]
    retooled = {WORLDS[1]: STATIONS // 10, WORLDS[2]: 3 * STATIONS // 10}.get(world, 0)
    truth[draw.choice(STATIONS, retooled, replace=False)] += draw.normal(0, RETOOLED_SD, retooled)
    if world == WORLDS[3]:
        truth = draw.normal(np.log(60), STATION_SD, STATIONS) + draw.normal(0, OTHER_SD, STATIONS)
    return every[:-1], truth


def of_cycles(logs: Array) -> Posterior:
    """Return the sums of some cycles."""
    return Posterior(
        family="time", n=len(logs), total=float(logs.sum()), squares=float((logs**2).sum()), origin=Origin()
    )
