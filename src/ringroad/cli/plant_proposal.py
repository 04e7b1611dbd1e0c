"""`ringroad plant sums`, `propose` and `proposal`: what a clone found flows back to its parents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, patient, wait_for, with_client
from ringroad.cli.plant_clone import read_sums
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.kernel.plurals import counted

WHAT: Final = {"station": "one station", "balance": "work dealt out anew", "buffer": "more room"}


@click.command("sums", epilog=example("ringroad plant sums wren-north --out sums.json"))
@click.argument("plant")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")
@with_client
def sums(shell: Shell, client: Client, *, plant: str, out: Path | None) -> None:
    """Show all that travels from a clone to its parents: three numbers of each parameter it measured."""
    row = client.get(f"/plants/{plant}/sums")
    if out is not None:
        out.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    said = f"{counted(len(row['own']), 'parameter')} as n, sum and sum of squares; {counted(len(row['rooms']), 'buffer')}"
    shell.show(row, text=f"{row['plant']} says to {row['parent']}: {said}")


@click.command(
    "propose", epilog=example("ringroad plant propose wren-north", "ringroad plant propose --from sums.json")
)
@click.argument("plant", required=False)
@click.option(
    "--from", "path", type=click.Path(path_type=Path, dir_okay=False),
    help="What a clone of another server says: a file of `plant sums --out`.",
)  # fmt: skip
@patient("the twin")
@with_client
def propose(shell: Shell, client: Client, *, plant: str | None, path: Path | None, wait: str) -> None:
    """Propose to its parents what a clone does reliably better. The parent's twin is asked next, then an approver."""
    if (plant is None) == (path is None):
        raise click.UsageError("either PLANT or --from FILE says whose it is")
    if path is not None:
        row = client.post("/clone-sums", {"sums": read_sums(path)})
    else:
        row = client.post(f"/plants/{plant}/propose")
    asked = ", ".join(row["parents"])
    if row["proposals"]:
        answered = (
            wait_for(shell, lambda: _answered(client, row["proposals"]), wait=wait, what="the twin")
            if wait
            else []
        )
        row["proposals"] = answered or row["proposals"]
        text = f"proposed to {asked}" + ("" if answered else "; the worker asks the twin")
        text += f"\n{_table(row['proposals'])}"
        text += "".join(f"\n{each['proof']['reason']}" for each in answered)
    else:
        text = f"nothing new that is reliably better than at {asked}"
    shell.show(row, text=text)


@click.group("proposal", cls=ClientGroup)
def proposal() -> None:
    """What clones found, and what becomes of it at their parents."""


@proposal.command("list", epilog=example("ringroad plant proposal list --state proved"))
@click.option("--plant", help="Only to this plant, or of it.")
@click.option("--state", help="open, proved, refused, rejected, trial, kept or withdrawn.")
@with_client
def list_(shell: Shell, client: Client, *, plant: str | None, state: str | None) -> None:
    """List proposals, newest first."""
    rows = client.get("/proposals", plant_id=plant, state=state, limit=PAGE_ROWS_MAX)
    shell.show(rows, text=_table(rows) if rows else "no clone proposed anything")


@proposal.command("show", epilog=example("ringroad plant proposal show proposal_01ky4zr8p4"))
@click.argument("proposal_id", metavar="PROPOSAL")
@with_client
def show(shell: Shell, client: Client, *, proposal_id: str) -> None:
    """Show a proposal: what, how sure, what the twin said, what was measured."""
    row = client.get(f"/proposals/{_whole(client, proposal_id)}")
    shell.show(row, text=proposal_text(row))


@proposal.command("accept", epilog=example("ringroad plant proposal accept proposal_01ky4zr8p4"))
@click.argument("proposal_id", metavar="PROPOSAL")
@with_client
def accept(shell: Shell, client: Client, *, proposal_id: str) -> None:
    """Try at the parent what its twin proved. It believes it as a prior; what is measured keeps it or takes it back."""
    found = client.get(f"/proposals/{_whole(client, proposal_id)}")
    row = client.post(f"/proposals/{found['id']}/accept", {"generation": found["generation"]})
    shell.show(row, text=f"{row['parent_id']} tries it: {row['trial']['reason']}")


