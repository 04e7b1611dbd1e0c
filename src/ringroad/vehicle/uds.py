"""UDS client: requests, responses and refusals of ISO 14229-1, over any `UdsChannel`.

Not here: how bytes travel (`doip.py`, in memory in `sim/vecu/memory.py`) and what an update is (`agents/`).

Invariant: a negative response never looks like a result; it is raised, named.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol, TypeVar

from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, RingroadError, Unavailable
from ringroad.vehicle.proof import ALGORITHM, CHALLENGE_BYTES, Prover

PENDING_SILENCE_S_MAX: Final = 10.0  # s between two "response pending"; P2* is 5 s by default, doubled
PENDING_TOTAL_S_MAX: Final = 1_800.0  # s of "response pending" for one request; erasing the largest bank
COMING_S: Final = (
    0.5  # s between two looks at an answer that is on its way in; its transport ends it if it stops
)
BUSY_TRIES_MAX: Final = 10  # busyRepeatRequest answers in a row
BUSY_PAUSE_S: Final = 0.05
BLOCK_TRIES_MAX: Final = 5  # the same block, when its answer is lost
KEEPALIVE_S: Final = 2.0  # s; S3 of a server is 5 s
NEGATIVE: Final = 0x7F
POSITIVE_BIT: Final = 0x40
SUPPRESS_BIT: Final = 0x80
AUTHENTICATION_COMPLETE: Final = 0x12  # return value: ownership verified

T = TypeVar("T")
KeyDeriver = Callable[[int, bytes], bytes]  # (level of the seed request, seed) -> key


class Nrc(IntEnum):
    """Negative response codes. Source: ISO 14229-1, annex A.1."""

    GENERAL_REJECT = 0x10
    SERVICE_NOT_SUPPORTED = 0x11
    SUB_FUNCTION_NOT_SUPPORTED = 0x12
    INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT = 0x13
    RESPONSE_TOO_LONG = 0x14
    BUSY_REPEAT_REQUEST = 0x21
    CONDITIONS_NOT_CORRECT = 0x22
    REQUEST_SEQUENCE_ERROR = 0x24
    NO_RESPONSE_FROM_SUBNET_COMPONENT = 0x25
    FAILURE_PREVENTS_EXECUTION = 0x26
    REQUEST_OUT_OF_RANGE = 0x31
    SECURITY_ACCESS_DENIED = 0x33
    AUTHENTICATION_REQUIRED = 0x34
    INVALID_KEY = 0x35
    EXCEEDED_NUMBER_OF_ATTEMPTS = 0x36
    REQUIRED_TIME_DELAY_NOT_EXPIRED = 0x37
    OWNERSHIP_VERIFICATION_FAILED = 0x58
    UPLOAD_DOWNLOAD_NOT_ACCEPTED = 0x70
    TRANSFER_DATA_SUSPENDED = 0x71
    GENERAL_PROGRAMMING_FAILURE = 0x72
    WRONG_BLOCK_SEQUENCE_COUNTER = 0x73
    RESPONSE_PENDING = 0x78
    SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION = 0x7E
    SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION = 0x7F
    VEHICLE_SPEED_TOO_HIGH = 0x88
    VOLTAGE_TOO_HIGH = 0x92
    VOLTAGE_TOO_LOW = 0x93


class Session(IntEnum):
    """Diagnostic sessions."""

    DEFAULT = 1
    PROGRAMMING = 2
    EXTENDED = 3


class NegativeResponse(RingroadError):  # noqa: N818 - the standard's word
    """The ECU said no.

    Attributes:
        service: of the request.
        nrc: negative response code as a number.
        name: of the code, for example ``"SECURITY_ACCESS_DENIED"``, or ``"NRC_99"`` for an unknown one.
    """

    def __init__(self, service: int, nrc: int) -> None:
        self.service = service
        self.nrc = nrc
        self.name = nrc_name(nrc)
        super().__init__(
            f"the ECU refused service 0x{service:02X}: {self.name} (0x{nrc:02X})", code=self.name.lower()
        )


class EcuBusy(NegativeResponse, Unavailable):
    """Not now: busy, pending too long, or locked out for a while."""


class EcuForbids(NegativeResponse, Forbidden):
    """Not for you: security access, authentication or a wrong key."""


class EcuRejects(NegativeResponse, InvalidInput):
    """Not like this: unknown service, wrong length, out of range."""


class EcuRefuses(NegativeResponse, Conflict):
    """Not in this state: session, sequence, conditions, programming failure."""


_NRC_NAMES = {int(code): code.name for code in Nrc}
_BUSY = frozenset({Nrc.BUSY_REPEAT_REQUEST, Nrc.RESPONSE_PENDING, Nrc.REQUIRED_TIME_DELAY_NOT_EXPIRED, 0x36})
_FORBIDDEN = frozenset(
    {
        Nrc.SECURITY_ACCESS_DENIED,
        Nrc.AUTHENTICATION_REQUIRED,
        Nrc.INVALID_KEY,
        Nrc.OWNERSHIP_VERIFICATION_FAILED,
    }
)
_REJECTED = frozenset({0x11, 0x12, 0x13, 0x14, Nrc.REQUEST_OUT_OF_RANGE})


def nrc_name(nrc: int) -> str:
    """Return the name of a negative response code, ``NRC_xx`` when it has none here."""
    return _NRC_NAMES.get(nrc, f"NRC_{nrc:02X}")


def negative_response(service: int, nrc: int) -> NegativeResponse:
    """Return the error for a negative response, typed by what the caller can do."""
    if nrc in _BUSY:
        return EcuBusy(service, nrc)
    if nrc in _FORBIDDEN:
        return EcuForbids(service, nrc)
    if nrc in _REJECTED:
        return EcuRejects(service, nrc)
    return EcuRefuses(service, nrc)


class UdsChannel(Protocol):
    """One ECU as seen by one tester. Requests are strictly one after another."""

    async def connect(self) -> None:
        """Be ready for requests; nothing to do when already so. Raises: Unavailable."""
        ...

    async def request(self, payload: bytes, *, timeout_s: float) -> bytes:
        """Send one request and return its final response, positive or negative, never "pending".

        Raises:
            Unavailable: code ``timeout`` (the connection lives) or ``connection_lost``.
        """
        ...

    async def notify(self, payload: bytes, *, functional: bool = False) -> None:
        """Send a request whose positive response is suppressed; may be called while a request is under way.

        Args:
            payload: service and sub-function at least; the suppress bit is set here.
            functional: to the address that means every ECU behind this channel.

        Raises:
            Unavailable: there is no connection.
        """
        ...

    def audience(self) -> Hashable:
        """Return whom a functional request reaches: equal for channels whose one reaches the ECUs of the other."""
        ...

    async def close(self) -> None:
        """Drop the connection; `connect` opens it again."""
        ...


def suppressed(payload: bytes) -> bytes:
    """Return a request that asks for no positive response."""
    return payload[:1] + bytes((payload[1] | SUPPRESS_BIT,)) + payload[2:]


def is_pending(request: bytes, response: bytes) -> bool:
    """Say whether `response` only asks for patience."""
    return (
        len(response) == 3
        and response[0] == NEGATIVE
        and response[1] == request[0]
        and response[2] == Nrc.RESPONSE_PENDING
    )


_ECHO_BYTES = {0x10: 1, 0x22: 2, 0x2E: 2, 0x31: 3, 0x36: 1, 0x27: 1, 0x29: 1, 0x19: 1}


def answers(request: bytes, response: bytes) -> bool:
    """Say whether `response` belongs to `request`: late and doubled ones of earlier requests do not."""
    if not response:
        return False
    if response[0] == NEGATIVE:
        return len(response) >= 3 and response[1] == request[0]
    if response[0] != request[0] | POSITIVE_BIT:
        return False
    size = _ECHO_BYTES.get(request[0], 0)
    return response[1 : 1 + size] == request[1 : 1 + size]


async def final_response(
    request: bytes,
    next_response: Callable[[], Awaitable[bytes]],
    *,
    timeout_s: float,
    is_coming: Callable[[], bool] = lambda: False,
    on_pending: Callable[[], None] = lambda: None,
) -> bytes:
    """Wait for the response to `request` that is not "pending", and drop what answers anything else.

    Args:
        request: what was sent.
        next_response: waits for the next message of the ECU.
        timeout_s: until the first answer begins.
        is_coming: whether a message is on its way in, which then may take its time.
        on_pending: called when the ECU asks for patience.

    Raises:
        Unavailable: code ``timeout``; and what `next_response` raises.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + PENDING_TOTAL_S_MAX
    deadline = loop.time() + timeout_s
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, give_up_at)):
                response = await next_response()
        except TimeoutError as error:
            if is_coming() and loop.time() < give_up_at:
                deadline = loop.time() + COMING_S
                continue
            raise Unavailable(f"no answer to service 0x{request[0]:02X} in time", code="timeout") from error
        if is_pending(request, response):
            on_pending()
            deadline = loop.time() + PENDING_SILENCE_S_MAX
        elif answers(request, response):
            return response


