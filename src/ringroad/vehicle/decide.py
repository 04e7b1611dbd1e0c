"""What the orchestrator does next: a pure function of the journal and of a few facts.

The rules it holds (their numbers are those of docs/concepts/orchestrator.md):

1. The journal is the only memory: nothing but `CampaignState` and `Facts` is looked at.
2. One commit point per update group: `Moved(COMMITTING)`. Before it every failure leads to ROLLING_BACK,
   after it nothing does.
3. Order: everything staged and every backup verified first, then in-place ECUs, then A/B ECUs, the orchestrator's
   own ECU last; groups by `after`.
4. An ECU on trial goes back at its next reset: checks and commits activate again first (`Check`, `Commit`).
5. Anti-rollback counters advance only in `Commit`.
6. Unknown, missing or exchanged ECUs end the campaign in SYNCING (`plan.make_plan`).
7. Preconditions hold before each ECU is touched; an ECU whose flashing began is finished first. An A/B ECU is not
   restarted into its new software without them before the commit point (`watch.Hold`).
8. Tries and restarts are bounded; ROLLBACK_FAILED blocks the vehicle.
9. Nothing begins while a session of diagnostics holds an ECU of the update, and no ECU that is held is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, assert_never

from ringroad.kernel.errors import Corrupt
from ringroad.protocol.preconditions import Refusal
from ringroad.protocol.vehicle import Command, DeltaOffer, Phase, UpdateGroup, VehicleState
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.agents.base import Reason
from ringroad.vehicle.consent import DENIED, OPERATOR, answer_text, judge, word_of
from ringroad.vehicle.deltas import choose_delta
from ringroad.vehicle.ecu_tries import all_text
from ringroad.vehicle.locks import Lock
from ringroad.vehicle.states import (
    BEFORE_INSTALLING,
    TOUCHED,
    Answer,
    Answered,
    CampaignState,
    Declined,
    EcuState,
    Entry,
    Moved,
    Noted,
    Opened,
    Plan,
)

ECU_TRIES_MAX: Final = 3  # per ECU and state; flashing an ECU more often than this wears it and helps nobody
AWAY_TRIES_MAX: Final = 8  # without an answer; at the usual back-off more than a minute, for what restarts
ROLLBACK_TRIES_MAX: Final = 8  # per ECU; giving up needs a workshop, so try longer than going forward
SYNC_TRIES_MAX: Final = 8  # about two minutes; for wrong or late answers, not for a network that is away
FLIGHT_BYTES_MAX: Final = 64 * 1024**2  # bytes of images that are fetched together; a larger one goes alone
IMAGE_TRIES_MAX: Final = 2  # downloads of an image whose bytes were wrong
TAKEN_BACK: Final = (
    "its campaign took the update back, and its page says why"  # of a server that tells no reason
)
COMMIT_FAILED: Final = "commit_failed"  # blocked past the commit point: nothing is brought back any more
ECU_LOCKED: Final = "ecu_locked"  # code of a wait for whoever holds the lock of an ECU
AWAY: Final = "away-"  # before the name of what is tried of an ECU that gives no answer
# Restarts that lead nowhere: with the same ECU under way, or in CHECKING at all.
STAGING_RESTARTS_MAX: Final = 20  # drives too short to fill one bank; each begins with an erase
INSTALLING_RESTARTS_MAX: Final = 5  # in the middle of one ECU; power cuts are rare, crashes are not
CHECKING_RESTARTS_MAX: Final = 3  # an update under which the vehicle keeps restarting is a bad update
COMMIT_RESTARTS_MAX: Final = 50  # a week of drives with an ECU that does not answer
COMMIT_TRIES_MAX: Final = 300  # per ECU; a day awake, at the longest back-off of five minutes
COMMIT_INSTALLS_MAX: Final = 8  # per ECU; as `ROLLBACK_TRIES_MAX`, for flash wears


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the world says now.

    Attributes:
        now: the time.
        command: the server's newest word; None before the first poll.
        stored: digests of the images that are whole in the store.
        refusal: the precondition that does not hold, or None.
        asks: phases before which the driver is asked.
        word: the driver's newest word on this update, written down or not.
        driver_only: nobody may agree in the driver's place.
        quiet_until: when the vehicle's quiet hours end; None outside of them.
        downloads_max: images that may be fetched at a time.
        no_agent: which ECU of the plan has no update agent, and why; empty if all have one.
        locked: locks that sessions of diagnostics hold on ECUs of the plan, by serial.
        gone: serials of ECUs of the plan that are not in the vehicle any more.
    """

    now: datetime
    command: Command | None
    stored: frozenset[str]
    refusal: Refusal | None
    asks: frozenset[Phase] = frozenset()
    word: Answer | None = None
    driver_only: bool = False
    quiet_until: datetime | None = None
    downloads_max: int = 1
    no_agent: str = ""
    locked: Mapping[str, Lock] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do until the server says otherwise."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Something is missing; look again later, and tell the server why, once."""

    code: str
    detail: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """Only the journal changes."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Sync:
    """Verify both repositories, ask every ECU, make the plan."""


@dataclass(frozen=True, slots=True)
class Download:
    """Fetch an image into the store, and others beside it."""

    target: VerifiedTarget
    beside: tuple[VerifiedTarget, ...] = ()


@dataclass(frozen=True, slots=True)
class DownloadDelta:
    """Fetch a delta to an image into the store."""

    target: VerifiedTarget
    offer: DeltaOffer


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Make an image out of its base and a delta, both in the store."""

    target: VerifiedTarget
    offer: DeltaOffer


