"""`ringroad fleet register`, `invite`, `shut-out` and `gateway-token`: which DDI devices are known, and by what."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.registration_file import read_registrations
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table, tail, when
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.limits import REGISTRATIONS_MAX
from ringroad.kernel.plurals import counted


@click.command("register", epilog=example("ringroad fleet register vehicles.csv --tokens tokens.csv"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--programme", help="The vehicle programme; default: the only one.")
@click.option(
    "--tokens",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the one-time tokens to this new file, for your eyes only, instead of the terminal.",
)
@with_client
def register(shell: Shell, client: Client, *, file: Path, programme: str | None, tokens: Path | None) -> None:
    """Put the DDI vehicles in FILE on record and print each one's one-time enrolment token.

    FILE is CSV (vin,variant and where wanted region,tags,serial:ECU) or TOML ([[vehicle]]).
    A device gets its own secret with its token, once, within 30 days.
    """
    try:
        rows = read_registrations(file.read_bytes(), name=file.name)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
    programme_id = programme_of(client, programme)
    made: list[Mapping[str, Any]] = []
    sink = _open_private(tokens) if tokens is not None else None
    try:
        for start in range(0, len(rows), REGISTRATIONS_MAX):
            part = [dict(row.body) for row in rows[start : start + REGISTRATIONS_MAX]]
            answer = client.post("/vehicles/register", {"programme_id": programme_id, "vehicles": part})
            made += answer
            if sink is not None:  # at once: they cannot be read again
                _write(sink, answer, header=start == 0)
    finally:
        if sink is not None:
            sink.close()
    if tokens is not None:
        shell.show(
            {"registered": len(made), "tokens": str(tokens)},
            text=f"{counted(len(made), 'vehicle')} registered; their one-time tokens are in {tokens}",
        )
    else:
        lines = [f"{each['vin']}  {each['enrolment_token']}" for each in made]
        shell.show(
            made,
            text="\n".join([*lines, f"{counted(len(made), 'vehicle')} registered; the tokens work once"]),
        )


@click.command("invite", epilog=example("ringroad fleet invite WRR1ZZZ00PA000001"))
@click.argument("vin")
@with_client
def invite(shell: Shell, client: Client, *, vin: str) -> None:
    """Print a new one-time enrolment token for a vehicle that is on record.

    What it has stays good until it enrols.
    """
    made = client.post(f"/vehicles/{vin.upper()}/invite")
    shell.show(made, text=f"{made['vin']}  {made['enrolment_token']}")


@click.command("shut-out", epilog=example("ringroad fleet shut-out WRR1ZZZ00PA000001"))
@click.argument("vin")
@with_client
def shut_out(shell: Shell, client: Client, *, vin: str) -> None:
    """End a vehicle's token, certificates and invitation at once."""
    done = client.post(f"/vehicles/{vin.upper()}/shut-out")
    shell.show(done, text=f"{done['id']} is shut out; ringroad fleet invite lets it in again")


@click.group("gateway-token", cls=ClientGroup)
def gateway_token() -> None:
    """Tokens that speak for every DDI vehicle on record; there is none until an admin makes one."""


@gateway_token.command("create", epilog=example("ringroad fleet gateway-token create 'depot in Bergen'"))
@click.argument("name")
@with_client
def create(shell: Shell, client: Client, *, name: str) -> None:
    """Make a gateway token for NAME; it is printed now, and never again."""
    made = client.post("/gateway-tokens", {"name": name})
    shell.show(made, text=f"gateway token {made['id']}\n{made['token']}")


@gateway_token.command("list", epilog=example("ringroad fleet gateway-token list"))
@with_client
def list_tokens(shell: Shell, client: Client) -> None:
    """List gateway tokens, without the tokens."""
    rows = client.get("/gateway-tokens")
    text = table(
        ("id", "name", "made by", "made", "ended"),
        (
            (
                tail(row["id"]),
                row["name"],
                row["created_by"],
                when(row["created_at"]),
                when(row["revoked_at"]),
            )
            for row in rows
        ),
        empty="no gateway token: every device needs a secret of its own",
    )
    shell.show(rows, text=text)


@gateway_token.command("revoke", epilog=example("ringroad fleet gateway-token revoke 7k3mfq2a"))
@click.argument("token_id")
@with_client
def revoke(shell: Shell, client: Client, *, token_id: str) -> None:
    """End a gateway token at once. TOKEN_ID is an id, the end of one, or a name."""
    rows = [row for row in client.get("/gateway-tokens") if not row["revoked_at"]]
    found = [row for row in rows if token_id in (row["id"], tail(row["id"]), row["name"])]
    if len(found) != 1:
        raise NotFound(
            f"{len(found) or 'no'} gateway tokens are called {token_id[:80]!r}",
            hint="ringroad fleet gateway-token list shows all",
        )
    done = client.send("DELETE", f"/gateway-tokens/{found[0]['id']}")
    shell.show(done, text=f"gateway token {done['id']} ended")


def _open_private(path: Path) -> IO[str]:
    """Open a new file that only its owner can read; one that is there stays as it is."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be made: {error.strerror}", hint="--tokens names a new file"
        ) from error


def _write(sink: IO[str], made: Iterable[Mapping[str, Any]], *, header: bool) -> None:
    writer = csv.writer(sink)
    if header:
        writer.writerow(("vin", "enrolment_token", "expires_at"))
    writer.writerows((each["vin"], each["enrolment_token"], each["expires_at"]) for each in made)
    sink.flush()
