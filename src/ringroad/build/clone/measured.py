"""What a line's events and stops say of ways between stations, and of breakdowns: sums, as a plant learns them.

Pure. Invariant: a way is measured only where nothing but the way was waited for; what else a vehicle waited for says
nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from ringroad.build.calendar import Calendar
from ringroad.build.plant.model import Plant, PlantLine
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import SECONDS_MAX, SECONDS_MIN, Origin, Posterior, observed_times
from ringroad.build.working_time import worked_spans

FEW: Final = 5  # breakdowns, from which on their mean says more than how many were expected
WORTH_MIN: Final = 0.5  # breakdowns that must have been expected where none was seen; less says nothing


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
        stood_s: what would have been worked while each of those stood that are over, seconds.
    """

    station: str
    worked_s: float
    begun: int
    stood_s: Sequence[float]


def observed_transfers(plant: Plant, built: PlantLine, moves: Iterable[Move]) -> dict[Key, Posterior]:
    """Return the sums of a line's ways between stations.

    A way counts if the station at its end was empty, and worked, when the vehicle left the one before: then it was
    entered as soon as it was reached. One in which the line rested says nothing: it waited for the end of that, too.

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
    ways: dict[str, list[tuple[datetime, datetime]]] = {}
    for move in moves:
        here = move.station
        match move.kind:
            case "entered":
                last, free = left.get(move.order_id), free_since.get(here)
                if last and free and last[0] == before.get(here) and free <= last[1] and here not in inside:
                    ways.setdefault(here, []).append((last[1], move.at))
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
    found: dict[Key, Posterior] = {}
    for name, spans in ways.items():
        key = Key((built.area, built.name, name), "transfer_s")
        seconds = _without_rest(plant.calendars().get(built.calendar), spans)
        if seconds and key in plant.parameters:
            found[key] = observed_times(seconds, origin=Origin(plant=plant.id))
    return found


def _without_rest(calendar: Calendar | None, spans: Sequence[tuple[datetime, datetime]]) -> list[float]:
    """Return the seconds of those spans that say something, and in which nothing rested."""
    took = [(later - earlier).total_seconds() for earlier, later in spans]
    return [
        each
        for each, worked in zip(took, worked_spans(calendar, spans), strict=True)
        if SECONDS_MIN <= each <= SECONDS_MAX and worked > each - SECONDS_MIN
    ]


def observed_breakdowns(
    plant: Plant,
    built: PlantLine,
    told: Iterable[Breakdowns],
    *,
    believed: Mapping[Key, Posterior],
) -> dict[Key, Posterior]:
    """Return the sums of how long stations work between two breakdowns, and how long those last.

    Args:
        plant: its document; what it believes nothing of is left out.
        built: the line.
        told: by station.
        believed: before any of that was learned.
    """
    origin = Origin(plant=plant.id)
    found: dict[Key, Posterior] = {}
    for each in told:
        path = (built.area, built.name, each.station)
        key = Key(path, "uptime_s")
        if key in believed and (seen := _uptime(each, believed[key].mean)):
            found[key] = Posterior(family="rate", n=seen[0], total=seen[0] * seen[1], origin=origin)
        stood = [s for s in each.stood_s if SECONDS_MIN <= s <= SECONDS_MAX]
        if stood:
            found[Key(path, "repair_s")] = observed_times(stood, origin=origin)
    return {key: each for key, each in found.items() if key in plant.parameters}


def _uptime(told: Breakdowns, believed_s: float) -> tuple[float, float] | None:
    """Return what a station's breakdowns are worth, and the uptime that they say; None for nothing.

    They are counted over the work done. Where there are fewer than `FEW`, and fewer than were expected, the work without
    one says more than their mean: it is worth the breakdowns that were expected in it, and says 2 - seen / expected
    times the uptime that was believed. Added to a belief, that is the first step towards what a gamma belief would
    become by the counts themselves, and never beyond it; twice the uptime is the most that it says.

    Source: Gelman et al., Bayesian Data Analysis, 3rd edition, 2.6 (Poisson with a gamma belief).
    """
    expected = told.worked_s / believed_s
    if told.begun < FEW and told.begun < expected:
        worth, uptime_s = expected, believed_s * (2 - told.begun / expected)
    else:
        worth, uptime_s = float(told.begun), told.worked_s / max(1, told.begun)
    return (worth, uptime_s) if worth >= WORTH_MIN and SECONDS_MIN <= uptime_s <= SECONDS_MAX else None
