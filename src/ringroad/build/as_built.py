"""What went into a vehicle, which checks it passed, and whether it may be born. Pure.

Invariants:
    A part that cannot be in its vehicle is refused, and refusing it changes nothing else.
    A vehicle with a failed check is never born; nor is one without a check of a gate that was to look at it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.build.plant.model import Plant
from ringroad.build.station_times import AHEAD_S_MAX

PARTS_MAX: Final = 1_000  # of one vehicle, and of one request
TESTS_MAX: Final = 500  # of one vehicle
ALWAYS: Final = 1000  # of 1,000 vehicles: a gate that looks at each
Told = Literal["taken", "known", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPart:
    """A part that went into a vehicle.

    Attributes:
        id: the sender's own, to know a repeated one by.
        order_id: of the vehicle; "" where only its VIN is known.
        station: where.
        part: what, by name.
        lot: that it came in.
        serial: of the part itself; "" for none.
        supplier: "" for not said.
        fitted_at: by the station's clock.
    """

    id: str
    order_id: str
    station: str
    part: str
    lot: str
    serial: str = ""
    supplier: str = ""
    fitted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One check of one vehicle, as it ended.

    `attempt`: the how manieth of this check on this vehicle; 0 for not known. The same result with and without is one.
    """

    check: str
    station: str
    passed: bool
    at: datetime
    attempt: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A check that a gate asks for, of so many vehicles of 1,000."""

    station: str
    gate: str
    check: str
    permille: int

    @property
    def always(self) -> bool:
        """Whether of every vehicle."""
        return self.permille >= ALWAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a part is held against.

    Attributes:
        line: its stations.
        order: the vehicle's; None if there is none.
        options: all options and variants of the programme.
        born_at: when the vehicle left the line; None for not yet.
        same_id: what came with the same id before.
        same_serial: the order that has the part of this serial.
    """

    line: Line
    order: Order | None
    options: Collection[str] = frozenset()
    born_at: datetime | None = None
    same_id: BuiltPart | None = None
    same_serial: str | None = None


def judge_part(part: BuiltPart, known: Known, *, now: datetime) -> tuple[Told, str]:
    """Say whether a part is taken, known already, or refused and why."""
    if known.same_id is not None:
        other = known.same_id
        if (
            replace(other, fitted_at=part.fitted_at) == part
        ):  # who tells it again may take the time of the telling
            return "known", ""
        return "refused", (
            f"event {part.id} was {other.part} {other.lot} of order {other.order_id} before,"
            f" and is {part.part} {part.lot} of order {part.order_id} now"
        )
    reason = _of_station(part, known, now=now) or _of_order(part, known)
    return ("refused", reason) if reason else ("taken", "")


def _of_station(part: BuiltPart, known: Known, *, now: datetime) -> str:
    names = [station.name for station in known.line.stations]
    if part.station not in names:
        return f"the line has no station {part.station!r}: it has {', '.join(names) or 'none'}"
    if part.fitted_at > now + timedelta(seconds=AHEAD_S_MAX):
        ahead_s = (part.fitted_at - now).total_seconds()
        return f"{part.station} cannot have fitted {part.part} {ahead_s:.0f} s in the future: set the station's clock"
    return ""


def _of_order(part: BuiltPart, known: Known) -> str:
    order = known.order
    if order is None:
        return f"there is no order {part.order_id} for this line, {part.station} cannot have fitted {part.part} to it"
    if part.part in known.options and part.part not in {order.variant, *order.options}:
        return f"{part.station} cannot have fitted {part.part!r}: order {order.id} never ordered it"
    if order.state in {"open", "cancelled"}:
        return f"order {order.id} is {order.state}: it never entered the line, {part.station} cannot have fitted {part.part}"
    if part.fitted_at < order.received_at:
        return (
            f"{part.station} fitted {part.part} before order {order.id} was received: set the station's clock"
        )
    if known.born_at is not None and part.fitted_at > known.born_at + timedelta(seconds=AHEAD_S_MAX):
        return f"{part.station} cannot have fitted {part.part} to order {order.id} after its vehicle was born"
    if known.same_serial is not None:
        return f"{part.part} {part.serial} is in order {known.same_serial} already, it cannot be in order {order.id} too"
    return ""


