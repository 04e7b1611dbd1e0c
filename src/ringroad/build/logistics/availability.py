"""When are the parts of an order at the line? A distribution, as quantiles: what the sequencer is handed.

Pure. Invariant: the times rise with their quantiles; a share that may never arrive has no time, and is never
promised one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import prod
from typing import Final

from ringroad.kernel.errors import InvalidInput

LEVELS_PERMILLE: Final = (
    50,
    100,
    250,
    500,
    750,
    900,
    950,
)  # of each distribution; 50 to 950 is the 90 % interval
READY_PERMILLE: Final = (
    500  # a part counts as there when it is as often as not; 800 moves more, and starves more
)
PARTS_MAX: Final = 100  # of one order that are on their way at once
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartAvailability:
    """When a part, or all parts of an order, are at the line.

    Attributes:
        part: which; for several, the one that comes last as a rule.
        quantiles: thousandths of all cases, and by when that many have it; rising in both.
    """

    part: str
    quantiles: tuple[tuple[int, datetime], ...]

    def __post_init__(self) -> None:
        """Refuse what is no distribution. Raises: InvalidInput."""
        for (low, sooner), (high, later) in pairwise(self.quantiles):
            if not (low < high and sooner <= later):
                raise InvalidInput(f"the arrival times of {self.part!r} do not rise with their quantiles")
        if any(not 0 < permille <= 1000 for permille, _ in self.quantiles):
            raise InvalidInput(f"a quantile of {self.part!r} is not between 1 and 1000 thousandths")

    def ready_at(self, permille: int = READY_PERMILLE) -> datetime | None:
        """Return by when the part is there in so many of 1,000 cases; None if that cannot be promised.

        Between two quantiles time passes evenly; before the first one nothing is promised earlier than that.
        """
        levels = [level for level, _ in self.quantiles]
        place = bisect_left(levels, permille)
        if place == len(levels):
            return None
        level, when = self.quantiles[place]
        if place == 0 or level == permille:
            return when
        below, sooner = self.quantiles[place - 1]
        share = (permille - below) / (level - below)
        return sooner + timedelta(seconds=round(share * (when - sooner).total_seconds()))

    def share_by(self, when: datetime) -> float:
        """Return the share of cases, 0 to 1, in which the part is there by then."""
        return self._share(when, by=True)

    def share_before(self, when: datetime) -> float:
        """Return the share of cases in which it is there sooner; less than `share_by` where many come at once."""
        return self._share(when, by=False)

    def _share(self, when: datetime, *, by: bool) -> float:
        before: tuple[int, datetime] | None = None
        for level, at in self.quantiles:
            if when < at or (when == at and not by):
                if before is None:
                    return 0.0
                passed = (when - before[1]).total_seconds() / (at - before[1]).total_seconds()
                return (before[0] + passed * (level - before[0])) / 1000
            before = (level, at)
        return before[0] / 1000 if before else 0.0


def arrived(part: str, at: datetime) -> PartAvailability:
    """Return the availability of a part that is there."""
    return PartAvailability(part=part, quantiles=((1000, at),))


def never(part: str) -> PartAvailability:
    """Return the availability of a part of which nobody can say when it comes."""
    return PartAvailability(part=part, quantiles=())


def together(parts: Sequence[PartAvailability]) -> PartAvailability:
    """Return when all parts of an order are there, if their delays have nothing to do with each other.

    Raises:
        InvalidInput: no part, or more than `PARTS_MAX`.
    """
    if not 1 <= len(parts) <= PARTS_MAX:
        raise InvalidInput(f"{len(parts)} parts of one order are on their way, from 1 to {PARTS_MAX} can be")
    if len(parts) == 1:
        return parts[0]
    last = max(parts, key=lambda each: (each.ready_at() or _NEVER, each.part))
    times = sorted({at for each in parts for _, at in each.quantiles})
    by = [prod(each.share_by(at) for each in parts) for at in times]
    before = [prod(each.share_before(at) for each in parts) for at in times]
    found: list[tuple[int, datetime]] = []
    for level in (*LEVELS_PERMILLE, 1000):
        place = bisect_left(by, level / 1000)
        if place == len(times):
            break
        at = times[place]
        if place and level / 1000 < before[place]:
            passed = (level / 1000 - by[place - 1]) / (before[place] - by[place - 1])
            at = times[place - 1] + passed * (at - times[place - 1])
        found.append((level, at))
    return PartAvailability(part=last.part, quantiles=tuple(found))
