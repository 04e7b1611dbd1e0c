"""Orders, blocked parts and schedules of a line in PostgreSQL.

The caller opens the transaction.

Invariant: schedules are immutable and numbered without gaps; one decided on an old generation is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from psycopg.types.json import Jsonb

from ringroad.build.logistics.store import availability_of
from ringroad.build.model import Line, Programme
from ringroad.build.plan_line import Cause, Order, ScheduleDocument, decide_schedule
from ringroad.build.plan_line import earliest_at as leaves_at
from ringroad.build.stops import on_line
from ringroad.build.store import Baseline, get_baseline, get_programme
from ringroad.build.store_packages import SQL
from ringroad.build.store_stops import open_stops
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, expect_one, of_row
from ringroad.storage.ledger import append_fact, causes_of, last_of, latest_fact, latest_of_kinds

ORDERS_MAX: Final = 10_000  # waiting orders read at once; a schedule takes the first 2,000


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as kept; the current one has the highest generation."""

    id: str
    programme_id: str
    generation: int
    parent_id: str | None
    cause: Cause
    document: ScheduleDocument
    replan_latency_us: int  # trigger seen to plan current
    made_at: datetime


def add_order(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    variant: str,
    actor: str,
    now: datetime,
    options: Sequence[str] = (),
    region: str = "",
    rush: bool = False,
    due_at: datetime | None = None,
    earliest_at: datetime | None = None,
) -> Order:
    """Take an order.

    Raises:
        NotFound: no such programme.
        InvalidInput: no such variant, an option that the variant does not offer, or a due time that no vehicle
            could meet, or that is over before the order's window opens; more than one colour.
    """
    programme = get_programme(conn, programme_id).programme
    found = programme.variants.get(variant)
    if found is None:
        raise InvalidInput(f"programme {programme_id} has no variant {variant!r}")
    unknown = sorted(set(options) - set(found.options))
    if unknown:
        offered = ", ".join(found.options) or "none"
        raise InvalidInput(
            f"variant {variant} does not offer {', '.join(unknown)}", hint=f"options: {offered}"
        )
    _one_colour(programme.line, options)
    earliest = leaves_at(programme.line, {*options, variant}, now=now)
    if due_at is not None and due_at < earliest:
        raise InvalidInput(
            f"a {variant} cannot be due at {due_at.isoformat(timespec='seconds')}: one that enters now leaves the line"
            f" at {earliest.isoformat(timespec='seconds')}{_by_calendar(programme.line)}",
            hint="leave the due time out and order it as rush, or give a later one",
        )
    if due_at is not None and earliest_at is not None and due_at < earliest_at:
        raise InvalidInput(
            f"a {variant} cannot be due at {due_at.isoformat(timespec='seconds')} and not wanted before"
            f" {earliest_at.isoformat(timespec='seconds')}",
            hint="the window ends no earlier than it begins",
        )
    order = Order(
        id=ids.new("order"), programme_id=programme_id, variant=variant, options=tuple(sorted(set(options))),
        region=region, rush=rush, due_at=due_at, received_at=now,
        earliest_at=earliest_at,
    )  # fmt: skip
    keep_order(conn, ids, order, actor=actor, now=now)
    return get_order(conn, order.id)


def _by_calendar(line: Line) -> str:
    return f", as it works by calendar {line.calendar.name!r}" if line.calendar else ""


def _one_colour(line: Line, options: Sequence[str]) -> None:
    """Raise InvalidInput if an order wants more than one of the colours that a line paints."""
    colours = line.paint.colours if line.paint else ()
    wanted = sorted(set(options) & set(colours))
    if len(wanted) > 1:
        raise InvalidInput(
            f"a vehicle is painted in one colour, and this order has {' and '.join(wanted)}",
            hint=f"choose one of {', '.join(colours)}",
        )


def keep_order(conn: Connection, ids: Ids, order: Order, *, actor: str, now: datetime) -> None:
    """Keep an order as open, under the id that it has."""
    SQL.insert_order(
        conn, order_id=order.id, programme_id=order.programme_id, variant=order.variant,
        options=list(order.options), region=order.region, rush=order.rush, due_at=order.due_at,
        earliest_at=order.earliest_at, now=order.received_at,
    )  # fmt: skip
    append_fact(
        conn, ids, kind=FactKind.ORDER_RECEIVED, subject=order.id, actor=actor, now=now,
        body={"programme_id": order.programme_id, "variant": order.variant, "rush": order.rush},
    )  # fmt: skip


def get_order(conn: Connection, order_id: str) -> Order:
    """Return an order. Raises: NotFound."""
    row = SQL.order(conn, order_id=order_id)
    if row is None:
        raise NotFound(f"there is no order {order_id!r}")
    return _order(row)


