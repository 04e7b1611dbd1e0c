"""Webhooks in PostgreSQL: who is told of which facts, and how far each is.

Invariants:
    The cursor passes a fact only after its endpoint answered 2xx, or when the fact is of no type asked for.
    A secret leaves this module once, when it is made; what is stored does not give it away (`signing.py`).
    Facts about a webhook name its host, never its whole address: paths and queries of addresses may be secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.publish.address import check_url
from ringroad.publish.cloudevent import kinds_of
from ringroad.publish.rows import SQL
from ringroad.publish.signing import SALT_BYTES, derive_secret, key_id, show_secret
from ringroad.publish.store import seq_of
from ringroad.storage.db import Connection, expect_one, of_row, transaction
from ringroad.storage.ledger import append_fact, last_of
from ringroad.storage.settings import Network

WEBHOOKS_MAX: Final = 100  # subscriptions; each asks the ledger at every notice
REPLAYS_MAX: Final = 1_000  # events of one webhook that wait to be sent again; for more, move the cursor
OVERLAP_S: Final = 24 * 3_600  # seconds a rotated secret goes on to sign beside the new one

Secret = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One subscription.

    Attributes:
        types: as they were asked for; none: every type.
        state: active, paused (by a person), disabled (by the worker).
        salt, key_id, old_salt, old_until: of the secrets, see `signing.py`.
        cursor_seq: every fact up to here is dealt with.
        failures: attempts in a row that failed.
        replays: events that were asked for again and wait.
    """

    id: str
    url: str
    types: list[str]
    state: str
    state_reason: str
    salt: bytes
    key_id: str
    old_salt: bytes | None
    old_until: datetime | None
    generation: int
    cursor_seq: int
    failures: int
    failing_since: datetime | None
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    created_by: str
    created_at: datetime
    replays: int

    def secrets(self, key: bytes, *, now: datetime) -> list[bytes] | None:
        """Return what signs now, newest first; None: this key did not make them."""
        if self.key_id != key_id(key):
            return None
        salts = [self.salt]
        if self.old_salt is not None and self.old_until is not None and now < self.old_until:
            salts.append(self.old_salt)
        return [derive_secret(key, webhook_id=self.id, salt=bytes(salt)) for salt in salts]


def create(
    conn: Connection,
    ids: Ids,
    *,
    url: str,
    types: Sequence[str],
    key: bytes,
    settled_seq: int,
    allowed: Sequence[Network],
    actor: str,
    now: datetime,
    secret: Secret,
) -> tuple[Webhook, str]:
    """Subscribe an endpoint to what is recorded from now on; return it and its secret, which cannot be read again.

    Raises:
        InvalidInput: the address is not allowed, or a type names nothing.
        Conflict: there are too many.
    """
    host = check_url(url, allowed=allowed)
    kinds_of(types)
    webhook_id, salt = ids.new("webhook"), secret(SALT_BYTES)
    with transaction(conn):
        if SQL.count_webhooks(conn) >= WEBHOOKS_MAX:
            raise Conflict(f"there are {WEBHOOKS_MAX} webhooks already", hint="delete one that nobody needs")
        SQL.insert_webhook(
            conn, id=webhook_id, url=url, types=list(types), salt=salt, key_id=key_id(key), cursor_seq=settled_seq,
            created_by=actor, created_at=now,
        )  # fmt: skip
        append_fact(
            conn, ids, kind=FactKind.WEBHOOK_CREATED, subject=webhook_id, actor=actor, now=now,
            body={"host": host, "types": list(types)},
        )  # fmt: skip
    return read(conn, webhook_id), show_secret(derive_secret(key, webhook_id=webhook_id, salt=salt))


def read_all(conn: Connection) -> list[Webhook]:
    """Return every webhook, in the order in which they were made."""
    return [of_row(Webhook, row) for row in SQL.webhooks(conn, webhook_id=None)]


def read(conn: Connection, webhook_id: str) -> Webhook:
    """Return one. Raises: NotFound."""
    for row in SQL.webhooks(conn, webhook_id=webhook_id):
        return of_row(Webhook, row)
    raise NotFound(f"there is no webhook {webhook_id[:80]!r}", hint="ringroad webhook list shows all")


def read_due(conn: Connection, *, now: datetime) -> list[Webhook]:
    """Return the active ones whose next attempt may be made."""
    return [of_row(Webhook, row) for row in SQL.webhooks_due(conn, now=now)]


def change(
    conn: Connection,
    ids: Ids,
    webhook_id: str,
    *,
    url: str | None = None,
    types: Sequence[str] | None = None,
    active: bool | None = None,
    allowed: Sequence[Network],
    actor: str,
    now: datetime,
) -> Webhook:
    """Change address or types, pause it or let it go on; its place in the ledger stays, and the next attempt is due.

    Raises:
        NotFound: there is none.
        InvalidInput: the address is not allowed, or a type names nothing.
        Conflict: it was changed meanwhile.
    """
    body: dict[str, Any] = {}
    if url is not None:
        body["host"] = check_url(url, allowed=allowed)
    if types is not None:
        kinds_of(types)
        body["types"] = list(types)
    if active is not None:
        body["state"] = "active" if active else "paused"
    if not body:
        raise InvalidInput("nothing to change", hint="an address, types, or whether it is active")
    with transaction(conn):
        before = read(conn, webhook_id)
        rows = SQL.change_webhook(
            conn, id=webhook_id, generation=before.generation, url=url, types=None if types is None else list(types),
            state=body.get("state"),
        )  # fmt: skip
        expect_one(rows, f"webhook {webhook_id}")
        enabled = active and before.state != "active"
        append_fact(
            conn, ids, kind=FactKind.WEBHOOK_ENABLED if enabled else FactKind.WEBHOOK_CHANGED, subject=webhook_id,
            actor=actor, now=now, causes=last_of(conn, webhook_id), body=body,
        )  # fmt: skip
    return read(conn, webhook_id)


