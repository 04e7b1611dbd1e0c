"""Deal work to stations at once: station after station, by several rules, forwards and backwards. Plain Python.

For a number of stations the shortest takt is looked for from the bound upwards, and the first that some rule
keeps is taken. Same input, same answer.

Source: Helgeson, Birnie (1961), ranked positional weight; Scholl, Voss (1996), bidirectional planning by rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ringroad.build.balance.problem import Balance, BalanceProblem, Work

Rule = Callable[[Work], tuple[int, ...]]


def balance(problem: BalanceProblem) -> Balance:
    """Return the best balance that the rules find."""
    tasks = problem.tasks
    if problem.takt is not None:
        best = min((_deal(tasks, problem.takt, rule) for rule in range(_RULES)), key=len)
        return _told(tasks, best, bound=stations_bound(tasks, problem.takt))
    stations = problem.stations or 1
    least = takt_bound(tasks, stations)
    takt = least
    while True:  # a takt of all the work at one station is kept by every rule
        for rule in range(_RULES):
            dealt = _deal(tasks, takt, rule)
            if len(dealt) <= stations:
                return _told(tasks, dealt, bound=least)
        takt += 1


def stations_bound(tasks: tuple[Work, ...], takt: int) -> int:
    """Return how many stations any balance needs: by the sum, and by tasks of more than half a takt."""
    work = -(-sum(task.seconds for task in tasks) // takt)
    return max(work, sum(2 * task.seconds > takt for task in tasks))


def takt_bound(tasks: tuple[Work, ...], stations: int) -> int:
    """Return the least takt: by the sum, by the longest task, and by two of the longest at one station."""
    times = sorted((task.seconds for task in tasks), reverse=True)
    pair = times[stations - 1] + times[stations] if stations < len(times) else 0
    return max(times[0], -(-sum(times) // stations), pair)


_RULES = 6


def _deal(tasks: tuple[Work, ...], takt: int, rule: int) -> list[list[str]]:
    """Fill stations by one rule; odd rules fill them from the end of the line."""
    if rule % 2:
        followers: dict[str, list[str]] = {task.id: [] for task in tasks}
        for task in tasks:
            for before in task.after:
                followers[before].append(task.id)
        turned = tuple(replace(task, after=tuple(followers[task.id])) for task in reversed(tasks))
        return [names[::-1] for names in _deal(turned, takt, rule - 1)[::-1]]
    weight = _weights(tasks)
    place = {task.id: number for number, task in enumerate(tasks)}
    rank: Rule = (
        lambda task: (-weight[task.id][0], place[task.id]),
        lambda task: (-task.seconds, -weight[task.id][0], place[task.id]),
        lambda task: (-weight[task.id][1], -task.seconds, place[task.id]),
    )[rule // 2]
    left, done, stations = list(tasks), set[str](), [list[str]()]
    room = takt
    while left:
        ready = [task for task in left if task.seconds <= room and done.issuperset(task.after)]
        if not ready:
            stations.append([])
            room = takt
            continue
        task = min(ready, key=rank)
        stations[-1].append(task.id)
        room -= task.seconds
        done.add(task.id)
        left.remove(task)
    return stations


def _weights(tasks: tuple[Work, ...]) -> dict[str, tuple[int, int]]:
    """Return, of each task, the time of it and all that follow it, and how many those are."""
    behind: dict[str, set[str]] = {task.id: set() for task in tasks}
    for task in reversed(tasks):  # all that follow a task stand behind it
        for before in task.after:
            behind[before] |= {task.id} | behind[task.id]
    seconds = {task.id: task.seconds for task in tasks}
    return {
        name: (seconds[name] + sum(seconds[each] for each in others), len(others))
        for name, others in behind.items()
    }


def _told(tasks: tuple[Work, ...], dealt: list[list[str]], *, bound: int) -> Balance:
    seconds = {task.id: task.seconds for task in tasks}
    return Balance(
        stations=tuple(tuple(names) for names in dealt),
        takt=max(sum(seconds[name] for name in names) for names in dealt),
        bound=bound,
    )
