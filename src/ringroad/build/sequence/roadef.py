"""Read an instance of the ROADEF 2005 challenge: Renault's paint batches and two kinds of ratios.

An instance is four texts, columns parted by ``;``, the first row their names:

1. `vehicles.txt`: Date; SeqRank; Ident; Paint Color; then 1 or 0 for each ratio. Vehicles of an earlier date
   were built the day before: they keep their places, and only windows with a vehicle of the day count.
2. `ratios.txt`: Ratio as N/P; Prio 1 or 0; Ident, which names a column of the vehicles.
3. `paint_batch_limit.txt`: limitation, the longest batch of one colour. A longer one is not allowed.
4. `optimization_objectives.txt`: rank; objective name. What comes first matters more than all that follow.

A window of a ratio N/P costs the vehicles it has beyond N. At the end of the day windows reach into the next
day, of which nothing is known: it counts as vehicles without options. A batch that began the day before goes on.

Pure: texts in, a problem out.

Source: Nguyen, Cung (2005), ROADEF challenge: car sequencing problem, sections 1.2 and 2.1, and its questions
and answers of 2003 and 2004.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ringroad.build.model import Ratio
from ringroad.build.sequence.problem import CARS_MAX, RATIOS_MAX, Car, Level, Problem
from ringroad.kernel.errors import InvalidInput

VEHICLES: Final = "vehicles.txt"
RATIOS: Final = "ratios.txt"
LIMIT: Final = "paint_batch_limit.txt"
OBJECTIVES: Final = "optimization_objectives.txt"
FILES: Final = (VEHICLES, RATIOS, LIMIT, OBJECTIVES)
FILE_BYTES_MAX: Final = 4 * 1024**2  # bytes; the largest published one has 150 kB
_FIXED: Final = ("date", "seqrank", "ident", "paint color")
_LEVELS: Final = {
    "high_priority_level_and_easy_to_satisfy_ratio_constraints": Level.RATIOS,
    "high_priority_level_and_difficult_to_satisfy_ratio_constraints": Level.RATIOS,
    "low_priority_level_ratio_constraints": Level.SOFT_RATIOS,
    "paint_color_batches": Level.PAINT,
}

Row = tuple[int, list[str]]  # line number, cells


def read_roadef(texts: Mapping[str, str]) -> Problem:
    """Return the problem that four texts describe; its frozen cars are those of the day before.

    Raises:
        InvalidInput: what is wrong, with its file and line.
    """
    for name in FILES:
        if name not in texts:
            raise InvalidInput(f"{name} is missing", hint=f"an instance is a folder with {', '.join(FILES)}")
        if len(texts[name]) > FILE_BYTES_MAX:
            raise InvalidInput(f"{name} is larger than {FILE_BYTES_MAX} bytes")
    ratios = _ratios(texts[RATIOS])
    cars, frozen = _vehicles(texts[VEHICLES], ratios)
    levels = _objectives(texts[OBJECTIVES])
    if any(ratio.soft for ratio in ratios) and Level.SOFT_RATIOS not in levels:
        ratios = [ratio for ratio in ratios if not ratio.soft]
    return Problem(
        cars=tuple(cars), ratios=tuple(ratios), frozen=frozen, batch_max=_limit(texts[LIMIT]),
        order=(Level.OVERLONG, *levels), measure="excess", open_end=True,
    )  # fmt: skip


def weighted(cost: Mapping[Level, int]) -> int:
    """Return the challenge's own sum of a cost: 1,000,000, 1,000 and 1 by rank."""
    ranked = [value for level, value in cost.items() if level is not Level.OVERLONG]
    return sum(value * weight for value, weight in zip(ranked, (1_000_000, 1_000, 1), strict=False))


