"""Where the vehicles of a line are and what stands: a fold over the events of its stations.

`apply` takes a state and an event and returns the next state, or why the event cannot be. Whoever has a state and the
events after it has every later state, so it can be kept, resumed, and branched: a branch is the fold over events that
did not happen.

Pure. Invariants:
    An event that is refused changes nothing.
    `fold(fold(s, a), b) == fold(s, a + b)`, for any events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from ringroad.build.model import Line
from ringroad.build.station_times import AHEAD_S_MAX
from ringroad.protocol.mes import MesEvent

DONE_KEPT: Final = 500  # orders that left the line, remembered to know late events by
FAILED_MAX: Final = 50  # checks that one vehicle has failed

Code = Literal[
    "unknown_station", "no_order", "incomplete", "future", "out_of_order", "duplicate", "contradiction"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleOnLine:
    """A vehicle on the line: in a station, or behind it on its way to the next."""

    station: str
    inside: bool
    since: datetime
    failed: tuple[str, ...] = ()  # checks that failed and did not pass since
    parts: int = 0  # parts with a lot that went into it


@dataclass(frozen=True, slots=True, kw_only=True)
class StationState:
    """What a station has done, and whether it stands."""

    left: int = 0  # vehicles
    failed: int = 0  # results
    passed: int = 0
    stopped: str = ""  # the reason, while it stands
    stopped_at: datetime | None = None  # when that began
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineState:
    """A line after `position` events.

    Attributes:
        position: events taken.
        at: time of the newest one.
        vehicles: on the line, by order.
        stations: by name; one that nothing was heard of is left out.
        done: the newest orders that left the line.
        built: how many did.
    """

    position: int = 0
    at: datetime | None = None
    vehicles: Mapping[str, VehicleOnLine] = field(default_factory=dict)
    stations: Mapping[str, StationState] = field(default_factory=dict)
    done: tuple[str, ...] = ()
    built: int = 0

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "position": self.position,
            "at": self.at.isoformat() if self.at else None,
            "vehicles": {
                order: {
                    "station": each.station, "inside": each.inside, "since": each.since.isoformat(),
                    "failed": list(each.failed), "parts": each.parts,
                }
                for order, each in self.vehicles.items()
            },
            "stations": {
                name: {
                    "left": each.left, "failed": each.failed, "passed": each.passed, "stopped": each.stopped,
                    "stopped_at": each.stopped_at.isoformat() if each.stopped_at else None,
                    "last_at": each.last_at.isoformat() if each.last_at else None,
                }
                for name, each in self.stations.items()
            },
            "done": list(self.done),
            "built": self.built,
        }  # fmt: skip

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> LineState:
        """Return what `to_document` wrote."""
        return cls(
            position=document["position"],
            at=_moment(document["at"]),
            vehicles={
                order: VehicleOnLine(
                    **each | {"since": datetime.fromisoformat(each["since"]), "failed": tuple(each["failed"])}
                )
                for order, each in document["vehicles"].items()
            },
            stations={
                name: StationState(
                    **each | {"last_at": _moment(each["last_at"]), "stopped_at": _moment(each["stopped_at"])}
                )
                for name, each in document["stations"].items()
            },
            done=tuple(document["done"]),
            built=document["built"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEvent:
    """An event that cannot be, and why."""

    event: MesEvent
    code: Code
    reason: str


def apply(
    state: LineState, event: MesEvent, line: Line, *, received_at: datetime, back: bool = False
) -> LineState | RefusedEvent:
    """Return the state after an event, or why it cannot be.

    Args:
        state: before it.
        event: what a station said.
        line: its stations, in order.
        received_at: when we heard of it, to know the future by.
        back: there is a way back for this vehicle that the line does not tell of.
    """
    reason = _impossible(event, line, received_at=received_at)
    if reason is None:
        reason = _of_vehicle(state, event, line, back=back) if event.order_id else _of_station(state, event)
    if reason is not None:
        return RefusedEvent(event=event, code=reason[0], reason=reason[1])
    return _moved(state, event, line)


def fold(
    state: LineState, events: Iterable[tuple[MesEvent, datetime]], line: Line
) -> tuple[LineState, tuple[RefusedEvent, ...]]:
    """Return the state after events, each with when it was heard of, and those that cannot be."""
    refused: list[RefusedEvent] = []
    for event, received_at in events:
        after = apply(state, event, line, received_at=received_at)
        if isinstance(after, RefusedEvent):
            refused.append(after)
        else:
            state = after
    return state, tuple(refused)


def refold(state: LineState, events: Iterable[MesEvent], line: Line) -> LineState:
    """Return the state after events that were taken: none is judged again, by a line or a rule of later.

    Of a station that the line has no longer they say nothing, but count.
    """
    names = {station.name for station in line.stations}
    for event in events:
        of_none = event.kind in {"result", "used"} and event.order_id not in state.vehicles
        known = event.station in names and not of_none
        state = _moved(state, event, line) if known else replace(state, position=state.position + 1)
    return state


def without(state: LineState, *, stops: Collection[str], orders: Collection[str]) -> LineState:
    """Return a state without stops of stations that others ended, and without vehicles that are known to have left."""
    return replace(
        state,
        vehicles={order: each for order, each in state.vehicles.items() if order not in orders},
        stations={
            name: replace(each, stopped="", stopped_at=None) if name in stops else each
            for name, each in state.stations.items()
        },
    )


def _impossible(event: MesEvent, line: Line, *, received_at: datetime) -> tuple[Code, str] | None:
    """Return what is wrong with an event by itself."""
    names = [station.name for station in line.stations]
    if event.station not in names:
        return "unknown_station", f"the line has no station {event.station!r}: it has {', '.join(names)}"
    if event.at - received_at > timedelta(seconds=AHEAD_S_MAX):
        ahead_s = (event.at - received_at).total_seconds()
        return "future", f"{_told(event)} {ahead_s:.0f} s in the future: set the station's clock"
    of_vehicle = event.kind in {"entered", "left", "result", "used"}
    if of_vehicle != bool(event.order_id):
        wrong = "names no order" if of_vehicle else f"names order {event.order_id}, which it cannot be about"
        return "incomplete", f"{event.station}: event {event.id}, {event.kind}, {wrong}"
    missing = {
        "result": not event.check or event.passed is None,
        "used": not event.part or not event.lot,
        "stopped": not event.reason.strip(),
    }.get(event.kind, False)
    if missing:
        needs = {"result": "check and passed", "used": "part and lot", "stopped": "a reason"}[event.kind]
        about = f" of order {event.order_id}" if event.order_id else ""
        return "incomplete", f"{event.station}: event {event.id}, {event.kind}{about}, needs {needs}"
    return None


def _of_vehicle(state: LineState, event: MesEvent, line: Line, *, back: bool) -> tuple[Code, str] | None:
    """Return what of the line's state contradicts an event about a vehicle."""
    place = {station.name: number for number, station in enumerate(line.stations)}
    if event.order_id in state.done and not (back and event.kind == "entered"):
        return "out_of_order", f"{_told(event)} after it left the line"
    before = state.vehicles.get(event.order_id)
    if before is None:
        if event.kind in {"result", "used"}:
            return "out_of_order", f"{_told(event)} before it entered the line"
        return None
    if event.at < before.since:
        late_s = (before.since - event.at).total_seconds()
        return "out_of_order", (
            f"{_told(event)} {late_s:.0f} s before it was last seen, {_where(before)}: it came out of order,"
            " or a station's clock is wrong"
        )
    here, there = place[event.station], place.get(before.station, -1)
    if event.kind == "entered" and here == there and before.inside:
        return "duplicate", f"order {event.order_id} is in {event.station} already"
    if event.kind == "left" and here == there and not before.inside:
        return "duplicate", f"order {event.order_id} left {event.station} already"
    if here < there and not back and not _leads_back(state, line, there, here):
        return "out_of_order", f"{_told(event)} after it was {_where(before)}: the line has no way back there"
    if event.kind in {"result", "used"} and here != there:
        return "contradiction", f"{_told(event)} while it is {_where(before)}"
    return None


