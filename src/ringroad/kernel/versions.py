"""Compare software versions and read ranges such as ``>=1.2, <2``.

One order for what image formats carry: dotted numbers, then an optional pre-release (``-rc1``, lower
than the bare version), then an optional build number (``+4``, higher; MCUboot compares it too).

Invariant: the order is total over keys; an unreadable version has none, and is never equal to anything.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from ringroad.kernel.errors import InvalidInput

VERSION_CHARS_MAX: Final = 100  # characters; the longest seen in the field is a git describe of 40
CLAUSES_MAX: Final = 16  # per range

_VERSION = re.compile(
    r"[vV]?(\d{1,18}(?:\.\d{1,18}){0,7})(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?", re.ASCII
)
_CLAUSE = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*")

Part = tuple[int, int, str]  # numbers sort before words
VersionKey = tuple[tuple[int, ...], int, tuple[Part, ...], tuple[Part, ...]]


COMPARE: Final[Mapping[str, Callable[[VersionKey, VersionKey], bool]]] = MappingProxyType(
    {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "==": operator.eq,
        "!=": operator.ne,
    }
)


@lru_cache(maxsize=4_096)  # a fleet runs few versions
def version_key(text: str) -> VersionKey | None:
    """Return a key that sorts as versions do, or None when `text` does not start with dotted numbers.

    ``1.2`` equals ``1.2.0``, a pre-release comes before its release, a build number after it.

    Source: Semantic Versioning 2.0.0 clause 11; the build number breaks ties as in MCUboot's `ih_ver`.
    """
    match = _VERSION.fullmatch(text) if len(text) <= VERSION_CHARS_MAX else None
    if match is None:
        return None
    numbers = [int(number) for number in match[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), 0 if match[2] else 1, _parts(match[2]), _parts(match[3])


def parse_version(text: str) -> VersionKey:
    """Return the key of a version that must have one.

    Raises:
        InvalidInput: it does not start with dotted numbers.
    """
    key = version_key(text)
    if key is None:
        raise InvalidInput(
            f"{text[:VERSION_CHARS_MAX]!r} is no version",
            code="version_invalid",
            hint="dotted numbers, then -pre and +build if needed: 1.2.0-rc1+4",
        )
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRange:
    """All clauses must hold; no clause at all holds for every version."""

    clauses: tuple[tuple[str, VersionKey], ...]

    def holds(self, version: str) -> bool | None:
        """Tell whether `version` is in the range; None when it has no order."""
        key = version_key(version)
        return None if key is None else all(COMPARE[sign](key, wanted) for sign, wanted in self.clauses)


@lru_cache(maxsize=1_024)  # a plan asks the same ranges of every vehicle
def parse_range(text: str) -> VersionRange:
    """Read comma-separated clauses of ``>=``, ``<=``, ``==``, ``!=``, ``>``, ``<``; ``*`` is any version.

    Raises:
        InvalidInput: not a range.
    """
    if text.strip() == "*":
        return VersionRange(clauses=())
    clauses: list[tuple[str, VersionKey]] = []
    for part in text.split(",", CLAUSES_MAX - 1):
        match = _CLAUSE.fullmatch(part)
        if match is None:
            raise InvalidInput(
                f"{part.strip()[:60]!r} is no version range", code="range_invalid", hint='e.g. ">=1.2, <2"'
            )
        clauses.append((match[1], parse_version(match[2])))
    return VersionRange(clauses=tuple(clauses))


def _parts(text: str | None) -> tuple[Part, ...]:
    if not text:
        return ()
    return tuple(
        (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in text.split(".")
    )
