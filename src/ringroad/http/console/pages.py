"""Pages by stage. Each reads, renders and decides nothing; what they change goes through the management API."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from litestar import Response
from litestar.params import FromPath
from litestar.response import Redirect

from ringroad.adapt.lead_time import lap_report
from ringroad.http import accounts_store, reading
from ringroad.http.auth import Role
from ringroad.http.console import session
from ringroad.http.console.clones import handlers as clone_handlers
from ringroad.http.console.demand import handlers as demand_handlers
from ringroad.http.console.diagnostics import handlers as diagnostic_handlers
from ringroad.http.console.evidence import evidence_chart, evidence_numbers
from ringroad.http.console.lap_bars import LapBar, lap_bar
from ringroad.http.console.logistics import handlers as logistics_handlers
from ringroad.http.console.plant import handlers as plant_handlers
from ringroad.http.console.quality import handlers as quality_handlers
from ringroad.http.console.render import page
from ringroad.http.console.shared import ROWS, Req, asked, outcomes_shown, shown, url_of
from ringroad.http.console.ship import handlers as ship_handlers
from ringroad.http.console.targets import handlers as target_handlers
from ringroad.http.console.webhooks import handlers as webhook_handlers
from ringroad.http.context import Context, Ctx
from ringroad.http.traces import built
from ringroad.http.views import LapView, Overview
from ringroad.kernel.facts import Stage
from ringroad.signal.store_silence import read_silence
from ringroad.storage.db import Connection
from ringroad.storage.ledger import read_facts

LAPS_SHOWN = 12  # laps with their bars on the first page


@shown("/", Role.FLEET)
def loop_page(ctx: Ctx, request: Req) -> Response[Any]:
    """The loop: five stages, laps, latest facts; to a fleet's operator, their vehicles."""
    if request.user.fleet is not None:
        return Redirect("/fleet", status_code=303)
    with ctx.connection() as conn:
        o = reading.overview(conn)
        laps = [_lap(ctx, conn, view) for view in reading.laps(conn, limit=LAPS_SHOWN)]
        facts = reading.facts(conn, limit=14)
        silence = read_silence(conn)
    return page(
        "loop.html", load=ctx.pressure.shed, silence=silence, account=request.user, url=url_of(request), o=o, stops=_stops(o), laps=laps, facts=facts,
        stages=[stage.value for stage in Stage],
    )  # fmt: skip


@shown("/laps/{lap_id:str}")
def lap_page(ctx: Ctx, request: Req, lap_id: FromPath[str]) -> Response[str]:
    """One lap with its lead times."""
    with ctx.connection() as conn:
        view = reading.one(reading.laps(conn, lap_id=lap_id), f"lap {lap_id}")
        lap = _lap(ctx, conn, view)
        facts = reading.facts(conn, lap_id=lap_id, limit=ROWS)
        outcomes = outcomes_shown(conn, lap_id=lap_id)
    return page(
        "lap.html", account=request.user, url=url_of(request), lap=lap, facts=facts, outcomes=outcomes
    )


@shown("/facts")
def facts_page(ctx: Ctx, request: Req) -> Response[str]:
    """The ledger."""
    q = asked(request, "subject", "lap_id", "stage", "kind", "fact_id", "before_seq")
    before = q.pop("before_seq")
    with ctx.connection() as conn:
        facts = reading.facts(
            conn, **q, before_seq=int(before) if before and before.isdecimal() else None, limit=ROWS
        )
    kept = {name: value for name, value in q.items() if value}
    older = f"/facts?{urlencode({**kept, 'before_seq': facts[-1].seq})}" if facts else ""
    return page(
        "facts.html", account=request.user, url=url_of(request), facts=facts, q=q, older=older,
        stages=[stage.value for stage in Stage],
    )  # fmt: skip


@shown("/findings")
def findings_page(ctx: Ctx, request: Req) -> Response[str]:
    """Findings, changes, and what could not be read."""
    with ctx.connection() as conn:
        values: dict[str, Any] = {
            "o": reading.overview(conn),
            "findings": reading.findings(conn, limit=ROWS),
            "changes": reading.changes(conn, limit=ROWS),
            "quarantine": reading.quarantined(conn, limit=20),
        }
    return page("findings.html", account=request.user, url=url_of(request), **values)


