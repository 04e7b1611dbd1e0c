"""Images and other large bytes, named by their sha256, in a folder or an object store.

Invariants:
    A blob appears whole under the hash of its bytes, or not at all.
    Nothing is ever overwritten: the same hash means the same bytes.
    `read` gives an error instead of the end when the stored bytes changed; `read_range` cannot know.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlparse

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store, from_url

from ringroad.kernel.errors import Corrupt, InvalidInput, NotFound, Unavailable, Untrusted
from ringroad.kernel.limits import IMAGE_BYTES_MAX

if TYPE_CHECKING:  # types alone; they are not there when it runs
    from obstore.store import RetryConfig

PART_BYTES = 1024**2  # bytes read or written at once
# An object store that is away is told within seconds: whoever asked comes again. The library's own bounds are minutes.
RETRY: RetryConfig = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """What is stored."""

    sha256: str  # hex
    sha512: str  # hex
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A blob as the store lists it."""

    sha256: str  # hex
    bytes: int
    stored_at: datetime


class Blobs:
    """A store of blobs.

    Args:
        url: `file:///folder`, or `s3://`, `gs://`, `az://` with credentials from the environment.

    Raises:
        InvalidInput: no such kind of store.
        Unavailable: the folder cannot be made.
    """

    def __init__(self, url: str) -> None:
        parsed = urlparse(url)
        self._root = Path(unquote(parsed.path)) if parsed.scheme == "file" else None
        try:
            if self._root is not None:
                self._root.mkdir(parents=True, exist_ok=True)
            self._store: ObjectStore = (
                from_url(url) if self._root is not None else from_url(url, retry_config=RETRY)
            )
        except OSError as error:
            raise Unavailable(
                f"cannot write to {self._root}: {error.strerror}",
                hint="choose another blob_url",
                code="cannot_write",
            ) from error
        except (BaseError, ValueError) as error:
            raise InvalidInput(
                "blob_url names no store we know",
                hint="file:///folder, s3://bucket/path, gs://bucket/path or az://container/path",
                detail=str(error),
            ) from error

    def put(self, chunks: Iterable[bytes], *, expected_sha256: str | None = None) -> Blob:
        """Store a stream of bytes and return what it was.

        Args:
            chunks: the bytes, in order.
            expected_sha256: hex; nothing is stored when the bytes hash to something else.

        Raises:
            InvalidInput: empty, or larger than any image may be.
            Untrusted: not the expected bytes.
            Unavailable: the store is full, read-only or gone, or does not answer.
        """
        sha256, sha512, size = hashlib.sha256(), hashlib.sha512(), 0
        with _translated(self._root, absent="the store"), tempfile.TemporaryFile(dir=self._root) as spool:
            for chunk in chunks:
                size += len(chunk)
                if size > IMAGE_BYTES_MAX:
                    raise InvalidInput(f"more than {IMAGE_BYTES_MAX} bytes", code="image_oversized")
                sha256.update(chunk)
                sha512.update(chunk)
                spool.write(chunk)
            if size == 0:
                raise InvalidInput("there are no bytes", code="image_truncated")
            blob = Blob(sha256=sha256.hexdigest(), sha512=sha512.hexdigest(), bytes=size)
            if expected_sha256 is not None and blob.sha256 != expected_sha256.lower():
                raise Untrusted(
                    "the bytes are not the ones that were announced",
                    hint=f"their sha256 is {blob.sha256}",
                    code="hash_mismatch",
                )
            if self.size(blob.sha256) != size:
                spool.seek(0)
                obstore.put(self._store, _key(blob.sha256), spool, chunk_size=8 * PART_BYTES)
                self._sync(blob.sha256)
        return blob

    def put_file(self, path: Path, *, expected_sha256: str | None = None) -> Blob:
        """Store a file. Raises as `put`, and NotFound when there is none."""
        try:
            with path.open("rb") as source:
                return self.put(iter(lambda: source.read(PART_BYTES), b""), expected_sha256=expected_sha256)
        except FileNotFoundError as error:
            raise NotFound(f"there is no file {path}") from error

    def size(self, sha256: str) -> int | None:
        """Return how many bytes a blob has, or None when it is not there."""
        try:
            with _translated(self._root):
                return int(obstore.head(self._store, _key(sha256))["size"])
        except NotFound:
            return None

    def exists(self, sha256: str) -> bool:
        """Say whether a blob is there."""
        return self.size(sha256) is not None

    def check(self) -> None:
        """Make sure that the store answers. Raises: NotFound, it is no store; Unavailable."""
        with _translated(self._root):
            next(iter(obstore.list(self._store, chunk_size=1)), None)

    def listed(self) -> Iterator[Stored]:
        """Yield every blob; what else lies in the store is left out.

        Raises:
            Unavailable: the store does not answer.
        """
        with _translated(self._root):
            for page in obstore.list(self._store):
                for entry in page:
                    sha256 = entry["path"].rpartition("/")[2]
                    if _SHA256.fullmatch(sha256) and entry["path"] == _key(sha256):
                        yield Stored(sha256=sha256, bytes=entry["size"], stored_at=entry["last_modified"])

    def delete(self, sha256: str) -> None:
        """Remove a blob; one that is gone already is no error. Raises: Unavailable."""
        try:
            with _translated(self._root):
                obstore.delete(self._store, _key(sha256))
        except NotFound:
            return

    def read(self, sha256: str) -> Iterator[bytes]:
        """Yield a blob's bytes; they can be trusted only once the iterator ended without an error.

        Raises:
            NotFound: it is not there.
            Corrupt: the stored bytes changed.
        """
        digest = hashlib.sha256()
        with _translated(self._root):
            for chunk in obstore.get(self._store, _key(sha256)).stream(min_chunk_size=PART_BYTES):
                part = bytes(chunk)
                digest.update(part)
                yield part
        if digest.hexdigest() != sha256:
            raise Corrupt(
                f"blob {sha256} does not read back as it was written",
                hint="restore it from a backup; it is not sent to any vehicle",
                code="blob_corrupt",
            )

    def read_all(self, sha256: str) -> bytes:
        """Return a blob's bytes, checked. Raises as `read`."""
        return b"".join(self.read(sha256))

    def read_range(self, sha256: str, *, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, fewer at the end. Unchecked: the vehicle checks the whole.

        Raises:
            NotFound: it is not there.
            InvalidInput: the range begins outside of it.
        """
        size = self.size(sha256)
        if size is None:
            raise NotFound(f"there is no blob {sha256}")
        if not 0 <= start < size or length < 1:
            raise InvalidInput(f"range {start}+{length} is outside of {size} bytes")
        with _translated(self._root):
            got = obstore.get_range(self._store, _key(sha256), start=start, length=min(length, size - start))
            return bytes(got)

    def signed_url(self, sha256: str, *, life_s: int) -> str | None:
        """Return a URL that gives a blob to whoever holds it, for so long; None: the store signs none.

        Raises:
            Unavailable: the credentials to sign with cannot be had.
        """
        if not isinstance(self._store, S3Store | GCSStore | AzureStore):
            return None
        with _translated(self._root):
            return str(obstore.sign(self._store, "GET", _key(sha256), timedelta(seconds=life_s)))

    def path(self, sha256: str) -> Path | None:
        """Return the file that holds a blob, or None when the store is not a folder or lacks it."""
        if self._root is None:
            return None
        path = self._root / _key(sha256)
        return path if path.exists() else None

    def _sync(self, sha256: str) -> None:
        """Make a new file and its name survive a power cut; object stores do that themselves."""
        if self._root is None:
            return
        path = self._root / _key(sha256)
        for each in (path, path.parent, self._root):
            descriptor = os.open(each, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _key(sha256: str) -> str:
    """Spread over 256 folders; refuse anything that is not a hash before it becomes a path."""
    if not _SHA256.fullmatch(sha256):
        raise InvalidInput(f"{sha256[:80]!r} is not a sha256")
    return f"{sha256[:2]}/{sha256}"


@contextmanager
def _translated(
    root: Path | None, *, absent: Literal["the blob", "the store"] = "the blob"
) -> Iterator[None]:
    """End foreign errors; `absent` says what is missing when something is."""
    try:
        yield
    except FileNotFoundError as error:
        if absent == "the store":
            raise Unavailable(
                "the blob store is not there any more",
                hint="check blob_url: the folder or the bucket is gone",
                code="cannot_write",
                detail=str(error),
            ) from error
        raise NotFound("there is no such blob", detail=str(error)) from error
    except (BaseError, OSError) as error:
        raise Unavailable(
            f"the blob store {root or ''} refuses or does not answer".replace("  ", " "),
            hint="free some space, or check blob_url",
            code="cannot_write",
            detail=str(error),
        ) from error
