"""Remote diagnostics from an API call to a virtual ECU and back, over real NATS and MQTT and the real database."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import aiomqtt
import httpx
import msgspec
import nats
import pytest

from ringroad.http import accounts_store
from ringroad.http.auth import API_TOKEN_S, Role
from ringroad.http.vehicle_link import read_answer
from ringroad.kernel.clock import SystemClock, SystemIds, new_secret
from ringroad.kernel.errors import Conflict, Forbidden, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.vin import parse_vin
from ringroad.protocol.diagnostics import DiagnosticAnswer
from ringroad.signal import store_diagnostics as store
from ringroad.signal.diagnose import BULK_ANSWER_S, JOB_DAYS_KEPT, QUEUED_MAX, Permission
from ringroad.storage.broker import Broker
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import read_facts
from ringroad.storage.nats_auth import lookup_in, serve_logins
from ringroad.vehicle.collector import Broker as Address
from ringroad.vehicle.collector import Collector, TelemetryQueue
from ringroad.vehicle.diagnostics.sessions import Policy, answer_session
from support.console_server import serving
from support.diagnosed import FAULT, bench

pytestmark = pytest.mark.engines

TOKEN = "token-of-a-diagnosed"
VINS = ["RRDAGN00000000001", "RRDAGN00000000002", "RRDAGN00000000003"]


def patient(look: Any, *, seconds: float = 60) -> Any:
    """Wait until `look` returns something true."""
    until = monotonic() + seconds
    while not (found := look()):
        assert monotonic() < until, "waited in vain"
        sleep(0.05)
    return found


def born(conn: Connection) -> None:
    """Put the vehicles on record: two that speak to us natively, one that speaks DDI."""
    conn.execute("INSERT INTO programme VALUES ('p', 'd', '', '{}', 1, now())")
    for number, vin in enumerate(VINS):
        conn.execute(
            "INSERT INTO vehicle (vin, programme_id, variant, gateway, token_sha256, primary_serial, born_at)"
            " VALUES (%s, 'p', 'v', %s, %s, 's', now())",
            (vin, "ddi" if number == 2 else "native", hashlib.sha256(TOKEN.encode()).digest()),
        )


def token_of(conn: Connection, name: str, role: Role, *, permission: Permission = "") -> str:
    """Make an account without a password, which costs no slow hash, and return a token of it."""
    now = SystemClock().now()
    with transaction(conn):
        accounts_store.ensure_account(conn, SystemIds(), name=name, role=role, actor="admin", now=now)
    accounts_store.change_account(
        conn, SystemIds(), name=name, role=None, disabled=None, diagnose=permission, actor="admin", now=now
    )
    with transaction(conn):
        return accounts_store.issue_token(
            conn, name=name, kind="api", now=now, life_s=API_TOKEN_S, secret=new_secret
        )


@contextmanager
def logins(broker: Broker, pg_url: str) -> Iterator[None]:
    with connect(pg_url) as conn:
        born(conn)
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    with lookup_in(lambda: connect(pg_url)) as lookup:
        service = serve_logins(
            broker.url(), key=broker.login_key(), lookup=lookup, clock=SystemClock(), ids=SystemIds(), stop=stop,
            ready=ready.set,
        )  # fmt: skip
        thread = threading.Thread(target=loop.run_until_complete, args=(service,))
        thread.start()
        assert ready.wait(60)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(60)
            loop.close()


@contextmanager
def on_the_road(
    folder: Path, broker: Broker, *, vin: str = VINS[0], policy: Policy = "test"
) -> Iterator[None]:
    """A vehicle that is online, on a thread of its own."""
    loop: asyncio.AbstractEventLoop | None = None
    stop: asyncio.Event | None = None
    started: Future[None] = Future()

    async def live() -> None:
        nonlocal loop, stop
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with bench(folder, policy=policy, clock=SystemClock()) as at:
                queue = TelemetryQueue(folder / "telemetry", durability="buffered")
                collector = Collector(
                    vin=parse_vin(vin), queue=queue, clock=SystemClock(), fraction=lambda: 0.1
                )
                address = Address(host="127.0.0.1", port=broker.mqtt_port, token=TOKEN)
                tasks = [
                    asyncio.create_task(at.link.run()),
                    asyncio.create_task(collector.run(address, wake=lambda: None, link=at.link)),
                ]
                started.set_result(None)
                await stop.wait()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        started.result(120)
        yield
    finally:
        if loop is not None and stop is not None:
            loop.call_soon_threadsafe(stop.set)
        thread.join(60)


@dataclass
class Desk:
    """A technician at the API."""

    client: httpx.Client
    vin: str
    pg_url: str

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        url = f"/api/v1/vehicles/{self.vin}/diagnostics/{path}"
        return self.client.request(method, url, json=body, params={"wait_s": 30, **query})

    def open(self, scope: str = "service") -> dict[str, Any]:
        made = self.call("POST", "sessions", {"reason": "a hum", "scope": scope})
        assert made.status_code == 201, made.text

        def opened() -> dict[str, Any] | None:
            [found] = [
                each for each in self.call("GET", "sessions").json() if each["id"] == made.json()["id"]
            ]
            return found if found["state"] == "open" else None

        return dict(patient(opened))  # the vehicle may come online a moment later

    def facts(self, session_id: str) -> list[str]:
        with connect(self.pg_url) as conn:
            return [fact.kind.value for fact in read_facts(conn, subject=session_id)]

    def writes(self, session_id: str) -> list[dict[str, Any]]:
        """What the facts say of values that were to be written, and were."""
        with connect(self.pg_url) as conn:
            told = [
                {key: fact.body[key] for key in ("before", "data") if key in fact.body}
                for fact in read_facts(conn, subject=session_id)
            ]
        return [each for each in told if each]


@contextmanager
def at_the_desk(pg_url: str, var: Path, nats_url: str) -> Iterator[Desk]:
    with connect(pg_url) as conn:
        token_of(conn, "admin", Role.ADMIN)  # else nobody could administer
        token = token_of(conn, "ole", Role.OPERATOR, permission="service")
    with serving(pg_url, var, nats_url=nats_url) as origin:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=origin, headers=headers, timeout=90) as client:
            yield Desk(client, VINS[0], pg_url)


def test_a_technician_reads_and_clears_a_fault_of_a_vehicle_far_away(
    broker: Broker, pg_url: str, tmp_path: Path
) -> None:
    with (
        logins(broker, pg_url),
        at_the_desk(pg_url, tmp_path / "var", broker.url()) as desk,
        on_the_road(tmp_path / "car", broker),
    ):
        session = desk.open()
        assert (session["state"], session["consent"]) == ("open", "test")
        listed = desk.call("GET", "components")
        assert [each["name"] for each in listed.json()["items"]] == ["gateway", "brake"]
        assert desk.call("GET", "components/brake/data/F195").json()["data"] == "1.0.0"
        one = desk.call("GET", f"components/brake/faults/{FAULT}").json()
        assert one["environment_data"]["extended_data"]["occurrences"] == 2
        early = desk.call("DELETE", "components/brake/faults")
        assert (early.status_code, early.json()["error"]["code"]) == (409, "lock_needed")
        assert desk.call("POST", "components/brake/locks", {"lock_expiration": 60}).status_code == 200
        assert desk.call("DELETE", "components/brake/faults").json() == {"cleared": "all", "left": []}
        assert desk.call("GET", "functions/vehicle-health").json() == {"items": [], "silent": []}
        written = desk.call("PUT", "components/brake/data/0100", {"data": "0a0b0cff"}).json()
        assert (written["before_raw"], written["raw"]) == ("0a0b0c0d", "0a0b0cff")
        assert desk.call("PUT", "components/brake/data/0101", {"data": 2}).json()["before"] == 1
        tested = desk.call("POST", "components/brake/operations/self-test/executions").json()
        over = patient(lambda: _over(desk.call("GET", f"jobs/{tested['id']}").json()))
        assert (over["status"], over["result"]) == (
            "completed",
            {"passed": True},
        )  # nobody asked how it stands
        refused = desk.call("PUT", "components/brake/data/F190", {"data": "X"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_writable")
        assert desk.call("GET", "components/wheel").status_code == 404
        assert desk.call("GET", "updates").json() == {"items": []}
        assert desk.call("PUT", "updates/7/execute").status_code == 404
        text = desk.call("GET", "bulk-data/journal/newest")
        assert (text.status_code, text.headers["content-type"]) == (200, "application/x-ndjson")
        assert text.text.startswith('{"record":1,"entry":{"type":"Born"')
        part = desk.client.get(text.url, headers={"Range": "bytes=1-8"})
        assert (part.status_code, part.text) == (206, '"record"')
        assert desk.call("GET", "bulk-data/token/newest").status_code == 404
        place = "components/brake/cyclic-subscriptions"
        begun = desk.call("POST", place, {"data": "F195", "interval": 1, "duration": 60}).json()
        told = patient(lambda: desk.call("GET", f"{place}/{begun['id']}/events").json())
        assert (told[0]["number"], told[0]["values"]) == (1, {"F195": {"value": "1.0.0"}})
        assert desk.call("DELETE", f"{place}/{begun['id']}").json()["status"] == "ended"
        other = place.replace("brake", "gateway")
        assert desk.call("GET", f"{other}/{begun['id']}/events").status_code == 404
        assert desk.call("DELETE", "session").json()["state"] == "closed"
        after = desk.call("GET", "components")
        assert (after.status_code, after.json()["error"]["code"]) == (403, "no_session")
        patient(lambda: all(job["state"] == "answered" for job in desk.call("GET", "jobs").json()))
        kinds = desk.facts(session["id"])
        assert kinds[:2] == ["diagnosis.asked", "diagnosis.opened"]
        assert kinds.count("diagnosis.requested") == 19
        assert kinds.count("diagnosis.answered") == 20  # the last one: that the vehicle forgot the session
        assert kinds.count("diagnosis.closed") == 1
        assert desk.writes(session["id"]) == [
            {"data": "0a0b0cff"}, {"before": "0a0b0c0d", "data": "0a0b0cff"},
            {"data": 2}, {"before": "0001", "data": "0002"}, {"data": "X"},
        ]  # fmt: skip


def test_a_vehicle_that_is_offline_gets_the_request_when_it_comes_back(
    broker: Broker, pg_url: str, tmp_path: Path
) -> None:
    with logins(broker, pg_url), at_the_desk(pg_url, tmp_path / "var", broker.url()) as desk:
        with on_the_road(tmp_path / "car", broker):
            desk.open()
        later = desk.call("GET", "components")
        assert later.status_code == 202
        assert later.json()["state"] == "queued"
        where = later.headers["Location"]
        with on_the_road(tmp_path / "car", broker, policy="test"):
            job = patient(lambda: _answered(desk.client.get(where).json()))
        assert [each["name"] for each in job["answer"]["items"]] == ["gateway", "brake"]


def test_how_an_operation_ended_is_told_again_when_the_word_was_lost_with_a_connection(
    broker: Broker, pg_url: str, tmp_path: Path
) -> None:
    with logins(broker, pg_url), at_the_desk(pg_url, tmp_path / "var", broker.url()) as desk:
        with on_the_road(tmp_path / "car", broker):
            desk.open()
            assert desk.call("POST", "components/brake/locks", {"lock_expiration": 60}).status_code == 200
            begun = desk.call("POST", "components/brake/operations/self-test/executions").json()
            patient(lambda: _over(desk.call("GET", f"jobs/{begun['id']}").json()))
        with connect(pg_url) as conn:
            conn.execute(
                """UPDATE diagnostic_job SET answer = answer || '{"status": "running"}' WHERE id = %s""",
                (begun["id"],),
            )
        with on_the_road(tmp_path / "car", broker):
            told = patient(lambda: _over(desk.call("GET", f"jobs/{begun['id']}").json()))
        assert (told["status"], told["result"]) == ("completed", {"passed": True})


def _over(job: dict[str, Any]) -> dict[str, Any] | None:
    said: dict[str, Any] = job["answer"]
    return None if said["status"] == "running" else said


def _answered(job: dict[str, Any]) -> dict[str, Any] | None:
    return job if job["state"] == "answered" else None


def test_the_driver_is_asked_and_may_decline(broker: Broker, pg_url: str, tmp_path: Path) -> None:
    with (
        logins(broker, pg_url),
        at_the_desk(pg_url, tmp_path / "var", broker.url()) as desk,
        on_the_road(tmp_path / "car", broker, policy="driver"),
    ):
        made = desk.call("POST", "sessions", {"reason": "a hum"}, wait_s=1).json()
        assert made["state"] == "asked"
        early = desk.call("GET", "components")
        assert (early.status_code, early.json()["error"]["code"]) == (409, "session_asked")
        again = desk.call("POST", "sessions", {"reason": "a hum"})
        assert (again.status_code, again.json()["error"]["code"]) == (409, "session_open")
        patient((tmp_path / "car" / "diagnostics.json").exists)
        answer_session(tmp_path / "car", made["id"], allow=False, now=SystemClock().now())
        declined = patient(
            lambda: [s for s in desk.call("GET", "sessions").json() if s["state"] == "declined"]
        )
        assert declined[0]["id"] == made["id"]
        assert desk.facts(made["id"]) == ["diagnosis.asked", "diagnosis.declined"]


def test_a_driver_who_ends_an_open_session_closes_it_on_the_server_too(
    broker: Broker, pg_url: str, tmp_path: Path
) -> None:
    with (
        logins(broker, pg_url),
        at_the_desk(pg_url, tmp_path / "var", broker.url()) as desk,
        on_the_road(tmp_path / "car", broker, policy="test"),
    ):
        made = desk.open()
        answer_session(tmp_path / "car", made["id"], allow=False, now=SystemClock().now())
        closed = patient(lambda: [s for s in desk.call("GET", "sessions").json() if s["state"] == "closed"])
        assert closed[0]["id"] == made["id"]
        assert desk.facts(made["id"]) == ["diagnosis.asked", "diagnosis.opened", "diagnosis.closed"]


@pytest.mark.parametrize(
    "asked",
    [("", "read", False), ("read", "service", False), ("read", "read", True), ("service", "service", True)],
)
def test_nobody_asks_for_more_than_they_were_permitted(pg_url: str, asked: tuple[Any, Any, bool]) -> None:
    permission, scope, allowed = asked
    ids, now = SystemIds(), SystemClock().now()
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission=permission)
        with contextlib.nullcontext() if allowed else pytest.raises(Forbidden), transaction(conn):
            store.open_session(
                conn, ids, vin=VINS[0], account="ole", scope=scope, minutes=1, reason="a hum", now=now
            )
        assert len(store.read_sessions(conn, vin=VINS[0], rows_max=9)) == allowed


def test_a_vehicle_that_speaks_ddi_or_is_unknown_is_not_asked(pg_url: str) -> None:
    ids, now = SystemIds(), SystemClock().now()
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="read")
        for vin, error in ((VINS[2], Conflict), ("RRDAGN00000000009", NotFound)):
            with pytest.raises(error), transaction(conn):
                store.open_session(
                    conn, ids, vin=vin, account="ole", scope="read", minutes=1, reason="a hum", now=now
                )


def test_no_vehicle_answers_for_another_or_hears_its_requests(
    broker: Broker, pg_url: str, tmp_path: Path
) -> None:
    mine, other = VINS[0], VINS[1]

    async def run() -> tuple[list[str], list[str]]:
        server = await nats.connect(broker.url())
        heard = await server.subscribe("ringroad.v1.*.diagnostics.answer")
        got: list[str] = []
        async with aiomqtt.Client(
            "127.0.0.1", broker.mqtt_port, identifier=mine, username=mine, password=TOKEN
        ) as car:
            granted = [
                await car.subscribe(f"ringroad/v1/{vin}/diagnostics/request", qos=0) for vin in (mine, other)
            ]
            assert [codes[0] for codes in granted] == [0, 128]
            await server.flush()
            for vin in (other, mine):
                await server.publish(f"ringroad.v1.{vin}.diagnostics.request", b"x")
            message = await asyncio.wait_for(anext(aiter(car.messages)), 60)
            got.append(str(message.topic))
            for vin in (other, mine):
                await car.publish(f"ringroad/v1/{vin}/diagnostics/answer", b"y", qos=0)
            answers = [(await heard.next_msg(timeout=60)).subject]
        await server.flush()
        answers += [heard.pending_msgs * "more"] if heard.pending_msgs else []
        await server.close()
        return got, answers

    with logins(broker, pg_url):
        got, heard = asyncio.run(run())
    assert got == [f"ringroad/v1/{mine}/diagnostics/request"]
    assert heard == [f"ringroad.v1.{mine}.diagnostics.answer"]


def test_an_answer_of_another_vehicle_or_for_nobody_changes_nothing(pg_url: str) -> None:
    ids, now = SystemIds(), SystemClock().now()
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="read")
        with transaction(conn):
            session = store.open_session(
                conn, ids, vin=VINS[0], account="ole", scope="read", minutes=1, reason="a hum", now=now
            )
        [job] = store.read_jobs(conn, vin=VINS[0], rows_max=9)

        def say(vin: str, status: int, job_id: str = job.id, *, final: bool = True) -> bool:
            answer = DiagnosticAnswer(id=job_id, status=status, at=now, final=final, body={"consent": "test"})
            with transaction(conn):
                return store.accept_answer(conn, ids, vin=vin, answer=answer, now=now)

        assert not say(VINS[1], 200)
        assert not say(VINS[0], 200, "ask_unknown")
        assert not say(VINS[0], 202, final=False)
        assert store.read_session(conn, vin=VINS[0], session_id=session.id).state == "asked"
        assert say(VINS[0], 200)
        assert not say(VINS[0], 403)
        assert store.read_session(conn, vin=VINS[0], session_id=session.id).state == "open"
        with transaction(conn):
            queued = store.queue_request(
                conn, ids, vin=VINS[0], account="ole", method="GET", path="/components", body={}, now=now
            )
        with transaction(conn):
            assert store.sweep(conn, ids, now=now + timedelta(minutes=2)) == 1
        ended = store.read_session(conn, vin=VINS[0], session_id=session.id)
        assert (ended.state, store.read_job(conn, vin=VINS[0], job_id=queued.id).state) == (
            "expired",
            "cancelled",
        )


@pytest.mark.parametrize(
    ("vin", "execution"),
    [
        (1, {"id": "", "status": "completed"}),
        (0, {"id": "ask_other", "status": "completed"}),
        (0, {"id": "", "status": "running"}),
        (0, "completed"),
    ],
)
def test_only_its_own_vehicle_says_how_an_operation_ended_and_once(
    pg_url: str, vin: int, execution: Any
) -> None:
    ids, now = SystemIds(), SystemClock().now()
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="service")
        _, job_id = ole_asks(conn)

        def say(vin: str, body: dict[str, Any], *, final: bool = False) -> bool:
            answer = DiagnosticAnswer(id=job_id, status=200, at=now, final=final, body=body)
            with transaction(conn):
                return store.accept_answer(conn, ids, vin=vin, answer=answer, now=now)

        own = {"id": job_id, "status": "completed", "result": {}}
        assert not say(VINS[0], {"execution": own})  # it has not answered that it runs
        assert say(VINS[0], {"id": job_id, "status": "running"}, final=True)
        if isinstance(execution, dict):
            execution = {**execution, "id": execution["id"] or job_id}
        assert not say(VINS[vin], {"execution": execution})
        assert say(VINS[0], {"execution": own})
        assert not say(VINS[0], {"execution": {**own, "status": "failed"}})
        assert store.read_job(conn, vin=VINS[0], job_id=job_id).answer == own


def ole_asks(conn: Connection, vin: str = VINS[0]) -> tuple[str, str]:
    """Open a session of ole's on a vehicle and queue a reset; return the ids of both."""
    ids, now = SystemIds(), SystemClock().now()
    with transaction(conn):
        session = store.open_session(
            conn, ids, vin=vin, account="ole", scope="service", minutes=60, reason="a hum", now=now
        )
    [job] = store.read_jobs(conn, vin=vin, rows_max=9)
    answer = DiagnosticAnswer(id=job.id, status=200, at=now, body={"consent": "test"})
    with transaction(conn):
        assert store.accept_answer(conn, ids, vin=vin, answer=answer, now=now)
        queued = store.queue_request(
            conn, ids, vin=vin, account="ole", method="POST", path="/components/brake/operations/reset/executions",
            body={}, now=now,
        )  # fmt: skip
    return session.id, queued.id


