"""`ringroad demand`: what was wanted, what will be, and how good that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import (
    EXIT_NO,
    ClientGroup,
    example,
    limited,
    patient,
    read_text,
    show_page,
    wait_for,
    with_client,
)
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import REQUEST_BYTES_MAX
from ringroad.kernel.plurals import counted

_PROGRAMME = click.option("--programme", help="The vehicle programme; default: the only one.")
VEHICLE = "vehicle"  # how the vehicle itself is called where options are


@click.group("demand", cls=ClientGroup)
def group() -> None:
    """What was wanted, and what will be: forecasts of options, models, regions and plants."""


@group.command(
    "set", epilog=example("ringroad demand set --plant north --plant south --region EU --region US")
)
@_PROGRAMME
@click.option("--plant", "plants", multiple=True, required=True, help="A plant that may be named.")
@click.option("--region", "regions", multiple=True, required=True, help="A region that may be named.")
@click.option(
    "--months", type=click.IntRange(1, 24), default=6, show_default=True, help="How far to forecast."
)
@click.option(
    "--holding",
    type=click.FloatRange(0.001, 1e6),
    default=1.0,
    show_default=True,
    help="Cost of a unit that is left, a month.",
)
@click.option(
    "--shortage",
    type=click.FloatRange(0.001, 1e6),
    default=9.0,
    show_default=True,
    help="Cost of a unit that is missing.",
)
@click.option(
    "--count-orders",
    is_flag=True,
    help="The line's orders are all there are of this demand; months under way are updated by them.",
)
@click.option(
    "--usage", metavar="OPTION=SIGNAL", multiple=True,
    help="The signal by which vehicles tell that they use an option; their use moves its forecast.",
)  # fmt: skip
@with_client
def set_demand(
    shell: Shell, client: Client, *, programme: str | None, plants: tuple[str, ...], regions: tuple[str, ...], months: int,
    holding: float, shortage: float, count_orders: bool, usage: tuple[str, ...],
) -> None:  # fmt: skip
    """Say which plants and regions want vehicles, how far to forecast, and what stock costs."""
    row = client.send(
        "PUT",
        f"/programmes/{programme_of(client, programme)}/demand",
        body={
            "plants": list(plants), "regions": list(regions), "horizon": months, "count_orders": count_orders,
            "holding_milli": round(1000 * holding), "shortage_milli": round(1000 * shortage),
            "usage": _usages(usage),
        },
    )  # fmt: skip
    shell.show(
        row,
        text=f"{row['programme_id']}: {counted(len(plants), 'plant')}, {counted(len(regions), 'region')}, {counted(row['horizon'], 'month')} ahead",
    )


@group.command("import", epilog=example("ringroad demand import examples/road/demand.csv"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_PROGRAMME
@click.option("--fill", is_flag=True, help="In months that a series misses nothing was wanted.")
@click.option("--restate", is_flag=True, help="Months that are known with other numbers get these.")
@with_client
def import_file(
    shell: Shell, client: Client, *, file: Path, programme: str | None, fill: bool, restate: bool
) -> None:
    """Import what was wanted.

    A table with the columns month, option, plant, region, model and units; an empty option is the vehicle itself.
    It is taken whole or not at all, and every problem is named with its row.
    """
    body = {
        "source": file.name,
        "text": read_text(file, bytes_max=REQUEST_BYTES_MAX),
        "fill": fill,
        "restate": restate,
    }
    row = client.post(f"/programmes/{programme_of(client, programme)}/demand/months", body)
    shell.show(row, text=taken_text(row))


@group.command("signal", epilog=example("ringroad demand signal examples/road/demand-signals.csv"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_PROGRAMME
@with_client
def signal(shell: Shell, client: Client, *, file: Path, programme: str | None) -> None:
    """Tell of orders, clicks, take rates and feature use.

    A table with the columns id, kind, month, option, plant, region, model and value; * is every plant, region or
    model. Each id counts once; a later signal about the same month takes the place of the one before.
    """
    body = {"source": file.name, "text": read_text(file, bytes_max=REQUEST_BYTES_MAX)}
    row = client.post(f"/programmes/{programme_of(client, programme)}/demand/signals", body)
    shell.show(row, text=taken_text(row))


@group.command("forecast", epilog=example("ringroad demand forecast --wait 2m"))
@_PROGRAMME
@patient("the forecast")
@with_client
def forecast(shell: Shell, client: Client, *, programme: str | None, wait: str) -> int:
    """Forecast every series and sum; the worker does it, option by option."""
    path = f"/programmes/{programme_of(client, programme)}/demand/forecasts"
    asked = client.post(path, {})
    shown = -1

    def look() -> dict[str, Any] | None:
        nonlocal shown
        run: dict[str, Any] = next(row for row in client.get(path, limit=20) if row["id"] == asked["id"])
        if run["state"] == "running" and run["options_done"] != shown and wait:
            shown = run["options_done"]
            click.echo(f"{shown} of {counted(run['options'], 'option')} done", err=True)
        return run if run["state"] in {"done", "failed"} or not wait else None

    run = wait_for(shell, look, wait=wait, what="the forecast") or asked
    shell.show(run, text=run_text(run))
    return EXIT_NO if run["state"] == "failed" else 0


@group.command("show", epilog=example("ringroad demand show", "ringroad demand show tow_bar --region EU"))
@click.argument("option", required=False)
@_PROGRAMME
@click.option("--plant", help="Only this plant; * for the sum.")
@click.option("--region", help="Only this region; * for the sum.")
@click.option("--model", help="Only this model; * for the sum.")
@limited()
@with_client
def show(
    shell: Shell, client: Client, *, option: str | None, programme: str | None, plant: str | None, region: str | None,
    model: str | None, limit: int, offset: int,
) -> None:  # fmt: skip
    """Show what is expected: next month's 80 % interval, the sum of the months, what was chosen, and its skill.

    OPTION is an option, or "vehicle" for vehicles themselves; without one: the whole of each.
    """
    whole = None if option or plant or region or model else "*"
    rows = client.get(
        f"/programmes/{programme_of(client, programme)}/demand/series",
        option="" if option == VEHICLE else option, plant=plant or whole, region=region or whole, model=model or whole,
        limit=limit, offset=offset,
    )  # fmt: skip
    show_page(shell, rows, text=series_text(rows), limit=limit, offset=offset)


@group.command("grade", epilog=example("ringroad demand grade"))
@_PROGRAMME
@with_client
def grade(shell: Shell, client: Client, *, programme: str | None) -> None:
    """Show how good the newest forecast is on months it did not see, level by level, beside the floor and last year."""
    runs = client.get(f"/programmes/{programme_of(client, programme)}/demand/forecasts", limit=20)
    run = next((row for row in runs if row["state"] == "done"), None)
    if run is None:
        raise InvalidInput("there is no forecast yet", hint="ringroad demand forecast --wait 2m")
    shell.show(run["grades"], text=grades_text(run["grades"]))


def taken_text(row: Mapping[str, Any]) -> str:
    """Return what became of a table."""
    parts = [f"{counted(row['rows'], 'row')}: {row['new']} new", f"{row['repeated']} known"]
    parts += [f"{row[name]} {name}" for name in ("restated", "filled") if row[name]]
    return ", ".join(parts)


def run_text(run: Mapping[str, Any]) -> str:
    """Return what became of a forecast."""
    if run["state"] == "failed":
        return f"no forecast: {run['error']}"
    if run["state"] != "done":
        return (
            f"asked for; see ringroad demand forecast --wait, or the console's page Demand ({run['state']})"
        )
    lines = [
        f"{counted(run['options'], 'option')} forecast, {counted(run['horizon'], 'month')} from {run['first_month'][:7]}, at {exactly(run['finished_at'])}"
    ]
    lines += [
        f"{each['key']}: {each['before']:.0f} -> {each['after']:.0f} in {counted(each['months'], 'month')} ({each['change_permille'] / 10:+.0f} %)"
        for each in run["shifts"][:5]
    ]
    if run["shifts"]:
        lines.insert(1, f"{counted(len(run['shifts']), 'shift')} since the forecast before:")
    return "\n".join(lines)


def series_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line per series or sum."""
    return table(
        ("option", "plant", "region", "model", "next", "80 %", "all months", "skill", "shown"),
        (
            (
                row["option"] or VEHICLE, row["plant"], row["region"], row["model"], f"{row['months'][0]['mean']:.1f}",
                f"{row['months'][0]['q10']:.1f} to {row['months'][0]['q90']:.1f}",
                f"{sum(month['mean'] for month in row['months']):.0f}", skill_text(row), shown_text(row),
            )
            for row in rows
        ), empty="nothing of that; ringroad demand forecast",
    )  # fmt: skip


