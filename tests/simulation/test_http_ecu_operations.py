"""What an ECU behind HTTP is told to do: it is identified first, and a restart is over when it has started again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from ringroad.sim.simtime import run_simulated
from ringroad.vehicle.agents.base import Failed, Reason
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.agents.session import RESTART_S_MAX
from ringroad.vehicle.agents.sovd import SovdAgent
from ringroad.vehicle.agents.sovd_selftest import SELF_TEST_S_MAX

RUNNING = {"version": "1.0", "sha256": "a" * 64, "release_counter": 1}
STARTS_S = 2.0  # s from the order until the ECU goes down, and as long until it is up again


@dataclass(kw_only=True)
class Node(httpx.AsyncBaseTransport):
    """An ECU of a supplier's: how it takes the order to restart, and what of it is seen."""

    counts: bool | None = True  # its starts; None: it says null
    order: Literal["taken", "cut", "ignored"] = "taken"  # cut: it restarts and gives no answer
    goes_away: bool = True  # is not there while it restarts
    stays_away: bool = False
    serial: str = "NODE"
    serial_after: str = "NODE"
    bootloader_after: bool = False
    tests_s: float = 0.0
    executes: bool = False  # its self-test goes on by itself, where it is asked for
    says_to_stop: list[int] = field(default_factory=list)  # statuses, one after the other; 204 ever after
    names_it: bool = True  # else the answer that names the execution comes too late
    passes: bool = True
    loses: list[int] = field(default_factory=list)  # statuses of its first polls
    says: dict[str, Any] | None = None  # of its self-test, whenever it is asked
    stopped: bool = False
    begun_at_s: float | None = None
    ordered_at_s: float | None = None
    asked: list[str] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request as it stands now."""
        self.asked.append(f"{request.method} {request.url.path}")
        now_s = asyncio.get_running_loop().time()
        since_s = now_s - self.ordered_at_s if self.ordered_at_s is not None else 0.0
        if since_s >= STARTS_S and (self.stays_away or (self.goes_away and since_s < 2 * STARTS_S)):
            raise httpx.ConnectError("nobody listens")
        started = since_s >= (2 * STARTS_S if self.goes_away else STARTS_S)
        if request.method == "POST" and request.url.path.endswith("/reset/executions"):
            self.ordered_at_s = now_s if self.order != "ignored" else None
            if self.order != "taken":
                raise httpx.ReadError("cut")
            return httpx.Response(202, json={"status": "running"})
        if self.executes and "/self-test/executions" in request.url.path:
            return await self._execution(request)
        if request.url.path.endswith("/self-test/executions"):
            if request.method == "GET":
                return httpx.Response(404)
            await asyncio.sleep(self.tests_s)
        if request.method in {"POST", "DELETE"}:
            return httpx.Response(200, json={"passed": True})
        told: dict[str, Any] = {
            "serial": self.serial_after if started else self.serial, "hardware_id": "hw",
            "running": None if started and self.bootloader_after else RUNNING,
        }  # fmt: skip
        if self.counts:
            told["boot"] = int(started)
        if self.counts is None:
            told["boot"] = None
        return httpx.Response(200, json={"data": told})

    async def _execution(self, request: httpx.Request) -> httpx.Response:
        now_s = asyncio.get_running_loop().time()
        if request.method == "DELETE":
            status = self.says_to_stop.pop(0) if self.says_to_stop else 204
            self.stopped = status == 204
            return httpx.Response(status, json={"message": "not now"} if status == 409 else None)
        if request.method == "POST":
            self.begun_at_s = now_s
            await asyncio.sleep(0 if self.names_it else 60)
            return httpx.Response(202, json={"id": "a/1", "status": "running"})
        if self.loses and not request.url.path.endswith("/executions"):
            return httpx.Response(self.loses.pop(0))
        if self.says is not None:
            return httpx.Response(200, json=self.says)
        assert self.begun_at_s is not None
        over = now_s - self.begun_at_s >= self.tests_s
        told: dict[str, Any] = {"id": "a/1", "status": "stopped" if self.stopped else "running"}
        if over and not self.stopped:
            told = {**told, "status": "completed", "passed": self.passes}
        if request.url.path.endswith("/executions"):
            return httpx.Response(200, json={"items": [told]})
        return httpx.Response(200, json=told)


def agent_of(node: Node) -> SovdAgent:
    return SovdAgent(
        AgentSite(
            name="node", serial="NODE", hardware_id="hw", mode="ab", folder=Path(), disk=RealDisk("buffered"),
            settings={"url": "http://node"}, secret=b"x",
        ), transport=node,
    )  # fmt: skip


def operated(node: Node, operation: str = "reset") -> tuple[Any, float]:
    async def story() -> Any:
        agent = agent_of(node)
        try:
            return await agent.operate(operation)
        finally:
            await agent.close()

    return run_simulated(story())


@pytest.mark.parametrize(
    "node",
    [
        Node(),
        Node(goes_away=False),  # too quick to be missed
        Node(order="cut"),
        Node(order="cut", goes_away=False),
        Node(counts=False),
        Node(counts=None),
    ],
)
def test_a_restart_is_over_when_the_ecu_has_started_again(node: Node) -> None:
    result, took_s = operated(node)
    assert result == {"software_version": "1.0"}
    assert took_s >= STARTS_S


@pytest.mark.parametrize(
    ("node", "reason", "detail"),
    [
        (Node(order="ignored"), Reason.BOOT_FAILED, "no restart was seen in 20 s"),
        (Node(counts=False, goes_away=False), Reason.BOOT_FAILED, "no restart was seen in 20 s"),
        (Node(counts=False, order="cut"), Reason.BOOT_FAILED, "counts no starts"),
        (Node(counts=False, order="ignored"), Reason.BOOT_FAILED, "counts no starts"),
        (Node(serial_after="OTHER"), Reason.SERIAL_MISMATCH, "'OTHER' answers instead of 'NODE'"),
        (Node(bootloader_after=True), Reason.BOOT_FAILED, "bootloader"),
        (Node(stays_away=True), Reason.UNREACHABLE, "does not answer"),
    ],
)
def test_a_restart_that_nobody_saw_is_none(node: Node, reason: Reason, detail: str) -> None:
    failed, took_s = operated(node)
    assert isinstance(failed, Failed)
    assert failed.reason is reason
    assert detail in failed.detail
    assert took_s <= RESTART_S_MAX + 1


@pytest.mark.parametrize("passes", [True, False])
def test_a_self_test_that_goes_on_by_itself_is_asked_for_until_it_is_over(passes: bool) -> None:  # noqa: FBT001
    result, took_s = operated(Node(executes=True, tests_s=30.0, passes=passes), "self-test")
    assert result == {"passed": passes}
    assert took_s >= 30


PLACE = "/v1/operations/self-test/executions"


@pytest.mark.parametrize(
    ("node", "note", "stops"),
    [
        (Node(executes=True), None, 1),
        (Node(executes=True, names_it=False), None, 1),
        (Node(executes=True, says_to_stop=[503]), None, 2),
        (Node(executes=True, says_to_stop=[404]), None, 1),  # it is over
        (Node(executes=True, says_to_stop=[503, 503]), "it does not answer", 2),
        (Node(executes=True, says_to_stop=[409]), "not now", 1),
        (Node(), "the ECU is no longer waited for: it has no execution that could be stopped", 0),
    ],
)
def test_who_stops_waiting_for_a_self_test_has_it_stopped_on_the_ecu_or_says_that_it_was_not(
    node: Node, note: str | None, stops: int
) -> None:
    node.tests_s = 60.0

    async def story() -> Any:
        agent = agent_of(node)
        waits = asyncio.create_task(agent.operate("self-test"))
        await asyncio.sleep(1)
        waits.cancel()
        try:
            await waits
        except asyncio.CancelledError as cut:
            return getattr(cut, "__notes__", [])
        finally:
            await agent.close()

    notes, took_s = run_simulated(story())
    assert took_s < 20
    assert [each for each in node.asked if each.startswith("DELETE")] == [f"DELETE {PLACE}/a/1"] * stops
    unconfirmed = note if not stops else f"the ECU did not confirm that it stopped: {note}"
    assert notes == ([] if note is None else [unconfirmed])


def stops_of(node: Node) -> list[str]:
    return [each for each in node.asked if each.startswith("DELETE")]


def test_a_self_test_that_never_ends_is_stopped_on_the_ecu_and_has_failed() -> None:
    node = Node(executes=True, tests_s=float("inf"))
    failed, took_s = operated(node, "self-test")
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.SELF_TEST_FAILED
    assert failed.detail == f"the ECU's self-test is not over after {SELF_TEST_S_MAX:g} s"
    assert abs(took_s - SELF_TEST_S_MAX) < 20
    assert stops_of(node) == [f"DELETE {PLACE}/a/1"]


def test_an_answer_that_is_lost_while_an_ecu_tests_itself_ends_nothing() -> None:
    node = Node(executes=True, tests_s=5.0, loses=[503, 502, 503])
    result, _ = operated(node, "self-test")
    assert result == {"passed": True}
    assert stops_of(node) == []
    assert len([each for each in node.asked if each.startswith("POST")]) == 1


def test_an_ecu_that_is_away_from_its_self_test_on_is_away_and_has_not_failed() -> None:
    node = Node(executes=True, tests_s=5.0, loses=[503] * 10_000)
    failed, _ = operated(node, "self-test")
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.UNREACHABLE
    assert stops_of(node) == [f"DELETE {PLACE}/a/1"]


@pytest.mark.parametrize(
    "says", [{"id": "a/1", "status": "waiting"}, {"id": "a/1", "status": "completed"}, {"id": 1}]
)
def test_a_self_test_of_which_nobody_knows_whether_it_is_over_is_stopped_on_the_ecu(
    says: dict[str, Any],
) -> None:
    node = Node(executes=True, tests_s=60.0, says=says)
    failed, _ = operated(node, "self-test")
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.ECU_REFUSED
    assert stops_of(node) == [f"DELETE {PLACE}/a/1"]


def test_a_self_test_that_the_ecu_says_is_over_is_not_stopped() -> None:
    node = Node(executes=True, tests_s=60.0, says={"id": "a/1", "status": "failed"})
    failed, _ = operated(node, "self-test")
    assert isinstance(failed, Failed)
    assert stops_of(node) == []


@pytest.mark.parametrize("change", ["reset", "self-test", "clear"])
def test_another_ecu_at_that_address_is_told_to_do_nothing(change: str) -> None:
    async def story() -> Any:
        agent = agent_of(node)
        try:
            return await (agent.clear_faults("") if change == "clear" else agent.operate(change))
        finally:
            await agent.close()

    node = Node(serial="OTHER")
    failed, _ = run_simulated(story())
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.SERIAL_MISMATCH
    assert [each for each in node.asked if not each.startswith("GET")] == []
