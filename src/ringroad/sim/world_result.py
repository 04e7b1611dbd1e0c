"""What the example world shows: each plant's ramp with and without cloning, over many worlds, with intervals.

Differences are taken within a world, where all ways of beginning have the same truth and the same luck.
Pure and deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ringroad.build.clone.sums import CloneSums
from ringroad.build.plant.model import Plant
from ringroad.sim.world import WAYS, Day, Ramp, Site, Way, draw_truth, known_day, ramp_up, reached, sums_after

ERROR_DONE: Final = 0.05  # of a time: ramp-up of what is known is over
RATE_DONE: Final = 0.05  # slower than a plant that knows all: ramp-up of the line is over
FIRST_DAYS: Final = 10  # that unit cost and yield of the beginning are of
LOW, HIGH = 0.05, 0.95
_LUCK: Final = 1_000  # seeds of one plant


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A figure over all worlds: its mean, and between what nine of ten are."""

    mean: float
    low: float
    high: float

    def to_document(self) -> dict[str, float]:
        """Return its JSON form."""
        return {name: round(getattr(self, name), 6) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class WayResult:
    """How a plant did that began one way.

    Attributes:
        days_to_known: until times are known within 5 %.
        cycles_to_known: of each station, until then.
        vehicles_to_rate: until the line is within 5 % of what it does when all is known.
        unit_cost: euro per vehicle, over the first ten days.
        first_pass: share of vehicles that leave the line right, over the same days.
        days: error, seconds per vehicle, euro per vehicle and first pass of each day, in the mean.
    """

    days_to_known: Spread
    cycles_to_known: Spread
    vehicles_to_rate: Spread
    unit_cost: Spread
    first_pass: Spread
    days: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantResult:
    """A plant of the world.

    Attributes:
        site: who it is.
        ways: by how it began.
        saved: what cloning saved against a work study alone, within each world; more is better.
        helps: whether nine of ten worlds cost less with cloning.
    """

    site: Site
    ways: Mapping[Way, WayResult]
    saved: Mapping[str, Spread]
    helps: bool


def run_world(mother: Plant, sites: Sequence[Site], ramp: Ramp, *, seeds: int) -> list[PlantResult]:
    """Ramp every plant up in each way, in as many worlds as there are seeds."""
    return [_plant(mother, site, ramp, number, seeds=seeds) for number, site in enumerate(sites)]


def luck_of(number: int, seed: int) -> int:
    """Return the seed of one plant in one world."""
    return _LUCK * number + seed


def sums_of_world(mother: Plant, sites: Sequence[Site], ramp: Ramp) -> list[CloneSums]:
    """Return what each plant of the first world says to its mother after its ramp."""
    found = []
    for number, site in enumerate(sites):
        luck = luck_of(number, 0)
        truth = draw_truth(mother, site, np.random.default_rng([luck, 0]))
        found.append(sums_after(mother, site, ramp, truth, seed=luck))
    return found


def to_document(found: PlantResult) -> dict[str, Any]:
    """Return a plant's result as JSON types."""
    return {
        "id": found.site.id, "name": found.site.name, "site": found.site.site, "continent": found.site.continent,
        "kind": found.site.kind, "helps": found.helps,
        "saved": {name: each.to_document() for name, each in found.saved.items()},
        "ways": {
            way: {
                name: {kind: list(values) for kind, values in each.days.items()}
                if name == "days"
                else getattr(each, name).to_document()
                for name in WayResult.__slots__
            }
            for way, each in found.ways.items()
        },
    }  # fmt: skip


def _plant(mother: Plant, site: Site, ramp: Ramp, number: int, *, seeds: int) -> PlantResult:
    runs: dict[Way, list[list[Day]]] = {way: [] for way in WAYS}
    known: list[Day] = []
    for seed in range(seeds):
        luck = luck_of(number, seed)
        truth = draw_truth(mother, site, np.random.default_rng([luck, 0]))
        known.append(known_day(site, ramp, truth))
        for way in WAYS:
            runs[way].append(ramp_up(mother, site, ramp, truth, way=way, seed=luck))
    figures = {
        way: {
            name: np.array([of(days, best, site) for days, best in zip(each, known, strict=True)])
            for name, of in _FIGURES.items()
        }
        for way, each in runs.items()
    }
    saved = {
        name: (1 if name == "first_pass" else -1) * (figures["cloned"][name] - figures["alone"][name])
        for name in _FIGURES
    }
    return PlantResult(
        site=site,
        ways={
            way: WayResult(
                **{name: spread_of(values) for name, values in each.items()}, days=_days(runs[way])
            )
            for way, each in figures.items()
        },
        saved={name: spread_of(values) for name, values in saved.items()},
        helps=bool(np.quantile(saved["unit_cost"], 0.1) > 0),
    )


def _to_known(days: Sequence[Day], _best: Day, _site: Site) -> float:
    return reached(days, [each.error <= ERROR_DONE for each in days])[0]


def _cycles(days: Sequence[Day], _best: Day, _site: Site) -> float:
    return reached(days, [each.error <= ERROR_DONE for each in days])[1]


def _to_rate(days: Sequence[Day], best: Day, _site: Site) -> float:
    return reached(days, [each.takt_s <= (1 + RATE_DONE) * best.takt_s for each in days])[1]


def _unit_cost(days: Sequence[Day], _best: Day, site: Site) -> float:
    first = days[:FIRST_DAYS]
    total = sum(each.vehicles * each.conversion for each in first)
    return site.costs.parts + total / sum(each.vehicles for each in first)


def _first_pass(days: Sequence[Day], _best: Day, _site: Site) -> float:
    first = days[:FIRST_DAYS]
    return sum(each.vehicles * each.first_pass for each in first) / sum(each.vehicles for each in first)


_FIGURES: Final[Mapping[str, Callable[[Sequence[Day], Day, Site], float]]] = {
    "days_to_known": _to_known, "cycles_to_known": _cycles, "vehicles_to_rate": _to_rate, "unit_cost": _unit_cost,
    "first_pass": _first_pass,
}  # fmt: skip


def _days(runs: Sequence[Sequence[Day]]) -> dict[str, tuple[float, ...]]:
    return {
        name: tuple(
            round(float(np.mean([getattr(days[at], name) for days in runs])), 6) for at in range(len(runs[0]))
        )
        for name in ("error", "takt_s", "conversion", "first_pass")
    }


def spread_of(values: Any) -> Spread:
    """Return the mean of some figures, and between what nine of ten are."""
    low, high = np.quantile(values, (LOW, HIGH)).tolist()
    return Spread(mean=float(np.mean(values)), low=low, high=high)
