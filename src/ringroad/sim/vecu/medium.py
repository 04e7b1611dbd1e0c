"""What a virtual ECU's flash is made of: a file, memory, and a wrapper that loses power at the n-th write.

Erased bytes read as 0xFF. A write is visible to later reads at once; `sync` makes it survive the machine.
A `kill -9` of the process loses nothing written; a cut inside a write leaves a part of it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final, Protocol

from ringroad.kernel.errors import Conflict, RingroadError, Unavailable

PAGE_BYTES: Final = 4096
ERASED: Final = b"\xff"
INVERTED: Final = bytes(255 - value for value in range(256))


class PowerCut(RingroadError):  # noqa: N818 - an event, not a mistake
    """The ECU lost power in the middle of a write."""


class Medium(Protocol):
    """Bytes that survive a power cycle."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes. Raises: PowerCut (part of them is stored)."""
        ...

    def erase(self, offset: int, size: int) -> None:
        """Set bytes to 0xFF. Raises: PowerCut (part of them is erased)."""
        ...

    def sync(self) -> None:
        """Wait until all writes are durable."""
        ...

    def close(self) -> None:
        """Let go of the storage."""
        ...


class FileMedium:
    """Flash in one file, as large as what was written so far.

    The file holds every bit inverted: a hole, which reads as zeros and takes no room, then is erased flash.

    Args:
        path: made when missing.
        fsync: False leaves durability against a crash of the machine to the operating system.
        alone: refuse a file that another such ECU has; the kernel frees it when the process ends.

    Raises:
        Conflict: another ECU runs on the file.
        Unavailable: it cannot be opened.
    """

    def __init__(self, path: Path, *, fsync: bool = True, alone: bool = False) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"the flash file {path} cannot be opened: {error.strerror}") from error
        if alone:
            self._lock(path)
        self._fsync = fsync

    def _lock(self, path: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise Conflict(
                f"another virtual ECU runs on the flash file {path}",
                hint="stop it first; one flash file is one ECU",
                code="flash_locked",
            ) from error

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes; what was never written reads as erased."""
        data = os.pread(self._file, size, offset).translate(INVERTED)
        return data + ERASED * (size - len(data))

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes."""
        self._put(offset, data.translate(INVERTED))

    def erase(self, offset: int, size: int) -> None:
        """Set bytes to 0xFF; behind the end of the file they are."""
        size = min(size, os.fstat(self._file).st_size - offset)
        while size > 0:
            part = bytes(min(size, 1 << 20))
            self._put(offset, part)
            offset += len(part)
            size -= len(part)

    def _put(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, offset)
            view = view[written:]
            offset += written

    def sync(self) -> None:
        """Wait until all writes are durable."""
        if self._fsync:
            os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class MemoryMedium:
    """Flash in memory. Equal pages of many ECUs are kept once when they share a `pool`.

    Args:
        pool: page content -> the one copy of it; one dictionary per fleet.
    """

    __slots__ = ("_open", "_pages", "_pool")

    def __init__(self, pool: dict[bytes, bytes] | None = None) -> None:
        self._pool = {} if pool is None else pool
        self._pages: dict[int, bytes] = {}  # trailing erased bytes are not kept
        self._open: dict[int, bytearray] = {}  # pages written since the last sync

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes."""
        parts = []
        while size > 0:
            page, start = divmod(offset, PAGE_BYTES)
            count = min(size, PAGE_BYTES - start)
            content = self._open.get(page) or self._pages.get(page, b"")
            part = bytes(content[start : start + count])
            parts.append(part if len(part) == count else part.ljust(count, ERASED))
            offset += count
            size -= count
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes."""
        at = 0
        while at < len(data):
            page, start = divmod(offset + at, PAGE_BYTES)
            count = min(len(data) - at, PAGE_BYTES - start)
            content = self._open.get(page)
            if content is None:
                content = bytearray(self._pages.pop(page, b"").ljust(PAGE_BYTES, ERASED))
                self._open[page] = content
            content[start : start + count] = data[at : at + count]
            at += count

    def erase(self, offset: int, size: int) -> None:
        """Set bytes to 0xFF; whole pages are dropped."""
        while size > 0:
            page, start = divmod(offset, PAGE_BYTES)
            count = min(size, PAGE_BYTES - start)
            if count == PAGE_BYTES:
                self._open.pop(page, None)
                self._pages.pop(page, None)
            elif page in self._open or page in self._pages:
                self.write(offset, ERASED * count)
            offset += count
            size -= count

    def sync(self) -> None:
        """Pool the pages written since the last time."""
        for page, content in self._open.items():
            frozen = bytes(content).rstrip(ERASED)
            if frozen:
                self._pages[page] = self._pool.setdefault(frozen, frozen)
        self._open.clear()

    def close(self) -> None:
        """Nothing to let go of."""


class TornMedium:
    """Loses power inside the n-th write or erase from now, having done a part of it.

    Args:
        medium: what is written to.
        cut_at_write: 1 is the next write or erase; None never.
        keep_permille: how much of that write is done, 0 to 1000.
        stays_dark: power does not come back: every later access is cut too.
    """

    __slots__ = ("_medium", "_stays_dark", "cut_at_write", "keep_permille", "writes")

    def __init__(
        self, medium: Medium, *, cut_at_write: int | None, keep_permille: int = 500, stays_dark: bool = False
    ) -> None:
        self._stays_dark = stays_dark
        self._medium = medium
        self.cut_at_write = cut_at_write
        self.keep_permille = keep_permille
        self.writes = 0

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes. Raises: PowerCut (it stays dark)."""
        self._check_light()
        return self._medium.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes. Raises: PowerCut."""
        kept = self._kept(len(data))
        if kept is None:
            self._medium.write(offset, data)
            return
        self._medium.write(offset, data[:kept])
        self._medium.sync()
        raise PowerCut(f"power was cut at write {self.writes}")

    def erase(self, offset: int, size: int) -> None:
        """Set bytes to 0xFF. Raises: PowerCut."""
        kept = self._kept(size)
        if kept is None:
            self._medium.erase(offset, size)
            return
        self._medium.erase(offset, kept)
        self._medium.sync()
        raise PowerCut(f"power was cut at erase {self.writes}")

    def sync(self) -> None:
        """Wait until all writes are durable."""
        self._medium.sync()

    def close(self) -> None:
        """Let go of the storage."""
        self._medium.close()

    def _check_light(self) -> None:
        if self._stays_dark and self.cut_at_write is not None and self.writes >= self.cut_at_write:
            raise PowerCut("there is no power")

    def _kept(self, size: int) -> int | None:
        self._check_light()
        self.writes += 1
        return size * self.keep_permille // 1000 if self.writes == self.cut_at_write else None
