"""The gate: may a campaign go on?

Pure: no clock, no database, no network. `store` loads the facts and applies the answer.
Two kinds of policy: rules on the outcomes of installations, and beyond them evidence against a control group that
was held back (`guard.py`), which also may set the pace (`ramp.py`).

Invariants:
    Missing, old or contradictory evidence never yields `Advance`. Vehicles that were let go (`cancelled`) owe none: a
    wave counts without them, and one that has nobody else is passed by on the evidence that earlier waves gave.
    One more failed vehicle never turns `Halt` into something else.
    A vehicle that went silent after it had begun to install counts as failed; one that did not begin is
    counted too, against its own limit: silence is an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.guard import BOUND_MICRONATS, Past, Reading, SequentialPolicy, read_installations
from ringroad.ship.ramp import HarmBudget, RampState, decide_growth, harm_unbounded

CLOCK_SKEW_S_MAX = 300  # seconds; evidence newer than this from now is contradictory
DURATION_S_MAX = 10 * 365 * 86_400  # seconds; no campaign outlives its vehicles' first decade
VEHICLES_MAX = 1_000_000_000  # vehicles; ten times the largest fleet
PLAIN_HARM_MIN = 3  # vehicles; of fewer a good update may be unlucky
PLAIN_HARM_PERMILLE = 250  # of outcomes; no campaign goes on with a quarter harmed, whatever is compared
HARM_SEEN = "harm_seen"  # a hold for harm: the word, and behind a colon what shows it
BUDGET_SPENT = "budget_spent"  # by vehicles that were harmed while nothing bounds how many will be
ENDLESS = frozenset({"too_few_reports", "too_many_silent", "evidence_too_old"})
READING_TICKS_MAX = 4  # ticks after which a reading is old; one may be missed while the lake is busy
READING_SLACK_S = 60  # seconds on top, for ticks of a second


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """What a wave must show. Checked when it is made, so that a stored policy is always valid.

    Attributes:
        failed_permille_max: failed, rolled back and lost vehicles per 1000 outcomes; 5 is 0.5 %.
        reports_min: vehicles with an outcome before a wave may be judged good.
        soak_s: seconds that `reports_min` vehicles must have run the new software.
        silence_s_max: seconds since the newest report of the wave, at most.
        silent_permille_max: vehicles per 1000 of the wave that did not begin within their deadline.
        sequential: evidence against a control group, which then takes the place of `failed_permille_max`; None
            leaves it at the rules.
    """

    failed_permille_max: int = 20
    reports_min: int = 1
    soak_s: int = 0
    silence_s_max: int = 86_400
    silent_permille_max: int = 500
    sequential: SequentialPolicy | None = None

    @property
    def kind(self) -> str:
        """Either ``rules`` or ``sequential``."""
        return "rules" if self.sequential is None else "sequential"

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
        vehicles_downloaded: stored and verified it, as a plan asked that only downloads; nothing was installed.
        vehicles_failed: tried, nothing installed.
        vehicles_rolled_back: installed and undone.
        vehicles_lost: began to install, then silent past the deadline.
        vehicles_silent: did not begin within the deadline.
        vehicles_cancelled: let go, as they have the release already, may not have it or declined; nothing was installed.
        newest_report_at: when the newest report or manifest of the wave was received.
        evidence_since: when the last of the first `reports_min` outcomes came in; None before.
        newest_outcome_at: when the newest outcome came in; None before.
    """

    vehicles_targeted: int
    vehicles_installed: int = 0
    vehicles_downloaded: int = 0
    vehicles_failed: int = 0
    vehicles_rolled_back: int = 0
    vehicles_lost: int = 0
    vehicles_silent: int = 0
    vehicles_cancelled: int = 0
    newest_report_at: datetime | None = None
    evidence_since: datetime | None = None
    newest_outcome_at: datetime | None = None

    @property
    def harmed(self) -> int:
        """Vehicles for which the update did not do what it should."""
        return self.vehicles_failed + self.vehicles_rolled_back + self.vehicles_lost

    @property
    def reported(self) -> int:
        """Vehicles whose outcome says something: about the software, or about its download where that is all."""
        return self.vehicles_installed + self.vehicles_downloaded + self.harmed

    @property
    def open(self) -> int:
        """Vehicles whose outcome is still to come."""
        return self.vehicles_targeted - self.reported - self.vehicles_silent - self.vehicles_cancelled

    @property
    def needed(self) -> int:
        """Vehicles that were not let go: of these evidence is due. A silent, failed or lost one is among them."""
        return self.vehicles_targeted - self.vehicles_cancelled

    @property
    def contradictory(self) -> bool:
        """Whether the counts cannot all be true."""
        counts = [getattr(self, item.name) for item in fields(self) if item.name.startswith("vehicles_")]
        return min(counts) < 0 or self.open < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known from the comparison with the control group.

    Attributes:
        id: of the newest reading; 0 before there is one.
        readings: one per compared metric, of the newest reading.
        read_at: when they were read.
        refused: the metric by which any reading so far refused the update; empty while none did.
        past: how installations of earlier campaigns ended, by metric.
        control_short: why too few of the control group are controls still; empty while enough are.
    """

    id: int = 0
    readings: tuple[Reading, ...] = ()
    read_at: datetime | None = None
    refused: str = ""
    past: Mapping[str, Past] = field(default_factory=dict)
    control_short: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A campaign that grows by a budget of harm instead of in waves.

    Attributes:
        budget: of the plan.
        state: where it stands.
        used: id of the reading that released vehicles last; each does so once.
        harm_holds: whether harm that was seen holds it, as of every decision now; those recorded without it are
            replayed as they were made.
    """

    budget: HarmBudget
    state: RampState
    used: int = 0
    harm_holds: bool = False