def _leads_back(state: LineState, line: Line, there: int, here: int) -> bool:
    """Return whether rework brings a vehicle back; stations that never told anything may have passed it on unheard."""
    place = {station.name: number for number, station in enumerate(line.stations)}

    def silent(first: int, end: int) -> bool:
        return all(each.name not in state.stations for each in line.stations[first:end])

    return any(
        place[station.rework_to] <= here
        and there <= gate
        and silent(there + 1, gate + 1)
        and silent(place[station.rework_to], here)
        for gate, station in enumerate(line.stations)
        if station.rework_to in place
    )


def _of_station(state: LineState, event: MesEvent) -> tuple[Code, str] | None:
    known = state.stations.get(event.station, StationState())
    if event.kind == "stopped" and known.stopped and not event.options:
        return "duplicate", f"{event.station} stands already: {known.stopped}"
    if event.kind == "resumed" and not known.stopped:
        return "contradiction", f"{event.station} does not stand, it cannot go on"
    if event.kind == "resumed" and known.stopped_at is not None and event.at < known.stopped_at:
        return "out_of_order", f"{event.station} cannot go on before it stood"
    return None


def _moved(state: LineState, event: MesEvent, line: Line) -> LineState:
    """Return the state after an event that can be."""
    vehicles, done, built = dict(state.vehicles), state.done, state.built
    station = state.stations.get(event.station, StationState())
    before = vehicles.get(event.order_id)
    match event.kind:
        case "entered" | "left":
            failed = before.failed if before else ()
            parts = before.parts if before else 0
            if event.order_id in done:  # it came back
                done, built = tuple(each for each in done if each != event.order_id), built - 1
            vehicles[event.order_id] = VehicleOnLine(
                station=event.station,
                inside=event.kind == "entered",
                since=event.at,
                failed=failed,
                parts=parts,
            )
            if event.kind == "left":
                station = replace(station, left=station.left + 1)
                if event.station == line.stations[-1].name:
                    del vehicles[event.order_id]
                    done, built = (*done, event.order_id)[-DONE_KEPT:], built + 1
        case "result":
            vehicles[event.order_id] = _judged(vehicles[event.order_id], event)
            counted = "passed" if event.passed else "failed"
            station = replace(station, **{counted: getattr(station, counted) + 1})
        case "used":
            on_line = vehicles[event.order_id]
            vehicles[event.order_id] = replace(on_line, since=event.at, parts=on_line.parts + 1)
        case "stopped":
            station = (
                station if event.options else replace(station, stopped=event.reason, stopped_at=event.at)
            )
        case "resumed":
            station = replace(station, stopped="", stopped_at=None)
    last_at = max(event.at, station.last_at) if station.last_at else event.at
    return LineState(
        position=state.position + 1,
        at=max(event.at, state.at) if state.at else event.at,
        vehicles=vehicles,
        stations={**state.stations, event.station: replace(station, last_at=last_at)},
        done=done,
        built=built,
    )


