"""What one device report does to an action. Pure.

Reports come from two gateways in two vocabularies; `read_evidence` makes one of them, `decide_report`
applies it to the action's state.

Invariants:
    An outcome is final: no report moves a closed action.
    A native vehicle's word that it succeeded does not close its action; its signed manifest does.
    A DDI client's word does not either, unless its plan says that it is to be taken (`claims.py`).
    What cannot be read changes nothing and is kept.
    A blocked vehicle says ROLLBACK_FAILED in whatever it says, until a technician unblocks it and its ECUs are whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ringroad.protocol.vehicle import TERMINAL_STATES
from ringroad.ship.claims import Success
from ringroad.ship.model import CLOSED_STATES, AssignmentState

DETAIL_CHARS_MAX = 500  # characters of a vehicle's own words kept on the action
CONSENT_DENIED = "consent_denied"  # why an action that a person said no to ended
CLAIM = "claimed, waiting for the device to say that it runs it"
AWAITED = "SUCCEEDED, manifest awaited"
UNSTATED = frozenset({"manifest_incomplete", "manifest_unknown_image"})  # why a vehicle can state nothing
RHU_STORED = "File checksum OK."  # rauc-hawkbit-updater, once a file that it must not install yet is stored


class Evidence(StrEnum):
    """What a report says, in one vocabulary."""

    PROGRESS = "progress"  # waiting, downloading: nothing was touched yet
    BEGAN = "began"  # installing: silence after this counts as harm
    DOWNLOADED = "downloaded"  # stored and verified; the outcome of a plan that only downloads
    CLAIMED = "claimed"  # native: installed, the manifest will confirm it
    WORD = "word"  # DDI: closed with success, which its client may say before the new software ever ran
    CONFIRMED = "confirmed"  # DDI: closed with success that counts, or what it runs was stated
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    BLOCKED = "blocked"  # the roll-back failed; the vehicle needs service
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"  # native: dropped with nothing touched, for what it was told after it
    CANCEL_REJECTED = "cancel_rejected"
    NONE = "none"  # nothing about an action


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The action takes a new state or detail."""

    state: AssignmentState
    detail: str
    blocks_vehicle: bool = False
    began: bool = False
    claimed: bool = False  # success was said and is not confirmed
    overtaken: bool = False  # it waits again, where something else was in fact told in its place


@dataclass(frozen=True, slots=True)
class Refused:
    """The report is kept as evidence and changes nothing."""

    reason: str


_NATIVE = {
    "SUCCEEDED": Evidence.CLAIMED,
    "DOWNLOADED": Evidence.DOWNLOADED,
    "FAILED": Evidence.FAILED,
    "ROLLED_BACK": Evidence.ROLLED_BACK,
    "ROLLBACK_FAILED": Evidence.BLOCKED,
    "CANCELLED": Evidence.CANCELLED,
    "SUPERSEDED": Evidence.SUPERSEDED,
    "IDLE": Evidence.NONE,
    "INSTALLING": Evidence.BEGAN,
    "CHECKING": Evidence.BEGAN,
    "COMMITTING": Evidence.BEGAN,
    "ROLLING_BACK": Evidence.BEGAN,
}
_AT_REST = sorted((TERMINAL_STATES | {"IDLE"}) - {"ROLLBACK_FAILED"})
_OUTCOME = {
    Evidence.CONFIRMED: AssignmentState.INSTALLED,
    Evidence.DOWNLOADED: AssignmentState.DOWNLOADED,
    Evidence.FAILED: AssignmentState.FAILED,
    Evidence.BLOCKED: AssignmentState.FAILED,
    Evidence.ROLLED_BACK: AssignmentState.ROLLED_BACK,
    Evidence.CANCELLED: AssignmentState.CANCELLED,
    Evidence.SUPERSEDED: AssignmentState.CANCELLED,
}


def read_evidence(
    kind: str, body: Mapping[str, Any], *, download_only: bool = False, success: Success = "stated"
) -> tuple[Evidence, str]:
    """Return what a stored report says, and the vehicle's own words.

    Args:
        kind: of the `device_report` row: progress, closed, cancel or config.
        body: as the gateway wrote it; ``gateway`` tells the vocabulary.
        download_only: the plan asks the vehicle to store the update and no more.
        success: what a DDI client's is worth.
    """
    if kind == "config":
        return Evidence.NONE, ""
    if body.get("gateway") == "ddi":
        evidence, detail = _ddi(kind, body)
        if download_only:
            evidence = _ddi_stored(evidence, body)
        elif evidence is Evidence.CONFIRMED and success == "stated":
            evidence = Evidence.WORD
        return evidence, detail
    state = body.get("state")
    if not isinstance(state, str):
        return Evidence.NONE, ""
    about_ecu = bool(body.get("ecu"))
    evidence = _NATIVE.get(state, Evidence.PROGRESS)
    if about_ecu and state in TERMINAL_STATES:
        evidence = Evidence.BEGAN  # one ECU is done, the vehicle is not
    elif download_only and state == "READY" and not about_ecu:
        evidence = (
            Evidence.DOWNLOADED
        )  # a vehicle from before DOWNLOADED waits there for a term that never holds
    elif evidence is Evidence.DOWNLOADED and not download_only:
        evidence = Evidence.FAILED  # it ended, and was asked to install
    shown = state if not (about_ecu and state in TERMINAL_STATES) else "INSTALLING"
    parts = [shown, _percent(body.get("done_bytes"), body.get("total_bytes"))]
    parts += [str(body.get(name) or "") for name in ("ecu", "ecu_state", "code", "detail")]
    return evidence, " ".join(part for part in parts if part)[:DETAIL_CHARS_MAX]


