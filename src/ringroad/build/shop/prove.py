"""How good can a shop's schedule be? CP-SAT's proof, and better schedules where it finds one. Extra `shop`.

The model keeps choices, jobs, resources, calendars and the past exactly. Set-ups are exact where a resource has
few tasks, else left out, and count as time of the day, not as work: both only make schedules shorter, so that
what CP-SAT proves holds for the true problem. Its answer is placed again by `dispatch.py`, which knows
every rule, and only taken if it costs less then.

The budget is CP-SAT's deterministic time, and it has one worker: the same problem, budget and seed give the
same answer, on a slow machine later. The search's schedule is its hint.

Levels of the order are proved one after the other, as long as each one's gap is closed; CHANGES and SETUP are
not proved.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ringroad.build.shop.bound import lower_bound
from ringroad.build.shop.dispatch import Places, behind_fixed, place_all, ready_at
from ringroad.build.shop.problem import Level, Resource, Schedule, ShopProblem, Task
from ringroad.kernel.errors import InvalidInput, Unavailable

BUDGET_MAX: Final = 36_000  # units of CP-SAT's deterministic time, each about a second on one core
SETUP_TASKS_MAX: Final = 40  # per resource whose set-ups are in the model: the square of it in arcs
BREAKS_MAX: Final = 60_000  # pairs of a task and a break that may interrupt it
WORKERS: Final = 1  # several that take turns need ten times the time for the same budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A schedule, and what none can be below.

    Attributes:
        schedule: the given one, or a better one.
        bound: of each level; 0 where nothing was proved.
    """

    schedule: Schedule
    bound: Mapping[Level, int]

    @property
    def is_optimal(self) -> bool:
        """Whether no schedule costs less."""
        return self.schedule.rank == tuple(self.bound.values())


