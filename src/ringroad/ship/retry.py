"""Is a failure worth another attempt, and when? Pure.

Only a failure before anything was touched is, and only for a reason that may pass by itself: no network, an ECU that
does not answer, a full store. It says nothing about the software, so the gate counts the vehicle once, as it ends.
A failure after installation had begun is final and counts at once: an attempt that succeeds later would not undo that
the software failed on this vehicle, and tried often enough a software that fails half the time would look good.

Over DDI all that is known of a failure is whether the client said that it proceeds, which SWUpdate does before it
downloads; so the gateway keeps, before it hands out the last byte of an image, that it does (`not_delivered`).

Invariants:
    What began with a whole image, or failed for a reason that is not known, is never tried again.
    The wait before an attempt depends on vehicle, campaign and attempt, never on who decides or when.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from ringroad.kernel.errors import InvalidInput

ATTEMPTS_MAX = 10  # per vehicle and campaign
WAIT_S_MAX = 30 * 86_400  # seconds; whoever failed a month ago is better taken in by a new campaign

RetryReason = Literal["network", "ecu", "storage", "restarts", "not_begun"]
REASONS: tuple[RetryReason, ...] = get_args(RetryReason)
RETRY_WORDS: Mapping[str, str] = {
    "network": "no network", "ecu": "an ECU that does not answer", "storage": "a full store",
    "restarts": "too many restarts", "not_begun": "nothing begun, over DDI",
}  # fmt: skip
# What a native vehicle names when it ends an update with nothing installed: vehicle/execute.py, vehicle/agents/base.py.
# Everything else that it names (a digest that differs, a signature, hardware) fails again in the same way.
REASON_OF: Mapping[str, RetryReason] = {
    "offline": "network", "slow_retrieval": "network", "connection_lost": "network",
    "unreachable": "ecu", "busy": "ecu", "locked_out": "ecu", "precondition": "ecu", "transfer_failed": "ecu",
    "store_full": "storage", "disk_full": "storage", "disk": "storage",
    "restarts": "restarts",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, and how long after a failure.

    Attributes:
        attempts_max: attempts of a vehicle in a campaign, the first one included.
        first_s: seconds before the second attempt, at most; each further one waits twice as long.
        last_s: seconds before any attempt, at most.
        reasons: what is worth another attempt.
    """

    attempts_max: int = 3
    first_s: int = 600
    last_s: int = 86_400
    reasons: tuple[RetryReason, ...] = REASONS

    def __post_init__(self) -> None:
        """Refuse a policy that never ends, or never begins."""
        if not 2 <= self.attempts_max <= ATTEMPTS_MAX:
            raise InvalidInput(f"attempts_max must be between 2 and {ATTEMPTS_MAX}")
        if not 1 <= self.first_s <= self.last_s <= WAIT_S_MAX:
            raise InvalidInput(f"1 <= first_s <= last_s <= {WAIT_S_MAX} is needed")
        if not self.reasons or not set(self.reasons) <= set(REASONS):
            raise InvalidInput("no reason is worth another attempt", hint=f"some of {', '.join(REASONS)}")


def reason_of(body: Mapping[str, Any]) -> RetryReason | None:
    """Return the reason that may pass by itself in a report of a failure, or None.

    Args:
        body: of the report. Over DDI no reason is named; that nothing was begun is all that can be known.
    """
    if body.get("gateway") == "ddi":
        return "not_begun"
    code = body.get("code")
    return REASON_OF.get(code) if isinstance(code, str) else None


def not_delivered(
    reason: RetryReason | None, *, began: bool, keeps_old: bool, fetched: bool
) -> RetryReason | None:
    """Return the reason of a failure over DDI that is delivery's and not the software's, though it had begun.

    SWUpdate says that it proceeds before it downloads. Whoever was not handed the last byte of an image cannot have
    installed it; with two banks it runs what it ran before.

    Args:
        reason: as far as the report tells.
        began: whether the client said that it proceeds.
        keeps_old: every ECU runs the old software until the new one is whole.
        fetched: whether the whole image may have reached it.
    """
    return "network" if began and reason == "not_begun" and keeps_old and not fetched else None


def decide_retry(
    policy: RetryPolicy, *, attempt: int, began: bool, reason: RetryReason | None, seed: str, now: datetime
) -> datetime | None:
    """Decide when a vehicle is tried again after a failure; None: never.

    Args:
        policy: of the plan.
        attempt: that failed, from 1.
        began: whether installation had begun, as far as is known.
        reason: of the failure.
        seed: campaign and VIN.
        now: the server's time.
    """
    if began or reason not in policy.reasons or policy.attempts_max <= attempt:
        return None
    return now + timedelta(seconds=wait_s(policy, attempt=attempt, seed=seed))


def wait_s(policy: RetryPolicy, *, attempt: int, seed: str) -> int:
    """Return the seconds after a failed attempt: half to the whole of what doubles each time.

    The lot keeps vehicles that failed together, as behind a gateway that was down, from coming back together.
    """
    whole_s = min(policy.last_s, policy.first_s << (attempt - 1))
    digest = hashlib.sha256(f"{seed}:{attempt}".encode()).digest()
    return whole_s - int.from_bytes(digest[:8], "big") % (whole_s // 2 + 1)
