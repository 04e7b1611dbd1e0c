"""`ringroad fleet query`, `fleet tag` and `fleet lists`: name vehicles by query, by tag, by list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ringroad.cli.campaign_text import preview_text
from ringroad.cli.client import Client
from ringroad.cli.complete import complete_query
from ringroad.cli.groups import EXIT_NO, ClientGroup, confirm, example, read_text, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table, when
from ringroad.cli.uploads import upload
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.plurals import counted
from ringroad.ship.lists import LIST_BYTES_MAX, read_list
from ringroad.ship.query import point_at

REFUSED_SHOWN = 20  # rows
PAGE = 1_000  # VINs per request


@contextmanager
def pointing(query: str) -> Iterator[None]:
    """Show where a query cannot be read: the line, and a caret below it."""
    try:
        yield
    except InvalidInput as error:
        column = re.match(r"query, column (\d+): ", error.message)
        if error.code != "query_invalid" or column is None:
            raise
        shown = point_at(query, int(column[1]))
        raise InvalidInput(f"{error.message}\n{shown}", hint=error.hint, code=error.code) from error


@click.command(
    "query",
    epilog=example(
        "ringroad fleet query 'region = NO and telemetry.Vehicle.TraveledDistance > 100000'",
        "ringroad fleet query --complete 'ecu.br'",
    ),
)
@click.argument("query", shell_complete=complete_query)
@click.option("--programme", help="The vehicle programme; default: the only one.")
@click.option("--complete", is_flag=True, help="Show what may stand at the end of QUERY instead.")
@click.option("--cursor", type=click.IntRange(0), help="With --complete: characters before the cursor.")
@with_client
def query_vehicles(
    shell: Shell, client: Client, *, query: str, programme: str | None, complete: bool, cursor: int | None
) -> None:
    """Try a QUERY: which vehicles match, which do not, and why; or complete it."""
    body: dict[str, Any] = {"query": query, "programme_id": programme_of(client, programme)}
    if not complete:
        with pointing(query):
            found = client.post("/vehicles/preview", body)
        shell.show(found, text=preview_text(found))
        return
    found = client.post(
        "/vehicles/complete", {"query": query, "cursor": len(query) if cursor is None else cursor}
    )
    shell.show(found, text="\n".join(choice["text"] for choice in found["choices"]))


@click.command(
    "tag",
    epilog=example(
        "ringroad fleet tag pilot WRR1ZZZ00PA000001",
        "ringroad fleet tag oslo --query 'region = NO'",
        "ringroad fleet tag pilot --file vins.txt --remove",
    ),
)
@click.argument("tag")
@click.argument("vins", nargs=-1)
@click.option("--query", shell_complete=complete_query, help="All vehicles that it selects.")
@click.option("--programme", help="With --query: the vehicle programme; default: the only one.")
@click.option(
    "--file", type=click.Path(path_type=Path, dir_okay=False), help="VINs from a file, one per line."
)
@click.option("--remove", is_flag=True, help="Take the tag away.")
@with_client
def tag_vehicles(
    shell: Shell,
    client: Client,
    *,
    tag: str,
    vins: tuple[str, ...],
    query: str | None,
    programme: str | None,
    file: Path | None,
    remove: bool,
) -> int:
    """Give vehicles a TAG, or take it away.

    Exit status 1 when some of them could not be tagged.
    """
    if (query is not None) + bool(vins) + (file is not None) != 1:
        raise InvalidInput("name vehicles by VIN, by --query or by --file, one of them")
    body: dict[str, Any] = {"remove": remove, "vins": list(vins)}
    if file is not None:
        read = read_list(read_text(file, bytes_max=LIST_BYTES_MAX).encode())
        if read.refused:
            first = read.refused[0]
            raise InvalidInput(f"{file}, line {first.line}: {first.text!r} is {first.reason}")
        body["vins"] = list(read.lines)
    if query is not None:
        body |= {"query": query, "programme_id": programme_of(client, programme)}
    with pointing(query or ""):
        done = client.post(f"/fleet/tags/{tag}", body)
    lines = [f"{counted(done['changed'], 'vehicle')} {'lost' if remove else 'got'} the tag {tag}"]
    if done["unchanged"]:
        lines.append(f"{done['unchanged']} {'did not have' if remove else 'had'} it")
    lines += [f"no such vehicle: {vin}" for vin in done["unknown"][:REFUSED_SHOWN]]
    lines += [f"has too many tags: {vin}" for vin in done["full"][:REFUSED_SHOWN]]
    shell.show(done, text="\n".join(lines))
    return EXIT_NO if done["unknown"] or done["full"] else 0


@click.group("lists", cls=ClientGroup)
def lists() -> None:
    """Named lists of vehicles, from files; a query names one with `list = NAME`."""


@lists.command("show", epilog=example("ringroad fleet lists show", "ringroad fleet lists show winter-recall"))
@click.argument("name", required=False)
@with_client
def show_lists(shell: Shell, client: Client, *, name: str | None) -> None:
    """Show all lists, or the vehicles of one."""
    if name is None:
        rows = client.get("/fleet/lists")
        text = table(
            ("name", "vehicles", "generation", "changed by", "changed"),
            ((row["name"], row["vehicles"], row["generation"], row["changed_by"], when(row["changed_at"])) for row in rows),
            empty="no list; ringroad fleet lists set NAME FILE",
        )  # fmt: skip
        shell.show(rows, text=text)
        return
    vins: list[str] = []
    while page := client.get(f"/fleet/lists/{name}/vehicles", after_vin=vins[-1] if vins else "", limit=PAGE):
        vins += page
        if len(page) < PAGE:
            break
    shell.show(vins, text="\n".join(vins) or "no vehicle")


@lists.command(
    "set",
    epilog=example(
        "ringroad fleet lists set winter-recall vins.txt",
        "ringroad fleet lists set winter-recall late.csv --add --partial",
    ),
)
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--add", "mode", flag_value="add", help="Add the file's vehicles to the list.")
@click.option("--take", "mode", flag_value="remove", help="Take the file's vehicles out of the list.")
@click.option("--partial", is_flag=True, help="Store the good rows of a file that has refused ones.")
@with_client
def set_list(shell: Shell, client: Client, *, name: str, file: Path, mode: str | None, partial: bool) -> int:
    """Make a list of the VINs in FILE, one per line; a CSV file's first column.

    A refused row is told with its line, and stops all of it unless --partial.
    Exit status 1 when the list is not stored.
    """
    query = {"mode": mode or "replace", "partial_rows": str(partial).lower()}
    done = upload(client, f"/fleet/lists/{name}", file, query=query, method="PUT")
    lines = [
        f"{file.name}, line {row['line']}: {row['text']!r}: {row['reason']}" for row in done["refused_rows"]
    ]
    hidden = done["refused"] - len(lines[:REFUSED_SHOWN])
    lines = lines[:REFUSED_SHOWN] + ([f"and {hidden} more rows are refused"] if hidden else [])
    state = f"{counted(done['vehicles'], 'vehicle')}: {done['added']} added, {done['removed']} taken out"
    lines.append(
        f"list {name} has {state}" if done["stored"] else "nothing is stored; mend the file, or --partial"
    )
    shell.show(done, text="\n".join(lines))
    return 0 if done["stored"] else EXIT_NO


@lists.command("remove", epilog=example("ringroad fleet lists remove winter-recall --yes"))
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def remove_list(shell: Shell, client: Client, *, name: str, yes: bool) -> None:
    """Remove a list; plans that named it keep their vehicles."""
    confirm(f"Remove the list {name}?", yes=yes)
    done = client.send("DELETE", f"/fleet/lists/{name}")
    shell.show(done, text=f"list {name} is removed")
