"""Should a line be balanced anew? Its work, what was learned of its stations and what is on order in; an answer out.

For the worker: the twin's kernels are machine code. Nothing follows from an answer but that it is shown.
Invariant: a line that is not as its work was told is not balanced, and the answer says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ringroad.build.balance.assign import balance
from ringroad.build.balance.check import VEHICLES, check_on_twin, line_new, line_now
from ringroad.build.balance.line_work import Balanced, BalancedStation, check_work, work_now
from ringroad.build.balance.problem import BalanceProblem, Work, check_balance
from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.kernel.errors import Corrupt, InvalidInput

SEED: Final = 1  # of the twin's luck; the same answer each time


def look_again(tasks: Sequence[Work], line: Line, orders: Sequence[Order], *, threads: int) -> Balanced:
    """Balance a line for as many stations as it has, and ask the twin.

    Args:
        tasks: of the line, as they were told.
        line: at what was learned.
        orders: that wait, for the mix.
        threads: to use.

    Raises:
        Corrupt: the balance does not hold; a fault of ours.
    """
    try:
        check_work(tasks, line)
        work = work_now(tasks, line, orders)
        problem = BalanceProblem(tasks=work, stations=len(line.stations))
    except InvalidInput as error:
        return Balanced(proposed=False, reason=error.message)
    found = balance(problem)
    wrong = check_balance(problem, found)
    if wrong:
        raise Corrupt("the balance does not hold", detail=wrong[0])
    now = line_now(problem.tasks, line)
    new = line_new(problem.tasks, found, now)
    before = {station.name: station.cycle_s for station in now.stations}
    home = {task.id: task.station for task in work}
    takt = max(before.values())
    stations = tuple(
        BalancedStation(
            name=station.name, now_s=before[station.name], new_s=station.cycle_s, tasks=names,
            moved=tuple(name for name in names if home[name] != station.name),
        )
        for station, names in zip(new.stations, found.stations, strict=False)
    )  # fmt: skip
    answer = Balanced(
        proposed=False, reason="no other balance has a shorter takt", stations=stations,
        takt_s=(takt, found.takt), at_least_s=found.bound,
    )  # fmt: skip
    if takt <= found.takt:
        return answer
    check = check_on_twin(now, new, seed=SEED, threads=threads)
    said = f"{VEHICLES} vehicles take {check.end_s[0]} s now and {check.end_s[1]} s with the new balance"
    share = f"earlier in {check.better_permille / 10:g} % of 1,000 runs"
    return replace(
        answer, proposed=check.proposed, end_s=check.end_s, better_permille=check.better_permille,
        reason=f"{said}; {'better' if check.proposed else 'not better'}: {share}",
    )  # fmt: skip
