"""Virtual ECUs that restart or fall silent while they are flashed, with the real update agents."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from ringroad.sim.rehearsal import NEW, OLD
from ringroad.sim.vecu.script import Script, Trouble
from ringroad.vehicle.agents.session import TRANSFER_TRIES_MAX
from ringroad.vehicle.decide import ECU_TRIES_MAX
from ringroad.vehicle.states import EcuState
from support.power_cuts import GUILTY, StepMedium, Vehicle, new_vehicle


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "httpx")


class Erases(StepMedium):
    """A flash that counts its erases."""

    def __init__(self, vehicle: Vehicle, serial: str) -> None:
        super().__init__(vehicle.steps, serial, vehicle.flash[serial])
        self.erased = 0  # times

    def erase(self, offset: int, size: int) -> None:
        self.erased += 1  # an image is smaller than a sector
        super().erase(offset, size)


async def on_board(folder: Path) -> tuple[Vehicle, str, Erases]:
    vehicle = await new_vehicle(folder / "vehicle", "good", ["gateway", GUILTY])
    serial = next(one.serial for one in vehicle.rehearsal.config.ecus if one.name == GUILTY)
    vehicle.media[serial] = flash = Erases(vehicle, serial)
    vehicle.power_on()
    return vehicle, serial, flash


@pytest.mark.parametrize(
    ("broken", "state"),
    [
        (TRANSFER_TRIES_MAX * ECU_TRIES_MAX - 1, "SUCCEEDED"),
        (TRANSFER_TRIES_MAX * ECU_TRIES_MAX, "ROLLED_BACK"),
    ],
)
def test_an_ecu_that_restarts_in_the_middle_of_each_transfer_is_erased_a_bounded_number_of_times(
    tmp_path: Path, broken: int, state: str
) -> None:
    async def story() -> None:
        vehicle, serial, flash = await on_board(tmp_path)
        port = vehicle.ports[serial]
        script = Script(transport=(Trouble(kind="reset", service=0x36, at=2, times=broken),))
        port.script, port.ecu.script, port._seen = script, script, [0]
        assert await vehicle.drive() == state
        assert flash.erased == broken + 1
        assert {version for version, _, _ in (await vehicle.running()).values()} == {
            NEW if state == "SUCCEEDED" else OLD
        }

    asyncio.run(story())


def test_an_ecu_that_gives_no_answer_for_seconds_is_waited_for_and_flashed_once(tmp_path: Path) -> None:
    async def story() -> None:
        vehicle, serial, flash = await on_board(tmp_path)
        port = vehicle.ports[serial]
        away_from_s = None
        away_s = 80 * vehicle.rehearsal.config.retry_base_s  # of 96 that it is waited for
        async with vehicle.boot() as orchestrator:
            await orchestrator.exchange()
            while (delay_s := await orchestrator.step()) is not None:
                vehicle.clock.s += delay_s
                if away_from_s is None and orchestrator.state.state == "INSTALLING":
                    away_from_s, port.alive = vehicle.clock.s, False
                elif away_from_s is not None and vehicle.clock.s - away_from_s > away_s:
                    port.alive = True
            assert orchestrator.state.state == "SUCCEEDED"
        assert away_from_s is not None
        assert vehicle.clock.s - away_from_s > away_s
        assert flash.erased == 1

    asyncio.run(story())


def test_an_ecu_that_is_away_keeps_no_other_from_being_brought_back_and_is_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        vehicle = await new_vehicle(tmp_path / "vehicle", "bad", ["gateway", GUILTY])
        away, other = (
            next(one.serial for one in vehicle.rehearsal.config.ecus if one.name == name)
            for name in ("gateway", GUILTY)
        )
        vehicle.power_on()
        port, base_s = vehicle.ports[away], vehicle.rehearsal.config.retry_base_s
        began_s, others_s = None, None
        async with vehicle.boot() as orchestrator:
            await orchestrator.exchange()
            while (delay_s := await orchestrator.step()) is not None:
                vehicle.clock.s += delay_s
                if began_s is None and orchestrator.state.state == "ROLLING_BACK":
                    began_s, port.alive = vehicle.clock.s, False
                elif began_s is not None:
                    if others_s is None and orchestrator.state.ecus[other] is EcuState.ROLLED_BACK:
                        others_s = vehicle.clock.s - began_s
                    port.alive = vehicle.clock.s - began_s > 60 * base_s  # of 96 that it is waited for
            assert orchestrator.state.state == "ROLLED_BACK"
        assert others_s is not None
        assert others_s < 2 * base_s
        assert {version for version, _, _ in (await vehicle.running()).values()} == {OLD}

    asyncio.run(story())
