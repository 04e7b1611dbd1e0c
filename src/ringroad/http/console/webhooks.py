"""Pages of webhooks, for admins."""

from __future__ import annotations

from litestar import Response
from litestar.params import FromPath

from ringroad.http.auth import Role
from ringroad.http.console.render import page
from ringroad.http.console.shared import ROWS, Req, shown, url_of
from ringroad.http.context import Ctx
from ringroad.http.webhooks import view, views
from ringroad.publish import webhooks


@shown("/webhooks", Role.ADMIN)
def webhooks_page(ctx: Ctx, request: Req) -> Response[str]:
    """Every webhook: how far it is, and which are in trouble."""
    with ctx.connection() as conn:
        found = views(ctx, conn)
    return page("webhooks.html", account=request.user, url=url_of(request), webhooks=found)


@shown("/webhooks/{webhook_id:str}", Role.ADMIN)
def webhook_page(ctx: Ctx, request: Req, webhook_id: FromPath[str]) -> Response[str]:
    """One webhook with its newest attempts."""
    with ctx.connection() as conn:
        w = view(ctx, conn, webhooks.read(conn, webhook_id))
        attempts = webhooks.deliveries(conn, webhook_id, rows_max=ROWS)
    return page("webhook.html", account=request.user, url=url_of(request), w=w, attempts=attempts)


handlers = [webhooks_page, webhook_page]
