"""The signal stage's I/O for remote diagnostics: sessions and requests, each change with its fact about the session.

Every method is called inside a transaction of the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, Forbidden, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.protocol.diagnostics import (
    SESSION_S_MAX,
    SESSIONS_PATH,
    CyclicEvent,
    DiagnosticAnswer,
    DiagnosticRequest,
    Method,
    Scope,
    SessionWanted,
    ended_execution,
    is_write,
    written_values,
)
from ringroad.signal.diagnose import (
    ANSWER_DAYS_KEPT,
    BULK_ANSWER_S,
    JOB_DAYS_KEPT,
    REQUEST_S,
    Job,
    Load,
    Permission,
    Sample,
    Session,
    permits,
    require_open,
    require_permission,
    session_end,
)
from ringroad.storage.db import Connection, expect_one, load_queries, of_row
from ringroad.storage.ledger import append_fact, last_of

SQL = load_queries("ringroad.signal")

SWEEP_ROWS_MAX: Final = 200  # sessions and requests ended per call; the next call does the rest
SYSTEM: Final = "system:diagnostics"


def read_permission(conn: Connection, account: str) -> Permission:
    """Return what an account may ask vehicles."""
    found: Permission = SQL.diagnose_permission(conn, account=account) or ""
    return found


def open_session(
    conn: Connection,
    ids: Ids,
    *,
    vin: str,
    account: str,
    scope: Scope,
    minutes: int,
    reason: str,
    now: datetime,
    position: bool = False,
) -> Session:
    """Ask a vehicle for a session; with `position`, for where it is and was too.

    Raises:
        Forbidden: the account has no permission of this scope.
        NotFound: no such vehicle.
        Conflict: the vehicle speaks DDI, or the account has a session on it already.
        InvalidInput: the time is out of bounds.
    """
    require_permission(_held_permission(conn, account), scope)
    vehicle = SQL.diagnosed_vehicle(conn, vin=vin)
    if vehicle is None:
        raise NotFound(f"there is no vehicle {vin}")
    if vehicle["gateway"] != "native":
        raise Conflict(
            "this vehicle speaks DDI, which has no diagnostics",
            hint="only native vehicles have",
            code="no_diagnostics",
        )
    if SQL.diagnostic_session_of(conn, vin=vin, account=account) is not None:
        raise Conflict(
            "you have a session on this vehicle", code="session_open", hint="ringroad diagnose close VIN"
        )
    session_id, expires_at = ids.new("diagnosis"), session_end(minutes=minutes, now=now)
    SQL.insert_diagnostic_session(
        conn, id=session_id, vin=vin, account=account, scope=scope, reason=reason, now=now,
        expires_at=expires_at,
    )  # fmt: skip
    append_fact(
        conn, ids, kind=FactKind.DIAGNOSIS_ASKED, subject=session_id, actor=account, now=now,
        body={"vin": vin, "scope": scope, "reason": reason, "expires_at": expires_at.isoformat(), "position": position},
    )  # fmt: skip
    wanted = SessionWanted(by=account, reason=reason, scope=scope, expires_at=expires_at, position=position)
    _insert_job(
        conn, ids, session_id=session_id, vin=vin, method="POST", path=SESSIONS_PATH,
        body=msgspec.to_builtins(wanted), now=now, expires_at=expires_at,
    )  # fmt: skip
    return read_session(conn, vin=vin, session_id=session_id)


def close_session(conn: Connection, ids: Ids, *, vin: str, account: str, now: datetime) -> Session:
    """End an account's session on a vehicle; what waits is cancelled, and the vehicle is told.

    Raises:
        NotFound: it has none.
    """
    row = SQL.diagnostic_session_of(conn, vin=vin, account=account)
    if row is None:
        raise NotFound("you have no session on this vehicle", hint="ringroad diagnose sessions VIN")
    _close(conn, ids, of_row(Session, row), actor=account, now=now)
    return read_session(conn, vin=vin, session_id=row["id"])


def close_sessions_beyond(
    conn: Connection, ids: Ids, *, account: str, permission: Permission, actor: str, now: datetime
) -> None:
    """End every session of an account that its permission does not allow (any more), as `close_session` does.

    The caller holds the account's row, so that no session is opened and no request is queued meanwhile.
    """
    for row in list(SQL.diagnostic_sessions_of(conn, account=account)):
        session = of_row(Session, row)
        if not permits(permission, session.scope):
            _close(conn, ids, session, actor=actor, now=now)


def read_session(conn: Connection, *, vin: str, session_id: str) -> Session:
    """Return one session. Raises: NotFound."""
    for row in SQL.diagnostic_sessions(conn, vin=vin, id=session_id, rows_max=1):
        return of_row(Session, row)
    raise NotFound(f"there is no session {session_id!r} on {vin}")


def read_sessions(conn: Connection, *, vin: str, rows_max: int) -> list[Session]:
    """Return a vehicle's sessions, newest first."""
    return [
        of_row(Session, row) for row in SQL.diagnostic_sessions(conn, vin=vin, id=None, rows_max=rows_max)
    ]