@dataclass(frozen=True, slots=True)
class CheckImages:
    """Read every image of the plan back from the store and hash it."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Stage an A/B ECU, or check that an in-place ECU will take its image."""

    serials: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadFaults:
    """Write down the faults that are there before anything is installed."""


@dataclass(frozen=True, slots=True)
class Install:
    """Install and activate on one ECU."""

    serial: str


@dataclass(frozen=True, slots=True)
class Check:
    """Activate again, then verify one ECU and run its post-checks."""

    serial: str


@dataclass(frozen=True, slots=True)
class Commit:
    """Activate again, then make the image permanent on one ECU."""

    serial: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """Bring one ECU back to what it ran before."""

    serial: str


Step = (
    Rest | Wait | Write | Sync | Download | DownloadDelta | Rebuild | CheckImages | Prepare | ReadFaults
    | Install | Check | Commit | RollBack
)  # fmt: skip


def next_step(state: CampaignState, facts: Facts) -> Step:
    """Return what to do now.

    Raises:
        Corrupt: the journal says something that no run of this function leads to.
    """
    interrupting = _obey_server(state, facts) or _hear_driver(state, facts)
    return interrupting or _unless_gone(state, _unless_locked(_course(state, facts), facts), facts)


def _course(state: CampaignState, facts: Facts) -> Step:
    match state.state:
        case "SYNCING":
            if state.plan is None:
                return Sync()
            if not state.plan.ecus:
                return _move("SUCCEEDED", facts, code="already_installed")
            return _move("AWAITING_CONSENT", facts)
        case "AWAITING_CONSENT":
            return _ask("download", state, facts) or _move("DOWNLOADING", facts)
        case "DOWNLOADING":
            return _download(state, facts)
        case "VERIFYING":
            # `CheckImages` removes a bad image from the store and goes on to STAGING if there was none.
            return CheckImages()
        case "STAGING":
            return _stage(state, facts)
        case "READY":
            return _begin(state, facts)
        case "INSTALLING":
            return _install(state, facts)
        case "CHECKING":
            return _check(state, facts)
        case "COMMITTING":
            return _commit(state, facts)
        case "ROLLING_BACK":
            return _roll_back(state, facts)
        case "IDLE" | "SUCCEEDED" | "ROLLED_BACK" | "ROLLBACK_FAILED" | "CANCELLED" | "SUPERSEDED" | "FAILED":
            return Rest()
        case "DOWNLOADED":  # a later campaign installs what is in the store
            return Rest()
        case _:
            assert_never(state.state)


