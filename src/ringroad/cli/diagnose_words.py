"""What the commands of `ringroad diagnose` share: where a place of the tree is, and how an answer is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import click

from ringroad.cli.errors import EXIT_WAITING
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly

SINCE_1970: Final = "s since 1970"  # a unit of the vehicle's snapshots
UNIX_S_MAX: Final = 2**32  # s


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
