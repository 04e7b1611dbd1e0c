"""Which milestones may be believed? Each is taken, known already, or refused with what is wrong with it.

A shipment goes one leg, whose milestones have an order; the last one is its arrival. An AGV's move is a shipment,
too: its fleet is the leg.

Pure. Invariant: a shipment only goes forward; a milestone that contradicts the clock, its leg or what was told
before is refused, and refusing it changes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from ringroad.build.logistics.availability import PARTS_MAX
from ringroad.build.logistics.quantiles import Stage
from ringroad.kernel.errors import InvalidInput

AHEAD_S_MAX: Final = 5  # seconds that a sender's clock may be ahead of ours
TOLD_MAX: Final = 1_000  # milestones per request
AWAY_DAYS_MAX: Final = (
    3 * 365
)  # of a time, either side of now; no leg takes a year, and a wrong year is a slip
AGV_MILESTONES: Final = ("picked up", "delivered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A leg, as far as shipments go by it.

    Attributes:
        name: of the leg, or of the fleet of AGVs.
        of_class: legs of one class are late alike: the mode of transport.
        parts: what comes by it; none for a fleet, which carries anything.
        milestones: in order; the last one is arrival.
    """

    name: str
    of_class: str
    parts: tuple[str, ...]
    milestones: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """Parts on their way.

    Attributes:
        id: ours.
        programme_id: whose line waits.
        name: the sender's own.
        leg: that it goes by.
        of_class: of that leg.
        part: what it brings.
        order_ids: orders that wait for it.
        milestones: of the leg when it was announced.
        planned: when it is to reach each.
        told: when it reached each, so far; None where nobody told.
        lost: why it is not waited for any more; "" while it is.
        generation: counts what was told of it.
        announced_at: when.
    """

    id: str
    programme_id: str
    name: str
    leg: str
    of_class: str
    part: str
    order_ids: tuple[str, ...]
    milestones: tuple[str, ...]
    planned: tuple[datetime, ...]
    told: tuple[datetime | None, ...]
    lost: str = ""
    generation: int = 1
    announced_at: datetime

    @property
    def reached(self) -> int:
        """How many milestones lie behind it."""
        return max((place + 1 for place, at in enumerate(self.told) if at is not None), default=0)

    @property
    def arrived_at(self) -> datetime | None:
        """When it arrived; None before."""
        return self.told[-1]

    @property
    def stage(self) -> Stage:
        """What is known of it."""
        if self.reached == 0:
            return Stage.PLANNED
        return Stage.DEPARTED if self.reached == 1 else Stage.AT_HUB

    @property
    def late_min(self) -> float:
        """Minutes that it was late at the last milestone that was told; 0 before the first."""
        last = self.reached - 1
        at = self.told[last] if last >= 0 else None
        return (at - self.planned[last]).total_seconds() / 60 if at else 0.0

    @property
    def state(self) -> str:
        """In a word or two: ``planned``, the last milestone, or ``lost``."""
        if self.lost:
            return "lost"
        return self.milestones[self.reached - 1] if self.reached else "planned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A milestone as somebody tells it."""

    id: str  # the sender's own, to know a repeated one by
    shipment: str  # the sender's own name of it
    milestone: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One that is not believed, and why."""

    told: Told
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """What becomes of a delivery: events that count, with their shipment and the place of the milestone."""

    taken: tuple[tuple[Told, Shipment, int], ...]
    repeated: int
    refused: tuple[Refused, ...]


def check_plan(
    way: Way | None,
    *,
    leg: str,
    part: str,
    planned: Sequence[datetime],
    orders: Sequence[str],
    now: datetime,
) -> None:
    """Raise InvalidInput if a shipment cannot be announced so, naming what is wrong."""
    if way is None:
        raise InvalidInput(
            f"the plant has no leg {leg!r}",
            hint="`ringroad logistics legs` lists its legs and fleets of AGVs",
        )
    if way.parts and part not in way.parts:
        raise InvalidInput(f"leg {leg!r} does not bring {part!r}", hint=f"it brings {', '.join(way.parts)}")
    if len(planned) != len(way.milestones):
        raise InvalidInput(
            f"leg {leg!r} has {len(way.milestones)} milestones, {len(planned)} times are planned",
            hint=f"a time for each of {', '.join(way.milestones)}",
        )
    for name, at in zip(way.milestones, planned, strict=True):
        if _far(at, now):
            raise InvalidInput(
                f"leg {leg!r} cannot be {name!r} at {at.isoformat()}: that is years away",
                hint=f"planned times lie within {AWAY_DAYS_MAX} days of now",
            )
    for place in range(1, len(planned)):
        if planned[place] < planned[place - 1]:
            raise InvalidInput(
                f"leg {leg!r} cannot be {way.milestones[place]!r} before it is {way.milestones[place - 1]!r}",
                hint="planned times rise",
            )
    if len(orders) > PARTS_MAX:
        raise InvalidInput(f"{len(orders)} orders wait for one shipment, limit {PARTS_MAX}")


def sort_milestones(
    delivered: Sequence[Told],
    shipments: Mapping[str, Shipment],
    before: Mapping[str, Told],
    *,
    now: datetime,
) -> Sorted:
    """Sort a delivery out.

    Args:
        delivered: as they came.
        shipments: those that are named, by the sender's name, as far as there are any.
        before: events with the same ids that were taken before.
        now: to know the future by.
    """
    current, known = dict(shipments), dict(before)
    taken: list[tuple[Told, Shipment, int]] = []
    refused: list[Refused] = []
    repeated = 0
    for told in delivered:
        if known.get(told.id) == told:
            repeated += 1
            continue
        shipment = current.get(told.shipment)
        reason = _contradiction(told, shipment, known.get(told.id), now=now)
        if reason or shipment is None:
            refused.append(Refused(told=told, reason=reason))
            continue
        place = shipment.milestones.index(told.milestone)
        times = list(shipment.told)
        times[place] = told.at
        current[told.shipment] = replace(shipment, told=tuple(times), generation=shipment.generation + 1)
        known[told.id] = told
        taken.append((told, shipment, place))
    return Sorted(taken=tuple(taken), repeated=repeated, refused=tuple(refused))


def _contradiction(told: Told, shipment: Shipment | None, other: Told | None, *, now: datetime) -> str:
    """Return what is wrong with a milestone, or nothing."""
    if other is not None:
        return (
            f"event {told.id} was {other.milestone!r} of {other.shipment} at {other.at.isoformat()} before, and is"
            f" {told.milestone!r} of {told.shipment} at {told.at.isoformat()} now"
        )
    if shipment is None:
        return f"there is no shipment {told.shipment!r}: announce it first"
    if told.milestone not in shipment.milestones:
        return (
            f"{told.shipment} goes by {shipment.leg!r}, which has no milestone {told.milestone!r}: it has"
            f" {', '.join(shipment.milestones)}"
        )
    ahead_s = (told.at - now).total_seconds()
    if ahead_s > AHEAD_S_MAX:
        return f"{told.shipment} cannot be {told.milestone!r} {ahead_s:.0f} s in the future: set the sender's clock"
    if _far(told.at, now):
        return f"{told.shipment} cannot be {told.milestone!r} at {told.at.isoformat()}: that is years ago"
    if shipment.lost:
        return f"{told.shipment} is lost: {shipment.lost}"
    place, reached = shipment.milestones.index(told.milestone), shipment.reached
    if place < reached:
        last = shipment.told[reached - 1]
        since = f" since {last.isoformat()}" if last else ""
        return f"{told.shipment} is {shipment.state!r}{since}: {told.milestone!r} comes before that"
    newest = max((at for at in shipment.told if at is not None), default=None)
    if newest is not None and told.at < newest:
        return (
            f"{told.shipment} cannot be {told.milestone!r} at {told.at.isoformat()}: it was {shipment.state!r} at"
            f" {newest.isoformat()}"
        )
    return ""


def _far(at: datetime, now: datetime) -> bool:
    return timedelta(days=AWAY_DAYS_MAX) < abs(at - now)
