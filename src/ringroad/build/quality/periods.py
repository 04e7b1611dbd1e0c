"""Which vehicles are compared with which: those that come to a station, numbered, fall into periods.

Each period is as long as all before it together, up to a limit, and is compared with the two before it, software with
the four before it; the first is compared with nothing. What is compared with so grows with what is known, and never gets old.

Pure.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 100  # vehicles; fewer say little of a rate of some percent
LONGEST: Final = 3_200  # vehicles; a few days of a busy line: a process does not stay what it was
BEHIND: Final = 2  # periods before, that a period is compared with
BEHIND_LONG: Final = 4  # the same, of a software version: one variant of three had few vehicles before it
REACH: Final = BEHIND_LONG + 1  # periods before the newest that a look needs: it may have no full block yet


def period_of(number: int) -> int:
    """Return the period of a vehicle, from its number at the station, which begins at 0."""
    period, ends, length = 0, FIRST, FIRST
    while number >= ends:
        period += 1
        if ends >= 2 * LONGEST:
            return period + (number - ends) // LONGEST
        length = min(ends, LONGEST)
        ends += length
    return period


def first_of(period: int) -> int:
    """Return the number of a period's first vehicle; that of a period below 0 is 0."""
    first = FIRST if period > 0 else 0
    for _ in range(1, period):
        first += min(first, LONGEST)
    return first
