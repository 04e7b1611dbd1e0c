"""How a campaign goes about it, on the command line: when vehicles may begin, who is served first, who is asked. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ringroad.cli.names import read_duration_s
from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.vehicle import PHASES
from ringroad.ship.plan import PRIORITY_MAX
from ringroad.ship.retry import ATTEMPTS_MAX

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
    click.option(
        "--soft", is_flag=True, help="Let the driver, or a device on DDI, decide when it is installed."
    ),
    click.option(
        "--download-only",
        is_flag=True,
        help="Store it in the vehicles; a later campaign installs it from there.",
    ),
    click.option("--consent", is_flag=True, help="Ask each driver first, unless they agreed to all updates."),
    click.option(
        "--consent-phase",
        "consent_phases",
        multiple=True,
        type=click.Choice(PHASES),
        help="Ask before this phase, instead of before download and install; may be repeated.",
    ),
    click.option(
        "--attempts",
        type=click.IntRange(2, ATTEMPTS_MAX),
        help="Try a vehicle so often whose update failed before anything was touched.",
    ),
    click.option(
        "--again-after",
        help="Wait so long after the first failure, for --attempts; twice as long after each.  [default: 10m]",
    ),
    click.option("--again-after-max", help="And never longer than this.  [default: 1d]"),
    click.option(
        "--recall",
        is_flag=True,
        help="An emergency: served first, in place of what waits; its approval is one of its own.",
    ),
)
_NAMES = (
    "hours",
    "quiet_hours",
    "time_zone",
    "priority",
    "recall",
    "soft",
    "download_only",
    "consent",
    "consent_phases",
    "attempts",
    "again_after",
    "again_after_max",
)

_WAITS = {"again_after": "first_s", "again_after_max": "last_s"}


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
    if asked["soft"] and asked["download_only"]:
        raise InvalidInput("--soft is about when to install, --download-only installs nothing")
    for urgency in ("soft", "download_only"):
        if asked[urgency]:
            body["urgency"] = urgency
    if asked["consent_phases"]:
        body |= {"consent": True, "consent_phases": [p for p in PHASES if p in asked["consent_phases"]]}
    waits = {name: asked[option] for option, name in _WAITS.items() if asked[option]}
    if asked["attempts"]:
        body["retry"] = {"attempts_max": asked["attempts"]} | {
            name: read_duration_s(text) for name, text in waits.items()
        }
    elif waits:
        raise InvalidInput("--again-after is part of trying again", hint="--attempts 3")
    if asked["hours"] or asked["quiet_hours"]:
        body["window"] = {
            "hours": list(asked["hours"]),
            "quiet": list(asked["quiet_hours"]),
            **({"time_zone": asked["time_zone"]} if asked["time_zone"] else {}),
        }
    elif asked["time_zone"]:
        raise InvalidInput("--time-zone is part of a window", hint="--hours 22:00-05:00")
    return body
