"""Software versions, ordered. Pure.

Not a package manager's versions: what images of ECUs carry, that is dotted numbers with an optional
pre-release (`-rc.1`) and an optional build number (`+4`, as MCUboot writes it).

Invariant: a version that cannot be read has no order; a comparison with it is neither true nor false.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

from ringroad.kernel.errors import InvalidInput

VERSION_CHARS_MAX = 100  # characters; the longest seen in the field is a git describe of 40
RANGE_TERMS_MAX = 8  # comparisons per range
_DIGITS_MAX = 18  # digits per number; keeps a hostile version from becoming a huge integer

_VERSION = re.compile(r"[vV]?(\d+(?:\.\d+)*)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?", re.ASCII)
_RANGE_TERM = re.compile(r"\s*(<=|>=|==|!=|=|<|>)?\s*([^\s<>=!,]+)\s*")

Identifiers = tuple[tuple[int, int, str], ...]
VersionKey = tuple[tuple[int, ...], int, Identifiers, Identifiers]

COMPARE: Mapping[str, Callable[[VersionKey, VersionKey], bool]] = MappingProxyType(
    {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "=": operator.eq,
        "==": operator.eq,
        "!=": operator.ne,
    }
)


@lru_cache(maxsize=4_096)
def version_key(text: str) -> VersionKey | None:
    """Return a key that sorts as the versions do, or None when `text` has no order.

    Trailing zeros do not count, a pre-release comes before its release, a build number after it.

    Source: Semantic Versioning 2.0.0 clause 11; the build number breaks ties as in MCUboot's `ih_ver`.
    """
    if len(text) > VERSION_CHARS_MAX:
        return None
    match = _VERSION.fullmatch(text)
    if match is None or any(len(run) > _DIGITS_MAX for run in re.findall(r"\d+", text)):
        return None
    numbers = [int(part) for part in match[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return (tuple(numbers), 0 if match[2] else 1, _identifiers(match[2]), _identifiers(match[3]))


def satisfies(version: str, wanted: str) -> bool | None:
    """Tell whether `version` lies in a range such as ``">=1.2, <2"``.

    Returns:
        None when `version` cannot be ordered.

    Raises:
        InvalidInput: the range cannot be read.
    """
    key = version_key(version)
    terms = [part for part in wanted.split(",") if part.strip()]
    if not terms or len(terms) > RANGE_TERMS_MAX:
        raise InvalidInput(f"{wanted[:80]!r} is not a version range", hint='write for example ">=1.2, <2"')
    answer: bool | None = True
    for term in terms:
        match = _RANGE_TERM.fullmatch(term)
        limit = version_key(match[2]) if match else None
        if match is None or limit is None:
            raise InvalidInput(f"{term.strip()[:80]!r} is not a version comparison", hint='write ">=1.2"')
        if key is None:
            answer = None
        elif not COMPARE[match[1] or "="](key, limit):
            return False
    return answer


def _identifiers(text: str | None) -> Identifiers:
    if not text:
        return ()
    return tuple(
        (0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part)
        for part in text.split(".")
    )
