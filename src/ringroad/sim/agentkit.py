"""The conformance kit of update agents: what every agent owes the orchestrator, checked on a bench of its own.

A *bench* is one ECU (simulated, or real with a relay in its supply) that runs an old image and shall get a new one.
The kit calls the verbs in order, twice, out of order and with wrong images, and takes power away in every durable step
that the bench can count, before, in the middle and after it. What must hold then is in `vehicle.agents.base`.

`ringroad vehicle check-agent MODULE:BENCH` runs it; docs/howto/write-an-update-agent.md shows one.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

import msgspec

from ringroad.protocol.vehicle import EcuTarget
from ringroad.sim.vecu.medium import PowerCut
from ringroad.vehicle.agents.base import (
    BytesSource,
    CheckKind,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    Outcome,
    Reason,
    UpdateAgent,
    no_progress,
)

STEPS_MAX: Final = 2_000  # durable steps of one verb; with smaller images there are fewer
KEEPS: Final = (0, 500, 1_000)  # permille of a step that is done when power goes
CHECKS: Final[frozenset[CheckKind]] = frozenset({"version", "self_test", "no_new_faults"})
Format = Literal["bin", "ihex", "srec", "mcuboot", "swu", "mender"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image for the bench's ECU: the bytes of its file, and what would be signed about it."""

    content: bytes
    version: str
    release_counter: int
    format: Format = "bin"


class Bench(Protocol):
    """One ECU, its agent, and its power."""

    serial: str
    hardware_id: str
    mode: Literal["ab", "inplace"]
    old: Image  # runs, once `Kit` put it there
    new: Image  # of a higher release counter

    def renew(self) -> None:
        """Put a blank ECU on the bench."""
        ...

    def power_on(self) -> UpdateAgent:
        """Take power away if it is on, give it again, and return an agent that remembers nothing."""
        ...

    def cut(self, at_step: int, keep_permille: int) -> None:
        """Let power go in the n-th durable step from now (1 is the next), when so much of it is done; 0: never.

        The verb then raises `PowerCut`, if agent and ECU share their supply, or fails.
        """
        ...

    @property
    def was_cut(self) -> bool:
        """Whether power went since `cut` was called."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One thing that an agent owes, and whether this one does; `scenarios`: in how many runs it was looked at."""

    name: str
    scenarios: int
    problem: str = ""


class Owed(Exception):  # noqa: N818 - travels from a check to its row, never further
    """The agent owes something else than it did."""


async def check_agent(bench: Bench, *, keeps: Sequence[int] = KEEPS) -> AsyncIterator[Checked]:
    """Run every check of the kit; yield each as it ends.

    Args:
        bench: the ECU and its agent.
        keeps: permille of a step that is done when power goes in it; each is tried in every step.
    """
    for check in _CHECKS:
        kit = Kit(bench, keeps)
        problem = ""
        try:
            await check(kit)
        except Owed as owed:
            problem = str(owed)
        except Exception as error:  # noqa: BLE001 - whatever an agent raises is its own finding
            problem = f"a verb raised {type(error).__name__}: {error}"
        yield Checked(name=(check.__doc__ or "").rstrip("."), scenarios=kit.scenarios, problem=problem)


