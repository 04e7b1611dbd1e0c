"""How long does the line stand for parts? A day of real legs feeds it, under five ways to order its vehicles.

Each vehicle needs a part that comes on one leg. Whoever orders parts takes the static lead time of the route: its
planned arrival and the 0.75 quantile of what the route was late before. All ways have the same parts on the
same legs, so the same freight; stock is minutes that parts wait for their vehicle.

- static: vehicles are built in the order in which their parts were asked for.
- planned: the lead time is the model's, known when the leg is planned, with the same mean.
- arrivals: at each vehicle the line is replanned; what has arrived is known, and nothing else.
- milestones: the same, and departures are known: the arrival is the calibrated distribution.
- equal: as milestones, and each part is ordered so much earlier before its turn that as many minutes of stock lie
  about as with static lead times. How much earlier is found by stock alone (`equal_margin_min`), on the days that are
  measured: stock is mostly of a few bad days, and on others it would not be equal.

Replanning is `decide_schedule`, what the server runs; the line is the twin's own kernel. Legs that were cancelled
are left out: they would starve the static line for a day, and flatter every other way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from ringroad.build.kernels.flow import flow
from ringroad.build.logistics.availability import LEVELS_PERMILLE, PartAvailability, arrived
from ringroad.build.logistics.history import Floats, History
from ringroad.build.logistics.learn import Learned
from ringroad.build.model import Line, Station
from ringroad.build.plan_line import Order, decide_schedule

TAKT_MIN: Final = 6  # minutes; ten vehicles in an hour
FIRST_MIN: Final = 9 * 60  # minutes of the day at which the line begins
VEHICLES: Final = 120
WINDOW_MIN: Final = 15  # minutes in which the part of a vehicle is due before its turn
AHEAD: Final = 40  # vehicles that are replanned
FROZEN: Final = 3  # next vehicles, which are on their way to the line
STATIONS: Final = 5
SPREAD: Final = 0.05  # of a station's times
LEAD: Final = LEVELS_PERMILLE.index(750)  # of what a route was late: the static lead time
SEEDS: Final = range(100, 120)  # others than those that `READY_PERMILLE` was chosen with
DAYS: Final = 4  # of each seed
MARGIN_MIN_MAX: Final = 160  # minutes; half as much stock again as with static lead times
STOCK_APART_MAX: Final = 0.01  # of the stock, at which it counts as equal
EPOCH: Final = datetime(2013, 1, 1, tzinfo=UTC)
LINE: Final = Line(name="bench", stations=(Station(name="fit", cycle_s=60 * TAKT_MIN),), ratios=())

Available = Callable[[int, float], PartAvailability | None]


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day of one plant. Arrays by vehicle, in the order of the static plan; minutes of the year."""

    leg: list[int]
    turn_min: Floats
    ready_min: Floats


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a day came to."""

    starved_min: float
    stock_min: float
    moved: int


@dataclass(frozen=True, kw_only=True)
class World:
    """Legs, what was learned of them, and how late each is taken to be when it is ordered."""

    legs: History
    lead_min: Floats  # [leg] static
    model_lead_min: Floats  # [leg] of the model when planned, with the same mean
    departed_late_min: Floats  # [leg, level] calibrated, once departed


def world(planned: Learned, departed: Learned, static_late_min: Floats) -> World:
    """Put the last fifth of the year together."""
    legs = planned.tried
    lead, model = static_late_min[:, LEAD], planned.tried_late_min[:, LEAD]
    return World(
        legs=legs, lead_min=lead, model_lead_min=model + lead.mean() - model.mean(),
        departed_late_min=departed.tried_late_min,
    )  # fmt: skip


def choose(world: World, day: int, draw: np.random.Generator, lead_min: Floats) -> Day | None:
    """Order a part for each vehicle: one whose lead time ends shortly before its turn."""
    legs = world.legs
    due = legs.arrives_min + lead_min
    left = set(
        np.flatnonzero((day * 1440 <= legs.planned_min) & (legs.planned_min < (day + 1) * 1440)).tolist()
    )
    chosen, turns = [], []
    for place in range(VEHICLES):
        turn = day * 1440.0 + FIRST_MIN + place * TAKT_MIN
        fitting = sorted(leg for leg in left if turn - WINDOW_MIN <= due[leg] <= turn)
        if fitting:
            leg = int(draw.choice(fitting))
            left.remove(leg)
            chosen.append(leg)
            turns.append(turn)
    if len(chosen) < VEHICLES // 2:
        return None
    index = np.array(chosen)
    return Day(
        leg=chosen, turn_min=np.array(turns), ready_min=legs.arrives_min[index] + legs.arrived_late_min[index]
    )


def told(world: World, *, departures: bool) -> Available:
    """Return what is known of a leg's part at a time."""
    legs = world.legs

    def available(leg: int, now_min: float) -> PartAvailability | None:
        part = str(leg)
        ready = float(legs.arrives_min[leg] + legs.arrived_late_min[leg])
        if ready <= now_min:
            return arrived(part, _time(ready))
        if not departures:
            soon = now_min + (FROZEN + 1) * TAKT_MIN  # what is not there is not built before
            due = float(legs.arrives_min[leg] + world.lead_min[leg])
            return None if soon < due else arrived(part, _time(soon))
        left = float(legs.departed_late_min[leg])
        if now_min < legs.planned_min[leg] + min(left, 0):
            return None
        known = min(
            left, now_min - float(legs.planned_min[leg])
        )  # not yet gone: it leaves now at the soonest
        late = world.departed_late_min[leg] - left + known
        times = [_time(max(now_min, float(legs.arrives_min[leg] + each))) for each in late]
        return PartAvailability(part=part, quantiles=tuple(zip(LEVELS_PERMILLE, times, strict=True)))

    return available


