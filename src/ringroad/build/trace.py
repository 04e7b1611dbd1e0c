"""Where was it built? Faults and claims of the field traced back to lot, supplier, station, software, check and week.

A trait (a lot of a part, a software version at birth, ...) is suspect if more vehicles with the fault have it than
chance explains, given how many vehicles have it and how many have the fault: Fisher's exact test, one-sided. All traits
are asked at once, so the level is shared among those that could have shown anything at all (Tarone): in all questions
without a cause at most `ALPHA_PPM` in a million name a suspect.
What of several suspects stands by itself is asked again among the vehicles without the first of them.

Pure. Invariant: no suspect is named on less than that; without one it is said so, and what would have been noticed.

Source: R. A. Fisher, "The Design of Experiments" (1935); R. E. Tarone, Biometrics 46 (1990) 515-522.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ringroad.build.plant.model import Cell, Plant
from ringroad.kernel.rates import RateRatio, Tick, rate_ratio

ALPHA_PPM: Final = 10_000  # of a million questions without a cause, those that may name one
APART_PPM: Final = 50_000  # of the second question, among vehicles without the first suspect
TRAITS_MAX: Final = 20_000  # asked at once, the most frequent ones
SUSPECTS_MAX: Final = 50  # that are told
Standing = Literal["first", "stands", "goes_with"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraitCount:
    """How many vehicles have a trait, and how many of those have the fault."""

    kind: str
    thing: str
    value: str
    station: str = ""
    vehicles: int
    with_fault: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it."""
        return self.kind, self.thing, self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A trait that vehicles with the fault have more often than chance explains.

    Attributes:
        trait: and its counts.
        chance: of so many or more among the vehicles with the fault, if it had nothing to do with it.
        ratio: how many times more often its vehicles have the fault than the others.
        standing: the first one, one that stands among the vehicles without the first, or one that goes with it.
    """

    trait: TraitCount
    chance: float
    ratio: RateRatio
    standing: Standing = "first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What a set of faulty vehicles has in common.

    Attributes:
        faulty: vehicles with the fault, of which a birth record is known.
        total: vehicles of the programme with one.
        asked: traits that some vehicles have and others do not.
        threshold: chance below which a trait is suspect.
        noticed: of the faulty vehicles, how many would have had to share a trait that a tenth of all vehicles has, to be
            noticed; None if not even all of them would have been enough.
        suspects: least chance first.
    """

    faulty: int
    total: int
    asked: int
    threshold: float
    noticed: int | None
    suspects: tuple[Suspect, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateChoice:
    """The gate that should have caught something; both "" if none could, and why in either case."""

    station: str = ""
    gate: str = ""
    reason: str


def chance_of(with_fault: int, *, vehicles: int, faulty: int, total: int) -> float:
    """Return the chance that so many or more of the faulty vehicles have a trait that has nothing to do with it.

    Args:
        with_fault: faulty vehicles that have the trait.
        vehicles: that have the trait.
        faulty: vehicles.
        total: vehicles.
    """
    least, most = max(0, faulty + vehicles - total), min(vehicles, faulty)
    if with_fault <= least:
        return 1.0
    if with_fault > most:
        return 0.0
    # From the most likely count on: its term is never too small for a float, as one far from it may be.
    start = max(with_fault, min(most, (vehicles + 1) * (faulty + 1) // (total + 2)))
    first = math.exp(
        _choose(vehicles, start) + _choose(total - vehicles, faulty - start) - _choose(total, faulty)
    )
    found = term = first
    for k in range(start, most):
        term *= (vehicles - k) * (faulty - k) / ((k + 1) * (total - vehicles - faulty + k + 1))
        found += term
        if term < found * 1e-17:
            break
    term = first
    for k in range(start, with_fault, -1):
        term *= k * (total - vehicles - faulty + k) / ((vehicles - k + 1) * (faulty - k + 1))
        found += term
        if term < found * 1e-17:
            break
    return min(1.0, found)


def ask(counts: Sequence[TraitCount], *, faulty: int, total: int, alpha_ppm: int = ALPHA_PPM) -> Traced:
    """Return which traits are suspect.

    Args:
        counts: every trait that is asked for, also those that no faulty vehicle has: they count as questions.
        faulty: vehicles with the fault.
        total: vehicles.
        alpha_ppm: of a million such questions without a cause, those that may name one.
    """
    asked = [each for each in counts if 0 < each.vehicles < total]
    alpha = alpha_ppm / 1_000_000
    if not faulty or faulty >= total or not asked:
        return Traced(faulty=faulty, total=total, asked=len(asked), threshold=alpha, noticed=None)
    threshold = alpha / _questions(asked, faulty=faulty, total=total, alpha=alpha)
    chances = [
        (chance_of(each.with_fault, vehicles=each.vehicles, faulty=faulty, total=total), each)
        for each in asked
    ]
    found = sorted(
        ((chance, each) for chance, each in chances if chance <= threshold),
        key=lambda pair: (pair[0], pair[1].key),
    )
    return Traced(
        faulty=faulty, total=total, asked=len(asked), threshold=threshold,
        noticed=_noticed(faulty=faulty, total=total, threshold=threshold),
        suspects=tuple(
            Suspect(trait=each, chance=chance, ratio=_ratio(each, faulty=faulty, total=total))
            for chance, each in found[:SUSPECTS_MAX]
        ),
    )  # fmt: skip


def tell_apart(
    traced: Traced, rest: Mapping[tuple[str, str, str], TraitCount], *, faulty: int, total: int
) -> tuple[Suspect, ...]:
    """Say of each suspect whether it stands among the vehicles without the first one, or goes with that.

    Args:
        traced: with its suspects.
        rest: counts of the suspects among those vehicles.
        faulty: of them.
        total: of them.
    """
    if not traced.suspects:
        return ()
    first, *others = traced.suspects
    told = [first]
    for each in others:
        left = rest.get(each.trait.key)
        chance = (
            chance_of(left.with_fault, vehicles=left.vehicles, faulty=faulty, total=total)
            if left and faulty
            else 1.0
        )
        stands = chance <= APART_PPM / 1_000_000
        told.append(
            Suspect(
                trait=each.trait,
                chance=each.chance,
                ratio=each.ratio,
                standing="stands" if stands else "goes_with",
            )
        )
    return tuple(told)


def sentence(traced: Traced) -> str:
    """Return what was found in a sentence, and if nothing was, what would have been."""
    if not traced.faulty:
        return "no vehicle with the fault has a birth record"
    if traced.faulty >= traced.total:
        return (
            f"all {traced.total} vehicles with a birth record have the fault: there is none to compare with"
        )
    if traced.suspects:
        first = traced.suspects[0].trait
        return (
            f"{first.with_fault} of {traced.faulty} vehicles with the fault have {label(first)},"
            f" {first.vehicles - first.with_fault} of {traced.total - traced.faulty} without"
        )
    would = (
        f"what a tenth of all vehicles has would have been noticed in {traced.noticed} of those with the fault"
        if traced.noticed is not None
        else "they are too few to show anything"
    )
    return (
        f"no difference found: none of {traced.asked} lots, suppliers, stations, software versions, checks and weeks is more"
        f" frequent among the vehicles with the fault ({traced.faulty}) than chance explains; {would}"
    )


def label(trait: TraitCount) -> str:
    """Return a trait in words."""
    match trait.kind:
        case "lot":
            return f"{trait.thing} of lot {trait.value}"
        case "supplier":
            return f"{trait.thing} of supplier {trait.value}"
        case "station":
            return f"{trait.thing} fitted at {trait.value}"
        case "software":
            return f"{trait.thing} with software {trait.value} at birth"
        case "check":
            return f"{trait.thing} failed first at {trait.station}"
        case "week":
            return f"birth in {trait.value}"
        case _:
            return f"{trait.kind} {trait.value}"


def gate_for(plant: Plant, programme_id: str, *, station: str, words: Iterable[str]) -> GateChoice:
    """Return the gate that should have caught what came to a vehicle at a station.

    The first one from there on that looks for it by name; else the first one from there on.

    Args:
        plant: its document.
        programme_id: whose line.
        station: where it came; "" for not known.
        words: names of what is wrong: part, ECU, fault code.
    """
    line = next((each for each in plant.structure.lines if each.programme == programme_id), None)
    cells: Sequence[Cell] = line.stations if line else ()
    names = [cell.name for cell in cells]
    if station not in names:
        where = (
            f"station {station!r} is not on the line any more"
            if station
            else "it is not known where it was fitted"
        )
        return GateChoice(reason=where)
    behind = [(cell.name, gate) for cell in cells[names.index(station) :] for gate in cell.gates]
    wanted = {word.casefold() for word in words if word}
    for place, gate in behind:
        named = next((c for c in (gate.name, *gate.checks) if c.casefold() in wanted), None)
        if named:
            return GateChoice(station=place, gate=gate.name, reason=f"it looks for {named}")
    if behind:
        place, gate = behind[0]
        return GateChoice(station=place, gate=gate.name, reason=f"the first gate from {station} on")
    return GateChoice(reason=f"the line has no gate from {station} on")


def _questions(asked: Sequence[TraitCount], *, faulty: int, total: int, alpha: float) -> int:
    """Return among how many questions the level is shared: those whose margins could reach it (Tarone)."""
    least: dict[int, float] = {}
    for each in asked:
        if each.vehicles not in least:
            most = min(each.vehicles, faulty)
            least[each.vehicles] = chance_of(most, vehicles=each.vehicles, faulty=faulty, total=total)
    bounds = sorted(least[each.vehicles] for each in asked)
    shared = 1
    while sum(bound <= alpha / shared for bound in bounds[: shared + 1]) > shared:
        shared += 1
    return shared


def _noticed(*, faulty: int, total: int, threshold: float) -> int | None:
    tenth = max(1, total // 10)
    low, high = 1, min(tenth, faulty)
    if chance_of(high, vehicles=tenth, faulty=faulty, total=total) > threshold:
        return None
    while low < high:
        middle = (low + high) // 2
        if chance_of(middle, vehicles=tenth, faulty=faulty, total=total) <= threshold:
            high = middle
        else:
            low = middle + 1
    return low


def _ratio(trait: TraitCount, *, faulty: int, total: int) -> RateRatio:
    tick = Tick(
        treated=trait.with_fault, control=faulty - trait.with_fault, treated_exposure=trait.vehicles,
        control_exposure=total - trait.vehicles,
    )  # fmt: skip
    return rate_ratio([tick])


def _choose(of: int, take: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(take + 1) - math.lgamma(of - take + 1)
