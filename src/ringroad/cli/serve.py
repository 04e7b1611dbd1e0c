"""`ringroad serve`: the HTTP server process. Started by `ringroad up`; can run alone against external engines.

One application on two ports, which several processes may share: plain HTTP on loopback for console, API and DDI, HTTPS for the native gateway.
The same process answers the vehicles' MQTT logins.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import click
import structlog
import uvicorn
import uvloop

from ringroad.cli.keys import load_online_signers
from ringroad.cli.shell import Shell
from ringroad.http.app import create_app
from ringroad.http.serving import UVICORN, has_express
from ringroad.kernel.errors import Unavailable
from ringroad.storage.broker import bind_port
from ringroad.storage.db import connect
from ringroad.storage.endpoints import embedded_broker
from ringroad.storage.nats_auth import keep_serving_logins, lookup_in
from ringroad.storage.pki import ensure_pki
from ringroad.storage.pki_clients import client_authorities
from ringroad.storage.settings import Settings

log = structlog.get_logger()
PARENT_S = 0.5  # seconds between two looks whether `ringroad up` still lives


@click.command("serve")
@click.option("--parent", type=int, help="End when this process is gone.")
@click.pass_obj
def command(shell: Shell, parent: int | None) -> None:
    """Run the HTTP server (started by `up`)."""
    settings = shell.resolved()
    shared = settings.server_processes > 1
    lines = (
        bind_port(settings.http_host, settings.http_port, setting="http_port", shared=shared),
        bind_port(settings.http_host, settings.https_port, setting="https_port", shared=shared),
    )
    application = load_app(settings)
    uvloop.run(_serve(shell, settings, application, parent, lines))


def load_app(settings: Settings) -> Any:
    """Make the ASGI application."""
    return create_app(settings, load_signers=partial(load_online_signers, settings.var / "keys"))


async def _serve(
    shell: Shell,
    settings: Settings,
    application: Any,
    parent: int | None,
    lines: tuple[socket.socket, socket.socket],
) -> None:
    pki = ensure_pki(settings.pki, names=settings.cert_names, now=shell.clock.now())
    common = {**UVICORN, "host": settings.http_host}
    plain = _Server(uvicorn.Config(application, port=settings.http_port, lifespan="on", **common))
    tls = _Server(
        uvicorn.Config(
            application,
            port=settings.https_port,
            lifespan="off",  # the application starts once, for both ports
            ssl_certfile=pki.server_certificate,
            ssl_keyfile=pki.server_key,
            ssl_ca_certs=str(
                client_authorities(settings.pki, Path(settings.client_ca) if settings.client_ca else None)
            ),
            ssl_cert_reqs=ssl.CERT_OPTIONAL,  # a device may show a certificate; whoever has a token shows none
            **common,
        )
    )
    if not all(has_express(each.config) for each in (plain, tls)):
        log.warning("polls and reports go through ASGI and cost more: something wraps the application")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    servers = [asyncio.create_task(plain.serve([lines[0]]))]
    while not plain.started and not servers[0].done():  # noqa: ASYNC110 - uvicorn offers a flag only
        await asyncio.sleep(0.01)
    servers.append(asyncio.create_task(tls.serve([lines[1]])))
    async with contextlib.AsyncExitStack() as stack:
        logins = asyncio.create_task(_logins(shell, settings, stop, stack))
        watch = asyncio.create_task(_watch_parent(parent, stop))
        ended = asyncio.create_task(stop.wait())
        await asyncio.wait({ended, *servers}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        tls.should_exit = plain.should_exit = True
        await asyncio.gather(*servers, logins, watch)
    if not (plain.started and tls.started):
        raise Unavailable("the HTTP server did not start", hint="see the lines above")


async def _logins(
    shell: Shell, settings: Settings, stop: asyncio.Event, stack: contextlib.AsyncExitStack
) -> None:
    """Answer MQTT logins when the broker is ours; go on when NATS is not there yet."""
    if shell.settings().nats_url:
        return  # an external broker has its own users, or its own answering service
    lookup = stack.enter_context(lookup_in(lambda: connect(settings.database_url)))
    key = embedded_broker(settings, shell.clock).login_key()
    await keep_serving_logins(
        settings.nats_url, key=key, lookup=lookup, clock=shell.clock, ids=shell.ids, stop=stop
    )


async def _watch_parent(parent: int | None, stop: asyncio.Event) -> None:
    while not stop.is_set():
        if parent is not None and os.getppid() != parent:
            stop.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PARENT_S)


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to us: there are two of them in one process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Do nothing; `_serve` has the handlers."""
        yield
