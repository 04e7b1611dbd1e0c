"""Errors as pages, for people; programs get the same as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, Response

from ringroad.http.console.render import page
from ringroad.http.errors import ErrorBody

Handler = Callable[[Request[Any, Any, Any], Any], Response[Any]]


def for_people(handler: Handler) -> Handler:
    """Return the handler, answering with a page where a browser asked for one."""

    def handle(request: Request[Any, Any, Any], error: Any) -> Response[Any]:
        answer = handler(request, error)
        path = request.url.path
        wanted = "text/html" in request.headers.get("accept", "") and not path.startswith(
            ("/api/", "/static/")
        )
        if not wanted or not isinstance(answer.content, ErrorBody):
            return answer
        detail = answer.content.error
        status = answer.status_code or 500
        shown = page(
            "error.html",
            url=path,
            status=answer.status_code or 500,
            message=detail.message,
            hint=detail.hint,
            code=status,
        )
        shown.headers.update(answer.headers)
        return shown

    return handle
