"""Check a campaign plan: findings that block, warn or inform. Pure.

Not the planner: it judges the finished plan and facts the planner does not know, so that a fault in one
is seen by the other.

Invariant: a plan with a blocking finding never becomes current.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ringroad.kernel.hours import OwnHours, length_words, longest_s, longest_wait_s
from ringroad.kernel.plurals import counted
from ringroad.ship.calendar import check_calendar, shortest_s
from ringroad.ship.claims import check_success
from ringroad.ship.control import check_control
from ringroad.ship.goes_back import check_goes_back, check_rollback
from ringroad.ship.model import PlanFinding, ReleaseFacts, Severity
from ringroad.ship.own_hours import check_own_hours
from ringroad.ship.plan import VERDICTS, Plan, PlanRequest
from ringroad.ship.reach import check_budget
from ringroad.ship.reason_words import reason_words
from ringroad.ship.resolve import Verdict
from ringroad.ship.unheard import Unheard, check_unheard

WAVE_1_PERMILLE_MAX = 100  # a first wave larger than a tenth of the fleet is hardly a trial
WAVE_1_VEHICLES_FREE = 20  # vehicles; a first wave this small is never too large
REPORTS_PER_WAVE_MIN = 10  # vehicles of a wave per outcome that is asked for; a tenth of it must have told
REASONS_NAMED_MAX = 10  # reasons per finding
HALTED_BEFORE = "release_halted_before"
HALTED_HINT = "ringroad campaign evidence {} says what it did; mend it and ship a newer release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """The plan's vehicles as they were written: counted again, not taken from the planner."""

    verdicts: Mapping[Verdict, int] = field(default_factory=dict)
    waves: Mapping[int, int] = field(default_factory=dict)  # matches by wave
    strangers: int = 0  # in a wave without being a match, or with a place in the lot and no part
    places: int = 0  # different places in the lot


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltedBefore:
    """A campaign of the same release that its gate halted for harm, or that was aborted while it saw harm."""

    campaign_id: str
    name: str
    reason: str
    at: datetime | None
    aborted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFacts:
    """What else is true while the plan is checked. Vehicles, by campaign."""

    open_elsewhere: Mapping[str, int] = field(default_factory=dict)  # in campaigns that are under way
    held_elsewhere: Mapping[str, int] = field(default_factory=dict)  # in control groups of such campaigns
    level_of: Mapping[str, int] = field(default_factory=dict)  # of those campaigns; 0 where it is not named
    name_of: Mapping[str, str] = field(default_factory=dict)  # of the same; the id where it is not known
    cancelling_elsewhere: Mapping[str, int] = field(default_factory=dict)  # answer to a cancel is awaited
    expires: Mapping[str, datetime] = field(
        default_factory=dict
    )  # metadata that offline keys sign, by its name
    certificates: Mapping[str, datetime] = field(default_factory=dict)  # that vehicles trust, by its name
    certificates_ending: int = 0  # vehicles whose own certificate ends before the campaign can be over
    dealt: Dealt = field(default_factory=Dealt)
    own_hours: Mapping[OwnHours, int] = field(
        default_factory=dict
    )  # that fleets set for vehicles of the plan
    halted_before: Sequence[HaltedBefore] = ()  # the newest first
    unheard: Unheard = field(default_factory=Unheard)
    skip_unknown: int = 0  # DDI devices in the plan that never said that they honour skip

    def name(self, campaign_id: str) -> str:
        """Return what people call another campaign."""
        return self.name_of.get(campaign_id) or campaign_id


def check_plan(plan: Plan, release: ReleaseFacts, facts: CheckFacts) -> tuple[PlanFinding, ...]:
    """List findings, the most severe first."""
    only_downloads = plan.request.urgency == "download_only"
    findings = [
        *_check_release(plan, release),
        *_check_halted(release, facts.halted_before),
        *_check_targets(plan),
        *_check_dealt(plan, facts.dealt),
        *check_rollback(plan),
        *check_goes_back(plan, release, ends_at=plan.facts_as_of + timedelta(seconds=shortest_s(plan))),
        *_check_waves(plan),
        *check_calendar(plan),
        *_check_opening(plan),
        *_check_known(plan),
        *check_control(plan.request, held=plan.count("control"), treated=plan.count("match")),
        *check_budget(plan.request, held=plan.count("control"), treated=plan.count("match")),
        *_check_metadata(plan, facts.expires),
        *_check_certificates(plan, facts),
        *_check_time(plan),
        *check_own_hours(plan, facts.own_hours),
        *check_unheard(plan, facts.unheard),
        *_check_download_only(plan, facts),
        *([] if only_downloads else check_success(plan.success, plan.ddi_vehicles)),
        *_check_elsewhere(plan.request, facts),
    ]
    order = list(Severity)
    return tuple(sorted(findings, key=lambda item: order.index(item.severity)))


