"""The stream of events over a real database: complete, in order, resumable, and only for who may read."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemIds
from ringroad.kernel.facts import FactKind
from ringroad.publish.horizon import Horizon
from ringroad.publish.store import read_after
from ringroad.storage.db import Connection, connect
from ringroad.storage.ledger import append_fact
from support.console_server import add_account, serving

pytestmark = pytest.mark.engines

AT = datetime(2026, 11, 25, 8, tzinfo=UTC)


@pytest.fixture
def client(pg_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    token = add_account(pg_url, "vera", Role.VIEWER)
    with serving(pg_url, tmp_path) as origin:
        with httpx.Client(base_url=f"{origin}/api/v1", timeout=30) as opened:
            opened.headers["Authorization"] = f"Bearer {token}"
            yield opened


def tell(conn: Connection, subject: str, kind: FactKind = FactKind.CAMPAIGN_STARTED) -> str:
    fact = append_fact(conn, SystemIds(), kind=kind, subject=subject, actor="ines", now=AT, body={"n": 1})
    return fact.id


def subjects(conn: Connection, horizon: Horizon, *, after_seq: int = 0) -> list[str]:
    settled = horizon.read(conn)
    return [row["subject"] for row in read_after(conn, after_seq=after_seq, settled_seq=settled, kinds=None)]


@contextmanager
def stream(client: httpx.Client, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    with client.stream("GET", "/cloudevents/stream", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        yield (json.loads(line[6:]) for line in lines if line.startswith("data: "))


# Nothing is missed --------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_fact_that_others_overtook_is_waited_for(conn: Connection, pg_url: str, end: str) -> None:
    horizon = Horizon()
    tell(conn, "first")
    with closing(connect(pg_url)) as slow, slow.transaction() as block:
        tell(slow, "slow")
        tell(conn, "fast")  # has a higher number, and is committed before
        assert subjects(conn, horizon) == []
        assert horizon.is_waiting
        tell(conn, "faster")
        if end == "rollback":
            block.force_rollback = True
    known = ["first", "slow", "fast", "faster"] if end == "commit" else ["first", "fast", "faster"]
    assert subjects(conn, horizon) == known


def test_who_keeps_writing_does_not_stop_the_readers(conn: Connection, pg_url: str) -> None:
    horizon = Horizon()
    with closing(connect(pg_url)) as one, closing(connect(pg_url)) as two:
        one.execute("BEGIN")
        tell(one, "a")
        assert subjects(conn, horizon) == []
        two.execute("BEGIN")
        tell(two, "b")
        one.execute("COMMIT")
        assert subjects(conn, horizon) == ["a"]  # b's transaction began later, and is still open
        two.execute("ROLLBACK")
    assert subjects(conn, horizon) == ["a"]


def test_many_writers_at_once_and_a_reader_that_never_misses(conn: Connection, pg_url: str) -> None:
    written, horizon, seen = 4 * 25, Horizon(), list[int]()

    def write(number: int) -> None:
        with closing(connect(pg_url)) as own:
            for each in range(25):
                with own.transaction():
                    tell(own, f"{number}-{each}")
                    tell(own, f"{number}-{each}-again")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(seen) < 2 * written:
        alive = any(thread.is_alive() for thread in threads)
        settled = horizon.read(conn)
        rows = read_after(conn, after_seq=seen[-1] if seen else 0, settled_seq=settled, kinds=None)
        seen += [row["seq"] for row in rows]
        assert rows or alive or len(seen) == 2 * written, "some were missed"
    for thread in threads:
        thread.join()
    assert seen == sorted(set(seen))


# Pages --------------------------------------------------------------------------------------------


def test_pages_follow_one_another_by_the_last_id(conn: Connection, client: httpx.Client) -> None:
    told = [tell(conn, f"c{number}") for number in range(5)]
    whole = client.get("/cloudevents", params={"type": "campaign.started"})
    assert whole.headers["content-type"] == "application/cloudevents-batch+json"
    assert [event["id"] for event in whole.json()] == told
    page = client.get("/cloudevents", params={"after": told[1], "limit": 2}).json()
    assert [event["id"] for event in page] == told[2:4]
    assert client.get("/cloudevents", params={"after": told[4]}).json() == []


def test_a_filter_and_a_time_choose(conn: Connection, client: httpx.Client) -> None:
    tell(conn, "a")
    tell(conn, "b", FactKind.CAMPAIGN_HALTED)
    tell(conn, "v", FactKind.VEHICLE_BORN)
    both = client.get("/cloudevents", params={"type": ["campaign.halted", "vehicle.*"]}).json()
    assert [event["type"] for event in both] == ["ringroad.campaign.halted", "ringroad.vehicle.born"]
    assert client.get("/cloudevents", params={"since": "2100-01-01T00:00:00Z"}).json() == []
    found = client.get(
        "/cloudevents", params={"since": "2000-01-01T00:00:00Z", "type": "vehicle.born"}
    ).json()
    assert [event["subject"] for event in found] == ["v"]


def test_what_cannot_be_asked_is_refused(client: httpx.Client) -> None:
    for query, status in (
        ({"type": "nonsense"}, 422),
        ({"after": "fact_nothing"}, 404),
        ({"after": "no such id"}, 400),
        ({"since": "2026-11-25T08:00:00"}, 400),
        ({"since": "2026-13-25T08:00:00Z"}, 422),
        ({"since": "0001-01-01T00:00:00+14:00"}, 422),
        ({"since": "yesterday"}, 400),
    ):
        for path in ("/cloudevents", "/cloudevents/stream"):
            assert client.get(path, params=query).status_code == status, (path, query)


# The stream ---------------------------------------------------------------------------------------


def test_the_stream_tells_what_comes_and_is_taken_up_again(conn: Connection, client: httpx.Client) -> None:
    tell(conn, "before")
    with stream(client) as events:
        first = tell(conn, "one")
        assert next(events)["id"] == first
    missed = [tell(conn, "two"), tell(conn, "three")]
    with stream(client, **{"Last-Event-ID": first}) as events:
        assert [next(events)["id"], next(events)["id"]] == missed
        later = tell(conn, "four")
        assert next(events)["id"] == later


def test_a_new_stream_says_where_it_begins(conn: Connection, client: httpx.Client) -> None:
    known = tell(conn, "known")
    with client.stream("GET", "/cloudevents/stream") as answer:
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(3)] == ["retry: 2000", "", f"id: {known}"]


def test_who_may_not_read_gets_nothing(conn: Connection, client: httpx.Client) -> None:
    tell(conn, "secret")
    for path in ("/cloudevents", "/cloudevents/stream"):
        for token in ("", "Bearer rr_nonsense"):
            answer = client.get(path, headers={"Authorization": token})
            assert answer.status_code == 401
            assert "secret" not in answer.text


def test_an_account_that_is_locked_hears_no_more(conn: Connection, client: httpx.Client) -> None:
    with stream(client) as events:
        tell(conn, "heard")
        assert next(events)["subject"] == "heard"
        conn.execute("DELETE FROM access_token")
        tell(conn, "not heard")
        assert list(events) == []
