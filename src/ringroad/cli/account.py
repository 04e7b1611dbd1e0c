"""`ringroad account`: sign in, and manage who may do what."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ringroad.cli.client import Client, find_address, open_client, tokens_of
from ringroad.cli.groups import ClientGroup, access_of, account_of, example, read_text, server_of, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table, when
from ringroad.cli.tokens import Entry
from ringroad.http.auth import Role
from ringroad.kernel.clock import new_secret
from ringroad.kernel.errors import InvalidInput, NotFound

DAY_S = 86_400
TOKEN_CHARS_MAX = 1_000  # characters of a line; a one-time token has 48
ROLES = click.Choice([role.value for role in Role])


@click.group("account", cls=ClientGroup)
def group() -> None:
    """Sign in; accounts, roles and tokens."""


@group.command(
    "login",
    epilog=example(
        "ringroad account login --one-time                (asks for the token that `ringroad up` prints; sets a password)",
        "ringroad account login --name ines",
        "ringroad account login --as ole                  (beside ines, for commands with --as ole)",
    ),
)
@click.option("--name", help="Your account; asked for when not given.")
@click.option(
    "--one-time", is_flag=True,
    help="With a one-time token: sets your password. The token is asked for, or is the first line of standard input.",
)  # fmt: skip
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Take the password from the first line of this file instead of asking.",
)
@click.pass_obj
def login(shell: Shell, *, name: str | None, one_time: bool, password_file: Path | None) -> None:
    """Sign in.

    The API token is kept in a file that only you can read, and never shown.
    With --as, whoever is signed in stays so, and this account is taken where --as names it.
    """
    settings, beside = shell.settings(), account_of()
    with open_client(access_of(shell, anonymous=True)) as client:
        if one_time:
            once = _one_time_token()
            password = _password(password_file, "New password (12 characters or more)", confirm=True)
            made = client.post("/first-login", {"token": once, "password": password})
        else:
            name = name or beside or click.prompt("Name", err=True)
            password = _password(password_file, "Password", confirm=False)
            made = client.post("/login", {"name": name, "password": password})
        tokens = tokens_of(settings, shell.env, client.address, account=beside)
        tokens.put(Entry(account=made["account"], token=made["token"]))
        shell.show(
            {"account": made["account"], "server": client.address.url, "expires_in_s": made["expires_in_s"]},
            text=f"signed in to {client.address.url} as {made['account']}, for {made['expires_in_s'] // DAY_S} days"
            + (f"; use it with --as {made['account']}" if beside else ""),
        )


@group.command("logout", epilog=example("ringroad account logout", "ringroad account logout --everywhere"))
@click.option("--everywhere", is_flag=True, help="Also end every other token and session of this account.")
@click.pass_obj
def logout(shell: Shell, *, everywhere: bool) -> None:
    """Forget the token on this machine."""
    settings = shell.settings()
    if everywhere:
        with open_client(access_of(shell)) as client:
            client.send("DELETE", "/tokens")
    address = find_address(settings, server_of())
    known = tokens_of(settings, shell.env, address, account=account_of()).drop()
    shell.show(
        {"signed_out": known or everywhere},
        text="signed out" if known or everywhere else "nobody was signed in",
    )


@group.command("whoami", epilog=example("ringroad account whoami"))
@with_client
def whoami(shell: Shell, client: Client) -> None:
    """Show who is signed in, and as what."""
    me = client.get("/me")
    shell.show(me, text=f"{me['name']}, {me['role']}, at {client.address.url}")


@group.command(
    "create",
    epilog=example(
        "ringroad account create ines --role approver",
        "ringroad account create cabs --role fleet --list oslo-cabs",
    ),
)
@click.argument("name")
@click.option(
    "--role", type=ROLES, required=True, help="What the account may do; each includes those before."
)
@click.option("--tag", "tags", multiple=True, help="With --role fleet: vehicles with this tag are its own.")
@click.option("--list", "lists", multiple=True, help="With --role fleet: vehicles in this list are its own.")
@with_client
def create(
    shell: Shell, client: Client, *, name: str, role: str, tags: tuple[str, ...], lists: tuple[str, ...]
) -> None:
    """Create an account and print its one-time token.

    Its owner sets a password with it.
    """
    body = {"name": name, "role": role, "tags": tags, "lists": lists}
    made = client.post("/accounts", body)
    shell.show(
        made,
        text=f"account {name}, {role}\none-time token, for {name} only: {made['token']}\n"
        f"{name} signs in with: ringroad account login --one-time    (or on the console)",
    )


@group.command(
    "change",
    epilog=example(
        "ringroad account change ines --role admin",
        "ringroad account change ole --lock",
        "ringroad account change ole --diagnose service",
    ),
)
@click.argument("name")
@click.option("--role", type=ROLES, help="What it may do from now on.")
@click.option("--lock/--unlock", "locked", default=None, help="A locked account loses its tokens at once.")
@click.option("--tag", "tags", multiple=True, help="Tags of its fleet from now on, in place of those before.")
@click.option("--list", "lists", multiple=True, help="Lists of its fleet from now on.")
@click.option("--no-fleet", is_flag=True, help="No tags and no lists.")
@click.option(
    "--diagnose",
    type=click.Choice(["none", "read", "service"]),
    help="What it may ask vehicles: nothing, to read, or to change as well.",
)
@with_client
def change(
    shell: Shell,
    client: Client,
    *,
    name: str,
    role: str | None,
    locked: bool | None,
    tags: tuple[str, ...],
    lists: tuple[str, ...],
    no_fleet: bool,
    diagnose: str | None,
) -> None:
    """Change an account's role, fleet or permission for diagnostics, lock or unlock it."""
    body: dict[str, object] = {}
    if role is not None:
        body["role"] = role
    if locked is not None:
        body["disabled"] = locked
    if tags or no_fleet:
        body["tags"] = tags
    if lists or no_fleet:
        body["lists"] = lists
    if diagnose is not None:
        body["diagnose"] = "" if diagnose == "none" else diagnose
    if not body:
        raise InvalidInput("nothing to change", hint="--role, --tag, --list, --diagnose, --lock or --unlock")
    done = client.send("PATCH", f"/accounts/{name}", body=body)
    shell.show(done, text=f"account {name} changed")


