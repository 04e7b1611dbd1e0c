"""How many vehicles should a gate inspect? What it found and what escaped it in, an expected cost and a rate out. Pure.

1. Arriving bad: Beta(1/2 + bad, 1/2 + good) of the vehicles that it inspected, and no less than all that is known to
   have been bad, claims included, of all that left it. That nobody claimed a vehicle is no evidence that it was good:
   claims only ever raise it.
2. Found when looked at: Beta(prior + refused, prior + missed); missed are escapes of vehicles that it passed.
3. Escape rate: Beta(1/2 + escaped, 1/2 + the others), over all vehicles that left it.
4. Vehicles alike are inspected where that costs less than it saves: (bad x found) x escape cost above inspection cost,
   by the pooled rates of `yields.py`: all of the few kinds that save most, by name (`gate_kinds.py`), and
   `FLOOR_PERMILLE` of all others, by chance, from which the gate learns when they get worse; all of the others too where
   that saves more than it costs. The rate is the share of both.

The expected cost is linear in who is inspected, so that means are all it needs of the beliefs.
Source: Deming, Out of the Crisis, chapter 15 (inspect all or nothing, by break-even), here for vehicles alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ringroad.build.plant.alike import Alike
from ringroad.build.quality.gate_kinds import (
    JEFFREYS,
    LEAST_SHARE,
    NamedKind,
    Risk,
    describe,
    first_of,
    worth_a_name,
)
from ringroad.build.quality.yields import Belief, Cell
from ringroad.kernel.errors import InvalidInput

FLOOR_PERMILLE: Final = (
    50  # of vehicles that need no inspection: a lot of some hundred gives the gate ten or more
)
ALL: Final = 1_000  # permille
STEP_PERMILLE: Final = 50  # a smaller change of the rate is not worth a decision
VEHICLES_MIN: Final = 100  # inspected; before, nothing is proposed
KINDS_MAX: Final = 20  # kinds of which a gate looks at every vehicle
DRAWN_MIN: Final = 100  # vehicles that were chosen of, before their kinds are weighed by that


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCosts:
    """What an inspection costs, and a bad vehicle that leaves the gate: any unit, the same for both."""

    inspect: int
    escape: int

    def __post_init__(self) -> None:
        """Refuse costs of nothing."""
        if self.inspect <= 0 or self.escape <= 0:
            raise InvalidInput("an inspection and an escape cost more than nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecord:
    """What is known of a gate.

    Attributes:
        station: where it is.
        gate: its name.
        inspect_permille: vehicles of 1,000 that it inspects now, of those that are of none of `all_of`.
        all_of: kinds of which it inspects every vehicle.
        all_of_drawn: vehicles that it looked at for their kind, and not by chance.
        all_of_share: how many vehicles are of these, as the gate chose; None: as its results say.
        left: vehicles that left it, inspected or not.
        inspected: of these.
        refused: of the inspected, not right at once.
        once_drawn: vehicles that it looked at for a kind that it inspects no more, by kind.
        missed: escapes among vehicles that it looked at: claims and faults of the field traced to this gate.
        missed_named: of these, of vehicles that it did not look at by chance, but for their kind or lot.
        slipped: escapes among the others.
        finds: what is believed of its check before: bad vehicles that it refuses and that it passes.
    """

    station: str
    gate: str
    inspect_permille: int
    left: int
    inspected: int
    refused: int
    missed: int = 0
    slipped: int = 0
    finds: tuple[float, float] = (JEFFREYS, JEFFREYS)
    all_of: tuple[Alike, ...] = ()
    all_of_drawn: int = 0
    all_of_share: float | None = None
    once_drawn: tuple[tuple[Alike, int], ...] = ()
    missed_named: int = 0

    def __post_init__(self) -> None:
        """Refuse counts that contradict each other."""
        if min(self.left, self.inspected, self.refused, self.missed, self.slipped) < 0:
            raise InvalidInput(f"gate {self.gate}: counts cannot be negative")
        if self.refused > self.inspected or self.inspected > self.left:
            raise InvalidInput(
                f"gate {self.gate}: {self.refused} of {self.inspected} inspected of {self.left} vehicles cannot be"
            )

    @property
    def arrives_bad(self) -> Belief:
        """Share of vehicles that come to it bad."""
        by_chance = max(0, self.missed - self.missed_named)  # as the inspected came
        bad = min(self.inspected, self.refused + by_chance)
        seen = Belief(bad=JEFFREYS + bad, good=JEFFREYS + self.inspected - bad)
        least = min(
            1.0, (bad + self.missed - by_chance + self.slipped) / max(1, self.left)
        )  # who was claimed did not come by chance
        if least <= seen.fails:
            return seen
        weight = seen.bad + seen.good
        return Belief(bad=weight * least, good=max(JEFFREYS, weight * (1 - least)))

    @property
    def overlooks(self) -> Belief:
        """Share of bad vehicles that it looks at and passes."""
        found, missed = self.finds
        by_chance = max(
            0, self.missed - self.missed_named
        )  # what it refused of the others is not in `refused`
        return Belief(bad=missed + by_chance, good=found + self.refused)

    @property
    def escapes(self) -> Belief:
        """Share of all vehicles that leave it bad, as far as the field says."""
        escaped = self.missed + self.slipped
        return Belief(bad=JEFFREYS + escaped, good=JEFFREYS + max(0, self.left - escaped))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateProposal:
    """What a gate should do, and why.

    Attributes:
        inspect_permille: vehicles of 1,000 to inspect, in all.
        others_permille: vehicles of 1,000 to inspect of those that are of none of `all_of`.
        changes: whether that is worth a decision.
        reasons: in words.
        cost_now: expected, of 1,000 vehicles, in the unit of the costs; None without costs.
        cost_then: the same, at the proposed rate.
        escapes_now: expected of 1,000 vehicles.
        escapes_then: the same.
        all_of: kinds of vehicles to inspect every one of, what saves most first.
        named: what is known of these.
        unnamed: other kinds that are worth an inspection, and save too little each to be named.
    """

    inspect_permille: int
    others_permille: int
    changes: bool
    reasons: tuple[str, ...]
    cost_now: float | None = None
    cost_then: float | None = None
    escapes_now: float
    escapes_then: float
    all_of: tuple[Alike, ...] = ()
    named: tuple[NamedKind, ...] = ()
    unnamed: int = 0


def propose_rate(record: GateRecord, costs: GateCosts | None, cells: Sequence[Cell] = ()) -> GateProposal:
    """Say how many vehicles a gate should inspect.

    Args:
        record: what is known of it.
        costs: of an inspection and an escape; None where nobody said.
        cells: vehicles alike at its station; none: all are alike.
    """
    catches = (
        record.arrives_bad.fails * record.overlooks.first_pass
    )  # of a vehicle that it looks at by chance
    risks = _risks(record, cells, catches)
    own_now = _by_kind(record.all_of, risks)
    now = _chances(own_now, record.inspect_permille)
    looked_now, caught_now = _looks(risks, now)
    bad = (
        min(1.0, record.arrives_bad.fails * sum(each.share * each.catches for each in risks) / catches)
        if catches
        else 0.0
    )
    stays = GateProposal(
        inspect_permille=round(1000 * looked_now), others_permille=record.inspect_permille, changes=False, reasons=(),
        escapes_now=1000 * (bad - caught_now), escapes_then=1000 * (bad - caught_now), all_of=record.all_of,
    )  # fmt: skip
    if costs is None:
        return replace(
            stays,
            reasons=(
                "nobody said what an inspection and an escape cost: inspect_cost and escape_cost of the gate",
            ),
        )
    if record.inspected < VEHICLES_MIN:
        return replace(
            stays, reasons=(f"{record.inspected} vehicles were inspected, {VEHICLES_MIN} are needed",)
        )
    even = costs.inspect / costs.escape  # a chance of catching one at which an inspection pays
    share = sum(each.share for each in risks if each.catches > even)
    gain = {each.kind: each.share * (each.catches * costs.escape - costs.inspect) for each in risks}
    own, others, unnamed = _chosen(risks, gain)
    then = _chances(own, others)
    looked, caught = _looks(risks, then)
    other = {each.kind for each in own_now[None]} ^ {each.kind for each in own[None]}
    changed = sum(each.share for each in risks if each.kind in other)
    if others == ALL and record.inspect_permille == ALL:
        changed = 0.0  # all is all, whatever has a name besides
    changes = max(abs(others - record.inspect_permille), 1000 * changed) >= STEP_PERMILLE
    found = replace(
        stays, reasons=_reasons(record, catches, even, share, others), cost_now=1000 * looked_now * costs.inspect
        + stays.escapes_now * costs.escape, escapes_then=1000 * (bad - caught),
        cost_then=1000 * (looked * costs.inspect + (bad - caught) * costs.escape),
    )  # fmt: skip
    if not changes:
        return found
    if unnamed:
        more = f"{unnamed} more kinds of vehicles are" if unnamed > 1 else "one more kind of vehicles is"
        little = f"{100 * LEAST_SHARE:g} % of what names can save"
        found = replace(
            found, reasons=(*found.reasons, f"{more} left to chance: a name would save less than {little}")
        )
    by_name = {kind: (1 - others / 1000) * each for kind, each in gain.items()}
    named = tuple(describe(own, now=now, gain=by_name))
    return replace(
        found, inspect_permille=round(1000 * looked), others_permille=others, changes=True, named=named,
        all_of=tuple(each.kind for each in named), unnamed=unnamed,
    )  # fmt: skip


def _once(record: GateRecord, named: Sequence[tuple[Alike, int]]) -> dict[Alike, float]:
    """Return which share of vehicles alike was looked at for a kind that the gate inspects no more."""
    found: dict[Alike, float] = {}
    for once, drawn in record.once_drawn:
        own = [(kind, n) for kind, n in named if first_of([once], kind) is not None]
        total = sum(n for _, n in own)
        for kind, _ in own:
            found[kind] = min(1.0, found.get(kind, 0.0) + drawn / total)
    return found


def _chosen(
    risks: Sequence[Risk], gain: Mapping[Alike | None, float]
) -> tuple[dict[Alike | None, list[Risk]], int, int]:
    """Return vehicles by the kinds to look at every one of, how many of 1,000 others, and how many kinds are unnamed."""
    kinds, unnamed = worth_a_name(risks, gain)
    own = _by_kind(kinds, risks)
    if not own[None] or sum(gain[each.kind] for each in own[None]) > 0:
        return {None: list(risks)}, ALL, 0
    return own, FLOOR_PERMILLE, unnamed


def _by_kind(kinds: Sequence[Alike], risks: Iterable[Risk]) -> dict[Alike | None, list[Risk]]:
    """Return vehicles by the first of some kinds that they are of; None for none of them."""
    found: dict[Alike | None, list[Risk]] = {kind: [] for kind in (*kinds, None)}
    for each in risks:
        found[first_of(kinds, each.kind)].append(each)
    return found


def _chances(own: Mapping[Alike | None, Sequence[Risk]], others_permille: int) -> dict[Alike | None, float]:
    """Return by vehicles alike which share of them is looked at: all of some kinds, of others by chance."""
    return {
        each.kind: others_permille / 1000 if kind is None else 1.0
        for kind, alike in own.items()
        for each in alike
    }


def _risks(record: GateRecord, cells: Sequence[Cell], catches: float) -> list[Risk]:
    """Return vehicles alike, worst first.

    Vehicles of kinds that are all inspected tell more results than others: they count as often as the gate chose them,
    and those of kinds that were all inspected once as often as they would have been looked at by chance.
    What is caught by chance is known of vehicles that it looked at by chance, before the kinds were decided also of these.
    """
    named = [(each, _kind(each), each.tally.vehicles) for each in cells if each.tally.vehicles]
    decided = {kind for _, kind, _ in named if first_of(record.all_of, kind) is not None}
    once = _once(record, [(kind, n) for _, kind, n in named if kind not in decided])
    by_chance = record.inspect_permille / 1000  # as the others came, had they come today
    weights = {
        kind: n if kind in decided else n * (1 - once.get(kind, 0.0) * (1 - by_chance))
        for _, kind, n in named
    }
    of_kinds = sum(n for kind, n in weights.items() if kind in decided)
    others = sum(weights.values()) - of_kinds
    if not others and not of_kinds:
        return [Risk(share=1.0, catches=catches, kind=None)]
    share = of_kinds / (of_kinds + others) if record.all_of_share is None else record.all_of_share
    share = 0.0 if not of_kinds else 1.0 if not others else share
    chance = max(0.0, 1 - record.all_of_drawn / of_kinds) if of_kinds and others else 1.0
    seen = [(cell, n * (chance if kind in decided else 1 - once.get(kind, 0.0))) for cell, kind, n in named]
    total = sum(n for _, n in seen)
    mean = sum((n if total else 1) * cell.belief.fails for cell, n in seen) / (total or len(seen))
    found = [
        Risk(
            share=weights[kind] * (share / of_kinds if kind in decided else (1 - share) / others),
            catches=min(1.0, cell.belief.fails * catches / mean),
            kind=kind,
            vehicles=n,
            failed=cell.tally.failed,
        )
        for cell, kind, n in named
    ]
    return sorted(found, key=lambda each: -each.catches)


def _looks(risks: Sequence[Risk], chances: Mapping[Alike | None, float]) -> tuple[float, float]:
    """Return the share of vehicles that is looked at, and that is caught."""
    return (
        sum(each.share * chances[each.kind] for each in risks),
        sum(each.share * each.catches * chances[each.kind] for each in risks),
    )


def _kind(cell: Cell) -> Alike:
    return Alike(
        variant=cell.tally.variant, software=cell.tally.software, lots=tuple(sorted(cell.tally.lots))
    )


def _reasons(record: GateRecord, catches: float, even: float, share: float, others: int) -> tuple[str, ...]:
    pays = f"it pays from {1000 * even:.1f} on, which {100 * share:.0f} % of vehicles reach"
    found = [f"looking at 1,000 vehicles would catch an estimated {1000 * catches:.1f}; {pays}"]
    if others < ALL:
        found.append(
            f"{FLOOR_PERMILLE / 10:g} % of the others are inspected by chance, to learn when they get worse"
        )
    if record.all_of and record.all_of_share == 0:
        found.append(
            "no vehicle has been of the kinds that are all looked at since they were decided: with other software, or"
            " another lot of any part there, it is of another kind"
        )
    if record.slipped:
        found.append(f"{record.slipped} vehicles that it did not look at came back from the field")
    if record.missed:
        found.append(
            f"{record.missed} vehicles that it passed came back: it overlooks an estimated {100 * record.overlooks.fails:.0f} % of bad"
            " ones, which a better check changes and more inspection does not"
        )
    return tuple(found)
