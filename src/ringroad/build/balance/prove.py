"""How good can a balance be? CP-SAT's proof, and a better balance where it finds one. Extra `shop`.

One worker and deterministic time, as in `shop/prove.py`: the same input gives the same answer on every machine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ringroad.build.balance.problem import Balance, BalanceProblem
from ringroad.build.shop.prove import cp_model
from ringroad.kernel.errors import Corrupt


def prove(problem: BalanceProblem, known: Balance, *, budget: int) -> Balance:
    """Return the balance, or a better one, with the best bound.

    Args:
        problem: what is asked.
        known: the best balance so far; the hint.
        budget: of CP-SAT's deterministic time.

    Raises:
        Unavailable: CP-SAT is not installed.
        Corrupt: CP-SAT's answer breaks a rule; a fault of ours.
    """
    reached = known.takt if problem.takt is None else len(known.stations)
    if reached == known.bound or budget == 0:
        return known
    cp = cp_model()
    model: Any = cp.CpModel()
    count = problem.stations or len(known.stations)
    takt = model.new_int_var(known.bound, known.takt, "") if problem.takt is None else problem.takt
    at, on = {}, {}
    place = {name: number for number, names in enumerate(known.stations) for name in names}
    for task in problem.tasks:
        at[task.id] = model.new_int_var(0, count - 1, "")
        on[task.id] = [model.new_bool_var("") for _ in range(count)]
        model.add_exactly_one(on[task.id])
        model.add(at[task.id] == sum(number * chosen for number, chosen in enumerate(on[task.id])))
        for number, chosen in enumerate(on[task.id]):
            model.add_hint(chosen, number == place[task.id])
        for before in task.after:
            model.add(at[before] <= at[task.id])
    for number in range(count):
        model.add(sum(task.seconds * on[task.id][number] for task in problem.tasks) <= takt)
    used = model.new_int_var(1, count, "")
    for each in at.values():
        model.add(each < used)
    model.minimize(takt if problem.takt is None else used)
    solver: Any = cp.CpSolver()
    solver.parameters.num_workers, solver.parameters.random_seed = 1, 1
    solver.parameters.max_deterministic_time = budget
    status = solver.solve(model)
    bound = max(known.bound, min(reached, -int(-(solver.best_objective_bound - 1e-6) // 1)))
    if status not in (cp.OPTIMAL, cp.FEASIBLE) or reached <= int(solver.objective_value):
        return replace(known, bound=bound)
    places = {name: int(solver.value(each)) for name, each in at.items()}
    stations = tuple(
        names
        for number in range(count)
        if (names := tuple(task.id for task in problem.tasks if places[task.id] == number))
    )
    seconds = {task.id: task.seconds for task in problem.tasks}
    loads = [sum(seconds[name] for name in names) for names in stations]
    if problem.takt is not None and max(loads) > problem.takt:
        raise Corrupt("CP-SAT's balance has a station that is too full", detail=str(loads))
    return Balance(stations=stations, takt=max(loads), bound=bound)
