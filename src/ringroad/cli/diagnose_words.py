"""What the commands of `ringroad diagnose` share: where a place of the tree is, and how an answer is shown."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import click
import msgspec

from ringroad.cli.errors import EXIT_WAITING
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table
from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.diagnostics import MODE_S_MAX, MODE_VALUES, BulkChunk

SINCE_1970: Final = "s since 1970"  # a unit of the vehicle's snapshots
UNIX_S_MAX: Final = 2**32  # s
BY_WORDS: Final = frozenset({"status", "flags"})  # of a fault, which its words say


def tree(vin: str, *parts: str) -> str:
    """Return the place of a vehicle's tree, for the client."""
    return f"/vehicles/{vin}/diagnostics/" + "/".join(quote(part, safe="") for part in parts)


def show_answer(shell: Shell, found: Mapping[str, Any], text: Any) -> None:
    """Show an answer. A request that its vehicle has not answered is shown as that, and ends the command with `EXIT_WAITING`."""
    if "session_id" in found and "tries" in found:
        until = exactly(found["expires_at"])
        later = f"ringroad diagnose jobs {found['vin']} --show {found['id']}"
        if found["state"] == "queued":
            shell.show(
                found,
                text=f"waiting: the vehicle has not answered yet; it is asked until {until}\nask again with {later}",
            )
        else:
            shell.show(found, text=f"the request is {found['state']}; the vehicle has not answered")
        click.get_current_context().exit(EXIT_WAITING)
    shell.show(found, text=text())


def measured(each: Mapping[str, Any]) -> str:
    """Return a value of a snapshot with its unit; a time as one."""
    value = each["value"]
    if each["unit"] == SINCE_1970 and isinstance(value, int) and 0 <= value < UNIX_S_MAX:
        return f"{datetime.fromtimestamp(value, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{value} {each['unit']}".strip()


def frames_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each fault of a history: the signals of its freeze frame."""
    told = []
    for row in rows:
        frame = [f"{path.removeprefix('Vehicle.')} {value}" for path, value in sorted(row["frame"].items())]
        told.append(f"{row['ecu']} {row['code']}: {', '.join(frame) or 'no signals were told with it'}")
    return "\n".join(told)


def mode_problem(vin: str, ecu: str, mode: str, value: str, seconds: int) -> InvalidInput | None:
    """Return what is wrong with what a mode shall be, before anybody is asked."""
    values = MODE_VALUES[mode]
    if value not in values:
        hint = f"ringroad diagnose mode {vin} {ecu} {mode} {values[1]}"
        return InvalidInput(f"{mode} is {' or '.join(values)}, not {value[:40]!r}", hint=hint)
    if not 1 <= seconds <= MODE_S_MAX:
        said = f"--seconds is {seconds}: a mode holds for 1 to {MODE_S_MAX} seconds"
        return InvalidInput(said, hint="set it again before its time is over")
    return None


def answer_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return what a vehicle answered, as a person reads it: a line for each value that there is, a table for a list."""
    if isinstance(refused := answer.get("error"), Mapping):
        said = [f"refused: {refused.get('message')}  [{refused.get('code')}]"]
        return [*said, *([f"hint: {refused['hint']}"] if refused.get("hint") else [])]
    if (piece := _piece(answer)) is not None:
        return piece
    lines = []
    for key, value in answer.items():
        name = key.replace("_", " ")
        if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            lines += [f"{name}:", *(f"  {line}" for line in _rows(value).splitlines())]
        elif value == [] and key in {"items", "left"}:
            lines.append(f"{name}: none")
        elif isinstance(value, Mapping) and any(isinstance(each, Mapping | list) for each in value.values()):
            lines += [f"{name}:", *(f"  {line}" for line in answer_lines(value))]
        elif value not in (None, "", [], {}):
            lines.append(f"{name}: {_shown(value)}")
    return lines


def _piece(answer: Mapping[str, Any]) -> list[str] | None:
    """Return the lines of a piece of bulk data, None where the answer is none."""
    try:
        chunk = msgspec.convert(answer, BulkChunk)
        content = base64.b64decode(chunk.data, validate=True)
    except (msgspec.ValidationError, ValueError):
        return None
    told = (
        f"{chunk.category} {chunk.id}: bytes {chunk.offset} to {chunk.offset + len(content)} of {chunk.size}"
    )
    return [told, *content.decode(errors="replace").splitlines()]


def _rows(items: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        {key: each for key, each in row.items() if "words" not in row or key not in BY_WORDS} for row in items
    ]
    columns = [
        key
        for key in dict.fromkeys(key for row in rows for key in row)
        if any(row.get(key) not in (None, "", [], {}) for row in rows)
    ]
    titles = [key.replace("_", " ") for key in columns]
    return table(titles, ([_shown(row.get(key)) for key in columns] for row in rows), whole=titles)


def _shown(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return ""
        case str():
            return _time(value)
        case Mapping() if len(value) > 1 and all(isinstance(each, bool) for each in value.values()):
            return ", ".join(key for key, each in value.items() if each)
        case Mapping():
            return ", ".join(f"{key.replace('_', ' ')} {_shown(each)}" for key, each in value.items())
        case list():
            return ", ".join(_shown(each) for each in value)
        case _:
            return str(value)


def _time(text: str) -> str:
    """Return a text of the API; a time as one."""
    if "T" not in text[10:11]:
        return text
    try:
        return exactly(text) if datetime.fromisoformat(text).tzinfo else text
    except ValueError:
        return text
