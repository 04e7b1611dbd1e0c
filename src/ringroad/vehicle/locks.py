"""Locks on components: who changes an ECU holds it alone, for a time. In memory: a restart frees everything.

Invariant: an ECU is changed only by the session that holds its lock, and by an update only while nobody does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ringroad.kernel.errors import Conflict, InvalidInput

LOCK_S_MIN: Final = 1
LOCK_S_MAX: Final = 3_600  # s; held longer, it is taken again
LOCKED: Final = "locked"  # code of a refusal by another's lock; HTTP 423


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """One component held by one session."""

    component: str
    session: str
    by: str
    expires_at: datetime

    @property
    def text(self) -> str:
        """Which component it is, who holds it and until when."""
        return f"{self.component} is locked by {self.by} until {self.expires_at:%H:%M:%S} UTC"

    @property
    def gist(self) -> str:
        """The same by the quarter of an hour: told again only once this changes, however often the lock is held longer."""
        quarter = self.expires_at + timedelta(minutes=15 - self.expires_at.minute % 15)
        return f"{self.component} is locked by {self.by} until {quarter:%H:%M} UTC at most"


class Locks:
    """The locks of one vehicle, by component."""

    def __init__(self) -> None:
        self._held: dict[str, Lock] = {}

    def take(
        self, component: str, *, session: str, by: str, seconds: int, now: datetime, until: datetime
    ) -> Lock:
        """Take a component's lock, or hold it longer, at most until the session is over.

        Raises:
            Conflict: another session holds it (code ``locked``).
            InvalidInput: the time is out of bounds.
        """
        if not LOCK_S_MIN <= seconds <= LOCK_S_MAX:
            raise InvalidInput(f"lock_expiration is {LOCK_S_MIN} to {LOCK_S_MAX} seconds")
        held = self.of(component, now=now)
        if held is not None and held.session != session:
            raise _locked(held)
        expires_at = min(now + timedelta(seconds=seconds), until)
        lock = Lock(component=component, session=session, by=by, expires_at=expires_at)
        self._held[component] = lock
        return lock

    def require(self, component: str, *, session: str, now: datetime) -> None:
        """Raise unless a session holds a component's lock. Raises: Conflict."""
        held = self.of(component, now=now)
        if held is None:
            raise Conflict(
                f"{component} is not locked",
                code="lock_needed",
                hint=f"take the lock of {component} first, for example with ringroad diagnose lock",
            )
        if held.session != session:
            raise _locked(held)

    def release(self, component: str, *, session: str, now: datetime) -> None:
        """Give a lock back; one that is over is back already. Raises: Conflict (another's)."""
        held = self.of(component, now=now)
        if held is not None and held.session != session:
            raise _locked(held)
        self._held.pop(component, None)

    def sessions(self) -> set[str]:
        """Return the sessions that hold a lock, those whose time is over too."""
        return {lock.session for lock in self._held.values()}

    def drop(self, session: str) -> None:
        """Give back all locks of a session."""
        self._held = {key: lock for key, lock in self._held.items() if lock.session != session}

    def of(self, component: str, *, now: datetime) -> Lock | None:
        """Return a component's lock, None if nobody holds it."""
        lock = self._held.get(component)
        return lock if lock is not None and now < lock.expires_at else None


def _locked(lock: Lock) -> Conflict:
    return Conflict(
        lock.text,
        code=LOCKED,
        hint="wait until then, or ask them to give it back",
    )
