"""Where do parts lie in the warehouse? Those that are picked often, and need little room for it, near the line.

A layout costs what its picks take over a horizon, and what moving parts there takes: a part is moved only where that
pays. Zones have so many places; a part lies in one zone, in as many places as it needs.

If parts could be cut, those that are picked most for a place would fill the zones from the nearest on: that bounds what any
layout takes, and says what a place of each zone is worth. With these prices each part takes its cheapest zone, what does not
fit goes where it costs least, and moves and exchanges that save are made until none is left; the same from where parts lie
now, and the cheaper of both is taken.

Pure, numpy alone. Invariant: a layout fits into its zones, or says which parts do not; nothing is moved that does not pay.

Source: Heskett (1963), cube-per-order index; Fisher (1981), the Lagrangian relaxation method, for the prices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringroad.kernel.errors import InvalidInput

PARTS_MAX: Final = 20_000
ZONES_MAX: Final = 100
HORIZON_DAYS: Final = 10  # in which a move must pay; two weeks of work
MOVE_S: Final = 120.0  # s to bring what is in one place to another zone
_ROUNDS_MAX: Final = 15  # of moves and exchanges
_NEAR: Final = 64  # parts of a zone that an exchange is tried with
_TINY: Final = 1e-6  # s

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class StockZone:
    """A zone: how many places, and what a pick in it takes, seconds."""

    name: str
    places: int
    pick_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StockPart:
    """A part: the places it needs, how often it is picked, and where it lies; "" for nowhere yet."""

    name: str
    places: int
    picks_day: float
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocation:
    """One part that is brought to another zone.

    Attributes:
        part: which.
        source: where it lies; "" for nowhere yet.
        target: where to.
        places: that it takes there.
        saves_s_day: of picks.
        aside: whether something must be put aside for it, since the zone is full until others left.
    """

    part: str
    source: str
    target: str
    places: int
    saves_s_day: float
    aside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where parts should lie.

    Attributes:
        zones: of each part.
        now_s_day: what picks take a day where parts lie now; parts that lie nowhere count as in the slowest zone.
        new_s_day: what they will take.
        bound_s_day: what they take at least in any layout, moves for nothing.
        moves: in the order in which they can be made.
        moving_s: what the moves take.
    """

    zones: Mapping[str, str]
    now_s_day: float
    new_s_day: float
    bound_s_day: float
    moves: tuple[Relocation, ...]
    moving_s: float

    @property
    def gap(self) -> float:
        """What picks take more than the bound says, as a share of it."""
        return (self.new_s_day - self.bound_s_day) / self.bound_s_day if self.bound_s_day > 0 else 0.0


def lay_out(
    zones: Sequence[StockZone],
    parts: Sequence[StockPart],
    *,
    horizon_days: float = HORIZON_DAYS,
    move_s: float = MOVE_S,
) -> Layout:
    """Say where parts should lie.

    Args:
        zones: of the warehouse.
        parts: that lie in it, or come.
        horizon_days: in which a move must pay.
        move_s: what bringing one place's content elsewhere takes.

    Raises:
        InvalidInput: no zone, a name twice, a number that cannot be, or more places needed than there are.
    """
    _check(zones, parts, horizon_days=horizon_days, move_s=move_s)
    size = np.array([part.places for part in parts], dtype=np.int64)
    room = np.array([zone.places for zone in zones], dtype=np.int64)
    names = {zone.name: number for number, zone in enumerate(zones)}
    at = np.array([names.get(part.zone, -1) for part in parts], dtype=np.int64)
    picks = np.array([part.picks_day for part in parts], dtype=np.float64)
    pick_s = np.array([zone.pick_s for zone in zones], dtype=np.float64)
    day = picks[:, None] * pick_s[None, :]
    moving = np.where(np.arange(len(zones))[None, :] == at[:, None], 0.0, move_s * size[:, None])
    moving[at < 0] = 0  # it is put somewhere in any case
    cost = day * horizon_days + moving
    price, bound = _prices(picks, pick_s, size, room)
    placed = _search(cost, size, room, at=at, price=price * horizon_days)
    rows = np.arange(len(parts))
    slowest = int(pick_s.argmax())
    order = _order(zones, parts, placed=placed, at=at, day=day)
    return Layout(
        zones={part.name: zones[place].name for part, place in zip(parts, placed.tolist(), strict=True)},
        now_s_day=float(day[rows, np.where(at < 0, slowest, at)].sum()),
        new_s_day=float(day[rows, placed].sum()),
        bound_s_day=bound,
        moves=order,
        moving_s=float(moving[rows, placed].sum()),
    )


