"""Breakdowns and quality stops over the API: the line replans, the twin knows, events count once, bad ones change nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.build import store, store_plant
from ringroad.build.plan_line import ScheduleDocument
from ringroad.build.store_stops import OPEN_MAX, begin_stop, end_stop, get_stop
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.loop.planning import answer_questions, improve_changed
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import latest_fact
from support.console_server import add_account, serving

pytestmark = [pytest.mark.engines, pytest.mark.timeout(400)]  # the first answer on a machine compiles

EXAMPLE = (Path(__file__).parents[2] / "examples" / "road" / "programme.toml").read_text()
CLOCK, IDS = SystemClock(), SystemIds()
STOPS = "/api/v1/programmes/roadster/line-stops"
SCHEDULES = "/api/v1/programmes/roadster/schedules"
FACTS = "/api/v1/facts"


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        with transaction(opened):
            store.import_programme(opened, IDS, source=EXAMPLE, actor="tester", now=CLOCK.now())
            opened.execute(
                "INSERT INTO release (id, programme_id, name, version, state, document, created_by, created_at, signed_at)"
                " VALUES ('release_1', 'roadster', 'R', '1', 'signed', '{}', 'tester', now(), now())"
            )
            opened.execute(
                "INSERT INTO line_baseline (programme_id, release_id, packages, set_at)"
                """ VALUES ('roadster', 'release_1', '{"city": {}}', now())"""
            )
        yield opened


@dataclass(frozen=True, kw_only=True)
class People:
    operator: httpx.Client
    approver: httpx.Client
    viewer: httpx.Client


@pytest.fixture
def people(pg_url: str, conn: Connection, tmp_path: Path) -> Iterator[People]:
    tokens = [
        add_account(pg_url, name, role)
        for name, role in (("olga", Role.OPERATOR), ("anna", Role.APPROVER), ("vera", Role.VIEWER))
    ]
    with serving(pg_url, tmp_path) as origin:
        clients = [
            httpx.Client(base_url=origin, headers={"Authorization": f"Bearer {token}"}) for token in tokens
        ]
        operator, approver, viewer = clients
        yield People(operator=operator, approver=approver, viewer=viewer)
        for client in clients:
            client.close()


def begin(client: httpx.Client, station: str = "roof", **more: Any) -> httpx.Response:
    return client.post(STOPS, json={"station": station, "reason": "robot 3"} | more)


def newest(client: httpx.Client) -> dict[str, Any]:
    row: dict[str, Any] = client.get(SCHEDULES).json()[0]
    return row


def schedule(conn: Connection, due: list[datetime | None]) -> None:
    with transaction(conn):
        ids = [
            store_plant.add_order(
                conn, IDS, programme_id="roadster", variant="city", actor="tester", now=CLOCK.now(), due_at=at
            ).id
            for at in due
        ]
        document = ScheduleDocument(
            sequence=tuple(ids),
            held=(),
            violations=0,
            late_orders=0,
            baseline_release_id="release_1",
            frozen=0,
        )
        store_plant.save_schedule(
            conn, IDS, programme_id="roadster", generation=0, cause="new_orders", document=document,
            replan_latency_us=1, actor="tester", now=CLOCK.now(),
        )  # fmt: skip


def test_a_station_that_is_told_to_stand_once_more_has_one_stop_that_ends_once(people: People) -> None:
    first = begin(people.operator, expected_s=900).json()
    again = begin(people.approver, event_id="plc-7/1", reason="E-stop", began_at=first["began_at"])
    assert (again.status_code, again.json()) == (201, first)
    causes = ["breakdown"]
    assert [each["cause"] for each in people.viewer.get(SCHEDULES).json()] == causes, "planned anew once"
    quality = begin(people.operator, kind="quality").json()
    glass = begin(people.operator, options=["sunroof"]).json()
    assert len({first["id"], quality["id"], glass["id"]}) == 3, "another kind, other options"
    end = people.operator.post(f"/api/v1/line-stops/{first['id']}/end", json={})
    assert end.status_code == 200, end.text
    standing = people.viewer.get(STOPS, params={"only_open": True}).json()
    assert {each["id"] for each in standing} == {quality["id"], glass["id"]}
    ids = {first["id"], begin(people.operator).json()["id"]}
    assert len(ids) == 2, "it stands again"


def test_a_stop_that_is_told_late_is_the_one_that_stood_then(conn: Connection) -> None:
    now = CLOCK.now()
    told: dict[str, Any] = {
        "programme_id": "roadster", "station": "roof", "kind": "breakdown", "reason": "x", "actor": "a",
    }  # fmt: skip
    with transaction(conn):
        first, _ = begin_stop(conn, IDS, **told, now=now - timedelta(minutes=9), event_id="1")
        end_stop(conn, IDS, stop_id=first.id, actor="a", now=now - timedelta(minutes=5))
        late = begin_stop(conn, IDS, **told, now=now, began_at=now - timedelta(minutes=8), event_id="2")
        assert late == (get_stop(conn, first.id), False)
        close = now - timedelta(minutes=5, seconds=3)  # clocks differ: it may have stopped again
        assert begin_stop(conn, IDS, **told, now=now, began_at=close, event_id="3")[1]


def test_a_breakdown_replans_the_line_and_its_end_does_again_and_each_fact_names_its_cause(
    people: People, conn: Connection
) -> None:
    stop = begin(people.operator, expected_s=900)
    assert (stop.status_code, stop.json()["kind"], stop.json()["stopped_by"]) == (201, "breakdown", "olga")
    row = newest(people.viewer)
    assert (row["cause"], row["document"]["stopped"]) == ("breakdown", {"roof": "breakdown: robot 3"})
    stopped = latest_fact(conn, kind=FactKind.STATION_STOPPED, subject=stop.json()["id"])
    replanned = latest_fact(conn, kind=FactKind.SCHEDULE_REPLANNED, subject="roadster")
    assert stopped
    assert replanned
    assert stopped.id in replanned.causes
    assert stopped.body["station"] == "roof"
    ended = people.operator.post(f"/api/v1/line-stops/{stop.json()['id']}/end", json={})
    assert (ended.status_code, ended.json()["ended_by"]) == (200, "olga")
    row = newest(people.viewer)
    assert (row["generation"], row["cause"]) == (2, "station_resumed")
    assert "stopped" not in row["document"]
    resumed = latest_fact(conn, kind=FactKind.STATION_RESUMED, subject=stop.json()["id"])
    assert resumed
    assert resumed.causes == (stopped.id,)
    assert people.viewer.get(STOPS, params={"only_open": True}).json() == []
    assert len(people.viewer.get(STOPS).json()) == 1


def test_how_long_a_station_stands_is_the_programmes_word_if_nobody_says(people: People) -> None:
    assert begin(people.operator).json()["expected_s"] == 1_800
    assert begin(people.operator, "wheels", expected_s=60).json()["expected_s"] == 60


def test_a_quality_stop_for_an_option_holds_its_orders_and_only_an_approver_lifts_it(people: People) -> None:
    stop = begin(people.operator, kind="quality", options=["sunroof"], reason="glass cracks")
    people.operator.post(
        "/api/v1/orders", json={"programme_id": "roadster", "variant": "city", "options": ["sunroof"]}
    )
    end = f"/api/v1/line-stops/{stop.json()['id']}/end"
    assert "stopped" not in newest(people.viewer)["document"]
    assert people.operator.post(end, json={}).status_code == 403
    (held,) = newest(people.viewer)["document"]["held"]
    assert held["reason"] == "sunroof is blocked: roof, quality stop: glass cracks"
    assert people.viewer.post(end, json={}).status_code == 403
    assert people.approver.post(end, json={}).status_code == 200
    document = newest(people.viewer)["document"]
    assert (len(document["sequence"]), document["held"]) == (1, [])


def test_an_event_counts_once_and_is_never_another_one(people: People) -> None:
    began = CLOCK.now() - timedelta(minutes=3)
    event = {"event_id": "plc-7/118", "began_at": began.isoformat()}
    first = begin(people.operator, **event)
    assert begin(people.operator, **event).json() == first.json()
    other = begin(people.operator, "wheels", **event)
    assert other.status_code == 409
    assert "was a breakdown of roof" in other.text
    moved = begin(people.operator, event_id="plc-7/118", began_at=CLOCK.now().isoformat())
    assert moved.status_code == 409
    end = f"/api/v1/line-stops/{first.json()['id']}/end"
    ended = people.operator.post(end, json={}).json()
    assert people.operator.post(end, json={}).json() == ended
    assert newest(people.viewer)["generation"] == 2
    assert begin(people.operator, **event).json() == ended


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"station": "nowhere"}, 422, "no station 'nowhere'"),
        ({"options": ["wings"]}, 422, "no such option or variant"),
        ({"reason": " "}, 400, ""),
        ({"reason": ""}, 400, ""),
        ({"kind": "strike"}, 400, ""),
        ({"expected_s": 0}, 400, ""),
        ({"expected_s": 10**9}, 400, ""),
        ({"began_at": "2026-01-01T00:00:00"}, 400, ""),
        ({"began_at": "2026-01-01T00:00:00Z"}, 422, "unnoticed"),
        ({"began_at": "in an hour"}, 422, "in the future"),
        ({"more": 1}, 400, ""),
    ],
)
def test_a_stop_that_cannot_be_is_refused_and_the_running_schedule_stays(
    people: People, body: dict[str, Any], status: int, words: str
) -> None:
    if (
        body.get("began_at") == "in an hour"
    ):  # by the time at which this runs, not at which tests are collected
        body = {"began_at": (CLOCK.now() + timedelta(hours=1)).isoformat()}
    answer = begin(people.operator, **body)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert people.viewer.get(STOPS).json() == []
    assert people.viewer.get(SCHEDULES).json() == []


def test_a_stop_cannot_end_before_it_began_or_in_the_future(people: People) -> None:
    stop = begin(people.operator).json()
    for at in (
        datetime.fromisoformat(stop["began_at"]) - timedelta(seconds=1),
        CLOCK.now() + timedelta(hours=1),
    ):
        answer = people.operator.post(
            f"/api/v1/line-stops/{stop['id']}/end", json={"ended_at": at.isoformat()}
        )
        assert answer.status_code == 422, answer.text
        assert "roof cannot go on" in answer.text
    assert people.operator.post("/api/v1/line-stops/stop_none/end", json={}).status_code == 404
    assert begin(people.viewer).status_code == 403
    assert len(people.viewer.get(STOPS, params={"only_open": True}).json()) == 1


def test_stops_that_nobody_ends_have_a_limit(conn: Connection) -> None:
    who: dict[str, Any] = {"actor": "tester", "now": CLOCK.now()}
    told: dict[str, Any] = {"programme_id": "roadster", "station": "roof", "reason": "r"}
    names = ("sunroof", "tow_bar", "air_suspension", "night_vision", "city", "premium")
    subsets = [each for n in range(len(names)) for each in itertools.combinations(names, n)]
    kinds = itertools.product(("breakdown", "quality"), subsets)
    some: list[dict[str, Any]] = [{"kind": kind, "options": each} for kind, each in kinds][: OPEN_MAX + 1]
    with transaction(conn):
        stops = [begin_stop(conn, IDS, **told, **what, **who)[0] for what in some[:OPEN_MAX]]
    with transaction(conn), pytest.raises(Conflict, match=f"{OPEN_MAX} stops"):
        begin_stop(conn, IDS, **told, **some[OPEN_MAX], **who)
    with transaction(conn):
        assert end_stop(conn, IDS, stop_id=stops[0].id, **who)[1]
        assert begin_stop(conn, IDS, **told, **some[0], **who)[1]


def test_the_twin_knows_what_stands_when_a_question_is_asked_and_when_a_plan_is_judged(
    people: People, conn: Connection
) -> None:
    """The same half hour asked about a station that stands for a whole one changes nothing."""
    schedule(conn, [None] * 12)
    begin(people.operator, expected_s=3_600)
    people.operator.post("/api/v1/programmes/roadster/what-ifs", json={"station": "roof", "down_s": 1_800})
    assert answer_questions(conn, CLOCK) == 1
    (row,) = people.viewer.get("/api/v1/programmes/roadster/what-ifs").json()
    assert row["answer"]["refused"] == ""
    assert row["answer"]["later_s"] == 0
    assert row["answer"]["end_s"][0] > 3_600


def test_what_stands_at_a_station_that_the_line_has_no_more_delays_nothing_and_is_still_listed(
    people: People, conn: Connection
) -> None:
    schedule(conn, [None] * 3)
    assert begin(people.operator, expected_s=3_600).status_code == 201
    begin(people.operator, kind="quality", options=["sunroof"], reason="glass cracks")
    assert newest(people.viewer)["document"]["stopped"] == {"roof": "breakdown: robot 3"}
    renamed = EXAMPLE.replace('name = "roof"', 'name = "top"')
    assert renamed != EXAMPLE
    with transaction(conn):
        store.import_programme(conn, IDS, source=renamed, actor="tester", now=CLOCK.now(), generation=1)
    people.operator.post(
        "/api/v1/orders", json={"programme_id": "roadster", "variant": "city", "options": ["sunroof"]}
    )
    document = newest(people.viewer)["document"]
    assert "stopped" not in document
    assert [held["reason"] for held in document["held"]] == [
        "sunroof is blocked: roof, quality stop: glass cracks"
    ]
    people.operator.post("/api/v1/programmes/roadster/what-ifs", json={"station": "top", "down_s": 1_800})
    assert answer_questions(conn, CLOCK) == 1
    (row,) = people.viewer.get("/api/v1/programmes/roadster/what-ifs").json()
    assert row["answer"]["refused"] == ""
    listed = people.viewer.get(STOPS, params={"only_open": True}).json()
    assert [stop["station"] for stop in listed] == ["roof", "roof"]


def test_after_a_breakdown_the_search_puts_those_first_that_can_still_be_in_time(
    people: People, conn: Connection
) -> None:
    """In time without the stop, so nothing was to be gained; with it the twin releases another sequence."""
    now = CLOCK.now()
    schedule(conn, [None] * 14 + [now + timedelta(minutes=32)] * 3)
    seen: dict[str, int] = {}
    assert improve_changed(conn, IDS, CLOCK, seen) == []
    begin(people.operator, expected_s=20 * 60)
    made = improve_changed(conn, IDS, CLOCK, seen)
    assert [(each.cause, each.document.stopped) for each in made] == [
        ("improved", {"roof": "breakdown: robot 3"})
    ]
    ids = [order.id for order in store_plant.waiting_orders(conn, programme_id="roadster") if order.due_at]
    places = sorted(made[0].document.sequence.index(each) for each in ids)
    assert places[0] < 14
