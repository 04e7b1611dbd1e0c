"""Are the quantiles true? Each is moved, for its class of legs, to where the last weeks would have had it.

Pure. Day after day: what was known before a day calibrates that day, and where a class was missed more often than
it should have been, its interval is made wider for the next day.

Invariant: nothing is calibrated with a leg that had not arrived before the day.

Source: Romano, Patterson, Candès (2019), conformalized quantile regression, each side by itself; Gibbs, Candès
(2021), adaptive conformal inference under distribution shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ringroad.build.logistics.history import Floats, History, Ints
from ringroad.build.logistics.quantiles import LEVELS

WINDOW_DAYS: Final = 60  # that calibrate a day; a season is longer, a week's noise shorter
SCORES_MIN: Final = 40  # legs of a class; with less, all classes calibrate it
STEP: Final = 0.02  # of the adaptation, per day; Gibbs and Candès use 0.005 per observation
TAIL_MIN: Final = 0.005  # of a side: wider than the widest miss says nothing
TAIL_MAX: Final = 0.2
TAIL: Final = float(LEVELS[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Legs with calibrated quantiles, and what to move the next day's quantiles by.

    Attributes:
        late_min: [leg, level], minutes late.
        offset_min: [class, level], for legs that are on their way now.
        tail: [class, side], what is aimed at now so that `TAIL` of the legs lie outside on each side.
    """

    late_min: Floats
    offset_min: Floats
    tail: Floats


def calibrate(history: History, late_min: Floats, *, from_day: int) -> Calibrated:
    """Calibrate quantiles day by day.

    Args:
        history: legs with what became of them.
        late_min: their quantiles as predicted, [leg, level], of something that has not seen them.
        from_day: first day to calibrate; legs before it only calibrate. Those keep their quantiles.
    """
    classes = len(history.classes)
    scores = history.arrived_late_min[:, None] - late_min
    moved = late_min.copy()
    tail = np.full((classes, 2), TAIL)
    offset = np.zeros((classes, len(LEVELS)))
    days, known = history.day, history.known_day
    by_day = np.argsort(days, kind="stable")
    edges = {int(day): place for place, day in reversed(list(enumerate(days[by_day].tolist())))}
    last = int(max(days.max(initial=from_day), known.max(initial=from_day))) + 1
    told: list[tuple[Ints, Floats]] = []  # legs of days that calibrated, with the quantiles they were given
    for day in range(from_day, last + 1):
        near = (known < day) & (day - WINDOW_DAYS <= known)
        told = _adapt(history, told, tail, day)
        offset = _offsets(scores[near], history.of_class[near], tail)
        start = edges.get(day)
        if start is None:
            continue
        end = start + int((days[by_day[start:]] == day).argmin() or len(by_day) - start)
        today = by_day[start:end]
        moved[today] = np.sort(late_min[today] + offset[history.of_class[today]], axis=1)
        told.append((today, moved[today]))
    return Calibrated(late_min=moved, offset_min=offset, tail=tail)


def _offsets(scores: Floats, of_class: Ints, tail: Floats) -> Floats:
    """Return what to move each quantile by, [class, level]; nothing where nothing is known."""
    found = np.zeros((len(tail), len(LEVELS)))
    if not len(scores):
        return found
    every = np.sort(scores, axis=0)
    for number in range(len(tail)):
        mine = scores[of_class == number]
        ranked = np.sort(mine, axis=0) if len(mine) >= SCORES_MIN else every
        found[number] = _at(ranked, tail[number])
    return found


def _at(ranked: Floats, tail: Floats) -> Floats:
    """Return the score at each level, counted so that a new leg lies within as often as the level says."""
    levels = LEVELS.copy()
    levels[0], levels[-1] = tail[0], 1 - tail[1]
    count = len(ranked)
    places = np.where(levels < 0.5, np.floor((count + 1) * levels), np.ceil((count + 1) * levels))
    places = np.clip(places.astype(np.int64) - 1, 0, count - 1)
    at: Floats = ranked[places, np.arange(len(levels))]
    return at


def _adapt(
    history: History, told: list[tuple[Ints, Floats]], tail: Floats, day: int
) -> list[tuple[Ints, Floats]]:
    """Move the tails of each class by what arrived yesterday; return what is still on its way."""
    left: list[tuple[Ints, Floats]] = []
    missed: list[tuple[Ints, Floats]] = []
    for legs, given in told:
        here = history.known_day[legs] < day
        if here.any():
            missed.append((legs[here], given[here]))
        if not here.all():
            left.append((legs[~here], given[~here]))
    if missed:
        legs, given = (
            np.concatenate([each for each, _ in missed]),
            np.concatenate([each for _, each in missed]),
        )
        late = history.arrived_late_min[legs]
        outside = np.column_stack((late < given[:, 0], given[:, -1] < late)).astype(np.float64)
        for number in np.unique(history.of_class[legs]).tolist():
            tail[number] += STEP * (TAIL - outside[history.of_class[legs] == number].mean(axis=0))
        np.clip(tail, TAIL_MIN, TAIL_MAX, out=tail)
    return left
