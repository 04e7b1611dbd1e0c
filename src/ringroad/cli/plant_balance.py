"""`ringroad plant balance`: deal a line's work to its stations anew, and ask the twin, without a server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ringroad.build.balance.assign import balance
from ringroad.build.balance.check import VEHICLES, BalanceCheck, check_on_twin, line_new, line_now
from ringroad.build.balance.problem import (
    DOCUMENT_BYTES_MAX,
    SECONDS_MAX,
    STATIONS_MAX,
    Balance,
    BalanceProblem,
    Work,
    check_balance,
    read_work,
)
from ringroad.build.balance.prove import prove
from ringroad.build.model import Line
from ringroad.build.programme import PROGRAMME_BYTES_MAX, read_programme
from ringroad.build.shop.prove import BUDGET_MAX, gap_permille
from ringroad.cli.groups import EXIT_NO, example, read_text
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table
from ringroad.kernel.errors import Corrupt
from ringroad.kernel.plurals import counted

SEED: Final = 1  # of the twin's luck; the same answer each time


@click.command(
    "balance",
    epilog=example(
        "ringroad plant balance work.json --stations 6 --programme programme.toml",
        "ringroad plant balance work.json --takt 60 --prove 30",
    ),
)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--stations", type=click.IntRange(1, STATIONS_MAX), help="Find the shortest takt of so many.")
@click.option(
    "--takt", type=click.IntRange(1, SECONDS_MAX), help="Find the fewest stations for so many seconds."
)
@click.option(
    "--programme", type=click.Path(path_type=Path, dir_okay=False),
    help="A programme's file, for the buffers, spreads and breakdowns of its stations.",
)  # fmt: skip
@click.option(
    "--prove", "budget", type=click.IntRange(0, BUDGET_MAX), default=0, show_default=True,
    help="Let CP-SAT prove a bound: its deterministic time; needs ringroad[shop].",
)  # fmt: skip
@click.pass_obj
def command(
    shell: Shell, *, path: Path, stations: int | None, takt: int | None, programme: Path | None, budget: int
) -> None:
    """Deal the work in PATH to stations, and run the line on the twin as it is and as it would be.

    PATH is a JSON document of tasks: id, seconds, after (ids), and the station that does each now.
    Nothing changes by itself: who agrees writes the times into the programme and imports it. Exit status 1 if
    the twin does not find the new balance better.
    """
    tasks = read_work(read_text(path, bytes_max=DOCUMENT_BYTES_MAX))
    problem = BalanceProblem(tasks=tasks, takt=takt, stations=stations)
    found = prove(problem, balance(problem), budget=budget)
    wrong = check_balance(problem, found)
    if wrong:
        raise Corrupt("the balance does not hold", detail=wrong[0])
    base = (
        read_programme(read_text(programme, bytes_max=PROGRAMME_BYTES_MAX), filename=str(programme)).line
        if programme
        else None
    )
    now = line_now(tasks, base)
    new = line_new(tasks, found, now)
    check = check_on_twin(now, new, seed=SEED, threads=os.cpu_count() or 1) if now.stations else None
    reached = found.takt if takt is None else len(found.stations)
    row = {
        "stations": [
            {"name": station.name, "cycle_s": station.cycle_s, "tasks": list(names)}
            for station, names in zip(new.stations, found.stations, strict=True)
        ],
        "takt_s": found.takt,
        "at_least": found.bound,
        "gap_permille": gap_permille(reached, found.bound),
        "twin": check and {
            "better_permille": check.better_permille, "end_s": list(check.end_s), "proposed": check.proposed,
        },
    }  # fmt: skip
    shell.show(row, text=_text(problem, found, row, now=now, check=check))
    if check is not None and not check.proposed:
        click.get_current_context().exit(EXIT_NO)


def _text(
    problem: BalanceProblem, found: Balance, row: Mapping[str, Any], *, now: Line, check: BalanceCheck | None
) -> str:
    goal = (
        f"a takt of {found.takt} s at {counted(len(found.stations), 'station')}, at least {found.bound} s"
        if problem.takt is None
        else f"{counted(len(found.stations), 'station')} for a takt of {problem.takt} s, at least {found.bound}"
    )
    lines = [f"{goal}, gap {row['gap_permille'] / 10:.1f} %"]
    before = {station.name: station.cycle_s for station in now.stations}
    lines.append(
        table(
            ("station", "now", "new", "tasks"),
            (
                (each["name"], f"{before[each['name']]} s" if each["name"] in before else "-",
                 f"{each['cycle_s']} s", _tasks(each["tasks"], problem.tasks, each["name"]))
                for each in row["stations"]
            ),
        )
    )  # fmt: skip
    if check is None:
        return "\n".join([*lines, "", "no task says which station does it now, so the twin was not asked"])
    said = "better" if check.proposed else "not better, it stays as it is"
    share = f"earlier in {check.better_permille / 10:g} % of 1,000 runs"
    took = f"{VEHICLES} vehicles take {check.end_s[0]} s now and {check.end_s[1]} s with the new balance"
    lines += ["", f"on the twin {took}; {said}: {share}"]
    if check.proposed:
        lines.append("to do so: write cycle_s of each station, then ringroad programme import FILE --replace")
    return "\n".join(lines)


def _tasks(names: Sequence[str], tasks: Sequence[Work], station: str) -> str:
    """Return a station's tasks; those that come from elsewhere are marked."""
    home = {task.id: task.station for task in tasks}
    return " ".join(name if home[name] in ("", station) else f"+{name}" for name in names)
