"""What people write for sizes, times and programmes, read into what the API takes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from ringroad.cli.client import Client
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import InvalidInput, NotFound

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"([0-9]{1,9})\s*([smhdw])")
_NOW = re.compile(r"now(?:\s*([+-])\s*(.+))?")
_SHARE = re.compile(r"([0-9]{1,3})(?:\.([0-9]))?\s*%")


def read_duration_s(text: str) -> int:
    """Return seconds for ``90s``, ``30m``, ``2h``, ``7d`` or ``1w``. Raises: InvalidInput."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{text[:40]!r} is no length of time", hint="for example 90s, 30m, 2h, 7d")
    return int(match[1]) * _SECONDS[match[2]]


def read_permille(text: str, *, of: str = "") -> int:
    """Return permille for ``2%`` or ``0.5%``; `of` names the option that has it. Raises: InvalidInput."""
    match = _SHARE.fullmatch(text.strip())
    permille = int(match[1]) * 10 + int(match[2] or 0) if match else -1
    if not 0 <= permille <= 1000:
        raise InvalidInput(
            f"{of + ': ' if of else ''}{text[:40]!r} is no share from 0% to 100%",
            hint="in steps of 0.1%, for example 2% or 0.5%",
        )
    return permille


def read_wave(text: str) -> dict[str, Any]:
    """Return a wave for ``20`` or ``10%``, and for ``10%@2027-01-11T08:00Z`` when it may begin. Raises: InvalidInput."""
    size, at, moment = text.partition("@")
    if at:
        return read_size(size) | {"not_before": _read_moment(moment.strip())}
    return read_size(text)


def read_size(text: str) -> dict[str, int]:
    """Return a size for ``20`` (vehicles) or ``10%`` (of all matches). Raises: InvalidInput."""
    if text.strip().endswith("%"):
        return {"permille": read_permille(text)}
    if not text.strip().isdigit():
        raise InvalidInput(f"{text[:40]!r} is no wave", hint="vehicles or a share, for example 20 or 10%")
    return {"vehicles": int(text)}


def _read_moment(text: str) -> str:
    """Return an instant of the API; one that names no time zone is none."""
    hint = "with its time zone: 2027-01-11T08:00Z or 2027-01-11T08:00+01:00"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text[:40]!r} is no time", hint=hint) from error
    if moment.tzinfo is None:
        raise InvalidInput(f"{text[:40]!r} names no time zone", hint=hint)
    return moment.isoformat()


def read_at(text: str, *, zone: tzinfo = UTC) -> str:
    """Return a moment of the API for ``2027-01-31``, ``2027-01-31T06:00``, ``now``, ``now+2d`` or ``now-3h``.

    Args:
        text: as it was written.
        zone: of a time that names none.

    Raises:
        InvalidInput: it is none.
    """
    relative = _NOW.fullmatch(text.strip())
    try:
        if relative is not None:
            seconds = read_duration_s(relative[2]) if relative[1] else 0
            moment = SystemClock().now() + timedelta(seconds=-seconds if relative[1] == "-" else seconds)
        else:
            moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{text[:60]!r} is no time", hint="for example 2027-01-31, 2027-01-31T06:00, now+2h, now-3d"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).isoformat()


def programme_of(client: Client, named: str | None) -> str:
    """Return the programme that was named, that of `RINGROAD_PROGRAMME`, or the only one there is.

    Raises:
        NotFound: there is none.
        InvalidInput: there are several and none was named.
    """
    if named or client.programme:
        return named or client.programme
    rows: list[dict[str, Any]] = client.get("/programmes", limit=20)
    if not rows:
        raise NotFound("there is no programme yet", hint="ringroad programme import FILE")
    if len(rows) > 1:
        ids = ", ".join(row["id"] for row in rows)
        raise InvalidInput(
            "there are several programmes", hint=f"name one with --programme, or in RINGROAD_PROGRAMME: {ids}"
        )
    return str(rows[0]["id"])
