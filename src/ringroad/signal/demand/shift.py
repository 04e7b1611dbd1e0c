"""Did what is expected change so much that somebody should know? Two forecasts of the same months in; shifts out.

Pure. Invariant: a change inside of what the older forecast held for likely is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ringroad.signal.demand.panel import Floats, Key

CHANGE_MIN: Final = 0.10  # of the older mean; less moves no plan
LIKELY: Final = (0.1, 0.9)  # quantiles of the older forecast
SHIFTS_MAX: Final = 50  # told of one forecast, largest first; the others are in the forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What is expected of one key over the months that both forecasts have."""

    key: Key
    months: int
    before: float
    after: float

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "key": self.key.text, "months": self.months, "before": round(self.before, 1),
            "after": round(self.after, 1), "change_permille": round(1000 * (self.after / self.before - 1)),
        }  # fmt: skip


def find_shifts(before: Mapping[Key, Floats], after: Mapping[Key, Floats], *, moved_on: int) -> list[Shift]:
    """Return what changed materially, most first.

    Args:
        before: samples of the older forecast, shape (horizon, atoms).
        after: of the newer one.
        moved_on: months by which the newer one begins later.
    """
    found = []
    for key, new in after.items():
        old = before.get(key)
        months = 0 if old is None else min(len(old) - moved_on, len(new))
        if old is None or months < 1:
            continue
        sums = old[moved_on : moved_on + months].sum(axis=0)
        low, high = np.quantile(sums, LIKELY)
        was, now = float(sums.mean()), float(new[:months].sum(axis=0).mean())
        if was > 0 and not low <= now <= high and abs(now - was) >= CHANGE_MIN * was:
            found.append(Shift(key=key, months=months, before=was, after=now))
    return sorted(found, key=lambda each: (-abs(each.after - each.before), each.key))[:SHIFTS_MAX]
