"""The deliverer: takes due webhooks, sends each its next event, writes down what came of it.

One event of a webhook is under way at a time, so that each endpoint hears in order; several webhooks at once, so that a
slow one holds up nobody. All database work is done by the thread that calls `round`; the others only post.

Killed anywhere, nothing is lost: a cursor passes an event after the answer. What was answered and not yet written down
is sent again, with the same `webhook-id`.
"""

from __future__ import annotations

import queue
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import structlog

import ringroad
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict
from ringroad.publish import webhooks
from ringroad.publish.cloudevent import EVENT_TYPE, encode, kinds_known, to_event
from ringroad.publish.delivery import (
    Again,
    Delivered,
    DeliveryPolicy,
    Disable,
    Outcome,
    Unreached,
    decide,
    outcome_text,
)
from ringroad.publish.horizon import Horizon
from ringroad.publish.post import post
from ringroad.publish.rows import SQL
from ringroad.publish.signing import sign
from ringroad.publish.store import read_after
from ringroad.publish.webhooks import Webhook
from ringroad.storage.db import Connection, transaction
from ringroad.storage.settings import Network

LOG = structlog.get_logger(__name__)

DELIVERER_LOCK: Final = 0x52494E47484F4F4B  # "RINGHOOK"; the one process that delivers holds it
LOG_KEPT: Final = 500  # attempts of one webhook that are kept
TRIM_EVERY: Final = 50  # attempts between two looks at the length of a log
SKIP_FACTS: Final = 1_000  # facts of other types after which the cursor is moved past them
USER_AGENT: Final = f"Ringroad/{ringroad.__version__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One event for one webhook, as both were read."""

    webhook: Webhook
    row: Mapping[str, Any]
    replayed: bool
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of a job."""

    job: Job
    outcome: Outcome
    sent_at: datetime
    took_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a deliverer needs besides a connection.

    Attributes:
        key: reads the installation's key; None: there is none, and nobody is told anything.
        source: names this installation in its events.
        allowed: networks that may be reached although they are not public.
        fraction: a random number in [0, 1), for pauses.
    """

    clock: Clock
    ids: Ids
    key: Callable[[], bytes | None]
    source: str
    allowed: tuple[Network, ...]
    fraction: Callable[[], float]
    policy: DeliveryPolicy = field(default_factory=DeliveryPolicy)


