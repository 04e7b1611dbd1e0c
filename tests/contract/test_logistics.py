"""Shipments over the API: announced, told of, late, lost; the line replans by what is on its way, and bad ones change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ringroad.build import store, store_plant
from ringroad.build.logistics import store as shipments
from ringroad.build.logistics.milestones import Told
from ringroad.build.plant.read import read_plant
from ringroad.build.plant.store import choose_plant, save_plant
from ringroad.build.store_what_if import ask_what_if
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.facts import FactKind
from ringroad.loop.logistics import Remembered, look_at_shipments
from ringroad.loop.milestones import land_milestones, run_milestones
from ringroad.loop.planning import BROKEN, answer_questions, improve_changed
from ringroad.protocol.milestone import SUBJECT_PREFIX, MilestoneEvent
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import latest_fact
from ringroad.storage.streams import MILESTONES, StreamMessage, publish
from support.console_server import add_account, serving

pytestmark = pytest.mark.engines

FIRST = Path(__file__).parents[2] / "examples" / "first"
CLOCK, IDS = SystemClock(), SystemIds()
HERE = "/api/v1/programmes/wren"
LEG = "tow bars by sea"
REACHED = ("left supplier", "on ship", "in port", "at dock")


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        with transaction(opened):
            who: dict[str, Any] = {"actor": "tester", "now": CLOCK.now()}
            store.import_programme(opened, IDS, source=(FIRST / "programme.toml").read_text(), **who)
            always = (FIRST / "plant.toml").read_text().replace('calendar = "two shifts"\n', "", 1)
            plant = read_plant(always)  # its line does not rest: places are times, whenever this runs
            save_plant(opened, IDS, plant=plant, **who)
            choose_plant(opened, IDS, plant_id=plant.id, programme_id="wren", **who)
            opened.execute(
                "INSERT INTO release (id, programme_id, name, version, state, document, created_by, created_at, signed_at)"
                " VALUES ('release_1', 'wren', 'R', '1', 'signed', '{}', 'tester', now(), now())"
            )
            opened.execute(
                "INSERT INTO line_baseline (programme_id, release_id, packages, set_at)"
                """ VALUES ('wren', 'release_1', '{"van": {"gateway": "p1", "brake": "p2"}}', now())"""
            )
        yield opened


@dataclass(frozen=True, kw_only=True)
class People:
    operator: httpx.Client
    viewer: httpx.Client


@pytest.fixture
def people(pg_url: str, conn: Connection, tmp_path: Path) -> Iterator[People]:
    tokens = [
        add_account(pg_url, name, role) for name, role in (("olga", Role.OPERATOR), ("vera", Role.VIEWER))
    ]
    with serving(pg_url, tmp_path) as origin:
        clients = [
            httpx.Client(base_url=origin, headers={"Authorization": f"Bearer {token}"}) for token in tokens
        ]
        yield People(operator=clients[0], viewer=clients[1])
        for client in clients:
            client.close()


def at(minutes: float) -> datetime:
    return CLOCK.now() + timedelta(minutes=minutes)


def announced(client: httpx.Client, name: str = "S-1", **changes: Any) -> httpx.Response:
    body = {
        "name": name, "leg": LEG, "part": "tow_bar",
        "planned": [at(each).isoformat() for each in (-300, -200, -100, 1)],
    } | changes  # fmt: skip
    return client.post(f"{HERE}/shipments", json={"shipments": [body]})


def tell(client: httpx.Client, *events: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(f"{HERE}/milestones", json={"milestones": list(events)})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def event(milestone: str, when: datetime, *, id_: str = "", name: str = "S-1") -> dict[str, Any]:
    return {
        "id": id_ or f"{name} {milestone}",
        "shipment": name,
        "milestone": milestone,
        "at": when.isoformat(),
    }


def order(conn: Connection, count: int = 1) -> list[str]:
    with transaction(conn):
        return [
            store_plant.add_order(
                conn, IDS, programme_id="wren", variant="van", options=["tow_bar"] if not number else [],
                actor="tester", now=CLOCK.now(),
            ).id
            for number in range(count)
        ]  # fmt: skip


def look(conn: Connection, seen: dict[str, Remembered] | None = None) -> list[str]:
    return look_at_shipments(conn, IDS, CLOCK, {} if seen is None else seen)


def test_a_milestone_counts_once_is_a_fact_and_is_shown_with_when_the_shipment_is_expected(
    people: People, conn: Connection
) -> None:
    assert announced(people.operator).status_code == 201
    left = event("left supplier", at(-240))
    assert tell(people.operator, left)["taken"] == 1
    assert tell(people.operator, left) == {"taken": 0, "repeated": 1, "refused": []}
    look(conn)
    (row,) = people.viewer.get(f"{HERE}/shipments", params={"only_open": True}).json()
    assert (row["state"], row["expected"]["source"], row["expected"]["late"]) == (
        "left supplier",
        "static",
        True,
    )
    assert row["expected"]["late_min"] == pytest.approx(60, abs=1)
    fact = latest_fact(conn, kind=FactKind.SHIPMENT_MOVED, subject=row["id"])
    first = latest_fact(conn, kind=FactKind.SHIPMENT_ANNOUNCED, subject=row["id"])
    assert fact
    assert first
    assert fact.causes == (first.id,)
    assert fact.body["late_s"] == pytest.approx(3600, abs=60)


def test_what_cannot_be_is_refused_by_name_kept_to_be_shown_and_changes_nothing(
    people: People, conn: Connection
) -> None:
    announced(people.operator)
    tell(people.operator, event("on ship", at(-150)))
    found = tell(
        people.operator, event("left supplier", at(-240)), event("in port", at(60)), event("at dock", at(-1), name="S-7"),
        event("at sea", at(-1)),
    )  # fmt: skip
    assert found["taken"] == 0
    shown = people.viewer.get(f"{HERE}/logistics").json()["refused"]
    reasons = " | ".join(each["reason"] for each in shown)
    for words in (
        "S-1 is 'on ship' since",
        "S-1 cannot be 'in port' 3",
        "there is no shipment 'S-7'",
        "no milestone 'at sea'",
    ):
        assert words in reasons
    assert people.viewer.get(f"{HERE}/shipments").json()[0]["state"] == "on ship"
    assert {each["told_by"] for each in shown} == {"olga"}


def test_a_shipment_that_cannot_be_is_refused_with_its_leg_part_or_order(
    people: People, conn: Connection
) -> None:
    for changes, status, words in (
        ({"leg": "tow bars by air"}, 422, "the plant has no leg 'tow bars by air'"),
        ({"part": "sunroof"}, 422, "leg 'tow bars by sea' does not bring 'sunroof'"),
        ({"planned": [at(0).isoformat()]}, 422, "has 4 milestones, 1 times are planned"),
        ({"planned": [at(0).isoformat()] * 3 + ["9999-12-31T00:00:00Z"]}, 422, "cannot be 'at dock' at 9999"),
        ({"order_ids": ["order_nobody"]}, 404, "there is no order 'order_nobody'"),
        ({"order_ids": ["order\x00"]}, 404, "there is no order"),
    ):
        answer = announced(people.operator, **changes)
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert people.viewer.get(f"{HERE}/shipments").json() == []
    assert announced(people.viewer).status_code == 403
    told = [Told(id="e", shipment="S", milestone="m", at=CLOCK.now())] * 1001
    with transaction(conn), pytest.raises(InvalidInput, match="1001 milestones"):
        shipments.take_milestones(conn, IDS, programme_id="wren", delivered=told, actor="t", now=CLOCK.now())


def test_the_line_replans_when_parts_are_late_and_again_when_they_are_there(
    people: People, conn: Connection
) -> None:
    waits, *others = order(conn, 30)
    with transaction(conn):
        store_plant.replan(
            conn,
            IDS,
            CLOCK,
            programme_id="wren",
            cause="new_orders",
            actor="tester",
            triggered_s=CLOCK.monotonic_s(),
        )
        before = store_plant.current_schedule(conn, "wren")
    assert before
    place = before.document.sequence.index(waits)
    announced(people.operator, order_ids=[waits])
    seen: dict[str, Remembered] = {}
    assert look(conn, seen) == ["wren"]
    tell(people.operator, event("left supplier", at(-285)))
    assert look(conn, seen) == ["wren"]
    late = store_plant.current_schedule(conn, "wren")
    assert late
    assert (late.cause, late.document.held) == ("parts_on_their_way", ())
    assert late.document.sequence.index(waits) > place
    assert sorted(late.document.sequence) == sorted([waits, *others])
    assert look(conn, seen) == []
    tell(people.operator, event("at dock", at(-0.01)))
    assert look(conn, seen) == ["wren"]
    assert shipments.availability_of(conn, "wren", now=CLOCK.now()) == {}


def test_orders_of_a_lost_shipment_are_held_with_its_name_until_another_is_announced(
    people: People, conn: Connection
) -> None:
    (waits,) = order(conn)
    with transaction(conn):
        store_plant.replan(
            conn,
            IDS,
            CLOCK,
            programme_id="wren",
            cause="new_orders",
            actor="tester",
            triggered_s=CLOCK.monotonic_s(),
        )
    row = announced(people.operator, order_ids=[waits]).json()[0]
    lost = people.operator.post(f"/api/v1/shipments/{row['id']}/lost", json={"reason": "ship sank"})
    assert (lost.status_code, lost.json()["state"]) == (200, "lost")
    again = people.operator.post(f"/api/v1/shipments/{row['id']}/lost", json={"reason": "ship sank"})
    assert again.status_code == 409
    assert "S-1 is lost: ship sank" in tell(people.operator, event("at dock", at(-1)))["refused"][0]["reason"]
    assert look(conn) == ["wren"]
    held = store_plant.current_schedule(conn, "wren")
    assert held
    assert [(each.order_id, each.reason) for each in held.document.held] == [
        (
            waits,
            "nobody can say when it has tow_bar of shipment S-1 by tow bars by sea, which is lost: ship sank",
        )
    ]
    announced(people.operator, name="S-2", order_ids=[waits])
    assert look(conn) == ["wren"]
    freed = store_plant.current_schedule(conn, "wren")
    assert freed
    assert freed.document.sequence == (waits,)


def held(conn: Connection) -> list[str]:
    """Make a schedule as a new order would; return why orders are held."""
    with transaction(conn):
        schedule = store_plant.replan(
            conn, IDS, CLOCK, programme_id="wren", cause="new_orders", actor="tester",
            triggered_s=CLOCK.monotonic_s(),
        )  # fmt: skip
    return [each.reason for each in schedule.document.held]


def test_a_schedule_holds_orders_of_shipments_that_nobody_looked_at_since_they_were_told_of_or_for_minutes(
    people: People, conn: Connection
) -> None:
    first, second = order(conn, 2)
    announced(people.operator, order_ids=[first])
    (reason,) = held(conn)
    assert reason == (
        "nobody can say when it has tow_bar of shipment S-1 by tow bars by sea, which nobody has looked at yet"
    )
    assert look(conn) == ["wren"]
    assert held(conn) == []
    other = announced(people.operator, name="S-2", order_ids=[second]).json()[0]
    look(conn)
    people.operator.post(f"/api/v1/shipments/{other['id']}/lost", json={"reason": "ship sank"})
    (reason,) = held(conn)
    assert "S-2 by tow bars by sea, which nobody has looked at since 20" in reason
    look(conn)
    (reason,) = held(conn)
    assert "which is lost: ship sank" in reason
    with transaction(conn):
        conn.execute("UPDATE leg_outlook SET made_at = made_at - interval '6 minutes'")
    reasons = held(conn)
    assert len(reasons) == 2
    assert all("which nobody has looked at since 20" in each for each in reasons)
    seen: dict[str, int] = {}
    assert improve_changed(conn, IDS, CLOCK, seen) == []
    assert seen == {}
    assert look(conn) == ["wren"]  # nothing moved, and yet what was held for want of a look goes on
    (reason,) = held(conn)
    assert "which is lost: ship sank" in reason


def test_a_name_is_one_shipment_and_the_same_announcement_changes_nothing(
    people: People, conn: Connection
) -> None:
    planned = [at(each).isoformat() for each in (1, 2, 3, 4)]
    first = announced(people.operator, planned=planned)
    again = announced(people.operator, planned=planned)
    other = announced(people.operator)
    assert (first.json()[0]["id"], other.status_code) == (again.json()[0]["id"], 409)
    assert "shipment S-1 was announced before" in other.text


def test_after_enough_arrivals_the_past_of_the_leg_speaks_and_nothing_is_said_of_skill(
    people: People, conn: Connection
) -> None:
    now, legs = CLOCK.now(), 40
    with transaction(conn):
        for number in range(legs):
            start = now - timedelta(hours=12 * (legs - number) + 40)
            planned = [start + timedelta(hours=each) for each in (0, 10, 20, 30)]
            late = timedelta(minutes=[0, 240, 30, 600, 90][number % 5])
            shipments.announce(
                conn, IDS, programme_id="wren", name=f"H-{number}", leg=LEG, part="tow_bar", planned=planned,
                actor="tester", now=now,
            )  # fmt: skip
            told = [
                Told(id=f"{number} {name}", shipment=f"H-{number}", milestone=name, at=when + late)
                for name, when in zip(REACHED, planned, strict=True)
            ]
            assert not shipments.take_milestones(
                conn, IDS, programme_id="wren", delivered=told, actor="tester", now=now
            ).refused
    announced(people.operator, planned=[at(each).isoformat() for each in (600, 700, 800, 900)])
    look(conn)
    found = people.viewer.get(f"{HERE}/logistics").json()
    assert found["arrived"] == legs
    assert found["stages"] == []  # eight legs in the last fifth are too few to say
    (row,) = people.viewer.get(f"{HERE}/shipments", params={"only_open": True}).json()
    assert row["expected"]["source"] == "route"
    assert len(row["expected"]["quantiles"]) == 7


def test_a_programme_that_cannot_be_looked_at_holds_up_no_other(people: People, conn: Connection) -> None:
    source = (FIRST / "programme.toml").read_text().replace('id = "wren"', 'id = "alder"')
    assert announced(people.operator).status_code == 201
    with transaction(conn):
        store.import_programme(conn, IDS, source=source, actor="tester", now=CLOCK.now())
        for programme_id in ("alder", "wren"):
            store_plant.replan(
                conn, IDS, CLOCK, programme_id=programme_id, cause="new_orders", actor="tester",
                triggered_s=CLOCK.monotonic_s(),
            )  # fmt: skip
            ask_what_if(
                conn, IDS, programme_id=programme_id, station="marriage", down_s=60, actor="t", now=CLOCK.now()
            )  # fmt: skip
        conn.execute(
            "INSERT INTO leg_outlook (programme_id, told, seen, document)"
            """ VALUES ('alder', 1, 0, '{"orders": {"order_1": {}}}')"""
        )
    look(conn)
    assert shipments.get_outlook(conn, "wren").made_at
    seen: dict[str, int] = {}
    assert improve_changed(conn, IDS, CLOCK, seen) == []
    assert list(seen) == ["wren"]
    assert answer_questions(conn, CLOCK) == 2
    answers = conn.execute("SELECT answer FROM line_what_if ORDER BY programme_id").fetchall()
    assert [each["answer"]["refused"] for each in answers] == [BROKEN, "nothing is scheduled"]


def test_an_agv_is_a_leg_and_its_move_a_shipment(people: People, conn: Connection) -> None:
    ways = {row["name"]: row for row in people.viewer.get(f"{HERE}/logistics").json()["ways"]}
    assert ways["tuggers"]["leg_class"] == "agv"
    row = announced(
        people.operator,
        name="T-1",
        leg="tuggers",
        part="seats",
        planned=[at(1).isoformat(), at(5).isoformat()],
    )
    assert row.status_code == 201
    assert tell(people.operator, event("picked up", at(0), name="T-1"))["taken"] == 1


def test_milestones_come_through_the_stream_once_and_what_nobody_can_read_is_kept_with_the_reason(
    people: People, conn: Connection, pg_url: str, nats_url: str
) -> None:
    announced(people.operator)
    left = msgspec.json.encode(
        MilestoneEvent(id="e1", shipment="S-1", milestone="left supplier", at=at(-240))
    )
    ahead = msgspec.json.encode(MilestoneEvent(id="e2", shipment="S-1", milestone="on ship", at=at(600)))
    sent = [
        (f"{SUBJECT_PREFIX}nobody", left),
        *((f"{SUBJECT_PREFIX}wren", each) for each in (left, left, ahead, b"{no json")),
    ]

    async def read() -> None:
        await publish(nats_url, sent, place=MILESTONES)
        stop = asyncio.Event()
        task = asyncio.create_task(
            run_milestones(nats_url, lambda: connect(pg_url), stop, clock=CLOCK, ids=IDS)
        )
        try:
            async with asyncio.timeout(60):
                while len(await asyncio.to_thread(refusals)) < 2:  # noqa: ASYNC110 - in the database
                    await asyncio.sleep(0.05)
        finally:
            stop.set()
            await task

    def refusals() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = people.viewer.get(f"{HERE}/logistics").json()["refused"]
        return rows

    asyncio.run(read())
    assert people.viewer.get(f"{HERE}/shipments").json()[0]["state"] == "left supplier"
    reasons = " | ".join(sorted(each["reason"] for each in refusals()))
    assert "S-1 cannot be 'on ship' 3" in reasons
    assert "is no milestone: JSON is malformed" in reasons
    (kept,) = conn.execute("SELECT * FROM mes_refused WHERE programme_id = 'nobody'").fetchall()
    assert (kept["code"], bytes(kept["raw"])) == ("milestone", left)
    assert kept["reason"] == "milestone: there is no programme 'nobody'"


def test_a_milestone_that_nobody_can_read_to_its_end_is_refused(people: People, conn: Connection) -> None:
    deep = StreamMessage(
        subject=f"{SUBJECT_PREFIX}wren", payload=b'{"x":' + b"[" * 2_000, seq=7, received_at=at(0)
    )
    land_milestones(conn, IDS, CLOCK, [deep])
    (row,) = people.viewer.get(f"{HERE}/logistics").json()["refused"]
    assert "message 7 is no milestone" in row["reason"]


# In the warehouse, and on the AGVs ---


def stocked(client: httpx.Client, *parts: dict[str, Any], gone: Sequence[str] = ()) -> httpx.Response:
    return client.post(f"{HERE}/stock", json={"parts": list(parts), "gone": list(gone)})


def test_parts_lie_where_they_are_said_to_and_what_is_worth_moving_is_named(people: People) -> None:
    told = stocked(
        people.operator, {"part": "seat-covers", "places": 190, "picks_day": 1, "zone": "fast"},
        {"part": "wiper-blades", "places": 8, "picks_day": 310, "zone": "bulk"},
    )  # fmt: skip
    assert told.status_code == 200
    found = people.viewer.get(f"{HERE}/stock").json()
    assert [(zone["name"], zone["used"]) for zone in found["zones"]] == [("fast", 190), ("bulk", 8)]
    assert [(each["part"], each["target"]) for each in found["moves"]] == [("wiper-blades", "fast")]
    assert found["bound_s_day"] <= found["new_s_day"] < found["now_s_day"]
    moved = stocked(people.operator, {"part": "wiper-blades", "places": 8, "picks_day": 310, "zone": "fast"})
    assert moved.json()["moves"] == []
    gone = stocked(people.operator, gone=["seat-covers"]).json()
    assert [each["part"] for each in gone["parts"]] == ["wiper-blades"]


def test_the_picks_of_a_day_are_those_of_the_hours_that_the_line_works(
    people: People, conn: Connection
) -> None:
    order(conn)
    (always,) = stocked(people.operator, {"part": "tow_bar", "places": 12, "zone": "bulk"}).json()["parts"]
    with transaction(conn):
        rests = read_plant((FIRST / "plant.toml").read_text())
        save_plant(conn, IDS, plant=rests, generation=1, actor="tester", now=CLOCK.now())
    (part,) = people.viewer.get(f"{HERE}/stock").json()["parts"]
    assert part["picks_day"] == pytest.approx(always["picks_day"] * 15.5 / 24)


def test_stock_that_cannot_be_is_refused_and_nothing_of_it_is_kept(people: People) -> None:
    for part, named in (
        ({"part": "axles", "places": 201, "zone": "fast"}, "fast"),
        ({"part": "axles", "places": 1, "zone": "attic"}, "attic"),
        ({"part": "axles", "places": 5_000, "zone": ""}, "5001"),
    ):
        refused = stocked(people.operator, {"part": "fine", "places": 1, "zone": "fast"}, part)
        assert refused.status_code == 422
        assert named in refused.text
    assert people.viewer.get(f"{HERE}/stock").json()["parts"] == []
    assert stocked(people.viewer, {"part": "axles", "places": 1, "zone": ""}).status_code == 403


def test_agvs_bring_what_the_sequence_needs_once_and_the_line_knows_when(
    people: People, conn: Connection
) -> None:
    ordered = [order(conn)[0] for _ in range(3)]
    held(conn)
    before = people.viewer.get(f"{HERE}/stock").json()
    assert before["parts"] == []
    stocked(people.operator, {"part": "tow_bar", "places": 12, "zone": ""})
    nowhere = people.viewer.get(f"{HERE}/dispatch").json()
    assert (nowhere["trips"], nowhere["unplaced"]) == ([], ["tow_bar"])
    stocked(people.operator, {"part": "tow_bar", "places": 12, "zone": "bulk"})
    found = people.viewer.get(f"{HERE}/dispatch", params={"ahead_min": 60}).json()
    assert {move["order_id"] for trip in found["trips"] for move in trip["moves"]} == set(ordered)
    for down, named in (({"drones": 1}, "drones"), ({"tuggers": 4}, "Line 1")):
        refused = people.operator.post(f"{HERE}/dispatch", json={"down": down})
        assert refused.status_code == 422
        assert named in refused.text
    announced = people.operator.post(f"{HERE}/dispatch", json={"leave_min": 60, "down": {"tuggers": 1}})
    assert announced.status_code == 201
    assert {(row["leg"], row["part"]) for row in announced.json()} == {("tuggers", "tow_bar")}
    again = people.viewer.get(f"{HERE}/dispatch").json()
    assert (again["trips"], again["under_way"]) == ([], 3)
    look(conn)
    with transaction(conn):
        waits = shipments.availability_of(conn, "wren", now=CLOCK.now())
    assert set(waits) == set(ordered)
