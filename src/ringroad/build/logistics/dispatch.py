"""Which AGV brings what to the line, and when? Trips of a fleet for the parts that vehicles need at their turn.

A trip is picked, driven to one place, unloaded, and driven back; an AGV carries so many parts at once. Whoever is free
first takes what must leave soonest to be in time, and fills up with what goes to the same place and makes nothing on
board late. Nothing is brought much sooner than it is needed. The same is tried by due time alone, and with and without company for
what is late anyway. A line builds in order,
so what stands it still longest counts: the plan whose latest part is less late is taken, then the one with less lateness.

Pure. Invariants: each move is made once, by an AGV that serves its place and carries no more than it can; the same
input gives the same trips.

Source: Pinedo (2016), Scheduling, 3.2 and 14.2: earliest due date for the largest lateness, least slack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from ringroad.kernel.errors import InvalidInput

MOVES_MAX: Final = 5_000
AGVS_MAX: Final = 1_000
UNLOAD_S: Final = 20.0  # s for each part at the line
EARLY_S: Final = 1_800.0  # s that a part may wait at the line; there is little room


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """A fleet of AGVs, those that work.

    Attributes:
        name: of the fleet.
        count: how many.
        carries: parts at once.
        trip_s: way to each place that it serves, one way.
    """

    name: str
    count: int
    carries: int
    trip_s: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A part that must be at a place.

    Attributes:
        order_id: whose.
        part: which.
        place: where to.
        due_s: by when, seconds from now.
        pick_s: to pick it.
    """

    order_id: str
    part: str
    place: str
    due_s: float
    pick_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One trip of one AGV.

    Attributes:
        fleet: of the AGV.
        agv: its number in the fleet, from 1.
        place: where to.
        leaves_s: when it begins to pick, seconds from now.
        arrives_s: when everything is unloaded there.
        back_s: when it is free again.
        moves: what it carries.
    """

    fleet: str
    agv: int
    place: str
    leaves_s: float
    arrives_s: float
    back_s: float
    moves: tuple[Move, ...]

    @property
    def late_s(self) -> float:
        """Sum of what its parts come late."""
        return sum(max(0.0, self.arrives_s - move.due_s) for move in self.moves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """The trips of all AGVs, by when they leave."""

    trips: tuple[Trip, ...]
    rule: str  # slack, or due: what they were dealt by

    @property
    def late_s(self) -> float:
        """Sum of what parts come late."""
        return sum(trip.late_s for trip in self.trips)

    @property
    def latest_s(self) -> float:
        """What the latest part comes late."""
        lates = (trip.arrives_s - move.due_s for trip in self.trips for move in trip.moves)
        return max(0.0, max(lates, default=0.0))

    @property
    def late(self) -> int:
        """Parts that come late."""
        return sum(trip.arrives_s > move.due_s for trip in self.trips for move in trip.moves)

    @property
    def busy_s(self) -> float:
        """Time that AGVs are under way."""
        return sum(trip.back_s - trip.leaves_s for trip in self.trips)


def dispatch(
    carriers: Sequence[Carrier],
    moves: Sequence[Move],
    *,
    free_s: Mapping[tuple[str, int], float] | None = None,
) -> Dispatch:
    """Deal moves to AGVs.

    Args:
        carriers: fleets.
        moves: to be made.
        free_s: when an AGV that is under way is back, by fleet and number; the others are free now.

    Raises:
        InvalidInput: nobody serves a place, a number that cannot be, or more than the limits.
    """
    _check(carriers, moves)
    plans = [
        Dispatch(trips=tuple(_deal(carriers, moves, free_s or {}, key, share_late=share_late)), rule=rule)
        for rule, key in (("slack", _by_slack), ("due", _by_due))
        for share_late in (False, True)
    ]
    return min(
        plans, key=lambda plan: (round(plan.latest_s, 3), round(plan.late_s, 3), round(plan.busy_s, 3))
    )


def first_come(carriers: Sequence[Carrier], moves: Sequence[Move]) -> Dispatch:
    """Deal moves in the order in which they were asked for, one a trip: what a simple fleet manager does."""
    single = [Carrier(name=each.name, count=each.count, carries=1, trip_s=each.trip_s) for each in carriers]
    _check(single, moves)
    place = {id(move): number for number, move in enumerate(moves)}
    trips = _deal(single, moves, {}, lambda move, _arrives_s: (place[id(move)],), share_late=False)
    return Dispatch(trips=tuple(trips), rule="first come")


def agvs_needed(carrier: Carrier, moves: Sequence[Move]) -> int | None:
    """Return the fewest AGVs of a fleet with which nothing comes late; None if `AGVS_MAX` are too few."""
    low, high = 1, 1
    while _late(carrier, high, moves):
        low, high = high + 1, high * 2
        if high > AGVS_MAX:
            return None
    while low < high:
        middle = (low + high) // 2
        if _late(carrier, middle, moves):
            low = middle + 1
        else:
            high = middle
    return high


def in_time(carrier: Carrier, moves: Sequence[Move]) -> list[Move]:
    """Return the moves that an AGV of this fleet which left now could bring in time."""
    return [
        move
        for move in moves
        if move.place in carrier.trip_s and _arrives_s(carrier, [move], 0.0) <= move.due_s
    ]


def _late(carrier: Carrier, count: int, moves: Sequence[Move]) -> bool:
    fleet = Carrier(name=carrier.name, count=count, carries=carrier.carries, trip_s=carrier.trip_s)
    return dispatch([fleet], moves).late > 0


def _check(carriers: Sequence[Carrier], moves: Sequence[Move]) -> None:
    if len(moves) > MOVES_MAX or sum(each.count for each in carriers) > AGVS_MAX:
        raise InvalidInput(f"{len(moves)} moves, limit {MOVES_MAX}, or more than {AGVS_MAX} AGVs")
    for each in carriers:
        if each.count < 0 or each.carries < 1 or any(not 0 <= way < 1e9 for way in each.trip_s.values()):
            raise InvalidInput(f"fleet {each.name!r} has {each.count} AGVs that carry {each.carries}")
    served = {place for each in carriers if each.count for place in each.trip_s}
    for move in moves:
        if move.place not in served:
            raise InvalidInput(
                f"no AGV that works serves {move.place!r}, where order {move.order_id} needs {move.part}",
                hint="[[agvs]] serves, and trip_s of the fleet",
            )
        if not -1e9 < move.due_s < 1e9 or not 0 <= move.pick_s < 1e9:
            raise InvalidInput(f"{move.part} of order {move.order_id} has times that cannot be")


def _by_slack(move: Move, arrives_s: float) -> tuple[float, ...]:
    return (move.due_s - arrives_s,)


def _by_due(move: Move, _arrives_s: float) -> tuple[float, ...]:
    return (move.due_s,)


def _deal(
    carriers: Sequence[Carrier],
    moves: Sequence[Move],
    free_s: Mapping[tuple[str, int], float],
    key: Callable[[Move, float], tuple[float, ...]],
    *,
    share_late: bool,
) -> list[Trip]:
    left = sorted(moves, key=lambda move: (move.due_s, move.order_id, move.part))
    agvs = [
        (max(0.0, free_s.get((each.name, number), 0.0)), index, number)
        for index, each in enumerate(carriers)
        for number in range(1, each.count + 1)
    ]
    heapify(agvs)
    trips: list[Trip] = []
    while left and agvs:
        now_s, index, number = heappop(agvs)
        carrier = carriers[index]
        served = [move for move in left if move.place in carrier.trip_s]
        if not served:
            continue  # nothing is left for this fleet
        first = min(
            served,
            key=lambda move: (*key(move, now_s + move.pick_s + carrier.trip_s[move.place] + UNLOAD_S), move.due_s, move.order_id, move.part),
        )  # fmt: skip
        trip = _trip(carrier, number, now_s, _load(carrier, first, served, now_s, share_late=share_late))
        taken = set(map(id, trip.moves))
        left = [move for move in left if id(move) not in taken]
        trips.append(trip)
        heappush(agvs, (trip.back_s, index, number))
    return sorted(trips, key=lambda trip: (trip.leaves_s, trip.fleet, trip.agv))


def _load(
    carrier: Carrier, first: Move, served: Sequence[Move], now_s: float, *, share_late: bool
) -> list[Move]:
    """Fill up with what goes to the same place, soonest first, as long as nothing on board comes late or far too early.

    What is late anyway may be made later by company, where that is tried: with few AGVs it saves trips.
    """
    load = [first]
    for move in served:
        if len(load) == carrier.carries:
            break
        if move is first or move.place != first.place:
            continue
        arrives_s = _arrives_s(carrier, [*load, move], now_s)
        before_s = _arrives_s(carrier, load, now_s)
        in_time = all(arrives_s <= each.due_s or (share_late and before_s > each.due_s) for each in load)
        if in_time and move.due_s - EARLY_S <= max(arrives_s, first.due_s):
            load.append(move)
    return load


def _arrives_s(carrier: Carrier, load: Sequence[Move], now_s: float) -> float:
    picked = sum(move.pick_s for move in load)
    return now_s + picked + carrier.trip_s[load[0].place] + UNLOAD_S * len(load)


def _trip(carrier: Carrier, number: int, now_s: float, load: Sequence[Move]) -> Trip:
    takes_s = _arrives_s(carrier, load, 0.0)
    leaves_s = max(now_s, min(move.due_s for move in load) - EARLY_S - takes_s)
    arrives_s = leaves_s + takes_s
    return Trip(
        fleet=carrier.name, agv=number, place=load[0].place, leaves_s=leaves_s, arrives_s=arrives_s,
        back_s=arrives_s + carrier.trip_s[load[0].place], moves=tuple(load),
    )  # fmt: skip