class Kit:
    """A bench, and how the checks go about it."""

    def __init__(self, bench: Bench, keeps: Sequence[int] = KEEPS) -> None:
        self.bench = bench
        self._keeps = keeps
        self.scenarios = 0
        self._agent: UpdateAgent | None = None

    @property
    def agent(self) -> UpdateAgent:
        """The agent, since power came last."""
        if self._agent is None:
            self._agent = self.bench.power_on()
        return self._agent

    @property
    def old(self) -> EcuImage:
        """The image that runs when a scenario begins."""
        return self.image(self.bench.old)

    @property
    def new(self) -> EcuImage:
        """The image that shall run."""
        return self.image(self.bench.new)

    def image(self, image: Image) -> EcuImage:
        """Return an image of the bench as the orchestrator has it."""
        bench = self.bench
        return EcuImage(
            serial=bench.serial,
            target=EcuTarget(name="bench", mode=bench.mode, format=image.format, version=image.version),
            filename=f"bench-{image.version}",
            sha256=hashlib.sha256(image.content).hexdigest(),
            length_bytes=len(image.content),
            release_counter=image.release_counter,
            hardware_ids=(bench.hardware_id,),
        )

    async def begin(self) -> None:
        """Begin a scenario: an ECU on which the old image is committed."""
        self.scenarios += 1
        self.bench.renew()
        self._agent = None
        for verb in ("prepare", "install", "activate", "verify", "commit"):
            await self.done(f"{verb} of the first image", self.verb(verb, self.bench.old))

    async def restart(self) -> None:
        """Take the power and give it again."""
        self.bench.cut(0, 0)
        if self._agent is not None:
            await self._agent.close()
        self._agent = self.bench.power_on()

    async def verb(
        self, name: str, image: Image | None = None, *, as_signed: EcuImage | None = None
    ) -> Outcome:
        """Call one verb for the new image, or for another one."""
        chosen = self.bench.new if image is None else image
        wanted = as_signed or self.image(chosen)
        source = BytesSource(chosen.content)
        match name:
            case "prepare":
                return await self.agent.prepare(wanted, source, progress=no_progress)
            case "install":
                return await self.agent.install(wanted, source, progress=no_progress)
            case "activate":
                return await self.agent.activate(wanted)
            case "verify":
                return await self.agent.verify(wanted, CHECKS)
            case "commit":
                return await self.agent.commit(wanted)
            case _:
                old = self.bench.old
                return await self.agent.rollback(
                    wanted, backup=self.image(old), source=BytesSource(old.content), progress=no_progress
                )

    async def done(self, what: str, outcome: Awaitable[Outcome]) -> Done:
        """Return how a verb that has to work did."""
        ended = await outcome
        if isinstance(ended, Failed):
            raise Owed(f"{what} failed: {ended.reason} {ended.detail}".rstrip())
        return ended

    async def refused(self, what: str, outcome: Awaitable[Outcome], *reasons: Reason) -> None:
        """Make sure that a verb is refused, and why."""
        ended = await outcome
        if not isinstance(ended, Failed):
            raise Owed(f"{what} was done")
        if ended.reason not in reasons:
            raise Owed(f"{what} was refused as {ended.reason}, not as {reasons[0]}")

    async def inventory(self) -> EcuInventory:
        """Ask the ECU what it is."""
        found = await self.agent.inventory()
        if isinstance(found, Failed):
            raise Owed(f"inventory failed: {found.reason} {found.detail}".rstrip())
        return found

    async def runs(self, image: Image, when: str, *, for_good: bool) -> None:
        """Make sure that an image runs; for good: nothing is on trial, and the counter is the image's."""
        found, wanted = await self.inventory(), self.image(image)
        if found.running is None:
            raise Owed(f"{when} nothing runs")
        if (found.running.sha256, found.running.version) != (wanted.sha256, image.version):
            raise Owed(f"{when} {found.running.version} runs, not {image.version}")
        if for_good and (found.trial or found.committed_counter != image.release_counter):
            raise Owed(f"{when} trial is {found.trial}, the counter {found.committed_counter}")

    async def forward(self, when: str = "of a whole update") -> None:
        """Finish the update, as the orchestrator does after a restart."""
        for verb in ("prepare", "install", "activate", "verify", "commit"):
            await self.done(f"{verb} {when}", self.verb(verb))

    async def every_cut(
        self, before: tuple[str, ...], verb: str, then: Callable[[str], Awaitable[None]]
    ) -> None:
        """Let power go in every step of a verb; call `then` on what is left each time.

        Raises:
            Owed: what is left does not do.
        """
        for keep in self._keeps:
            for step in range(1, STEPS_MAX + 1):
                await self.begin()
                for name in before:
                    await self.done(name, self.verb(name))
                self.bench.cut(step, keep)
                with contextlib.suppress(PowerCut):
                    await self.verb(verb)
                if not self.bench.was_cut:
                    self.bench.cut(0, 0)
                    break
                when = f"after power went {_how_far(keep)} durable step {step} of {verb}"
                try:
                    await self.restart()
                    await then(when)
                except Owed:
                    raise
                except Exception as error:
                    raise Owed(f"{when} a verb raised {type(error).__name__}: {error}") from error
            else:
                raise Owed(f"{verb} has more than {STEPS_MAX} durable steps; use smaller images")


