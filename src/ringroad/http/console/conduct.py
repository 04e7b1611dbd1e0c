"""How a campaign goes about it, on its page: when vehicles may begin, and what else its plan says of running. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import zip_longest
from typing import Any

from ringroad.kernel.hours import length_words, moment_words
from ringroad.kernel.plurals import counted
from ringroad.ship.retry import RETRY_WORDS

# What a vehicle is told, by the kind of its action.
TOLD = {"update": "update", "step": "step on the way", "rollback": "return"}


def state_told(kind: str, state: str) -> str:
    """Return the state of what a vehicle was told; a return that is done is told apart from an update that is."""
    return "went back" if (kind, state) == ("rollback", "installed") else state


_URGENCIES = {
    "forced": "forced: installed without delay",
    "soft": "soft: the driver, or a device on DDI, decides when",
    "download_only": "download only: a later campaign installs what is stored then",
}


def conduct_lines(document: Mapping[str, Any], *, whole: bool = False) -> list[tuple[str, str]]:
    """Return what a plan says of running, for a definition list; patient with documents of older versions.

    Args:
        document: of the plan.
        whole: also what it leaves at the default, so that whoever approves it reads all that they sign for.
    """
    request = document.get("request") or document
    asked = {name for name, default in _DEFAULTS.items() if request.get(name, default) != default}
    told = {name for name in _DEFAULTS if name in asked or (whole and name in request)}
    lines = []
    if "window" in told:
        lines += _window_lines(request["window"], whole=whole)
    if "late_joiners" in told:
        joins = request["late_joiners"] == "included"
        lines.append(("late joiners", "join by the same lot" if joins else "stay out"))
    if request.get("recall"):
        lines.append(("served", "as an emergency recall, before all others and in place of what waits"))
    elif "priority" in told:
        last = "" if request["priority"] else ", after campaigns with a higher one"
        lines.append(("served", f"with priority {request['priority']}{last}"))
    if "urgency" in told:
        lines.append(("urgency", _URGENCIES[request["urgency"]]))
    if request.get("consent"):
        phases = ", ".join(request.get("consent_phases") or ("download", "install"))
        lines.append(("consent", f"each driver is asked first, unless they agreed to all updates: {phases}"))
    elif "consent" in told:
        lines.append(("consent", "no driver is asked"))
    if "retry" in told:
        lines.append(("attempts", _attempts(request["retry"])))
    if whole and "vehicle_deadline_s" in request:
        deadline = length_words(request["vehicle_deadline_s"])
        lines.append(
            ("deadline", f"{deadline} after its offer; without an outcome by then a vehicle is silent")
        )
    if whole and "rollback_installed" in request:
        back = (
            "are told to return"
            if request["rollback_installed"]
            else "stay on it until they are ordered back"
        )
        lines.append(("after a halt", f"vehicles that have it {back}"))
    return lines


def harmed_words(ramp: Mapping[str, Any]) -> str:
    """Return of whom a plan's budget of harm counts; patient with documents of older versions."""
    return "of all that began" if ramp.get("counts") == "whole_campaign" else "in flight"


# What a plan says that asks for nothing else; None where that is the default.
_DEFAULTS: Mapping[str, Any] = {
    "window": None, "late_joiners": "frozen", "priority": 0, "urgency": "forced", "consent": False, "retry": None,
}  # fmt: skip


def approval_lines(document: Mapping[str, Any], gate: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return everything that whoever approves a plan signs for; patient with documents of older versions.

    Args:
        document: of the plan.
        gate: what its gate asks for, from `gate_lines`.
    """
    counts, request = document.get("counts") or {}, document.get("request") or document
    ramp, held = request.get("ramp"), counts.get("control", 0)
    paced = (
        f"a budget of harm, {ramp['harmed_first']}-{ramp['harmed_last']} {harmed_words(ramp)}"
        if ramp
        else f"waves {waves_line(document)}"
    )
    rules = "; ".join(f"{name}: {value}" for name, value in gate)
    return [
        ("query", str(request.get("query"))),
        ("takes in", f"{counted(counts.get('match', 0), 'vehicle')}, {paced}"),
        ("control group", f"{counted(held, 'vehicle', 'are')} held back" if held else "none"),
        *([("gate", rules)] if rules else []),
        *conduct_lines(document, whole=True),
    ]


def _window_lines(window: Mapping[str, Any] | None, *, whole: bool) -> list[tuple[str, str]]:
    if window is None:
        return [("may begin", "at any time"), ("quiet hours", "none")]
    if not whole:
        return [("may begin", window_words(window))]
    return [
        ("may begin", window_words({**window, "quiet": ()})),
        ("quiet hours", ", ".join(window["quiet"]) or "none"),
    ]


def _attempts(retry: Mapping[str, Any] | None) -> str:
    if retry is None:
        return "1; a vehicle that failed is not tried again"
    first, last = length_words(retry["first_s"]), length_words(retry["last_s"])
    return f"{retry['attempts_max']}, after {first}, doubling up to {last}: {', '.join(RETRY_WORDS.get(each, each) for each in retry['reasons'])}"


def window_words(window: Mapping[str, Any]) -> str:
    """Return a window as one line: ``mon-fri 22:00-05:00, not sun 00:00-24:00; Europe/Oslo where not known``."""
    hours = ", ".join(window["hours"]) or "always"
    quiet = "".join(f", not {span}" for span in window["quiet"])
    return f"{hours}{quiet}, by the vehicle's clock; {window['time_zone']} where that is not known"


def waves_line(document: Mapping[str, Any]) -> str:
    """Return ``10 + 90 from 2027-01-11 08:00 UTC``: vehicles of each wave, and from when on if it has a date."""
    sizes = document.get("wave_vehicles") or ["?"]
    asked = (document.get("request") or {}).get("waves") or ()
    dates = [each.get("not_before") for each in asked][: len(sizes)]
    return " + ".join(
        f"{vehicles} from {moment_words(datetime.fromisoformat(at))}" if at else str(vehicles)
        for vehicles, at in zip_longest(sizes, dates)
    )
