"""What a forecast is made of and what it is: months of demand by series, and equally likely values of each month to come.

A series is an option (or "" for whole vehicles) of a model that one plant builds for one region. Options are never
added to vehicles or to each other: a vehicle has many.

Pure. Invariant: a distribution is `ATOMS` equally likely values; sorted they are its quantiles, in the order of draws
they are samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ATOMS: Final = 100  # equally likely values of a distribution; deciles and the 5 % ends are exact
LEVELS: Final[Floats] = (np.arange(ATOMS) + 0.5) / ATOMS
DECILES: Final[Floats] = np.arange(1, 10) / 10
ALL: Final = "*"  # in a key: summed over


class Key(NamedTuple):
    """What is wanted, where. `ALL` in a dimension is its sum."""

    option: str  # "" for the vehicle itself
    plant: str
    region: str
    model: str

    @property
    def text(self) -> str:
        """The key as people write it: option/plant/region/model."""
        return "/".join((self.option or "vehicle", *self[1:]))

    def covers(self, leaf: Key) -> bool:
        """Say whether a series is a part of this one."""
        return self.option == leaf.option and all(
            mine in {ALL, other} for mine, other in zip(self[1:], leaf[1:], strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Months of demand.

    Attributes:
        keys: of the series.
        first: the first month, by its first day.
        units: demand, shape (series, months); NaN where a series had not begun.
    """

    keys: tuple[Key, ...]
    first: date
    units: Floats

    @property
    def months(self) -> int:
        """How many months there are."""
        return int(self.units.shape[1])

    def until(self, months: int) -> Panel:
        """Return the first months only: what was known then."""
        return replace(self, units=self.units[:, :months])

    def month(self, index: int) -> date:
        """Return a month by its place, also one to come."""
        return month_after(self.first, index)


def month_after(first: date, count: int) -> date:
    """Return the month that is `count` months after another."""
    years, month = divmod(first.month - 1 + count, 12)
    return date(first.year + years, month + 1, 1)


def months_between(first: date, last: date) -> int:
    """Return how many months the second is after the first."""
    return (last.year - first.year) * 12 + last.month - first.month


def quantiles(atoms: Floats, levels: Sequence[float] | Floats) -> Floats:
    """Return quantiles of sorted atoms, shape (..., levels)."""
    place = np.clip(np.asarray(levels) * ATOMS - 0.5, 0, ATOMS - 1)
    low = np.floor(place + 1e-9).astype(np.intp)
    high = np.minimum(low + 1, ATOMS - 1)
    share = np.clip(place - low, 0, 1)
    found: Floats = atoms[..., low] * (1 - share) + atoms[..., high] * share
    return found
