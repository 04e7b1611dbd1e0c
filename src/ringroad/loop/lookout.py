"""What a round looks at: everything, or only vehicles that changed since the round before.

To look through all vehicles that wait costs by their number, 0.75 s for 300,000. So it is done seldom enough to take
`WHOLE_SHARE` of the time at most, and at once when what runs changed or a round left something over; in a small fleet
that is in every round. In between a round looks at the vehicles that changed, or whose actions did; for bundles, at all
that wait for one while a round left some over. The gate of a campaign of many vehicles is paced in the same way. No rest
is longer than `REST_S_MAX`, a gate's `GATE_REST_S_MAX`.

Only a restriction: every statement checks for itself what a vehicle may be told. What is missed, as a change that took
long to commit, or an attempt that has become due, waits for the next whole look.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.ship.store.reading import (
    plan_each_time,
    read_change_number,
    read_changed_vins,
    read_levels,
)
from ringroad.storage.db import Connection

WHOLE_SHARE: Final = 20  # one part in so many of the time goes into looking at everything
GATE_SHARE: Final = 10  # and into the gate of one campaign
REST_S_MAX: Final = 60.0  # seconds; what took very long, as on a disk that stood, is not put off for minutes
GATE_REST_S_MAX: Final = (
    30.0  # seconds; for as long may a halt be late, and offers go by the gate's last word
)
CHEAP_S: Final = 0.2  # seconds; a look at everything that takes no longer is done in every round
GATE_CHEAP_S: Final = 0.5  # seconds; the same of a gate
SLACK: Final = 1_000  # numbers looked at again: a transaction that took longer may have committed behind them
CHANGED_MAX: Final = 20_000  # vehicles; with more, everything is looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one round looks at; None: every vehicle.

    Attributes:
        vins: who is judged again and offered what waits.
        bundles: for whom bundles are signed.
    """

    vins: tuple[str, ...] | None
    bundles: tuple[str, ...] | None


EVERYTHING: Final = Look(vins=None, bundles=None)


class Pace:
    """Says of things that cost much, by name, whether they are due again: none takes more than its share of the time.

    Unless that share is too little to do it every `rest_s_max`.
    """

    def __init__(
        self, clock: Clock, *, share: int, cheap_s: float = CHEAP_S, rest_s_max: float = REST_S_MAX
    ) -> None:
        self._clock = clock
        self._share = share
        self._cheap_s = cheap_s
        self._rest_s_max = rest_s_max
        self._due_s: dict[str, float] = {}
        self._done_s: dict[str, float] = {}  # when it last ended, if that ended well

    def is_due(self, name: str) -> bool:
        """Tell whether it has rested for `share` times as long as it took the last time, or as long as it may."""
        return self._due_s.get(name, 0.0) <= self._clock.monotonic_s()

    def is_fresh(self, name: str) -> bool:
        """Tell whether it was done within the longest rest, and did not fail the last time."""
        done_s = self._done_s.get(name)
        return done_s is not None and self._clock.monotonic_s() - done_s <= self._rest_s_max

    @contextmanager
    def spend(self, name: str) -> Iterator[None]:
        """Do it, and note how long it took."""
        began_s = self._clock.monotonic_s()
        self._done_s.pop(name, None)
        done = False
        try:
            yield
            done = True
        finally:
            ended_s = self._clock.monotonic_s()
            took_s = ended_s - began_s
            rest_s = min(took_s * self._share, self._rest_s_max) if took_s > self._cheap_s else 0.0
            self._due_s[name] = ended_s + rest_s
            if done:
                self._done_s[name] = ended_s

    def keep_only(self, names: set[str]) -> None:
        """Forget what is not there any more."""
        for name in self._due_s.keys() - names:
            del self._due_s[name]
            self._done_s.pop(name, None)

    def hurry(self, name: str) -> None:
        """Let it be due now."""
        self._due_s.pop(name, None)


class Lookout:
    """What a reconciler remembers from round to round, on one connection. Lost with it; then it looks at everything."""

    def __init__(self, clock: Clock) -> None:
        self.gates = Pace(clock, share=GATE_SHARE, cheap_s=GATE_CHEAP_S, rest_s_max=GATE_REST_S_MAX)
        self._whole = Pace(clock, share=WHOLE_SHARE)
        self._seq = 0
        self._running: object = None
        self._left = False
        self._bundles_left = self._bundles_wait = False

    @contextmanager
    def look(self, conn: Connection) -> Iterator[Look]:
        """Give what this round looks at; what it did not get through is looked at again in full."""
        if self._running is None:
            plan_each_time(conn)
        running = read_levels(conn)
        seq = read_change_number(conn)
        vins: list[str] | None = None
        if running == self._running and not self._whole.is_due(""):
            vins = read_changed_vins(conn, after_seq=self._seq - SLACK, vins_max=CHANGED_MAX)
        self._bundles_left = False
        if vins is None:
            with self._whole.spend(""):
                yield EVERYTHING
        else:
            yield Look(vins=tuple(vins), bundles=None if self._bundles_wait else tuple(vins))
        self._bundles_wait = self._bundles_left  # not after a look that broke off
        if self._left:  # only now: the end of a whole look sets when the next one is due
            self._whole.hurry("")
            self._left = False
        self._seq, self._running = seq, running

    def left_some(self) -> None:
        """Note, during a look, that there was more to do than one round may: the next one looks at everything."""
        self._left = True

    def left_bundles(self) -> None:
        """Note the same of bundles alone, which costs no look at everything: the next round looks for all that wait."""
        self._bundles_left = True
