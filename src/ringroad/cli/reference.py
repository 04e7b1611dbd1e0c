"""Makes `docs/reference/cli.md` from the commands' own help: ``python -m ringroad.cli.reference``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import click

from ringroad.cli import COMMANDS, cli
from ringroad.cli.errors import EXIT_STATUS, EXIT_WAITING

WIDTH_CHARS = 100

MEANING: Mapping[str, str] = {
    "error": "the answer is no (a check that blocks, a campaign that halted), or a fault of ours",
    "invalid_input": "the input is wrong: fix it and send it again; also a wrong command line",
    "not_found": "there is no such thing: look it up first",
    "conflict": "it moved on, or exists already: read again, then decide again",
    "forbidden": "not signed in, or the account may not do this",
    "untrusted": "a signature, hash or certificate did not verify: never retry these bytes",
    "unavailable": "something does not answer: try again later",
    "corrupt": "what is stored does not read back: a person must look",
}

HEAD = """# The command line

Made by `python -m ringroad.cli.reference > docs/reference/cli.md`; do not edit.

Groups follow the loop: signal, design, build, ship, adapt.
Every command takes `--json` and then prints one JSON value on standard output, or one error object on standard error.
A thing is named by its id, by the last characters of its id as tables show them, or by its name or version.

| Variable | Meaning |
|---|---|
| `RINGROAD_SERVER` | the server's address, as `--server`; default: the one in the settings |
| `RINGROAD_PROGRAMME` | the vehicle programme that a command with `--programme` is about where none is named; default: the only one |
| `RINGROAD_TOKEN` | an API token; wins over the one that `ringroad account login` stored |
| `SSL_CERT_FILE` | certificate authorities to trust, for a server elsewhere: its `var/pki/ca.pem` |
| `RINGROAD_CONFIG` | the settings file, as `--config`; settings themselves: [settings](settings.md) |

| Exit status | When |
|---|---|
| 0 | done |
"""


def cli_page() -> str:
    """Return the reference page of all commands, in Markdown."""
    rows = [f"| {EXIT_STATUS[kind]} | `{kind}`: {text} |" for kind, text in MEANING.items()]
    rows += [
        f"| {EXIT_WAITING} | a vehicle was asked and has not answered: ask again with the command that is named |"
    ]
    rows += ["| 130 | ended by Ctrl-C |", "| 141 | whoever read the output had enough |"]
    root = click.Context(
        cli,
        info_name="ringroad",
        terminal_width=WIDTH_CHARS,
        max_content_width=WIDTH_CHARS,
        **cli.context_settings,
    )
    parts = [HEAD + "\n".join(rows) + "\n"]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        if command is not None:
            parts.append(f"## ringroad {name}\n\n{COMMANDS[name][2]}\n")
            parts += [f"```text\n{text}\n```\n" for text in _helps(command, root, name)]
    return "\n".join(parts)


def _helps(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    """Yield the help of a command and of all below it."""
    ctx = click.Context(command, info_name=name, parent=parent)
    yield "\n".join(line.rstrip() for line in command.get_help(ctx).split("\n"))
    if isinstance(command, click.Group):
        for below in command.list_commands(ctx):
            found = command.get_command(ctx, below)
            if found is not None:
                yield from _helps(found, ctx, below)


if __name__ == "__main__":
    sys.stdout.write(cli_page())
