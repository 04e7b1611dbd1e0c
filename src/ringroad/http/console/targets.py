"""Which vehicles: the query field's choices and its preview, and who goes back, as pieces of a page."""

from __future__ import annotations

from typing import Annotated

from litestar import Response
from litestar.params import FromPath, Parameter, QueryParameter

from ringroad.adapt.recovery import recovery_body, standing
from ringroad.adapt.store import read_recovery
from ringroad.adapt.verdict import measure_text
from ringroad.http.campaigns import QUERY_CHARS_SHOWN_MAX, completed, previewed
from ringroad.http.console.render import page
from ringroad.http.console.shared import Req, shown
from ringroad.http.context import Ctx
from ringroad.http.routes import NAME_PATTERN
from ringroad.kernel.errors import InvalidInput
from ringroad.ship.query import QueryError, point_at
from ringroad.ship.store import read_return_plan
from ringroad.ship.store.difference import read_difference

Query = Annotated[str, QueryParameter(name="query", pattern=NAME_PATTERN, max_length=QUERY_CHARS_SHOWN_MAX)]
Cursor = Annotated[int, Parameter(ge=0, le=QUERY_CHARS_SHOWN_MAX)]
Programme = Annotated[str, Parameter(pattern=NAME_PATTERN, min_length=1, max_length=200)]


@shown("/query/choices")
def query_choices(ctx: Ctx, request: Req, text: Query = "", cursor: Cursor = 0) -> Response[str]:
    """What may stand at the cursor, and what is wrong so far."""
    return page("query_choices.html", account=request.user, found=completed(ctx, text, cursor))


@shown("/query/preview")
def query_preview(ctx: Ctx, request: Req, programme_id: Programme, text: Query = "") -> Response[str]:
    """Who matches, who does not, and why; or where the query cannot be read."""
    found, mistake, shown_at = None, None, ""
    try:
        found = previewed(ctx, text, programme_id)
    except InvalidInput as error:
        mistake = error
        shown_at = point_at(text, error.column) if isinstance(error, QueryError) else ""
    return page("query_preview.html", account=request.user, found=found, mistake=mistake, shown_at=shown_at)


@shown("/campaigns/{campaign_id:str}/difference")
def plan_difference(ctx: Ctx, request: Req, campaign_id: FromPath[str]) -> Response[str]:
    """What the newest plan changes."""
    with ctx.transaction() as conn:
        found = read_difference(conn, campaign_id)
    return page("plan_difference.html", account=request.user, d=found)


@shown("/campaigns/{campaign_id:str}/returns")
def returns_of(ctx: Ctx, request: Req, campaign_id: FromPath[str]) -> Response[str]:
    """What became of a stopped campaign's vehicles, who went back, and who can still be ordered to."""
    with ctx.transaction() as conn:
        body = recovery_body(read_recovery(conn, campaign_id))
        plan = read_return_plan(conn, campaign_id)
    return page(
        "returns.html", account=request.user, campaign_id=campaign_id, verdict=standing(body),
        reason=body["reason"], counts=measure_text(body), plan=plan,
    )  # fmt: skip


handlers = [query_choices, query_preview, plan_difference, returns_of]