@group.command("list", epilog=example("ringroad account list"))
@with_client
def list_all(shell: Shell, client: Client) -> None:
    """List all accounts."""
    rows = client.get("/accounts")
    text = table(
        ("name", "role", "fleet", "state", "api tokens", "created"),
        (
            (
                row["name"],
                row["role"],
                [*(f"tag {each}" for each in row["tags"]), *(f"list {each}" for each in row["lists"])],
                "locked" if row["disabled_at"] else ("" if row["has_password"] else "no password yet"),
                row["api_tokens"],
                when(row["created_at"]),
            )
            for row in rows
        ),
    )
    shell.show(rows, text=text)


@group.command("token", epilog=example("RINGROAD_TOKEN=$(ringroad account token) ringroad campaign list"))
@with_client
def token(shell: Shell, client: Client) -> None:
    """Make another API token for your account, for a script.

    It is printed now, and never again.
    """
    made = client.post("/tokens")
    shell.show(made, text=made["token"])


@group.command("reset", epilog=example("ringroad account reset admin"))
@click.argument("name")
@click.pass_obj
def reset(shell: Shell, *, name: str) -> None:
    """Print a new one-time token for an account whose password is lost.

    Works on the server's own machine, on its database, with no need to be signed in.
    """
    from ringroad.http.accounts_store import issue_one_time_token, list_accounts  # noqa: PLC0415 - as shell.connect

    with shell.connect() as conn:
        known = {row["name"]: Role(row["role"]) for row in list_accounts(conn)}
        if name not in known:
            raise NotFound(f"there is no account {name!r}", hint="ringroad account list shows all")
        made = issue_one_time_token(
            conn, shell.ids, name=name, role=known[name], now=shell.clock.now(), secret=new_secret
        )
    shell.show({"account": name, "token": made}, text=made)


def _one_time_token() -> str:
    """Read a one-time token. Never from the command line: whoever lists the processes would see it."""
    if sys.stdin.isatty():
        return str(click.prompt("One-time token", hide_input=True, err=True)).strip()
    token = sys.stdin.readline(TOKEN_CHARS_MAX).strip()
    if not token:
        raise InvalidInput(
            "there is no one-time token on standard input", hint="pipe it in, or use a terminal"
        )
    return token


def _password(file: Path | None, prompt: str, *, confirm: bool) -> str:
    if file is not None:
        line = read_text(file, bytes_max=4096).split("\n", 1)[0].rstrip("\r")
        if not line:
            raise InvalidInput(f"{file} begins with an empty line", hint="put the password on its first line")
        return line
    if not sys.stdin.isatty():
        raise InvalidInput("there is no terminal to ask for the password", hint="use --password-file")
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))
