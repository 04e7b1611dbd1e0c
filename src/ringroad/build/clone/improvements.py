"""What a clone found that its parents may want: stations that are reliably better, and more room before them.

A station counts as better if it is locally different (`learn.py`): not only luckier than a copy may be anyway. Where
others of its line are reliably worse, work was dealt out anew, and all of them are one proposal.

Pure: decided from the parents' documents and the clone's sums alone. Nothing follows but a proposal: the twin has to
find it better (`prove.py`), a person accepts it, and what is measured then keeps it or takes it back (`trial.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import NormalDist
from typing import Any, Final, Literal

from ringroad.build.clone.inherit import inherit
from ringroad.build.clone.learn import Learned, belief_at, learn
from ringroad.build.clone.sums import CloneSums, Path, key_of
from ringroad.build.plant.model import Plant, digest
from ringroad.build.plant.parameters import Key, path_of, path_text
from ringroad.build.plant.posterior import Origin
from ringroad.kernel.errors import InvalidInput

P_BETTER_MIN: Final = 0.95  # that a station is better by MARGIN, or worse
MARGIN: Final = 0.02  # of a logarithm: 2 % of a time; less is not worth a rebuild
OWN_N_MIN: Final = 30  # observations of its own
# What the twin knows of a station, and whether more of it is better (+1) or less (-1).
BETTER: Final[Mapping[str, int]] = {
    "cycle_s": -1, "transfer_s": -1, "rework_s": -1, "repair_s": -1, "first_pass": 1, "uptime_s": 1,
}  # fmt: skip
MEASURED: Final = frozenset(
    {"cycle_s", "first_pass", "repair_s", "transfer_s", "uptime_s"}
)  # what a parent's stations tell: only this can be tried, so is proposed
WEIGHED_MAX: Final = 3_000  # parameters of stations in one message; a second, and three lines of the longest
What = Literal["station", "balance", "buffer"]
_Group = tuple[Path, str]  # a line, and what is weighed of its stations together
_Z90: Final = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One parameter that would be another one, on the scale of `Posterior.centre`.

    Attributes:
        key: which.
        delta: by how much the clone's is more than what its parents and the whole of it make likely.
        variance: of that, at another plant: of the clone's belief, of the parents', and between plants.
        better: probability that it is better by `MARGIN`, at the clone.
        own_n: observations of the clone that it rests on.
    """

    key: Key
    delta: float
    variance: float
    better: float
    own_n: float

    def percent(self, side: int = 0) -> float:
        """Return by how many percent it would be more; with -1 or 1, the 5 % or the 95 % quantile at the parent."""
        return 100 * math.expm1(self.delta + side * _Z90 * math.sqrt(self.variance))


