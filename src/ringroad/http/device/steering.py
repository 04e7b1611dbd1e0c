"""When a vehicle polls again: by what it waits for, by how many there are, and each at a moment of its own.

From what is in memory only. The decisions are pure; `Steering` gives them the fleet's numbers and the time.

1. The period follows need: `poll_s` of an idle vehicle, `poll_soon_s` of one that was chosen and has no offer yet,
   `poll_busy_s` of one with an offer.
2. Where all vehicles together would ask more than `polls_per_s_max`, every period is stretched as far as it takes.
   Under pressure all are doubled, or doubled twice. Nobody waits longer than `poll_s_max`.
3. Within its period each vehicle has a moment of its own, by a hash of VIN and period. It is told to come at the
   first of these that is at least half a period away. So vehicles that came at once are spread over one whole
   period by their next poll, and one that drifts is led back: a fleet never synchronises.

Servers of one installation tell a vehicle the same, since the moments are those of the wall clock; one that jumps
moves all of them alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import InvalidInput

TOLD_S_MAX: Final = 86_399  # seconds; DDI writes them as HH:MM:SS
UNTOLD_PERCENT: Final = 10  # an interval that is off by no more than this is not told anew


class Need(IntEnum):
    """What a vehicle waits for."""

    IDLE = 0
    CHOSEN = 1  # released to it; the offer is on its way, or waits for its turn
    OFFERED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPolicy:
    """How often vehicles poll."""

    poll_s: int  # seconds between two polls of an idle vehicle
    poll_busy_s: int  # seconds between two polls of a vehicle with an offer
    poll_soon_s: int = 30  # seconds between two polls of a vehicle whose offer is near
    poll_s_max: int = 3_600  # seconds; nobody is told to wait longer, unless `poll_s` is
    polls_per_s_max: int = 4_000  # of all vehicles together

    def __post_init__(self) -> None:
        """Refuse what cannot be told."""
        if min(self.poll_s, self.poll_busy_s, self.poll_soon_s, self.poll_s_max, self.polls_per_s_max) < 1:
            raise InvalidInput("poll intervals and polls_per_s_max must be at least 1")


def decide_periods_s(policy: PollPolicy, vehicles: Sequence[int], *, doublings: int = 0) -> tuple[int, ...]:
    """Decide how many seconds lie between two polls of a vehicle of each need: rules 1 and 2.

    Args:
        policy: what was set.
        vehicles: how many of each need poll this installation.
        doublings: 0 while the server is calm.

    Returns:
        1 to `TOLD_S_MAX` seconds for each need.
    """
    bases_s = (policy.poll_s, min(policy.poll_soon_s, policy.poll_s), min(policy.poll_busy_s, policy.poll_s))
    most_s = min(max(policy.poll_s_max, policy.poll_s), TOLD_S_MAX)
    asked_per_s = sum(count / base_s for count, base_s in zip(vehicles, bases_s, strict=True))
    stretch = max(1.0, asked_per_s / policy.polls_per_s_max) * 2**doublings
    return tuple(min(-int(-base_s * stretch // 1), most_s) for base_s in bases_s)


def decide_wait_s(vin: str, *, period_s: int, now_s: int) -> int:
    """Decide how many seconds from now a vehicle polls again: rule 3.

    Returns:
        Half a period to one and a half, at least 1 second.
    """
    if period_s <= 1:
        return 1
    moment_s = zlib.crc32(b"%b %d" % (vin.encode(), period_s)) % period_s
    least_s = period_s // 2
    return least_s + (moment_s - now_s - least_s) % period_s


def is_told(told_s: int, wait_s: int) -> bool:
    """Say whether a vehicle that waits `told_s` between its polls need not be told `wait_s`."""
    return abs(told_s - wait_s) * 100 <= UNTOLD_PERCENT * wait_s


class Steering:
    """Tells each vehicle when to poll again."""

    doublings = 0  # set by whoever measures pressure

    def __init__(self, policy: PollPolicy, *, clock: Clock, vehicles: Sequence[int]) -> None:
        """Steer by `vehicles`, which somebody else keeps true: how many there are of each need."""
        self._policy = policy
        self._clock = clock
        self._vehicles = vehicles
        self._at_s = -1
        self._periods_s: tuple[int, ...] = ()

    def wait_s(self, vin: str, need: Need) -> int:
        """Return how many seconds from now a vehicle is to poll again."""
        now_s = int(self._clock.now().timestamp())
        if now_s != self._at_s:  # once a second is often enough
            self._at_s = now_s
            self._periods_s = decide_periods_s(self._policy, self._vehicles, doublings=self.doublings)
        return decide_wait_s(vin, period_s=self._periods_s[need], now_s=now_s)