def programme_of(conn: Connection, vin: str) -> str:
    """Return a vehicle's programme. Raises: NotFound."""
    vehicle = SQL.diagnosed_vehicle(conn, vin=vin)
    if vehicle is None:
        raise NotFound(f"there is no vehicle {vin}")
    return str(vehicle["programme_id"])


def session_of(conn: Connection, *, vin: str, account: str) -> Session | None:
    """Return an account's session on a vehicle that is asked for or open."""
    row = SQL.diagnostic_session_of(conn, vin=vin, account=account)
    return of_row(Session, row) if row else None


def read_load(conn: Connection, *, vin: str, now: datetime) -> Load:
    """Return what a vehicle has been asked already."""
    oldest = now - timedelta(seconds=SESSION_S_MAX + REQUEST_S)  # what is older waits for nothing any more
    return of_row(Load, SQL.diagnostic_load(conn, vin=vin, since=now - timedelta(minutes=1), oldest=oldest))


def queue_request(
    conn: Connection,
    ids: Ids,
    *,
    vin: str,
    account: str,
    method: Method,
    path: str,
    body: Mapping[str, Any],
    now: datetime,
) -> Job:
    """Queue one request in an account's open session.

    Raises:
        Forbidden: it has no open session, or its permission was taken back.
        Conflict: the vehicle has not agreed yet.
    """
    permission = _held_permission(conn, account)
    session = require_open(session_of(conn, vin=vin, account=account), now=now)
    require_permission(permission, session.scope)
    job_id = _insert_job(
        conn, ids, session_id=session.id, vin=vin, method=method, path=path, body=body, now=now,
        expires_at=min(session.expires_at, now + timedelta(seconds=REQUEST_S)),
    )  # fmt: skip
    append_fact(
        conn, ids, kind=FactKind.DIAGNOSIS_REQUESTED, subject=session.id, actor=account, now=now,
        causes=last_of(conn, session.id), body={"vin": vin, "job": job_id, "method": method, "path": path}
        | ({"data": body.get("data")} if is_write(method, path) else {}),
    )  # fmt: skip
    return read_job(conn, vin=vin, job_id=job_id)


def cancel_request(
    conn: Connection, ids: Ids, *, vin: str, job_id: str, account: str, anybodys: bool, now: datetime
) -> Job:
    """Take back a request that waits; a vehicle that has it already may still do it.

    Args:
        conn: the caller's connection.
        ids: of the fact.
        vin: the vehicle.
        job_id: the request.
        account: who takes it back.
        anybodys: whether this account may take back requests of others: an admin.
        now: when.

    Raises:
        NotFound: there is none.
        Forbidden: it is somebody else's, or the account's permission was taken back.
        Conflict: it does not wait any more, or opens or ends a session.
    """
    job = read_job(conn, vin=vin, job_id=job_id)
    if not anybodys:
        session = read_session(conn, vin=vin, session_id=job.session_id)
        if session.account != account:
            raise Forbidden(
                "this request is somebody else's",
                code="not_yours",
                hint="its asker or an admin takes it back",
            )
        require_permission(read_permission(conn, account), session.scope)
    if job.path == SESSIONS_PATH:
        raise Conflict(
            "this request opens or ends a session", code="session_request", hint="ringroad diagnose close VIN"
        )
    expect_one(SQL.end_diagnostic_job(conn, id=job_id, state="cancelled", now=now), f"request {job_id}")
    append_fact(
        conn, ids, kind=FactKind.DIAGNOSIS_CANCELLED, subject=job.session_id, actor=account, now=now,
        causes=last_of(conn, job.session_id), body={"vin": vin, "job": job_id},
    )  # fmt: skip
    return read_job(conn, vin=vin, job_id=job_id)