def install_order(plan: Plan, group: UpdateGroup) -> tuple[str, ...]:
    """Return the serials of `group` in the order they are installed (rule 3)."""
    ranked = sorted(
        (plan.ecu(serial) for serial in group.ecus),
        # `sorted` is stable: within a rank the signed order of the group stands.
        key=lambda ecu: (ecu.primary, not ecu.in_place),
    )
    return tuple(ecu.serial for ecu in ranked)


def bound_of(what: str, reason: Reason, *, began: bool) -> tuple[str, int]:
    """Return by which name a failed try of `what` is counted, and how many end it.

    An ECU that gives no answer is waited for, so that one that restarts, or a bus that is away, undoes nothing; what it
    refuses is counted apart. So is a try that it fell silent in: each such one wears its flash.

    Args:
        what: was tried.
        reason: why it failed.
        began: the try had begun to erase, or to transfer.
    """
    if reason is Reason.UNREACHABLE and not began:
        return f"{AWAY}{what}", AWAY_TRIES_MAX
    return what, ECU_TRIES_MAX


def wants_other(state: CampaignState, command: Command | None) -> bool:
    """Say whether the server wants something else than the campaign under way, while that can still be had."""
    if command is None or command.action_id in state.finished or state.state not in BEFORE_INSTALLING:
        return False
    same = command.action_id == state.action_id
    return (command.kind == "cancel" and same) or (command.kind == "update" and not same)


def _obey_server(state: CampaignState, facts: Facts) -> Step | None:
    command = facts.command
    if command is None or command.action_id is None or command.kind == "none":
        return None
    if state.resting:
        if command.action_id in state.finished:
            return None
        if state.blocked:
            detail = f"blocked since {state.code}: {state.detail}"
            return Write(Declined(action_id=command.action_id, at=facts.now, detail=detail))
        return Write(Opened(action_id=command.action_id, at=facts.now))
    if wants_other(state, command):
        if command.kind == "cancel":
            return _move("CANCELLED", facts, code="cancelled", detail=command.reason or TAKEN_BACK)
        return _move("SUPERSEDED", facts, code="superseded", detail=f"by action {command.action_id}")
    if command.kind == "cancel" and command.action_id == state.action_id and not state.cancel_refused:
        detail = f"too late: the vehicle is {state.state}"
        return Write(Noted(code="cancel_refused", at=facts.now, detail=detail))
    return None


def _download(state: CampaignState, facts: Facts) -> Step:
    whole: list[VerifiedTarget] = []
    for target in _plan(state).images():
        if target.sha256 in facts.stored:
            continue
        offer = choose_delta(target, stored=facts.stored, tries=state.tries)
        if offer is None:
            whole.append(target)
        elif not whole:
            return Rebuild(target, offer) if offer.sha256 in facts.stored else DownloadDelta(target, offer)
    if not whole:
        return _move("VERIFYING", facts)
    first, *others = whole
    return Download(first, _beside(first, others, facts.downloads_max))


def _beside(
    first: VerifiedTarget, others: Sequence[VerifiedTarget], downloads_max: int
) -> tuple[VerifiedTarget, ...]:
    """Return which of `others` are fetched together with `first`: in order, within the budgets."""
    chosen: list[VerifiedTarget] = []
    flight_bytes = first.length
    for target in others:
        if len(chosen) + 1 < downloads_max and flight_bytes + target.length <= FLIGHT_BYTES_MAX:
            chosen.append(target)
            flight_bytes += target.length
    return tuple(chosen)


def _stage(state: CampaignState, facts: Facts) -> Step:
    if _plan(state).conduct.urgency == "download_only":
        return _move("DOWNLOADED", facts)
    if "activate" in facts.asks and (waits := _ask("install", state, facts)):
        return waits
    if state.restarts > STAGING_RESTARTS_MAX:
        return _move("FAILED", facts, code="restarts", detail="the vehicle restarted again and again")
    serials = [ecu.serial for ecu in _plan(state).ecus]
    if any(state.ecus[serial] is EcuState.FAILED for serial in serials):
        return _move("FAILED", facts, code=state.code, detail=state.detail)
    if left := tuple(serial for serial in serials if state.ecus[serial] is EcuState.IDLE):
        return Prepare(left)
    return _move("READY", facts)


