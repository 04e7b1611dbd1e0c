"""The flashing half of a virtual ECU: download, transfer, checks, and the routines of A/B banks.

Pure but for the flash it is given. Sessions and security are checked by `ecu.py` before anything here runs.

Invariant: a bank becomes valid only by CHECK_DEPENDENCIES after a good CHECK_MEMORY in the same download.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.sim.vecu.flash import Extent, Flash, Signed
from ringroad.vehicle.agents.wire import Identity
from ringroad.vehicle.uds import Nrc

OK: Final = b"\x00"
NOT_OK: Final = b"\x01"


class NegativeReply(Exception):  # noqa: N818 - travels from a service to its answer, never further
    """A service ends with a negative response code."""

    def __init__(self, nrc: Nrc) -> None:
        super().__init__(nrc.name)
        self.nrc = nrc


@dataclass(slots=True)
class _Transfer:
    extent: Extent
    counter: int = 1
    done_bytes: int = 0
    started: bool = False


class Programmer:
    """One tester's progress through the flash sequence; forgotten at every reset."""

    __slots__ = (
        "_erased_bytes",
        "_flash",
        "_hardware_id",
        "_identity",
        "_running",
        "_transfer",
        "block_bytes",
    )

    def __init__(self, flash: Flash, *, hardware_id: str, block_bytes: int) -> None:
        self._flash = flash
        self._hardware_id = hardware_id
        self.block_bytes = block_bytes
        self._running = False
        self.forget(running=False)

    def forget(self, *, running: bool) -> None:
        """Start anew, after a reset. `running`: the active bank's application runs."""
        self._running = running
        self._identity: Identity | None = None
        self._erased_bytes = 0
        self._transfer: _Transfer | None = None

    @property
    def target(self) -> int:
        """The bank that is written: the inactive one, or the only one."""
        state = self._flash.state
        return 1 - state.active if state.layout == "ab" else 0

    def identify(self, data: bytes) -> None:
        """Take what the signed metadata say about the next download."""
        try:
            identity = Identity.decode(data)
        except InvalidInput as error:
            raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT) from error
        if (
            identity.hardware_id != self._hardware_id
            or identity.release_counter < self._flash.state.committed_counter
        ):
            raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
        self._identity = identity

    def erase(self, option: bytes) -> bytes:
        """Erase the target bank: all of it, or with 44 + address + length that many bytes."""
        state = self._flash.state
        if state.swap == "trial":
            raise NegativeReply(Nrc.CONDITIONS_NOT_CORRECT)  # the way back is in that bank
        length = state.bank_bytes
        if option:
            if len(option) != 9 or option[0] != 0x44:
                raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
            length = int.from_bytes(option[5:], "big")
        if not 0 < length <= state.bank_bytes:
            raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
        self._transfer = None
        self._erased_bytes = 0
        if state.swap == "test":
            self._flash.store(msgspec.structs.replace(state, swap="none"))
        self._flash.erase(self.target, length)
        self._erased_bytes = length
        return OK

    def request_download(self, request: bytes) -> bytes:
        """Service 0x34: data format 00, address and length of any size up to 8 bytes."""
        if len(request) < 3:
            raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        length_size, address_size = request[2] >> 4, request[2] & 0x0F
        if len(request) != 3 + length_size + address_size:
            raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        if request[1] != 0 or not 1 <= length_size <= 8 or not 1 <= address_size <= 8:
            raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
        address = int.from_bytes(request[3 : 3 + address_size], "big")
        length = int.from_bytes(request[3 + address_size :], "big")
        used = sum(extent.length_bytes for extent in self._flash.state.banks[self.target].extents)
        if self._transfer is not None:
            raise NegativeReply(Nrc.CONDITIONS_NOT_CORRECT)
        if used + length > self._flash.state.bank_bytes:
            raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
        if used + length > self._erased_bytes:
            raise NegativeReply(Nrc.UPLOAD_DOWNLOAD_NOT_ACCEPTED)
        try:
            extent = self._flash.allocate(self.target, address, length, self._signed())
        except InvalidInput as error:
            raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE) from error
        self._transfer = _Transfer(extent)
        return b"\x74\x20" + self.block_bytes.to_bytes(2, "big")

    def transfer_data(self, request: bytes) -> bytes:
        """Service 0x36. The block before is taken again without being written: its answer was lost."""
        transfer = self._transfer
        if transfer is None:
            raise NegativeReply(Nrc.REQUEST_SEQUENCE_ERROR)
        size = len(request) - 2
        if size < 0 or len(request) > self.block_bytes:
            raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        counter = request[1]
        if transfer.started and counter == transfer.counter - 1 & 0xFF:
            return b"\x76" + request[1:2]
        if counter != transfer.counter:
            raise NegativeReply(Nrc.WRONG_BLOCK_SEQUENCE_COUNTER)
        if size == 0 or transfer.done_bytes + size > transfer.extent.length_bytes:
            raise NegativeReply(Nrc.TRANSFER_DATA_SUSPENDED)
        self._flash.program(self.target, transfer.extent.offset + transfer.done_bytes, request[2:])
        transfer.done_bytes += size
        transfer.counter = counter + 1 & 0xFF
        transfer.started = True
        return b"\x76" + request[1:2]

    def transfer_exit(self) -> bytes:
        """Service 0x37: only after the last byte."""
        transfer = self._transfer
        if transfer is None or transfer.done_bytes != transfer.extent.length_bytes:
            raise NegativeReply(Nrc.REQUEST_SEQUENCE_ERROR)
        self._transfer = None
        return b"\x77"

    def check_memory(self, option: bytes) -> bytes:
        """Routine 0202: does the bank hold these bytes? Option: 32-byte content digest, or 4-byte CRC-32."""
        bank = self._flash.state.banks[self.target]
        if self._transfer is not None or not bank.extents or len(option) not in {4, 32}:
            raise NegativeReply(
                Nrc.REQUEST_SEQUENCE_ERROR
                if len(option) in {4, 32}
                else Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT
            )
        if len(option) == 4:
            crc = 0
            for chunk in self._flash.content(self.target):
                crc = zlib.crc32(chunk, crc)
            good = crc.to_bytes(4, "big") == option
        else:
            good = self._flash.digest(self.target) == option
        # What was said of the content counts from here; a tester may say it after the transfer.
        self._flash.store_bank(
            self.target,
            msgspec.structs.replace(bank, checked=good, valid=False, signed=self._signed() or bank.signed),
        )
        return OK if good else NOT_OK

    def check_dependencies(self) -> bytes:
        """Routine FF01: mark the bank valid when it was checked and its content is what was signed."""
        bank = self._flash.state.banks[self.target]
        if not bank.checked:
            raise NegativeReply(Nrc.REQUEST_SEQUENCE_ERROR)
        good = (
            bank.signed is not None
            and bank.signed.release_counter >= self._flash.state.committed_counter
            and self._flash.right(self.target)
        )
        if good and not bank.valid:
            self._flash.store_bank(self.target, msgspec.structs.replace(bank, valid=True))
        return OK if good else NOT_OK

    def activate(self) -> bytes:
        """Routine 0301: the inactive bank boots at the next reset, on trial."""
        state = self._flash.state
        if state.layout != "ab" or state.swap == "trial":
            raise NegativeReply(Nrc.CONDITIONS_NOT_CORRECT)
        signed = state.banks[self.target].signed
        if (
            signed is None
            or signed.release_counter < state.committed_counter
            or not self._flash.runnable(self.target)
        ):
            raise NegativeReply(Nrc.CONDITIONS_NOT_CORRECT)
        if state.swap != "test":
            self._flash.store(msgspec.structs.replace(state, swap="test"))
        return OK

    def commit(self) -> bytes:
        """Routine 0302: what runs is permanent; the only place where the anti-rollback counter advances."""
        state = self._flash.state
        signed = state.banks[state.active].signed
        if not self._running or signed is None or state.swap == "test":
            raise NegativeReply(Nrc.CONDITIONS_NOT_CORRECT)
        counter = max(state.committed_counter, signed.release_counter)
        if (state.swap, state.committed_counter) != ("none", counter):
            self._flash.store(msgspec.structs.replace(state, swap="none", committed_counter=counter))
        return OK

    def rollback(self) -> bytes:
        """Routine 0303: 00 nothing more to do, 01 the next reset goes back."""
        state = self._flash.state
        if state.layout != "ab":
            raise NegativeReply(Nrc.CONDITIONS_NOT_CORRECT)
        if state.swap == "trial":
            return NOT_OK
        if state.swap == "test":
            self._flash.store(msgspec.structs.replace(state, swap="none"))
        return OK

    def _signed(self) -> Signed | None:
        identity = self._identity
        if identity is None:
            return None
        return Signed(
            version=identity.version,
            sha256=identity.sha256.hex(),
            content_sha256=identity.content_sha256.hex(),
            release_counter=identity.release_counter,
        )
