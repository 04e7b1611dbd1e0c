"""What ran on a line at an earlier moment, or would after events that did not happen: a branch, for a question.

The caller opens the transaction. Nothing is kept of a branch but the question.
What is not kept of the past is taken as it is now: the line with its times; parts count as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec

from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.build.plant.line_state import LineState, fold
from ringroad.build.plant.store_events import line_state, without_ended
from ringroad.build.stops import LineStop, expected_s, on_line, standing_s
from ringroad.build.store import get_programme
from ringroad.build.store_packages import SQL
from ringroad.build.store_plant import schedule_at
from ringroad.build.store_stops import stops_at
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.protocol.mes import MesEvent
from ringroad.storage.db import Connection, of_row

EVENTS_MAX: Final = 100  # of a branch that is asked about
YEAR_MAX: Final = 9_000  # of its newest event; a schedule ends some days later, and a calendar at 9999


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Where a question begins.

    Attributes:
        position: after so many events; None: now.
        events: that did not happen, behind those.
    """

    position: int | None = None
    events: tuple[MesEvent, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {"position": self.position, "events": msgspec.to_builtins(self.events)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Branch:
        """Return what `to_document` wrote."""
        events = msgspec.convert(document["events"], tuple[MesEvent, ...])
        return cls(position=document["position"], events=events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What ran, as far as the twin has to know.

    Attributes:
        at: the time of the newest event.
        generation: of the schedule that was current then.
        sequence: orders, those on the line first, as far as they have come.
        orders: by id, in the state that they had.
        line: as it is now.
        standing: stations that stood, and for how many seconds more.
    """

    at: datetime
    generation: int
    sequence: tuple[str, ...]
    orders: Mapping[str, Order]
    line: Line
    standing: Mapping[str, float]


def load_past(conn: Connection, programme_id: str, branch: Branch) -> Past:
    """Return what ran where a branch ends.

    Raises:
        NotFound: no such programme or state, or no schedule was made by then.
        InvalidInput: an event cannot be, or nothing had happened.
    """
    line = get_programme(conn, programme_id).programme.line
    state = line_state(conn, programme_id, line, position=branch.position)
    if branch.position is None:
        state = without_ended(conn, programme_id, state)
    heard = max([each.at for each in branch.events] + ([state.at] if state.at else []), default=None)
    if heard is None:
        raise InvalidInput(
            f"no station of {programme_id} had said anything by then", hint="choose a later state"
        )
    if heard.year > YEAR_MAX:
        raise InvalidInput(f"nothing of {programme_id} is asked about in the year {heard.year}")
    after, refused = fold(state, [(each, heard) for each in branch.events], line)
    if refused:
        raise InvalidInput(refused[0].reason)
    schedule = schedule_at(conn, programme_id, heard)
    if schedule is None:
        raise NotFound(
            f"{programme_id} had no schedule by {heard.isoformat(timespec='seconds')}",
            hint="choose a later state",
        )
    places = [each.name for each in line.stations]
    begun = _begun(after, places)
    gone = {*after.done, *begun}
    wanted = [*begun, *(each for each in schedule.document.sequence if each not in gone)]
    rows = SQL.orders_by_id(conn, programme_id=programme_id, order_ids=wanted)
    found = {row["id"]: of_row(Order, row, options=tuple(row["options"])) for row in rows}
    orders = {
        order_id: replace(found[order_id], state="building" if order_id in after.vehicles else "open")
        for order_id in wanted
        if order_id in found
    }
    stops = stops_at(conn, programme_id=programme_id, at=state.at) if state.at else []
    standing = standing_s(on_line(_after(stops, branch.events, line), line), heard)
    return Past(
        at=heard, generation=schedule.generation, sequence=tuple(orders), orders=orders, line=line, standing=standing
    )  # fmt: skip


def _begun(state: LineState, places: Sequence[str]) -> list[str]:
    """Return the orders on the line, those that are furthest first."""
    known = {order_id: each for order_id, each in state.vehicles.items() if each.station in places}
    return sorted(known, key=lambda each: (-places.index(known[each].station), known[each].inside, each))


def _after(stops: Sequence[LineStop], events: Sequence[MesEvent], line: Line) -> list[LineStop]:
    """Return what stands after events that did not happen."""
    found, stations = list(stops), {each.name: each for each in line.stations}
    for event in events:
        if event.kind == "stopped":
            found.append(
                LineStop(
                    id=event.id, programme_id="", station=event.station, kind="breakdown", reason=event.reason,
                    options=tuple(event.options), event_id=event.id, began_at=event.at, stopped_by="",
                    expected_s=event.expected_s or expected_s(line, stations[event.station], event.at),
                )
            )  # fmt: skip
        elif event.kind == "resumed":
            found = [each for each in found if each.options or each.station != event.station]
    return found
