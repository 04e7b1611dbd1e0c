"""NATS stops answering, or nobody reads telemetry: it is told once, shown everywhere, and over by itself."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import nats
import pytest

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.facts import FactKind
from ringroad.loop import worker
from ringroad.loop.telemetry_watch import TelemetryWatch
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.plan import WaveSize
from ringroad.signal.silence import AGAIN_S, UNANSWERED_S, UNTAKEN_S, Backlog, Silence, Watched, Why
from ringroad.signal.store_silence import read_silence, tell_back, tell_silence
from ringroad.storage.broker import Broker, ensure_stream
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import read_facts
from ringroad.storage.settings import Settings
from support.console_server import PASSWORD, add_account, serving
from support.fleet import CountingIds, Story, add_vehicles, fill_programme
from support.ports import free_port

pytestmark = pytest.mark.engines

SINCE = datetime(2026, 11, 25, 14, 2, 5, tzinfo=UTC)
TOPIC = "ringroad.v1.RRTEST00000000001.telemetry"


class LateClock(SystemClock):
    """The machine's clock, moved on by hand."""

    def __init__(self) -> None:
        self.late_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.late_s)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.late_s


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    server = Broker(home=tmp_path / "nats", clock=SystemClock(), port=free_port(), mqtt_port=free_port())
    server.start()
    asyncio.run(ensure_stream(server.url(), bytes_max=64 * 1024**2))
    yield server
    assert server.process is not None
    server.process.send_signal(signal.SIGCONT)
    server.stop()


def lending(conn: Connection) -> Callable[[], AbstractContextManager[Connection]]:
    @contextmanager
    def borrow() -> Iterator[Connection]:
        with transaction(conn):
            yield conn

    return borrow


def watch_of(broker: Broker, conn: Connection, clock: LateClock) -> TelemetryWatch:
    return TelemetryWatch(broker.url(), lending(conn), clock=clock, ids=SystemIds())


def told(conn: Connection) -> list[FactKind]:
    return [fact.kind for fact in read_facts(conn, subject="telemetry")]


def test_a_nats_that_hangs_is_told_once_and_so_is_that_it_answers_again(
    conn: Connection, broker: Broker
) -> None:
    clock = LateClock()

    async def scenario() -> None:
        one, other = (watch_of(broker, conn, clock) for _ in range(2))
        assert broker.process is not None
        await one.look()
        await other.look()
        began = clock.now()
        broker.process.send_signal(signal.SIGSTOP)
        clock.late_s += UNANSWERED_S + 1
        await one.look()
        await other.look()
        silence = read_silence(conn)
        assert silence is not None
        assert (silence.why, abs(silence.since - began) < timedelta(seconds=5)) == (Why.UNANSWERED, True)
        broker.process.send_signal(signal.SIGCONT)
        await other.look()
        await one.look()
        assert read_silence(conn) is None
        await one.stop()
        await other.stop()

    asyncio.run(scenario())
    lost, back = read_facts(conn, subject="telemetry")
    assert (lost.kind, back.kind) == (FactKind.TELEMETRY_LOST, FactKind.TELEMETRY_BACK)
    assert (lost.body, back.causes) == ({"why": "unanswered"}, (lost.id,))
    assert back.body["silent_s"] >= UNANSWERED_S


def test_a_nats_that_was_killed_is_told_and_so_is_that_it_was_started_again(
    conn: Connection, broker: Broker
) -> None:
    clock = LateClock()

    async def scenario() -> None:
        watch = watch_of(broker, conn, clock)
        await watch.look()
        assert broker.process is not None
        broker.process.kill()
        broker.process.wait(10)
        await watch.look()
        assert told(conn) == []  # it may come back
        clock.late_s += UNANSWERED_S + 1
        await watch.look()
        assert told(conn) == [FactKind.TELEMETRY_LOST]
        await asyncio.to_thread(broker.start)
        await watch.look()
        await watch.stop()

    asyncio.run(scenario())
    assert told(conn) == [FactKind.TELEMETRY_LOST, FactKind.TELEMETRY_BACK]


def test_telemetry_that_no_worker_takes_is_told(conn: Connection, broker: Broker) -> None:
    clock = LateClock()

    async def scenario() -> None:
        watch = watch_of(broker, conn, clock)
        client = await nats.connect(broker.url())
        await client.jetstream().publish(TOPIC, b"{}")
        await watch.look()
        clock.late_s += UNTAKEN_S + 1
        await watch.look()
        silence = read_silence(conn)
        assert silence is not None
        assert silence.why is Why.UNTAKEN
        newer = watch_of(broker, conn, clock)  # a server that was started again knows no better
        await newer.look()
        assert told(conn) == [FactKind.TELEMETRY_LOST]
        await client.jetstream().purge_stream("TELEMETRY")
        await newer.look()
        for each in (watch, newer):
            await each.stop()
        await client.close()

    asyncio.run(scenario())
    assert told(conn) == [FactKind.TELEMETRY_LOST, FactKind.TELEMETRY_BACK]


