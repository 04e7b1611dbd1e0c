"""What became of the vehicles of a campaign that was stopped, and did the next one do better. Pure.

Each vehicle that was offered the release is one of these:

1. *untouched*: nothing was installed on it.
2. *kept*: the release was confirmed on it, no return was asked for, and it runs it still.
   *moved on*: as kept, but it is known to run something else since, and by which release if one brought it.
3. *recovered*: it runs again what it ran before. A native vehicle shows that in a signed manifest made after the action
   ended; over DDI the vehicle's report is all there is.
4. *not recovered*: its roll-back or its signed return failed, or it says that it rolled back and shows the release.
5. *unknown*: it still works on it, or nothing was heard of it since.

One vehicle that did not recover is enough for the word; then one that is unknown.

Invariants:
    A vehicle of which nothing is known is never recovered.
    Every vehicle is counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ringroad.adapt.model import Recovery, UpdateCounts, UpdateVerdict
from ringroad.kernel.errors import InvalidInput

End = Literal["untouched", "kept", "moved_on", "recovered", "not_recovered", "unknown"]

_OPEN = frozenset({"pending", "offered", "active", "cancelling"})


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleGroup:
    """Vehicles of which the same is known.

    Attributes:
        vehicles: how many.
        state: of their action in the stopped campaign.
        began: they began to install.
        blocked: their roll-back failed; they need service.
        native: they prove what they run by manifest.
        shown: what a manifest since the end of the action showed: the release, something else, or there was none.
        return_state: of the signed return, None where none was asked for, or none was needed.
        moved_on_to: version of the release it runs since, empty for software of none; None: it still runs the stopped one.
    """

    vehicles: int
    state: str
    began: bool
    blocked: bool
    native: bool
    shown: Literal["none", "release", "other"]
    return_state: str | None
    moved_on_to: str | None = None

    def __post_init__(self) -> None:
        """Refuse counts that are none."""
        if self.vehicles < 1:
            raise InvalidInput("a group has at least one vehicle")


def decide_recovery(groups: Iterable[VehicleGroup]) -> Recovery:
    """Decide what became of a stopped campaign's vehicles."""
    counts: Counter[str] = Counter()
    moved_on_to: Counter[str] = Counter()
    for group in groups:
        end = _end_of(group)
        counts[end] += group.vehicles
        if end == "moved_on" and group.moved_on_to:
            moved_on_to[group.moved_on_to] += group.vehicles
    return recovery_of(counts, moved_on_to)


def recovery_of(vehicles: Mapping[str, int], moved_on_to: Mapping[str, int]) -> Recovery:
    """Decide by counts of vehicles by their end, and by release of those that moved on; several pages are added up before."""
    counts = {end: vehicles.get(end, 0) for end in get_args(End)}
    to = dict(sorted(moved_on_to.items()))
    if counts["not_recovered"]:
        return Recovery(word="not_recovered", reason="", moved_on_to=to, **counts)
    if counts["unknown"]:
        return Recovery(word="unknown", reason="not_heard_of", moved_on_to=to, **counts)
    touched = counts["recovered"] + counts["kept"] + counts["moved_on"]
    return Recovery(word="recovered", reason="" if touched else "none_touched", moved_on_to=to, **counts)


def decide_updates(before: UpdateCounts, after: UpdateCounts) -> UpdateVerdict:
    """Decide whether a campaign that finished did better than the one whose halt opened the finding.

    The gate judged the finished one with enough and fresh outcomes (`ship/gate.py`), so the shares are compared as they
    are: a lower share of harmed vehicles is better, anything else is unknown, and without outcomes nothing is said.
    """
    if not before.harmed:
        return UpdateVerdict(word="unknown", reason="before_missing", before=before, after=after)
    if not after.reported:
        return UpdateVerdict(word="unknown", reason="after_missing", before=before, after=after)
    if after.harmed * before.reported < before.harmed * after.reported:
        return UpdateVerdict(word="better", reason="", before=before, after=after)
    return UpdateVerdict(word="unknown", reason="not_distinguishable", before=before, after=after)


def recovery_body(recovery: Recovery) -> dict[str, Any]:
    """Return what became of the vehicles in JSON types, for the outcome and its fact."""
    return {
        "measure": "recovery",
        "verdict": recovery.word,
        "reason": recovery.reason,
        "vehicles": {
            "recovered": recovery.recovered,
            "not_recovered": recovery.not_recovered,
            "unknown": recovery.unknown,
            "kept": recovery.kept,
            "moved_on": recovery.moved_on,
            "untouched": recovery.untouched,
        },
        "moved_on_to": dict(recovery.moved_on_to),
    }


def standing(body: Mapping[str, Any]) -> str:
    """Return the word for how a stopped campaign's vehicles stand: `kept` while some run its release, if none is worse.

    Args:
        body: of `recovery_body`.
    """
    return "kept" if body["verdict"] == "recovered" and body["vehicles"].get("kept") else str(body["verdict"])


def updates_body(verdict: UpdateVerdict) -> dict[str, Any]:
    """Return the comparison of two campaigns in JSON types, for the outcome and its fact."""
    return {
        "measure": "updates",
        "verdict": verdict.word,
        "reason": verdict.reason,
        **{
            name: {"vehicles_harmed": side.harmed, "vehicles_reported": side.reported}
            for name, side in (("before", verdict.before), ("after", verdict.after))
        },
    }


def _end_of(group: VehicleGroup) -> End:
    if group.blocked:
        return "not_recovered"
    if group.state in _OPEN:
        return "unknown"
    if group.return_state is not None:
        if group.return_state in _OPEN:
            return "unknown"
        return "recovered" if group.return_state == "installed" else "not_recovered"
    if group.state == "installed":
        return "kept" if group.moved_on_to is None else "moved_on"
    if not group.began and group.state != "rolled_back":
        return "untouched"
    if group.native:
        if group.shown == "release":  # late, or against its own word
            return "kept" if group.state == "expired" else "not_recovered"
        return "recovered" if group.shown == "other" else "unknown"
    return "unknown" if group.state == "expired" else "recovered"
