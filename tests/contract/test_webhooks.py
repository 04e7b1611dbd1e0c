"""Webhooks over a real database to a real endpoint: in order, signed, until they arrive, and nowhere else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest

from ringroad.kernel.clock import SystemClock, SystemIds, new_secret
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.publish import webhooks
from ringroad.publish.deliver import LOG_KEPT, TRIM_EVERY, Deliverer, Means, take_turn
from ringroad.publish.delivery import DeliveryPolicy
from ringroad.publish.horizon import Horizon
from ringroad.publish.webhooks import Webhook
from ringroad.storage.db import Connection, connect
from ringroad.storage.ledger import append_fact
from support.receiver import Receiver, eventually, receiving

pytestmark = pytest.mark.engines

AT = datetime(2026, 11, 25, 8, tzinfo=UTC)
KEY = b"k" * 32
HERE = (ip_network("127.0.0.1/32"),)
SOON = DeliveryPolicy(retry_s_first=0.01, retry_s_max=0.02)
MEANS = Means(
    clock=SystemClock(),
    ids=SystemIds(),
    key=lambda: KEY,
    source="/ringroad",
    allowed=HERE,
    fraction=lambda: 0.0,
    policy=SOON,
)


@pytest.fixture
def endpoint() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def tell(conn: Connection, subject: str, kind: FactKind = FactKind.CAMPAIGN_STARTED) -> str:
    return append_fact(conn, SystemIds(), kind=kind, subject=subject, actor="ines", now=AT).id


def subscribe(conn: Connection, url: str, *types: str) -> tuple[Webhook, str]:
    return webhooks.create(
        conn, SystemIds(), url=url, types=types or ["campaign.*"], key=KEY, settled_seq=Horizon().read(conn),
        allowed=HERE, actor="admin", now=SystemClock().now(), secret=new_secret,
    )  # fmt: skip


def deliver(conn: Connection, *, means: Means = MEANS) -> None:
    """Let a deliverer work until there is nothing left that is due now or in a moment."""
    deliverer = Deliverer(means)

    def rests() -> bool:
        if deliverer.round(conn, wait_s=0.05) or deliverer.is_busy:
            return False
        waiting = conn.execute(
            "SELECT count(*) AS n FROM webhook WHERE state = 'active' AND failures > 0"
        ).fetchone()
        return waiting is not None and waiting["n"] == 0

    eventually(rests)


def kinds(conn: Connection, webhook_id: str) -> list[str]:
    rows = conn.execute("SELECT kind FROM fact WHERE subject = %s ORDER BY seq", [webhook_id]).fetchall()
    return [row["kind"] for row in rows]


# What arrives -------------------------------------------------------------------------------------


def test_every_event_asked_for_arrives_in_order_and_signed(conn: Connection, endpoint: Receiver) -> None:
    tell(conn, "before")
    _, secret = subscribe(conn, endpoint.url)
    told = []
    for number in range(6):
        told.append(tell(conn, f"c{number}"))
        tell(conn, "of another type", FactKind.CHANGE_DONE)
    deliver(conn)
    assert endpoint.ids == told
    assert all(each.is_signed_by(secret) for each in endpoint.got)
    first = endpoint.got[0]
    assert (first.path, first.headers["content-type"]) == ("/hook", "application/cloudevents+json")
    event = json.loads(first.body)
    assert (event["id"], event["type"], event["subject"]) == (told[0], "ringroad.campaign.started", "c0")
    deliver(conn)
    assert endpoint.ids == told  # nothing twice


def test_a_webhook_for_every_type_hears_of_itself_first(conn: Connection, endpoint: Receiver) -> None:
    made, _ = subscribe(conn, endpoint.url, "*")
    deliver(conn)
    assert [json.loads(each.body)["subject"] for each in endpoint.got] == [made.id]


def test_an_endpoint_that_refuses_hears_the_same_event_again_before_the_next(
    conn: Connection, endpoint: Receiver
) -> None:
    made, secret = subscribe(conn, endpoint.url)
    endpoint.answers(500, 404, 302, 204)
    told = [tell(conn, "one"), tell(conn, "two")]
    deliver(conn)
    assert endpoint.ids == [told[0]] * 4 + [told[1]]
    assert len({each.body for each in endpoint.got[:4]}) == 1
    assert all(each.is_signed_by(secret) for each in endpoint.got)
    log = webhooks.deliveries(conn, made.id)
    assert [(row["outcome"], row["status"], row["attempt"]) for row in reversed(log)] == [
        ("status_500", 500, 1), ("status_404", 404, 2), ("status_302", 302, 3), ("delivered", 204, 4),
        ("delivered", 204, 1),
    ]  # fmt: skip
    assert [row["status"] for row in webhooks.deliveries(conn, made.id, failed=True)] == [302, 404, 500]
    now = webhooks.read(conn, made.id)
    assert (now.failures, now.failing_since, now.next_attempt_at) == (0, None, None)


def test_a_redirect_is_not_followed(conn: Connection, endpoint: Receiver) -> None:
    subscribe(conn, endpoint.url)
    with receiving() as other:
        endpoint.answer = lambda number: (307, {"Location": other.url}) if number == 0 else (204, {})
        tell(conn, "one")
        deliver(conn)
        assert len(endpoint.got) == 2
        assert other.got == []


def test_a_slow_endpoint_holds_up_no_other(conn: Connection, endpoint: Receiver) -> None:
    go = threading.Event()

    def slowly(_number: int) -> tuple[int, dict[str, str]]:
        go.wait(60)
        return 204, {}

    with receiving() as slow:
        slow.answer = slowly
        subscribe(conn, slow.url)
        subscribe(conn, endpoint.url)
        told = [tell(conn, f"c{number}") for number in range(3)]
        deliverer = Deliverer(replace(MEANS, policy=DeliveryPolicy(attempt_s_max=60)))
        try:
            eventually(lambda: deliverer.round(conn, wait_s=0.02) is not None and len(endpoint.got) == 3)
            assert slow.ids == told[:1]
        finally:
            go.set()
        eventually(lambda: not (deliverer.round(conn, wait_s=0.05) or deliverer.is_busy))
        assert slow.ids == endpoint.ids == told


def test_an_answer_of_one_byte_at_a_time_is_given_up(conn: Connection, endpoint: Receiver) -> None:
    made, _ = subscribe(conn, endpoint.url)
    endpoint.drips = True
    tell(conn, "one")
    deliverer = Deliverer(replace(MEANS, policy=DeliveryPolicy(attempt_s_max=0.3)))
    eventually(lambda: deliverer.round(conn, wait_s=0.1) and webhooks.read(conn, made.id).failures == 1)
    assert webhooks.deliveries(conn, made.id)[0]["outcome"] == "timed_out"


# Where it may go ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_address_that_is_not_allowed_is_never_connected_to(
    conn: Connection, endpoint: Receiver, host: str
) -> None:
    made, _ = subscribe(conn, endpoint.url.replace("127.0.0.1", "hooks.example.com"))
    url = endpoint.url.replace("127.0.0.1", host).replace("http:", "https:")
    conn.execute("UPDATE webhook SET url = %s", [url])  # as if the name had changed its mind
    tell(conn, "one")
    deliverer = Deliverer(replace(MEANS, allowed=(), policy=DeliveryPolicy()))
    eventually(lambda: deliverer.round(conn, wait_s=0.1) and webhooks.read(conn, made.id).failures == 1)
    assert webhooks.deliveries(conn, made.id)[0]["outcome"] == "address_not_allowed"
    assert endpoint.got == []


def test_plain_http_to_a_public_address_is_never_connected_to(conn: Connection) -> None:
    made, _ = subscribe(conn, "http://1.1.1.1/hook")  # 1.1.1.1 is never asked
    tell(conn, "one")
    deliverer = Deliverer(replace(MEANS, policy=DeliveryPolicy()))
    eventually(lambda: deliverer.round(conn, wait_s=0.1) and webhooks.read(conn, made.id).failures == 1)
    assert webhooks.deliveries(conn, made.id)[0]["outcome"] == "address_not_allowed"


def test_what_does_not_speak_tls_gets_nothing(conn: Connection, endpoint: Receiver) -> None:
    made, _ = subscribe(conn, endpoint.url.replace("http:", "https:"))
    tell(conn, "one")
    deliverer = Deliverer(replace(MEANS, policy=DeliveryPolicy(attempt_s_max=2)))
    eventually(lambda: deliverer.round(conn, wait_s=0.1) and webhooks.read(conn, made.id).failures == 1)
    assert webhooks.deliveries(conn, made.id)[0]["outcome"] in {
        "not_reached",
        "connection_broke",
        "timed_out",
    }
    assert endpoint.got == []


# Nothing is lost ----------------------------------------------------------------------------------


def test_what_was_answered_and_not_written_down_is_sent_again_with_the_same_id(
    conn: Connection, endpoint: Receiver
) -> None:
    subscribe(conn, endpoint.url)
    told = [tell(conn, "one"), tell(conn, "two")]
    killed = Deliverer(MEANS)
    killed.round(conn, wait_s=0.0)
    eventually(lambda: len(endpoint.got) == 1)  # answered; the one who asked is gone
    deliver(conn)
    assert endpoint.ids == [told[0], told[0], told[1]]


DELIVER = """
import sys, threading
from ipaddress import ip_network
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.webhooks import deliver_until
from ringroad.publish.deliver import Means
from ringroad.storage.db import connect
means = Means(clock=SystemClock(), ids=SystemIds(), key=lambda: b"k" * 32, source="/ringroad",
              allowed=(ip_network("127.0.0.1/32"),), fraction=lambda: 0.0)
