"""Which results of checks may be believed? Each is taken, known already, or refused with what is wrong with it.

A result is of one vehicle, by one check, at one station. The first one of a check is the one that counts for
first-pass yield; one after it follows rework.

Pure. Invariant: a result that contradicts the clock, the line, its vehicle or a result taken before is refused, and
refusing it changes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from ringroad.build.model import Line, Programme
from ringroad.build.plan_line import Order
from ringroad.build.station_times import AHEAD_S_MAX

RESULTS_MAX: Final = 1_000  # per request
ATTEMPTS_MAX: Final = 1_000  # results of one check on one vehicle; a station that tells more is broken
KEPT_DAYS: Final = 1_100  # three years: as long as owners claim what a gate let pass
LOTS_MAX: Final = 40  # parts with a lot, of one vehicle at one station
ORDER_PREFIX: Final = "order_"  # of orders that are ours

Outcome = Literal["first_pass", "failed", "reworked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check said of a vehicle.

    Attributes:
        id: the station's own, to know a repeated one by.
        vehicle: an order of ours, the VIN of one, or the sender's own number of a vehicle built elsewhere.
        station: of the line.
        check: its name there.
        passed: or failed.
        at: when, by the station's clock.
        variant: of the vehicle; may be left out of an order of ours.
        software: version that the vehicle got or gets on this line; "" for the line's baseline.
        lots: parts fitted at this station to their suppliers' lots.
        attempt: 1 for the first result of this check on this vehicle; found when it is taken.
    """

    id: str
    vehicle: str
    station: str
    check: str
    passed: bool
    at: datetime
    variant: str = ""
    software: str = ""
    lots: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 0

    @property
    def outcome(self) -> Outcome:
        """Passed at once, failed, or passed after rework."""
        if not self.passed:
            return "failed"
        return "first_pass" if self.attempt <= 1 else "reworked"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedResult:
    """One that is not believed, and why."""

    id: str
    vehicle: str
    station: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedResults:
    """What becomes of a delivery."""

    taken: tuple[CheckResult, ...] = ()
    repeated: int = 0
    refused: tuple[RefusedResult, ...] = ()


def sort_results(
    delivered: Sequence[CheckResult],
    programme: Programme,
    orders: Mapping[str, Order],
    before: Iterable[CheckResult],
    *,
    software: str,
    now: datetime,
) -> SortedResults:
    """Sort a delivery out.

    Args:
        delivered: as they came.
        programme: whose line it is.
        orders: those that are named, by id and by VIN.
        before: results taken before, of the same vehicles (of each check the first and the newest do) or with the
            same ids.
        software: the line's baseline now, for those that name none.
        now: to know the future by.

    Returns:
        The taken ones with vehicle, variant, software and attempt as they are kept.
    """
    known = {each.id: each for each in before}
    of_vehicle: dict[str, list[CheckResult]] = {}
    for each in known.values():
        of_vehicle.setdefault(each.vehicle, []).append(each)
    taken: list[CheckResult] = []
    refused: list[RefusedResult] = []
    repeated = 0
    for given in delivered:
        order = orders.get(given.vehicle)
        result = replace(
            given,
            vehicle=order.id if order else given.vehicle,
            variant=given.variant or (order.variant if order else ""),
            software=given.software or software,
        )
        if result.id in known and _same(known[result.id], result, said=given):
            repeated += 1
            continue
        others = of_vehicle.setdefault(result.vehicle, [])
        reason = _contradiction(result, known, programme, order, now=now) or _out_of_order(
            result, others, programme.line
        )
        if reason:
            refused.append(
                RefusedResult(id=given.id, vehicle=given.vehicle, station=given.station, reason=reason)
            )
            continue
        result = replace(result, attempt=1 + _attempts(result, others))
        known[result.id] = result
        others.append(result)
        taken.append(result)
    return SortedResults(taken=tuple(taken), repeated=repeated, refused=tuple(refused))


