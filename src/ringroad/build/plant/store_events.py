"""Events of a line's stations in PostgreSQL: what was taken, what cannot be, and the state that they sum up to.

The caller opens the transaction.

Invariants:
    An event is taken once, however often it is delivered or told, or refused with its bytes and what is wrong with it.
    What it brings about (an order that starts, a stop, a measured time) is in the same transaction, or not at all.
    The newest state is kept with the events that led to it: a line that changes later changes nothing of the past.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec
import structlog
from psycopg.types.json import Jsonb

from ringroad.build.model import Line
from ringroad.build.plan_line import Cause, Order
from ringroad.build.plant.line_state import LineState, RefusedEvent, apply, refold, without
from ringroad.build.plant.store import SQL
from ringroad.build.quality.results import CheckResult
from ringroad.build.quality.store import forget as forget_results
from ringroad.build.quality.store import lots_used, take_results
from ringroad.build.quality.store_draw import choose, list_draws
from ringroad.build.store import get_programme
from ringroad.build.store_birth import line_of_programme, take_used
from ringroad.build.store_packages import SQL as BUILD
from ringroad.build.store_plant import replan, start_order
from ringroad.build.store_stops import begin_stop, end_stop, get_stop
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, RingroadError
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.protocol.mes import EVENT_BYTES_MAX, SUBJECT_PREFIX, MesEvent
from ringroad.storage.db import Connection, of_row

LOG = structlog.get_logger(__name__)

ACTOR: Final = "system:mes"
SNAPSHOT_EVENTS: Final = (
    500  # events, of which the state after the last one stays: what an earlier state has to read
)
KEPT_DAYS: Final = 90  # as station times
RAW_BYTES_MAX: Final = EVENT_BYTES_MAX  # of a refused message that are kept
NEWEST: Final = 2**62  # any position is before it


class Told(Protocol):
    """A message of the stream (`storage.streams.StreamMessage`)."""

    @property
    def subject(self) -> str:
        """Where it was published."""

    @property
    def payload(self) -> bytes:
        """Its bytes."""

    @property
    def seq(self) -> int:
        """Its number in the stream."""

    @property
    def received_at(self) -> datetime:
        """When the broker took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvent:
    """An event that was taken, and where in the fold it stands."""

    position: int
    event: MesEvent
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that cannot be, as it came."""

    seq: int
    programme_id: str
    event_id: str
    order_id: str
    station: str
    code: str
    reason: str
    raw: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a delivery."""

    taken: int = 0
    known: int = 0  # delivered before
    refused: int = 0


def take_events(
    conn: Connection, ids: Ids, clock: Clock, *, programme_id: str, messages: Sequence[Told], replans: bool = True
) -> Taken:  # fmt: skip
    """Take what can be of messages about one programme's line, in their order.

    `replans`: a line that stands is planned anew; not at the hub of the site that builds, and planned it anew itself.
    """
    BUILD.lock_programme(conn, programme_id=programme_id)  # two deliveries take turns
    try:
        line = get_programme(conn, programme_id).programme.line
    except NotFound as error:
        for message in messages:
            _refuse(conn, programme_id, message, code="no_programme", reason=error.message)
        return Taken(refused=len(messages))
    state = line_state(conn, programme_id, line)
    kept = state.position
    taken = known = refused = 0
    for message in messages:
        event = _decoded(message)
        if isinstance(event, str):
            _refuse(conn, programme_id, message, code="unreadable", reason=event)
            refused += 1
            continue
        before = SQL.event(conn, programme_id=programme_id, event_id=event.id)
        if before and (before["seq"], before["received_at"]) == (message.seq, message.received_at):
            known += 1
            continue
        if before:
            after: LineState | RefusedEvent = _told_before(event, msgspec.convert(before["body"], MesEvent))
        else:
            begun = (
                without_ended(conn, programme_id, state, [event.station])
                if event.kind == "stopped"
                else state
            )
            after = apply(begun, event, line, received_at=message.received_at)
            if isinstance(after, RefusedEvent) and after.code == "out_of_order":  # unless it is to be there
                back = not replans or _is_awaited(conn, programme_id, event)  # a site took it by its own line
                after = apply(begun, event, line, received_at=message.received_at, back=back)
        if isinstance(after, LineState):
            after = _kept(
                conn, ids, clock, programme_id=programme_id, message=message, event=event, after=after, replans=replans
            )  # fmt: skip
        if isinstance(after, RefusedEvent):
            _refuse(conn, programme_id, message, code=after.code, reason=after.reason, event=event)
            refused += 1
            continue
        state, taken = after, taken + 1
    if taken:
        _keep_state(conn, programme_id, state, now=clock.now())
    if kept // SNAPSHOT_EVENTS < state.position // SNAPSHOT_EVENTS:
        forget(conn, programme_id, now=clock.now())
    return Taken(taken=taken, known=known, refused=refused)


