"""Reading what was wanted, and signals of what will be, from a table.

Pure. Invariant: a table is taken whole or not at all; every problem is named with its row.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from ringroad.kernel.errors import InvalidInput
from ringroad.signal.demand.panel import ALL, Key, month_after, months_between
from ringroad.signal.demand.signals import KINDS, SignalKind

DEMAND_COLUMNS: Final = ("month", "option", "plant", "region", "model", "units")
SIGNAL_COLUMNS: Final = ("id", "kind", "month", "option", "plant", "region", "model", "value")
ROWS_MAX: Final = 400_000  # of one table; 16 MiB of the shortest rows
UNITS_MAX: Final = 100_000_000  # a month; more than all makers build
MONTHS_AHEAD_MAX: Final = 24  # that a signal may be about
MONTHS_KEPT_MAX: Final = 600  # fifty years back; older is a typing error
PROBLEMS_SHOWN: Final = 5
NAME_CHARS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What may be named."""

    options: Mapping[str, Collection[str]]  # by model; "" is the vehicle, and always there
    plants: Collection[str]
    regions: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandRow:
    """What was wanted of one series in one month."""

    row: int  # in the table, its head is row 1
    key: Key
    month: date
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    """What a signal says about a month."""

    row: int
    id: str  # the sender's own, so that a repeated one is known
    kind: SignalKind
    key: Key
    month: date
    value: float


def read_demand(text: str, catalogue: Catalogue, *, today: date) -> list[DemandRow]:
    """Return the rows of a demand table.

    Raises:
        InvalidInput: it cannot be read, or a row cannot be: the first problems, each with its row.
    """
    problems: list[str] = []
    found: list[DemandRow] = []
    first: dict[tuple[Key, date], int] = {}
    for row, cells in _rows(text, DEMAND_COLUMNS):
        try:
            key = _key(cells, catalogue, sums=False)
            month = _month(cells["month"])
            if month >= today.replace(day=1):
                raise InvalidInput(f"{month:%Y-%m} is not over")
            if months_between(month, today) > MONTHS_KEPT_MAX:
                raise InvalidInput(f"{month:%Y-%m} is more than {MONTHS_KEPT_MAX // 12} years ago")
            units = _units(cells["units"])
            before = first.setdefault((key, month), row)
            if before != row:
                raise InvalidInput(f"{key.text} {month:%Y-%m} stands in row {before} too")
            found.append(DemandRow(row=row, key=key, month=month, units=units))
        except InvalidInput as error:
            problems.append(f"row {row}: {error.message}")
    _refuse(problems, hint="nothing was taken; mend the table and import it again")
    if not found:
        raise InvalidInput("the table has no rows", hint=f"columns: {','.join(DEMAND_COLUMNS)}")
    return found


def read_signals(text: str, catalogue: Catalogue, *, today: date) -> list[SignalRow]:
    """Return the rows of a table of signals. Raises: InvalidInput, as `read_demand`."""
    problems: list[str] = []
    found: list[SignalRow] = []
    ids: dict[str, int] = {}
    for row, cells in _rows(text, SIGNAL_COLUMNS):
        try:
            month = _month(cells["month"])
            if (
                months_between(today, month) > MONTHS_AHEAD_MAX
                or months_between(month, today) > MONTHS_KEPT_MAX
            ):
                raise InvalidInput(f"no signal says anything of {month:%Y-%m}")
            if cells["kind"] not in KINDS:
                raise InvalidInput(f"there is no kind {cells['kind']!r}, one of {', '.join(KINDS)}")
            if not 0 < len(cells["id"]) <= NAME_CHARS_MAX:
                raise InvalidInput(f"an id of 1 to {NAME_CHARS_MAX} characters is needed")
            if ids.setdefault(cells["id"], row) != row:
                raise InvalidInput(f"id {cells['id']} stands in row {ids[cells['id']]} too")
            found.append(
                SignalRow(
                    row=row, id=cells["id"], kind=cells["kind"],
                    key=_key(cells, catalogue, sums=True), month=month, value=_value(cells),
                )
            )  # fmt: skip
        except InvalidInput as error:
            problems.append(f"row {row}: {error.message}")
    _refuse(problems, hint="nothing was taken; mend the table and send it again, its ids are known")
    if not found:
        raise InvalidInput("the table has no rows", hint=f"columns: {','.join(SIGNAL_COLUMNS)}")
    return found


