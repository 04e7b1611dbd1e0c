"""How pages are declared and how they read their address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, get

from ringroad.http.auth import Account, Role
from ringroad.http.routes import needs

Req = Request[Account, str, Any]
ROWS = 100  # rows of a list on a page


def shown(path: str, role: Role = Role.VIEWER) -> Callable[[Callable[..., Any]], Any]:
    """Declare a page."""
    return get(path, guards=[needs(role)], include_in_schema=False, sync_to_thread=True)


def url_of(request: Req) -> str:
    """Return path and query, for the page to read itself again."""
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path


def asked(request: Req, *names: str) -> dict[str, str | None]:
    """Return filters from the query; empty ones are none."""
    return {name: request.query_params.get(name, "")[:200].replace("\0", "") or None for name in names}
