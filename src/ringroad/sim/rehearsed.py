"""What a rehearsal keeps in its vehicle's folder, so that another process can go on with it when its own was killed.

Kept are what is rehearsed and what the desk gives; ECUs and vehicle keep the rest themselves. The desk's keys are not
kept: all that they had to sign is signed.

Invariant: it is written once, whole, when the update is ordered, and before the vehicle hears of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Conflict, Corrupt
from ringroad.sim.assembly import BaselinePackage
from ringroad.sim.desk import Desk, Served
from ringroad.sim.rehearsal import Plan, Rehearsal
from ringroad.vehicle.config import read_config
from ringroad.vehicle.files import FolderLock, replace_file

KEPT_NAME: Final = "rehearsal.msgpack"


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file's content."""

    plan: Plan
    served: Served
    new: dict[str, BaselinePackage]  # by ECU name; their bytes are among those that are served


def keep(rehearsal: Rehearsal) -> None:
    """Keep a rehearsal whose update is ordered. Raises: Unavailable, the disk is full."""
    new = {name: replace(package, image=b"") for name, package in rehearsal.new.items()}
    kept = Kept(plan=rehearsal.plan, served=rehearsal.desk.served(), new=new)
    replace_file(rehearsal.folder / KEPT_NAME, msgspec.msgpack.encode(kept), durability="buffered")


def reopen(folder: Path, *, clock: Clock, secret: Callable[[int], bytes]) -> Rehearsal:
    """Return a rehearsal as `keep` left it, its power off.

    Args:
        folder: of the vehicle.
        clock: the machine's.
        secret: random bytes by count.

    Raises:
        Conflict: the folder is not of a rehearsal, or it goes on in another process.
        Corrupt: what was kept does not read back.
        InvalidInput: the vehicle's configuration does not.
    """
    try:
        kept = msgspec.msgpack.decode((folder / KEPT_NAME).read_bytes(), type=Kept)
    except OSError as error:
        raise Conflict(
            f"{folder} exists already, and no rehearsed update is in it to go on with",
            hint="name a folder that does not exist; one whose rehearsal was killed while it built the vehicle can be removed",
        ) from error
    except msgspec.MsgspecError as error:
        raise _corrupt(folder, str(error)) from error
    FolderLock(folder).close()
    config = read_config(folder)
    desk = Desk(config.vin, now=clock.now(), secret=secret)
    desk.serve(kept.served)
    bytes_by_name = {name.partition(".")[2]: content for name, content in kept.served.images.items()}
    lacking = [name for name, package in kept.new.items() if package.filename not in bytes_by_name]
    if lacking:
        raise _corrupt(folder, f"it has no image for {lacking[0]}")
    new = {
        name: replace(package, image=bytes_by_name[package.filename]) for name, package in kept.new.items()
    }
    return Rehearsal(plan=kept.plan, folder=folder, config=config, desk=desk, new=new)


def _corrupt(folder: Path, why: str) -> Corrupt:
    return Corrupt(f"{folder / KEPT_NAME} does not read back: {why}", hint="rehearse in another folder")
