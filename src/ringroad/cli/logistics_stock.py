"""`ringroad logistics stock`, `slots`, `dispatch`: where parts lie, where they should, and which AGV brings what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import example, with_client
from ringroad.cli.names import programme_of, read_duration_s
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table, tail
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import PAGE_ROWS_MAX

FILE_BYTES_MAX: Final = 1_000_000  # of a file of parts

_PROGRAMME = click.option("--programme", help="The vehicle programme; default: the only one.")


@click.command(
    "stock", epilog=example("ringroad logistics stock --part tow_bar --places 12 --zone bulk", "ringroad logistics stock")
)  # fmt: skip
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--part", help="A part: an option, a variant or a part number.")
@click.option(
    "--places", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="That it takes."
)
@click.option("--picks", type=click.FloatRange(0), help="A day; default: by the orders that wait.")
@click.option("--zone", default="", help="Of the warehouse; default: nowhere yet.")
@click.option(
    "--gone", multiple=True, metavar="PART", help="A part that is not kept any more; may be repeated."
)
@_PROGRAMME
@with_client
def stock(
    shell: Shell,
    client: Client,
    *,
    file: Path | None,
    part: str | None,
    places: int,
    picks: float | None,
    zone: str,
    gone: tuple[str, ...],
    programme: str | None,
) -> None:
    """Show what lies in the warehouse, or say it: of one part, or of those in FILE.

    FILE is a JSON list of parts, each with `part`, `places`, `picks_day` and `zone`.
    """
    parts = _read(file) if file else []
    if part:
        parts.append({"part": part, "places": places, "picks_day": picks, "zone": zone})
    where = f"/programmes/{programme_of(client, programme)}/stock"
    if parts or gone:
        found = client.post(where, {"parts": parts, "gone": list(gone)})
    else:
        found = client.get(where, limit=PAGE_ROWS_MAX)
    shell.show(found, text=stock_text(found))


@click.command("slots", epilog=example("ringroad logistics slots --days 20"))
@click.option("--days", type=click.FloatRange(0.1, 365), default=10, show_default=True, help="Of work in which a move must pay.")  # fmt: skip
@_PROGRAMME
@with_client
def slots(shell: Shell, client: Client, *, days: float, programme: str | None) -> None:
    """Show which parts are worth moving to another zone, in the order in which they can be moved."""
    found = client.get(
        f"/programmes/{programme_of(client, programme)}/stock", horizon_days=days, limit=PAGE_ROWS_MAX
    )
    shell.show(found, text=slots_text(found))


@click.command("dispatch", epilog=example("ringroad logistics dispatch --ahead 2h", "ringroad logistics dispatch --announce --down tuggers=1"))  # fmt: skip
@click.option(
    "--ahead", metavar="TIME", default="1h", show_default=True, help="Of the sequence that is looked at."
)
@click.option(
    "--announce", is_flag=True, help="Announce the trips that leave soon; the AGVs tell their milestones."
)
@click.option("--leave", metavar="TIME", default="10m", show_default=True, help="With --announce: trips that leave within it.")  # fmt: skip
@click.option(
    "--down", multiple=True, metavar="FLEET=N", help="AGVs of a fleet that do not work; may be repeated."
)
@_PROGRAMME
@with_client
def dispatch(
    shell: Shell,
    client: Client,
    *,
    ahead: str,
    announce: bool,
    leave: str,
    down: tuple[str, ...],
    programme: str | None,
) -> None:
    """Show which AGV is to bring what to the line, and when; with --announce, send them."""
    where = f"/programmes/{programme_of(client, programme)}/dispatch"
    ahead_min = max(1, round(read_duration_s(ahead) / 60))
    if not announce:
        if down:
            raise InvalidInput("--down goes with --announce", hint="add --announce")
        found = client.get(where, ahead_min=ahead_min)
        shell.show(found, text=dispatch_text(found))
        return
    body = {
        "ahead_min": ahead_min,
        "leave_min": round(read_duration_s(leave) / 60),
        "down": dict(_fleet(each) for each in down),
    }
    rows = client.post(where, body)
    text = table(
        ("part", "order", "fleet", "leaves", "at the line"),
        (
            (row["part"], tail(row["order_ids"][0]), row["leg"], *(exactly(m["planned_at"]) for m in row["milestones"]))
            for row in rows
        ), empty="no trip leaves that soon",
    )  # fmt: skip
    shell.show(rows, text=text)


def _fleet(text: str) -> tuple[str, int]:
    name, equals, count = text.rpartition("=")
    if not equals or not name or not count.isdecimal():
        raise InvalidInput(f"{text[:60]!r} names no AGVs that are down", hint="--down tuggers=1")
    return name, int(count)


def _read(file: Path) -> list[dict[str, Any]]:
    if file.stat().st_size > FILE_BYTES_MAX:
        raise InvalidInput(f"{file} is larger than {FILE_BYTES_MAX} bytes", hint="tell it in parts")
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{file} is no JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidInput(
            f"{file} is no list of parts", hint='[{"part": "tow_bar", "places": 12, "zone": "bulk"}]'
        )
    return rows


def stock_text(found: Mapping[str, Any]) -> str:
    """Return zones and parts. Pure."""
    zones = table(
        ("zone", "places", "used", "a pick"),
        ((row["name"], row["places"], row["used"], f"{row['pick_s']:.0f} s") for row in found["zones"]),
    )
    parts = table(
        ("part", "places", "picks a day", "lies in", "should"),
        (
            (
                row["part"], row["places"], f"{row['picks_day']:.1f}{'' if row['picks_told'] else ' by orders'}",
                row["zone"] or "nowhere yet", row["should"] if row["should"] != row["zone"] else "",
            )
            for row in found["parts"]
        ), empty="nobody said what lies where: ringroad logistics stock --part NAME --places N --zone ZONE",
    )  # fmt: skip
    return f"{zones}\n\n{parts}"


def slots_text(found: Mapping[str, Any]) -> str:
    """Return the moves that pay, and what they save. Pure."""
    text = table(
        ("part", "from", "to", "places", "saves a day", ""),
        (
            (
                row["part"], row["source"] or "nowhere yet", row["target"], row["places"],
                "makes room" if row["saves_s_day"] < 0 else f"{row['saves_s_day'] / 60:.1f} min", "put something aside first" if row["aside"] else "",
            )
            for row in found["moves"]
        ), empty="every part lies where it should",
    )  # fmt: skip
    now, new, bound = (found[key] / 3_600 for key in ("now_s_day", "new_s_day", "bound_s_day"))
    return (
        f"{text}\n\npicks take {now:.2f} h a day, then {new:.2f} h; no layout takes less than {bound:.2f} h"
        + (f"; the moves take {found['moving_s'] / 60:.0f} min" if found["moves"] else "")
    )


def dispatch_text(found: Mapping[str, Any]) -> str:
    """Return a line per trip, and what is late. Pure."""
    text = table(
        ("leaves", "agv", "to", "there", "brings", "late"),
        (
            (
                exactly(trip["leaves_at"]), f"{trip['fleet']} {trip['agv']}", trip["place"],
                exactly(trip["arrives_at"])[11:], _brings(trip["moves"]),
                "; ".join(f"{move['late_s'] / 60:.0f} min" for move in trip["moves"] if move["late_s"] > 0) or "-",
            )
            for trip in found["trips"]
        ), empty="the line needs nothing out of the warehouse in this time",
    )  # fmt: skip
    said = [
        f"{fleet}: {count} AGVs would be in time with everything" if count else f"{fleet}: no fleet would be in time"
        for fleet, count in found["needed"].items() if found["trips"]
    ]  # fmt: skip
    if found["late"]:
        said.append(f"{found['late']} parts come late, {found['late_s'] / 60:.0f} min in sum")
    if found["under_way"]:
        said.append(f"{found['under_way']} moves are under way already")
    if found["unplaced"]:
        said.append(f"nobody said where these lie: {', '.join(found['unplaced'])}")
    return "\n\n".join([text, "\n".join(said)] if said else [text])


def _brings(moves: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{move['part']} for {tail(move['order_id'])}" for move in moves)
