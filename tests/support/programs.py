"""Programs of others that tests need: skipped where a machine lacks one, and never where all were installed for them."""

from __future__ import annotations

import re
from collections.abc import Mapping

REQUIRED = "FOREIGN_PROGRAMS"  # "required" in the environment: .ci/run installed all of them
_ASKS = re.compile(r"apt install ([a-z0-9+.\- ]+)")


def packages_asked(text: str) -> list[str]:
    """Return the Debian packages that a reason to skip asks for."""
    return [word for found in _ASKS.findall(text) for word in found.split()]


def may_skip(reason: str, environment: Mapping[str, str]) -> bool:
    """Tell whether a test may be skipped for this reason here."""
    return environment.get(REQUIRED) != "required" or not packages_asked(reason)
