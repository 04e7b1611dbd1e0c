"""What the orchestrator asks of an ECU: seven verbs, each safe to repeat.

An agent owns one ECU. It keeps nothing in memory that a restart may lose: every verb reads the ECU first,
so that "already so" is a success and the orchestrator's journal stays the only truth.

A refusal of the ECU, a bad image or a dead connection is a value (`Failed`), never an exception:
the orchestrator decides what follows. Only a bug raises.

=========  ==============================================  ===============================================
verb       A/B ECU (`AbAgent`)                             in-place ECU (`UdsInplaceAgent`)
=========  ==============================================  ===============================================
prepare    fill and check the inactive bank                check image, hardware, counter, ECU; change nothing
install    check that the bank still holds the image       erase, transfer, check memory and dependencies
activate   boot the other bank on trial                    start the application
verify     version, digest, self-test, new faults          the same
commit     confirm the bank; counter advances              counter advances
rollback   back to the old bank, no image needed           flash the image given (the backup)
inventory  what runs, what is staged, faults               the same
=========  ==============================================  ===============================================

Invariant: `prepare` never changes what the ECU runs; the anti-rollback counter advances only in `commit`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from ringroad.protocol.vehicle import EcuTarget
from ringroad.trust.state import VerifiedTarget

Progress = Callable[[int, int], None]  # (done_bytes, total_bytes); cheap, called once per block
FlashStep = Literal[
    "session", "unlock", "erase", "transfer", "check", "deps"
]  # of one ECU's flash, in this order
CheckKind = Literal["version", "self_test", "no_new_faults"]  # as in protocol.vehicle.PostCheck


class Reason(StrEnum):
    """Why a verb failed; travels to the server as `Report.code`."""

    UNREACHABLE = "unreachable"  # no answer, or the connection broke; the same call may work later
    BUSY = "busy"  # the ECU asked to be left alone for now
    LOCKED_OUT = "locked_out"  # too many wrong keys; wait for the ECU's delay
    ACCESS_DENIED = "access_denied"  # the security key was refused
    NO_AGENT = "no_agent"  # the vehicle has no update agent of the kind that its configuration names
    SERIAL_MISMATCH = "serial_mismatch"  # another ECU answers at this address
    WRONG_HARDWARE = "wrong_hardware"
    COUNTER_TOO_LOW = "counter_too_low"  # older than the ECU's committed release counter
    UNSUPPORTED_FORMAT = "unsupported_format"
    IMAGE_MALFORMED = "image_malformed"  # Intel HEX or S-record that does not decode
    SIGNATURE_WRONG = "signature_wrong"  # the image is not signed with the key that its bootloader knows
    HASH_MISMATCH = "hash_mismatch"  # the source's bytes are not the signed ones
    TOO_LARGE = "too_large"  # for the ECU's bank
    PRECONDITION = "precondition"  # the ECU refuses to be programmed now
    NO_BACKUP = "no_backup"  # an in-place ECU cannot go back without an image
    NOT_STAGED = "not_staged"  # activate or install before the image is there
    NOT_ACTIVE = "not_active"  # verify or commit while another image runs
    ALREADY_COMMITTED = "already_committed"  # roll forward with a new release
    ERASE_FAILED = "erase_failed"
    TRANSFER_FAILED = "transfer_failed"
    CHECK_FAILED = "check_failed"  # the ECU's own check of its memory said no
    DEPENDENCY_FAILED = "dependency_failed"  # checkProgrammingDependencies said no
    BOOT_FAILED = "boot_failed"  # the ECU came back in its bootloader or in the old bank
    VERSION_MISMATCH = "version_mismatch"
    SELF_TEST_FAILED = "self_test_failed"
    NEW_FAULTS = "new_faults"
    ECU_REFUSED = "ecu_refused"  # any other negative response; `detail` names it


RETRYABLE = frozenset(
    {Reason.UNREACHABLE, Reason.BUSY, Reason.LOCKED_OUT, Reason.PRECONDITION, Reason.TRANSFER_FAILED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The verb's effect holds and is durable on the ECU.

    Attributes:
        already: it held before; nothing was changed.
    """

    already: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The verb's effect does not hold.

    Attributes:
        reason: typed.
        detail: for people; names the negative response, the fault codes or the versions.
    """

    reason: Reason
    detail: str = ""

    @property
    def retryable(self) -> bool:
        """Whether the same verb may succeed later without another image or a person."""
        return self.reason in RETRYABLE


Outcome = Done | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuImage:
    """One image for one ECU, as the verified metadata describe it.

    Attributes:
        serial: the ECU this image is for.
        target: `custom.ecus[serial]` of the Director target.
        filename: target name in the Image repository.
        sha256: of the whole file, 64 hexadecimal characters.
        length_bytes: of the whole file.
        release_counter: `custom.must_match.release_counter`.
        hardware_ids: `custom.must_match.hardware_ids`; the ECU's must be among them.
    """

    serial: str
    target: EcuTarget
    filename: str
    sha256: str
    length_bytes: int
    release_counter: int
    hardware_ids: tuple[str, ...]


def image_of(target: VerifiedTarget) -> EcuImage:
    """Return a verified target as the agents know it."""
    return EcuImage(
        serial=target.serial, target=target.ecu_target, filename=target.filename, sha256=target.sha256,
        length_bytes=target.length, release_counter=target.release_counter, hardware_ids=target.hardware_ids,
    )  # fmt: skip


class ImageSource(Protocol):
    """Bytes of an image by offset; a file in the vehicle, memory in tests, a range request elsewhere."""

    async def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer only at the end.

        Raises:
            OSError: the bytes cannot be read now.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """An image in a local file."""

    path: Path

    async def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`. Raises: OSError."""
        # A read of a local block is shorter than handing it to a thread and back.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class BytesSource:
    """An image in memory."""

    data: bytes

    async def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`."""
        return self.data[offset : offset + size]


class Labelled(Protocol):
    """Software somewhere, with what was signed of it when it came."""

    @property
    def version(self) -> str:
        """As signed then."""
        ...

    @property
    def sha256(self) -> str | bytes:
        """Of the image file."""
        ...

    @property
    def release_counter(self) -> int:
        """As signed then."""
        ...


async def read_image(image: EcuImage, source: ImageSource, *, bytes_max: int) -> bytes | Failed:
    """Return all bytes of a small image, or why they are not the signed ones.

    Raises:
        OSError: the source cannot be read now.
    """
    if image.length_bytes > bytes_max:
        return Failed(reason=Reason.TOO_LARGE, detail=f"{image.length_bytes} bytes, limit {bytes_max}")
    content = await source.read(0, image.length_bytes)
    if len(content) != image.length_bytes or hashlib.sha256(content).hexdigest() != image.sha256:
        return Failed(reason=Reason.HASH_MISMATCH, detail=f"{image.filename} is not the signed image")
    return content


def is_as_signed(software: Labelled | None, image: EcuImage) -> bool:
    """Say whether what is staged is this image under the name and the counter that are signed for it now.

    The same bytes may have been released before under others, which their ECU would go on telling.
    """
    if software is None:
        return False
    digest = software.sha256 if isinstance(software.sha256, str) else software.sha256.hex()
    return (digest, software.version, software.release_counter) == (
        image.sha256, image.target.version, image.release_counter,
    )  # fmt: skip


def unfit(image: EcuImage, *, hardware_id: str, committed_counter: int) -> Failed | None:
    """Say why an image may not go onto an ECU; None if it may."""
    if hardware_id not in image.hardware_ids:
        detail = f"{hardware_id!r} is none of {', '.join(image.hardware_ids)}"
        return Failed(reason=Reason.WRONG_HARDWARE, detail=detail)
    if image.release_counter < committed_counter:
        detail = f"{image.release_counter}, the ECU committed {committed_counter}"
        return Failed(reason=Reason.COUNTER_TOO_LOW, detail=detail)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """One image on an ECU, as the ECU reports it after hashing its own memory."""

    version: str
    sha256: str
    release_counter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault code on an ECU: display form such as ``P0A1F-00`` and the ISO 14229 status byte."""

    code: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuInventory:
    """What an ECU says about itself.

    Attributes:
        serial: F18C.
        hardware_id: F191.
        mode: ``bootloader`` when no valid application runs.
        running: the software that runs; None in the bootloader.
        trial: the running bank reverts at the next reset unless committed.
        staged: the valid image in the inactive bank of an A/B ECU.
        committed_counter: highest release counter ever committed; older images are refused.
        faults: stored fault codes.
    """

    serial: str
    hardware_id: str
    mode: Literal["application", "bootloader"]
    running: Software | None
    trial: bool
    staged: Software | None
    committed_counter: int
    faults: tuple[Fault, ...]


class UpdateAgent(Protocol):
    """The verbs. Each may be called again at any time, after any restart of the ECU or of the caller."""

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """Do all that leaves the running software alone: stage an A/B bank, check an in-place ECU."""
        ...

    async def install(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """Put the image where it can be activated. In place: the old software is gone from here on."""
        ...

    async def activate(self, image: EcuImage) -> Outcome:
        """Make the image run; on an A/B ECU on trial. Done(already=True) when it runs already."""
        ...

    async def verify(
        self,
        image: EcuImage,
        checks: frozenset[CheckKind],
        *,
        known_faults: frozenset[str] = frozenset(),
    ) -> Outcome:
        """Check the running software: always the digest, and what `checks` names.

        Args:
            image: what should run.
            checks: of the vehicle package for this ECU.
            known_faults: display codes present before the update (`EcuInventory.faults`), not held against it.
        """
        ...

    async def commit(self, image: EcuImage) -> Outcome:
        """Make the running image permanent and advance the anti-rollback counter."""
        ...

    async def rollback(
        self,
        image: EcuImage,
        *,
        backup: EcuImage | None = None,
        source: ImageSource | None = None,
        progress: Progress,
    ) -> Outcome:
        """Undo an uncommitted update, so that `image` no longer runs.

        Args:
            image: the image to get rid of; when it does not run and is not due to, this is already done.
            backup: for an in-place ECU the image that ran before; ignored by A/B ECUs.
            source: bytes of `backup`.
            progress: as in `install`.
        """
        ...

    async def inventory(self) -> EcuInventory | Failed:
        """Ask the ECU what it is and what it runs."""
        ...

    async def close(self) -> None:
        """Drop the connection. The next verb opens it again."""
        ...


@runtime_checkable
class PausableAgent(Protocol):
    """An update agent that asks once more before `install` destroys what runs. In place only; others need not."""

    def ask_before_erase(self, ask: Callable[[], str] | None) -> None:
        """Call `ask` right before the erase of software that runs; fail with `PRECONDITION` and its text unless empty."""
        ...


@runtime_checkable
class FaultAgent(Protocol):
    """An update agent that reads the ECU's fault memory alone, so cheaply that it is asked every second. Others need not."""

    async def faults(self) -> tuple[Fault, ...] | Failed:
        """Ask the ECU for its stored fault codes."""
        ...


@runtime_checkable
class StepProgress(Protocol):
    """A `Progress` that also hears which step of a flash begins."""

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """Hear what is done."""
        ...

    def at(self, step: FlashStep) -> None:
        """Hear that a step begins. Cheap."""
        ...


def tell_step(progress: Progress, step: FlashStep) -> None:
    """Tell whoever listens to steps that one begins. An agent whose ECU has no such steps tells none."""
    if isinstance(progress, StepProgress):
        progress.at(step)


@runtime_checkable
class FaultMemoryAgent(FaultAgent, Protocol):
    """An update agent that knows what surrounded a fault, and can have it forgotten. Others need not."""

    async def fault(self, code: str) -> Mapping[str, Any] | Failed | None:
        """Return the ``environment_data`` of one stored fault as the ECU tells it; None: it has no such fault."""
        ...

    async def clear_faults(self, code: str) -> Outcome:
        """Clear one fault, or with an empty code all of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DataItem:
    """One value that an ECU can be asked for: `category` as SOVD has them, ``currentData`` for one."""

    id: str
    name: str
    category: str


@runtime_checkable
class DataAgent(Protocol):
    """An update agent whose ECU tells data of its own. Others need not: their inventory is told."""

    async def data(self) -> tuple[DataItem, ...] | Failed:
        """Ask the ECU which data it has."""
        ...

    async def datum(self, name: str) -> Mapping[str, Any] | Failed | None:
        """Ask for one of them; its value is under ``data``. None: it has no such data."""
        ...


@runtime_checkable
class OperatingAgent(Protocol):
    """An update agent that can have its ECU do something. Others need not."""

    @property
    def operations(self) -> frozenset[str]:
        """Which of ``reset`` and ``self-test`` this ECU is configured for."""
        ...

    async def operate(self, operation: str) -> Mapping[str, Any] | Failed:
        """Do one of them, and return its result when it is over. It changes no software."""
        ...


def no_progress(done_bytes: int, total_bytes: int) -> None:
    """Ignore progress."""