def blocks(findings: Sequence[PlanFinding]) -> bool:
    """Tell whether any finding keeps the plan from becoming current."""
    return any(finding.severity is Severity.BLOCKING for finding in findings)


def unacknowledged(findings: Sequence[Mapping[str, Any]], acknowledged: Collection[str]) -> tuple[str, ...]:
    """Return the codes of a stored plan's warnings that whoever approves it has not acknowledged."""
    codes = {each["code"] for each in findings if each["severity"] == Severity.WARNING}
    return tuple(sorted(codes - set(acknowledged)))


def _check_release(plan: Plan, release: ReleaseFacts) -> list[PlanFinding]:
    findings = []
    if release.id != plan.release_id:
        findings.append(_block("release_differs", f"the plan is for {plan.release_id}, not {release.id}"))
    if release.state != "signed":
        findings.append(
            _block(
                "release_not_signed",
                f"release {release.version} is {release.state}",
                hint="sign it: ringroad release sign",
            )
        )
    return findings


def names_halted(findings: Sequence[Mapping[str, Any]], campaign_id: str) -> bool:
    """Tell whether a stored plan warns of the harm that its release did in a campaign."""
    hint = HALTED_HINT.format(campaign_id)
    return any((each["code"], each.get("hint")) == (HALTED_BEFORE, hint) for each in findings)


def _check_halted(release: ReleaseFacts, halted: Sequence[HaltedBefore]) -> list[PlanFinding]:
    """Warn of a release that did harm on the road already: only a person can say that it is another matter now."""
    return [
        _warn(
            HALTED_BEFORE,
            f"release {release.version} "
            + (
                "did harm in campaign {}, aborted{}: {}" if each.aborted else "halted campaign {}{}: {}"
            ).format(
                f"{each.name} ({each.campaign_id})",
                f" on {each.at:%Y-%m-%d}" if each.at else "",
                reason_words(each.reason),
            ),
            hint=HALTED_HINT.format(each.campaign_id),
        )
        for each in halted
    ]


def _check_targets(plan: Plan) -> list[PlanFinding]:
    findings = []
    matches = plan.count("match")
    if matches == 0:
        findings.append(
            _block(
                "no_targets", "no vehicle would be updated", hint="preview the query; see the reasons below"
            )
        )
    for verdict, severity, what in (
        ("mismatch", Severity.WARNING, ("do", "not fit the release")),
        ("unknown", Severity.WARNING, ("are", "not known well enough")),
        ("already_installed", Severity.INFO, ("have", "it already")),
    ):
        reasons: Counter[str] = Counter()
        for each in plan.resolved:
            if each.resolution.verdict == verdict:
                reasons[each.resolution.reason] += each.vehicles
        if reasons:
            named = ", ".join(
                f"{reason or 'same images'} ({count})"
                for reason, count in reasons.most_common(REASONS_NAMED_MAX)
            )
            code = f"vehicles_{verdict}"
            findings.append(
                PlanFinding(
                    severity=severity,
                    code=code,
                    message=f"{counted(reasons.total(), 'vehicle', what[0])} {what[1]}: {named}",
                )
            )
    return findings


def _check_known(plan: Plan) -> list[PlanFinding]:
    """Warn where more may match than do: the plan rests on what is not known."""
    unknown, matches = plan.count("unknown") + plan.not_known, plan.count("match") + plan.count("control")
    if unknown <= matches:
        return []
    return [
        _warn(
            "targets_mostly_unknown",
            f"of {counted(unknown, 'vehicle')} too little is known to say, {matches} match",
            hint="wait until they have reported, or ask for something that is known of them",
        )
    ]


def _check_metadata(plan: Plan, expires: Mapping[str, datetime]) -> list[PlanFinding]:
    """Find what vehicles would refuse, now or before the campaign can be over: only people can sign it anew."""
    findings = []
    ends_at = soonest_end(plan)
    for name, at in sorted(expires.items()):
        if at <= plan.facts_as_of:
            findings.append(
                _block(
                    "metadata_expired",
                    f"the {name} expired on {at:%Y-%m-%d}: vehicles refuse it",
                    hint="sign it anew with the offline keys",
                )
            )
        elif at <= ends_at:
            findings.append(
                _warn(
                    "metadata_expires",
                    f"the {name} expires on {at:%Y-%m-%d}, the campaign runs at least until {ends_at:%Y-%m-%d}",
                    hint="sign it anew with the offline keys first",
                )
            )
    return findings


