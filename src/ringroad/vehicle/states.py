"""What the journal says: entries, and the state they add up to.

`fold` is the only way to a `CampaignState`; a restart folds the journal again and knows what the process knew.
Nothing here reads an ECU, a file or a clock.

Invariants:
    * Before the entry ``Moved(COMMITTING)`` an update group may be undone; after it, never.
    * A finished action is not started again.
    * After ``ROLLBACK_FAILED`` no campaign starts until a technician unblocks the vehicle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, assert_never

import msgspec

from ringroad.kernel.errors import Corrupt
from ringroad.protocol.vehicle import (
    TERMINAL_STATES,
    Conduct,
    Phase,
    PostCheck,
    UpdateGroup,
    VehicleState,
)
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.agents.base import EcuImage, Reason, image_of
from ringroad.vehicle.ecu_tries import EcuTry, Failing, after_last
from ringroad.vehicle.kept import REFUSED_KEPT, PastUpdate, RefusedReport, declined, past_of, remembered

FINISHED_KEPT: Final = 64  # actions; the server stops offering one long before 64 others
JOURNAL_MISSING: Final = "journal_missing"  # why a vehicle may be blocked that never failed at anything

BEFORE_INSTALLING: Final[frozenset[VehicleState]] = frozenset(
    {"SYNCING", "AWAITING_CONSENT", "DOWNLOADING", "VERIFYING", "STAGING", "READY"}
)
RESTING: Final[frozenset[str]] = TERMINAL_STATES | {"IDLE"}
RESET_TRIES_ON: Final[frozenset[VehicleState]] = frozenset(
    {"INSTALLING", "CHECKING", "COMMITTING", "ROLLING_BACK"}
)


class EcuState(StrEnum):
    """Where one ECU stands in the running campaign.

    STAGING and UNREACHABLE are never written down: they follow from other records (`CampaignState.told`), so that an
    orchestrator from before them still reads the journal when its vehicle goes back to it.
    """

    IDLE = "IDLE"
    STAGING = "STAGING"
    STAGED = "STAGED"
    INSTALLING = "INSTALLING"
    ACTIVATED = "ACTIVATED"
    VERIFIED = "VERIFIED"
    COMMITTED = "COMMITTED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"
    UNREACHABLE = "UNREACHABLE"


# What a restart cannot undo: from here on restarts are counted anew.
_LASTING: Final = frozenset({EcuState.STAGED, EcuState.ACTIVATED, EcuState.COMMITTED, EcuState.ROLLED_BACK})
TOUCHED: Final = frozenset(
    {EcuState.INSTALLING, EcuState.ACTIVATED, EcuState.VERIFIED, EcuState.ROLLING_BACK, EcuState.FAILED}
)


class EcuPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What will happen to one ECU, decided once, in SYNCING."""

    target: VerifiedTarget
    from_version: str
    from_sha256: str  # what it runs before; empty if the bootloader answered
    backup: VerifiedTarget | None = None  # for an in-place ECU
    primary: bool = False

    @property
    def serial(self) -> str:
        """The ECU's serial."""
        return self.target.serial

    @property
    def image(self) -> EcuImage:
        """The image as the agents know it."""
        return image_of(self.target)

    @property
    def in_place(self) -> bool:
        """Whether flashing destroys what runs."""
        return self.target.ecu_target.mode == "inplace"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a restart needs to finish or undo the campaign, without the network."""

    release_id: str
    release_version: str
    groups: tuple[UpdateGroup, ...]  # in the order they are installed, already installed ECUs left out
    ecus: tuple[EcuPlan, ...]
    post_checks: tuple[PostCheck, ...] = ()
    preconditions: tuple[str, ...] = ()
    notes: str = ""  # what the driver is told of it
    conduct: Conduct = Conduct()

    def ecu(self, serial: str) -> EcuPlan:
        """Return the plan of one ECU. Raises: Corrupt, if the plan does not name it."""
        for ecu in self.ecus:
            if ecu.target.serial == serial:
                return ecu
        raise Corrupt(f"the plan does not know ECU {serial}")

    def images(self) -> tuple[VerifiedTarget, ...]:
        """Every image that must be in the store before anything is installed; backups first, as bases of deltas."""
        wanted = [ecu.backup for ecu in self.ecus if ecu.backup is not None]
        wanted += [ecu.target for ecu in self.ecus]
        return tuple({target.sha256: target for target in wanted}.values())


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver said to an update."""

    word: Literal["yes", "later", "no"]
    phases: tuple[Phase, ...]  # that a yes covers
    by: str
    at: datetime
    expires_at: datetime  # of a yes, or of the time that a "later" asks for
    notes_sha256: str  # of the release notes that were shown; empty if none were


