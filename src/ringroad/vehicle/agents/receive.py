"""Brings an image into a file of an agent, checks that it is the signed one, and does long work beside the event loop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from ringroad.vehicle.agents.base import EcuImage, ImageSource, Progress, Reason
from ringroad.vehicle.agents.disk import Disk
from ringroad.vehicle.agents.session import Refusal

CHUNK_BYTES: Final = 1 << 20
SMALL_BYTES: Final = (
    4 << 20
)  # unpacked or hashed in less time than a thread would cost the vehicle's other work

T = TypeVar("T")


async def beside(work: Callable[[], T], *, size_bytes: int, small_bytes: int = SMALL_BYTES) -> T:
    """Return what `work` returns; it runs in a thread if it is long: on more than `small_bytes`.

    A thread cannot be ended: who is cancelled meanwhile waits for it, so that nothing is written behind their back.
    """
    if size_bytes <= small_bytes:
        return work()
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise


async def receive(
    image: EcuImage, source: ImageSource, arrived: Path, *, disk: Disk, progress: Progress
) -> None:
    """Write an image into the file `arrived`.

    Raises:
        Refusal: these are not the signed bytes; the file is removed.
        OSError: the source or the disk cannot be used.
    """
    disk.remove(arrived)
    digest = hashlib.sha256()
    done = 0
    while done < image.length_bytes:
        chunk = await source.read(done, min(CHUNK_BYTES, image.length_bytes - done))
        if not chunk:
            break
        disk.append(arrived, chunk, mode=0o600)
        digest.update(chunk)
        done += len(chunk)
        progress(done, image.length_bytes)
    if done != image.length_bytes or digest.hexdigest() != image.sha256:
        disk.remove(arrived)
        raise Refusal(Reason.HASH_MISMATCH, f"{image.filename} is not the signed image")
