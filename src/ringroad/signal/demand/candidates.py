"""The forecasts among which one is chosen for each series.

Those of statsforecast give a level of each month to come; the shape of the distribution around it is that of the
series' own months, faded. Intervals that a method for rare demand cannot have are so never made up.

The extra `demand` is needed for those only: without it the others are chosen among. Imported by the worker, never by
the server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import numpy as np

from ringroad.signal.demand.empirical import SEASON, faded, seasonal, window
from ringroad.signal.demand.panel import Floats

Forecast = Callable[[Floats, int], Floats]  # months known, horizon -> atoms

FLOOR: Final = "last 12 months"
SHAPE_HALF_LIFE: Final = 8.0  # months
MODEL_MONTHS_MIN: Final = 6  # months of a series below which a model is not asked
ZERO_SHARE_MAX: Final = 0.5  # of a series' months; a rarer one has no trend and no season to be seen
LEVEL_RATIO_MAX: Final = 4.0  # a model that sees more than this times the faded mean is not believed further


def blend(*forecasts: Forecast) -> Forecast:
    """Return the mean of forecasts, quantile by quantile."""
    return lambda units, horizon: np.asarray(np.mean([each(units, horizon) for each in forecasts], axis=0))


FADED_4: Final[Forecast] = partial(faded, half_life=4.0)
FADED_8: Final[Forecast] = partial(faded, half_life=8.0)
PLAIN: Final[Mapping[str, Forecast]] = {
    FLOOR: window,
    "last 6 months": partial(window, months=6),
    "last 24 months": partial(window, months=24),
    "faded, half in 4 months": FADED_4,
    "faded, half in 8 months": FADED_8,
    "season, faded by half in 8 months": partial(seasonal, half_life=8.0),
    "blend of 12 months and faded": blend(window, FADED_4, FADED_8),
}


def candidates() -> dict[str, Forecast]:
    """Return all candidates by name, the floor first."""
    return {**PLAIN, **_modelled()} if has_models() else dict(PLAIN)


def has_models() -> bool:
    """Say whether the extra `demand` is installed."""
    return find_spec("statsforecast") is not None


def _modelled() -> Mapping[str, Forecast]:
    from statsforecast import models  # noqa: PLC0415 - half a second and 100 MB, and only where it is installed

    rare = {
        "IMAPA": models.IMAPA(),
        "TSB": models.TSB(alpha_d=0.1, alpha_p=0.1),
        "ADIDA": models.ADIDA(),
        "smoothed": models.SimpleExponentialSmoothingOptimized(),
    }
    regular = {
        "seasonal smoothed": models.SeasonalExponentialSmoothingOptimized(season_length=SEASON),
        "theta": models.OptimizedTheta(season_length=SEASON),
    }
    found: dict[str, Forecast] = {name: partial(levelled, model=model) for name, model in rare.items()}
    for name, model in regular.items():
        found[name] = partial(levelled, model=model, zeros_max=ZERO_SHARE_MAX)
    return found


def levelled(units: Floats, horizon: int, *, model: Any, zeros_max: float = 1.0) -> Floats:
    """Return the shape of recent months around the levels that a model gives.

    Where the model cannot be asked (too few months, nothing wanted, more zeros than it bears) the shape stands alone.
    """
    shape = faded(units, 1, half_life=SHAPE_HALF_LIFE)
    mean = shape.mean(axis=2)
    ratio = np.ones((len(units), horizon))
    for row, series in enumerate(units):
        known = series[~np.isnan(series)]
        askable = len(known) >= MODEL_MONTHS_MIN and np.ptp(known) > 0 and np.mean(known == 0) <= zeros_max
        if askable and mean[row, 0] > 0:
            level = model.forecast(y=known, h=horizon)["mean"]
            ratio[row] = np.nan_to_num(level / mean[row, 0], nan=1.0, posinf=1.0, neginf=1.0)
    return shape * np.clip(ratio, 0.0, LEVEL_RATIO_MAX)[:, :, None]
