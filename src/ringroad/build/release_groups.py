"""Do the update groups cover exactly what the release touches, in an order that exists?

Invariant: an order with a cycle, a gap or an unknown name never passes.
"""

# ruff: noqa: PERF401 - one append per rule reads as the rule; the lists are short
from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ringroad.build.model import Problem, Programme, Severity


def check_groups(programme: Programme, document: Mapping[str, Any]) -> list[Problem]:
    """Check groups and their order; the document's shape must have passed."""
    groups: Sequence[Mapping[str, Any]] = document["groups"]
    touched = {ecu for ecus in document["variants"].values() for ecu in ecus}
    found: list[Problem] = []
    seen: dict[str, str] = {}
    names = [group["name"] for group in groups]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.append(_blocking("group_twice", f"two groups are called {name!r}"))
    for group in groups:
        if not group["ecus"]:
            found.append(_blocking("group_empty", f"group {group['name']!r} has no ECU"))
        for ecu in group["ecus"]:
            if ecu in seen:
                found.append(
                    _blocking("group_overlap", f"{ecu} is in group {seen[ecu]!r} and in {group['name']!r}")
                )
            elif ecu not in touched:
                found.append(
                    _blocking(
                        "group_untouched", f"group {group['name']!r} names {ecu!r}, which gets no package"
                    )
                )
            seen[ecu] = group["name"]
        for other in group.get("after", []):
            if other not in names:
                found.append(
                    _blocking(
                        "group_unknown", f"group {group['name']!r} is after {other!r}, which is no group"
                    )
                )
    for ecu in sorted(touched - set(seen)):
        found.append(_blocking("group_missing", f"{ecu} gets a package but is in no group"))
    if not found:
        found += _check_order(groups) or _check_primary(programme, groups)
    return found


def _check_order(groups: Sequence[Mapping[str, Any]]) -> list[Problem]:
    sorter = TopologicalSorter({group["name"]: group.get("after", []) for group in groups})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " after ".join(reversed(error.args[1]))
        return [_blocking("group_cycle", f"the groups wait for each other: {circle}")]
    return []


def _check_primary(programme: Programme, groups: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """The Primary carries the update, so its own image should come last."""
    found: list[Problem] = []
    for group in groups:
        primaries = [ecu for ecu in group["ecus"] if ecu in programme.ecus and programme.ecus[ecu].primary]
        later = [other["name"] for other in groups if group["name"] in other.get("after", [])]
        if primaries and (later or any(ecu not in primaries for ecu in group["ecus"][-1:])):
            found.append(
                Problem(
                    severity=Severity.WARNING,
                    code="primary_not_last",
                    message=f"{primaries[0]} is the Primary and is not installed last",
                    hint="put it at the end of the last group",
                )
            )
    return found


def _blocking(code: str, message: str) -> Problem:
    return Problem(severity=Severity.BLOCKING, code=code, message=message)