def _same(kept: CheckResult, result: CheckResult, *, said: CheckResult) -> bool:
    """Return whether a result was told before; a baseline that moved since makes no other one of it."""
    software = kept.software if not said.software else result.software
    return kept == replace(result, attempt=kept.attempt, software=software)


def _contradiction(
    result: CheckResult,
    known: Mapping[str, CheckResult],
    programme: Programme,
    order: Order | None,
    *,
    now: datetime,
) -> str:
    """Return what is wrong with a result by itself, or nothing."""
    names = [station.name for station in programme.line.stations]
    about = f"{result.check} of {result.vehicle} at {result.station}"
    if result.id in known:
        kept = known[result.id]
        was = f"{kept.check} of {kept.vehicle} at {kept.station}, {'passed' if kept.passed else 'failed'}"
        return f"event {result.id} was {was} before, and is {about}, {'passed' if result.passed else 'failed'}, now"
    if result.station not in names:
        return f"the line has no station {result.station!r}: it has {', '.join(names) or 'none'}"
    if len(result.lots) > LOTS_MAX:
        return f"{about} names {len(result.lots)} lots, limit {LOTS_MAX}"
    if result.at > now + timedelta(seconds=AHEAD_S_MAX):
        ahead_s = (result.at - now).total_seconds()
        return f"{about} cannot have been {ahead_s:.0f} s in the future: set the station's clock"
    if result.at < now - timedelta(days=KEPT_DAYS):
        return f"{about} was more than {KEPT_DAYS} days ago, as long as results are kept: set the station's clock"
    if order is None:
        return _of_stranger(result, programme)
    if order.state in {"open", "cancelled"}:
        return f"order {order.id} is {order.state}: it never entered the line, {result.station} cannot have checked it"
    if result.variant != order.variant:
        return f"{result.station}: order {order.id} is a {order.variant}, not a {result.variant}"
    if result.at < order.received_at:
        return f"{about} was before the order was received: set the station's clock"
    return ""


def _of_stranger(result: CheckResult, programme: Programme) -> str:
    """Return what is wrong with a result of a vehicle that is no order of ours."""
    if result.vehicle.startswith(ORDER_PREFIX):
        return f"{result.station}: there is no order {result.vehicle} for this line"
    if not result.variant:
        return f"{result.station}: vehicle {result.vehicle} is no order of this line: say its variant"
    if result.variant not in programme.variants:
        known = ", ".join(programme.variants)
        return (
            f"{result.station}: vehicle {result.vehicle} is a {result.variant!r}, the programme has {known}"
        )
    return ""


def _out_of_order(result: CheckResult, others: Sequence[CheckResult], line: Line) -> str:
    """Return which result of the same vehicle contradicts this one; on a line with rework a vehicle may come back."""
    about = f"{result.check} of {result.vehicle} at {result.station}"
    same = _of_check(result, others)
    if _attempts(result, others) >= ATTEMPTS_MAX:
        return f"{about} has {ATTEMPTS_MAX} results already"
    later = max(same, key=lambda each: each.at, default=None)
    if later is not None and result.at < later.at:
        return f"{about} comes out of order: event {later.id} is of {later.at.isoformat()}"
    if any(station.rework_permille for station in line.stations):
        return ""
    place = {station.name: number for number, station in enumerate(line.stations)}
    for other in others:
        there = place.get(other.station)
        if there is None or there == place[result.station] or other.at == result.at:
            continue
        if (place[result.station] < there) != (result.at < other.at):
            first, last = sorted((result, other), key=lambda each: each.at)
            return (
                f"{about} comes out of order: {result.vehicle} cannot have been at {first.station} before"
                f" {last.station}, the line has them the other way round"
            )
    return ""


def _attempts(result: CheckResult, others: Iterable[CheckResult]) -> int:
    return max((each.attempt for each in _of_check(result, others)), default=0)


def _of_check(result: CheckResult, others: Iterable[CheckResult]) -> list[CheckResult]:
    return [each for each in others if (each.station, each.check) == (result.station, result.check)]
