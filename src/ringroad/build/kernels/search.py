"""The search: local moves, accepted level by level; machine code.

A move is judged by the first level that it changes. Less is taken; more is taken with probability
exp(-more / temperature) of that level. A phase works on one level: the levels before it must not get worse
(temperature 0), those behind it are held loosely. Moves start mostly where it hurts.
Arrays are those of `moves.py`.

Each iteration prices one move, so a budget of iterations gives the same sequence on every machine.

Source: Gottlieb, Puchta, Solnon (2003), greedy start by dynamic utilisation and the five kinds of moves;
Estellon, Gardi, Nouioua (2006), small moves priced fast.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringroad.build.kernels.chance import Ints, Seed, accepts, below, is_less
from ringroad.build.kernels.compiled import compiled, part
from ringroad.build.kernels.moves import (
    AT,
    COLOUR,
    DUE,
    EARLY,
    ENDS,
    FIRST,
    HOME,
    KIND,
    LATE,
    PAINT,
    PRICE,
    RATIOS,
    READY,
    SHADE,
    SPAN,
    STABILITY,
    TIMES,
    UNWANTED,
    WANTED,
    add,
    apply_stretch,
    apply_swap,
    paint_of,
    price_move,
    propose,
    propose_turn,
    put,
    sum_of,
)

# Columns of `levels`
WHAT: Final = 0  # what it counts
LOW: Final = 1  # first of its options
HIGH: Final = 2  # one behind the last

# Entries of `fixed`
FROZEN: Final = 0  # cars that do not move
BATCH: Final = 1  # longest batch of one colour; 0 for no limit
PAINTED: Final = 2  # 1 if colours cost something, else 0

_STRETCH_PERMILLE: Final = 200  # of moves; found by trial on CSPLib instances, as are the next two
_HURT_PERMILLE: Final = 500  # of exchanges that start in a place that costs something
_STRETCH_CARS_MAX: Final = 20
_KIN_PERMILLE: Final = 300  # of exchanges with a car of the same class or colour
_JOIN_PERMILLE: Final = 50  # of moves where colours cost something; found by trial, see ADR 0035
_JOIN_CARS_MAX: Final = 200  # the batch and the cars that it passes by
_LOOKS: Final = 4  # at random positions, for one that costs something


@compiled
def place_all(
    cars: Ints, rules: Ints, need: Ints, levels: Ints, fixed: Ints,
    line: Ints, place: Ints, sums: Ints, hurt: Ints, spot: Ints, cost: Ints, order: Ints,
) -> None:  # fmt: skip
    """Start from an order: fill every count from scratch."""
    count = order.shape[0]
    sums[:, :] = 0
    hurt[hurt.shape[0] - 1] = 0
    cost[:] = 0
    for position in range(count):
        put(cars, line, place, position, order[position])
    for option in range(need.shape[1]):
        for start in range(rules[option, FIRST], rules[option, ENDS]):
            total = 0
            for position in range(start, min(count, start + rules[option, SPAN])):
                total += need[cars[line[AT, position], KIND], option]
            if total > 0:
                add(rules, sums, hurt, spot, option, start, total)
    for level in range(levels.shape[0]):
        what = levels[level, WHAT]
        if what == RATIOS:
            for option in range(levels[level, LOW], levels[level, HIGH]):
                for start in range(rules[option, FIRST], rules[option, ENDS]):
                    cost[level] += rules[option, PRICE + sums[option, start]]
        elif what in (TIMES, STABILITY):
            cost[level] = sum_of(cars, line, what, fixed[FROZEN])
        else:
            low = fixed[FROZEN] if what == PAINT else 0
            cost[level] = paint_of(line, count, what, fixed[BATCH], low, count - 1, -1, -1)


@part
def _hurts(cars: Ints, line: Ints, what: int, position: int) -> bool:
    """Say whether the car at a position costs something on a level that is a sum over cars, or paint."""
    car = line[AT, position]
    if what == TIMES:
        if cars[car, LATE] > 0 and position > cars[car, DUE]:
            return True
        if cars[car, UNWANTED] > 0 and position < cars[car, WANTED]:
            return True
        return cars[car, EARLY] > 0 and position < cars[car, READY]
    if what == STABILITY:
        return cars[car, HOME] >= 0 and cars[car, HOME] != position
    return position > 0 and line[SHADE, position] != line[SHADE, position - 1]


@part
def _pick(
    cars: Ints, rules: Ints, line: Ints, hurt: Ints, seed: Seed,
    what: int, low: int, high: int, frozen: int,
) -> int:  # fmt: skip
    """Return a position to move, mostly one that costs something on the level."""
    count = cars.shape[0]
    position = frozen + below(seed, count - frozen)
    if below(seed, 1000) >= _HURT_PERMILLE:
        return position
    for _ in range(_LOOKS):
        if what == RATIOS:
            if hurt[hurt.shape[0] - 1] == 0:
                break
            key = hurt[below(seed, hurt[hurt.shape[0] - 1])]
            option, start = key // count, key % count
            if low <= option < high:
                return max(frozen, start + below(seed, min(rules[option, SPAN], count - start)))
        elif _hurts(cars, line, what, position):
            break
        else:
            position = frozen + below(seed, count - frozen)
    return position


@part
def _partner(
    cars: Ints, line: Ints, place: Ints, groups: Ints, group_from: Ints, seed: Seed,
    what: int, frozen: int, i: int,
) -> int:  # fmt: skip
    """Return a position to exchange with: any, one of the same class or colour, or home."""
    car = line[AT, i]
    if below(seed, 1000) < _KIN_PERMILLE:
        if what == STABILITY and frozen <= cars[car, HOME] < cars.shape[0]:
            return cars[car, HOME]
        which = below(seed, 2)  # the columns KIND and COLOUR, and the rows of `groups`
        low = group_from[which, cars[car, which]]
        high = group_from[which, cars[car, which] + 1]
        return place[groups[which, low + below(seed, high - low)]]
    return frozen + below(seed, cars.shape[0] - frozen)


@part
def _join(
    cars: Ints, line: Ints, place: Ints, groups: Ints, group_from: Ints, seed: Seed, frozen: int
) -> tuple[int, int]:  # fmt: skip
    """Propose to bring the batch around a position to another car of its colour; return the stretch, or -1 twice."""
    count = cars.shape[0]
    low = high = frozen + below(seed, count - frozen)
    shade = line[SHADE, low]
    first, behind = group_from[COLOUR, shade], group_from[COLOUR, shade + 1]
    to = place[groups[COLOUR, first + below(seed, behind - first)]]
    while low > frozen and line[SHADE, low - 1] == shade and high - low < _JOIN_CARS_MAX:
        low -= 1
    while high + 1 < count and line[SHADE, high + 1] == shade and high - low < _JOIN_CARS_MAX:
        high += 1
    if to > high and to - low <= _JOIN_CARS_MAX:
        propose_turn(line, low, to - 1, high + 1)
        return low, to - 1
    if frozen <= to < low and high - to <= _JOIN_CARS_MAX:
        propose_turn(line, to + 1, high, low)
        return to + 1, high
    return -1, -1


@part
def _judge(
    cars: Ints, rules: Ints, need: Ints, levels: Ints, fixed: Ints, line: Ints, sums: Ints,
    seed: Seed, heat: NDArray[np.float64], i: int, j: int, is_swap: bool,
) -> bool:  # fmt: skip
    """Say whether to take a move; the first level that it changes decides."""
    for level in range(levels.shape[0]):
        what, low, high = levels[level, WHAT], levels[level, LOW], levels[level, HIGH]
        more = price_move(cars, rules, need, line, sums, what, low, high, fixed[BATCH], i, j, is_swap)
        if more < 0:
            return True
        if more > 0:
            return bool(accepts(more, heat[level], seed))
    return True


@compiled
def search(
    cars: Ints, rules: Ints, need: Ints, levels: Ints, fixed: Ints, groups: Ints, group_from: Ints,
    line: Ints, place: Ints, sums: Ints, hurt: Ints, spot: Ints, cost: Ints, seed: Seed,
    best: Ints, best_cost: Ints, level: int, hot: NDArray[np.float64], cold: NDArray[np.float64], moves: int,
) -> int:  # fmt: skip
    """Work on one level from where the sequence stands, and keep the best sequence seen in `best`.

    `hot` and `cold` are the first and the last temperature of each level; 0 for a level that must not get
    worse. Returns the moves priced: all of the budget, unless the level and those before it cost nothing.
    """
    count, frozen = cars.shape[0], fixed[FROZEN]
    heat = hot.copy()
    for move in range(moves):
        if move % 1024 == 0:
            for each in range(heat.shape[0]):
                if hot[each] > 0:
                    heat[each] = hot[each] * (cold[each] / hot[each]) ** (move / moves)
            if best_cost[: level + 1].max() == 0:
                return move
        is_join = fixed[PAINTED] > 0 and below(seed, 1000) < _JOIN_PERMILLE
        is_swap = not is_join and below(seed, 1000) >= _STRETCH_PERMILLE
        if is_join:
            i, j = _join(cars, line, place, groups, group_from, seed, frozen)
            if i < 0 or i >= j:
                continue
        elif is_swap:
            what, low, high = levels[level, WHAT], levels[level, LOW], levels[level, HIGH]
            i = _pick(cars, rules, line, hurt, seed, what, low, high, frozen)
            j = _partner(cars, line, place, groups, group_from, seed, what, frozen, i)
            if i > j:
                i, j = j, i
            if i == j or i < frozen:
                continue
        else:
            i = frozen + below(seed, count - frozen)
            j = i + 1 + below(seed, _STRETCH_CARS_MAX)
            if j >= count:
                continue
            propose(line, i, j, below(seed, 3))
        if not _judge(cars, rules, need, levels, fixed, line, sums, seed, heat, i, j, is_swap):
            continue
        for each in range(levels.shape[0]):
            what, low, high = levels[each, WHAT], levels[each, LOW], levels[each, HIGH]
            cost[each] += price_move(
                cars, rules, need, line, sums, what, low, high, fixed[BATCH], i, j, is_swap
            )
        if is_swap:
            apply_swap(cars, rules, need, line, place, sums, hurt, spot, i, j)
        else:
            apply_stretch(cars, rules, need, line, place, sums, hurt, spot, i, j)
        if is_less(cost, best_cost):
            best_cost[:] = cost
            best[:] = line[AT, :count]
    return moves
