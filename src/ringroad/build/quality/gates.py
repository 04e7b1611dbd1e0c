"""How many vehicles should a gate inspect? What it found and what escaped it in, an expected cost and a rate out. Pure.

1. Arriving bad: Beta(1/2 + bad, 1/2 + good) of the vehicles that it inspected, and no less than all that is known to
   have been bad, claims included, of all that left it. That nobody claimed a vehicle is no evidence that it was good:
   claims only ever raise it.
2. Found when looked at: Beta(prior + refused, prior + missed); missed are escapes of vehicles that it passed.
3. Escape rate: Beta(1/2 + escaped, 1/2 + the others), over all vehicles that left it.
4. Vehicles alike are inspected where that costs less than it saves: (bad x found) x escape cost above inspection cost,
   by the pooled rates of `yields.py`. The rate is the share of these, and `FLOOR_PERMILLE` of all others, from which
   the gate learns when they get worse.

The expected cost is linear in who is inspected, so that means are all it needs of the beliefs.
Source: Deming, Out of the Crisis, chapter 15 (inspect all or nothing, by break-even), here for vehicles alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ringroad.build.quality.yields import Belief, Cell
from ringroad.kernel.errors import InvalidInput

FLOOR_PERMILLE: Final = (
    50  # of vehicles that need no inspection: a lot of some hundred gives the gate ten or more
)
STEP_PERMILLE: Final = 50  # a smaller change of the rate is not worth a decision
VEHICLES_MIN: Final = 100  # inspected; before, nothing is proposed
WORST_NAMED: Final = 3  # kinds of vehicles that a proposal names
JEFFREYS: Final = 0.5


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
        inspect_permille: vehicles of 1,000 that it inspects now.
        left: vehicles that left it, inspected or not.
        inspected: of these.
        refused: of the inspected, not right at once.
        missed: escapes among the inspected: claims and faults of the field traced to this gate.
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
        bad = min(self.inspected, self.refused + self.missed)
        seen = Belief(bad=JEFFREYS + bad, good=JEFFREYS + self.inspected - bad)
        least = min(1.0, (bad + self.slipped) / max(1, self.left))  # who was claimed did not come by chance
        if least <= seen.fails:
            return seen
        weight = seen.bad + seen.good
        return Belief(bad=weight * least, good=max(JEFFREYS, weight * (1 - least)))

    @property
    def overlooks(self) -> Belief:
        """Share of bad vehicles that it looks at and passes."""
        found, missed = self.finds
        return Belief(bad=missed + self.missed, good=found + self.refused)

    @property
    def escapes(self) -> Belief:
        """Share of all vehicles that leave it bad, as far as the field says."""
        escaped = self.missed + self.slipped
        return Belief(bad=JEFFREYS + escaped, good=JEFFREYS + max(0, self.left - escaped))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateProposal:
    """What a gate should do, and why.

    Attributes:
        inspect_permille: vehicles of 1,000 to inspect.
        changes: whether that is worth a decision.
        reasons: in words.
        cost_now: expected, of 1,000 vehicles, in the unit of the costs; None without costs.
        cost_then: the same, at the proposed rate.
        escapes_now: expected of 1,000 vehicles.
        escapes_then: the same.
        all_of: vehicles alike of which every one is worth its inspection, the worst first.
    """

    inspect_permille: int
    changes: bool
    reasons: tuple[str, ...]
    cost_now: float | None = None
    cost_then: float | None = None
    escapes_now: float
    escapes_then: float
    all_of: tuple[str, ...] = ()


def propose_rate(record: GateRecord, costs: GateCosts | None, cells: Sequence[Cell] = ()) -> GateProposal:
    """Say how many vehicles a gate should inspect.

    Args:
        record: what is known of it.
        costs: of an inspection and an escape; None where nobody said.
        cells: vehicles alike at its station; none: all are alike.
    """
    catches = record.arrives_bad.fails * record.overlooks.first_pass  # of a vehicle that it looks at
    risks = _risks(cells, catches)
    now = record.inspect_permille / 1000
    escapes_now = 1000 * (record.arrives_bad.fails - _caught(risks, now))
    stays = GateProposal(
        inspect_permille=record.inspect_permille, changes=False, reasons=(), escapes_now=escapes_now,
        escapes_then=escapes_now,
    )  # fmt: skip
    if costs is None:
        return _because(
            stays,
            "nobody said what an inspection and an escape cost: inspect_cost and escape_cost of the gate",
        )
    if record.inspected < VEHICLES_MIN:
        return _because(stays, f"{record.inspected} vehicles were inspected, {VEHICLES_MIN} are needed")
    even = costs.inspect / costs.escape  # a chance of catching one at which an inspection pays
    worth = [each for each in risks if each[1] > even]
    share = sum(weight for weight, _, _ in worth)
    wanted = round(1000 * share + FLOOR_PERMILLE * (1 - share))
    then = wanted / 1000
    escapes_then = 1000 * (record.arrives_bad.fails - _caught(risks, then))
    changes = abs(wanted - record.inspect_permille) >= STEP_PERMILLE
    return GateProposal(
        inspect_permille=wanted if changes else record.inspect_permille, changes=changes,
        reasons=_reasons(record, catches, even, share), escapes_now=escapes_now, escapes_then=escapes_then,
        cost_now=1000 * now * costs.inspect + escapes_now * costs.escape,
        cost_then=1000 * then * costs.inspect + escapes_then * costs.escape,
        all_of=tuple(name for _, _, name in worth[:WORST_NAMED] if name) if share < 1 else (),
    )  # fmt: skip


def _risks(cells: Sequence[Cell], catches: float) -> list[tuple[float, float, str]]:
    """Return vehicles alike: their share, the chance that looking at one catches something, who they are; worst first."""
    vehicles = sum(each.tally.vehicles for each in cells)
    mean = sum(each.tally.vehicles * each.belief.fails for each in cells) / vehicles if vehicles else 0.0
    if not mean:
        return [(1.0, catches, "")]
    found = [
        (each.tally.vehicles / vehicles, min(1.0, each.belief.fails * catches / mean), _who(each))
        for each in cells
    ]
    return sorted(found, key=lambda each: -each[1])


def _caught(risks: Sequence[tuple[float, float, str]], rate: float) -> float:
    """Return the share of vehicles that is caught, if those at most risk are inspected first."""
    left, caught = rate, 0.0
    for weight, chance, _ in risks:
        taken = min(left, weight)
        left, caught = left - taken, caught + taken * chance
    return caught


def _who(cell: Cell) -> str:
    lots = "".join(f", {part} lot {lot}" for part, lot in cell.tally.lots)
    return f"{cell.tally.variant}{lots}" + (
        f", software {cell.tally.software}" if cell.tally.software else ""
    )


def _reasons(record: GateRecord, catches: float, even: float, share: float) -> tuple[str, ...]:
    pays = f"it pays from {1000 * even:.1f} on, which {100 * share:.0f} % of vehicles reach"
    found = [f"looking at 1,000 vehicles catches {1000 * catches:.1f}; {pays}"]
    if share < 1:
        found.append(f"{FLOOR_PERMILLE / 10:g} % of the others are inspected to learn when they get worse")
    if record.slipped:
        found.append(f"{record.slipped} vehicles that it did not look at came back from the field")
    if record.missed:
        found.append(
            f"{record.missed} vehicles that it passed came back: it overlooks {100 * record.overlooks.fails:.0f} % of bad"
            " ones, which a better check changes and more inspection does not"
        )
    return tuple(found)


def _because(stays: GateProposal, reason: str) -> GateProposal:
    return GateProposal(
        inspect_permille=stays.inspect_permille, changes=False, reasons=(reason,), escapes_now=stays.escapes_now,
        escapes_then=stays.escapes_then,
    )  # fmt: skip
