"""Operations that go on by themselves, and modes that end by themselves, on real virtual ECUs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ringroad.kernel.errors import Unavailable
from ringroad.protocol.diagnostics import Method
from ringroad.sim.vecu.script import Behaviour, Script, Trouble
from ringroad.vehicle.agents.base import image_of
from ringroad.vehicle.agents.session import EcuAccess, EcuSession, Refusal
from ringroad.vehicle.agents.verbs import UdsAgent
from ringroad.vehicle.agents.wire import BankStatus, Did, Layout, Mode, SlotStatus, Swap
from ringroad.vehicle.diagnostics import operations
from ringroad.vehicle.diagnostics.operations import (
    RESTART,
    SHUT_DOWN,
    Execution,
    Executions,
    _reset,
    _self_test,
)
from ringroad.vehicle.diagnostics.sessions import answer_session
from ringroad.vehicle.uds import Session
from support.diagnosed import FAULT, OTHER, Bench, bench, open_session
from support.uptane import NOW
from support.vehicle_world import DeskClock, Power, as_verified, desk_ecu, director_target

OPERATIONS = "/components/brake/operations"
SELF_TEST = f"{OPERATIONS}/self-test/executions"
MODES = "/components/brake/modes"


def run(folder: Path, story: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with bench(folder) as at:
            await open_session(at)
            await at.ask("POST", "/components/brake/locks", {"lock_expiration": 3_600})
            try:
                await story(at)
            finally:
                await at.desk.end()

    asyncio.run(asyncio.wait_for(whole(), 120))


async def ended(at: Bench, place: str, execution_id: str) -> dict[str, Any]:
    """Look until an execution is over."""
    while True:
        status, found = await at.ask("GET", f"{place}/{execution_id}")
        assert status == 200, found
        if found["status"] != "running":
            return found
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("self_test", ["pass", "fail"])
def test_a_self_test_is_begun_and_its_result_read_later(tmp_path: Path, self_test: Any) -> None:
    async def story(at: Bench) -> None:
        sha256 = director_target(at.vehicle.ecus["brake"], "1.0.0", 1).sha256
        at.vehicle.ports["brake"].ecu.script = Script(images={sha256: Behaviour(self_test=self_test)})
        _, begun = await at.ask("POST", SELF_TEST)
        assert begun["status"] == "running"
        found = await ended(at, SELF_TEST, begun["id"])
        assert (found["status"], found["result"]) == ("completed", {"passed": self_test == "pass"})
        assert [each["id"] for each in (await at.ask("GET", SELF_TEST))[1]["items"]] == [begun["id"]]
        assert at.vehicle.ports["brake"].ecu._session == 1  # the extended session is left again

    run(tmp_path, story)


def test_a_reset_ends_when_the_ecu_answers_again(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        boots = at.vehicle.ports["brake"].ecu.flash.state.boots
        place = f"{OPERATIONS}/reset/executions"
        _, begun = await at.ask("POST", place)
        found = await ended(at, place, begun["id"])
        assert (found["status"], found["result"]) == ("completed", {"software_version": "1.0.0"})
        assert at.vehicle.ports["brake"].ecu.flash.state.boots == boots + 1

    run(tmp_path, story)


@pytest.mark.parametrize("operation", ["reset", "self-test"])
def test_another_ecu_at_its_place_is_told_to_do_nothing(tmp_path: Path, operation: str) -> None:
    async def story(at: Bench) -> None:
        ecu = at.vehicle.ports["brake"].ecu
        boots = ecu.flash.state.boots
        ecu.config = replace(ecu.config, serial="ANOTHER")
        place = f"{OPERATIONS}/{operation}/executions"
        _, begun = await at.ask("POST", place)
        found = await ended(at, place, begun["id"])
        assert found["status"] == "failed"
        assert "'ANOTHER' answers instead of" in found["error"]
        assert ecu.flash.state.boots == boots
        status, refused = await at.ask("DELETE", "/components/brake/faults")
        assert (status, refused["error"]["code"]) == (409, "serial_mismatch")
        assert [each.code for each in ecu.faults.stored] == [FAULT, OTHER]

    run(tmp_path, story)


def test_an_ecu_that_takes_its_time_to_restart_is_not_called_restarted_before() -> None:
    async def story() -> None:
        late = Late(answers_before_it_restarts=3)
        result = await _reset(late.session())
        assert (result, late.restarted) == ({"software_version": "1.0"}, True)
        never = Late(answers_before_it_restarts=None)
        with pytest.raises(Refusal, match="boot_failed"):
            await _reset(never.session(restart_s_max=0.2))
        assert never.active == Session.DEFAULT

    asyncio.run(asyncio.wait_for(story(), 60))


def test_an_ecu_whose_restart_is_no_longer_waited_for_leaves_its_session_unless_a_mode_keeps_it() -> None:
    async def story() -> None:
        for kept in (False, True):
            never = Late(answers_before_it_restarts=None)
            ecu = never.session()
            if kept:
                await ecu.uds.session(Session.EXTENDED)
            waits = asyncio.create_task(_reset(ecu))
            await asyncio.sleep(0.1)
            waits.cancel()
            await asyncio.wait({waits})
            left = Session.EXTENDED if kept else Session.DEFAULT
            assert (never.active, ecu.uds.entered) == (left, left)

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_session_that_an_operation_could_not_leave_is_left_when_faults_are_looked_for(
    tmp_path: Path,
) -> None:
    async def story(at: Bench) -> None:
        brake, port = at.vehicle.ecus["brake"], at.vehicle.ports["brake"]
        async with at.desk._place.orchestrator.ecus.agent(brake.serial) as agent:
            assert isinstance(agent, UdsAgent)
            await agent.faults()
        port.follow(Script(transport=(Trouble(kind="drop_request", service=0x10, at=2),)))
        _, begun = await at.ask("POST", SELF_TEST)
        assert (await ended(at, SELF_TEST, begun["id"]))["status"] == "completed"
        seen = [port.ecu._session]
        await agent.faults()
        assert [*seen, port.ecu._session] == [Session.EXTENDED, Session.DEFAULT]

    run(tmp_path, story)


class Late:
    """An ECU that says yes to its reset and goes on answering for a while, as it was."""

    def __init__(self, *, answers_before_it_restarts: int | None) -> None:
        self._left = answers_before_it_restarts
        self.active, self._ordered, self.restarted = 1, False, False

    def session(self, *, restart_s_max: float = 20.0) -> EcuSession:
        """Return a tester's end of it."""
        access = EcuAccess(serial="L-1", derive=lambda _level, seed: seed, restart_s_max=restart_s_max)
        channel: Any = self
        return EcuSession(channel, access)

    async def connect(self) -> None:
        """Be there."""

    async def close(self) -> None:
        """Be left."""

    async def request(self, payload: bytes, **_: Any) -> bytes:
        """Answer as UDS has it."""
        if self._ordered and self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._ordered, self.active, self.restarted = False, 1, True
        match payload[0], payload[1:3]:
            case 0x10, _:
                self.active = payload[1]
                return b"\x50" + payload[1:2]
            case 0x11, _:
                self._ordered = True
                return b"\x51\x01"
            case _, b"\xf1\x8c":
                return b"\x62\xf1\x8cL-1"
            case _, b"\xf1\x86":
                return b"\x62\xf1\x86" + bytes([self.active])
            case _:
                return b"\x62" + payload[1:3] + b"1.0"