def _rows(name: str, text: str) -> tuple[list[str], list[Row]]:
    """Return the column names in small letters, and the rows that are not empty."""
    lines = text.removeprefix("\ufeff").splitlines()
    rows = [
        (number, [cell.strip() for cell in line.strip().removesuffix(";").split(";")])
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if len(rows) < 2:
        raise InvalidInput(f"{name}: a row of column names and at least one row are needed")
    head = [cell.lower() for cell in rows[0][1]]
    for number, row in rows[1:]:
        if len(row) != len(head):
            raise InvalidInput(f"{name}, line {number}: {len(row)} cells, {len(head)} columns")
    return head, rows[1:]


def _columns(name: str, head: list[str], wanted: tuple[str, ...]) -> list[int]:
    missing = [column for column in wanted if column not in head]
    if missing:
        raise InvalidInput(f"{name}: no column {', '.join(missing)}")
    return [head.index(column) for column in wanted]


def _ratios(text: str) -> list[Ratio]:
    head, rows = _rows(RATIOS, text)
    at, prio, ident = _columns(RATIOS, head, ("ratio", "prio", "ident"))
    if len(rows) > RATIOS_MAX:
        raise InvalidInput(f"{RATIOS}: {len(rows)} ratios, limit {RATIOS_MAX}")
    found: list[Ratio] = []
    for number, row in rows:
        match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", row[at])
        if match is None or not 0 <= int(match[1]) <= int(match[2]) or match[2] == "0":
            raise InvalidInput(f"{RATIOS}, line {number}: {row[at]!r} is no ratio N/P with N up to P")
        if row[prio] not in ("0", "1"):
            raise InvalidInput(f"{RATIOS}, line {number}: Prio is {row[prio]!r}; it must be 1 or 0")
        if any(ratio.option == row[ident].lower() for ratio in found):
            raise InvalidInput(f"{RATIOS}, line {number}: {row[ident]!r} stands twice")
        found.append(
            Ratio(option=row[ident].lower(), p=int(match[1]), q=int(match[2]), soft=row[prio] == "0")
        )
    return found


def _vehicles(text: str, ratios: list[Ratio]) -> tuple[list[Car], int]:
    """Return the vehicles, those of the day before first in their order, and how many those are."""
    head, rows = _rows(VEHICLES, text)
    date, rank, ident, colour = _columns(VEHICLES, head, _FIXED)
    flags = _columns(VEHICLES, head, tuple(ratio.option for ratio in ratios))
    if len(rows) > CARS_MAX:
        raise InvalidInput(f"{VEHICLES}: {len(rows)} vehicles, limit {CARS_MAX}")
    day = max(_day(number, row[date]) for number, row in rows)
    seen: set[str] = set()
    before: list[tuple[tuple[int, ...], int, Car]] = []
    cars: list[Car] = []
    for number, row in rows:
        if row[ident] in seen:
            raise InvalidInput(f"{VEHICLES}, line {number}: vehicle {row[ident]!r} stands twice")
        seen.add(row[ident])
        if not row[rank].isdigit():
            raise InvalidInput(f"{VEHICLES}, line {number}: SeqRank is {row[rank]!r}; it must be a number")
        if any(row[flag] not in ("0", "1") for flag in flags):
            raise InvalidInput(f"{VEHICLES}, line {number}: a ratio's column must hold 0 or 1")
        features = frozenset(
            ratio.option for ratio, flag in zip(ratios, flags, strict=True) if row[flag] == "1"
        )
        car = Car(id=row[ident], features=features, colour=row[colour])
        if _day(number, row[date]) == day:
            cars.append(car)
        else:
            before.append((_day(number, row[date]), int(row[rank]), car))
    before.sort(key=lambda each: each[:2])
    return [*(car for _, _, car in before), *cars], len(before)


def _day(number: int, text: str) -> tuple[int, ...]:
    """Return a date as numbers: year, week, day of the week."""
    words = text.replace("-", " ").replace("/", " ").split()
    if not words or not all(word.isdigit() for word in words):
        raise InvalidInput(f"{VEHICLES}, line {number}: Date is {text!r}; it must be numbers: year week day")
    return tuple(int(word) for word in words)


def _limit(text: str) -> int:
    head, rows = _rows(LIMIT, text)
    (at,) = _columns(LIMIT, head, ("limitation",))
    number, row = rows[0]
    if not row[at].isdigit() or not int(row[at]) >= 1 or len(rows) != 1:
        raise InvalidInput(f"{LIMIT}, line {number}: one whole number from 1 on, found {row[at]!r}")
    return int(row[at])


def _objectives(text: str) -> tuple[Level, ...]:
    head, rows = _rows(OBJECTIVES, text)
    at, name = _columns(OBJECTIVES, head, ("rank", "objective name"))
    ranked: dict[int, Level] = {}
    for number, row in rows:
        level = _LEVELS.get(row[name])
        if level is None:
            raise InvalidInput(
                f"{OBJECTIVES}, line {number}: no objective {row[name]!r}",
                hint=f"known are {', '.join(_LEVELS)}",
            )
        if not row[at].isdigit() or int(row[at]) in ranked or level in ranked.values():
            raise InvalidInput(f"{OBJECTIVES}, line {number}: each rank and each objective once")
        ranked[int(row[at])] = level
    return tuple(ranked[rank] for rank in sorted(ranked))