class Deliverer:
    """Delivers while it lives; `round` is called again and again by one thread."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._horizon = Horizon()
        self._tls = ssl.create_default_context()
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._under_way: set[str] = set()
        self._warned = False  # that there is no key
        self._last = ""  # webhook that was served last: the next one is the next in the row

    @property
    def is_busy(self) -> bool:
        """Whether something is under way."""
        return bool(self._under_way)

    @property
    def is_waiting(self) -> bool:
        """Whether somebody is writing facts that could not be read yet."""
        return self._horizon.is_waiting

    def round(self, conn: Connection, *, wait_s: float) -> bool:
        """Start what is due; when there is nothing to start, wait for an answer and write down what came.

        Args:
            conn: outside any transaction.
            wait_s: how long to wait for an answer when something is under way.

        Returns:
            Whether anything was done.
        """
        return bool(self._start(conn)) or self.collect(conn, wait_s=wait_s)

    def collect(self, conn: Connection, *, wait_s: float) -> bool:
        """Wait for an answer and write down all that came; return whether any did."""
        finished = 0
        while self._under_way:
            try:
                done = self._done.get(timeout=0.001 if finished else wait_s)
            except queue.Empty:
                break
            self._under_way.discard(done.job.webhook.id)
            self._record(conn, done)
            finished += 1
        return finished > 0

    def _start(self, conn: Connection) -> int:
        """Begin with every due webhook that has something to be told, as many as are allowed at once."""
        now = self._means.clock.now()
        due = [each for each in webhooks.read_due(conn, now=now) if each.id not in self._under_way]
        if not due or len(self._under_way) >= self._means.policy.at_once_max:
            return 0
        due.sort(key=lambda each: (each.id <= self._last, each.id))
        settled, key = self._horizon.read(conn), self._means.key()
        if key is None:
            if not self._warned:
                LOG.error("webhooks wait", reason="their key is not there", hint="restore keys/webhooks.key")
            self._warned = True
            return 0
        started = 0
        for webhook in due:
            if len(self._under_way) >= self._means.policy.at_once_max:
                break
            secrets = webhook.secrets(key, now=now)
            if (
                secrets is None
            ):  # somebody's key file is not the one that made the secret: a person must rotate it
                with transaction(conn):
                    webhooks.disable(conn, self._means.ids, webhook, reason="key_lost", now=now)
                LOG.error("webhook disabled", webhook_id=webhook.id, reason="key_lost")
                continue
            job = self._next_job(conn, webhook, secrets, settled_seq=settled, now=now)
            if job is not None:
                self._last = webhook.id
                self._under_way.add(webhook.id)
                threading.Thread(
                    target=self._send, args=(job,), name=f"webhook {webhook.id}", daemon=True
                ).start()
                started += 1
        return started

    def _next_job(
        self, conn: Connection, webhook: Webhook, secrets: list[bytes], *, settled_seq: int, now: datetime
    ) -> Job | None:
        row = SQL.next_replay(conn, webhook_id=webhook.id)
        replayed = row is not None
        if row is None:
            rows = read_after(
                conn,
                after_seq=webhook.cursor_seq,
                settled_seq=settled_seq,
                kinds=kinds_known(webhook.types),
                rows_max=1,
            )
            if not rows:
                if webhook.cursor_seq + SKIP_FACTS < settled_seq:
                    SQL.skip_to(conn, id=webhook.id, generation=webhook.generation, cursor_seq=settled_seq)
                return None
            row = rows[0]
        body = encode(to_event(row, source=self._means.source))
        timestamp_s = int(now.timestamp())
        headers = {
            "Content-Type": EVENT_TYPE,
            "User-Agent": USER_AGENT,
            "webhook-id": row["id"],
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign(secrets, message_id=row["id"], timestamp_s=timestamp_s, body=body),
        }
        return Job(webhook=webhook, row=row, replayed=replayed, body=body, headers=headers)

    def _send(self, job: Job) -> None:
        """Post, in a thread of its own; hands the outcome back whatever happens."""
        means, outcome = self._means, Unreached(reason="fault_of_ours")
        sent_at, started_s = means.clock.now(), means.clock.monotonic_s()
        got: Outcome = outcome
        try:
            got = post(
                job.webhook.url, job.body, job.headers, allowed=means.allowed, attempt_s_max=means.policy.attempt_s_max,
                tls=self._tls, monotonic_s=means.clock.monotonic_s,
            )  # fmt: skip
        except Exception:
            LOG.exception("webhook not sent", webhook_id=job.webhook.id)
        finally:
            took_ms = round((means.clock.monotonic_s() - started_s) * 1000)
            self._done.put(Done(job=job, outcome=got, sent_at=sent_at, took_ms=took_ms))

    def _record(self, conn: Connection, done: Done) -> None:
        """Write down what came of a job: the log, the cursor, the next attempt, or the end, in one transaction."""
        webhook, row, now = done.job.webhook, done.job.row, self._means.clock.now()
        decision = decide(
            self._means.policy,
            done.outcome,
            failures=webhook.failures,
            failing_since=webhook.failing_since,
            fraction=self._means.fraction(),
            now=now,
        )
        try:
            with transaction(conn):
                number = SQL.log_delivery(
                    conn, webhook_id=webhook.id, seq=row["seq"], fact_id=row["id"], kind=row["kind"],
                    attempt=webhook.failures + 1, replayed=done.job.replayed, outcome=outcome_text(decision),
                    status=getattr(done.outcome, "status", None), sent_at=done.sent_at, took_ms=done.took_ms,
                )  # fmt: skip
                if number is not None and number % TRIM_EVERY == 0:
                    SQL.trim_deliveries(conn, webhook_id=webhook.id, kept=LOG_KEPT)
                match decision:
                    case Delivered():
                        if done.job.replayed:
                            SQL.end_replay(conn, webhook_id=webhook.id, seq=row["seq"])
                        cursor = None if done.job.replayed else row["seq"]
                        SQL.note_delivered(
                            conn, id=webhook.id, generation=webhook.generation, cursor_seq=cursor, now=now
                        )
                    case Again(at=at):
                        SQL.note_failed(conn, id=webhook.id, generation=webhook.generation, at=at, now=now)
                    case Disable(reason=reason):
                        webhooks.disable(conn, self._means.ids, webhook, reason=reason, now=now)
        except Conflict:  # a person changed or deleted it meanwhile: what they said holds
            LOG.info("webhook changed while it was sent", webhook_id=webhook.id)
            return
        LOG.info(
            "webhook",
            webhook_id=webhook.id,
            fact_id=row["id"],
            outcome=outcome_text(decision),
            took_ms=done.took_ms,
        )


def take_turn(conn: Connection) -> bool:
    """Become the one deliverer of this database for as long as the connection lives; False: another one is."""
    return bool(SQL.take_deliverer(conn, key=DELIVERER_LOCK))
