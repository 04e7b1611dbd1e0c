"""The one error tree, sorted by what the caller can do.

RingroadError
├── InvalidInput   fix the input and send it again
├── NotFound       it is not there; look it up first
├── Conflict       it moved on; read again, then decide again
├── Forbidden      ask somebody who may
├── Untrusted      never retry these bytes
├── Unavailable    try again later
└── Corrupt        stop; a person must look

A "no" that belongs to the domain (hold, halt, refuse a target) is a value, not an error.
Errors know nothing of HTTP or exit codes: `http/errors.py` and `cli/errors.py` each hold one table.
"""

from __future__ import annotations

from typing import ClassVar


class RingroadError(Exception):
    """Base of everything we raise on purpose.

    Attributes:
        kind: stable word for the branch of the tree, used in APIs and exit codes.
        code: stable, more exact word, for example ``"image_truncated"``; defaults to ``kind``.
        message: safe to show to the caller.
        hint: what to do about it; may be empty.
        detail: for our logs only, never sent to a caller.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", code: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class InvalidInput(RingroadError):  # noqa: N818 - named by what the caller can do, not by "Error"
    """The input is wrong; the message names the field, line or value."""

    kind = "invalid_input"


class NotFound(RingroadError):  # noqa: N818
    """There is no such thing, or the caller may not know of it."""

    kind = "not_found"


class Conflict(RingroadError):  # noqa: N818
    """The thing changed since it was read, or already exists with other content."""

    kind = "conflict"


class Forbidden(RingroadError):  # noqa: N818
    """The caller is known and may not do this."""

    kind = "forbidden"


class Untrusted(RingroadError):  # noqa: N818
    """A signature, hash or version check failed; these bytes must never be tried again."""

    kind = "untrusted"


class Unavailable(RingroadError):  # noqa: N818
    """Something we depend on did not answer; the same call may work later."""

    kind = "unavailable"


class Corrupt(RingroadError):  # noqa: N818
    """What we stored does not read back as we wrote it; stop and let a person look."""

    kind = "corrupt"
