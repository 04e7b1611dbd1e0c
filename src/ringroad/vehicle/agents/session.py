"""What both agents do with an ECU: connect, identify, flash a bank, restart, verify, commit.

Every public function returns values of `base`; `guarded` turns refusals and dead connections into `Failed`.

Invariant: before anything is erased, the image's signed hash, the ECU's serial, hardware, counter and
capacity were checked in the same call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ringroad.kernel.errors import InvalidInput, RingroadError, Unavailable, Untrusted
from ringroad.vehicle.agents.base import (
    CheckKind,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    Fault,
    ImageSource,
    Outcome,
    Progress,
    Reason,
    Software,
    no_progress,
    tell_step,
    unfit,
)
from ringroad.vehicle.agents.quiet import Silence
from ringroad.vehicle.agents.wire import BankStatus, Did, Identity, Layout, Mode, Rid, SlotStatus, Swap
from ringroad.vehicle.proof import Prover
from ringroad.vehicle.segments import FlashImage, MalformedImage, Segment, open_image
from ringroad.vehicle.uds import (
    KeyDeriver,
    NegativeResponse,
    Nrc,
    Session,
    UdsChannel,
    UdsClient,
)

RESTART_S_MAX: Final = 20.0  # s from a reset until the ECU answers again
RESTART_PAUSE_S: Final = 0.05
TRANSFER_TRIES_MAX: Final = 3  # whole downloads, from erase on, in one call of a verb
STOP_TRIES: Final = 2  # to stop what goes on in an ECU
UNCONFIRMED: Final = "the ECU did not confirm that it stopped"
STOP_S_MAX: Final = 5.0  # s of one of them: whoever drives off, or shuts down, waits for it
CONFIRMED_FAULT: Final = 0x08
STORED_FAULTS: Final = 0x7F  # any bit but the warning lamp's

T = TypeVar("T")
# An ECU that restarted between two requests knows nothing of session or download any more.
_FORGOTTEN: Final = frozenset({Nrc.REQUEST_SEQUENCE_ERROR, Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION})


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuAccess:
    """How to reach and unlock one ECU.

    Attributes:
        serial: that must answer.
        derive: seed to key.
        key: proves ownership to an ECU that asks for 0x29; None: it asks for the key of 0x27.
        fingerprint: written before flashing (F15A); who flashed, at most 64 bytes.
        timeout_s: for a first answer.
        restart_s_max: s an ECU may take to answer after a reset.
        silence: of the other ECUs while an in-place one is flashed; None when it is alone on its bus.
    """

    serial: str
    derive: KeyDeriver
    fingerprint: bytes = b"ringroad"
    timeout_s: float = 2.0
    restart_s_max: float = RESTART_S_MAX
    silence: Silence | None = None
    key: Prover | None = None


class Refusal(Exception):  # noqa: N818 - travels from a step to its verb, never further
    """A step ended the verb with a typed reason."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.failed = Failed(reason=reason, detail=detail)


async def guarded(work: Awaitable[T]) -> T | Failed:
    """Return the result of `work`, or why it failed."""
    try:
        return await work
    except Refusal as refusal:
        return refusal.failed
    except NegativeResponse as negative:
        return Failed(reason=reason_of(negative), detail=negative.message)
    except Unavailable as error:
        return Failed(reason=Reason.UNREACHABLE, detail=error.message)
    except Untrusted as error:
        return Failed(reason=Reason.HASH_MISMATCH, detail=error.message)
    except MalformedImage as error:
        unflashable = error.code == "unsupported_format"
        reason = Reason.UNSUPPORTED_FORMAT if unflashable else Reason.IMAGE_MALFORMED
        return Failed(reason=reason, detail=error.message)
    except OSError as error:
        return Failed(reason=Reason.TRANSFER_FAILED, detail=f"the image cannot be read: {error.strerror}")
    except RingroadError as error:
        return Failed(reason=Reason.ECU_REFUSED, detail=error.message)


async def see_through(stops: Coroutine[Any, Any, str]) -> str:
    """Wait for what stops something in an ECU, whoever cuts it off meanwhile; it is bounded. Returns what it says."""
    stopping = asyncio.create_task(stops)
    while not stopping.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({stopping})
    return f"{UNCONFIRMED}: it was cut off" if stopping.cancelled() else stopping.result()


