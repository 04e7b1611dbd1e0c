"""Many runs of a line, each with its own luck and the same luck for every plan: machine code.

A draw depends on the seed, the replication, the vehicle and the station alone, so a vehicle has the same luck
in every plan (common random numbers), whatever its place, and replications can be shared out to threads.

Source: Steele, Lea, Flood (2014), splitmix64, for draws that are numbered instead of stored.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ringroad.build.kernels.compiled import compiled, part
from ringroad.build.kernels.events import run_line
from ringroad.build.kernels.flow import Floats, Ints, flow
from ringroad.build.kernels.people import run_people
from ringroad.build.kernels.rework import run_rework

_WORK: Final = 1  # what a draw is for
_GATE: Final = 2
_UP: Final = 3
_DOWN: Final = 4
_TRIES_MAX: Final = 3  # times that one gate refuses one vehicle; then it is let through


@part
def chance(seed: int, what: int, replication: int, first: int, second: int) -> float:
    """Return a number from 0 up to 1 that depends on the arguments alone."""
    bits = np.uint64(seed)
    for number in (what, replication, first, second):
        bits += np.uint64(number) + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    return (bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@part
def draw_work(seed: int, replication: int, mean: Floats, factors: Floats, work: Floats) -> None:
    """Fill `work` with a time for each vehicle and station: its mean by a factor out of the station's quantiles."""
    last = factors.shape[1] - 1
    for vehicle in range(mean.shape[0]):
        for station in range(mean.shape[1]):
            at = chance(seed, _WORK, replication, vehicle, station) * last
            low = int(at)
            factor = factors[station, low] + (at - low) * (factors[station, low + 1] - factors[station, low])
            work[vehicle, station] = mean[vehicle, station] * factor


@part
def draw_bad(seed: int, replication: int, refused: Floats, bad: Ints) -> None:
    """Fill `bad` with how often each gate refuses each vehicle, with probability `refused` by station each time."""
    for vehicle in range(bad.shape[0]):
        for station in range(bad.shape[1]):
            times = 0
            if refused[station] > 0:
                while (
                    times < _TRIES_MAX
                    and chance(seed, _GATE + 16 * times, replication, vehicle, station) < refused[station]
                ):
                    times += 1
            bad[vehicle, station] = times


@part
def draw_breakdowns(
    seed: int, replication: int, start: float, up: Floats, down: Floats, stop: Floats, down_from: Floats,
    down_to: Floats,
) -> None:  # fmt: skip
    """Fill when each station is down: exponential times of running and of repair, by their means; none for 0.

    A station with a `stop` stands from time 0 until then, too; what it would have broken down meanwhile comes later.
    """
    for station in range(up.shape[0]):
        at = start
        until = stop[station]
        drawn = 0
        for number in range(down_from.shape[1]):
            begins = np.inf
            ends = np.inf
            if up[station] > 0:
                begins = at - up[station] * np.log(1.0 - chance(seed, _UP, replication, station, drawn))
            if until > 0 and begins >= 0:
                begins = 0.0
                ends = until
                until = 0.0
                at = ends
            elif up[station] > 0:
                ends = begins - down[station] * np.log(1.0 - chance(seed, _DOWN, replication, station, drawn))
                drawn += 1
                if until > 0 and ends > 0:
                    ends = max(ends, until)
                    until = 0.0
                at = ends
            down_from[station, number] = begins
            down_to[station, number] = ends


@part
def draw_entry(order: Ints, release: Floats, ready: Floats, replication: int, entry: Floats) -> None:
    """Fill `entry` with when each position may enter: its turn, and its parts and those of all before it are there."""
    latest = -np.inf
    for position in range(order.shape[0]):
        latest = max(latest, release[position])
        if ready.shape[0] > 0:
            latest = max(latest, ready[replication, order[position]])
        entry[position] = latest


@compiled
def run_flow(
    seed: int, first: int, last: int, orders: Ints, mean: Floats, factors: Floats, release: Floats, ready: Floats,
    places: Ints, transfer: Floats, up: Floats, down: Floats, stop: Floats, breakdowns: int, crew_from: Ints,
    crews: Ints, crew_hold: Floats, wants: Ints, finish: Floats,
) -> None:  # fmt: skip
    """Fill `finish[replication - first, plan, vehicle]` for replications from first up to last, by `flow`.

    Breakdowns are drawn too, so many for each station.
    """
    work = np.empty_like(mean)
    left = np.empty((orders.shape[1], mean.shape[1]))
    entry = np.empty_like(release)
    down_from, down_to = np.empty((places.shape[0], breakdowns)), np.empty((places.shape[0], breakdowns))
    busy = np.empty((crews.shape[0], 1 + (crews.max() if crews.shape[0] > 0 else 0)))
    for replication in range(first, last):
        draw_work(seed, replication, mean, factors, work)
        draw_breakdowns(seed, replication, release[0], up, down, stop, down_from, down_to)
        for plan in range(orders.shape[0]):
            draw_entry(orders[plan], release, ready, replication, entry)
            flow(
                orders[plan], work, entry, places, transfer, down_from, down_to, crew_from, crews, crew_hold,
                wants, busy, left,
            )  # fmt: skip
            for position in range(orders.shape[1]):
                finish[replication - first, plan, orders[plan, position]] = left[position, left.shape[1] - 1]


@compiled
def run_full(
    seed: int, first: int, last: int, orders: Ints, mean: Floats, factors: Floats, release: Floats, ready: Floats,
    plan: Ints, times: Floats, pools: Ints, refused: Floats, up: Floats, down: Floats, stop: Floats, breakdowns: int,
    crew_from: Ints, crews: Ints, crew_hold: Floats, wants: Ints, by_people: bool, by_events: bool, finish: Floats,
) -> None:  # fmt: skip
    """As `run_flow`, with rework drawn too, by `run_people`, and where that gives up by `run_line`, or by one of the others."""
    work, left = np.empty_like(mean), np.empty_like(mean)
    bad = np.empty(mean.shape, dtype=np.int64)
    entry = np.empty_like(release)
    down_from, down_to = np.empty((plan.shape[0], breakdowns)), np.empty((plan.shape[0], breakdowns))
    busy = np.empty((crews.shape[0], 1 + (crews.max() if crews.shape[0] > 0 else 0)))
    for replication in range(first, last):
        draw_work(seed, replication, mean, factors, work)
        draw_breakdowns(seed, replication, release[0], up, down, stop, down_from, down_to)
        for which in range(orders.shape[0]):
            draw_bad(seed, replication, refused, bad)
            draw_entry(orders[which], release, ready, replication, entry)
            if by_people and run_people(
                orders[which], work, entry, plan, times, pools, down_from, down_to, crew_from, crews, crew_hold,
                wants, busy, left, finish[replication - first, which],
            ):  # fmt: skip
                continue
            if by_people or by_events:
                run_line(
                    orders[which], work, entry, plan, times, pools, bad, down_from, down_to, crew_from, crews,
                    crew_hold, wants, busy, finish[replication - first, which],
                )  # fmt: skip
            else:
                run_rework(
                    orders[which], work, entry, plan, times, pools, bad, down_from, down_to, crew_from, crews,
                    crew_hold, wants, busy, finish[replication - first, which],
                )  # fmt: skip
