"""`ringroad fleet birth`: what a vehicle was when it left the line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import example, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, table
from ringroad.http.auth import Role
from ringroad.kernel.errors import Forbidden, NotFound
from ringroad.kernel.plurals import counted


@click.command("birth", epilog=example("ringroad fleet birth WRR1ZZZ00PA000001"))
@click.argument("vin")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the signed record to this file."
)
@with_client
def birth(shell: Shell, client: Client, *, vin: str, out: Path | None) -> None:
    """Show a vehicle's birth record: parts, lots, software, checks, RXSWINs, and what its updates made of those."""
    found = client.get(f"/vehicles/{vin.upper()}/birth")
    if out is not None:
        out.write_text(found["envelope"], encoding="utf-8")
    shell.show(
        found, text="\n\n".join(part for part in (head(found), *lists(found["record"], found)) if part)
    )


def head(found: Mapping[str, Any]) -> str:
    """Return where and when a vehicle was born, with which software, and what its updates made of that."""
    by = f"by {found['signed_by'][:16]}" if found["signed_by"] else "nobody: the server had no keys"
    now = found["rxswins_now"]
    changed = [
        f"{system} {number}"
        for system, number in now.items()
        if found["record"]["rxswins"].get(system) != number
    ]
    since = f"{', '.join(changed)} (release {found['release_now']})" if changed else ""
    return details(
        [*facts_of(found["record"]), ("rxswin now", since), ("record", found["sha256"][:16]), ("signed", by)]
    )


def facts_of(record: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return what a record says of where, when and with which software a vehicle was born."""
    plant = record["plant"]
    return [
        ("vin", record["vin"]),
        ("born", exactly(record["born_at"])),
        ("plant", f"{plant['id']}, {plant['line'] or 'no line'} ({plant['structure_sha256'][:10]})"),
        ("order", record["order"]),
        ("release", f"{record['release']['name']} {record['release']['version']}"),
        ("rxswin", [f"{system} {number}" for system, number in record["rxswins"].items()] or "none declared"),
    ]


def lists(record: Mapping[str, Any], found: Mapping[str, Any] | None = None) -> list[str]:
    """Return ECUs, parts and checks of a record as tables."""
    ecus = table(
        ("ecu", "serial", "version", "file"),
        ((each["name"], each["serial"], each["version"], each["file"]) for each in record["ecus"]),
        empty="",
    )
    later = found["later_parts"] if found else []
    parts = table(
        ("part", "lot", "serial", "supplier", "station", "told"),
        [
            *(
                (p["part"], p["lot"], p["serial"], p["supplier"], p["station"], "before birth")
                for p in record["parts"]
            ),
            *((p["part"], p["lot"], p["serial"], p["supplier"], p["station"], "later") for p in later),
        ],
        empty="no part with a lot was told",
    )
    tests = table(
        ("check", "station", "result", "failed before"),
        (
            (each["check"], each["station"] or "end of line", "passed" if each["passed"] else "failed",
             each["failed_before"] or "")
            for each in record["tests"]
        ),
        empty="no check was told",
    )  # fmt: skip
    return [ecus, parts, tests]


def birth_of(client: Client, vin: str) -> tuple[Mapping[str, Any] | None, str]:
    """Return a vehicle's birth record, and a few lines on it; nothing for whom it is not."""
    try:
        found = client.get(f"/vehicles/{vin}/birth")
    except NotFound as error:
        hidden = client.get("/me")["role"] == Role.FLEET  # to whom there is no such thing
        return None, "" if hidden else details([("birth record", error.message)])
    except Forbidden:
        return None, ""
    record = found["record"]
    told = ", ".join(
        (counted(len(record["parts"]), "part"), counted(len(record["tests"]), "check"),
         "signed" if found["signed_by"] else "not signed")
    )  # fmt: skip
    now = [f"{system} {number}" for system, number in found["rxswins_now"].items()]
    return found, details([("birth record", f"{told}; ringroad fleet birth {vin}"), ("rxswin", now)])
