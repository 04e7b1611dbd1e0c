"""What flows back in the example world: what clones find is proved on the mother's twin, tried there, and spread.

Each step is the product's own (`build/clone`); only what is true is drawn here. What a station gains elsewhere is what it
gained at the clone, but for how much stations differ between plants anyway.

Invariants: a seed gives the same answer; what the twin did not prove, or the trial did not keep, changes no plant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from ringroad.build.clone.improvements import Improvement, decide_improvements
from ringroad.build.clone.prove import prove_improvement
from ringroad.build.clone.trial import LOOKS, Measured, Outcome, decide_trial
from ringroad.build.plant.model import Plant
from ringroad.build.plant.posterior import Origin, observed_times
from ringroad.sim.world import (
    SPREAD_SD,
    STATION_SD,
    Array,
    Ramp,
    Site,
    Truth,
    draw_truth,
    known_day,
    stations_of,
    sums_after,
)
from ringroad.sim.world_result import Spread, luck_of, spread_of

_BEFORE: Final = 400  # cycles that the mother measured before a trial


@dataclass(slots=True, kw_only=True)
class Flow:
    """What became of one proposal, in how many worlds.

    Attributes:
        clone: that found it.
        stations: it is about.
        proposed: worlds.
        proved: on the mother's twin.
        kept: after its trial at the mother.
        reason: of the twin, in the last of these worlds.
    """

    clone: str
    stations: tuple[str, ...]
    proposed: int = 0
    proved: int = 0
    kept: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowBack:
    """What flowed back over all worlds.

    Attributes:
        seeds: worlds.
        flows: proposals, by clone.
        saved: euro per vehicle, by plant: of the mother with what she kept, and of each plant that took it over.
    """

    seeds: int
    flows: tuple[Flow, ...]
    saved: Mapping[str, Spread]

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "seeds": self.seeds,
            "flows": [
                {name: getattr(each, name) for name in Flow.__slots__} | {"stations": list(each.stations)}
                for each in self.flows
            ],
            "saved": {name: each.to_document() for name, each in self.saved.items()},
        }


@dataclass(slots=True, kw_only=True)
class _World:
    """One world: what is true of each plant, and changes as what was kept is taken over."""

    sites: Sequence[Site]  # the mother first
    truths: dict[str, Truth]
    draw: np.random.Generator
    saved: dict[str, float] = field(default_factory=dict)


def flow_back(
    mother: Plant, home: Site, sites: Sequence[Site], ramp: Ramp, *, seeds: int, threads: int
) -> FlowBack:
    """Let what clones find after their ramps flow back, in as many worlds as there are seeds.

    Args:
        mother: what she believes, which is true of her here.
        home: her hours and costs.
        sites: the plants made after her.
        ramp: how they begin.
        seeds: worlds.
        threads: of the twin.
    """
    flows: dict[tuple[str, tuple[str, ...]], Flow] = {}
    saved: dict[str, list[float]] = {each.id: [] for each in (home, *sites)}
    for seed in range(seeds):
        world = _world(mother, home, sites, seed)
        before = {site.id: known_day(site, ramp, world.truths[site.id]).conversion for site in world.sites}
        for site, found in list(_found(mother, sites, ramp, world, seed)):  # before any of it is taken over
            names = tuple(each.key.path[-1] for each in found.shifts)
            flow = flows.setdefault((site.id, names), Flow(clone=site.id, stations=names))
            flow.proposed += 1
            proof = prove_improvement(mother, found, seed=seed, threads=threads)
            flow.reason = proof.reason
            flow.proved += proof.proved
            if proof.proved and _tried(mother, site, found, world) == "kept":
                flow.kept += 1
                _spread(mother, site, names, world)
        for site in world.sites:
            after = known_day(site, ramp, world.truths[site.id]).conversion
            saved[site.id].append(before[site.id] - after)
    return FlowBack(
        seeds=seeds,
        flows=tuple(flows.values()),
        saved={name: spread_of(each) for name, each in saved.items()},
    )


def _world(mother: Plant, home: Site, sites: Sequence[Site], seed: int) -> _World:
    times, passes = stations_of(mother)
    hers = Truth(
        seconds=np.array([mother.parameters[key].centre for key in times]),
        first_pass=np.array([mother.parameters[key].mean for key in passes]),
    )
    truths = {
        site.id: draw_truth(mother, site, np.random.default_rng([luck_of(number, seed), 0]))
        for number, site in enumerate(sites)
    }
    return _World(
        sites=(home, *sites), truths={home.id: hers} | truths, draw=np.random.default_rng([seed, 3])
    )


def _found(
    mother: Plant, sites: Sequence[Site], ramp: Ramp, world: _World, seed: int
) -> Iterator[tuple[Site, Improvement]]:
    """Yield what each plant proposes after its ramp."""
    for number, site in enumerate(sites):
        sums = sums_after(mother, site, ramp, world.truths[site.id], seed=luck_of(number, seed))
        for each in decide_improvements([mother], sums)[mother.id]:
            yield site, each


def _tried(mother: Plant, site: Site, found: Improvement, world: _World) -> Outcome:
    """Return what the mother's trial says; she is left with what is true of her with it, if she keeps it."""
    before = world.truths[mother.id]
    after = replace(
        before, seconds=_with(mother, site, [each.key.path[-1] for each in found.shifts], before, world)
    )
    at = {key: number for number, key in enumerate(stations_of(mother)[0])}
    was, since = (
        truth.seconds + SPREAD_SD * world.draw.standard_normal((cycles, len(at)))
        for truth, cycles in ((before, _BEFORE), (after, LOOKS[-1]))
    )
    outcome: Outcome = "running"
    for looked, due in zip((0, *LOOKS), LOOKS, strict=False):
        measured = [
            Measured(
                name=str(each.key), kind=each.key.kind, before=_observed(was[:, at[each.key]]),
                after=_observed(since[:due, at[each.key]]),
            )
            for each in found.shifts
        ]  # fmt: skip
        outcome = decide_trial(measured, looked_n=looked).outcome
        if outcome != "running":
            break
    if outcome == "kept":
        world.truths[mother.id] = after
    return outcome


def _spread(mother: Plant, source: Site, names: Sequence[str], world: _World) -> None:
    """Let every other plant take over what the mother kept."""
    for site in world.sites:
        if site.id not in (mother.id, source.id):
            before = world.truths[site.id]
            world.truths[site.id] = replace(before, seconds=_with(mother, source, names, before, world))


def _with(mother: Plant, source: Site, names: Sequence[str], before: Truth, world: _World) -> Array:
    """Return a plant's times with some stations rebuilt as at another plant."""
    seconds = before.seconds.copy()
    for number, key in enumerate(stations_of(mother)[0]):
        if key.path[-1] in names:
            gain = np.log(source.rebuilt.get(key.path[-1], 1.0))
            seconds[number] += gain + STATION_SD * world.draw.standard_normal()
    return seconds


def _observed(logs: Array) -> Any:
    return observed_times(np.exp(logs).tolist(), origin=Origin())
