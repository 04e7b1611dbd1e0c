"""`ringroad plant clone` and `learn`: a plant out of another one, and what it finds out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import example, read_text, with_client
from ringroad.cli.plant_document import amount, between
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.plurals import counted

MESSAGE_BYTES_MAX: Final = 4 << 20  # of what a clone says; as the server takes


@click.command("clone", epilog=example("ringroad plant clone wren-mother --to wren-north --site Nordhavn"))
@click.argument("plant")
@click.option("--to", "clone_id", required=True, metavar="ID", help="Id of the new plant.")
@click.option("--site", required=True, help="ISA-95 site of the new plant.")
@click.option("--name", help="For people; default: as the id.")
@click.option("--time-zone", help="Of its calendars, an IANA name; default: as PLANT's.")
@with_client
def clone(
    shell: Shell, client: Client, *, plant: str, clone_id: str, site: str, name: str | None, time_zone: str | None
) -> None:  # fmt: skip
    """Clone PLANT: structure by reference, parameters as priors that weigh less and less as the clone learns.

    It inherits from PLANT and from all plants here of the same structure that are nobody's clones.
    """
    body = {"id": clone_id, "name": name or clone_id, "site": site}
    row = client.post(f"/plants/{plant}/clone", body | ({"time_zone": time_zone} if time_zone else {}))
    shell.show(
        row,
        text=f"plant {row['id']}, generation {row['generation']}: {counted(row['stations'], 'station')}"
        f" of {plant}, {counted(row['parameters'], 'parameter')} inherited",
    )


@click.command(
    "learn", epilog=example("ringroad plant learn wren-north", "ringroad plant learn --from sums.json")
)
@click.argument("plant", required=False)
@click.option("--preview", is_flag=True, help="Show what it would believe, and keep nothing.")
@click.option(
    "--from", "path", type=click.Path(path_type=Path, dir_okay=False),
    help="What a clone says that builds elsewhere: a file of `plant sums --out`.",
)  # fmt: skip
@with_client
def learn(shell: Shell, client: Client, *, plant: str | None, preview: bool, path: Path | None) -> None:
    """Let a plant learn from its own station times, and show where they contradict what it believed.

    The document of a clone that builds at another server learns from the sums that it says.
    """
    if (plant is None) == (path is None) or (path is not None and preview):
        raise click.UsageError("either PLANT, or --from FILE says whose it is, which has no --preview")
    if path is not None:
        row = client.post("/clone-lessons", {"sums": read_sums(path)})
    else:
        row = client.get(f"/plants/{plant}/lesson") if preview else client.post(f"/plants/{plant}/learn")
    shell.show(row, text=lesson_text(row))


def read_sums(path: Path) -> Any:
    """Return a message of a clone. Raises: InvalidInput."""
    try:
        return json.loads(read_text(path, bytes_max=MESSAGE_BYTES_MAX))
    except ValueError as error:
        raise InvalidInput(f"{path} is no JSON: {error}") from error


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
            effect, low, high = (
                100 * math.expm1(kind[name]) for name in ("plant", "plant_low", "plant_high")
            )
            of = " of the odds" if seen[0]["belief"]["family"] == "share" else ""
            head += f"; as a whole {effect:+.1f} %{of} (90 % between {low:+.1f} and {high:+.1f} %)"
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
