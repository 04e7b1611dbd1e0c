"""Whether the hours that fleets set for their vehicles leave a campaign's plan any time. Pure.

A vehicle is told of an update where its own hours and the campaign's window are both open. Where that is never for long
enough, it is told nothing and would count as silent, though nobody is at fault but the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from ringroad.kernel.hours import OwnHours, length_words, longest_wait_s
from ringroad.kernel.plurals import counted
from ringroad.ship.model import PlanFinding, Severity
from ringroad.ship.plan import Plan

LOOKED_AT_MAX = 500  # different hours, those of most vehicles first; a maker's fleets have a few each


def check_own_hours(plan: Plan, own: Mapping[OwnHours, int]) -> list[PlanFinding]:
    """Find vehicles whose own hours leave no time for the installation, or that are put off.

    Hours of a vehicle and of the campaign are laid over each other as if by one clock, which is the vehicle's own
    wherever that is known.

    Args:
        plan: that is checked.
        own: how many of its vehicles have which hours.
    """
    request, install_s = plan.request, plan.install_s_estimate
    windows = (request.window,) if request.window is not None else ()
    shut: list[tuple[int, OwnHours]] = []
    late: list[tuple[int, OwnHours]] = []
    for hours, vehicles in own.items():
        wait_s = longest_wait_s(hours, *windows, needed_s=install_s)
        if wait_s is None or request.vehicle_deadline_s < wait_s + install_s:
            shut.append((vehicles, hours))
        elif not request.recall and _is_put_off(plan, hours):
            late.append((vehicles, hours))
    findings = []
    if shut:
        findings.append(
            PlanFinding(
                severity=Severity.WARNING,
                code="own_hours_no_time",
                message=f"the hours that their fleets set leave {counted(sum(each for each, _ in shut), 'vehicle')} no time for an"
                f" installation of {length_words(install_s)} within their deadline, for example {_words(shut)}: they would count as"
                " silent",
                hint="give more time, leave them out, or ask their fleets for other hours: ringroad fleet hours --all",
            )
        )
    if late:
        findings.append(
            PlanFinding(
                severity=Severity.INFO,
                code="own_hours_put_off",
                message=f"{counted(sum(each for each, _ in late), 'vehicle', 'are')} put off by their fleets; whoever still is at the"
                " deadline is let go",
            )
        )
    return findings


def _is_put_off(plan: Plan, hours: OwnHours) -> bool:
    ends = plan.facts_as_of + timedelta(seconds=plan.request.vehicle_deadline_s)
    return hours.not_before is not None and ends < hours.not_before


def _words(found: list[tuple[int, OwnHours]]) -> str:
    _, hours = max(found, key=lambda each: each[0])
    return ", ".join([*hours.hours, *(f"not {span}" for span in hours.quiet)])