@pytest.mark.parametrize(("of_session", "code"), [(True, "declined"), (False, "session_declined")])
def test_a_session_that_the_driver_ended_is_closed_by_the_word_or_by_the_next_refusal(
    pg_url: str, *, of_session: bool, code: str
) -> None:
    ids, now = SystemIds(), SystemClock().now()
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="service")
        session, queued = ole_asks(conn)

        def say(vin: str, code: str) -> bool:
            body = {"error": {"kind": "forbidden", "code": code, "message": "the driver declined"}}
            answer = DiagnosticAnswer(id=session if of_session else queued, status=403, at=now, body=body)
            with transaction(conn):
                return store.accept_answer(conn, ids, vin=vin, answer=answer, now=now)

        assert not say(VINS[1], code)
        assert store.read_session(conn, vin=VINS[0], session_id=session).state == "open"
        assert say(VINS[0], code)
        ended = store.read_session(conn, vin=VINS[0], session_id=session)
        assert (ended.state, ended.ended_at) == ("closed", now)
        assert store.read_job(conn, vin=VINS[0], job_id=queued).state == (
            "cancelled" if of_session else "answered"
        )
        [fact] = conn.execute(
            "SELECT actor FROM fact WHERE kind = 'diagnosis.closed' AND subject = %s", (session,)
        ).fetchall()
        assert fact["actor"] == f"vehicle:{VINS[0]}"
        assert ended.state_words == "ended by the driver"
        assert not say(VINS[0], code)