@shown("/findings/{finding_id:str}")
def finding_page(ctx: Ctx, request: Req, finding_id: FromPath[str]) -> Response[str]:
    """One finding with its evidence."""
    with ctx.connection() as conn:
        f = reading.one(reading.findings(conn, finding_id=finding_id), f"finding {finding_id}")
        changes = reading.changes(conn, finding_id=finding_id)
        outcomes = outcomes_shown(conn, finding_id=finding_id)
    return page(
        "finding.html", account=request.user, url=url_of(request), f=f, changes=changes, outcomes=outcomes,
        chart=evidence_chart(f.evidence), numbers=evidence_numbers(f.evidence),
    )  # fmt: skip


@shown("/findings/{finding_id:str}/built")
def built_page(ctx: Ctx, request: Req, finding_id: FromPath[str]) -> Response[str]:
    """Where the vehicles of a finding were built, and what they have in common."""
    f, found = built(ctx, finding_id)
    return page("built.html", account=request.user, url=url_of(request), f=f, found=found)


@shown("/changes/{change_id:str}")
def change_page(ctx: Ctx, request: Req, change_id: FromPath[str]) -> Response[str]:
    """One change, and what came of it: releases, campaigns, outcomes."""
    with ctx.connection() as conn:
        c = reading.one(reading.changes(conn, change_id=change_id), f"change {change_id}")
        releases = reading.releases(conn, change_id=change_id)
        campaigns = reading.campaigns(conn, change_id=change_id)
        outcomes = outcomes_shown(conn, finding_id=c.finding_id)
    return page(
        "change.html", account=request.user, url=url_of(request), c=c, releases=releases, campaigns=campaigns,
        outcomes=outcomes,
    )  # fmt: skip


@shown("/accounts", Role.ADMIN)
def accounts_page(ctx: Ctx, request: Req) -> Response[str]:
    """Accounts, for admins."""
    with ctx.connection() as conn:
        accounts = accounts_store.list_accounts(conn)
        tokens = list(accounts_store.SQL.gateway_tokens(conn))
    return page(
        "accounts.html", account=request.user, url=url_of(request), accounts=accounts, gateway_tokens=tokens
    )


def _lap(ctx: Context, conn: Connection, view: LapView) -> LapBar:
    facts = read_facts(conn, lap_id=view.id)
    return lap_bar(view, lap_report(facts, ctx.clock.now()) if facts else None)


def _stops(o: Overview) -> list[dict[str, Any]]:
    return [
        {"stage": "signal", "what": "what vehicles and people report", "href": "/findings", "counts": [
            (o.findings_open, "findings to decide", "/findings"),
            (o.complaints, "complaints", "/findings"),
            (o.quarantined, "rows in quarantine", "/findings"),
        ]},
        {"stage": "design", "what": "what should change", "href": "/findings", "counts": [
            (o.changes_proposed, "changes to approve", "/findings"),
            (o.changes_approved, "changes under way", "/findings"),
        ]},
        {"stage": "build", "what": "releases and the line", "href": "/releases", "counts": [
            (o.releases_open, "releases to sign", "/releases"),
            (o.releases_signed, "signed", "/releases"),
            (o.orders_open, "orders on the line", "/plant"),
        ]},
        {"stage": "ship", "what": "to every vehicle", "href": "/campaigns", "counts": [
            (o.campaigns_open, "campaigns open", "/campaigns"),
            *([(o.campaigns_harm_holds, "held for harm", "/campaigns")] if o.campaigns_harm_holds else []),
            (o.vehicles_updating, "vehicles updating", "/fleet?state=updating"),
            (o.vehicles_blocked, "vehicles blocked", "/fleet?state=blocked"),
        ]},
        {"stage": "adapt", "what": "did it help?", "href": "/facts?stage=adapt", "counts": [
            (o.outcomes, "outcomes measured", "/facts?stage=adapt"),
            (o.outcomes_better, "got better", "/facts?stage=adapt"),
        ]},
    ]  # fmt: skip


handlers = [
    loop_page, lap_page, facts_page, findings_page, finding_page, built_page, change_page, accounts_page,
    *session.handlers, *ship_handlers, *demand_handlers, *plant_handlers, *logistics_handlers, *clone_handlers, *quality_handlers, *target_handlers, *webhook_handlers, *diagnostic_handlers,
]  # fmt: skip