def disable(conn: Connection, ids: Ids, webhook: Webhook, *, reason: str, now: datetime) -> None:
    """Stop sending, inside the caller's transaction. Raises: Conflict if it was changed since it was read."""
    rows = SQL.disable_webhook(conn, id=webhook.id, generation=webhook.generation, reason=reason)
    expect_one(rows, f"webhook {webhook.id}")
    append_fact(
        conn, ids, kind=FactKind.WEBHOOK_DISABLED, subject=webhook.id, actor="system:worker", now=now,
        causes=last_of(conn, webhook.id), body={"reason": reason},
    )  # fmt: skip


def rotate(
    conn: Connection, ids: Ids, webhook_id: str, *, key: bytes, actor: str, now: datetime, secret: Secret
) -> str:
    """Make a new secret and return it; for `OVERLAP_S` the one before signs as well.

    Raises:
        NotFound: there is none.
        Conflict: it was changed meanwhile.
    """
    salt = secret(SALT_BYTES)
    with transaction(conn):
        before = read(conn, webhook_id)
        rows = SQL.rotate_webhook(
            conn, id=webhook_id, generation=before.generation, salt=salt, key_id=key_id(key),
            old_until=now + timedelta(seconds=OVERLAP_S),
        )  # fmt: skip
        expect_one(rows, f"webhook {webhook_id}")
        append_fact(
            conn, ids, kind=FactKind.WEBHOOK_SECRET_ROTATED, subject=webhook_id, actor=actor, now=now,
            causes=last_of(conn, webhook_id), body={"overlap_s": OVERLAP_S},
        )  # fmt: skip
    return show_secret(derive_secret(key, webhook_id=webhook_id, salt=salt))


def move(
    conn: Connection,
    ids: Ids,
    webhook_id: str,
    *,
    after_seq: int,
    settled_seq: int,
    actor: str,
    now: datetime,
) -> Webhook:
    """Send everything behind a place again, or go on from there.

    Raises:
        NotFound: there is none.
        InvalidInput: the place is not reached yet.
        Conflict: it was changed meanwhile.
    """
    if after_seq > settled_seq:
        raise InvalidInput("that event is not settled yet", hint="try again in a moment")
    with transaction(conn):
        before = read(conn, webhook_id)
        rows = SQL.move_webhook(conn, id=webhook_id, generation=before.generation, cursor_seq=after_seq)
        expect_one(rows, f"webhook {webhook_id}")
        append_fact(
            conn, ids, kind=FactKind.WEBHOOK_REPLAYED, subject=webhook_id, actor=actor, now=now,
            causes=last_of(conn, webhook_id), body={"from_seq": before.cursor_seq, "to_seq": after_seq},
        )  # fmt: skip
    return read(conn, webhook_id)


def send_again(
    conn: Connection, ids: Ids, webhook_id: str, *, fact_id: str, actor: str, now: datetime
) -> None:
    """Send one event again, before what is next; of any type.

    Raises:
        NotFound: there is no such webhook or event.
        Conflict: it waits already, or too many do.
    """
    with transaction(conn):
        read(conn, webhook_id)
        rows = SQL.ask_replay(
            conn, webhook_id=webhook_id, seq=seq_of(conn, fact_id), asked_at=now, replays_max=REPLAYS_MAX
        )
        if rows != 1:
            raise Conflict(
                "that event, or a thousand others, wait to be sent again", hint="wait until they are"
            )
        append_fact(
            conn, ids, kind=FactKind.WEBHOOK_REPLAYED, subject=webhook_id, actor=actor, now=now,
            causes=last_of(conn, webhook_id), body={"fact_id": fact_id},
        )  # fmt: skip


def delete(conn: Connection, ids: Ids, webhook_id: str, *, actor: str, now: datetime) -> None:
    """Forget a webhook, its place and its log. Raises: NotFound."""
    with transaction(conn):
        read(conn, webhook_id)
        causes = last_of(conn, webhook_id)
        SQL.delete_webhook(conn, id=webhook_id)
        append_fact(
            conn, ids, kind=FactKind.WEBHOOK_DELETED, subject=webhook_id, actor=actor, now=now, causes=causes
        )


def deliveries(
    conn: Connection, webhook_id: str, *, failed: bool | None = None, rows_max: int = 100
) -> list[dict[str, Any]]:
    """Return attempts, newest first; `failed` chooses. Raises: NotFound."""
    read(conn, webhook_id)
    return list(SQL.deliveries(conn, webhook_id=webhook_id, failed=failed, rows_max=rows_max))