@pytest.mark.parametrize(
    ("consent", "state", "words"),
    [("driver", "closed", "ended by the driver"), ("", "declined", "declined by the vehicle")],
)
@pytest.mark.parametrize("of_session", [True, False])
def test_a_visit_that_was_allowed_and_ended_before_we_heard_of_it_was_not_declined(
    pg_url: str, *, of_session: bool, consent: str, state: str, words: str
) -> None:
    ids, now = SystemIds(), SystemClock().now()
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="service")
        with transaction(conn):
            session = store.open_session(
                conn, ids, vin=VINS[0], account="ole", scope="read", minutes=30, reason="a hum", now=now
            )
        assert session.state_words == "asked"
        (asked,) = store.read_jobs(conn, vin=VINS[0], session_id=session.id, rows_max=9)
        body = {"state": "declined", "consent": consent, "error": {"kind": "forbidden", "code": "declined"}}
        answer = DiagnosticAnswer(id=session.id if of_session else asked.id, status=403, at=now, body=body)
        with transaction(conn):
            assert store.accept_answer(conn, ids, vin=VINS[0], answer=answer, now=now)
        ended = store.read_session(conn, vin=VINS[0], session_id=session.id)
        assert (ended.state, ended.state_words) == (state, words)


def due(conn: Connection) -> list[tuple[str, str]]:
    """Return what would be sent now."""
    with transaction(conn):
        return [
            (request.method, request.path)
            for _, request in store.due_requests(conn, now=SystemClock().now(), rows_max=9)
        ]


