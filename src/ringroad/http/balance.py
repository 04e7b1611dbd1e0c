"""Build: the work of a line, and what dealing it out anew would bring."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.build.balance.problem import SECONDS_MAX, TASKS_MAX, Work
from ringroad.build.balance.store import newest_balance, tell_work, told_work
from ringroad.build.store_packages import get_programme
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import TEXT_PATTERN, Command, Done, Id, Req, route
from ringroad.http.views import View
from ringroad.kernel.errors import NotFound
from ringroad.storage.db import Connection

WORK_BYTES_MAX: Final = 256 * 1024  # of a line's tasks
Words = Annotated[str, Meta(min_length=1, max_length=200, pattern=TEXT_PATTERN)]


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One task of a line."""

    id: Words
    seconds: Annotated[int, Meta(ge=1, le=SECONDS_MAX)]
    after: Annotated[list[str], Meta(max_length=100)] = []  # ids of tasks before it
    station: Words  # that does it now


class NewWork(Command, frozen=True, kw_only=True):
    """All tasks of a line, and which station does each now."""

    tasks: Annotated[list[Task], Meta(min_length=1, max_length=TASKS_MAX)]


class BalancedStationView(View, frozen=True, kw_only=True):
    """A station as it is and as it would be."""

    name: str
    now_s: int
    new_s: int
    tasks: list[str]
    moved: list[str]  # of those, the ones that come from another station


class BalanceView(View, frozen=True, kw_only=True):
    """What came of looking at a line's balance last. Nothing follows by itself."""

    programme_id: str
    tasks: int
    told_by: str
    told_at: datetime
    looked_at: datetime | None  # null: the worker has not looked at that work yet
    proposed: bool
    reason: str
    takt_s: list[int]  # now and then
    at_least_s: int
    end_s: list[
        int
    ]  # when the last of 200 vehicles leaves on the twin, now and then; zeros if it was not asked
    better_permille: int
    stations: list[BalancedStationView]


@route(
    "POST", "/programmes/{programme_id:str}/work", role=Role.OPERATOR, tag="build", status=201,
    errors=[404, 413, 422], body_bytes_max=WORK_BYTES_MAX,
)  # fmt: skip
def tell_line_work(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[NewWork]) -> Done:
    """Tell which tasks a line does. The worker looks whether another balance would be better, now and as things change."""
    tasks = [
        Work(id=each.id, seconds=each.seconds, after=tuple(each.after), station=each.station)
        for each in data.tasks
    ]
    with ctx.transaction() as conn:
        tell_work(
            conn,
            ctx.ids,
            programme_id=programme_id,
            tasks=tasks,
            actor=request.user.name,
            now=ctx.clock.now(),
        )
    return Done(id=programme_id, state="told")


@route("GET", "/programmes/{programme_id:str}/balance", role=Role.VIEWER, tag="build", errors=[404])
def show_balance(ctx: Ctx, *, programme_id: Id) -> BalanceView:
    """Read what the worker found when it looked at the line's balance last."""
    with ctx.connection() as conn:
        get_programme(conn, programme_id)
        found = balance_of(conn, programme_id)
    if found is None:
        raise NotFound(
            f"nobody told the work of the line of {programme_id}", hint="ringroad plant work tell FILE"
        )
    return found


def balance_of(conn: Connection, programme_id: str) -> BalanceView | None:
    """Return what was found last; None where nobody told a line's work."""
    told = told_work(conn, programme_id)
    if told is None:
        return None
    fact, tasks = told
    newest = newest_balance(conn, programme_id)
    of_this = newest if newest and newest.body["work"] == fact.id else None
    body = of_this.body if of_this else {}
    return BalanceView(
        programme_id=programme_id, tasks=len(tasks), told_by=fact.actor, told_at=fact.recorded_at,
        looked_at=of_this.recorded_at if of_this else None, proposed=body.get("proposed", False),
        reason=body.get("reason", "the worker has not looked at it yet"), takt_s=body.get("takt_s", [0, 0]),
        at_least_s=body.get("at_least_s", 0), end_s=body.get("end_s", [0, 0]),
        better_permille=body.get("better_permille", 0),
        stations=[msgspec.convert(each, BalancedStationView) for each in body.get("stations", [])],
    )  # fmt: skip


router = Router("/", route_handlers=[tell_line_work, show_balance])
