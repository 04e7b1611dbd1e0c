"""What a parent's twin says of what its clone found: a value, and how runs are compared.

Pure. Invariant: a gain of a takt or less is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ringroad.build.twin.arrays import Floats
from ringroad.build.twin.judge import P_BETTER_PERMILLE_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the parent's twin says.

    Attributes:
        proved: whether it may be put before a person.
        reason: why, for that person.
        runs: of each line.
        better_permille: of the runs, those in which the last vehicle leaves earlier by more than a takt.
        end_s: when it leaves, as it is and as it would be, in the mean.
        gain_s: how much earlier: 5 % quantile, mean, 95 % quantile of the runs.
        plant_generation: of the parent's document that the twin ran.
    """

    proved: bool
    reason: str
    runs: int = 0
    better_permille: int = 0
    end_s: tuple[int, int] = (0, 0)
    gain_s: tuple[int, int, int] = (0, 0, 0)
    plant_generation: int = 0

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form kept in `plant_proposal.proof`."""
        return {
            "proved": self.proved, "reason": self.reason, "runs": self.runs, "better_permille": self.better_permille,
            "end_s": list(self.end_s), "gain_s": list(self.gain_s), "plant_generation": self.plant_generation,
        }  # fmt: skip


def judge_runs(ends: Floats, *, vehicles: int, takt_s: float) -> Proof:
    """Compare when the last vehicle leaves: [as it is, as it would be] by run."""
    gain = ends[0] - ends[1]
    better = int(1000 * np.mean(gain > takt_s))
    low, high = np.quantile(gain, (0.05, 0.95)).tolist()
    mean = float(gain.mean())
    said = f"{vehicles} vehicles leave {mean:.0f} s earlier in the mean, {low:.0f} to {high:.0f} s in nine of ten runs"
    if better >= P_BETTER_PERMILLE_MIN:
        reason = f"earlier by more than a takt in {better / 10:g} % of {ends.shape[1]} runs: {said}"
    elif mean <= takt_s:
        reason = f"the line would gain nothing: another station sets its pace; {said}"
    else:
        reason = f"earlier by more than a takt in only {better / 10:g} % of {ends.shape[1]} runs: {said}"
    return Proof(
        proved=better >= P_BETTER_PERMILLE_MIN, reason=reason, runs=ends.shape[1], better_permille=better,
        end_s=(round(float(ends[0].mean())), round(float(ends[1].mean()))),
        gain_s=(round(low), round(mean), round(high)),
    )  # fmt: skip
