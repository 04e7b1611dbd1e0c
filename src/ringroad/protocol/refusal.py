"""What an answer of the management API that is no success means to whoever asked: the error that was meant there.

The other half is `http/errors.py`, which makes such answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ringroad.kernel.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    InvalidInput,
    NotFound,
    RingroadError,
    Unavailable,
    Untrusted,
)

_KINDS: Final[Mapping[str, type[RingroadError]]] = {
    each.kind: each for each in (InvalidInput, NotFound, Conflict, Forbidden, Untrusted, Unavailable, Corrupt)
} | {"unauthenticated": Forbidden, "too_many": Unavailable}


def error_of(status: int, content: bytes) -> RingroadError:
    """Return our error for an answer that is not a success. Pure.

    A kind that a newer server may have is the base of the tree; what is no answer of ours is `Unavailable`.
    """
    try:
        fields = msgspec.json.decode(content)["error"]
        kind, code, message = str(fields["kind"]), str(fields["code"]), str(fields["message"])
        hint = str(fields.get("hint", ""))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        hint = "is --server right?"
        return Unavailable(f"the server answered {status}, not like Ringroad", hint=hint)
    if kind == "unauthenticated":
        code = kind
    return _KINDS.get(kind, RingroadError)(message, hint=hint, code=code)
