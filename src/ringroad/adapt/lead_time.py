"""How long a lap took, stage by stage: pure functions of facts.

A lap is always in exactly one stage. It starts at its first signal and moves on at these boundaries::

    signal ──finding.opened──► design ──change.approved──► build ──release.signed──► ship
      ship ──last vehicle.updated before campaign.finished──► adapt ──outcome.measured──► end

and goes back when work has to be done again: `campaign.halted` or `campaign.aborted` to build, `change.proposed` to
design, another `release.signed` to ship. An outcome after which work goes on did not end the lap; what became of the
vehicles of a stopped campaign is no outcome of the lap. A finding that is opened again asks for a decision, and moves
nothing: the change that was approved for it may be built anew meanwhile.

Working time is the union of the intervals ``[work_started_at, event_at]`` of the lap's facts; the rest is waiting.

Invariants:
    The stages add up to the lap, and working plus waiting to the stage, to the microsecond.
    The order in which facts are given does not matter.
    A lap that is not over is reported up to now and marked as censored, never left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ringroad.adapt.model import Approval, Approvals, LapReport, Rework, StageReport
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.facts import Fact, FactKind, Stage

K = FactKind
FACTS_MAX = 1_000_000  # facts of one lap; one per vehicle and update
APPROVALS_NAMED_MAX = 100  # decisions; people make a handful per lap, who reads more reads the facts

_ASKS = frozenset({K.FINDING_OPENED, K.FINDING_REOPENED, K.CHANGE_PROPOSED, K.CAMPAIGN_PLANNED})
_YES = frozenset({K.FINDING_ACCEPTED, K.CHANGE_APPROVED, K.CAMPAIGN_APPROVED})
_NO = frozenset({K.FINDING_REJECTED, K.CHANGE_REJECTED})
_MOOT = frozenset({K.FINDING_CLOSED, K.CHANGE_DONE})  # nobody need decide any more
_BACK_TO_BUILD = frozenset({K.CAMPAIGN_HALTED, K.CAMPAIGN_ABORTED})
_US = timedelta(microseconds=1)

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    stage: Stage
    start: datetime
    end: datetime


def lap_report(facts: Iterable[Fact], now: datetime) -> LapReport:
    """Time one lap.

    Args:
        facts: all facts of the lap, in any order; repeated ones count once.
        now: an open lap is counted up to here.

    Raises:
        InvalidInput: there are no facts, or facts of several laps.
    """
    ordered = sorted(
        {fact.id: fact for fact in facts}.values(),
        key=lambda fact: (fact.event_at, fact.recorded_at, fact.id),
    )
    laps = {fact.lap_id for fact in ordered}
    lap_id = next(iter(laps), None)
    if len(laps) != 1 or lap_id is None:
        raise InvalidInput("a lap's report needs facts of exactly one lap")
    if len(ordered) > FACTS_MAX:
        raise InvalidInput(f"{len(ordered)} facts in one lap, limit {FACTS_MAX}")
    signals = [fact.event_at for fact in ordered if fact.kind is K.SIGNAL_OBSERVED]
    start = min(signals, default=ordered[0].event_at)
    passed = [fact for fact in ordered if fact.event_at >= start]
    visits, ended_at = _visits(passed, start=start, now=now)
    end = visits[-1].end
    working = union((fact.work_started_at, fact.event_at) for fact in ordered)
    return LapReport(
        lap_id=lap_id,
        started_at=start,
        ended_at=ended_at,
        measured_to=end,
        elapsed_us=(end - start) // _US,
        stages=tuple(_stage_report(stage, visits, working, is_open=ended_at is None) for stage in Stage),
        approvals=_approvals(ordered, end=end),
        rework=_rework(ordered),
        milestones=_milestones(passed, start=start),
    )


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the same time as spans that neither touch nor overlap, in order."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif start < end:
            merged.append((start, end))
    return merged


def covered_us(spans: Sequence[Span], *, start: datetime, end: datetime) -> int:
    """Return how many microseconds between `start` and `end` disjoint spans cover."""
    return sum(
        max(timedelta(), min(span_end, end) - max(span_start, start)) // _US for span_start, span_end in spans
    )


def _visits(
    ordered: Sequence[Fact], *, start: datetime, now: datetime
) -> tuple[list[_Visit], datetime | None]:
    """Walk the facts in order; return the visits, which join without gaps, and the end if there is one."""
    visits: list[_Visit] = []
    stage, since = Stage.SIGNAL, start
    ended_at: datetime | None = None
    last_updated: datetime | None = None

    def move(to: Stage, at: datetime) -> None:
        nonlocal stage, since, ended_at, last_updated
        visits.append(_Visit(stage=stage, start=since, end=at))
        stage, since, ended_at, last_updated = to, at, None, None

    for fact in ordered:
        at = fact.event_at
        match fact.kind:
            case K.FINDING_OPENED if stage is Stage.SIGNAL:
                move(Stage.DESIGN, at)
            case K.CHANGE_APPROVED if stage in {Stage.SIGNAL, Stage.DESIGN}:
                move(Stage.BUILD, at)
            case K.RELEASE_SIGNED if stage is not Stage.SHIP:
                move(Stage.SHIP, at)
            case K.VEHICLE_UPDATED if stage is Stage.SHIP:
                last_updated = at
            case K.CAMPAIGN_FINISHED if stage is Stage.SHIP and not fact.body.get("download_only"):
                move(Stage.ADAPT, last_updated or at)
            case kind if kind in _BACK_TO_BUILD and stage in {Stage.SHIP, Stage.ADAPT}:
                move(Stage.BUILD, at)
            case K.CHANGE_PROPOSED if stage in {Stage.BUILD, Stage.SHIP, Stage.ADAPT}:
                move(Stage.DESIGN, at)
            case K.OUTCOME_MEASURED if _is_of_lap(fact) and stage in {Stage.SHIP, Stage.ADAPT}:
                if stage is Stage.SHIP:
                    move(Stage.ADAPT, last_updated or at)
                ended_at = at
            case K.FINDING_REJECTED:
                ended_at = at
    visits.append(_Visit(stage=stage, start=since, end=ended_at or max(now, since)))
    return visits, ended_at


def _stage_report(
    stage: Stage, visits: Sequence[_Visit], working: Sequence[Span], *, is_open: bool
) -> StageReport:
    own = [visit for visit in visits if visit.stage is stage]
    elapsed_us = sum((visit.end - visit.start) // _US for visit in own)
    working_us = sum(covered_us(working, start=visit.start, end=visit.end) for visit in own)
    return StageReport(
        stage=stage,
        elapsed_us=elapsed_us,
        working_us=working_us,
        waiting_us=elapsed_us - working_us,
        visits=len(own),
        censored=is_open and visits[-1].stage is stage,
    )


def _approvals(ordered: Sequence[Fact], *, end: datetime) -> Approvals:
    """Pair each request with the next decision about the same subject; one that became moot kept nobody waiting."""
    given = refused = 0
    waits: list[Span] = []
    requests: dict[str, Fact] = {}  # by subject; an id says by itself what it is of
    each: list[Approval] = []
    for fact in ordered:
        if fact.kind in _ASKS:
            requests[fact.subject] = fact
        elif fact.kind in _MOOT:
            requests.pop(fact.subject, None)
        elif fact.kind in _YES | _NO:
            given += fact.kind in _YES
            refused += fact.kind in _NO
            each.append(_approval(fact, "given" if fact.kind in _YES else "refused"))
            asked = requests.pop(fact.subject, None)
            if asked is not None:
                waits.append((asked.event_at, max(asked.event_at, fact.work_started_at)))
    waits += [(asked.event_at, max(asked.event_at, end)) for asked in requests.values()]
    each += [_approval(asked, "pending") for asked in requests.values()]
    return Approvals(
        given=given,
        refused=refused,
        pending=len(requests),
        waiting_us=sum((stop - start) // _US for start, stop in union(waits)),
        each=tuple(each[-APPROVALS_NAMED_MAX:]),
    )


def _approval(fact: Fact, verdict: str) -> Approval:
    return Approval(
        kind=fact.kind.value, subject=fact.subject, actor=fact.actor, at=fact.event_at, verdict=verdict
    )


def _rework(ordered: Sequence[Fact]) -> Rework:
    def count(kind: FactKind) -> int:
        return sum(fact.kind is kind for fact in ordered)

    releases = {fact.subject for fact in ordered if fact.kind is K.RELEASE_SIGNED}
    halted = {fact.subject for fact in ordered if fact.kind is K.CAMPAIGN_HALTED}
    return Rework(
        releases_again=max(0, len(releases) - 1),
        campaigns_halted=len(halted),
        vehicles_rolled_back=count(K.VEHICLE_ROLLED_BACK),
        updates_failed=count(K.VEHICLE_UPDATE_FAILED),
        replans=count(K.SCHEDULE_REPLANNED),
    )


def _is_of_lap(fact: Fact) -> bool:
    """Tell an outcome of the lap from what became of the vehicles of a campaign that was stopped on the way."""
    return fact.body.get("measure") != "recovery"


def _milestones(ordered: Sequence[Fact], *, start: datetime) -> dict[str, datetime]:
    named = {
        K.FINDING_OPENED: "finding_opened",
        K.FINDING_ACCEPTED: "finding_accepted",
        K.CHANGE_APPROVED: "change_approved",
        K.RELEASE_SIGNED: "release_signed",
        K.VEHICLE_UPDATED: "vehicle_confirmed",
        K.CAMPAIGN_FINISHED: "campaign_finished",
        K.OUTCOME_MEASURED: "outcome_measured",
    }
    milestones = {"first_signal": start}
    for fact in ordered:
        name = named.get(fact.kind)
        if name and _is_of_lap(fact):
            milestones.setdefault(f"first_{name}", fact.event_at)
            milestones[f"last_{name}"] = fact.event_at
    return milestones
