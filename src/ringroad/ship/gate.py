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
    Integers only: a limit that was just met must not depend on rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.fresh import UNREAD, contradiction, is_past, not_fresh, stale_s, stays_unread, watching
from ringroad.ship.guard import Past, Reading, SequentialPolicy, read_installations
from ringroad.ship.known import harm_seen, no_pace, not_known, refused_where
from ringroad.ship.ramp import HarmBudget, Ramp, growth, harm_proved, harm_unbounded
from ringroad.ship.reason_words import BUDGET_SPENT, BUDGET_UNPROVED
from ringroad.ship.wave_facts import PLAIN_HARM_PERMILLE, WaveFacts

DURATION_S_MAX = 10 * 365 * 86_400  # seconds; no campaign outlives its vehicles' first decade
VEHICLES_MAX = 1_000_000_000  # vehicles; ten times the largest fleet
HARM_SEEN = "harm_seen"  # a hold for harm: the word, and behind a colon what shows it
NOT_KNOWN = "not_known"  # a hold for a metric that was never observed: the word, and behind a colon which
ENDLESS = frozenset({"too_few_reports", "too_many_silent", "evidence_too_old"})
SILENT = "telemetry_silent"  # a hold where nothing is known of now, and something was before


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """What a wave must show. Checked when it is made, so that a stored policy is always valid.

    Attributes:
        failed_permille_max: failed, rolled back and lost vehicles per 1000 outcomes; 5 is 0.5 %.
        reports_min: vehicles with an outcome before a wave may be judged good.
        soak_s: seconds that `reports_min` vehicles must have run the new software.
        silence_s_max: seconds since the newest report of the wave, at most, without those of pauses.
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
class Evidence:
    """What is known from the comparison with the control group.

    Attributes:
        id: of the newest reading; 0 before there is one.
        readings: one per compared metric, of the newest reading.
        read_at: when they were read.
        refused: the metric by which any reading so far refused the update; empty while none did.
        past: how installations of earlier campaigns ended, by metric.
        control_short: why too few of the control group are controls still; empty while enough are.
        exposed: exposure of each metric, treated and control, by the reading that released the wave; else empty.
        silent: telemetry is not read now, so that nothing new is known of any metric.
        silent_since: since when; None where it is read, and in decisions of before, which waited without an end.
    """

    id: int = 0
    readings: tuple[Reading, ...] = ()
    read_at: datetime | None = None
    refused: str = ""
    past: Mapping[str, Past] = field(default_factory=dict)
    control_short: str = ""
    exposed: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    silent: bool = False
    silent_since: datetime | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """By what a wave is judged: the words of `decide_gate`, `harm_named` and `strata_named` as `named` and `where`.

    Attributes:
        known: whether a wait for what is not known ends with a pause; None asks for nothing to be known.
        unread: whether a person goes on without a reading; None: a wait for one does not end, as before `unread_ends`.
    """

    silence_accepted: bool
    silence_pauses: bool
    pauses_last: bool
    unknown_holds: bool
    named: bool
    where: bool
    known: bool | None
    unread: bool | None
    now: datetime


def decide_gate(
    policy: GatePolicy, wave: WaveFacts, released: WaveFacts,
    *,
    last_wave: bool,
    now: datetime,
    withdrawn: bool = False, reports_waiting: bool = False, silence_accepted: bool = False, unknown_accepted: bool = False,
    harm_named: bool = False, harm_ends: bool = False, silence_pauses: bool = False, pauses_last: bool = False,
    unknown_holds: bool = False, unknown_ends: bool = False, unread_ends: bool = False, strata_named: bool = False,
    unread_watched: bool = False, evidence: Evidence | None = None, ramp: Ramp | None = None,
) -> GateDecision:  # fmt: skip
    """Decide on the current wave.

    1. A withdrawn release halts, and harm: on the wave and on all released so far; old harm is still harm.
       Where there is a sequential policy, harm is what its metrics refuse, and what is plain without them.
       A ramp whose budget is spent by harm that is proved pauses.
    2. Evidence that contradicts itself or the clock, or that is not all counted yet, holds.
    3. The last wave finishes when every vehicle has an outcome and the soak is over; it cannot advance.
       Where vehicles are compared with a control group, not before the newest was watched, nor while harm is seen or 7 misses.
    4. Enough outcomes, at most the size of the wave without those let go; none of one that let all go, if others gave any.
       A ramp grows instead, within its budget, once per reading, on fresh ones only, below the margins.
    5. Not too many vehicles that never answered.
    6. The soak is over.
    7. The newest report is fresh, and so are the readings, known and within margins; telemetry is read, enough compared with.

    What misses at 4, 5 or 7 with no vehicle open or watched pauses for good, unless a person accepted that or harm is seen.

    Args:
        policy: the plan's gate.
        wave: facts of the current wave.
        released: facts of every wave released so far, the current one included.
        last_wave: whether the plan has no further wave.
        now: the server's time.
        withdrawn: whether the release may not go out any more.
        reports_waiting: whether acknowledged reports are not in the facts yet.
        silence_accepted: an approver lets the campaign go on without what vehicles of this wave never reported.
        unknown_accepted: likewise, without metrics of which nothing is known; a ramp by one step.
        harm_named: harm holds waves too, in one stratum as in all, and is named; not so in decisions of before.
        harm_ends: harm holds a campaign that has nothing more to release, too; likewise.
        silence_pauses: a wait that nothing can end pauses; likewise.
        pauses_last: no pause over harm, or while an earlier wave may report; likewise.
        unknown_holds: nothing at all that is known holds, and pauses once nothing can be; likewise.
        unknown_ends: the same holds where nothing more is to be released; likewise.
        unread_ends: a wait for a reading that does not come pauses, too, and is accepted as unknown; likewise.
        unread_watched: what was accepted so finishes only once the newest was to be watched, and says so; likewise.
        strata_named: harm that is seen in all is named by its worst stratum, where that stands out; likewise.
        evidence: for a sequential policy; without it nothing good is decided.
        ramp: of a campaign that grows by a budget of harm.
    """
    harm = _harm(policy, wave, released, evidence, where=strata_named)
    if withdrawn or harm:  # 1
        return Halt("release_withdrawn" if withdrawn else harm)
    if ramp is not None and evidence is not None and ramp.is_spent(evidence.readings):  # 1
        return Pause(BUDGET_SPENT)
    if wrong := "reports_waiting" if reports_waiting else contradiction(wave, released, now=now):  # 2
        return Hold(wrong)
    rules = _Rules(
        named=harm_named, where=strata_named, known=None if unknown_accepted else unknown_holds,
        unread=unknown_accepted if unread_ends else None, now=now, silence_accepted=silence_accepted,
        silence_pauses=silence_pauses, pauses_last=pauses_last, unknown_holds=unknown_holds,
    )  # fmt: skip
    evidence = replace(evidence, exposed={}) if evidence and not wave.vehicles_installed else evidence
    budget = ramp.budget if ramp else None
    seen = harm_of(policy, wave, released, evidence=evidence, budget=budget, where=strata_named)
    if ramp is not None and ramp.state.left:  # 4
        return _grow(policy, ramp, released, evidence, rules, seen=seen)
    if last_wave:  # 3
        known = bool(rules.known and unknown_ends)
        ended = _end(policy, wave, released, evidence, rules, ramp=ramp, known=known, watched=unread_watched)
        return Hold(seen) if seen and harm_ends else ended
    return _next(policy, wave, released, evidence, rules, seen=seen)


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
    policy: GatePolicy, wave: WaveFacts, released: WaveFacts, *, evidence: Evidence | None, budget: HarmBudget | None,
    where: bool = True,
) -> str:  # fmt: skip
    """Return what speaks against the release, whoever decides: why it would be halted or held, or an empty text."""
    harm = _harm(policy, wave, released, evidence, where=where)
    if harm or policy.sequential is None or evidence is None:
        return harm
    seen = harm_seen(policy.sequential, evidence.readings, strata=True, where=where)
    if not seen and budget is not None and harm_unbounded(evidence.readings) >= budget.harmed_first:
        seen = BUDGET_SPENT
    return f"{HARM_SEEN}: {seen}" if seen else ""


def harm_at_end(
    policy: GatePolicy, wave: WaveFacts, released: WaveFacts, *, evidence: Evidence | None, budget: HarmBudget | None
) -> str:  # fmt: skip
    """Return the same for a campaign that a person ends: few outcomes are all it has, and more than a quarter is harm."""
    harm = harm_of(policy, wave, released, evidence=evidence, budget=budget)
    if not harm and evidence and budget and budget.harmed_last <= harm_proved(evidence.readings):
        return f"{HARM_SEEN}: {BUDGET_SPENT}"
    limit = PLAIN_HARM_PERMILLE if policy.sequential else max(PLAIN_HARM_PERMILLE, policy.failed_permille_max)
    plain = released.harmed > 0 and limit * released.reported < released.harmed * 1000
    return harm or ("too_many_failures" if plain and not released.contradictory else "")


def _harm(
    policy: GatePolicy, wave: WaveFacts, released: WaveFacts, evidence: Evidence | None, *, where: bool
) -> str:
    """Return why the campaign must stop, or an empty text."""
    if policy.sequential is None:
        bad = [
            facts.fails_more(policy.failed_permille_max, of=policy.reports_min) for facts in (wave, released)
        ]
        return "too_many_failures" if any(bad) else ""
    known = evidence or Evidence()
    if known.refused:
        seen = refused_where(policy.sequential, known.readings, known.refused) if where else known.refused
        return f"worse_than_control: {seen}"
    if released.contradictory:
        return ""
    refused = [
        reading.metric
        for reading in installation_readings(policy.sequential, released, known.past)
        if reading.exceeded
    ]
    if refused:
        return f"worse_than_before: {refused[0]}"
    return "too_many_failures" if wave.plain_harm or released.plain_harm else ""


def _next(
    policy: GatePolicy, wave: WaveFacts, released: WaveFacts, evidence: Evidence | None, rules: _Rules, *, seen: str
) -> GateDecision:  # fmt: skip
    """Go beyond a wave whose outcomes are good, or were accepted to be missing; 4 to 7 of `decide_gate`."""
    missing = _missing(policy, wave, released, unknown_holds=rules.unknown_holds, now=rules.now)
    if missing in ENDLESS and (wave if wave.needed else released).open == 0:
        if rules.silence_accepted:
            return _go_on(policy, released, evidence, rules)
        waits = rules.silence_pauses or (rules.unknown_holds and wave.needed == 0)
        if waits and not (rules.pauses_last and (seen or released.open)):
            return Pause(f"{missing}_for_good")
        missing = seen if seen and rules.pauses_last else missing
    if missing:
        return Hold(missing)
    good = Advance() if wave.needed else Advance("wave_let_go")  # where all were, the next takes its place
    if released.needed == 0:  # decisions of before
        return good
    return _compared(policy, released, evidence, good, rules)


def _missing(
    policy: GatePolicy, wave: WaveFacts, released: WaveFacts, *, unknown_holds: bool, now: datetime
) -> str:
    """Return why outcomes of a wave are not enough yet; a wave that let all go is passed by on what earlier ones showed."""
    if wave.needed == 0:
        passed = released.reported or (released.needed == 0 and not unknown_holds)
        return "" if passed else "too_few_reports"
    if wave.reported < min(policy.reports_min, wave.needed):
        return "too_few_reports"
    if policy.silent_permille_max * wave.vehicles_targeted < wave.vehicles_silent * 1000:
        return "too_many_silent"
    if wave.evidence_since is None or not is_past(wave.evidence_since, policy.soak_s, now):
        return "soaking"
    newest = wave.newest_report_at
    if newest is None or timedelta(seconds=policy.silence_s_max + wave.paused_s) < now - newest:
        return "evidence_too_old"
    return ""


def _go_on(policy: GatePolicy, released: WaveFacts, evidence: Evidence | None, rules: _Rules) -> GateDecision:
    """Advance without the outcomes that a person accepted to miss, once the newest that came has soaked; harm holds."""
    newest = released.newest_outcome_at
    if released.reported and newest is not None and not is_past(newest, policy.soak_s, rules.now):
        return Hold("soaking")
    # Of nobody who runs it, nothing ever will be known.
    known = rules.known if released.vehicles_installed else None
    rules = replace(rules, named=True, known=known)
    return _compared(policy, released, evidence, Advance("silence_accepted"), rules)


def _compared(
    policy: GatePolicy, released: WaveFacts, evidence: Evidence | None, good: Advance, rules: _Rules
) -> GateDecision:
    """Advance only if the comparison with the control group can be relied on, knows every metric and accepts it."""
    readings = evidence.readings if evidence else ()
    seen = ""
    if rules.named and policy.sequential:
        seen = harm_seen(policy.sequential, readings, strata=True, where=rules.where)
    missing = _too_small(evidence) or _not_fresh(policy, evidence, now=rules.now)
    if missing in UNREAD and rules.unread is not None:
        return _unread(missing, policy, released, Advance("unknown_accepted"), rules, seen=seen)
    if missing:
        return Hold(missing)
    unread = not_known(policy.sequential, readings, exposed=evidence.exposed if evidence else {})
    if unread and rules.known is not None and not (rules.known and seen):
        return _unknown(unread, policy, released, evidence, pauses=rules.known)
    if seen:
        return Hold(f"{HARM_SEEN}: {seen}")
    if rules.known is not None and evidence and evidence.silent:
        return _silent(policy, released, evidence, now=rules.now)
    return Advance("unknown_accepted") if unread and good == Advance() else good


def _unread(
    missing: str, policy: GatePolicy, released: WaveFacts, good: Advance | Grow | Finish, rules: _Rules, *, seen: str,
    unreleased: int = 0,
) -> GateDecision:  # fmt: skip
    """Hold for want of a reading of now; pause once one stays out of which all were to be known, and go on where accepted."""
    if seen:
        return Hold(seen if seen.startswith(HARM_SEEN) else f"{HARM_SEEN}: {seen}")
    if rules.unread:
        return good
    stays = stays_unread(policy.sequential, released.newest_outcome_at, now=rules.now)
    if stays and released.open <= unreleased:
        return Pause(f"{NOT_KNOWN}_for_good: {not_known(policy.sequential, (), exposed={})}")
    return Hold(missing)


def _unknown(
    metric: str, policy: GatePolicy, released: WaveFacts, evidence: Evidence | None, *, pauses: bool, unreleased: int = 0,
) -> GateDecision:  # fmt: skip
    """Hold for a metric of which nothing is known; pause once everyone was watched of whom something could be."""
    if not pauses or released.open > unreleased or _watching(policy, released, evidence):
        return Hold(f"{NOT_KNOWN}: {metric}")
    return Pause(f"{NOT_KNOWN}_for_good: {metric}")


def _silent(
    policy: GatePolicy, released: WaveFacts, evidence: Evidence, *, now: datetime, unreleased: int = 0
) -> GateDecision:
    """Hold while telemetry is silent; pause once it is for as long as makes a reading old, if everyone was watched."""
    since, metric = evidence.silent_since, not_known(policy.sequential, (), exposed={})
    lasts = policy.sequential and since is not None and is_past(since, stale_s(policy.sequential), now)
    asked = _unknown(metric, policy, released, evidence, pauses=bool(lasts), unreleased=unreleased)
    return asked if isinstance(asked, Pause) else Hold(SILENT)


def _end(
    policy: GatePolicy, wave: WaveFacts, released: WaveFacts, evidence: Evidence | None, rules: _Rules,
    *, ramp: Ramp | None, known: bool, watched: bool,
) -> GateDecision:  # fmt: skip
    """Finish once every outcome is known, and what is compared: of a ramp that may have been released one more."""
    if released.open:
        return Hold("outcomes_awaited")
    if wave.evidence_since is not None and not is_past(wave.evidence_since, policy.soak_s, rules.now):
        return Hold("soaking")
    missing = _not_fresh(policy, evidence, now=rules.now)
    if missing in UNREAD and rules.unread is not None:
        newest = released.newest_outcome_at
        if watched and newest is not None and not stays_unread(policy.sequential, newest, now=rules.now):
            return Hold(missing)
        good = Finish("unknown_accepted") if watched else Finish()
        return _unread(missing, policy, released, good, rules, seen="")
    if unseen := missing or _watching(policy, released, evidence):
        return Hold(unseen)
    if not (known and released.vehicles_installed) or evidence is None or policy.sequential is None:
        return Finish()
    unread = not_known(policy.sequential, evidence.readings, exposed=evidence.exposed)
    if ramp is not None:
        unread = no_pace(policy.sequential, evidence.readings)
        in_flight = replace(ramp.budget, counts="in_flight")
        one_more = replace(ramp, budget=in_flight, state=replace(ramp.state, left=1))
        by_time, by_sight, _ = growth(policy.sequential, one_more, evidence.readings, unread=unread)
        unread = unread or (ramp.unseen if by_time and not by_sight else "")
    if unread:
        return _unknown(unread, policy, released, evidence, pauses=True)
    return _silent(policy, released, evidence, now=rules.now) if evidence.silent else Finish()


def _grow(
    policy: GatePolicy, ramp: Ramp, released: WaveFacts, evidence: Evidence | None, rules: _Rules, *, seen: str
) -> GateDecision:  # fmt: skip
    """Grow within the budget; without evidence every vehicle is taken to fail.

    While nothing is known (`rules.known`), nobody who began was watched either, so that it grows as far as the first
    budget and not beyond; where it is no more, from then on. None lets time free that again, as decisions of before did.
    `seen`: harm, by whatever reading is the newest.
    """
    known, left = rules.known, ramp.state.left
    missing = _too_small(evidence) or _not_fresh(policy, evidence, now=rules.now)
    if missing in UNREAD and rules.unread is not None:
        step = Grow(min(left, ramp.budget.harmed_first), "unknown_accepted")
        return _unread(missing, policy, released, step, rules, seen=seen, unreleased=left)
    if missing or evidence is None or policy.sequential is None:
        return Hold(missing or "no_reading")
    if evidence.id <= ramp.used:
        return Hold("budget_in_flight")
    harm = ""
    if ramp.harm_holds:
        harm = harm_seen(policy.sequential, evidence.readings, strata=rules.named, where=rules.where)
    if harm:
        return Hold(f"{HARM_SEEN}: {harm}" if rules.named else HARM_SEEN)
    unread = no_pace(policy.sequential, evidence.readings) if known is not False else ""
    by_time, by_sight, harmed = growth(policy.sequential, ramp, evidence.readings, unread=unread)
    if more := by_sight if known else by_time:
        if known is None and (unread or by_sight < more):
            most = max(by_sight, ramp.budget.harmed_first) if ramp.steps else more
            return Grow(min(more, most), "unknown_accepted")
        if known is not None and evidence.silent:
            return _silent(policy, released, evidence, now=rules.now, unreleased=left)
        return Grow(more, "few_began") if unread else Grow(more)
    if harmed >= ramp.budget.harmed_first:
        return Hold(f"{HARM_SEEN}: {BUDGET_SPENT}" if rules.named else HARM_SEEN)
    unseen = unread or (ramp.unseen if by_time or ramp.budget.whole else "")
    if known and unseen:
        return _unknown(unseen, policy, released, evidence, pauses=True, unreleased=left)
    open_yet = released.open > left or _watching(policy, released, evidence)
    if not ramp.budget.whole or (open_yet and not unseen):
        return Hold("budget_in_flight")
    return Grow(min(left, ramp.budget.harmed_first), "unknown_accepted") if unseen else Pause(BUDGET_UNPROVED)


def _too_small(evidence: Evidence | None) -> str:
    return "control_too_small" if evidence is not None and evidence.control_short else ""


def _not_fresh(policy: GatePolicy, evidence: Evidence | None, *, now: datetime) -> str:
    return not_fresh(policy.sequential, evidence.read_at if evidence else None, now=now)


def _watching(policy: GatePolicy, released: WaveFacts, evidence: Evidence | None) -> str:
    read_at = evidence.read_at if evidence else None
    return watching(policy.sequential, released.newest_outcome_at, read_at=read_at)
