"""What does a budget of harm bound, and how far may a good update come under one that counts over all? Pure.

What is to be expected of an update that is as good as what runs: no luck in either arm, everyone begins at once, one
window after the other. The product's own bound and budget decide how many each window may take in.
"""

from __future__ import annotations

import numpy as np

from ringroad.ship.control import BASE_RATE_PPM
from ringroad.ship.evidence import Counts, Scale
from ringroad.ship.guard import BOUND_PPM, HARM, SequentialPolicy
from ringroad.ship.model import PlanFinding, Severity
from ringroad.ship.plan import PlanRequest
from ringroad.ship.ramp import HarmBudget, RampFacts, decide_release, excess_risk

WINDOWS_MAX = 60  # windows of a vehicle; a campaign that takes longer is not told


def check_budget(request: PlanRequest, *, held: int, treated: int) -> list[PlanFinding]:
    """Say what a budget of harm bounds; of one over the whole campaign, how far it lets a good update come.

    Args:
        request: of the plan.
        held: vehicles that are held back.
        treated: vehicles that the release is offered to.
    """
    budget, policy = request.ramp, request.gate.sequential
    if budget is None or policy is None or not held or not treated:
        return []
    if not budget.whole:
        return [
            PlanFinding(
                severity=Severity.INFO,
                code="budget_in_flight",
                message=f"a budget of {budget.harmed_last} bounds what vehicles suffer beyond control while they are watched;"
                " over the whole campaign it bounds what is proved, and more may be suffered before it is",
                hint="--harm-counts whole-campaign bounds what is expected over all of it, and stops good updates earlier",
            )
        ]
    reached = expected_reach(budget, policy, held=held, treated=treated)
    far = "all" if reached >= treated else f"about {_two_digits(reached)}"
    return [
        PlanFinding(
            severity=Severity.INFO,
            code="budget_reaches",
            message=f"a budget of {budget.harmed_last} over the whole campaign lets an update that is as good as before reach"
            f" {far} of {treated} vehicles, where {BASE_RATE_PPM / 10_000:g} % fail in a window anyway",
            hint=""
            if reached >= treated
            else "there it pauses for an approver; a larger control group or budget reaches further",
        )
    ]


def expected_reach(budget: HarmBudget, policy: SequentialPolicy, *, held: int, treated: int) -> int:
    """Return how many vehicles a good update reaches before the budget takes in nobody more.

    Args:
        budget: of the plan, counting over the whole campaign.
        policy: of its gate.
        held: vehicles that are held back.
        treated: vehicles that the release is offered to.
    """
    metrics = [metric for metric in policy.compared if metric.name in HARM]
    base = BASE_RATE_PPM / 1_000_000 / len(metrics)  # of each
    scale = Scale.for_harm(1_000)
    evidence, begun, windows = np.zeros(scale.points.size), 0.0, 0
    upper, risk = np.asarray(np.inf), np.asarray(1.0)
    while begun < treated and windows < WINDOWS_MAX:
        nothing = np.asarray(0.0)
        facts = RampFacts(
            upper=upper, risk=risk, begun=np.asarray(begun),
            in_flight=nothing, offered=nothing, offered_s=nothing,
        )  # fmt: skip
        more = min(float(decide_release(budget, facts)), treated - begun)
        if more == 0:
            break
        begun, windows = begun + more, windows + 1
        arms = [np.asarray(each) for each in (more * base, held * base, more, float(held))]
        evidence = evidence + scale.log_likelihood(
            Counts(treated=arms[0], control=arms[1], treated_exposure=arms[2], control_exposure=arms[3])
        )
        upper = scale.upper(evidence, alpha_ppm=BOUND_PPM)
        failed, watched = np.asarray(held * base * windows), np.asarray(float(held * windows))
        each = excess_risk(upper, control_failed=failed, control_windows=watched)
        risk = np.minimum(1.0, each * len(metrics))
    return int(begun)


def _two_digits(count: int) -> int:
    return round(count, 2 - len(str(count)))
