"""The vehicle's image store: a bounded folder of files named by their SHA-256.

``images/{sha256}`` is whole and was verified when it was written, an image or a delta; ``images/{sha256}.part`` is a
download under way, or an image that a delta gives; ``images/{sha256}.peers`` says how much of it peers gave (`given.py`).

Invariants:
    * A file gets its final name only after every byte was hashed and is durable.
    * What a running campaign needs is never dropped to make room.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ringroad.kernel.errors import Unavailable, Untrusted
from ringroad.protocol.delta.apply import rebuild
from ringroad.protocol.delta.pieces import MalformedDelta, ReadAt
from ringroad.protocol.vehicle import DeltaOffer
from ringroad.trust.image import ImageVerifier, verify_image
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.agents.base import FileSource
from ringroad.vehicle.files import Durability, sync_folder, write_all
from ringroad.vehicle.given import GivenBytes

CHUNK_BYTES: Final = 64 * 1024
JOURNAL_SHARE_BYTES: Final = 16 * 1024**2  # bytes of disk that images leave to journal, reports and telemetry
STORE_BYTES_MAX: Final = 2 * 1024**3  # bytes; default bound, the configuration may say otherwise
_PART: Final = ".part"
_GIVEN: Final = ".peers"


class ImageStore:
    """A folder of images."""

    def __init__(
        self,
        folder: Path,
        *,
        bytes_max: int = STORE_BYTES_MAX,
        durability: Durability,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        """Open the store.

        Args:
            folder: of the images.
            bytes_max: that they may take together.
            durability: of every file.
            free_bytes: what the disk has left; None to ask the disk.
        """
        self._folder = folder
        self._bytes_max = bytes_max
        self._free_bytes = free_bytes or (lambda: shutil.disk_usage(folder).free)
        self._durability: Durability = durability
        folder.mkdir(parents=True, exist_ok=True)

    def stored(self) -> frozenset[str]:
        """Return the digests of the whole images."""
        return frozenset(path.name for path in self._folder.iterdir() if "." not in path.name)

    def source(self, sha256: str) -> FileSource:
        """Return the bytes of a whole image."""
        return FileSource(self._folder / sha256)

    def size_bytes(self, sha256: str) -> int:
        """Return the size of a whole image; 0 if it is not here."""
        try:
            return (self._folder / sha256).stat().st_size
        except OSError:
            return 0

    def verify(self, target: VerifiedTarget) -> None:
        """Read an image back and compare it with what was signed; drop it if it differs.

        Raises:
            Untrusted: it is not the image that was signed.
            Unavailable: it cannot be read.
        """
        path = self._folder / target.sha256
        try:
            verify_image(target, _chunks(path))
        except Untrusted:
            path.unlink(missing_ok=True)
            raise
        except OSError as error:
            raise Unavailable(
                f"image {target.filename} cannot be read: {error.strerror}", code="disk"
            ) from error

    def check_base(self, sha256: str) -> None:
        """Read a base back and compare it with its digest; drop it if it differs.

        Raises:
            Untrusted: it is not the image of that digest; no decoder notices that by itself.
            Unavailable: it cannot be read.
        """
        path = self._folder / sha256
        digest = hashlib.sha256()
        try:
            for chunk in _chunks(path):
                digest.update(chunk)
        except OSError as error:
            raise _disk(error) from error
        if digest.hexdigest() != sha256:
            path.unlink(missing_ok=True)
            raise Untrusted("the base of a delta is not the image it was", code="delta_base")

    def rebuild(self, target: VerifiedTarget, delta: VerifiedTarget, offer: DeltaOffer) -> None:
        """Make `target` out of a base and a delta that are both in the store.

        Raises:
            Untrusted: the base, the delta or the image is not what it should be; nothing of it stays.
            Unavailable: the disk cannot be used; what was written stays.
        """
        self.verify(delta)
        self.check_base(offer.from_sha256)
        base, patch = self._folder / offer.from_sha256, self._folder / delta.sha256
        try:
            with base.open("rb", buffering=0) as old, patch.open("rb", buffering=0) as given:
                with self.resume(target) as image:
                    _write_rebuilt(image, target, offer, old.fileno(), given.fileno())
        except OSError as error:
            raise _disk(error) from error
        self.drop(delta.sha256)

    def drop(self, sha256: str) -> None:
        """Forget a file that is not needed any more."""
        (self._folder / sha256).unlink(missing_ok=True)

    def reserve(
        self, target: VerifiedTarget, *, keep: Collection[str], beside: Sequence[VerifiedTarget] = ()
    ) -> list[VerifiedTarget]:
        """Make room for `target` by dropping the longest unused images that are not in `keep`.

        Room is what the store may hold, and what the disk has left beside the journal's share.

        Returns:
            Those of `beside` that fit as well.

        Raises:
            Unavailable: even then `target` would not fit.
        """
        wanted = {target.sha256, *(one.sha256 for one in beside), *keep}
        files = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        left = self._bytes_max - sum(path.stat().st_size for path in files)
        free = self._free_bytes() - JOURNAL_SHARE_BYTES
        needed = self._missing_bytes(target)
        everything = needed + sum(self._missing_bytes(one) for one in beside)
        for path in files:
            if everything <= min(left, free):
                break
            if path.name.partition(".")[0] not in wanted:
                size = path.stat().st_size
                left, free = left + size, free + size
                path.unlink()
        if needed > left:
            raise Unavailable(
                f"{target.filename} needs {needed} bytes, the image store has {left} left",
                hint="raise store_bytes_max in config.toml",
                code="store_full",
            )
        if needed > free:
            raise Unavailable(
                f"{target.filename} needs {needed} bytes; of {free + JOURNAL_SHARE_BYTES} bytes free on the disk"
                f" {JOURNAL_SHARE_BYTES} are kept back for the vehicle's records",
                hint="free some space on the vehicle's disk",
                code="disk_full",
            )
        return list(beside) if everything <= min(left, free) else []

    def _missing_bytes(self, target: VerifiedTarget) -> int:
        part = self._folder / f"{target.sha256}{_PART}"
        return target.length - (part.stat().st_size if part.exists() else 0)

    def resume(self, target: VerifiedTarget) -> PartialImage:
        """Open the download of `target`, hashing what is there already.

        Raises:
            Unavailable: the disk cannot be used.
        """
        return PartialImage(self._folder, target, durability=self._durability)


class PartialImage:
    """A download under way. Use as a context manager; leaving early keeps what arrived."""

    def __init__(self, folder: Path, target: VerifiedTarget, *, durability: Durability) -> None:
        self._folder = folder
        self._target = target
        self._durability: Durability = durability
        self._part = folder / f"{target.sha256}{_PART}"
        self._from_peer = False
        self._given = GivenBytes(folder / f"{target.sha256}{_GIVEN}", durability=durability)
        try:
            self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _disk(error) from error
        try:
            self._verifier = self._hash_present()
            self._given.end(self.done_bytes)  # of a peer's bytes that power was lost in
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def done_bytes(self) -> int:
        """Bytes that are here."""
        return self._verifier.done_bytes

    @property
    def whole(self) -> bool:
        """Whether every byte is here."""
        return self._verifier.done_bytes == self._target.length

    @contextmanager
    def from_peer(self) -> Iterator[None]:
        """Count what is written meanwhile as given by a peer."""
        self._from_peer = True
        try:
            yield
        finally:
            self._from_peer = False
            self._given.end(self.done_bytes)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            Untrusted: more bytes than were signed; the download is dropped.
            Unavailable: the disk is full; what arrived before stays.
        """
        if self._from_peer and not self._given.counting:
            self._given.begin(self.done_bytes)
        try:
            self._verifier.update(chunk)
        except Untrusted:
            self.drop()
            raise
        try:
            write_all(self._descriptor, chunk)
        except OSError as error:
            raise _disk(error) from error

    def finish(self) -> int:
        """Check every digest and give the file its name.

        Returns:
            How many of its bytes peers gave, in all tries.

        Raises:
            Untrusted: these are not the signed bytes; the download is dropped.
            Unavailable: the disk cannot be used.
        """
        try:
            self._verifier.finish()
        except Untrusted:
            self.drop()
            raise
        try:
            if self._durability == "fsync":
                os.fsync(self._descriptor)
            self._part.replace(self._folder / self._target.sha256)
            sync_folder(self._folder, durability=self._durability)
        except OSError as error:
            raise _disk(error) from error
        given = self._given.total
        self._given.forget()
        return given

    def drop(self) -> None:
        """Forget what arrived; the next try begins at byte 0."""
        self._part.unlink(missing_ok=True)
        self._given.forget()

    def restart(self) -> None:
        """Begin at byte 0 again, for a server that does not honour ranges."""
        os.ftruncate(self._descriptor, 0)
        self._verifier = ImageVerifier(self._target)
        self._given.forget()

    def __enter__(self) -> PartialImage:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def _hash_present(self) -> ImageVerifier:
        verifier = ImageVerifier(self._target)
        if os.fstat(self._descriptor).st_size > self._target.length:
            os.ftruncate(self._descriptor, 0)  # cannot be a beginning of this image
            self._given.forget()
            return verifier
        offset = 0
        while chunk := os.pread(self._descriptor, CHUNK_BYTES, offset):
            verifier.update(chunk)
            offset += len(chunk)
        return verifier