def takes_part(body: Mapping[str, Any]) -> bool:
    """Say whether a native vehicle that was blocked tells by this report that it takes part again.

    Args:
        body: of a stored report.
    """
    return body.get("gateway") == "native" and body.get("state") in _AT_REST and not body.get("ecu")


def declined_by(who: str) -> str:
    """Return the detail of an action that waits to be cancelled because somebody said no to it."""
    return f"declined by {who}"[:DETAIL_CHARS_MAX]


def detail_kept(move: Move, *, declined: str = "", gave_way: str = "") -> str:
    """Return the detail of a move of an action that its vehicle was told to cancel: why, as long as that holds.

    Args:
        move: by a report of the vehicle, which may know no more than that its update is taken back.
        declined: what `declined_by` made; empty: nobody declined it here for its driver.
        gave_way: to which recall; empty: to none.
    """
    if declined and move.state is AssignmentState.CANCELLED:
        return f"{CONSENT_DENIED}: {declined}"[:DETAIL_CHARS_MAX]
    return (declined or gave_way or move.detail) if move.state is AssignmentState.CANCELLING else move.detail


def decide_report(state: AssignmentState | None, evidence: Evidence, detail: str) -> Move | Refused:
    """Apply one piece of evidence.

    Args:
        state: of the action named by the report; None when this vehicle has no such action.
        evidence: what the report says.
        detail: the vehicle's own words.
    """
    if evidence is Evidence.NONE:
        return Refused("no_action")
    if state is None:
        return Refused("unknown_action")
    if state in CLOSED_STATES:
        return Refused("closed")
    if evidence in _OUTCOME:
        overtaken = evidence is Evidence.SUPERSEDED and state is not AssignmentState.CANCELLING
        return Move(
            state=_OUTCOME[evidence], detail=detail, blocks_vehicle=evidence is Evidence.BLOCKED, overtaken=overtaken
        )  # fmt: skip
    began = evidence in (Evidence.BEGAN, Evidence.CLAIMED, Evidence.WORD)
    if evidence in (Evidence.CLAIMED, Evidence.WORD):
        keeps = state in (AssignmentState.CANCELLING, AssignmentState.PENDING)
        word = evidence is Evidence.WORD
        return Move(
            state=state if keeps else AssignmentState.ACTIVE,
            detail=CLAIM if word else _awaited(detail),
            began=began,
            claimed=word,
        )
    if state is AssignmentState.PENDING:  # withheld by a pause after the vehicle had heard of it
        return Move(state=AssignmentState.PENDING, detail=detail, began=began)
    if state is AssignmentState.CANCELLING and evidence is not Evidence.CANCEL_REJECTED:
        return Move(state=AssignmentState.CANCELLING, detail=detail, began=began)
    return Move(state=AssignmentState.ACTIVE, detail=detail, began=began)


def _awaited(said: str) -> str:
    """Say that a manifest is awaited, and why there is none, where the vehicle said that."""
    code, _, why = said.removeprefix("SUCCEEDED ").partition(" ")
    return ": ".join(filter(None, (AWAITED, why if code in UNSTATED else "")))[:DETAIL_CHARS_MAX]


def _ddi(kind: str, body: Mapping[str, Any]) -> tuple[Evidence, str]:
    """Read DDI feedback; closed without a result is no success, whatever other servers make of it."""
    execution, finished = body.get("execution"), body.get("finished")
    details = body.get("details")
    words = " ".join(str(line) for line in details) if isinstance(details, list) else ""
    detail = " ".join(
        part for part in (str(execution), _percent(body.get("done"), body.get("total")), words) if part
    )
    detail = detail[:DETAIL_CHARS_MAX]
    if kind == "cancel":
        if execution == "closed":
            return (Evidence.FAILED if finished == "failure" else Evidence.CANCELLED), detail
        return (Evidence.CANCEL_REJECTED if execution == "rejected" else Evidence.PROGRESS), detail
    match execution, finished:
        case "closed", "success":
            return Evidence.CONFIRMED, detail
        case "closed", "failure":
            return Evidence.FAILED, detail
        case "closed", _:
            return Evidence.FAILED, f"closed without a result {words}"[:DETAIL_CHARS_MAX]
        case "canceled", _:
            return Evidence.CANCELLED, detail
        case (("download" | "downloaded" | "scheduled" | "rejected"), _):
            return Evidence.PROGRESS, detail
        case str(), _:
            return Evidence.BEGAN, detail  # clients do not say more exactly; the careful reading
    return Evidence.NONE, ""


def _ddi_stored(evidence: Evidence, body: Mapping[str, Any]) -> Evidence:
    """Return what DDI feedback says where the device was told to download and to skip the update.

    hawkBit ends such an action with `downloaded`. rauc-hawkbit-updater never says that: it proceeds with these words.
    Whoever closes with success did what it was told, so it has not installed anything.
    """
    said = body.get("details")
    stored = body.get("execution") == "downloaded" or (isinstance(said, list) and RHU_STORED in said)
    if evidence is Evidence.CONFIRMED or (stored and evidence in (Evidence.BEGAN, Evidence.PROGRESS)):
        return Evidence.DOWNLOADED
    return Evidence.PROGRESS if evidence is Evidence.BEGAN else evidence


def _percent(done: object, total: object) -> str:
    if not isinstance(done, int) or not isinstance(total, int) or total <= 0:
        return ""
    return f"{min(100, max(0, done) * 100 // total)} %"
