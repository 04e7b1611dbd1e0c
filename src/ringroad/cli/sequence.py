"""`ringroad sequence`: solve a line sequence from a file, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from ringroad.build.sequence.bound import lower_bound
from ringroad.build.sequence.csplib import FILE_BYTES_MAX, read_csplib
from ringroad.build.sequence.problem import Level, Problem, Sequenced
from ringroad.build.sequence.roadef import FILES, read_roadef, weighted
from ringroad.cli.groups import example, read_text
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table
from ringroad.kernel.errors import NotFound
from ringroad.kernel.plurals import counted

MOVES_DEFAULT: Final = 20_000_000  # some seconds
MOVES_MAX: Final = 20_000_000_000


@click.group("sequence")
def group() -> None:
    """Line sequences from files: CSPLib problem 001 and ROADEF 2005."""


@group.command(
    "solve",
    epilog=example(
        "ringroad sequence solve data.txt --instance 10/93", "ringroad sequence solve 022_3_4_EP_RAF_ENP/"
    ),
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--instance", "wanted", multiple=True, help="Only this one of a file with many; may be repeated."
)
@click.option(
    "--moves", type=click.IntRange(0, MOVES_MAX), default=MOVES_DEFAULT, show_default=True,
    help="Budget for each instance; the same budget and seed give the same sequence.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the search.")
@click.pass_obj
def solve_file(shell: Shell, *, path: Path, wanted: tuple[str, ...], moves: int, seed: int) -> None:
    """Solve the instances in PATH: a CSPLib file, or a folder with the four files of a ROADEF instance.

    Shows what each sequence costs, counted by a checker of its own, beside what any sequence must cost at least.
    """
    problems = _read(path)
    missing = [name for name in wanted if name not in problems]
    if missing:
        raise NotFound(
            f"{path} has no instance {missing[0]!r}", hint=f"it has {', '.join(list(problems)[:20])}"
        )
    rows = []
    for name, problem in problems.items():
        if not wanted or name in wanted:
            rows.append(_solve(shell, name, problem, moves=moves, seed=seed))
            if not shell.json and len(problems) > 1:
                shell.say(f"{name}: {rows[-1]['seconds']:.2f} s")
    shell.show(rows, text="\n\n".join(_text(row) for row in rows))


def _read(path: Path) -> dict[str, Problem]:
    """Return the problems of a file or a folder by name. Raises: InvalidInput."""
    if path.is_dir():
        given = {name: path / name for name in FILES if (path / name).exists()}
        texts = {name: read_text(file, bytes_max=FILE_BYTES_MAX) for name, file in given.items()}
        return {path.resolve().name: read_roadef(texts)}
    return read_csplib(read_text(path, bytes_max=FILE_BYTES_MAX), name=path.stem)


def _solve(shell: Shell, name: str, problem: Problem, *, moves: int, seed: int) -> dict[str, Any]:
    from ringroad.build.kernels.compiled import is_kept  # noqa: PLC0415 - loads a compiler, see the package

    if not is_kept():
        click.echo("compiling the search, once on this machine", err=True)
    from ringroad.build.sequence.solve import solve  # noqa: PLC0415 - same

    bound = lower_bound(problem)
    started_s = shell.clock.monotonic_s()
    found = solve(problem, moves_max=moves, seed=seed, stop=lambda cost, _: cost == tuple(bound.values()))
    return _row(name, problem, found, bound, seconds=shell.clock.monotonic_s() - started_s)


def _row(
    name: str, problem: Problem, found: Sequenced, bound: Mapping[Level, int], *, seconds: float
) -> dict[str, Any]:
    return {
        "instance": name,
        "cars": len(problem.cars) - problem.frozen,
        "cost": {level.value: cost for level, cost in found.cost.items()},
        "at_least": {level.value: cost for level, cost in bound.items()},
        "weighted": weighted(found.cost) if problem.measure == "excess" else None,
        "moves": found.moves,
        "seconds": round(seconds, 3),
        "order": list(found.order[problem.frozen :]),
    }


def _text(row: Mapping[str, Any]) -> str:
    lines = table(
        ("counted", "found", "at least", "gap"),
        (
            (name.replace("_", " "), cost, row["at_least"][name], cost - row["at_least"][name])
            for name, cost in row["cost"].items()
        ),
    )
    sum_of = f", weighted {row['weighted']}" if row["weighted"] is not None else ""
    head = f"{row['instance']}: {counted(row['cars'], 'car')}{sum_of}, {row['moves']} moves in {row['seconds']:.2f} s"
    return f"{head}\n{lines}"
