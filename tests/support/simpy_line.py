"""The oracle of the plant twin: the same line, written again with SimPy's processes and resources.

`simulate` takes what the kernels take, and shares nothing else with them; `by_flow` and `by_events` ask the kernels.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from ringroad.build.kernels.events import run_line
from ringroad.build.kernels.flow import flow
from ringroad.build.kernels.people import run_people
from ringroad.build.kernels.rework import run_rework

Floats = NDArray[np.float64]
Process = Generator[Any, Any, Any]


@dataclass(kw_only=True)
class Line:
    """What the kernels are given; `pool_of` and the like have -1 for none.

    Attributes:
        order: vehicles in their sequence.
        work: [vehicle, station] seconds.
        release: when the vehicle at each position may enter.
        places: room at each station, the station itself included.
        transfer: seconds to each station from the one before.
        returns: seconds a carrier of each station needs to come back.
        pools: how many operators or carriers each pool has.
        operators: pool of each station's operators.
        carriers: pool of those who bring vehicles to each station.
        bad: [vehicle, station] times the gate refuses it.
        rework: seconds of repair for each station.
        rework_to: where a refused vehicle comes back to.
        up: [station, breakdown] seconds it runs before; empty for a station that never fails.
        down: [station, breakdown] seconds it is down.
        crews: (station, how many, seconds, vehicles that need one) for each kind.
    """

    order: list[int]
    work: Floats
    release: list[float]
    places: list[int]
    transfer: list[float]
    returns: list[float]
    pools: list[int]
    operators: list[int]
    carriers: list[int]
    bad: NDArray[np.int64]
    rework: list[float]
    rework_to: list[int]
    up: list[list[float]]
    down: list[list[float]]
    crews: list[tuple[int, int, float, set[int]]]


class _Machine:
    """A station: who works in it is interrupted while it is down."""

    def __init__(self, env: simpy.Environment, up: list[float], down: list[float]) -> None:
        self.env = env
        self.is_up = env.event()
        self.is_up.succeed()
        self.worker: simpy.Process | None = None
        if up:
            env.process(self._breakdowns(up, down))

    def _breakdowns(self, up: list[float], down: list[float]) -> Process:
        for runs, fails in zip(up, down, strict=True):
            yield self.env.timeout(runs)
            self.is_up = self.env.event()
            if self.worker is not None:
                self.worker.interrupt()
            yield self.env.timeout(fails)
            self.is_up.succeed()

    def run(self, seconds: float) -> Process:
        while True:
            yield self.is_up
            started = self.env.now
            self.worker = self.env.active_process
            try:
                yield self.env.timeout(seconds)
            except simpy.Interrupt:
                seconds -= self.env.now - started
                continue
            finally:
                self.worker = None
            return


def simulate(line: Line) -> tuple[Floats, int]:
    """Return when each vehicle leaves the line, and how many events SimPy had."""
    env = simpy.Environment()
    stations = range(len(line.places))
    places = [simpy.PriorityResource(env, line.places[s]) for s in stations]
    rooms = [simpy.Resource(env, 1) for _ in stations]
    pools = [simpy.Resource(env, count) for count in line.pools]
    machines = [_Machine(env, line.up[s], line.down[s]) for s in stations]
    crews = [simpy.Resource(env, count) for _, count, _, _ in line.crews]
    bad = line.bad.copy()
    finish = np.full(len(line.work), np.nan)
    left = set(line.order)

    def keep(crew: simpy.Resource, claim: Any, seconds: float) -> Process:
        yield env.timeout(seconds)
        crew.release(claim)

    def bring_back(carrier: Any, pool: simpy.Resource, seconds: float) -> Process:
        yield env.timeout(seconds)
        pool.release(carrier)

    def work_in(vehicle: int, s: int) -> Process:
        operator = pools[line.operators[s]].request() if line.operators[s] >= 0 else None
        if operator is not None:
            yield operator
        needed = [kind for kind, (at, _, _, who) in enumerate(line.crews) if at == s and vehicle in who]
        claims = [(kind, crews[kind].request()) for kind in needed]
        for _, claim in claims:
            yield claim
        for kind, claim in claims:
            env.process(keep(crews[kind], claim, line.crews[kind][2]))
        yield from machines[s].run(line.work[vehicle, s])
        if operator is not None:
            pools[line.operators[s]].release(operator)

    def drive(vehicle: int, entered: Any) -> Process:
        s, place = 0, entered
        yield env.timeout(line.transfer[0])
        while True:
            room = rooms[s].request()
            yield room
            yield from work_in(vehicle, s)
            if bad[vehicle, s]:
                bad[vehicle, s] -= 1
                rooms[s].release(room)
                places[s].release(place)
                yield env.timeout(line.rework[s])
                s = line.rework_to[s]
                place = places[s].request(priority=0)
                yield place
                continue
            if s + 1 == len(line.places):
                finish[vehicle] = env.now
                left.remove(vehicle)
                rooms[s].release(room)
                places[s].release(place)
                return
            following = places[s + 1].request(priority=1)
            yield following
            pool = line.carriers[s + 1]
            carrier = pools[pool].request() if pool >= 0 else None
            if carrier is not None:
                yield carrier
                env.process(bring_back(carrier, pools[pool], line.transfer[s + 1] + line.returns[s + 1]))
            rooms[s].release(room)
            places[s].release(place)
            yield env.timeout(line.transfer[s + 1])
            s, place = s + 1, following

    def enter() -> Process:
        for vehicle, release in zip(line.order, line.release, strict=True):
            if env.now < release:
                yield env.timeout(release - env.now)
            place = places[0].request(priority=1)
            yield place
            env.process(drive(vehicle, place))

    env.process(enter())
    events = 0
    while left:
        env.step()
        events += 1
    return finish, events


def kernel_arrays(line: Line) -> dict[str, Any]:
    """Return the same line as the kernels take it."""
    stations, vehicles = len(line.places), len(line.work)
    longest = max((len(up) for up in line.up), default=0)
    down_from, down_to = np.full((stations, longest), np.inf), np.full((stations, longest), np.inf)
    for station in range(stations):
        at = 0.0
        for number, (runs, fails) in enumerate(zip(line.up[station], line.down[station], strict=True)):
            at += runs
            down_from[station, number] = at
            at += fails
            down_to[station, number] = at
    wants = np.zeros((vehicles, len(line.crews)), dtype=np.int64)
    for kind, (_, _, _, who) in enumerate(line.crews):
        wants[sorted(who), kind] = 1
    return {
        "order": np.array(line.order, dtype=np.int64),
        "work": line.work,
        "release": np.array(line.release, dtype=np.float64),
        "plan": np.array(
            [line.places, line.operators, line.carriers, line.rework_to], dtype=np.int64
        ).T.copy(),
        "times": np.array([line.transfer, line.returns, line.rework], dtype=np.float64).T.copy(),
        "pools": np.array(line.pools, dtype=np.int64),
        "bad": line.bad.copy(),
        "down_from": down_from,
        "down_to": down_to,
        "crew_from": np.array(
            [sum(crew[0] < station for crew in line.crews) for station in range(stations + 1)], dtype=np.int64
        ),
        "crews": np.array([crew[1] for crew in line.crews], dtype=np.int64),
        "crew_hold": np.array([crew[2] for crew in line.crews], dtype=np.float64),
        "wants": wants,
        "crew_busy": np.zeros((len(line.crews), 1 + max((crew[1] for crew in line.crews), default=0))),
    }


def by_events(line: Line) -> tuple[Floats, int]:
    """Return what `simulate` does, from the heap kernel."""
    finish = np.full(len(line.work), np.nan)
    given: list[Any] = [*kernel_arrays(line).values(), finish]
    return finish, run_line(*given)


def by_people(line: Line) -> Floats | None:
    """Return the same from the kernel of lines whose people work at several stations; None where it gives up."""
    finish = np.full(len(line.work), np.nan)
    given: list[Any] = [values for name, values in kernel_arrays(line).items() if name != "bad"]
    given += [np.full(line.work.shape, np.nan), finish]
    return finish if run_people(*given) else None


def by_rework(line: Line) -> Floats:
    """Return the same from the kernel of lines with rework and carriers of their own, that needs no events."""
    finish = np.full(len(line.work), np.nan)
    given: list[Any] = [*kernel_arrays(line).values(), finish]
    run_rework(*given)
    return finish


def by_flow(line: Line) -> Floats:
    """Return when each vehicle leaves, from the max-plus kernel, which knows only stations, rooms, breakdowns and crews."""
    given = kernel_arrays(line)
    left = np.zeros((len(line.order), len(line.places)))
    flow(
        given["order"], given["work"], given["release"], given["plan"][:, 0].copy(), given["times"][:, 0].copy(),
        given["down_from"], given["down_to"], given["crew_from"], given["crews"], given["crew_hold"], given["wants"],
        given["crew_busy"], left,
    )  # fmt: skip
    finish = np.full(len(line.work), np.nan)
    finish[line.order] = left[:, -1]
    return finish
