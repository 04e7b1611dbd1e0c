"""Which vehicles does a gate look at? A secret seed, a vehicle and a gate in, a choice with its reason out. Pure.

1. A vehicle with a part of a contained lot is inspected by the gate that should catch it, always.
2. One of a kind of which the gate inspects all, as its plant document says, always.
3. Any other by chance: HMAC-SHA256 over vehicle, station and gate, below the gate's rate. Whoever has the seed can make
   the same choice again and prove it; nobody on the line can foresee one.

Invariants:
    The same vehicle at the same gate is chosen in the same way, however often it is asked.
    A vehicle that was to be inspected stays so; a choice to let one pass is taken back only for a contained lot, or for
        one that makes it one of a kind.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ringroad.build.as_built import ALWAYS, Asked, checks_of
from ringroad.build.plant.alike import Alike
from ringroad.build.plant.model import Plant
from ringroad.build.trace import gate_for

SEED_BYTES: Final = 32
_WHOLE: Final = 1 << 64  # of the eight bytes that a choice is made by
Place = tuple[str, str]  # station, gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """A gate of a line, with how many vehicles of 1,000 it looks at, and the kinds of which it looks at every one."""

    station: str
    gate: str
    checks: tuple[str, ...]
    permille: int
    all_of: tuple[Alike, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Whether a gate looks at a vehicle.

    Attributes:
        station: where the gate is.
        gate: its name.
        inspect: whether it does.
        permille: the chance with which the vehicle was chosen; 1000 where there was none.
        reason: in words.
        every: the gate looked at every vehicle when this one came.
    """

    station: str
    gate: str
    inspect: bool
    permille: int
    reason: str
    every: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What is known of a vehicle that comes to a gate.

    Attributes:
        order_id: its order.
        variant: of it.
        software: that it gets.
        lots: station, part and lot of what was fitted so far.
    """

    order_id: str
    variant: str = ""
    software: str = ""
    lots: frozenset[tuple[str, str, str]] = frozenset()

    def kind_at(self, gate: Gated) -> Alike | None:
        """Return the kind for which a gate looks at it."""
        lots = {(part, lot) for station, part, lot in self.lots if station == gate.station}
        return next((each for each in gate.all_of if each.has(self.variant, self.software, lots)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLot:
    """A part of a contained lot in a vehicle. `stays`: no vehicle with it leaves the line where no gate looks at it."""

    part: str
    lot: str
    station: str
    stays: bool = True


def gates_of_line(plant: Plant, programme_id: str) -> tuple[Gated, ...]:
    """Return the gates of a programme's line, in its order."""
    asked: dict[Place, list[Asked]] = {}
    for each in checks_of(plant, programme_id):
        asked.setdefault((each.station, each.gate), []).append(each)
    kinds = {
        (cell.name, gate.name): plant.inspects_all((line.area, line.name, cell.name, gate.name))
        for line in plant.structure.lines
        if line.programme == programme_id
        for cell in line.stations
        for gate in cell.gates
    }
    return tuple(
        Gated(
            station=station, gate=gate, checks=tuple(each.check for each in checks), permille=checks[0].permille,
            all_of=kinds.get((station, gate), ()),
        )
        for (station, gate), checks in asked.items()
    )  # fmt: skip


def contained_at(plant: Plant, programme_id: str, lots: Collection[BadLot]) -> dict[Place, BadLot]:
    """Return the gates that should catch contained lots; those that none should catch stand at ("", "")."""
    found: dict[Place, BadLot] = {}
    for each in lots:
        gate = gate_for(plant, programme_id, station=each.station, words=[each.part])
        if gate.gate or each.stays:
            found.setdefault((gate.station, gate.gate), each)
    return found


def draw(
    seed: bytes,
    vehicle: Arrived,
    gates: Sequence[Gated],
    before: Mapping[Place, Drawn],
    contained: Mapping[Place, BadLot],
) -> Iterator[Drawn]:
    """Yield the choices that are new or another than before.

    Args:
        seed: of the line.
        vehicle: what is known of it.
        gates: that it comes to.
        before: what was chosen for it.
        contained: by gate, what it must be looked at for (`contained_at`).
    """
    for gate in gates:
        place = gate.station, gate.gate
        bad, old = contained.get(place), before.get(place)
        kind = vehicle.kind_at(gate)
        if old is not None and (old.inspect or (bad is None and kind is None)):
            continue
        every = bad is None and gate.permille >= ALWAYS
        if bad is not None:
            reason, inspect, permille = f"lot {bad.lot} of {bad.part} is contained", True, ALWAYS
        elif every:
            reason, inspect, permille = "every vehicle is looked at", True, ALWAYS
        elif kind is not None:
            reason, inspect, permille = reason_of(kind), True, ALWAYS
        else:
            inspect, permille = lot_falls(seed, vehicle.order_id, gate), gate.permille
            reason = f"{'drawn' if inspect else 'not drawn'}, {permille / 10:g} % are"
        yield Drawn(
            station=gate.station,
            gate=gate.gate,
            inspect=inspect,
            permille=permille,
            reason=reason,
            every=every,
        )


def reason_of(kind: Alike) -> str:
    """Return the reason of a choice for a kind."""
    return f"every one of {kind.says} is looked at"


def lot_falls(seed: bytes, vehicle: str, gate: Gated) -> bool:
    """Return whether the lot falls on a vehicle: as often as the gate's rate says, and not to be foreseen."""
    said = json.dumps([vehicle, gate.station, gate.gate]).encode()
    number = int.from_bytes(hmac.digest(seed, said, hashlib.sha256)[:8])
    return number * ALWAYS < gate.permille * _WHOLE