def gap_permille(cost: int, bound: int) -> int | None:
    """Return how far a cost is above what is proved, in 1/1000 of the latter; None where nothing is proved."""
    if cost == bound:
        return 0
    return None if bound <= 0 else -(-(cost - bound) * 1000 // bound)


def prove(problem: ShopProblem, schedule: Schedule, *, budget: int, seed: int) -> Proof:
    """Ask CP-SAT for bounds and a better schedule.

    Args:
        problem: what is asked.
        schedule: the best one known; the hint.
        budget: of CP-SAT's deterministic time for each level.
        seed: of its random numbers.

    Raises:
        InvalidInput: more budget than allowed.
        Unavailable: CP-SAT is not installed.
    """
    if not 0 <= budget <= BUDGET_MAX:
        raise InvalidInput(f"a budget of {budget}, limit {BUDGET_MAX}")
    bound = dict(lower_bound(problem))
    for level in problem.order:
        if schedule.cost[level] == bound[level]:
            continue
        if budget == 0 or level not in (Level.TARDINESS, Level.MAKESPAN):
            break
        found, proved = _Model(problem, schedule, level).solve(budget=budget, seed=seed)
        schedule = min(schedule, found, key=lambda each: each.rank) if found else schedule
        bound[level] = max(bound[level], min(proved, schedule.cost[level]))
        if schedule.cost[level] != bound[level]:
            break
    return Proof(schedule=schedule, bound=bound)


def cp_model() -> Any:
    """Return OR-Tools' module. Raises: Unavailable where the extra is not installed."""
    try:
        return importlib.import_module("ortools.sat.python.cp_model")
    except ImportError as error:
        raise Unavailable(
            "CP-SAT is not installed, so nothing is proved beyond what counting shows",
            hint="pip install 'ringroad[shop]', or leave the proof out",
        ) from error


class _Model:
    """One CP-SAT model of a problem, for one level; earlier levels may not get worse."""

    def __init__(self, problem: ShopProblem, schedule: Schedule, level: Level) -> None:
        self.cp = cp_model()
        self.problem, self.known = problem, schedule
        self.model = self.cp.CpModel()
        self.at = {each.task: each for each in schedule.placed}
        self.places = Places(problem)
        self.behind = behind_fixed(problem)
        self.start: dict[str, Any] = {}
        self.end: dict[str, Any] = {}
        self.on: dict[tuple[str, str], Any] = {}
        self.intervals: dict[str, list[tuple[str, Any, Any]]] = {each.id: [] for each in problem.resources}
        # Whatever is to be shown can be shown within the known schedule's length, or that of a late one.
        self.last = max((each.end for each in schedule.placed), default=0)
        if level is Level.TARDINESS:
            self.last += sum(max(task.work.values()) for _, task in problem.tasks() if task.fixed is None)
        resources = {each.id: each for each in problem.resources}
        breaks = sum(
            len(resources[each].closed)
            for _, task in problem.tasks() for each in task.work if resources[each].splits
        )  # fmt: skip
        if breaks > BREAKS_MAX:
            raise InvalidInput(
                f"{breaks} pairs of a task and a break, limit {BREAKS_MAX}",
                hint="prove a shorter time, or nothing",
            )
        for job in problem.jobs:
            self._add_job(job.id, [task for task in job.tasks if task.fixed is None], resources)
        for resource in problem.resources:
            self._add_resource(resource)
        self._add_levels(level)

    def _add_job(self, job_id: str, tasks: list[Task], resources: Mapping[str, Resource]) -> None:
        ready: Any = ready_at(self.problem, job_id)
        for task in tasks:
            low = max(ready_at(self.problem, job_id), self.behind.get(task.id, self.problem.now))
            start = self.start[task.id] = self.model.new_int_var(low, self.last, "")
            end = self.end[task.id] = self.model.new_int_var(low, self.last, "")
            self.model.add(ready <= start)
            chosen = []
            for resource_id, work in task.work.items():
                on = self.on[task.id, resource_id] = self.model.new_bool_var("")
                self.model.add_hint(on, self.at[task.id].resource == resource_id)
                chosen.append(on)
                self._add_choice(task.id, resources[resource_id], work, on)
            self.model.add_exactly_one(chosen)
            self.model.add_hint(start, self.at[task.id].start)
            self.model.add_hint(end, self.at[task.id].end)
            ready = end

    def _add_choice(self, task_id: str, resource: Resource, work: int, on: Any) -> None:
        """A task on a resource: an interval that may be there, longer by the breaks that interrupt it."""
        start, end = self.start[task_id], self.end[task_id]
        free = self.places.free[resource.id]
        self.model.add(start >= free).only_enforce_if(on)
        if not resource.splits or not resource.closed or work == 0:
            interval = self.model.new_optional_fixed_size_interval_var(start, work, on, "")
            self.model.add(end == start + work).only_enforce_if(on)
        else:
            pauses = []
            for since, to in resource.closed:
                if to <= free or self.last < since:
                    continue
                before, behind, pause = (self.model.new_bool_var("") for _ in range(3))
                self.model.add(start < since).only_enforce_if(before)
                self.model.add(start >= to).only_enforce_if(before.Not(), on)
                self.model.add(end > since).only_enforce_if(behind)
                self.model.add(end <= since).only_enforce_if(behind.Not())
                self.model.add_bool_and(before, behind).only_enforce_if(pause)
                self.model.add_bool_or(before.Not(), behind.Not(), pause)
                pauses.append((to - since) * pause)
            size = self.model.new_int_var(work, self.last + work, "")
            self.model.add(size == work + sum(pauses)).only_enforce_if(on)
            interval = self.model.new_optional_interval_var(start, size, end, on, "")
        self.intervals[resource.id].append((task_id, interval, on))

    def _add_resource(self, resource: Resource) -> None:
        mine = self.intervals[resource.id]
        rests = []
        if not resource.splits:
            rests = [
                self.model.new_fixed_size_interval_var(since, to - since, "") for since, to in resource.closed
            ]
        self.model.add_no_overlap([interval for _, interval, _ in mine] + rests)
        setups = {
            (before, behind): time
            for (on, before, behind), time in self.problem.setups.items()
            if on == resource.id and time
        }
        if not setups or len(mine) > SETUP_TASKS_MAX:
            return
        family = {task.id: task.family for _, task in self.problem.tasks()}
        first = self.places.family[resource.id]
        arcs: list[tuple[int, int, Any]] = [(0, 0, self.model.new_bool_var(""))]
        for n, (task_id, _, on) in enumerate(mine, start=1):
            arcs += [(n, n, on.Not()), (n, 0, self.model.new_bool_var(""))]
            opens = self.model.new_bool_var("")
            arcs.append((0, n, opens))
            extra = setups.get((first, family[task_id]), 0)
            self.model.add(self.start[task_id] >= self.places.free[resource.id] + extra).only_enforce_if(
                opens
            )
            for m, (other_id, _, _) in enumerate(mine, start=1):
                if m != n:
                    follows = self.model.new_bool_var("")
                    arcs.append((n, m, follows))
                    extra = setups.get((family[task_id], family[other_id]), 0)
                    self.model.add(self.start[other_id] >= self.end[task_id] + extra).only_enforce_if(follows)
        self.model.add_circuit(arcs)

    def _add_levels(self, level: Level) -> None:
        past = max((each.end for each in self.places.placed), default=0)
        span = self.model.new_int_var(
            max(past, lower_bound(self.problem).get(Level.MAKESPAN, 0)), self.last, ""
        )
        late = []
        for job in self.problem.jobs:
            ends = [self.end[task.id] for task in job.tasks if task.fixed is None]
            done = max((task.fixed.end for task in job.tasks if task.fixed), default=0)
            if ends:
                self.model.add(span >= ends[-1])
            if job.due is not None and job.weight:
                over = self.model.new_int_var(max(0, done - job.due), self.last + abs(job.due), "")
                if ends:
                    self.model.add(over >= ends[-1] - job.due)
                late.append(job.weight * over)
        cost = {Level.MAKESPAN: span, Level.TARDINESS: sum(late)}
        for before in self.problem.order[: self.problem.order.index(level)]:
            if before in cost:
                self.model.add(cost[before] <= self.known.cost[before])
        self.model.minimize(cost[level])

    def solve(self, *, budget: int, seed: int) -> tuple[Schedule | None, int]:
        """Return what CP-SAT found, placed by our own rules, and what it proved of the level."""
        solver = self.cp.CpSolver()
        solver.parameters.max_deterministic_time = budget
        solver.parameters.random_seed = seed % (1 << 31)
        solver.parameters.num_workers = WORKERS
        status = solver.solve(self.model)
        if status not in (self.cp.OPTIMAL, self.cp.FEASIBLE):
            return None, max(0, _up(solver.best_objective_bound)) if status == self.cp.UNKNOWN else 0
        starts = {
            task_id: (solver.value(start), solver.value(self.end[task_id]))
            for task_id, start in self.start.items()
        }
        chosen = {task_id: resource_id for (task_id, resource_id), on in self.on.items() if solver.value(on)}
        order = sorted(
            self.start, key=lambda task_id: starts[task_id]
        )  # stable: tasks of a job keep their order
        found = place_all(self.problem, [(task_id, chosen[task_id]) for task_id in order])
        return replace(found, moves=self.known.moves), _up(solver.best_objective_bound)


def _up(value: float) -> int:
    """Return the least whole number that is not below a bound, but for the rounding of a float."""
    return -int(-(value - 1e-6) // 1)
