"""`ringroad shop plan`, `show`, `stop` and `resume`: the shops of a plant, through its server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from ringroad.build.shop.late import span
from ringroad.build.shop.store import BUDGET_DEFAULT, BUDGET_MAX, MOVES_DEFAULT, MOVES_MAX
from ringroad.cli.client import Client
from ringroad.cli.groups import EXIT_NO, ClientGroup, example, patient, wait_for, with_client
from ringroad.cli.names import read_duration_s
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, table, tail, when
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.plurals import counted

LATE_SHOWN: Final = 10
ENDED: Final = ("done", "failed")

_PLANT = click.option("--plant", help="The plant; default: the only one that has shops.")
_SHOP = click.option("--shop", default="", help="Its name, or area/name; default: the only one.")

group = ClientGroup("shop")  # its commands stand beside those that need no server: `cli/shop.py`


@group.command("plan", epilog=example("ringroad shop plan --plant wren-mother --wait 2m"))
@_PLANT
@_SHOP
@click.option(
    "--moves", type=click.IntRange(0, MOVES_MAX), default=MOVES_DEFAULT, show_default=True,
    help="Budget of each of two searches.",
)  # fmt: skip
@click.option(
    "--prove", "budget", type=click.IntRange(0, BUDGET_MAX), default=BUDGET_DEFAULT, show_default=True,
    help="CP-SAT's deterministic time, each unit a second or two.",
)  # fmt: skip
@patient("the worker to end")
@with_client
def plan(
    shell: Shell, client: Client, *, plant: str | None, shop: str, moves: int, budget: int, wait: str
) -> int:
    """Plan a shop of a plant for the orders that are open.

    The worker places every part by a rule, searches for a better plan, and lets CP-SAT prove how good it is where
    that is installed. Each plan is current once a checker of its own found nothing wrong with it.
    """
    plant = plant_of(client, plant)
    asked = client.post(f"/plants/{plant}/shop-plan", {"shop": shop, "moves": moves, "prove": budget})
    if not wait:
        shell.show(asked, text=f"shop {asked['shop']} is being planned: ringroad shop show")
        return 0
    row = wait_for(shell, lambda: _ended(client, plant, asked["shop"]), wait=wait, what="the plan")
    if row is not None and row["work"]["stage"] == "failed":
        shell.show(row, text=f"no new plan, {_running(row)}: {row['work']['note']}")
        return EXIT_NO
    _show(shell, client, plant, asked["shop"], tasks=False)
    return 0


@group.command("show", epilog=example("ringroad shop show --plant wren-mother --tasks"))
@_PLANT
@_SHOP
@click.option("--tasks", is_flag=True, help="List every step with its times.")
@with_client
def show(shell: Shell, client: Client, *, plant: str | None, shop: str, tasks: bool) -> None:
    """Show the plan that a shop follows: what it costs, how good that is, what is late and why."""
    _show(shell, client, plant_of(client, plant), shop, tasks=tasks)


@group.command(
    "stop", epilog=example("ringroad shop stop press-2 --plant wren-mother --reason 'die broke' --expect 2h")
)
@click.argument("resource")
@_PLANT
@_SHOP
@click.option("--reason", required=True, help="For the record.")
@click.option("--expect", "expected", required=True, metavar="TIME", help="How long it will stand: 30m, 2h.")
@with_client
def stop(
    shell: Shell, client: Client, *, resource: str, plant: str | None, shop: str, reason: str, expected: str
) -> None:
    """Record that a RESOURCE stands; the worker repairs the plan, with as few changes as due times allow."""
    body = {
        "shop": shop,
        "resource": resource,
        "reason": reason,
        "expected_s": read_duration_s(expected),
    }
    row = client.post(f"/plants/{plant_of(client, plant)}/shop-stops", body)
    shell.show(row, text=f"{row['resource']} stands, stop {tail(row['id'])}; the plan is being repaired")


@group.command("resume", epilog=example("ringroad shop resume press-2 --plant wren-mother"))
@click.argument("resource")
@_PLANT
@_SHOP
@with_client
def resume(shell: Shell, client: Client, *, resource: str, plant: str | None, shop: str) -> None:
    """Record that a RESOURCE goes on; the worker repairs the plan."""
    plant = plant_of(client, plant)
    standing = {each["resource"]: each for each in _shop_of(client, plant, shop)["stops"]}
    if resource not in standing:
        raise NotFound(
            f"{resource!r} does not stand", hint=f"what stands: {', '.join(standing) or 'nothing'}"
        )
    row = client.post(f"/shop-stops/{standing[resource]['id']}/end", {})
    shell.show(row, text=f"{row['resource']} goes on; the plan is being repaired")


def plant_of(client: Client, named: str | None) -> str:
    """Return the plant that was named, or the only one with shops, of several the one that builds here. Raises: NotFound, InvalidInput."""
    if named:
        return named
    rows = [row for row in client.get("/plants") if client.get(f"/plants/{row['id']}/shops")]
    found = [row["id"] for row in rows if row["runs"]] or [row["id"] for row in rows]
    if not found:
        raise NotFound("no plant has a shop", hint="shops stand in its document: ringroad plant import FILE")
    if len(found) > 1:
        raise InvalidInput("several plants have shops", hint=f"--plant {found[0]}")
    return str(found[0])


def _shop_of(client: Client, plant: str, named: str) -> dict[str, Any]:
    rows = client.get(f"/plants/{plant}/shops")
    found = [row for row in rows if named in ("", row["shop"], row["shop"].partition("/")[2])]
    if len(found) != 1:
        raise NotFound(
            f"plant {plant} has {len(found)} shops {named!r}".rstrip(),
            hint=f"--shop, one of {', '.join(row['shop'] for row in rows)}"
            if rows
            else "shops stand in a plant's document",
        )
    return dict(found[0])


def _ended(client: Client, plant: str, shop: str) -> dict[str, Any] | None:
    row = _shop_of(client, plant, shop)
    return row if row["work"] and row["work"]["stage"] in ENDED else None


def _running(row: Mapping[str, Any]) -> str:
    return f"generation {row['generation']} stays" if row["generation"] else "and none before"


def _show(shell: Shell, client: Client, plant: str, named: str, *, tasks: bool) -> None:
    shop = _shop_of(client, plant, named)
    if not shop["generation"]:
        said = (
            f"; the last asking failed: {shop['work']['note']}"
            if shop["work"] and shop["work"]["note"]
            else ""
        )
        raise NotFound(f"shop {shop['shop']} has no plan{said}", hint="ringroad shop plan")
    row = client.get(f"/plants/{plant}/shop-plan", params={"shop": shop["shop"]})
    shell.show({**row, "work": shop["work"], "stops": shop["stops"]}, text=_text(shop, row, tasks=tasks))


def _text(shop: Mapping[str, Any], row: Mapping[str, Any], *, tasks: bool) -> str:
    work = shop["work"]
    head = details(
        (
            ("shop", f"{row['plant_id']}, {row['shop']}"),
            ("plan", f"generation {row['generation']}, {row['cause']}, {when(row['made_at'])}"),
            (
                "parts",
                f"{row['parts']}{', more are planned later: ' + str(row['later']) if row['later'] else ''}",
            ),
            ("worker", f"{work['stage']}{': ' + work['note'] if work['note'] else ''}"),
            ("stands", [f"{each['resource']}: {each['reason']}" for each in shop["stops"]]),
        )
    )
    levels = table(
        ("counted", "found", "at least", "gap"),
        (
            (each["counted"], _amount(each, "found"), _amount(each, "at_least"), _gap(each))
            for each in row["levels"]
        ),
    )
    parts = [head, "", levels]
    if row["late_parts"]:
        parts += ["", f"{counted(row['late_parts'], 'part')} late:", _late(row["late"][:LATE_SHOWN])]
    if tasks:
        parts += ["", _tasks(row["tasks"])]
    return "\n".join(parts)


def _amount(level: Mapping[str, Any], key: str) -> str:
    return str(level[key]) if level["counted"] == "changes" else span(level[key])


def _gap(level: Mapping[str, Any]) -> str:
    if level["is_behind"]:
        return "-"
    return "not proved" if level["gap_permille"] is None else f"{level['gap_permille'] / 10:.1f} %"


def _late(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("order", "part", "needed", "late", "why"),
        (
            (
                tail(each["order_id"]),
                each["product"],
                when(each["needed_at"]),
                span(each["late_s"]),
                each["why"],
            )
            for each in rows
        ),
    )


def _tasks(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("resource", "order", "part", "step", "from", "to"),
        (
            (
                each["resource"], tail(each["order_id"]), each["product"], each["step"], when(each["starts_at"]),
                when(each["ends_at"]),
            )
            for each in sorted(rows, key=lambda each: (each["resource"], each["starts_at"]))
        ),
    )  # fmt: skip
