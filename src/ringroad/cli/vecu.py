"""`ringroad vecu`: virtual ECUs. One process is one ECU."""

from __future__ import annotations

import asyncio
import importlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringroad.cli.groups import example
from ringroad.cli.vecu_place import place_command
from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.sim.canserver import BusConfig, BusServer, read_bus_config
from ringroad.sim.vecu.config import ServerConfig, read_config
from ringroad.sim.vecu.server import VecuServer

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ringroad.cli.shell import Shell


@click.group("vecu")
def group() -> None:
    """Virtual ECUs: real diagnostic servers with persistent flash."""


group.add_command(place_command)


@group.command("run")
@click.option("--config", "path", required=True, type=click.Path(path_type=Path), help="The ECU's TOML file.")
@click.pass_obj
def run(shell: Shell, path: Path) -> None:
    """Run one ECU until it is told to end; its state is in its flash file."""
    asyncio.run(_serve(shell, read_config(path)))


@group.command("bus")
@click.option("--config", "path", required=True, type=click.Path(path_type=Path), help="The bus's TOML file.")
@click.pass_obj
def bus(shell: Shell, path: Path) -> None:
    """Run one CAN bus until it is told to end; ECUs and testers connect to it."""
    asyncio.run(_carry(shell, read_bus_config(path), path.parent))


@group.command(
    "describe", epilog=example("ringroad vecu describe --ecu brake=bench/ecu.toml --out brake.pdx")
)
@click.option("--ecu", "named", required=True, multiple=True, metavar="NAME=FILE", help="An ECU's TOML file.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The PDX, which is replaced.",
)
@click.pass_obj
def describe(shell: Shell, *, named: tuple[str, ...], out: Path) -> None:
    """Describe ECUs in a PDX for diagnostic tools; needs the extra 'odx'."""
    try:
        writer = importlib.import_module("ringroad.sim.vecu.describe")
    except ImportError as error:
        raise Unavailable("writing a PDX needs odxtools", hint="pip install 'ringroad[odx]'") from error
    configs: dict[str, ServerConfig] = {}
    for text in named:
        name, _, path = text.partition("=")
        if not name or not path or name in configs:
            raise InvalidInput(
                f"{text!r} does not name one more ECU and its file", hint="--ecu brake=ecu.toml"
            )
        configs[name] = read_config(Path(path))
    writer.write_pdx(out, {name: (config.ecu, config.fault_texts) for name, config in configs.items()})
    shell.show({"file": str(out), "ecus": list(configs)}, text=f"{out} describes {', '.join(configs)}")


async def _carry(shell: Shell, config: BusConfig, folder: Path) -> None:
    server = BusServer(config, folder)
    stopped = _until_stopped()
    try:
        port = await server.start()
        pace = f"at {config.bit_rate} bit/s" if config.bit_rate else "as fast as the machine"
        shell.show(
            {"kind": config.kind, "host": config.host, "port": port, "bit_rate": config.bit_rate},
            text=f"{config.kind} bus on {config.host}:{port}, {pace}",
        )
        await stopped.wait()
    finally:
        await server.close()


def _until_stopped() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    return stopped


async def _serve(shell: Shell, config: ServerConfig) -> None:
    server = VecuServer(config, clock=shell.clock)
    stopped = _until_stopped()
    ecu, way = config.ecu, config.can
    try:
        if way is None:
            port = await server.start()
            shell.show(
                {"serial": ecu.serial, "host": config.server.host, "port": port},
                text=f"{ecu.serial} ({ecu.layout}) listens on {config.server.host}:{port}",
            )
        elif await _first(server.start(), stopped):
            shell.show(
                {"serial": ecu.serial, "bus": way.bus, "channel": way.channel, "request_id": way.request_id},
                text=f"{ecu.serial} ({ecu.layout}) answers 0x{way.request_id:X} on the {way.bus} bus {way.channel}",
            )
        await stopped.wait()
    finally:
        await server.close()


async def _first(work: Coroutine[Any, Any, object], stopped: asyncio.Event) -> bool:
    """Do `work` unless the process is told to end before that: a bus may never come."""
    tasks = [asyncio.create_task(work), asyncio.create_task(stopped.wait())]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if tasks[0] in done:
        tasks[0].result()
    return tasks[0] in done