@pytest.mark.parametrize(
    "change",
    [{"disabled": True}, {"diagnose": ""}, {"diagnose": "read"}, {"role": Role.VIEWER}, {"role": Role.FLEET}],
)
def test_an_account_that_may_ask_no_more_ends_its_session_and_what_waits(
    pg_url: str, change: dict[str, Any]
) -> None:
    ids, now = SystemIds(), SystemClock().now()
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="service")
        session, queued = ole_asks(conn)
        wanted = {"role": None, "disabled": None} | change
        accounts_store.change_account(conn, ids, name="ole", actor="admin", now=now, **wanted)
        assert store.read_session(conn, vin=VINS[0], session_id=session).state == "closed"
        assert store.read_job(conn, vin=VINS[0], job_id=queued).state == "cancelled"
        assert due(conn) == [("DELETE", "/sessions")]  # so the vehicle forgets it
        [closed] = [
            each for each in read_facts(conn, subject=session) if each.kind is FactKind.DIAGNOSIS_CLOSED
        ]
        assert closed.actor == "admin"  # fmt: skip


def test_a_request_is_taken_back_by_its_asker_or_an_admin_only(pg_url: str, tmp_path: Path) -> None:
    with connect(pg_url) as conn:
        born(conn)
        tokens = {
            "admin": token_of(conn, "admin", Role.ADMIN),
            "ole": token_of(conn, "ole", Role.OPERATOR, permission="service"),
            "eve": token_of(conn, "eve", Role.OPERATOR),
            "ann": token_of(conn, "ann", Role.APPROVER, permission="service"),
        }
        queued = [ole_asks(conn, vin)[1] for vin in VINS[:2]]
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=f"{origin}/api/v1", timeout=60) as client:

        def call(name: str, number: int, path: str) -> tuple[int, Any]:
            url = f"/vehicles/{VINS[number]}/diagnostics/{path}"
            answer = client.delete(url, headers={"Authorization": f"Bearer {tokens[name]}"})
            told = answer.json()
            return answer.status_code, told["error"]["code"] if "error" in told else told["state"]

        for stranger in ("eve", "ann"):
            assert call(stranger, 0, f"jobs/{queued[0]}") == (403, "not_yours")
        assert call("ole", 0, f"jobs/{queued[0]}") == (200, "cancelled")
        assert call("admin", 1, f"jobs/{queued[1]}") == (200, "cancelled")
        assert call("ole", 0, "session") == (200, "closed")
        with connect(pg_url) as conn:
            ending = store.read_jobs(conn, vin=VINS[0], rows_max=1)[0]
            for name in ("ole", "admin"):
                assert call(name, 0, f"jobs/{ending.id}") == (409, "session_request")
            assert due(conn) == [("DELETE", "/sessions")]


