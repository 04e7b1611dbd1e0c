"""`ringroad vecu`: virtual ECUs. One process is one ECU."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringroad.sim.vecu.config import ServerConfig, read_config
from ringroad.sim.vecu.server import VecuServer

if TYPE_CHECKING:
    from ringroad.cli.shell import Shell


@click.group("vecu")
def group() -> None:
    """Virtual ECUs: real diagnostic servers with persistent flash."""


@group.command("run")
@click.option("--config", "path", required=True, type=click.Path(path_type=Path), help="The ECU's TOML file.")
@click.pass_obj
def run(shell: Shell, path: Path) -> None:
    """Run one ECU until it is told to end; its state is in its flash file."""
    asyncio.run(_serve(shell, read_config(path)))


async def _serve(shell: Shell, config: ServerConfig) -> None:
    server = VecuServer(config, clock=shell.clock)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        port = await server.start()
        ecu = config.ecu
        shell.show(
            {"serial": ecu.serial, "host": config.server.host, "port": port},
            text=f"{ecu.serial} ({ecu.layout}) listens on {config.server.host}:{port}",
        )
        await stopped.wait()
    finally:
        await server.close()
