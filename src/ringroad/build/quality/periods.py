"""Which vehicles are held against which: vehicles of a variant at a station, numbered as they come, fall into periods.

Each period is as long as all before it together, up to a limit, and is held against the one before it; the first is
held against nothing. A reference so grows with what is known, and never gets old.

Pure.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 100  # vehicles; fewer say little of a rate of some percent
LONGEST: Final = 6_400  # vehicles; some weeks of one variant, after which a process is no longer what it was


def period_of(number: int) -> int:
    """Return the period of a vehicle, from its number at its station, which begins at 0."""
    period, ends, length = 0, FIRST, FIRST
    while number >= ends:
        period += 1
        if ends >= 2 * LONGEST:
            return period + (number - ends) // LONGEST
        length = min(ends, LONGEST)
        ends += length
    return period
