"""What testers beside the vehicle asked of it, kept in the vehicle: one line per request, the newest ones.

What comes over the link is a fact at the server; what comes by cable is known to nobody else, so the vehicle remembers.

Invariant: nothing is changed for a tester before it is written down that it was asked for.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from ringroad.kernel.errors import Unavailable
from ringroad.vehicle.files import Durability, sync_descriptor, write_all

AUDIT_NAME: Final = "diagnostics-audit.jsonl"
AUDIT_BYTES_MAX: Final = 256 * 1024  # bytes; some 1,200 requests, and as many in the file before


class Visit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request of a tester. `status` is 0 where it is only about to begin.

    `wanted` is the value of a write, `before` and `data` what the ECU held before it and holds then.
    """

    at: datetime
    tester: str
    session: str
    method: str
    path: str
    status: int = 0
    code: str = ""
    wanted: str | int = ""
    before: str = ""
    data: str = ""


class Audit:
    """The file in a vehicle's folder, and the one before it."""

    def __init__(self, folder: Path, *, durability: Durability) -> None:
        self._path = folder / AUDIT_NAME
        self._durability: Durability = durability

    def note(self, visit: Visit) -> None:
        """Write one line. Raises: Unavailable, the disk cannot be written."""
        line = msgspec.json.encode(visit) + b"\n"
        try:
            if self._path.exists() and self._path.stat().st_size + len(line) > AUDIT_BYTES_MAX:
                self._path.replace(before(self._path))
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                write_all(descriptor, line)
                sync_descriptor(descriptor, durability=self._durability)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unavailable(
                f"the vehicle cannot write down who asks: {error.strerror}",
                code="disk",
                hint="free some space",
            ) from error


def before(path: Path) -> Path:
    """Return the file that was full before this one."""
    return path.with_name(f"{path.name}.1")


def read_audit(folder: Path) -> bytes:
    """Return what is kept, oldest first. Raises: Unavailable."""
    path = folder / AUDIT_NAME
    try:
        return b"".join(each.read_bytes() for each in (before(path), path) if each.exists())
    except OSError as error:
        raise Unavailable(f"{AUDIT_NAME} cannot be read: {error.strerror}", code="disk") from error