def _hear_driver(state: CampaignState, facts: Facts) -> Step | None:
    """Write a new word down before anything follows from it; a no ends what has not begun."""
    if state.state not in BEFORE_INSTALLING or state.plan is None:
        return None
    command = facts.command
    agreed = command is not None and command.agreed and command.action_id == state.action_id
    agreed = agreed and not facts.driver_only
    word = word_of(facts.word, state.answer, agreed=agreed, now=facts.now)
    if word is not None and word != state.answer:
        return Write(Answered(answer=word, at=facts.now))
    if state.answer is not None and state.answer.word == "no":
        return _move("CANCELLED", facts, code=DENIED, detail=answer_text(state.answer))
    return None


def _ask(phase: Phase, state: CampaignState, facts: Facts) -> Step | None:
    soft, answer = _plan(state).conduct.urgency == "soft", state.answer
    if facts.driver_only and answer is not None and answer.by == OPERATOR and answer != facts.word:
        answer = None  # written down before the vehicle was set to ask
    missing = judge(
        phase, asks=facts.asks, answer=answer, soft=soft, now=facts.now, driver_only=facts.driver_only
    )
    return Wait(missing.code, missing.detail, phase) if missing else None


def _begin(state: CampaignState, facts: Facts) -> Step:
    if facts.no_agent:  # lost since SYNCING: what it began only it could end
        return _move("FAILED", facts, code=Reason.NO_AGENT, detail=facts.no_agent)
    if waits := _ask("activate" if "activate" in facts.asks else "install", state, facts):
        return waits
    # What is forced without asking does not wait for them: a recall must be able to reach every vehicle.
    if facts.quiet_until is not None and (facts.asks or _plan(state).conduct.urgency == "soft"):
        return Wait("quiet_hours", f"quiet hours until {facts.quiet_until:%Y-%m-%d %H:%M %Z}")
    if facts.refusal is not None:
        return Wait("precondition", facts.refusal.text, facts.refusal.term)
    if facts.locked:  # looked at for the whole update: from here on nobody gets a lock on an ECU of it
        return _wait_for(facts.locked.values())
    if state.known_faults is None:
        return ReadFaults()
    return _move("INSTALLING", facts)


def _install(state: CampaignState, facts: Facts) -> Step:
    group = _group(state)
    for serial in install_order(_plan(state), group):
        match state.ecus[serial]:
            case EcuState.FAILED:
                return _move("ROLLING_BACK", facts, code=state.code, detail=state.detail)
            case EcuState.INSTALLING if state.restarts > INSTALLING_RESTARTS_MAX:
                detail = f"the vehicle restarted again and again while {serial} was installed"
                return _move("ROLLING_BACK", facts, code="restarts", detail=detail)
            case EcuState.INSTALLING:
                # Rule 7: what began is finished; of an A/B ECU, `Hold` asks before its restart.
                return Install(serial)
            case EcuState.STAGED:
                if facts.refusal is not None:
                    return Wait("precondition", facts.refusal.text, facts.refusal.term)
                return Install(serial)
            case _:
                continue
    return _move("CHECKING", facts)


def _check(state: CampaignState, facts: Facts) -> Step:
    group = _group(state)
    if state.restarts > CHECKING_RESTARTS_MAX:
        return _move("ROLLING_BACK", facts, code="restarts", detail="the vehicle restarted again and again")
    for serial in install_order(_plan(state), group):
        if state.ecus[serial] is EcuState.FAILED:
            return _move("ROLLING_BACK", facts, code=state.code, detail=state.detail)
        if state.ecus[serial] is EcuState.ACTIVATED:
            return Check(serial)
    return _move("COMMITTING", facts)


