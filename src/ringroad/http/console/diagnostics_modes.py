"""The modes of an ECU on its vehicle's page of diagnostics, out of what was answered. Pure; no answer is trusted to be well-formed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ringroad.http.console.diagnostics_updates import time_of
from ringroad.signal.diagnose import Job


def modes_told(path: str, newest: Mapping[str, Job]) -> Job | None:
    """Return the newest answer that lists an ECU's modes: to a question, or to a change of one."""
    told = [job for key, job in newest.items() if key.startswith(f"{path}/modes") and job.answered_at]
    return max(told, key=lambda job: job.answered_at or job.made_at, default=None)


def mode_of(
    each: Mapping[str, Any], now: datetime | None, restarted: datetime | None = None
) -> Mapping[str, Any]:
    """Return a mode as it is by `now`: one whose time is over fell back to its default, and `ended` says when.

    Args:
        each: as the vehicle listed it; of `values` the first is the default.
        now: None: nothing is over.
        restarted: when its ECU started again since, which ends every mode.
    """
    may_be = each.get("values")
    default = may_be[0] if isinstance(may_be, list) and may_be else None
    until = time_of(each.get("mode_expiration"))
    if until is None or (default is not None and each.get("value") == default):
        return {**each, "until": None, "ended": None}  # the end of another mode of the same ECU
    ended = [at for at in (until, restarted) if at is not None and now is not None and at <= now]
    if ended:
        return {**each, "value": default or "–", "until": None, "ended": min(ended)}
    return {**each, "until": until, "ended": None}