def bytes_here(folder: Path, targets: Iterable[VerifiedTarget]) -> int:
    """Return how many bytes of these images lie in a folder of images, whole or begun; nothing is verified."""
    here = 0
    for target in targets:
        for name in (target.sha256, f"{target.sha256}{_PART}"):
            with suppress(OSError):
                here += min((folder / name).stat().st_size, target.length)
                break
    return here


def _write_rebuilt(
    image: PartialImage, target: VerifiedTarget, offer: DeltaOffer, base: int, delta: int
) -> None:
    """Write what comes out of a delta behind what is there already, and check the whole."""
    known = image.done_bytes
    pieces = rebuild(
        offer.algorithm,
        _reader(base),
        os.fstat(base).st_size,
        _reader(delta),
        offer.length,
        length=target.length,
    )
    try:
        for piece in pieces:
            new = piece[known:] if known < len(piece) else b""
            known = max(known - len(piece), 0)
            if new:
                image.write(new)
    except MalformedDelta:
        image.drop()
        raise
    image.finish()


def _reader(descriptor: int) -> ReadAt:
    return lambda offset, size: os.pread(descriptor, size, offset)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _disk(error: OSError) -> Unavailable:
    hint = "free some space" if error.errno == errno.ENOSPC else "look at the disk"
    return Unavailable(f"the image store cannot be used: {error.strerror}", hint=hint, code="disk")
