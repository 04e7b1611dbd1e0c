"""Carries out the steps that `decide` chooses. No choice is made here; `tries` counts and waits after a failure.

Every effect can be repeated: a restart runs the step again that the journal does not show as finished.

Invariant: an effect begins after the record that announces it is durable; on the same line the next after that of its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import assert_never

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Corrupt, NotFound, RingroadError, Unavailable, Untrusted
from ringroad.kernel.vin import Vin
from ringroad.protocol.preconditions import Refusal
from ringroad.protocol.vehicle import DeltaOffer
from ringroad.trust.attacks import Attack
from ringroad.trust.state import EcuIdentity, RefreshResult, TrustState, VehicleInventory, VerifiedTarget
from ringroad.trust.verify import RefreshRefused, refresh
from ringroad.vehicle import decide
from ringroad.vehicle.agents.base import (
    RETRYABLE,
    CheckKind,
    Done,
    EcuInventory,
    Failed,
    Outcome,
    Reason,
    UpdateAgent,
    image_of,
)
from ringroad.vehicle.deltas import DELTA_TRIES_MAX, delta_file, tried_as
from ringroad.vehicle.ecus import Ecus
from ringroad.vehicle.fetch import Fetcher, Interrupted
from ringroad.vehicle.files import TRUST_NAME, Durability, replace_file
from ringroad.vehicle.gateway import Gateway
from ringroad.vehicle.identity import Inventory
from ringroad.vehicle.images import ImageStore
from ringroad.vehicle.memory import Memory
from ringroad.vehicle.mend import Mender
from ringroad.vehicle.plan import make_plan
from ringroad.vehicle.progress import EcuProgress, ProgressReports
from ringroad.vehicle.rebuild import Rebuilder
from ringroad.vehicle.states import (
    EcuPlan,
    EcuState,
    FaultsKnown,
    Moved,
    Plan,
    Planned,
    Tried,
)
from ringroad.vehicle.terms import Refused
from ringroad.vehicle.tries import NETWORK_CODES, OFFLINE, Tries
from ringroad.vehicle.watch import LOOK_AGAIN_S, PAUSES_MAX, Hold, Watch, watched


class Executor:
    """Carries out steps for one vehicle."""

    def __init__(
        self,
        *,
        vin: Vin,
        folder: Path,
        memory: Memory,
        ecus: Ecus,
        gateway: Gateway,
        images: ImageStore,
        trust: TrustState,
        clock: Clock,
        fraction: Callable[[], float],
        durability: Durability,
        retry_base_s: float,
        interrupted: Callable[[], bool],
        refusal: Callable[[], Refusal | None],
        may_stage: Callable[[], bool],
        tell: Callable[[Inventory], Awaitable[None]],
    ) -> None:
        self._vin = vin
        self._folder = folder
        self._memory = memory
        self._ecus = ecus
        self._gateway = gateway
        self._images = images
        self.trust = trust
        self._listed_for: int | None = None  # action that the Image repository was verified for, in this life
        self._clock = clock
        self._durability: Durability = durability
        self._refusal = refusal
        self._tries = Tries(memory=memory, clock=clock, fraction=fraction, retry_base_s=retry_base_s)
        self._hold = Hold(refusal, self._tries.note)
        self._may_stage, self._tell = may_stage, tell
        self.progress = ProgressReports(memory=memory, clock=clock)
        self._fetcher = Fetcher(
            gateway=gateway, images=images, memory=memory, reports=self.progress, interrupted=interrupted, clock=clock,
        )  # fmt: skip
        self._mender = Mender(
            images=images, memory=memory, clock=clock,
            fetch=lambda target: self._fetcher.fetch(target, serial=target.serial, keep=()),
        )  # fmt: skip
        self._deltas = Rebuilder(images=images, memory=memory, clock=clock)

    async def execute(self, step: decide.Step) -> float | None:
        """Carry out `step`.

        Returns:
            Seconds until the next look; None to rest until something happens.

        Raises:
            Corrupt: the journal contradicts itself.
            Unavailable: the disk cannot be written.
        """
        match step:
            case decide.Rest():
                self._memory.compact()
                return None
            case decide.Wait(code=code, detail=detail, about=about):
                self._tries.note(code, detail, about)
                return LOOK_AGAIN_S
            case decide.Write(entry=entry):
                self._memory.write(entry)
                return 0.0
            case decide.Sync():
                return await self._sync()
            case decide.Download(target=target, beside=beside):
                return await self._download(target, beside)
            case decide.DownloadDelta(target=target, offer=offer):
                return await self._download_delta(target, offer)
            case decide.Rebuild(target=target, offer=offer):
                return await self._rebuild(target, offer)
            case decide.CheckImages():
                return await self._check_images()
            case decide.Prepare(serials=serials):
                return await self._ecus.on_each_line(serials, self._prepare, go_on=self._may_stage)
            case decide.ReadFaults():
                return await self._read_faults()
            case decide.Install(serial=serial):
                return await self._install(serial)
            case decide.Check(serial=serial):
                return await self._check(serial)
            case decide.Commit(serial=serial):
                return await self._commit(serial)
            case decide.RollBack(serial=serial):
                return await self._roll_back(serial)
            case _:
                assert_never(step)

    def stored(self) -> frozenset[str]:
        """Return the digests of the images that are whole in the store; looked up only while it matters."""
        return self._images.stored() if self._memory.state.state == "DOWNLOADING" else frozenset()

    @property
    def listed(self) -> bool:
        """Say whether it was asked for this update which images are listed: a plan is made of that, a refusal may be."""
        state = self._memory.state
        known = state.plan is not None or self._listed_for == state.action_id
        return state.action_id is not None and known

    def note(self, error: RingroadError) -> None:
        """Note, for vehicle and server, why what was done is not stated. Raises: Unavailable."""
        self._tries.note(error.code, error.message, error.message)

    # Getting ready -------------------------------------------------------------------------------

    async def _sync(self) -> float:
        inventory = await self._ecus.inventories()
        try:
            result = await self._refresh(inventory)
        except RefreshRefused as error:
            self._keep_trust(error.state)
            self._listed_for = self._memory.state.action_id if error.listed else None
            if error.code == Attack.FREEZE:
                # Expired metadata never installs, but the next may be fresh: those are other bytes.
                return self._tries.try_again(
                    "sync", error.code, error.message, tries_max=decide.SYNC_TRIES_MAX
                )
            await self._tell(inventory)
            return self._tries.end(error.code, error.message)
        except RingroadError as error:
            return self._tries.after_network(error, what="sync", tries_max=decide.SYNC_TRIES_MAX)
        self._tries.network_answered()
        self._keep_trust(result.state)
        self._listed_for = self._memory.state.action_id
        package = result.vehicle_package
        if package is None or package.action_id != self._memory.state.action_id:
            detail = "the Director does not speak of this action yet"
            return self._tries.try_again("sync", "stale_director", detail, tries_max=decide.SYNC_TRIES_MAX)
        plan = make_plan(
            package, result.targets, ecus=self._ecus.on_board, inventory=inventory,
            installed=self._memory.state.installed, before=self._memory.state.before,
        )  # fmt: skip
        if isinstance(plan, Refused):
            if plan.code in RETRYABLE:
                return self._tries.try_again("sync", plan.code, plan.detail, tries_max=decide.SYNC_TRIES_MAX)
            await self._tell(inventory)  # before the refusal: the server judges it by what it knows
            return self._tries.end(plan.code, plan.detail)
        self._memory.write(Planned(plan=plan, at=self._clock.now()))
        return 0.0

    async def _refresh(self, inventory: dict[str, EcuInventory | Failed]) -> RefreshResult:
        conversation = refresh(
            self.trust,
            vin=self._vin,
            now=self._clock.now(),
            inventory=VehicleInventory(
                ecus=tuple(
                    EcuIdentity(
                        serial=ecu.serial,
                        hardware_id=ecu.hardware_id,
                        release_counter=self._committed_counter(ecu.serial, inventory[ecu.serial]),
                    )
                    for ecu in self._ecus.on_board
                )
            ),
        )
        try:
            request = next(conversation)
            while True:
                request = conversation.send(await self._gateway.fetch(request))
        except StopIteration as finished:
            result: RefreshResult = finished.value
            return result

    def _committed_counter(self, serial: str, answer: EcuInventory | Failed) -> int:
        installed = self._memory.state.installed.get(serial)
        known = installed.release_counter if installed is not None else 0
        return known if isinstance(answer, Failed) else max(known, answer.committed_counter)

    def _keep_trust(self, trust: TrustState) -> None:
        if trust != self.trust:
            replace_file(self._folder / TRUST_NAME, trust.to_bytes(), durability=self._durability)
            self.trust = trust

    async def _download(self, target: VerifiedTarget, beside: tuple[VerifiedTarget, ...]) -> float:
        what = f"image:{target.sha256}"
        try:
            await self._fetcher.fetch(target, serial=target.serial, keep=(), beside=beside)
        except Interrupted:
            return 0.0
        except Untrusted as error:
            return self._tries.try_again(what, error.code, error.message, tries_max=decide.IMAGE_TRIES_MAX)
        except NotFound as error:
            is_backup = all(ecu.target.sha256 != target.sha256 for ecu in self._plan().ecus)
            return self._tries.end("no_backup" if is_backup else "image_missing", error.message)
        except RingroadError as error:
            return self._tries.after_network(error, what=what, tries_max=decide.IMAGE_TRIES_MAX)
        self._tries.network_answered()
        return 0.0

    async def _download_delta(self, target: VerifiedTarget, offer: DeltaOffer) -> float:
        try:
            await self._fetcher.fetch(
                delta_file(target, offer), serial=target.serial, keep=(offer.from_sha256,)
            )
        except Interrupted:
            return 0.0
        except RingroadError as error:
            tries = self._memory.state.tries.get(tried_as(offer), 0) + 1
            if error.code == OFFLINE or isinstance(error, Corrupt):
                return self._tries.after_network(error, what=tried_as(offer), tries_max=DELTA_TRIES_MAX)
            if error.code not in NETWORK_CODES or tries >= DELTA_TRIES_MAX:
                self._deltas.give_up(offer, error, serial=target.serial)
                return 0.0
            self._tries.tried(tried_as(offer), error.code, error.message)
            return self._tries.backoff(tries)
        self._tries.network_answered()
        return 0.0

    async def _rebuild(self, target: VerifiedTarget, offer: DeltaOffer) -> float:
        await self._deltas.rebuild(target, offer, keep=[one.sha256 for one in self._plan().images()])
        return 0.0

    async def _mended(self, target: VerifiedTarget, outcome: Outcome) -> float | None:
        """Return when to repeat a verb whose image went bad in the store; None if that is not why it failed."""
        try:
            found = await self._mender.mend(target, outcome)
        except Interrupted:
            return 0.0
        if isinstance(found, RingroadError):
            return self._tries.wait_for_network(found)
        return 0.0 if found else None

    async def _check_images(self) -> float:
        for target in self._plan().images():
            try:
                await self._mender.verify(target)
            except (Untrusted, Unavailable) as error:
                what = f"image:{target.sha256}"
                if self._memory.state.tries.get(what, 0) + 1 >= decide.IMAGE_TRIES_MAX:
                    return self._tries.end(error.code, error.message)
                now = self._clock.now()
                self._memory.write(Tried(what=what, at=now, code=error.code, detail=error.message))
                self._memory.write(Moved(state="DOWNLOADING", at=now, code=error.code))
                return 0.0
        self._memory.write(Moved(state="STAGING", at=self._clock.now()))
        return 0.0

    async def _prepare(self, serial: str) -> float:
        ecu = self._plan().ecu(serial)
        progress = self.progress.of(serial)
        async with self._ecus.agent(serial) as agent:
            outcome = await agent.prepare(
                ecu.image, self._images.source(ecu.target.sha256), progress=progress
            )
        again_s = await self._mended(ecu.target, outcome)
        if again_s is not None:
            return again_s
        return self._tries.after_verb(
            outcome, what=f"prepare:{serial}", serial=serial, done=EcuState.STAGED, began=progress.began
        )

    async def _read_faults(self) -> float:
        faults: dict[str, tuple[str, ...]] = {}
        for ecu in self._plan().ecus:
            told = await self._ecus.inventory(ecu.serial)
            if isinstance(told, Failed):
                return self._tries.try_again(
                    "faults", told.reason, told.detail, tries_max=decide.AWAY_TRIES_MAX
                )
            running = told.running.sha256 if told.running is not None else ""
            if told.serial != ecu.serial:
                return self._tries.end(
                    "serial_mismatch", f"{told.serial} answers in the place of {ecu.serial}"
                )
            if running != ecu.from_sha256:
                return self._tries.end("changed_meanwhile", f"ECU {ecu.serial} no longer runs what it ran")
            faults[ecu.serial] = tuple(fault.code for fault in told.faults)
        self._memory.write(FaultsKnown(faults=faults, at=self._clock.now()))
        return 0.0

    # Installing ----------------------------------------------------------------------------------

    async def _install(self, serial: str) -> float:
        ecu = self._plan().ecu(serial)
        again = self._memory.state.ecus[serial] is EcuState.INSTALLING
        if not again:
            self._tries.move_ecu(serial, EcuState.INSTALLING)
        progress = self.progress.of(serial)
        async with self._ecus.agent(serial) as agent:
            # Begun before: its other bank may be due to boot, so it stays INSTALLING, which a rollback undoes.
            if again and await self._hold.look(agent, ecu):
                return LOOK_AGAIN_S
            async with watched(agent, self._refusal, self._tries.note) as watch:
                outcome = await self._install_with(agent, ecu, watch, progress)
        if watch.paused and isinstance(outcome, Failed):
            if again and not ecu.in_place:
                return LOOK_AGAIN_S
            return self._pause(serial, outcome)
        again_s = await self._mended(ecu.target, outcome)
        if again_s is not None:
            return again_s
        return self._tries.after_verb(
            outcome, what=f"install:{serial}", serial=serial, done=EcuState.ACTIVATED, began=progress.began
        )

    def _pause(self, serial: str, outcome: Failed) -> float:
        """Wait with an ECU whose installation stopped before anything was erased."""
        what = f"pause:{serial}"
        self._tries.tried(what, outcome.reason, outcome.detail)
        if self._memory.state.tries[what] >= PAUSES_MAX:
            self._tries.move_ecu(serial, EcuState.FAILED, code=outcome.reason, detail=outcome.detail)
        else:
            self._tries.move_ecu(serial, EcuState.STAGED)
        return LOOK_AGAIN_S

    async def _install_with(
        self, agent: UpdateAgent, ecu: EcuPlan, watch: Watch, progress: EcuProgress
    ) -> Outcome:
        source = self._images.source(ecu.target.sha256)
        outcome = await agent.install(ecu.image, source, progress=progress)
        if isinstance(outcome, Failed) and outcome.reason is Reason.NOT_STAGED:
            # READY may last for days; whatever used the inactive bank meanwhile has to give it back.
            outcome = await agent.prepare(ecu.image, source, progress=progress)
            if isinstance(outcome, Done):
                outcome = await agent.install(ecu.image, source, progress=progress)
        if isinstance(outcome, Done):
            if found := await self._hold.look(agent, ecu):
                watch.paused = True
                return Failed(reason=Reason.PRECONDITION, detail=found.text)
            outcome = await agent.activate(ecu.image)
        return outcome

    async def _check(self, serial: str) -> float:
        ecu = self._plan().ecu(serial)
        checks = frozenset(check.kind for check in self._plan().post_checks if check.ecu == serial)
        known = (self._memory.state.known_faults or {}).get(serial, ())
        async with self._ecus.agent(serial) as agent:
            # An ECU on trial may have gone back since: rule 4.
            if await self._hold.look(agent, ecu):
                return LOOK_AGAIN_S
            outcome = await agent.activate(ecu.image)
            if isinstance(outcome, Done):
                outcome = await agent.verify(ecu.image, checks, known_faults=frozenset(known))
            if isinstance(outcome, Done):
                outcome = _runs_new(ecu, await agent.inventory(), checks)
        return self._tries.after_verb(outcome, what=f"check:{serial}", serial=serial, done=EcuState.VERIFIED)

    async def _commit(self, serial: str) -> float:
        ecu = self._plan().ecu(serial)
        async with self._ecus.agent(serial) as agent:
            outcome = await agent.activate(ecu.image)
            again = f"install:{serial}"
            if (
                isinstance(outcome, Failed)
                and outcome.reason is not Reason.UNREACHABLE
                and self._memory.state.tries.get(again, 0) < decide.COMMIT_INSTALLS_MAX
            ):
                self._tries.tried(again, outcome.reason, outcome.detail)
                progress = self.progress.of(serial)  # only forward from here: rule 2
                outcome = await self._install_with(agent, ecu, Watch(), progress)
            if isinstance(outcome, Done):
                outcome = await agent.commit(ecu.image)
        if isinstance(outcome, Done):
            self._tries.move_ecu(serial, EcuState.COMMITTED)
            return 0.0
        again_s = await self._mended(ecu.target, outcome)
        if again_s is not None:
            return again_s
        return self._tries.again(
            f"commit:{serial}", outcome.reason, outcome.detail, tries_max=decide.COMMIT_TRIES_MAX
        )

    async def _roll_back(self, serial: str) -> float:
        ecu = self._plan().ecu(serial)
        if self._memory.state.ecus[serial] is not EcuState.ROLLING_BACK:
            self._tries.move_ecu(serial, EcuState.ROLLING_BACK)
        async with self._ecus.agent(serial) as agent:
            outcome: Outcome = Done(already=True)
            if ecu.from_sha256 != ecu.target.sha256 or not ecu.in_place:
                outcome = await agent.rollback(
                    ecu.image,
                    backup=image_of(ecu.backup) if ecu.backup is not None else None,
                    source=self._images.source(ecu.backup.sha256) if ecu.backup is not None else None,
                    progress=self.progress.of(serial),
                )
            if isinstance(outcome, Done):
                outcome = _runs_old(ecu, await agent.inventory())
        if isinstance(outcome, Done):
            self._tries.move_ecu(serial, EcuState.ROLLED_BACK)
            return 0.0
        again_s = None if ecu.backup is None else await self._mended(ecu.backup, outcome)
        if again_s is not None:
            return again_s
        return self._tries.again(
            f"rollback:{serial}", outcome.reason, outcome.detail, tries_max=decide.ROLLBACK_TRIES_MAX
        )

    def _plan(self) -> Plan:
        plan = self._memory.state.plan
        if plan is None:
            raise Corrupt("the journal holds no plan", code="journal_corrupt")
        return plan


def _runs_new(ecu: EcuPlan, answer: EcuInventory | Failed, checks: frozenset[CheckKind]) -> Outcome:
    """Say whether an ECU tells the digest and the version that were signed, whatever its agent found.

    What ran these bytes before goes on telling the version that they came under, unless that is to be checked.
    """
    if isinstance(answer, Failed):
        return answer
    running, target = answer.running, ecu.target
    if running is None:
        return Failed(reason=Reason.BOOT_FAILED, detail="no software runs")
    if running.sha256 != target.sha256:
        return Failed(reason=Reason.NOT_ACTIVE, detail=f"{running.version} runs")
    changed = ecu.from_sha256 != target.sha256
    if (changed or "version" in checks) and running.version != target.ecu_target.version:
        signed = target.ecu_target.version
        detail = f"{running.version!r} is reported, {signed!r} was signed"
        return Failed(reason=Reason.VERSION_MISMATCH, detail=detail)
    return Done()


def _runs_old(ecu: EcuPlan, answer: EcuInventory | Failed) -> Outcome:
    """Say whether an ECU runs for good what it ran before, by its own hash of its own memory."""
    if isinstance(answer, Failed):
        return answer
    expected = ecu.from_sha256 or (ecu.backup.sha256 if ecu.backup is not None else "")
    running = answer.running.sha256 if answer.running is not None else ""
    if running == expected and not answer.trial:
        return Done()
    return Failed(reason=Reason.BOOT_FAILED, detail=f"runs {running[:12] or 'nothing'} after the rollback")
