"""Reasons of gates, campaigns and vehicles in words, for a person. Pure; the one place where they have words.

What people wrote stays as they wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, get_args

from ringroad.protocol.vehicle import VehicleState

HARMED_ELSEWHERE: Final = "release_harmed_elsewhere"  # and behind a colon the campaign in which it did
BUDGET_SPENT: Final = "budget_spent"  # by harm that is proved, or that nothing bounds from above
BUDGET_UNPROVED: Final = "budget_spent_unproved"  # by what cannot be excluded, of all that began
UNKNOWN_FOR_GOOD: Final = "not_known_for_good"  # and behind a colon the metric
FOR_GOOD: Final = frozenset(  # reasons to wait that nothing can end: no vehicle is left to report
    {"too_few_reports_for_good", "too_many_silent_for_good", "evidence_too_old_for_good", UNKNOWN_FOR_GOOD}
)
METRIC_WORDS: Final[Mapping[str, str]] = {
    "install_failed": "failed installations",
    "rolled_back": "roll-backs",
    "fault": "faults",
    "silence": "silence",
    "boot_loop": "boot loops",
    "boot_time": "boot time",
    "energy": "energy",
    "budget_spent": "the budget is spent",
}
GATE_WORDS: Final[Mapping[str, str]] = {
    "release_withdrawn": "the release was withdrawn",
    "release_harmed_elsewhere": "its release did harm in another campaign",
    "worse_than_control": "worse than the control group",
    "worse_than_before": "worse than past installations",
    "too_many_failures": "too many failures",
    "reports_waiting": "reports wait to be counted",
    "contradictory_evidence": "the evidence contradicts itself",
    "empty_wave": "the wave has no vehicles",
    "evidence_from_the_future": "evidence from the future, so a clock is wrong",
    "too_few_reports": "too few outcomes yet",
    "too_few_reports_for_good": "too few outcomes, and no vehicle of the wave is left to bring more",
    "too_many_silent": "too many have not answered",
    "too_many_silent_for_good": "too many never answered",
    "soaking": "the new software has not run for long enough yet",
    "evidence_too_old": "the newest report is too old",
    "evidence_too_old_for_good": "the newest report is too old, and no vehicle of the wave is left to bring a newer one",
    "silence_accepted": "an approver goes on without the outcomes that never came",
    "wave_let_go": "all of the wave were let go",
    "before_its_time": "its time has not come",
    "its_time_came": "its time has come",
    "outcomes_awaited": "outcomes are awaited",
    "no_reading": "nothing was compared yet",
    "reading_too_old": "the newest comparison is too old",
    "budget_in_flight": "the budget of harm is in flight",
    "budget_spent": "the budget of harm is spent by failures that the update is proved to have caused",
    "budget_spent_unproved": "no more may begin within the budget of harm: so much is not proved, and cannot be excluded",
    "harm_seen": "more harm than is accepted",
    "watching": "the newest update is still watched",
    "not_known": "not known yet",
    "telemetry_silent": "telemetry is silent",
    "not_known_for_good": "not known, and no vehicle is watched any more of which something could be",
    "unknown_accepted": "an approver goes on without what is not known",
    "few_began": "few began what they were offered",
    "control_too_small": "too few of the control group are left",
}
# What a vehicle names; any other of its codes says itself with spaces.
CODE_WORDS: Final[Mapping[str, str]] = {
    "blocked": "it begins nothing",
    "downgrade_undecided": "older than what runs, without a signed decision",
    "counter_too_low": "its release counter is too low",
    "rollback": "its release counter is too low",
    "upgrades_from": "not over what runs",
    "requires": "what it requires is missing",
    "conflicts": "it conflicts with what runs",
    "no_backup": "no way back",
    "offline": "no network",
    "slow_retrieval": "the download is too slow",
    "restarts": "the vehicle restarted again and again",
    "freeze": "the metadata had expired",
    "precondition": "a precondition does not hold",
    "unreachable": "an ECU does not answer",
    "busy": "an ECU is busy",
    "quiet_hours": "its quiet hours",
    "ecu_locked": "a workshop holds the lock of an ECU",
    "consent": "waits for its driver",
    "postponed": "put off by its driver",
}
VERDICT_WORDS: Final[Mapping[str, str]] = {
    "already_installed": "already installed",
    "mismatch": "does not fit",
    "unknown": "not known well enough",
    "changed_elsewhere": "changed by something else than a campaign",
    "release_counter": "the release counter of what runs is higher",
    "upgrades_from": "not over what runs",
    "variant_not_in_release": "the release has nothing for the variant",
    "consent_denied": "consent denied",
    "no_ecu": "it has no such ECU",
}
_CODE: Final = re.compile(r"[a-z]+(?:_[a-z]+)+")
_STATES: Final = "|".join(sorted(get_args(VehicleState), key=len, reverse=True))
_SAID: Final = re.compile(rf"^({_STATES})( \d+ %)?(?: ([a-z]+(?:_[a-z]+)*)(?= |$))?")
_BLOCKED: Final = re.compile(r"^generation \d+ of its plan is blocked: [a-z_, ]+; plan again$")
_WITHDRAWN: Final = "campaign halted: "
_BESIDE: Final = "; the vehicle said "


def reason_words(text: str) -> str:
    """Return in words why a gate decided, why a campaign is in its state, or what an update's detail says.

    Args:
        text: as it is kept: of a code, with or without what it is about, a vehicle's own words, or a person's.
    """
    if text.startswith(_WITHDRAWN):
        return _WITHDRAWN + reason_words(text.removeprefix(_WITHDRAWN))
    head, colon, rest = text.partition(": ")
    if head in GATE_WORDS:
        rest = f"not before {rest}" if head == "before_its_time" else rest
        rest = rest if head in (HARMED_ELSEWHERE, "before_its_time") else _metric(rest)
        return f"{GATE_WORDS[head]}: {rest}" if colon else GATE_WORDS[head]
    verdict, beside, said = text.partition(_BESIDE)
    head, colon, rest = verdict.partition(": ")
    if head in VERDICT_WORDS:
        words = f"{VERDICT_WORDS[head]}: {reason_words(rest)}" if colon else VERDICT_WORDS[head]
        return f"{words}{_BESIDE}{reason_words(said)}" if beside else words
    if _CODE.fullmatch(text) or _BLOCKED.fullmatch(text):
        return text.replace("_", " ")
    return _SAID.sub(_vehicle, text)


def is_for_good(reason: str) -> bool:
    """Tell whether a campaign's reason is one of a gate that waits for what nothing can bring."""
    return reason.partition(": ")[0] in FOR_GOOD


