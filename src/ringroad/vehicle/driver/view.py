"""What the driver page says, and which words it takes: a glance in, words out. Pure.

Invariants:
    A word is taken only to the update, the phase and the release notes that were shown with it.
    What cannot be undone any more is not offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.protocol.vehicle import PHASES, Phase, VehicleState
from ringroad.vehicle.agents.base import Reason
from ringroad.vehicle.consent import CONSENT_HOURS, DENIED, LATER_HOURS, digest_notes
from ringroad.vehicle.decide import AWAY, TAKEN_BACK
from ringroad.vehicle.deltas import Coming
from ringroad.vehicle.driver.language import ENGLISH, Words
from ringroad.vehicle.ecu_tries import EcuTry, seconds_left, why_text
from ringroad.vehicle.glance import Glance
from ringroad.vehicle.states import BEFORE_INSTALLING, EcuState

# Reasons of a cancel, as servers tell them, that are no reason of the maker's.
DECLINED: Final = "declined by its driver"
DECLINED_FOR: Final = "declined by "  # somebody else

Word = Literal["yes", "all", "later", "no"]
WORDS: Final[tuple[Word, ...]] = ("yes", "all", "later", "no")
PLAIN_BYTES: Final = 1024  # below this a size is shown as it is

_TONES: Final[Mapping[VehicleState, str]] = {
    "SUCCEEDED": "ok",
    "ROLLED_BACK": "warn",
    "ROLLBACK_FAILED": "bad",
    "FAILED": "warn",
    "DOWNLOADED": "ok",
}
_NOTHING_CHANGED: Final[frozenset[VehicleState]] = frozenset({"CANCELLED", "SUPERSEDED", "FAILED"})
NO_ROOM: Final = frozenset(
    {"disk_full", "store_full"}
)  # codes of an update that the image store had no room for
# Codes of an update that was taken back since a test of what ran failed.
_TESTED: Final = frozenset({Reason.SELF_TEST_FAILED, Reason.NEW_FAULTS, Reason.VERSION_MISMATCH})
_CODED: Final[frozenset[VehicleState]] = frozenset({"ROLLED_BACK", "ROLLBACK_FAILED", "FAILED"})
# What a precondition on a signal wants, for somebody who knows no signals; the term itself stands behind it.
_WANTED: Final[tuple[tuple[str, str], ...]] = (
    ("Vehicle.Speed", "wanted.speed"),
    ("Vehicle.Powertrain.Transmission", "wanted.parked"),
    ("Vehicle.LowVoltageBattery", "wanted.low_voltage"),
    ("Vehicle.Powertrain.TractionBattery", "wanted.traction"),
    ("Vehicle.LowVoltageSystemState", "wanted.ignition"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuLine:
    """One ECU: how far it is; `percent` is None where no number is known."""

    name: str
    word: str
    percent: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A word that the driver may say."""

    word: Word
    text: str
    weight: Literal["strong", "plain", "quiet"] = "quiet"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverView:
    """What the page says.

    Attributes:
        headline: the state, in words.
        tone: ok, warn, bad or nothing.
        text: what that means for the driver.
        waits: why it does not go on; empty if it does.
        question: empty if nothing is asked.
        phase: that is asked about.
        choices: words that are taken now.
        action_id: of the update that is shown.
        version: of its release.
        notes: of its release.
        notes_sha256: what names them in the record.
        size: to be downloaded for the update itself, in words.
        way_back: to be downloaded beside it, so that what runs now can be put back.
        from_peers: that came from vehicles nearby and not over the air.
        time: of the installation, in words.
        code: why it ended so, for a workshop.
        installed: whether the vehicle runs it.
        ecus: of the update.
    """

    headline: str
    tone: str = ""
    text: str = ""
    waits: str = ""
    question: str = ""
    phase: Phase | None = None
    choices: tuple[Choice, ...] = ()
    action_id: int = 0
    version: str = ""
    notes: str = ""
    notes_sha256: str = ""
    size: str = ""
    way_back: str = ""
    from_peers: str = ""
    time: str = ""
    code: str = ""
    installed: bool = False
    ecus: tuple[EcuLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A word that was taken, as it is written down."""

    action_id: int
    word: Literal["yes", "later", "no"]
    through: Phase
    hours: int
    notes_sha256: str


def view_of(glance: Glance, words: Words = ENGLISH) -> DriverView:
    """Return what the page says at this moment, in a language."""
    state, plan = glance.state, glance.state.plan
    tone, text = _TONES.get(state.state, ""), ""
    for key in (f"result.{state.state}", f"under_way.{state.state}"):
        text = text or (words.say(key) if words.has(key) else "")
    if state.state == "FAILED" and state.code in NO_ROOM:
        text = words.say("result.no_room")
    if state.state == "ROLLED_BACK" and state.code in _TESTED:
        text = words.say("result.tested")
    cancelled = state.state == "CANCELLED"
    declined = cancelled and (state.code == DENIED or state.detail.rstrip(".") == DECLINED)
    declined_for = cancelled and not declined and state.detail.startswith(DECLINED_FOR)
    if declined_for:
        text = words.say("result.declined_for")
    elif cancelled and not declined and state.code == "cancelled" and state.detail not in {"", TAKEN_BACK}:
        text = words.say("result.withdrawn", why=state.detail.rstrip("."))
    headline = words.say("headline.stands" if _stands(glance) else f"headline.{state.state}")
    if declined:
        headline = words.say("headline.declined")
    code = state.code if state.state in _CODED else ""
    if plan is None:
        return DriverView(headline=headline, tone=tone, text=text, waits=_waits(glance, words), code=code)
    asked = _asked(glance)
    coming = glance.coming if glance.coming and state.state in BEFORE_INSTALLING else Coming()
    return DriverView(
        headline=headline,
        tone=tone,
        text="" if glance.waits_code or asked else text,
        waits=_waits(glance, words),
        question=words.say(f"question.{asked}") if asked else "",
        phase=asked,
        choices=_choices(glance, asked, words),
        action_id=state.action_id or 0,
        version=plan.release_version,
        notes=plan.notes,
        notes_sha256=digest_notes(plan.notes),
        size=size_text(coming.update, words),
        way_back=size_text(coming.way_back, words),
        from_peers=size_text(state.peer_bytes, words),
        time=time_text(plan.conduct.install_s, words)
        if state.state in BEFORE_INSTALLING | {"DOWNLOADED"}
        else "",
        code=code,
        installed=state.state == "SUCCEEDED",
        ecus=_ecus(glance, words),
    )


def take_word(view: DriverView, *, action_id: str, phase: str, word: str, notes_sha256: str) -> Said:
    """Return what is written down of a word.

    Args:
        view: of this moment.
        action_id: as the form that was shown sends it; the others too.
        phase: that was asked about; empty if none was.
        word: of the button.
        notes_sha256: of the release notes that stood beside it.

    Raises:
        InvalidInput: no form of ours sends that.
        Conflict: the form was shown with something else; the driver must look again.
    """
    known = next((each for each in WORDS if each == word), None)
    if known is None or phase not in (*PHASES, ""):
        raise InvalidInput("this is no answer", hint="use the buttons of the page")
    shown = (str(view.action_id), view.phase or "", view.notes_sha256)
    if known not in {choice.word for choice in view.choices} or (action_id, phase, notes_sha256) != shown:
        raise Conflict("the update has moved on since this was shown", hint="look at the page again")
    through: Phase = "activate" if known == "all" or view.phase is None else view.phase
    if known == "all" and view.phase == "download":
        through = "install"  # as the button says: whether it may change is a question of its own
    return Said(
        action_id=view.action_id,
        word="yes" if known == "all" else known,
        through=through,
        hours=LATER_HOURS if known == "later" else CONSENT_HOURS,
        notes_sha256=view.notes_sha256,
    )


def size_text(size_bytes: int | None, words: Words = ENGLISH) -> str:
    """Return a size in words: ``4.2 MB``; empty if it is not known or nothing is left."""
    if not size_bytes:
        return ""
    if size_bytes < PLAIN_BYTES:
        return words.say("size.bytes", number=str(size_bytes))
    for unit, factor in (("GB", 1_000**3), ("MB", 1_000**2)):
        if size_bytes >= factor:
            return words.say(f"size.{unit}", number=words.number(size_bytes / factor))
    return words.say("size.kB", number=words.number(size_bytes / 1_000))


def time_text(seconds: int, words: Words = ENGLISH) -> str:
    """Return how long the vehicle stands still, in words; empty if nobody knows."""
    if seconds <= 0:
        return ""
    minutes = -(-seconds // 60)
    return words.say("time.one") if minutes == 1 else words.say("time.more", minutes=str(minutes))


def _asked(glance: Glance) -> Phase | None:
    if glance.waits_code not in {"consent", "postponed"}:
        return None
    phase = next((each for each in PHASES if each == glance.waits_about), None)
    return phase if phase in glance.asks else None


def _choices(glance: Glance, asked: Phase | None, words: Words) -> tuple[Choice, ...]:
    state, plan = glance.state, glance.state.plan
    if plan is None or state.state not in BEFORE_INSTALLING:
        return ()
    put_off = glance.waits_code == "postponed"
    if asked is not None:
        following = any(each in glance.asks for each in PHASES[PHASES.index(asked) + 1 :])
        return (
            Choice(word="yes", text=words.say(f"yes.{asked}"), weight="strong"),
            *([Choice(word="all", text=words.say(f"all.{asked}"), weight="plain")] if following else []),
            *([] if put_off else [Choice(word="later", text=words.say("later.tomorrow"))]),
            Choice(word="no", text=words.say("no")),
        )
    if put_off:
        return (Choice(word="all", text=words.say("all.after"), weight="strong"),)
    if plan.conduct.urgency == "soft" and "activate" not in glance.asks and "install" not in glance.asks:
        return (Choice(word="later", text=words.say("later.today")),)
    return ()


def _waits(glance: Glance, words: Words) -> str:
    answer = glance.state.answer
    match glance.waits_code:
        case "consent":
            ended = answer is not None and answer.word == "yes" and answer.expires_at <= glance.at
            if ended:
                return words.say("waits.ended")
            return words.say("waits.answer") if _stands(glance) else ""
        case "postponed" if answer is not None:
            return words.say("waits.postponed", until=words.moment(answer.expires_at, glance.zone))
        case "precondition":
            path = glance.waits_about.partition(" ")[0]
            key = next((key for known, key in _WANTED if path.startswith(known)), "")
            wanted = words.say(key) if key else glance.waits_about
            return words.say("waits.precondition", wanted=wanted, why=glance.waits_text)
        case "":
            fetches = glance.state.state in {"SYNCING", "DOWNLOADING"} or _fetches_again(glance)
            if fetches and glance.link_error:
                return words.say("waits.network")
            return words.say("waits.again") if _fetches_again(glance) else _waits_for_ecu(glance, words)
        case _:
            return words.say("waits.other", why=glance.waits_text)


def _stands(glance: Glance) -> bool:
    """Say whether nothing is being prepared though the state is that: the driver's word comes first."""
    return glance.state.state == "STAGING" and glance.waits_code in {"consent", "postponed"}


def _fetches_again(glance: Glance) -> bool:
    """Say whether an image went bad in the vehicle's store after it was fetched."""
    return glance.state.state == "STAGING" and bool(glance.missing_bytes)


def _waits_for_ecu(glance: Glance, words: Words) -> str:
    """Say which parts of the vehicle could not be prepared yet; empty if none was tried in vain."""
    state = glance.state
    if state.state != "STAGING":
        return ""
    late = [
        each
        for each in state.ecus
        if any(state.tries.get(f"{kind}prepare:{each}") for kind in ("", AWAY))
        and state.told(each) is not EcuState.STAGED
    ]
    silent = [each for each in late if state.told(each) is EcuState.UNREACHABLE]
    if not late:
        return ""
    named = ", ".join(glance.names.get(each, each) for each in silent or late)
    return words.say("waits.silent" if silent else "waits.part", parts=named)


def _tried(word: str, one: EcuTry, glance: Glance, words: Words) -> str:
    """Return the word of an ECU with why its newest try failed, which that was, and when the next one is due."""
    silent = words.say("ecu.UNREACHABLE")
    why = silent if one.code == Reason.UNREACHABLE else why_text(one)
    said = word if why == word else f"{word}: {why}"
    if not one.count_max:
        return said
    said = words.say("ecu.tried", word=said, count=str(one.count), most=str(one.count_max))
    left_s = 0 if glance.state.resting else seconds_left(one, now=glance.at)
    return words.say("ecu.next", word=said, seconds=str(left_s)) if left_s else said


def _ecus(glance: Glance, words: Words) -> tuple[EcuLine, ...]:
    plan = glance.state.plan
    lines = []
    for ecu in plan.ecus if plan else ():
        at = glance.state.told(ecu.serial)
        done = glance.done.get(ecu.serial)
        percent = min(100, done[0] * 100 // done[1]) if done is not None and done[1] > 0 else None
        word = words.say(f"ecu.{at}")
        if at is EcuState.IDLE and glance.state.state == "DOWNLOADING" and percent is not None:
            word = words.say("ecu.downloading")
        if glance.state.state in _NOTHING_CHANGED and at in {EcuState.IDLE, EcuState.STAGED}:
            word, percent = words.say("ecu.unchanged"), None
        if at in {EcuState.COMMITTED, EcuState.ROLLED_BACK}:
            percent = None
        failing = glance.state.failing.get(ecu.serial)
        if failing is not None and not (glance.state.resting and at in {EcuState.IDLE, EcuState.STAGED}):
            word = _tried(word, failing, glance, words)
        lines.append(EcuLine(name=glance.names.get(ecu.serial, ecu.serial), word=word, percent=percent))
    return tuple(lines)
