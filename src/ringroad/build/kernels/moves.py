"""Moves of a sequence and what each would cost: machine code.

A move is an exchange of two positions, a short stretch that is turned round or shifted by one, or a stretch that
brings a whole batch of one colour to another one of its colour.
Nothing here decides; `search.py` does.

Functions share these arrays of 64-bit whole numbers, with columns named below:

- `cars[car, column]`: what a car is; never changes
- `rules[option, column]`: a ratio and what its windows cost by the cars in them; never changes
- `need[class, option]`: 0 or 1; never changes
- `line[row, position]`: which car stands where, its colour, and room to work
- `place[car]`: where it stands
- `sums[option, start]`: cars with the option in the window that starts there
- `hurt`: windows that cost something, as option * cars + start; the last entry is their number
- `spot[option, start]`: where in `hurt` a window is

They are few and apart, not in one tuple, of which each use costs a reference.
"""

from __future__ import annotations

from typing import Final

from ringroad.build.kernels.chance import Ints
from ringroad.build.kernels.compiled import part

# Columns of `cars`
KIND: Final = 0  # class: cars with the same options
COLOUR: Final = 1
LATE: Final = 2  # weight of each position behind DUE
DUE: Final = 3
EARLY: Final = 4  # weight of each position before READY
READY: Final = 5
HOME: Final = 6  # position in the running plan, or -1
UNWANTED: Final = 7  # weight of each position before WANTED
WANTED: Final = 8

# Columns of `rules`
SPAN: Final = 0  # q
FIRST: Final = 1  # first window start that counts
ENDS: Final = 2  # one behind the last
PRICE: Final = 3  # and on: what a window with 0, 1, 2 ... such cars costs

# Rows of `line`
AT: Final = 0  # car
SHADE: Final = 1  # its colour
NEW: Final = 2  # what a stretch would become
STEP: Final = 3  # how many more cars with an option a stretch would have up to here

# What a level counts
RATIOS: Final = 0
OVERLONG: Final = 1
TIMES: Final = 2
PAINT: Final = 3
STABILITY: Final = 4


@part
def put(cars: Ints, line: Ints, place: Ints, position: int, car: int) -> None:
    """Set a car to a position."""
    line[AT, position] = car
    line[SHADE, position] = cars[car, COLOUR]
    place[car] = position


