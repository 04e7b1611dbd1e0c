"""The state of a line that a planner looks at on the plant's page: now, as it was, or as it would be had a station stood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from ringroad.build.model import Line
from ringroad.build.plant import store_events
from ringroad.build.plant.line_state import fold
from ringroad.http.views_plant import LineStateView, line_state_view
from ringroad.kernel.errors import NotFound
from ringroad.protocol.mes import MesEvent
from ringroad.storage.db import Connection

SUPPOSED: Final = "supposed, not told"  # why a station stands that did not
DIGITS_MAX: Final = 15  # of a position


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is looked at.

    Attributes:
        state: of the line.
        position: after so many events; None: the newest.
        newest: how many events there are.
        stands: a station that is supposed to stand from then on; "": none.
        events: that did not happen, as JSON, for whoever asks the twin from here.
        note: why something else is shown than was asked for.
        told: what the last event said.
    """

    state: LineStateView
    position: int | None
    newest: int
    stands: str = ""
    events: str = ""
    note: str = ""
    told: str = ""

    @property
    def is_branch(self) -> bool:
        """Whether it is not the line as it is."""
        return self.position is not None or self.stands != ""


def look(
    conn: Connection, programme_id: str, line: Line, asked: Mapping[str, str | None], *, now: datetime
) -> Look:
    """Return the state of a line that the page's address asks for; the newest, and why, where there is none such."""
    newest = store_events.standing_line(conn, programme_id, line)
    state, position, note = newest, _number(asked.get("position")), ""
    if position is not None and position < newest.position:
        try:
            state = store_events.line_state(conn, programme_id, line, position=position)
        except NotFound as error:
            position, note = None, error.message
    else:  # the newest, which goes on, or one that is not there yet
        position = None
    stands, events = asked.get("stands") or "", list[MesEvent]()
    if stands:
        at = state.at if position is not None and state.at else now
        event = MesEvent(id="supposed", kind="stopped", station=stands, at=at, reason=SUPPOSED)
        after, refused = fold(state, [(event, at)], line)
        if refused:
            stands, note = "", refused[0].reason
        else:
            state, events = after, [event]
    return Look(
        state=line_state_view(programme_id, state, line), position=position, newest=newest.position, stands=stands,
        events=msgspec.json.encode(events).decode() if events else "", note=note,
        told=_told(conn, programme_id, position) if position else "",
    )  # fmt: skip


def asked_from(branch: Mapping[str, Any] | None) -> str:
    """Return from where a question was asked, for its answer; "": from the line as it was then. Pure."""
    if not branch:
        return ""
    supposed = [str(each["station"]) for each in branch["events"] if each["kind"] == "stopped"]
    others = len(branch["events"]) - len(supposed)
    said = f"after {branch['position']} events" if branch["position"] is not None else "as the line was"
    if supposed:
        said += f", had {' and '.join(supposed)} stood"
    return said + (f", and after {others} more that did not happen" if others else "")


def _told(conn: Connection, programme_id: str, position: int) -> str:
    event = store_events.event_at(conn, programme_id, position)
    return f"{event.kind} {event.station}" if event else ""


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None
