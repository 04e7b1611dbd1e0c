"""What becomes of a plant's gates when somebody writes its document anew.

A file that a person keeps knows nothing of what was decided and learned here since: it stays. What the file makes the
gates look at less is named, so that only who may decide that does.

Pure. Invariant: a rate that a person decided here is never lost by a file that does not name it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ringroad.build.plant.alike import Alike
from ringroad.build.plant.model import Plant
from ringroad.build.plant.parameters import Key

ALL_PERMILLE: Final = 1_000
GATES_SAID: Final = 20  # in words; of more, how many they are
THINGS_SAID: Final = 3  # of one gate: checks, or kinds of vehicles
ESCAPES_DAYS: Final = 90  # that a gate is judged by: claims of the field come late
OF_GATES: Final = (
    "inspects",
    "inspects_all",
    "escapes",
)  # parameters that no file begins with: decided and learned here


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRule:
    """What a gate of a line does.

    Attributes:
        line: the programme that the line builds, or else its area and name.
        station: where the gate is.
        gate: its name.
        permille: how many of 1,000 vehicles it inspects.
        checks: that it makes.
        all_of: kinds of which it inspects every vehicle.
    """

    line: str
    station: str
    gate: str
    permille: int
    checks: frozenset[str]
    all_of: frozenset[Alike]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A gate that would look at less: of which line, where, its name, and what in words."""

    line: str
    station: str
    gate: str
    says: str


def keep_learned(new: Plant, before: Plant, *, by_age: bool = False) -> tuple[Plant, tuple[Key, ...]]:
    """Return a document with what was decided and learned of its gates and it does not name, and which that is.

    Args:
        new: the document.
        before: the one that it replaces.
        by_age: both were learned from: what it names and was learned earlier than here does not count either.
    """
    things = {path for path, of, _ in new.structure.things() if of == "gate"}
    kept = {
        key: belief
        for key, belief in before.parameters.items()
        if key.kind in OF_GATES
        and key.path in things
        and (learned_at := belief.origin.learned_at) is not None
        and (
            (named := new.parameters.get(key)) is None
            or (by_age and (named.origin.learned_at is None or named.origin.learned_at < learned_at))
        )
    }
    if not kept:
        return new, ()
    return replace(new, parameters={**new.parameters, **kept}), tuple(sorted(kept))


def lowered(before: Plant, after: Plant, *, programme_id: str | None = None) -> list[Lowered]:
    """Say at which gates the second document looks at less than the first: fewer vehicles, fewer checks, or no gate.

    Args:
        before: what the gates do now.
        after: what they would do.
        programme_id: only gates of the line that builds this; None: of all lines.
    """
    rules = {(each.line, each.station, each.gate): each for each in _rules(after)}
    found = []
    for each in _rules(before):
        if programme_id is not None and each.line != programme_id:
            continue
        if says := _says_less(each, rules.get((each.line, each.station, each.gate))):
            found.append(Lowered(line=each.line, station=each.station, gate=each.gate, says=says))
    return found


def in_words(gates: Sequence[Lowered]) -> tuple[str, ...]:
    """Return what gates look at less: the first `GATES_SAID`, and how many more there are."""
    said = tuple(each.says for each in gates[:GATES_SAID])
    return (*said, f"and {more} more") if (more := len(gates) - len(said)) else said


def _says_less(each: GateRule, rule: GateRule | None) -> str:
    """Say what a gate looks at less by its new rule, None where it is gone; nothing where it does not."""
    where = f"gate {each.gate!r} at {each.station!r}"
    if rule is None:
        return f"{where} is not there any more"
    if rule.permille < each.permille:
        return f"{where} inspects {rule.permille} of 1,000 vehicles instead of {each.permille}"
    if gone := sorted(each.checks - rule.checks):
        return f"{where} does not check {_first(gone, ', ')} any more"
    kinds = sorted(
        kind.says
        for kind in each.all_of
        if not any(new.has(kind.variant, kind.software, kind.lots) for new in rule.all_of)
    )
    if rule.permille < ALL_PERMILLE and kinds:
        return f"{where} does not inspect every {_first(kinds, '; ')} any more"
    return ""


def _first(things: Sequence[str], between: str) -> str:
    more = len(things) - THINGS_SAID
    return between.join([*things[:THINGS_SAID], *([f"and {more} more"] if more > 0 else [])])


def _rules(plant: Plant) -> Iterator[GateRule]:
    for line in plant.structure.lines:
        for cell in line.stations:
            for gate in cell.gates:
                path = (line.area, line.name, cell.name, gate.name)
                yield GateRule(
                    line=line.programme or f"{line.area}/{line.name}", station=cell.name, gate=gate.name,
                    permille=plant.inspect_permille(path, gate), all_of=frozenset(plant.inspects_all(path)),
                    checks=frozenset(gate.checks or (gate.name,)),
                )  # fmt: skip
