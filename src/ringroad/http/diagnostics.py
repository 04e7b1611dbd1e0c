"""Signal: remote diagnostics of one vehicle, as a SOVD-aligned tree that the vehicle itself answers.

The server proxies: a request is queued, travels over the connection that the vehicle opened, and is answered by the
vehicle. Whoever waits gets the answer, or 202 and where to look later.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import msgspec
from anyio import to_thread
from litestar import Response, Router
from litestar.params import FromPath, JSONBody, Parameter
from msgspec import Meta

from ringroad.http import reading
from ringroad.http.auth import Account, Role, TooMany
from ringroad.http.context import Context, Ctx
from ringroad.http.errors import ErrorBody, ErrorDetail
from ringroad.http.routes import TEXT_PATTERN, Command, Id, Limit, Req, route
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.protocol.diagnostics import (
    PATH_CHARS_MAX,
    REASON_CHARS_MAX,
    SAMPLES_MAX,
    Method,
    Refused,
)
from ringroad.protocol.names import Names, data_name, fault_name
from ringroad.signal import store_diagnostics as store
from ringroad.signal.diagnose import Job, JobState, Session, SessionState, is_too_much
from ringroad.signal.store_names import load_names
from ringroad.storage.db import Connection

WAIT_S: Final = 10  # s a caller waits for the vehicle, unless it says otherwise
LOOK_S: Final = 1.0  # s between two looks at the database, if nothing is heard before
PAUSE_S: Final = 0.05  # s between two looks, however often facts wake us
WAITING_MAX: Final = 64  # callers who wait in this process; the next gets its 202 at once
EVENTS_MAX: Final = 100  # of a subscription per call
RETRY_AFTER_S: Final = 5
ASSIGNMENTS_READ: Final = 50  # newest of a vehicle; it tells of its last and its next update
Releases = Mapping[str, tuple[str, str]]  # release and version, by action
JSON: Final = "application/json"  # said, for places whose data is something else
ERRORS: Final = (409, 422, 423, 429)

After = Annotated[int, Parameter(ge=0, le=SAMPLES_MAX, description="Only events after this number")]
Wait = Annotated[int, Parameter(ge=0, le=30, description="Seconds to wait for the vehicle; then 202")]


class DiagnosticSession(msgspec.Struct, frozen=True, kw_only=True):
    """One person's access to one vehicle: who, why, how deep, until when, and on whose consent."""

    id: str
    vin: str
    account: str
    scope: Literal["read", "service"]
    reason: str
    state: SessionState
    consent: str
    asked_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    ended_by: str = ""  # actor, in lists; a vehicle is its driver
    state_words: str = ""
    position: bool = False  # asked for where the vehicle is and was, too