class Pending:
    """An ECU whose routine goes on until it is told to stop, and what it says to that, one try after the other."""

    def __init__(self, *says: bytes | None) -> None:
        self._says, self.asked = list(says), list[str]()
        self.tests = asyncio.Event()

    async def connect(self) -> None:
        """Be there."""

    async def request(self, payload: bytes, **_: Any) -> bytes:
        """Answer as UDS has it; None is no answer."""
        self.asked.append(payload.hex())
        match payload[:2]:
            case b"\x31\x01":
                self.tests.set()
                await asyncio.Event().wait()
            case b"\x31\x02":
                answer = self._says.pop(0)
                if answer is None:
                    raise Unavailable("no answer", code="timeout")
                return answer
            case b"\x22\xf1":
                return b"\x62\xf1\x8cP-1"
        return b"\x50" + payload[1:2]


def self_tested(pending: Any) -> tuple[Executions, Execution]:
    """Begin its self-test."""
    ecu = EcuSession(pending, EcuAccess(serial="P-1", derive=lambda _level, seed: seed))
    executions = Executions(DeskClock())
    begun = Execution(
        id="x1", component="brake", operation="self-test", session="s1", by="ole",
        status="running", started_at=NOW,
    )  # fmt: skip
    return executions, executions.start(begun, partial(_self_test, ecu))


