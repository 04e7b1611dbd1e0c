"""A line's state is a fold over the events of its stations: what cannot be changes nothing, and it can be cut anywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.build.model import Line, Station
from ringroad.build.plant.line_state import LineState, RefusedEvent, apply, fold, refold, stations_of
from ringroad.protocol.mes import MesEvent

T0 = datetime(2026, 11, 26, 8, tzinfo=UTC)
LINE = Line(
    name="Line",
    stations=tuple(Station(name=name, cycle_s=60) for name in ("trim", "roof", "test")),
    ratios=(),
)
REWORK = replace(
    LINE,
    stations=(
        *LINE.stations[:2],
        Station(name="test", cycle_s=60, rework_permille=50, rework_s=300, rework_to="trim"),
    ),
)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def event(kind: Any, station: str, seconds: float, order: str = "", **more: Any) -> MesEvent:
    return MesEvent(
        id=f"{kind}-{station}-{order}-{seconds}",
        kind=kind,
        station=station,
        at=at(seconds),
        order_id=order,
        **more,
    )


def after(*events: MesEvent, line: Line = LINE) -> LineState:
    state, refused = fold(LineState(), [(each, at(100_000)) for each in events], line)
    assert refused == ()
    return state


def refused(state: LineState, bad: MesEvent, line: Line = LINE, now_s: float = 100_000) -> RefusedEvent:
    found = apply(state, bad, line, received_at=at(now_s))
    assert isinstance(found, RefusedEvent)
    return found


def test_vehicles_move_along_and_leave_at_the_end() -> None:
    state = after(
        event("entered", "trim", 0, "o1"),
        event("used", "trim", 20, "o1", part="seat", lot="L7"),
        event("left", "trim", 60, "o1", worked_s=58),
        event("entered", "trim", 61, "o2"),
        event("entered", "roof", 62, "o1"),
    )
    assert [(name, inside, behind) for name, _, inside, behind in stations_of(state, LINE)] == [
        ("trim", ("o2",), ()),
        ("roof", ("o1",), ()),
        ("test", (), ()),
    ]
    assert state.vehicles["o1"].parts == 1
    gone = after(*[event("left", name, 60 * n, "o1") for n, name in enumerate(("trim", "roof", "test"))])
    assert (gone.built, gone.done, dict(gone.vehicles)) == (1, ("o1",), {})


def test_a_failed_check_stays_until_it_passes() -> None:
    failed = after(
        event("entered", "test", 0, "o1"), event("result", "test", 9, "o1", check="leak", passed=False)
    )
    assert failed.vehicles["o1"].failed == ("leak",)
    passed = apply(
        failed, event("result", "test", 19, "o1", check="leak", passed=True), LINE, received_at=at(20)
    )
    assert isinstance(passed, LineState)
    assert passed.vehicles["o1"].failed == ()
    assert (passed.stations["test"].failed, passed.stations["test"].passed) == (1, 1)


def test_a_station_stands_until_it_goes_on() -> None:
    state = after(event("stopped", "roof", 0, reason="E-stop"))
    assert state.stations["roof"].stopped == "E-stop"
    assert (
        after(event("stopped", "roof", 0, reason="E-stop"), event("resumed", "roof", 9))
        .stations["roof"]
        .stopped
        == ""
    )


BUSY = after(
    event("entered", "trim", 0, "o1"),
    event("left", "trim", 60, "o1"),
    event("entered", "roof", 70, "o1"),
    event("left", "test", 50, "o9"),
    event("stopped", "test", 55, reason="leak"),
)


@pytest.mark.parametrize(
    ("bad", "code", "said"),
    [
        (event("entered", "paint", 80, "o2"), "unknown_station", "the line has no station 'paint'"),
        (event("entered", "trim", 100_006, "o2"), "future", "order o2 cannot have entered trim 6 s in the future"),
        (event("stopped", "trim", 200_000, reason="x"), "future", "trim cannot have stopped 100000 s in the future"),
        (event("entered", "trim", 80), "incomplete", "trim: event entered-trim--80, entered, names no order"),
        (event("stopped", "roof", 80, "o1", reason="x"), "incomplete", "names order o1"),
        (event("stopped", "roof", 80), "incomplete", "roof"),
        (event("result", "roof", 80, "o1", check="leak"), "incomplete", "of order o1, needs check and passed"),
        (event("used", "roof", 80, "o1", part="seat"), "incomplete", "needs part and lot"),
        (event("left", "roof", 65, "o1"), "out_of_order", "order o1 cannot have left roof 5 s before it was last seen"),
        (event("left", "trim", 80, "o1"), "out_of_order", "order o1 cannot have left trim after it was in roof"),
        (event("entered", "roof", 80, "o1"), "duplicate", "order o1 is in roof already"),
        (event("result", "test", 80, "o1", check="leak", passed=True), "contradiction", "while it is in roof"),
        (event("used", "trim", 80, "o3", part="p", lot="l"), "out_of_order", "before it entered the line"),
        (event("entered", "trim", 80, "o9"), "out_of_order", "order o9 cannot have entered trim after it left the line"),
        (event("stopped", "test", 80, reason="x"), "duplicate", "test stands already: leak"),
        (event("resumed", "roof", 80), "contradiction", "roof does not stand"),
        (event("resumed", "test", 50), "out_of_order", "test cannot go on before it stood"),
    ],
)  # fmt: skip
def test_an_event_that_cannot_be_names_station_or_order_and_changes_nothing(
    bad: MesEvent, code: str, said: str
) -> None:
    found = refused(BUSY, bad)
    assert found.code == code
    assert said in found.reason
    assert bad.order_id in found.reason or bad.station in found.reason
    assert fold(BUSY, [(bad, at(100_000))], LINE)[0] == BUSY


def test_a_line_with_rework_has_a_way_back() -> None:
    state = after(event("entered", "test", 0, "o1"), line=REWORK)
    assert isinstance(apply(state, event("entered", "trim", 9, "o1"), REWORK, received_at=at(9)), LineState)
    assert refused(state, event("entered", "trim", 9, "o1"), LINE).code == "out_of_order"


def test_a_vehicle_goes_back_only_from_a_gate_and_to_where_its_rework_leads() -> None:
    begun = [event("entered", name, n, "o0") for n, name in enumerate(("trim", "roof", "test"))]
    state = after(*begun, event("entered", "roof", 10, "o1"), line=REWORK)
    assert refused(state, event("entered", "trim", 20, "o1"), REWORK).code == "out_of_order"
    used = event("used", "roof", 30, "o1", part="seat", lot="L7")
    assert isinstance(apply(state, used, REWORK, received_at=at(30)), LineState)
    assert refused(state, event("entered", "roof", 20, "o0"), REWORK).code == "out_of_order"
    assert isinstance(apply(state, event("entered", "trim", 20, "o0"), REWORK, received_at=at(20)), LineState)
    gate_is_silent = after(event("entered", "roof", 10, "o1"), line=REWORK)
    back = apply(gate_is_silent, event("entered", "trim", 20, "o1"), REWORK, received_at=at(20))
    assert isinstance(back, LineState)


def test_a_gate_that_hardly_refuses_a_vehicle_any_more_still_sends_one_back() -> None:
    learned = replace(
        LINE, stations=(*LINE.stations[:2], Station(name="test", cycle_s=60, rework_s=300, rework_to="trim"))
    )
    state = after(event("entered", "test", 0, "o1"), line=learned)
    assert isinstance(apply(state, event("entered", "trim", 9, "o1"), learned, received_at=at(9)), LineState)


def test_events_that_were_taken_are_not_judged_again_by_a_line_of_later() -> None:
    taken = [
        event("entered", "paint", 0, "o1"),  # a station of before
        event("result", "paint", 1, "o1", check="leak", passed=True),
        event("entered", "test", 2, "o1"),
        event("entered", "trim", 3, "o1"),  # the way back that was
        event("stopped", "roof", 4, reason="robot 3"),
        event("stopped", "roof", 5, reason="robot 4"),  # a person ended the first
    ]
    state = refold(LineState(), taken, LINE)
    assert (state.position, state.vehicles["o1"].station) == (len(taken), "trim")
    assert state.stations["roof"].stopped == "robot 4"
    assert "paint" not in state.stations


def test_a_vehicle_comes_back_to_a_gate_that_waits_for_it_also_after_it_left_the_line() -> None:
    gone = after(event("entered", "trim", 0, "o1"), event("left", "test", 9, "o1"))
    back = event("entered", "test", 20, "o1")
    assert refused(gone, back).code == "out_of_order"
    state = apply(gone, back, LINE, received_at=at(20), back=True)
    assert isinstance(state, LineState)
    assert (state.built, state.done, set(state.vehicles)) == (0, (), {"o1"})
    again = apply(state, event("left", "test", 30, "o1"), LINE, received_at=at(30))
    assert isinstance(again, LineState)
    assert (again.built, again.done) == (1, ("o1",))


def test_a_clock_a_little_ahead_is_believed() -> None:
    found = apply(LineState(), event("entered", "trim", 5, "o1"), LINE, received_at=at(0))
    assert isinstance(found, LineState)


ANY = st.lists(
    st.builds(
        event,
        st.sampled_from(["entered", "left", "result", "used", "stopped", "resumed"]),
        st.sampled_from(["trim", "roof", "test", "paint"]),
        st.integers(0, 300),
        st.sampled_from(["", "o1", "o2", "o3"]),
        check=st.sampled_from(["", "leak"]),
        passed=st.sampled_from([None, True, False]),
        part=st.just("seat"),
        lot=st.sampled_from(["", "L1"]),
        reason=st.sampled_from(["", "E-stop"]),
    ),
    max_size=40,
)


@given(ANY, st.integers(0, 40), st.sampled_from([LINE, REWORK]))
def test_a_state_can_be_kept_and_resumed_anywhere(events: list[MesEvent], cut: int, line: Line) -> None:
    heard = [(each, at(200)) for each in events]
    whole, refused_whole = fold(LineState(), heard, line)
    first, refused_first = fold(LineState(), heard[:cut], line)
    kept = LineState.from_document(json.loads(json.dumps(first.to_document())))
    assert kept == first
    second, refused_second = fold(kept, heard[cut:], line)
    assert second == whole
    assert refused_first + refused_second == refused_whole
    assert whole.position == len(events) - len(refused_whole)


@given(ANY, ANY)
def test_a_branch_leaves_the_state_it_came_from_as_it_was(
    events: list[MesEvent], others: list[MesEvent]
) -> None:
    state, _ = fold(LineState(), [(each, at(200)) for each in events], LINE)
    before = json.dumps(state.to_document())
    fold(state, [(each, at(200)) for each in others], LINE)
    assert json.dumps(state.to_document()) == before