@dataclass(frozen=True, slots=True)
class Advance:
    """Release the next wave."""

    reason: str = "evidence_good"


@dataclass(frozen=True, slots=True)
class Grow:
    """Release this many more vehicles of the current wave."""

    vehicles: int
    reason: str = "evidence_good"


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait; look again later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for a person: nobody of the wave is left whose outcome could end the wait."""

    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop, withdraw what is not yet installed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Every vehicle of every wave has an outcome."""

    reason: str = "every_outcome_known"


GateDecision = Advance | Grow | Hold | Pause | Halt | Finish


def decide_gate(
    policy: GatePolicy,
    wave: WaveFacts,
    released: WaveFacts,
    *,
    last_wave: bool,
    now: datetime,
    withdrawn: bool = False,
    reports_waiting: bool = False,
    harm_named: bool = False,
    harm_ends: bool = False,
    silence_pauses: bool = False,
    silence_accepted: bool = False,
    pauses_last: bool = False,
    evidence: Evidence | None = None,
    ramp: Ramp | None = None,
) -> GateDecision:
    """Decide on the current wave.

    1. A withdrawn release halts, and harm: on the wave and on all released so far; old harm is still harm.
       Where there is a sequential policy, harm is what its metrics refuse, and what is plain without them.
    2. Evidence that contradicts itself or the clock, or that is not all counted yet, holds.
    3. The last wave finishes when every vehicle has an outcome and the soak is over; it cannot advance.
       Where vehicles are compared with a control group, not before the newest was watched, and not while harm is seen.
    4. Enough outcomes, at most the size of the wave without vehicles that were let go; none of one that let all go.
       A ramp grows instead, within its budget, once per reading, on fresh ones only, below the margins.
    5. Not too many vehicles that never answered.
    6. The soak is over.
    7. The newest report is fresh, and so are the readings, all within margins; enough vehicles are compared with still.

    What misses at 4, 5 or 7 once no vehicle is open pauses for good, unless a person accepted that or harm is seen.
    Integers only: a limit that was just met must not depend on rounding.

    Args:
        policy: the plan's gate.
        wave: facts of the current wave.
        released: facts of every wave released so far, the current one included.
        last_wave: whether the plan has no further wave.
        now: the server's time.
        withdrawn: whether the release may not go out any more.
        reports_waiting: whether acknowledged reports are not in the facts yet.
        harm_named: harm holds waves too, in one stratum as in all, and is named; not so in decisions of before.
        harm_ends: harm holds a campaign that has nothing more to release, too; not so in decisions of before.
        silence_pauses: a wait that nothing can end pauses; not so in decisions of before.
        silence_accepted: an approver lets the campaign go on without what vehicles of this wave never reported.
        pauses_last: no pause over harm, or while an earlier wave may report; not so in decisions of before.
        evidence: for a sequential policy; without it nothing good is decided.
        ramp: of a campaign that grows by a budget of harm.
    """
    if harm := "release_withdrawn" if withdrawn else _harm(policy, wave, released, evidence):  # 1
        return Halt(harm)
    if wrong := "reports_waiting" if reports_waiting else _contradiction(wave, released, now=now):  # 2
        return Hold(wrong)
    if ramp is not None and ramp.state.left:  # 4
        return _grow(policy, ramp, evidence, named=harm_named, now=now)
    budget = ramp.budget if ramp else None
    seen = harm_of(policy, wave, released, evidence=evidence, budget=budget)
    if last_wave:  # 3
        return Hold(seen) if seen and harm_ends else _end(policy, wave, released, evidence, now=now)
    missing = _missing(policy, wave, released, now=now)  # 4 to 7
    if missing in ENDLESS and (wave if wave.needed else released).open == 0:
        if silence_accepted:
            return _go_on(policy, released, evidence, now=now)
        if silence_pauses and not (pauses_last and (seen or released.open)):
            return Pause(f"{missing}_for_good")
        missing = seen if seen and pauses_last else missing
    if missing:
        return Hold(missing)
    good = Advance() if wave.needed else Advance("wave_let_go")  # 4: where all were, the next takes its place
    return good if released.needed == 0 else _compared(policy, evidence, good, named=harm_named, now=now)


