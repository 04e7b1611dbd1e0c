"""A planner looks at a line as it was or might have been, and asks the twin from there; nothing is kept of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ringroad.build import store_plant
from ringroad.build.plan_line import ScheduleDocument
from ringroad.build.plant.store_events import line_state, take_events
from ringroad.build.store import get_programme
from ringroad.build.store_past import Branch, load_past
from ringroad.build.store_stops import begin_stop, end_stop, open_stops
from ringroad.build.store_what_if import ask_what_if, open_questions
from ringroad.http.console.branches import Look, asked_from, look
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.protocol.mes import MesEvent
from ringroad.storage.db import Connection, transaction
from ringroad.storage.streams import StreamMessage
from support.mes import CLOCK, IDS, new_order, wren

pytestmark = pytest.mark.engines

LINE = "wren"
FIRST, LAST = "marriage", "flash_and_test"


def event(kind: Any, station: str, order_id: str = "", **more: Any) -> MesEvent:
    given: dict[str, Any] = {"id": f"{kind}-{station}-{order_id}", "at": CLOCK.now()} | more
    return MesEvent(kind=kind, station=station, order_id=order_id, **given)


def say(conn: Connection, *events: MesEvent) -> None:
    before = line_state(conn, LINE).position
    messages = [
        StreamMessage(
            subject=f"ringroad.mes.v1.{LINE}", payload=msgspec.json.encode(each), seq=seq, received_at=CLOCK.now()
        )
        for seq, each in enumerate(events, start=before + 1)
    ]  # fmt: skip
    with transaction(conn):
        taken = take_events(conn, IDS, CLOCK, programme_id=LINE, messages=messages)
    assert (taken.taken, taken.refused) == (len(events), 0)


def plan(conn: Connection, *sequence: str) -> None:
    current = store_plant.current_schedule(conn, LINE)
    with transaction(conn):
        store_plant.save_schedule(
            conn, IDS, programme_id=LINE, generation=current.generation if current else 0, cause="new_orders",
            document=ScheduleDocument(
                sequence=sequence, held=(), violations=0, late_orders=0, baseline_release_id=None, frozen=0
            ),
            replan_latency_us=1, actor="tester", now=CLOCK.now(),
        )  # fmt: skip


@pytest.fixture
def orders(conn: Connection) -> list[str]:
    """Three orders that were planned before the first of them entered the line, and another way round since."""
    with transaction(conn):
        wren(conn)
        found = [new_order(conn) for _ in range(3)]
    plan(conn, *found)
    say(conn, event("entered", FIRST, found[0]), event("left", FIRST, found[0], worked_s=55.0))
    say(conn, event("entered", LAST, found[0]), event("entered", FIRST, found[1]))
    say(conn, event("left", LAST, found[0]))
    plan(conn, found[2], found[1])
    return found


def test_what_ran_then_is_its_schedule_and_where_its_vehicles_were(
    conn: Connection, orders: list[str]
) -> None:
    first, second, third = orders
    past = load_past(conn, LINE, Branch(position=1))
    assert (past.generation, past.sequence) == (1, (first, second, third))
    assert [past.orders[each].state for each in past.sequence] == ["building", "open", "open"]
    assert past.at == line_state(conn, LINE, position=1).at
    assert load_past(conn, LINE, Branch(position=4)).sequence == (
        first,
        second,
        third,
    )  # who is further first
    assert load_past(conn, LINE, Branch(position=5)).sequence == (second, third)  # who left is gone
    now = load_past(conn, LINE, Branch(events=(event("entered", FIRST, third),)))
    assert (now.generation, now.sequence) == (2, (second, third))
    assert [now.orders[each].state for each in now.sequence] == ["building", "building"]


def test_what_stood_then_stands_and_what_is_supposed_to_or_to_go_on(
    conn: Connection, orders: list[str]
) -> None:
    with transaction(conn):
        stop, _ = begin_stop(
            conn, IDS, programme_id=LINE, station=FIRST, kind="breakdown", reason="x", expect_s=600, actor="olga",
            now=CLOCK.now(),
        )  # fmt: skip
    say(conn, event("left", FIRST, orders[1]))
    with transaction(conn):
        end_stop(conn, IDS, stop_id=stop.id, actor="olga", now=CLOCK.now())
    say(conn, event("entered", LAST, orders[1]))
    assert load_past(conn, LINE, Branch(position=5)).standing == {}
    assert load_past(conn, LINE, Branch(position=6)).standing == pytest.approx({FIRST: 600}, abs=60)
    assert load_past(conn, LINE, Branch(position=7)).standing == {}
    supposed = event("stopped", LAST, reason="what if", expected_s=120)
    assert load_past(conn, LINE, Branch(position=7, events=(supposed,))).standing == {LAST: 120}
    goes_on = event("resumed", LAST)
    assert load_past(conn, LINE, Branch(position=7, events=(supposed, goes_on))).standing == {}


def test_what_a_person_let_go_on_can_be_supposed_to_stand(conn: Connection, orders: list[str]) -> None:
    assert orders
    say(conn, event("stopped", FIRST, reason="robot 3"))
    (stop,) = open_stops(conn, programme_id=LINE)
    with transaction(conn):
        end_stop(conn, IDS, stop_id=stop.id, actor="olga", now=CLOCK.now())
    supposed = event("stopped", FIRST, id="supposed", reason="what if", expected_s=120)
    assert FIRST in load_past(conn, LINE, Branch(events=(supposed,))).standing


@pytest.mark.parametrize(
    ("branch", "error", "words"),
    [
        (Branch(position=99), NotFound, "no state after 99 events"),
        (
            Branch(
                events=(
                    event("stopped", FIRST, reason="x", at=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
                )
            ),
            InvalidInput,
            "year 9999",
        ),
        (Branch(position=1, events=(event("entered", "nowhere", "order_1"),)), InvalidInput, "'nowhere'"),
        (
            Branch(events=(event("stopped", FIRST, reason="x", at=CLOCK.now() - timedelta(days=900)),)),
            NotFound,
            "no schedule by",
        ),
    ],
)
def test_a_question_about_what_never_was_is_refused_and_not_kept(
    conn: Connection, branch: Branch, error: type[Exception], words: str
) -> None:
    with transaction(conn):
        wren(conn)
        order_id = new_order(conn)
    if "no schedule" not in words:
        plan(conn, order_id)
        say(conn, event("entered", FIRST, order_id))
    with pytest.raises(error, match=words), transaction(conn):
        ask(conn, branch)
    assert open_questions(conn) == []


def test_before_anybody_said_anything_there_is_nothing_to_ask_from(conn: Connection) -> None:
    with transaction(conn):
        wren(conn)
    with pytest.raises(InvalidInput, match="had said anything"):
        load_past(conn, LINE, Branch(position=0))


def ask(conn: Connection, branch: Branch | None) -> str:
    return ask_what_if(
        conn, IDS, programme_id=LINE, station=LAST, down_s=1_800, actor="olga", now=CLOCK.now(), branch=branch
    )  # fmt: skip


def test_a_question_waits_with_what_it_is_asked_from_and_says_so(conn: Connection, orders: list[str]) -> None:
    at = line_state(conn, LINE, position=1).at
    supposed = Branch(position=1, events=(event("stopped", FIRST, reason="what if", at=at),))
    assert load_past(conn, LINE, supposed).generation == 1
    with transaction(conn):
        for each in (None, Branch(position=1), supposed):
            ask(conn, each)
    assert [each.branch for each in open_questions(conn)] == [None, Branch(position=1), supposed]
    said = ["", "after 1 events", f"after 1 events, had {FIRST} stood"]
    assert [
        asked_from(each.branch.to_document() if each.branch else None) for each in open_questions(conn)
    ] == said
    assert len(orders) == 3


LOOKS: list[tuple[dict[str, str], tuple[int | None, int, str], str]] = [
    ({}, (None, 5, ""), ""),
    ({"position": "2"}, (2, 2, ""), ""),
    ({"position": "5"}, (None, 5, ""), ""),  # the newest goes on
    ({"position": "9999"}, (None, 5, ""), ""),
    ({"position": "-1"}, (None, 5, ""), ""),
    ({"position": "x"}, (None, 5, ""), ""),
    ({"position": "9" * 30}, (None, 5, ""), ""),
    ({"position": "2", "stands": FIRST}, (2, 3, FIRST), ""),
    ({"stands": FIRST}, (None, 6, FIRST), ""),
    ({"position": "2", "stands": "nowhere"}, (2, 2, ""), "no station 'nowhere'"),
]


def test_the_page_shows_the_state_that_its_address_asks_for(conn: Connection, orders: list[str]) -> None:
    line = get_programme(conn, LINE).programme.line
    for asked, expected, note in LOOKS:
        position, _, stands = expected
        found: Look = look(conn, LINE, line, asked, now=CLOCK.now())
        assert (found.position, found.state.position, found.stands) == expected, asked
        assert note in found.note
        assert [each.name for each in found.state.stations if each.stopped] == ([stands] if stands else [])
        assert found.is_branch == (position is not None or stands != "")
        assert (found.newest, len(orders)) == (5, 3)
