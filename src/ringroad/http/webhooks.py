"""Webhooks, for admins: who is told of which events. The worker delivers (`publish/deliver.py`).

A secret is in the answer that makes it, and in no other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta

from ringroad.http.auth import Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import Command, Done, Id, Limit, Ref, Req, route
from ringroad.kernel.errors import InvalidInput
from ringroad.publish import store, webhooks
from ringroad.publish.address import URL_CHARS_MAX
from ringroad.publish.cloudevent import PATTERNS_MAX
from ringroad.publish.keyfile import ensure_key
from ringroad.publish.webhooks import Webhook
from ringroad.storage.db import Connection

Url = Annotated[str, Meta(min_length=8, max_length=URL_CHARS_MAX, pattern=r"^[!-~]+$")]
Types = Annotated[
    list[str],
    Meta(max_length=PATTERNS_MAX, description="For example campaign.halted or campaign.*; none: every type"),
]
Failed = Annotated[
    bool | None, QueryParameter(name="failed", description="Only attempts that failed, or went well")
]


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook, without its secret."""

    id: str
    url: str
    types: list[str]
    state: str
    state_reason: str
    generation: int
    behind: int  # facts recorded since the place it has reached, of whatever type
    replays: int  # events that wait to be sent again
    failures: int  # attempts in a row
    failing_since: datetime | None
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    old_secret_until: datetime | None
    created_by: str
    created_at: datetime


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt."""

    id: int
    fact_id: str
    kind: str
    attempt: int
    replayed: bool
    outcome: str
    status: int | None
    sent_at: datetime
    took_ms: int


class NewWebhook(Command, frozen=True, kw_only=True):
    """An endpoint to tell of events."""

    url: Url
    types: Types = msgspec.field(default_factory=list)


class WebhookChange(Command, frozen=True, kw_only=True):
    """What to change; what is not named stays."""

    url: Url | None = None
    types: Types | None = None
    active: bool | None = None


class Replay(Command, frozen=True, kw_only=True):
    """What to send again: one event, or everything behind one."""

    event: Ref | None = None
    after: Ref | None = None


class WebhookSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh secret; it cannot be read again."""

    id: str
    secret: str


@route("GET", "/webhooks", role=Role.ADMIN, tag="webhooks")
def list_webhooks(ctx: Ctx) -> list[WebhookView]:
    """List all webhooks."""
    with ctx.connection() as conn:
        return views(ctx, conn)


@route("POST", "/webhooks", role=Role.ADMIN, tag="webhooks", status=201, errors=[409, 422])
def create_webhook(ctx: Ctx, request: Req, data: JSONBody[NewWebhook]) -> WebhookSecret:
    """Tell an endpoint of events from now on; the answer has the secret that signs them."""
    key = ensure_key(ctx.settings.webhook_key, secret=ctx.secret)
    with ctx.connection() as conn:
        made, secret = webhooks.create(
            conn, ctx.ids, url=data.url, types=data.types, key=key, settled_seq=ctx.horizon.read(conn),
            allowed=ctx.settings.webhook_allowed, actor=request.user.name, now=ctx.clock.now(), secret=ctx.secret,
        )  # fmt: skip
    return WebhookSecret(id=made.id, secret=secret)


@route("GET", "/webhooks/{webhook_id:str}", role=Role.ADMIN, tag="webhooks", errors=[404])
def get_webhook(ctx: Ctx, webhook_id: Id) -> WebhookView:
    """Return one webhook."""
    with ctx.connection() as conn:
        return view(ctx, conn, webhooks.read(conn, webhook_id))


