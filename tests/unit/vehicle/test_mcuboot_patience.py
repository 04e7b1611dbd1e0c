"""An ECU that exchanges its slots is silent meanwhile: it is waited for as long as its slots take, and no longer."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringroad.kernel.errors import Unavailable
from ringroad.protocol.vehicle import EcuTarget
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.trust.mcuboot import mcuboot_key
from ringroad.vehicle.agents.base import Done, EcuImage, Failed, Outcome, Reason, no_progress
from ringroad.vehicle.agents.mcuboot import IMAGE_BYTES_MAX, McubootAgent, swap_s_max
from ringroad.vehicle.agents.session import EcuAccess, EcuSession
from ringroad.vehicle.agents.wire import BankStatus, Layout, Mode, SlotStatus, Swap
from ringroad.vehicle.uds import hmac_key

MIB: Final = 1 << 20
IMAGE = EcuImage(
    serial="SN1", target=EcuTarget(name="brake", mode="ab", format="mcuboot", version="2.0.0"),
    filename="brake.bin", sha256="22" * 32, length_bytes=10, release_counter=2, hardware_ids=("HW",),
)  # fmt: skip


class SlowEcu(EcuSession):
    """An ECU that runs the new image already, and is silent for some seconds more."""

    __slots__ = ("silent_s", "waits_s")

    def __init__(self, access: EcuAccess, silent_s: float) -> None:
        super().__init__(None, access)  # type: ignore[arg-type]
        self.silent_s = silent_s
        self.waits_s: list[float] = []

    async def status(self) -> SlotStatus:
        if self.silent_s > 0:
            raise Unavailable("silent", code="timeout")
        banks = tuple(
            BankStatus(valid=True, version=f"{n}.0.0", sha256=bytes([17 * n]) * 32, release_counter=n)
            for n in (1, 2)
        )
        return SlotStatus(
            layout=Layout.AB, mode=Mode.APPLICATION, swap=Swap.NONE, active=1, committed_counter=1,
            capacity_bytes=4 * MIB, banks=banks,
        )  # fmt: skip

    async def wait_for_restart(self) -> None:
        self.waits_s.append(self.access.restart_s_max)
        self.silent_s -= self.access.restart_s_max
        if self.silent_s > 0:
            raise Unavailable("silent", code="timeout")


def agent_of(silent_s: float, *, exchanges: bool = True) -> tuple[McubootAgent, SlowEcu]:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    key = mcuboot_key(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    access = EcuAccess(serial="SN1", derive=hmac_key(b"secret"))
    agent = McubootAgent(MemoryChannel.__new__(MemoryChannel), access, key, exchanges=exchanges)
    ecu = SlowEcu(agent.ecu.access, silent_s)
    agent._ecu = ecu
    return agent, ecu


def done(agent: McubootAgent, verb: str) -> Outcome:
    if verb == "activate":
        return asyncio.run(agent.activate(IMAGE))
    return asyncio.run(agent.rollback(IMAGE, progress=no_progress))


@pytest.mark.parametrize("slot_bytes", [MIB, 4 * MIB, IMAGE_BYTES_MAX])
def test_a_slow_ecu_has_the_time_to_exchange_a_slot_of_any_size_that_is_accepted(slot_bytes: int) -> None:
    assert 3 * slot_bytes / 25_000 + 20 < swap_s_max(slot_bytes) < 3 * slot_bytes / 25_000 + 100


@pytest.mark.parametrize("verb", ["activate", "rollback"])
def test_an_ecu_that_exchanges_its_slots_is_waited_for_before_it_is_activated_or_rolled_back(
    verb: str,
) -> None:
    agent, ecu = agent_of(150)
    assert isinstance(done(agent, verb), Done)
    assert ecu.waits_s == [180]


@pytest.mark.parametrize("verb", ["activate", "rollback"])
def test_an_ecu_that_told_the_size_of_its_slots_is_waited_for_as_long_as_they_take(verb: str) -> None:
    agent, ecu = agent_of(0)
    assert isinstance(done(agent, "activate"), Done)
    ecu.silent_s = 500
    assert isinstance(done(agent, verb), Done)
    assert ecu.waits_s == [swap_s_max(4 * MIB)]


def test_a_dead_ecu_is_waited_for_once_and_again_only_after_it_answered() -> None:
    agent, ecu = agent_of(0)
    done(agent, "activate")
    ecu.silent_s = 100_000
    for _ in range(3):
        outcome = done(agent, "rollback")
        assert isinstance(outcome, Failed)
        assert outcome.reason is Reason.UNREACHABLE
    assert len(ecu.waits_s) == 1
    ecu.silent_s = 0
    assert isinstance(done(agent, "rollback"), Done)
    ecu.silent_s = 500
    assert isinstance(done(agent, "rollback"), Done)
    assert len(ecu.waits_s) == 2


def test_an_ecu_whose_slots_take_turns_is_not_waited_for() -> None:
    agent, ecu = agent_of(5, exchanges=False)
    assert isinstance(done(agent, "activate"), Failed)
    assert ecu.waits_s == []
