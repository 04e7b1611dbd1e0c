"""The stream of live events, as an API operation."""

from __future__ import annotations

from litestar import get
from litestar.response import Stream

from ringroad.http.auth import Role
from ringroad.http.context import Context
from ringroad.http.routes import needs


@get(
    "/api/v1/events",
    guards=[needs(Role.VIEWER)],
    include_in_schema=False,  # endless; described in docs/reference/api.md
    sync_to_thread=False,
)
def stream_events(ctx: Context) -> Stream:
    """Send each new fact's kind and subject as it is recorded."""
    return Stream(
        ctx.feed.stream(),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


handlers = [stream_events]
