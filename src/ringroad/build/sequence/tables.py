"""The problem as arrays: classes of cars with the same options, and what a window may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringroad.build.model import Ratio
from ringroad.build.sequence.problem import Level, Problem

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """A problem in numbers; ratios stand level by level.

    Attributes:
        ratios: those of the problem whose level is asked for, hard and soft together by level.
        kind: [car] class; cars of a class have the same options.
        need: [class, ratio] 0 or 1.
        colour: [car] number of its colour.
        span: [ratio] q.
        limit: [ratio] p.
        first: [ratio] first window start that counts.
        ends: [ratio] one behind the last.
        low: level to its first ratio.
        high: level to one behind its last.
    """

    ratios: tuple[Ratio, ...]
    kind: Ints
    need: Ints
    colour: Ints
    span: Ints
    limit: Ints
    first: Ints
    ends: Ints
    low: dict[Level, int]
    high: dict[Level, int]

    @property
    def ratio_levels(self) -> tuple[Level, ...]:
        """The levels that count ratios, of those that are asked for."""
        return tuple(level for level in (Level.RATIOS, Level.SOFT_RATIOS) if level in self.low)


def tables_of(problem: Problem) -> Tables:
    """Return the problem in numbers."""
    ratios: list[Ratio] = []
    low: dict[Level, int] = {}
    high: dict[Level, int] = {}
    for level in problem.order:
        low[level] = len(ratios)
        if level in (Level.RATIOS, Level.SOFT_RATIOS):
            soft = level is Level.SOFT_RATIOS
            ratios += [ratio for ratio in problem.ratios if ratio.soft == soft]
        high[level] = len(ratios)
    names = [ratio.option for ratio in ratios]
    wanted = [tuple(int(name in car.features) for name in names) for car in problem.cars]
    classes = {row: number for number, row in enumerate(sorted(set(wanted)))}
    colours = {colour: number for number, colour in enumerate(sorted({car.colour for car in problem.cars}))}
    cars = len(problem.cars)
    span = np.array([ratio.q for ratio in ratios], dtype=np.int64)
    return Tables(
        ratios=tuple(ratios),
        kind=ints(classes[row] for row in wanted),
        need=np.array(list(classes), dtype=np.int64).reshape(len(classes), len(names)),
        colour=ints(colours[car.colour] for car in problem.cars),
        span=span,
        limit=ints(ratio.p for ratio in ratios),
        first=np.maximum(0, problem.frozen - span + 1),
        ends=np.full_like(span, cars) if problem.open_end else np.maximum(1, cars - span + 1),
        low=low,
        high=high,
    )


def ints(values: Any) -> Ints:
    """Return whole numbers as an array."""
    return np.fromiter(values, dtype=np.int64)
