"""What a cloned plant learns: its own observations and what it inherited, weighed by how much of a clone it is.

The inherited prior is right for a true clone and dangerous for a plant that is not one: its intervals then cover a
third of what they should. So the prior is doubted by the plant's own residuals. Each parameter is either alike, within
the variance between parents, or locally different, within a wider one; how wide, how many, and how much slower the
plant is as a whole are summed over, each in proportion to how well it explains what the plant observed.

Pure and deterministic. Invariants: the variance between plants is never taken to be less than that between parents;
with no observation at all, the belief is the prior. Measured: `make bench ARGS=clone`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ringroad.build.clone.inherit import NOISE_MIN, NOISE_N_MAX, Array, Inheritance
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import STATED, Origin, Posterior
from ringroad.kernel.errors import InvalidInput

WIDER: Final = (1.0, 1.6, 2.6)  # times the standard deviation between parents, that alike may be
DIFFERENT: Final = (
    0.01,
    0.03,
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    0.9,
)  # share of parameters that are locally different
APART: Final = (0.2, 0.35, 0.6, 1.0, 1.6)  # standard deviation of those; on the scale of logarithms
WIDER_PRIOR: Final = 4.0  # power by which a wider one is less likely: a clone is what was ordered
DIFFERENT_PRIOR: Final = 0.7  # power by which more of them are less likely
PLANT_STEPS: Final = 41  # values of the whole plant's effect, tried around the middle one
MASS_KEPT: Final = 0.995  # of all explanations; the rest weighs nothing in any interval
PROBABLE: Final = 0.9  # that a parameter is locally different, before anybody is told
VARIANCE_MIN: Final = 1e-4  # between plants; 1 % of a time
QUANTILE_STEPS: Final = 100  # at most
QUANTILE_WITHIN: Final = 1e-9  # of what a mixture spans
DENSITY_MIN: Final = 1e-12
SHARE_AROUND: Final = (
    1.0  # variance of the logit that a share is read with, so that a few trials do not set it
)
SHARE_MIN: Final = 1e-6  # of bad ones, or of good ones, that is ever likely

# Abramowitz and Stegun 7.1.26: the error function within 1.5e-7.
_ERF: Final = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_ERF_P: Final = 0.3275911


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What is believed of one parameter of a clone, on the scale of `Posterior.centre`.

    Attributes:
        key: which.
        centre: the expected value.
        variance: of the belief.
        low: 5 % quantile.
        high: 95 % quantile.
        inherited: what the parents and the rest of the plant alone make likely.
        different: probability that it is locally different from the parents.
        own_n: observations of its own.
    """

    key: Key
    centre: float
    variance: float
    low: float
    high: float
    inherited: float
    different: float
    own_n: float

    @property
    def is_different(self) -> bool:
        """Whether somebody should be told: this is not the station that was copied."""
        return self.different >= PROBABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """What a clone believes of parameters of one kind.

    Attributes:
        learned: one for each key of the inheritance.
        plant: expected effect of the whole plant, on the scale of `Posterior.centre`: 0.05 is 5 % slower than its parents.
        plant_low: its 5 % quantile.
        plant_high: its 95 % quantile.
        transfer_sd: expected standard deviation from the parents, of parameters that are alike.
        different_share: expected share of parameters that are locally different.
    """

    learned: tuple[Learned, ...]
    plant: float
    plant_low: float
    plant_high: float
    transfer_sd: float
    different_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Explanations:
    """Those that weigh something: each a width, a share, a distance and an effect of the plant."""

    weight: Array  # [explanation]
    plant: Array  # [explanation]
    alike: Array  # [explanation, key] variance around the parents' centre, of one that is alike
    apart: Array  # the same, of one that is locally different
    responsible: Array  # [explanation, key] probability that it is
    transfer: Array  # [explanation] variance between plants
    share: Array  # [explanation]


