"""Events of stations come through the stream: taken once and in order, or refused with a reason; the plan stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import msgspec
import pytest

from ringroad.build import store_plant
from ringroad.build.plant import store_events
from ringroad.build.plant.store_events import (
    SNAPSHOT_EVENTS,
    line_state,
    list_refused,
    standing_line,
    take_events,
)
from ringroad.build.store import import_programme
from ringroad.build.store_stops import end_stop, open_stops
from ringroad.http.auth import Role
from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.loop.mes import land_events
from ringroad.protocol.mes import MesEvent
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.streams import MES, StreamMessage, publish
from support.console_server import add_account, serving
from support.mes import CLOCK, IDS, PROGRAMME, emptied, new_order, reading, wren

pytestmark = pytest.mark.engines

SUBJECT = "ringroad.mes.v1.wren"
WAIT_S = 60.0


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        with transaction(opened):
            wren(opened)
        yield opened


def order(conn: Connection) -> str:
    with transaction(conn):
        return new_order(conn)


def event(kind: Any, station: str, order_id: str = "", *, after_s: float = 0, **more: Any) -> MesEvent:
    return MesEvent(
        id=f"{kind}-{station}-{order_id}", kind=kind, station=station, order_id=order_id,
        at=CLOCK.now() + timedelta(seconds=after_s), **more,
    )  # fmt: skip


def message(seq: int, sent: MesEvent | bytes, subject: str = SUBJECT) -> StreamMessage:
    payload = sent if isinstance(sent, bytes) else msgspec.json.encode(sent)
    at = datetime(2027, 1, 1, tzinfo=UTC) + timedelta(seconds=seq)  # of the broker, after every station's
    return StreamMessage(subject=subject, payload=payload, seq=seq, received_at=at)


def until(found: Callable[[], bool]) -> None:
    deadline = monotonic() + WAIT_S
    while not found():
        assert monotonic() < deadline
        sleep(0.05)


def test_events_told_over_the_api_come_through_the_stream_to_the_line(
    conn: Connection, pg_url: str, nats_url: str, tmp_path: Path
) -> None:
    asyncio.run(emptied(nats_url))
    one, token = order(conn), add_account(pg_url, "olga", Role.OPERATOR)
    future = event("entered", "marriage", one, after_s=600)
    told = [
        event("entered", "marriage", one),
        event("used", "marriage", one, part="battery", lot="B-17"),
        event("left", "marriage", one, worked_s=61.5),
        event("left", "marriage", one, worked_s=61.5),
        msgspec.structs.replace(future, id="ahead"),
        event("entered", "roof", one),
    ]
    told[3] = told[2]  # the same again
    with serving(pg_url, tmp_path, nats_url=nats_url) as origin, reading(nats_url, pg_url):
        client = httpx.Client(
            base_url=f"{origin}/api/v1/programmes/wren", headers={"Authorization": f"Bearer {token}"}
        )
        answer = client.post("/mes-events", json={"events": msgspec.to_builtins(told)})
        assert (answer.status_code, answer.json()) == (202, {"accepted": 6})
        until(lambda: len(client.get("/refused-events").json()) == 3)
        state = client.get("/line-state").json()
        assert state["position"] == 3
        assert [(each["name"], each["behind"], each["left"]) for each in state["stations"]] == [
            ("marriage", [one], 1),
            ("flash_and_test", [], 0),
        ]
        refused = {each["code"]: each for each in client.get("/refused-events").json()}
        assert set(refused) == {"duplicate", "future", "unknown_station"}
        assert f"order {one} at marriage came before" in refused["duplicate"]["reason"]
        assert f"order {one} cannot have entered marriage" in refused["future"]["reason"]
        assert "no station 'roof'" in refused["unknown_station"]["reason"]
        lost = msgspec.json.decode(refused["future"]["raw"], type=MesEvent)
        assert lost == told[4]  # nothing of it is lost
        assert client.get("/twin").json()["stations"][0]["vehicles"] == 1  # a measured time
        other = msgspec.structs.replace(told[2], worked_s=62.5)
        client.post("/mes-events", json={"events": [msgspec.to_builtins(other)]})
        until(lambda: len(client.get("/refused-events").json()) == 4)
        reason = client.get("/refused-events").json()[0]["reason"]
        assert (
            reason == f"event {other.id}, left of order {one} at marriage, came before with another worked_s"
        )
        unknown = client.post("/mes-events", json={"events": [msgspec.to_builtins(other) | {"kind": "went"}]})
        assert unknown.status_code == 400
        assert "$.events[0].kind" in unknown.json()["error"]["message"]
        assert "openapi.json" in unknown.json()["error"]["hint"]
        branch = client.post(
            "/line-state/branches",
            json={"events": msgspec.to_builtins([event("left", "flash_and_test", one, after_s=3_600)])},
        ).json()
        assert (branch["state"]["built"], branch["refused"]) == (1, [])
        assert client.get("/line-state").json() == state
        assert client.get("/line-state", params={"position": 1}).json()["stations"][0]["inside"] == [one]
        assert client.get("/line-state", params={"position": 99}).status_code == 404
        assert client.post("/mes-events", json={"events": [{"kind": "entered"}]}).status_code == 400
        client.close()
    assert store_plant.get_order(conn, one).state == "building"


def test_a_message_that_is_delivered_again_counts_once_and_nothing_is_lost(conn: Connection) -> None:
    one = order(conn)
    told = [
        message(1, event("entered", "marriage", one)),
        message(2, b"{not json"),
        message(3, event("left", "marriage", one)),
    ]
    land_events(conn, IDS, CLOCK, told[:2])
    land_events(conn, IDS, CLOCK, told)
    land_events(conn, IDS, CLOCK, told)
    assert line_state(conn, "wren").position == 2
    assert [(each.code, each.raw) for each in list_refused(conn, "wren")] == [("unreadable", b"{not json")]


def test_a_stop_replans_and_what_contradicts_the_record_changes_nothing(conn: Connection) -> None:
    one = order(conn)
    before = store_plant.current_schedule(conn, "wren")
    land_events(
        conn,
        IDS,
        CLOCK,
        [
            message(1, event("left", "marriage", one)),  # never entered
            message(2, event("entered", "marriage", "order_nobody")),
            message(3, event("stopped", "marriage", reason="robot 3", options=["no_such"])),
            message(4, event("entered", "marriage", one, after_s=-86_400)),
            message(5, event("entered", "marriage", one), subject="ringroad.mes.v1.nowhere"),
        ],
    )
    assert store_plant.current_schedule(conn, "wren") == before
    assert line_state(conn, "wren").position == 0
    reasons = [each.reason for each in reversed(list_refused(conn, "wren"))]
    assert "is open: it never entered the line" in reasons[0]
    assert "there is no order order_nobody" in reasons[1]
    assert "marriage cannot stand for 'no_such'" in reasons[2]
    assert f"marriage had order {one} before it was received" in reasons[3]
    assert [each.code for each in list_refused(conn, "nowhere")] == ["no_programme"]

    land_events(conn, IDS, CLOCK, [message(6, event("stopped", "marriage", reason="robot 3"))])
    stopped = store_plant.current_schedule(conn, "wren")
    assert stopped is not None
    assert (stopped.cause, dict(stopped.document.stopped)) == (
        "breakdown",
        {"marriage": "breakdown: robot 3"},
    )
    land_events(conn, IDS, CLOCK, [message(7, event("resumed", "marriage"))])
    resumed = store_plant.current_schedule(conn, "wren")
    assert resumed is not None
    assert (resumed.cause, dict(resumed.document.stopped)) == ("station_resumed", {})


def test_a_stop_that_a_person_ended_stands_no_more_and_may_come_again(conn: Connection) -> None:
    land_events(conn, IDS, CLOCK, [message(1, event("stopped", "marriage", reason="robot 3"))])
    (stop,) = open_stops(conn, programme_id="wren")
    with transaction(conn):
        end_stop(conn, IDS, stop_id=stop.id, actor="olga", now=CLOCK.now())
    assert standing_line(conn, "wren").stations["marriage"].stopped == ""
    land_events(
        conn,
        IDS,
        CLOCK,
        [message(2, msgspec.structs.replace(event("stopped", "marriage", reason="robot 4"), id="again"))],
    )
    assert list_refused(conn, "wren") == []
    assert [each.reason for each in open_stops(conn, programme_id="wren")] == ["robot 4"]
    assert standing_line(conn, "wren").stations["marriage"].stopped == "robot 4"


def test_a_station_goes_on_that_a_person_let_go_on_before_another_stopped(conn: Connection) -> None:
    land_events(conn, IDS, CLOCK, [message(1, event("stopped", "marriage", reason="robot 3"))])
    (stop,) = open_stops(conn, programme_id="wren")
    with transaction(conn):
        end_stop(conn, IDS, stop_id=stop.id, actor="olga", now=CLOCK.now())
    told = [event("stopped", "flash_and_test", reason="probe"), event("resumed", "marriage")]
    land_events(conn, IDS, CLOCK, [message(2 + n, each) for n, each in enumerate(told)])
    assert list_refused(conn, "wren") == []
    assert [each.station for each in open_stops(conn, programme_id="wren")] == ["flash_and_test"]


def test_a_hub_follows_a_vehicle_where_its_site_took_it(conn: Connection) -> None:
    one = order(conn)
    told = [
        message(1 + n, event("entered", station, one, after_s=n / 1000))
        for n, station in enumerate(("flash_and_test", "marriage"))
    ]
    with transaction(conn):
        take_events(conn, IDS, CLOCK, programme_id="wren", messages=told[:1])
        heard = take_events(conn, IDS, CLOCK, programme_id="wren", messages=told[1:], replans=False)
    assert (heard.taken, heard.refused) == (1, 0)
    assert line_state(conn, "wren").vehicles[one].station == "marriage"


def test_a_vehicle_that_is_born_stands_in_the_line_no_more(conn: Connection) -> None:
    one = order(conn)
    land_events(conn, IDS, CLOCK, [message(1, event("entered", "marriage", one))])
    assert set(standing_line(conn, "wren").vehicles) == {one}
    conn.execute("UPDATE plant_order SET state = 'born', vin = 'WRN00000000000001' WHERE id = %s", [one])
    assert set(standing_line(conn, "wren").vehicles) == set()


def test_vehicles_on_a_line_that_a_site_takes_over_stay_in_their_order(conn: Connection) -> None:
    with transaction(conn):
        one, two, three = (new_order(conn) for _ in range(3))
        for each in (one, two, three):
            store_plant.start_order(conn, IDS, order_id=each, actor="tester", now=CLOCK.now())
        made = store_plant.replan(
            conn, IDS, CLOCK, programme_id="wren", cause="new_orders", actor="tester",
            triggered_s=CLOCK.monotonic_s(), triggered_at=CLOCK.now(), parent=[three, one, two],
        )  # fmt: skip
    assert made.document.sequence == (three, one, two)


def test_a_quality_stop_is_not_lifted_by_a_station(conn: Connection) -> None:
    land_events(
        conn,
        IDS,
        CLOCK,
        [
            message(1, event("stopped", "marriage", reason="glass cracks", quality=True)),
            message(2, event("resumed", "marriage")),
        ],
    )
    assert [each.reason for each in list_refused(conn, "wren")] == [
        "marriage stands for quality: an approver lifts that"
    ]
    assert line_state(conn, "wren").stations["marriage"].stopped == "glass cracks"


def test_a_line_that_gets_a_station_later_changes_nothing_of_where_its_vehicles_were(
    conn: Connection,
) -> None:
    one = order(conn)
    way = [
        ("entered", "marriage"),
        ("left", "marriage"),
        ("entered", "flash_and_test"),
        ("left", "flash_and_test"),
    ]
    told = [
        message(1 + n, event(kind, station, one, after_s=n / 1000)) for n, (kind, station) in enumerate(way)
    ]
    land_events(conn, IDS, CLOCK, told)
    before = line_state(conn, "wren")
    assert (before.built, dict(before.vehicles)) == (1, {})
    longer = PROGRAMME.replace(
        "# At most one", '[[line.stations]]\nname = "polish"\ncycle_s = 50\n\n# At most one'
    )
    with transaction(conn):
        import_programme(conn, IDS, source=longer, actor="tester", now=CLOCK.now(), generation=1)
    assert line_state(conn, "wren") == before


def test_a_stop_is_kept_though_the_line_cannot_be_planned_anew(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InvalidInput("no plan for this")

    monkeypatch.setattr(store_events, "replan", refuse)
    land_events(conn, IDS, CLOCK, [message(1, event("stopped", "marriage", reason="robot 3"))])
    assert list_refused(conn, "wren") == []
    assert line_state(conn, "wren").stations["marriage"].stopped == "robot 3"
    assert [each.station for each in open_stops(conn, programme_id="wren")] == ["marriage"]


def test_the_state_is_resumed_from_the_newest_that_is_kept(conn: Connection) -> None:
    one = order(conn)
    first = event("entered", "marriage", one)
    told = [message(1, first)]
    told += [
        message(
            2 + n,
            msgspec.structs.replace(
                first, id=f"check-{n}", kind="result", check="torque", passed=n % 2 == 0,
                at=first.at + timedelta(milliseconds=n),
            ),
        )
        for n in range(SNAPSHOT_EVENTS + 20)
    ]  # fmt: skip
    for cut in range(0, len(told), 256):
        with transaction(conn):
            take_events(conn, IDS, CLOCK, programme_id="wren", messages=told[cut : cut + 256])
    kept = conn.execute("SELECT position FROM line_state WHERE programme_id = 'wren' ORDER BY 1").fetchall()
    assert [row["position"] for row in kept] == [256, len(told)], "the last of each 500, and the newest"
    newest = line_state(conn, "wren")
    assert newest.position == len(told)
    with transaction(conn):
        conn.execute("DELETE FROM line_state")
    whole = line_state(conn, "wren")  # from the first event
    assert whole == newest
    assert replace(whole, position=0) != whole


def test_a_stream_that_does_not_answer_is_said_so_and_nothing_is_taken_for_told() -> None:
    with pytest.raises(Unavailable, match="takes nothing now"):
        asyncio.run(publish("nats://127.0.0.1:1", [(SUBJECT, b"{}")], place=MES))