def _check_certificates(plan: Plan, facts: CheckFacts) -> list[PlanFinding]:
    """Warn of certificates that end before the campaign can be over: then nobody hears of it, or of its halt."""
    ends_at = soonest_end(plan)
    findings = [
        _warn(
            "certificate_expires",
            f"the {name} expires on {at:%Y-%m-%d}, the campaign runs at least until {ends_at:%Y-%m-%d}:"
            " vehicles that check it do not come back",
            hint="renew it first; the server's own is renewed when it starts within 60 days of its end",
        )
        for name, at in sorted(facts.certificates.items())
        if at <= ends_at
    ]
    if facts.certificates_ending:
        findings.append(
            _warn(
                "vehicle_certificates_expire",
                f"the certificates of {counted(facts.certificates_ending, 'vehicle')} expire before {ends_at:%Y-%m-%d}, when the"
                " campaign ends at the earliest",
                hint="let them renew it (POST /enrol/v1/<vin>/certificate with the one they have), or invite them again",
            )
        )
    return findings


def soonest_end(plan: Plan) -> datetime:
    """Return when a campaign that starts now is over at the earliest, if its last vehicles take all their time."""
    return plan.facts_as_of + timedelta(seconds=shortest_s(plan))


def _check_dealt(plan: Plan, dealt: Dealt) -> list[PlanFinding]:
    verdicts = {verdict: count for verdict in VERDICTS if (count := plan.count(verdict))}
    waves = dict(enumerate(plan.wave_vehicles, 1))
    places = plan.count("match") + plan.count("control")
    if dealt != Dealt(verdicts=verdicts, waves=waves, places=places):
        return [_block("waves_differ", "the waves do not hold exactly the matching vehicles")]
    return []


