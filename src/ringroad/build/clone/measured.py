"""What a line's events and stops say of ways between stations, and of breakdowns: sums, as a plant learns them.

Pure. Invariant: a way is measured only where nothing but the way was waited for; what else a vehicle waited for says
nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from ringroad.build.plant.model import Plant, PlantLine
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import SECONDS_MAX, SECONDS_MIN, Origin, Posterior, observed_times


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A vehicle entered or left a station, or a station stood or went on; then `order_id` is empty."""

    order_id: str
    station: str
    kind: str  # ``entered``, ``left``, ``stopped`` or ``resumed``
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdowns:
    """Of one station, in the time that its newest measured work was done in.

    Attributes:
        station: which.
        worked_s: what it worked in that time, seconds.
        begun: breakdowns that began in it.
        stood_s: how long each of those stood that are over, seconds.
    """

    station: str
    worked_s: float
    begun: int
    stood_s: Sequence[float]


def observed_transfers(plant: Plant, built: PlantLine, moves: Iterable[Move]) -> dict[Key, Posterior]:
    """Return the sums of a line's ways between stations.

    A way counts if the station at its end was empty, and worked, when the vehicle left the one before: then it was
    entered as soon as it was reached.

    Args:
        plant: its document; stations whose way it believes nothing of are left out.
        built: the line.
        moves: of the line, in the order in which they were taken.
    """
    names = [cell.name for cell in built.stations]
    before = {later: earlier for earlier, later in pairwise(names)}
    inside: dict[str, str] = {}  # the vehicle in a station
    empty: set[str] = set()  # stations that were seen to become so
    standing: set[str] = set()
    free_since: dict[str, datetime] = {}  # empty and at work
    left: dict[str, tuple[str, datetime]] = {}  # where a vehicle was last, and when it left that
    seconds: dict[str, list[float]] = {}
    for move in moves:
        here = move.station
        match move.kind:
            case "entered":
                last, free = left.get(move.order_id), free_since.get(here)
                if last and free and last[0] == before.get(here) and free <= last[1] and here not in inside:
                    took = (move.at - last[1]).total_seconds()
                    if SECONDS_MIN <= took <= SECONDS_MAX:
                        seconds.setdefault(here, []).append(took)
                inside[here] = move.order_id
                empty.discard(here)
                free_since.pop(here, None)
            case "left":
                left[move.order_id] = (here, move.at)
                if inside.pop(here, "") == move.order_id:
                    empty.add(here)
                    if here not in standing:
                        free_since[here] = move.at
            case "stopped":
                standing.add(here)
                free_since.pop(here, None)
            case _:
                standing.discard(here)
                if here in empty:
                    free_since[here] = move.at
    origin = Origin(plant=plant.id)
    keys = {name: Key((built.area, built.name, name), "transfer_s") for name in seconds}
    return {
        key: observed_times(seconds[name], origin=origin)
        for name, key in keys.items()
        if key in plant.parameters
    }


def observed_breakdowns(plant: Plant, built: PlantLine, told: Iterable[Breakdowns]) -> dict[Key, Posterior]:
    """Return the sums of how long stations work between two breakdowns, and how long those last.

    Args:
        plant: its document; what it believes nothing of is left out.
        built: the line.
        told: by station; one that never broke down says nothing.
    """
    origin = Origin(plant=plant.id)
    found: dict[Key, Posterior] = {}
    for each in told:
        path = (built.area, built.name, each.station)
        if each.begun and SECONDS_MIN <= each.worked_s / each.begun <= SECONDS_MAX:
            found[Key(path, "uptime_s")] = Posterior(
                family="rate", n=each.begun, total=each.worked_s, origin=origin
            )
        stood = [s for s in each.stood_s if SECONDS_MIN <= s <= SECONDS_MAX]
        if stood:
            found[Key(path, "repair_s")] = observed_times(stood, origin=origin)
    return {key: each for key, each in found.items() if key in plant.parameters}
