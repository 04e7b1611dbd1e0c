"""Accounts and tokens in PostgreSQL. Only hashes of secrets are stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ringroad.http import auth
from ringroad.http.auth import Account, Role
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.ship.lists import check_name
from ringroad.signal.diagnose import Permission
from ringroad.signal.store_diagnostics import close_sessions_beyond, read_permission
from ringroad.storage.db import Connection, load_queries, transaction
from ringroad.storage.ledger import append_fact, causes_of

SQL = load_queries("ringroad.http")
ON_THIS_MACHINE = "system:up"  # whoever starts the server, or may read its database, makes the first account
Secret = Callable[[int], bytes]


def create_account(
    conn: Connection,
    ids: Ids,
    *,
    name: str,
    role: Role,
    actor: str,
    now: datetime,
    fleet: Fleet | None = None,
) -> None:
    """Create an account without a password; `issue_token` of kind one_time lets its owner set one.

    Raises:
        Conflict: the name is taken.
        InvalidInput: the account is no fleet operator's and is given a fleet, or there is no such list.
    """
    if not ensure_account(conn, ids, name=name, role=role, actor=actor, now=now, fleet=fleet):
        raise Conflict(f"there is an account {name!r} already", hint="choose another name")
    if fleet is not None:
        _set_fleet(conn, name, role, fleet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Whose tag or list a vehicle has is of this fleet; None leaves a half as it is."""

    tags: Sequence[str] | None = None
    lists: Sequence[str] | None = None

    def told(self) -> dict[str, list[str]]:
        """Return what is asked for, for a fact."""
        halves = {"tags": self.tags, "lists": self.lists}
        return {kind: sorted(set(names)) for kind, names in halves.items() if names is not None}


def _set_fleet(conn: Connection, name: str, role: Role, fleet: Fleet) -> None:
    for kind, names in (("tag", fleet.tags), ("list", fleet.lists)):
        if names is None:
            continue
        if names and role is not Role.FLEET:
            raise InvalidInput(f"only the role {Role.FLEET} has a fleet", hint=f"{name} is {role}")
        wanted = sorted({check_name(each, kind) for each in names})
        if kind == "list":
            known = {row["name"] for row in SQL.known_lists(conn, names=wanted)}
            if missing := [each for each in wanted if each not in known]:
                raise InvalidInput(f"there is no list {missing[0]!r}", hint="ringroad fleet lists show")
        SQL.drop_fleet(conn, name=name, kind=kind)
        SQL.add_fleet(conn, name=name, kind=kind, names=wanted)


def ensure_account(
    conn: Connection,
    ids: Ids,
    *,
    name: str,
    role: Role,
    actor: str,
    now: datetime,
    fleet: Fleet | None = None,
) -> bool:
    """Create an account unless it is there; return whether it was not. Inside a transaction of the caller."""
    if SQL.insert_account(conn, name=name, role=role.value, created_at=now) != 1:
        return False
    append_fact(
        conn,
        ids,
        kind=FactKind.ACCOUNT_CREATED,
        subject=name,
        actor=actor,
        now=now,
        body={"role": role.value, **(fleet.told() if fleet else {})},
    )
    return True


def issue_token(conn: Connection, *, name: str, kind: str, now: datetime, life_s: int, secret: Secret) -> str:
    """Store a fresh token for an account and return it; it cannot be read again.

    Args:
        conn: the caller's connection.
        name: account.
        kind: one_time, session or api.
        now: time of issue.
        life_s: seconds until it expires.
        secret: source of random bytes.

    Raises:
        NotFound: no such account, or it is disabled.
    """
    token = auth.render_token(secret(auth.TOKEN_BYTES), {"api": "rr", "one_time": "once"}.get(kind, "s"))
    rows = SQL.insert_token(
        conn,
        token_sha256=auth.token_digest(token),
        account_name=name,
        kind=kind,
        created_at=now,
        expires_at=now + timedelta(seconds=life_s),
    )
    if rows != 1:
        raise NotFound(f"no account {name!r}", hint="ringroad account list")
    return token


def issue_one_time_token(
    conn: Connection,
    ids: Ids,
    *,
    name: str = "admin",
    role: Role = Role.ADMIN,
    now: datetime,
    secret: Secret,
) -> str:
    """Make sure of an account and return a token that sets its password once, on /login."""
    with transaction(conn):
        made = ensure_account(conn, ids, name=name, role=role, actor=ON_THIS_MACHINE, now=now)
        SQL.delete_tokens(conn, account_name=name, kind="one_time")
        if made:  # its first token is a part of making it
            return issue_token(
                conn, name=name, kind="one_time", now=now, life_s=auth.ONE_TIME_S, secret=secret
            )
        return issue_own_token(
            conn, ids, name=name, actor=ON_THIS_MACHINE, kind="one_time", now=now, secret=secret
        )


def issue_first_token(conn: Connection, ids: Ids, *, now: datetime, secret: Secret) -> str | None:
    """Return a one-time token for the first admin; None once an admin who may sign in has a password."""
    if SQL.admins_with_password(conn):
        return None
    return issue_one_time_token(conn, ids, now=now, secret=secret)


def issue_own_token(
    conn: Connection, ids: Ids, *, name: str, actor: str, kind: str, now: datetime, secret: Secret
) -> str:
    """Store a fresh API or one-time token and the fact that it was made; return it. In the caller's transaction.

    Raises:
        NotFound: no such account, or it is disabled.
    """
    life_s = auth.API_TOKEN_S if kind == "api" else auth.ONE_TIME_S
    token = issue_token(conn, name=name, kind=kind, now=now, life_s=life_s, secret=secret)
    append_fact(
        conn, ids, kind=FactKind.ACCOUNT_TOKEN_MADE, subject=name, actor=actor, now=now,
        causes=causes_of(conn, [(FactKind.ACCOUNT_CREATED, name)]),
        body={"for": kind, "expires_at": (now + timedelta(seconds=life_s)).isoformat()},
    )  # fmt: skip
    return token


