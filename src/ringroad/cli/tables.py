"""How lists and single things look on a terminal. Pure, but for the question what kind of terminal it is."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TextIO

TAIL_CHARS: Final = 8  # random characters of an id that are shown; the console shows the same
CELL_CHARS_MAX: Final = 60  # characters of one cell; the whole text is in `show` and in --json
NONE: Final = "-"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str = "nothing",
    whole: Collection[str] = (),
) -> str:
    """Lay out rows under column titles; numbers stand right. `whole`: columns that are typed from here, and never cut."""
    cells = [
        [
            " ".join(_text(value).split()) or NONE if title in whole else _cell(value)
            for title, value in zip(columns, row, strict=True)
        ]
        for row in rows
    ]
    if not cells:
        return empty
    right = [
        all(isinstance(text, str) and _is_number(text) for text in column)
        for column in zip(*cells, strict=True)
    ]
    widths = [max(len(title), *(len(row[index]) for row in cells)) for index, title in enumerate(columns)]
    return "\n".join(_line(row, widths, right) for row in ([title.upper() for title in columns], *cells))


def details(pairs: Iterable[tuple[str, object]]) -> str:
    """Lay out one thing, a line for each of its values; empty ones are left out."""
    shown = [(name, _text(value)) for name, value in pairs if value not in (None, "", [], {}, ())]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in shown)


def tail(identifier: str | None) -> str:
    """Return the end of one of our ids, enough to name it on the command line."""
    if not identifier:
        return NONE
    rest = identifier.rpartition("_")[2]
    return rest[-TAIL_CHARS:] if len(rest) == 26 else identifier


def when(text: str | None) -> str:
    """Return a time of the API for a table, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M") if text else NONE


def exactly(text: str | None) -> str:
    """Return a time of the API with seconds, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if text else NONE


def span(length: timedelta) -> str:
    """Return a length of time in at most two units."""
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def size(count: int) -> str:
    """Return bytes as a person reads them."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def problems(found: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the findings of a check, those that block first."""
    order = {"blocking": 0, "warning": 1}
    lines = []
    for each in sorted(found, key=lambda item: order.get(item["severity"], 2)):
        lines.append(f"{each['severity']:<9} {each['message']}  [{each['code']}]")
        if each.get("hint"):
            lines.append(f"{'':<9} hint: {each['hint']}")
    return "\n".join(lines)


def blocks(found: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a check found something that stops."""
    return any(each["severity"] == "blocking" for each in found)


def can_redraw(stream: TextIO) -> bool:
    """Say whether what was written to a stream can be written over: it is a terminal that moves its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = [
        text.rjust(width) if is_right else text.ljust(width)
        for text, width, is_right in zip(row, widths, right, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _cell(value: object) -> str:
    text = _text(value) or NONE
    text = " ".join(text.split()) or NONE
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…"


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(_text(item) for item in value)
        case _:
            return str(value)


def _is_number(text: str) -> bool:
    return text == NONE or text.replace(".", "", 1).replace("-", "", 1).isdigit()
