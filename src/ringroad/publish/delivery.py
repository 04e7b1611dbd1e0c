"""What follows from one attempt to deliver an event: on, again later, or no more. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from ringroad.kernel.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How patient the worker is.

    Attributes:
        attempt_s_max: seconds of one attempt, from the look-up of the name to the status of the answer.
        retry_s_first: seconds until the second attempt; doubled each time.
        retry_s_max: seconds between two attempts at most; also the longest `Retry-After` that is kept.
        dead_s: seconds without any success after which an endpoint is disabled.
        at_once_max: attempts under way at the same time, one per subscription.
    """

    attempt_s_max: float = 10.0
    retry_s_first: float = 5.0
    retry_s_max: float = 3_600.0
    dead_s: float = 3 * 86_400.0
    at_once_max: int = 8

    def __post_init__(self) -> None:
        """Refuse what would never deliver, or never stop."""
        values = (self.attempt_s_max, self.retry_s_first, self.retry_s_max, self.dead_s)
        if min(values) <= 0 or self.at_once_max < 1 or self.retry_s_max < self.retry_s_first:
            raise InvalidInput("a delivery policy has a value that is not above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The endpoint answered.

    Attributes:
        status: of HTTP.
        retry_after_s: how long it asks us to wait; None: it does not say.
    """

    status: int
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreached:
    """There was no answer. `reason` is a word of ours, never text from the network."""

    reason: str


Outcome = Answered | Unreached


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The endpoint has it: on to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Try the same event again."""

    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disable:
    """Send nothing more until a person says so; the place is kept."""

    reason: str


Decision = Delivered | Again | Disable


def decide(
    policy: DeliveryPolicy,
    outcome: Outcome,
    *,
    failures: int,
    failing_since: datetime | None,
    fraction: float,
    now: datetime,
) -> Decision:
    """Decide what follows from an attempt.

    Only 2xx is a success: a redirect is not followed, since it could lead where a webhook must not go.

    Args:
        policy: how patient to be.
        outcome: of this attempt.
        failures: attempts in a row that failed before this one.
        failing_since: when the first of them failed; None: the last one went well.
        fraction: at random, in [0, 1): half of each pause is left to chance, so that endpoints are not hit together.
        now: when the attempt ended.
    """
    match outcome:
        case Answered(status=status) if 200 <= status < 300:
            return Delivered()
        case Answered(status=410):  # Standard Webhooks: the consumer wants no more
            return Disable(reason="gone")
        case Answered(status=status, retry_after_s=asked_s):
            reason, least_s = f"status_{status}", min(float(asked_s or 0), policy.retry_s_max)
        case Unreached(reason=reason):
            least_s = 0.0
        case _:
            assert_never(outcome)
    if failing_since is not None and timedelta(seconds=policy.dead_s) <= now - failing_since:
        return Disable(reason="dead")
    doubled_s = policy.retry_s_first * 2.0 ** min(failures, 40)
    pause_s = min(doubled_s, policy.retry_s_max) * (0.5 + fraction / 2)
    return Again(at=now + timedelta(seconds=max(pause_s, least_s)), reason=reason)


def outcome_text(decision: Decision) -> str:
    """Return the word for the log of deliveries."""
    match decision:
        case Delivered():
            return "delivered"
        case Again(reason=reason) | Disable(reason=reason):
            return reason
        case _:
            assert_never(decision)