def _check(
    zones: Sequence[StockZone], parts: Sequence[StockPart], *, horizon_days: float, move_s: float
) -> None:
    if not 1 <= len(zones) <= ZONES_MAX:
        raise InvalidInput(f"{len(zones)} zones, from 1 to {ZONES_MAX} can be", hint="[[warehouse.zones]]")
    if len(parts) > PARTS_MAX:
        raise InvalidInput(f"{len(parts)} parts, limit {PARTS_MAX}")
    names = [zone.name for zone in zones]
    for what, found in (("zone", names), ("part", [part.name for part in parts])):
        if len(set(found)) != len(found):
            twice = next(name for name in found if found.count(name) > 1)
            raise InvalidInput(f"{what} {twice!r} is there twice")
    for zone in zones:
        if zone.places < 0 or not 0 < zone.pick_s < np.inf:
            raise InvalidInput(f"zone {zone.name!r} has {zone.places} places and picks of {zone.pick_s} s")
    for part in parts:
        if part.places < 1 or not 0 <= part.picks_day < np.inf:
            raise InvalidInput(
                f"part {part.name!r} has {part.places} places and {part.picks_day} picks a day"
            )
        if part.zone and part.zone not in names:
            raise InvalidInput(
                f"part {part.name!r} lies in {part.zone!r}, which is no zone",
                hint=f"one of {', '.join(names)}",
            )
    if not 0 < horizon_days < np.inf or not 0 <= move_s < np.inf:
        raise InvalidInput(f"a horizon of {horizon_days} days and moves of {move_s} s cannot be")
    needed, there = sum(part.places for part in parts), sum(zone.places for zone in zones)
    if needed > there:
        raise InvalidInput(
            f"parts need {needed} places, the warehouse has {there}", hint="take parts out, or add places"
        )


def _prices(picks: Floats, pick_s: Floats, size: Ints, room: Ints) -> tuple[Floats, float]:
    """Return what a place of each zone saves a day, and what picks take a day at least, by cutting parts."""
    price: Floats = np.zeros(len(room))
    often = np.argsort(-picks / size, kind="stable")
    worth, filled = picks[often] / size[often], np.cumsum(size[often])
    zones = np.argsort(pick_s, kind="stable")
    until = np.cumsum(room[zones])
    last = np.searchsorted(filled, until, side="right")  # the first part that is not whole inside
    for rank in reversed(range(len(zones) - 1)):
        edge = worth[last[rank]] if last[rank] < len(worth) else 0.0
        nearer, farther = zones[rank], zones[rank + 1]
        price[nearer] = price[farther] + edge * (pick_s[farther] - pick_s[nearer])
    cuts = np.unique(np.concatenate(([0], np.minimum(until, filled[-1] if len(filled) else 0), filled)))
    middle = (cuts[1:] + cuts[:-1]) / 2
    which = np.searchsorted(filled, middle, side="right")
    where = np.searchsorted(until, middle, side="right")
    return price, float(((cuts[1:] - cuts[:-1]) * worth[which] * pick_s[zones[where]]).sum())


def _search(cost: Floats, size: Ints, room: Ints, *, at: Ints, price: Floats) -> Ints:
    """Return a zone for each part: the cheaper of what prices say and of what lies there now, improved."""
    found = [_improve(_fit(cost, size, room, price, large_first=True), cost, size, room)]
    with suppress(InvalidInput):  # what comes last may find no room; with large parts first more do
        found.append(_improve(_fit(cost, size, room, price, large_first=False), cost, size, room))
    now = np.bincount(at[at >= 0], weights=size[at >= 0], minlength=len(room))
    if (at >= 0).all() and (now <= room).all():
        found.append(_improve(at.copy(), cost, size, room))
    rows = np.arange(len(cost))
    return min(found, key=lambda placed: float(cost[rows, placed].sum()))


def _fit(cost: Floats, size: Ints, room: Ints, price: Floats, *, large_first: bool) -> Ints:
    """Put each part where it costs least: who would lose most elsewhere first, for its places."""
    asked = cost + size[:, None] * price[None, :]
    left, placed = room.copy(), np.full(len(cost), -1, dtype=np.int64)
    two = np.sort(asked, axis=1)[:, :2]
    regret = (two[:, -1] - two[:, 0]) / size
    for part in sorted(
        range(len(cost)), key=lambda part: (large_first and size[part] == 1, -regret[part], -size[part], part)
    ):
        for zone in np.argsort(asked[part], kind="stable"):
            if size[part] <= left[zone]:
                left[zone] -= size[part]
                placed[part] = zone
                break
        else:
            _make_room(part, placed, left, size, asked)
    return placed