def list_orders(conn: Connection, *, programme_id: str, rows_max: int = PAGE_ROWS_MAX) -> list[Order]:
    """Return the newest orders of a programme, whatever their state."""
    rows = SQL.orders(conn, programme_id=programme_id, rows_max=min(rows_max, PAGE_ROWS_MAX))
    return [_order(row) for row in rows]


def waiting_orders(conn: Connection, *, programme_id: str) -> list[Order]:
    """Return open and building orders in order of receipt."""
    return [_order(row) for row in SQL.waiting_orders(conn, programme_id=programme_id, rows_max=ORDERS_MAX)]


def start_order(conn: Connection, ids: Ids, *, order_id: str, actor: str, now: datetime) -> None:
    """Note that a car entered the line.

    Raises:
        NotFound: no such order.
        Conflict: it is not open.
    """
    _move_order(conn, ids, order_id, to="building", kind=FactKind.ORDER_STARTED, actor=actor, now=now)


def reopen_order(conn: Connection, ids: Ids, *, order_id: str, actor: str, now: datetime) -> None:
    """Put an order back whose car left the line unfinished.

    Raises:
        NotFound: no such order.
        Conflict: it is not building.
    """
    _move_order(conn, ids, order_id, to="open", kind=FactKind.ORDER_REOPENED, actor=actor, now=now)


def cancel_order(
    conn: Connection, ids: Ids, *, order_id: str, reason: str, actor: str, now: datetime
) -> Order:
    """Cancel an order whose car is not on the line.

    Raises:
        NotFound: no such order.
        InvalidInput: no reason.
        Conflict: it is not open.
    """
    if not reason.strip():
        raise InvalidInput("a cancellation needs a reason")
    body = {"reason": reason.strip()}
    _move_order(
        conn, ids, order_id, to="cancelled", kind=FactKind.ORDER_CANCELLED, actor=actor, now=now, body=body
    )
    return get_order(conn, order_id)


def resume_order(
    conn: Connection, ids: Ids, *, order_id: str, reason: str, actor: str, now: datetime
) -> None:
    """Take up a cancelled order again: its car had entered the line of a site before the site heard of it.

    Raises:
        NotFound: no such order.
        Conflict: it is not cancelled.
    """
    _move_order(
        conn, ids, order_id, to="open", before="cancelled", kind=FactKind.ORDER_REOPENED, actor=actor, now=now,
        body={"reason": reason},
    )  # fmt: skip


def block_option(
    conn: Connection, ids: Ids, *, programme_id: str, option: str, reason: str, actor: str, now: datetime
) -> bool:
    """Block an option or a variant: its parts are missing or bad.

    Returns:
        False if it was blocked before.

    Raises:
        NotFound: no such programme.
        InvalidInput: no reason, or the programme has no such option or variant.
    """
    variants = get_programme(conn, programme_id).programme.variants
    known = set(variants) | {item for variant in variants.values() for item in variant.options}
    if option not in known:
        raise InvalidInput(
            f"programme {programme_id} has no option or variant {option!r}",
            hint=f"ringroad programme show {programme_id} says which it has",
        )
    if not reason.strip():
        raise InvalidInput("a block needs a reason")
    if SQL.block_option(conn, programme_id=programme_id, option=option, reason=reason, now=now) != 1:
        return False
    append_fact(
        conn, ids, kind=FactKind.OPTION_BLOCKED, subject=programme_id, actor=actor, now=now,
        body={"option": option, "reason": reason},
    )  # fmt: skip
    return True


def unblock_option(
    conn: Connection, ids: Ids, *, programme_id: str, option: str, actor: str, now: datetime
) -> bool:
    """Lift a block. Returns: False if there was none."""
    if SQL.unblock_option(conn, programme_id=programme_id, option=option) != 1:
        return False
    append_fact(
        conn, ids, kind=FactKind.OPTION_UNBLOCKED, subject=programme_id, actor=actor, now=now,
        causes=causes_of(conn, [(FactKind.OPTION_BLOCKED, programme_id)]), body={"option": option},
    )  # fmt: skip
    return True


def blocked_options(conn: Connection, *, programme_id: str) -> dict[str, str]:
    """Return blocked options and variants with the reason."""
    return {row["option"]: row["reason"] for row in SQL.blocked_options(conn, programme_id=programme_id)}


def current_schedule(conn: Connection, programme_id: str) -> Schedule | None:
    """Return the schedule with the highest generation, or None before the first."""
    row = SQL.current_schedule(conn, programme_id=programme_id)
    return _schedule(row) if row else None