def _check_waves(plan: Plan) -> list[PlanFinding]:
    if not plan.wave_vehicles:
        return []
    findings = []
    gate = plan.request.gate
    if gate.sequential is None and gate.failed_permille_max == 1000:
        findings.append(_block("gate_cannot_halt", "failed_permille_max 1000 never halts"))
    ways = sum(each.vehicles for each in plan.resolved if len(each.resolution.steps) > 1)
    if plan.request.ramp is not None:
        if ways:
            findings.append(
                _block(
                    "steps_with_ramp",
                    f"{counted(ways, 'vehicle', 'need')} releases in between, and a budget of harm counts one update per vehicle",
                    hint="use waves, or leave these vehicles out",
                )
            )
        return findings
    if ways:
        findings.append(
            PlanFinding(
                severity=Severity.INFO,
                code="steps_between",
                message=f"{counted(ways, 'vehicle', 'get')} releases in between first; each step has a deadline of its own",
            )
        )
    first, total = plan.wave_vehicles[0], sum(plan.wave_vehicles)
    if first > max(WAVE_1_VEHICLES_FREE, total * WAVE_1_PERMILLE_MAX // 1000):
        findings.append(
            _warn(
                "wave_1_large", f"wave 1 has {first} of {total} vehicles", hint="start with at most a tenth"
            )
        )
    if len(plan.wave_vehicles) == 1 and total > 1:
        findings.append(
            _warn("one_wave", "all vehicles are in one wave: the gate can only halt, not hold back")
        )
    small = [number for number, size in enumerate(plan.wave_vehicles[:-1], 1) if size < gate.reports_min]
    if small:
        findings.append(
            _warn(
                "wave_below_reports_min",
                f"wave {small[0]} has fewer vehicles than reports_min {gate.reports_min}: all of them must report",
            )
        )
    if gate.silence_s_max < gate.soak_s:
        findings.append(
            _warn(
                "silence_below_soak", "silence_s_max is shorter than soak_s: a quiet wave can never advance"
            )
        )
    return findings


def _check_opening(plan: Plan) -> list[PlanFinding]:
    """Say how little opens the next wave; a comparison with a control group asks for more by itself."""
    gate, earlier = plan.request.gate, plan.wave_vehicles[:-1]
    if not earlier or gate.sequential is not None or plan.request.ramp is not None:
        return []
    findings = []
    outcomes = f"{gate.reports_min} outcome{'s' if gate.reports_min > 1 else ''}"
    large = [
        (number, size)
        for number, size in enumerate(earlier, 1)
        if size > REPORTS_PER_WAVE_MIN * gate.reports_min
    ]
    if large:
        number, size = large[0]
        findings.append(
            _warn(
                "reports_min_small",
                f"wave {number} has {counted(size, 'vehicle')}, and {outcomes} may open the next one",
                hint=f"ask for a tenth of it: reports_min {-(-size // REPORTS_PER_WAVE_MIN)}",
            )
        )
    if gate.soak_s == 0 and plan.request.urgency != "download_only":
        findings.append(
            PlanFinding(
                severity=Severity.INFO,
                code="no_soak",
                message=f"the next wave opens at once after {outcomes}, however short those vehicles have run the release",
                hint="soak_s says for how long they must have",
            )
        )
    return findings


def _check_time(plan: Plan) -> list[PlanFinding]:
    findings = []
    request, estimate = plan.request, plan.install_s_estimate
    window = request.window
    if window is not None and (longest := longest_s(window)) < estimate:
        findings.append(
            _block(
                "window_too_short",
                f"the window of {length_words(longest)} is shorter than the estimated installation of {length_words(estimate)}",
            )
        )
    elif window is not None and request.vehicle_deadline_s < (
        needed := (longest_wait_s(window, needed_s=estimate) or 0) + estimate
    ):
        findings.append(
            _block(
                "deadline_before_window",
                f"vehicles have {length_words(request.vehicle_deadline_s)}, until the end of an installation in the window it"
                f" may take {length_words(needed)}",
                hint="the deadline runs from the offer, whether the window is open or not",
            )
        )
    if request.vehicle_deadline_s < estimate:
        findings.append(
            _warn(
                "deadline_short",
                f"vehicles have {length_words(request.vehicle_deadline_s)}, the installation is estimated at"
                f" {length_words(estimate)}",
            )
        )
    return findings


def _check_download_only(plan: Plan, facts: CheckFacts) -> list[PlanFinding]:
    """Look at what a plan that only downloads cannot do."""
    if plan.request.urgency != "download_only":
        return []
    findings = []
    by_steps = sum(each.vehicles for each in plan.resolved if len(each.resolution.steps) > 1)
    if by_steps:
        findings.append(
            _block(
                "download_needs_steps",
                f"{counted(by_steps, 'vehicle', 'need')} another release first, which a plan that only downloads does not install",
                hint="ship that release first, or leave those vehicles out",
            )
        )
    if facts.skip_unknown:
        findings.append(
            _warn(
                "download_only_not_told",
                f"{counted(facts.skip_unknown, 'DDI device')} never said that they honour skip; they are told nothing and count as"
                " silent",
                hint='a device says it by configData: "honours_skip": "true"',
            )
        )
    return findings


def contended(request: PlanRequest, facts: CheckFacts) -> dict[str, int]:
    """Return how many vehicles each other campaign has that could not be told which of the two goes first.

    Two campaigns may share vehicles if one goes before the other. A control group is shared with a recall only.
    """
    found = {
        campaign: count
        for campaign, count in facts.open_elsewhere.items()
        if facts.level_of.get(campaign, 0) == request.level
    }
    if not request.recall:
        for campaign, count in facts.held_elsewhere.items():
            found[campaign] = found.get(campaign, 0) + count
    return found


def _check_elsewhere(request: PlanRequest, facts: CheckFacts) -> list[PlanFinding]:
    blocking = contended(request, facts)
    findings = [
        _block(
            "other_open_campaign",
            f"{counted(count, 'vehicle', 'are')} in campaign {facts.name(campaign)}",
            hint="finish or abort it first, leave them out, or plan with another priority",
        )
        for campaign, count in sorted(blocking.items())
    ]
    for campaign, count in sorted(facts.open_elsewhere.items()):
        if campaign not in blocking:
            first = request.level > facts.level_of.get(campaign, 0)
            findings.append(
                PlanFinding(
                    severity=Severity.INFO,
                    code="goes_first" if first else "goes_second",
                    message=f"{counted(count, 'vehicle', 'are')} in campaign {facts.name(campaign)} too, which is served "
                    f"{'after' if first else 'before'} this one",
                )
            )
    findings.extend(
        _warn(
            "recall_takes_control",
            f"{counted(count, 'vehicle', 'are')} held back by campaign {facts.name(campaign)} to compare with; the recall updates them",
        )
        for campaign, count in sorted(facts.held_elsewhere.items())
        if request.recall
    )
    findings.extend(
        PlanFinding(
            severity=Severity.INFO,
            code="cancel_awaited",
            message=f"{counted(count, 'vehicle', 'have')} still to confirm the cancel of campaign {facts.name(campaign)}, and the update follows",
        )
        for campaign, count in sorted(facts.cancelling_elsewhere.items())
    )
    return findings


def _block(code: str, message: str, *, hint: str = "") -> PlanFinding:
    return PlanFinding(severity=Severity.BLOCKING, code=code, message=message, hint=hint)


def _warn(code: str, message: str, *, hint: str = "") -> PlanFinding:
    return PlanFinding(severity=Severity.WARNING, code=code, message=message, hint=hint)
