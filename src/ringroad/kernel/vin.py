"""Vehicle identification numbers."""

from __future__ import annotations

import re
from typing import NewType

from ringroad.kernel.errors import InvalidInput

Vin = NewType("Vin", str)

_VIN = re.compile(r"[A-HJ-NPR-Z0-9]{17}")


def parse_vin(text: str) -> Vin:
    """Return `text` as a VIN.

    Raises:
        InvalidInput: not 17 characters of A-Z and 0-9 without I, O and Q.

    Source: ISO 3779.
    """
    if not is_vin(text):
        raise InvalidInput(
            f"{text[:40]!r} is not a VIN", hint="17 characters, capital letters without I, O, Q, and digits"
        )
    return Vin(text)


def is_vin(text: str) -> bool:
    """Tell whether `text` could be a VIN."""
    return _VIN.fullmatch(text) is not None
