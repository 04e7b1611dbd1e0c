"""What a change of a station's node means: events in their order, told once, and nothing out of what has no meaning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ringroad.build.plant.opcua import NodeChange, StationSeen, by_time, events_of, in_order
from ringroad.protocol.mes import MesEvent

T0 = datetime(2026, 11, 26, 8, tzinfo=UTC)


def change(node: str, value: str, seconds: int = 0) -> NodeChange:
    return NodeChange(station="trim", node=node, value=value, at=T0 + timedelta(seconds=seconds))


def told(events: tuple[MesEvent, ...]) -> list[tuple[str, str]]:
    return [(each.kind, each.order_id) for each in events]


@pytest.mark.parametrize(
    ("seen", "node", "value", "events"),
    [
        ("", "order", "o1", [("entered", "o1")]),
        ("o1", "order", "", [("left", "o1")]),
        ("o1", "order", "o2", [("left", "o1"), ("entered", "o2")]),
        ("o1", "order", "o1", []),
        ("", "order", " ", []),
        ("o1", "result", "leak:failed", [("result", "o1")]),
        ("o1", "result", "leak:passed:o7", [("result", "o7")]),
        ("o1", "lot", "seat:L7", [("used", "o1")]),
        ("", "lot", "seat:L7:o3", [("used", "o3")]),
        ("", "stopped", "E-stop", [("stopped", "")]),
        ("", "stopped", "", []),
        ("o1", "result", "", []),
    ],
)
def test_a_change_is_what_happened(seen: str, node: str, value: str, events: list[tuple[str, str]]) -> None:
    made, _, why = events_of(change(node, value), StationSeen(order=seen))
    assert told(made) == events
    assert why == ""


@pytest.mark.parametrize(
    ("node", "value", "said"),
    [
        ("result", "leak", "trim: result 'leak' is not CHECK:passed"),
        ("result", "leak:maybe", "is not CHECK:passed"),
        ("result", ":passed", "is not CHECK:passed"),
        ("result", "leak:passed", "of no order"),
        ("lot", "seat", "is not PART:LOT"),
        ("lot", "seat:L7", "of no order"),
        ("order", "x" * 201, "longer than 200"),
        ("speed", "7", "no node of a station"),
    ],
)
def test_what_has_no_meaning_is_said_and_becomes_no_event(node: str, value: str, said: str) -> None:
    events, seen, why = events_of(change(node, value), StationSeen())
    assert events == ()
    assert seen == StationSeen()
    assert said in why


def test_a_stop_is_told_when_it_begins_and_when_it_ends() -> None:
    first, seen, _ = events_of(change("stopped", "E-stop"), StationSeen())
    again, seen, _ = events_of(change("stopped", "E-stop, door open", 5), seen)
    last, _, _ = events_of(change("stopped", "", 9), seen)
    assert [told(each) for each in (first, again, last)] == [[("stopped", "")], [], [("resumed", "")]]


def test_the_same_value_of_the_same_moment_is_the_same_event() -> None:
    first, _, _ = events_of(change("order", "o1"), StationSeen())
    again, _, _ = events_of(change("order", "o1"), StationSeen())
    later, _, _ = events_of(change("order", "o1", 1), StationSeen())
    assert first == again
    assert first[0].id != later[0].id


def test_what_left_comes_before_what_entered_at_the_same_moment() -> None:
    entered, _, _ = events_of(change("order", "o2"), StationSeen())
    left, _, _ = events_of(change("order", ""), StationSeen(order="o1"))
    assert told(tuple(in_order([*entered, *left]))) == [("left", "o1"), ("entered", "o2")]


def test_a_result_is_of_the_order_that_was_there_whatever_node_is_heard_of_first() -> None:
    heard = [
        change("order", "B", 10),
        change("result", "leak:failed", 10),
        change("result", "torque:passed", 5),
    ]
    seen, made = StationSeen(order="A"), list[MesEvent]()
    for each in by_time(heard):
        events, seen, _ = events_of(each, seen)
        made += events
    assert [(each.kind, each.order_id) for each in in_order(made)] == [
        ("result", "A"), ("result", "A"), ("left", "A"), ("entered", "B"),
    ]  # fmt: skip


def test_a_result_that_names_an_order_which_enters_at_that_moment_comes_after_it() -> None:
    made = [
        *events_of(change("result", "leak:passed:B"), StationSeen(order="A"))[0],
        *events_of(change("order", "B"), StationSeen(order="A"))[0],
    ]
    assert [(each.kind, each.order_id) for each in in_order(made)] == [
        ("left", "A"), ("entered", "B"), ("result", "B"),
    ]  # fmt: skip