class Scripted(TelemetryWatch):
    """A server that sees of the stream what it is given."""

    answer: Backlog | None = None

    async def _ask(self) -> Backlog | None:
        return self.answer


def scripted(conn: Connection, clock: LateClock) -> Callable[[Backlog | None], Silence | None]:
    """Return one look of a server, with what it sees, which returns what it says of itself."""
    watch = Scripted("nats://nowhere", lending(conn), clock=clock, ids=SystemIds())

    def look(answer: Backlog | None) -> Silence | None:
        watch.answer = answer
        asyncio.run(watch.look())
        return watch.deaf

    return look


ANSWERS = Backlog(waiting=0, taken=1)


def test_a_silence_is_told_again_when_who_said_that_it_is_over_has_gone(conn: Connection) -> None:
    clock = LateClock()
    hears, deaf = scripted(conn, clock), scripted(conn, clock)
    deaf(None)
    clock.late_s += UNANSWERED_S + 1
    deaf(None)
    clock.late_s += 5
    hears(ANSWERS)
    clock.late_s += AGAIN_S - 1
    deaf(None)
    assert told(conn) == [FactKind.TELEMETRY_LOST, FactKind.TELEMETRY_BACK]
    clock.late_s += 2
    deaf(None)
    deaf(None)
    assert told(conn) == [FactKind.TELEMETRY_LOST, FactKind.TELEMETRY_BACK, FactKind.TELEMETRY_LOST]
    _, back, lost = read_facts(conn, subject="telemetry")
    assert lost.event_at == back.recorded_at, "it was heard until then"


def test_one_server_that_does_not_hear_the_stream_says_so_of_itself_alone(conn: Connection) -> None:
    clock = LateClock()
    hears, deaf = scripted(conn, clock), scripted(conn, clock)
    for _ in range(20):
        clock.late_s += 5
        assert hears(ANSWERS) is None
        silence = deaf(None)
    assert told(conn) == []
    assert silence is not None
    assert silence.text.endswith("NATS does not answer this server, and answers others")
    assert "this server's way to NATS" in silence.hint
    clock.late_s += UNANSWERED_S + 1  # and then nobody hears it
    deaf(None)
    assert told(conn) == [FactKind.TELEMETRY_LOST]


def test_a_stream_that_stops_while_no_worker_reads_it_is_told_with_why(conn: Connection) -> None:
    clock = LateClock()
    look = scripted(conn, clock)
    for seconds in (0, 5, UNTAKEN_S + 1):
        clock.late_s += seconds
        look(Backlog(waiting=3, taken=1))
    untaken = read_silence(conn)
    assert untaken is not None
    for seconds in (5, UNANSWERED_S + 1, 5):
        clock.late_s += seconds
        look(None)
    assert read_silence(conn) == Silence(since=untaken.since, why=Why.UNANSWERED)
    assert told(conn) == [FactKind.TELEMETRY_LOST] * 2
    look(ANSWERS)
    assert told(conn)[2:] == [FactKind.TELEMETRY_BACK]


def test_a_silence_in_which_nothing_was_taken_is_not_over_with_an_answer(conn: Connection) -> None:
    clock = LateClock()
    look = scripted(conn, clock)

    def looks(answer: Backlog | None, seconds: float) -> None:
        clock.late_s += seconds
        look(answer)

    stuck = Backlog(waiting=3, taken=1)
    for seconds in (0, 5, UNTAKEN_S + 1):
        looks(stuck, seconds)
    untaken = read_silence(conn)
    assert untaken is not None
    for seconds in (5, UNANSWERED_S + 1):
        looks(None, seconds)
    assert read_silence(conn) == Silence(since=untaken.since, why=Why.UNANSWERED)
    for seconds in (5, 5, UNTAKEN_S - 10):
        looks(stuck, seconds)
        assert read_silence(conn) == Silence(since=untaken.since, why=Why.UNANSWERED)
    for _ in range(2):
        looks(stuck, 6)
        assert read_silence(conn) == untaken, "it answers, and nobody takes"
    assert told(conn) == [FactKind.TELEMETRY_LOST] * 3
    looks(Backlog(waiting=3, taken=2), 5)
    assert told(conn)[3:] == [FactKind.TELEMETRY_BACK]