def test_an_answer_that_comes_while_its_session_is_closed_waits_and_is_not_wanted(pg_url: str) -> None:
    ids, now = SystemIds(), SystemClock().now()
    with connect(pg_url) as conn, connect(pg_url) as other, ThreadPoolExecutor(1) as threads:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="read")
        with transaction(conn):
            store.open_session(
                conn, ids, vin=VINS[0], account="ole", scope="read", minutes=1, reason="a hum", now=now
            )
        [job] = store.read_jobs(conn, vin=VINS[0], rows_max=9)
        said = DiagnosticAnswer(id=job.id, status=200, at=now, body={"consent": "test"})

        def accept() -> bool:
            with transaction(other):
                return store.accept_answer(other, ids, vin=VINS[0], answer=said, now=now)

        def is_waiting() -> bool:
            found = conn.execute("SELECT count(*) AS n FROM pg_locks WHERE NOT granted").fetchone()
            return found is not None and found["n"] > 0

        with transaction(conn):
            store.session_of(conn, vin=VINS[0], account="ole")
            accepted = threads.submit(accept)
            patient(is_waiting)
            store.close_session(conn, ids, vin=VINS[0], account="ole", now=now)
        assert not accepted.result(60)


def test_sessions_opened_and_closed_again_and_again_fill_no_queue(pg_url: str, tmp_path: Path) -> None:
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token = token_of(conn, "ole", Role.OPERATOR, permission="read")
    headers = {"Authorization": f"Bearer {token}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, headers=headers, timeout=60) as client,
    ):
        url, body = f"/api/v1/vehicles/{VINS[0]}/diagnostics", {"reason": "a hum"}
        opened = 0
        while (made := client.post(f"{url}/sessions", json=body, params={"wait_s": 0})).status_code == 201:
            assert client.delete(f"{url}/session").status_code == 200
            opened += 1
            assert opened < QUEUED_MAX
        assert made.status_code == 429
    assert opened == QUEUED_MAX - 1  # the end of each waits for the vehicle


