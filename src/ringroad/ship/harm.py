"""Since when does harm hold a campaign, and until when? Pure: a fold over what its gate decides."""

from __future__ import annotations

from ringroad.ship.calendar import BEFORE_ITS_TIME
from ringroad.ship.gate import HARM_SEEN, Advance, Finish, GateDecision, Grow, Halt, Hold, Pause
from ringroad.ship.reason_words import HARMED_ELSEWHERE

# Reasons for which only a gate holds that looked at harm, or has nothing more to release. The console's queries say
# the same of recorded decisions.
HARM_PASSED = frozenset({"budget_in_flight", "outcomes_awaited", "watching", BEFORE_ITS_TIME})


def beside_others(decision: GateDecision, *, harmed_elsewhere: str) -> GateDecision:
    """Pause a campaign whose release did harm in another one, unless its own gate halts or ends it.

    Args:
        decision: of its gate.
        harmed_elsewhere: the other campaign; empty: the release did harm in none.
    """
    if not harmed_elsewhere or isinstance(decision, Halt | Finish):
        return decision
    return Pause(f"{HARMED_ELSEWHERE}: {harmed_elsewhere}")


def harm_held(decision: GateDecision, *, before: bool, last_wave: bool = False) -> bool:
    """Say whether harm holds a campaign by this decision; one that did not look at harm, or ends it, leaves it as it was.

    In the last wave harm is looked at before the soak, in others after it.
    """
    if isinstance(decision, Hold) and decision.reason.partition(": ")[0] == HARM_SEEN:
        return True
    passed = (
        isinstance(decision, Advance | Grow | Finish) or decision.reason.partition(": ")[0] in HARM_PASSED
    )
    return before and not (passed or (last_wave and decision == Hold("soaking")))
