"""The wave gate: may a campaign go on to its next wave?

Pure: no clock, no database, no network. `store` loads the facts and applies the answer.

Invariants:
    Missing, old or contradictory evidence never yields `Advance`.
    One more failed vehicle never turns `Halt` into something else.
    A vehicle that went silent after it had begun to install counts as failed; one that did not begin is
    counted too, against its own limit: silence is an outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from ringroad.kernel.errors import InvalidInput

CLOCK_SKEW_S_MAX = 300  # seconds; evidence newer than this from now is contradictory
DURATION_S_MAX = 10 * 365 * 86_400  # seconds; no campaign outlives its vehicles' first decade
VEHICLES_MAX = 1_000_000_000  # vehicles; ten times the largest fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """What a wave must show. Checked when it is made, so that a stored policy is always valid.

    Attributes:
        failed_permille_max: failed, rolled back and lost vehicles per 1000 outcomes; 5 is 0.5 %.
        reports_min: vehicles with an outcome before a wave may be judged good.
        soak_s: seconds that `reports_min` vehicles must have run the new software.
        silence_s_max: seconds since the newest report of the wave, at most.
        silent_permille_max: vehicles per 1000 of the wave that did not begin within their deadline.
    """

    failed_permille_max: int = 20
    reports_min: int = 1
    soak_s: int = 0
    silence_s_max: int = 86_400
    silent_permille_max: int = 500

    def __post_init__(self) -> None:
        """Refuse a policy that could not be met or could not fail."""
        for name in ("failed_permille_max", "silent_permille_max"):
            if not 0 <= getattr(self, name) <= 1000:
                raise InvalidInput(f"{name} must be between 0 and 1000")
        if not 1 <= self.reports_min <= VEHICLES_MAX:
            raise InvalidInput(f"reports_min must be between 1 and {VEHICLES_MAX}")
        if not 0 <= self.soak_s <= DURATION_S_MAX:
            raise InvalidInput(f"soak_s must be between 0 and {DURATION_S_MAX}")
        if not 1 <= self.silence_s_max <= DURATION_S_MAX:
            raise InvalidInput(f"silence_s_max must be between 1 and {DURATION_S_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveFacts:
    """What is known of one wave, or of all waves released so far. Counts are vehicles.

    Attributes:
        vehicles_targeted: of the wave.
        vehicles_installed: confirmed, by manifest or by closed/success over DDI.
        vehicles_failed: tried, nothing installed.
        vehicles_rolled_back: installed and undone.
        vehicles_lost: began to install, then silent past the deadline.
        vehicles_silent: did not begin within the deadline.
        vehicles_cancelled: withdrawn.
        newest_report_at: when the newest report or manifest of the wave was received.
        evidence_since: when the last of the first `reports_min` outcomes came in; None before.
    """

    vehicles_targeted: int
    vehicles_installed: int = 0
    vehicles_failed: int = 0
    vehicles_rolled_back: int = 0
    vehicles_lost: int = 0
    vehicles_silent: int = 0
    vehicles_cancelled: int = 0
    newest_report_at: datetime | None = None
    evidence_since: datetime | None = None

    @property
    def harmed(self) -> int:
        """Vehicles for which the update did not do what it should."""
        return self.vehicles_failed + self.vehicles_rolled_back + self.vehicles_lost

    @property
    def reported(self) -> int:
        """Vehicles whose outcome says something about the software."""
        return self.vehicles_installed + self.harmed

    @property
    def open(self) -> int:
        """Vehicles whose outcome is still to come."""
        return self.vehicles_targeted - self.reported - self.vehicles_silent - self.vehicles_cancelled

    @property
    def contradictory(self) -> bool:
        """Whether the counts cannot all be true."""
        counts = [getattr(self, item.name) for item in fields(self) if item.name.startswith("vehicles_")]
        return min(counts) < 0 or self.open < 0


@dataclass(frozen=True, slots=True)
class Advance:
    """Release the next wave."""

    reason: str = "evidence_good"


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait; look again later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop, withdraw what is not yet installed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Every vehicle of every wave has an outcome."""

    reason: str = "every_outcome_known"


GateDecision = Advance | Hold | Halt | Finish


def decide_gate(
    policy: GatePolicy,
    wave: WaveFacts,
    released: WaveFacts,
    *,
    last_wave: bool,
    now: datetime,
    withdrawn: bool = False,
    reports_waiting: bool = False,
) -> GateDecision:
    """Decide on the current wave.

    1. A withdrawn release halts, and harm: on the wave and on all released so far; old harm is still harm.
    2. Evidence that contradicts itself or the clock, or that is not all counted yet, holds.
    3. The last wave finishes when every vehicle has an outcome and the soak is over; it cannot advance.
    4. Enough outcomes, at most the size of the wave.
    5. Not too many vehicles that never answered.
    6. The soak is over.
    7. The newest report is fresh.

    Integers only: a limit that was just met must not depend on rounding.

    Args:
        policy: the plan's gate.
        wave: facts of the current wave.
        released: facts of every wave released so far, the current one included.
        last_wave: whether the plan has no further wave.
        now: the server's time.
        withdrawn: whether the release may not go out any more.
        reports_waiting: whether acknowledged reports are not in the facts yet.
    """
    if withdrawn:  # 1
        return Halt("release_withdrawn")
    if _too_much_harm(policy, wave) or _too_much_harm(policy, released):  # 1
        return Halt("too_many_failures")
    if reports_waiting:  # 2
        return Hold("reports_waiting")
    if (
        wave.contradictory or released.contradictory or released.vehicles_targeted < wave.vehicles_targeted
    ):  # 2
        return Hold("contradictory_evidence")
    if wave.vehicles_targeted == 0:
        return Hold("empty_wave")
    if any(_is_future(at, now) for at in (wave.newest_report_at, wave.evidence_since)):
        return Hold("evidence_from_the_future")
    if last_wave:  # 3
        if released.open:
            return Hold("outcomes_awaited")
        soaking = wave.evidence_since is not None and not _is_past(wave.evidence_since, policy.soak_s, now)
        return Hold("soaking") if soaking else Finish()
    if wave.reported < min(policy.reports_min, wave.vehicles_targeted):  # 4
        return Hold("too_few_reports")
    if policy.silent_permille_max * wave.vehicles_targeted < wave.vehicles_silent * 1000:  # 5
        return Hold("too_many_silent")
    if wave.evidence_since is None or not _is_past(wave.evidence_since, policy.soak_s, now):  # 6
        return Hold("soaking")
    if (
        wave.newest_report_at is None or timedelta(seconds=policy.silence_s_max) < now - wave.newest_report_at
    ):  # 7
        return Hold("evidence_too_old")
    return Advance()


def _too_much_harm(policy: GatePolicy, facts: WaveFacts) -> bool:
    """Compare with the outcomes once there are enough of them, before with all that were targeted."""
    enough = policy.reports_min <= facts.reported
    base = facts.reported if enough else max(facts.vehicles_targeted, facts.reported)
    return policy.failed_permille_max * base < facts.harmed * 1000


def _is_future(at: datetime | None, now: datetime) -> bool:
    return at is not None and timedelta(seconds=CLOCK_SKEW_S_MAX) < at - now


def _is_past(at: datetime, seconds: int, now: datetime) -> bool:
    return timedelta(seconds=seconds) <= now - at
