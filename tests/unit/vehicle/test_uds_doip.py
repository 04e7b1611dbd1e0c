"""The client's own half: names of refusals, matching of answers, frames, patience."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, Unavailable
from ringroad.vehicle.agents.wire import BankStatus, Identity, Layout, Mode, SlotStatus, Swap
from ringroad.vehicle.doip import (
    PAYLOAD_BYTES_MAX,
    BadHeader,
    DoipChannel,
    DoipEntity,
    FrameParser,
    HeaderNack,
    encode,
    encode_diagnostic,
)
from ringroad.vehicle.uds import (
    NegativeResponse,
    UdsClient,
    answers,
    dtc_bytes,
    dtc_display,
    is_pending,
    negative_response,
)


@dataclass
class Scripted:
    """A wire that answers from a list; an exception in it is raised."""

    answers: deque[bytes | Exception]
    sent: list[bytes] = field(default_factory=list)

    async def connect(self) -> None:
        """Nothing."""

    async def request(self, payload: bytes, *, timeout_s: float) -> bytes:
        self.sent.append(payload)
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def notify(self, payload: bytes, *, functional: bool = False) -> None:
        self.sent.append(payload)

    def audience(self) -> Hashable:
        return id(self)

    async def close(self) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("nrc", "name", "kind"),
    [
        (0x33, "SECURITY_ACCESS_DENIED", Forbidden),
        (0x35, "INVALID_KEY", Forbidden),
        (0x21, "BUSY_REPEAT_REQUEST", Unavailable),
        (0x36, "EXCEEDED_NUMBER_OF_ATTEMPTS", Unavailable),
        (0x37, "REQUIRED_TIME_DELAY_NOT_EXPIRED", Unavailable),
        (0x13, "INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT", InvalidInput),
        (0x31, "REQUEST_OUT_OF_RANGE", InvalidInput),
        (0x70, "UPLOAD_DOWNLOAD_NOT_ACCEPTED", Conflict),
        (0x73, "WRONG_BLOCK_SEQUENCE_COUNTER", Conflict),
        (0x7F, "SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION", Conflict),
        (0xEE, "NRC_EE", Conflict),
    ],
)
def test_a_refusal_is_named_and_typed(nrc: int, name: str, kind: type[Exception]) -> None:
    error = negative_response(0x34, nrc)
    assert (error.name, isinstance(error, kind)) == (name, True)
    assert name in str(error)


@pytest.mark.parametrize(
    ("request_", "response", "belongs"),
    [
        (b"\x36\x02data", b"\x76\x02", True),
        (b"\x36\x02data", b"\x76\x01", False),  # the answer of the block before, twice
        (b"\x22\xf1\x90", b"\x62\xf1\x90abc", True),
        (b"\x22\xf1\x90", b"\x62\xf1\x95abc", False),
        (b"\x31\x01\xff\x00", b"\x71\x01\xff\x00\x00", True),
        (b"\x31\x01\xff\x00", b"\x71\x01\x02\x02\x00", False),
        (b"\x31\x01\xff\x00", b"\x7f\x31\x22", True),
        (b"\x31\x01\xff\x00", b"\x7f\x22\x31", False),
        (b"\x31\x01\xff\x00", b"\x7f\x31", False),
        (b"\x14\xff\xff\xff", b"\x54", True),
        (b"\x14\xff\xff\xff", b"", False),
    ],
)
def test_only_the_answer_to_the_question_counts(request_: bytes, response: bytes, belongs: bool) -> None:  # noqa: FBT001
    assert answers(request_, response) is belongs


def test_only_a_request_for_patience_is_pending() -> None:
    assert is_pending(b"\x31\x01", b"\x7f\x31\x78")
    assert not is_pending(b"\x31\x01", b"\x7f\x22\x78")
    assert not is_pending(b"\x31\x01", b"\x7f\x31\x22")
    assert not is_pending(b"\x31\x01", b"\x71\x01\x78")


@given(st.integers(0, (1 << 24) - 1))
def test_fault_codes_go_there_and_back(number: int) -> None:
    dtc = number.to_bytes(3, "big")
    assert dtc_bytes(dtc_display(dtc)) == dtc


@pytest.mark.parametrize("text", ["", "P0A1F", "X0A1F-00", "P4A1F-00", "p0a1f-00", "P0A1F-000", "P0A1F-00\n"])
def test_what_is_no_fault_code_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        dtc_bytes(text)


def test_fault_codes_look_as_workshops_write_them() -> None:
    assert [dtc_display(bytes.fromhex(each)) for each in ("0a1f00", "412316", "9abc01", "c10087")] == [
        "P0A1F-00",
        "C0123-16",
        "B1ABC-01",
        "U0100-87",
    ]


def test_a_block_whose_answer_is_lost_is_sent_again_with_the_same_counter() -> None:
    lost = Unavailable("late", code="timeout")
    wire = Scripted(deque([b"\x76\x01", lost, b"\x76\x02", b"\x77"]))
    data = b"abcdefg"

    async def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    done: list[int] = []
    client = UdsClient(channel=wire)
    asyncio.run(client.transfer(read, len(data), block_bytes=4, progress=done.append))
    assert wire.sent == [b"\x36\x01abcd", b"\x36\x02efg", b"\x36\x02efg", b"\x37"]
    assert done == [4, 7]


@pytest.mark.parametrize(
    "error", [Unavailable("gone", code="connection_lost"), negative_response(0x36, 0x73)]
)
def test_a_lost_connection_or_a_wrong_sequence_ends_the_transfer(error: Exception) -> None:
    first: bytes | Exception = b"\x7f\x36\x73" if isinstance(error, NegativeResponse) else error
    wire = Scripted(deque([first]))

    async def read(offset: int, size: int) -> bytes:
        return bytes(size)

    with pytest.raises(type(error)):
        asyncio.run(UdsClient(channel=wire).transfer(read, 8, block_bytes=4, progress=lambda _: None))


def test_a_zero_seed_means_unlocked_already() -> None:
    wire = Scripted(deque([b"\x67\x01" + bytes(16)]))
    asyncio.run(UdsClient(channel=wire).unlock(lambda *_: b"key"))
    assert wire.sent == [b"\x27\x01"]


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8), st.integers(1, 9))
def test_frames_are_found_however_they_are_cut(frames: list[tuple[int, bytes]], piece: int) -> None:
    stream = b"".join(encode(kind, payload) for kind, payload in frames)
    parser = FrameParser()
    found = []
    for at in range(0, len(stream), piece):
        found += parser.feed(stream[at : at + piece])
    assert found == frames


def test_a_diagnostic_frame_is_an_ordinary_frame() -> None:
    assert encode_diagnostic(0x0E00, 0x1001, b"\x3e\x00") == encode(0x8001, b"\x0e\x00\x10\x01\x3e\x00")


@pytest.mark.parametrize(
    ("data", "nack"),
    [
        (b"GET / HTTP/1.1\r\n", HeaderNack.INCORRECT_PATTERN),
        (b"\x02\xfd\x80\x01" + (PAYLOAD_BYTES_MAX + 1).to_bytes(4, "big"), HeaderNack.MESSAGE_TOO_LARGE),
    ],
)
def test_what_is_not_doip_is_refused(data: bytes, nack: HeaderNack) -> None:
    with pytest.raises(BadHeader) as refused:
        FrameParser().feed(data)
    assert refused.value.nack is nack


def test_patience_is_asked_for_again_and_again_and_granted() -> None:
    async def story() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(8 + 7)
            writer.write(encode(0x0006, b"\x0e\x00\x10\x01\x10" + bytes(4)))
            await reader.readexactly(8 + 6)
            for _ in range(4):
                writer.write(encode_diagnostic(0x1001, 0x0E00, b"\x7f\x3e\x78"))
                await asyncio.sleep(0.6)
            writer.write(encode_diagnostic(0x1001, 0x0E00, b"\x7e\x00"))
            await writer.drain()
            await reader.read(1)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        channel = DoipChannel(DoipEntity("127.0.0.1", server.sockets[0].getsockname()[1]), ecu_address=0x1001)
        try:
            return await channel.request(b"\x3e\x00", timeout_s=2.0)  # a busy machine may be late
        finally:
            await channel.close()
            server.close()

    assert asyncio.run(asyncio.wait_for(story(), 60)) == b"\x7e\x00"


@pytest.mark.parametrize("code", [0x00, 0x01, 0x06])
def test_a_refused_activation_and_a_closed_port_are_unavailable(code: int) -> None:
    async def story() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(8 + 7)
            writer.write(encode(0x0006, b"\x0e\x00\x10\x01" + bytes((code,)) + bytes(4)))
            await reader.read(1)
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match="refused"):
            await DoipChannel(DoipEntity("127.0.0.1", port), ecu_address=0x1001).connect()
        server.close()
        await server.wait_closed()
        with pytest.raises(Unavailable, match="no DoIP entity"):
            await DoipChannel(DoipEntity("127.0.0.1", port), ecu_address=0x1001).connect()

    asyncio.run(asyncio.wait_for(story(), 60))


@given(st.text(max_size=60), st.binary(min_size=32, max_size=32), st.integers(0, (1 << 32) - 1))
def test_identity_and_slot_state_go_there_and_back(version: str, sha256: bytes, counter: int) -> None:
    identity = Identity(
        version=version, sha256=sha256, content_sha256=sha256[::-1], release_counter=counter, hardware_id="HW"
    )
    assert Identity.decode(identity.encode()) == identity
    bank = BankStatus(valid=True, version=version, sha256=sha256, release_counter=counter)
    status = SlotStatus(
        layout=Layout.AB,
        mode=Mode.APPLICATION,
        swap=Swap.TRIAL,
        active=1,
        committed_counter=counter,
        capacity_bytes=1 << 32,
        banks=(bank, bank),
    )
    encoded = status.encode()
    assert SlotStatus.decode(encoded) == status
    for cut in range(len(encoded)):
        with pytest.raises(InvalidInput):
            SlotStatus.decode(encoded[:cut])
    with pytest.raises(InvalidInput):
        SlotStatus.decode(encoded + b"\0")
