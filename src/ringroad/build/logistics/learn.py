"""Which model is believed, and is there any skill in it? Candidates are tried on what came after they were made.

Pure. The past is cut twice by time: candidates learn from the first part, the second chooses among them (and
calibrates), the third says how good the chosen one is. Skill is what it takes off the mean error of the route's
median, which is what a static lead time knows.

Invariant: a model whose skill is not above zero is hidden; what is used then is what the route did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ringroad.build.logistics.conformal import Calibrated, calibrate
from ringroad.build.logistics.history import Floats, History, split_at
from ringroad.build.logistics.quantiles import LEVELS, MEDIAN, Stage, fit_grouped, seen_at

LEARN_SHARE: Final = 0.6  # of the legs, oldest first
CHOOSE_SHARE: Final = 0.2  # of the legs after those; the rest says how good the choice is
TRIED_MIN: Final = 60  # legs of the last part; with less nothing is said of skill
SKILL_MIN: Final = 0.02  # of the mean error; less is none: half a minute in 23 moves no vehicle
ONE_SIDED: Final = 1.645  # standard errors below the mean: 95 %
ROUTE: Final = "grouped"  # the candidate that every list has: what the route did, which needs no skill
CLASS_MIN: Final = 30  # legs of a class in the last part, for a share of its own


class Model(Protocol):
    """What says how late legs arrive: `Grouped`, `Boosted`."""

    def late_min(self, history: History) -> Floats:
        """Return quantiles of the minutes late of each leg, [leg, level]."""


Fit = Callable[[History, Stage], Model]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSkill:
    """How good the chosen model is at one stage, on legs that came after it was chosen.

    Attributes:
        stage: what was known of them.
        model: the chosen one's name.
        legs: how many.
        error_min: mean absolute error of its median, minutes.
        route_error_min: that of the route's median.
        skill: share of the route's error that it takes off.
        skill_low: what that is at least, by the spread between days.
        coverage: share of legs within the 90 % interval, by class.
        width_min: mean width of the interval.
        pinball_min: mean loss over all quantiles.
        tried: pinball loss of each candidate on the part that chose.
    """

    stage: Stage
    model: str
    legs: int
    error_min: float
    route_error_min: float
    skill: float
    skill_low: float
    coverage: Mapping[str, float]
    width_min: float
    pinball_min: float
    tried: Mapping[str, float]

    @property
    def shown(self) -> bool:
        """Whether there is skill: more than chance between days, and enough to matter."""
        return self.skill_low > 0 and self.skill >= SKILL_MIN

    @property
    def coverage_min(self) -> float | None:
        """The worst class's coverage; None where no class has enough legs."""
        return min(self.coverage.values(), default=None)

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "stage": self.stage.value, "model": self.model, "legs": self.legs, "shown": self.shown,
            "error_min": round(self.error_min, 2), "route_error_min": round(self.route_error_min, 2),
            "skill": round(self.skill, 4), "skill_low": round(self.skill_low, 4),
            "coverage": {name: round(share, 4) for name, share in self.coverage.items()},
            "width_min": round(self.width_min, 1), "pinball_min": round(self.pinball_min, 3),
            "tried": {name: round(loss, 3) for name, loss in self.tried.items()},
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What is used for legs of one stage now.

    Attributes:
        model: the chosen one where it has skill, else what the routes did.
        offset_min: [class, level], what calibration moves its quantiles by.
        skill: of the chosen one; None where too few legs arrived to say, or none before the first cut.
        tried: the legs that say how good it is.
        tried_late_min: what it said of them, [leg, level].
    """

    model: Model
    offset_min: Floats
    skill: StageSkill | None
    tried: History
    tried_late_min: Floats


def learn(history: History, stage: Stage, candidates: Mapping[str, Fit]) -> Learned:
    """Learn one stage from past legs.

    Args:
        history: legs that arrived.
        stage: what is known of the legs to be predicted.
        candidates: by name, `ROUTE` among them; the first wins a tie.

    Raises:
        InvalidInput: nothing arrived before the first cut.
    """
    history = seen_at(history, stage)
    days = np.sort(history.day)
    first, second = (
        int(days[min(len(days) - 1, int(len(days) * share))]) if len(days) else 0
        for share in (LEARN_SHARE, LEARN_SHARE + CHOOSE_SHARE)
    )
    past, later = split_at(history, first)
    held_back = bool(len(past))
    if not held_back:
        past = history  # nothing had arrived before the cut: a route's past, and nothing to try anything on
    last = later.day >= second
    route_median = fit_grouped(past, Stage.PLANNED).late_min(later)[:, MEDIAN]
    tried: dict[str, tuple[float, Model, Calibrated]] = {}
    for name, fit in (candidates if held_back else {ROUTE: candidates[ROUTE]}).items():
        model = fit(past, stage)
        calibrated = calibrate(later, model.late_min(later), from_day=first)
        loss = pinball(calibrated.late_min[~last], later.arrived_late_min[~last])
        tried[name] = (loss, model, calibrated)
    name = min(tried, key=lambda each: tried[each][0])
    _, model, calibrated = tried[name]
    skill: StageSkill | None = None
    if held_back and int(last.sum()) >= TRIED_MIN:
        losses = {each: tried[each][0] for each in tried}
        skill = _skill(later, calibrated, last, route_median, stage=stage, model=name, tried=losses)
    if skill is None or not skill.shown:
        _, model, calibrated = tried[ROUTE]
    return Learned(
        model=model,
        offset_min=calibrated.offset_min,
        skill=skill,
        tried=later.take(last),
        tried_late_min=calibrated.late_min[last],
    )


def pinball(quantiles: Floats, late_min: Floats) -> float:
    """Return the mean loss over all quantiles, minutes; 0 for no leg."""
    if not len(late_min):
        return 0.0
    below = late_min[:, None] - quantiles
    return float(np.maximum(LEVELS * below, (LEVELS - 1) * below).mean())


def coverage_of(history: History, late_min: Floats) -> dict[str, float]:
    """Return the share of legs within the outer quantiles, by class that has enough of them."""
    within = (late_min[:, 0] <= history.arrived_late_min) & (history.arrived_late_min <= late_min[:, -1])
    found = {}
    for number, name in enumerate(history.classes):
        mine = within[history.of_class == number]
        if len(mine) >= CLASS_MIN:
            found[name] = float(mine.mean())
    return found


def _skill(
    later: History,
    calibrated: Calibrated,
    last: NDArray[np.bool_],
    route_median: Floats,
    *,
    stage: Stage,
    model: str,
    tried: Mapping[str, float],
) -> StageSkill:
    legs, given = later.take(last), calibrated.late_min[last]
    late = legs.arrived_late_min
    error, route_error = np.abs(late - given[:, MEDIAN]), np.abs(late - route_median[last])
    saved = _by_day(route_error - error, legs)
    base = max(1e-9, float(route_error.mean()))
    spread = float(saved.std(ddof=1) * np.sqrt(len(saved)) / len(legs)) if len(saved) > 1 else float("inf")
    skill = float((route_error - error).mean()) / base
    return StageSkill(
        stage=stage, model=model, legs=len(legs), error_min=float(error.mean()),
        route_error_min=float(route_error.mean()), skill=skill, skill_low=skill - ONE_SIDED * spread / base,
        coverage=coverage_of(legs, given), width_min=float((given[:, -1] - given[:, 0]).mean()),
        pinball_min=pinball(given, late), tried=dict(tried),
    )  # fmt: skip


def _by_day(values: Floats, legs: History) -> Floats:
    """Return sums by day, which is what luck comes in: a storm is late for all."""
    _, day = np.unique(legs.day, return_inverse=True)
    sums: Floats = np.bincount(day, weights=values).astype(np.float64)
    return sums
