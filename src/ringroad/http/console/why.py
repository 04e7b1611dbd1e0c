"""Why is this vehicle not updating? Facts in, one plain answer out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from ringroad.http.console.render import short, words
from ringroad.http.views import AssignmentView, VehicleResolutionView, VehicleView
from ringroad.kernel.hours import (
    ALWAYS,
    OwnHours,
    Window,
    find_zone,
    moment_words,
    offer_time,
    own_offer_time,
)
from ringroad.ship.judged import CHANGED_ELSEWHERE
from ringroad.ship.reason_words import reason_words
from ringroad.ship.report import CONSENT_DENIED

_LEFT_OUT = {
    "mismatch": "it does not fit.",
    "unknown": "it is not known well enough.",
    "control": "it is held back, and others are compared with it.",
}

_OVER = {"halted", "aborted", "finished"}

_STOPPED = {"halted", "aborted"}
_UNDER_WAY = {"offered", "active", "claimed", "cancelling"}
_ABOARD = {"AWAITING_CONSENT", "STAGING", "READY", "INSTALLING"}
_WAITS_FOR = {
    "consent": "waits for its driver",
    "postponed": "was put off by its driver",
    "quiet_hours": "keeps to its own quiet hours",
    "ecu_locked": "waits until nobody works at its ECUs",
    "precondition": "waits until what the release demands holds",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """The answer: what, in which tone, and what to do next."""

    title: str
    text: str
    tone: str  # ok, warn, bad, or nothing
    next: str = ""


def why_not_updating(
    v: VehicleView, a: AssignmentView | None, r: VehicleResolutionView | None = None, *, now: datetime
) -> Why:
    """Explain a vehicle's state from its newest assignment, or from a newer plan that leaves it out."""
    title = "Why it is not updating"
    if v.shut_out or v.blocked_reason:
        return _barred(v, title=title)
    r = None if r is None or not _says_why(a, r) else r
    if r is not None and r.let_go_at is not None:
        return Why(
            title=title,
            text=f"{r.campaign_name} ships {r.release_version}: it was held back, and others were compared with it until"
            f" {short(r.let_go_at)}. Then it was let go: {reason_words(r.let_go_reason)}.",
            tone="",
            next="Nothing holds it back any more: the next campaign that selects it may take it.",
        )
    if r is not None and r.verdict == "control" and r.campaign_state in _OVER:
        return Why(
            title=title,
            text=f"{r.campaign_name} shipped {r.release_version}: it was held back, and others were compared with it."
            f" That campaign is {r.campaign_state}.",
            tone="",
            next="Nothing holds it back any more: another campaign that selects it may take it.",
        )
    if r is not None and r.verdict in _LEFT_OUT:
        return Why(
            title=title,
            text=f"{r.campaign_name} ships {r.release_version}: {_LEFT_OUT[r.verdict]} {r.sentence}".strip(),
            tone="warn",
        )
    if a is None:
        return Why(title=title, text="No campaign has taken in this vehicle.", tone="")
    detail = f" It says: {reason_words(a.state_detail)}." if a.state_detail else ""
    if a.kind == "rollback":
        return _going_back(a, detail)
    match a.state:
        case "pending":
            return Why(title=title, text=f"{_pending(a, now=now)}{_put_off(a, now=now)}", tone="warn")
        case "offered":
            return _offered(a, title=title, now=now)
        case "active" if waits := _waits_aboard(a.state_detail):
            said = f" It said so {short(a.last_report_at)}." if a.last_report_at else ""
            text = f"{a.release_version} is in the vehicle's hands. It {waits}.{said}"
            return Why(title=title, text=text, tone="warn")
        case "active":
            return Why(
                title="It is updating", text=f"The vehicle works on {a.release_version}.{detail}", tone="ok"
            )
        case "claimed":
            return Why(
                title="It says that it is updated",
                text=f"It claims {a.release_version}, and has yet to say that it runs it; until then it counts as no"
                " success.",
                tone="warn",
                next="It is asked for its attributes at each poll. One that never states what it runs ends as silent.",
            )
        case "cancelling":
            text = f"The offer was withdrawn{_because(a)}; the vehicle's answer is awaited."
            return Why(title=title, text=text, tone="warn")
    return _ended(v, a, title, detail)


def _barred(v: VehicleView, *, title: str) -> Why:
    """Say that no campaign touches a vehicle, and what lets one do so again."""
    if v.shut_out:
        return Why(
            title=title,
            text="The vehicle is shut out: its token and certificates were ended, and it did not enrol again.",
            tone="bad",
            next="No campaign takes it in. Invite it, and it may enrol again.",
        )
    return Why(
        title=title,
        text=f"The vehicle is blocked: {v.blocked_reason}.",
        tone="bad",
        next="Nothing is offered to it. Its reports name the ECU. A technician beside it mends that, then says:"
        " ringroad vehicle unblock. The vehicle brings its ECUs back, tells so, and is free again.",
    )


