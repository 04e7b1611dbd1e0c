"""What parent plants say of a plant cloned from them: a prior for each parameter, and how far it can be trusted.

Parameters of one kind are taken together, for example the cycle times of all stations. On the scale of
`Posterior.centre` (logarithm of times and rates, logit of shares), parameter s of plant p is

    theta[p, s] = mu[s] + a[p] + delta[p, s],   a ~ N(0, plant²),   delta ~ N(0, transfer²)

so that a plant may be slower as a whole, and each station differs a little. Plants are told apart by sums alone
(`posterior.py`): what is observed in a plant stays there.

Pure. Source of the model and of its test worlds: docs/adr/0109-clones-inherit-and-doubt.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Posterior
from ringroad.kernel.errors import InvalidInput

Array = npt.NDArray[np.float64]

TRANSFER_SD: Final = 0.1  # of a parameter between plants, where too few parents tell; 10 % of a time
PLANT_SD: Final = 0.1  # of a whole plant, at least: four parents tell little of how plants differ
PRIOR_FREEDOM: Final = 5.0  # degrees of freedom that TRANSFER_SD counts as
VARIANCE_MAX: Final = 4.0  # of log times between plants; e² apart is not the same station
NOISE_MIN: Final = 1e-6  # variance of one observation; a station that never varies was not measured
NOISE_N_MAX: Final = (
    20.0  # observations that the parents' spread counts as, so that a clone's own soon outweighs it
)
ROUNDS: Final = 8  # of fitting plants and parameters in turn; it settles in three
HALVINGS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """A prior for parameters of one kind.

    Attributes:
        keys: the parameters, in order.
        parents: names of the plants it comes from.
        centre: [key] what the parents have in common.
        doubt: [key] its variance.
        noise: [key] variance of one observation, of times; of shares and rates 0, theirs follow from their counts.
        transfer_variance: of a parameter between plants, beyond `doubt`.
        plant_variance: of a whole plant.
    """

    keys: tuple[Key, ...]
    parents: tuple[str, ...]
    centre: Array
    doubt: Array
    noise: Array
    transfer_variance: float
    plant_variance: float


def inherit(parents: Mapping[str, Mapping[Key, Posterior]], keys: Sequence[Key]) -> Inheritance:
    """Return what the parents' beliefs of these parameters make likely for a plant cloned from them.

    Args:
        parents: beliefs by plant; each may lack some, and one that lacks all says nothing.
        keys: parameters of one kind.

    Raises:
        InvalidInput: no parent has one of them, or they are not of one family.
    """
    parents = {name: of for name, of in parents.items() if any(key in of for key in keys)}
    beliefs = [[of.get(key) for key in keys] for of in parents.values()]
    for at, key in enumerate(keys):
        if not any(row[at] for row in beliefs):
            raise InvalidInput(f"no parent has {key}", hint="a clone inherits what a parent believes")
    if len({each.family for row in beliefs for each in row if each}) != 1:
        raise InvalidInput("parameters of several families are inherited apart")
    centre = np.array([[each.centre if each else 0.0 for each in row] for row in beliefs])
    variance = np.array([[each.error_variance if each else np.inf for each in row] for row in beliefs])
    transfer = _transfer_variance(centre, variance)
    weight, plant, common = _fit(centre, variance, transfer)
    spread = float(plant @ plant) / max(1, len(plant) - 1)
    return Inheritance(
        keys=tuple(keys), parents=tuple(parents), centre=common, doubt=1 / weight.sum(axis=0),
        noise=np.array([_noise(column) for column in zip(*beliefs, strict=True)]),
        transfer_variance=transfer, plant_variance=max(spread, PLANT_SD**2),
    )  # fmt: skip


def _transfer_variance(centre: Array, variance: Array) -> float:
    """Return the variance between plants that explains what is left over; after Paule and Mandel 1982."""
    freedom = int(np.isfinite(variance).sum()) - sum(centre.shape) + 1
    if freedom <= 0:
        return TRANSFER_SD**2
    low, high = 0.0, VARIANCE_MAX
    if _left_over(centre, variance, low) > freedom:
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if _left_over(centre, variance, middle) > freedom else (low, middle)
    found = freedom * low + PRIOR_FREEDOM * TRANSFER_SD**2
    return found / (freedom + PRIOR_FREEDOM)


def _left_over(centre: Array, variance: Array, transfer: float) -> float:
    weight, plant, common = _fit(centre, variance, transfer)
    return float((weight * (centre - plant[:, None] - common) ** 2).sum())


def _fit(centre: Array, variance: Array, transfer: float) -> tuple[Array, Array, Array]:
    """Return weights [plant, key], effects of plants, whose mean is 0, and what each parameter has in common."""
    weight = 1 / (transfer + variance + NOISE_MIN)
    plant = np.zeros(len(centre))
    common = (weight * centre).sum(axis=0) / weight.sum(axis=0)
    for _ in range(ROUNDS):
        plant = (weight * (centre - common)).sum(axis=1) / weight.sum(axis=1)
        plant -= plant.mean()
        common = (weight * (centre - plant[:, None])).sum(axis=0) / weight.sum(axis=0)
    return weight, plant, common


def _noise(column: Sequence[Posterior | None]) -> float:
    times = [each for each in column if each is not None and each.family == "time"]
    if not times:
        return 0.0
    n = sum(each.n for each in times)
    return max(sum(each.n * each.log_variance for each in times) / n, NOISE_MIN)
