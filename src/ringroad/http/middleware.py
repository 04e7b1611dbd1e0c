"""Around every management request: who it is, what it may send, what it is answered with, one log line.

Rules, in order:

1. A request is authenticated by a bearer token or by the session cookie, never by both.
2. A request that changes something and comes with the cookie must prove that our own page sent it:
   `Sec-Fetch-Site: same-origin` or an `Origin` equal to `Host`, and the header `X-Ringroad`, which other
   sites cannot send without asking. Bearer requests carry no ambient authority and need neither.
3. Every answer has the security headers; scripts and styles come from us only, inline ones never run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import structlog
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from psycopg import Error as PsycopgError
from psycopg_pool import PoolTimeout

from ringroad.http import accounts_store
from ringroad.http.auth import Account
from ringroad.http.context import Context
from ringroad.http.errors import Unauthenticated
from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Forbidden, Unavailable

log = structlog.get_logger()

COOKIE = "ringroad_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TOKEN_CHARS_MAX = 200

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Authenticate(AbstractAuthenticationMiddleware):
    """Rules 1 and 2. Routes with `opt={"public": True}` are let through."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, exclude_from_auth_key="public")

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return the calling account.

        Raises:
            Unauthenticated: no token, or one that is no good.
            Forbidden: a change that our own page did not send.
        """
        token, via = read_token(connection)
        if token is None:
            raise Unauthenticated("sign in first", hint="send Authorization: Bearer <token>, or use /login")
        if via == "session" and connection.scope.get("method") not in SAFE_METHODS:
            require_own_page(connection.headers, custom_header=True)
        ctx: Context = connection.app.state.ctx
        account = await anyio.to_thread.run_sync(_lookup, ctx, token, via)
        if account is None:
            raise Unauthenticated("this token is not valid any more", hint="sign in again")
        return AuthenticationResult(user=account, auth=token)


def read_token(connection: ASGIConnection[Any, Any, Any, Any]) -> tuple[str | None, str]:
    """Return the token of a request and how it came: api or session."""
    header = connection.headers.get("authorization", "")
    if header:
        scheme, _, token = header.partition(" ")
        good = scheme.lower() == "bearer" and 0 < len(token) <= TOKEN_CHARS_MAX
        return (token if good else None), "api"
    token = connection.cookies.get(COOKIE, "")
    return (token if 0 < len(token) <= TOKEN_CHARS_MAX else None), "session"


def require_own_page(headers: Mapping[str, str], *, custom_header: bool) -> None:
    """Raise unless our own page sent this.

    Raises:
        Forbidden: another site did, or nothing proves that it did not.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    same = site == "same-origin" if site else origin is None or urlsplit(origin).netloc == headers.get("host")
    if not same or (custom_header and "x-ringroad" not in headers):
        raise Forbidden(
            "another site sent this request", hint="use the console's own pages", code="cross_site"
        )


def _lookup(ctx: Context, token: str, via: str) -> Account | None:
    try:
        with ctx.connection() as conn:
            return accounts_store.account_of_token(conn, token, kinds=(via,), now=ctx.clock.now())
    except (PsycopgError, PoolTimeout) as error:
        raise Unavailable("the database does not answer", hint="try again", detail=str(error)) from error


class Envelope:
    """Rule 3 and the log line; the outermost layer of the management application."""

    def __init__(self, app: ASGIApp, clock: Clock, *, allow: Mapping[str, str]) -> None:
        """Wrap an application; `allow` names the methods of each path template."""
        self.app = app
        self.clock = clock
        self.allow = allow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:  # lifespan
            await self.app(scope, receive, send)
            return
        started_s = self.clock.monotonic_s()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableScopeHeaders.from_message(message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if scope["method"] == "OPTIONS" and "allow" in headers:
                    template = str(scope.get("path_template", ""))
                    headers["Allow"] = self.allow.get(template, headers["allow"])
                if not scope["path"].startswith("/static/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            user = scope.get("user")
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],  # never the query: it may hold a one-time token
                status=status,
                account=user.name if isinstance(user, Account) else None,
                took_ms=round((self.clock.monotonic_s() - started_s) * 1000, 1),
            )