@dataclass(slots=True, kw_only=True)
class UdsClient:
    """The services an update agent and remote diagnostics need, over one channel.

    Attributes:
        channel: to one ECU.
        timeout_s: for a first answer; a pending one is waited for much longer.
        entered: session that it was asked for last, and is in unless its S3 is over; None: nobody knows.

    Every method raises `NegativeResponse` (typed) or `Unavailable`, and nothing else on purpose.
    """

    channel: UdsChannel
    timeout_s: float = 2.0
    entered: Session | None = None

    async def call(self, payload: bytes) -> bytes:
        """Send a request and return the positive response. A busy ECU is asked again, within bounds."""
        for attempt in range(BUSY_TRIES_MAX):
            response = await self.channel.request(payload, timeout_s=self.timeout_s)
            if response[0] != NEGATIVE:
                return response
            if response[2] != Nrc.BUSY_REPEAT_REQUEST or attempt == BUSY_TRIES_MAX - 1:
                break
            await asyncio.sleep(BUSY_PAUSE_S)
        raise negative_response(payload[0], response[2])

    async def session(self, session: Session) -> None:
        """DiagnosticSessionControl (0x10)."""
        if session is not Session.DEFAULT:
            self.entered = session  # also when the answer is lost
        await self.call(bytes((0x10, session)))
        self.entered = session

    async def reset(self) -> None:
        """ECUReset (0x11), hard. The connection is expected to break afterwards."""
        try:
            await self.call(b"\x11\x01")
        except NegativeResponse:
            raise
        except Unavailable:
            self.entered = None  # it may restart before it answers
            raise
        self.entered = Session.DEFAULT

    async def tester_present(self) -> None:
        """TesterPresent (0x3E), no answer wanted: keeps the session from timing out."""
        await self.channel.notify(b"\x3e\x00")

    async def unlock(self, derive: KeyDeriver, *, level: int = 1) -> None:
        """SecurityAccess (0x27): seed, key. Nothing is sent when the ECU answers with a zero seed."""
        seed = (await self.call(bytes((0x27, level))))[2:]
        if any(seed):
            await self.call(bytes((0x27, level + 1)) + derive(level, seed))

    async def authenticate(self, prove: Prover) -> None:
        """Authentication (0x29), challenge and response: tasks 05 and 06."""
        answer = await self.call(b"\x29\x05\x00" + ALGORITHM)
        size = int.from_bytes(answer[19:21], "big")
        challenge = answer[21 : 21 + size]
        if answer[3:19] != ALGORITHM or size < CHALLENGE_BYTES or len(challenge) != size:
            raise EcuRejects(0x29, Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        proof = prove(challenge)
        answer = await self.call(b"\x29\x06" + ALGORITHM + len(proof).to_bytes(2, "big") + proof + bytes(4))
        if answer[2] != AUTHENTICATION_COMPLETE:
            raise EcuForbids(0x29, Nrc.OWNERSHIP_VERIFICATION_FAILED)

    async def deauthenticate(self) -> None:
        """Authentication (0x29), task 00: the ECU forgets who proved what."""
        await self.call(b"\x29\x00")

    async def read(self, did: int) -> bytes:
        """ReadDataByIdentifier (0x22) of one identifier; returns its data."""
        return (await self.call(b"\x22" + did.to_bytes(2, "big")))[3:]

    async def write(self, did: int, data: bytes) -> None:
        """WriteDataByIdentifier (0x2E)."""
        await self.call(b"\x2e" + did.to_bytes(2, "big") + data)

    async def routine(self, rid: int, option: bytes = b"") -> bytes:
        """RoutineControl (0x31), start; returns the status record."""
        return (await self.call(b"\x31\x01" + rid.to_bytes(2, "big") + option))[4:]

    async def stop_routine(self, rid: int) -> None:
        """RoutineControl (0x31), stop. An ECU in which it does not run answers requestSequenceError."""
        await self.call(b"\x31\x02" + rid.to_bytes(2, "big"))

    async def faults(self, *, status_mask: int = 0x08) -> list[tuple[str, int]]:
        """ReadDTCInformation (0x19 02): (display code, status byte) of codes matching the mask."""
        record = (await self.call(bytes((0x19, 0x02, status_mask))))[3:]
        return [(dtc_display(record[i : i + 3]), record[i + 3]) for i in range(0, len(record) - 3, 4)]

    async def clear_faults(self) -> None:
        """ClearDiagnosticInformation (0x14), all groups."""
        await self.call(b"\x14\xff\xff\xff")

    async def download(self, address: int, length_bytes: int) -> int:
        """RequestDownload (0x34); returns the payload bytes that fit one TransferData request."""
        response = await self.call(
            b"\x34\x00\x44" + address.to_bytes(4, "big") + length_bytes.to_bytes(4, "big")
        )
        size = response[1] >> 4
        block_bytes = int.from_bytes(response[2 : 2 + size], "big") - 2
        if block_bytes < 1:
            raise EcuRejects(0x34, Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        return block_bytes

    async def transfer(
        self,
        read: Callable[[int, int], Awaitable[bytes]],
        length_bytes: int,
        *,
        block_bytes: int,
        progress: Callable[[int], None],
    ) -> None:
        """TransferData (0x36) of all blocks, then RequestTransferExit (0x37).

        A block whose answer is lost is sent again with the same counter, which a server must accept.
        While the source is slow, TesterPresent keeps the session.

        Args:
            read: (offset, size) -> bytes; must return what is asked for.
            length_bytes: of the whole transfer.
            block_bytes: from `download`.
            progress: called with the bytes done after each block.
        """
        counter, offset = 1, 0
        while offset < length_bytes:
            block = await self.keep_alive(read(offset, min(block_bytes, length_bytes - offset)))
            await self._block(counter, block)
            offset += len(block)
            counter = counter + 1 & 0xFF
            progress(offset)
        await self.call(b"\x37")

    async def keep_alive(self, work: Awaitable[T]) -> T:
        """Return the result of `work`, sending TesterPresent while it takes long."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=KEEPALIVE_S))[0]:
                await self.tester_present()
        except BaseException:
            task.cancel()
            raise
        return task.result()

    async def _block(self, counter: int, block: bytes) -> None:
        for attempt in range(BLOCK_TRIES_MAX):
            try:
                await self.call(b"\x36" + bytes((counter,)) + block)
                return
            except NegativeResponse:
                raise
            except Unavailable as lost:
                # A lost connection ends the transfer: the ECU may have restarted and forgotten it.
                if lost.code != "timeout" or attempt == BLOCK_TRIES_MAX - 1:
                    raise


def hmac_key(secret: bytes) -> KeyDeriver:
    """Return the seed-to-key function of our ECUs: the first 16 bytes of HMAC-SHA256(secret, level + seed)."""

    def derive(level: int, seed: bytes) -> bytes:
        return hmac.digest(secret, bytes((level,)) + seed, hashlib.sha256)[:16]

    return derive


_DTC = re.compile(r"([PCBU])([0-3][0-9A-F]{3})-([0-9A-F]{2})")


def dtc_display(dtc: bytes) -> str:
    """Return the display form of three DTC bytes, for example ``P0A1F-00``. Source: ISO 15031-6."""
    return f"{'PCBU'[dtc[0] >> 6]}{(dtc[0] & 0x3F) << 8 | dtc[1]:04X}-{dtc[2]:02X}"


def dtc_bytes(display: str) -> bytes:
    """Return the three bytes of a display form.

    Raises:
        InvalidInput: not of the form ``P0A1F-00``.
    """
    match = _DTC.fullmatch(display)
    if match is None:
        raise InvalidInput(
            f"{display[:20]!r} is not a fault code",
            hint="a letter of PCBU, 0-3, three hex digits, -, two more",
        )
    letter, number, failure_type = match.groups()
    return ("PCBU".index(letter) << 14 | int(number, 16)).to_bytes(2, "big") + bytes.fromhex(failure_type)