class DiagnosticJob(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a vehicle. `status` and `answer` are what the vehicle said; the answer goes to its asker only."""

    id: str
    session_id: str
    vin: str
    method: str
    path: str
    state: JobState
    made_at: datetime
    expires_at: datetime
    tries: int
    status: int | None
    answered_at: datetime | None
    answer: dict[str, Any] | None = None


class SubscriptionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of a cyclic subscription: by identifier its `value`, or the code of an `error`."""

    number: int
    at: datetime
    values: dict[str, dict[str, Any]]


class NewDiagnosticSession(Command, frozen=True, kw_only=True):
    """A session to ask a vehicle for."""

    reason: Annotated[str, Meta(min_length=1, max_length=REASON_CHARS_MAX, pattern=TEXT_PATTERN)]
    scope: Literal["read", "service"] = "read"
    minutes: Annotated[int, Meta(ge=1, le=480)] = 30
    position: bool = False  # where the vehicle is and was, too: its driver is asked for that


Answer = Response[Any]
_DID: Final = re.compile(r"[0-9A-F]{4}")


# Sessions and requests ------------------------------------------------------------------------------


@route("GET", "/vehicles/{vin:str}/diagnostics/sessions", role=Role.VIEWER, tag="signal")
def list_diagnostic_sessions(ctx: Ctx, vin: Id, limit: Limit = 20) -> list[DiagnosticSession]:
    """List who looked into a vehicle, newest first."""
    with ctx.connection() as conn:
        return [_session(each) for each in store.read_sessions(conn, vin=vin, rows_max=limit)]


@route(
    "POST", "/vehicles/{vin:str}/diagnostics/sessions", role=Role.OPERATOR, tag="signal", status=201,
    errors=[404, 409, 422, 429],
)  # fmt: skip
async def open_diagnostic_session(
    ctx: Ctx, request: Req, *, vin: Id, data: JSONBody[NewDiagnosticSession], wait_s: Wait = WAIT_S
) -> DiagnosticSession:
    """Ask a vehicle for a session; it is `asked` until the vehicle agrees, which may take its driver."""

    def ask() -> Session:
        now = ctx.clock.now()
        with ctx.transaction() as conn:
            opened = store.open_session(
                conn, ctx.ids, vin=vin, account=request.user.name, scope=data.scope, minutes=data.minutes,
                reason=data.reason, now=now, position=data.position,
            )  # fmt: skip
            _require_room(conn, vin, now=now)
        return opened

    made = await to_thread.run_sync(ask)

    def look() -> Session | None:
        with ctx.connection() as conn:
            found = store.read_session(conn, vin=vin, session_id=made.id)
        return found if found.state != "asked" else None

    return _session(await _wait_for(ctx, vin, look, wait_s=wait_s) or made)


@route("DELETE", "/vehicles/{vin:str}/diagnostics/session", role=Role.OPERATOR, tag="signal")
async def close_diagnostic_session(ctx: Ctx, request: Req, *, vin: Id) -> DiagnosticSession:
    """End your session on a vehicle; what waits is cancelled, and the vehicle forgets it."""

    def close() -> Session:
        with ctx.transaction() as conn:
            return store.close_session(conn, ctx.ids, vin=vin, account=request.user.name, now=ctx.clock.now())

    closed = await to_thread.run_sync(close)
    if ctx.link is not None:
        ctx.link.kick()
    return _session(closed)


@route("GET", "/vehicles/{vin:str}/diagnostics/jobs", role=Role.VIEWER, tag="signal")
def list_diagnostic_jobs(ctx: Ctx, vin: Id, limit: Limit = 50) -> list[DiagnosticJob]:
    """List what a vehicle was asked, newest first; without the answers."""
    with ctx.connection() as conn:
        return [_job(each, answer=False) for each in store.read_jobs(conn, vin=vin, rows_max=limit)]


@route("GET", "/vehicles/{vin:str}/diagnostics/jobs/{job_id:str}", role=Role.OPERATOR, tag="signal")
def get_diagnostic_job(ctx: Ctx, request: Req, *, vin: Id, job_id: Id) -> DiagnosticJob:
    """Show one request; its asker gets the answer too."""
    with ctx.connection() as conn:
        job = store.read_job(conn, vin=vin, job_id=job_id)
        asker = store.read_session(conn, vin=vin, session_id=job.session_id).account
    return _job(job, answer=asker == request.user.name)


@route(
    "DELETE",
    "/vehicles/{vin:str}/diagnostics/jobs/{job_id:str}",
    role=Role.OPERATOR,
    tag="signal",
    errors=[409],
)
def cancel_diagnostic_job(ctx: Ctx, request: Req, *, vin: Id, job_id: Id) -> DiagnosticJob:
    """Take back a request of yours that waits, or as an admin anybody's; a vehicle that has it may still do it."""
    with ctx.transaction() as conn:
        job = store.cancel_request(
            conn, ctx.ids, vin=vin, job_id=job_id, account=request.user.name,
            anybodys=request.user.may(Role.ADMIN), now=ctx.clock.now(),
        )  # fmt: skip
    return _job(job, answer=False)


@route(
    "GET", "/vehicles/{vin:str}/diagnostics/components/{component:str}/cyclic-subscriptions/{subscription_id:str}/events",
    role=Role.OPERATOR, tag="signal",
)  # fmt: skip
def list_subscription_events(
    ctx: Ctx, request: Req, *, vin: Id, component: FromPath[str], subscription_id: Id, after: After = 0
) -> list[SubscriptionEvent]:
    """List what a cyclic subscription of yours told after an event, oldest first; asks no vehicle."""
    with ctx.connection() as conn:
        job = store.read_job(conn, vin=vin, job_id=subscription_id)
        asker = store.read_session(conn, vin=vin, session_id=job.session_id).account
        if asker != request.user.name or job.path != subscriptions_path(component):
            raise NotFound(f"you have no subscription {subscription_id!r} of {component}")
        found = store.read_samples(conn, job_id=subscription_id, after=after, rows_max=EVENTS_MAX)
    return [SubscriptionEvent(number=each.number, at=each.at, values=dict(each.values)) for each in found]


def subscriptions_path(component: str) -> str:
    """Return where the vehicle keeps the subscriptions of a component."""
    return f"/components/{quote(component, safe='')}/cyclic-subscriptions"


# Asking ---------------------------------------------------------------------------------------------


async def ask(
    ctx: Context,
    account: Account,
    vin: str,
    method: Method,
    path: list[str],
    *,
    body: Mapping[str, Any] | None = None,
    wait_s: int,
) -> Answer:
    """Ask a vehicle in the caller's session, and return what it says as our own answer, or where to look for it later."""
    job = await ask_vehicle(ctx, account, vin=vin, method=method, path=path, body=body or {}, wait_s=wait_s)
    if job.state == "answered" and job.status == 200 and job.answer is not None and _has_names(path):
        job = replace(job, answer=with_names(path, job.answer, await to_thread.run_sync(_names, ctx, vin)))
    elif job.state == "answered" and job.status == 200 and job.answer is not None and path[0] == "updates":
        job = replace(
            job, answer=with_releases(job.answer, await to_thread.run_sync(_releases, ctx, vin, job.answer))
        )
    return answer_of(job)


def _has_names(path: Sequence[str]) -> bool:
    return "data" in path[2:3] or "faults" in path[2:3] or path[0] == "functions"


def _names(ctx: Context, vin: str) -> Names:
    with ctx.connection() as conn:
        return load_names(conn, store.programme_of(conn, vin))


def _releases(ctx: Context, vin: str, answer: Mapping[str, Any]) -> Releases:
    with ctx.connection() as conn:
        return releases_of(conn, vin, updates_in(answer))


def releases_of(conn: Connection, vin: str, updates: Sequence[Mapping[str, Any]]) -> Releases:
    """Return release and version of those updates of which the vehicle does not know them, by action."""
    wanted = {str(each.get("id")) for each in updates if "version" not in each}
    if not wanted:
        return {}
    rows = [
        each
        for each in reading.assignments(conn, vin=vin, limit=ASSIGNMENTS_READ)
        if each.kind == "update" and str(each.action_id) in wanted
    ]
    found = {each.campaign_id: reading.campaigns(conn, campaign_id=each.campaign_id) for each in rows}
    return {
        str(each.action_id): (found[each.campaign_id][0].release_id, each.release_version)
        for each in rows
        if found[each.campaign_id]
    }


def updates_in(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the updates that an answer tells of: a list, or one."""
    items = answer.get("items", [answer])
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []


def with_release(each: Any, releases: Releases) -> Any:
    """Return an update with the release that it is of, where the vehicle has not looked at it. Pure."""
    known = releases.get(str(each.get("id"))) if isinstance(each, dict) else None
    return {**each, "release": known[0], "version": known[1]} if known is not None else each


def with_releases(answer: Mapping[str, Any], releases: Releases) -> dict[str, Any]:
    """Return an answer about updates with the releases that the vehicle did not know of. Pure."""
    told = dict(with_release(dict(answer), releases))
    if isinstance(told.get("items"), list):
        told["items"] = [with_release(each, releases) for each in told["items"]]
    return told


def with_names(path: Sequence[str], answer: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return an answer with the names that the programme has for data and faults. Pure; the codes stay as they are."""

    def named(each: Any) -> Any:
        if not isinstance(each, dict):
            return each
        ecu = str(each.get("component", "")) if path[0] == "functions" else path[1]
        code, did = each.get("code"), each.get("id")
        name = fault_name(names, ecu, code) if isinstance(code, str) else ""
        if "data" in path[2:3] and isinstance(did, str) and _DID.fullmatch(did):
            name = data_name(names, ecu, int(did, 16))
        return {**each, "name": name} if name else each

    told = dict(named(dict(answer)))
    for key in ("items", "left"):
        if isinstance(told.get(key), list):
            told[key] = [named(each) for each in told[key]]
    return told


async def ask_vehicle(
    ctx: Context,
    account: Account,
    *,
    vin: str,
    method: Method,
    path: list[str],
    body: Mapping[str, Any],
    wait_s: int,
) -> Job:
    """Queue one request in the caller's session and wait for the answer; return how it stands then.

    Raises:
        Forbidden, Conflict: there is no open session.
        TooMany: the vehicle has been asked enough for now.
    """
    where = "/" + "/".join(quote(part, safe="") for part in path)
    if len(where) > PATH_CHARS_MAX:
        raise InvalidInput(f"the path is over {PATH_CHARS_MAX} characters")
    made = await to_thread.run_sync(
        partial(_queue, ctx, account, vin=vin, method=method, path=where, body=body)
    )

    def look() -> Job | None:
        with ctx.connection() as conn:
            found = store.read_job(conn, vin=vin, job_id=made.id)
        return found if found.state != "queued" else None

    return await _wait_for(ctx, vin, look, wait_s=wait_s) or made


def _queue(
    ctx: Context, account: Account, *, vin: str, method: Method, path: str, body: Mapping[str, Any]
) -> Job:
    now = ctx.clock.now()
    with ctx.transaction() as conn:
        job = store.queue_request(
            conn, ctx.ids, vin=vin, account=account.name, method=method, path=path, body=body, now=now
        )
        _require_room(conn, vin, now=now)
    return job


def _require_room(conn: Connection, vin: str, *, now: datetime) -> None:
    if is_too_much(store.read_load(conn, vin=vin, now=now)):
        raise TooMany("this vehicle has been asked enough for now", wait_s=RETRY_AFTER_S)


async def _wait_for(ctx: Context, vin: str, look: Any, *, wait_s: int) -> Any:
    """Return what `look` finds within the time, else None; a vehicle that nobody hears is not waited for."""
    if ctx.link is None or wait_s == 0 or len(ctx.asking) >= WAITING_MAX:
        return None
    loop = asyncio.get_running_loop()
    began, ends = ctx.clock.monotonic_s(), loop.time() + wait_s
    ctx.asking.append(vin)
    try:
        ctx.link.kick()
        while True:
            news = ctx.feed.news
            found = await to_thread.run_sync(look)
            left_s = ends - loop.time()
            if found is not None or left_s <= 0 or ctx.link.is_deaf(vin, since=began):
                return found
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), min(LOOK_S, left_s))
            await asyncio.sleep(PAUSE_S)
    finally:
        ctx.asking.remove(vin)