def learn(inheritance: Inheritance, own: Mapping[Key, Posterior]) -> Clone:
    """Return what a plant believes that inherited this and observed that.

    Args:
        inheritance: from its parents.
        own: what it observed itself, as sums; parameters without an observation are left out.

    Raises:
        InvalidInput: it observed a parameter that it did not inherit.
    """
    if unknown := sorted(own.keys() - set(inheritance.keys)):
        raise InvalidInput(f"{unknown[0]} was not inherited")
    observed = [own.get(key) for key in inheritance.keys]
    said = [
        _said(each, noise, before)
        for each, noise, before in zip(observed, inheritance.noise, inheritance.centre, strict=True)
    ]
    centre, error = (np.array(column, dtype=np.float64) for column in zip(*said, strict=True))
    found = _explain(inheritance, centre, error)
    gain = [_gain(variance, error) for variance in (found.alike, found.apart)]
    inherited = inheritance.centre + found.plant[:, None]
    means = np.concatenate([inherited + each * (centre - inherited) for each in gain])
    variances = np.concatenate(
        [v * (1 - each) for v, each in zip((found.alike, found.apart), gain, strict=True)]
    )
    weights = found.weight[:, None] * np.stack([1 - found.responsible, found.responsible])
    weights = weights.reshape(means.shape)
    mean = (weights * means).sum(axis=0)
    variance = (weights * (variances + (means - mean) ** 2)).sum(axis=0)
    low, high = (_quantile(means, variances, weights, share) for share in (0.05, 0.95))
    expected = found.weight @ inherited
    different = found.weight @ found.responsible
    plant_low, plant_high = _between(found.plant, found.weight)
    return Clone(
        learned=tuple(
            Learned(
                key=key, centre=float(mean[at]), variance=float(variance[at]), low=float(low[at]),
                high=float(high[at]), inherited=float(expected[at]), different=float(different[at]),
                own_n=each.n if each else 0.0,
            )
            for at, (key, each) in enumerate(zip(inheritance.keys, observed, strict=True))
        ),
        plant=float(found.weight @ found.plant), plant_low=plant_low, plant_high=plant_high,
        transfer_sd=float(np.sqrt(found.weight @ found.transfer)),
        different_share=float(found.weight @ found.share),
    )  # fmt: skip


def belief_of(
    learned: Learned, *, like: Posterior, noise: float, parents: tuple[str, ...], origin: Origin = STATED
) -> Posterior:
    """Return a learned parameter as a document keeps it: as many observations as it is worth.

    Args:
        learned: of the parameter.
        like: any belief of the same family.
        noise: variance of one observation, of a time.
        parents: the plants it was inherited from.
        origin: who learned it, and when.
    """
    evidence = f"{learned.own_n:g} of its own beside what {', '.join(parents)} observed"
    return belief_at(
        learned.centre, learned.variance, like=like, noise=noise, origin=replace(origin, evidence=evidence)
    )


def belief_at(centre: float, variance: float, *, like: Posterior, noise: float, origin: Origin) -> Posterior:
    """Return a belief of this centre and variance: as many observations as it is worth.

    Args:
        centre: on the scale of `Posterior.centre`.
        variance: of the belief, on the same scale.
        like: any belief of the same family.
        noise: variance of one observation, of a time.
        origin: whose it is.
    """
    variance, noise = max(variance, NOISE_MIN**2), max(noise, NOISE_MIN)
    match like.family:
        case "time":
            n = noise / variance
            squares = n * (noise + centre**2)
            return Posterior(family="time", n=n, total=n * centre, squares=squares, origin=origin)
        case "share":
            share = like.mean_at(centre)
            n = 1 / (variance * share * (1 - share))
            return Posterior(family="share", n=n, total=n * share, origin=origin)
        case "rate":
            n = 1 / variance
            return Posterior(family="rate", n=n, total=n * like.mean_at(centre), origin=origin)


def _said(own: Posterior | None, noise: float, before: float) -> tuple[float, float]:
    """Return what was observed, and its variance; of one that observed nothing, endless.

    The logit of a few successes says little of itself: two good vehicles of two are no 83 %. So a share is read around
    what is likely of it: one step of iteratively reweighted least squares, from the share that its prior and its own
    trials make likely together.

    Args:
        own: what was observed.
        noise: variance of one observation, of a time.
        before: what is likely without it.
    """
    if own is None:
        return 0.0, np.inf
    match own.family:
        case "time":
            pooled = (NOISE_N_MAX * noise + own.n * own.log_variance) / (NOISE_N_MAX + own.n)
            return own.centre, pooled / own.n
        case "share":
            likely = min(max(1 / (1 + float(np.exp(-before))), SHARE_MIN), 1 - SHARE_MIN)
            worth = 1 / (SHARE_AROUND * likely * (1 - likely))
            share = (own.total + worth * likely) / (own.n + worth)
            slope = share * (1 - share)
            return float(np.log(share / (1 - share)) + (own.mean - share) / slope), 1 / (own.n * slope)
        case "rate":
            return own.centre, own.error_variance


def _between(values: Array, weights: Array) -> tuple[float, float]:
    """Return the 5 % and the 95 % quantile of values that weigh something."""
    tried, of = np.unique(values, return_inverse=True)
    weight = np.bincount(of, weights=weights)
    low, high = np.interp((0.05, 0.95), np.cumsum(weight) - weight / 2, tried)
    return float(low), float(high)


def _gain(variance: Array, error: Array) -> Array:
    """Return how much of what was observed is believed."""
    believed: Array = np.where(
        np.isinf(error), 0.0, variance / (variance + np.where(np.isinf(error), 1.0, error))
    )
    return believed


