"""Campaigns and troubles in any order: whatever happened, the vehicle comes to rest all old or all new.

A state machine in the hands of hypothesis orders, cancels and supersedes updates, lets the driver agree and decline, cuts
the power of the vehicle at any durable step and of one ECU between two, fills the disk in any write, lets ECUs refuse,
images and journal go bad, the clock jump and a second orchestrator start; then it heals the world, and the vehicle must
end whole, bootable, and as it was after one more start.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ringroad.kernel.errors import Conflict, Unavailable
from ringroad.protocol.vehicle import PHASES, Command, Conduct
from ringroad.protocol.vehicle import Phase as Asked
from ringroad.vehicle.agents.base import Failed, Reason
from ringroad.vehicle.consent import write_word
from ringroad.vehicle.memory import read_state
from ringroad.vehicle.orchestrator import Orchestrator
from support.vehicle_world import PowerCut, World

ECUS = ("central", "adas", "brake", "body")
VERBS = ("prepare", "install", "activate", "verify", "commit", "rollback", "inventory")
REASONS = (Reason.BUSY, Reason.UNREACHABLE, Reason.ECU_REFUSED, Reason.TRANSFER_FAILED)
ASKED: tuple[list[Asked], ...] = (
    [],
    [],
    ["install"],
    ["download", "activate"],
)  # before which the driver is asked
ASKING = {"consent", "postponed"}
ASKED_MAX = 3  # times at the end: of what is under way, and of the order behind it
# In which power is lost; the first is any.
STATES = ("", "INSTALLING", "CHECKING", "COMMITTING", "ROLLING_BACK")
STEPS_MAX = 120  # of one rule
TROUBLES_MAX = 1  # that wait at one ECU for one verb


class Campaigns(RuleBasedStateMachine):
    """One vehicle of four ECUs, and everything that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ringroad-machine-"))
        self.world = World(self.folder / "vehicle")
        self.action = 0

    def teardown(self) -> None:
        try:
            self.heal()
            self.check()
        finally:
            shutil.rmtree(self.folder)

    # What may happen ----------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.order()

    @rule(asks=st.sampled_from(ASKED))
    def order(self, asks: list[Asked] = ASKED[0]) -> None:
        """A newer release for every ECU; it supersedes what has not begun."""
        self.action += 1
        self.world.order(
            action_id=self.action, version=f"{self.action + 1}.0.0", counter=self.action + 1,
            conduct=Conduct(consent=asks),
        )  # fmt: skip

    @rule(word=st.sampled_from(["yes", "later", "no"]), through=st.sampled_from(PHASES))
    def let_the_driver_say(self, word: Literal["yes", "later", "no"], through: Asked) -> None:
        self.say(word, through, action=self.action)

    @rule()
    def cancel(self) -> None:
        self.world.server.command = Command(kind="cancel", poll_s=1, action_id=self.action)

    @rule(ecu=st.sampled_from(ECUS))
    def make_it_bad(self, ecu: str) -> None:
        """The newest software fails its self-test on one ECU."""
        self.world.ecus[ecu].bad_versions.add(f"{self.action + 1}.0.0")

    @rule(ecu=st.sampled_from(ECUS), verb=st.sampled_from(VERBS), reason=st.sampled_from(REASONS))
    def let_an_ecu_refuse(self, ecu: str, verb: str, reason: Reason) -> None:
        waiting = self.world.ecus[ecu].answers.setdefault(verb, [])
        if len(waiting) < TROUBLES_MAX:
            waiting.append(Failed(reason=reason))

    @rule(speed=st.sampled_from([0, 0, 50]))
    def drive_off_or_park(self, speed: int) -> None:
        self.world.signals.values["Vehicle.Speed"] = speed

    @rule(seconds=st.sampled_from([-3_600.0, 60.0, 3_600.0, 86_400.0]))
    def let_the_clock_jump(self, seconds: float) -> None:
        self.world.clock.s = max(0.0, self.world.clock.s + seconds)

    @rule(steps=st.integers(1, 60))
    def live_a_while(self, steps: int) -> None:
        """Some steps, and then power goes between two of them."""
        self.run(steps)
        self.world.reset()

    @rule(state=st.sampled_from(STATES), ticks=st.integers(1, 40))
    def lose_power_in_a_write(self, state: str, ticks: int) -> None:
        """So many durable steps from now on, or from when a state was reached."""

        def arm() -> None:
            self.world.power.cut_at = self.world.power.ticks + ticks

        try:
            self.run(STEPS_MAX, state, then=arm)
        except PowerCut:
            pass
        finally:
            self.world.power.cut_at = 0
            self.world.reset()

    @rule(ecu=st.sampled_from(ECUS), state=st.sampled_from(STATES), steps=st.integers(0, 40))
    def take_one_ecus_power(self, ecu: str, state: str, steps: int) -> None:
        """Some steps from now on, or in a state, and then one ECU restarts; what it had on trial goes back."""
        self.run(steps, state)
        self.world.ecus[ecu].reset()

    @rule(writes=st.integers(0, 60))
    def fill_the_disk(self, writes: int) -> None:
        """Half of a write finds room and the next none; then somebody frees some, and the vehicle goes on or starts again."""
        write, left = os.write, [writes]

        def until_full(descriptor: int, data: bytes) -> int:
            left[0] -= 1
            if left[0] == 0 and len(data) > 1:
                return write(descriptor, data[: len(data) // 2])
            if left[0] in {-1, -2}:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, data)

        async def live() -> None:
            async with self.world.boot() as orchestrator:
                for _ in range(STEPS_MAX):
                    with contextlib.suppress(Unavailable):
                        await orchestrator.exchange()
                        if (delay_s := await orchestrator.step()) is None:
                            return
                        self.world.clock.s += delay_s

        with pytest.MonkeyPatch.context() as disk, contextlib.suppress(Unavailable):
            disk.setattr("os.write", until_full)
            asyncio.run(live())

    @precondition(lambda self: (self.world.folder / "journal").exists())
    @rule(tail=st.binary(min_size=1, max_size=40))
    def tear_the_journals_tail(self, tail: bytes) -> None:
        """A record that was being written when power went: no line, so no newline."""
        with (self.world.folder / "journal").open("ab") as journal:
            journal.write(tail.replace(b"\n", b"?"))

    @rule(draw=st.integers(0, 1_000))
    def let_an_image_go_bad(self, draw: int) -> None:
        images = (
            sorted((self.world.folder / "images").glob("*"))
            if (self.world.folder / "images").exists()
            else []
        )
        if not images:
            return
        image = images[draw % len(images)]
        content = bytearray(image.read_bytes())
        if content:
            content[draw % len(content)] ^= 0xFF
            image.write_bytes(content)

    @rule()
    def start_a_second_orchestrator(self) -> None:
        async def both() -> None:
            async with self.world.boot():
                with pytest.raises(Conflict):
                    async with self.world.boot():
                        raise AssertionError

        asyncio.run(both())

    # What must be true --------------------------------------------------------------------------

    def run(self, steps: int, state: str = "", *, then: Callable[[], None] = lambda: None) -> None:
        """Take so many steps from now on, or from when `state` is reached; `STEPS_MAX` where it is not."""
        taken = waited = 0

        def until(orchestrator: Orchestrator) -> bool:
            nonlocal taken, waited
            waited += 1
            if taken or state in {"", orchestrator.state.state}:
                if not taken:
                    then()
                taken += 1
            return taken > steps or waited > STEPS_MAX

        asyncio.run(self.world.drive(until=until))

    def heal(self) -> None:
        for ecu in self.world.ecus.values():
            ecu.answers.clear()
        self.world.signals.values["Vehicle.Speed"] = 0

    def say(self, word: Literal["yes", "later", "no"], through: Asked, *, action: int) -> None:
        write_word(
            self.world.folder, action_id=action, word=word, through=through, by="driver",
            now=self.world.clock.now(), hours=1, notes_sha256="", durability="buffered",
        )  # fmt: skip

    def come_to_rest(self) -> str:
        """Run to the end; the driver agrees to whatever is asked: what is under way, and the newest order behind it."""
        for _ in range(ASKED_MAX):
            state = asyncio.run(self.world.drive(until=lambda one: one.glance().waits_code in ASKING))
            found = read_state(self.world.folder)
            if found.resting or found.action_id is None:
                return state
            self.say("yes", "activate", action=found.action_id)
        return asyncio.run(self.world.drive())

    def check(self) -> None:
        state = self.come_to_rest()
        assert state not in {"ROLLBACK_FAILED", ""}, state
        versions = self.world.versions()
        assert len(versions) == 1, f"{state}: torn, {versions}"
        assert "nothing" not in versions
        assert not any(ecu.trial for ecu in self.world.ecus.values()), state
        if state == "SUCCEEDED":
            assert versions == {f"{self.action + 1}.0.0"}
        self.world.reset()
        assert (asyncio.run(self.world.drive()), self.world.versions()) == (state, versions)
        assert len(self.world.server.reports) == len({one.id for one in self.world.server.reports.values()})


TestCampaigns = Campaigns.TestCase
TestCampaigns.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.generate],
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
