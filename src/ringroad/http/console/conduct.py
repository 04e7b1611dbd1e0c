"""How a campaign goes about it, on its page: when vehicles may begin, and what else its plan says of running. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ringroad.http.console.render import span

# What a vehicle is told, by the kind of its action.
TOLD = {"update": "update", "step": "step on the way", "rollback": "return"}


def state_told(kind: str, state: str) -> str:
    """Return the state of what a vehicle was told; a return that is done is told apart from an update that is."""
    return "went back" if (kind, state) == ("rollback", "installed") else state


_URGENCIES = {
    "soft": "soft: the driver, or a device on DDI, decides when",
    "download_only": "download only: a later campaign installs what is stored then",
}


def conduct_lines(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a plan says of running, for a definition list; patient with documents of older versions."""
    request = document.get("request") or document
    lines = []
    if window := request.get("window"):
        lines.append(("may begin", window_words(window)))
    if request.get("late_joiners") == "included":
        lines.append(("late joiners", "join by the same lot"))
    if request.get("recall"):
        lines.append(("served", "as an emergency recall, before all others and in place of what waits"))
    elif request.get("priority"):
        lines.append(("served", f"with priority {request['priority']}"))
    if request.get("urgency", "forced") != "forced":
        lines.append(("urgency", _URGENCIES[request["urgency"]]))
    if request.get("consent"):
        phases = ", ".join(request.get("consent_phases") or ("download", "install"))
        lines.append(("consent", f"each driver is asked first, unless they agreed to all updates: {phases}"))
    if retry := request.get("retry"):
        first, last = (span(timedelta(seconds=retry[name])) for name in ("first_s", "last_s"))
        lines.append(
            (
                "attempts",
                f"{retry['attempts_max']}, after {first}, doubling up to {last}: {', '.join(retry['reasons'])}",
            )
        )
    return lines


def window_words(window: Mapping[str, Any]) -> str:
    """Return a window as one line: ``mon-fri 22:00-05:00, not sun 00:00-24:00; Europe/Oslo where not known``."""
    hours = ", ".join(window["hours"]) or "always"
    quiet = "".join(f", not {span}" for span in window["quiet"])
    return f"{hours}{quiet}, by the vehicle's clock; {window['time_zone']} where that is not known"
