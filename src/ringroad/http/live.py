"""What the API tells about itself: the stream of live events, and its document."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.response import Stream

from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Req, commands, needs, stream


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
    return close_requests(request.app.openapi_schema.to_schema())


class DocumentPlugin(JsonRenderPlugin):
    """The same document where the framework serves its own."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document as JSON."""
        return super().render(request, close_requests(openapi_schema))


def close_requests(document: dict[str, Any]) -> dict[str, Any]:
    """Say in a document what is true: request bodies refuse unknown fields."""
    schemas = document["components"]["schemas"]
    for kind in commands():
        if kind.__name__ in schemas:
            schemas[kind.__name__]["additionalProperties"] = False
    return document


handlers = [stream_events, get_document]
