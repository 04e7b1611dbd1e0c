"""Which measured station times may be believed? Each is taken, known already, or refused with what is wrong with it.

Pure. Invariant: a time that contradicts the clock, its order or a time taken before is refused, and refusing it
changes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ringroad.build.model import Line
from ringroad.build.plan_line import Order

AHEAD_S_MAX: Final = 5  # seconds that a station's clock may be ahead of ours
TIMES_MAX: Final = 1_000  # per request


@dataclass(frozen=True, slots=True, kw_only=True)
class StationTime:
    """A station finished a vehicle."""

    id: str  # the station's own, to know a repeated one by
    order_id: str
    station: str
    worked_ms: int
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedTime:
    """One that is not believed, and why."""

    id: str
    order_id: str
    station: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedTimes:
    """What becomes of a delivery."""

    taken: tuple[StationTime, ...]
    repeated: int
    refused: tuple[RefusedTime, ...]


def sort_times(
    delivered: Sequence[StationTime],
    line: Line,
    orders: Mapping[str, Order],
    before: Iterable[StationTime],
    *,
    now: datetime,
) -> SortedTimes:
    """Sort a delivery out.

    Args:
        delivered: as they came.
        line: its stations, in order.
        orders: those that are named, as far as the programme has them.
        before: times taken before, of the same orders or with the same ids.
        now: to know the future by.
    """
    known = {time.id: time for time in before}
    passed: dict[str, list[StationTime]] = {}
    for time in known.values():
        passed.setdefault(time.order_id, []).append(time)
    place = {station.name: number for number, station in enumerate(line.stations)}
    comes_back = any(station.rework_permille for station in line.stations)
    taken: list[StationTime] = []
    refused: list[RefusedTime] = []
    repeated = 0
    for time in delivered:
        if known.get(time.id) == time:
            repeated += 1
            continue
        reason = _contradiction(time, known, place, orders.get(time.order_id), now=now)
        if not reason and not comes_back:
            reason = _out_of_order(time, passed.get(time.order_id, ()), place)
        if reason:
            refused.append(
                RefusedTime(id=time.id, order_id=time.order_id, station=time.station, reason=reason)
            )
            continue
        known[time.id] = time
        passed.setdefault(time.order_id, []).append(time)
        taken.append(time)
    return SortedTimes(taken=tuple(taken), repeated=repeated, refused=tuple(refused))


def _contradiction(
    time: StationTime,
    known: Mapping[str, StationTime],
    place: Mapping[str, int],
    order: Order | None,
    *,
    now: datetime,
) -> str:
    """Return what is wrong with a time by itself, or nothing."""
    if time.id in known:
        other = known[time.id]
        return f"event {time.id} was {other.order_id} at {other.station} before, and is {time.order_id} at {time.station} now"
    if time.station not in place:
        return f"the line has no station {time.station!r}: it has {', '.join(place) or 'none'}"
    if order is None:
        return f"there is no order {time.order_id} for this line"
    if order.state in {"open", "cancelled"}:
        return f"order {order.id} is {order.state}: it never entered the line, {time.station} cannot have finished it"
    if time.finished_at > now + timedelta(seconds=AHEAD_S_MAX):
        ahead_s = (time.finished_at - now).total_seconds()
        return (
            f"{time.station} finished order {order.id} {ahead_s:.0f} s in the future: set the station's clock"
        )
    if time.finished_at < order.received_at:
        return f"{time.station} finished order {order.id} before it was received: set the station's clock"
    return ""


def _out_of_order(time: StationTime, passed: Iterable[StationTime], place: Mapping[str, int]) -> str:
    """Return which other station contradicts a time; on a line with rework a vehicle may come back."""
    here = place[time.station]
    for other in passed:
        there = place.get(other.station)
        if there is None:
            continue
        if there == here:
            return f"{time.station} finished order {time.order_id} already, as event {other.id}"
        if (here < there) != (
            time.finished_at <= other.finished_at
        ) and time.finished_at != other.finished_at:
            first, last = sorted((time, other), key=lambda each: each.finished_at)
            return (
                f"order {time.order_id} cannot have left {first.station} before {last.station}:"
                " the line has them the other way round"
            )
    return ""
