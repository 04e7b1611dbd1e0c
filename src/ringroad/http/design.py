"""Design: findings become changes."""

from __future__ import annotations

from litestar import Router
from litestar.params import JSONBody

from ringroad.design import store
from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import (
    Approve,
    Command,
    Done,
    Generation,
    Id,
    InState,
    Limit,
    Name,
    Offset,
    Reason,
    Ref,
    Req,
    Text,
    Title,
    route,
)
from ringroad.http.views import ChangeView, FindingView


@route("GET", "/findings", role=Role.VIEWER, tag="design")
def list_findings(
    ctx: Ctx,
    *,
    in_state: InState = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[FindingView]:
    """List findings, newest first."""
    with ctx.connection() as conn:
        return reading.findings(conn, state=in_state, limit=limit, offset=offset)


@route("GET", "/findings/{finding_id:str}", role=Role.VIEWER, tag="design", errors=[404])
def get_finding(ctx: Ctx, *, finding_id: Id) -> FindingView:
    """Read a finding with its evidence."""
    with ctx.connection() as conn:
        return reading.one(reading.findings(conn, finding_id=finding_id), f"finding {finding_id}")


@route("GET", "/changes", role=Role.VIEWER, tag="design")
def list_changes(
    ctx: Ctx,
    *,
    in_state: InState = None,
    finding_id: Name = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[ChangeView]:
    """List changes, newest first."""
    with ctx.connection() as conn:
        return reading.changes(conn, state=in_state, finding_id=finding_id, limit=limit, offset=offset)


@route("GET", "/changes/{change_id:str}", role=Role.VIEWER, tag="design", errors=[404])
def get_change(ctx: Ctx, *, change_id: Id) -> ChangeView:
    """Read a change."""
    with ctx.connection() as conn:
        return reading.one(reading.changes(conn, change_id=change_id), f"change {change_id}")


class Accept(Command, frozen=True, kw_only=True):
    """Accept a finding and propose the change that answers it."""

    title: Title
    target: Text  # what must be true afterwards
    ecu: Title | None = None  # None: the finding's
    generation: Generation = None


@route("POST", "/findings/{finding_id:str}/accept", role=Role.OPERATOR, tag="design", errors=[404, 409, 422])
def accept_finding(ctx: Ctx, request: Req, finding_id: Id, data: JSONBody[Accept]) -> Done:
    """Accept a finding into a proposed change; the answer names the change."""
    now = ctx.clock.now()
    with ctx.transaction() as conn:
        finding = reading.one(reading.findings(conn, finding_id=finding_id), f"finding {finding_id}")
        store.accept_finding(
            conn, ctx.ids, finding_id=finding_id, generation=data.generation or finding.generation,
            actor=request.user.name, now=now,
        )  # fmt: skip
        change = store.propose_change(
            conn, ctx.ids, finding_id=finding_id, title=data.title, ecu=data.ecu or finding.ecu,
            target=data.target, actor=request.user.name, now=now,
        )  # fmt: skip
    return Done(id=change.id, state=change.state)


@route("POST", "/findings/{finding_id:str}/reject", role=Role.OPERATOR, tag="design", errors=[404, 409, 422])
def reject_finding(ctx: Ctx, request: Req, finding_id: Id, data: JSONBody[Reason]) -> Done:
    """Reject a finding, with the reason."""
    with ctx.transaction() as conn:
        finding = reading.one(reading.findings(conn, finding_id=finding_id), f"finding {finding_id}")
        store.reject_finding(
            conn, ctx.ids, finding_id=finding_id, generation=data.generation or finding.generation,
            actor=request.user.name, now=ctx.clock.now(), reason=data.reason,
        )  # fmt: skip
    return Done(id=finding_id, state="rejected")


class NewChange(Command, frozen=True, kw_only=True):
    """Another change for an accepted finding."""

    finding_id: Ref
    title: Title
    ecu: Title
    target: Text  # what must be true afterwards


@route("POST", "/changes", role=Role.OPERATOR, tag="design", status=201, errors=[404, 409, 422])
def propose_change(ctx: Ctx, request: Req, data: JSONBody[NewChange]) -> Done:
    """Propose another change for a finding that was accepted before."""
    with ctx.transaction() as conn:
        change = store.propose_change(
            conn, ctx.ids, finding_id=data.finding_id, title=data.title, ecu=data.ecu, target=data.target,
            actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
    return Done(id=change.id, state=change.state)


@route("POST", "/changes/{change_id:str}/approve", role=Role.APPROVER, tag="design", errors=[404, 409, 422])
def approve_change(ctx: Ctx, request: Req, change_id: Id, data: JSONBody[Approve]) -> Done:
    """Approve a proposed change."""
    with ctx.transaction() as conn:
        change = store.approve_change(
            conn, ctx.ids, change_id=change_id, generation=data.generation, actor=request.user.name,
            now=ctx.clock.now(),
        )  # fmt: skip
    return Done(id=change_id, state=change.state)


@route("POST", "/changes/{change_id:str}/reject", role=Role.APPROVER, tag="design", errors=[404, 409, 422])
def reject_change(ctx: Ctx, request: Req, change_id: Id, data: JSONBody[Reason]) -> Done:
    """Reject a proposed change, with the reason."""
    with ctx.transaction() as conn:
        change = reading.one(reading.changes(conn, change_id=change_id), f"change {change_id}")
        store.reject_change(
            conn, ctx.ids, change_id=change_id, generation=data.generation or change.generation,
            actor=request.user.name, now=ctx.clock.now(), reason=data.reason,
        )  # fmt: skip
    return Done(id=change_id, state="rejected")


router = Router(
    "/",
    route_handlers=[
        list_findings,
        get_finding,
        list_changes,
        get_change,
        accept_finding,
        reject_finding,
        propose_change,
        approve_change,
        reject_change,
    ],
)
