"""What the API tells about itself: the stream of live events, and its document."""

from __future__ import annotations

from typing import Any

from litestar import get
from litestar.response import Stream

from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Req, needs, stream


@stream("/events", role=Role.VIEWER, tag="ledger", media=["text/event-stream"])
async def stream_events(ctx: Ctx, request: Req) -> Stream:
    """Send each new fact's kind and subject as it is recorded."""
    return Stream(
        ctx.feed.stream(request.user.name),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


@get("/api/v1/openapi.json", guards=[needs(Role.VIEWER)], include_in_schema=False, sync_to_thread=True)
def get_document(request: Req) -> dict[str, Any]:
    """Return the OpenAPI document of this API."""
    return request.app.openapi_schema.to_schema()


handlers = [stream_events, get_document]
