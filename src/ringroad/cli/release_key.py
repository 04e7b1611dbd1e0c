"""`ringroad release key`: whose signatures on Mender artifacts count."""

from __future__ import annotations

from pathlib import Path

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, read_text, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table, tail, when
from ringroad.kernel.errors import NotFound
from ringroad.kernel.limits import PUBLIC_KEY_CHARS_MAX


@click.group("key", cls=ClientGroup)
def keys() -> None:
    """Public keys whose signatures on Mender artifacts count; an approver registers them."""


@keys.command(
    "add",
    epilog=example(
        "ringroad release key add egret.pem --name 'Egret build server' --supplier Egret",
        "ringroad release key add ours.pem --name 'our own'",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", required=True, help="What people call it.")
@click.option("--supplier", default="", help="Whose ECUs it signs for; default: everybody's.")
@click.option("--programme", help="The vehicle programme; default: the only one.")
@with_client
def add(shell: Shell, client: Client, *, file: Path, name: str, supplier: str, programme: str | None) -> None:
    """Register the public key in FILE (PEM; RSA, or ECDSA on P-256)."""
    made = client.post(
        "/artifact-keys",
        {
            "programme_id": programme_of(client, programme), "name": name, "supplier": supplier,
            "public_key": read_text(file, bytes_max=PUBLIC_KEY_CHARS_MAX),
        },
    )  # fmt: skip
    shell.show(made, text=f"key {made['id']} is good")


@keys.command("list", epilog=example("ringroad release key list"))
@click.option("--programme", help="The vehicle programme; default: all.")
@with_client
def list_keys(shell: Shell, client: Client, *, programme: str | None) -> None:
    """List the keys, revoked ones too."""
    rows = client.get("/artifact-keys", programme_id=programme)
    text = table(
        ("id", "name", "programme", "supplier", "kind", "sha256", "added by", "added", "ended"),
        (
            (
                tail(row["id"]), row["name"], row["programme_id"], row["supplier"] or "every", row["kind"],
                row["sha256"][:16], row["added_by"], when(row["added_at"]), when(row["revoked_at"]),
            )
            for row in rows
        ),
        empty="no key: Mender artifacts are taken only where mender_signature is reported",
    )  # fmt: skip
    shell.show(rows, text=text)


@keys.command("revoke", epilog=example("ringroad release key revoke 7k3mfq2a"))
@click.argument("key")
@with_client
def revoke(shell: Shell, client: Client, *, key: str) -> None:
    """End a key at once. KEY is its id, the end of it, or its name."""
    rows = [row for row in client.get("/artifact-keys") if not row["revoked_at"]]
    found = [row for row in rows if key in (row["id"], tail(row["id"]), row["name"])]
    if len(found) != 1:
        raise NotFound(
            f"{len(found) or 'no'} keys are called {key[:80]!r}", hint="ringroad release key list shows all"
        )
    done = client.send("DELETE", f"/artifact-keys/{found[0]['id']}")
    shell.show(done, text=f"key {done['id']} ended")
