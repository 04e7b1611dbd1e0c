"""Cyclic subscriptions: what is read, to whom it is told, and that each ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringroad.protocol.diagnostics import ANSWER_BYTES_MAX, CyclicEvent
from ringroad.vehicle.diagnostics.cyclic import (
    KEPT_BYTES_MAX,
    KEPT_MAX,
    SUBSCRIPTIONS_MAX,
    VALUE_BYTES_MAX,
    Event,
    Subscription,
    Subscriptions,
    _keep,
    _Running,
)
from ringroad.vehicle.diagnostics.face import STREAMS_MAX
from ringroad.vehicle.diagnostics.testers import add_tester
from ringroad.vehicle.small_http import Answer, Request
from ringroad.vehicle.states import Opened
from support.diagnosed import Bench, bench, open_session
from support.uptane import NOW
from support.vehicle_world import DeskClock

Story = Callable[[Bench], Awaitable[None]]
PLACE = "/components/brake/cyclic-subscriptions"


def run(folder: Path, story: Story) -> None:
    async def whole() -> None:
        async with bench(folder) as at:
            await open_session(at, scope="read")
            at.said()
            try:
                await story(at)
            finally:
                await at.desk.end()

    asyncio.run(asyncio.wait_for(whole(), 120))


def code_of(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


async def until(look: Callable[[], Any]) -> Any:
    for _ in range(6_000):
        if found := look():
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def test_data_is_read_and_told_over_the_link_until_the_subscription_ends(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        _, begun = await at.ask("POST", PLACE, {"data": ["F195", "1234"], "interval": 1, "duration": 60})
        assert (begun["status"], list(begun["data"]), begun["interval"]) == ("running", ["F195", "1234"], 1)
        (answer,) = await until(at.said)
        assert (answer.id, answer.final, answer.status) == (begun["id"], False, 206)
        event = msgspec.convert(answer.body["event"], CyclicEvent)
        assert (event.number, event.values["F195"]) == (1, {"value": "1.0.0"})
        assert "error" in event.values["1234"]  # what cannot be read hides nothing
        assert [each["id"] for each in (await at.ask("GET", PLACE))[1]["items"]] == [begun["id"]]
        _, ended = await at.ask("DELETE", f"{PLACE}/{begun['id']}")
        assert (ended["status"], ended["ended_by"]) == ("ended", "stopped")
        assert (await at.ask("GET", f"{PLACE}/{begun['id']}"))[1]["status"] == "ended"

    run(tmp_path, story)


@pytest.mark.parametrize("why", ["time", "session", "update"])
def test_it_ends_with_its_time_its_session_and_when_an_update_begins(tmp_path: Path, why: str) -> None:
    async def story(at: Bench) -> None:
        _, begun = await at.ask("POST", PLACE, {"data": "F195", "duration": 5})
        await until(at.said)
        (task,) = [each.task for each in at.desk.cyclic._known.values()]
        assert task is not None
        if why == "time":
            at.vehicle.clock.s += 6
        elif why == "session":
            at.desk.close("s1")
        else:
            at.desk._place.orchestrator._memory.write(Opened(at=at.clock.now(), action_id=7))
        await asyncio.wait([task], timeout=60)
        assert task.done()
        told = len(at.said())
        if why != "session":
            assert (await at.ask("GET", f"{PLACE}/{begun['id']}"))[1]["status"] == "ended"
        else:
            assert at.desk.cyclic.sessions() == set()
        assert told <= 1

    run(tmp_path, story)


def test_a_slow_listener_is_told_what_was_read_last_before_the_end(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        _, begun = await at.ask("POST", PLACE, {"data": "F195"})
        await until(at.said)
        (one,) = at.desk.cyclic._known.values()
        heard = []
        async for event in at.desk.cyclic.follow("brake", begun["id"], "s1"):
            heard.append(event["number"])
            if heard == [1]:  # another is read, and the subscription ends, while this one is told
                one.events.append({**event, "number": 2})
                await at.ask("DELETE", f"{PLACE}/{begun['id']}")
        assert heard == [1, 2]

    run(tmp_path, story)


def test_a_session_has_a_few_and_sees_its_own_alone(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        for _ in range(SUBSCRIPTIONS_MAX):
            status, begun = await at.ask("POST", PLACE, {"data": ["F195"]})
            assert status == 200
        assert code_of(await at.ask("POST", PLACE, {"data": ["F195"]})) == (409, "too_many_subscriptions")
        await open_session(at, "s2", "read")
        assert (await at.ask("GET", PLACE, session="s2"))[1]["items"] == []
        assert (await at.ask("GET", f"{PLACE}/{begun['id']}", session="s2"))[0] == 404
        assert (await at.ask("DELETE", f"{PLACE}/{begun['id']}", session="s2"))[0] == 404
        await at.ask("DELETE", f"{PLACE}/{begun['id']}")
        assert (await at.ask("POST", PLACE, {"data": ["F195"]}))[0] == 200

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"data": []}, 422),
        ({"data": "F195,F195"}, 422),
        ({"data": [f"F1{number:02X}" for number in range(9)]}, 422),
        ({"data": ["speed"]}, 404),
        ({"data": [7]}, 422),
        ({"data": ["F195"], "interval": 0}, 422),
        ({"data": ["F195"], "interval": 61}, 422),
        ({"data": ["F195"], "interval": 0.1}, 422),
        ({"data": ["F195"], "duration": 601}, 422),
    ],
)
def test_what_asks_for_nothing_or_too_much_is_refused(
    tmp_path: Path, body: dict[str, Any], status: int
) -> None:
    async def story(at: Bench) -> None:
        assert (await at.ask("POST", PLACE, body))[0] == status
        assert (await at.ask("POST", "/components/wheel/cyclic-subscriptions", {"data": ["F195"]}))[0] == 404

    run(tmp_path, story)


def test_answers_go_before_what_is_only_shown(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        for number in range(100):
            at.link._tell_event("s1", "x", {"number": number})
        assert at.link.answers.qsize() < at.link.answers.maxsize
        at.link._tell_event("local.bench-1.x", "x", {})
        assert not [each for each in at.said() if each.body == {"event": {}}]

    run(tmp_path, story)


def test_a_value_that_is_too_large_is_told_as_such_and_hides_no_other() -> None:
    async def story() -> None:
        size = VALUE_BYTES_MAX - 2  # in quotes
        values = {"a": "x" * size, "b": "x" * (size + 1)}

        async def read(_session: str, _component: str, data_id: str) -> Any:
            return values[data_id]

        clock = DeskClock()
        lines, heard = Subscriptions(clock, read, allowed=lambda _: True), list[Event]()
        lines.tell = lambda _session, _id, event: heard.append(event)
        lines.start(
            "c1",
            "brake",
            {"data": "a,b"},
            session="s1",
            expires_at=clock.now() + timedelta(hours=1),
            parse=str,
        )
        await until(lambda: heard)
        await lines.end()
        assert heard[0]["values"] == {"a": {"value": values["a"]}, "b": {"error": "too_large"}}

    asyncio.run(asyncio.wait_for(story(), 120))


def test_what_is_kept_for_a_later_listener_is_bounded_in_bytes() -> None:
    event = {"number": 1, "values": {"a": {"value": "x" * (KEPT_BYTES_MAX // 3)}}}
    one = _Running(Subscription(id="c", component="b", session="s", data=("a",), interval=1, until=NOW))
    for number in range(10):
        _keep(one, {**event, "number": number})
    assert [each["number"] for each in one.events] == [8, 9]
    _keep(one, {**event, "number": 10, "values": {"a": {"value": "x" * KEPT_BYTES_MAX * 2}}})
    assert [each["number"] for each in one.events] == [10]  # the newest is always there
    small = _Running(one.what)
    for number in range(KEPT_MAX + 5):
        _keep(small, {"number": number})
    assert len(small.events) == len(small.sizes) == KEPT_MAX


def test_an_event_that_does_not_fit_an_answer_is_told_without_its_values(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        at.link._tell_event("s1", "c1", {"number": 1, "values": {"a": {"value": "x" * ANSWER_BYTES_MAX}}})
        (answer,) = at.said()
        assert (answer.status, answer.final) == (206, False)
        assert answer.body["event"] == {"number": 1, "values": {"a": {"error": "too_large"}}}

    run(tmp_path, story)


def test_a_tester_beside_the_vehicle_follows_it_as_server_sent_events(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        token = add_tester(
            at.folder, "bench-1", "read", secret=lambda size: b"t" * size, durability="buffered"
        )
        host = {"host": "127.0.0.1:8781", "authorization": f"Bearer {token}"}

        async def ask(method: str, path: str, body: bytes = b"") -> Answer:
            asked = Request(method=method, path=f"/vehicle/v1{path}", headers=host, body=body)
            return await at.face.answer(asked, frozenset({"127.0.0.1:8781"}))

        await ask("POST", "/sessions", b'{"reason": "a hum"}')
        begun = msgspec.json.decode((await ask("POST", PLACE, b'{"data": ["F195"], "duration": 5}')).body)
        followed = await ask("GET", f"{PLACE}/{begun['id']}/events")
        assert followed.kind == "text/event-stream"
        assert followed.stream is not None
        first = await anext(followed.stream)
        assert first.startswith(b"id: 1\ndata: {")
        assert b'"F195":{"value":"1.0.0"}' in first
        at.vehicle.clock.s += 6
        rest = [piece async for piece in followed.stream]
        assert rest[-1] == b"event: end\ndata: {}\n\n"
        assert at.said() == []  # over the link nobody asked for it
        assert (await ask("GET", f"{PLACE}/nothing/events")).status == 404

    run(tmp_path, story)


def test_no_more_listen_at_a_time_than_may_however_close_together_they_ask(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        token = add_tester(at.folder, "b", "read", secret=lambda size: b"t" * size, durability="buffered")
        host = {"host": "127.0.0.1:8781", "authorization": f"Bearer {token}"}

        async def get(path: str, method: str = "GET", body: bytes = b"") -> Answer:
            asked = Request(method=method, path=f"/vehicle/v1{path}", headers=host, body=body)
            return await at.face.answer(asked, frozenset({"127.0.0.1:8781"}))

        await get("/sessions", "POST", b'{"reason": "a hum"}')
        begun = msgspec.json.decode((await get(PLACE, "POST", b'{"data": "F195"}')).body)
        place = f"{PLACE}/{begun['id']}/events"
        many = await asyncio.gather(*(get(place) for _ in range(16)))
        streams = [each.stream for each in many if each.stream is not None]
        assert len(streams) == STREAMS_MAX
        for each in streams:  # none of which was listened to
            await each.aclose()
        assert (await get(f"{PLACE}/none/events")).status == 404
        assert at.face._streams == 0

    run(tmp_path, story)