def _says_why(a: AssignmentView | None, r: VehicleResolutionView) -> bool:
    """Tell whether a plan says more than the vehicle's own assignment: that is over, and ended before it was made."""
    if a is None:
        return True
    waits = a.state == "pending" and a.campaign_state not in _OVER
    if waits or a.state in _UNDER_WAY or a.campaign_id == r.campaign_id:
        return False
    moved_at = a.finished_at or a.offered_at
    if (
        r.planned_at is None or moved_at is None
    ):  # of an older server, or never offered: campaigns sort by age
        return a.campaign_id < r.campaign_id
    return moved_at < r.planned_at


def _going_back(a: AssignmentView, detail: str) -> Why:
    """Say where a return stands; its assignment names the release that the vehicle leaves."""
    ordered = f"The campaign of {a.release_version} is {a.campaign_state}, and the vehicle is ordered back to what it ran before"
    match a.state:
        case "installed":
            text = f"It left {a.release_version}, whose campaign is {a.campaign_state}, and runs what it ran before."
            return Why(title="It went back", text=text, tone="ok")
        case "pending":
            text = f"{ordered}. It waits until its order is signed, or until what it has under way is over."
        case "offered":
            text = f"{ordered}. It has not answered yet."
        case "active" | "claimed" | "cancelling":
            text = f"{ordered}. It works on it.{detail}"
        case _:
            return Why(
                title="It did not go back",
                text=f"{ordered}. That came to nothing: {words(a.state)}.{detail}",
                tone="bad",
                next="It can be ordered back again from the campaign.",
            )
    return Why(title="It is ordered back", text=text, tone="warn")


def _ended(v: VehicleView, a: AssignmentView, title: str, detail: str) -> Why:
    match a.state:
        case "installed" if a.campaign_state in _STOPPED and v.release_version == a.release_version:
            return Why(
                title="It runs the release of a stopped campaign",
                text=f"It confirmed {a.release_version}, whose campaign is {a.campaign_state}. It is not ordered back yet.",
                tone="warn",
                next="The campaign shows who can go back, and orders them.",
            )
        case "installed":
            return Why(title="It is up to date", text=f"It confirmed {a.release_version}.", tone="ok")
        case "downloaded":
            return Why(
                title="It has the update stored",
                text=f"It downloaded and verified {a.release_version}, and was not asked to install it.",
                tone="ok",
                next="A campaign that installs the same release finds the images in the vehicle.",
            )
        case "expired":
            return Why(title=title, text=f"It gave no outcome before its deadline.{detail}", tone="bad")
        case "failed" | "rolled_back":
            verb = "undid" if a.state == "rolled_back" else "could not install"
            return Why(
                title=title,
                text=f"It {verb} {a.release_version} and runs what it ran before.{detail}",
                tone="bad",
                next="The reports below show the step that failed.",
            )
        case "cancelled" if a.state_detail.startswith(f"{CONSENT_DENIED}: "):
            said = a.state_detail.removeprefix(f"{CONSENT_DENIED}: ")
            return Why(title=title, text=f"{a.release_version} was {said} for its driver.", tone="warn")
        case "cancelled" if a.state_detail.startswith(CHANGED_ELSEWHERE):
            said = reason_words(a.state_detail).partition(": ")[2]
            return Why(
                title=title,
                text=f"Something else than a campaign changed it, a workshop say: {said}. It refused"
                f" {a.release_version} before anything was touched, and was let go: it counts neither as failed nor as silent.",
                tone="warn",
                next="Bring that ECU back to an image of the programme, or import and sign the one that it runs.",
            )
    return Why(
        title=title,
        text=f"Its last offer ended: {words(a.state)}{_because(a)}.{'' if a.withdrawn else detail}",
        tone="",
    )


def _because(a: AssignmentView) -> str:
    """Return who or what withdrew the update and why; a campaign that still runs did not."""
    return f", as {a.withdrawn.rstrip('.')}" if a.withdrawn else ""


def _waits_aboard(detail: str) -> str:
    """Return what a native vehicle says that it waits for, before it changes anything; empty if for nothing."""
    state, _, said = detail.partition(" ")
    code, _, words_ = said.partition(" ")
    if state not in _ABOARD or code not in _WAITS_FOR:
        return ""
    return f"{_WAITS_FOR[code]}: {words_}" if words_ else _WAITS_FOR[code]