stop = threading.Event()
while True:
    deliver_until(stop, lambda: connect(sys.argv[1]), means)
    stop.wait(0.05)
"""


def test_a_deliverer_killed_again_and_again_loses_nothing_and_keeps_the_order(
    conn: Connection, pg_url: str, endpoint: Receiver
) -> None:
    subscribe(conn, endpoint.url)
    told = [tell(conn, f"c{number}") for number in range(60)]

    def heard(enough: int) -> bool:
        return len(set(endpoint.ids)) >= enough

    for enough in (1, 20, 40, 60):
        process = subprocess.Popen([sys.executable, "-c", DELIVER, pg_url], env=dict(os.environ))
        try:
            eventually(partial(heard, enough))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    first_seen = list(dict.fromkeys(endpoint.ids))
    assert first_seen == told
    again = [one for one, other in zip(endpoint.ids, endpoint.ids[1:], strict=False) if one == other]
    assert len(endpoint.got) == 60 + len(again)  # only what was under way at a kill came twice, at once
    assert len(again) <= 3


def test_one_worker_delivers_at_a_time(conn: Connection, pg_url: str) -> None:
    with closing(connect(pg_url)) as first:
        assert take_turn(first)
        assert not take_turn(conn)
    eventually(lambda: take_turn(conn))


# What ends it, and what a person does -------------------------------------------------------------


def test_an_endpoint_that_is_gone_is_disabled_and_keeps_its_place(
    conn: Connection, endpoint: Receiver
) -> None:
    made, _ = subscribe(conn, endpoint.url)
    endpoint.answers(410)
    told = [tell(conn, "one"), tell(conn, "two")]
    deliver(conn)
    stopped = webhooks.read(conn, made.id)
    assert (stopped.state, stopped.state_reason) == ("disabled", "gone")
    assert kinds(conn, made.id) == ["webhook.created", "webhook.disabled"]
    webhooks.change(conn, SystemIds(), made.id, active=True, allowed=HERE, actor="admin", now=AT)
    deliver(conn)
    assert endpoint.ids == [told[0], *told]
    assert kinds(conn, made.id)[-1] == "webhook.enabled"


def test_an_endpoint_that_is_dead_is_disabled(conn: Connection, endpoint: Receiver) -> None:
    made, _ = subscribe(conn, endpoint.url)
    endpoint.answers(*[500] * 1_000)
    tell(conn, "one")
    deliver(conn, means=replace(MEANS, policy=replace(SOON, dead_s=0.05)))
    assert webhooks.read(conn, made.id).state_reason == "dead"
    count = len(endpoint.got)
    deliver(conn)
    assert len(endpoint.got) == count >= 2


def test_who_is_paused_hears_nothing_and_later_everything(conn: Connection, endpoint: Receiver) -> None:
    made, _ = subscribe(conn, endpoint.url)
    webhooks.change(conn, SystemIds(), made.id, active=False, allowed=HERE, actor="admin", now=AT)
    told = [tell(conn, "one"), tell(conn, "two")]
    deliver(conn)
    assert endpoint.got == []
    webhooks.change(conn, SystemIds(), made.id, active=True, allowed=HERE, actor="admin", now=AT)
    deliver(conn)
    assert endpoint.ids == told


def test_events_are_sent_again_when_asked_for(conn: Connection, endpoint: Receiver) -> None:
    made, _ = subscribe(conn, endpoint.url)
    told = [tell(conn, f"c{number}") for number in range(4)]
    other = tell(conn, "of another type", FactKind.CHANGE_DONE)
    deliver(conn)
    webhooks.send_again(conn, SystemIds(), made.id, fact_id=told[1], actor="admin", now=AT)
    webhooks.send_again(conn, SystemIds(), made.id, fact_id=other, actor="admin", now=AT)
    with pytest.raises(Conflict):
        webhooks.send_again(conn, SystemIds(), made.id, fact_id=other, actor="admin", now=AT)
    deliver(conn)
    assert endpoint.ids == [*told, told[1], other]
    after = conn.execute("SELECT seq FROM fact WHERE id = %s", [told[1]]).fetchone()
    assert after is not None
    webhooks.move(
        conn,
        SystemIds(),
        made.id,
        after_seq=after["seq"],
        settled_seq=Horizon().read(conn),
        actor="admin",
        now=AT,
    )
    deliver(conn)
    assert endpoint.ids == [*told, told[1], other, *told[2:]]
    with pytest.raises(InvalidInput):
        webhooks.move(conn, SystemIds(), made.id, after_seq=10**6, settled_seq=5, actor="admin", now=AT)
    with pytest.raises(NotFound):
        webhooks.send_again(conn, SystemIds(), made.id, fact_id="fact_no", actor="admin", now=AT)


def test_an_answer_to_what_was_sent_before_a_replay_moves_nothing(
    conn: Connection, endpoint: Receiver
) -> None:
    made, _ = subscribe(conn, endpoint.url)
    told = [tell(conn, "one"), tell(conn, "two")]
    deliverer = Deliverer(MEANS)
    deliverer.round(conn, wait_s=0.0)
    eventually(lambda: len(endpoint.got) == 1)
    webhooks.move(conn, SystemIds(), made.id, after_seq=0, settled_seq=10**6, actor="admin", now=AT)
    eventually(lambda: not (deliverer.round(conn, wait_s=0.05) or deliverer.is_busy))
    assert endpoint.ids == [told[0], *told]


def test_a_webhook_that_is_deleted_while_it_is_sent_leaves_nothing(
    conn: Connection, endpoint: Receiver
) -> None:
    made, _ = subscribe(conn, endpoint.url)
    tell(conn, "one")
    deliverer = Deliverer(MEANS)
    deliverer.round(conn, wait_s=0.0)
    webhooks.delete(conn, SystemIds(), made.id, actor="admin", now=AT)
    eventually(lambda: not (deliverer.round(conn, wait_s=0.05) or deliverer.is_busy))
    assert webhooks.read_all(conn) == []


def test_the_log_and_the_way_past_other_types_stay_short(conn: Connection, endpoint: Receiver) -> None:
    made, _ = subscribe(conn, endpoint.url)
    conn.execute(
        "INSERT INTO webhook_delivery (webhook_id, seq, fact_id, kind, attempt, replayed, outcome, sent_at, took_ms)"
        " SELECT %s, 1, 'fact_x', 'change.done', 1, false, 'delivered', now(), 1 FROM generate_series(1, %s)",
        [made.id, LOG_KEPT + TRIM_EVERY],
    )
    for _ in range(TRIM_EVERY):
        tell(conn, "one")
    conn.execute(
        "INSERT INTO fact (id, kind, stage, subject, actor, work_started_at, event_at, recorded_at)"
        " SELECT 'fact_' || n, 'change.done', 'adapt', 'c', 'x', now(), now(), now() FROM generate_series(1, 2000) n"
    )
    deliver(conn)
    count = conn.execute("SELECT count(*) AS n FROM webhook_delivery").fetchone()
    assert count is not None
    assert LOG_KEPT <= count["n"] <= LOG_KEPT + TRIM_EVERY
    assert webhooks.read(conn, made.id).cursor_seq >= 2000


# Secrets ------------------------------------------------------------------------------------------


def test_for_a_day_the_secret_before_signs_as_well(conn: Connection, endpoint: Receiver) -> None:
    made, old = subscribe(conn, endpoint.url)
    now = SystemClock().now()
    new = webhooks.rotate(conn, SystemIds(), made.id, key=KEY, actor="admin", now=now, secret=new_secret)
    tell(conn, "one")
    deliver(conn)
    assert new != old
    assert endpoint.got[0].is_signed_by(new)
    assert endpoint.got[0].is_signed_by(old)
    conn.execute("UPDATE webhook SET old_until = now() - interval '1 s'")
    tell(conn, "two")
    deliver(conn)
    assert len(endpoint.got[1].headers["webhook-signature"].split(" ")) == 1
    assert endpoint.got[1].is_signed_by(new)


def test_without_the_key_nothing_is_sent_and_with_another_one_it_is_disabled(
    conn: Connection, endpoint: Receiver
) -> None:
    made, _ = subscribe(conn, endpoint.url)
    tell(conn, "one")
    deliver(conn, means=replace(MEANS, key=lambda: None))
    assert webhooks.read(conn, made.id).state == "active"
    deliver(conn, means=replace(MEANS, key=lambda: b"o" * 32))
    assert webhooks.read(conn, made.id).state_reason == "key_lost"
    assert endpoint.got == []
    secret = webhooks.rotate(
        conn, SystemIds(), made.id, key=b"o" * 32, actor="admin", now=SystemClock().now(), secret=new_secret
    )
    webhooks.change(conn, SystemIds(), made.id, active=True, allowed=HERE, actor="admin", now=AT)
    deliver(conn, means=replace(MEANS, key=lambda: b"o" * 32))
    assert endpoint.got[0].is_signed_by(secret)


def test_neither_database_nor_log_has_the_secret(
    conn: Connection, endpoint: Receiver, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, secret = subscribe(conn, f"{endpoint.url}/path-that-is-a-secret")
    tell(conn, "one")
    deliver(conn)
    bare = secret.removeprefix("whsec_")
    stored = conn.execute(
        "SELECT w::text AS row FROM webhook w UNION ALL SELECT d::text FROM webhook_delivery d"
        " UNION ALL SELECT f::text FROM fact f"
    ).fetchall()
    out = "".join(capfd.readouterr())
    assert bare not in str(stored) + out
    facts = conn.execute("SELECT body::text AS body FROM fact").fetchall()
    assert "path-that-is-a-secret" not in str(facts) + out
