"""The lock of an ECU on its vehicle's page of diagnostics, out of what was answered. Pure; no answer is trusted to be well-formed.

Locks are in the vehicle's memory: its restart ends them, and nobody tells the server. So a lock is shown as of when it
was told, and no longer than it was taken for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ringroad.http.console.diagnostics_updates import items_of, time_of
from ringroad.signal.diagnose import Job

NOT_LOCKED: Final = "lock_needed"  # code of a refusal by a vehicle on which nobody holds the lock


@dataclass(frozen=True, slots=True, kw_only=True)
class LockLine:
    """Who held an ECU's lock, until when, and when the vehicle said so."""

    by: str
    until: datetime
    as_of: datetime


def lock_of(path: str, jobs: Iterable[Job], now: datetime | None) -> LockLine | None:
    """Return an ECU's lock by the newest answer that says who holds it; None without one that may be held still.

    Args:
        path: of the ECU.
        jobs: requests, oldest first.
        now: None: no lock is over.
    """
    found: LockLine | None = None
    for job in sorted(jobs, key=lambda each: each.answered_at or each.made_at):
        asked = job.path.strip("/")
        if job.state != "answered" or job.answered_at is None or job.answer is None:
            continue
        if asked == f"{path}/locks" and job.status == 200:
            found = next((_line(job.answered_at, each) for each in items_of(job)), None)
        elif asked.startswith(f"{path}/") and _code(job) == NOT_LOCKED:
            found = None
    return found if found is not None and (now is None or now < found.until) else None


def _line(as_of: datetime, said: Mapping[str, Any]) -> LockLine | None:
    until = time_of(said.get("expires_at"))
    return None if until is None else LockLine(by=str(said.get("by", "")), until=until, as_of=as_of)


def _code(job: Job) -> object:
    error = (job.answer or {}).get("error")
    return error.get("code") if isinstance(error, dict) else None
