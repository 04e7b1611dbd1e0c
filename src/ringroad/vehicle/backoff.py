"""How long to wait before trying again: doubling, capped, with full jitter.

Pure: the random fraction is an argument, so that a run can be repeated.
"""

from __future__ import annotations

from typing import Final

from ringroad.kernel.errors import Unavailable

BASE_S: Final = 1.0  # s; before the second try
CAP_S: Final = 300.0  # s; a vehicle that comes back into coverage is noticed within five minutes
ASKED_S_MAX: Final = 3_600  # s; a server that asks for more does not silence a vehicle for longer
DOUBLINGS_MAX: Final = 16  # beyond this the cap holds for any base we use


class AskedToWait(Unavailable):
    """The server has too much to do and said when to come again."""

    def __init__(self, message: str, *, wait_s: int) -> None:
        super().__init__(message, code="asked_to_wait")
        self.wait_s = wait_s


def parse_retry_after(text: str) -> int:
    """Return the seconds that a server asks to wait; 0 where it says none, or nothing that makes sense.

    Source: RFC 9110, 10.2.3; the form with a date is not ours.
    """
    return min(int(text), ASKED_S_MAX) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0


def backoff_s(failures: int, *, fraction: float, base_s: float = BASE_S, cap_s: float = CAP_S) -> float:
    """Return seconds to wait after `failures` failures in a row.

    Args:
        failures: at least 1.
        fraction: uniform in [0, 1); spreads a fleet that lost the server at one moment.
        base_s: first delay.
        cap_s: longest delay.
    """
    longest = min(cap_s, base_s * 2.0 ** min(failures - 1, DOUBLINGS_MAX))
    # Never less than half: a jitter of nearly zero would be no back-off at all.
    return longest * (0.5 + fraction / 2)
