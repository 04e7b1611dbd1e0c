"""gallia, a scanner of diagnostic servers that we did not write, finds on a virtual ECU what is documented, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringroad.sim.vecu.flash import BANKS_OFFSET
from ringroad.vehicle.agents.wire import Did, Rid
from support.udsoncan_flash import faulty, firmware
from support.vecu_process import ADDRESS, EcuProcess, update

pytestmark = pytest.mark.foreign

GALLIA = Path(sys.executable).with_name("gallia")
SECONDS = 120  # of one scan on a busy machine; a quiet one takes three
DEFAULT = {0x10, 0x11, 0x14, 0x19, 0x22, 0x29, 0x3E}
EXTENDED = DEFAULT | {0x27, 0x28, 0x2E, 0x31, 0x85}


@pytest.fixture(scope="module")
def ecu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EcuProcess]:
    process = EcuProcess(folder=tmp_path_factory.mktemp("ecu"), mode="inplace")
    process.start()
    yield process
    process.kill()


def gallia(ecu: EcuProcess, *arguments: str) -> str:
    """Run gallia on the ECU; return its log."""
    target = f"doip://127.0.0.1:{ecu.port}?protocol_version=3&activation_type=0&src_addr=0x0e00&target_addr={ADDRESS:#06x}"
    done = subprocess.run(
        [str(GALLIA), *arguments, "--no-dumpcap", "--no-volatile-info", "--target", target],
        capture_output=True, text=True, timeout=SECONDS, check=False, cwd=ecu.folder,
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    return log


def identifiers(log: str) -> dict[int, str]:
    """What answered in a scan of identifiers, and how; the last time, where it was asked in several ways."""
    return dict(answers(log))


def answers(log: str) -> list[tuple[int, str]]:
    """What answered in a scan of identifiers, and how, in order."""
    return [(int(found, 16), how) for found, how in re.findall(r"\[result\]: 0x([0-9a-f]+): (\w+)", log)]


def test_it_finds_the_documented_services_in_each_session_and_no_other(ecu: EcuProcess) -> None:
    log = gallia(ecu, "scan", "uds", "services", "--sessions", "1", "3", "--check-session")
    _, in_default, in_extended = re.split(r"findings in session 0x0[13]:", log)
    for found, expected in ((in_default, DEFAULT), (in_extended, EXTENDED)):
        assert {int(sid, 16) for sid in re.findall(r"\[0x([0-9a-f]{2})\]", found)} == expected


def test_it_reaches_the_programming_session_only_through_the_extended_one(ecu: EcuProcess) -> None:
    log = gallia(ecu, "scan", "uds", "sessions", "--depth", "2")
    found = log.partition("Scan finished")[2]
    assert re.findall(r"\* Session 0x(\w\w)", found) == ["01", "02", "03"]
    assert re.findall(r"\* Session 0x02.*\n.*via stack: (\S+)", found) == ["defaultSession->0x03"]


def test_it_reads_the_documented_data_of_a_bootloader_and_no_other(ecu: EcuProcess) -> None:
    log = gallia(ecu, "scan", "uds", "identifiers", "--start", "0xF180", "--end", "0xF1A0")
    log += gallia(ecu, "scan", "uds", "identifiers", "--start", "0xFCF8", "--end", "0xFD20")
    expected = {
        Did.BOOT_SOFTWARE, Did.ACTIVE_SESSION, Did.SERIAL, Did.VIN, Did.HARDWARE, Did.SLOT_STATE,
        Did.COMMITTED_COUNTER,
    }  # fmt: skip
    assert set(identifiers(log)) == expected
    assert set(re.findall(r"Timeouts: (\d+)|Abnormal replies: (\d+)", log)) == {("0", ""), ("", "0")}


def test_it_is_told_of_each_routine_why_it_may_not_start_and_that_none_is_left_to_be_stopped(
    ecu: EcuProcess,
) -> None:
    log = gallia(
        ecu, "scan", "uds", "identifiers", "--service", "0x31", "--sessions", "3", "--start", "0x0200", "--end", "0x0306"
    )  # fmt: skip
    said = answers(log)
    assert set(dict(said).values()) == {"requestSequenceError"}  # the last was asked to stop
    assert dict(reversed(said)) == {  # the first was to start
        Rid.CHECK_MEMORY: "conditionsNotCorrect",  # not in the programming session
        Rid.CHECK_PRECONDITIONS: "StartRoutineResponse",
        Rid.ACTIVATE: "securityAccessDenied",
        Rid.COMMIT: "securityAccessDenied",
        Rid.ROLLBACK: "securityAccessDenied",
        Rid.STATUS: "StartRoutineResponse",
        Rid.SELF_TEST: "conditionsNotCorrect",  # nothing runs that could test itself
    }


def test_it_is_given_a_seed_at_the_documented_level_alone(ecu: EcuProcess) -> None:
    log = gallia(
        ecu, "scan", "uds", "identifiers", "--service", "0x27", "--sessions", "3", "--start", "0", "--end", "127"
    )  # fmt: skip
    assert identifiers(log) == {1: "SecurityAccessResponse", 2: "incorrectMessageLengthOrInvalidFormat"}


def test_random_writes_and_routines_neither_stop_the_ecu_nor_reach_its_banks(ecu: EcuProcess) -> None:
    def banks() -> bytes:
        return (ecu.folder / "flash.bin").read_bytes()[BANKS_OFFSET:]

    before = banks()
    for service, aims in (("0x2e", (Did.IDENTITY, Did.FINGERPRINT_WRITE)), ("0x31", (Rid.ERASE, Rid.COMMIT))):
        dids = [f"{each:#06x}" for each in aims]
        gallia(
            ecu, "fuzz", "uds", "pdu", "--service", service, "--sessions", "3", "-i", "20", "--dids", *dids
        )
    assert "ECU is alive" in gallia(ecu, "primitive", "uds", "ping", "--count", "1")
    assert banks() == before


def test_it_reads_the_fault_of_an_image_and_clears_it(tmp_path: Path) -> None:
    data = firmware()
    (tmp_path / "script.json").write_text(json.dumps(faulty(data)), encoding="utf-8")
    ecu = EcuProcess(folder=tmp_path, mode="ab")
    ecu.start()
    try:
        asyncio.run(update(ecu, data, 1))
        ecu.kill()
        ecu.start()  # the next operation cycle of the image
        assert re.findall(r": (0A1F00 ..)\n", gallia(ecu, "primitive", "uds", "dtc", "read")) == ["0A1F00 2F"]
        gallia(ecu, "primitive", "uds", "dtc", "clear")
        assert "0A1F00" not in gallia(ecu, "primitive", "uds", "dtc", "read")
    finally:
        ecu.kill()
