"""Did what a parent took over from its clone come true there? Measured at the parent after it was accepted.

One station is measured by its own times, against those before; work dealt out anew and more room by the seconds between two vehicles that
leave the line. It is looked at after fixed numbers of observations, each look at a fraction of the risk, so that
looking often finds nothing by chance.

Pure. Invariant: too few observations decide nothing; what did not come true at the last look is taken back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, Literal

from ringroad.build.clone.improvements import BETTER, OWN_N_MIN
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Posterior

LOOKS: Final = (50, 100, 200, 400)  # observations of each station, or vehicles
RISK: Final = 0.05  # of keeping what is not better, over all looks together
P_KEPT_MIN: Final = 1 - RISK / len(LOOKS)  # at one look (Bonferroni)

Outcome = Literal["running", "kept", "withdrawn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measure of a trial: before it was accepted, and since; None: nothing yet."""

    name: str
    kind: str  # of `BETTER`, or ``interval_s``
    before: Posterior | None
    after: Posterior | None
    believed: bool = False  # before: what the document said, as too little was measured

    @property
    def better(self) -> float:
        """Probability that it is better now than before."""
        if self.before is None or self.after is None:
            return 0.0
        moved = BETTER.get(self.kind, -1) * (self.after.centre - self.before.centre)
        return NormalDist().cdf(moved / math.sqrt(self.before.error_variance + self.after.error_variance))

    @property
    def n(self) -> float:
        """Observations since it was accepted."""
        return self.after.n if self.after else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a trial shows.

    Attributes:
        outcome: whether it is over.
        reason: why, for a person.
        looked_n: at how many observations it was looked at last.
        measured: what was.
    """

    outcome: Outcome
    reason: str
    looked_n: int
    measured: tuple[Measured, ...]

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form kept in `plant_proposal.trial`."""
        return {
            "outcome": self.outcome, "reason": self.reason, "looked_n": self.looked_n,
            "measured": [
                {
                    "name": each.name, "before": each.before.mean if each.before else None,
                    "after": each.after.mean if each.after else None, "n": each.n, "better": each.better,
                    "before_n": each.before.n if each.before else 0.0, "believed": each.believed,
                }
                for each in self.measured
            ],
        }  # fmt: skip


def measured_since(
    key: Key, *, believed: Posterior | None, was: Mapping[Key, Posterior], own: Mapping[Key, Posterior]
) -> Measured:
    """Return one station's measure: against its own times before, or its document's belief where those are too few.

    Args:
        key: what is tried.
        believed: by the parent's document before it was shifted.
        was: what its stations measured until it was accepted.
        own: what they measured since.
    """
    before = was.get(key)
    few = before is None or before.n < OWN_N_MIN
    return Measured(
        name=str(key), kind=key.kind, before=believed if few else before, after=own.get(key), believed=few
    )


def decide_trial(measured: Sequence[Measured], *, looked_n: int) -> Trial:
    """Return what a trial shows now.

    Args:
        measured: what has to be better.
        looked_n: at how many observations it was looked at before.
    """
    least = min((each.n for each in measured), default=0.0)
    due = max((each for each in LOOKS if each <= least), default=0)
    if due <= looked_n:
        following = next((each for each in LOOKS if each > looked_n), LOOKS[-1])
        return Trial(
            outcome="running", reason=f"{least:g} of {following} observed", looked_n=looked_n, measured=tuple(measured)
        )  # fmt: skip
    worst = min(measured, key=lambda each: each.better)
    said = f"{worst.name} is better with a probability of {worst.better:.3f} after {least:g}"
    outcome: Outcome = "running"
    if worst.better >= P_KEPT_MIN:
        outcome = "kept"
    elif worst.better <= 1 - P_KEPT_MIN or due == LOOKS[-1]:
        outcome = "withdrawn"
    return Trial(outcome=outcome, reason=said, looked_n=due, measured=tuple(measured))