def test_a_session_that_asks_for_positions_says_so_to_the_vehicle_and_to_whoever_reads_of_it(
    pg_url: str,
) -> None:
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        for name in ("ole", "ines"):
            token_of(conn, name, Role.OPERATOR, permission="read")
        now = SystemClock().now()
        for name, position in (("ole", True), ("ines", False)):
            with transaction(conn):
                asked = store.open_session(
                    conn, SystemIds(), vin=VINS[0], account=name, scope="read", minutes=30, reason="a hum", now=now,
                    position=position,
                )  # fmt: skip
            own = store.session_of(conn, vin=VINS[0], account=name)
            assert own is not None
            assert asked.position is own.position is position
        with transaction(conn):
            bodies = [request.body for _, request in store.due_requests(conn, now=now, rows_max=9)]
        assert sorted("position" in body for body in bodies) == [False, True]


def test_a_wider_permission_ends_no_session(pg_url: str) -> None:
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="service")
        session, _ = ole_asks(conn)
        accounts_store.change_account(
            conn, SystemIds(), name="ole", role=Role.APPROVER, disabled=None, diagnose="service", actor="admin",
            now=SystemClock().now(),
        )  # fmt: skip
        assert store.read_session(conn, vin=VINS[0], session_id=session).state == "open"
        assert len(due(conn)) == 1


