"""`ringroad doctor`: what is missing, and how to mend it. `ringroad settings`: every setting and its value.

Doctor only looks, unless it is asked to tidy up.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from ringroad.build.site.store import link_of, list_sites
from ringroad.build.store_images import look_at_images, sweep_images
from ringroad.build.sweep import UNNAMED_S_MIN
from ringroad.cli.external import external_checks
from ringroad.cli.settings import settings_page
from ringroad.cli.shell import Shell
from ringroad.cli.supervisor import check_var, read_state
from ringroad.cli.tables import size
from ringroad.kernel.errors import Corrupt, RingroadError, Unavailable
from ringroad.kernel.plurals import counted
from ringroad.signal.store_silence import read_silence
from ringroad.storage.blobs import Blobs, Stored
from ringroad.storage.broker import HOST, check_home, check_port, find_server
from ringroad.storage.db import connect
from ringroad.storage.endpoints import embedded_broker, embedded_postgres, resolve
from ringroad.storage.leaf import stored_credentials
from ringroad.storage.migrate import load_migrations, plan_migrations, read_applied
from ringroad.storage.postgres import check_data_folder, find_binaries
from ringroad.storage.settings import Settings, table

FREE_BYTES_MIN = 1024**3  # bytes; one generation of images and a day of telemetry
VERSION_S_MAX = 20  # seconds a program may take to say its version
UNWELL = 7  # as `unavailable` in cli/errors.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    text: str
    hint: str = ""


@click.command("doctor")
@click.option(
    "--tidy", is_flag=True, help="Remove images that no package names, and pieces of broken uploads."
)
@click.pass_obj
def command(shell: Shell, tidy: bool) -> int:  # noqa: FBT001 - click's form
    """Find out what is missing, and how to mend it; exit status 7 when something is.

    Only what is older than a day is tidied up, and nothing while an image is being stored.
    """
    if tidy:
        _tidy(shell)
    checks = list(examine(shell))
    lines: list[str] = []
    for check in checks:
        lines.append(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<12}{check.text}")
        lines += [f"      hint: {check.hint}"] if check.hint and not check.ok else []
    shell.show(checks, text="\n".join(lines))
    return 0 if all(check.ok for check in checks) else UNWELL


@click.command("settings")
@click.option("--page", is_flag=True, help="Write the reference page in Markdown.")
@click.pass_obj
def settings(shell: Shell, page: bool) -> None:  # noqa: FBT001 - click's form
    """Show every setting and its value; secrets as stars."""
    if page:
        click.echo(settings_page(), nl=False)
        return
    current = shell.settings()
    shown = {row.name: row.show(getattr(current, row.name)) for row in table()}
    shell.show(shown, text="\n".join(f"{name:<22}{value}" for name, value in shown.items()))


def examine(shell: Shell) -> Iterator[Check]:
    """Yield one check after the other, each independent of those before."""
    try:
        current = shell.settings()
    except RingroadError as error:
        yield Check(name="settings", ok=False, text=error.message, hint=error.hint)
        return
    yield Check(name="settings", ok=True, text="all known")
    running = bool(read_state(current))
    yield _check("python", _python)
    if not current.database_url:
        yield _check("postgres", lambda: _version(find_binaries() / "postgres"))
        yield _check("data", lambda: _data_folder(current, shell))
    if not current.nats_url:
        yield _check("nats", lambda: _version(find_server()))
        yield _check("streams", lambda: _streams_folder(current, shell))
    for name, look in external_checks(current).items():
        yield _check(name, look)
    yield _check("var", lambda: _var(current.var))
    if not running:
        yield from _ports(current)
    yield _check("schema", lambda: _schema(current, running=running))
    if running or current.database_url:
        yield _check("images", lambda: _images(shell))
        yield _check("sites", lambda: _sites(shell))
    if running and not read_state(current).get("engines_only"):  # a server looks
        yield _check("telemetry", lambda: _telemetry(shell))
    if not current.site.is_dir():  # a site signs nothing
        yield _check("keys", lambda: _keys(current))


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, text=look())
    except RingroadError as error:
        return Check(name=name, ok=False, text=error.message, hint=error.hint)
    except OSError as error:
        return Check(name=name, ok=False, text=str(error))


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _version(program: Path) -> str:
    try:
        done = subprocess.run(
            [str(program), "--version"], check=True, capture_output=True, text=True, timeout=VERSION_S_MAX
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(
            f"{program} does not run", hint="install its wheel again", detail=str(error)
        ) from error
    return done.stdout.strip()


def _data_folder(current: Settings, shell: Shell) -> str:
    data = embedded_postgres(current, shell.clock).data
    check_data_folder(data)
    return f"{data}" if data.exists() else "made at the first start"


def _streams_folder(current: Settings, shell: Shell) -> str:
    home = embedded_broker(current, shell.clock).home
    check_home(home)
    return f"{home}" if home.exists() else "made at the first start"


def _var(var: Path) -> str:
    check_var(var)
    folder = var.resolve()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise Unavailable(f"{folder} cannot be written by you", hint="choose another folder with --var")
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise Unavailable(
            f"only {free // 1024**2} MiB are free in {folder}",
            hint="free some space, or choose another with --var",
        )
    return f"{var}, {free // 1024**3} GiB free"


def _ports(current: Settings) -> Iterator[Check]:
    ports = [("http_port", current.http_host), ("https_port", current.http_host)]
    if not current.nats_url:
        ports += [("nats_port", HOST), ("mqtt_port", current.mqtt_host)]
    for name, host in ports:
        yield _check(name, partial(_port, host, getattr(current, name), name))


def _port(host: str, port: int, name: str) -> str:
    check_port(host, port, setting=name)
    return f"{port} is free"


def _schema(current: Settings, *, running: bool) -> str:
    if not running and not current.database_url:
        return "looked at while Ringroad runs"
    with connect(resolve(current).database_url) as conn:
        pending = plan_migrations(load_migrations(), read_applied(conn))
    return f"{len(pending)} migrations to apply at the next start" if pending else "up to date"


def _images(shell: Shell) -> str:
    settings = shell.resolved()
    with connect(settings.database_url) as conn:
        found = look_at_images(conn, Blobs(settings.blob_url), now=shell.clock.now())
    if found.missing:
        raise Corrupt(
            f"{counted(len(found.missing), 'image')} of packages not in the store, for example {found.missing[0]}",
            hint="restore it from a backup, or add the same image again: ringroad package add",
        )
    unnamed = f", {_unnamed(found.unnamed)}: ringroad doctor --tidy" if found.unnamed else ""
    return f"{counted(found.named, 'image')} of packages{unnamed}"


def _sites(shell: Shell) -> str:
    settings, now = shell.resolved(), shell.clock.now()
    joined = stored_credentials(settings.site)
    with connect(settings.database_url) as conn:
        link, sites = link_of(conn), list_sites(conn)
    if joined is not None:
        if not link.is_connected(now):
            raise Unavailable(
                f"site {joined.site} is cut off from {joined.hub}; {counted(link.waiting, 'event')} waiting",
                hint="the line goes on, and what waits is told later; see nats.log for why it is not let in",
            )
        if link.hub_reads is not None or link.hub_tells is not None:
            raise Unavailable(
                f"site {joined.site} and its hub {joined.hub} are of different versions; nothing is lost, it waits",
                hint="ringroad site status shows which of them to bring up to date",
            )
        return f"site {joined.site} of {joined.hub}, {counted(link.waiting, 'event')} waiting"
    silent = [each.id for each in sites if each.cut_off_since(now) is not None]
    if silent:
        raise Unavailable(
            f"cut off: {', '.join(silent)}", hint="they go on building; ringroad site list shows since when"
        )
    newer = [each.id for each in sites if each.speaks is not None]
    if newer:
        raise Unavailable(
            f"newer than this hub: {', '.join(newer)}; what they tell waits there", hint="bring this hub up to date"
        )  # fmt: skip
    return f"{counted(len(sites), 'site')} connected" if sites else "none"


def _telemetry(shell: Shell) -> str:
    with connect(shell.resolved().database_url) as conn:
        silence = read_silence(conn)
    if silence is not None:
        raise Unavailable(silence.text, hint=silence.hint)
    return "is read as it comes"


def _unnamed(images: Sequence[Stored]) -> str:
    return (
        f"{size(sum(each.bytes for each in images))} in {counted(len(images), 'image')} that no package names"
    )


def _tidy(shell: Shell) -> None:
    settings, now = shell.resolved(), shell.clock.now()
    with connect(settings.database_url) as conn:
        swept = sweep_images(conn, Blobs(settings.blob_url), now=now)
    pieces = [
        path for path in settings.uploads.glob("*") if path.stat().st_mtime < now.timestamp() - UNNAMED_S_MIN
    ]
    for path in pieces:
        path.unlink(missing_ok=True)
    shell.say(f"removed {_unnamed(swept.unnamed)}, and {counted(len(pieces), 'piece')} of broken uploads")


def _keys(current: Settings) -> str:
    if not current.keys_online.is_dir() or not any(current.keys_online.iterdir()):
        raise Unavailable("no signing keys yet", hint="make them with: ringroad keys init")
    return str(current.keys_online)
