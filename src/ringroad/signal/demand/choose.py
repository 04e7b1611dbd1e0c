"""Which candidates are right for a series? Those that would have been, at several moments of the past.

1. At each origin the candidates see the months before it and are scored on those after it, by quantile loss.
2. A series' own losses are few and noisy where demand is rare, so a candidate's loss over all series counts beside
   them. How much is validated too: by what is chosen from the months before the newest origin, on those after it.
3. Each candidate gets a weight that falls with its loss; what has less than `WEIGHT_MIN` is left out. One that is
   better by some percent has nearly all of it.

Pure. Invariant: nothing after the last known month is looked at; the same months give the same choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ringroad.signal.demand.candidates import FLOOR, Forecast
from ringroad.signal.demand.panel import ATOMS, DECILES, Floats, quantiles
from ringroad.signal.demand.score import month_losses

ORIGINS_MAX: Final = 4
ORIGIN_STEP: Final = 3  # months between two origins
TRAIN_MONTHS_MIN: Final = 12  # before an origin
POOLED_WEIGHTS: Final = (1.0, 4.0, 16.0)  # of the losses of all series, against a series' own
SHARPNESS: Final = 160.0  # a candidate that is worse by 1/160 of the loss weighs 1/e of the best
WEIGHT_MIN: Final = 0.05
LOSS_MIN: Final = 1e-9  # units; a floor that loses less is perfect, and nothing is compared with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What validation chose.

    Attributes:
        names: of the candidates.
        losses: of each series by candidate, over all origins, shape (series, candidates).
        weights: of each series by candidate, shape (series, candidates); they sum to 1.
        origins: months known at each origin.
        pooled: how much the losses of all series counted.
    """

    names: tuple[str, ...]
    losses: Floats
    weights: Floats
    origins: tuple[int, ...]
    pooled: float

    def told(self, series: int) -> str:
        """Return what was chosen for a series, best first, for people."""
        order = np.argsort(-self.weights[series], kind="stable")
        shares = [(self.names[each], float(self.weights[series, each])) for each in order]
        return ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares if share > 0)


def origins_of(months: int, horizon: int) -> tuple[int, ...]:
    """Return the origins of validation, newest first: each leaves as many months as are forecast, or a third."""
    newest = months - max(1, min(horizon, months // 3))
    found = [newest - ORIGIN_STEP * step for step in range(ORIGINS_MAX)]
    return tuple(origin for origin in found if origin >= TRAIN_MONTHS_MIN)


def choose(units: Floats, horizon: int, offered: Mapping[str, Forecast]) -> Choice:
    """Weigh the candidates for each series by rolling validation.

    Returns:
        The choice; the floor alone if there are too few months to validate on.
    """
    names = tuple(offered)
    origins = origins_of(units.shape[1], horizon)
    whole, older = np.zeros((len(units), len(names))), np.zeros((len(units), len(names)))
    newest: list[Floats] = []
    for place, origin in enumerate(origins):
        came = units[:, origin : origin + horizon]
        for column, forecast in enumerate(offered.values()):
            deciles = quantiles(forecast(units[:, :origin], came.shape[1]), DECILES)
            by_month = month_losses(came, deciles)
            whole[:, column] += by_month.sum(axis=1)
            if place == 0:
                newest.append(deciles)
            else:
                older[:, column] += by_month[:, : origins[0] - origin].sum(axis=1)
    pooled = (
        _pooled(names, older, np.stack(newest), units[:, origins[0] :][:, :horizon])
        if origins
        else POOLED_WEIGHTS[-1]
    )
    weights = weigh(names, whole, pooled)
    return Choice(names=names, losses=whole, weights=weights, origins=origins, pooled=pooled)


def _pooled(names: tuple[str, ...], older: Floats, newest: Floats, came: Floats) -> float:
    """Return which weight of all series chooses best from the older months, on the newest ones."""
    if not older.any():
        return POOLED_WEIGHTS[-1]
    scores = []
    for weight in POOLED_WEIGHTS:
        blended = np.einsum("sc,cshd->shd", weigh(names, older, weight), newest)
        scores.append(float(month_losses(came, blended).sum()))
    return POOLED_WEIGHTS[int(np.argmin(scores))]


def weigh(names: tuple[str, ...], found: Floats, pooled: float) -> Floats:
    """Return the weight of each candidate for each series, from its losses and those of all series together.

    Args:
        names: of the candidates.
        found: losses, shape (series, candidates).
        pooled: how much the losses of all series count, against 1 for the series' own.
    """
    floor = names.index(FLOOR)
    together = found.sum(axis=0)
    if together[floor] <= LOSS_MIN:
        return np.tile(np.arange(len(names)) == floor, (len(found), 1)).astype(float)
    of_all = together / together[floor]
    own = found[:, [floor]]
    judged = np.where(
        own > LOSS_MIN,
        (found + pooled * own * of_all) / np.where(own > LOSS_MIN, (1 + pooled) * own, 1.0),
        of_all,
    )
    weights = np.exp(-SHARPNESS * (judged - judged.min(axis=1, keepdims=True)))
    weights /= weights.sum(axis=1, keepdims=True)
    kept = np.where(weights >= np.minimum(WEIGHT_MIN, weights.max(axis=1, keepdims=True)), weights, 0.0)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))


def forecast_chosen(units: Floats, horizon: int, offered: Mapping[str, Forecast], weights: Floats) -> Floats:
    """Return each series' forecast, its candidates' quantiles in the mean of their weights: (series, horizon, atoms)."""
    found = np.zeros((len(units), horizon, ATOMS))
    for index, forecast in enumerate(offered.values()):
        if weights[:, index].any():
            found += weights[:, index, None, None] * forecast(units, horizon)
    return found