def test_nothing_of_a_locked_account_is_sent_but_the_end_of_its_session(pg_url: str) -> None:
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="service")
        ole_asks(conn)
        conn.execute("UPDATE account SET disabled_at = now() WHERE name = 'ole'")  # as a release before did
        assert due(conn) == []
        with transaction(conn):
            store.close_session(conn, SystemIds(), vin=VINS[0], account="ole", now=SystemClock().now())
        assert due(conn) == [("DELETE", "/sessions")]


def test_what_another_server_sends_meanwhile_is_not_sent_twice(pg_url: str) -> None:
    with connect(pg_url) as conn, connect(pg_url) as other, ThreadPoolExecutor(1) as threads:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="service")
        ole_asks(conn)
        # The other server has its snapshot, and looks whose requests they are while we send them.
        conn.execute("SELECT pg_advisory_lock(7)")
        with transaction(other):
            other.execute(
                """CREATE FUNCTION pg_temp.wait() RETURNS bool LANGUAGE plpgsql VOLATILE AS
                   $$ BEGIN PERFORM pg_advisory_lock_shared(7); RETURN true; END $$"""
            )
            other.execute("CREATE TEMP VIEW account AS SELECT * FROM public.account WHERE pg_temp.wait()")
        pid = other.info.backend_pid
        asked = threads.submit(due, other)
        patient(
            lambda: conn.execute(
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = %s AND NOT granted", (pid,)
            ).fetchone()
        )
        now = SystemClock().now()
        with transaction(conn):
            [(job, _)] = store.due_requests(conn, now=now, rows_max=9)
            store.note_sent(conn, job_id=job.id, next_at=now + timedelta(seconds=5))
        conn.execute("SELECT pg_advisory_unlock(7)")
        assert asked.result(60) == []


def test_what_waits_for_a_vehicle_is_sent_in_the_order_in_which_it_was_asked(pg_url: str) -> None:
    ids, now = SystemIds(), SystemClock().now()
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)
        for name in ("ole", "ines"):
            token_of(conn, name, Role.OPERATOR, permission="service")
            with transaction(conn):
                store.open_session(
                    conn, ids, vin=VINS[0], account=name, scope="service", minutes=30, reason="a hum", now=now
                )
            [asked, *_] = store.read_jobs(conn, vin=VINS[0], rows_max=9)
            said = DiagnosticAnswer(id=asked.id, status=200, at=now, body={"state": "open"})
            with transaction(conn):
                assert store.accept_answer(conn, ids, vin=VINS[0], answer=said, now=now)
        wanted: list[tuple[str, Any, str]] = [
            ("ole", "POST", "/components/brake/locks"),
            ("ines", "POST", "/components/gateway/locks"),
            ("ole", "DELETE", "/components/brake/faults"),
            ("ole", "GET", "/functions/vehicle-health"),
        ]
        jobs = []
        for second, (account, method, path) in enumerate(wanted):
            with transaction(conn):
                jobs.append(
                    store.queue_request(
                        conn, ids, vin=VINS[0], account=account, method=method, path=path, body={},
                        now=now + timedelta(milliseconds=second),
                    )
                )  # fmt: skip
        with transaction(conn):  # all were sent, and nobody listened; the clearing is due first
            for job, wait_s in zip(jobs, (30, 30, -1, 30), strict=True):
                store.note_sent(conn, job_id=job.id, next_at=now + timedelta(seconds=wait_s))
        assert due(conn) == [("POST", "/components/brake/locks"), ("DELETE", "/components/brake/faults")]


def test_a_fleet_operators_account_keeps_no_permission_for_when_it_is_promoted(pg_url: str) -> None:
    with connect(pg_url) as conn:
        token_of(conn, "admin", Role.ADMIN)
        token_of(conn, "ole", Role.OPERATOR, permission="service")
        for role in (Role.FLEET, Role.OPERATOR):
            accounts_store.change_account(
                conn,
                SystemIds(),
                name="ole",
                role=role,
                disabled=None,
                actor="admin",
                now=SystemClock().now(),
            )
        assert store.read_permission(conn, "ole") == ""


@pytest.mark.parametrize(
    ("subject", "payload"),
    [
        ("ringroad.v1.RRDAGN00000000001.telemetry", b'{"id":"a","status":200,"at":"2026-11-26T00:00:00Z"}'),
        ("ringroad.v1.nobody.diagnostics.answer", b'{"id":"a","status":200,"at":"2026-11-26T00:00:00Z"}'),
        ("ringroad.v1.RRDAGN00000000001.diagnostics.answer", b"{"),
        (
            "ringroad.v1.RRDAGN00000000001.diagnostics.answer",
            b'{"id":"a","status":2000,"at":"2026-11-26T00:00:00Z"}',
        ),
        (
            "ringroad.v1.RRDAGN00000000001.diagnostics.answer",
            b'{"id":"a","status":200,"at":"2026-11-26T00:00:00Z","body":{"x":"\\u0000"}}',
        ),
        ("ringroad.v1.RRDAGN00000000001.diagnostics.answer", b" " * (257 * 1024) + b"{}"),
    ],
)
def test_what_is_no_answer_is_dropped(subject: str, payload: bytes) -> None:
    assert read_answer(subject, payload) is None
    good = b'{"id":"a","status":200,"at":"2026-11-26T00:00:00Z"}'
    assert read_answer("ringroad.v1.RRDAGN00000000001.diagnostics.answer", good) is not None
    assert msgspec.json.decode(good, type=DiagnosticAnswer).final