# Entries --------------------------------------------------------------------------------------------


class _Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the journal's entries."""


class Born(_Entry, frozen=True, tag=True):
    """First entry of a journal."""

    epoch: str  # makes report ids unique even if the folder is made anew
    at: datetime
    beside: tuple[str, ...] = ()  # files of an earlier life: the journal that went with them is lost


class Started(_Entry, frozen=True, tag=True):
    """The orchestrator was started while a campaign was under way."""

    at: datetime


class Opened(_Entry, frozen=True, tag=True):
    """The server asked for an update; SYNCING begins."""

    action_id: int
    at: datetime


class Planned(_Entry, frozen=True, tag=True):
    """Both repositories were verified and the plan made."""

    plan: Plan
    at: datetime


class Moved(_Entry, frozen=True, tag=True):
    """The vehicle's campaign state changed."""

    state: VehicleState
    at: datetime
    code: str = ""
    detail: str = ""


class EcuMoved(_Entry, frozen=True, tag=True):
    """One ECU's state changed."""

    serial: str
    state: EcuState
    at: datetime
    code: str = ""
    detail: str = ""


class FaultsKnown(_Entry, frozen=True, tag=True):
    """Fault codes present before anything was installed, by ECU serial."""

    faults: dict[str, tuple[str, ...]]
    at: datetime


class Answered(_Entry, frozen=True, tag=True):
    """The driver said something to the running update."""

    answer: Answer
    at: datetime


class Tried(_Entry, frozen=True, tag=True):
    """Something failed and will be tried again; counted, so that tries are bounded."""

    what: str
    at: datetime
    code: str = ""
    detail: str = ""
    tries_max: int = 0  # that there are of it; 0 where that is not said
    again_at: datetime | None = None  # when the next one is due; None after the last


class Noted(_Entry, frozen=True, tag=True):
    """Something worth telling that changes nothing, for example why nothing is being installed."""

    code: str
    at: datetime
    about: str = ""  # what it is about without its changing values: told again only when this changes
    detail: str = ""
    peer_bytes: int = 0  # that came from peers


class Refused(_Entry, frozen=True, tag=True):
    """The server refused the report of an earlier record again and again; it is put aside, for those behind it."""

    sequence: int  # of the record whose report it is
    refused: RefusedReport


class Declined(_Entry, frozen=True, tag=True):
    """The server asked a blocked vehicle for something."""

    action_id: int
    at: datetime
    detail: str


class Unblocked(_Entry, frozen=True, tag=True):
    """A technician made the vehicle whole after ROLLBACK_FAILED."""

    at: datetime


class Compacted(_Entry, frozen=True, tag=True):
    """Everything that earlier entries still mean; written only between campaigns."""

    epoch: str
    at: datetime
    state: VehicleState
    release_id: str
    finished: tuple[int, ...]
    installed: dict[str, VerifiedTarget]
    refused: tuple[RefusedReport, ...] = ()
    refused_count: int = 0
    code: str = ""
    detail: str = ""
    before: dict[str, str] = {}
    past: tuple[PastUpdate, ...] = ()


Entry = (
    Born
    | Started
    | Opened
    | Planned
    | Moved
    | EcuMoved
    | FaultsKnown
    | Answered
    | Tried
    | Noted
    | Refused
    | Declined
    | Unblocked
    | Compacted
)

