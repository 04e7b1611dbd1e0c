"""The orchestrator of one vehicle: two loops over one memory.

The *campaign* loop asks `decide.next_step` what to do and lets `execute` do it.
The *uplink* loop polls the server, sends reports until they are acknowledged, and uploads manifests.
Neither waits for the other: a vehicle that is offline goes on installing, and one that installs still answers.

Invariant: the server's word reaches the campaign only through `Facts`, and only `decide` acts on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final

import structlog
from securesystemslib.signer import CryptoSigner

from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Corrupt, InvalidInput, RingroadError
from ringroad.kernel.hours import Window
from ringroad.kernel.vin import Vin
from ringroad.protocol.preconditions import Held, Refusal, look, parse_precondition
from ringroad.protocol.vehicle import Command
from ringroad.trust.state import TrustState
from ringroad.vehicle.agents.base import UpdateAgent
from ringroad.vehicle.agents.plugins import AgentMissing
from ringroad.vehicle.backoff import AskedToWait, backoff_s
from ringroad.vehicle.consent import Mode, asks_of, quiet_until
from ringroad.vehicle.decide import Facts, Step, Wait, next_step, wants_other
from ringroad.vehicle.deltas import Coming, coming
from ringroad.vehicle.ecus import Ecus
from ringroad.vehicle.ending import end_if_cancelled
from ringroad.vehicle.execute import Executor
from ringroad.vehicle.files import TRUST_NAME, Durability, FolderLock
from ringroad.vehicle.gateway import Gateway
from ringroad.vehicle.glance import Glance
from ringroad.vehicle.identity import Inventory, ManifestBook, is_worth_a_look, sign_manifest
from ringroad.vehicle.images import STORE_BYTES_MAX, ImageStore
from ringroad.vehicle.journal import RecordHook
from ringroad.vehicle.memory import Memory, Observer, read_state
from ringroad.vehicle.outbox import BATCH_REPORTS_MAX
from ringroad.vehicle.plan import EcuOnBoard
from ringroad.vehicle.signals import SignalSource
from ringroad.vehicle.states import BEFORE_INSTALLING, Answer, CampaignState, EcuState, Entry
from ringroad.vehicle.unblock import unblocked

POLL_S_MIN: Final = 1  # s; a server that asks for less is not obeyed
POLL_S_MAX: Final = 24 * 3600  # s
MANIFEST_AGAIN_S: Final = 60.0  # s; after a manifest that could not be made or was refused
MANIFEST_AGAIN_S_MAX: Final = (
    3600.0  # s; twice as long each time, while ECUs keep one that is due from being made
)
IMAGES_NAME: Final = "images"
REFUSALS_MAX: Final = 3  # polls in a row at which the server refuses one report, until it is put aside
WAITS: Final = frozenset(
    {"AWAITING_CONSENT", "DOWNLOADING", "VERIFYING", "READY"}
)  # in which no ECU is worked on
GATHER_S: Final = 0.2  # s; one request for the reports of quick steps, instead of one each

_log = structlog.get_logger(__name__)


def no_word(_: int) -> Answer | None:
    """Say nothing to any update."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """What an orchestrator is given.

    Attributes:
        vin: of the vehicle.
        folder: its data folder.
        ecus: on board, exactly one of them the Primary.
        agents: by ECU serial.
        keys: each ECU's signer, by serial.
        roots: trust to start from, used only if the folder holds none yet.
        gateway: to the server.
        signals: VSS samples for preconditions.
        consent: whom it asks.
        word: the driver's newest word on an action.
        quiet: a window that its quiet hours leave open; None without such hours.
        zone: of its clock.
        clock: real or simulated.
        ids: for the journal's epoch.
        fraction: random numbers in [0, 1) for jitter.
        durability: of every file in `folder`.
        hook: around every journal record.
        observer: told of every entry after it is durable.
        retry_base_s: first delay after a failure.
        store_bytes_max: bound of the image store.
        downloads_max: images that are fetched at a time.
    """

    vin: Vin
    folder: Path
    ecus: Sequence[EcuOnBoard]
    agents: Mapping[str, UpdateAgent]
    keys: Mapping[str, CryptoSigner]
    roots: TrustState
    gateway: Gateway
    signals: SignalSource
    clock: Clock
    ids: Ids
    fraction: Callable[[], float]
    consent: Mode = "auto"
    word: Callable[[int], Answer | None] = no_word
    quiet: Window | None = None
    zone: tzinfo = UTC
    durability: Durability = "fsync"
    hook: RecordHook | None = None
    observer: Observer | None = None
    retry_base_s: float = 1.0
    store_bytes_max: int = STORE_BYTES_MAX
    downloads_max: int = 1


class Orchestrator:
    """One running orchestrator. The data folder is locked from the moment it is made until `close`."""

    def __init__(self, vehicle: Vehicle) -> None:
        """Lock the folder and read the journal.

        Raises:
            Conflict: another orchestrator runs on the folder.
            Corrupt: a file in the folder does not read back.
            AgentMissing: the update under way needs an agent that cannot be had.
            Unavailable: the disk cannot be used.
        """
        self._vehicle = vehicle
        self._lock = FolderLock(vehicle.folder)
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise

    def _open(self) -> None:
        vehicle = self._vehicle
        self.ecus = Ecus(vehicle.ecus, vehicle.agents)
        self._look_for_agents()
        self._command: Command | None = None
        self._campaign_wake = asyncio.Event()
        self._uplink_wake = asyncio.Event()
        self._uplink_failures = 0
        self._refusals = 0
        self._held = Held()
        self._next_poll_s = 0.0
        self.link_error = ""
        self.manifest_error = ""
        self._manifest_at_s, self._manifest_pause_s = 0.0, MANIFEST_AGAIN_S
        self._looked = False  # at what ECUs run since the start, and the server knows as far as it can
        self._looks = 0
        self._manifests = ManifestBook(vehicle.folder, durability=vehicle.durability)
        trust_file = vehicle.folder / TRUST_NAME
        trust = TrustState.from_bytes(trust_file.read_bytes()) if trust_file.exists() else vehicle.roots
        self._memory = Memory(
            vehicle.folder, clock=vehicle.clock, ids=vehicle.ids, durability=vehicle.durability,
            hook=vehicle.hook, observer=self._observe,
        )  # fmt: skip
        if self.state.blocked:
            _log.error("vehicle.blocked", vin=vehicle.vin, code=self.state.code, reason=self.state.detail)
        self._images = ImageStore(
            vehicle.folder / IMAGES_NAME, bytes_max=vehicle.store_bytes_max, durability=vehicle.durability
        )
        self._executor = Executor(
            vin=vehicle.vin, folder=vehicle.folder, memory=self._memory, ecus=self.ecus,
            gateway=vehicle.gateway, trust=trust, clock=vehicle.clock, fraction=vehicle.fraction,
            images=self._images, durability=vehicle.durability, retry_base_s=vehicle.retry_base_s,
            interrupted=lambda: wants_other(self.state, self._command),
            refusal=lambda: self._refusal(self.state),
            may_stage=self._may_stage, tell=self._tell,
        )  # fmt: skip

    def _look_for_agents(self) -> None:
        """Go on without an agent, unless it has something to end; the journal is not touched before that is known."""
        missing = self.ecus.missing()
        for serial, agent in missing.items():
            _log.error("vehicle.agent_missing", vin=self._vehicle.vin, ecu=serial, reason=agent.error.message)
        state = read_state(self._vehicle.folder) if missing else CampaignState()
        if not state.resting and state.state not in BEFORE_INSTALLING:
            for serial in sorted(set(missing) & set(state.ecus)):
                error = missing[serial].error
                said = f"{error.message}, and update {state.action_id} is {state.state} and needs it"
                raise AgentMissing(said, hint=error.hint)

    @property
    def state(self) -> CampaignState:
        """What the journal adds up to."""
        return self._memory.state

    @property
    def quiet(self) -> bool:
        """Whether no ECU is worked on, so that each may be asked: no update is under way, or it waits or downloads."""
        waits = self.state.state == "STAGING" and isinstance(self._decide(), Wait)  # for a word, or a lock
        return self.state.resting or self.state.state in WAITS or waits

    def wake(self) -> None:
        """Poll now: the server said that there is something new."""
        self._next_poll_s = 0.0
        self._uplink_failures = 0
        self._uplink_wake.set()

    def hear(self) -> None:
        """Look now: the driver said something."""
        self._campaign_wake.set()

    @property
    def assigned(self) -> int | None:
        """The update that the server orders, None before its first word and while it orders none."""
        command = self._command
        return command.action_id if command is not None and command.kind == "update" else None

    def glance(self) -> Glance:
        """Return what it does at this moment, and why it does nothing."""
        state, vehicle = self.state, self._vehicle
        step = self._decide()
        waits = step if isinstance(step, Wait) else Wait("", "")
        return Glance(
            state=self._executor.progress.seen(),
            at=vehicle.clock.now(),
            asks=asks_of(vehicle.consent, state.plan.conduct) if state.plan else frozenset(),
            names={ecu.serial: ecu.name for ecu in vehicle.ecus},
            waits_code=waits.code,
            waits_about=waits.about,
            waits_text=waits.detail,
            missing_bytes=self._missing_bytes(state),
            coming=self._coming(state),
            done=dict(self._executor.progress.done()),
            zone=vehicle.zone,
            link_error=self.link_error,
        )

    def unblock(self) -> None:
        """Finish what the blocked update left undone, then take part again: a technician mended the vehicle."""
        if self.state.blocked:
            self._memory.write(unblocked(self.state, self.ecus.on_board, now=self._vehicle.clock.now()))
            self._campaign_wake.set()  # what the server orders meanwhile is not said again
            self.wake()

    async def run(self) -> None:
        """Run both loops until cancelled.

        Raises:
            Corrupt: the journal contradicts itself; a person must look.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._campaign_loop())
            tasks.create_task(self._uplink_loop())

    async def step(self) -> float | None:
        """Decide and carry out one step.

        Returns:
            Seconds until the next look; None if there is nothing to do until the server says otherwise.
        """
        return await self._executor.execute(self._decide())

    async def exchange(self) -> int | None:
        """Say what has to be said and hear what the server wants, once.

        Returns:
            Seconds until the next poll if the server had no time for this one: it takes what is said all the same.

        Raises:
            RingroadError: it could not be said or heard; nothing is lost.
        """
        refusal = await self._send_reports()
        try:
            command = await self._vehicle.gateway.poll()
        except AskedToWait as asked:
            await self._upload_manifest()
            return asked.wait_s
        if command != self._command:
            self._command = command
            self._campaign_wake.set()
        self._after_sending(refusal)  # counted only of a server that answers otherwise
        await self._upload_manifest()
        return None

    async def close(self) -> None:
        """Drop connections, close the journal, free the folder."""
        await self.ecus.close()
        self._memory.close()
        self._lock.close()

    # Campaign ------------------------------------------------------------------------------------

    async def _campaign_loop(self) -> None:
        while True:
            self._campaign_wake.clear()
            try:
                delay_s = await self.step()
            except Corrupt:
                raise
            except RingroadError as error:
                # A full disk: nothing was decided on what could not be written down. Look again later.
                _log.warning(
                    "vehicle.step_failed", vin=self._vehicle.vin, code=error.code, reason=error.message
                )
                delay_s = backoff_s(1, fraction=self._vehicle.fraction(), base_s=POLL_S_MIN * 10)
            end_if_cancelled()
            if delay_s:
                await _wait(self._campaign_wake, delay_s)
            elif delay_s is None:
                await self._campaign_wake.wait()
            else:
                await asyncio.sleep(0)  # let the uplink speak between two steps

    def _decide(self) -> Step:
        state, vehicle = self.state, self._vehicle
        now = vehicle.clock.now()
        return next_step(
            state,
            Facts(
                now=now, command=self._command, stored=self._executor.stored(),
                refusal=self._refusal(state),
                asks=asks_of(vehicle.consent, state.plan.conduct) if state.plan else frozenset(),
                word=vehicle.word(state.action_id) if state.action_id and not state.resting else None,
                driver_only=vehicle.consent == "ask",
                quiet_until=quiet_until(vehicle.quiet, now), downloads_max=vehicle.downloads_max,
                no_agent=self._no_agent(state), locked=self.ecus.locked(state.ecus, now=now), gone=self.ecus.gone(state.ecus),
            ),
        )  # fmt: skip

    def _no_agent(self, state: CampaignState) -> str:
        missing = self.ecus.missing()
        planned = [ecu for ecu in self.ecus.on_board if ecu.serial in state.ecus]
        lost = (
            f"{one.name}: {missing[one.serial].error.message}" for one in planned if one.serial in missing
        )
        return next(lost, "")

    def _may_stage(self) -> bool:
        """Say whether the next ECU may be staged: none failed, and neither server nor driver want something else."""
        state = self.state
        word = self._vehicle.word(state.action_id) if state.action_id else None
        wanted = wants_other(state, self._command) or (word is not None and word != state.answer)
        return not wanted and EcuState.FAILED not in state.ecus.values()

    def _missing_bytes(self, state: CampaignState) -> int | None:
        if state.plan is None:
            return None
        stored = self._images.stored()
        return sum(target.length for target in state.plan.images() if target.sha256 not in stored)

    def _coming(self, state: CampaignState) -> Coming | None:
        if state.plan is None:
            return None
        targets = {ecu.target.sha256 for ecu in state.plan.ecus}
        return coming(state.plan.images(), targets=targets, stored=self._images.stored(), tries=state.tries)

    def _refusal(self, state: CampaignState) -> Refusal | None:
        if state.plan is None or state.state not in {"READY", "INSTALLING", "CHECKING"}:
            return None
        now = self._vehicle.clock.now()
        samples = {sample.path: sample for sample in self._vehicle.signals.read(now)}
        refusal, self._held = look(
            [parse_precondition(text) for text in state.plan.preconditions], samples,
            now=now, at_s=self._vehicle.clock.monotonic_s(), held=self._held,
        )  # fmt: skip
        return refusal

    def _observe(self, entry: Entry, state: CampaignState) -> None:
        if self._uplink_failures == 0:  # while the server is away, news must not shorten the back-off
            self._uplink_wake.set()
        if not state.resting:
            self._manifest_at_s, self._manifest_pause_s = 0.0, MANIFEST_AGAIN_S  # for the end of this update
        if self._vehicle.observer is not None:
            self._vehicle.observer(entry, state)

    # Uplink --------------------------------------------------------------------------------------

    async def _uplink_loop(self) -> None:
        while True:
            self._uplink_wake.clear()
            pause_s = await self._exchange_safely()
            end_if_cancelled()
            woken = await _wait(self._uplink_wake, pause_s)
            if woken and self._vehicle.clock.monotonic_s() < self._next_poll_s:
                await asyncio.sleep(GATHER_S)

    async def _exchange_safely(self) -> float:
        """Exchange what is due, and return the seconds until the next exchange."""
        vehicle = self._vehicle
        now_s = vehicle.clock.monotonic_s()
        try:
            if now_s >= self._next_poll_s:
                asked_s = await self.exchange()
                poll_s = self._command.poll_s if self._command is not None else POLL_S_MIN
                # Up to a tenth earlier, so that a fleet that was started together drifts apart.
                spread = 1 - vehicle.fraction() / 10
                if asked_s is not None:
                    poll_s, spread = asked_s, 1
                self._next_poll_s = now_s + min(max(poll_s, POLL_S_MIN), POLL_S_MAX) * spread
            else:
                if not self._refusals:
                    await self._send_reports()
                await self._upload_manifest()
        except Corrupt:
            raise
        except RingroadError as error:
            self._uplink_failures += 1
            self.link_error = error.message
            _log.debug("vehicle.uplink_failed", vin=vehicle.vin, code=error.code, reason=error.message)
            wait_s = backoff_s(
                self._uplink_failures, fraction=vehicle.fraction(), base_s=vehicle.retry_base_s
            )
            return max(wait_s, error.wait_s) if isinstance(error, AskedToWait) else wait_s
        self._uplink_failures = 0
        self.link_error = ""
        return max(self._next_poll_s - vehicle.clock.monotonic_s(), 0.0)

    async def _send_reports(self) -> InvalidInput | None:
        """Send what waits; return why the server refuses the oldest report even alone, or None."""
        outbox, reports_max = self._memory.outbox, BATCH_REPORTS_MAX
        while batch := outbox.batch(reports_max=reports_max):
            try:
                acknowledged = await self._vehicle.gateway.send_reports(batch)
            except InvalidInput as error:
                if len(batch) == 1:
                    return error
                reports_max = len(batch) // 2  # one of them is wrong; the others shall arrive
                continue
            if not outbox.acknowledge(acknowledged):
                return None  # the server keeps none of them for now; the next exchange tries again
        return None

    def _after_sending(self, refusal: InvalidInput | None) -> None:
        self._refusals = self._refusals + 1 if refusal is not None else 0
        if refusal is None or self._refusals < REFUSALS_MAX:
            return
        _log.warning(
            "vehicle.report_refused", vin=self._vehicle.vin, code=refusal.code, reason=refusal.message
        )
        self._memory.put_aside(refusal.code)
        self._refusals = 0

    async def _upload_manifest(self) -> None:
        due = self._manifests.due(self.state)
        look = due or (self.state.resting and not self._looked)
        # The server should know how the campaign ended before it sees what came of it.
        clock = self._vehicle.clock
        if not look or not self._memory.outbox.settled or clock.monotonic_s() < self._manifest_at_s:
            return
        inventory = await self.ecus.inventories()
        tells = due or self._manifests.differs(inventory)
        failed = await self._put_manifest(inventory, fresh=due and self._executor.listed) if tells else None
        # A few times per start, and ever more seldom while one is due: what stays away must not keep buses awake.
        self._looks += 1
        self._looked = not is_worth_a_look(inventory, failed, looks=self._looks)
        kept = due and failed is not None and failed.code in {"manifest_incomplete", "manifest_unknown_image"}
        if failed and kept and self.state.state == "SUCCEEDED" and self._manifest_pause_s > MANIFEST_AGAIN_S:
            self._executor.note(failed)
        if kept or not self._looked:
            self._manifest_at_s = clock.monotonic_s() + self._manifest_pause_s
        self._manifest_pause_s = (
            min(2 * self._manifest_pause_s, MANIFEST_AGAIN_S_MAX) if kept else MANIFEST_AGAIN_S
        )

    async def _tell(self, inventory: Inventory) -> None:
        """Tell the server what ECUs run, if that is not what it was told, before an update is refused for it."""
        if self._manifests.differs(inventory):
            await self._put_manifest(inventory, fresh=self._executor.listed)

    async def _put_manifest(self, inventory: Inventory, *, fresh: bool) -> RingroadError | None:
        """Tell what ECUs run; return why that failed."""
        state, vehicle = self.state, self._vehicle
        try:
            manifest = sign_manifest(
                vin=vehicle.vin, ecus=self.ecus.on_board, inventory=inventory, state=state, keys=vehicle.keys,
                trust=self._executor.trust, counter=self._manifests.next_counter(), fresh=fresh,
                now=vehicle.clock.now(),
            )  # fmt: skip
            await vehicle.gateway.put_manifest(manifest)
        except Corrupt:
            raise
        except RingroadError as error:
            # An ECU that is away must not keep the vehicle from hearing the server.
            self.manifest_error = error.message
            self._manifest_at_s = vehicle.clock.monotonic_s() + MANIFEST_AGAIN_S  # while one is due
            _log.info("vehicle.manifest_failed", vin=vehicle.vin, code=error.code, reason=error.message)
            return error
        self.manifest_error = ""
        self._manifests.accepted(state, manifest)
        return None


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, at most `seconds`; say whether it came."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