def _explain(inheritance: Inheritance, centre: Array, error: Array) -> _Explanations:
    between = max(inheritance.transfer_variance, VARIANCE_MIN)
    grid = np.array([
        (wider, share, apart)
        for wider in WIDER for share in DIFFERENT for apart in APART
        if apart > 2 * wider * np.sqrt(between)
    ] or [(wider, DIFFERENT[0], APART[-1]) for wider in WIDER])  # fmt: skip
    wider, share, apart = grid.T
    transfer = between * wider**2
    alike = inheritance.doubt + transfer[:, None]
    different = alike + apart[:, None] ** 2
    plants = _plant_effects(inheritance, centre, error, between)
    residual = (centre - inheritance.centre) - plants[:, None]
    seen = np.isfinite(error)
    parts = [
        np.log(of)[:, None, None] + np.where(seen, _log_density(residual, variance, error), 0.0)
        for of, variance in ((1 - share, alike), (share, different))
    ]
    both = np.logaddexp(*parts)
    score = both.sum(axis=-1) - plants**2 / (2 * inheritance.plant_variance)
    score -= (WIDER_PRIOR * np.log(wider) + DIFFERENT_PRIOR * np.log(share))[:, None]
    weight = np.exp(score - score.max())
    which, effect = _kept(weight / weight.sum())
    kept = weight[which, effect]
    return _Explanations(
        weight=kept / kept.sum(), plant=plants[effect], alike=alike[which], apart=different[which],
        responsible=np.exp(parts[1] - both)[which, effect], transfer=transfer[which], share=share[which],
    )  # fmt: skip


def _plant_effects(inheritance: Inheritance, centre: Array, error: Array, between: float) -> Array:
    """Return effects of the whole plant to try: around the middle residual, or around none."""
    seen = np.isfinite(error)
    own = np.sqrt(inheritance.plant_variance)
    if not seen.any():
        return np.asarray(4 * own * np.linspace(-1, 1, PLANT_STEPS))
    residual = (centre - inheritance.centre)[seen]
    total = (error + inheritance.doubt + between)[seen]
    spread = max(np.sqrt(1 / (1 / total).sum()), 1.25 * residual.std() / np.sqrt(len(residual)))
    middle = np.median(residual) * inheritance.plant_variance / (inheritance.plant_variance + spread**2)
    spread = 1 / np.sqrt(1 / spread**2 + 1 / inheritance.plant_variance)
    return np.asarray(middle + 4 * spread * np.linspace(-1, 1, PLANT_STEPS))


def _log_density(residual: Array, variance: Array, error: Array) -> Array:
    """Return [explanation, plant effect, key], but for a constant."""
    total = variance + np.where(np.isinf(error), 1.0, error)
    return np.asarray(-0.5 * (np.log(total)[:, None, :] + residual[None] ** 2 / total[:, None, :]))


def _kept(weight: Array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    order = np.argsort(weight, axis=None)[::-1]
    mass = np.cumsum(weight.ravel()[order])
    few = order[: int(np.searchsorted(mass, MASS_KEPT)) + 1]
    which, effect = np.unravel_index(few, weight.shape)
    return which, effect


def _quantile(means: Array, variances: Array, weights: Array, share: float) -> Array:
    """Return a quantile of each mixture: by Newton's steps, by halving where one leads away."""
    deviation = np.sqrt(np.maximum(variances, NOISE_MIN**2))
    low, high = (means - 8 * deviation).min(axis=0), (means + 8 * deviation).max(axis=0)
    close = (high - low) * QUANTILE_WITHIN
    at = (weights * means).sum(axis=0)
    off = np.full_like(at, np.inf)
    todo = np.arange(len(at))
    for _ in range(QUANTILE_STEPS):
        below, density = _mixture(at[todo], means[:, todo], deviation[:, todo], weights[:, todo])
        low[todo] = np.where(below < share, at[todo], low[todo])
        high[todo] = np.where(below < share, high[todo], at[todo])
        newton = at[todo] + (share - below) / np.maximum(density, DENSITY_MIN)
        away = np.abs(below - share)
        leads = (low[todo] < newton) & (newton < high[todo]) & (away < off[todo] / 2)
        moved = np.where(leads, newton, (low[todo] + high[todo]) / 2)
        wide = np.abs(moved - at[todo]) >= close[todo]
        off[todo], at[todo] = away, moved
        todo = todo[wide]
        if not todo.size:
            break
    return np.asarray(at)


def _mixture(at: Array, means: Array, deviation: Array, weights: Array) -> tuple[Array, Array]:
    """Return what of each mixture of normals lies below, and its density there."""
    z = (at - means) / deviation
    x = np.abs(z) * np.sqrt(0.5)
    bell = weights * np.exp(-x * x)
    t = 1 / (1 + _ERF_P * x)
    series = np.full_like(t, _ERF[-1])
    for each in reversed(_ERF[:-1]):
        series *= t
        series += each
    tail = 0.5 * bell * t * series
    below = np.where(z < 0, tail, weights - tail).sum(axis=0)
    return below, (bell / deviation).sum(axis=0) / np.sqrt(2 * np.pi)