def is_budget_spent(reason: str) -> bool:
    """Tell whether a campaign's reason is a budget of harm that is spent, by harm that is proved or not excluded."""
    return reason in (BUDGET_SPENT, BUDGET_UNPROVED)


def is_harm_elsewhere(reason: str) -> bool:
    """Tell whether a campaign's reason is harm that its release did in another one."""
    return reason.partition(": ")[0] == HARMED_ELSEWHERE


def metric_words(name: str) -> str:
    """Return a metric of the gate in words; one that is not known here with spaces."""
    return METRIC_WORDS.get(name, name.replace("_", " "))


def _metric(text: str) -> str:
    """Return ``install_failed`` or ``fault in premium/SE`` in words."""
    name, among, stratum = text.partition(" in ")
    return f"{metric_words(name)}{among}{stratum}"


def _vehicle(match: re.Match[str]) -> str:
    state, percent, code = match.groups(default="")
    said = f"{state.lower().replace('_', ' ')}{percent}"
    rest = match.string[match.end() :]
    if code == state.lower():  # ROLLBACK_FAILED rollback_failed
        return f"{said}:" if rest.strip() else said
    if code and (code in CODE_WORDS or "_" in code):
        colon = ":" if rest.strip() else ""
        return f"{said}: {CODE_WORDS.get(code, code.replace('_', ' '))}{colon}"
    return f"{said} {code}" if code else said