@route("PATCH", "/webhooks/{webhook_id:str}", role=Role.ADMIN, tag="webhooks", errors=[404, 409, 422])
def change_webhook(ctx: Ctx, request: Req, webhook_id: Id, data: JSONBody[WebhookChange]) -> Done:
    """Change address or types, pause it, or let it go on; its place in the ledger stays."""
    with ctx.connection() as conn:
        changed = webhooks.change(
            conn, ctx.ids, webhook_id, url=data.url, types=data.types, active=data.active,
            allowed=ctx.settings.webhook_allowed, actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
    return Done(id=webhook_id, state=changed.state)


@route("DELETE", "/webhooks/{webhook_id:str}", role=Role.ADMIN, tag="webhooks", errors=[404])
def delete_webhook(ctx: Ctx, request: Req, webhook_id: Id) -> Done:
    """Forget a webhook, its place and its log."""
    with ctx.connection() as conn:
        webhooks.delete(conn, ctx.ids, webhook_id, actor=request.user.name, now=ctx.clock.now())
    return Done(id=webhook_id, state="deleted")


@route(
    "POST",
    "/webhooks/{webhook_id:str}/secret",
    role=Role.ADMIN,
    tag="webhooks",
    status=201,
    errors=[404, 409],
)
def rotate_secret(ctx: Ctx, request: Req, webhook_id: Id) -> WebhookSecret:
    """Make a new secret; for a day the one before signs as well."""
    key = ensure_key(ctx.settings.webhook_key, secret=ctx.secret)
    with ctx.connection() as conn:
        secret = webhooks.rotate(
            conn,
            ctx.ids,
            webhook_id,
            key=key,
            actor=request.user.name,
            now=ctx.clock.now(),
            secret=ctx.secret,
        )
    return WebhookSecret(id=webhook_id, secret=secret)


@route("POST", "/webhooks/{webhook_id:str}/replay", role=Role.ADMIN, tag="webhooks", errors=[404, 409, 422])
def replay_webhook(ctx: Ctx, request: Req, webhook_id: Id, data: JSONBody[Replay]) -> Done:
    """Send one event again, or everything behind one."""
    now, actor = ctx.clock.now(), request.user.name
    if (data.event is None) == (data.after is None):
        raise InvalidInput("either `event` or `after` is needed", hint="one event, or everything behind one")
    with ctx.connection() as conn:
        if data.event is not None:
            webhooks.send_again(conn, ctx.ids, webhook_id, fact_id=data.event, actor=actor, now=now)
        elif data.after is not None:
            webhooks.move(
                conn, ctx.ids, webhook_id, after_seq=store.seq_of(conn, data.after),
                settled_seq=ctx.horizon.read(conn), actor=actor, now=now,
            )  # fmt: skip
    return Done(id=webhook_id, state="replaying")


@route("GET", "/webhooks/{webhook_id:str}/deliveries", role=Role.ADMIN, tag="webhooks", errors=[404])
def list_deliveries(ctx: Ctx, webhook_id: Id, *, failed: Failed = None, limit: Limit = 100) -> list[Delivery]:
    """List attempts, newest first; the newest 500 or so are kept."""
    with ctx.connection() as conn:
        rows = webhooks.deliveries(conn, webhook_id, failed=failed, rows_max=limit)
    return msgspec.convert(rows, list[Delivery])


def views(ctx: Context, conn: Connection) -> list[WebhookView]:
    """Return every webhook as it is shown."""
    return [view(ctx, conn, each) for each in webhooks.read_all(conn)]


def view(ctx: Context, conn: Connection, given: Webhook) -> WebhookView:
    """Return one as it is shown."""
    now = ctx.clock.now()
    rotating = given.old_salt is not None and given.old_until is not None and now < given.old_until
    return WebhookView(
        id=given.id,
        url=given.url,
        types=given.types,
        state=given.state,
        state_reason=given.state_reason,
        generation=given.generation,
        behind=max(0, ctx.horizon.read(conn) - given.cursor_seq),
        replays=given.replays,
        failures=given.failures,
        failing_since=given.failing_since,
        next_attempt_at=given.next_attempt_at,
        delivered_at=given.delivered_at,
        old_secret_until=given.old_until if rotating else None,
        created_by=given.created_by,
        created_at=given.created_at,
    )


router = Router(
    "/",
    route_handlers=[
        list_webhooks, create_webhook, get_webhook, change_webhook, delete_webhook, rotate_secret, replay_webhook,
        list_deliveries,
    ],
)  # fmt: skip