def run_day(day: Day, available: Available | None, works: Floats) -> Outcome:
    """Build the vehicles of a day; without `available` in the planned order."""
    order = list(range(len(day.leg)))
    if available is not None:
        order = _replanned(day, available)
    ready, turns = day.ready_min[order], day.turn_min
    release = np.maximum(turns, ready)
    left = np.zeros((len(order), STATIONS))
    none, never = np.zeros(0), np.zeros((STATIONS, 0))
    flow(
        np.arange(len(order)), works[: len(order)], np.maximum.accumulate(release), np.full(STATIONS, 3),
        np.zeros(STATIONS), never, never, np.zeros(STATIONS + 1, dtype=np.int64), np.zeros(0, dtype=np.int64), none,
        np.zeros((len(order), 0), dtype=np.int64), np.zeros((0, 1)), left,
    )  # fmt: skip
    before = np.maximum(turns, np.concatenate(([-np.inf], left[:-1, 0])))
    entered = np.maximum(before, ready)
    return Outcome(
        starved_min=float((entered - before).sum()), stock_min=float((entered - ready).sum()),
        moved=sum(place != vehicle for place, vehicle in enumerate(order)),
    )  # fmt: skip


def _replanned(day: Day, available: Available) -> list[int]:
    """Replan at each vehicle what comes behind the frozen ones."""
    plan = list(range(len(day.leg)))
    built: list[int] = []
    free = -np.inf
    while plan:
        now = max(free, float(day.turn_min[len(built)]))
        plan = _plan(day, plan, available, now)
        vehicle = plan.pop(0)
        built.append(vehicle)
        free = max(now, float(day.ready_min[vehicle])) + TAKT_MIN
    return built


def _plan(day: Day, plan: Sequence[int], available: Available, now_min: float) -> list[int]:
    near = plan[:AHEAD]
    names = [str(vehicle) for vehicle in near]
    known = {str(vehicle): found for vehicle in near if (found := available(day.leg[vehicle], now_min))}
    now = _time(now_min)
    orders = [
        Order(id=name, programme_id="bench", variant="car", received_at=EPOCH, state="building" if place < FROZEN else "open")
        for place, name in enumerate(names)
    ]  # fmt: skip
    found = decide_schedule(
        orders, LINE, {}, "release", names[:FROZEN], now=now, parent=names, available=known
    )
    held = [item.order_id for item in found.held]
    return [int(name) for name in (*found.sequence, *held)] + list(plan[AHEAD:])


def _time(minutes: float) -> datetime:
    return EPOCH + timedelta(minutes=minutes)


def works_of(draw: np.random.Generator) -> Floats:
    """Return minutes of work, [vehicle, station], a little below the takt."""
    found: Floats = 0.95 * TAKT_MIN * draw.normal(1, SPREAD, (VEHICLES, STATIONS)).clip(0.5, 1.5)
    return found


def compare(world: World, margin_min: float) -> dict[str, tuple[Floats, Floats]]:
    """Return minutes starved and minutes of stock by way, a place for each seed.

    Args:
        world: what is known of legs.
        margin_min: how much earlier than with static lead times parts are ordered for equal stock, minutes.
    """
    static = world.lead_min
    departures = told(world, departures=True)
    return _over_seeds(world, {
        "static": _Way(lead_min=static),
        "planned": _Way(lead_min=world.model_lead_min),
        "arrivals": _Way(lead_min=static, available=told(world, departures=False)),
        "milestones": _Way(lead_min=static, available=departures),
        "equal": _Way(lead_min=static, available=departures, margin_min=margin_min),
    })  # fmt: skip


def equal_margin_min(world: World) -> float:
    """Return how much earlier parts have to be ordered, minutes, for milestones to have the stock of static lead times.

    Found by stock alone: how long the line stands is not looked at.
    """
    static = _Way(lead_min=world.lead_min)
    goal = float(_over_seeds(world, {"static": static})["static"][1].sum())
    known = told(world, departures=True)
    low, high = 0.0, float(MARGIN_MIN_MAX)
    while True:
        margin = (low + high) / 2
        way = replace(static, available=known, margin_min=margin)
        stock = float(_over_seeds(world, {"way": way})["way"][1].sum())
        if abs(stock / goal - 1) <= STOCK_APART_MAX or high - low < 1:
            return margin
        low, high = (margin, high) if stock < goal else (low, margin)


@dataclass(frozen=True, kw_only=True)
class _Way:
    """Lead times by leg, what is known of parts when the line is replanned, and how much earlier parts are ordered."""

    lead_min: Floats
    available: Available | None = None
    margin_min: float = 0.0


def _over_seeds(world: World, ways: dict[str, _Way]) -> dict[str, tuple[Floats, Floats]]:
    found = {name: (np.zeros(len(SEEDS)), np.zeros(len(SEEDS))) for name in ways}
    for place, seed in enumerate(SEEDS):
        days = np.random.default_rng(seed).permutation(np.unique(world.legs.day)).tolist()
        done = 0
        for day in days:
            for name, way in ways.items():
                draw = np.random.default_rng([seed, day])  # the same luck for every way
                fed = choose(world, day, draw, way.lead_min)
                if fed is None:
                    break
                fed = replace(
                    fed, turn_min=fed.turn_min + way.margin_min
                )  # the same legs, so the same freight
                outcome = run_day(fed, way.available, works_of(draw))
                found[name][0][place] += outcome.starved_min
                found[name][1][place] += outcome.stock_min
            else:
                done += 1
            if done == DAYS:
                break
    return found