def read_job(conn: Connection, *, vin: str, job_id: str) -> Job:
    """Return one request. Raises: NotFound."""
    row = SQL.diagnostic_job(conn, id=job_id, vin=vin)
    if row is None:
        raise NotFound(f"there is no request {job_id!r} to {vin}")
    return of_row(Job, row)


def read_jobs(conn: Connection, *, vin: str, session_id: str | None = None, rows_max: int) -> list[Job]:
    """Return a vehicle's requests, newest first."""
    rows = SQL.diagnostic_jobs(conn, vin=vin, session_id=session_id, rows_max=rows_max)
    return [of_row(Job, row) for row in rows]


def due_requests(conn: Connection, *, now: datetime, rows_max: int) -> list[tuple[Job, DiagnosticRequest]]:
    """Return what is to be sent now, oldest first; others skip these rows until the transaction ends.

    Whatever is due brings what its session asked before it and is not answered: a lock comes before what needs it.
    `rows_max` bounds what is due. Of a locked account only the end of its session is sent.
    """
    jobs = [of_row(Job, row) for row in SQL.diagnostic_jobs_due(conn, now=now, rows_max=rows_max)]
    return [
        (
            job,
            DiagnosticRequest(
                id=job.id, session=job.session_id, until=job.expires_at, method=job.method, path=job.path,
                body=dict(job.body),
            ),
        )
        for job in jobs
    ]  # fmt: skip


def note_sent(conn: Connection, *, job_id: str, next_at: datetime) -> None:
    """Note that a request was sent, and when it is sent again."""
    SQL.diagnostic_job_sent(conn, id=job_id, next_at=next_at)


def accept_answer(conn: Connection, ids: Ids, *, vin: str, answer: DiagnosticAnswer, now: datetime) -> bool:
    """Make a vehicle's answer true; return False for one that nobody waits for (any more).

    Args:
        conn: the caller's connection.
        ids: of the facts.
        vin: who said it; of the subject, which NATS lets no other vehicle use.
        answer: what it said.
        now: when it came.
    """
    if not answer.final:
        if ended := ended_execution(answer):
            taken: int = SQL.end_diagnostic_execution(
                conn, id=answer.id, vin=vin, answer=Jsonb(ended), now=now
            )
            return taken == 1
        return _take_event(conn, vin=vin, answer=answer)
    SQL.hold_session_of_job(conn, id=answer.id, vin=vin)  # before the request, as whoever ends a session does
    stored = SQL.answer_diagnostic_job(
        conn, id=answer.id, vin=vin, status=answer.status, answer=Jsonb(answer.body), now=now
    )
    if stored != 1:  # of a session that the driver ended, the vehicle says so by the session's id
        return _driver_ended(answer) and _end_for_driver(
            conn, ids, answer.id, vin, now=now, allowed=_was_allowed(answer)
        )
    job = read_job(conn, vin=vin, job_id=answer.id)
    actor = f"vehicle:{vin}"
    if job.path == SESSIONS_PATH and job.method == "POST":
        _settle(conn, ids, job, answer, actor=actor, now=now)
        return True
    append_fact(
        conn, ids, kind=FactKind.DIAGNOSIS_ANSWERED, subject=job.session_id, actor=actor, now=now,
        causes=last_of(conn, job.session_id),
        body={"vin": vin, "job": job.id, "status": answer.status}
        | (written_values(answer.body) if is_write(job.method, job.path) else {}),
    )  # fmt: skip
    if _driver_ended(answer):  # the word itself was lost, or the vehicle's software is older than it
        _end_for_driver(conn, ids, job.session_id, vin, now=now, allowed=_was_allowed(answer))
    return True


