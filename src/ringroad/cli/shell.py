r"""What every command gets: settings, a database connection when it asks, and one way to answer.

A command takes it with `@click.pass_obj`::

    @click.command("list")
    @click.pass_obj
    def list_campaigns(shell: Shell) -> None:
        with shell.connect() as conn:
            rows = store.campaigns(conn)
        shell.show(rows, text="\n".join(row.name for row in rows))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ringroad.kernel.clock import Clock, Ids, SystemClock, SystemIds

if TYPE_CHECKING:
    from ringroad.storage.db import Connection
    from ringroad.storage.settings import Settings


@dataclass(kw_only=True)
class Shell:
    """One run of the command line.

    Attributes:
        env: the environment, for settings.
        config: settings file named on the command line.
        overrides: settings given on the command line.
        json: answer in JSON.
        clock: the machine's.
        ids: the machine's.
    """

    env: Mapping[str, str]
    config: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    json: bool = False
    clock: Clock = field(default_factory=SystemClock)
    ids: Ids = field(default_factory=SystemIds)

    def place(self, *, config: Path | None, var: Path | None) -> None:
        """Take the settings file and the folder that were named before the command."""
        self.config = config or (Path(env) if (env := self.env.get("RINGROAD_CONFIG")) else None)
        self.overrides = {"var": var}

    def settings(self) -> Settings:
        """Return the settings as they were given.

        Raises:
            InvalidInput: an unknown setting, or a value that does not fit.
        """
        from ringroad.cli.settings import read_settings  # noqa: PLC0415 - a vehicle has none

        return read_settings(file=self.config, env=self.env, overrides=self.overrides)

    def resolved(self) -> Settings:
        """Return the settings with every engine's address filled in.

        Raises:
            Unavailable: an embedded engine was never started here.
        """
        from ringroad.storage.endpoints import resolve  # noqa: PLC0415 - most commands only ask the server

        return resolve(self.settings())

    def connect(self) -> Connection:
        """Open a connection to the database; use it in a `with` block.

        Raises:
            Unavailable: it does not answer.
        """
        from ringroad.storage.db import connect  # noqa: PLC0415 - most commands only ask the server

        return connect(self.resolved().database_url)

    def show(self, value: Any, *, text: str) -> None:
        """Answer on standard output: `value` as JSON with `--json`, else `text`."""
        click.echo(
            msgspec.json.encode(value, enc_hook=_plain, order="sorted").decode() if self.json else text
        )

    def say(self, text: str) -> None:
        """Tell a person what is going on; on standard error with `--json`, so that JSON stays clean."""
        click.echo(text, err=self.json)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise NotImplementedError(type(value).__name__)
