"""Remote diagnostics, the server's decisions: who may open a session, how many requests a vehicle gets, when they are sent.

Pure; `store_diagnostics.py` does the I/O. Whether the vehicle consents is the vehicle's own decision (`vehicle/diagnostics`).

Invariant: nothing wider than what an account was permitted is ever asked of a vehicle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput
from ringroad.protocol.diagnostics import SESSION_S_MAX, SESSION_S_MIN, Method, Scope

Permission = Literal["", "read", "service"]
SessionState = Literal["asked", "open", "declined", "closed", "expired"]
JobState = Literal["queued", "answered", "expired", "cancelled"]

QUEUED_MAX: Final = 32  # requests of one vehicle that wait; as many as it keeps itself
REQUESTS_PER_MIN_MAX: Final = 240  # of one vehicle; a page of 33 ECUs asks 40 at once
REQUEST_S: Final = 900  # s a request waits for its vehicle, unless its session ends before
RESEND_S: Final = (2, 4, 8, 15, 30)  # s until a request without an answer is sent again; the last one repeats
RESEND_OFFLINE_S: Final = 5  # s, while nobody hears the vehicle's topic
ANSWER_DAYS_KEPT: Final = 30  # days; then only the fact of the request is left

BULK_ANSWER_S: Final = 3_600  # s that a chunk of bulk data is kept; who asked has it by then
JOB_DAYS_KEPT: Final = 90  # days; then a request is deleted, and its facts alone tell of it

_WIDE: Final[Mapping[str, int]] = {"": 0, "read": 1, "service": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One person's access to one vehicle, as the server knows it."""

    id: str
    vin: str
    account: str
    scope: Scope
    reason: str
    state: SessionState
    consent: str
    asked_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    ended_by: str = ""  # actor, where it was read
    position: bool = False  # whether it was asked for where the vehicle is and was, too

    @property
    def state_words(self) -> str:
        """How it stands, and whose word that was."""
        if not self.ended_by.startswith("vehicle:"):
            return self.state
        return {"closed": "ended by the driver", "declined": "declined by the vehicle"}.get(
            self.state, self.state
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request to one vehicle and what became of it."""

    id: str
    session_id: str
    vin: str
    method: Method
    path: str
    body: Mapping[str, Any]
    state: JobState
    made_at: datetime
    expires_at: datetime
    tries: int
    status: int | None
    answer: Mapping[str, Any] | None
    answered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading of a cyclic subscription, which is named by the request that began it; `path` is that request's."""

    job_id: str
    number: int
    at: datetime
    values: Mapping[str, Any]
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a vehicle has been asked already."""

    queued: int
    last_minute: int


def permits(permission: Permission, scope: Scope) -> bool:
    """Say whether an account may have a session of this scope."""
    return _WIDE[permission] >= _WIDE[scope]


def require_permission(permission: Permission, scope: Scope) -> None:
    """Raise unless an account may open a session of this scope. Raises: Forbidden."""
    if not permits(permission, scope):
        held = f"it may {permission} only" if permission else "it has none"
        raise Forbidden(
            f"this account has no permission for diagnostics of the scope {scope}; {held}",
            code="no_permission",
            hint=f"an admin gives it: ringroad account change NAME --diagnose {scope}",
        )


def session_end(*, minutes: int, now: datetime) -> datetime:
    """Return when a session of so many minutes is over. Raises: InvalidInput."""
    if not SESSION_S_MIN <= minutes * 60 <= SESSION_S_MAX:
        raise InvalidInput(f"a session lasts {SESSION_S_MIN // 60} to {SESSION_S_MAX // 60} minutes")
    return now + timedelta(minutes=minutes)


def require_open(session: Session | None, *, now: datetime) -> Session:
    """Return the session, if requests may be made in it. Raises: Forbidden."""
    if session is None or session.state not in ("asked", "open") or session.expires_at <= now:
        raise Forbidden(
            "you have no open diagnostic session on this vehicle",
            code="no_session",
            hint="ringroad diagnose open VIN --reason ...",
        )
    if session.state == "asked":
        raise Conflict(
            "the vehicle has not agreed to the session yet",
            code="session_asked",
            hint="the driver is asked, or the vehicle is offline: ringroad diagnose sessions VIN",
        )
    return session


def is_too_much(load: Load) -> bool:
    """Say whether a vehicle has been asked enough for now."""
    return load.queued >= QUEUED_MAX or load.last_minute >= REQUESTS_PER_MIN_MAX


def next_try_s(tries: int, *, heard: bool) -> int:
    """Return the seconds until a request is sent again.

    Args:
        tries: how often it was sent, this time included.
        heard: whether somebody listened on the vehicle's topic.
    """
    if not heard:
        return RESEND_OFFLINE_S
    return RESEND_S[min(tries, len(RESEND_S)) - 1]