def _commit(state: CampaignState, facts: Facts) -> Step:
    group = state.group()
    if group is None:
        return _move("SUCCEEDED", facts)
    left = [s for s in install_order(_plan(state), group) if state.ecus[s] is not EcuState.COMMITTED]
    if all(state.ecus[serial] is EcuState.STAGED for serial in left):
        return _move("INSTALLING", facts)  # the next group
    # Those that failed wait: an ECU that never answers, or is not there, must not keep the others on trial.
    serial = min(left, key=lambda one: (one in facts.gone, state.tries.get(f"commit:{one}", 0)))
    tries_left = state.tries.get(f"commit:{serial}", 0) < COMMIT_TRIES_MAX
    if serial not in facts.gone and tries_left and state.restarts <= COMMIT_RESTARTS_MAX:
        return Commit(serial)
    return _move("ROLLBACK_FAILED", facts, code=COMMIT_FAILED, detail=_why(state, left, facts))


def _roll_back(state: CampaignState, facts: Facts) -> Step:
    group = _group(state)
    left = [s for s in reversed(install_order(_plan(state), group)) if state.ecus[s] in TOUCHED]
    if left:
        # Those that failed wait: one that is away, or not there, must not keep the others from what they ran.
        serial = min(left, key=lambda one: (one in facts.gone, state.tries.get(f"rollback:{one}", 0)))
        if serial not in facts.gone and state.tries.get(f"rollback:{serial}", 0) < ROLLBACK_TRIES_MAX:
            return RollBack(serial)
        return _move("ROLLBACK_FAILED", facts, code="rollback_failed", detail=_why(state, left, facts))
    return _move("ROLLED_BACK", facts, code=state.code, detail=state.detail)


def _unless_locked(step: Step, facts: Facts) -> Step:
    """Return the step, without the ECUs whose lock somebody holds (rule 9)."""
    match step:
        case Prepare(serials=serials):
            free = tuple(serial for serial in serials if serial not in facts.locked)
            return Prepare(free) if free else _wait_for([facts.locked[serial] for serial in serials])
        case Install(serial=serial) | Check(serial=serial) | Commit(serial=serial) | RollBack(serial=serial):
            return _wait_for([facts.locked[serial]]) if serial in facts.locked else step
    return step


def _unless_gone(state: CampaignState, step: Step, facts: Facts) -> Step:
    """Return the step, or the end of an update that lost an ECU since its plan was made (rule 6)."""
    back = state.state in {"INSTALLING", "CHECKING"}
    lost = facts.gone & set(_group(state).ecus) if back else facts.gone  # other groups: committed, or idle
    ends = isinstance(step, Write) and isinstance(step.entry, Moved) and step.entry.state == "ROLLING_BACK"
    if not lost or ends or not (back or state.state in BEFORE_INSTALLING):
        return step
    detail = _why(state, sorted(lost), facts)
    return _move("ROLLING_BACK" if back else "FAILED", facts, code=Reason.SERIAL_MISMATCH, detail=detail)


def _wait_for(locks: Collection[Lock]) -> Wait:
    return Wait(ECU_LOCKED, "; ".join(lock.text for lock in locks), "; ".join(lock.gist for lock in locks))


def _move(state: VehicleState, facts: Facts, *, code: str = "", detail: str = "") -> Write:
    return Write(Moved(state=state, at=facts.now, code=code, detail=detail))


def _why(state: CampaignState, serials: Sequence[str], facts: Facts) -> str:
    """Return which ECUs could not be brought where they belong, and why."""
    plan = _plan(state)
    return all_text(
        {one: plan.ecu(one).target.ecu_target.name for one in serials}, state.failing, gone=facts.gone
    )


def _plan(state: CampaignState) -> Plan:
    if state.plan is None:
        raise Corrupt(f"the journal says {state.state} but holds no plan", code="journal_corrupt")
    return state.plan


def _group(state: CampaignState) -> UpdateGroup:
    group = state.group()
    if group is None:
        raise Corrupt(f"the journal says {state.state} but every group is committed", code="journal_corrupt")
    return group