def skill_text(row: Mapping[str, Any]) -> str:
    """Return the skill of what is shown against last year's month, if it was graded; a sum is never the floor."""
    told = row["told"]
    if not told.get("skill"):
        return "not graded"
    shown = told["skill"]["naive"] if row["is_sum"] or told["skilled"] else told["floor_skill"]
    return f"{100 * shown:+.0f} %"


def shown_text(row: Mapping[str, Any]) -> str:
    """Return what is shown for a series or sum, and why."""
    told = row["told"]
    if row["is_sum"]:
        return "sum of its parts"
    if not told.get("graded"):
        return "the floor: too few months to grade a model"
    if not told["skilled"]:
        return "the floor: no model has skill"
    return str(told["chosen"])


def grades_text(grades: Mapping[str, Any]) -> str:
    """Return the grades of each option and level."""
    rows = []
    for option, found in grades.items():
        for level, ways in found["levels"].items():
            for way, grade_ in ways.items():
                rows.append(
                    (
                        option or VEHICLE, level, way, f"{grade_['wql']:.3f}", f"{grade_['rmse']:.2f}",
                        f"{grade_['cumulative']:.3f}", f"{grade_['bias']:+.3f}", f"{grade_['stock_cost']:.3f}",
                        "" if way == "naive" else f"{_skill(grade_, ways['naive']):+.0f} %",
                    )
                )  # fmt: skip
    columns = ("option", "level", "", "wql", "rmse", "cumulative", "bias", "stock cost", "skill")
    return table(columns, rows, empty="too few months to grade")


def _skill(grade_: Mapping[str, float], naive: Mapping[str, float]) -> float:
    return 100 * (1 - grade_["wql"] / naive["wql"]) if naive["wql"] else 0.0


def _usages(given: Sequence[str]) -> dict[str, str]:
    """Read signals by option. Raises: InvalidInput, for two of one option."""
    found: dict[str, str] = {}
    for option, path in map(_usage, given):
        if found.setdefault(option, path) != path:
            raise InvalidInput(
                f"{option} is told by {found[option]} and by {path}", hint="one signal tells of an option"
            )
    return found


def _usage(given: str) -> tuple[str, str]:
    """Read ``OPTION=SIGNAL``. Raises: InvalidInput."""
    option, _, path = given.partition("=")
    if not option or not path:
        raise InvalidInput(
            f"{given!r} is not OPTION=SIGNAL", hint="for example tow_bar=Vehicle.Trailer.IsConnected"
        )
    return option, path
