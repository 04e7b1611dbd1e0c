"""`ringroad trace`: faults and claims of the field back to the line, and who has a lot."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import EXIT_NO, ClientGroup, example, limited, show_page, with_client
from ringroad.cli.names import programme_of, read_at
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, table, tail, when
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.plurals import counted

_PROGRAMME = click.option("--programme", help="The vehicle programme; default: the only one.")


@click.group("trace", cls=ClientGroup)
def group() -> None:
    """Trace faults and claims to station, lot, software and gate."""


@group.command("finding", epilog=example("ringroad trace finding 7k3mfq2a --keep"))
@click.argument("finding")
@click.option(
    "--keep", is_flag=True, help="Keep it for each vehicle, for the gates that should have caught it."
)
@with_client
def trace_finding(shell: Shell, client: Client, *, finding: str, keep: bool) -> None:
    """Show what the vehicles of a finding have in common that others have not."""
    found_id = client.find("/findings", finding, names=("title",))["id"]
    found = client.post(f"/findings/{found_id}/trace") if keep else client.get(f"/findings/{found_id}/built")
    shell.show(found, text=trace_text(found))


@group.command(
    "vehicles",
    epilog=example(
        "ringroad trace vehicles WRR1ZZZ00PA000001 WRR1ZZZ00PA000004",
        "ringroad trace vehicles --part battery",
    ),
)
@click.argument("vins", nargs=-1, metavar="[VIN]...")
@click.option("--part", default="", help="Vehicles with claims of this part.")
@click.option("--code", default="", help="Vehicles with claims of this fault code.")
@_PROGRAMME
@with_client
def trace_vehicles(
    shell: Shell, client: Client, *, vins: tuple[str, ...], part: str, code: str, programme: str | None
) -> None:
    """Show what vehicles have in common that others have not: by VIN, or all with claims."""
    programme = programme_of(client, programme)
    body = {"vins": [vin.upper() for vin in vins], "claims_of_part": part, "claims_of_code": code}
    found = client.post(f"/programmes/{programme}/trace", body)
    shell.show(found, text=trace_text(found))


@group.command(
    "lot", epilog=example("ringroad trace lot B-17", "ringroad trace lot B-17 --part battery --list b-17")
)
@click.argument("lot")
@click.option("--part", default="", help="Where lots of several parts have that name.")
@click.option(
    "--list", "name", help="Make a list of the vehicles, which a campaign's query may name: list = NAME."
)
@_PROGRAMME
@with_client
def show_lot(
    shell: Shell, client: Client, *, lot: str, part: str, name: str | None, programme: str | None
) -> None:
    """Show every vehicle that has a lot, and the orders on the line that do."""
    programme = programme_of(client, programme)
    if name:
        found = client.post(f"/programmes/{programme}/lots/list", {"lot": lot, "part": part, "name": name})
    else:
        found = client.get(f"/programmes/{programme}/lots", lot=lot, part=part or None)
    lines = [f"{counted(found['vehicles'], 'vehicle')} with {found['part']} of lot {lot}", *found["vins"]]
    if len(found["vins"]) < found["vehicles"]:
        lines.append(f"... and {found['vehicles'] - len(found['vins'])} more; --list has them all")
    if found["orders"]:
        lines.append(f"on the line: {', '.join(tail(each) for each in found['orders'])}")
    if name:
        lines.append(f"list {name}; next: ringroad fleet query 'list = {name}'")
    shell.show(found, text="\n".join(lines))


@group.command(
    "claim",
    epilog=example(
        "ringroad trace claim WRR1ZZZ00PA000001 --id W-4711 --part battery --text 'does not charge'"
    ),
)
@click.argument("vin")
@click.option("--id", "claim_id", required=True, help="Your own name of it; the same again counts once.")
@click.option("--part", default="", help="What failed: a part or an ECU, by the name it was built under.")
@click.option("--code", default="", help="Fault code.")
@click.option("--text", default="", help="In words.")
@click.option("--at", "occurred", help="When, with its zone, or now-2d; default: now.")
@_PROGRAMME
@with_client
def tell_claim(
    shell: Shell, client: Client, *, vin: str, claim_id: str, part: str, code: str, text: str, occurred: str | None,
    programme: str | None,
) -> int:  # fmt: skip
    """Tell a claim, and show where what failed was built.

    Exit status 1 when it cannot be.
    """
    programme, vin = programme_of(client, programme), vin.upper()
    at = _moment(occurred) if occurred else shell.clock.now()
    claim = {
        "id": claim_id,
        "vin": vin,
        "part": part,
        "fault_code": code,
        "text": text,
        "occurred_at": at.isoformat(),
    }
    done = client.post(f"/programmes/{programme}/claims", {"claims": [claim]})
    if done["refused"]:
        shell.show(done, text=done["refused"][0]["reason"])
        return EXIT_NO
    row = next(row for row in client.get(f"/programmes/{programme}/claims", vin=vin) if row["id"] == claim_id)
    shell.show(row, text=claim_text(row))
    return 0


@group.command("claims", epilog=example("ringroad trace claims --vin WRR1ZZZ00PA000001"))
@click.option("--vin", help="Of this vehicle.")
@_PROGRAMME
@limited()
@with_client
def list_claims(
    shell: Shell, client: Client, *, vin: str | None, programme: str | None, limit: int, offset: int
) -> None:
    """List claims, newest first, each with where what failed was built."""
    programme = programme_of(client, programme)
    rows = client.get(f"/programmes/{programme}/claims", vin=vin.upper() if vin else None, limit=limit)
    text = table(
        ("claim", "vin", "part", "code", "lot", "station", "gate", "told"),
        (
            (r["id"], r["vin"], r["part"], r["fault_code"], r["lot"] or r["software_version"], r["station"], r["gate"],
             when(r["told_at"]))
            for r in rows
        ),
        empty="no claim",
    )  # fmt: skip
    show_page(shell, rows, text=text, limit=limit, offset=offset)


def trace_text(found: Mapping[str, Any]) -> str:
    """Return what faulty vehicles have in common, suspects first."""
    unknown = found["named"] - found["faulty"]
    lines = [found["sentence"]]
    if unknown:
        lines.append(f"{counted(unknown, 'vehicle')} with the fault left out: no birth record")
    rows = table(
        ("with the fault", "vehicles", "what", "times more often", "chance", "", "gate that should have caught it"),
        (
            (each["with_fault"], each["vehicles"], each["label"], _times(each), f"{each['chance']:.1g}",
             {"first": "", "stands": "by itself too", "goes_with": "goes with the first"}[each["standing"]],
             f"{each['gate']} at {each['gate_station']}" if each["gate"] else f"none: {each['gate_reason']}")
            for each in found["suspects"]
        ),
        empty="",
    )  # fmt: skip
    return "\n\n".join(part for part in ("\n".join(lines), rows) if part)


def claim_text(row: Mapping[str, Any]) -> str:
    """Return a claim with where what failed was built."""
    gate = (
        f"{row['gate']} at {row['gate_station']}: {row['reason']}"
        if row["gate"]
        else f"none: {row['reason']}"
    )
    return details(
        (
            ("claim", row["id"]), ("vin", row["vin"]), ("part", row["part"]), ("code", row["fault_code"]),
            ("lot", row["lot"]), ("supplier", row["supplier"]), ("software", row["software_version"]),
            ("station", row["station"]), ("gate", gate),
        )
    )  # fmt: skip


def _times(suspect: Mapping[str, Any]) -> str:
    if suspect["ratio_milli"] is None:
        return f"above {suspect['ratio_low_milli'] / 1000:.1f}"
    high = "open" if suspect["ratio_high_milli"] is None else f"{suspect['ratio_high_milli'] / 1000:.1f}"
    return f"{suspect['ratio_milli'] / 1000:.1f} ({suspect['ratio_low_milli'] / 1000:.1f} to {high})"


def _moment(text: str) -> datetime:
    text = text.strip()
    found = datetime.fromisoformat(read_at(text))
    if not text.startswith("now") and datetime.fromisoformat(text).tzinfo is None:
        raise InvalidInput(f"{text!r} has no zone", hint="2026-11-26T08:00:00Z")
    return found
