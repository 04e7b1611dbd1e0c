"""What an ECU behind HTTP says, read: its answers as values, its refusals as reasons. Nothing here asks anything."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import httpx
import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.diagnostics import DATA_ID
from ringroad.vehicle.agents.base import Reason, Software
from ringroad.vehicle.agents.session import Refusal

ANSWER_BYTES_MAX: Final = 4 << 20  # of one answer; as many fault codes as 16 bits have names for are less
T = TypeVar("T")
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class Identification(msgspec.Struct, frozen=True, kw_only=True):
    """What an ECU says it is. `boot` is another after each of its starts; an ECU that counts none leaves it out, or says null."""

    serial: str
    hardware_id: str
    running: Software | None = None
    staged: Software | None = None
    trial: bool = False
    committed_counter: int = 0
    boot: str | int | None = None


class Identified(msgspec.Struct, frozen=True, kw_only=True):
    """The same as a datum."""

    data: Identification


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How an update stands."""

    phase: str
    status: str
    received_bytes: int = 0
    vendor_code: str = ""


class _Mask(msgspec.Struct, frozen=True, kw_only=True):
    mask: int


class _Fault(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    status: _Mask


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """A fault memory."""

    items: tuple[_Fault, ...]


DataId = Annotated[str, msgspec.Meta(pattern=DATA_ID)]


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    id: DataId
    name: Annotated[str, msgspec.Meta(max_length=100)] = ""
    category: Literal["identData", "currentData", "storedData", "sysInfo"] = "currentData"


class Items(msgspec.Struct, frozen=True, kw_only=True):
    """A list of data."""

    items: tuple[_Item, ...]


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """How an operation stands. One without an `id` is over with this answer."""

    id: Annotated[str, msgspec.Meta(max_length=200)] = ""
    status: str = "completed"


class Executions(msgspec.Struct, frozen=True, kw_only=True):
    """Executions of one operation."""

    items: tuple[Execution, ...] = ()


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """How a self-test ended."""

    passed: bool


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    vendor_code: str = ""
    message: str = ""


class NotThere(Refusal):
    """The ECU has nothing at that place."""


async def body_of(answer: httpx.Response) -> bytes:
    """Read an answer as far as answers go. Raises: Refusal, if it goes on."""
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise Refusal(Reason.ECU_REFUSED, f"the ECU answers more than {ANSWER_BYTES_MAX} bytes")
    return bytes(body)


def refusal_of(answer: httpx.Response, body: bytes) -> Refusal:
    """Return why an ECU said no."""
    try:
        said = msgspec.json.decode(body, type=_Error)
    except _UNREADABLE:
        said = _Error()
    if answer.status_code in {401, 403}:
        return Refusal(Reason.ACCESS_DENIED, said.message)
    if said.vendor_code == "unknown_update":
        return Refusal(Reason.TRANSFER_FAILED, "the ECU restarted, and forgot what was sent")
    if answer.status_code == 404:
        return NotThere(Reason.ECU_REFUSED, said.message or "it has no such place")
    return Refusal(reason_named(said.vendor_code), said.message or f"the ECU answers {answer.status_code}")


def reason_named(code: str) -> Reason:
    """Return the reason of that name; what is none is a refusal of the ECU."""
    return next((each for each in Reason if each == code), Reason.ECU_REFUSED)


def decode(body: bytes, kind: type[T]) -> T:
    """Return what an answer says. Raises: InvalidInput, it is not understood."""
    try:
        return msgspec.json.decode(body, type=kind)
    except _UNREADABLE as error:
        raise InvalidInput(f"the ECU answers what is not understood: {error}") from error
