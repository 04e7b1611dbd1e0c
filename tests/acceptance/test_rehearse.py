"""A whole vehicle is rehearsed with one command: 33 ECUs of every kind end all new, or all old if one fails."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from ringroad.cli import cli
from ringroad.cli.shell import Shell
from ringroad.cli.vecu import group as vecu
from ringroad.cli.vehicle import group
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import InvalidInput
from ringroad.sim.assembly import power_on
from ringroad.sim.rehearsed import KEPT_NAME, Kept
from ringroad.vehicle.agents.base import EcuInventory
from ringroad.vehicle.files import FolderLock

EXAMPLES = Path(__file__).parents[2] / "examples"
ROAD = EXAMPLES / "road" / "programme.toml"
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
        ((), ROAD, "has 3 variants"),
        (("--variant", "box"), ROAD, "updates itself over DDI"),
        ((), EXAMPLES / "nothing.toml", "cannot be read"),
        (("--folder", str(EXAMPLES)), DISTRIBUTED, "exists already"),
    ],
)
def test_what_cannot_be_rehearsed_is_said(arguments: tuple[str, ...], programme: Path, words: str) -> None:
    result = rehearse(*arguments, programme=programme)
    assert result.exit_code != 0
    assert words in str(result.exception) + result.output


def kill_at(words: str, folder: Path, *arguments: str) -> None:
    """Rehearse four ECUs in a process of its own, and kill it once it has said these words."""
    command = [sys.executable, "-m", "ringroad.cli", "vehicle", "rehearse", str(ROAD), "--variant", "city"]
    command += ["--soc-kib", "64", "--folder", str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if words in line:
                process.kill()
                return
    raise AssertionError(f"it never said {words}")


def on_with_it(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        group,
        ["rehearse", str(ROAD), "--variant", "city", "--folder", str(folder), *arguments],
        obj=Shell(env={}, json=True),
        **cli.context_settings,
    )


@pytest.mark.parametrize("words", ["DOWNLOADING", "brake              INSTALLING", "CHECKING", "COMMITTING"])
def test_one_that_was_killed_goes_on_and_then_says_how_it_ended(tmp_path: Path, words: str) -> None:
    folder = tmp_path / "vehicle"
    kill_at(words, folder)
    result = on_with_it(folder)
    ended = answer(result)
    assert ended["state"] == "SUCCEEDED"
    assert {(ecu["version"], ecu["for_good"]) for ecu in ended["ecus"]} == {("2.0.0", True)}
    # A busy machine may let it end before it is killed.
    assert (" goes on\n" in result.stderr) == (ended["took_s"] is not None)

    again = on_with_it(folder)
    assert {**answer(again), "took_s": ended["took_s"]} == ended
    assert answer(again)["took_s"] is None
    assert "goes on\n" not in again.stderr


def test_one_that_was_killed_on_its_way_back_goes_on_back(tmp_path: Path) -> None:
    folder = tmp_path / "vehicle"
    kill_at("ROLLING_BACK", folder, "--fail", "brake")
    ended = answer(on_with_it(folder))
    assert (ended["state"], ended["code"]) == ("ROLLED_BACK", "self_test_failed")
    assert {ecu["version"] for ecu in ended["ecus"]} == {"1.0.0"}


def test_what_is_killed_goes_on_as_it_began_and_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "vehicle"
    kill_at("DOWNLOADING", folder)
    for arguments, words in (
        (("--fail", "brake"), "begun with another --fail: none"),
        (("--soc-kib", "8"), "begun with another --soc-kib: 64"),
        (("--variant", "premium"), "has a city of roadster, not a premium of roadster"),
    ):
        result = on_with_it(folder, *arguments)
        assert result.exit_code != 0
        assert words in str(result.exception)
    for commands, name in ((group, "run"), (vecu, "place")):
        # Commands keep their help option from whoever used them first.
        refused = CliRunner().invoke(
            commands, [name, "--data", str(folder)], obj=Shell(env={}), **cli.context_settings
        )
        assert isinstance(refused.exception, InvalidInput)
        assert refused.exception.hint.endswith(f"ringroad vehicle rehearse PROGRAMME --folder {folder}")
    kept = msgspec.msgpack.decode((folder / KEPT_NAME).read_bytes(), type=Kept)
    served = msgspec.structs.replace(kept.served, images={})
    (folder / KEPT_NAME).write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(kept, served=served)))
    assert "does not read back: it has no image for" in str(on_with_it(folder, "--variant", "city").exception)
    (folder / KEPT_NAME).write_bytes(b"torn")
    assert "does not read back" in str(on_with_it(folder, "--variant", "city").exception)


def test_one_that_goes_on_elsewhere_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "vehicle"
    kill_at("DOWNLOADING", folder)
    lock = FolderLock(folder)
    try:
        assert "another orchestrator runs on" in str(on_with_it(folder).exception)
    finally:
        lock.close()