def sweep(conn: Connection, ids: Ids, *, now: datetime) -> int:
    """End sessions and requests whose time is over, and forget old answers; return how many ended."""
    ended = 0
    for row in list(SQL.diagnostic_sessions_over(conn, now=now, rows_max=SWEEP_ROWS_MAX)):
        _end_session(
            conn, ids, row["id"], row["vin"], kind=FactKind.DIAGNOSIS_EXPIRED, state="expired", actor=SYSTEM, now=now
        )  # fmt: skip
        ended += 1
    for row in list(SQL.diagnostic_jobs_over(conn, now=now, rows_max=SWEEP_ROWS_MAX)):
        _unanswered(conn, ids, row["session_id"], row["vin"], row["id"], state="expired", now=now)
        ended += 1
    SQL.forget_diagnostic_answers(
        conn, before=now - timedelta(days=ANSWER_DAYS_KEPT), rows_max=SWEEP_ROWS_MAX
    )
    SQL.forget_bulk_answers(conn, before=now - timedelta(seconds=BULK_ANSWER_S), rows_max=SWEEP_ROWS_MAX)
    _forget_jobs(conn, ids, before=now - timedelta(days=JOB_DAYS_KEPT), now=now)
    return ended


def read_samples(conn: Connection, *, job_id: str, after: int, rows_max: int) -> list[Sample]:
    """Return what a cyclic subscription told of after an event, oldest first."""
    rows = SQL.diagnostic_samples(conn, job_id=job_id, after=after, rows_max=rows_max)
    return [Sample(job_id=job_id, number=row["number"], at=row["at"], values=row["data"]) for row in rows]


def newest_samples(conn: Connection, *, session_id: str, each_max: int, rows_max: int) -> list[Sample]:
    """Return the newest events of each of a session's cyclic subscriptions, newest first."""
    rows = SQL.newest_diagnostic_samples(conn, session_id=session_id, each_max=each_max, rows_max=rows_max)
    return [
        Sample(job_id=row["job_id"], number=row["number"], at=row["at"], values=row["data"], path=row["path"])
        for row in rows
    ]


def next_due(conn: Connection) -> datetime | None:
    """Return when the next request is to be sent; None: none waits."""
    found: datetime | None = SQL.next_diagnostic_at(conn)
    return found


def _take_event(conn: Connection, *, vin: str, answer: DiagnosticAnswer) -> bool:
    """Keep what a cyclic subscription read, if it is one of this vehicle in an open session."""
    try:
        event = msgspec.convert(answer.body.get("event"), CyclicEvent)
    except msgspec.ValidationError:
        return False
    stored: int = SQL.insert_diagnostic_sample(
        conn, job_id=answer.id, vin=vin, number=event.number, at=event.at, data=Jsonb(event.values)
    )
    return stored == 1


def _forget_jobs(conn: Connection, ids: Ids, *, before: datetime, now: datetime) -> None:
    """Delete the oldest requests, with what subscriptions told; the facts of them stay."""
    gone = list(SQL.forget_diagnostic_jobs(conn, before=before, rows_max=SWEEP_ROWS_MAX))
    if gone:
        append_fact(
            conn, ids, kind=FactKind.DIAGNOSIS_FORGOTTEN, subject="diagnostics", actor=SYSTEM, now=now,
            body={"requests": len(gone), "before": before.isoformat()},
        )  # fmt: skip


def _settle(
    conn: Connection, ids: Ids, job: Job, answer: DiagnosticAnswer, *, actor: str, now: datetime
) -> None:
    opened = answer.status == 200
    ended = _driver_ended(answer) and _was_allowed(answer)
    consent = str(answer.body.get("consent", ""))[:20] if opened or ended else ""
    state = "open" if opened else "closed" if ended else "declined"
    if SQL.settle_diagnostic_session(conn, id=job.session_id, state=state, consent=consent, now=now) != 1:
        return  # it was closed meanwhile, and the vehicle is told so
    why = answer.body.get("error")
    append_fact(
        conn, ids, kind=_SETTLED[state], subject=job.session_id, actor=actor, now=now, causes=last_of(conn, job.session_id),
        body={"vin": job.vin, "consent": consent}
        | ({"code": str(why.get("code", ""))[:100]} if isinstance(why, dict) else {}),
    )  # fmt: skip


