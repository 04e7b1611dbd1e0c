"""How good was a forecast? Never by absolute error of one number alone: where most months are zero, zero wins that.

Source: weighted quantile loss as in the evaluation of Chronos (twice the pinball loss over deciles .1 to .9, by the sum
of what was wanted); stock cost is the newsvendor's: each month the quantile shortage/(shortage + holding) is stocked.

Pure. NaN in what was wanted is not scored.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from ringroad.signal.demand.panel import DECILES, Floats, quantiles


@dataclass(frozen=True, slots=True, kw_only=True)
class StockCost:
    """What a unit costs: a month too early in stock, or missing. Only their ratio decides."""

    holding: float = 1.0
    shortage: float = 9.0

    @property
    def service(self) -> float:
        """The share of months in which the stock should suffice."""
        return self.shortage / (self.shortage + self.holding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """One forecast against what came.

    Attributes:
        wql: weighted quantile loss over the deciles.
        rmse: of the means, over all series and months.
        cumulative: absolute error of each series' sum over the horizon, by the sum of what was wanted.
        bias: what was forecast too much, by the sum of what was wanted.
        stock_cost: per unit wanted.
        mase: mean absolute error of the medians, scaled; for the record, nothing is chosen by it.
        wape: absolute error of the medians, by the sum of what was wanted; same.
    """

    wql: float
    rmse: float
    cumulative: float
    bias: float
    stock_cost: float
    mase: float
    wape: float

    def to_document(self) -> dict[str, float]:
        """Return its JSON form."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


def month_losses(wanted: Floats, deciles: Floats) -> Floats:
    """Return the quantile loss of each month, shape (series, months): twice the pinball loss, mean of the deciles.

    Args:
        wanted: what came, shape (series, months).
        deciles: of the forecast, shape (series, months, 9).
    """
    off = wanted[:, :, None] - deciles
    return np.asarray(2 * np.nansum(np.maximum(DECILES * off, (DECILES - 1) * off), axis=2) / len(DECILES))


def losses(wanted: Floats, atoms: Floats) -> Floats:
    """Return the quantile loss of each series over its months, shape (series,)."""
    return np.asarray(month_losses(wanted, quantiles(atoms, DECILES)).sum(axis=1))


def wql(wanted: Floats, atoms: Floats) -> float:
    """Return the weighted quantile loss of series together; 0 if nothing was wanted and nothing forecast."""
    return _share(float(losses(wanted, atoms).sum()), wanted)


def grade(wanted: Floats, atoms: Floats, past: Floats, cost: StockCost | None = None) -> Grade:
    """Grade a forecast.

    Args:
        wanted: what came, shape (series, months).
        atoms: the forecast, sorted, shape (series, months, atoms).
        past: what was known, for the scale of MASE.
        cost: of stock.
    """
    cost = cost or StockCost()
    mean, median = atoms.mean(axis=2), quantiles(atoms, [0.5])[:, :, 0]
    known = ~np.isnan(wanted)
    came = np.nan_to_num(wanted)
    summed = np.abs(np.where(known, mean - came, 0.0).sum(axis=1)).sum()
    stocked = quantiles(atoms, [cost.service])[:, :, 0]
    left = stocked - came
    paid = np.where(left > 0, left * cost.holding, -left * cost.shortage)
    return Grade(
        wql=wql(wanted, atoms),
        rmse=float(np.sqrt(np.mean(((mean - came) ** 2)[known]))) if known.any() else 0.0,
        cumulative=_share(float(summed), wanted),
        bias=_share(float(np.where(known, mean - came, 0.0).sum()), wanted),
        stock_cost=_share(float(np.where(known, paid, 0.0).sum()), wanted),
        mase=_mase(came, median, known, past),
        wape=_share(float(np.where(known, np.abs(median - came), 0.0).sum()), wanted),
    )


def skill(loss: float, of_reference: float) -> float:
    """Return the share of the reference's loss that is saved; 0 where there is nothing to save, below 0 if it is worse."""
    if of_reference <= 0:
        return 0.0 if loss <= 0 else -1.0
    return 1 - loss / of_reference


def _share(value: float, wanted: Floats) -> float:
    total = float(np.nansum(np.abs(wanted)))
    return value / total if total > 0 else value


def _mase(came: Floats, median: Floats, known: Floats, past: Floats) -> float:
    step = np.abs(np.diff(past, axis=1)) if past.shape[1] <= 12 else np.abs(past[:, 12:] - past[:, :-12])
    counted = np.sum(~np.isnan(step), axis=1)
    scale = np.nansum(step, axis=1) / np.maximum(counted, 1)
    error = np.sum(np.where(known, np.abs(median - came), 0.0), axis=1) / np.maximum(known.sum(axis=1), 1)
    usable = scale > 0
    return float(np.mean(error[usable] / scale[usable])) if usable.any() else 0.0