def installation_readings(
    policy: SequentialPolicy, released: WaveFacts, past: Mapping[str, Past]
) -> tuple[Reading, ...]:
    """Read how installations went in all released waves, against the past."""
    return read_installations(
        policy,
        past,
        installed=released.vehicles_installed,
        failed=released.vehicles_failed + released.vehicles_lost,
        rolled_back=released.vehicles_rolled_back,
    )


def harm_of(
    policy: GatePolicy,
    wave: WaveFacts,
    released: WaveFacts,
    *,
    evidence: Evidence | None,
    budget: HarmBudget | None,
) -> str:
    """Return what speaks against the release, whoever decides: why it would be halted or held, or an empty text."""
    harm = _harm(policy, wave, released, evidence)
    if harm or policy.sequential is None or evidence is None:
        return harm
    seen = _harm_seen(policy.sequential, evidence.readings, strata=True)
    if not seen and budget is not None and harm_unbounded(evidence.readings) >= budget.harmed_first:
        seen = BUDGET_SPENT
    return f"{HARM_SEEN}: {seen}" if seen else ""


def _harm(policy: GatePolicy, wave: WaveFacts, released: WaveFacts, evidence: Evidence | None) -> str:
    """Return why the campaign must stop, or an empty text."""
    if policy.sequential is None:
        bad = _too_much_harm(policy, wave) or _too_much_harm(policy, released)
        return "too_many_failures" if bad else ""
    known = evidence or Evidence()
    if known.refused:
        return f"worse_than_control: {known.refused}"
    if released.contradictory:
        return ""
    refused = [
        reading.metric
        for reading in installation_readings(policy.sequential, released, known.past)
        if reading.exceeded
    ]
    if refused:
        return f"worse_than_before: {refused[0]}"
    return "too_many_failures" if _plain_harm(wave) or _plain_harm(released) else ""


