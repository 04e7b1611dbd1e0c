"""What the API tells about itself: the stream of live events, and its document."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from litestar import Request, Router, get
from litestar.enums import OpenAPIMediaType
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


async def render_document(request: Request[Any, Any, Any]) -> bytes | None:
    """Return the same document where the framework serves its own, before its handler builds it on the event loop."""
    if request.route_handler.media_type is not OpenAPIMediaType.OPENAPI_JSON:
        return None  # an unknown path
    return await anyio.to_thread.run_sync(
        lambda: JsonRenderPlugin.render_json(request, close_requests(request.app.openapi_schema.to_schema()))
    )


def document_router() -> Router:
    """Return what the framework puts its document under; it answers unknown paths below it; ours is openapi.json."""
    return Router(
        "/api/v1/openapi", route_handlers=[], include_in_schema=False, dto=None, return_dto=None,
        before_request=render_document,
    )  # fmt: skip


def close_requests(document: dict[str, Any]) -> dict[str, Any]:
    """Say in a document what is true: request bodies refuse unknown fields."""
    schemas = document["components"]["schemas"]
    for kind in commands():
        if kind.__name__ in schemas:
            schemas[kind.__name__]["additionalProperties"] = False
    return document


handlers = [stream_events, get_document]
