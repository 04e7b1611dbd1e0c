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
from ringroad.vehicle.consent import CONSENT_HOURS, DENIED, LATER_HOURS, digest_notes
from ringroad.vehicle.glance import Glance
from ringroad.vehicle.states import BEFORE_INSTALLING, EcuState

Word = Literal["yes", "all", "later", "no"]
WORDS: Final[tuple[Word, ...]] = ("yes", "all", "later", "no")
PLAIN_BYTES: Final = 1024  # below this a size is shown as it is

_HEADLINES: Final[Mapping[VehicleState, str]] = {
    "IDLE": "There is no update",
    "SYNCING": "Looking at an update",
    "AWAITING_CONSENT": "An update is available",
    "DOWNLOADING": "Downloading the update",
    "VERIFYING": "Checking the download",
    "STAGING": "Preparing the update",
    "READY": "The update is ready",
    "INSTALLING": "Installing the update",
    "CHECKING": "Testing the update",
    "COMMITTING": "Finishing the update",
    "SUCCEEDED": "The update is installed",
    "ROLLING_BACK": "Going back to the software before",
    "ROLLED_BACK": "The update was taken back",
    "ROLLBACK_FAILED": "The vehicle needs service",
    "CANCELLED": "The update was withdrawn",
    "SUPERSEDED": "A newer update follows",
    "FAILED": "The update could not be installed",
    "DOWNLOADED": "An update is stored in the vehicle",
}
_RESULTS: Final[Mapping[VehicleState, tuple[str, str]]] = {
    "SUCCEEDED": ("ok", "Every part of it runs and was tested."),
    "ROLLED_BACK": (
        "warn",
        "A test failed, so the vehicle runs what it ran before. You need not do anything.",
    ),
    "ROLLBACK_FAILED": ("bad", "Part of the vehicle could not be brought back. Please call your workshop."),
    "CANCELLED": ("", "Nothing was changed."),
    "SUPERSEDED": ("", "Nothing was changed."),
    "FAILED": ("warn", "Nothing was changed. The maker knows of it."),
    "DOWNLOADED": ("ok", "Nothing was changed yet. You will hear of it when it is to be installed."),
}
_UNDER_WAY_TEXT: Final[Mapping[VehicleState, str]] = {
    "SYNCING": "Its signatures are checked.",
    "DOWNLOADING": "You can use the vehicle.",
    "VERIFYING": "You can use the vehicle.",
    "STAGING": "You can use the vehicle.",
    "READY": "It begins by itself.",
    "INSTALLING": "Please leave the vehicle parked until this is done.",
    "CHECKING": "Please leave the vehicle parked until this is done.",
    "COMMITTING": "Please leave the vehicle parked until this is done.",
    "ROLLING_BACK": "Please leave the vehicle parked until this is done.",
}
_QUESTIONS: Final[Mapping[Phase, str]] = {
    "download": "May the vehicle download it?",
    "install": "May the vehicle install it?",
    "activate": "May the vehicle change to it?",
}
_YES: Final[Mapping[Phase, str]] = {"download": "Download", "install": "Install", "activate": "Change now"}
# What a precondition on a signal wants, for somebody who knows no signals; the term itself stands behind it.
_WANTED: Final[tuple[tuple[str, str], ...]] = (
    ("Vehicle.Speed", "the vehicle to stand still"),
    ("Vehicle.Powertrain.Transmission", "the vehicle to be parked"),
    ("Vehicle.LowVoltageBattery", "the 12 V battery"),
    ("Vehicle.Powertrain.TractionBattery", "the battery to be charged"),
    ("Vehicle.LowVoltageSystemState", "the ignition"),
)
_ALL: Final[Mapping[Phase, str]] = {
    "download": "Download and install",
    "install": "Install and change at once",
    "activate": "Change now",
}
_ECU_WORDS: Final[Mapping[EcuState, str]] = {
    EcuState.IDLE: "waiting",
    EcuState.STAGED: "prepared",
    EcuState.INSTALLING: "installing",
    EcuState.ACTIVATED: "starting",
    EcuState.VERIFIED: "tested",
    EcuState.COMMITTED: "done",
    EcuState.ROLLING_BACK: "going back",
    EcuState.ROLLED_BACK: "as before",
    EcuState.FAILED: "failed",
}


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
        size: to be downloaded, in words.
        time: of the installation, in words.
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
    time: str = ""
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