def _how_far(keep_permille: int) -> str:
    """Return where in a step power went, in words."""
    known = {0: "before", 500: "halfway through", 1_000: "right after"}
    return known.get(keep_permille, f"with {keep_permille / 10:g} % done of")


# Checks; the first line of each is what the agent owes -----------------------------------------------


async def _an_update(kit: Kit) -> None:
    """An update runs through, and every verb may be called twice."""
    await kit.begin()
    for verb in ("prepare", "install", "activate", "verify"):
        for time in ("once", "twice"):
            await kit.done(f"{verb} {time}", kit.verb(verb))
            if verb == "prepare":
                await kit.runs(kit.bench.old, "after prepare", for_good=True)
    await kit.runs(kit.bench.new, "after activate", for_good=False)
    if (await kit.inventory()).committed_counter != kit.bench.old.release_counter:
        raise Owed("the counter advanced before commit")
    if not (await kit.done("activate", kit.verb("activate"))).already:
        raise Owed("activate of what runs already did something")
    await kit.done("commit", kit.verb("commit"))
    if not (await kit.done("commit twice", kit.verb("commit"))).already:
        raise Owed("the second commit did something")
    await kit.runs(kit.bench.new, "after commit", for_good=True)
    await kit.restart()
    await kit.runs(kit.bench.new, "after commit and a power cycle", for_good=True)


async def _identity(kit: Kit) -> None:
    """The inventory tells serial, hardware and the digest of what runs."""
    await kit.begin()
    found = await kit.inventory()
    if (found.serial, found.hardware_id) != (kit.bench.serial, kit.bench.hardware_id):
        raise Owed(f"it is {found.serial} of {found.hardware_id}")
    await kit.runs(kit.bench.old, "after the first image", for_good=True)


async def _rollback(kit: Kit) -> None:
    """An update that was not committed can be undone, at any point and more than once."""
    steps = ("prepare", "install", "activate", "verify")
    for count in range(len(steps) + 1):
        await kit.begin()
        for verb in steps[:count]:
            await kit.done(verb, kit.verb(verb))
        for time in ("once", "twice"):
            await kit.done(f"rollback {time}", kit.verb("rollback"))
            await kit.runs(kit.bench.old, f"after {count} verbs and a rollback", for_good=True)
        await kit.restart()
        await kit.runs(kit.bench.old, "after a rollback and a power cycle", for_good=True)


async def _committed(kit: Kit) -> None:
    """What was committed is not rolled back, and nothing older is taken."""
    await kit.begin()
    await kit.forward()
    await kit.refused("rollback after commit", kit.verb("rollback"), Reason.ALREADY_COMMITTED)
    for verb in ("prepare", "install"):
        await kit.refused(f"{verb} of an older image", kit.verb(verb, kit.bench.old), Reason.COUNTER_TOO_LOW)
    await kit.runs(kit.bench.new, "after what was refused", for_good=True)


async def _order(kit: Kit) -> None:
    """Verbs out of order are refused and change nothing."""
    await kit.begin()
    await kit.refused("activate of nothing", kit.verb("activate"), Reason.NOT_STAGED)
    for verb in ("verify", "commit"):
        await kit.refused(f"{verb} while the old image runs", kit.verb(verb), Reason.NOT_ACTIVE)
    await kit.runs(kit.bench.old, "after verbs out of order", for_good=True)


async def _signed_now(kit: Kit) -> None:
    """What lies ready under another version is taken under the one that is signed now."""
    await kit.begin()
    bench = kit.bench
    before = replace(bench.new, version=bench.old.version, release_counter=bench.old.release_counter)
    if isinstance(await kit.verb("prepare", before), Failed):
        return  # the version is part of its images
    await kit.done("prepare of the same bytes under another version", kit.verb("prepare"))
    for verb in ("install", "activate", "verify", "commit"):
        await kit.done(f"{verb} of bytes that came before under another version", kit.verb(verb))
    await kit.runs(bench.new, "after bytes that came before under another version", for_good=True)


