"""The same quantiles by gradient boosting: LightGBM, of the extra `logistics`. Only where it validates.

Pure. Invariant: the same legs and the same version give the same model; one thread, no sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ringroad.build.logistics.history import Floats, History
from ringroad.build.logistics.quantiles import LEVELS, MEDIAN, Grouped, Stage, fit_grouped, known_late
from ringroad.kernel.errors import Unavailable

ROUNDS: Final = 120  # trees for each quantile
LEGS_MIN: Final = 2_000  # with less there is nothing to boost
_PARAMETERS: Final[dict[str, Any]] = {
    "objective": "quantile", "num_leaves": 31, "learning_rate": 0.1, "min_data_in_leaf": 100, "seed": 0,
    "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbose": -1,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosted:
    """One model for each level."""

    stage: Stage
    routes: Grouped
    models: tuple[Any, ...]

    def late_min(self, history: History) -> Floats:
        """Return quantiles of the minutes late of each leg, [leg, level]."""
        seen = _features(history, self.routes)
        found = np.column_stack([model.predict(seen, num_threads=1) for model in self.models])
        late: Floats = np.sort(found, axis=1) + known_late(history, self.stage)[:, None]
        return late


def fit_boosted(history: History, stage: Stage, *, rounds: int = ROUNDS) -> Boosted:
    """Learn from past legs. Raises: Unavailable, if LightGBM is not installed."""
    try:
        import lightgbm  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise Unavailable("LightGBM is not installed", hint="pip install 'ringroad[logistics]'") from error
    routes = fit_grouped(history, stage)
    seen, lost = _features(history, routes), history.arrived_late_min - known_late(history, stage)
    models = tuple(
        lightgbm.train(_PARAMETERS | {"alpha": level}, lightgbm.Dataset(seen, lost), num_boost_round=rounds)
        for level in LEVELS.tolist()
    )
    return Boosted(stage=stage, routes=routes, models=models)


def _features(history: History, routes: Grouped) -> Floats:
    """Return what a model sees of each leg: when, how far, what the route did, and at which stage it is."""
    columns = [
        history.planned_min % 1440,
        history.day % 7,
        history.of_class,
        history.arrives_min - history.planned_min,
        routes.by_route[history.route, MEDIAN],
        routes.by_route[history.route, -1],
        known_late(history, routes.stage),
    ]
    return np.column_stack(columns).astype(np.float64)