def test_old_requests_are_deleted_with_what_they_told_and_what_waits_is_not(pg_url: str) -> None:
    now, ids = SystemClock().now(), SystemIds()
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)  # else nobody could administer
        token_of(conn, "ole", Role.OPERATOR, permission="service")
        for days in (JOB_DAYS_KEPT + 1, JOB_DAYS_KEPT - 1):
            at = now - timedelta(days=days)
            with transaction(conn):
                store.open_session(
                    conn, ids, vin=VINS[0], account="ole", scope="read", minutes=60, reason="a hum", now=at
                )
                [opening] = store.read_jobs(conn, vin=VINS[0], rows_max=1)
                opened = DiagnosticAnswer(
                    id=opening.id, status=200, at=at, body={"state": "open", "consent": "test"}
                )
                assert store.accept_answer(conn, ids, vin=VINS[0], answer=opened, now=at)
                asked = store.queue_request(
                    conn, ids, vin=VINS[0], account="ole", method="POST",
                    path="/components/brake/cyclic-subscriptions", body={}, now=at,
                )  # fmt: skip
                event = {"number": 1, "at": at.isoformat(), "values": {"F195": {"value": 1}}}
                for body, kept in (
                    ({"event": event}, True),
                    ({"event": event}, False),
                    ({"event": {}}, False),
                    ({}, False),
                ):
                    told = DiagnosticAnswer(id=asked.id, status=206, at=at, final=False, body=body)
                    assert store.accept_answer(conn, ids, vin=VINS[0], answer=told, now=at) is kept
                    assert not store.accept_answer(conn, ids, vin=VINS[1], answer=told, now=at)
                store.close_session(conn, ids, vin=VINS[0], account="ole", now=at)
        with transaction(conn):
            store.sweep(conn, ids, now=now)
        with transaction(conn):
            store.sweep(conn, ids, now=now)
        left = store.read_jobs(conn, vin=VINS[0], rows_max=20)
        assert {(now - each.made_at).days for each in left} == {JOB_DAYS_KEPT - 1}
        samples = conn.execute("SELECT count(*) AS n FROM diagnostic_sample").fetchone()
        assert samples == {"n": 1}
        forgotten = [
            each
            for each in read_facts(conn, subject="diagnostics")
            if each.kind is FactKind.DIAGNOSIS_FORGOTTEN
        ]
        assert sum(each.body["requests"] for each in forgotten) == 3


def test_chunks_of_bulk_data_are_emptied_within_hours_and_in_no_list(pg_url: str) -> None:
    now, ids = SystemClock().now(), SystemIds()
    with connect(pg_url) as conn:
        born(conn)
        token_of(conn, "admin", Role.ADMIN)  # else nobody could administer
        token_of(conn, "ole", Role.OPERATOR, permission="service")
        with transaction(conn):
            store.open_session(
                conn, ids, vin=VINS[0], account="ole", scope="read", minutes=60, reason="a hum", now=now
            )
            [opening] = store.read_jobs(conn, vin=VINS[0], rows_max=1)
            opened = DiagnosticAnswer(
                id=opening.id, status=200, at=now, body={"state": "open", "consent": "test"}
            )
            store.accept_answer(conn, ids, vin=VINS[0], answer=opened, now=now)
            jobs = {}
            for path in ("/bulk-data/log/newest", "/bulk-data/log"):
                job = store.queue_request(
                    conn, ids, vin=VINS[0], account="ole", method="GET", path=path, body={}, now=now
                )
                answer = DiagnosticAnswer(id=job.id, status=200, at=now, body={"data": "x"})
                store.accept_answer(conn, ids, vin=VINS[0], answer=answer, now=now)
                jobs[path] = job.id
        listed = {each.path: each.answer for each in store.read_jobs(conn, vin=VINS[0], rows_max=9)}
        assert (listed["/bulk-data/log/newest"], listed["/bulk-data/log"]) == (None, {"data": "x"})
        assert store.read_job(conn, vin=VINS[0], job_id=jobs["/bulk-data/log/newest"]).answer == {"data": "x"}
        with transaction(conn):
            store.sweep(conn, ids, now=now + timedelta(seconds=BULK_ANSWER_S + 1))
        kept = {path: store.read_job(conn, vin=VINS[0], job_id=each).answer for path, each in jobs.items()}
        assert kept == {"/bulk-data/log/newest": None, "/bulk-data/log": {"data": "x"}}
