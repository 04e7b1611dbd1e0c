"""Which tries on an ECU wore its flash: those that erased, or sent again what it had."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.vehicle.agents.base import FlashStep
from ringroad.vehicle.progress import ProgressReports
from ringroad.vehicle.states import CampaignState


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