def _make_room(part: int, placed: Ints, left: Ints, size: Ints, asked: Floats) -> None:
    """Move small parts out of the zone where that takes fewest, so that a large one fits."""
    for zone in np.argsort(-left, kind="stable"):
        inside = sorted(np.flatnonzero(placed == zone).tolist(), key=lambda one: (size[one], one))
        for one in inside:
            if size[part] <= left[zone]:
                break
            for other in np.argsort(asked[one], kind="stable"):
                if other != zone and size[one] <= left[other]:
                    left[other] -= size[one]
                    left[zone] += size[one]
                    placed[one] = other
                    break
        if size[part] <= left[zone]:
            left[zone] -= size[part]
            placed[part] = zone
            return
    raise InvalidInput(
        f"{size[part]} places together are free in no zone, though enough are free in all",
        hint="split the part, or give a zone more places",
    )


def _improve(placed: Ints, cost: Floats, size: Ints, room: Ints) -> Ints:
    """Make the moves and exchanges that save, the best first, until none is left."""
    left = room - np.bincount(placed, weights=size, minlength=len(room)).astype(np.int64)
    for _ in range(_ROUNDS_MAX):
        gain = cost[np.arange(len(cost)), placed][:, None] - cost
        if not (_move(placed, left, size, gain) | _exchange(placed, left, size, gain)):
            break
    return placed


def _move(placed: Ints, left: Ints, size: Ints, gain: Floats) -> bool:
    moved = False
    wishes = np.argwhere(gain > _TINY)
    for part, zone in sorted(
        wishes.tolist(), key=lambda each: (-gain[each[0], each[1]] / size[each[0]], each)
    ):
        if size[part] <= left[zone] and placed[part] != zone and gain[part, zone] > _TINY:
            left[zone] -= size[part]
            left[placed[part]] += size[part]
            placed[part] = zone
            gain[part] = -np.inf  # once in a round
            moved = True
    return moved


def _exchange(placed: Ints, left: Ints, size: Ints, gain: Floats) -> bool:
    """Exchange parts of two zones: of those that win most by place there and lose least here, the best pairs first."""
    moved = False
    zones = range(len(left))
    most = np.array(
        [gain[placed == zone].max(axis=0, initial=-np.inf) for zone in zones]
    )  # that one part wins
    for first in zones:
        for second in zones:
            if first == second or most[first, second] + most[second, first] <= _TINY:
                continue
            here = _nearest(np.flatnonzero(placed == first), gain[:, second] / size)
            there = _nearest(np.flatnonzero(placed == second), gain[:, first] / size)
            saves = gain[here, second][:, None] + gain[there, first][None, :]
            found = np.argwhere(saves > _TINY)
            for row, column in found[np.argsort(-saves[saves > _TINY], kind="stable")].tolist():
                one, other = here[row], there[column]
                grows = size[other] - size[one]
                fits = grows <= left[first] and -grows <= left[second]
                if fits and placed[one] == first and placed[other] == second:
                    placed[one], placed[other] = second, first
                    left[first] -= grows
                    left[second] += grows
                    gain[[one, other]] = -np.inf  # once in a round
                    moved = True
    return moved


def _nearest(parts: Ints, worth: Floats) -> Ints:
    nearest: Ints = parts[np.argsort(-worth[parts], kind="stable")[:_NEAR]]
    return nearest


def _order(
    zones: Sequence[StockZone], parts: Sequence[StockPart], *, placed: Ints, at: Ints, day: Floats
) -> tuple[Relocation, ...]:
    """Return the moves, those with the most to save first as far as there is room; else something is put aside."""
    size = [part.places for part in parts]
    left = [zone.places for zone in zones]
    for part, zone in enumerate(at.tolist()):
        if zone >= 0:
            left[zone] -= size[part]
    saves = [
        float(day[part, at[part]] - day[part, placed[part]]) if at[part] >= 0 else 0.0
        for part in range(len(parts))
    ]
    waiting = sorted(
        (part for part in range(len(parts)) if placed[part] != at[part]),
        key=lambda part: (-saves[part] / size[part], part),
    )
    found: list[Relocation] = []
    while waiting:
        fits = next((part for part in waiting if size[part] <= left[placed[part]]), None)
        part = waiting[0] if fits is None else fits
        left[placed[part]] -= size[part]
        if at[part] >= 0:
            left[at[part]] += size[part]
        waiting.remove(part)
        found.append(Relocation(
            part=parts[part].name, source=parts[part].zone, target=zones[placed[part]].name, places=size[part],
            saves_s_day=saves[part], aside=fits is None,
        ))  # fmt: skip
    return tuple(found)


def fill_of(zones: Sequence[StockZone], parts: Sequence[StockPart]) -> list[dict[str, Any]]:
    """Return how full each zone is."""
    return [
        {"name": zone.name, "places": zone.places, "pick_s": zone.pick_s,
         "used": sum(part.places for part in parts if part.zone == zone.name)}
        for zone in zones
    ]  # fmt: skip
