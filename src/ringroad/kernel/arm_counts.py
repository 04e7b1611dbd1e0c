"""What the lake says about two groups of vehicles side by side, per tick of time and stratum.

Values only. `storage/arms.py` measures them, `ship/ticks.py` keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TREATED: Final = "treated"
CONTROL: Final = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCell:
    """One arm in one tick and stratum.

    Attributes:
        arm: TREATED or CONTROL.
        stratum: vehicles are only compared with vehicles of their own stratum.
        tick: number of the tick since 1970.
        events: vehicles to which it happened.
        amount: time at risk in microseconds, or trials.
    """

    arm: str
    stratum: str
    tick: int
    events: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSum:
    """Measurements of one arm in one tick and stratum: how many, their sum, the sum of their squares."""

    arm: str
    stratum: str
    tick: int
    count: int
    total: float
    squares: float