def checks_of(plant: Plant, programme_id: str) -> tuple[Asked, ...]:
    """Return the checks that the gates of a programme's line ask for, in its order; without any, one by the gate's name."""
    line = next((each for each in plant.structure.lines if each.programme == programme_id), None)
    if line is None:
        return ()
    return tuple(
        Asked(
            station=cell.name,
            gate=gate.name,
            check=check,
            permille=plant.inspect_permille((line.area, line.name, cell.name, gate.name), gate),
        )
        for cell in line.stations
        for gate in cell.gates
        for check in gate.checks or (gate.name,)
    )


def newest(tests: Iterable[Checked]) -> dict[tuple[str, str], tuple[Checked, int]]:
    """Return the newest result of each check by station and check, and how often it failed before and now.

    Of two at the same time the later attempt is newer; where that is not known, the one that failed.
    """
    found: dict[tuple[str, str], tuple[Checked, int]] = {}
    for test in sorted(tests, key=_age):
        _, failed = found.get((test.station, test.check), (test, 0))
        found[test.station, test.check] = (test, failed + (not test.passed))
    return found


def _age(test: Checked) -> tuple[datetime, bool, int, bool]:
    return test.at, not test.attempt and not test.passed, test.attempt, not test.passed


def refusals(
    asked: Sequence[Asked],
    tests: Iterable[Checked],
    *,
    end: str,
    passed_by: Collection[tuple[str, str]] = (),
) -> list[str]:
    """Return why a vehicle may not be born, one sentence per check; nothing if it may.

    Args:
        asked: what the gates of its line ask for.
        tests: what was checked, in any order; the newest of a check counts.
        end: the last station of the line; nothing that was checked there failed.
        passed_by: station and gate of those that were to let this vehicle pass unseen; any other was to look at it.
    """
    results = newest(tests)
    said = []
    for each in asked:
        result, _ = results.get((each.station, each.check)) or (None, 0)
        if result is None and (each.station, each.gate) not in passed_by:
            said.append(f"check {each.check!r} of gate {each.gate!r} at {each.station} is missing")
        elif result is not None and not result.passed:
            said.append(f"check {each.check!r} of gate {each.gate!r} at {each.station} failed")
    at_gates = {(each.station, each.check) for each in asked}
    said += [
        f"the end-of-line test {check!r} at {station} failed"
        for (station, check), (test, _) in results.items()
        if station == end and not test.passed and (station, check) not in at_gates
    ]
    return said


def parts_of_results(
    order_id: str, results: Iterable[tuple[str, Checked, Mapping[str, str]]], told: Iterable[BuiltPart]
) -> list[BuiltPart]:
    """Return the parts that are known only by the lots that results of checks came with.

    Args:
        order_id: of the vehicle.
        results: each with its id and its lots by part.
        told: parts that were told as such.
    """
    known = {(part.part, part.lot) for part in told}
    found = []
    for event_id, test, lots in results:
        for part, lot in sorted(lots.items()):
            if (part, lot) not in known:
                known.add((part, lot))
                found.append(
                    BuiltPart(
                        id=f"{event_id}:{part}", order_id=order_id, station=test.station, part=part, lot=lot,
                        fitted_at=test.at,
                    )
                )  # fmt: skip
    return found


Trait = tuple[str, str, str, str]  # kind, thing, value, station


def traits_of(
    parts: Iterable[BuiltPart],
    tests: Iterable[Checked],
    software: Mapping[str, str],
    *,
    plant_id: str,
    flashed_at: str,
    born_at: datetime,
) -> frozenset[Trait]:
    """Return what a vehicle has in common with others: what a field fault may go with.

    Args:
        parts: that went into it.
        tests: of it; a check that failed on the way is a trait.
        software: version by ECU.
        plant_id: of the plant document; "" for none.
        flashed_at: the station of its software.
        born_at: when.
    """
    found: set[Trait] = set()
    for part in parts:
        found |= part_traits(part)
    found |= {("software", ecu, version, flashed_at) for ecu, version in software.items()}
    found |= {
        ("check", check, "failed first", station)
        for (station, check), (_, failed) in newest(tests).items()
        if failed
    }
    year, week, _ = born_at.isocalendar()
    found.add(("week", "", f"{year}-W{week:02d}", ""))
    if plant_id:
        found.add(("plant", "", plant_id, ""))
    return frozenset(found)


def part_traits(part: BuiltPart) -> set[Trait]:
    """Return what one part adds to its vehicle's traits."""
    found: set[Trait] = {
        ("lot", part.part, part.lot, part.station),
        ("station", part.part, part.station, part.station),
    }
    return found | ({("supplier", part.part, part.supplier, part.station)} if part.supplier else set())