def view_of(glance: Glance) -> DriverView:
    """Return what the page says at this moment."""
    state, plan = glance.state, glance.state.plan
    tone, text = _RESULTS.get(state.state, ("", _UNDER_WAY_TEXT.get(state.state, "")))
    headline = _HEADLINES[state.state]
    if state.code == DENIED and state.state == "CANCELLED":
        headline, text = "You declined the update", "Nothing was changed."
    if plan is None:
        return DriverView(headline=headline, tone=tone, text=text, waits=_waits(glance))
    asked = _asked(glance)
    return DriverView(
        headline=headline,
        tone=tone,
        text="" if glance.waits_code or asked else text,
        waits=_waits(glance),
        question=_QUESTIONS[asked] if asked else "",
        phase=asked,
        choices=_choices(glance, asked),
        action_id=state.action_id or 0,
        version=plan.release_version,
        notes=plan.notes,
        notes_sha256=digest_notes(plan.notes),
        size=size_text(glance.missing_bytes) if state.state in BEFORE_INSTALLING else "",
        time=time_text(plan.conduct.install_s) if state.state in BEFORE_INSTALLING | {"DOWNLOADED"} else "",
        installed=state.state == "SUCCEEDED",
        ecus=_ecus(glance),
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
    return Said(
        action_id=view.action_id,
        word="yes" if known == "all" else known,
        through=through,
        hours=LATER_HOURS if known == "later" else CONSENT_HOURS,
        notes_sha256=view.notes_sha256,
    )


def size_text(size_bytes: int | None) -> str:
    """Return a size in words: ``4.2 MB``; empty if it is not known or nothing is left."""
    if not size_bytes:
        return ""
    if size_bytes < PLAIN_BYTES:
        return f"{size_bytes} bytes"
    for unit, factor in (("GB", 1_000**3), ("MB", 1_000**2)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1_000:.1f} kB"


def time_text(seconds: int) -> str:
    """Return how long the vehicle stands still, in words; empty if nobody knows."""
    if seconds <= 0:
        return ""
    minutes = -(-seconds // 60)
    return f"about {minutes} minute{'s' if minutes > 1 else ''}"


def _asked(glance: Glance) -> Phase | None:
    if glance.waits_code not in {"consent", "postponed"}:
        return None
    phase = next((each for each in PHASES if each == glance.waits_about), None)
    return phase if phase in glance.asks else None


def _choices(glance: Glance, asked: Phase | None) -> tuple[Choice, ...]:
    state, plan = glance.state, glance.state.plan
    if plan is None or state.state not in BEFORE_INSTALLING:
        return ()
    put_off = glance.waits_code == "postponed"
    if asked is not None:
        following = any(each in glance.asks for each in PHASES[PHASES.index(asked) + 1 :])
        return (
            Choice(word="yes", text=_YES[asked], weight="strong"),
            *([Choice(word="all", text=_ALL[asked], weight="plain")] if following else []),
            *([] if put_off else [Choice(word="later", text="Ask me tomorrow")]),
            Choice(word="no", text="Decline this update"),
        )
    if put_off:
        return (Choice(word="all", text="Install it after all", weight="strong"),)
    if plan.conduct.urgency == "soft" and "activate" not in glance.asks and "install" not in glance.asks:
        return (Choice(word="later", text="Not today"),)
    return ()


def _waits(glance: Glance) -> str:
    answer = glance.state.answer
    match glance.waits_code:
        case "consent":
            ended = answer is not None and answer.word == "yes" and answer.expires_at <= glance.at
            return "What you agreed to has ended, so it asks again." if ended else ""
        case "postponed" if answer is not None:
            return f"You put it off until {answer.expires_at.astimezone(glance.zone):%d %b %H:%M}."
        case "precondition":
            path = glance.waits_about.partition(" ")[0]
            wanted = next((words for known, words in _WANTED if path.startswith(known)), glance.waits_about)
            return f"It waits for {wanted}. ({glance.waits_text})"
        case "":
            away = glance.link_error and glance.state.state in {"SYNCING", "DOWNLOADING"}
            return "It waits for the network." if away else ""
        case _:
            return f"It waits: {glance.waits_text}."


def _ecus(glance: Glance) -> tuple[EcuLine, ...]:
    plan = glance.state.plan
    lines = []
    for ecu in plan.ecus if plan else ():
        at = glance.state.ecus.get(ecu.serial, EcuState.IDLE)
        done = glance.done.get(ecu.serial)
        percent = min(100, done[0] * 100 // done[1]) if done is not None and done[1] > 0 else None
        word = _ECU_WORDS[at]
        if at is EcuState.IDLE and glance.state.state == "DOWNLOADING" and percent is not None:
            word = "downloading"
        if at is EcuState.COMMITTED:
            percent = None
        lines.append(EcuLine(name=glance.names.get(ecu.serial, ecu.serial), word=word, percent=percent))
    return tuple(lines)
