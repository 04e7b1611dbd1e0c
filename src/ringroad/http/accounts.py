"""Accounts and tokens. A token is shown once, in the answer that makes it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.http import accounts_store as store
from ringroad.http.auth import API_TOKEN_S, ONE_TIME_S, Account, Role
from ringroad.http.context import Ctx
from ringroad.http.login import first_login, log_in
from ringroad.http.routes import Command, Done, route
from ringroad.signal.diagnose import Permission
from ringroad.storage.db import transaction

FLEET_NAMES_MAX = 100  # tags, and lists, of one fleet
AccountName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._\-]{0,63}$")]
FleetNames = Annotated[list[str], Meta(max_length=FLEET_NAMES_MAX)]
Secret = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00]+$")]


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account, without secrets."""

    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None
    has_password: bool
    api_tokens: int
    diagnose: Permission  # what it may ask vehicles; empty: nothing
    tags: list[str]  # of a fleet operator: whose vehicles it sees
    lists: list[str]


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling."""

    name: str
    role: Role
    via: str


class NewAccount(Command, frozen=True, kw_only=True):
    """An account to create."""

    name: AccountName
    role: Role
    tags: FleetNames = msgspec.field(default_factory=list)
    lists: FleetNames = msgspec.field(default_factory=list)


class AccountChange(Command, frozen=True, kw_only=True):
    """What to change; what is not named stays."""

    role: Role | None = None
    disabled: bool | None = None
    diagnose: Permission | None = None  # permission for remote diagnostics; "" takes it back
    tags: FleetNames | None = None
    lists: FleetNames | None = None


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh token; it cannot be read again."""

    account: str
    token: str
    expires_in_s: int


class Login(Command, frozen=True, kw_only=True):
    """Name and password, for an API token."""

    name: AccountName
    password: Secret


class FirstLogin(Command, frozen=True, kw_only=True):
    """A one-time token and the password to set."""

    token: Secret
    password: Secret


@route("GET", "/me", role=Role.FLEET, tag="accounts")
def get_me(request: Request[Account, str, Any]) -> Me:
    """Say who is calling."""
    return Me(name=request.user.name, role=request.user.role, via=request.user.via)


@route("GET", "/accounts", role=Role.ADMIN, tag="accounts")
def list_accounts(ctx: Ctx) -> list[AccountView]:
    """List all accounts."""
    with ctx.connection() as conn:
        return msgspec.convert(store.list_accounts(conn), list[AccountView])


@route("POST", "/accounts", role=Role.ADMIN, tag="accounts", status=201, errors=[409, 422])
def create_account(ctx: Ctx, request: Request[Account, str, Any], data: JSONBody[NewAccount]) -> Token:
    """Create an account and return the one-time token with which its owner sets a password."""
    now = ctx.clock.now()
    with ctx.connection() as conn, transaction(conn):
        fleet = store.Fleet(tags=data.tags, lists=data.lists)
        store.create_account(
            conn, ctx.ids, name=data.name, role=data.role, actor=request.user.name, now=now,
            fleet=fleet if data.tags or data.lists else None,
        )  # fmt: skip
        token = store.issue_token(
            conn, name=data.name, kind="one_time", now=now, life_s=ONE_TIME_S, secret=ctx.secret
        )
    return Token(account=data.name, token=token, expires_in_s=ONE_TIME_S)


@route("PATCH", "/accounts/{name:str}", role=Role.ADMIN, tag="accounts", errors=[404, 422])
def change_account(
    ctx: Ctx, request: Request[Account, str, Any], name: AccountName, data: JSONBody[AccountChange]
) -> Done:
    """Change an account's role, fleet or permission for diagnostics, lock or unlock it; a locked one loses its tokens."""
    with ctx.connection() as conn:
        store.change_account(
            conn, ctx.ids, name=name, role=data.role, disabled=data.disabled, actor=request.user.name,
            now=ctx.clock.now(), fleet=store.Fleet(tags=data.tags, lists=data.lists),
            diagnose=data.diagnose,
        )  # fmt: skip
    return Done(id=name)


@route("POST", "/tokens", role=Role.FLEET, tag="accounts", status=201)
def create_token(ctx: Ctx, request: Request[Account, str, Any]) -> Token:
    """Make an API token for the calling account."""
    name = request.user.name
    with ctx.transaction() as conn:
        token = store.issue_own_token(
            conn, ctx.ids, name=name, actor=name, kind="api", now=ctx.clock.now(), secret=ctx.secret
        )
    return Token(account=name, token=token, expires_in_s=API_TOKEN_S)


@route("DELETE", "/tokens", role=Role.FLEET, tag="accounts")
def revoke_tokens(ctx: Ctx, request: Request[Account, str, Any]) -> Done:
    """Forget every token and session of the calling account."""
    name = request.user.name
    with ctx.transaction() as conn:
        store.end_tokens(conn, ctx.ids, name=name, actor=name, now=ctx.clock.now())
    return Done(id=name, state="signed_out")


@route("POST", "/login", role=Role.VIEWER, tag="accounts", public=True, status=201, errors=[429])
def login_for_token(ctx: Ctx, request: Request[Any, Any, Any], data: JSONBody[Login]) -> Token:
    """Exchange name and password for an API token."""
    account = log_in(ctx, request, name=data.name, password=data.password)
    with ctx.connection() as conn:
        token = store.issue_token(
            conn, name=account.name, kind="api", now=ctx.clock.now(), life_s=API_TOKEN_S, secret=ctx.secret
        )
    return Token(account=account.name, token=token, expires_in_s=API_TOKEN_S)


@route("POST", "/first-login", role=Role.VIEWER, tag="accounts", public=True, status=201, errors=[422, 429])
def first_login_for_token(ctx: Ctx, request: Request[Any, Any, Any], data: JSONBody[FirstLogin]) -> Token:
    """Spend a one-time token: set the account's password and return an API token."""
    account = first_login(ctx, request, token=data.token, password=data.password)
    with ctx.connection() as conn:
        token = store.issue_token(
            conn, name=account.name, kind="api", now=ctx.clock.now(), life_s=API_TOKEN_S, secret=ctx.secret
        )
    return Token(account=account.name, token=token, expires_in_s=API_TOKEN_S)


router = Router(
    "/",
    route_handlers=[
        get_me, list_accounts, create_account, change_account, create_token, revoke_tokens, login_for_token,
        first_login_for_token,
    ],
)  # fmt: skip