def gaps(spans: Mapping[Key, tuple[date, int]], last: date) -> list[str]:
    """Return which series miss months, in words.

    Args:
        spans: first month and count of months, by series.
        last: the newest month of all series.
    """
    return [
        f"{key.text} has {count} of {whole} months from {first:%Y-%m} to {last:%Y-%m}"
        for key, (first, count) in sorted(spans.items())
        if count != (whole := months_between(first, last) + 1)
    ]


def _rows(text: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        head = tuple(cell.strip() for cell in next(reader, []))
        if set(head) != set(columns) or len(head) != len(columns):
            raise InvalidInput(
                f"the first row is {','.join(head)[:200] or 'empty'}", hint=f"columns: {','.join(columns)}"
            )
        for cells in reader:
            if not cells:
                continue
            if reader.line_num > ROWS_MAX:
                raise InvalidInput(f"more than {ROWS_MAX} rows", hint="import it in parts")
            if len(cells) != len(head):
                raise InvalidInput(
                    f"row {reader.line_num}: {len(cells)} cells, not {len(head)}", hint="nothing was taken"
                )
            yield reader.line_num, dict(zip(head, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        raise InvalidInput(f"row {reader.line_num}: {error}", hint="nothing was taken") from error


def _key(cells: Mapping[str, str], catalogue: Catalogue, *, sums: bool) -> Key:
    option, plant, region, model = (cells[name] for name in ("option", "plant", "region", "model"))
    every = {ALL} if sums else set()
    for name, value, known in (
        ("plant", plant, catalogue.plants), ("region", region, catalogue.regions),
        ("model", model, catalogue.options),
    ):  # fmt: skip
        if value not in known and value not in every:
            raise InvalidInput(
                f"there is no {name} {value[:NAME_CHARS_MAX]!r}, one of {', '.join(sorted(known))}"
            )
    offered = (
        catalogue.options[model]
        if model != ALL
        else {each for of in catalogue.options.values() for each in of}
    )
    if option and option not in offered:
        raise InvalidInput(
            f"{model} has no option {option[:NAME_CHARS_MAX]!r}, one of {', '.join(sorted(offered)) or 'none'}"
        )
    return Key(option, plant, region, model)


def _month(text: str) -> date:
    try:
        return date.fromisoformat(text if len(text) > len("2026-01") else f"{text}-01").replace(day=1)
    except ValueError:
        raise InvalidInput(f"{text[:20]!r} is no month, for example 2026-01") from None


def _units(text: str) -> int:
    if not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
        raise InvalidInput(f"{text[:20]!r} is no number of units")
    units = int(text[:20])
    if units < 0:
        raise InvalidInput(f"{units} units: demand is never below zero; take returns out before")
    if units > UNITS_MAX:
        raise InvalidInput(f"{units} units are more than {UNITS_MAX}")
    return units


def _value(cells: Mapping[str, str]) -> float:
    try:
        value = float(cells["value"])
    except ValueError:
        raise InvalidInput(f"{cells['value'][:20]!r} is no number") from None
    if not 0 <= value <= UNITS_MAX or not math.isfinite(value):
        raise InvalidInput(f"{value:g} is not between 0 and {UNITS_MAX}")
    if cells["kind"] == "take_rate" and value > 1:
        raise InvalidInput(f"a take rate is a share, {value:g} is more than 1")
    return value


def _refuse(problems: list[str], *, hint: str) -> None:
    if problems:
        more = len(problems) - PROBLEMS_SHOWN
        shown = "; ".join(problems[:PROBLEMS_SHOWN])
        raise InvalidInput(f"{shown}{f'; and {more} more' if more > 0 else ''}", hint=hint)


def elapsed_of(month: date, today: date) -> float:
    """Return how much of a month is over, 0 to 1."""
    days = (month_after(month, 1) - month).days
    return min(1.0, max(0.0, (today - month).days / days))
