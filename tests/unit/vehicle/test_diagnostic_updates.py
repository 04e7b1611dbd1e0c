"""Updates over diagnostics: a workshop sees what is assigned and lets it go on, and gets past nothing that an update needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ringroad.protocol.vehicle import Command, Conduct, EcuTarget, VehicleState
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.diagnostics.updates import update_status
from ringroad.vehicle.glance import Glance
from ringroad.vehicle.memory import compacted
from ringroad.vehicle.orchestrator import Orchestrator
from ringroad.vehicle.states import CampaignState, EcuPlan, EcuState, Plan, Tried, fold
from support.diagnosed import Bench, bench, open_session
from support.vehicle_world import STEPS_MAX

Story = Callable[[Bench, Orchestrator], Awaitable[None]]


def run(folder: Path, story: Story) -> None:
    async def whole() -> None:
        async with bench(folder) as at:
            await open_session(at)
            await story(at, at.desk._place.orchestrator)

    asyncio.run(asyncio.wait_for(whole(), 120))


def code_of(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


def running(at: Bench) -> str:
    """Return the version that the brake runs."""
    bank = at.vehicle.ports["brake"].ecu.status().running
    return bank.version if bank is not None else "nothing"


async def drive(orchestrator: Orchestrator) -> None:
    """Step until the orchestrator waits or rests."""
    for _ in range(STEPS_MAX):
        delay_s = await orchestrator.step()
        if delay_s is None or delay_s > 0:
            return
    raise AssertionError("it never came to rest")


def test_a_workshop_sees_an_assigned_update_prepares_it_and_lets_it_begin(tmp_path: Path) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        assert (await at.ask("GET", "/updates"))[1] == {"items": []}
        at.vehicle.order(action_id=7, notes="Softer brakes.")
        assert (await at.ask("POST", "/updates"))[0] == 200
        assert orchestrator._uplink_wake.is_set()
        await orchestrator.exchange()
        assert (await at.ask("GET", "/updates"))[1]["items"] == [{"id": "7", "state": "ASSIGNED"}]
        assert (await at.ask("GET", "/updates/7/status"))[1]["status"] == "pending"
        assert code_of(await at.ask("PUT", "/updates/7/execute")) == (409, "not_prepared")

        at.vehicle.signals.values = {"Vehicle.Speed": 30}
        orchestrator._campaign_wake.clear()
        assert (await at.ask("PUT", "/updates/7/prepare"))[0] == 200  # nothing is changed by it
        assert orchestrator._campaign_wake.is_set()
        await drive(orchestrator)
        _, ready = await at.ask("GET", "/updates/7")
        assert (ready["state"], ready["phase"], ready["status"]) == ("READY", "execute", "pending")
        assert (ready["version"], ready["notes"]) == ("2.0.0", "Softer brakes.")
        assert ready["waits_for"]["code"] == "precondition"
        assert [(each["component"], each["from_version"], each["to_version"]) for each in ready["components"]] == [
            ("gateway", "1.0.0", "2.0.0"), ("brake", "1.0.0", "2.0.0"),
        ]  # fmt: skip
        assert code_of(await at.ask("PUT", "/updates/7/execute")) == (409, "precondition")
        assert code_of(await at.ask("PUT", "/updates/7/prepare")) == (409, "prepared")

        at.vehicle.signals.values = {"Vehicle.Speed": 0}
        orchestrator._campaign_wake.clear()
        assert (await at.ask("PUT", "/updates/7/execute"))[0] == 200
        assert orchestrator._campaign_wake.is_set()
        await drive(orchestrator)
        _, done = await at.ask("GET", "/updates/7/status")
        assert (done["state"], done["status"], done["progress"]) == ("SUCCEEDED", "completed", 100)
        assert code_of(await at.ask("PUT", "/updates/7/execute")) == (409, "over")
        assert running(at) == "2.0.0"

    run(tmp_path, story)


def test_an_update_that_was_refused_is_listed_with_why(tmp_path: Path) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        at.vehicle.order(action_id=7)
        ecu = at.vehicle.ports["brake"].ecu
        ecu.config = replace(ecu.config, serial="SPARE-77")
        await orchestrator.exchange()
        await drive(orchestrator)
        (listed,) = (await at.ask("GET", "/updates"))[1]["items"]
        assert (listed["state"], listed["code"]) == ("FAILED", "serial_mismatch")
        assert "SPARE-77" in listed["detail"]

    run(tmp_path, story)


def test_updates_that_ended_are_listed_newest_first_with_when_and_how_each_ecu_ended(tmp_path: Path) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        at.vehicle.order(action_id=7)
        await orchestrator.exchange()
        at.vehicle.server.command = Command(
            kind="cancel", poll_s=1, action_id=7, reason="its campaign was halted"
        )
        await orchestrator.step()
        await orchestrator.exchange()
        await drive(orchestrator)
        at.vehicle.clock.s += 60
        at.vehicle.order(action_id=8)
        await orchestrator.exchange()
        await drive(orchestrator)
        done, cancelled = (await at.ask("GET", "/updates"))[1]["items"]
        assert (done["id"], done["state"], done["version"]) == ("8", "SUCCEEDED", "2.0.0")
        assert (cancelled["id"], cancelled["code"], cancelled["detail"]) == (
            "7", "cancelled", "its campaign was halted",
        )  # fmt: skip
        assert cancelled["began_at"] <= cancelled["ended_at"] < done["began_at"] <= done["ended_at"]
        _, again = await at.ask("GET", "/updates/7")
        assert (again["status"], again["progress"], "components" in again) == ("failed", 0, False)
        assert code_of(await at.ask("PUT", "/updates/7/prepare")) == (409, "over")
        orchestrator._memory.state = fold(
            CampaignState(), compacted(orchestrator.state, at=at.vehicle.clock.now())
        )
        _, kept = await at.ask("GET", "/updates/8")
        assert (kept["status"], kept["version"], kept["ended_at"]) == ("completed", "2.0.0", done["ended_at"])
        assert kept["components"] == [
            {"component": name, "from_version": "1.0.0", "to_version": "2.0.0", "state": "COMMITTED"}
            for name in ("gateway", "brake")
        ]

    run(tmp_path, story)


def test_an_update_says_of_an_ecu_that_is_tried_again_why_and_when(tmp_path: Path) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        at.vehicle.order(action_id=7)
        await orchestrator.exchange()
        while orchestrator.state.state != "INSTALLING":
            at.vehicle.clock.s += await orchestrator.step() or 0
        serial = next(ecu.serial for ecu in at.vehicle.config.ecus if ecu.name == "brake")
        now = at.vehicle.clock.now()
        orchestrator._memory.write(
            Tried(
                what=f"away-install:{serial}", at=now, code="unreachable", tries_max=8, again_at=now + timedelta(seconds=9),
            )
        )  # fmt: skip
        _, told = await at.ask("GET", "/updates/7")
        said = "no answer, try 1 of 8, next in 9 s"
        assert told["waits_for"] == {"code": "unreachable", "about": "brake", "text": f"brake: {said}"}
        assert [each["why"] for each in told["components"] if "why" in each] == [said]
        assert told["status"] == "inProgress"

    run(tmp_path, story)


@pytest.mark.parametrize("phase", ["download", "install"])
def test_a_trigger_is_no_consent_of_the_driver(tmp_path: Path, phase: Any) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        at.vehicle.order(action_id=7, conduct=Conduct(consent=[phase]))
        await orchestrator.exchange()
        await drive(orchestrator)
        trigger = "prepare" if phase == "download" else "execute"
        for _ in range(2):
            assert code_of(await at.ask("PUT", f"/updates/7/{trigger}")) == (409, "consent")
            await drive(orchestrator)
        _, told = await at.ask("GET", "/updates/7/status")
        assert (told["status"], told["waits_for"]["code"]) == ("pending", "consent")
        assert running(at) == "1.0.0"

    run(tmp_path, story)


def test_an_update_that_does_not_verify_is_not_installed_whoever_asks(tmp_path: Path) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        at.vehicle.order(action_id=7)
        at.vehicle.server.images = {
            name: content[::-1] if "2.0.0" in name else content
            for name, content in at.vehicle.server.images.items()
        }
        await orchestrator.exchange()
        assert (await at.ask("PUT", "/updates/7/prepare"))[0] == 200
        for _ in range(30):
            await drive(orchestrator)
            at.vehicle.clock.s += 50
            await at.ask("PUT", "/updates/7/execute")
        assert running(at) == "1.0.0"
        _, told = await at.ask("GET", "/updates/7/status")
        assert told["state"] not in {"INSTALLING", "SUCCEEDED"}

    run(tmp_path, story)


def test_a_workshop_that_asks_again_and_again_does_not_hurry_what_the_vehicle_tries_again(
    tmp_path: Path,
) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        at.vehicle.order(action_id=7)
        at.vehicle.server.images = {name: content[::-1] for name, content in at.vehicle.server.images.items()}
        await orchestrator.exchange()
        await drive(orchestrator)
        assert orchestrator.state.state == "DOWNLOADING"
        orchestrator._campaign_wake.clear()
        for _ in range(8):
            assert (await at.ask("PUT", "/updates/7/prepare"))[0] == 200
        assert not orchestrator._campaign_wake.is_set()

    run(tmp_path, story)


def test_an_update_waits_for_whoever_holds_the_lock_of_its_ecu(tmp_path: Path) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        at.vehicle.order(action_id=7)
        await orchestrator.exchange()
        while orchestrator.state.state != "READY":
            await orchestrator.step()
        await open_session(at, "s2", by="ines")
        await at.ask("POST", "/components/brake/locks", session="s2")
        await drive(orchestrator)
        assert (orchestrator.state.state, running(at)) == ("READY", "1.0.0")
        _, told = await at.ask("GET", "/updates/7/status")
        assert (told["status"], told["waits_for"]["code"]) == ("pending", "ecu_locked")
        assert told["waits_for"]["text"].startswith("brake is locked by ines until ")
        assert code_of(await at.ask("PUT", "/updates/7/execute")) == (423, "locked")
        assert (await at.ask("PUT", "/updates/7/execute", session="s2"))[0] == 200
        assert (await at.ask("GET", "/components/brake/locks"))[1] == {"items": []}  # given back by it
        await drive(orchestrator)
        assert (orchestrator.state.state, running(at)) == ("SUCCEEDED", "2.0.0")

    run(tmp_path, story)


def test_a_lock_that_is_over_lets_the_update_begin(tmp_path: Path) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        await at.ask("POST", "/components/brake/locks", {"lock_expiration": 60})
        at.vehicle.order(action_id=7)
        await orchestrator.exchange()
        await drive(orchestrator)
        assert (orchestrator.state.state, orchestrator.state.noted[0]) == ("STAGING", "ecu_locked")
        assert (await at.ask("POST", "/components/brake/locks", {"lock_expiration": 60}))[0] == 200
        assert code_of(await at.ask("PUT", "/updates/7/prepare")) == (409, "ecu_locked")
        assert (await at.ask("GET", "/components/brake"))[1][
            "state"
        ] == "Online"  # whoever works at it may look
        assert (await at.ask("GET", "/components/brake/faults"))[0] == 200
        for refused in (
            await at.ask("DELETE", "/components/brake/faults"),
            await at.ask("POST", "/components/brake/operations/self-test/executions"),
        ):
            assert code_of(refused) == (409, "updating")
            assert refused[1]["error"]["hint"].startswith(
                "it does not begin while you hold brake: give the lock back"
            )
        at.vehicle.clock.s += 61
        await drive(orchestrator)
        assert (orchestrator.state.state, running(at)) == ("SUCCEEDED", "2.0.0")

    run(tmp_path, story)


def test_no_lock_is_had_of_an_ecu_that_is_staged_and_nothing_is_read_of_it(tmp_path: Path) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        at.vehicle.order(action_id=7)
        await orchestrator.exchange()
        while orchestrator.state.state != "STAGING":
            await orchestrator.step()
        assert code_of(await at.ask("POST", "/components/brake/locks")) == (409, "updating")
        assert (await at.ask("GET", "/components/brake"))[1]["state"] == "Updating"

    run(tmp_path, story)


@pytest.mark.parametrize("state", ["INSTALLING", "CHECKING", "COMMITTING", "ROLLING_BACK"])
def test_no_lock_is_had_of_an_ecu_that_an_update_is_at(tmp_path: Path, state: VehicleState) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        memory = orchestrator._memory
        memory.state = replace(
            memory.state, state=state, ecus={f"{at.vehicle.ecus['brake'].serial}": EcuState.STAGED}
        )
        assert code_of(await at.ask("POST", "/components/brake/locks")) == (409, "updating")
        assert (await at.ask("POST", "/components/gateway/locks"))[0] == 200

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("method", "path", "session", "expected"),
    [
        ("GET", "/updates/9", "s1", (404, "not_found")),
        ("GET", "/updates/9/status", "s1", (404, "not_found")),
        ("PUT", "/updates/9/prepare", "s1", (404, "not_found")),
        ("PUT", "/updates/9/execute", "s1", (404, "not_found")),
        ("PUT", "/updates/7/automated", "s1", (404, "not_found")),
        ("DELETE", "/updates/7", "s1", (404, "not_found")),
        ("POST", "/updates", "reader", (403, "scope")),
        ("PUT", "/updates/7/prepare", "reader", (403, "scope")),
        ("PUT", "/updates/7/execute", "reader", (403, "scope")),
    ],
)
def test_what_is_not_assigned_or_not_allowed_is_refused(
    tmp_path: Path, method: Any, path: str, session: str, expected: tuple[int, str]
) -> None:
    async def story(at: Bench, orchestrator: Orchestrator) -> None:
        await open_session(at, "reader", "read")
        at.vehicle.order(action_id=7)
        await orchestrator.exchange()
        assert code_of(await at.ask(method, path, session=session)) == expected

    run(tmp_path, story)


def glance_of(state: VehicleState, ecus: dict[str, EcuState], **more: Any) -> Glance:
    """A vehicle whose update brings 100 bytes to ECU a and 300 to ECU b."""
    plans = tuple(
        EcuPlan(
            target=VerifiedTarget(
                serial=serial, filename=serial, length=length, sha256=serial, sha512="", hardware_ids=(),
                release_counter=1, ecu_target=EcuTarget(name=serial, mode="ab", format="bin", version="2"),
            ),
            from_version="1", from_sha256="0",
        )
        for serial, length in (("a", 100), ("b", 300))
    )  # fmt: skip
    plan = Plan(release_id="r", release_version="2", groups=(), ecus=plans)
    given = CampaignState(state=state, action_id=7, plan=plan, ecus=ecus)
    return Glance(state=given, at=datetime(2026, 1, 1, tzinfo=UTC), **more)


IDLE, STAGED, ACTIVATED = EcuState.IDLE, EcuState.STAGED, EcuState.ACTIVATED


@pytest.mark.parametrize(
    ("glance", "percent"),
    [
        (glance_of("DOWNLOADING", {"a": IDLE, "b": IDLE}, missing_bytes=400), 0),
        (glance_of("DOWNLOADING", {"a": IDLE, "b": IDLE}, missing_bytes=400, done={"b": (100, 300)}), 25),
        (glance_of("DOWNLOADING", {"a": IDLE, "b": IDLE}, missing_bytes=100, done={"b": (300, 300)}), 75),
        (glance_of("DOWNLOADING", {"a": IDLE, "b": IDLE}), 0),  # nobody looked into the store
        (glance_of("STAGING", {"a": IDLE, "b": IDLE}, done={"b": (150, 300)}), 37),
        (glance_of("STAGING", {"a": STAGED, "b": IDLE}, done={"a": (0, 100)}), 25),
        (glance_of("INSTALLING", {"a": STAGED, "b": STAGED}, done={"a": (50, 100)}), 12),
        (glance_of("INSTALLING", {"a": EcuState.INSTALLING, "b": ACTIVATED}, done={"a": (9, 9)}), 100),
        (glance_of("CHECKING", {"a": EcuState.VERIFIED, "b": ACTIVATED}), 25),
        (glance_of("COMMITTING", {"a": ACTIVATED, "b": EcuState.COMMITTED}), 75),
        (glance_of("ROLLING_BACK", {"a": EcuState.ROLLED_BACK, "b": EcuState.FAILED}), 25),
        (glance_of("READY", {"a": STAGED, "b": STAGED}), 0),
        (glance_of("SUCCEEDED", {"a": EcuState.COMMITTED, "b": EcuState.COMMITTED}), 100),
    ],
)
def test_progress_is_of_every_byte_and_not_of_those_that_were_heard_of(glance: Glance, percent: int) -> None:
    assert update_status(glance, "7", assigned=7)["progress"] == percent
