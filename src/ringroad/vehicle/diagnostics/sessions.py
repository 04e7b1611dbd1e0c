"""Who may look into this vehicle now: sessions that the vehicle itself agreed to, in a file that outlives a restart.

The vehicle, not the server, knows whether it has consent. What its configuration says decides:

* ``driver``: each session waits until the driver agrees (`ringroad vehicle diagnostics`, or the driver's page);
* ``standing``: the fleet that runs the vehicle agreed for good, and said so in its configuration; to a session that
  asks for positions as well, only the driver can agree;
* ``test``: a vehicle of the maker's own, without a driver to ask;
* ``off``: nobody.

Invariants:
    * No session outlives its time; a clock that is behind ends it no later than `SESSION_S_MAX` after it was asked for.
    * A session that was declined is never opened; the next one is another.
    * A driver's word counts once, and only for what the driver saw: whoever asks again under the same id, for more or for
      longer, waits for another word.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import msgspec

from ringroad.kernel.errors import Conflict, Corrupt, Forbidden, InvalidInput, NotFound
from ringroad.protocol.diagnostics import SESSION_S_MAX, Consent, Scope, SessionWanted
from ringroad.vehicle.files import Durability, replace_file

Policy = Literal["off", "driver", "standing", "test"]
State = Literal["asked", "open", "declined"]

SESSIONS_NAME: Final = "diagnostics.json"
WORD_NAME: Final = "diagnostics-word.json"  # what the driver said; another process writes it
SESSIONS_MAX: Final = 8  # at once; a vehicle in a workshop has two or three
SEEN_CHARS: Final = 16  # of a digest; a driver types it on a command line
SKEW_S: Final = 300  # s that the server's clock may be ahead of ours


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One person's access to this vehicle."""

    id: str
    by: str
    reason: str
    scope: Scope
    asked_at: datetime
    expires_at: datetime
    state: State
    consent: Consent | Literal[""] = ""
    position: bool = False  # whether it may read where the vehicle is or was


