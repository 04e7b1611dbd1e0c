"""The one ASGI entry: gateways by path prefix, everything else is the management API and the console.

`create_app` wires; it decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute
from litestar.static_files import create_static_files_router
from litestar.types import ASGIApp

import ringroad
from ringroad.build.repository.store import OnlineSigners
from ringroad.http import (
    accounts,
    adapt,
    balance,
    births,
    build,
    build_packages,
    campaigns,
    clones,
    cloudevents,
    demand,
    design,
    diagnostics,
    diagnostics_tree,
    diagnostics_vehicle,
    enrolments,
    errors,
    exports,
    faults,
    fleet,
    fleet_operators,
    health,
    imports,
    inspections,
    ledger,
    line,
    live,
    logistics,
    mes,
    names,
    planning,
    plant,
    plant_shells,
    plants,
    proposals,
    quality,
    returns,
    ship,
    shops,
    signal,
    sites,
    stock,
    telemetry,
    traces,
    twin,
    webhooks,
    worlds,
)
from ringroad.http.console import pages
from ringroad.http.console.failure import for_people
from ringroad.http.context import Context, make_context
from ringroad.http.device.app import GatewayConfig, Gateways
from ringroad.http.device.enrolment import ENROL, Enrolment
from ringroad.http.device.steering import PollPolicy
from ringroad.http.middleware import COOKIE, Authenticate, Envelope
from ringroad.kernel.clock import Clock, Ids, SystemClock, SystemIds
from ringroad.kernel.errors import RingroadError
from ringroad.kernel.limits import REQUEST_BYTES_MAX
from ringroad.loop.manifests import accept_manifest
from ringroad.storage.db import connect
from ringroad.storage.pki_clients import ClientTrust, issue_client
from ringroad.storage.settings import Settings

STATIC = Path(__file__).with_name("static")
_DDI = re.compile(r"/[A-Za-z0-9_-]{1,64}/controller/v1/")
_NATIVE = ("/uptane/v1/", ENROL)
ROUTED = (  # one on each line
    signal,
    telemetry,
    diagnostics,
    diagnostics_tree,
    diagnostics_vehicle,
    faults,
    names,
    demand,
    design,
    build,
    build_packages,
    imports,
    plant,
    plants,
    logistics,
    stock,
    shops,
    clones,
    proposals,
    worlds,
    sites,
    plant_shells,
    mes,
    quality,
    inspections,
    balance,
    births,
    traces,
    line,
    twin,
    ship,
    campaigns,
    planning,
    returns,
    fleet,
    fleet_operators,
    adapt,
    ledger,
    cloudevents,
    webhooks,
    accounts,
    enrolments,
)


def create_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    load_signers: Callable[[], OnlineSigners] | None = None,
    with_gateways: bool = True,
    management: Litestar | None = None,
) -> Application:
    """Return the server's ASGI application.

    Args:
        settings: of the installation, with `database_url` resolved.
        clock: time; None: the machine's.
        ids: new ids; None: the machine's.
        load_signers: reads the online role keys when a signature is handed in; None: it is refused.
        with_gateways: False: device paths answer 404.
        management: of `create_management`, serving nobody now; None: a new one.
    """
    clock, ids = clock or SystemClock(), ids or SystemIds()
    ctx = make_context(settings, clock=clock, ids=ids, load_signers=load_signers)
    gateways = _make_gateways(ctx) if with_gateways else None
    litestar = management or create_management()
    litestar.state.ctx, litestar.state.gateways = ctx, gateways
    # The framework's own OPTIONS answer forgets methods that another handler of the same path added.
    allow = {
        each.path_format: ", ".join(sorted(each.methods))
        for each in litestar.routes
        if isinstance(each, HTTPRoute)
    }
    return Application(Envelope(litestar, clock, allow=allow), gateways)


class Application:
    """Gateways by path prefix; everything else is management. What the gateways answer express, it does too."""

    def __init__(self, management: ASGIApp, gateways: Gateways | None) -> None:
        self._management = management
        self._gateways = gateways
        if gateways is not None:
            self.express_paths = gateways.express_paths
            self.express = gateways.express

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if self._gateways is not None and scope["type"] == ScopeType.HTTP:
            path = scope["path"]
            if path.startswith(_NATIVE) or _DDI.match(path):
                await self._gateways(scope, receive, send)
                return
        await self._management(scope, receive, send)


def create_management() -> Litestar:
    """Return the management API and console.

    Its lifespan opens and closes what `state` has: a context, and gateways or None. All else is the same for everybody.
    """
    api = Router("/api/v1", route_handlers=[stage.router for stage in ROUTED])
    static = create_static_files_router(
        "/static",
        directories=[STATIC],
        opt={"public": True},
        include_in_schema=False,
        cache_control=None,
    )
    return Litestar(
        route_handlers=[
            api,
            static,
            *health.handlers,
            *live.handlers,
            *cloudevents.handlers,
            *exports.handlers,
            *pages.handlers,
        ],
        dependencies={"ctx": Provide(_context, sync_to_thread=False)},
        middleware=[DefineMiddleware(Authenticate)],
        exception_handlers={
            RingroadError: for_people(errors.handle_ours),
            HTTPException: for_people(errors.handle_framework),
            Exception: for_people(errors.handle_foreign),
        },
        openapi_config=_openapi(),
        on_startup=[_start],
        on_shutdown=[_stop],
        request_max_body_size=REQUEST_BYTES_MAX,
        signature_types=[Context],
        logging_config=None,
        pdb_on_exception=False,
    )


def _context(state: State) -> Context:
    ctx: Context = state.ctx
    return ctx


async def _start(app: Litestar) -> None:
    ctx: Context = app.state.ctx
    ctx.pool.open(wait=False)
    await ctx.feed.start()
    for each in (ctx.link, ctx.watch, app.state.gateways):
        if each is not None:
            await each.start()


async def _stop(app: Litestar) -> None:
    ctx: Context = app.state.ctx
    for each in (ctx.link, ctx.watch):
        if each is not None:
            await each.stop()
    await ctx.feed.stop()
    if app.state.gateways is not None:
        await app.state.gateways.stop()
    ctx.pool.close()


def _make_gateways(ctx: Context) -> Gateways:
    settings = ctx.settings
    config = GatewayConfig(
        polls=PollPolicy(
            poll_s=settings.poll_s, poll_busy_s=settings.poll_busy_s, poll_soon_s=settings.poll_soon_s,
            poll_s_max=settings.poll_s_max, polls_per_s_max=settings.polls_per_s_max,
        ),
        reports_per_min_max=settings.reports_per_min_max,
        proxies=settings.proxies,
    )  # fmt: skip
    clients = Path(ctx.settings.client_ca) if ctx.settings.client_ca else None
    return Gateways(
        config,
        blobs=ctx.blobs,
        clock=ctx.clock,
        open_connection=lambda: connect(ctx.settings.database_url),
        borrow=ctx.connection,
        apply_manifest=partial(accept_manifest, ctx.ids),
        pressure=ctx.pressure,
        signed_url=(
            partial(ctx.blobs.signed_url, life_s=ctx.settings.download_redirect_s)
            if ctx.settings.download_redirect_s
            else None
        ),
        trust=ClientTrust(ctx.settings.pki, clients),
        enrol=lambda gateways: Enrolment(
            gateways,
            ctx.connection,
            ids=ctx.ids,
            secret=ctx.secret,
            issue=partial(issue_client, ctx.settings.pki),
        ),
    )


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Ringroad management API",
        version=ringroad.__version__,
        openapi_router=live.document_router(),
        render_plugins=[JsonRenderPlugin(path="/schema.json")],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", description="An API token"),
                "session": SecurityScheme(
                    type="apiKey", name=COOKIE, security_scheme_in="cookie", description="A browser session"
                ),
            }
        ),
    )
