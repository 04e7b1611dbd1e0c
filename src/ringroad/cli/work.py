"""`ringroad work`: the worker process: telemetry, reports, the reconciler, detection. Started by `ringroad up`."""

from __future__ import annotations

import importlib
import os
import signal
import threading

import click

from ringroad.build.repository.store import OnlineSigners
from ringroad.cli.keys import install_all_roots, load_online_signers
from ringroad.cli.shell import Shell
from ringroad.storage.db import connect, transaction
from ringroad.storage.settings import Settings

PARENT_S = 0.5  # seconds between two looks whether `ringroad up` still lives


@click.command("work")
@click.option("--parent", type=int, help="End when this process is gone.")
@click.pass_obj
def command(shell: Shell, parent: int | None) -> None:
    """Run the worker (started by `up`)."""
    settings = shell.resolved()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_watch_parent, args=(parent, stop), daemon=True).start()
    importlib.import_module("ringroad.loop.worker").run(
        settings, stop, load_signers=lambda: _publish_keys(shell, settings)
    )


def _publish_keys(shell: Shell, settings: Settings) -> OnlineSigners:
    """Return the online signers, after the roots that name them are in the database.

    Raises:
        NotFound: no keys were made yet.
        Untrusted: a root does not verify.
        Conflict: the database belongs to other keys.
    """
    keys = settings.var / "keys"
    signers = load_online_signers(keys)
    with connect(settings.database_url) as conn, transaction(conn):
        install_all_roots(conn, keys, now=shell.clock.now())
    return signers


def _watch_parent(parent: int | None, stop: threading.Event) -> None:
    while not stop.wait(PARENT_S):
        if parent is not None and os.getppid() != parent:
            stop.set()