STOPPED, NOT_RUNNING, UNKNOWN = b"\x71\x02\x03\x05", b"\x7f\x31\x24", b"\x7f\x31\x12"
MOVES = "it moves"
UNSURE = f"{MOVES}; the ECU did not confirm that it stopped: "


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ((STOPPED,), MOVES),
        ((NOT_RUNNING,), MOVES),  # it was over
        ((None, STOPPED), MOVES),
        ((None, None), f"{UNSURE}it does not answer"),
        ((UNKNOWN,), f"{UNSURE}the ECU refused service 0x31: SUB_FUNCTION_NOT_SUPPORTED (0x12)"),
    ],
)
def test_a_self_test_is_stopped_on_its_ecu_and_whoever_asks_is_told_where_that_is_not_known(
    says: tuple[bytes | None, ...], error: str
) -> None:
    async def story() -> None:
        pending = Pending(*says)
        executions, begun = self_tested(pending)
        await pending.tests.wait()
        executions.halt(MOVES)
        ended = await executions.stop(begun)
        assert (ended.status, ended.error) == ("stopped", error)
        stops = ["31020305"] * len(says)
        assert pending.asked == ["1003", "31010305", *stops, "22f18c", "1001"]

    asyncio.run(asyncio.wait_for(story(), 60))


def test_what_the_end_of_the_vehicles_process_stops_says_so() -> None:
    async def story() -> None:
        pending = Pending(STOPPED)
        executions, begun = self_tested(pending)
        await pending.tests.wait()
        await executions.end()
        ended = executions.get("brake", "self-test", begun.id)
        assert (ended.status, ended.error) == ("stopped", SHUT_DOWN)

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_self_test_that_goes_on_for_too_long_is_stopped_on_its_ecu(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        pending = Pending(None, None)
        executions, _ = self_tested(pending)
        await asyncio.gather(*executions._tasks.values())
        await asyncio.sleep(0)  # what is called when a task is done is called a turn later
        (ended,) = executions.of("brake", "self-test")
        why = "not over after 0.05 s; the ECU did not confirm that it stopped: it does not answer"
        assert (ended.status, ended.error) == ("failed", why)
        assert pending.asked[-1] == "1001"

    monkeypatch.setattr(operations, "OPERATION_S_MAX", 0.05)
    asyncio.run(asyncio.wait_for(story(), 60))


@pytest.mark.parametrize("first", ["timer", "halt"])
def test_a_second_cut_while_a_self_test_is_stopped_loses_nothing_of_what_the_ecu_did_not_confirm(
    monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    class Slow(Pending):
        """It is asked to stop, and says nothing until both have cut its test off."""

        async def request(self, payload: bytes, **more: Any) -> bytes:
            if payload[:2] == b"\x31\x02":
                asks.set()
                await both.wait()
            return await super().request(payload, **more)

    asks, both = asyncio.Event(), asyncio.Event()

    async def story() -> None:
        pending = Slow(None, None)
        executions, begun = self_tested(pending)
        await (pending.tests if first == "halt" else asks).wait()
        executions.halt(MOVES)
        while executions._tasks[begun.id].cancelling() < 2:  # noqa: ASYNC110 - of a task
            await asyncio.sleep(0.01)
        both.set()
        ended = await executions.stop(begun)
        assert (ended.status, ended.error) == ("stopped", f"{UNSURE}it does not answer")
        assert pending.asked[-4:] == ["31020305", "31020305", "22f18c", "1001"]

    monkeypatch.setattr(operations, "OPERATION_S_MAX", 0.3)
    asyncio.run(asyncio.wait_for(story(), 60))


def test_the_self_test_of_an_update_is_stopped_on_its_ecu_when_the_vehicle_shuts_down() -> None:
    class Running(Pending):
        """It runs the image that is to be checked."""

        async def request(self, payload: bytes, **more: Any) -> bytes:
            if payload == b"\x22" + Did.IMAGE_SHA256.to_bytes(2, "big"):
                return b"\x62" + payload[1:] + bytes(32)
            if payload == b"\x22" + Did.SLOT_STATE.to_bytes(2, "big"):
                return b"\x62" + payload[1:] + state
            return await super().request(payload, **more)

    bank = BankStatus(valid=True, version="2.0", sha256=bytes(32), release_counter=2)
    state = SlotStatus(
        layout=Layout.AB, mode=Mode.APPLICATION, swap=Swap.TRIAL, active=0, capacity_bytes=1,
        committed_counter=1, banks=(bank, bank),
    ).encode()  # fmt: skip

    async def story() -> None:
        pending = Running(STOPPED)
        ecu = EcuSession(pending, EcuAccess(serial="P-1", derive=lambda _level, seed: seed))  # type: ignore[arg-type]
        image = image_of(as_verified(director_target(desk_ecu("brake", "ab", Power()), "2.0", 2)))
        image = replace(image, sha256=bytes(32).hex())
        checking = asyncio.create_task(ecu.verify(image, frozenset({"self_test"}), frozenset()))
        await pending.tests.wait()
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking
        assert pending.asked[-2:] == ["31010305", "31020305"]

    asyncio.run(asyncio.wait_for(story(), 60))


@pytest.mark.parametrize("stops", [True, False])
def test_a_self_test_that_takes_its_time_is_stopped_when_the_vehicle_drives_off(
    tmp_path: Path, *, stops: bool
) -> None:
    async def story(at: Bench) -> None:
        late = Trouble(kind="delay", service=0x31, delay_ms=500)
        refused = Trouble(kind="nrc", service=0x31, at=2, nrc=0x22)
        at.vehicle.ports["brake"].follow(Script(transport=(late,) if stops else (late, refused)))
        _, begun = await at.ask("POST", SELF_TEST)
        await asyncio.sleep(0.2)
        at.vehicle.signals.values = {"Vehicle.Speed": 3}
        at.desk.tidy()
        found = await ended(at, SELF_TEST, begun["id"])
        assert (found["status"], "Vehicle.Speed" in found["error"]) == ("stopped", True)
        assert ("did not confirm" in found["error"]) is not stops
        assert at.vehicle.ports["brake"].ecu._session == Session.DEFAULT

    run(tmp_path, story)


@pytest.mark.parametrize("values", [{"Vehicle.Speed": 3}, {}])
def test_what_runs_is_stopped_when_the_vehicle_no_longer_stands(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    async def story(at: Bench) -> None:
        async with at.desk._place.orchestrator.ecus.agent(at.vehicle.ecus["brake"].serial):  # so it goes on
            _, begun = await at.ask("POST", SELF_TEST)
            at.desk.tidy()
            await asyncio.sleep(0)
            assert (await at.ask("GET", f"{SELF_TEST}/{begun['id']}"))[1]["status"] == "running"
            at.vehicle.signals.values = values
            at.desk.tidy()
            found = await ended(at, SELF_TEST, begun["id"])
        assert found["status"] == "stopped"
        assert "Vehicle.Speed" in found["error"]

    run(tmp_path, story)


def test_a_restart_that_was_ordered_is_waited_for_though_the_vehicle_moves() -> None:
    async def story() -> None:
        over = asyncio.Event()

        async def work() -> dict[str, Any]:
            await over.wait()
            return {"done": True}

        executions = Executions(DeskClock())
        for number, operation in enumerate((RESTART, "self-test")):
            one = Execution(
                id=operation, component=f"ecu{number}", operation=operation, session="s1", by="ole",
                status="running", started_at=NOW,
            )  # fmt: skip
            executions.start(one, work)
        await asyncio.sleep(0)
        executions.halt("it moves")
        over.set()
        await asyncio.gather(*executions._tasks.values(), return_exceptions=True)
        await asyncio.sleep(0)  # what is called when a task is done is called a turn later
        restart, test = (
            executions.get("ecu0", RESTART, RESTART),
            executions.get("ecu1", "self-test", "self-test"),
        )
        assert (restart.status, restart.result, restart.error) == ("completed", {"done": True}, "")
        assert (test.status, test.result, test.error) == ("stopped", {}, "it moves")

    asyncio.run(asyncio.wait_for(story(), 60))


@pytest.mark.parametrize("how", ["halted", "dropped", "stopped"])
def test_what_is_being_stopped_is_left_to_put_its_ecu_back(how: str) -> None:
    async def story() -> None:
        put_back: list[str] = []

        async def work() -> dict[str, Any]:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.02)  # an ECU takes its time
                put_back.append("brake")
            return {}

        executions = Executions(DeskClock())
        begun = executions.start(
            Execution(
                id="x1", component="brake", operation="self-test", session="s1", by="ole",
                status="running", started_at=NOW,
            ),
            work,
        )  # fmt: skip
        await asyncio.sleep(0)
        executions.halt("it moves")
        await asyncio.sleep(0)
        match how:
            case "halted":
                executions.halt("it moves still")
            case "dropped":
                executions.drop("s1")
        ended = await executions.stop(begun)
        assert (ended.status, ended.error, put_back) == ("stopped", "it moves", ["brake"])

    asyncio.run(asyncio.wait_for(story(), 60))


def test_an_ecu_that_does_not_answer_fails_its_operation_and_says_so(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        at.vehicle.ports["brake"].alive = False
        _, begun = await at.ask("POST", SELF_TEST)
        found = await ended(at, SELF_TEST, begun["id"])
        assert found["status"] == "failed"
        assert found["error"]

    run(tmp_path, story)


def test_one_operation_runs_on_a_component_and_can_be_stopped(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        serial = at.vehicle.ecus["brake"].serial
        async with at.desk._place.orchestrator.ecus.agent(serial):  # somebody has the line
            _, begun = await at.ask("POST", SELF_TEST)
            status, refused = await at.ask("POST", f"{OPERATIONS}/reset/executions")
            assert (status, refused["error"]["code"]) == (409, "operation_running")
            _, stopped = await at.ask("DELETE", f"{SELF_TEST}/{begun['id']}")
            assert stopped["status"] == "stopped"
            await at.ask("POST", SELF_TEST)
            at.desk.close("s1")  # and what a session began ends with it
        await asyncio.sleep(0)
        assert not at.desk.executions._tasks or all(
            task.cancelling() for task in at.desk.executions._tasks.values()
        )

    run(tmp_path, story)


def test_a_mode_is_kept_until_its_time_is_over(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        ecu = at.vehicle.ports["brake"].ecu
        assert (await at.ask("PUT", f"{MODES}/session", {"value": "extended", "mode_expiration": 60}))[
            0
        ] == 200
        assert ecu._session == 3
        await at.ask("PUT", f"{MODES}/security", {"value": "unlocked", "mode_expiration": 60})
        await at.ask("PUT", f"{MODES}/dtcsetting", {"value": "off", "mode_expiration": 60})
        assert (ecu._access.proven, ecu.faults.enabled) == (True, False)
        _, listed = await at.ask("GET", MODES)
        assert {each["id"]: each["value"] for each in listed["items"]} == {
            "session": "extended", "security": "unlocked", "dtcsetting": "off", "commctrl": "enabled",
        }  # fmt: skip
        at.vehicle.clock.s += 61
        await asyncio.gather(*at.desk._modes._keepers.values())
        assert ecu._session == 1
        assert ecu.faults.enabled
        _, listed = await at.ask("GET", MODES)
        assert {each["value"] for each in listed["items"]} == {"default", "locked", "on", "enabled"}

    run(tmp_path, story)


def test_a_mode_that_an_update_ended_ends_on_its_ecu_with_the_next_look_for_faults(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        port = at.vehicle.ports["brake"]
        await at.ask("PUT", f"{MODES}/session", {"value": "extended", "mode_expiration": 60})
        async with at.desk._place.orchestrator.ecus.agent(at.vehicle.ecus["brake"].serial) as agent:
            assert isinstance(agent, UdsAgent)
            agent._home = True  # as it is after its first look
            await agent.faults()
        await asyncio.sleep(0.1)
        seen = [port.ecu._session]  # a look ends no mode
        at.desk._modes._resting = lambda: False
        await asyncio.gather(*at.desk._modes._keepers.values())
        seen.append(port.ecu._session)
        await agent.faults()
        assert [*seen, port.ecu._session] == [Session.EXTENDED, Session.EXTENDED, Session.DEFAULT]

    run(tmp_path, story)


def test_a_mode_can_be_given_up_before(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await at.ask("PUT", f"{MODES}/commctrl", {"value": "disabled"})
        await at.ask("PUT", f"{MODES}/session", {"value": "default"})
        assert at.vehicle.ports["brake"].ecu._session == 1
        assert not at.desk._modes._keepers

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"{OPERATIONS}/explode/executions", {}, 404),
        ("GET", f"{SELF_TEST}/ask_0", {}, 404),
        ("DELETE", f"{SELF_TEST}/ask_0", {}, 404),
        ("PUT", f"{MODES}/anything", {"value": "on"}, 404),
        ("PUT", f"{MODES}/session", {"value": "programming"}, 422),
        ("PUT", f"{MODES}/session", {}, 422),
        ("PUT", f"{MODES}/session", {"value": "extended", "mode_expiration": 601}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, method: Method, path: str, body: dict[str, Any], status: int
) -> None:
    async def story(at: Bench) -> None:
        assert (await at.ask(method, path, body))[0] == status

    run(tmp_path, story)


def test_nothing_is_begun_while_the_vehicle_moves_or_without_the_lock(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        at.vehicle.signals.values = {"Vehicle.Speed": 3}
        for method, path, body in (
            ("POST", SELF_TEST, {}),
            ("PUT", f"{MODES}/session", {"value": "extended"}),
        ):
            status, refused = await at.ask(method, path, body)  # type: ignore[arg-type]
            assert (status, refused["error"]["code"]) == (409, "precondition")
            assert "Vehicle.Speed == 0, but the value is 3" in refused["error"]["message"]
        at.vehicle.signals.values = {"Vehicle.Speed": 0}
        await at.ask("DELETE", "/components/brake/locks")
        assert (await at.ask("POST", SELF_TEST))[1]["error"]["code"] == "lock_needed"

    run(tmp_path, story)


def test_an_operation_that_waited_for_its_ecu_is_not_begun_in_a_vehicle_that_drives(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        brake = at.vehicle.ecus["brake"]
        boots = at.vehicle.ports["brake"].ecu.flash.state.boots
        place = f"{OPERATIONS}/reset/executions"
        async with at.desk._place.orchestrator.ecus.agent(brake.serial):  # somebody has the line
            _, begun = await at.ask("POST", place)
            await asyncio.sleep(0.05)
            at.vehicle.signals.values = {"Vehicle.Speed": 50}
        found = await ended(at, place, begun["id"])
        assert (found["status"], "not now" in found["error"]) == ("failed", True)
        assert at.vehicle.ports["brake"].ecu.flash.state.boots == boots

    run(tmp_path, story)


def test_clearing_that_waited_for_its_ecu_needs_the_lock_still(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        serial = at.vehicle.ecus["brake"].serial
        async with at.desk._place.orchestrator.ecus.agent(serial):
            waiting = asyncio.create_task(at.ask("DELETE", "/components/brake/faults"))
            await asyncio.sleep(0.05)
            at.desk.close("s1")
        status, refused = await waiting
        assert (status, refused["error"]["code"]) == (403, "no_session")
        await open_session(at)
        assert len((await at.ask("GET", "/components/brake/faults"))[1]["items"]) == 2

    run(tmp_path, story)


@pytest.mark.parametrize("why", ["drives", "unknown", "closed", "over", "denied"])
def test_a_mode_ends_with_the_standing_and_with_the_session(tmp_path: Path, why: str) -> None:
    async def story(at: Bench) -> None:
        ecu = at.vehicle.ports["brake"].ecu
        body = {"value": "off", "mode_expiration": 600}
        assert (await at.ask("PUT", f"{MODES}/dtcsetting", body))[0] == 200
        assert not ecu.faults.enabled
        match why:
            case "drives":
                at.vehicle.signals.values = {"Vehicle.Speed": 50}
            case "unknown":
                at.vehicle.signals.values = {}
            case "closed":
                at.desk._sessions.close("s1", now=at.clock.now())
            case "over":
                at.vehicle.clock.s += 30 * 60 - 1
                await at.ask("PUT", f"{MODES}/dtcsetting", body)
                at.vehicle.clock.s += 1
            case "denied":
                answer_session(tmp_path, "s1", allow=False, now=at.clock.now())
        await asyncio.gather(*at.desk._modes._keepers.values())
        assert (ecu._session, ecu.faults.enabled) == (1, True)

    run(tmp_path, story)


def test_what_a_session_holds_is_free_once_it_is_over(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        serial = at.vehicle.ecus["brake"].serial
        async with at.desk._place.orchestrator.ecus.agent(serial):
            _, begun = await at.ask("POST", SELF_TEST)
            at.vehicle.clock.s += 31 * 60
            await open_session(at, "s2", by="ines")
            assert (await at.ask("POST", "/components/brake/locks", session="s2"))[0] == 200
            await asyncio.sleep(0.05)
            _, found = await at.ask("GET", f"{SELF_TEST}/{begun['id']}", session="s2")
            assert found["status"] == "stopped"

    run(tmp_path, story)
