"""The command line; where everything is wired together.

`COMMANDS` is the table: one line per top-level command, its module loaded only when it is used.
A module exposes `command` (or `group`), any click command; options `--json` and error printing are added here.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from ringroad.cli.errors import EXIT_STATUS, exit_status, print_error
from ringroad.kernel.errors import RingroadError

# name: (module, attribute, one line for --help)
COMMANDS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "up": ("ringroad.cli.engines", "up", "Start everything, and keep it running."),
        "down": ("ringroad.cli.engines", "down", "Stop what `up` started."),
        "status": ("ringroad.cli.engines", "status", "Show what runs and whether it is well."),
        "doctor": ("ringroad.cli.doctor", "command", "Find out what is missing, and how to mend it."),
        "settings": ("ringroad.cli.doctor", "settings", "Show every setting and its value."),
        "serve": ("ringroad.cli.serve", "command", "Run the HTTP server (started by `up`)."),
        "work": ("ringroad.cli.work", "command", "Run the worker (started by `up`)."),
        "keys": ("ringroad.cli.keys", "group", "Signing keys."),
        "complaint": ("ringroad.cli.complaint", "group", "Signal: complaints from customers."),
        "diagnose": (
            "ringroad.cli.diagnose",
            "group",
            "Signal: look into a vehicle: its ECUs, their data, their faults.",
        ),
        "demand": ("ringroad.cli.demand", "group", "Signal: what was wanted, and what will be."),
        "finding": ("ringroad.cli.finding", "group", "Signal: findings and their evidence."),
        "trace": ("ringroad.cli.trace", "group", "Signal: faults and claims back to station, lot and gate."),
        "change": ("ringroad.cli.change", "group", "Design: changes that answer findings."),
        "programme": ("ringroad.cli.programme", "group", "Build: vehicle programmes."),
        "package": ("ringroad.cli.package", "group", "Build: software packages."),
        "release": ("ringroad.cli.release", "group", "Build: releases; create, check, sign."),
        "order": ("ringroad.cli.order", "group", "Build: vehicles on order."),
        "schedule": ("ringroad.cli.schedule", "group", "Build: the line's schedule."),
        "plant": ("ringroad.cli.plant", "group", "Build: plants, and a simulated one."),
        "site": ("ringroad.cli.site", "group", "Build: plants that go on when they are cut off."),
        "logistics": ("ringroad.cli.logistics", "group", "Build: parts on their way; milestones, arrivals."),
        "quality": (
            "ringroad.cli.quality",
            "group",
            "Build: vehicles right at once, alarms, results of checks.",
        ),
        "sequence": ("ringroad.cli.sequence", "group", "Build: solve published line sequences."),
        "shop": ("ringroad.cli.shop", "group", "Build: schedule a shop: resources, set-ups, breaks."),
        "campaign": ("ringroad.cli.campaign", "group", "Ship: campaigns; plan, approve, run, watch."),
        "fleet": ("ringroad.cli.fleet", "group", "Ship: vehicles, and why one is not updating."),
        "events": ("ringroad.cli.events", "group", "Ledger: what happens, as CloudEvents."),
        "export": ("ringroad.cli.export", "group", "Ledger: whole tables as CSV, JSON Lines or Parquet."),
        "webhook": ("ringroad.cli.webhook", "group", "Ledger: tell other systems of events."),
        "lap": ("ringroad.cli.lap", "group", "Adapt: laps, lead times, outcomes."),
        "account": ("ringroad.cli.account", "group", "Sign in; accounts and tokens."),
        "vehicle": ("ringroad.cli.vehicle", "group", "In the vehicle: run one from its data folder."),
        "pdx": ("ringroad.cli.pdx", "group", "Signal: names of ECUs' data and faults, out of a PDX."),
        "vecu": ("ringroad.cli.vecu", "group", "Virtual ECUs: run one."),
        "demo": ("ringroad.cli.demo", "command", "One whole lap, on real engines."),
    }
)


class LazyGroup(click.Group):
    """Loads a command's module when the command is named, and gives each command `--json`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's form
        """Return the names whose modules are there."""
        return [name for name, (module, _, _) in COMMANDS.items() if importlib.util.find_spec(module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's form
        """Return a command, or None when there is none of that name."""
        row = COMMANDS.get(cmd_name)
        if row is None or importlib.util.find_spec(row[0]) is None:
            return None
        command: click.Command = getattr(importlib.import_module(row[0]), row[1])
        add_json(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


class LaterGroup(click.Group):
    """A group below the root, some of whose commands' modules are loaded only when they are named, or listed.

    Args:
        later: module and attribute of each of those commands, by name.
    """

    def __init__(self, *args: Any, later: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.later = later

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's form
        """Return the names of all commands."""
        return sorted({*self.commands, *self.later})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None when there is none of that name."""
        if cmd_name in self.later and cmd_name not in self.commands:
            module, attribute = self.later[cmd_name]
            command: click.Command = getattr(importlib.import_module(module), attribute)
            add_json(command)
            self.add_command(command, cmd_name)
        return super().get_command(ctx, cmd_name)


def add_json(command: click.Command) -> None:
    """Add `--json` to a command and to all below it, once."""
    if not any(isinstance(each, click.Option) and "--json" in each.opts for each in command.params):
        command.params.append(
            click.Option(
                ["--json"], is_flag=True, expose_value=False, callback=_want_json, help="Answer in JSON."
            )
        )
    if isinstance(command, click.Group):
        for below in command.commands.values():
            add_json(below)


def _want_json(ctx: click.Context, _option: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's form
    if value and ctx.obj is not None:
        ctx.obj.json = True


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), help="Settings file instead of ./ringroad.toml.")
@click.option("--var", type=click.Path(path_type=Path), help="Folder for everything Ringroad stores.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.version_option(package_name="ringroad", prog_name="ringroad")
@click.pass_context
def cli(ctx: click.Context, config: Path | None, var: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click's form
    """A vehicle maker's whole loop: signal, design, build, ship, adapt."""
    ctx.obj.place(config=config, var=var)
    ctx.obj.json = as_json


def run(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Run one command line and return its exit status. A `RingroadError` never shows a traceback."""
    from ringroad.cli.shell import Shell  # noqa: PLC0415 - `ringroad --version` needs no database driver

    shell = Shell(env=env)
    try:
        result: Any = cli.main(list(arguments), prog_name="ringroad", standalone_mode=False, obj=shell)
    except RingroadError as error:
        print_error(error, as_json=shell.json)
        return exit_status(error)
    except click.ClickException as error:
        error.show()
        return EXIT_STATUS["invalid_input"]
    except (click.Abort, KeyboardInterrupt):
        return 130  # 128 + SIGINT, as shells expect
    except BrokenPipeError:
        return 141  # 128 + SIGPIPE: whoever read our output has enough
    return result if isinstance(result, int) else 0


def main() -> None:
    """Run the program."""
    sys.exit(run(sys.argv[1:], os.environ))
