"""Requests over the vehicle's own connection: done once however often they are sent, and never more than fit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Conflict, Corrupt, NotFound, Unavailable
from ringroad.protocol.diagnostics import DiagnosticAnswer, DiagnosticRequest
from ringroad.vehicle.diagnostics.link import ENDS_TOLD_AGAIN, REMEMBERED_MAX, WAITING_MAX, DiagnosticLink
from ringroad.vehicle.diagnostics.operations import CUT_OFF, Execution
from ringroad.vehicle.diagnostics.sessions import answer_session, read_sessions, seen_of
from support.diagnosed import Bench, bench, open_session

CLEAR = "/components/brake/faults"


def wire(request: DiagnosticRequest) -> bytes:
    return msgspec.json.encode(request)


async def next_answer(at: Bench) -> DiagnosticAnswer:
    return msgspec.json.decode(await asyncio.wait_for(at.link.answers.get(), 60), type=DiagnosticAnswer)


def started_again(at: Bench) -> DiagnosticLink:
    return DiagnosticLink(
        at.desk, at.link._sessions, folder=at.vehicle.folder, clock=at.clock, durability="buffered"
    )


def run(
    folder: Path, story: Callable[[Bench], Awaitable[None]], *, policy: Any = "test", working: bool = True
) -> None:
    async def whole() -> None:
        async with bench(folder, policy=policy) as at:
            task = asyncio.create_task(at.link.run()) if working else None
            try:
                await story(at)
            finally:
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(whole(), 120))


def test_a_request_that_is_sent_again_is_answered_again_and_done_once(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        await at.ask("POST", "/components/brake/locks")
        request = at.request("DELETE", CLEAR)
        at.link.take(wire(request))
        first = await next_answer(at)
        at.vehicle.ports["brake"].ecu.run_cycle()  # the faults are back
        at.link.take(wire(request))
        assert await next_answer(at) == first
        assert len((await at.ask("GET", CLEAR))[1]["items"]) == 2

    run(tmp_path, story)


def test_how_an_operation_ended_is_told_by_itself_and_by_its_request_sent_again(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        await at.ask("POST", "/components/brake/locks")
        request = at.request("POST", "/components/brake/operations/self-test/executions")
        at.link.take(wire(request))
        began, ended = await next_answer(at), await next_answer(at)
        assert (began.final, began.body["status"]) == (True, "running")
        assert (ended.id, ended.final) == (request.id, False)
        told = ended.body["execution"]
        assert (told["id"], told["status"], told["result"]) == (request.id, "completed", {"passed": True})
        at.link.take(wire(request))
        again = await next_answer(at)
        assert (again.final, again.body) == (True, told)
        assert at.link.answers.empty()

    run(tmp_path, story)


def test_a_change_that_was_cut_off_by_a_restart_is_told_as_unknown_and_not_begun_again(
    tmp_path: Path,
) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        await at.ask("POST", "/components/brake/locks")
        request = at.request("DELETE", CLEAR)
        at.link._note(request.id, None)  # the moment before it is begun
        reborn = started_again(at)
        reborn.take(wire(request))
        answer = msgspec.json.decode(reborn.answers.get_nowait(), type=DiagnosticAnswer)
        assert (answer.status, answer.body["error"]["code"]) == (409, "interrupted")
        assert reborn._waiting.empty()

    run(tmp_path, story, working=False)


def test_an_operation_that_a_restart_cut_off_is_told_as_failed_by_itself_and_to_whoever_asks(
    tmp_path: Path,
) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        await at.ask("POST", "/components/brake/locks")
        request = at.request("POST", "/components/brake/operations/self-test/executions")
        at.link.take(wire(request))
        began, _ = await next_answer(at), await next_answer(at)
        at.link._note(request.id, began)  # the moment in which power goes
        reborn = started_again(at)
        reborn.connected()
        told = msgspec.json.decode(reborn.answers.get_nowait(), type=DiagnosticAnswer)
        execution = told.body["execution"]
        assert (told.id, told.final, execution["id"], execution["status"]) == (
            request.id,
            False,
            request.id,
            "failed",
        )
        assert execution["error"] == CUT_OFF
        assert execution["ended_at"] is not None
        assert (await at.ask("GET", f"{request.path}/{request.id}")) == (200, execution)
        reborn.take(wire(request))
        again = msgspec.json.decode(reborn.answers.get_nowait(), type=DiagnosticAnswer)
        assert (again.final, again.body) == (True, execution)
        later = started_again(at)
        assert later._noted[request.id] == again  # and does not fail anew with each start

    run(tmp_path, story)


def test_an_operation_that_was_looked_at_often_ends_as_it_ended_after_a_restart(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        await at.ask("POST", "/components/brake/locks")
        request = at.request("POST", "/components/brake/operations/self-test/executions")
        at.link.take(wire(request))
        began, ended = await next_answer(at), await next_answer(at)
        at.link._note(request.id, began)  # as if it still ran
        for number in range(REMEMBERED_MAX + WAITING_MAX):
            at.link._remember(f"ask_look_{number}", began)
        at.link._tell_end(msgspec.convert(ended.body["execution"], Execution))
        reborn = started_again(at)
        noted = reborn._noted[request.id]
        assert noted is not None
        assert noted.body == ended.body["execution"]

    run(tmp_path, story)


def test_a_full_disk_keeps_no_vehicle_from_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        await at.ask("POST", "/components/brake/locks")
        request = at.request("POST", "/components/brake/operations/self-test/executions")
        at.link.take(wire(request))
        began, _ = await next_answer(at), await next_answer(at)
        at.link._note(request.id, began)
        strange = msgspec.structs.replace(
            began, body={**began.body, "id": "ask_new", "status": "of a later version"}
        )
        at.link._note("ask_new", msgspec.structs.replace(strange, id="ask_new"))

        def full(*_: object, **__: object) -> None:
            raise Unavailable("the disk is full")

        monkeypatch.setattr("ringroad.vehicle.diagnostics.link.replace_file", full)
        reborn = started_again(at)
        reborn.connected()
        told = msgspec.json.decode(reborn.answers.get_nowait(), type=DiagnosticAnswer)
        assert (told.id, told.body["execution"]["status"]) == (request.id, "failed")
        assert reborn.answers.empty()

    run(tmp_path, story)


def test_of_many_operations_the_newest_ends_are_told_again_with_a_connection(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        await at.ask("POST", "/components/brake/locks")
        request = at.request("POST", "/components/brake/operations/self-test/executions")
        at.link.take(wire(request))
        await next_answer(at)
        one = (await next_answer(at)).body["execution"]
        ids = [f"ask_old_{number}" for number in range(ENDS_TOLD_AGAIN + 3)]
        for each in ids:
            body = {**one, "id": each}
            at.link._note(each, DiagnosticAnswer(id=each, status=200, at=at.clock.now(), body=body))
        at.link._note("ask_clear", None)
        at.link.connected()
        assert [each.id for each in at.said()] == ids[3:]

    run(tmp_path, story)


def test_a_change_that_was_done_before_a_restart_has_its_answer_after_it(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        await at.ask("POST", "/components/brake/locks")
        request = at.request("DELETE", CLEAR)
        at.link.take(wire(request))
        first = await next_answer(at)
        reborn = started_again(at)
        reborn.take(wire(request))
        assert msgspec.json.decode(reborn.answers.get_nowait(), type=DiagnosticAnswer) == first

    run(tmp_path, story)


def test_the_driver_is_asked_and_the_answer_comes_when_the_driver_gives_it(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        at.link.take(wire(at.request("POST", "/sessions", at.wanted())))
        asked = await next_answer(at)
        assert (asked.status, asked.final, asked.body["state"]) == (202, False, "asked")
        assert (await at.ask("GET", "/components"))[1]["error"]["code"] == "session_asked"
        seen = seen_of(read_sessions(tmp_path)["s1"])
        answer_session(tmp_path, "s1", allow=True, seen=seen, now=at.clock.now())
        opened = await next_answer(at)
        assert (opened.status, opened.body) == (200, {"state": "open", "consent": "driver"})
        assert (await at.ask("GET", "/components"))[0] == 200
        with pytest.raises(Conflict):
            answer_session(tmp_path, "s1", allow=True, seen=seen, now=at.clock.now())
        answer_session(tmp_path, "s1", allow=False, now=at.clock.now())  # enough
        why = (await at.ask("GET", "/components"))[1]["error"]
        assert (why["code"], why["message"]) == ("session_declined", "the driver ended the session")

    run(tmp_path, story, policy="driver")


def test_a_driver_who_ends_an_open_session_is_told_of_once_by_the_sessions_own_id(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        answer_session(tmp_path, "s1", allow=False, now=at.clock.now())
        ended = await next_answer(at)
        assert (ended.id, ended.status, ended.final, ended.body["error"]["code"]) == (
            "s1",
            403,
            True,
            "declined",
        )
        at.link._tell_words()
        assert at.said() == []

    run(tmp_path, story)


def test_a_driver_who_declines_ends_it(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        at.link.take(wire(at.request("POST", "/sessions", at.wanted())))
        await next_answer(at)
        answer_session(tmp_path, "s1", allow=False, now=at.clock.now())
        declined = await next_answer(at)
        assert (declined.status, declined.body["error"]["code"]) == (403, "declined")
        why = (await at.ask("GET", "/components"))[1]["error"]
        assert (why["code"], why["message"]) == ("session_declined", "the driver declined")
        with pytest.raises(NotFound):
            answer_session(tmp_path, "s2", allow=True, now=at.clock.now())

    run(tmp_path, story, policy="driver")


def test_a_vehicle_that_is_asked_too_much_at_once_says_so_and_is_asked_again(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        for _ in range(WAITING_MAX):
            at.link.take(wire(at.request("GET", "/components")))
        assert at.said() == []
        late = at.request("GET", "/components")
        at.link.take(wire(late))
        [busy] = at.said()
        assert (busy.id, busy.status, busy.final) == (late.id, 503, False)

    run(tmp_path, story, working=False)


def test_a_request_that_came_too_late_is_not_begun(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await open_session(at)
        request = at.request("GET", "/components")
        at.vehicle.clock.s += 301
        assert (await at.link._do(request)).body["error"]["code"] == "expired"

    run(tmp_path, story, working=False)


def test_a_request_of_a_newer_server_is_refused_by_its_id(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        at.link.take(b'{"id": "ask_1", "verb": "look"}')
        [answer] = at.said()
        assert (answer.id, answer.status, answer.body["error"]["code"]) == ("ask_1", 422, "not_understood")

    run(tmp_path, story, working=False)


def test_what_does_not_read_back_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "diagnostics-done.json").write_text("[")

    async def story(_: Bench) -> None:
        raise AssertionError("started")

    with pytest.raises(Corrupt):
        run(tmp_path, story, working=False)


@given(
    payload=st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(msgspec.json.encode)
)
def test_any_bytes_are_taken_without_harm(tmp_path_factory: pytest.TempPathFactory, payload: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    link = DiagnosticLink(
        SimpleNamespace(cyclic=SimpleNamespace(), executions=SimpleNamespace(recall=list)),  # type: ignore[arg-type]  # nothing of this reaches desk or sessions
        None,  # type: ignore[arg-type]
        folder=folder,
        clock=SystemClock(),
        durability="buffered",
    )
    link.take(payload)
    assert link._waiting.empty()
