"""The virtual ECU: bytes of a UDS request in, bytes of its responses out; no socket, no thread, no sleep.

Sessions, security access, identifiers, resets and fault memory are here; flashing is in `programming.py`,
what goes wrong on the wire in `port.py`, DoIP in `server.py`.

Invariants:
    - every request gets the response ISO 14229-1 asks for, or none where it says so;
    - all that survives a power cycle is on the medium, so `power_on` may be called at any time;
    - version and digest are reported only for a bank whose content was hashed at this start.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ringroad.kernel.clock import Clock
from ringroad.sim.vecu.access import Access
from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.fault_memory import FaultMemory, Snapshot, StoredFault, read_dtc_information
from ringroad.sim.vecu.flash import Bank, Flash, decide_boot
from ringroad.sim.vecu.mcuboot import bootloader
from ringroad.sim.vecu.medium import Medium
from ringroad.sim.vecu.programming import NegativeReply, Programmer
from ringroad.sim.vecu.script import Script, draw_permille
from ringroad.sim.vecu.simple import (
    Communication,
    communication_control,
    exactly,
    tester_present,
)
from ringroad.vehicle.agents.wire import BankStatus, Did, Layout, Mode, Rid, SlotStatus, Swap
from ringroad.vehicle.uds import SUPPRESS_BIT, Nrc, Session, dtc_display

BOOT_SOFTWARE: Final = b"RINGROAD-BOOT-1.0"
_TIMING: Final = b"\x00\x32\x01\xf4"  # P2 50 ms, P2* 5,000 ms
_NOT_WHEN_FUNCTIONAL: Final = frozenset({0x11, 0x12, 0x31, 0x7E, 0x7F})
_WITH_SUB_FUNCTION: Final = frozenset({0x10, 0x11, 0x19, 0x27, 0x28, 0x29, 0x31, 0x3E, 0x85})
_SWAP: Final = {"none": Swap.NONE, "test": Swap.TEST, "trial": Swap.TRIAL}
_EXTENDED: Final = frozenset({Session.EXTENDED, Session.PROGRAMMING})
_PROGRAMMING: Final = frozenset({Session.PROGRAMMING})
_ANY: Final = frozenset(Session)
_RIDS: Final = frozenset(Rid)


_NEEDS: Final[dict[int, frozenset[Session]]] = {
    0x10: _ANY,
    0x11: _ANY,
    0x14: _ANY,
    0x19: _ANY,
    0x22: _ANY,
    0x27: _EXTENDED,
    0x28: _EXTENDED,
    0x29: _ANY,
    0x2E: _EXTENDED,
    0x31: _EXTENDED,
    0x34: _PROGRAMMING,
    0x36: _PROGRAMMING,
    0x37: _PROGRAMMING,
    0x3E: _ANY,
    0x85: _EXTENDED,
}


class VirtualEcu:
    """One ECU on one medium.

    Args:
        config: what it is.
        medium: its flash; blank is an ECU as it leaves its supplier.
        clock: for session and lockout times.
        script: what goes wrong.
        seed: of every draw.
    """

    __slots__ = (
        "_access", "_boots", "_clock", "_communication", "_last_request_s", "_session", "_snapshot", "boot", "config", "faults", "flash", "mode", "programmer", "reset_due", "script", "seed",
    )  # fmt: skip

    def __init__(
        self, config: EcuConfig, medium: Medium, *, clock: Clock, script: Script | None = None, seed: int = 0
    ) -> None:
        self.config = config
        self.script = script or Script()
        self.seed = seed
        accepts = bootloader(config.mcuboot_key, config.mcuboot_images) if config.mcuboot_key else None
        self.flash = Flash(
            medium, layout=config.layout, bank_bytes=config.bank_bytes, accepts=accepts, exchange=config.mcuboot_swap
        )  # fmt: skip
        self.faults = FaultMemory(self.flash.faults)
        self.programmer = Programmer(
            self.flash, hardware_id=config.hardware_id, block_bytes=config.block_bytes
        )
        self.mode = Mode.BOOTLOADER
        self.reset_due = False
        self._clock = clock
        self._access = Access(config, self.flash, clock=clock, seed=seed)
        self._session = Session.DEFAULT
        self._last_request_s = 0.0
        self._snapshot: Snapshot | None = None
        self._communication = Communication.BOTH
        self._boots = 0
        self.boot = ""  # another after each start, whichever process runs it

    # Life ------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Start from what the flash holds, as after a reset or a power cut.

        Raises:
            Corrupt: the flash is not this ECU's.
            PowerCut: the script cuts power while the bootloader writes; call again.
        """
        self.flash.load()
        self.faults.load()
        if self.flash.go_on():  # power had interrupted an exchange; the trial that it began starts now
            application = self._starts(self.flash.state.active)
        else:
            state = self.flash.state
            booted = decide_boot(state, runnable=tuple(self._starts(i) for i in range(len(state.banks))))
            self.flash.boot(booted.state)
            application = booted.application
        self._enter(Mode.APPLICATION if application else Mode.BOOTLOADER)
        self._last_request_s = self._clock.monotonic_s()
        self._access.power_on()
        if self.mode is Mode.APPLICATION:
            self.run_cycle()
        self._boots += 1
        self.boot = f"{self.faults.cycle}.{self._boots}"

    def run_cycle(self, snapshot: Snapshot | None = None) -> tuple[StoredFault, ...]:
        """Run one operation cycle of the application; return the faults whose status changed.

        Args:
            snapshot: surroundings stored with each failure, and with those of later starts; without any, the time alone.
        """
        if snapshot is not None:
            self._snapshot = snapshot
        running = self.running
        if running is None or running.signed is None:
            return ()
        sha256 = running.signed.sha256
        cycle = self.faults.begin_cycle(sha256)
        failed = [
            fault.code
            for fault in self.script.behaviour(sha256, running.signed.version).faults
            if cycle >= fault.first_cycle
            and draw_permille(self.seed, self.config.serial, sha256, fault.code, cycle) < fault.rate_permille
        ]
        around = self._snapshot or Snapshot(unix_s=int(self._clock.now().timestamp()))
        return self.faults.end_cycle(failed, around)

    @property
    def running(self) -> Bank | None:
        """The bank whose application runs."""
        state = self.flash.state
        return state.banks[state.active] if self.mode is Mode.APPLICATION else None

    @property
    def communication(self) -> Communication:
        """What the ECU does with normal messages."""
        return self._communication

    def status(self) -> SlotStatus:
        """Return what `Did.SLOT_STATE` reports."""
        state = self.flash.state
        return SlotStatus(
            layout=Layout.AB if state.layout == "ab" else Layout.INPLACE,
            mode=self.mode,
            swap=_SWAP[state.swap],
            active=state.active,
            committed_counter=state.committed_counter,
            capacity_bytes=state.bank_bytes,
            banks=tuple(self._bank_status(bank) for bank in state.banks),
        )

    # Requests --------------------------------------------------------------------------------------

    def handle(self, request: bytes, *, functional: bool = False) -> list[bytes]:
        """Answer one UDS request.

        Args:
            request: service and data.
            functional: addressed to all ECUs; some refusals are then not answered.

        Returns:
            Responses in order, "response pending" first. When `reset_due` is set afterwards,
            the caller sends them and then calls `power_on`.

        Raises:
            PowerCut: the script cut power in a write; nothing is answered, call `power_on`.
        """
        if not request:
            return []
        self._time_out()
        service = request[0]
        pending: list[bytes] = []
        try:
            if service not in _NEEDS:
                raise NegativeReply(Nrc.SERVICE_NOT_SUPPORTED)
            if self._session not in _NEEDS[service]:
                raise NegativeReply(Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION)
            if service in _WITH_SUB_FUNCTION and len(request) < 2:
                raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
            response = self._serve(request)
            if request[:4] == b"\x31\x01\xff\x00":
                pending = [bytes((0x7F, service, Nrc.RESPONSE_PENDING))] * self.config.erase_pending
        except NegativeReply as refusal:
            if functional and refusal.nrc in _NOT_WHEN_FUNCTIONAL:
                return []
            return [bytes((0x7F, service, refusal.nrc))]
        finally:
            self._last_request_s = self._clock.monotonic_s()
        if service in _WITH_SUB_FUNCTION and request[1] & SUPPRESS_BIT and not pending:
            return []
        return [*pending, response]

    def _serve(self, request: bytes) -> bytes:
        match request[0]:
            case 0x36:
                return self.programmer.transfer_data(request)
            case 0x37:
                return self.programmer.transfer_exit()
            case 0x34:
                self._access.require()
                return self.programmer.request_download(request)
            case 0x10:
                return self._session_control(request)
            case 0x11:
                return self._reset(request)
            case 0x14:
                return self._clear_faults(request)
            case 0x19:
                return self._read_faults(request)
            case 0x22:
                return self._read_data(request)
            case 0x27:
                return self._access.security(request)
            case 0x28:
                return self._communication_control(request)
            case 0x29:
                return self._access.authentication(request)
            case 0x2E:
                return self._write_data(request)
            case 0x31:
                return self._routine(request)
            case 0x3E:
                return tester_present(request)
            case _:
                return self._fault_setting(request)

    def _session_control(self, request: bytes) -> bytes:
        exactly(request, 2)
        wanted = request[1] & 0x7F
        if wanted not in {1, 2, 3}:
            raise NegativeReply(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        session = Session(wanted)
        if session is Session.PROGRAMMING:
            if self._session is Session.DEFAULT:
                raise NegativeReply(Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION)
            if self.mode is Mode.APPLICATION and self.config.layout == "inplace":
                self._enter(Mode.BOOTLOADER)  # the application makes way for the bootloader
        elif session is Session.DEFAULT and self._leaves_bootloader():
            self.reset_due = True
        self._enter_session(session)
        return bytes((0x50, session)) + _TIMING

    def _reset(self, request: bytes) -> bytes:
        exactly(request, 2)
        if request[1] & 0x7F not in {1, 3}:
            raise NegativeReply(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        self.reset_due = True
        return bytes((0x51, request[1] & 0x7F))

    def _clear_faults(self, request: bytes) -> bytes:
        exactly(request, 4)
        if request[1:] == b"\xff\xff\xff":
            self.faults.clear(None)
        elif self.faults.find(request[1:]) is not None:
            self.faults.clear(dtc_display(request[1:]))
        else:
            raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
        return b"\x54"

    def _read_faults(self, request: bytes) -> bytes:
        if request[1] & 0x7F not in {0x01, 0x02, 0x04, 0x06, 0x0A}:
            raise NegativeReply(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        try:
            response = read_dtc_information(self.faults, request, self.config.supported_faults)
        except KeyError as error:
            raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE) from error
        if response is None:
            raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        return response

    def _read_data(self, request: bytes) -> bytes:
        if len(request) < 3 or len(request) % 2 == 0:
            raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        parts = [b"\x62"]
        for at in range(1, len(request), 2):
            data = self._data(request[at] << 8 | request[at + 1])
            if data is not None:
                parts.append(request[at : at + 2] + data)
        if len(parts) == 1:
            raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
        return b"".join(parts)

    def _data(self, did: int) -> bytes | None:
        signed = self.running.signed if self.running is not None else None
        match did:
            case Did.VIN:
                return self.config.vin.encode()
            case Did.SERIAL:
                return self.config.serial.encode()
            case Did.HARDWARE:
                return self.config.hardware_id.encode()
            case Did.BOOT_SOFTWARE:
                return BOOT_SOFTWARE
            case Did.ACTIVE_SESSION:
                return bytes((self._session,))
            case Did.SLOT_STATE:
                return self.status().encode()
            case Did.COMMITTED_COUNTER:
                return self.flash.state.committed_counter.to_bytes(4, "big")
            case Did.FINGERPRINT_READ:
                return bytes.fromhex(self.flash.state.fingerprint)
            case Did.SOFTWARE_VERSION | Did.SOFTWARE_VERSION_OEM if signed is not None:
                told = self.script.behaviour(signed.sha256, signed.version).reports_version or signed.version
                return told.encode()
            case Did.SOFTWARE_NUMBER if signed is not None:
                return signed.sha256[:16].encode()
            case Did.IMAGE_SHA256 if signed is not None:
                return bytes.fromhex(signed.sha256)
            case _:
                return self._stored(did) if self.mode is Mode.APPLICATION else None

    def _stored(self, did: int) -> bytes | None:
        """Return what is kept under an identifier that a tester may write: what was written last, or what it came with."""
        came_with = self.config.data.get(f"{did:04X}")
        return (
            None if came_with is None else bytes.fromhex(self.flash.state.data.get(f"{did:04X}", came_with))
        )

    def _write_data(self, request: bytes) -> bytes:
        if len(request) < 4:
            raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        did, data = request[1] << 8 | request[2], request[3:]
        flashing = did in {Did.FINGERPRINT_WRITE, Did.IDENTITY}
        held = None if flashing or self.mode is not Mode.APPLICATION else self._stored(did)
        if held is None and not (flashing and self._session is Session.PROGRAMMING):
            raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
        self._access.require()
        if held is not None:
            exactly(request, 3 + len(held))
            kept = {**self.flash.state.data, f"{did:04X}": data.hex()}
            self.flash.store(msgspec.structs.replace(self.flash.state, data=kept))
        elif did == Did.IDENTITY:
            self.programmer.identify(data)
        elif len(data) > 64:
            raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        else:
            self.flash.store(msgspec.structs.replace(self.flash.state, fingerprint=data.hex()))
        return b"\x6e" + request[1:3]

    def _routine(self, request: bytes) -> bytes:
        if len(request) < 4:
            raise NegativeReply(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        rid, option = request[2] << 8 | request[3], request[4:]
        if request[1] & 0x7F == 2:  # none outlasts its answer, so none is left to be stopped
            raise NegativeReply(Nrc.REQUEST_SEQUENCE_ERROR if rid in _RIDS else Nrc.REQUEST_OUT_OF_RANGE)
        if request[1] & 0x7F != 1:
            raise NegativeReply(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        return b"\x71\x01" + request[2:4] + self._run_routine(rid, option)

    def _run_routine(self, rid: int, option: bytes) -> bytes:
        programmer = self.programmer
        match rid:
            case Rid.CHECK_PRECONDITIONS:
                return b"\x00" if self.script.preconditions == "ok" else b"\x01"
            case Rid.STATUS:
                return self.status().encode()
            case Rid.SELF_TEST:
                return self._self_test()
            case Rid.ACTIVATE:
                self._access.require()
                return programmer.activate()
            case Rid.COMMIT:
                self._access.require()
                return programmer.commit()
            case Rid.ROLLBACK:
                self._access.require()
                return programmer.rollback()
            case Rid.ERASE | Rid.CHECK_MEMORY | Rid.CHECK_DEPENDENCIES:
                if self._session is not Session.PROGRAMMING:
                    raise NegativeReply(Nrc.CONDITIONS_NOT_CORRECT)
                self._access.require()
                if rid == Rid.ERASE:
                    return programmer.erase(option)
                if rid == Rid.CHECK_MEMORY:
                    return programmer.check_memory(option)
                return programmer.check_dependencies()
            case _:
                raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)

    def _self_test(self) -> bytes:
        running = self.running
        if running is None or running.signed is None:
            raise NegativeReply(Nrc.CONDITIONS_NOT_CORRECT)
        return (
            b"\x00"
            if self.script.behaviour(running.signed.sha256, running.signed.version).self_test == "pass"
            else b"\x01"
        )

    def _communication_control(self, request: bytes) -> bytes:
        self._communication = communication_control(request, self._communication)
        return bytes((0x68, request[1] & 0x7F))

    def _fault_setting(self, request: bytes) -> bytes:
        if request[1] & 0x7F not in {1, 2}:
            raise NegativeReply(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        if request[2:] not in {b"", b"\xff\xff\xff"}:  # all groups or none; we have no others
            raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
        self.faults.enabled = request[1] & 0x7F == 1
        return bytes((0x85 | 0x40, request[1] & 0x7F))

    # State -----------------------------------------------------------------------------------------

    def _starts(self, index: int) -> bool:
        signed = self.flash.state.banks[index].signed
        return (
            signed is not None
            and self.script.behaviour(signed.sha256, signed.version).boot == "ok"
            and self.flash.runnable(index)
        )

    def _enter(self, mode: Mode) -> None:
        self.mode = mode
        self.reset_due = False
        self._enter_session(Session.DEFAULT)

    def _enter_session(self, session: Session) -> None:
        self._session = session
        self._access.forget(session)
        self.programmer.forget(running=self.mode is Mode.APPLICATION)
        if session is Session.DEFAULT:  # what was switched off for a tester is on without one
            self.faults.enabled = True
            self._communication = Communication.BOTH

    def _leaves_bootloader(self) -> bool:
        state = self.flash.state
        in_programming = self._session is Session.PROGRAMMING
        return in_programming and self.mode is Mode.BOOTLOADER and state.banks[state.active].valid

    def _time_out(self) -> None:
        idle_s = self._clock.monotonic_s() - self._last_request_s
        if self._session is Session.DEFAULT or idle_s < self.config.s3_s:
            return
        if self._leaves_bootloader():
            self.power_on()
        self._enter_session(Session.DEFAULT)

    def _bank_status(self, bank: Bank) -> BankStatus:
        signed = bank.signed
        if signed is None:
            return BankStatus(valid=False, version="", sha256=bytes(32), release_counter=0)
        told = self.script.behaviour(signed.sha256, signed.version).reports_version if bank.valid else ""
        return BankStatus(
            valid=bank.valid,
            version=told or signed.version,
            sha256=bytes.fromhex(signed.sha256),
            release_counter=signed.release_counter,
        )