_SETTLED: Final = {"open": FactKind.DIAGNOSIS_OPENED, "closed": FactKind.DIAGNOSIS_CLOSED, "declined": FactKind.DIAGNOSIS_DECLINED}  # fmt: skip


def _was_allowed(answer: DiagnosticAnswer) -> bool:
    """Say whether a session that is over had a consent once: its driver ended it before we heard of that."""
    return bool(answer.body.get("consent"))


def _driver_ended(answer: DiagnosticAnswer) -> bool:
    why = answer.body.get("error")
    code = why.get("code") if isinstance(why, dict) else None
    return answer.status == 403 and code in ("declined", "session_declined")


def _end_for_driver(
    conn: Connection, ids: Ids, session_id: str, vin: str, *, now: datetime, allowed: bool
) -> bool:
    """End a session as its vehicle did; return False for one that is over, or of another vehicle."""
    row = SQL.hold_diagnostic_session(conn, id=session_id, vin=vin)
    if row is None:
        return False
    was_open = allowed or row["state"] == "open"
    _end_session(
        conn, ids, session_id, vin, kind=FactKind.DIAGNOSIS_CLOSED if was_open else FactKind.DIAGNOSIS_DECLINED,
        state="closed" if was_open else "declined", actor=f"vehicle:{vin}", now=now,
    )  # fmt: skip
    return True


def _held_permission(conn: Connection, account: str) -> Permission:
    """Return what an account may ask, and let nobody change it before the caller's transaction ends."""
    found: Permission = SQL.hold_diagnose_permission(conn, account=account) or ""
    return found


def _close(conn: Connection, ids: Ids, session: Session, *, actor: str, now: datetime) -> None:
    _end_session(
        conn, ids, session.id, session.vin, kind=FactKind.DIAGNOSIS_CLOSED, state="closed", actor=actor, now=now
    )  # fmt: skip
    _insert_job(
        conn, ids, session_id=session.id, vin=session.vin, method="DELETE", path=SESSIONS_PATH, body={}, now=now,
        expires_at=max(session.expires_at, now + timedelta(seconds=REQUEST_S)),
    )  # fmt: skip


def _end_session(
    conn: Connection,
    ids: Ids,
    session_id: str,
    vin: str,
    *,
    kind: FactKind,
    state: str,
    actor: str,
    now: datetime,
) -> None:
    for row in list(SQL.diagnostic_jobs_open(conn, session_id=session_id)):
        SQL.end_diagnostic_job(conn, id=row["id"], state="cancelled", now=now)
    expect_one(SQL.end_diagnostic_session(conn, id=session_id, state=state, now=now), f"session {session_id}")
    append_fact(
        conn, ids, kind=kind, subject=session_id, actor=actor, now=now, causes=last_of(conn, session_id),
        body={"vin": vin},
    )  # fmt: skip


def _unanswered(
    conn: Connection, ids: Ids, session_id: str, vin: str, job_id: str, *, state: str, now: datetime
) -> None:
    if SQL.end_diagnostic_job(conn, id=job_id, state=state, now=now) == 1:
        append_fact(
            conn, ids, kind=FactKind.DIAGNOSIS_UNANSWERED, subject=session_id, actor=SYSTEM, now=now,
            causes=last_of(conn, session_id), body={"vin": vin, "job": job_id},
        )  # fmt: skip


def _insert_job(
    conn: Connection,
    ids: Ids,
    *,
    session_id: str,
    vin: str,
    method: Method,
    path: str,
    body: Mapping[str, Any],
    now: datetime,
    expires_at: datetime,
) -> str:
    job_id = ids.new("ask")
    SQL.insert_diagnostic_job(
        conn, id=job_id, session_id=session_id, vin=vin, method=method, path=path, body=Jsonb(dict(body)), now=now,
        expires_at=expires_at,
    )  # fmt: skip
    return job_id
