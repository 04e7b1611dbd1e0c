"""`ringroad shop`: schedule a flexible job shop from a file, without a server; a plant's own: `shop_plan.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from ringroad.build.shop.bound import lower_bound
from ringroad.build.shop.brandimarte import FILE_BYTES_MAX, read_brandimarte
from ringroad.build.shop.check import count_cost
from ringroad.build.shop.dispatch import repair
from ringroad.build.shop.document import DOCUMENT_BYTES_MAX, placed_of, read_shop, schedule_document
from ringroad.build.shop.problem import TIME_MAX, Placed, Schedule, ShopProblem
from ringroad.build.shop.prove import BUDGET_MAX, gap_permille, prove
from ringroad.build.shop.replan import affected, replan_at
from ringroad.cli.groups import example, read_text
from ringroad.cli.shell import Shell
from ringroad.cli.shop_plan import group as of_plant
from ringroad.cli.tables import table
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.plurals import counted

MOVES_DEFAULT: Final = 2_000_000  # some seconds
MOVES_MAX: Final = 10_000_000_000
CHART_CHARS: Final = 72  # of a resource's row

_MOVES = click.option(
    "--moves", type=click.IntRange(0, MOVES_MAX), default=MOVES_DEFAULT, show_default=True,
    help="Budget of each of two searches; the same budget and seed give the same schedule.",
)  # fmt: skip
_SEED = click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the search.")
_PROVE = click.option(
    "--prove", "budget", type=click.IntRange(0, BUDGET_MAX), default=0, show_default=True,
    help="Let CP-SAT prove a bound: its deterministic time, each unit a second or two; needs ringroad[shop].",
)  # fmt: skip
_GANTT = click.option("--gantt", is_flag=True, help="Draw when each resource works.")


@click.group("shop")
def group() -> None:
    """Shops such as press, body or battery: jobs with a choice of resources, set-ups and breaks."""


@group.command(
    "solve", epilog=example("ringroad shop solve press.json --gantt", "ringroad shop solve mk01.fjs")
)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@_MOVES
@_SEED
@_PROVE
@_GANTT
@click.pass_obj
def solve_file(shell: Shell, *, path: Path, moves: int, seed: int, budget: int, gantt: bool) -> None:
    """Schedule the shop in PATH: a shop's document in JSON, or a published instance (.fjs).

    Shows what the schedule costs, counted by a checker of its own, beside what any schedule must cost at least.
    """
    problem = _read(path)
    _answer(shell, problem, moves=moves, seed=seed, budget=budget, gantt=gantt)


@group.command(
    "replan",
    epilog=example("ringroad shop replan press.json --running plan.json --now 240 --down press-2=60"),
)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--running", type=click.Path(path_type=Path, dir_okay=False), required=True,
    help="The schedule that the shop follows, as `shop solve --json` wrote it.",
)  # fmt: skip
@click.option(
    "--now", type=click.IntRange(-TIME_MAX, TIME_MAX), required=True, help="What began before is a fact."
)
@click.option(
    "--frozen", type=click.IntRange(0, TIME_MAX), default=0, show_default=True,
    help="Tasks that begin in this time keep their places.",
)  # fmt: skip
@click.option(
    "--down", multiple=True, metavar="RESOURCE=TIME", help="It stands from now on; may be repeated."
)
@_MOVES
@_SEED
@_PROVE
@_GANTT
@click.pass_obj
def replan_file(
    shell: Shell, *, path: Path, running: Path, now: int, frozen: int, down: tuple[str, ...], moves: int, seed: int,
    budget: int, gantt: bool,
) -> None:  # fmt: skip
    """Repair the running schedule of the shop in PATH, and search for a better one with as few changes as it can.

    What is late counts first, then changes, then the end of the last task.
    """
    placed = placed_of(_parsed(running))
    left = replan_at(_read(path), placed, now=now, frozen=frozen, down=dict(_down(each) for each in down))
    first = repair(left)
    hit = affected(placed, left, first.placed)
    if not shell.json:
        shell.say(f"{counted(len(hit), 'task')} later or new, repaired: the last task ends at {_end(first)}")
    _answer(shell, left, moves=moves, seed=seed, budget=budget, gantt=gantt)


@group.command("check", epilog=example("ringroad shop check press.json plan.json"))
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("plan", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def check_file(shell: Shell, *, path: Path, plan: Path) -> None:
    """Hold the schedule in PLAN, anybody's, against the shop in PATH, rule by rule."""
    cost = count_cost(_read(path), placed_of(_parsed(plan)))
    shell.show(
        {level.value: each for level, each in cost.items()},
        text="it holds: " + ", ".join(f"{level.value} {each}" for level, each in cost.items()),
    )


