"""When a vehicle polls again: by what it waits for, by how many there are, and each at a moment of its own.

From what is in memory only. The decisions are pure; `Steering` gives them the fleet's numbers and the time.

1. The period follows need: `poll_s` of an idle vehicle, `poll_soon_s` of one that was chosen and has no offer yet,
   `poll_busy_s` of one with an offer.
2. Where all vehicles together would ask more than `polls_per_s_max`, every period is stretched as far as it takes.
   Under pressure all are doubled, or doubled twice. Nobody waits longer than `poll_s_max`.
3. Within its period each vehicle has a moment of its own, by a hash of VIN and period. It is told to come at the
   first of these that is at least half a period away. So vehicles that came at once are spread over one whole
   period by their next poll, and one that drifts is led back: a fleet never synchronises.

4. Who would come after the window for its offer has opened comes soon after it opens: spread over `poll_soon_s`, or
   over as long as it takes with so many that wait for a window.

Servers of one installation tell a vehicle the same, since the moments are those of the wall clock; one that jumps
moves all of them alike.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import InvalidInput

TOLD_S_MAX: Final = 86_399  # seconds; DDI writes them as HH:MM:SS
ROUNDING_S: Final = 1e-6  # seconds; a period that is whole stays so
UNTOLD_PERCENT: Final = 10  # an interval that is off by no more than this is not told anew


class Need(IntEnum):
    """What a vehicle waits for."""

    IDLE = 0
    CHOSEN = 1  # released to it; the offer is on its way, or waits for its turn
    OFFERED = 2
    WAITING = 3  # it has an offer, and is told of it inside a window only


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
        vehicles: how many of each need poll this installation. Those that wait for a window poll like idle ones
            outside of it, and inside of it like all that have an offer; how many do is not counted, so it may be all.
        doublings: 0 while the server is calm.

    Returns:
        1 to `TOLD_S_MAX` seconds for each need.
    """
    busy_s = min(policy.poll_busy_s, policy.poll_s)
    bases_s = (policy.poll_s, min(policy.poll_soon_s, policy.poll_s), busy_s, policy.poll_s)
    most_s = min(max(policy.poll_s_max, policy.poll_s), TOLD_S_MAX)
    asked_per_s = sum(count / base_s for count, base_s in zip(vehicles, bases_s, strict=True))
    inside_per_s = asked_per_s + vehicles[Need.WAITING] * (1 / busy_s - 1 / policy.poll_s)
    asked = [asked_per_s, asked_per_s, inside_per_s, asked_per_s]
    stretches = [max(1.0, each / policy.polls_per_s_max) * 2**doublings for each in asked]
    return tuple(
        min(math.ceil(base_s * stretch - ROUNDING_S), most_s)
        for base_s, stretch in zip(bases_s, stretches, strict=True)
    )


def decide_wait_s(vin: str, *, period_s: int, now_s: int) -> int:
    """Decide how many seconds from now a vehicle polls again: rule 3.

    Returns:
        Half a period to one and a half, at least 1 second.
    """
    if period_s <= 1:
        return 1
    return wait_for_moment_s(moment_s(vin, period_s), period_s=period_s, now_s=now_s)


def moment_s(vin: str, period_s: int) -> int:
    """Return the second within its period that is a vehicle's own."""
    return zlib.crc32(b"%b %d" % (vin.encode(), period_s)) % period_s


def wait_for_moment_s(moment_s: int, *, period_s: int, now_s: int) -> int:
    """Return the seconds to the first such moment that is at least half a period away; arithmetic only."""
    least_s = period_s // 2
    return least_s + (moment_s - now_s - least_s) % period_s


def decide_opening_wait_s(vin: str, wait_s: int, *, opens_in_s: int, spread_s: int) -> int:
    """Decide how many seconds from now a vehicle polls again whose window opens in `opens_in_s`: rule 4.

    Returns:
        `wait_s`, or a moment of its own within `spread_s` after the opening where `wait_s` is past the opening.
    """
    opening_s = max(0, opens_in_s)
    if wait_s <= opening_s:
        return wait_s
    return opening_s + 1 + zlib.crc32(vin.encode()) % max(1, spread_s)


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

    def wait_s(self, vin: str, need: Need, *, opens_in_s: int | None = None) -> int:
        """Return how many seconds from now a vehicle is to poll again; None: it waits for no opening."""
        now_s = int(self._clock.now().timestamp())
        if now_s != self._at_s:  # once a second is often enough
            self._at_s = now_s
            self._periods_s = decide_periods_s(self._policy, self._vehicles, doublings=self.doublings)
        wait_s = decide_wait_s(vin, period_s=self._periods_s[need], now_s=now_s)
        if opens_in_s is None:
            return wait_s
        fair_s = self._vehicles[Need.WAITING] // self._policy.polls_per_s_max
        spread_s = max(self._periods_s[Need.CHOSEN], fair_s)
        return decide_opening_wait_s(vin, wait_s, opens_in_s=opens_in_s, spread_s=spread_s)