def _contradiction(wave: WaveFacts, released: WaveFacts, *, now: datetime) -> str:
    """Return how the evidence contradicts itself or the clock, or an empty text."""
    fewer = released.vehicles_targeted < wave.vehicles_targeted
    if wave.contradictory or released.contradictory or fewer:
        return "contradictory_evidence"
    if wave.vehicles_targeted == 0:
        return "empty_wave"
    future = any(_is_future(at, now) for at in (wave.newest_report_at, wave.evidence_since))
    return "evidence_from_the_future" if future else ""


def _missing(policy: GatePolicy, wave: WaveFacts, released: WaveFacts, *, now: datetime) -> str:
    """Return why outcomes of a wave are not enough yet; a wave that let all go is passed by on what earlier ones showed."""
    if wave.needed == 0:
        return "" if released.reported or released.needed == 0 else "too_few_reports"
    if wave.reported < min(policy.reports_min, wave.needed):
        return "too_few_reports"
    if policy.silent_permille_max * wave.vehicles_targeted < wave.vehicles_silent * 1000:
        return "too_many_silent"
    if wave.evidence_since is None or not _is_past(wave.evidence_since, policy.soak_s, now):
        return "soaking"
    newest = wave.newest_report_at
    if newest is None or timedelta(seconds=policy.silence_s_max) < now - newest:
        return "evidence_too_old"
    return ""


def _go_on(policy: GatePolicy, released: WaveFacts, evidence: Evidence | None, *, now: datetime) -> GateDecision:  # fmt: skip
    """Advance without the outcomes that a person accepted to miss, once the newest that came has soaked; harm holds."""
    newest = released.newest_outcome_at
    if released.reported and newest is not None and not _is_past(newest, policy.soak_s, now):
        return Hold("soaking")
    known = released.vehicles_installed > 0  # of nobody who runs it, nothing ever will be
    return _compared(policy, evidence, Advance("silence_accepted"), named=True, now=now, known=known)


def _compared(
    policy: GatePolicy, evidence: Evidence | None, good: Advance, *, named: bool, now: datetime, known: bool = True
) -> GateDecision:  # fmt: skip
    """Advance only if the comparison with the control group can be relied on, knows every metric and accepts it."""
    missing = _too_small(evidence) or _not_fresh(policy, evidence, now=now)
    missing = missing or (_not_known(policy, evidence) if known else "")
    if not missing and named and policy.sequential is not None and evidence is not None:
        seen = _harm_seen(policy.sequential, evidence.readings, strata=True)
        missing = f"{HARM_SEEN}: {seen}" if seen else ""
    return Hold(missing) if missing else good


def _end(
    policy: GatePolicy, wave: WaveFacts, released: WaveFacts, evidence: Evidence | None, *, now: datetime
) -> GateDecision:
    if released.open:
        return Hold("outcomes_awaited")
    if wave.evidence_since is not None and not _is_past(wave.evidence_since, policy.soak_s, now):
        return Hold("soaking")
    unseen = _not_fresh(policy, evidence, now=now) or _watching(policy, released, evidence)
    return Hold(unseen) if unseen else Finish()


def _grow(
    policy: GatePolicy, ramp: Ramp, evidence: Evidence | None, *, named: bool, now: datetime
) -> GateDecision:
    """A metric that is not known yet needs no hold here: without evidence every vehicle is taken to fail."""
    missing = _too_small(evidence) or _not_fresh(policy, evidence, now=now)
    if missing or evidence is None or policy.sequential is None:
        return Hold(missing or "no_reading")
    if evidence.id <= ramp.used:
        return Hold("budget_in_flight")
    seen = _harm_seen(policy.sequential, evidence.readings, strata=named) if ramp.harm_holds else ""
    if seen:
        return Hold(f"{HARM_SEEN}: {seen}" if named else HARM_SEEN)
    window_us = policy.sequential.window_s * 1_000_000
    harmed = harm_unbounded(evidence.readings) if ramp.harm_holds else 0.0
    more = decide_growth(ramp.budget, evidence.readings, ramp.state, window_us=window_us, harmed=harmed)
    if more:
        return Grow(more)
    if harmed < ramp.budget.harmed_first:
        return Hold("budget_in_flight")
    return Hold(f"{HARM_SEEN}: {BUDGET_SPENT}" if named else HARM_SEEN)