class Word(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the driver said to one session. `seen` is what the driver saw of it."""

    session: str
    seen: str
    allow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """Why a session is not opened, whatever the driver would say."""

    code: str
    message: str


def decide_session(
    policy: Policy, wanted: SessionWanted, *, session_id: str, others: int, now: datetime
) -> Session | Declined:
    """Decide on a session that somebody asks for.

    Args:
        policy: of this vehicle.
        wanted: by whom, why, how deep, until when.
        session_id: its id.
        others: sessions that are asked or open already.
        now: of the vehicle's clock.
    """
    if policy == "off":
        return Declined(code="diagnostics_off", message="this vehicle allows no remote diagnostics")
    left_s = (wanted.expires_at - now).total_seconds()
    if left_s <= 0:
        return Declined(code="session_over", message="the session is over before it began")
    if left_s > SESSION_S_MAX + SKEW_S:
        return Declined(
            code="session_too_long", message=f"a session lasts {SESSION_S_MAX // 3600} hours at most"
        )
    if others >= SESSIONS_MAX:
        return Declined(code="too_many_sessions", message=f"{SESSIONS_MAX} sessions are open or asked for")
    # What a fleet agreed to for good is diagnostics; where its vehicle is, its driver is asked.
    asks = policy == "driver" or (policy == "standing" and wanted.position)
    return Session(
        id=session_id, by=wanted.by, reason=wanted.reason, scope=wanted.scope, asked_at=now,
        expires_at=wanted.expires_at, state="asked" if asks else "open",
        consent="" if asks or policy == "driver" else policy, position=wanted.position,
    )  # fmt: skip


def seen_of(session: Session) -> str:
    """Return a digest of all that a driver is shown of a session, and of when it was asked for."""
    shown: tuple[object, ...]
    shown = (session.id, session.by, session.reason, session.scope, session.asked_at, session.expires_at)
    shown += ("position",) if session.position else ()
    return hashlib.sha256(msgspec.json.encode(shown)).hexdigest()[:SEEN_CHARS]


def no_of(session: Session) -> str:
    """Return what the driver said to a session that is not open any more, in words: one that was had a consent."""
    return "the driver ended the session" if session.consent else "the driver declined"


def settle(session: Session, word: Word | None) -> Session:
    """Return a session as the driver's word makes it; without a word on just this one, as it is."""
    if word is None or word.session != session.id or word.seen != seen_of(session):
        return session
    if not word.allow:
        return msgspec.structs.replace(session, state="declined")
    if session.state != "asked":
        return session
    return msgspec.structs.replace(session, state="open", consent="driver")


def living(sessions: Mapping[str, Session], *, now: datetime) -> dict[str, Session]:
    """Return the sessions that are not over."""
    longest = timedelta(seconds=SESSION_S_MAX + SKEW_S)
    return {
        key: each for key, each in sessions.items() if now < each.expires_at and now - each.asked_at < longest
    }


class Sessions:
    """The sessions of one vehicle, in its folder."""

    def __init__(self, folder: Path, policy: Policy, *, durability: Durability) -> None:
        self._folder = folder
        self._policy: Policy = policy
        self._durability: Durability = durability
        self._held = read_sessions(folder)

    def ask(self, session_id: str, wanted: SessionWanted, *, now: datetime) -> Session:
        """Ask for a session, or for how one stands that was asked for.

        Raises:
            Forbidden: the vehicle refuses it.
            Unavailable: the disk cannot be written.
        """
        held = self.all(now=now)
        if session_id not in held:
            open_ones = [each for each in held.values() if each.state != "declined"]
            made = decide_session(self._policy, wanted, session_id=session_id, others=len(open_ones), now=now)
            if isinstance(made, Declined):
                raise Forbidden(made.message, code=made.code)
            self._store({**held, session_id: made})
        return self._held[session_id]

    def require(self, session_id: str, *, now: datetime) -> Session:
        """Return an open session. Raises: Forbidden; Conflict, the driver has not agreed yet."""
        session = self.all(now=now).get(session_id)
        if session is None:
            raise Forbidden(
                "there is no such session on the vehicle, or it is over", code="no_session", hint="ask for another one"
            )  # fmt: skip
        if session.state == "asked":
            raise Conflict(
                "the driver has not agreed yet", code="session_asked",
                hint="wait for the driver's word: on the driver page, or with ringroad vehicle diagnostics",
            )  # fmt: skip
        if session.state != "open":
            raise Forbidden(
                no_of(session), code="session_declined", hint="speak with the driver, then ask for another session"
            )  # fmt: skip
        return session

    def close(self, session_id: str, *, now: datetime) -> None:
        """End a session; one that is not there has ended. Raises: Unavailable."""
        held = self.all(now=now)
        if held.pop(session_id, None) is not None:
            self._store(held)

    def all(self, *, now: datetime) -> dict[str, Session]:
        """Return the sessions that are not over, with what the driver said in the meantime. Raises: Unavailable."""
        word = _read_word(self._folder)
        held = {key: settle(each, word) for key, each in living(self._held, now=now).items()}
        if held != self._held:
            self._store(held)
        if word is not None:  # it has counted; left there, it could count again
            with contextlib.suppress(OSError):
                (self._folder / WORD_NAME).unlink(missing_ok=True)
        return held

    def _store(self, held: dict[str, Session]) -> None:
        content = msgspec.json.encode(list(held.values()))
        replace_file(self._folder / SESSIONS_NAME, content, durability=self._durability)
        self._held = held


def read_sessions(folder: Path) -> dict[str, Session]:
    """Return the sessions that a vehicle's folder holds, those that are over too. Raises: Corrupt."""
    path = folder / SESSIONS_NAME
    if not path.exists():
        return {}
    try:
        return {each.id: each for each in msgspec.json.decode(path.read_bytes(), type=list[Session])}
    except (OSError, msgspec.MsgspecError) as error:
        raise Corrupt(f"{SESSIONS_NAME} does not read back", hint="remove it: every session ends") from error


def look_at_sessions(folder: Path, *, now: datetime) -> list[Session]:
    """Return the sessions that are not over, with what the driver said in the meantime. Raises: Corrupt."""
    word = _read_word(folder)
    return [settle(each, word) for each in living(read_sessions(folder), now=now).values()]


def answer_session(folder: Path, session_id: str, *, allow: bool, now: datetime, seen: str = "") -> Session:
    """Write down what the driver says to a session; the vehicle reads it within a second. A no ends an open one.

    Args:
        folder: of the vehicle.
        session_id: of the session.
        allow: what the driver says.
        now: of the vehicle's clock.
        seen: `seen_of` the session as the driver saw it; a yes needs it, a no counts whatever was seen.

    Raises:
        NotFound: the vehicle was not asked for this one.
        Conflict: it was answered already, or is not what the driver saw.
        Unavailable: the disk cannot be written.
    """
    if not session_id:
        raise InvalidInput("which session?")
    session = living(read_sessions(folder), now=now).get(session_id)
    if session is None:
        raise NotFound(
            f"nobody asked for a session {session_id!r}, or it is over",
            hint="ringroad vehicle diagnostics without --allow lists them",
        )
    if session.state == "declined" or (allow and session.state == "open"):
        raise Conflict(f"the session is {session.state} already", hint="whoever asked may ask for another")
    if allow and seen != seen_of(session):
        raise Conflict("this is not what was asked for", hint="look at the session again, then decide")
    word = Word(session=session_id, seen=seen_of(session), allow=allow)
    replace_file(folder / WORD_NAME, msgspec.json.encode(word), durability="fsync")
    return settle(session, word)


def _read_word(folder: Path) -> Word | None:
    try:
        return msgspec.json.decode((folder / WORD_NAME).read_bytes(), type=Word)
    except (OSError, msgspec.MsgspecError):
        return None
