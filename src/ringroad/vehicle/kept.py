"""What a journal keeps of what is over: updates that ended, and reports that the server refused. Pure.

Everything here is bounded, for a journal that is compacted writes all of it into one record (`journal.py`).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from ringroad.protocol.vehicle import Report, VehicleState
from ringroad.vehicle.ecu_tries import try_text

if TYPE_CHECKING:
    from ringroad.vehicle.states import CampaignState

REFUSED_KEPT: Final = 32  # reports the server would not take; the newest, for whoever looks into it
PAST_KEPT: Final = 20  # updates that ended; a vehicle has some ten a year
PAST_ECUS_KEPT: Final = 512  # ECUs of them in all; 15 updates of a vehicle of 33 ECUs, some 60 kB
DETAIL_CHARS_MAX: Final = 500  # of why one ended
BLOCKED: Final = "blocked"  # code of the answer to every order until a technician came


class RefusedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that the server does not take, whatever is tried."""

    report: Report
    code: str  # as what it was refused
    at: datetime


class PastEcu(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ECU of an update, how it stands or ended for it, and why; `why` is empty where nothing failed last."""

    serial: str
    from_version: str
    to_version: str
    state: str
    why: str = ""


class PastUpdate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An update that ended.

    Attributes:
        action_id: as the server calls it.
        state: in which it ended.
        began_at: when the vehicle took it up; None of one that it declined.
        ended_at: when it ended.
        code, detail: why it ended so; empty if the state says it.
        release_id, version: of its release; empty if it never got so far as to know it.
        ecus: that it was for, with where each stood at the end; none of an older one that there is no room for.
    """

    action_id: int
    state: VehicleState
    ended_at: datetime
    began_at: datetime | None = None
    code: str = ""
    detail: str = ""
    release_id: str = ""
    version: str = ""
    ecus: tuple[PastEcu, ...] = ()


def past_of(state: CampaignState, *, at: datetime) -> PastUpdate:
    """Return what is kept of the update that just ended."""
    plan = state.plan
    return PastUpdate(
        action_id=state.action_id or 0, state=state.state, began_at=state.began_at, ended_at=at,
        code=state.code, detail=state.detail[:DETAIL_CHARS_MAX],
        release_id=plan.release_id if plan else "", version=plan.release_version if plan else "",
        ecus=ecus_of(state),
    )  # fmt: skip


def past_text(past: PastUpdate) -> str:
    """Return an update that ended as a sentence for a person."""
    to = f" to {past.version}" if past.version else ""
    began = f" from {past.began_at:%Y-%m-%d %H:%M:%S}" if past.began_at else ""
    why = ": ".join(filter(None, (past.code, past.detail)))
    ended = f"{began} until {past.ended_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"update {past.action_id}{to}, {past.state}{ended}{f', {why}' if why else ''}"


def ecus_of(state: CampaignState, *, now: datetime | None = None) -> tuple[PastEcu, ...]:
    """Return the ECUs of an update, and where each stands. `now`: None of one that is over."""
    return tuple(
        PastEcu(
            serial=ecu.serial, from_version=ecu.from_version, to_version=ecu.target.ecu_target.version,
            state=str(state.told(ecu.serial) if state.state == "ROLLED_BACK" else state.ecus.get(ecu.serial, "")),
            why=try_text(state.failing[ecu.serial], now=now)[:DETAIL_CHARS_MAX] if ecu.serial in state.failing else "",
        )
        for ecu in (state.plan.ecus if state.plan else ())
    )  # fmt: skip


def declined(action_id: int, detail: str, *, at: datetime) -> PastUpdate:
    """Return what is kept of an update that a blocked vehicle did not begin with."""
    return PastUpdate(
        action_id=action_id, state="FAILED", ended_at=at, code=BLOCKED, detail=detail[:DETAIL_CHARS_MAX]
    )


def remembered(past: tuple[PastUpdate, ...], newest: PastUpdate) -> tuple[PastUpdate, ...]:
    """Return the updates that are kept, newest first: the oldest go, and before that their ECUs."""
    kept: list[PastUpdate] = []
    room = PAST_ECUS_KEPT
    for each in (newest, *past)[:PAST_KEPT]:
        room -= len(each.ecus)
        kept.append(each if room >= 0 else msgspec.structs.replace(each, ecus=()))
    return tuple(kept)
