"""Requests in, responses out: the refusals a tester must be able to rely on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.ecu import VirtualEcu
from ringroad.sim.vecu.flash import LayoutName
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script
from ringroad.sim.vecu.simple import Communication
from ringroad.vehicle.agents.wire import Identity, Mode, SlotStatus, Swap
from ringroad.vehicle.segments import content_digest
from ringroad.vehicle.uds import dtc_bytes, hmac_key

SECRET = b"a secret"
EXTENDED, PROGRAMMING = b"\x10\x03", b"\x10\x02"
ERASE = b"\x31\x01\xff\x00"


@dataclass
class SteppedClock:
    seconds: float = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic_s(self) -> float:
        return self.seconds


@dataclass
class Bench:
    layout: LayoutName = "inplace"
    script: Script = field(default_factory=Script)
    block_bytes: int = 130
    clock: SteppedClock = field(default_factory=SteppedClock)
    medium: MemoryMedium = field(default_factory=MemoryMedium)

    def __post_init__(self) -> None:
        self.ecu = self.start()

    def start(self) -> VirtualEcu:
        config = EcuConfig(
            serial="SN1",
            hardware_id="HW1",
            vin="WRR00000000000001",
            layout=self.layout,
            bank_bytes=200_000,
            secret=SECRET,
            block_bytes=self.block_bytes,
            supported_faults=("P0A1F-00", "U0100-87"),
        )
        self.ecu = VirtualEcu(config, self.medium, clock=self.clock, script=self.script, seed=1)
        self.ecu.power_on()
        return self.ecu

    def ask(self, request: bytes) -> bytes:
        responses = self.ecu.handle(request)
        if self.ecu.reset_due:
            self.ecu.power_on()
        return responses[-1] if responses else b""

    def unlock(self) -> None:
        seed = self.ask(b"\x27\x01")[2:]
        assert self.ask(b"\x27\x02" + hmac_key(SECRET)(1, seed)) == b"\x67\x02"

    def enter_programming(self) -> None:
        self.ask(EXTENDED)
        self.ask(PROGRAMMING)
        self.unlock()

    def identify(
        self, data: bytes, *, version: str = "1.0", counter: int = 1, hardware: str = "HW1"
    ) -> bytes:
        identity = Identity(
            version=version,
            sha256=hashlib.sha256(data).digest(),
            content_sha256=content_digest([(0, data)]),
            release_counter=counter,
            hardware_id=hardware,
        )
        return self.ask(b"\x2e\xfd\x02" + identity.encode())

    def download(self, data: bytes) -> None:
        assert self.ask(ERASE) == b"\x71\x01\xff\x00\x00"
        assert self.ask(download_request(len(data))) == b"\x74\x20" + self.block_bytes.to_bytes(2, "big")
        size = self.block_bytes - 2
        for index, at in enumerate(range(0, len(data), size), start=1):
            counter = bytes((index & 0xFF,))
            assert self.ask(b"\x36" + counter + data[at : at + size]) == b"\x76" + counter
        assert self.ask(b"\x37") == b"\x77"

    def flash(self, data: bytes, *, version: str = "1.0", counter: int = 1) -> None:
        self.enter_programming()
        assert self.identify(data, version=version, counter=counter)[:1] == b"\x6e"
        self.download(data)
        assert self.ask(b"\x31\x01\x02\x02" + content_digest([(0, data)]))[4:] == b"\x00"
        assert self.ask(b"\x31\x01\xff\x01")[4:] == b"\x00"

    def status(self) -> SlotStatus:
        return SlotStatus.decode(self.ask(b"\x22\xfd\x01")[3:])

    def routine(self, rid: int) -> bytes:
        self.ask(EXTENDED)
        self.unlock()
        return self.ask(b"\x31\x01" + rid.to_bytes(2, "big"))


def download_request(length_bytes: int, address: int = 0) -> bytes:
    return b"\x34\x00\x44" + address.to_bytes(4, "big") + length_bytes.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("before", "request_", "nrc"),
    [
        ([], b"\x23\x00", 0x11),  # a service we do not have
        ([], b"\x10\x7e", 0x12),
        ([], b"\x10", 0x13),
        ([], b"\x10\x01\x00", 0x13),
        ([], PROGRAMMING, 0x7E),  # only through the extended session
        ([], b"\x27\x01", 0x7F),
        ([], b"\x31\x01\xff\x00", 0x7F),
        ([], download_request(8), 0x7F),
        ([], b"\x22\x12", 0x13),
        ([], b"\x22\x12\x34", 0x31),
        ([], b"\x22\xf1\x95", 0x31),  # a bootloader has no application version
        ([], b"\x14\x00\x00\x01", 0x31),
        ([], b"\x14\xff", 0x13),
        ([], b"\x19\x03", 0x12),
        ([], b"\x19\x02", 0x13),
        ([], b"\x19\x04\x0a\x1f\x00\x01", 0x31),
        ([], b"\x3e\x01", 0x12),
        ([], b"\x11\x09", 0x12),
        ([], b"\x29\x01", 0x12),
        ([EXTENDED], b"\x27\x03", 0x12),
        ([EXTENDED], b"\x27\x02" + bytes(16), 0x24),  # a key without a seed
        ([EXTENDED, b"\x27\x01"], b"\x27\x02" + bytes(16), 0x35),
        ([EXTENDED], ERASE, 0x22),
        ([EXTENDED], b"\x31\x01\x12\x34", 0x31),
        ([EXTENDED], b"\x31\x02\x02\x03", 0x24),  # none runs any more that was answered
        ([EXTENDED], b"\x31\x02\x12\x34", 0x31),
        ([EXTENDED], b"\x31\x03\x02\x03", 0x12),
        ([EXTENDED], b"\x31\x01\x03\x02", 0x33),
        ([EXTENDED], b"\x31\x01\x03\x05", 0x22),  # nothing runs that could test itself
        ([], b"\x28\x03\x01", 0x7F),
        ([], b"\x85\x02", 0x7F),
        ([EXTENDED], b"\x28\x03", 0x13),
        ([EXTENDED], b"\x28\x04\x01", 0x12),
        ([EXTENDED], b"\x28\x03\x09", 0x31),
        ([EXTENDED], b"\x85\x02\x12\x34\x56", 0x31),  # one group of faults: all or none here
        ([EXTENDED], b"\x85\x03", 0x12),
        ([EXTENDED, PROGRAMMING], ERASE, 0x33),
        ([EXTENDED, PROGRAMMING], download_request(8), 0x33),
        ([EXTENDED, PROGRAMMING], b"\x2e\xf1\x5a\x01", 0x33),
        ([EXTENDED, PROGRAMMING], b"\x2e\xf1\x90\x01", 0x31),
        ([EXTENDED, PROGRAMMING], b"\x36\x01\x00", 0x24),
        ([EXTENDED, PROGRAMMING], b"\x37", 0x24),
    ],
)
def test_a_wrong_request_is_refused_with_its_code(before: list[bytes], request_: bytes, nrc: int) -> None:
    bench = Bench()
    for step in before:
        bench.ask(step)
    assert bench.ask(request_) == bytes((0x7F, request_[0], nrc))


@pytest.mark.parametrize(
    ("request_", "nrc"),
    [
        (download_request(8), 0x70),  # nothing was erased
        (ERASE + b"\x44" + bytes(4) + (200_001).to_bytes(4, "big"), 0x31),
        (ERASE + b"\x44\x00", 0x13),
        (b"\x34\x11\x44" + bytes(8), 0x31),  # compressed data
        (b"\x34\x00\x44\x00", 0x13),
        (download_request(200_001), 0x31),
        (b"\x31\x01\x02\x02" + bytes(32), 0x24),  # nothing to check
        (b"\x31\x01\x02\x02\x00", 0x13),
        (b"\x31\x01\xff\x01", 0x24),  # dependencies before the check
        (b"\x2e\xfd\x02\x01\x00", 0x13),
        (b"\x31\x01\x03\x01", 0x22),  # an in-place ECU has nothing to activate
        (b"\x31\x01\x03\x02", 0x22),
    ],
)
def test_an_unlocked_ecu_still_refuses_what_is_out_of_order(request_: bytes, nrc: int) -> None:
    bench = Bench()
    bench.enter_programming()
    assert bench.ask(request_) == bytes((0x7F, request_[0], nrc))


@pytest.mark.parametrize(
    ("block", "nrc"),
    [
        (b"\x36\x02" + bytes(8), 0x73),
        (b"\x36\x01" + bytes(300), 0x13),
        (b"\x36\x01" + bytes(51), 0x71),
        (b"\x36", 0x13),
    ],
)
def test_a_wrong_block_is_refused(block: bytes, nrc: int) -> None:
    bench = Bench()
    bench.enter_programming()
    bench.ask(ERASE)
    bench.ask(download_request(50))
    assert bench.ask(block) == bytes((0x7F, 0x36, nrc))


def test_the_transfer_cannot_end_early() -> None:
    bench = Bench()
    bench.enter_programming()
    bench.ask(ERASE)
    bench.ask(download_request(50))
    bench.ask(b"\x36\x01" + bytes(49))
    assert bench.ask(b"\x37") == b"\x7f\x37\x24"


def test_the_block_counter_wraps_to_zero_and_a_repeated_block_is_written_once() -> None:
    data = bytes(index % 251 for index in range(128 * 300))
    bench = Bench()
    bench.enter_programming()
    bench.identify(data)
    bench.ask(ERASE)
    bench.ask(download_request(len(data)))
    counters = []
    for index in range(300):
        counter = bytes((index + 1 & 0xFF,))
        block = b"\x36" + counter + data[index * 128 : index * 128 + 128]
        assert bench.ask(block) == b"\x76" + counter
        assert bench.ask(block) == b"\x76" + counter  # its answer was lost
        counters.append(counter[0])
    assert 0 in counters
    assert all(later == earlier + 1 & 0xFF for earlier, later in pairwise(counters))
    assert bench.ask(b"\x37") == b"\x77"
    assert bench.ask(b"\x31\x01\x02\x02" + content_digest([(0, data)]))[4:] == b"\x00"


def test_erase_asks_for_patience_first() -> None:
    bench = Bench()
    bench.enter_programming()
    assert bench.ecu.handle(ERASE) == [b"\x7f\x31\x78", b"\x71\x01\xff\x00\x00"]


def test_three_wrong_keys_lock_the_ecu_even_over_a_power_cycle() -> None:
    bench = Bench()
    bench.ask(EXTENDED)
    answers = []
    for _ in range(3):
        bench.ask(b"\x27\x01")
        answers.append(bench.ask(b"\x27\x02" + bytes(16)))
    assert answers == [b"\x7f\x27\x35", b"\x7f\x27\x35", b"\x7f\x27\x36"]
    assert bench.ask(b"\x27\x01") == b"\x7f\x27\x37"
    bench.start()
    bench.ask(EXTENDED)
    assert bench.ask(b"\x27\x01") == b"\x7f\x27\x37"
    bench.clock.seconds += 10.0
    bench.ask(EXTENDED)
    bench.unlock()
    bench.start()
    bench.ask(EXTENDED)
    bench.unlock()


@pytest.mark.parametrize("key_bytes", [0, 4, 15, 17, 32])
def test_a_key_of_another_length_is_refused_and_is_no_try(key_bytes: int) -> None:
    bench = Bench()
    bench.ask(EXTENDED)
    seed = bench.ask(b"\x27\x01")[2:]
    for _ in range(4):
        assert bench.ask(b"\x27\x02" + bytes(key_bytes)) == b"\x7f\x27\x13"
    assert bench.ask(b"\x27\x02" + hmac_key(SECRET)(1, seed)) == b"\x67\x02"


def test_each_seed_is_another() -> None:
    bench = Bench()
    bench.ask(EXTENDED)
    assert len({bench.ask(b"\x27\x01") for _ in range(4)}) == 4


def test_a_silent_tester_loses_session_and_access() -> None:
    bench = Bench()
    bench.enter_programming()
    bench.clock.seconds += 4.9
    assert bench.ask(b"\x3e\x80") == b""
    bench.clock.seconds += 4.9
    assert bench.ask(b"\x22\xf1\x86") == b"\x62\xf1\x86\x02"
    bench.clock.seconds += 5.0
    assert bench.ask(b"\x22\xf1\x86") == b"\x62\xf1\x86\x01"
    assert bench.ask(ERASE) == b"\x7f\x31\x7f"


def test_functional_requests_are_not_refused_aloud() -> None:
    ecu = Bench().ecu
    assert ecu.handle(b"\x23\x00", functional=True) == []
    assert ecu.handle(b"\x22\x12\x34", functional=True) == []
    assert ecu.handle(b"\x10", functional=True) == [b"\x7f\x10\x13"]


def test_a_version_is_reported_only_after_check_and_dependencies() -> None:
    data = b"firmware" * 1000
    bench = Bench()
    bench.enter_programming()
    bench.identify(data)
    bench.download(data)
    bench.start()
    assert bench.status().mode is Mode.BOOTLOADER
    bench.enter_programming()
    bench.ask(b"\x31\x01\x02\x02" + content_digest([(0, data)]))
    bench.start()
    assert bench.status().mode is Mode.BOOTLOADER
    bench.enter_programming()
    assert bench.ask(b"\x31\x01\xff\x01")[4:] == b"\x00"
    bench.start()
    assert bench.ask(b"\x22\xf1\x95") == b"\x62\xf1\x95" + b"1.0"
    assert bench.ask(b"\x22\xfd\x00")[3:] == hashlib.sha256(data).digest()


def test_wrong_bytes_never_become_valid() -> None:
    bench = Bench()
    bench.enter_programming()
    bench.identify(b"signed bytes")
    bench.download(b"other bytes!")
    assert bench.ask(b"\x31\x01\x02\x02" + content_digest([(0, b"other bytes!")]))[4:] == b"\x00"
    assert bench.ask(b"\x31\x01\xff\x01")[4:] == b"\x01"
    assert bench.ask(b"\x31\x01\x02\x02" + content_digest([(0, b"signed bytes")]))[4:] == b"\x01"
    bench.start()
    assert bench.status().mode is Mode.BOOTLOADER


def test_another_hardware_and_an_older_counter_are_refused_before_the_erase() -> None:
    bench = Bench()
    bench.flash(b"five", counter=5)
    bench.start()
    assert bench.routine(0x0302)[4:] == b"\x00"
    bench.enter_programming()
    assert bench.identify(b"four", counter=4) == b"\x7f\x2e\x31"
    assert bench.identify(b"five", counter=5, hardware="HW2") == b"\x7f\x2e\x31"
    assert bench.identify(b"five", counter=5)[:1] == b"\x6e"


def test_only_commit_advances_the_counter() -> None:
    bench = Bench(layout="ab")
    bench.flash(b"new", counter=7)
    bench.routine(0x0301)
    bench.start()
    assert (bench.status().swap, bench.status().committed_counter) == (Swap.TRIAL, 0)
    bench.routine(0x0302)
    assert (bench.status().swap, bench.status().committed_counter) == (Swap.NONE, 7)


def test_an_unconfirmed_trial_reverts_at_the_next_reset_and_can_be_tried_again() -> None:
    bench = Bench(layout="ab")
    bench.flash(b"old", version="1", counter=1)
    bench.routine(0x0301)
    bench.start()
    bench.routine(0x0302)
    bench.flash(b"new", version="2", counter=2)
    for _ in range(2):
        bench.routine(0x0301)
        bench.start()
        assert bench.ask(b"\x22\xf1\x95")[3:] == b"2"
        assert bench.ask(ERASE)[:1] == b"\x7f"
        bench.ask(b"\x11\x01")
        assert bench.ask(b"\x22\xf1\x95")[3:] == b"1"


def test_the_way_back_cannot_be_erased_while_an_image_is_on_trial() -> None:
    bench = Bench(layout="ab")
    bench.flash(b"new")
    bench.routine(0x0301)
    bench.start()
    bench.enter_programming()
    assert bench.ask(ERASE) == b"\x7f\x31\x22"


def test_faults_are_told_with_snapshot_and_count_and_survive_power_cycles() -> None:
    data = b"firmware"
    sha256 = hashlib.sha256(data).hexdigest()
    rates = Behaviour(faults=(FaultRate(code="P0A1F-00", rate_permille=1000),))
    bench = Bench(script=Script(images={sha256: rates}))
    bench.flash(data)
    bench.start()
    bench.start()
    dtc = dtc_bytes("P0A1F-00")
    assert bench.ask(b"\x19\x02\x08") == b"\x59\x02\x7f" + dtc + b"\x2f"
    assert bench.ask(b"\x19\x01\x08") == b"\x59\x01\x7f\x01\x00\x01"
    assert bench.ask(b"\x19\x04" + dtc + b"\x01")[:8] == b"\x59\x04" + dtc + b"\x2f\x01\x04"
    assert bench.ask(b"\x19\x06" + dtc + b"\x01") == b"\x59\x06" + dtc + b"\x2f\x01\x02\x00"
    assert bench.ask(b"\x19\x0a") == b"\x59\x0a\x7f" + dtc + b"\x2f" + dtc_bytes("U0100-87") + b"\x50"
    assert bench.ask(b"\x14\xff\xff\xff") == b"\x54"
    assert bench.ask(b"\x19\x02\x08") == b"\x59\x02\x7f"


def test_no_fault_is_stored_while_fault_setting_is_off() -> None:
    data = b"firmware"
    rates = Behaviour(faults=(FaultRate(code="P0A1F-00", rate_permille=1000, first_cycle=2),))
    bench = Bench(script=Script(images={hashlib.sha256(data).hexdigest(): rates}))
    bench.flash(data)
    bench.start()
    bench.ask(EXTENDED)
    bench.ask(b"\x85\x02")
    assert bench.ecu.run_cycle() == ()
    bench.ask(b"\x85\x01")
    assert [fault.code for fault in bench.ecu.run_cycle()] == ["P0A1F-00"]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"\x28\x03\x01", Communication.NONE),
        (b"\x28\x01\x01", Communication.RECEIVE_ONLY),
        (b"\x28\x02\x03", Communication.SEND_ONLY),
        (b"\x28\x03\x02", Communication.BOTH),  # network management alone
    ],
)
def test_a_tester_says_which_messages_are_sent_and_received(request_: bytes, expected: Communication) -> None:
    bench = Bench()
    bench.ask(EXTENDED)
    assert bench.ask(request_) == b"\x68" + request_[1:2]
    assert bench.ecu.communication is expected
    assert bench.ask(b"\x28\x00\x03") == b"\x68\x00"
    assert bench.ecu.communication is Communication.BOTH


@pytest.mark.parametrize("end", ["default session", "no tester", "reset", "power cut"])
def test_what_a_tester_switched_off_is_on_again_without_one(end: str) -> None:
    bench = Bench()
    for request_ in (b"\x10\x83", b"\x85\x82", b"\x28\x83\x01"):
        assert bench.ecu.handle(request_, functional=True) == []
    assert (bench.ecu.faults.enabled, bench.ecu.communication) == (False, Communication.NONE)
    match end:
        case "default session":
            bench.ask(b"\x10\x01")
        case "no tester":
            bench.clock.seconds += 5.0
            bench.ask(b"\x3e\x80")
        case "reset":
            bench.ask(b"\x11\x01")
        case _:
            bench.start()
    assert (bench.ecu.faults.enabled, bench.ecu.communication) == (True, Communication.BOTH)


def test_the_same_seed_draws_the_same_faults() -> None:
    data = b"firmware"
    rates = Behaviour(faults=(FaultRate(code="P0A1F-00", rate_permille=300),))
    runs = []
    for _ in range(2):
        bench = Bench(script=Script(images={hashlib.sha256(data).hexdigest(): rates}))
        bench.flash(data)
        bench.start()
        runs.append([bool(bench.ecu.run_cycle()) for _ in range(60)])
    assert runs[0] == runs[1]
    assert 0 < sum(runs[0]) < 60


def test_a_passing_cycle_heals_pending_but_not_confirmed() -> None:
    data = b"firmware"
    sha256 = hashlib.sha256(data).hexdigest()
    bench = Bench(
        script=Script(images={sha256: Behaviour(faults=(FaultRate(code="C1234-16", rate_permille=1000),))})
    )
    bench.flash(data)
    bench.start()
    bench.script = Script()
    bench.start()
    assert bench.ask(b"\x19\x02\x08")[6:] == b"\x28"
    assert bench.ask(b"\x19\x02\x04") == b"\x59\x02\x7f"


def test_a_boot_loop_leaves_the_bootloader_or_the_old_bank() -> None:
    loops = Script(images={hashlib.sha256(b"loops").hexdigest(): Behaviour(boot="loop")})
    inplace = Bench(script=loops)
    inplace.flash(b"loops")
    inplace.start()
    assert inplace.status().mode is Mode.BOOTLOADER
    ab = Bench(layout="ab", script=loops)
    ab.flash(b"works")
    ab.routine(0x0301)
    ab.start()
    ab.routine(0x0302)
    ab.flash(b"loops")
    ab.ask(EXTENDED)
    ab.unlock()
    assert ab.ask(b"\x31\x01\x03\x01")[:1] == b"\x71"
    ab.start()
    assert ab.ask(b"\x22\xfd\x00")[3:] == hashlib.sha256(b"works").digest()


def test_a_lie_is_told_only_when_scripted() -> None:
    data = b"firmware"
    bench = Bench(script=Script(images={hashlib.sha256(data).hexdigest(): Behaviour(reports_version="9.9")}))
    bench.flash(data)
    bench.start()
    assert bench.ask(b"\x22\xf1\x95")[3:] == b"9.9"
