"""Flash in a file: erased where nothing was written, and no room taken for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Conflict
from ringroad.sim.vecu.config import EcuConfig, ServerConfig, ServerTable
from ringroad.sim.vecu.medium import ERASED, FileMedium, MemoryMedium
from ringroad.sim.vecu.server import VecuServer

SIZE = 64
STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=24)), max_size=20
)


@settings(deadline=None, max_examples=60)  # a shared machine may be slow
@given(steps=STEPS)
def test_a_file_holds_what_memory_holds(
    steps: list[tuple[bool, int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("flash") / "flash.bin"
    file, memory = FileMedium(path, fsync=False), MemoryMedium()
    for write, offset, data in steps:
        for medium in (file, memory):
            if write:
                medium.write(offset, data)
            else:
                medium.erase(offset, len(data))
    file.close()
    again = FileMedium(path, fsync=False)
    assert again.read(0, 2 * SIZE) == memory.read(0, 2 * SIZE)
    again.close()


def test_a_bank_far_behind_the_first_takes_no_room_for_the_gap(tmp_path: Path) -> None:
    flash = FileMedium(tmp_path / "flash.bin", fsync=False)
    flash.erase(0, 16 << 20)
    flash.write(16 << 20, b"image")
    assert flash.read((16 << 20) - 2, 8) == ERASED * 2 + b"image" + ERASED
    flash.close()
    assert (tmp_path / "flash.bin").stat().st_blocks * 512 < 1 << 20


def test_a_virtual_ecu_does_not_start_on_the_flash_file_of_another_until_that_ended(tmp_path: Path) -> None:
    ecu = EcuConfig(
        serial="S1", hardware_id="hw", vin="WRR00000000000001", layout="ab", bank_bytes=4096, secret=b"secret"
    )
    table = ServerTable(flash="flash.bin", fsync=False)
    config = ServerConfig(ecu=ecu, server=table, folder=tmp_path)
    first = VecuServer(config, clock=SystemClock())
    with pytest.raises(Conflict, match="another virtual ECU runs on the flash file"):
        VecuServer(config, clock=SystemClock())
    asyncio.run(first.close())
    asyncio.run(VecuServer(config, clock=SystemClock()).close())
