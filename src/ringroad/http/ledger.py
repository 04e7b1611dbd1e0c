"""The ledger and the overview, readable: every number on the console leads here."""

from __future__ import annotations

from typing import Annotated

from litestar import Router
from litestar.params import Parameter

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Limit, Name, route
from ringroad.http.views import FactView, Overview

Seq = Annotated[int, Parameter(ge=0, le=2**53, description="Only facts before this sequence number")]


@route("GET", "/overview", role=Role.VIEWER, tag="ledger")
def get_overview(ctx: Ctx) -> Overview:
    """Count what is open in each stage."""
    with ctx.connection() as conn:
        return reading.overview(conn)


@route("GET", "/facts", role=Role.VIEWER, tag="ledger")
def list_facts(
    ctx: Ctx,
    *,
    subject: Name = None,
    lap_id: Name = None,
    stage: Name = None,
    kind: Name = None,
    fact_id: Name = None,
    before_seq: Seq = 2**53,
    limit: Limit = 100,
) -> list[FactView]:
    """List facts, newest first; `fact_id` gives that fact and what it caused."""
    with ctx.connection() as conn:
        return reading.facts(
            conn, subject=subject, lap_id=lap_id, stage=stage, kind=kind, fact_id=fact_id,
            before_seq=before_seq, limit=limit,
        )  # fmt: skip


router = Router("/", route_handlers=[get_overview, list_facts])
