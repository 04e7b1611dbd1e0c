"""Services of a virtual ECU that look at the request alone: 28, 3E and the length of them all.

Sub-function bytes carry the suppress bit; it is ignored here and obeyed in `ecu.py`.
"""

from __future__ import annotations

from enum import IntEnum

from ringroad.sim.vecu.programming import NegativeReply
from ringroad.vehicle.uds import Nrc


class Communication(IntEnum):
    """What an ECU does with normal messages. Source: ISO 14229-1, service 0x28, controlType."""

    BOTH = 0
    RECEIVE_ONLY = 1
    SEND_ONLY = 2
    NONE = 3


def exactly(request: bytes, length_bytes: int) -> None:
    """Refuse a request of another length."""
    if len(request) != length_bytes:
        raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)


def communication_control(request: bytes, before: Communication) -> Communication:
    """Return what service 0x28 asks for. Network management alone leaves normal messages as they were."""
    exactly(request, 3)
    if request[1] & 0x7F > Communication.NONE:
        raise NegativeReply(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
    if request[2] & 0x0F not in {1, 2, 3}:
        raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
    return Communication(request[1] & 0x7F) if request[2] & 0x01 else before


def tester_present(request: bytes) -> bytes:
    """Answer service 0x3E."""
    exactly(request, 2)
    if request[1] & 0x7F:
        raise NegativeReply(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
    return b"\x7e\x00"