_Found = tuple[Learned, Shift, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """What a parent would do as its clone does.

    Attributes:
        what: one station, work dealt out anew, or more room before stations.
        line: area and name.
        shifts: of parameters.
        rooms: vehicles that would have room, by station.
    """

    what: What
    line: Path
    shifts: tuple[Shift, ...] = ()
    rooms: tuple[tuple[Path, int], ...] = ()

    @property
    def sha256(self) -> str:
        """Of what is proposed, whatever the numbers: the same proposal is not made twice at once."""
        rooms = [[path_text(path), room] for path, room in self.rooms]
        return digest([self.what, path_text(self.line), sorted(str(each.key) for each in self.shifts), rooms])

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form kept in `plant_proposal.document`."""
        return {
            "what": self.what, "line": path_text(self.line),
            "shifts": [
                {
                    "key": str(each.key), "delta": each.delta, "variance": each.variance, "better": each.better,
                    "own_n": each.own_n,
                }
                for each in self.shifts
            ],
            "rooms": {path_text(path): room for path, room in self.rooms},
        }  # fmt: skip


def improvement_from(document: Mapping[str, Any]) -> Improvement:
    """Return what `Improvement.to_document` wrote."""
    return Improvement(
        what=document["what"],
        line=path_of(document["line"]),
        shifts=tuple(Shift(**(each | {"key": key_of(each["key"])})) for each in document["shifts"]),
        rooms=tuple((path_of(path), room) for path, room in document["rooms"].items()),
    )


def decide_improvements(parents: Sequence[Plant], sums: CloneSums) -> dict[str, tuple[Improvement, ...]]:
    """Return what each parent may want of its clone, by its id.

    Args:
        parents: all that the clone inherits from.
        sums: what it says of itself.

    Raises:
        InvalidInput: it says something of what no parent has, or of more than is weighed at once.
    """
    if unknown := sorted(key for key in sums.own if not any(key in each.parameters for each in parents)):
        raise InvalidInput(f"no parent of {sums.plant} has {unknown[0]}")
    weighed = [key for key in sorted(sums.own) if key.kind in MEASURED]
    if len(weighed) > WEIGHED_MAX:
        raise InvalidInput(
            f"{sums.plant} says {len(weighed)} parameters of stations, limit {WEIGHED_MAX}",
            hint="leave lines out of the message that found nothing",
        )
    groups: dict[_Group, list[Key]] = {}
    for key in weighed:
        groups.setdefault((key.path[:2], key.kind), []).append(key)
    found: dict[str, tuple[Improvement, ...]] = {}
    for some in _asked_together(parents):
        shifts = {
            group: _shifts(some, parents, sums, here)
            for group, keys in groups.items()
            if (here := [key for key in keys if any(key in each.parameters for each in some)])
        }
        found |= {each.id: _of_parent(each, sums, shifts) for each in some}
    return found


def _asked_together(parents: Sequence[Plant]) -> list[list[Plant]]:
    """Return parents whose beliefs are of their own, and each that is itself a clone alone.

    What a clone of a clone does better is what it does better than that clone, not than what both came from.
    """
    grown = [each for each in parents if not each.identity.parent]
    clones = [[each] for each in parents if each.identity.parent]
    return [grown, *clones] if grown else clones


def _of_parent(
    parent: Plant, sums: CloneSums, shifts: Mapping[_Group, Sequence[_Found]]
) -> tuple[Improvement, ...]:
    found: list[Improvement] = []
    for line in parent.structure.lines:
        at = (line.area, line.name)
        for kind in sorted(MEASURED):
            here = [each for each in shifts.get((at, kind), ()) if each[0].key in parent.parameters]
            found += _of_kind(at, kind, here)
        rooms = tuple(
            ((*at, cell.name), sums.rooms[*at, cell.name])
            for cell in line.stations
            if sums.rooms.get((*at, cell.name), cell.buffer) > cell.buffer
        )
        if rooms:
            found.append(Improvement(what="buffer", line=at, rooms=rooms))
    return tuple(found)


def shifted(plant: Plant, improvement: Improvement, *, clone: str, evidence: str, now: datetime) -> Plant:
    """Return a parent that believes what it would be, as a prior: no observation of its own stands for it.

    Each belief is moved by what the clone found, and weighs only as much as the uncertainty of moving it lets it.

    Raises:
        InvalidInput: the plant has not what would be changed.
    """
    beliefs = dict(plant.parameters)
    for each in improvement.shifts:
        before = beliefs.get(each.key)
        if before is None:
            raise InvalidInput(f"plant {plant.id} has no parameter {each.key}")
        origin = Origin(plant=clone, learned_at=now, evidence=evidence)
        noise = before.log_variance if before.family == "time" else 0.0
        beliefs[each.key] = belief_at(
            before.centre + each.delta, before.error_variance + each.variance, like=before, noise=noise,
            origin=origin,
        )  # fmt: skip
    return replace(plant, parameters=beliefs, structure=_roomier(plant, dict(improvement.rooms)).structure)


def put_back(plant: Plant, before: Plant, improvement: Improvement) -> Plant:
    """Return a parent that believes again what it did before it was shifted, and has the room that it had."""
    beliefs = dict(plant.parameters) | {
        each.key: before.parameters[each.key] for each in improvement.shifts if each.key in before.parameters
    }
    rooms: dict[Path, int] = {
        (line.area, line.name, cell.name): cell.buffer
        for line in before.structure.lines
        for cell in line.stations
    }
    back: dict[Path, int] = {path: rooms[path] for path, _ in improvement.rooms if path in rooms}
    return replace(plant, parameters=beliefs, structure=_roomier(plant, back).structure)


def still_shifted(
    written: Plant, improvement: Improvement, *, evidence: str
) -> tuple[Improvement, tuple[str, ...]]:
    """Return what of an improvement a document still has, and the keys and stations that it has otherwise by now.

    Args:
        written: as a person wrote it or it was shifted last, before it learned anything.
        improvement: to which it was shifted.
        evidence: how the evidence of a shifted belief begins.
    """
    beliefs = written.parameters
    shifts = tuple(
        each
        for each in improvement.shifts
        if each.key in beliefs and beliefs[each.key].origin.evidence.startswith(evidence)
    )
    lines = written.structure.lines
    now = {(line.area, line.name, cell.name): cell.buffer for line in lines for cell in line.stations}
    rooms = tuple(
        (path, room) for path, room in improvement.rooms if now.get((path[0], path[1], path[2])) == room
    )
    left = [str(each.key) for each in improvement.shifts if each not in shifts]
    left += [path_text(each[0]) for each in improvement.rooms if each not in rooms]
    return replace(improvement, shifts=shifts, rooms=rooms), tuple(left)


def _roomier(plant: Plant, rooms: Mapping[Path, int]) -> Plant:
    lines = tuple(
        replace(
            line,
            stations=tuple(
                replace(cell, buffer=rooms.get((line.area, line.name, cell.name), cell.buffer))
                for cell in line.stations
            ),
        )
        for line in plant.structure.lines
    )
    return replace(plant, structure=replace(plant.structure, lines=lines))


def _shifts(
    asked: Sequence[Plant], parents: Sequence[Plant], sums: CloneSums, keys: Sequence[Key]
) -> list[_Found]:
    """Return how much each parameter is different, and the probability that it is worse."""
    inheritance = inherit({each.id: each.parameters for each in asked}, keys)
    grown = {each.id: each.parameters for each in parents if not each.identity.parent}
    shared = [key for key in keys if any(key in of for of in grown.values())]
    if asked[0].identity.parent and shared and len(grown) > 1:  # one says nothing of how much plants differ
        between = inherit(grown, shared).transfer_variance
        doubt = inheritance.doubt - inheritance.transfer_variance + between
        inheritance = replace(inheritance, transfer_variance=between, doubt=doubt)
    clone = learn(inheritance, {key: sums.own[key] for key in keys})
    found = []
    for learned, doubt in zip(clone.learned, inheritance.doubt.tolist(), strict=True):
        delta, here = learned.centre - learned.inherited, learned.variance + doubt
        better, worse = (_p_beyond(sign * BETTER[learned.key.kind] * delta, here) for sign in (1, -1))
        shift = Shift(
            key=learned.key,
            delta=delta,
            variance=here + clone.transfer_sd**2,
            better=better,
            own_n=learned.own_n,
        )
        found.append((learned, shift, worse))
    return found


def _of_kind(line: Path, kind: str, shifts: Iterable[_Found]) -> list[Improvement]:
    sure = [
        (shift, worse)
        for learned, shift, worse in shifts
        if learned.is_different and learned.own_n >= OWN_N_MIN
    ]
    better = [shift for shift, _ in sure if shift.better >= P_BETTER_MIN]
    moved = [shift for shift, worse in sure if max(shift.better, worse) >= P_BETTER_MIN]
    if kind == "cycle_s" and better and len(moved) > len(better):
        return [Improvement(what="balance", line=line, shifts=tuple(moved))]
    return [Improvement(what="station", line=line, shifts=(each,)) for each in better]


def _p_beyond(better_by: float, variance: float) -> float:
    return NormalDist().cdf((better_by - MARGIN) / math.sqrt(variance))
