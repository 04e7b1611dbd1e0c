"""Logging in, throttled: shared by the login page and the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request

from ringroad.http import accounts_store as store
from ringroad.http.auth import Account, TooMany, caller_address, verify_password
from ringroad.http.context import Context
from ringroad.http.errors import Unauthenticated

Caller = Request[Any, Any, Any]


def log_in(ctx: Context, caller: Caller, *, name: str, password: str) -> Account:
    """Return the account if the password is right.

    Raises:
        Unauthenticated: it is not, or there is no such account; the answer does not say which.
        TooMany: too many failures from this address or for this name.
    """
    keys = _keys(ctx, caller, name)
    _wait(ctx, keys)
    with ctx.connection() as conn:  # given back before the slow hash
        known = store.read_login(conn, name=name)
    account, stored = known or (None, None)
    if not verify_password(password, stored) or account is None:
        _failed(ctx, keys)
        raise Unauthenticated(
            "name or password is wrong", hint="an admin can reset it: ringroad account reset"
        )
    ctx.throttle.succeeded(f"name {name}")
    return account


def first_login(ctx: Context, caller: Caller, *, token: str, password: str) -> Account:
    """Consume a one-time token and set its account's password.

    Raises:
        Unauthenticated: the token is unknown, used or expired.
        InvalidInput: the password is too short; the token stays usable.
        TooMany: too many failures from this address.
    """
    keys = _keys(ctx, caller, "")
    _wait(ctx, keys)
    with ctx.connection() as conn:
        account = store.set_first_password(
            conn, ctx.ids, token=token, password=password, now=ctx.clock.now(), secret=ctx.secret
        )
    if account is None:
        _failed(ctx, keys)
        raise Unauthenticated(
            "this one-time token is used or expired", hint="ringroad account reset prints a new one"
        )
    return account


def _wait(ctx: Context, keys: Sequence[str]) -> None:
    now = ctx.clock.now()
    wait_s = max((ctx.throttle.wait_s(key, now=now) for key in keys), default=0)
    if wait_s:
        raise TooMany("too many failed logins", wait_s=wait_s)


def _failed(ctx: Context, keys: Sequence[str]) -> None:
    for key in keys:
        ctx.throttle.failed(key, now=ctx.clock.now())


def _keys(ctx: Context, caller: Caller, name: str) -> list[str]:
    peer = caller.client.host if caller.client else ""
    forwarded = caller.headers.getall("x-forwarded-for", [])
    address = caller_address(peer, forwarded, ctx.settings.proxies)
    return [f"{kind} {word}" for kind, word in (("address", address), ("name", name)) if word]