def _harm_seen(policy: SequentialPolicy, readings: Sequence[Reading], *, strata: bool) -> str:
    """Return the metric that is worse than is accepted with the confidence of a bound; to halt takes more.

    With `strata`, what those say counts too: by the e-value, which shares one chance of error out among all of them.
    """
    margins = {metric.name: metric.margin_milli for metric in policy.compared}
    for each in (each for each in readings if each.known and each.metric in margins):
        margin = margins[each.metric]
        if margin < each.low_milli:
            return each.metric
        if strata and each.strata and each.log_e_micronats >= BOUND_MICRONATS:
            worst = each.strata[0]
            return f"{each.metric} in {worst.stratum}" if margin < worst.low_milli else each.metric
    return ""


def _too_small(evidence: Evidence | None) -> str:
    return "control_too_small" if evidence is not None and evidence.control_short else ""


def _not_fresh(policy: GatePolicy, evidence: Evidence | None, *, now: datetime) -> str:
    """Return why the comparison with the control group cannot be relied on now, or an empty text."""
    if policy.sequential is None or not policy.sequential.compared:
        return ""
    if evidence is None or evidence.read_at is None:
        return "no_reading"
    stale_s = READING_TICKS_MAX * policy.sequential.tick_s + READING_SLACK_S
    if _is_future(evidence.read_at, now):
        return "evidence_from_the_future"
    if timedelta(seconds=stale_s) < now - evidence.read_at:
        return "reading_too_old"
    return ""


def _watching(policy: GatePolicy, released: WaveFacts, evidence: Evidence | None) -> str:
    """Return why the newest update was not watched for long enough yet, or an empty text."""
    sequential, newest = policy.sequential, released.newest_outcome_at
    if sequential is None or not sequential.compared or newest is None:
        return ""
    read_at = evidence.read_at if evidence else None
    watched_s = sequential.window_s + sequential.late_s
    return "" if read_at is not None and _is_past(newest, watched_s, read_at) else "watching"


def _not_known(policy: GatePolicy, evidence: Evidence | None) -> str:
    """Name a metric of which one arm was never observed, or return an empty text."""
    read = {reading.metric for reading in (evidence.readings if evidence else ()) if reading.known}
    compared = policy.sequential.compared if policy.sequential else ()
    return next((f"not_known: {metric.name}" for metric in compared if metric.name not in read), "")


def _too_much_harm(policy: GatePolicy, facts: WaveFacts) -> bool:
    """Compare with the outcomes once there are enough of them, before with all that were targeted."""
    enough = policy.reports_min <= facts.reported
    base = facts.reported if enough else max(facts.vehicles_targeted, facts.reported)
    return policy.failed_permille_max * base < facts.harmed * 1000


def _plain_harm(facts: WaveFacts) -> bool:
    """Say whether so much went wrong that no comparison is waited for: with few vehicles it would take waves to tell."""
    return (
        facts.harmed >= PLAIN_HARM_MIN
        and not facts.contradictory
        and PLAIN_HARM_PERMILLE * facts.reported <= facts.harmed * 1000
    )


def _is_future(at: datetime | None, now: datetime) -> bool:
    return at is not None and timedelta(seconds=CLOCK_SKEW_S_MAX) < at - now


def _is_past(at: datetime, seconds: int, now: datetime) -> bool:
    return timedelta(seconds=seconds) <= now - at
