"""A whole vehicle is rehearsed with one command: 33 ECUs of every kind end all new, or all old if one fails."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ringroad.cli import cli
from ringroad.cli.shell import Shell
from ringroad.cli.vehicle import group
from ringroad.kernel.clock import SystemClock
from ringroad.sim.assembly import power_on
from ringroad.vehicle.agents.base import EcuInventory

EXAMPLES = Path(__file__).parents[2] / "examples"
DISTRIBUTED = EXAMPLES / "distributed" / "programme.toml"


def rehearse(*arguments: str, programme: Path = DISTRIBUTED) -> Result:
    small = ("--soc-kib", "8", "--mcu-kib", "2")
    return CliRunner().invoke(
        group,
        ["rehearse", str(programme), *small, *arguments],
        obj=Shell(env={}, json=True),
        **cli.context_settings,
    )


def answer(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_all_33_ecus_are_updated_in_one_group_and_each_one_is_told_of(tmp_path: Path) -> None:
    result = rehearse("--folder", str(tmp_path / "vehicle"))
    ended = answer(result)
    assert ended["state"] == "SUCCEEDED"
    assert len(ended["ecus"]) == 33
    assert {(ecu["version"], ecu["for_good"]) for ecu in ended["ecus"]} == {("2.0.0", True)}
    assert {ecu["agent"] for ecu in ended["ecus"]} == {"ab", "uds", "mcuboot", "sovd", "files", "container"}
    assert {ecu["format"] for ecu in ended["ecus"]} == {"bin", "ihex", "mcuboot"}
    assert len({ecu["supplier"] for ecu in ended["ecus"]}) == 5
    for ecu in ended["ecus"]:
        for state in ("STAGED", "ACTIVATED", "VERIFIED", "COMMITTED"):
            assert f"  {ecu['name']:<18} {state}" in result.stderr
    assert set(asyncio.run(woken(tmp_path / "vehicle")).values()) == {"2.0.0"}
    apps = next(ecu["serial"] for ecu in ended["ecus"] if ecu["name"] == "apps")
    assert (tmp_path / "vehicle" / "agents" / apps / "current" / "etc" / "version").read_text() == "2.0.0"


async def woken(folder: Path) -> dict[str, str]:
    """What runs on each ECU when the vehicle gets power again, as `fleet drive` gives it."""
    born = power_on(folder, clock=SystemClock())
    found = {}
    for ecu in born.config.ecus:
        answer = await born.agents[ecu.serial].inventory()
        assert isinstance(answer, EcuInventory), answer
        found[ecu.name] = answer.running.version if answer.running else "nothing"
        await born.agents[ecu.serial].close()
    for port in born.ports.values():
        port.medium.close()
    return found


@pytest.mark.parametrize("failing", ["tailgate", "apps"])
def test_one_ecu_that_fails_takes_all_of_them_back(failing: str) -> None:
    result = rehearse("--fail", failing)
    ended = answer(result)
    assert (ended["state"], ended["code"]) == ("ROLLED_BACK", "self_test_failed")
    assert {(ecu["version"], ecu["for_good"]) for ecu in ended["ecus"]} == {("1.0.0", True)}
    assert f"  {failing:<18} FAILED self_test_failed" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "programme", "words"),
    [
        (("--fail", "boot"), DISTRIBUTED, "has no ECU boot"),
        (("--variant", "sport"), DISTRIBUTED, "has no variant sport"),
        ((), EXAMPLES / "road" / "programme.toml", "has 3 variants"),
        (("--variant", "box"), EXAMPLES / "road" / "programme.toml", "updates itself over DDI"),
        ((), EXAMPLES / "nothing.toml", "cannot be read"),
        (("--folder", str(EXAMPLES)), DISTRIBUTED, "exists already"),
    ],
)
def test_what_cannot_be_rehearsed_is_said(arguments: tuple[str, ...], programme: Path, words: str) -> None:
    result = rehearse(*arguments, programme=programme)
    assert result.exit_code != 0
    assert words in str(result.exception) + result.output
