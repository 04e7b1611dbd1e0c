"""What the driver says to an update, and whether that is enough to go on.

A word comes in through a file of the data folder, written whole by `ringroad vehicle consent` or by the driver page;
the orchestrator writes it into its journal before anything follows from it.

Asked before: *download*, the first byte over the air; *install*, the vehicle is changed; *activate*, where it is asked
for beside *install*: spare memories are filled after the one, and what runs is replaced after the other. ECUs without
a spare memory are only touched then, so the vehicle is never left half new to wait for its driver.

Invariants:
    A no ends the update for good, as long as nothing was installed.
    What is asked for and not agreed to, or not any more, is not done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ringroad.kernel.hours import Window, open_until
from ringroad.protocol.vehicle import DRIVER_ALONE, PHASES, Conduct, Phase
from ringroad.vehicle.files import Durability, replace_file
from ringroad.vehicle.states import Answer

CONSENT_NAME: Final = "consent.json"
CONSENT_HOURS: Final = (
    72  # an agreement holds as long, unless it says otherwise; then the driver is asked again
)
CONSENT_HOURS_MAX: Final = 24 * 365
LATER_HOURS: Final = 24  # until a driver who said "later" is asked again
BY_CHARS_MAX: Final = 100  # of the name of who said it
OPERATOR: Final = "the fleet's operator"
DENIED: Final = "consent_denied"  # code of the end that a no leads to

Mode = Literal["auto", "ask", "agreed"]


class ConsentGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The file: the newest word of the driver. `activate` is as `install` where it is not said."""

    action_id: int
    install: bool
    expires_at: datetime
    denied: bool = False
    activate: bool | None = None
    later: bool = False
    by: Annotated[str, Meta(max_length=BY_CHARS_MAX)] = "driver"
    at: datetime | None = None
    notes_sha256: str = ""  # of the release notes that were shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What the vehicle waits for before a phase."""

    code: str
    detail: str


def asks_of(mode: Mode, conduct: Conduct) -> frozenset[Phase]:
    """Return the phases before which the driver is asked.

    Args:
        mode: of the vehicle: ``auto`` asks where the campaign does, ``ask`` always before download and installation,
            ``agreed`` never, since its owner agreed to every update in advance.
        conduct: of the update.
    """
    if mode == "agreed":
        return frozenset()
    own: Collection[Phase] = ("download", "install") if mode == "ask" else ()
    return frozenset([*own, *conduct.consent])


def judge(
    phase: Phase,
    *,
    asks: frozenset[Phase],
    answer: Answer | None,
    soft: bool,
    now: datetime,
    driver_only: bool = False,
) -> Missing | None:
    """Return why a phase may not begin, or None if it may. A no is more than that: it ends the update.

    Args:
        phase: that would begin.
        asks: phases before which the driver is asked.
        answer: the driver's newest word on this update.
        soft: the driver may put the installation off though nobody asks.
        now: the vehicle's time.
        driver_only: nobody may agree in the driver's place; it is said, so that nobody tries.
    """
    asked = phase in asks
    deferrable = asked or (soft and phase != "download")
    if answer is not None and answer.word == "later" and deferrable and now < answer.expires_at:
        return Missing(code="postponed", detail=answer_text(answer))
    if not asked:
        return None
    waiting = f"waiting for consent to {phase}" + (f" {DRIVER_ALONE}" if driver_only else "")
    if answer is None or answer.word != "yes" or phase not in answer.phases:
        return Missing(code="consent", detail=waiting)
    if answer.expires_at <= now:
        return Missing(
            code="consent", detail=f"{waiting}: what {answer.by} agreed to ended {_at(answer.expires_at)}"
        )
    return None


def word_of(own: Answer | None, answer: Answer | None, *, agreed: bool, now: datetime) -> Answer | None:
    """Return the word that counts: the driver's, or that of whoever runs the fleet where the driver left it open.

    Args:
        own: the driver's newest word.
        answer: the word that is written down.
        agreed: whoever runs the fleet agreed in the driver's place.
        now: the vehicle's time.
    """
    insists = own is not None and (own.word == "no" or (own.word == "later" and now < own.expires_at))
    if not agreed or insists:
        return own
    if answer is not None and answer.by == OPERATOR and now < answer.expires_at:
        return answer
    ends = now + timedelta(hours=CONSENT_HOURS)
    return Answer(word="yes", phases=PHASES, by=OPERATOR, at=now, expires_at=ends, notes_sha256="")


def quiet_until(window: Window | None, now: datetime) -> datetime | None:
    """Return when the vehicle's quiet hours end, or None outside of them."""
    if window is None:
        return None
    zone = window.zone(None)
    is_open, changes = open_until(window, zone, now)
    return None if is_open or changes is None else changes.astimezone(zone)


def answer_text(answer: Answer) -> str:
    """Return who said what, when and about which release notes, in one line for the journal and the server."""
    match answer.word:
        case "no":
            said = f"declined by {answer.by} {_at(answer.at)}"
        case "later":
            said = f"put off by {answer.by} {_at(answer.at)} until {_at(answer.expires_at)}"
        case "yes":
            phases = ", ".join(answer.phases)
            said = f"{phases} agreed to by {answer.by} {_at(answer.at)} until {_at(answer.expires_at)}"
    return f"{said}, release notes {answer.notes_sha256[:12] or 'not shown'}"


def digest_notes(notes: str) -> str:
    """Return what names the release notes that a driver was shown."""
    return hashlib.sha256(notes.encode()).hexdigest()


def read_word(folder: Path, action_id: int) -> Answer | None:
    """Return the driver's newest word on an update; None if there is none, or none that can be read."""
    try:
        given = msgspec.json.decode((folder / CONSENT_NAME).read_bytes(), type=ConsentGiven)
    except (OSError, msgspec.MsgspecError):
        return None
    if given.action_id != action_id or given.expires_at.tzinfo is None:
        return None
    activate = given.install if given.activate is None else given.activate
    agreed = (True, given.install, given.install and activate)
    return Answer(
        word="no" if given.denied else "later" if given.later else "yes",
        phases=tuple(phase for phase, yes in zip(PHASES, agreed, strict=True) if yes),
        by=given.by,
        at=given.at if given.at is not None and given.at.tzinfo is not None else given.expires_at,
        expires_at=given.expires_at,
        notes_sha256=given.notes_sha256,
    )


def write_word(
    folder: Path,
    *,
    action_id: int,
    word: Literal["yes", "later", "no"],
    through: Phase,
    by: str,
    now: datetime,
    hours: int,
    notes_sha256: str,
    durability: Durability = "fsync",
) -> ConsentGiven:
    """Leave the driver's word where the orchestrator finds it.

    Args:
        folder: of the vehicle.
        action_id: the update it is about.
        word: what was said.
        through: the last phase that a yes covers.
        by: who said it.
        now: when.
        hours: how long a yes holds, or a "later" puts it off.
        notes_sha256: of the release notes that were shown; empty if none were.
        durability: of the file.

    Raises:
        Unavailable: the disk is full; the word before it stands.
    """
    place = PHASES.index(through)
    given = ConsentGiven(
        action_id=action_id, install=word == "yes" and place >= 1, activate=word == "yes" and place >= 2,
        denied=word == "no", later=word == "later", by=by, at=now, expires_at=now + timedelta(hours=hours),
        notes_sha256=notes_sha256,
    )  # fmt: skip
    replace_file(folder / CONSENT_NAME, msgspec.json.encode(given), durability=durability)
    return given


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