def line_state(
    conn: Connection, programme_id: str, line: Line | None = None, *, position: int | None = None
) -> LineState:
    """Return the state of a line, newest or after so many events.

    Raises:
        NotFound: no such programme, or the events up to there are forgotten or have not come.
    """
    told = line or get_programme(conn, programme_id).programme.line
    row = SQL.newest_state(conn, programme_id=programme_id, position=NEWEST if position is None else position)
    state = LineState.from_document(row["state"]) if row else LineState()
    rows = SQL.events_after(
        conn, programme_id=programme_id, after=state.position, position=NEWEST if position is None else position,
        rows_max=10 * SNAPSHOT_EVENTS,
    )  # fmt: skip
    found = refold(state, (msgspec.convert(each["body"], MesEvent) for each in rows), told)
    if position is not None and found.position != position:
        raise NotFound(
            f"the line of {programme_id} has no state after {position} events",
            hint=f"the newest is {SQL.last_position(conn, programme_id=programme_id)}; events are kept for {KEPT_DAYS} days",
        )
    return found


def standing_line(conn: Connection, programme_id: str, line: Line | None = None) -> LineState:
    """Return the newest state of a line, without stops that a person ended and vehicles that are born. Raises: NotFound."""
    state = without_ended(conn, programme_id, line_state(conn, programme_id, line))
    rows = BUILD.orders_by_id(conn, programme_id=programme_id, order_ids=list(state.vehicles))
    return without(state, stops=(), orders={row["id"] for row in rows if row["state"] == "born"})


def list_events(
    conn: Connection,
    programme_id: str,
    *,
    order_id: str | None = None,
    station: str | None = None,
    rows_max: int = PAGE_ROWS_MAX,
) -> list[KeptEvent]:
    """Return the newest events of a line, of one order or of one station."""
    rows = SQL.list_events(
        conn, programme_id=programme_id, order_id=order_id, station=station, rows_max=rows_max
    )
    return [
        KeptEvent(
            position=row["position"],
            event=msgspec.convert(row["body"], MesEvent),
            received_at=row["received_at"],
        )
        for row in rows
    ]


def event_at(conn: Connection, programme_id: str, position: int) -> MesEvent | None:
    """Return the event that led to a state; None: it is forgotten, or did not come."""
    rows = SQL.events_after(
        conn, programme_id=programme_id, after=position - 1, position=position, rows_max=1
    )
    return next((msgspec.convert(row["body"], MesEvent) for row in rows), None)


def list_refused(conn: Connection, programme_id: str, *, rows_max: int = PAGE_ROWS_MAX) -> list[DeadLetter]:
    """Return the newest events of a line that could not be, each with its bytes."""
    return [
        of_row(DeadLetter, row, raw=bytes(row["raw"]))
        for row in SQL.list_refused(conn, programme_id=programme_id, rows_max=rows_max)
    ]


def refuse_message(
    conn: Connection, message: Told, reason: str, *, programme_id: str | None = None, code: str = "broken"
) -> None:
    """Keep a message that nobody can take, with its bytes and why; of another stream with its programme and a code."""
    _refuse(conn, programme_id or programme_of(message.subject), message, code=code, reason=reason)


def programme_of(subject: str) -> str:
    """Return the programme that a subject names."""
    return subject.removeprefix(SUBJECT_PREFIX)[:200]


def forget(conn: Connection, programme_id: str, *, now: datetime) -> None:
    """Forget events that are old, and are in a state that is kept."""
    oldest = now - timedelta(days=KEPT_DAYS)
    SQL.forget_events(conn, programme_id=programme_id, oldest=oldest)
    SQL.forget_states(conn, programme_id=programme_id, oldest=oldest)
    SQL.forget_refused(conn, oldest=oldest)
    forget_results(conn, programme_id, now=now)