def schedule_at(conn: Connection, programme_id: str, at: datetime) -> Schedule | None:
    """Return the schedule that was current at a time, or None before the first."""
    row = SQL.schedule_at(conn, programme_id=programme_id, at=at)
    return _schedule(row) if row else None


def _schedule(row: Mapping[str, Any]) -> Schedule:
    return Schedule(
        id=row["id"],
        programme_id=row["programme_id"],
        generation=row["generation"],
        parent_id=row["parent_id"],
        cause=row["cause"],
        document=ScheduleDocument.from_document(row["document"]),
        replan_latency_us=row["replan_latency_us"],
        made_at=row["made_at"],
    )


def save_schedule(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    generation: int,
    cause: Cause,
    document: ScheduleDocument,
    replan_latency_us: int,
    actor: str,
    now: datetime,
    order_id: str | None = None,
    stop_id: str | None = None,
    work_started_at: datetime | None = None,
    check: Mapping[str, Any] | None = None,
) -> Schedule:
    """Make a schedule current.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        programme_id: whose line.
        generation: of the schedule it was decided against; 0 for the first.
        cause: what triggered it.
        document: the plan.
        replan_latency_us: from the trigger until now.
        actor: who or what replanned.
        now: when.
        order_id: the order that triggered it, if one did.
        stop_id: the stop of a station that did.
        work_started_at: when the trigger was seen.
        check: what the twin said of it, for the fact.

    Raises:
        Conflict: another schedule became current since `generation`.
    """
    parent = current_schedule(conn, programme_id)
    schedule = Schedule(
        id=ids.new("schedule"), programme_id=programme_id, generation=generation + 1,
        parent_id=parent.id if parent else None, cause=cause, document=document,
        replan_latency_us=replan_latency_us, made_at=now,
    )  # fmt: skip
    rows = SQL.insert_schedule(
        conn, schedule_id=schedule.id, programme_id=programme_id, generation=generation,
        parent_id=schedule.parent_id, cause=cause, document=Jsonb(document.to_document()),
        replan_latency_us=replan_latency_us, now=now,
    )  # fmt: skip
    expect_one(rows, f"the schedule of {programme_id}")
    causes = [
        (FactKind.BASELINE_SET, programme_id),
        (FactKind.ORDER_CANCELLED if cause == "order_cancelled" else FactKind.ORDER_RECEIVED, order_id),
        (FactKind.SCHEDULE_REPLANNED, programme_id),
    ]
    # Only a new release makes a schedule part of a lap: orders and parts come and go outside of it.
    baseline = latest_fact(conn, kind=FactKind.BASELINE_SET, subject=programme_id)
    append_fact(
        conn, ids, kind=FactKind.SCHEDULE_REPLANNED, subject=programme_id, actor=actor, now=now,
        lap_id=baseline.lap_id if baseline and cause == "new_release" else None,
        causes=[*_event_behind(conn, schedule, stop_id), *causes_of(conn, causes)], work_started_at=work_started_at,
        body=_evidence(schedule) | ({"check": dict(check)} if check else {}),
    )  # fmt: skip
    return schedule


def _event_behind(conn: Connection, schedule: Schedule, stop_id: str | None) -> list[str]:
    """Return the newest fact about a blocked part, a stop, demand or the line, if that is what it was replanned for."""
    if stop_id is not None:
        return last_of(conn, stop_id)
    if schedule.cause == "demand_shift":
        return causes_of(conn, [(FactKind.DEMAND_SHIFTED, schedule.programme_id)])
    of = schedule.programme_id
    match schedule.cause:
        case "blocked_part":
            facts = [latest_of_kinds(conn, (FactKind.OPTION_BLOCKED, FactKind.OPTION_UNBLOCKED), subject=of)]
        case "line_changed":
            plant_id = get_programme(conn, of).plant_id
            facts = [
                latest_of_kinds(conn, (FactKind.PROGRAMME_IMPORTED,), subject=of),
                latest_of_kinds(conn, _OF_PLANT, subject=plant_id) if plant_id else None,
            ]
        case _:
            facts = []
    newest = max((fact for fact in facts if fact), key=lambda fact: (fact.recorded_at, fact.id), default=None)
    return [newest.id] if newest else []


_OF_PLANT: Final = (
    FactKind.PLANT_IMPORTED, FactKind.PLANT_CHOSEN, FactKind.PLANT_LEARNED, FactKind.PLANT_SHIFTED,
)  # fmt: skip


