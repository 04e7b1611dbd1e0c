"""Durable steps on a disk, for agents whose ECU is a folder of this computer; simulated by `sim.agentkit`.

Each call returns when its effect survives a power cut. A call that power interrupts has done nothing, a part
(`append`, `remove`) or all of it, so an agent must be able to go on from there.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ringroad.vehicle.files import Durability, sync_descriptor, sync_folder, write_all


class Disk(Protocol):
    """What changes files. Reading is the file system's own. Every call raises OSError if it cannot be done."""

    def append(self, path: Path, data: bytes, *, mode: int = 0o644) -> None:
        """Add bytes to the end of a file, which is made when missing."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder another name; a file or link that had it is replaced, in one step."""
        ...

    def link(self, path: Path, target: str) -> None:
        """Make a symbolic link."""
        ...

    def make_folder(self, path: Path) -> None:
        """Make a folder; one that is there already is good."""
        ...

    def set_mode(self, path: Path, mode: int) -> None:
        """Give a file or folder these rights, whatever the umask."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file, link or whole folder; one that is missing is good."""
        ...


@dataclass(frozen=True, slots=True)
class RealDisk:
    """The disk of this computer."""

    durability: Durability = "fsync"

    def append(self, path: Path, data: bytes, *, mode: int = 0o644) -> None:
        """Add bytes to the end of a file. Raises: OSError."""
        # A link in the way is not followed: what an image holds must not write outside its folder.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        made = not path.exists()
        descriptor = os.open(path, flags, mode)
        try:
            write_all(descriptor, data)
            sync_descriptor(descriptor, durability=self.durability)
        finally:
            os.close(descriptor)
        if made:
            sync_folder(path.parent, durability=self.durability)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder another name. Raises: OSError."""
        old.replace(new)
        sync_folder(new.parent, durability=self.durability)

    def link(self, path: Path, target: str) -> None:
        """Make a symbolic link. Raises: OSError."""
        path.symlink_to(target)
        sync_folder(path.parent, durability=self.durability)

    def make_folder(self, path: Path) -> None:
        """Make a folder. Raises: OSError."""
        path.mkdir(exist_ok=True)
        sync_folder(path.parent, durability=self.durability)

    def set_mode(self, path: Path, mode: int) -> None:
        """Give a file or folder these rights. Raises: OSError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, mode)
            sync_descriptor(descriptor, durability=self.durability)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file, link or folder. Raises: OSError."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        sync_folder(path.parent, durability=self.durability)


def replace(disk: Disk, path: Path, data: bytes) -> None:
    """Make `data` the content of a file, all of it or nothing. Raises: OSError."""
    fresh = path.with_name(f"{path.name}.new")
    disk.remove(fresh)
    disk.append(fresh, data)
    disk.rename(fresh, path)


def point(disk: Disk, path: Path, target: str) -> None:
    """Make a symbolic link point to `target`, in one step. Raises: OSError."""
    fresh = path.with_name(f"{path.name}.new")
    disk.remove(fresh)
    disk.link(fresh, target)
    disk.rename(fresh, path)
