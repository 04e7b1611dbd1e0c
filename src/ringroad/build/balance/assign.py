"""Deal work to stations at once: station after station, by several rules, forwards and backwards. Plain Python.

For a number of stations the takts next to the bound are tried first, and the first that some rule keeps is taken;
where none is kept, the takt is halved in between, and those next below what was found are tried. How often is
bounded, whatever the seconds: no rule is sure to keep a longer takt too, so a shorter one may be missed. Same input,
same answer.

Source: Helgeson, Birnie (1961), ranked positional weight; Scholl, Voss (1996), bidirectional planning by rules.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ringroad.build.balance.problem import Balance, BalanceProblem, Work

NEAR: Final = 50  # takts that are tried one by one, from the bound upwards and from what was found downwards


def balance(problem: BalanceProblem) -> Balance:
    """Return the best balance that the rules find."""
    tasks = problem.tasks
    rules = _rules(tasks)
    if problem.takt is not None:
        best = min((_deal(rule, problem.takt) for rule in rules), key=len)
        return _told(tasks, best, bound=stations_bound(tasks, problem.takt))
    stations = problem.stations or 1
    least = takt_bound(tasks, stations)
    return _told(tasks, _shortest(tasks, rules, stations, least), bound=least)


def stations_bound(tasks: tuple[Work, ...], takt: int) -> int:
    """Return how many stations any balance needs: by the sum, and by tasks of more than half a takt."""
    work = -(-sum(task.seconds for task in tasks) // takt)
    return max(work, sum(2 * task.seconds > takt for task in tasks))


def takt_bound(tasks: tuple[Work, ...], stations: int) -> int:
    """Return the least takt: by the sum, by the longest task, and by two of the longest at one station."""
    times = sorted((task.seconds for task in tasks), reverse=True)
    pair = times[stations - 1] + times[stations] if stations < len(times) else 0
    return max(times[0], -(-sum(times) // stations), pair)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Tasks by rank: of those that fit, the first is taken. All numbers are ranks.

    Attributes:
        tasks: by rank.
        waits: how many tasks each follows.
        followers: of each.
        backwards: stations are filled from the end of the line.
    """

    tasks: tuple[Work, ...]
    waits: tuple[int, ...]
    followers: tuple[tuple[int, ...], ...]
    backwards: bool


def _rules(tasks: tuple[Work, ...]) -> list[_Rule]:
    followers = _followers(tasks)
    turned = tuple(replace(task, after=tuple(followers[task.id])) for task in reversed(tasks))
    ranks = [_ranks(tasks), _ranks(turned)]
    return [
        _rule(sorted(way, key=lambda task: rank[task.id]), backwards=way is turned)
        for at in range(len(ranks[0]))
        for way, rank in ((tasks, ranks[0][at]), (turned, ranks[1][at]))
    ]


def _ranks(tasks: tuple[Work, ...]) -> list[dict[str, tuple[int, ...]]]:
    """Return what tasks are ranked by, of each rule."""
    weight = _weights(tasks)
    places = list(enumerate(tasks))
    return [
        {task.id: (-weight[task.id][0], place) for place, task in places},
        {task.id: (-task.seconds, -weight[task.id][0], place) for place, task in places},
        {task.id: (-weight[task.id][1], -task.seconds, place) for place, task in places},
    ]


def _rule(ranked: Sequence[Work], *, backwards: bool) -> _Rule:
    followers, number = _followers(ranked), {task.id: at for at, task in enumerate(ranked)}
    return _Rule(
        tasks=tuple(ranked),
        waits=tuple(len(set(task.after)) for task in ranked),
        followers=tuple(tuple(number[name] for name in sorted(set(followers[task.id]))) for task in ranked),
        backwards=backwards,
    )


def _followers(tasks: Sequence[Work]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {task.id: [] for task in tasks}
    for task in tasks:
        for before in task.after:
            found[before].append(task.id)
    return found


def _shortest(tasks: tuple[Work, ...], rules: Sequence[_Rule], stations: int, least: int) -> list[list[str]]:
    """Return the stations of the shortest takt that was found, not below the least."""
    for takt in range(least, least + NEAR):
        if (dealt := _kept(rules, takt, stations)) is not None:
            return dealt
    best = [[task.id for task in tasks]]  # all the work at one station
    low, high = least + NEAR - 1, _fullest(tasks, best)
    while high - low > 1:
        middle = (low + high) // 2
        dealt = _kept(rules, middle, stations)
        if dealt is None:
            low = middle
        else:
            best, high = dealt, _fullest(tasks, dealt)
    for takt in range(high - 1, max(least + NEAR, high - NEAR) - 1, -1):
        if (dealt := _kept(rules, takt, stations)) is not None:
            best = dealt
    return best


def _kept(rules: Sequence[_Rule], takt: int, stations: int) -> list[list[str]] | None:
    """Return the stations of the first rule that needs no more than are there."""
    dealt = (_deal(rule, takt) for rule in rules)
    return next((each for each in dealt if len(each) <= stations), None)


def _deal(rule: _Rule, takt: int) -> list[list[str]]:
    """Fill stations by one rule."""
    waits, stations = list(rule.waits), [list[str]()]
    ready = [rank for rank, waiting in enumerate(waits) if not waiting]
    room = takt
    while ready:
        at = next((at for at, rank in enumerate(ready) if rule.tasks[rank].seconds <= room), None)
        if at is None:
            stations.append([])
            room = takt
            continue
        rank = ready.pop(at)
        stations[-1].append(rule.tasks[rank].id)
        room -= rule.tasks[rank].seconds
        for follower in rule.followers[rank]:
            waits[follower] -= 1
            if not waits[follower]:
                insort(ready, follower)
    return [names[::-1] for names in stations[::-1]] if rule.backwards else stations


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


def _fullest(tasks: tuple[Work, ...], dealt: Sequence[Sequence[str]]) -> int:
    seconds = {task.id: task.seconds for task in tasks}
    return max(sum(seconds[name] for name in names) for names in dealt)


def _told(tasks: tuple[Work, ...], dealt: list[list[str]], *, bound: int) -> Balance:
    return Balance(stations=tuple(tuple(names) for names in dealt), takt=_fullest(tasks, dealt), bound=bound)
