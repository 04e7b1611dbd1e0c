"""What a change of a station's OPC UA node means as an event of the line.

========= =============================================== ==========================
node      holds                                           a change is
========= =============================================== ==========================
order     the order in the station, "" for none           left, entered
result    CHECK:passed or CHECK:failed, and :ORDER        result
lot       PART:LOT, and :ORDER                            used
stopped   why the station stands, "" while it works       stopped, resumed
========= =============================================== ==========================

Without an order, results and lots are of the order in the station. The id of an event follows from station, node and
the time that the server gave the value, so a bridge that starts again tells nothing twice.

Pure. Invariant: a value that has no meaning becomes no event, and is said to whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ringroad.protocol.mes import Kind, MesEvent

TEXT_CHARS_MAX = 200  # of a value; as the fields of an event


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChange:
    """A node has another value.

    Attributes:
        station: whose node it is.
        node: ``order``, ``result``, ``lot`` or ``stopped``.
        value: as text.
        at: when, by the OPC UA server.
    """

    station: str
    node: str
    value: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StationSeen:
    """What is known of a station's nodes."""

    order: str = ""
    stopped: str = ""


def events_of(change: NodeChange, seen: StationSeen) -> tuple[tuple[MesEvent, ...], StationSeen, str]:
    """Return the events of a change, what is known after it, and why it has none, if it should have some."""
    value = change.value.strip()
    if len(value) > TEXT_CHARS_MAX or "\0" in value:
        return (
            (),
            seen,
            f"{change.station}: {change.node} is longer than {TEXT_CHARS_MAX} characters, or has a NUL",
        )
    match change.node:
        case "order":
            made: list[MesEvent] = []
            if seen.order and seen.order != value:
                made.append(_event(change, "left", order_id=seen.order))
            if value and seen.order != value:
                made.append(_event(change, "entered", order_id=value))
            return tuple(made), StationSeen(order=value, stopped=seen.stopped), ""
        case "stopped":
            after = StationSeen(order=seen.order, stopped=value)
            if value and not seen.stopped:
                return (_event(change, "stopped", reason=value),), after, ""
            if seen.stopped and not value:
                return (_event(change, "resumed"),), after, ""
            return (), after, ""
        case "result" | "lot" if not value:
            return (), seen, ""
        case "result":
            parts = value.split(":")
            if len(parts) not in (2, 3) or not parts[0] or parts[1] not in {"passed", "failed"}:
                return (), seen, f"{change.station}: result {value!r} is not CHECK:passed or CHECK:failed"
            order = parts[2] if len(parts) == 3 else seen.order
            if not order:
                return (), seen, f"{change.station}: result {value!r} of no order"
            event = _event(change, "result", order_id=order, check=parts[0], passed=parts[1] == "passed")
            return (event,), seen, ""
        case "lot":
            parts = value.split(":")
            if len(parts) not in (2, 3) or not all(parts[:2]):
                return (), seen, f"{change.station}: lot {value!r} is not PART:LOT"
            order = parts[2] if len(parts) == 3 else seen.order
            if not order:
                return (), seen, f"{change.station}: lot {value!r} of no order"
            return (_event(change, "used", order_id=order, part=parts[0], lot=parts[1]),), seen, ""
        case _:
            return (), seen, f"{change.station}: {change.node!r} is no node of a station"


def by_time(changes: list[NodeChange]) -> list[NodeChange]:
    """Return changes as they happened; what a station says of its order comes before the next order.

    A server may hand over all changes of one node before those of the next, so their order says nothing.
    """
    return sorted(changes, key=lambda change: (change.at, change.node == "order"))


def in_order(events: list[MesEvent]) -> list[MesEvent]:
    """Return events as they happened: by time, and what left before what entered; of an order before it left."""
    enters = {(each.at, each.station, each.order_id) for each in events if each.kind == "entered"}

    def rank(event: MesEvent) -> int:
        if event.kind in {"result", "used"}:
            return 3 if (event.at, event.station, event.order_id) in enters else 0
        return 1 if event.kind == "left" else 2

    return sorted(events, key=lambda event: (event.at, rank(event)))


def _event(
    change: NodeChange,
    kind: Kind,
    *,
    order_id: str = "",
    check: str = "",
    passed: bool | None = None,
    part: str = "",
    lot: str = "",
    reason: str = "",
) -> MesEvent:
    return MesEvent(
        id=f"opcua:{change.station[:80]}:{change.node}:{kind}:{change.at.isoformat()}",
        kind=kind,
        station=change.station,
        at=change.at,
        order_id=order_id,
        check=check,
        passed=passed,
        part=part,
        lot=lot,
        reason=reason,
    )