def _evidence(schedule: Schedule) -> dict[str, Any]:
    return {
        "schedule_id": schedule.id,
        "generation": schedule.generation,
        "cause": schedule.cause,
        "replan_latency_us": schedule.replan_latency_us,
        "cars": len(schedule.document.sequence),
        "held": len(schedule.document.held),
        "violations": schedule.document.violations,
        "moved": schedule.document.moved,
        "moved_permille": 1000 * schedule.document.moved // max(1, len(schedule.document.sequence)),
        "blocked": dict(schedule.document.blocked),
        "stopped": dict(schedule.document.stopped),
    }


def replan(
    conn: Connection,
    ids: Ids,
    clock: Clock,
    *,
    programme_id: str,
    cause: Cause,
    actor: str,
    triggered_s: float,
    triggered_at: datetime | None = None,
    order_id: str | None = None,
    stop_id: str | None = None,
    parent: Sequence[str] | None = None,
) -> Schedule:
    """Load the facts, decide a schedule and make it current, measuring the latency.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        clock: measures the latency.
        programme_id: whose line.
        cause: what triggered it.
        actor: who or what replans.
        triggered_s: `clock.monotonic_s()` when the trigger was seen.
        triggered_at: wall time of the same moment.
        order_id: the order that triggered it, if one did.
        stop_id: the stop of a station that did.
        parent: the sequence to keep to; None: that of the current schedule. A site is given its hub's.

    Raises:
        NotFound: no such programme.
        Conflict: another schedule became current by `save_schedule`.
    """
    SQL.lock_programme(conn, programme_id=programme_id)  # two triggers at once make two schedules, in turn
    programme = get_programme(conn, programme_id).programme
    current = current_schedule(conn, programme_id)
    orders = waiting_orders(conn, programme_id=programme_id)
    baseline = get_baseline(conn, programme_id)
    before = current.document.sequence if current else ()
    building = {order.id for order in orders if order.state == "building"}
    placed = dict.fromkeys(
        (*before, *(parent or ()))
    )  # a site that takes a line over has no schedule of its own
    frozen = [*(order_id for order_id in placed if order_id in building), *sorted(building - placed.keys())]
    unbuilt = _unbuilt(programme, baseline, orders)
    document = decide_schedule(
        orders,
        programme.line,
        unbuilt | blocked_options(conn, programme_id=programme_id),
        baseline.release_id if baseline else None,
        frozen,
        now=clock.now(),
        parent=before if parent is None else parent,
        stops=on_line(open_stops(conn, programme_id=programme_id), programme.line),
        available=availability_of(conn, programme_id, now=clock.now()),
    )
    latency_us = round((clock.monotonic_s() - triggered_s) * 1_000_000)
    if latency_us < 0:
        raise Conflict("the trigger is younger than the clock", hint="pass the clock's own monotonic_s()")
    return save_schedule(
        conn, ids, programme_id=programme_id, generation=current.generation if current else 0, cause=cause,
        document=document, replan_latency_us=latency_us, actor=actor, now=clock.now(), order_id=order_id,
        stop_id=stop_id, work_started_at=triggered_at,
    )  # fmt: skip


def _unbuilt(programme: Programme, baseline: Baseline | None, orders: Sequence[Order]) -> dict[str, str]:
    """Return variants without software, and what orders have and the programme has no more; each with the reason."""
    offered = {name for each in programme.variants.values() for name in (each.name, *each.options)}
    gone = {name for each in orders for name in each.features} - offered
    bare = set(programme.variants) - set(baseline.packages) if baseline else set()
    return dict.fromkeys(sorted(gone), f"programme {programme.id} does not have it any more") | dict.fromkeys(
        sorted(bare), "the baseline has no software for it"
    )


def _move_order(
    conn: Connection,
    ids: Ids,
    order_id: str,
    *,
    to: Literal["open", "building", "cancelled"],
    kind: FactKind,
    actor: str,
    now: datetime,
    before: Literal["cancelled"] | None = None,
    body: Mapping[str, str] | None = None,
) -> None:
    """Move an order from the only state it may come from, with its fact."""
    order = get_order(conn, order_id)
    left = before or ("building" if to == "open" else "open")
    if SQL.move_order(conn, order_id=order_id, before=left, state=to) != 1:
        raise Conflict(
            f"order {order_id} is {order.state}, it cannot become {to}",
            code="order_state",
            hint="read the orders again",
        )
    append_fact(
        conn, ids, kind=kind, subject=order_id, actor=actor, now=now, causes=last_of(conn, order_id),
        body={"programme_id": order.programme_id, "variant": order.variant, **(body or {})},
    )  # fmt: skip


def _order(row: Mapping[str, Any]) -> Order:
    return of_row(Order, row, options=tuple(row["options"]))
