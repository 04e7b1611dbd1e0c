"""Read car-sequencing instances of CSPLib, problem 001.

A file holds one instance, or many under headings ``# Problem NAME``. An instance is: cars, options, classes;
then p of each option and q of each option, which older instances leave out; then a row for each class: its
number, how many cars, and 1 or 0 for each option.

Pure: text in, problems out.

Source: CSPLib prob001, data format; the capacities left out are those named at the head of its data file.
"""

from __future__ import annotations

import re
from typing import Final

from ringroad.build.model import Ratio
from ringroad.build.sequence.problem import CARS_MAX, RATIOS_MAX, Car, Level, Problem
from ringroad.kernel.errors import InvalidInput

FILE_BYTES_MAX: Final = 4 * 1024**2  # bytes; all published instances together have 50 kB
INSTANCES_MAX: Final = 1_000  # per file; the largest has 79
CLASSES_MAX: Final = CARS_MAX
_P_LEFT_OUT: Final = (1, 2, 1, 2, 1)
_Q_LEFT_OUT: Final = (2, 3, 3, 5, 5)
_HEADING: Final = re.compile(r"#\s*Problem\s+(\S+)", re.IGNORECASE)

Row = tuple[int, list[int]]  # line number, numbers


def read_csplib(text: str, *, name: str = "instance") -> dict[str, Problem]:
    """Return the instances of a file by name.

    Args:
        text: of the file.
        name: of an instance without a heading.

    Raises:
        InvalidInput: what is wrong, with its line.
    """
    if len(text) > FILE_BYTES_MAX:
        raise InvalidInput(f"the file is larger than {FILE_BYTES_MAX} bytes")
    blocks: dict[str, list[Row]] = {}
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines(), 1):
        heading = _HEADING.match(line)
        if heading:
            if heading[1] in blocks:
                raise InvalidInput(f"line {number}: problem {heading[1]} stands twice")
            rows = blocks.setdefault(heading[1], [])
        elif line.strip() and line.lstrip()[0].isdigit():
            if not blocks:
                blocks[name] = rows
            rows.append((number, _numbers(line, number)))
        elif line.strip() and blocks and not line.startswith("#"):
            raise InvalidInput(f"line {number}: neither numbers nor a comment: {line.strip()[:40]!r}")
    if not blocks:
        raise InvalidInput("the file has no instance", hint="an instance starts with: cars options classes")
    if len(blocks) > INSTANCES_MAX:
        raise InvalidInput(f"{len(blocks)} instances, limit {INSTANCES_MAX}")
    return {title: _instance(title, block) for title, block in blocks.items()}


def _numbers(line: str, number: int) -> list[int]:
    try:
        return [int(word) for word in line.split()]
    except ValueError as error:
        raise InvalidInput(f"line {number}: whole numbers only, found {line.strip()[:40]!r}") from error


def _instance(name: str, rows: list[Row]) -> Problem:
    if not rows or len(rows[0][1]) != 3:
        where = f"line {rows[0][0]}" if rows else f"problem {name}"
        raise InvalidInput(f"{where}: an instance starts with three numbers: cars options classes")
    (line, (cars, options, classes)), *rest = rows
    if not (1 <= cars <= CARS_MAX and 1 <= options <= RATIOS_MAX and 1 <= classes <= CLASSES_MAX):
        raise InvalidInput(
            f"line {line}: {cars} cars, {options} options, {classes} classes; limits {CARS_MAX}, {RATIOS_MAX}, {CLASSES_MAX}"
        )
    p, q, rest = _capacities(line, options, rest)
    if len(rest) != classes:
        raise InvalidInput(f"line {line}: {classes} classes are announced, {len(rest)} follow")
    made: list[Car] = []
    for number, row in rest:
        if len(row) != options + 2 or row[1] < 0 or set(row[2:]) - {0, 1}:
            raise InvalidInput(
                f"line {number}: a class has its number, its cars, and 0 or 1 for {options} options"
            )
        features = frozenset(str(option) for option, has in enumerate(row[2:]) if has)
        if cars < len(made) + row[1]:
            raise InvalidInput(f"line {number}: more than the {cars} cars that line {line} announces")
        made += [Car(id=f"{row[0]}.{index}", features=features) for index in range(row[1])]
    if len(made) != cars:
        raise InvalidInput(f"line {line}: {cars} cars are announced, the classes have {len(made)}")
    return Problem(
        cars=tuple(made),
        ratios=tuple(Ratio(option=str(option), p=p[option], q=q[option]) for option in range(options)),
        order=(Level.RATIOS,),
    )


def _capacities(line: int, options: int, rest: list[Row]) -> tuple[list[int], list[int], list[Row]]:
    """Return p and q of each option and the rows of the classes."""
    if len(rest) < 2 or any(len(row) != options for _, row in rest[:2]):
        if options != len(_P_LEFT_OUT):
            raise InvalidInput(f"line {line}: two rows with p and q of the {options} options are missing")
        return list(_P_LEFT_OUT), list(_Q_LEFT_OUT), rest
    (number, p), (_, q), *classes = rest
    for option in range(options):
        if not 1 <= p[option] <= q[option]:
            raise InvalidInput(
                f"line {number}: option {option} has ratio {p[option]}/{q[option]}, which is no limit"
            )
    return p, q, classes