@part
def add(rules: Ints, sums: Ints, hurt: Ints, spot: Ints, option: int, start: int, step: int) -> None:
    """Change the count of one window, and keep the list of those that cost something."""
    before = sums[option, start]
    sums[option, start] = before + step
    was, now = rules[option, PRICE + before] > 0, rules[option, PRICE + before + step] > 0
    if was == now:
        return
    end = hurt.shape[0] - 1
    if now:
        hurt[hurt[end]] = option * sums.shape[1] + start
        spot[option, start] = hurt[end]
        hurt[end] += 1
    else:
        hurt[end] -= 1
        last = hurt[hurt[end]]
        hurt[spot[option, start]] = last
        spot[last // sums.shape[1], last % sums.shape[1]] = spot[option, start]


# Exchanges ---


@part
def _windows(rules: Ints, sums: Ints, option: int, low: int, high: int, step: int) -> int:
    """Return what the windows that start from low to high would cost more, each with `step` more cars."""
    more = 0
    for start in range(max(low, rules[option, FIRST]), min(high, rules[option, ENDS] - 1) + 1):
        count = PRICE + sums[option, start]
        more += rules[option, count + step] - rules[option, count]
    return more


@part
def _swap_ratios(
    cars: Ints, rules: Ints, need: Ints, line: Ints, sums: Ints, low: int, high: int, i: int, j: int
) -> int:
    """Price an exchange of positions i < j; windows that cover both do not change."""
    mine, other = cars[line[AT, i], KIND], cars[line[AT, j], KIND]
    more = 0
    if mine == other:
        return more
    for option in range(low, high):
        step = need[other, option] - need[mine, option]
        if step != 0:
            span = rules[option, SPAN]
            more += _windows(rules, sums, option, i - span + 1, min(i, j - span), step)
            more += _windows(rules, sums, option, max(i + 1, j - span + 1), j, -step)
    return more


@part
def apply_swap(
    cars: Ints, rules: Ints, need: Ints, line: Ints, place: Ints, sums: Ints, hurt: Ints, spot: Ints,
    i: int, j: int,
) -> None:  # fmt: skip
    """Exchange positions i < j."""
    mine, other = line[AT, i], line[AT, j]
    for option in range(need.shape[1]):
        step = need[cars[other, KIND], option] - need[cars[mine, KIND], option]
        if step != 0:
            span, first, last = rules[option, SPAN], rules[option, FIRST], rules[option, ENDS] - 1
            for start in range(max(i - span + 1, first), min(i, j - span, last) + 1):
                add(rules, sums, hurt, spot, option, start, step)
            for start in range(max(i + 1, j - span + 1, first), min(j, last) + 1):
                add(rules, sums, hurt, spot, option, start, -step)
    put(cars, line, place, i, other)
    put(cars, line, place, j, mine)


# Stretches ---


@part
def propose(line: Ints, a: int, b: int, how: int) -> None:
    """Write what the stretch a to b would become: 0 turned round, 1 the last one first, 2 the first one last."""
    for position in range(a, b + 1):
        if how == 0:
            line[NEW, position] = line[AT, a + b - position]
        elif how == 1:
            line[NEW, position] = line[AT, b if position == a else position - 1]
        else:
            line[NEW, position] = line[AT, a if position == b else position + 1]


@part
def propose_turn(line: Ints, a: int, b: int, first: int) -> None:
    """Write what the stretch a to b would become if it began at position `first` and went on behind b with a."""
    for position in range(a, b + 1):
        source = first + position - a
        line[NEW, position] = line[AT, source if source <= b else source - (b - a + 1)]


@part
def _steps(cars: Ints, need: Ints, line: Ints, option: int, a: int, b: int) -> bool:
    """Write how many more cars with the option the new stretch has before each position; say if any."""
    total, changed = 0, False
    line[STEP, a] = 0
    for position in range(a, b + 1):
        total += need[cars[line[NEW, position], KIND], option] - need[cars[line[AT, position], KIND], option]
        line[STEP, position + 1] = total
        changed = changed or total != 0
    return changed


@part
def _stretch_ratios(
    cars: Ints, rules: Ints, need: Ints, line: Ints, sums: Ints, low: int, high: int, a: int, b: int
) -> int:
    """Price the new stretch."""
    more = 0
    for option in range(low, high):
        if not _steps(cars, need, line, option, a, b):
            continue
        span = rules[option, SPAN]
        for start in range(max(a - span + 1, rules[option, FIRST]), min(b, rules[option, ENDS] - 1) + 1):
            step = line[STEP, min(b, start + span - 1) + 1] - line[STEP, max(a, start)]
            if step != 0:
                count = PRICE + sums[option, start]
                more += rules[option, count + step] - rules[option, count]
    return more


@part
def apply_stretch(
    cars: Ints, rules: Ints, need: Ints, line: Ints, place: Ints, sums: Ints, hurt: Ints, spot: Ints,
    a: int, b: int,
) -> None:  # fmt: skip
    """Make the new stretch true."""
    for option in range(need.shape[1]):
        if not _steps(cars, need, line, option, a, b):
            continue
        span = rules[option, SPAN]
        for start in range(max(a - span + 1, rules[option, FIRST]), min(b, rules[option, ENDS] - 1) + 1):
            step = line[STEP, min(b, start + span - 1) + 1] - line[STEP, max(a, start)]
            if step != 0:
                add(rules, sums, hurt, spot, option, start, step)
    for position in range(a, b + 1):
        put(cars, line, place, position, line[NEW, position])


# Times and places: a sum over cars ---


@part
def _where(cars: Ints, what: int, car: int, position: int) -> int:
    """Return what a car costs at a position, by its times or by its place in the running plan."""
    if what == STABILITY:
        return 0 if cars[car, HOME] < 0 else abs(position - cars[car, HOME])
    late = cars[car, LATE] * max(0, position - cars[car, DUE])
    early = cars[car, EARLY] * max(0, cars[car, READY] - position)
    return late + early + cars[car, UNWANTED] * max(0, cars[car, WANTED] - position)


@part
def sum_of(cars: Ints, line: Ints, what: int, frozen: int) -> int:
    """Return what all cars that may move cost at their places."""
    total = 0
    for position in range(frozen, cars.shape[0]):
        total += _where(cars, what, line[AT, position], position)
    return total


@part
def _sum_change(cars: Ints, line: Ints, what: int, i: int, j: int, is_swap: bool) -> int:
    if is_swap:
        mine, other = line[AT, i], line[AT, j]
        after = _where(cars, what, other, i) + _where(cars, what, mine, j)
        return after - _where(cars, what, mine, i) - _where(cars, what, other, j)
    more = 0
    for position in range(i, j + 1):
        more += _where(cars, what, line[NEW, position], position)
        more -= _where(cars, what, line[AT, position], position)
    return more


# Paint ---


@part
def _over(line: Ints, cars: int, batch: int, first: int, last: int) -> tuple[int, int]:
    """Return the cars beyond the limit in all batches that have a position from first to last, and their end."""
    start, over = first, 0
    while start > 0 and line[SHADE, start - 1] == line[SHADE, start]:
        start -= 1
    while start <= last:
        end = start + 1
        while end < cars and line[SHADE, end] == line[SHADE, start]:
            end += 1
        over += max(0, end - start - batch)
        start = end
    return over, start


@part
def _changes(line: Ints, cars: int, low: int, high: int) -> int:
    """Count the positions from low to high whose colour is not the one before."""
    found = 0
    for position in range(max(1, low), min(high, cars - 1) + 1):
        if line[SHADE, position] != line[SHADE, position - 1]:
            found += 1
    return found


@part
def paint_of(line: Ints, cars: int, what: int, batch: int, a: int, b: int, c: int, d: int) -> int:
    """Return what the paint costs around the positions a to b and, if c is not below 0, c to d behind them."""
    if what == PAINT:
        found = _changes(line, cars, a, b + 1)
        return found if c < 0 else found + _changes(line, cars, max(c, b + 2), d + 1)
    if batch == 0:
        return 0
    over, end = _over(line, cars, batch, max(0, a - 1), min(cars - 1, b + 1))
    if c >= 0 and end <= min(cars - 1, d + 1):
        more, end = _over(line, cars, batch, max(end, c - 1), min(cars - 1, d + 1))
        over += more
    return over


@part
def _paint_swap(line: Ints, cars: int, what: int, batch: int, i: int, j: int) -> int:
    mine, other = line[SHADE, i], line[SHADE, j]
    if mine == other:
        return 0
    before = paint_of(line, cars, what, batch, i, i, j, j)
    line[SHADE, i], line[SHADE, j] = other, mine
    after = paint_of(line, cars, what, batch, i, i, j, j)
    line[SHADE, i], line[SHADE, j] = mine, other
    return after - before


@part
def _paint_stretch(cars: Ints, line: Ints, what: int, batch: int, a: int, b: int) -> int:
    changed = False
    for position in range(a, b + 1):
        changed = changed or cars[line[NEW, position], COLOUR] != line[SHADE, position]
    if not changed:
        return 0
    before = paint_of(line, cars.shape[0], what, batch, a, b, -1, -1)
    for position in range(a, b + 1):
        line[SHADE, position] = cars[line[NEW, position], COLOUR]
    after = paint_of(line, cars.shape[0], what, batch, a, b, -1, -1)
    for position in range(a, b + 1):
        line[SHADE, position] = cars[line[AT, position], COLOUR]
    return after - before


# Any move ---


@part
def price_move(
    cars: Ints, rules: Ints, need: Ints, line: Ints, sums: Ints,
    what: int, low: int, high: int, batch: int, i: int, j: int, is_swap: bool,
) -> int:  # fmt: skip
    """Return what a move would cost more on a level; less than 0 is better.

    `what` is the kind of the level, `low` and `high` are its options if it counts ratios.
    """
    if what == RATIOS:
        if is_swap:
            return _swap_ratios(cars, rules, need, line, sums, low, high, i, j)
        return _stretch_ratios(cars, rules, need, line, sums, low, high, i, j)
    if what in (TIMES, STABILITY):
        return _sum_change(cars, line, what, i, j, is_swap)
    if is_swap:
        return _paint_swap(line, cars.shape[0], what, batch, i, j)
    return _paint_stretch(cars, line, what, batch, i, j)
