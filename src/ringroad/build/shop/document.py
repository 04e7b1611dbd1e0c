"""A shop and its work as a document, and a schedule as one: what files, the API and the database hold.

Pure. Unknown keys are refused, with the place where they stand.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringroad.build.shop.problem import Job, Level, Placed, Resource, Schedule, ShopProblem, Task
from ringroad.kernel.errors import InvalidInput

DOCUMENT_BYTES_MAX: Final = 8_000_000  # of 3,000 tasks with ten resources each
NAME_CHARS_MAX: Final = 100


class _Resource(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    id: str
    closed: list[tuple[int, int]] = []
    splits: bool = True
    family: str = ""


class _Setup(msgspec.Struct, forbid_unknown_fields=True):
    resource: str
    before: str
    behind: str
    time: int


class _Place(msgspec.Struct, forbid_unknown_fields=True):
    resource: str
    start: int
    end: int


class _Task(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    id: str
    work: dict[str, int]
    family: str = ""
    fixed: _Place | None = None


class _Job(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    id: str
    tasks: list[_Task]
    release: int = 0
    due: int | None = None
    weight: int = 1


class _Shop(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    resources: list[_Resource]
    jobs: list[_Job]
    setups: list[_Setup] = []
    now: int = 0


def read_shop(text: str | bytes) -> ShopProblem:
    """Return the problem of a JSON document. Raises: InvalidInput, naming the place."""
    try:
        return _problem(msgspec.json.decode(text, type=_Shop))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not a shop: {error}", hint="see docs/howto/shops.md") from error


def shop_of(document: Any) -> ShopProblem:
    """Return the problem of a parsed document. Raises: InvalidInput, naming the place."""
    try:
        return _problem(msgspec.convert(document, _Shop))
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"not a shop: {error}", hint="see docs/howto/shops.md") from error


def shop_document(problem: ShopProblem) -> dict[str, Any]:
    """Return a problem as a document, without its running schedule."""
    shop = _Shop(
        resources=[
            _Resource(id=each.id, closed=list(each.closed), splits=each.splits, family=each.family)
            for each in problem.resources
        ],
        jobs=[
            _Job(
                id=job.id,
                release=job.release,
                due=job.due,
                weight=job.weight,
                tasks=[
                    _Task(
                        id=task.id,
                        work=dict(task.work),
                        family=task.family,
                        fixed=None
                        if task.fixed is None
                        else _Place(task.fixed.resource, task.fixed.start, task.fixed.end),
                    )
                    for task in job.tasks
                ],
            )
            for job in problem.jobs
        ],
        setups=[_Setup(*key, time) for key, time in problem.setups.items()],
        now=problem.now,
    )
    document: dict[str, Any] = msgspec.to_builtins(shop)
    return document


def schedule_document(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as a document."""
    return {
        "placed": [
            {"task": each.task, "resource": each.resource, "start": each.start, "end": each.end}
            for each in schedule.placed
        ],
        "cost": {level.value: cost for level, cost in schedule.cost.items()},
        "moves": schedule.moves,
    }


def placed_of(document: Any) -> tuple[Placed, ...]:
    """Return the places of a schedule's document. Raises: InvalidInput."""
    try:
        rows = msgspec.convert(document["placed"], list[dict[str, str | int]])
        return tuple(
            Placed(
                task=str(row["task"]),
                resource=str(row["resource"]),
                start=int(row["start"]),
                end=int(row["end"]),
            )
            for row in rows
        )
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            "not a schedule of a shop", hint="one that `ringroad shop solve --json` wrote"
        ) from error


def schedule_of(document: Any) -> Schedule:
    """Return a stored schedule; its costs are what they were counted as."""
    return Schedule(
        placed=placed_of(document),
        cost={Level(name): int(cost) for name, cost in document["cost"].items()},
        moves=int(document["moves"]),
    )


def _problem(shop: _Shop) -> ShopProblem:
    for kind, names in (
        ("resource", [each.id for each in shop.resources]),
        ("job", [each.id for each in shop.jobs]),
        ("task", [task.id for job in shop.jobs for task in job.tasks]),
    ):
        for name in names:
            if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
                raise InvalidInput(
                    f"a {kind} is called {name[:20]!r}: 1 to {NAME_CHARS_MAX} printable characters"
                )
    setups = {(each.resource, each.before, each.behind): each.time for each in shop.setups}
    if len(setups) != len(shop.setups):
        raise InvalidInput("a set-up stands twice")
    return ShopProblem(
        resources=tuple(
            Resource(id=each.id, closed=tuple(each.closed), splits=each.splits, family=each.family)
            for each in shop.resources
        ),
        jobs=tuple(
            Job(
                id=job.id,
                release=job.release,
                due=job.due,
                weight=job.weight,
                tasks=tuple(
                    Task(
                        id=task.id,
                        work=task.work,
                        family=task.family,
                        fixed=_placed(task),
                    )
                    for task in job.tasks
                ),
            )
            for job in shop.jobs
        ),
        setups=setups,
        now=shop.now,
    )


def _placed(task: _Task) -> Placed | None:
    place = task.fixed
    return (
        None
        if place is None
        else Placed(task=task.id, resource=place.resource, start=place.start, end=place.end)
    )