for _command in of_plant.commands.values():
    group.add_command(_command)


def _answer(shell: Shell, problem: ShopProblem, *, moves: int, seed: int, budget: int, gantt: bool) -> None:
    from ringroad.build.kernels.compiled import is_kept  # noqa: PLC0415 - loads a compiler, see the package

    if not is_kept() and moves:
        click.echo("compiling the search, once on this machine", err=True)
    from ringroad.build.shop.solve import solve_twice  # noqa: PLC0415 - same

    started_s = shell.clock.monotonic_s()
    found = solve_twice(problem, moves_max=moves, seed=seed)
    bound = lower_bound(problem)
    if budget:
        proof = prove(problem, found, budget=budget, seed=seed)
        found, bound = proof.schedule, dict(proof.bound)
    seconds = shell.clock.monotonic_s() - started_s
    rows = [
        {"counted": level.value, "found": cost, "at_least": bound[level], "gap_permille": gap_permille(cost, bound[level])}
        for level, cost in found.cost.items()
    ]  # fmt: skip
    shell.show(
        {**schedule_document(found), "levels": rows, "seconds": round(seconds, 3)},
        text=_text(problem, found, rows, seconds, gantt=gantt),
    )


def _text(
    problem: ShopProblem, found: Schedule, rows: Sequence[dict[str, Any]], seconds: float, *, gantt: bool
) -> str:
    tasks = sum(len(job.tasks) for job in problem.jobs)
    above = [row["gap_permille"] != 0 for row in rows]  # a level is compared once those before it are closed
    head = f"{counted(len(problem.jobs), 'job')}, {counted(tasks, 'task')}, {found.moves} moves in {seconds:.2f} s"
    lines = table(
        ("counted", "found", "at least", "gap"),
        (
            (
                row["counted"],
                row["found"],
                row["at_least"],
                _gap(row["gap_permille"], is_behind=any(above[:place])),
            )
            for place, row in enumerate(rows)
        ),
    )
    return "\n".join([head, lines, *(["", *_chart(problem, found)] if gantt else [])])


def _gap(permille: int | None, *, is_behind: bool) -> str:
    if is_behind:
        return "-"
    return "not proved" if permille is None else f"{permille / 10:.1f} %"


def _chart(problem: ShopProblem, found: Schedule) -> list[str]:
    """Draw a row for each resource: a letter for the job it works on, nothing where it waits or is set up, `.` closed."""
    job_of = {task.id: number for number, job in enumerate(problem.jobs) for task in job.tasks}
    low = min([each.start for each in found.placed] + [problem.now])
    high = max(_end(found), low + 1)
    names = max(len(each.id) for each in problem.resources)
    lines = []
    for resource in problem.resources:
        mine = [each for each in found.placed if each.resource == resource.id]
        cells = ""
        for column in range(CHART_CHARS):
            at = low + (high - low) * (2 * column + 1) // (2 * CHART_CHARS)
            cells += _cell(at, mine, resource.closed, job_of)
        lines.append(f"{resource.id:<{names}}  {cells.rstrip()}")
    return [*lines, f"{'':<{names}}  {low:<{CHART_CHARS - len(str(high))}}{high}"]


def _cell(at: int, mine: Sequence[Placed], closed: Sequence[tuple[int, int]], job_of: dict[str, int]) -> str:
    if any(since <= at < to for since, to in closed):
        return "."
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    here = next((each for each in mine if each.start <= at < each.end), None)
    return letters[job_of[here.task] % len(letters)] if here else " "


def _end(schedule: Schedule) -> int:
    return max((each.end for each in schedule.placed), default=0)


def _read(path: Path) -> ShopProblem:
    """Return the problem of a file. Raises: InvalidInput."""
    text = read_text(path, bytes_max=max(FILE_BYTES_MAX, DOCUMENT_BYTES_MAX))
    if text.lstrip().startswith("{"):
        return read_shop(text)
    return read_brandimarte(text)


def _parsed(path: Path) -> Any:
    try:
        return json.loads(read_text(path, bytes_max=DOCUMENT_BYTES_MAX))
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path} is no JSON: {error}") from error


def _down(text: str) -> tuple[str, int]:
    name, _, time = text.rpartition("=")
    if not name or not time.isdigit():
        raise InvalidInput(f"{text!r} is no RESOURCE=TIME", hint="for example --down press-2=60")
    return name, int(time)
