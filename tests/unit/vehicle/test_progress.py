"""Which tries on an ECU wore its flash: those that erased, or sent again what it had."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.vehicle.agents.base import FlashStep
from ringroad.vehicle.ecu_tries import EcuTry
from ringroad.vehicle.progress import ProgressReports
from ringroad.vehicle.states import CampaignState, EcuState


def reports() -> ProgressReports:
    memory: Any = SimpleNamespace(state=CampaignState())
    return ProgressReports(memory=memory, clock=SystemClock())


@pytest.mark.parametrize(
    ("steps", "wears"),
    [
        (("session", "unlock"), False),
        (("session", "unlock", "check", "deps"), False),  # the bank held the image: it was only checked
        (("session", "unlock", "erase"), True),
        (("session", "unlock", "erase", "transfer"), True),
    ],
)
def test_a_flash_wears_from_its_erase_on(steps: tuple[FlashStep, ...], wears: bool) -> None:  # noqa: FBT001
    progress = reports().of("S1")
    for step in steps:
        progress.at(step)
    progress(5, 5)
    assert progress.began is wears


def test_a_transfer_that_is_taken_up_where_it_broke_wears_nothing_and_one_from_the_start_does() -> None:
    tries = reports()
    for resumed_at in (0, 30, 60):
        progress = tries.of("S1")
        for done in range(resumed_at + 10, resumed_at + 40, 10):
            progress(done, 100)
        assert not progress.began
    again = tries.of("S1")
    again(10, 100)
    assert again.began


@pytest.mark.parametrize("at", [EcuState.INSTALLING, EcuState.ROLLING_BACK])
def test_an_ecu_that_is_back_and_at_work_is_seen_at_work_until_its_next_try_fails(at: EcuState) -> None:
    def failed(count: int) -> CampaignState:
        one = EcuTry(code="unreachable", detail="no answer", count=count, count_max=8)
        gone = frozenset({"S1", "S2"})
        return CampaignState(
            state="INSTALLING", ecus={"S1": at, "S2": at}, unreachable=gone, failing={"S1": one, "S2": one}
        )

    memory: Any = SimpleNamespace(state=failed(3))
    tries = ProgressReports(memory=memory, clock=SystemClock())
    again = tries.of("S1")
    again.at("session")  # asked, not answered yet
    assert tries.seen().told("S1") is EcuState.UNREACHABLE
    again.at("transfer")
    again(23, 100)
    seen = tries.seen()
    assert seen.told("S1") is at
    assert seen.told("S2") is EcuState.UNREACHABLE
    assert set(seen.failing) == {"S2"}
    memory.state = failed(4)
    assert tries.seen().told("S1") is EcuState.UNREACHABLE
