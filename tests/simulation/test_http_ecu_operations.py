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
        if request.url.path.endswith("/self-test/executions"):
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


def test_who_stops_waiting_for_a_self_test_says_that_the_ecu_was_not_told() -> None:
    async def story() -> Any:
        agent = agent_of(node)
        waits = asyncio.create_task(agent.operate("self-test"))
        await asyncio.sleep(1)
        waits.cancel()
        try:
            await waits
        except asyncio.CancelledError as cut:
            return cut.__notes__
        finally:
            await agent.close()

    node = Node(tests_s=60.0)
    notes, _ = run_simulated(story())
    assert notes == ["the ECU is no longer waited for: it was not told to stop"]


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
