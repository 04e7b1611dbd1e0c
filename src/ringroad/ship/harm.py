"""Since when does harm hold a campaign, and until when? Pure: a fold over what its gate decides."""

from __future__ import annotations

from ringroad.ship.gate import HARM_SEEN, Advance, Finish, GateDecision, Grow, Hold

# Reasons for which only a gate holds that looked at harm, or has nothing more to release. The console's queries say
# the same of recorded decisions.
HARM_PASSED = frozenset({"budget_in_flight", "outcomes_awaited", "watching"})


def harm_held(decision: GateDecision, *, before: bool, last_wave: bool = False) -> bool:
    """Say whether harm holds a campaign by this decision; one that did not look at harm, or ends it, leaves it as it was.

    In the last wave harm is looked at before the soak, in others after it.
    """
    if isinstance(decision, Hold) and decision.reason.partition(": ")[0] == HARM_SEEN:
        return True
    passed = isinstance(decision, Advance | Grow | Finish) or decision.reason in HARM_PASSED
    return before and not (passed or (last_wave and decision == Hold("soaking")))