@proposal.command(
    "reject", epilog=example("ringroad plant proposal reject proposal_01ky4zr8p4 --reason 'no place for it'")
)
@click.argument("proposal_id", metavar="PROPOSAL")
@click.option("--reason", required=True, help="For the ledger.")
@with_client
def reject(shell: Shell, client: Client, *, proposal_id: str, reason: str) -> None:
    """Leave the parent as it is."""
    row = client.post(f"/proposals/{_whole(client, proposal_id)}/reject", {"reason": reason})
    shell.show(row, text=f"rejected; {row['parent_id']} stays as it is")


@proposal.command(
    "withdraw",
    epilog=example("ringroad plant proposal withdraw proposal_01ky4zr8p4 --reason 'the tool wears'"),
)
@click.argument("proposal_id", metavar="PROPOSAL")
@click.option("--reason", required=True, help="For the ledger.")
@with_client
def withdraw(shell: Shell, client: Client, *, proposal_id: str, reason: str) -> None:
    """Take back what is on trial."""
    row = client.post(f"/proposals/{_whole(client, proposal_id)}/withdraw", {"reason": reason})
    shell.show(row, text=f"taken back; {row['parent_id']} believes again what it did")


def proposal_text(row: Mapping[str, Any]) -> str:
    """Return a proposal, its proof and its trial for a person."""
    lines = [
        f"{row['id']}: {WHAT[row['what']]} on {row['line']}, from {row['clone_id']} to {row['parent_id']}; {row['state']}"
    ]
    if row["shifts"]:
        lines += ["", table(
            ("of", "by", "90 % there", "better", "observed"),
            (
                (each["key"], f"{each['percent']:+.1f} %{_odds(each)}", f"{each['low']:+.1f} to {each['high']:+.1f} %",
                 f"{each['better']:.3f}", f"{each['own_n']:g}")
                for each in row["shifts"]
            ),
        )]  # fmt: skip
    lines += [f"room for {room} before {path}" for path, room in row["rooms"].items()]
    proof, trial = row["proof"], row["trial"]
    lines += ["", f"twin: {proof['reason']}" if proof else "twin: not asked yet; the worker does"]
    if row["outdated"]:
        lines.append(f"the document of {row['parent_id']} changed since; the worker asks the twin again")
    if trial:
        lines.append(f"trial: {trial['outcome']}: {trial['reason']}")
        lines += [_measured_text(each) for each in trial["measured"]]
    return "\n".join(lines)


def _answered(client: Client, proposals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return proposals with what the twin said; none before it said something of each."""
    rows = [client.get(f"/proposals/{each['id']}") for each in proposals]
    return rows if all(row["proof"] for row in rows) else []


def _measured_text(each: Mapping[str, Any]) -> str:
    before, after = (f"{each[name]:.1f} s" if each[name] else "nothing" for name in ("before", "after"))
    whose = "its document says" if each["believed"] else f"{counted(round(each['before_n']), 'time')} before"
    return f"  {each['name']}: {before} ({whose}), {after} since ({each['n']:g})"


def _table(rows: list[dict[str, Any]]) -> str:
    return table(
        ("proposal", "from", "to", "what", "where", "state"),
        (
            (row["id"], row["clone_id"], row["parent_id"], WHAT[row["what"]], _where(row), row["state"])
            for row in rows
        ),
    )  # fmt: skip


def _where(row: Mapping[str, Any]) -> str:
    names: list[str] = [each["key"] for each in row["shifts"]] or list(row["rooms"])
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _whole(client: Client, beginning: str) -> str:
    """Return the id that begins so. Raises: InvalidInput if several do."""
    rows = client.get("/proposals", limit=PAGE_ROWS_MAX)
    found = [str(row["id"]) for row in rows if row["id"].startswith(beginning)]
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} proposals begin with {beginning!r}", hint="give more of the id")
    return found[0] if found else beginning


commands = (sums, propose, proposal)


def _odds(shift: Mapping[str, Any]) -> str:
    """Return of what a share is so much more: 95 % and 10 % more of its odds are 95.4 %."""
    return " of its odds" if shift["key"].endswith("#first_pass") else ""
