"""`ringroad site`: plants with engines of their own, which go on when they are cut off from their hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, confirm, example, limited, read_text, show_page, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.supervisor import prepare_var, read_state
from ringroad.cli.tables import exactly, table, when
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.kernel.plurals import counted
from ringroad.storage.leaf import Credentials, read_credentials, store_credentials, stored_credentials
from ringroad.storage.process import folder_error, write_private, write_whole
from ringroad.storage.settings import Settings

CREDENTIALS_BYTES_MAX: Final = 64 * 1024  # bytes of the file that a hub gives a site
KEY_CHARS: Final = 8  # of a key's id that are shown
KEYS_LOOKED_AT: Final = 500  # newest keys of a site that one to revoke is among
FIRST_ROOT: Final = "1.root.json"
EXIT_CUT_OFF: Final = 7  # as `unavailable` in cli/errors.py


@click.group("site", cls=ClientGroup)
def group() -> None:
    """Plants with engines of their own, which go on when they are cut off."""


@group.command("add", epilog=example("ringroad site add leipzig --out leipzig.json"))
@click.argument("plant")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="New file for its credentials.",
)
@click.option("--address", metavar="HOST:PORT", help="Where it reaches this hub, if not under its own name.")
@with_client
def add(shell: Shell, client: Client, *, plant: str, out: Path, address: str | None) -> None:
    """Let a plant be a site, and write what it shows its hub.

    Again: new credentials, and the old ones end. For admins.
    Vehicles that are on its lines go on there, see the answer.
    """
    if out.exists():
        raise InvalidInput(f"{out} exists", hint="choose another file; credentials are not written over")
    made = client.post("/sites", {"plant_id": plant, **({"address": address} if address else {})})
    try:
        write_private(out, made["credentials"])
    except OSError as error:
        raise folder_error(error, out) from error
    shell.show(
        {
            "site": plant, "hub": made["hub"], "credentials": str(out), "on_line": made["on_line"],
            "standing": made["standing"],
        },
        text=f"{plant} is a site of {made['hub']}{under_way_text(made)}\n"
        f"its credentials: {out}, a secret; there: ringroad site join {out.name}",
    )  # fmt: skip


def under_way_text(made: dict[str, Any]) -> str:
    """Say what was under way on the lines of a new site, and what becomes of it."""
    told = ""
    if made["on_line"]:
        told += f"\non its lines: {counted(len(made['on_line']), 'vehicle')}, which the site is told of: finish them there, not here"
    if made["standing"]:
        told += (
            f"\nstill stands: {', '.join(made['standing'])}; the site is not told of it, stop it there, and end it here:"
            f" ringroad schedule resume {made['standing'][0]}"
        )
    return told


@group.command("join", epilog=example("ringroad --var leipzig site join leipzig.json"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def join(shell: Shell, file: Path) -> None:
    """Make this installation a site of the hub that wrote FILE; from its next start on.

    Everything else stays as it is: its own database, console and line.
    """
    settings = shell.settings()
    given = read_credentials(read_text(file, bytes_max=CREDENTIALS_BYTES_MAX), what=str(file))
    if read_state(settings):
        raise Conflict(
            f"Ringroad runs in {settings.var}", hint="end it first: ringroad down", code="already_running"
        )
    before = stored_credentials(settings.site)
    if before is not None and before.site != given.site:
        raise Conflict(
            f"{settings.var} is site {before.site}, it cannot become {given.site}",
            hint="another site has a var folder of its own", code="other_site",
        )  # fmt: skip
    prepare_var(settings)
    keep_roots(settings, given)
    store_credentials(settings.site, given)
    note = (
        ""
        if given.image_root
        else "\nits hub had no keys: it flashes nothing until it is added and joined again"
    )
    shell.show(
        {"site": given.site, "hub": given.hub, "roots": bool(given.image_root)},
        text=f"site {given.site} of {given.hub}; start it with: ringroad up{note}",
    )


@group.command("list", epilog=example("ringroad site list"))
@with_client
def list_sites(shell: Shell, client: Client) -> None:
    """List sites: who is connected, who is cut off since when, what waits there, and until when its key is good."""
    rows = client.get("/sites")
    text = table(
        ("site", "vin", "link", "waiting", "births", "last reconciled", "key until", "conflicts"),
        (
            (
                row["id"],
                row["vin_plant"] or "none",
                _link(row),
                row["waiting"],
                row["births_waiting"],
                when(row["reconciled_at"]),
                "revoked" if row["key_revoked"] else when(row["key_until"]),
                row["conflicts"],
            )
            for row in rows
        ),
        empty="no plant is a site",
    )
    missing = (
        [
            f"{row['id']} told {counted(row['births_lacking'], 'birth')} that are not here, as after a backup; it tells them again"
            for row in rows
            if row["births_lacking"]
        ]
        + [
            f"{row['id']} told {row['events_lacking']} of the events and stops of its lines that are not here, as after a backup; it tells them again"
            for row in rows
            if row["events_lacking"]
        ]
        + [
            f"{row['id']} tells in format {row['newer_format']}, which this hub does not read: it keeps everything until this hub is up to date"
            for row in rows
            if row["newer_format"] is not None
        ]
        + [
            f"{row['id']} told {row['aside']} of the events and stops of its lines that this hub could not read; they are kept: ringroad site aside {row['id']}"
            for row in rows
            if row["aside"]
        ]
    )
    shell.show(rows, text="\n".join((text, *missing)))


@group.command("conflicts", epilog=example("ringroad site conflicts leipzig"))
@click.argument("site")
@limited()
@with_client
def conflicts(shell: Shell, client: Client, *, site: str, limit: int, offset: int) -> None:
    """List where a site and its hub had different truths, and how that was settled."""
    if offset:
        raise InvalidInput("conflicts have no pages", hint="a larger --limit")
    rows = client.get(f"/sites/{site}/conflicts", limit=limit)
    told = [f"{exactly(row['at'])}  {row['kind']} {row['subject']}: {row['reason']}" for row in rows]
    show_page(shell, rows, text="\n".join(told) or "none", limit=limit)


@group.command(
    "births", epilog=example("ringroad site births leipzig", "ringroad site births leipzig --take 3fd09a12")
)
@click.argument("site")
@click.option(
    "--take", "digest", metavar="DIGEST", help="Take this one now; the beginning of its digest is enough."
)
@limited()
@with_client
def births(shell: Shell, client: Client, *, site: str, digest: str | None, limit: int, offset: int) -> None:
    """List vehicles that a site bore and its hub could not take; each is kept whole.

    Two vehicles with one VIN, a release that this hub does not have: a person finds out why, and has it taken then.
    """
    if offset:
        raise InvalidInput("births have no pages", hint="a larger --limit")
    rows = client.get(f"/sites/{site}/births", limit=limit)
    if digest is not None:
        found = [row["sha256"] for row in rows if row["sha256"].startswith(digest.lower())]
        if len(found) != 1:
            raise InvalidInput(
                f"{len(found)} births of {site} begin with {digest!r}", hint=f"ringroad site births {site}"
            )
        done = client.post(f"/sites/{site}/births/{found[0]}/take", {})
        shell.show(done, text=f"{done['id']} is on record")
        return
    told = [
        f"{exactly(row['told_at'])}  {row['vin'] or 'no VIN'}  {row['sha256'][:8]}  "
        + (
            f"taken {exactly(row['settled_at'])} by {row['settled_by']}"
            if row["settled_at"]
            else row["reason"]
        )
        for row in rows
    ]
    show_page(shell, rows, text="\n".join(told) or "none", limit=limit)


@group.command(
    "aside", epilog=example("ringroad site aside leipzig", "ringroad site aside leipzig --take 3fd09a12")
)
@click.argument("site")
@click.option(
    "--take",
    "digest",
    metavar="DIGEST",
    help="Try this one again; the beginning of its digest is enough, and all stands for all that wait.",
)
@limited()
@with_client
def aside(shell: Shell, client: Client, *, site: str, digest: str | None, limit: int, offset: int) -> None:
    """List events and stops of a site's lines that its hub could not read; each is kept whole, and holds up nothing.

    After the hub was brought up to date they may be read: an approver has them tried again.
    """
    if offset:
        raise InvalidInput("what is put aside has no pages", hint="a larger --limit")
    rows = client.get(f"/sites/{site}/aside", limit=limit)
    if digest is not None:
        waiting = [row for row in rows if not row["settled_at"]]
        found = [row for row in waiting if digest == "all" or row["sha256"].startswith(digest.lower())]
        if digest != "all" and len(found) != 1:
            raise InvalidInput(
                f"{len(found)} that wait of {site} begin with {digest!r}", hint=f"ringroad site aside {site}"
            )
        done, refused = [], []
        for row in found:
            try:
                done.append(client.post(f"/sites/{site}/aside/{row['sha256']}/take", {}))
            except Conflict as error:
                if digest != "all":
                    raise
                refused.append(error.message)
        texts = [*(f"{each['id']} is taken" for each in done), *refused]
        shell.show(done, text="\n".join(texts) or "none waits")
        return
    told = [
        f"{exactly(row['told_at'])}  {row['what']} {row['number']} of {row['programme_id']}  {row['sha256'][:8]}  "
        + (
            f"taken {exactly(row['settled_at'])} by {row['settled_by']}"
            if row["settled_at"]
            else row["reason"]
        )
        for row in rows
    ]
    show_page(shell, rows, text="\n".join(told) or "none", limit=limit)


@group.command("keys", epilog=example("ringroad site keys leipzig"))
@click.argument("site")
@limited()
@with_client
def keys(shell: Shell, client: Client, *, site: str, limit: int, offset: int) -> None:
    """List the keys of a site that its hub vouched for, and which were revoked."""
    if offset:
        raise InvalidInput("keys have no pages", hint="a larger --limit")
    rows = client.get(f"/sites/{site}/keys", limit=limit)
    text = table(
        ("key", "vouched for", "until", "revoked", "why"),
        (
            (
                row["key_id"][:KEY_CHARS],
                when(row["issued_at"]),
                when(row["expires_at"]),
                f"{when(row['revoked_at'])} by {row['revoked_by']}" if row["revoked_at"] else "no",
                row["reason"] or "",
            )
            for row in rows
        ),
        empty=f"{site} has no key yet",
    )
    show_page(shell, rows, text=text, limit=limit)


@group.command(
    "revoke-key",
    epilog=example("ringroad site revoke-key leipzig 3fd09a12 --reason 'the server was stolen' --yes"),
)
@click.argument("site")
@click.argument("key")
@click.option("--reason", required=True, help="Why, for the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def revoke_key(shell: Shell, client: Client, *, site: str, key: str, reason: str, yes: bool) -> None:
    """Take no birth any more that a key of a site signed; the beginning of its id is enough. For admins.

    Births on record stay. One that comes later is kept whole and not taken, whatever day its record says; an approver
    who knows the vehicle takes it (ringroad site births --take). The site's line stands, until it shows another key.
    """
    rows = client.get(f"/sites/{site}/keys", limit=KEYS_LOOKED_AT)
    found = [row["key_id"] for row in rows if row["key_id"].startswith(key.lower())]
    if len(found) != 1:
        raise InvalidInput(
            f"{len(found)} keys of {site} begin with {key!r}", hint=f"ringroad site keys {site}"
        )
    confirm(
        f"take no birth any more that key {found[0][:KEY_CHARS]} of {site} signed? Nothing takes this back.",
        yes=yes,
    )
    done = client.post(f"/sites/{site}/keys/{found[0]}/revoke", {"reason": reason})
    shell.show(
        done,
        text=f"key {found[0][:KEY_CHARS]} of {site} is revoked; there: remove birth-key.pem from its folder site, and start it again",
    )


@group.command("remove", epilog=example("ringroad site remove leipzig --yes"))
@click.argument("site")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def remove(shell: Shell, client: Client, *, site: str, yes: bool) -> None:
    """Let a plant be no site any more: its token ends. For admins."""
    confirm(f"end the token of {site}? What it has not told by then stays there.", yes=yes)
    done = client.send("DELETE", f"/sites/{site}")
    shell.show(done, text=f"{site} is no site any more")


@group.command("status", epilog=example("ringroad --var leipzig site status"))
@with_client
def status(shell: Shell, client: Client) -> int:
    """At a site: show what its hub does not have yet, and what may be flashed until when.

    Exit status 7 when it is cut off.
    """
    row = client.get("/site")
    shell.show(row, text="\n".join((state_text(row), *holds_texts(row))))
    return 0 if row["connected"] else EXIT_CUT_OFF


def state_text(row: Mapping[str, Any]) -> str:
    """Say whether its hub is reached; what just could not be asked is no connection, though nothing is overdue yet."""
    reached = f"last reached {when(row['reached_at'])}"
    link = f"cut off, {reached}"
    if row["connected"]:
        link = reached if row["no_news"] else "connected"
    waiting = [
        counted(row[name], word)
        for name, word in (("waiting", "event"), ("births_waiting", "birth"))
        if row[name]
    ]
    waits = f"{' and '.join(waiting)} waiting" if waiting else "nothing waits"
    return f"site {row['site']} of {row['hub']}: {link}; {waits}"


def holds_texts(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield what each line may flash, and until when."""
    if row["held_until"]:
        yield f"may flash until {when(row['held_until'])}, then the {row['held_ends']} ends; its VINs have {row['vin_plant']} in place 11"
    if row["no_news"]:
        yield f"nothing new of its hub's word: {row['no_news']}"
    if row["hub_reads"] is not None:
        yield f"its hub reads format {row['hub_reads']} at most, which is older: what this site tells waits until the hub is up to date"
    if row["hub_tells"] is not None:
        yield f"its hub tells in format {row['hub_tells']}, which is newer: what it tells waits until this site is up to date"
    if row["aside"]:
        yield f"its hub put aside {row['aside']} of the events and stops that this site told, which it could not read; there: ringroad site aside {row['site']}"
    if row["clock_behind_s"]:
        yield f"its clock is {row['clock_behind_s']} s behind the latest time that it knows of, which counts: set it"
    for line in row["lines"]:
        may = "may be flashed" if line["may_flash"] else f"may not be flashed: {line['reason']}"
        yield (
            f"line {line['programme_id']}: {line['release']} {may}"
            if line["release"]
            else f"line {line['programme_id']} has no release to flash: {line['reason']}"
        )
        if line["coming"]:
            missing = line["coming_missing"]
            yield f"line {line['programme_id']}: {line['coming']} is to follow, {counted(missing, 'image')} to come"
        if line["refused"]:
            yield f"line {line['programme_id']}: an image is not here: {line['refused']}"


def keep_roots(settings: Settings, given: Credentials) -> None:
    """Put the first roots where a plant looks for them: vehicles are born with them.

    Raises:
        Conflict: another root is there; nothing was written.
        Unavailable: the folder cannot be read or written.
    """
    new = {}
    for repository, root in (("image", given.image_root), ("director", given.director_root)):
        path = settings.var / "keys" / repository / FIRST_ROOT
        try:
            before = path.read_bytes() if path.exists() else None
        except OSError as error:
            raise folder_error(error, path) from error
        if not root or before == root.encode("ascii"):
            continue
        if before is not None:
            raise Conflict(
                f"{path} is another root than that of {given.hub}: vehicles were born with it, or will be",
                hint="join in a folder of its own (--var); or move both first roots away, if no vehicle was born with them",
                code="other_roots",
            )  # fmt: skip
        new[path] = root
    for path, root in new.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, root.encode("ascii"), mode=0o644)
        except OSError as error:
            raise folder_error(error, path) from error


def _link(row: Mapping[str, Any]) -> str:
    if row["connected"]:
        return "connected"
    return f"cut off since {exactly(row['cut_off_since'])}" if row["heard_at"] else "never heard"
