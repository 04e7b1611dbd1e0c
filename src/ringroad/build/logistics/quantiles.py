"""How late does a leg arrive? Quantiles of what the same route did, of its class where it did little.

Pure. A stage is what is known of a leg: that it is planned, that it departed, that it is at its hub, and how late.
Once it departed, the distribution is of the minutes that it loses or gains from there on.

Invariant: quantiles of one leg rise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from ringroad.build.logistics.availability import LEVELS_PERMILLE
from ringroad.build.logistics.history import Floats, History, Ints
from ringroad.kernel.errors import InvalidInput

GROUP_MIN: Final = (
    30  # legs that a route needs for a distribution of its own; its 5 % quantile is then one leg
)
LEVELS: Final = np.array(LEVELS_PERMILLE) / 1000
MEDIAN: Final = LEVELS_PERMILLE.index(500)


class Stage(StrEnum):
    """What is known of a leg."""

    PLANNED = "planned"
    DEPARTED = "departed"
    AT_HUB = "at_hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """Distributions of minutes late (planned) or lost on the way (departed).

    Attributes:
        stage: of the legs that it is for.
        by_route: [route, level]; a route that did little has those of its class.
        by_class: [class, level]; a class that did little has those of all.
        overall: [level].
    """

    stage: Stage
    by_route: Floats
    by_class: Floats
    overall: Floats

    def late_min(self, history: History) -> Floats:
        """Return quantiles of the minutes late of each leg, [leg, level]."""
        return self.by_route[history.route] + known_late(history, self.stage)[:, None]


def known_late(history: History, stage: Stage) -> Floats:
    """Return how late each leg is known to be at a stage."""
    match stage:
        case Stage.PLANNED:
            return np.zeros(len(history))
        case Stage.DEPARTED:
            return history.departed_late_min
        case Stage.AT_HUB:
            return history.hub_late_min


def seen_at(history: History, stage: Stage) -> History:
    """Return the legs of which something was heard at a stage."""
    return history.take(np.isfinite(known_late(history, stage)))


def fit_grouped(history: History, stage: Stage) -> Grouped:
    """Learn from past legs. Raises: InvalidInput, if there is none."""
    if not len(history):
        raise InvalidInput(
            "no leg has arrived yet", hint="record the milestones of shipments until they arrive"
        )
    lost = history.arrived_late_min - known_late(history, stage)
    overall = np.quantile(lost, LEVELS)
    by_class = _groups(lost, history.of_class, len(history.classes))
    by_class = np.where(np.isnan(by_class), overall, by_class)
    by_route = _groups(lost, history.route, len(history.routes))
    class_of = np.full(len(history.routes), -1)
    class_of[history.route] = history.of_class
    behind = np.where((class_of >= 0)[:, None], by_class[class_of], overall)
    by_route = np.where(np.isnan(by_route), behind, by_route)
    return Grouped(stage=stage, by_route=by_route, by_class=by_class, overall=overall)


def _groups(values: Floats, group: Ints, groups: int) -> Floats:
    """Return quantiles by group, [group, level]; not a number where a group did too little."""
    found = np.full((groups, len(LEVELS)), np.nan)
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(groups + 1))
    for number in range(groups):
        low, high = edges[number], edges[number + 1]
        if high - low >= GROUP_MIN:
            found[number] = np.quantile(values[order[low:high]], LEVELS)
    return found
