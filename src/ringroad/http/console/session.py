"""Signing in and out with the browser. The cookie is HttpOnly, SameSite=Strict, and Secure over HTTPS, ours or a trusted proxy's."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect

from ringroad.http import accounts_store as store
from ringroad.http.auth import Account, TooMany, came_over_tls
from ringroad.http.console.render import page
from ringroad.http.context import Context, Ctx
from ringroad.http.errors import Unauthenticated
from ringroad.http.login import first_login, log_in
from ringroad.http.middleware import COOKIE, require_own_page
from ringroad.kernel.errors import InvalidInput, RingroadError

PUBLIC = {"public": True}
FORM_BYTES_MAX = 8 * 1024  # bytes


class LoginForm(msgspec.Struct, frozen=True, kw_only=True):
    """Name and password."""

    name: str
    password: str
    next: str = "/"


class FirstLoginForm(msgspec.Struct, frozen=True, kw_only=True):
    """One-time token and new password."""

    token: str
    password: str


Url = Annotated[LoginForm, Body(media_type=RequestEncodingType.URL_ENCODED)]
FirstUrl = Annotated[FirstLoginForm, Body(media_type=RequestEncodingType.URL_ENCODED)]


@get("/login", opt=PUBLIC, include_in_schema=False, sync_to_thread=False)
def show_login(request: Request[Any, Any, Any]) -> Response[str]:
    """Ask for name and password, or, with a one-time token in the address, for a new password."""
    token = request.query_params.get("token", "")
    return _form(first=bool(token), token=token, next_path=request.query_params.get("next", "/"))


@get("/login/first", opt=PUBLIC, include_in_schema=False, sync_to_thread=False)
def show_first_login() -> Response[str]:
    """Ask for a one-time token."""
    return _form(first=True)


@post(
    "/login", opt=PUBLIC, include_in_schema=False, sync_to_thread=True, request_max_body_size=FORM_BYTES_MAX
)
def do_login(ctx: Ctx, request: Request[Any, Any, Any], data: Url) -> Response[Any]:
    """Sign in with name and password."""
    require_own_page(request.headers, custom_header=False)
    try:
        account = log_in(ctx, request, name=data.name[:64], password=data.password)
    except (Unauthenticated, TooMany) as error:
        return _form(first=False, name=data.name[:64], next_path=data.next, error=error)
    return _start_session(ctx, request, account, safe_path(data.next))


@post(
    "/login/first",
    opt=PUBLIC,
    include_in_schema=False,
    sync_to_thread=True,
    request_max_body_size=FORM_BYTES_MAX,
)
def do_first_login(ctx: Ctx, request: Request[Any, Any, Any], data: FirstUrl) -> Response[Any]:
    """Consume a one-time token, set the password and sign in."""
    require_own_page(request.headers, custom_header=False)
    try:
        account = first_login(ctx, request, token=data.token.strip(), password=data.password)
    except (Unauthenticated, TooMany, InvalidInput) as error:
        return _form(first=True, token=data.token, error=error)
    return _start_session(ctx, request, account, "/")


@post("/logout", opt={**PUBLIC}, include_in_schema=False, sync_to_thread=True)
def do_logout(ctx: Ctx, request: Request[Any, Any, Any]) -> Response[Any]:
    """Forget the session."""
    require_own_page(request.headers, custom_header=False)
    token = request.cookies.get(COOKIE, "")
    if token:
        with ctx.connection() as conn:
            store.revoke_token(conn, token)
    answer: Response[Any] = Redirect("/login", status_code=303)
    answer.delete_cookie(COOKIE)
    return answer


def safe_path(text: str) -> str:
    """Return a path on this site to go on to; anything else becomes the first page."""
    parts = urlsplit(text)
    plain = (
        text.startswith("/") and not text.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    )
    return text if plain and text.isprintable() and "\\" not in text else "/"


def _start_session(
    ctx: Context, request: Request[Any, Any, Any], account: Account, path: str
) -> Response[Any]:
    life_s = ctx.settings.session_h * 3600
    with ctx.connection() as conn:
        token = store.issue_token(
            conn, name=account.name, kind="session", now=ctx.clock.now(), life_s=life_s, secret=ctx.secret
        )
    cookie = Cookie(
        key=COOKIE, value=token, max_age=life_s, httponly=True, samesite="strict", path="/",
        secure=came_over_tls(
            request.url.scheme, request.client.host if request.client else "",
            request.headers.getall("x-forwarded-proto", []), ctx.settings.proxies,
        ),
    )  # fmt: skip
    return Redirect(path, status_code=303, cookies=[cookie])


def _form(
    *, first: bool, token: str = "", name: str = "", next_path: str = "/", error: RingroadError | None = None
) -> Response[str]:
    status = 200 if error is None else {"too_many": 429, "unauthenticated": 401}.get(error.kind, 422)
    text = f"{error.message}. {error.hint}".rstrip() if error else ""
    return page(
        "login.html", url="/login", status=status, first=first, token=token, name=name,
        next=safe_path(next_path), error=text,
    )  # fmt: skip


handlers = [show_login, show_first_login, do_login, do_first_login, do_logout]
