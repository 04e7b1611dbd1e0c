"""Small durable files of the vehicle's data folder: whole-file replacement and the folder's lock.

Invariant: a reader sees the old content or the new content, never a mixture, whatever power does.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Literal

from ringroad.kernel.errors import Conflict, Unavailable

# "fsync" survives power cuts; "buffered" survives the end of the process, for many simulated vehicles on one disk.
Durability = Literal["fsync", "buffered"]

LOCK_NAME = "lock"
TRUST_NAME = "trust.state"
TELEMETRY_NAME = "telemetry"


def replace_file(path: Path, content: bytes, *, durability: Durability) -> None:
    """Make `content` the content of `path`, all of it or nothing.

    Raises:
        Unavailable: the disk is full or read-only; the old content is intact.
    """
    temporary = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, content)
            sync_descriptor(descriptor, durability=durability)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent, durability=durability)
    except OSError as error:
        raise Unavailable(
            f"cannot write {path.name}: {error.strerror}",
            hint="free some space or make the folder writable",
            code="disk",
        ) from error


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte of `content`; `os.write` may write fewer."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_descriptor(descriptor: int, *, durability: Durability) -> None:
    """Wait until what was written to `descriptor` survives a power cut, if the policy asks for it."""
    if durability == "fsync":
        os.fsync(descriptor)


def sync_folder(folder: Path, *, durability: Durability) -> None:
    """Make renames and new names in `folder` survive a power cut, if the policy asks for it."""
    if durability != "fsync":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FolderLock:
    """The right to be the only orchestrator on a data folder; the kernel frees it when the process ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            Conflict: another orchestrator holds it.
            Unavailable: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot lock {folder}: {error.strerror}", code="disk") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise Conflict(
                f"another orchestrator runs on {folder}",
                hint="stop it first; one folder is one vehicle",
                code="folder_locked",
            ) from error

    def close(self) -> None:
        """Give the lock back. Calling it twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
