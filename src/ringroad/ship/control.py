"""A control group: is it large enough, who of it is still a control, and is what is left enough? Pure.

The control group is drawn by lot from vehicles that the release fits. What is compared is the release against no release,
on vehicles that are alike; a vehicle that got other software meanwhile is no control any more.

1. Before the comparison begins both arms are judged alike: who changed is resolved again. A vehicle of a wave that the
   release is nothing for any more is let go (`ship.judged`), and so is one of the control group, by the same verdict. Who
   changed and whom the release still fits stays, as its like in a wave is offered the release.
2. From then on only the control group is told to keep what it has: who got other software is let go from then on, whatever
   it is, and what happened to it before still counts. Who is blocked from then on, as its way back from another campaign
   failed, stays: that is an outcome, and an updated vehicle stays with it too.
3. A control group that shrank is checked again. Less than half of what was approved is too little, and so is less than nine
   tenths where what is left can tell nothing from chance and the plan's could: a campaign does not start with it, and no
   gate goes on with it. The half is asked of each stratum that the gate reads alone as well: harm that only one of them has
   is seen by its own controls, and by no others. That it is smaller than advised is a warning to whoever plans, and stops nobody.

Invariants:
    No reason to let a control vehicle go is taken from what happened to it since the comparison began: only what it runs
    is looked at.
    What was counted of a control vehicle stays counted.

Source: ADR 0120.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from ringroad.kernel.plurals import counted
from ringroad.ship.guard import MEANS, Metric, SequentialPolicy
from ringroad.ship.model import PlanFinding, Severity
from ringroad.ship.plan import PlanRequest

CONTROL_VEHICLES_MIN = 20_000  # vehicles; fewer see a rise from 0.5 % to 1 % late: benchmarks/canary.py
GROSS = 2  # times the margin; a rise that must not go unseen
BASE_RATE_PPM = 5_000  # millionths; half a per cent of vehicles within a window, as in benchmarks/canary.py
CONTROL_PERMILLE_MIN = 5  # of all matches; the larger of the two is advised
CONTROL_LEFT_PERMILLE_MIN = 500  # of what was approved; with less, the comparison is not the one that was
CONTROL_SPARE_PERMILLE = 900  # of what was approved; with as many, it is as able to decide as the plan's
REASONS_MAX = 50  # told of one look or of a campaign, those with most vehicles; they name versions and ECUs
REASONS_BEYOND = "other"  # all others together
SPREAD = "spread"  # in a plan's document: each vehicle's windows change at a moment of its own
OTHER_SOFTWARE = "other software than when the comparison began"


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumLeft:
    """How many vehicles a plan holds back in a stratum, and how many of them are controls still."""

    held: int
    left: int


def check_control(request: PlanRequest, *, held: int, treated: int) -> list[PlanFinding]:
    """Say what is wrong with a control group of so many, compared with so many.

    Args:
        request: of the plan.
        held: vehicles that are held back.
        treated: vehicles that the release is offered to.
    """
    return [
        *_check_size(request, held=held, treated=treated),
        *_check_power(request, held=held, treated=treated),
    ]


def too_few_left(
    request: PlanRequest,
    *,
    held: int,
    treated: int,
    left: int,
    strata: Mapping[str, StratumLeft] | None = None,
) -> str:
    """Return why what is left of a control group is too little to go on with; empty: it is not, or nobody compares.

    Args:
        request: of the plan.
        held: vehicles that the approved plan holds back.
        treated: vehicles that it offers the release to.
        left: how many of those held back are controls still.
        strata: the same in each stratum that the gate reads alone, by its name.
    """
    sequential = request.gate.sequential
    if sequential is None or not sequential.compared or held <= left:
        return ""
    if left * 1_000 < held * CONTROL_LEFT_PERMILLE_MIN:
        return f"{left} of {held} vehicles of the control group are left, less than half"
    for name, each in sorted((strata or {}).items()):
        if each.left * 1_000 < each.held * CONTROL_LEFT_PERMILLE_MIN:
            return (
                f"{each.left} of {each.held} vehicles of the control group in {name} are left, less than half"
            )
    if left * 1_000 >= held * CONTROL_SPARE_PERMILLE or _check_power(request, held=held, treated=treated):
        return ""
    blind = _check_power(request, held=left, treated=treated)
    return f"of {held} vehicles of the control group {left} are left: {blind[0].message}" if blind else ""


def no_control_for(waiting: str | None, *, changed_at: datetime | None) -> str | None:
    """Return why a vehicle of the control group of which something else is known is let go; None: it stays.

    Args:
        waiting: why it would be let go if it waited in a wave, from `judged.let_go_for`; None: it would not be.
        changed_at: when it was told, since the comparison began, that an ECU runs other software; None: never.
    """
    return waiting or (None if changed_at is None else OTHER_SOFTWARE)


def episodes_of(
    campaign_id: str, vin: str, *, window_us: int, started_us: int, since_us: int, until_us: int, spread: bool
) -> Iterator[tuple[int, int]]:
    """Yield from when to when a vehicle of the control group is watched, one window after the other.

    Each vehicle's windows change at a moment of its own, by a hash: what comes once in a window, as a trial of silence
    or a first sample, comes in every tick from some of them, and updated vehicles find it there whenever they began.
    The first one begins with the campaign and is as long as it takes until then: it is no trial of silence.

    Args:
        campaign_id: the campaign's id.
        vin: the vehicle's.
        window_us: how long a vehicle is watched; microseconds, as are all others.
        started_us: when the campaign began, since 1970.
        since_us: what was over by then is left out.
        until_us: no episode begins after it.
        spread: whether each has a moment of its own; plans that were made before this have none.
    """
    own = int.from_bytes(hashlib.sha256(f"{campaign_id}:{vin}".encode()).digest()[:8], "big") % window_us
    at_us = started_us + (own - window_us if spread and own else 0)
    at_us += max(0, since_us - at_us) // window_us * window_us
    while at_us <= until_us:
        yield max(at_us, started_us), at_us + window_us
        at_us += window_us


def most_first(reasons: Counter[str]) -> dict[str, int]:
    """Return the reasons that most vehicles have, `REASONS_MAX` of them, and the others as one."""
    told = dict(reasons.most_common(REASONS_MAX))
    beyond = reasons.total() - sum(told.values())
    return {**told, REASONS_BEYOND: beyond} if beyond else told


def can_decide(policy: SequentialPolicy, metric: Metric, *, held: int, treated: int) -> bool:
    """Tell whether a rise to `GROSS` times the margin is expected to halt by the time all vehicles are updated.

    The best any test could do: the expected log likelihood ratio of the updated arm's share of all events, against
    the share that the margin allows. The sequential test needs somewhat more, so a no here is sure.

    Source: Kullback and Leibler 1951; the conditional binomial of `ship/evidence.py`.
    """
    margin = metric.margin_milli / 1_000
    allowed, gross = margin * treated, GROSS * margin * treated
    share, bad = allowed / (allowed + held), gross / (gross + held)
    gain = bad * math.log(bad / share) + (1 - bad) * math.log((1 - bad) / (1 - share))
    events = BASE_RATE_PPM / 1_000_000 * (gross + held)
    return policy.limit(metric) <= events * gain * 1_000_000


def _check_size(request: PlanRequest, *, held: int, treated: int) -> list[PlanFinding]:
    total = held + treated
    sequential = request.gate.sequential
    if sequential is None or not sequential.compared:
        return (
            [
                _warn(
                    "control_unused",
                    f"{counted(held, 'vehicle', 'are')} held back, and no metric is compared with them",
                )
            ]
            if held
            else []
        )
    names = ", ".join(metric.name for metric in sequential.compared)
    advised = max(CONTROL_VEHICLES_MIN, total * CONTROL_PERMILLE_MIN // 1000)
    if not held:
        return [
            _block(
                "no_control_group",
                f"nobody is held back to compare {names} with",
                hint=f"a control group of {counted(advised, 'vehicle')}, or of 20 % of a small fleet",
            )
        ]
    findings = []
    if held < advised:
        findings.append(
            _warn(
                "control_group_small",
                f"{counted(held, 'vehicle', 'are')} held back; with fewer than {advised} a small rise is seen late or not at all",
                hint="hold back more, or expect only gross regressions to halt",
            )
        )
    if total < 2 * held:
        findings.append(
            _warn("control_group_large", f"{held} of {total} vehicles do not get the update by this campaign")
        )
    return findings


def _check_power(request: PlanRequest, *, held: int, treated: int) -> list[PlanFinding]:
    """Warn where even a gross rise could not be told from chance before every vehicle is updated."""
    sequential = request.gate.sequential
    if sequential is None or not held or not treated:
        return []
    blind = [
        metric
        for metric in sequential.compared
        if metric.name not in MEANS and not can_decide(sequential, metric, held=held, treated=treated)
    ]
    if not blind:
        return []
    enough = next(
        (
            size
            for size in _doublings(held, (held + treated) // 2)
            if all(can_decide(sequential, each, held=size, treated=held + treated - size) for each in blind)
        ),
        None,
    )
    names = ", ".join(metric.name for metric in blind)
    return [
        _warn(
            "control_cannot_decide",
            f"with {counted(held, 'vehicle')} held back even {GROSS} times the accepted rate of {names} looks like chance until"
            " every vehicle is updated",
            hint=f"hold back {enough}"
            if enough
            else "this fleet is too small for this alpha and margin: allow more of either, or stop it by hand",
        )
    ]


def _doublings(first: int, last: int) -> Iterator[int]:
    size = max(1, first)
    while size < last:
        size = min(2 * size, last)
        yield size


def _block(code: str, message: str, *, hint: str = "") -> PlanFinding:
    return PlanFinding(severity=Severity.BLOCKING, code=code, message=message, hint=hint)


def _warn(code: str, message: str, *, hint: str = "") -> PlanFinding:
    return PlanFinding(severity=Severity.WARNING, code=code, message=message, hint=hint)