def answer_of(job: Job) -> Answer:
    """Return what the vehicle said as our own answer, or where to look for it."""
    if job.state == "cancelled":
        raise NotFound("the request was taken back, or its session ended")
    if job.state != "answered" or job.status is None:
        where = f"/api/v1/vehicles/{job.vin}/diagnostics/jobs/{job.id}"
        return Response(_job(job, answer=True), status_code=202, headers={"Location": where}, media_type=JSON)
    content = dict(job.answer or {})
    if job.status < 300:
        return Response(content, status_code=200, media_type=JSON)
    return Response(
        ErrorBody(error=refusal_of(content)), status_code=_known_status(job.status), media_type=JSON
    )


def refusal_of(content: Mapping[str, Any]) -> ErrorDetail:
    """Return why the vehicle refused; what it says is not trusted to be well-formed."""
    try:
        why = msgspec.convert(content.get("error"), Refused)
    except msgspec.ValidationError:
        why = Refused(
            kind="unavailable", code="strange_answer", message="the vehicle's refusal cannot be read"
        )
    return ErrorDetail(kind=why.kind, code=why.code, message=why.message, hint=why.hint)


def _known_status(status: int) -> int:
    return status if status in (403, 404, *ERRORS, 503) else 503


def _session(session: Session) -> DiagnosticSession:
    told = {**msgspec.to_builtins(session), "state_words": session.state_words}
    return msgspec.convert(told, DiagnosticSession)


def _job(job: Job, *, answer: bool) -> DiagnosticJob:
    told = msgspec.to_builtins(job)
    del told["body"]
    return msgspec.convert(told | {"answer": told["answer"] if answer else None}, DiagnosticJob)


router = Router(
    "/",
    route_handlers=[
        list_diagnostic_sessions, open_diagnostic_session, close_diagnostic_session, list_diagnostic_jobs,
        get_diagnostic_job, cancel_diagnostic_job, list_subscription_events,
    ],
)  # fmt: skip
