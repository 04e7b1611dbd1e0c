"""Power is cut inside the n-th write, for every n; afterwards the ECU runs old or new, or waits to be flashed."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Literal

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Corrupt
from ringroad.protocol.vehicle import EcuTarget
from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.flash import Bank, BootState, RecordStore, Signed, SwapName, decide_boot
from ringroad.sim.vecu.medium import MemoryMedium, PowerCut, TornMedium
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import Script, TornWrite
from ringroad.vehicle.agents.base import BytesSource, Done, EcuImage, EcuInventory, UpdateAgent, no_progress
from ringroad.vehicle.agents.session import EcuAccess
from ringroad.vehicle.connect import make_agent
from ringroad.vehicle.uds import hmac_key

Mode = Literal["ab", "inplace"]
OLD, NEW = b"old " * 300, b"new!" * 310
WRITES_MAX = 200


def image(data: bytes, mode: Mode, counter: int) -> EcuImage:
    return EcuImage(
        serial="SN1",
        target=EcuTarget(name="ecu", mode=mode, format="bin", version=f"{counter}.0"),
        filename="firmware.bin",
        sha256=hashlib.sha256(data).hexdigest(),
        length_bytes=len(data),
        release_counter=counter,
        hardware_ids=("HW1",),
    )


def start(medium: MemoryMedium, mode: Mode, torn: TornWrite | None = None) -> tuple[EcuPort, UpdateAgent]:
    config = EcuConfig(
        serial="SN1",
        hardware_id="HW1",
        vin="WRR00000000000001",
        layout=mode,
        bank_bytes=4096,
        block_bytes=258,
    )
    port = EcuPort(config, medium, clock=SystemClock(), script=Script(torn_write=torn), seed=1)
    access = EcuAccess(serial="SN1", derive=hmac_key(config.secret), restart_s_max=0.0)
    channel = MemoryChannel(port)
    return port, make_agent(mode, channel, access)


async def update(agent: UpdateAgent, data: bytes, mode: Mode, counter: int) -> bool:
    """Whether everything up to the commit went well."""
    wanted = image(data, mode, counter)
    source = BytesSource(data)
    return (
        isinstance(await agent.prepare(wanted, source, progress=no_progress), Done)
        and isinstance(await agent.install(wanted, source, progress=no_progress), Done)
        and isinstance(await agent.activate(wanted), Done)
        and isinstance(await agent.verify(wanted, frozenset({"version"})), Done)
        and isinstance(await agent.commit(wanted), Done)
    )


async def inventory(agent: UpdateAgent) -> EcuInventory:
    found = await agent.inventory()
    assert isinstance(found, EcuInventory)
    return found


@pytest.mark.parametrize("mode", ["ab", "inplace"])
@pytest.mark.parametrize("stays_dark", [False, True])
@pytest.mark.parametrize("keep_permille", [0, 371, 1000])
def test_a_cut_in_any_write_leaves_an_ecu_that_runs_old_or_new_or_can_be_flashed(
    mode: Mode,
    stays_dark: bool,  # noqa: FBT001
    keep_permille: int,
) -> None:
    async def cut_everywhere() -> set[str]:
        seen: set[str] = set()
        for write in range(1, WRITES_MAX):
            medium = MemoryMedium()
            assert await update(start(medium, mode)[1], OLD, mode, 1)
            torn_write = TornWrite(at=write, keep_permille=keep_permille, stays_dark=stays_dark)
            port, agent = start(medium, mode, torn_write)
            await update(agent, NEW, mode, 2)
            torn = port.medium
            assert isinstance(torn, TornMedium)
            if torn.writes < write:
                return seen
            again = start(medium, mode)[1]  # the whole car was dark
            after = await inventory(again)
            seen.add(after.running.version if after.running else "bootloader")
            if after.running is None:
                assert mode == "inplace"
            else:
                known = {"1.0": OLD, "2.0": NEW}[after.running.version]
                assert after.running.sha256 == hashlib.sha256(known).hexdigest()
            assert await update(again, NEW, mode, 2)
            settled = await inventory(start(medium, mode)[1])
            assert settled.running
            assert (settled.running.version, settled.committed_counter) == ("2.0", 2)
        pytest.fail("the update never ended")

    seen = asyncio.run(cut_everywhere())
    # An ECU that comes back at once is flashed to the end by the same call; one that stays dark is not.
    assert "2.0" in seen
    if stays_dark:
        assert seen == {"1.0", "2.0"} | ({"bootloader"} if mode == "inplace" else set())


@pytest.mark.parametrize("write", range(1, 30))
def test_an_in_place_ecu_that_is_cut_can_always_be_given_its_backup(write: int) -> None:
    async def cut_then_restore() -> None:
        medium = MemoryMedium()
        assert await update(start(medium, "inplace")[1], OLD, "inplace", 1)
        agent = start(medium, "inplace", TornWrite(at=write))[1]
        source = BytesSource(NEW)
        await agent.install(image(NEW, "inplace", 2), source, progress=no_progress)
        again = start(medium, "inplace")[1]
        backup = image(OLD, "inplace", 1)
        outcome = await again.rollback(
            image(NEW, "inplace", 2), backup=backup, source=BytesSource(OLD), progress=no_progress
        )
        assert isinstance(outcome, Done)
        found = await inventory(again)
        assert found.running is not None
        assert (found.running.version, found.committed_counter) == ("1.0", 1)

    asyncio.run(cut_then_restore())


def test_a_record_is_the_old_or_the_new_one_after_a_cut_at_every_byte() -> None:
    for keep_permille in range(0, 1001, 10):
        medium = MemoryMedium()
        first = RecordStore(medium, 0, 1024)
        first.store(b"old" * 50)
        torn = RecordStore(TornMedium(medium, cut_at_write=1, keep_permille=keep_permille), 0, 1024)
        torn.load()
        with pytest.raises(PowerCut):
            torn.store(b"new" * 50)
        read = RecordStore(medium, 0, 1024)
        assert read.load() in {b"old" * 50, b"new" * 50}
        read.store(b"newer")
        assert RecordStore(medium, 0, 1024).load() == b"newer"


def test_a_file_that_is_not_a_flash_is_refused() -> None:
    medium = MemoryMedium()
    medium.write(0, b"something else " * 20_000)
    with pytest.raises(Corrupt):
        RecordStore(medium, 0, 1024).load()


def test_a_flash_of_another_layout_is_refused() -> None:
    medium = MemoryMedium()
    start(medium, "ab")
    with pytest.raises(Corrupt, match="ab banks"):
        start(medium, "inplace")


def test_equal_pages_of_many_ecus_are_kept_once() -> None:
    pool: dict[bytes, bytes] = {}
    for _ in range(10):
        medium = MemoryMedium(pool)
        medium.write(8192, b"x" * 4096)
        medium.sync()
        assert medium.read(8190, 4) == b"\xff\xffxx"
    assert len(pool) == 1


SIGNED = Signed(version="1", sha256="00" * 32, content_sha256="00" * 32, release_counter=3)


@pytest.mark.parametrize(
    ("active", "swap", "runnable", "counter", "expected"),
    [
        (0, "none", (True, True), 0, (0, "none", True)),
        (0, "test", (True, True), 0, (1, "trial", True)),
        (1, "trial", (True, True), 0, (0, "none", True)),
        (0, "test", (True, False), 0, (0, "none", True)),  # the new one does not start
        (0, "none", (False, True), 0, (1, "none", True)),  # the confirmed one is damaged
        (0, "none", (False, True), 4, (0, "none", False)),  # the other one is too old
        (1, "trial", (False, True), 0, (0, "none", False)),  # first image, never confirmed
        (0, "none", (False, False), 0, (0, "none", False)),
    ],
)
def test_the_bootloader_decides(
    active: int,
    swap: SwapName,
    runnable: tuple[bool, bool],
    counter: int,
    expected: tuple[int, str, bool],
) -> None:
    bank = Bank(signed=SIGNED, checked=True, valid=True)
    state = BootState(
        layout="ab", bank_bytes=1, banks=(bank, bank), active=active, swap=swap, committed_counter=counter
    )
    booted = decide_boot(state, runnable=runnable)
    assert (booted.state.active, booted.state.swap, booted.application) == expected
    assert booted.state.committed_counter == counter
