"""What all client groups share: `--server`, a client for each command, paging, examples in `--help`."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click

from ringroad.cli.client import Access, Client, find_access, open_client
from ringroad.cli.names import read_duration_s
from ringroad.cli.shell import Shell
from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.kernel.limits import PAGE_ROWS_MAX

P = ParamSpec("P")
R = TypeVar("R")

T = TypeVar("T")

LOOK_S: Final = 1.0  # seconds between two looks at the server
EXIT_NO: Final = 1  # the answer is "no": a check that blocks, a campaign that halted
_META: Final = "ringroad."


def _remember(ctx: click.Context, option: click.Parameter, value: str) -> None:
    if value:
        ctx.meta[f"{_META}{option.name}"] = value


class ClientGroup(click.Group):
    """A group whose commands talk to a server: each gets `--server` and `--as`."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, and the options to it unless it has commands of its own."""
        if not isinstance(cmd, click.Group):
            cmd.params += [
                click.Option(
                    ["--server"],
                    metavar="URL",
                    envvar="RINGROAD_SERVER",
                    expose_value=False,
                    callback=_remember,
                    help="A server elsewhere, also by RINGROAD_SERVER; default: the one in the settings.",
                ),
                click.Option(
                    ["--as", "account"],
                    metavar="NAME",
                    expose_value=False,
                    callback=_remember,
                    help="Be this account, which signed in here too; default: who signed in last.",
                ),
            ]
        super().add_command(cmd, name)


def with_client(function: Callable[Concatenate[Shell, Client, P], R]) -> Callable[P, R]:
    """Hand the command its shell and an open client."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        shell: Shell = click.get_current_context().obj
        with open_client(access_of(shell)) as client:
            return function(shell, client, *args, **kwargs)

    return run


def access_of(shell: Shell, *, anonymous: bool = False) -> Access:
    """Return how this command reaches its server. Raises: InvalidInput, Forbidden."""
    return find_access(
        shell.settings(), env=shell.env, server=server_of(), account=account_of(), anonymous=anonymous
    )


def server_of() -> str:
    """Return the address that was named on the command line or in the environment."""
    return str(click.get_current_context().meta.get(f"{_META}server", ""))


def account_of() -> str:
    """Return the account that was named with `--as`."""
    return str(click.get_current_context().meta.get(f"{_META}account", ""))


def example(*lines: str) -> str:
    """Return the end of a command's help: how it is used, not re-wrapped."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def limited(default: int = 50) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--limit` and `--offset`."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option("--offset", type=click.IntRange(0), default=0, help="Rows to skip."),
            click.option(
                "--limit",
                type=click.IntRange(1, PAGE_ROWS_MAX),
                default=default,
                show_default=True,
                help="Rows to show.",
            ),
        ):
            function = option(function)
        return function

    return add


def patient(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--wait`, the text of a length of time; empty: do not wait."""
    return click.option(
        "--wait", metavar="TIME", default="", help=f"Wait so long for {what}, for example 2m."
    )


def wait_for(shell: Shell, look: Callable[[], T], *, wait: str, what: str) -> T:
    """Return what `look` finds, once it is something.

    Args:
        shell: for its clock.
        look: asks the server; an empty answer is nothing.
        wait: how long at most, as a person writes it; empty: the first answer is taken, whatever it is.
        what: is waited for, for the error.

    Raises:
        Unavailable: it did not come, or the server was silent to the end.
    """
    within_s = read_duration_s(wait) if wait else 0
    until_s = shell.clock.monotonic_s() + within_s
    while True:
        is_last = shell.clock.monotonic_s() >= until_s
        try:
            found = look()
        except Unavailable:
            if is_last:
                raise
        else:
            if found or not wait:
                return found
            if is_last:
                raise Unavailable(f"{what} did not come within {wait}", hint="wait longer, or see why")
        time.sleep(LOOK_S)


def show_page(shell: Shell, rows: list[Any], *, text: str, limit: int, offset: int = 0) -> None:
    """Answer with a list; say when there may be more."""
    shell.show(rows, text=text)
    if len(rows) == limit and not shell.json:
        click.echo(f"the first {limit}; more with --offset {offset + limit}", err=True)


def asks() -> bool:
    """Say whether there is somebody to ask."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask, after what it is about was shown; `yes` was said on the command line.

    Raises:
        InvalidInput: there is nobody to ask.
        Abort: the answer is no.
    """
    if yes:
        return
    if not asks():
        raise InvalidInput(
            "there is no terminal to ask on", hint="look at what is shown above, then add --yes"
        )
    click.confirm(question, abort=True, err=True)


def read_text(path: Path, *, bytes_max: int) -> str:
    """Return a text file that a person named. Raises: InvalidInput."""
    try:
        return read_bytes(path, bytes_max=bytes_max).decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text") from error


def read_bytes(path: Path, *, bytes_max: int) -> bytes:
    """Return a file that a person named. Raises: InvalidInput."""
    try:
        with path.open("rb") as source:
            raw = source.read(bytes_max + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > bytes_max:
        raise InvalidInput(f"{path} is larger than {bytes_max} bytes")
    return raw