# State ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignState:
    """What the journal adds up to.

    Attributes:
        epoch: of the journal.
        state: of the vehicle.
        action_id: of the running or last campaign.
        began_at: when that was taken up.
        plan: of the running campaign, once made.
        ecus: state by serial of the ECUs in `plan`.
        tries: failed tries by what was tried; starts anew where a new phase does. A restart in the middle of a
            rollback is one.
        restarts: starts of the orchestrator with something under way since it last got further.
        code, detail: typed reason of the last state change or of the ECU that failed since; the same for people.
        noted, note: code and subject of the last note in this state, in SYNCING of the last failed try as well; its words.
        notes: how many notes there were in this state, but for those of what peers gave.
        unreachable: ECUs that did not answer when they were last tried.
        failing: the newest failed try of each ECU that got no further since; nothing is decided on it.
        known_faults: codes by serial from before the installation; None until they were read.
        answer: the driver's newest word on the running update.
        cancel_refused: the server was told that its cancel came too late.
        finished: actions that ended, newest last.
        past: what is kept of the newest of them, newest first.
        release_id: of the release last committed.
        installed: the image last committed by serial, for later backups.
        before: digest of the image that ran before that one by serial, for an ordered return.
        refused: the newest reports that the server did not take.
        refused_count: how many there ever were.
        peer_bytes: of this update's images that came from peers.
    """

    epoch: str = ""
    state: VehicleState = "IDLE"
    action_id: int | None = None
    began_at: datetime | None = None
    plan: Plan | None = None
    ecus: Mapping[str, EcuState] = field(default_factory=lambda: MappingProxyType({}))
    tries: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    restarts: int = 0
    code: str = ""
    detail: str = ""
    noted: tuple[str, str] = ("", "")
    note: str = ""
    notes: int = 0
    unreachable: frozenset[str] = frozenset()
    failing: Failing = field(default_factory=lambda: MappingProxyType({}))
    known_faults: Mapping[str, tuple[str, ...]] | None = None
    answer: Answer | None = None
    cancel_refused: bool = False
    finished: tuple[int, ...] = ()
    past: tuple[PastUpdate, ...] = ()
    release_id: str = ""
    installed: Mapping[str, VerifiedTarget] = field(default_factory=lambda: MappingProxyType({}))
    before: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    refused: tuple[RefusedReport, ...] = ()
    refused_count: int = 0
    peer_bytes: int = 0

    @property
    def blocked(self) -> bool:
        """Whether a technician is needed."""
        return self.state == "ROLLBACK_FAILED"

    @property
    def resting(self) -> bool:
        """Whether no campaign is under way."""
        return self.state in RESTING

    def told(self, serial: str) -> EcuState:
        """Return where an ECU stands, for whoever looks; nothing is decided on it."""
        ecu = self.ecus.get(serial, EcuState.IDLE)
        if serial in self.unreachable and ecu is not EcuState.FAILED:
            return EcuState.UNREACHABLE
        if self.state == "ROLLED_BACK" and self.ecus.get(serial) in {EcuState.IDLE, EcuState.STAGED}:
            return EcuState.ROLLED_BACK  # the way back did not come to it: it runs what it ran
        return EcuState.STAGING if ecu is EcuState.IDLE and self.state == "STAGING" else ecu

    def group(self) -> UpdateGroup | None:
        """Return the update group at work: the first that is not wholly committed."""
        if self.plan is None:
            return None
        for group in self.plan.groups:
            if any(self.ecus[serial] is not EcuState.COMMITTED for serial in group.ecus):
                return group
        return None


def fold(state: CampaignState, entry: Entry) -> CampaignState:
    """Return the state after `entry`."""
    match entry:
        case Born(epoch=epoch, beside=beside) if beside:
            detail = f"no journal beside {', '.join(beside)}"
            return replace(state, epoch=epoch, state="ROLLBACK_FAILED", code=JOURNAL_MISSING, detail=detail)
        case Born(epoch=epoch):
            return replace(state, epoch=epoch)
        case Started():
            return _after_start(state)
        case Opened(action_id=action_id, at=at):
            return CampaignState(
                epoch=state.epoch, state="SYNCING", action_id=action_id, began_at=at,
                finished=state.finished, past=state.past,
                release_id=state.release_id, installed=state.installed, before=state.before,
                refused=state.refused, refused_count=state.refused_count,
            )  # fmt: skip
        case Planned(plan=plan):
            return replace(state, plan=plan, ecus={ecu.serial: EcuState.IDLE for ecu in plan.ecus})
        case Moved():
            return _after_move(state, entry)
        case EcuMoved():
            return _after_ecu_move(state, entry)
        case FaultsKnown(faults=faults):
            return replace(state, known_faults=MappingProxyType(faults))
        case Answered(answer=answer):
            return replace(state, answer=answer, noted=("", ""), note="")  # what it waits for is told again
        case Tried(what=what, code=code, detail=detail):
            serial, tries = tried_ecu(entry, state), {**state.tries, what: state.tries.get(what, 0) + 1}
            gone = {serial} if serial and code == Reason.UNREACHABLE else set()
            noted = (code, detail) if state.state == "SYNCING" else state.noted  # no plan names an ECU yet
            again_at, count_max = entry.again_at, entry.tries_max
            failed = EcuTry(
                code=code, detail=detail, count=tries[what], count_max=count_max, again_at=again_at
            )
            return replace(
                state, tries=tries, unreachable=_without(state.unreachable, serial) | gone, noted=noted, note=detail if noted == (code, detail) else state.note,
                failing={**state.failing, serial: failed} if serial else state.failing,
            )  # fmt: skip
        case Noted(code=code, about=about, detail=detail, peer_bytes=given):
            return replace(
                state, notes=state.notes + (not given), peer_bytes=state.peer_bytes + given, noted=state.noted if given else (code, about), note=state.note if given else detail,
                cancel_refused=state.cancel_refused or code == "cancel_refused",
            )  # fmt: skip
        case Refused(refused=refused):
            kept = (*state.refused, refused)[-REFUSED_KEPT:]
            return replace(state, refused=kept, refused_count=state.refused_count + 1)
        case Declined(action_id=action_id, at=at, detail=detail):
            past = remembered(state.past, declined(action_id, detail, at=at))
            return replace(state, finished=(*state.finished, action_id)[-FINISHED_KEPT:], past=past)
        case Unblocked():
            return replace(state, state="IDLE", code="unblocked", detail=f"no ECU was touched, look at what is there: {state.code}: {state.detail}")  # fmt: skip
        case Compacted():
            return CampaignState(
                epoch=entry.epoch, state=entry.state, finished=entry.finished,
                action_id=entry.finished[-1] if entry.finished else None,
                release_id=entry.release_id, installed=MappingProxyType(entry.installed),
                before=MappingProxyType(entry.before), past=entry.past,
                refused=entry.refused, refused_count=entry.refused_count,
                code=entry.code, detail=entry.detail,
            )  # fmt: skip
        case _:
            assert_never(entry)


