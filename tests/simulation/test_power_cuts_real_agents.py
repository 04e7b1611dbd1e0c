"""Power goes with the real update agents and the real virtual ECUs: UDS, MCUboot, HTTP, containers and files.

It goes before, in the middle of or after every journal record, every write or erase of an ECU's flash, and every change of
a folder that is an ECU.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from pathlib import Path

import pytest

from support.power_cuts import KEEPS, VARIANTS, Lab, Scenario, Variant

# UDS with two banks, behind HTTP, a container, files, MCUboot on CAN FD, and UDS in place on CAN.
ONE_OF_EACH = ("gateway", "infotainment", "apps", "maps", "body", "brake")
OTHERS = (
    2  # of a bad update, and of one ECU's writes, every second step; `make bench ARGS=powercut` tries all
)
FIRST_CUTS = 12  # of one ECU, behind which power goes again
SEED = int(
    os.environ.get("RINGROAD_CUTS", "1")
)  # of what is drawn where trying everything would take too long


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A line per request of thousands of lives is most of the time and helps nobody."""
    caplog.set_level(logging.WARNING, "httpx")


def assert_whole(scenarios: list[Scenario]) -> None:
    torn = [str(one) for one in scenarios if one.problem]
    assert not torn, f"{len(torn)} of {len(scenarios)} (seed {SEED}), for example {torn[:3]}"


def one_keep(number: int) -> tuple[int, ...]:
    """Nothing, half or all of a step, in turn; `make bench ARGS=powercut` tries all three in each."""
    return (KEEPS[number % len(KEEPS)],)


async def every_cut(folder: Path, variant: Variant, *, stride: int = 1) -> list[Scenario]:
    lab = Lab(folder=folder, variant=variant, ecus=ONE_OF_EACH)
    await lab.prepare()
    return [
        scenario
        for picture in lab.pictures[SEED % stride :: stride]
        for keep in one_keep(picture.number)
        async for scenario in lab.cut(picture, keep)
    ]


def test_a_power_cut_in_journal_or_flash_of_a_good_update_ends_in_the_new_release(tmp_path: Path) -> None:
    scenarios = asyncio.run(every_cut(tmp_path, "good"))
    assert_whole(scenarios)
    assert {one.state for one in scenarios} == {"SUCCEEDED"}


@pytest.mark.parametrize("variant", ["bad", "dead"])
def test_a_power_cut_in_journal_or_flash_of_a_bad_update_ends_in_the_old_release(
    tmp_path: Path, variant: Variant
) -> None:
    scenarios = asyncio.run(every_cut(tmp_path, variant, stride=OTHERS))
    assert_whole(scenarios)
    assert {one.state for one in scenarios} == {"ROLLED_BACK"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_ecu_that_loses_its_power_in_any_write_leaves_the_vehicle_all_old_or_all_new(
    tmp_path: Path, variant: Variant
) -> None:
    async def story() -> list[Scenario]:
        lab = Lab(folder=tmp_path, variant=variant, ecus=ONE_OF_EACH)
        await lab.prepare()
        return [
            scenario
            for number in lab.flash_steps[SEED % OTHERS :: OTHERS]
            for keep in one_keep(number)
            async for scenario in lab.cut_one_ecu(number, keep)
        ]

    assert_whole(asyncio.run(story()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_power_that_goes_again_after_one_ecu_lost_it_leaves_the_vehicle_all_old_or_all_new(
    tmp_path: Path, variant: Variant
) -> None:
    """The vehicle's power, or that of one ECU alone, the same one or another."""
    draw = random.Random(SEED)

    async def story() -> list[Scenario]:
        lab = Lab(folder=tmp_path, variant=variant, ecus=ONE_OF_EACH)
        await lab.prepare()
        return [
            scenario
            for number in draw.sample(lab.flash_steps, FIRST_CUTS)
            for keep in one_keep(number)
            async for scenario in lab.cut_one_ecu(number, keep, second_cuts=2, draw=draw)
        ]

    scenarios = asyncio.run(story())
    assert_whole(scenarios)
    assert {one.kind for one in scenarios} == {("ecu",), ("ecu", "vehicle"), ("ecu", "ecu")}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_vehicle_of_33_ecus_survives_cuts_in_the_update_and_in_the_recovery(
    tmp_path: Path, variant: Variant
) -> None:
    """A few of the 20,000 scenarios of `make bench ARGS=powercut`, spread over the whole update."""
    draw = random.Random(SEED)

    async def story() -> list[Scenario]:
        lab = Lab(folder=tmp_path, variant=variant)
        await lab.prepare()
        assert len(lab.ecus) == 33
        stride = len(lab.pictures) // 6
        found = []
        for picture in lab.pictures[draw.randrange(stride) :: stride]:
            found += [one async for one in lab.cut(picture, draw.choice(KEEPS), second_cuts=1, draw=draw)]
        for number in draw.sample(lab.flash_steps, 2):
            keep = draw.choice(KEEPS)
            found += [one async for one in lab.cut_one_ecu(number, keep, second_cuts=1, draw=draw)]
        return found

    assert_whole(asyncio.run(story()))
