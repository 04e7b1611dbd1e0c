"""How pages are declared and how they read their address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, get

from ringroad.http import reading
from ringroad.http.auth import Account, Role
from ringroad.http.console.evidence import outcome_counts, outcome_ratio, outcome_rows
from ringroad.http.routes import needs
from ringroad.http.views_build import ProgrammeView
from ringroad.storage.db import Connection

Req = Request[Account, str, Any]
ROWS = 100  # rows of a list on a page


def shown(path: str, role: Role = Role.VIEWER) -> Callable[[Callable[..., Any]], Any]:
    """Declare a page."""
    return get(path, guards=[needs(role)], include_in_schema=False, sync_to_thread=True)


def outcomes_shown(
    conn: Connection,
    *,
    lap_id: str | None = None,
    finding_id: str | None = None,
    campaign_id: str | None = None,
) -> list[dict[str, Any]]:
    """Return outcomes of a lap, a finding or a campaign as a page shows them, the newest first."""
    return [
        {
            "view": view,
            "rows": outcome_rows(view.measure),
            "ratio": outcome_ratio(view.measure),
            "counts": outcome_counts(view.measure),
        }
        for view in reading.outcomes(conn, lap_id=lap_id, finding_id=finding_id, campaign_id=campaign_id)
    ]


def url_of(request: Req) -> str:
    """Return path and query, for the page to read itself again."""
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path


def chosen_programme(conn: Connection, request: Req) -> tuple[list[ProgrammeView], ProgrammeView | None]:
    """Return all programmes, and the one that the address names or else the first; None where there is none."""
    programmes = reading.programmes(conn)
    wanted = asked(request, "programme_id")["programme_id"]
    first = programmes[0] if programmes else None
    return programmes, next((each for each in programmes if each.id == wanted), first)


def asked(request: Req, *names: str) -> dict[str, str | None]:
    """Return filters from the query; empty ones are none."""
    return {name: request.query_params.get(name, "")[:200].replace("\0", "") or None for name in names}