def end_tokens(conn: Connection, ids: Ids, *, name: str, actor: str, now: datetime) -> None:
    """Forget every token and session of an account, with the fact of it. In the caller's transaction."""
    revoke_all(conn, name)
    append_fact(
        conn, ids, kind=FactKind.ACCOUNT_TOKENS_ENDED, subject=name, actor=actor, now=now,
        causes=causes_of(conn, [(FactKind.ACCOUNT_CREATED, name)]),
    )  # fmt: skip


def account_of_token(
    conn: Connection, token: str, *, kinds: tuple[str, ...], now: datetime
) -> Account | None:
    """Return whose token this is; None for unknown, expired, of another kind, or a disabled account."""
    row = SQL.account_of_token(conn, token_sha256=auth.token_digest(token), kinds=list(kinds), now=now)
    return Account(name=row["name"], role=Role(row["role"]), via=row["kind"]) if row else None


def read_login(conn: Connection, *, name: str) -> tuple[Account, str | None] | None:
    """Return an account and its password's hash; None if there is no such account, or it is disabled."""
    row = SQL.account_for_login(conn, name=name)
    if row is None:
        return None
    return Account(name=row["name"], role=Role(row["role"]), via="session"), row["password_hash"]


def set_first_password(
    conn: Connection, ids: Ids, *, token: str, password: str, now: datetime, secret: Secret
) -> Account | None:
    """Consume a one-time token and set its account's password; None if the token is no good (any more).

    Every older token and session of the account ends: whoever knew the old password may hold some.

    Raises:
        InvalidInput: the password is too short; the token stays usable.
    """
    if account_of_token(conn, token, kinds=("one_time",), now=now) is None:
        return None  # before the slow hash: strangers must not make us work
    hashed = auth.hash_password(password, secret(auth.SALT_BYTES))
    with transaction(conn):
        account = account_of_token(conn, token, kinds=("one_time",), now=now)
        if account is None or SQL.use_token(conn, token_sha256=auth.token_digest(token), now=now) != 1:
            return None
        SQL.set_password(conn, name=account.name, password_hash=hashed)
        append_fact(
            conn, ids, kind=FactKind.ACCOUNT_PASSWORD_SET, subject=account.name, actor=account.name, now=now,
            causes=causes_of(conn, [(FactKind.ACCOUNT_CREATED, account.name)]),
        )  # fmt: skip
        revoke_all(conn, account.name)
    return account


def revoke_token(conn: Connection, token: str) -> None:
    """Forget one token."""
    SQL.delete_token(conn, token_sha256=auth.token_digest(token))


def revoke_all(conn: Connection, name: str) -> None:
    """Forget every token of an account."""
    SQL.delete_tokens(conn, account_name=name, kind=None)


def count_approvers(conn: Connection) -> int:
    """Return how many accounts may approve: with one, four eyes cannot be asked for."""
    return int(SQL.approvers(conn))


def list_accounts(conn: Connection) -> list[dict[str, Any]]:
    """Return all accounts, without secrets, each with the tags and lists of its fleet."""
    fleets: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in SQL.account_fleets(conn):
        fleets[row["account_name"], row["kind"]].append(row["name"])
    return [
        row | {"tags": fleets[row["name"], "tag"], "lists": fleets[row["name"], "list"]}
        for row in SQL.accounts(conn)
    ]


def change_account(
    conn: Connection,
    ids: Ids,
    *,
    name: str,
    role: Role | None,
    disabled: bool | None,
    actor: str,
    now: datetime,
    fleet: Fleet | None = None,
    diagnose: Permission | None = None,
) -> None:
    """Change role, fleet or permission for diagnostics, or lock an account; a locked one loses its tokens at once.

    Diagnostic sessions that it may not have any more end with it, what waits in them too, and the vehicles are told.
    A fleet operator keeps no permission for diagnostics, also not for later.

    Raises:
        NotFound: no such account.
        InvalidInput: nobody could administer any more, or the fleet is not one.
    """
    with transaction(conn):
        rows = SQL.update_account(
            conn, name=name, role=role.value if role else None, disabled=disabled, diagnose=diagnose, now=now
        )
        if rows != 1:
            raise NotFound(f"no account {name!r}", hint="ringroad account list")
        if not SQL.admins(conn):
            raise InvalidInput("this would leave no admin", hint="make somebody else admin first")
        if fleet is not None:
            _set_fleet(conn, name, Role(SQL.account_role(conn, name=name)), fleet)
        if diagnose and Role(SQL.account_role(conn, name=name)) is Role.FLEET:
            raise InvalidInput(
                "a fleet operator's account asks no vehicles", hint="make it an operator first"
            )
        asked = {"role": role.value if role else None, "disabled": disabled, "diagnose": diagnose}
        append_fact(
            conn, ids, kind=FactKind.ACCOUNT_CHANGED, subject=name, actor=actor, now=now,
            causes=causes_of(conn, [(FactKind.ACCOUNT_CREATED, name)]),
            body={key: value for key, value in asked.items() if value is not None}
            | (fleet.told() if fleet else {}),
        )  # fmt: skip
        may_ask = Role(SQL.account_role(conn, name=name)) not in (Role.FLEET, Role.VIEWER)
        close_sessions_beyond(
            conn, ids, account=name, permission=read_permission(conn, name) if may_ask else "", actor=actor, now=now
        )  # fmt: skip
        if disabled:
            revoke_all(conn, name)
