"""A planner asks what the schedule would do if a station stood; the worker answers; nothing follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ringroad.build import store, store_plant
from ringroad.build.plan_line import ScheduleDocument
from ringroad.build.plant.store_events import take_events
from ringroad.build.store_what_if import KEPT, OPEN_MAX, answer_what_if
from ringroad.build.twin.what_if import StopEffect
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.planning import answer_questions
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.streams import StreamMessage
from support.console_server import add_account, serving

pytestmark = [pytest.mark.engines, pytest.mark.timeout(400)]  # the first answer on a machine compiles

EXAMPLE = (Path(__file__).parents[2] / "examples" / "road" / "programme.toml").read_text()
CLOCK, IDS = SystemClock(), SystemIds()
ASK = "/api/v1/programmes/roadster/what-ifs"


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        with transaction(opened):
            store.import_programme(opened, IDS, source=EXAMPLE, actor="tester", now=CLOCK.now())
        yield opened


@pytest.fixture
def client(pg_url: str, conn: Connection, tmp_path: Path) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'olga', Role.OPERATOR)}"}
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=origin, headers=headers) as opened:
        yield opened


def schedule(conn: Connection) -> None:
    with transaction(conn):
        ids = [
            store_plant.add_order(
                conn, IDS, programme_id="roadster", variant="city", actor="tester", now=CLOCK.now()
            ).id
            for _ in range(12)
        ]
        document = ScheduleDocument(
            sequence=tuple(ids), held=(), violations=0, late_orders=0, baseline_release_id=None, frozen=0
        )
        store_plant.save_schedule(
            conn, IDS, programme_id="roadster", generation=0, cause="new_orders", document=document,
            replan_latency_us=1, actor="tester", now=CLOCK.now(),
        )  # fmt: skip


def facts(client: httpx.Client) -> int:
    return len(client.get("/api/v1/facts", params={"limit": 1000}).json())


def test_a_question_is_answered_by_the_worker_and_changes_nothing(
    client: httpx.Client, conn: Connection
) -> None:
    schedule(conn)
    before = facts(client)
    asked = client.post(ASK, json={"station": "roof", "down_s": 1800})
    assert (asked.status_code, asked.json()["answer"], asked.json()["asked_by"]) == (201, None, "olga")
    assert answer_questions(conn, CLOCK) == 1
    (row,) = client.get(ASK).json()
    assert (row["id"], row["generation"], row["answered_at"] is not None) == (asked.json()["id"], 1, True)
    assert row["answer"]["refused"] == ""
    assert row["answer"]["vehicles"] == 12
    assert 1_000 < row["answer"]["later_s"] <= 1_800
    assert answer_questions(conn, CLOCK) == 0
    assert facts(client) == before
    assert store_plant.current_schedule(conn, "roadster").generation == 1  # type: ignore[union-attr]


def test_a_question_about_a_state_of_before_is_answered_from_there(
    client: httpx.Client, conn: Connection
) -> None:
    schedule(conn)
    first, *_ = store_plant.current_schedule(conn, "roadster").document.sequence  # type: ignore[union-attr]
    for seq, kind in enumerate(("entered", "left"), start=1):
        told = {"id": kind, "kind": kind, "station": "roof", "order_id": first, "at": CLOCK.now().isoformat()}
        message = StreamMessage(
            subject="ringroad.mes.v1.roadster", payload=msgspec.json.encode(told), seq=seq, received_at=CLOCK.now()
        )  # fmt: skip
        with transaction(conn):
            taken = take_events(conn, IDS, CLOCK, programme_id="roadster", messages=[message])
        assert (taken.taken, taken.refused) == (1, 0)
    assert client.post(ASK, json={"station": "roof", "down_s": 1800, "position": 3}).status_code == 404
    assert client.post(ASK, json={"station": "roof", "down_s": 1800, "position": 0}).status_code == 400
    assert client.post(ASK, json={"station": "roof", "down_s": 1800, "position": 1}).status_code == 201
    (asked,) = client.get(ASK).json()
    assert (asked["answer"], asked["branch"]) == (None, {"position": 1, "events": []})
    assert answer_questions(conn, CLOCK) == 1
    (row,) = client.get(ASK).json()
    assert (row["branch"]["position"], row["answer"]["refused"], row["answer"]["vehicles"]) == (1, "", 12)
    assert row["answer"]["later_s"] > 0


def test_without_a_schedule_the_answer_says_so(client: httpx.Client, conn: Connection) -> None:
    client.post(ASK, json={"station": "roof", "down_s": 60})
    assert answer_questions(conn, CLOCK) == 1
    assert "no schedule" in client.get(ASK).json()[0]["answer"]["refused"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"station": "nowhere", "down_s": 60}, 422, "no station 'nowhere'"),
        ({"station": "roof", "down_s": 0}, 400, ""),
        ({"station": "roof", "down_s": -5}, 400, ""),
        ({"station": "roof", "down_s": 10**9}, 400, ""),
        ({"station": "roof"}, 400, ""),
        ({"station": "roof", "down_s": 60, "more": 1}, 400, ""),
    ],
)
def test_what_cannot_be_asked_is_refused(
    client: httpx.Client, body: dict[str, Any], status: int, words: str
) -> None:
    answer = client.post(ASK, json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert client.get(ASK).json() == []


def test_questions_that_nobody_answers_have_a_limit_and_old_ones_are_forgotten(
    client: httpx.Client, conn: Connection
) -> None:
    for _ in range(OPEN_MAX):
        assert client.post(ASK, json={"station": "roof", "down_s": 60}).status_code == 201
    assert client.post(ASK, json={"station": "roof", "down_s": 60}).status_code == 409
    effect = StopEffect(refused="for a test")
    for row in client.get(ASK, params={"limit": 100}).json():
        with transaction(conn):
            assert answer_what_if(
                conn, what_if_id=row["id"], generation=1, answer=effect.to_document(), now=CLOCK.now()
            )
            assert not answer_what_if(
                conn, what_if_id=row["id"], generation=2, answer=effect.to_document(), now=CLOCK.now()
            )
    conn.execute(
        "INSERT INTO line_what_if SELECT id || n, programme_id, station, down_s, asked_by, asked_at, generation, answer,"
        " answered_at FROM line_what_if, generate_series(1, 10) n"
    )
    conn.commit()
    assert client.post(ASK, json={"station": "roof", "down_s": 60}).status_code == 201
    rows = conn.execute("SELECT count(*) AS kept FROM line_what_if").fetchone()
    assert rows
    assert rows["kept"] == KEPT