def test_who_was_away_does_not_end_a_silence_by_what_was_taken_meanwhile(conn: Connection) -> None:
    clock = LateClock()
    knows, away = scripted(conn, clock), scripted(conn, clock)
    for look in (knows, away):
        look(Backlog(waiting=3, taken=1))
    for seconds in (5, 5, UNTAKEN_S + 1):  # something is taken, and then nothing
        clock.late_s += seconds
        knows(Backlog(waiting=3, taken=9))
    for seconds, over in ((5, False), (5, False), (5, True)):
        clock.late_s += seconds
        away(Backlog(waiting=3, taken=10 if over else 9))
        assert (read_silence(conn) is None) == over


def test_a_worker_hears_the_stream_for_its_gates(
    conn: Connection, broker: Broker, pg_url: str, tmp_path: Path
) -> None:
    stop = threading.Event()
    settings = Settings(var=tmp_path, database_url=pg_url, nats_url=broker.url())
    thread = threading.Thread(target=worker.run, args=(settings, stop), daemon=True)
    thread.start()
    try:
        end = time.monotonic() + 60
        while conn.execute("SELECT FROM telemetry_heard").fetchone() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_what_was_seen_before_a_silence_was_told_does_not_end_it(conn: Connection) -> None:
    now = SystemClock().now()
    seen = Watched(answered_s=0.0).after(Backlog(waiting=0, taken=0), now_s=1.0)
    with transaction(conn):
        tell_silence(conn, SystemIds(), Silence(since=now, why=Why.UNANSWERED), now=now)
        for seconds, over in ((-1, False), (1, True), (2, False)):
            asked_at = now + timedelta(seconds=seconds)
            assert tell_back(conn, SystemIds(), seen, asked_at=asked_at, now=asked_at) is over


@pytest.fixture
def silent(pg_url: str) -> Callable[[], None]:
    """Telemetry is silent since 14:02; what is given ends it."""
    clock, ids = SystemClock(), SystemIds()
    with connect(pg_url) as conn, transaction(conn):
        tell_silence(conn, ids, Silence(since=SINCE, why=Why.UNANSWERED), now=clock.now())

    def end() -> None:
        seen = Watched(answered_s=0.0).after(Backlog(waiting=0, taken=0), now_s=1.0)
        later = clock.now() + timedelta(days=1)
        with connect(pg_url) as conn, transaction(conn):
            assert tell_back(conn, ids, seen, asked_at=later, now=later)

    return end


def test_health_and_pages_say_that_telemetry_is_silent_and_polling_goes_on(
    conn: Connection, pg_url: str, tmp_path: Path, silent: Callable[[], None]
) -> None:
    add_account(pg_url, "vera", Role.VIEWER)
    page_of = f"/campaigns/{begin(conn, COMPARED['what vehicles send'])}"
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=origin, timeout=30) as client:
        client.post("/login", data={"name": "vera", "password": PASSWORD})

        def shown() -> list[bool]:
            said = {
                "/": "Telemetry is silent since",
                page_of: "Telemetry is silent since",
                "/campaigns": "telemetry is silent",
            }
            return [words in client.get(page).text for page, words in said.items()]

        answer = client.get("/health")
        assert answer.status_code == 200  # a load balancer takes no server away for it
        health = answer.json()
        assert (health["status"], health["database"], health["gateways"]) == ("degraded", True, "ok")
        assert health["telemetry"].startswith("silent since 2026-11-25 14:02:05 UTC: NATS")
        assert "NATS" in health["hint"]
        assert shown() == [True, True, True]
        silent()
        assert client.get("/health").json()["telemetry"] == "ok"
        assert shown() == [False, False, False]


COMPARED = {
    "what vehicles send": SequentialPolicy(metrics=(Metric(name=MetricName.FAULT, margin_milli=1_250),)),
    "their reports": SequentialPolicy(metrics=(Metric(name=MetricName.INSTALL_FAILED, margin_milli=3_000),)),
    "nothing": None,
}


@pytest.mark.parametrize("compared", COMPARED)
def test_a_campaign_that_compares_what_vehicles_send_says_that_telemetry_is_silent(
    conn: Connection, silent: Callable[[], None], compared: str
) -> None:
    begin(conn, COMPARED[compared])
    (campaign,) = reading.campaigns(conn)
    waits = compared == "what vehicles send"
    assert campaign.telemetry_silent_since == (SINCE if waits else None)
    silent()
    (campaign,) = reading.campaigns(conn)
    assert campaign.telemetry_silent_since is None


def begin(conn: Connection, policy: SequentialPolicy | None) -> str:
    """Start a campaign that compares so, and return its id."""
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(40))
    story = Story(conn, ids)
    story.start(
        gate=GatePolicy(sequential=policy), control=WaveSize(vehicles=20) if policy else None, waves=(1,)
    )
    return story.campaign_id
