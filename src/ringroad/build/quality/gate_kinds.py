"""Which few kinds of vehicles are worth a name at a gate? Pure.

A kind is named by what carries its failures: a variant, and a lot, a software version or both where one of these does;
all lots of a vehicle only where no lot alone explains it. At least `PAYING_SHARE` of a name's vehicles are worth their inspection. What
saves most is named first, and its vehicles are then left out. What saves less than `LEAST_SHARE` of all that names could save is not named: an inspector keeps few names in mind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ringroad.build.plant.alike import Alike

LEAST_SHARE: Final = 0.05  # of what could be saved, that a name saves at least: no more than 20 names
ALIKE_SHARE: Final = 0.95  # of what the best name saves, from which a simpler one is taken instead
PAYING_SHARE: Final = 0.8  # of the vehicles of a name, that are worth their inspection at least
NAMED_AFTER_MAX: Final = 1_000  # worst kinds that names are looked for in
SIGMA: Final = 1.645  # of an interval that covers nine times of ten
JEFFREYS: Final = 0.5

Name = tuple[str, str, tuple[tuple[str, str], ...]]  # variant, software or "", lots


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """Vehicles alike: their share of all, the chance that looking at one catches something, who they are, what was seen."""

    share: float
    catches: float
    kind: Alike | None
    vehicles: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedKind:
    """A kind of vehicles of which a gate should inspect every one.

    Attributes:
        kind: of them.
        share: of all vehicles.
        catches: bad ones that this catches, of 1,000 vehicles of the line.
        more: of these, escapes that the gate as it is lets pass.
        saves: expected cost of 1,000 vehicles of the line, against looking at them by chance; in the unit of the costs.
        vehicles: that were checked.
        failed: of these, not right at once.
        times: as often as the station's other vehicles; between the next two nine times of ten.
        times_low: of it.
        times_high: of it.
    """

    kind: Alike
    share: float
    catches: float
    more: float
    saves: float
    vehicles: int
    failed: int
    times: float
    times_low: float
    times_high: float


def first_of(kinds: Sequence[Alike], kind: Alike | None) -> Alike | None:
    """Return the first of these kinds that vehicles are of, as a gate chooses them; None for none."""
    if kind is None:
        return None
    return next((each for each in kinds if each.has(kind.variant, kind.software, kind.lots)), None)


def worth_a_name(risks: Iterable[Risk], gains: Mapping[Alike | None, float]) -> tuple[list[Alike], int]:
    """Return the kinds to inspect every one of, what saves most first, and how many more would save little each.

    Args:
        risks: vehicles alike.
        gains: what is saved by looking at all of these; below 0 where that costs more.
    """
    shares = {each.kind: each.share for each in risks if each.kind is not None}
    left = {kind: gains[kind] for kind in shares}
    paying = sorted(((gain, kind) for kind, gain in left.items() if gain > 0), reverse=True)
    members: dict[Name, list[Alike]] = {
        name: [] for _, kind in paying[:NAMED_AFTER_MAX] for name in _names(kind)
    }
    saved = {name: Saved() for name in members}
    for kind, gain in left.items():
        for name in _names(kind):
            if name in members:
                members[name].append(kind)
                saved[name].add(shares[kind], gain)
    least = LEAST_SHARE * sum(gain for gain, _ in paying)
    found: list[Alike] = []
    while near := _near_best(saved, least):
        best = min(near, key=lambda each: (_terms(each[0]), -each[1], each[0]))[0]
        found.append(Alike(variant=best[0], software=best[1], lots=best[2]))
        for kind in members[best]:
            gain = left.pop(kind, 0.0)
            for name in _names(kind) if gain else ():
                if name in saved:
                    saved[name].add(-shares[kind], -gain, pays=gain > 0)
        del saved[best]
    return found, sum(gain > 0 for gain in left.values())


@dataclass(slots=True)
class Saved:
    """What looking at all vehicles of a name saves, and which share of all vehicles that is; of the worth ones also."""

    gain: float = 0.0
    share: float = 0.0
    paying: float = 0.0

    def add(self, share: float, gain: float, *, pays: bool | None = None) -> None:
        """Add vehicles alike, or take them away by what they were added with below 0."""
        self.gain, self.share = self.gain + gain, self.share + share
        if gain > 0 if pays is None else pays:
            self.paying += share


def _near_best(saved: Mapping[Name, Saved], least: float) -> list[tuple[Name, float]]:
    """Return the names that save the most, or nearly, and the least at least."""
    pure = {name: each.gain for name, each in saved.items() if each.paying >= PAYING_SHARE * each.share}
    most = max(pure.values(), default=0.0)
    if most <= 1e-12 or most < least * (1 - 1e-9):
        return []
    return [(name, gain) for name, gain in pure.items() if gain >= ALIKE_SHARE * most]


def describe(
    own: Mapping[Alike | None, Sequence[Risk]], *, now: Mapping[Alike | None, float], gain: Mapping[Alike | None, float]
) -> Iterator[NamedKind]:  # fmt: skip
    """Yield what is known of named kinds; a vehicle counts for the first that it is of.

    Args:
        own: vehicles alike by the named kind that they are of; None for those of none.
        now: which share of vehicles alike is looked at now.
        gain: what is saved by looking at all of these, of one vehicle of the line.
    """
    n, bad = sum(each.vehicles for each in own[None]), sum(each.failed for each in own[None])
    for kind in own:
        if kind is None:
            continue
        vehicles, failed = sum(each.vehicles for each in own[kind]), sum(each.failed for each in own[kind])
        times = (failed + JEFFREYS) / (vehicles + 1) * (n + 1) / (bad + JEFFREYS)
        width = math.exp(SIGMA * math.sqrt(1 / (failed + JEFFREYS) + 1 / (bad + JEFFREYS)))
        yield NamedKind(
            kind=kind, share=sum(each.share for each in own[kind]), vehicles=vehicles, failed=failed,
            catches=1000 * sum(each.share * each.catches for each in own[kind]),
            more=1000 * sum(each.share * each.catches * (1 - now[each.kind]) for each in own[kind]),
            saves=1000 * sum(gain[each.kind] for each in own[kind]),
            times=times, times_low=times / width, times_high=times * width,
        )  # fmt: skip


def _names(kind: Alike) -> Iterator[Name]:
    """Yield what vehicles of a kind may be named by."""
    lots: list[tuple[tuple[str, str], ...]] = [(), kind.lots] if len(kind.lots) > 1 else [()]
    lots += [(each,) for each in kind.lots]
    for software in (kind.software, "") if kind.software else ("",):
        for each in lots:
            yield kind.variant, software, each


def _terms(name: Name) -> int:
    return len(name[2]) + bool(name[1])
