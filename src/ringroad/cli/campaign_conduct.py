"""How a campaign goes about it, on the command line: when vehicles may begin, who is served first, who is asked. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.plan import PRIORITY_MAX

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--hours", multiple=True, help="When a vehicle may begin, by its own clock: 'mon-fri 22:00-05:00'."
    ),
    click.option("--quiet-hours", multiple=True, help="When it may not, all the same: 'sun 00:00-24:00'."),
    click.option("--time-zone", help="Of vehicles whose own is not known.  [default: UTC]"),
    click.option(
        "--priority",
        type=click.IntRange(0, PRIORITY_MAX),
        help="Where campaigns share vehicles, the higher is served first.  [default: 0]",
    ),
    click.option("--soft", is_flag=True, help="Let a device on DDI decide when it downloads and installs."),
    click.option("--consent", is_flag=True, help="Ask each driver first, unless they agreed to all updates."),
    click.option(
        "--recall",
        is_flag=True,
        help="An emergency: served first, in place of what waits; its approval is one of its own.",
    ),
)
_NAMES = ("hours", "quiet_hours", "time_zone", "priority", "recall", "soft", "consent")


def conducted(command: F) -> F:
    """Add the options to a command; they arrive as keywords for `conduct_body`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def conduct_body(given: dict[str, Any]) -> dict[str, Any]:
    """Take the options out of `given`, and return what they ask of a plan.

    Raises:
        InvalidInput: an option needs another one.
    """
    asked = {name: given.pop(name) for name in _NAMES}
    body: dict[str, Any] = {name: asked[name] for name in ("priority", "recall", "consent") if asked[name]}
    if asked["soft"]:
        body["urgency"] = "soft"
    if asked["hours"] or asked["quiet_hours"]:
        body["window"] = {
            "hours": list(asked["hours"]),
            "quiet": list(asked["quiet_hours"]),
            **({"time_zone": asked["time_zone"]} if asked["time_zone"] else {}),
        }
    elif asked["time_zone"]:
        raise InvalidInput("--time-zone is part of a window", hint="--hours 22:00-05:00")
    return body