def reason_of(negative: NegativeResponse) -> Reason:
    """Return the typed reason for a negative response that no step has named better."""
    match negative.nrc:
        case Nrc.EXCEEDED_NUMBER_OF_ATTEMPTS | Nrc.REQUIRED_TIME_DELAY_NOT_EXPIRED:
            return Reason.LOCKED_OUT
        case (
            Nrc.INVALID_KEY
            | Nrc.SECURITY_ACCESS_DENIED
            | Nrc.AUTHENTICATION_REQUIRED
            | Nrc.OWNERSHIP_VERIFICATION_FAILED
        ):
            return Reason.ACCESS_DENIED
        case Nrc.BUSY_REPEAT_REQUEST | Nrc.RESPONSE_PENDING:
            return Reason.BUSY
        case Nrc.WRONG_BLOCK_SEQUENCE_COUNTER | Nrc.TRANSFER_DATA_SUSPENDED | Nrc.GENERAL_PROGRAMMING_FAILURE:
            return Reason.TRANSFER_FAILED
        case _:
            return Reason.ECU_REFUSED


class EcuSession:
    """One ECU, its channel, and the steps both agents share."""

    __slots__ = ("access", "channel", "uds")

    def __init__(self, channel: UdsChannel, access: EcuAccess) -> None:
        self.channel = channel
        self.access = access
        self.uds = UdsClient(channel=channel, timeout_s=access.timeout_s)

    async def identify(self) -> None:
        """Connect, and make sure that it is the right ECU. Raises: Refusal."""
        await self.channel.connect()
        serial = _ascii(await self.uds.read(Did.SERIAL))
        if serial != self.access.serial:
            raise Refusal(Reason.SERIAL_MISMATCH, f"{serial!r} answers instead of {self.access.serial!r}")

    async def status(self) -> SlotStatus:
        """Connect, make sure that it is the right ECU, and ask where it stands."""
        await self.identify()
        return SlotStatus.decode(await self.uds.read(Did.SLOT_STATE))

    async def inventory(self) -> EcuInventory:
        """Ask for everything the orchestrator wants to know."""
        status = await self.status()
        running = await self.running(status)
        faults = await self.faults()
        return EcuInventory(
            serial=self.access.serial,
            hardware_id=_ascii(await self.uds.read(Did.HARDWARE)),
            mode="application" if status.mode is Mode.APPLICATION else "bootloader",
            running=running,
            trial=status.swap is Swap.TRIAL,
            staged=_software(status.staged),
            committed_counter=status.committed_counter,
            faults=faults,
        )

    async def faults(self) -> tuple[Fault, ...]:
        """Connect, and ask for the stored fault codes."""
        await self.channel.connect()
        found = await self.uds.faults(status_mask=STORED_FAULTS)
        return tuple(Fault(code=code, status=status) for code, status in found)

    async def running(self, status: SlotStatus) -> Software | None:
        """Return what runs, by the identifiers the application itself answers."""
        bank = status.running
        if bank is None:
            return None
        version = (await self.uds.read(Did.SOFTWARE_VERSION)).decode(errors="replace")
        sha256 = (await self.uds.read(Did.IMAGE_SHA256)).hex()
        return Software(version=version, sha256=sha256, release_counter=bank.release_counter)

    async def run_routine(self, rid: int) -> bytes:
        """RoutineControl (0x31) of what may go on for long; one that is cut off is stopped on the ECU.

        What is not known of that is noted on the `CancelledError`, and nobody who cuts it off once more loses that.
        """
        try:
            return await self.uds.routine(rid)
        except asyncio.CancelledError as cut:
            if note := await see_through(self._stop_routine(rid)):
                cut.add_note(note)
            raise

    async def _stop_routine(self, rid: int) -> str:
        """Stop a routine. Returns that it may run still, and why; empty if it does not."""
        why = "it does not answer"
        for _ in range(STOP_TRIES):
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await self.uds.stop_routine(rid)
            except NegativeResponse as negative:
                if negative.nrc == Nrc.REQUEST_SEQUENCE_ERROR:
                    return ""  # it does not run
                why = negative.message
                if not isinstance(negative, Unavailable):  # it is not busy alone
                    break
            except (Unavailable, TimeoutError):
                pass
            else:
                return ""
        return f"{UNCONFIRMED}: {why}"

    async def check_image(self, image: EcuImage, source: ImageSource, status: SlotStatus) -> FlashImage:
        """Check image and ECU against each other; change nothing."""
        hardware_id = _ascii(await self.uds.read(Did.HARDWARE))
        refused = unfit(image, hardware_id=hardware_id, committed_counter=status.committed_counter)
        if refused is not None:
            raise Refusal(refused.reason, refused.detail)
        if image.target.format == "swu":
            raise Refusal(Reason.UNSUPPORTED_FORMAT, "swu is not flashed over UDS")
        flash = await open_image(image, source)
        if flash.length_bytes > status.capacity_bytes:
            raise Refusal(
                Reason.TOO_LARGE, f"{flash.length_bytes} bytes, the bank holds {status.capacity_bytes}"
            )
        return flash

    async def unlock(self, session: Session, *, progress: Progress = no_progress) -> None:
        """Enter a session and unlock it. The bootloader is reached through the extended session."""
        tell_step(progress, "session")
        await self.uds.session(Session.EXTENDED)
        if session is Session.PROGRAMMING:
            try:
                await self.uds.session(Session.PROGRAMMING)
            except Unavailable as lost:
                if isinstance(lost, NegativeResponse):
                    raise
                await self.wait_for_restart()  # some bootloaders drop the connection
                await self.uds.session(Session.EXTENDED)
                await self.uds.session(Session.PROGRAMMING)
        tell_step(progress, "unlock")
        await self.prove()

    async def leave(self) -> None:
        """Go back into the default session, wherever it is."""
        await self.channel.connect()
        await self.uds.session(Session.DEFAULT)

    async def prove(self) -> None:
        """Prove to the ECU that its tester may change it, in the session that it is in: by 0x29, or by 0x27."""
        if self.access.key is None:
            await self.uds.unlock(self.access.derive)
        else:
            await self.uds.authenticate(self.access.key)

    async def flash(
        self, image: EcuImage, source: ImageSource, content: FlashImage, *, progress: Progress
    ) -> None:
        """Erase, transfer and check, in an unlocked programming session; again from the start when it breaks.

        1. Name the image (own identifier).  2. Erase.  3. Download, transfer and exit each segment.
        4. CHECK_MEMORY.  5. CHECK_DEPENDENCIES: only now may the bootloader start it.

        Source: reference in-vehicle, 2.4.
        """
        for attempt in range(1, TRANSFER_TRIES_MAX + 1):
            try:
                await self._transfer(image, source, content, progress)
                break
            except (Unavailable, NegativeResponse) as error:
                if attempt == TRANSFER_TRIES_MAX or not _again(error):
                    raise
                if not isinstance(error, NegativeResponse):
                    await self.wait_for_restart()
                await self.unlock(Session.PROGRAMMING, progress=progress)
        await self.check_content(content, progress=progress)

    async def check_content(self, content: FlashImage, *, progress: Progress) -> None:
        """Steps 4 and 5 of `flash`. Raises: Refusal."""
        tell_step(progress, "check")
        if await self.uds.routine(Rid.CHECK_MEMORY, content.content_sha256) != b"\x00":
            raise Refusal(Reason.CHECK_FAILED, "the ECU's memory does not hold what was sent")
        tell_step(progress, "deps")
        if await self.uds.routine(Rid.CHECK_DEPENDENCIES) != b"\x00":
            raise Refusal(Reason.DEPENDENCY_FAILED, "checkProgrammingDependencies failed")

    async def name_image(self, image: EcuImage, content: FlashImage) -> None:
        """Step 1 of `flash`: tell the ECU what the signed metadata say."""
        await self.uds.write(Did.FINGERPRINT_WRITE, self.access.fingerprint)
        hardware_id = _ascii(await self.uds.read(Did.HARDWARE))
        identity = Identity(
            version=image.target.version,
            sha256=bytes.fromhex(image.sha256),
            content_sha256=content.content_sha256,
            release_counter=image.release_counter,
            hardware_id=hardware_id,
        )
        await self.uds.write(Did.IDENTITY, identity.encode())

    async def restart(self) -> SlotStatus:
        """Reset the ECU and wait until it answers again."""
        try:
            await self.uds.reset()
        except NegativeResponse:
            raise
        except Unavailable:
            pass  # it may restart before it answers
        await self.wait_for_restart()
        return await self.status()

    async def wait_for_restart(self) -> None:
        """Connect anew, until the ECU answers or the time is over. Raises: Unavailable."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self.access.restart_s_max
        while True:
            await self.channel.close()
            try:
                await self.channel.connect()
                await self.uds.read(Did.SERIAL)
                return
            except Unavailable:
                if loop.time() >= give_up_at:
                    raise
            await asyncio.sleep(RESTART_PAUSE_S)

    async def verify(
        self, image: EcuImage, checks: frozenset[CheckKind], known_faults: frozenset[str]
    ) -> Outcome:
        """Check what runs."""
        status = await self.status()
        running = await self.running(status)
        if running is None:
            return Failed(reason=Reason.BOOT_FAILED, detail="the ECU is in its bootloader")
        if running.sha256 != image.sha256:
            return Failed(reason=Reason.NOT_ACTIVE, detail=f"{running.version} runs")
        if "version" in checks and running.version != image.target.version:
            return Failed(
                reason=Reason.VERSION_MISMATCH,
                detail=f"{running.version!r} is reported, {image.target.version!r} was signed",
            )
        if "self_test" in checks:
            await self.uds.session(Session.EXTENDED)
            if await self.run_routine(Rid.SELF_TEST) != b"\x00":
                return Failed(reason=Reason.SELF_TEST_FAILED)
        if "no_new_faults" in checks:
            codes = {code for code, _ in await self.uds.faults(status_mask=CONFIRMED_FAULT)}
            if new := sorted(codes - known_faults):
                return Failed(reason=Reason.NEW_FAULTS, detail=", ".join(new))
        return Done()

    async def commit(self, image: EcuImage) -> Outcome:
        """Confirm what runs, if it is the image, and clear the faults of what ran before.

        Without the clearing the old software's confirmed faults would be told of the new version.
        """
        status = await self.status()
        running = status.running
        if running is None or running.sha256.hex() != image.sha256:
            return Failed(reason=Reason.NOT_ACTIVE, detail="another image runs; activate again")
        await self.uds.clear_faults()
        if is_committed(status, image):
            return Done(already=True)
        await self.unlock(Session.EXTENDED)
        await self.uds.routine(Rid.COMMIT)
        return Done()

    async def _transfer(
        self, image: EcuImage, source: ImageSource, content: FlashImage, progress: Progress
    ) -> None:
        await self.name_image(image, content)
        first = content.segments[0].address
        tell_step(progress, "erase")
        option = b"\x44" + first.to_bytes(4, "big") + content.length_bytes.to_bytes(4, "big")
        if await self.uds.routine(Rid.ERASE, option) != b"\x00":
            raise Refusal(Reason.ERASE_FAILED)
        tell_step(progress, "transfer")
        before = 0
        for segment in content.segments:
            block_bytes = await self.uds.download(segment.address, segment.length_bytes)
            done_before = before
            await self.uds.transfer(
                reader(segment, source),
                segment.length_bytes,
                block_bytes=block_bytes,
                progress=lambda done, start=done_before: progress(start + done, content.length_bytes),  # type: ignore[misc]
            )
            before += segment.length_bytes


def reader(segment: Segment, source: ImageSource) -> Callable[[int, int], Awaitable[bytes]]:
    """Return a reader of a segment's bytes; a source that ends early is an OSError."""

    async def read(offset: int, size: int) -> bytes:
        if segment.data is not None:
            return segment.data[offset : offset + size]
        data = await source.read(offset, size)
        if len(data) != size:
            raise OSError(0, "the source ended early")
        return data

    return read


def is_committed(status: SlotStatus, image: EcuImage) -> bool:
    """Say whether `image` runs for good."""
    running = status.running
    return (
        running is not None
        and running.sha256.hex() == image.sha256
        and status.swap is Swap.NONE
        and status.committed_counter >= image.release_counter
    )


def require_layout(status: SlotStatus, layout: Layout) -> None:
    """Refuse to treat an ECU as what it is not."""
    if status.layout is not layout:
        raise Refusal(Reason.ECU_REFUSED, f"the ECU keeps its software {status.layout.name.lower()}")


def _again(error: RingroadError) -> bool:
    if not isinstance(error, NegativeResponse):
        return error.code in {"timeout", "connection_lost"}
    return reason_of(error) is Reason.TRANSFER_FAILED or error.nrc in _FORGOTTEN


def _software(bank: BankStatus | None) -> Software | None:
    if bank is None:
        return None
    return Software(version=bank.version, sha256=bank.sha256.hex(), release_counter=bank.release_counter)


def _ascii(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidInput("the ECU reports text that is not ASCII") from error
