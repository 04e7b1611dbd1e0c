"""`ringroad pdx`: what ECUs call their data and faults, out of the PDX that comes with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, with_client
from ringroad.cli.pdx_read import Described, read_pdx
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table, when
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.protocol.names import EVERY_ECU


@click.group("pdx", cls=ClientGroup)
def group() -> None:
    """Names of ECUs' data and faults, out of a PDX."""


@group.command("show", epilog=example("ringroad pdx show examples/vecu/brake.pdx"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--variant", help="All names of this ECU.")
@click.pass_obj
def show(shell: Shell, *, file: Path, variant: str | None) -> None:
    """Show what FILE describes, without a server; needs the extra 'odx'."""
    found = read_pdx(file)
    if variant is None:
        rows = [
            {"variant": one.variant, "label": one.label, "data": len(one.names.data), "faults": len(one.names.faults)}
            for one in found
        ]  # fmt: skip
        text = table(
            ("variant", "label", "data", "faults"),
            (tuple(row.values()) for row in rows),
            empty=f"{file.name} names no data and no fault",
        )
        shell.show(rows, text=text)
        return
    names = _variant(found, variant).names
    shell.show({"data": names.data, "faults": names.faults}, text=_listed(names.data, names.faults))


@group.command(
    "import",
    epilog=example(
        "ringroad pdx import supplier.pdx --programme road",
        "ringroad pdx import supplier.pdx --programme road --ecu brake=ESP_9_3",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--programme", required=True, help="Whose ECUs they are.")
@click.option(
    "--ecu", "chosen", multiple=True, metavar="ECU=VARIANT", help="ECU of the programme and its variant in FILE."
)  # fmt: skip
@click.option("--every", metavar="VARIANT", help="Its names hold for every ECU that has none of its own.")
@with_client
def import_file(
    shell: Shell, client: Client, *, file: Path, programme: str, chosen: tuple[str, ...], every: str | None
) -> None:
    """Take the names in FILE for ECUs of a programme; needs the extra 'odx'.

    Without --ecu and --every, variants go to the ECUs of the same name, capitals and signs aside.
    The names an ECU had before are replaced.
    """
    found = read_pdx(file)
    pairs = [_pair(found, text) for text in chosen]
    if every is not None:
        pairs.append((EVERY_ECU, _variant(found, every)))
    if not pairs:
        document = client.get(f"/programmes/{quote(programme)}")["document"]
        pairs = match_variants(document["ecus"], found)
    if not pairs:
        raise InvalidInput(
            f"no variant of {file.name} is called like an ECU of {programme}",
            hint=f"--ecu ECU=VARIANT; in the file: {', '.join(one.variant for one in found[:8]) or 'none'}",
        )
    done = []
    for ecu, one in pairs:
        body = {"source": file.name[:200], "data": one.names.data, "faults": one.names.faults}
        state = client.send("PUT", _path(programme, ecu), body=body)["state"]
        done.append({"ecu": ecu, "variant": one.variant, "data": len(one.names.data), "faults": len(one.names.faults), "state": state})  # fmt: skip
    left = sorted({one.variant for one in found} - {one.variant for _, one in pairs})
    text = table(
        ("ecu", "variant", "data", "faults", "state"), (tuple(row.values()) for row in done), empty=""
    )
    if left:
        text += f"\nnot taken: {', '.join(left)}"
    shell.show(done, text=text)


@group.command("names", epilog=example("ringroad pdx names road", "ringroad pdx names road brake"))
@click.argument("programme")
@click.argument("ecu", required=False)
@with_client
def names(shell: Shell, client: Client, *, programme: str, ecu: str | None) -> None:
    """Show which ECUs of a PROGRAMME have names, or all names of one ECU."""
    if ecu is not None:
        found = client.get(_path(programme, ecu))
        shell.show(found, text=_listed(found["data"], found["faults"]))
        return
    rows = client.get(f"/programmes/{quote(programme)}/names")
    text = table(
        ("ecu", "data", "faults", "source", "by", "imported"),
        (
            (
                row["ecu"],
                row["data"],
                row["faults"],
                row["source"],
                row["imported_by"],
                when(row["imported_at"]),
            )
            for row in rows
        ),
        empty="no names; ringroad pdx import FILE --programme PROGRAMME",
    )
    shell.show(rows, text=text)


@group.command("forget", epilog=example("ringroad pdx forget road brake"))
@click.argument("programme")
@click.argument("ecu")
@with_client
def forget(shell: Shell, client: Client, *, programme: str, ecu: str) -> None:
    """Show the codes of an ECU without names again."""
    done = client.send("DELETE", _path(programme, ecu))
    shell.show(done, text=f"names of {ecu}: {done['state']}")


def match_variants(ecus: Iterable[str], found: Iterable[Described]) -> list[tuple[str, Described]]:
    """Return each ECU with the variant of its name, capitals and signs aside; of two such variants the first."""
    by_name: dict[str, Described] = {}
    for one in found:
        by_name.setdefault(_plain(one.variant), one)
    return [(ecu, by_name[_plain(ecu)]) for ecu in sorted(ecus) if _plain(ecu) in by_name]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _pair(found: list[Described], text: str) -> tuple[str, Described]:
    ecu, _, variant = text.partition("=")
    if not ecu or not variant:
        raise InvalidInput(f"{text!r} does not say which variant an ECU is", hint="--ecu brake=ESP_9_3")
    return ecu, _variant(found, variant)


def _variant(found: list[Described], name: str) -> Described:
    for one in found:
        if one.variant == name:
            return one
    known = ", ".join(one.variant for one in found[:8])
    raise NotFound(f"the file describes no {name} with names", hint=f"it describes: {known or 'nothing'}")


def _path(programme: str, ecu: str) -> str:
    return f"/programmes/{quote(programme)}/names/{quote(ecu, safe='*')}"


def _listed(data: Mapping[str, Any], faults: Mapping[str, Any]) -> str:
    rows = [*(("data", code, name) for code, name in data.items()), *(("fault", code, name) for code, name in faults.items())]  # fmt: skip
    return table(("what", "code", "name"), rows, empty="no names")
