"""May a plan replace another? Both ran on the twin with the same luck; this compares what came of it.

A replication is better with the new plan if its orders are less late in sum, or as late and the line ends
earlier, or neither differs by a takt: then the new plan counts as better because it costs less as counted,
or it would not have been proposed.

Pure. Invariant: without replications, or with times that are not finite, the answer is no.

Source: Law (2015), Simulation Modeling and Analysis, 11.2, common random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ringroad.build.twin.arrays import Floats
from ringroad.build.twin.drift import StationDrift, out_of_calibration

P_BETTER_PERMILLE_MIN: Final = 900
DUE_QUANTILE_PERMILLE: Final = 900
REPLICATIONS_MIN: Final = 100  # fewer prove nothing at the 0.9 quantile
NAMED_MAX: Final = 3  # orders named in an explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinCheck:
    """What the twin says of a new plan against the running one.

    Attributes:
        released: whether the new plan may replace the running one.
        reason: why, for a person.
        replications: runs of each plan.
        better_permille: of the replications, those that are better with the new plan.
        late_s: mean of all lateness in a run, running and new plan.
        end_s: mean of when the last vehicle leaves, running and new plan.
        broken: orders that are in time at the 0.9 quantile with the running plan, and not with the new one.
    """

    released: bool
    reason: str
    replications: int
    better_permille: int
    late_s: tuple[int, int]
    end_s: tuple[int, int]
    broken: tuple[str, ...]

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form kept with a schedule and in its facts."""
        return {
            "released": self.released,
            "reason": self.reason,
            "replications": self.replications,
            "better_permille": self.better_permille,
            "late_s": list(self.late_s),
            "end_s": list(self.end_s),
            "broken": list(self.broken),
        }


def judge(
    running: Floats, new: Floats, due_s: Sequence[float], ids: Sequence[str], *, takt_s: float
) -> TwinCheck:
    """Compare two plans.

    Args:
        running: [replication, vehicle] when it leaves the line, with the running plan.
        new: the same, with the new plan.
        due_s: of each vehicle; infinite for one that nobody waits for.
        ids: of each vehicle's order.
        takt_s: what is too little to matter.
    """
    replications, vehicles = running.shape
    if replications < REPLICATIONS_MIN or not np.isfinite(running).all() or not np.isfinite(new).all():
        return TwinCheck(
            released=False, reason="the twin did not run through", replications=replications,
            better_permille=0, late_s=(0, 0), end_s=(0, 0), broken=(),
        )  # fmt: skip
    due = np.asarray(due_s, dtype=np.float64)
    waited = np.isfinite(due)
    late = [np.maximum(0, finish[:, waited] - due[waited]).sum(axis=1) for finish in (running, new)]
    end = [finish.max(axis=1) if vehicles else np.zeros(replications) for finish in (running, new)]
    later, longer = late[1] - late[0], end[1] - end[0]
    worse = (later > takt_s) | ((np.abs(later) <= takt_s) & (longer > takt_s))
    better_permille = int(1000 * (~worse).sum() // replications)
    broken = _broken(
        running[:, waited],
        new[:, waited],
        due[waited],
        [each for each, is_waited in zip(ids, waited, strict=True) if is_waited],
    )
    released = better_permille >= P_BETTER_PERMILLE_MIN and not broken
    check = TwinCheck(
        released=released, reason="", replications=replications, better_permille=better_permille,
        late_s=_means(late), end_s=_means(end), broken=broken,
    )  # fmt: skip
    return replace(check, reason=_explain(check, takt_s=takt_s))


def name_saving(check: TwinCheck, saving: str) -> TwinCheck:
    """Return a check whose reason says what costs less with the new plan, if it is released."""
    return replace(check, reason=f"{check.reason}; it costs less: {saving}") if check.released else check


def withhold(check: TwinCheck, drift: Sequence[StationDrift]) -> TwinCheck:
    """Return a check that releases nothing if the twin it comes from is out of calibration."""
    wrong = out_of_calibration(drift)
    if not wrong:
        return check
    named = "; ".join(str(each) for each in wrong[:NAMED_MAX])
    more = len(wrong) - NAMED_MAX
    return replace(
        check,
        released=False,
        reason=f"the twin is out of calibration: {named}"
        + (f"; and {more} more stations" if more > 0 else ""),
    )


def _broken(running: Floats, new: Floats, due: Floats, ids: Sequence[str]) -> tuple[str, ...]:
    if not ids:
        return ()
    quantile = DUE_QUANTILE_PERMILLE / 1000
    before, after = (np.quantile(finish, quantile, axis=0) for finish in (running, new))
    return tuple(each for each, is_late in zip(ids, (before <= due) & (due < after), strict=True) if is_late)


def _means(values: Sequence[Floats]) -> tuple[int, int]:
    first, second = (round(float(each.mean())) for each in values)
    return first, second


def _explain(check: TwinCheck, *, takt_s: float) -> str:
    share = f"{check.better_permille / 10:.1f} % of {check.replications} runs"
    if check.broken:
        named = ", ".join(check.broken[:NAMED_MAX])
        more = len(check.broken) - NAMED_MAX
        return (
            f"{len(check.broken)} in time now would be late at the {DUE_QUANTILE_PERMILLE / 1000} quantile: {named}"
            + (f" and {more} more" if more > 0 else "")
        )
    late = check.late_s[1] - check.late_s[0]
    end = check.end_s[1] - check.end_s[0]
    moved = f"lateness {late:+d} s, end of the line {end:+d} s in the mean"
    if not check.released:
        return f"better in only {share}; {moved}"
    if abs(late) <= takt_s and abs(end) <= takt_s:
        moved += ": alike within a takt, where the plan that costs less counts as better"
    return f"better in {share}; {moved}"