def tried_ecu(entry: Tried, state: CampaignState) -> str:
    """Return the serial of the ECU that was tried; empty if it was something else, an image for example."""
    _, _, serial = entry.what.partition(":")
    return serial if serial in state.ecus else ""


def _after_start(state: CampaignState) -> CampaignState:
    """Forget what a power cut undoes: ECUs on trial have gone back, so what was verified runs no more."""
    ecus = state.ecus
    if state.state == "CHECKING":
        ecus = {
            serial: EcuState.ACTIVATED if ecu is EcuState.VERIFIED else ecu for serial, ecu in ecus.items()
        }
    tries = dict(state.tries)
    for serial, ecu in ecus.items():
        if ecu is EcuState.ROLLING_BACK:
            tries[f"rollback:{serial}"] = tries.get(f"rollback:{serial}", 0) + 1
    # Between two ECUs an installation may wait for days, over many an ignition.
    idle = state.state == "INSTALLING" and EcuState.INSTALLING not in ecus.values()
    return replace(
        state, ecus=ecus, tries=tries, restarts=state.restarts + (not idle), unreachable=frozenset()
    )


def _after_move(state: CampaignState, entry: Moved) -> CampaignState:
    moved = replace(
        state, state=entry.state, code=entry.code, detail=entry.detail, restarts=0, noted=("", ""), note="", notes=0,
        tries=MappingProxyType({}) if entry.state in RESET_TRIES_ON else state.tries,
        failing={} if state.blocked else state.failing, unreachable=frozenset() if state.blocked else state.unreachable,
    )  # fmt: skip
    if entry.state not in TERMINAL_STATES or state.action_id is None:
        return moved
    finished = (*state.finished, state.action_id)[-FINISHED_KEPT:]
    past = remembered(state.past, past_of(moved, at=entry.at))
    release_id = state.plan.release_id if entry.state == "SUCCEEDED" and state.plan else state.release_id
    return replace(moved, finished=finished, past=past, release_id=release_id)


def _after_ecu_move(state: CampaignState, entry: EcuMoved) -> CampaignState:
    failing = {serial: one for serial, one in state.failing.items() if serial != entry.serial}
    if entry.code:
        last = state.failing.get(entry.serial)
        failing[entry.serial] = after_last(last, code=entry.code, detail=entry.detail)
    moved = replace(
        state, ecus={**state.ecus, entry.serial: entry.state}, failing=failing,
        unreachable=_without(state.unreachable, entry.serial),
    )  # fmt: skip
    if entry.state in _LASTING:
        moved = replace(moved, restarts=0)
    if entry.state is EcuState.FAILED:
        name = state.plan.ecu(entry.serial).target.ecu_target.name if state.plan else entry.serial
        return replace(moved, code=entry.code, detail=f"{name}: {entry.detail}".removesuffix(": "))
    if entry.state is EcuState.COMMITTED and state.plan is not None:
        ecu = state.plan.ecu(entry.serial)
        before = state.before
        if ecu.from_sha256 not in {"", ecu.target.sha256}:  # else only its counter was committed
            before = {**before, entry.serial: ecu.from_sha256}
        return replace(moved, installed={**state.installed, entry.serial: ecu.target}, before=before)
    return moved


def _without(serials: frozenset[str], serial: str) -> frozenset[str]:
    return serials - {serial} if serial in serials else serials
