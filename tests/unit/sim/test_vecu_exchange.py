"""MCUboot's exchange of two slots: whatever power does in it, both hold what the other one held."""

from __future__ import annotations

from typing import get_args

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import InvalidInput
from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.flash import (
    SECTOR_BYTES,
    Bank,
    BootState,
    ExchangeName,
    Extent,
    Flash,
    Place,
    exchange_copies,
)
from ringroad.sim.vecu.medium import MemoryMedium, PowerCut, TornMedium
from ringroad.sim.vecu.port import EcuPort

HOW: tuple[ExchangeName, ...] = ("scratch", "move")
SECTORS = 3
BANK_BYTES = SECTORS * SECTOR_BYTES  # full, so that the spare sector behind the banks is needed


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("sectors", [1, 2, 5])
def test_the_copies_exchange_all_sectors_even_if_each_is_done_twice(how: ExchangeName, sectors: int) -> None:
    held: dict[Place, str] = {("spare", 0): "?"}
    for number in range(sectors):
        held["first", number], held["second", number] = f"first {number}", f"second {number}"
    for to, source in exchange_copies(how, sectors):
        before = held[source]
        for done in ("half", before, "half", before):
            held[to] = done
        assert held[source] == before
    for number in range(sectors):
        assert (held["first", number], held["second", number]) == (f"second {number}", f"first {number}")


def test_slots_that_take_turns_are_not_copied() -> None:
    assert exchange_copies("direct-xip", 5) == []


def filled(medium: MemoryMedium, how: ExchangeName) -> tuple[Flash, list[bytes]]:
    flash = Flash(medium, layout="ab", bank_bytes=BANK_BYTES, exchange=how)
    contents = [b"".join(bytes((bank, at)) * (SECTOR_BYTES // 2) for at in range(SECTORS)) for bank in (1, 2)]
    banks = tuple(Bank(extents=(Extent(bank, BANK_BYTES, 0),)) for bank in (1, 2))
    for index, content in enumerate(contents):
        flash.program(index, 0, content)
    flash.store(BootState(layout="ab", bank_bytes=BANK_BYTES, banks=banks, swap="test"))
    return flash, contents


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("keep_permille", [0, 500, 1_000])
def test_power_that_goes_in_any_write_of_an_exchange_leaves_what_can_be_finished(
    how: ExchangeName, keep_permille: int
) -> None:
    for cut in range(1, 200):
        memory = MemoryMedium()
        before, contents = filled(memory, how)
        torn = TornMedium(memory, cut_at_write=cut, keep_permille=keep_permille)
        flash = Flash(torn, layout="ab", bank_bytes=BANK_BYTES, exchange=how)
        flash.load()
        wanted = BootState(
            layout="ab", bank_bytes=BANK_BYTES, banks=before.state.banks, active=1, swap="trial"
        )
        try:
            flash.boot(wanted)
        except PowerCut:
            flash.load()
            if not flash.go_on() and flash.state.swap == "test":  # it had not begun
                assert flash.state == before.state
                flash.boot(wanted)
        assert (flash.state.active, flash.state.swap, flash.state.exchange) == (0, "trial", None)
        assert [extent.address for bank in flash.state.banks for extent in bank.extents] == [2, 1]
        assert [b"".join(flash.content(index)) for index in (0, 1)] == contents[::-1]
        if torn.writes < cut:
            return
    pytest.fail("an exchange has more than 200 writes")


@pytest.mark.parametrize("how", get_args(ExchangeName))
def test_only_a_bootloader_with_two_slots_exchanges_them(how: ExchangeName) -> None:
    def made() -> EcuConfig:
        return EcuConfig(serial="s", hardware_id="h", vin="v", layout="ab", mcuboot_swap=how)

    if how == "direct-xip":
        EcuPort(made(), MemoryMedium(), clock=SystemClock())
        return
    with pytest.raises(InvalidInput, match="mcuboot_key is missing"):
        made()