def _judged(vehicle: VehicleOnLine, event: MesEvent) -> VehicleOnLine:
    others = tuple(check for check in vehicle.failed if check != event.check)
    return replace(
        vehicle, since=event.at, failed=others if event.passed else (*others, event.check)[-FAILED_MAX:]
    )


_DID: Final[dict[str, str]] = {
    "entered": "entered {0}", "left": "left {0}", "result": "been checked in {0}", "used": "got a part in {0}",
}  # fmt: skip


def _told(event: MesEvent) -> str:
    if event.order_id and event.kind in _DID:
        return f"order {event.order_id} cannot have {_DID[event.kind].format(event.station)}"
    return f"{event.station} cannot have {event.kind}"


def _where(vehicle: VehicleOnLine) -> str:
    return f"in {vehicle.station}" if vehicle.inside else f"behind {vehicle.station}"


def stations_of(
    state: LineState, line: Line
) -> Sequence[tuple[str, StationState, tuple[str, ...], tuple[str, ...]]]:
    """Return the line from its first station to its last: name, what it has done, who is in it, who is behind it."""
    return [
        (
            station.name,
            state.stations.get(station.name, StationState()),
            tuple(
                order
                for order, each in state.vehicles.items()
                if each.station == station.name and each.inside
            ),
            tuple(
                order
                for order, each in state.vehicles.items()
                if each.station == station.name and not each.inside
            ),
        )
        for station in line.stations
    ]


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