async def _other_version(kit: Kit) -> None:
    """Another version than the signed one does not pass verify, where that is to be checked."""
    await kit.begin()
    for verb in ("prepare", "install", "activate"):
        await kit.done(verb, kit.verb(verb))
    new = kit.new
    signed = replace(new, target=msgspec.structs.replace(new.target, version=f"{new.target.version}1"))
    await kit.refused(
        "verify of another version", kit.verb("verify", as_signed=signed), Reason.VERSION_MISMATCH
    )


async def _wrong(kit: Kit) -> None:
    """Images that may not go there are refused and change nothing."""
    await kit.begin()
    new = kit.new
    wrong: tuple[tuple[str, EcuImage, Reason], ...] = (
        ("other hardware", replace(new, hardware_ids=("another-hardware",)), Reason.WRONG_HARDWARE),
        ("a counter below the committed one", replace(new, release_counter=0), Reason.COUNTER_TOO_LOW),
        ("another digest", replace(new, sha256="0" * 64), Reason.HASH_MISMATCH),
        ("a longer file", replace(new, length_bytes=new.length_bytes + 1), Reason.HASH_MISMATCH),
        ("a shorter file", replace(new, length_bytes=new.length_bytes - 1), Reason.HASH_MISMATCH),
    )
    for what, signed, reason in wrong:
        for verb in ("prepare", "install"):
            await kit.refused(f"{verb} with {what}", kit.verb(verb, as_signed=signed), reason)
            await kit.runs(kit.bench.old, f"after {verb} with {what}", for_good=True)


async def _power_between(kit: Kit) -> None:
    """Power may go between any two verbs."""
    verbs = ("prepare", "install", "activate")
    for count in range(1, len(verbs) + 1):
        for end in ("forward", "back"):
            await kit.begin()
            for verb in verbs[:count]:
                await kit.done(verb, kit.verb(verb))
            await kit.restart()
            await kit.inventory()
            if end == "forward":
                await kit.forward("after a power cycle")
                await kit.restart()
                await kit.runs(kit.bench.new, f"after a power cycle behind {verbs[count - 1]}", for_good=True)
            else:
                await kit.done("rollback after a power cycle", kit.verb("rollback"))
                await kit.runs(kit.bench.old, f"after a power cycle behind {verbs[count - 1]}", for_good=True)


async def _power_forward(kit: Kit) -> None:
    """Power may go in any step of a verb, and the update can be finished."""

    async def finish(when: str) -> None:
        await kit.inventory()
        await kit.forward(when)
        await kit.runs(kit.bench.new, when, for_good=True)
        await kit.restart()
        await kit.runs(kit.bench.new, f"{when}, and one more power cycle", for_good=True)

    verbs = ("prepare", "install", "activate", "commit")
    for at, verb in enumerate(verbs):
        await kit.every_cut(verbs[:at], verb, finish)


async def _power_back(kit: Kit) -> None:
    """Power may go in any step before commit, and the update can be undone."""

    async def undo(when: str) -> None:
        await kit.done(f"rollback {when}", kit.verb("rollback"))
        await kit.runs(kit.bench.old, when, for_good=True)
        await kit.restart()
        await kit.runs(kit.bench.old, f"{when}, and one more power cycle", for_good=True)

    verbs = ("prepare", "install", "activate")
    for at, verb in enumerate(verbs):
        await kit.every_cut(verbs[:at], verb, undo)
    await kit.every_cut(verbs, "rollback", undo)


_CHECKS: Final[tuple[Callable[[Kit], Awaitable[None]], ...]] = (
    _identity,
    _an_update,
    _rollback,
    _committed,
    _order,
    _signed_now,
    _other_version,
    _wrong,
    _power_between,
    _power_forward,
    _power_back,
)