def _offered(a: AssignmentView, *, title: str, now: datetime) -> Why:
    if waits := waits_for_window(a, now=now):
        text, follows = f"It {waits}.", "By the vehicle's own clock; its own hours are set below."
    elif a.withheld:
        text = (
            "It is told nothing: the update is only to be downloaded, and it never said that it honours that."
        )
        follows = (
            'A device says so by its attributes: "honours_skip": "true". Until then it counts as silent.'
        )
    elif a.asked:
        no = f" It says: {a.state_detail}." if a.state_detail.startswith("declined") else ""
        text = f"Its driver is asked and has not agreed.{no}"
        follows = "Whoever speaks for the driver may answer here."
    else:
        late = " Its deadline has passed." if a.deadline_at is not None and a.deadline_at < now else ""
        at = short(a.offered_at) if a.offered_at else ""
        text = f"Offered {at}; the vehicle has not answered yet.{late}"
        follows = "A vehicle answers at its next poll. One that is parked without network stays silent."
    return Why(title=title, text=text, tone="warn", next=follows)


def hours_said(schedule: Mapping[str, Any] | None) -> str:
    """Return when a vehicle may begin, as its fleet's operator said."""
    if schedule is None:
        return "whenever a campaign may"
    parts = [span for span in schedule["hours"] if (span,) != ALWAYS]
    parts += [f"not {span}" for span in schedule["quiet"]]
    if text := schedule.get("not_before"):
        at = datetime.fromisoformat(text).astimezone(find_zone(schedule["time_zone"]))
        parts.append(f"not before {at:%Y-%m-%d %H:%M}")
    return f"{', '.join(parts)}; {schedule['time_zone']}" if parts else "whenever a campaign may"


def waits_for(a: AssignmentView, *, now: datetime) -> str:
    """Return what a vehicle waits for that its own detail does not say: its window, another campaign, its own word."""
    if a.withheld:
        return "is told nothing: it never said that it honours skip"
    if not a.behind:
        return waits_for_window(a, now=now)
    if a.behind_state == "paused":
        return f"waits for what {a.behind} has under way, which is paused: no deadline ends it before it is resumed"
    return f"waits for what {a.behind} has under way"


def waits_for_window(a: AssignmentView, *, now: datetime) -> str:
    """Return ``waits for its window, open at ...`` for a vehicle that is offered something outside of it.

    The campaign's window and the vehicle's own hours must both be open; the one that opens last is named.
    """
    if a.state != "offered":
        return ""
    shut = [
        found
        for name, document, kind in (
            ("its window", a.window, Window), ("its own hours", a.own_window, OwnHours),
        )
        if document is not None
        and (found := _shut(name, msgspec.convert(document, kind), a, now=now)) is not None
    ]  # fmt: skip
    return max(shut)[1] if shut else ""


def _shut(name: str, window: Window, a: AssignmentView, *, now: datetime) -> tuple[datetime, str] | None:
    """Return when a window opens, and that in words; None: it is open."""
    zone = window.zone(find_zone(a.time_zone or ""))
    needed_s = a.install_s or 0
    if isinstance(window, OwnHours):
        may, changes = own_offer_time(window, zone, now, needed_s=needed_s, recall=a.recall)
    else:
        may, changes = offer_time(window, zone, now, needed_s=needed_s)
    if may:
        return None
    if changes is None:
        return datetime.max.replace(tzinfo=UTC), f"waits for {name}: never open for long enough"
    return changes, f"waits for {name}, open at {changes.astimezone(zone):%d %b %H:%M} {zone}"


def _put_off(a: AssignmentView, *, now: datetime) -> str:
    """Say that its fleet put a vehicle off that is not offered anything yet; empty if not, or where that is over."""
    own = msgspec.convert(a.own_window, OwnHours) if a.own_window is not None else None
    if own is None or own.not_before is None or own.not_before <= now or a.recall:
        return ""
    zone = own.zone(find_zone(a.time_zone or ""))
    return f" Its fleet put updates off until {own.not_before.astimezone(zone):%d %b %Y %H:%M} {zone}."


def _pending(a: AssignmentView, *, now: datetime) -> str:
    if a.campaign_state in _OVER:
        return f"Its campaign is {a.campaign_state}; wave {a.wave} will not start."
    if a.campaign_state == "paused":
        return f"Its campaign is paused; it is in wave {a.wave}."
    if a.behind:
        return f"Wave {a.wave} has begun; it {waits_for(a, now=now)}."
    if a.state_detail:
        return f"It waits in wave {a.wave}: {reason_words(a.state_detail)}."
    if a.released:
        return (
            f"Wave {a.wave} has begun; it waits until its order is signed, or until what another campaign has under way"
            " at it is over."
        )
    since = f"from {moment_words(a.wave_opens_at)} on" if a.wave_opens_at else ""
    if a.wave == 1 and since:
        return f"It waits for wave 1, which starts {since}."
    if a.wave == 1 and a.campaign_state == "running":  # the first wave begins with the campaign
        return "Wave 1 has begun, and takes in vehicles as its budget of harm allows; this one was not taken in yet."
    begins = f"starts {since}, once" if since else "starts when"
    return f"It waits for wave {a.wave}, which {begins} the gate has good evidence from those before."
