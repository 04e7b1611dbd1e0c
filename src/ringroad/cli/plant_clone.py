"""`ringroad plant clone` and `learn`: a plant out of another one, and what it finds out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import example, with_client
from ringroad.cli.plant_document import amount, between
from ringroad.cli.shell import Shell
from ringroad.cli.tables import counted, table


@click.command("clone", epilog=example("ringroad plant clone wren-mother --to wren-north --site Nordhavn"))
@click.argument("plant")
@click.option("--to", "clone_id", required=True, metavar="ID", help="Id of the new plant.")
@click.option("--site", required=True, help="ISA-95 site of the new plant.")
@click.option("--name", help="For people; default: as the id.")
@with_client
def clone(shell: Shell, client: Client, *, plant: str, clone_id: str, site: str, name: str | None) -> None:
    """Clone PLANT: structure by reference, parameters as priors that weigh less and less as the clone learns.

    It inherits from PLANT and from all plants here of the same structure that are nobody's clones.
    """
    row = client.post(f"/plants/{plant}/clone", {"id": clone_id, "name": name or clone_id, "site": site})
    shell.show(
        row,
        text=f"plant {row['id']}, generation {row['generation']}: {counted(row['stations'], 'station')}"
        f" of {plant}, {counted(row['parameters'], 'parameter')} inherited",
    )


@click.command(
    "learn", epilog=example("ringroad plant learn wren-north", "ringroad plant learn wren-north --preview")
)
@click.argument("plant")
@click.option("--preview", is_flag=True, help="Show what it would believe, and keep nothing.")
@with_client
def learn(shell: Shell, client: Client, *, plant: str, preview: bool) -> None:
    """Let a plant learn from its own station times, and show where they contradict what it believed."""
    row = client.get(f"/plants/{plant}/lesson") if preview else client.post(f"/plants/{plant}/learn")
    shell.show(row, text=lesson_text(row))


def lesson_text(row: Mapping[str, Any]) -> str:
    """Return what a plant found out."""
    parents = ", ".join(row["inherited_from"])
    parts = [
        f"plant {row['id']}, generation {row['generation']}"
        + (f", inherits from {parents}" if parents else ", is nobody's clone")
    ]
    different = "locally different" if parents else "not what it was"
    for kind in row["kinds"]:
        seen = [each for each in kind["parameters"] if each["own_n"]]
        if not seen:
            continue
        head = f"{kind['kind']}: {counted(len(seen), 'station')} measured"
        if parents:
            head += f"; as a whole {100 * kind['plant']:+.1f} %"
            head += f"; stations that are alike differ by {100 * kind['transfer_sd']:.0f} %"
        parts += [
            "",
            head,
            table(
                ("of", "inherited" if parents else "before", "believed", "90 % between", "own", ""),
                (
                    (
                        each["belief"]["key"].partition("#")[0], amount(each["belief"], each["inherited"]),
                        amount(each["belief"], each["belief"]["mean"]),
                        between(each["belief"]),
                        f"{each['own_n']:g}", different if each["belief"]["key"] in row["different"] else "",
                    )
                    for each in seen
                ),
            ),
        ]  # fmt: skip
    if len(parts) == 1:
        before = "it inherited" if parents else "its document says"
        parts.append(f"it has measured nothing yet: it believes what {before}")
    return "\n".join(parts)


commands = (clone, learn)