def _is_awaited(conn: Connection, programme_id: str, event: MesEvent) -> bool:
    """Return whether a gate of the station is to look at the vehicle and has not, as after its lot was contained."""
    return event.kind == "entered" and any(
        each.station == event.station and each.inspect and each.passed is None
        for each in list_draws(conn, programme_id, order_id=event.order_id)
    )


def without_ended(
    conn: Connection, programme_id: str, state: LineState, stations: Collection[str] | None = None
) -> LineState:
    """Return a state without stops that a person ended: of some stations, or of all."""
    stopped = [
        name
        for name, each in state.stations.items()
        if each.stopped and (stations is None or name in stations)
    ]
    ended = {
        name
        for name in stopped
        if SQL.open_stop_of_station(conn, programme_id=programme_id, station=name) is None
    }
    return without(state, stops=ended, orders=()) if ended else state


def _decoded(message: Told) -> MesEvent | str:
    """Return the event of a message, or what is wrong with its form."""
    if len(message.payload) > EVENT_BYTES_MAX:
        return f"{len(message.payload)} bytes; the limit is {EVENT_BYTES_MAX}"
    try:
        return msgspec.json.decode(message.payload, type=MesEvent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return str(error)


def _told_before(event: MesEvent, kept: MesEvent) -> RefusedEvent:
    """Return why an event whose id is known is not taken again."""
    about = f"order {event.order_id} at {event.station}" if event.order_id else event.station
    if kept == event:
        return RefusedEvent(
            event=event, code="duplicate", reason=f"event {event.id} of {about} came before; it counts once"
        )
    was = f"order {kept.order_id} at {kept.station}" if kept.order_id else kept.station
    if (kept.kind, was) == (event.kind, about):
        other = [name for name in MesEvent.__struct_fields__ if getattr(kept, name) != getattr(event, name)]
        reason = f"event {event.id}, {event.kind} of {about}, came before with another {' and '.join(other)}"
        return RefusedEvent(event=event, code="contradiction", reason=reason)
    reason = f"event {event.id} was {kept.kind} of {was} before, and is {event.kind} of {about} now"
    return RefusedEvent(event=event, code="contradiction", reason=reason)


def _kept(
    conn: Connection, ids: Ids, clock: Clock, *, programme_id: str, message: Told, event: MesEvent, after: LineState,
    replans: bool,
) -> LineState | RefusedEvent:  # fmt: skip
    """Keep an event with all that it brings about, or say why it cannot be."""
    try:
        with conn.transaction():
            _bring_about(conn, ids, clock, programme_id, event, position=after.position, replans=replans)
            SQL.insert_event(
                conn, programme_id=programme_id, position=after.position, event_id=event.id,
                order_id=event.order_id, station=event.station, kind=event.kind,
                body=Jsonb(msgspec.to_builtins(event)), at=event.at, seq=message.seq,
                received_at=message.received_at,
            )  # fmt: skip
    except (InvalidInput, Conflict, NotFound) as error:
        return RefusedEvent(event=event, code="contradiction", reason=_named(error, event))
    return after


def _bring_about(
    conn: Connection,
    ids: Ids,
    clock: Clock,
    programme_id: str,
    event: MesEvent,
    *,
    position: int,
    replans: bool,
) -> None:
    """Do what follows from an event. Raises: InvalidInput, Conflict, NotFound, if it cannot be.

    A line that cannot be planned anew is no reason to forget that it stands.
    """
    match event.kind:
        case "stopped":
            stop, new = begin_stop(
                conn, ids, programme_id=programme_id, station=event.station,
                kind="quality" if event.quality else "breakdown", reason=event.reason, options=event.options,
                expect_s=event.expected_s, event_id=event.id, began_at=event.at, actor=ACTOR, now=clock.now(),
                after=position,
            )  # fmt: skip
            if new and replans:
                cause: Cause = "quality_stop" if event.quality else "breakdown"
                _replan(conn, ids, clock, programme_id, cause=cause, stop_id=stop.id)
        case "resumed":
            row = SQL.open_stop_of_station(conn, programme_id=programme_id, station=event.station)
            if row is None:
                return  # a person ended it before
            if get_stop(conn, row["id"]).kind == "quality":
                raise Conflict(f"{event.station} stands for quality: an approver lifts that")
            end_stop(
                conn, ids, stop_id=row["id"], actor=ACTOR, now=clock.now(), ended_at=event.at, after=position
            )
            if replans:
                _replan(conn, ids, clock, programme_id, cause="station_resumed", stop_id=row["id"])
        case _:
            _of_order(conn, ids, clock, programme_id, event)


def _of_order(conn: Connection, ids: Ids, clock: Clock, programme_id: str, event: MesEvent) -> None:
    rows = BUILD.orders_by_id(conn, programme_id=programme_id, order_ids=[event.order_id])
    order = next((of_row(Order, row, options=tuple(row["options"])) for row in rows), None)
    if order is None:
        raise NotFound(
            f"there is no order {event.order_id} for this line, {event.station} cannot have had it"
        )
    if event.at < order.received_at:
        raise InvalidInput(
            f"{event.station} had order {order.id} before it was received: set the station's clock"
        )
    if order.state == "open" and event.kind == "entered":
        start_order(conn, ids, order_id=order.id, actor=ACTOR, now=clock.now())
    elif order.state in {"open", "cancelled"}:
        raise Conflict(
            f"order {order.id} is {order.state}: it never entered the line, {event.station} cannot have had it"
        )
    if event.kind == "result":
        _judge(conn, clock, programme_id, event)
    if event.kind == "used":
        take_used(conn, programme_id, event, actor=ACTOR, now=clock.now())
    if event.kind in {"entered", "used"}:  # what just went in may be of a contained lot
        line = line_of_programme(conn, programme_id)
        choose(conn, ids, line, order_id=order.id, station=event.station, actor=ACTOR, now=clock.now())
    if event.kind != "left" or event.worked_s is None:
        return
    if not list(BUILD.times_before(conn, programme_id=programme_id, order_ids=[], event_ids=[event.id])):
        BUILD.insert_time(
            conn, programme_id=programme_id, event_id=event.id, order_id=event.order_id, station=event.station,
            worked_ms=round(event.worked_s * 1000), finished_at=event.at, now=clock.now(),
        )  # fmt: skip


def _judge(conn: Connection, clock: Clock, programme_id: str, event: MesEvent) -> None:
    """Keep the result of a check, with the lots that went in before. Raises: InvalidInput, if it cannot be."""
    result = CheckResult(
        id=event.id, vehicle=event.order_id, station=event.station, check=event.check, passed=bool(event.passed),
        at=event.at, software=event.software,
        lots=lots_used(conn, programme_id, event.order_id, event.station),
    )  # fmt: skip
    found = take_results(conn, programme_id=programme_id, delivered=[result], actor=ACTOR, now=clock.now())
    if found.refused:
        raise InvalidInput(found.refused[0].reason)


def _replan(
    conn: Connection, ids: Ids, clock: Clock, programme_id: str, *, cause: Cause, stop_id: str
) -> None:
    try:
        with conn.transaction():
            replan(
                conn, ids, clock, programme_id=programme_id, cause=cause, actor=ACTOR,
                triggered_s=clock.monotonic_s(), triggered_at=clock.now(), stop_id=stop_id,
            )  # fmt: skip
    except (InvalidInput, Conflict, NotFound):
        LOG.exception("the line is not planned anew", programme=programme_id, cause=cause, stop=stop_id)


def _named(error: RingroadError, event: MesEvent) -> str:
    """Return why, with the station or the order in it."""
    named = event.station in error.message or (event.order_id and event.order_id in error.message)
    return error.message if named else f"{event.station}: {error.message}"


def _refuse(
    conn: Connection,
    programme_id: str,
    message: Told,
    *,
    code: str,
    reason: str,
    event: MesEvent | None = None,
) -> None:
    SQL.insert_refused(
        conn, seq=message.seq, received_at=message.received_at, programme_id=programme_id,
        event_id=event.id if event else "", order_id=event.order_id if event else "",
        station=event.station if event else "", code=code, reason=reason[:2_000], raw=message.payload[:RAW_BYTES_MAX],
    )  # fmt: skip


def _keep_state(conn: Connection, programme_id: str, state: LineState, *, now: datetime) -> None:
    SQL.insert_state(
        conn, programme_id=programme_id, position=state.position, state=Jsonb(state.to_document()), now=now
    )
    SQL.drop_states_between(conn, programme_id=programme_id, position=state.position, events=SNAPSHOT_EVENTS)
