"""Bytes of an image from an open answer into the store, from where an earlier try ended; too slow is an error.

Whoever sent them is not believed: `PartialImage.finish` compares them with what was signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Unavailable
from ringroad.vehicle.images import PartialImage

Progress = Callable[[int, int], None]  # (done_bytes, total_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How slow a sender may be."""

    bytes_s_min: int
    grace_s: float  # before it is judged


SERVER_PACE: Final = Pace(
    bytes_s_min=1_000,  # slower than any link we support: a slow-retrieval attack (Uptane 4.3)
    grace_s=30.0,
)


def range_of(image: PartialImage) -> dict[str, str]:
    """Return the headers that ask for what is missing of `image`, as it is."""
    headers = {"Accept-Encoding": "identity"}
    if image.done_bytes:
        headers["Range"] = f"bytes={image.done_bytes}-"
    return headers


async def receive_image(
    response: httpx.Response,
    image: PartialImage,
    *,
    length_bytes: int,
    pace: Pace,
    clock: Clock,
    progress: Progress,
) -> None:
    """Write an answer's bytes behind what is there; from byte 0 again where the sender ignored the range.

    Raises:
        Untrusted: there are more than were signed.
        Unavailable: they are packed, ended early or come too slowly; what arrived is kept.
    """
    packed = response.headers.get("content-encoding", "identity")
    if packed.strip().lower() not in ("", "identity"):  # unpacking could take any amount of memory
        raise Unavailable(f"the image comes packed as {packed[:40]!r}, which was not asked for")
    if image.done_bytes and not _continues(response, image.done_bytes):
        image.restart()
    started_s, received_bytes = clock.monotonic_s(), 0
    # As they arrive: a chunk size would hold back bytes that a broken connection then loses.
    async for chunk in response.aiter_raw():
        image.write(chunk)
        received_bytes += len(chunk)
        progress(image.done_bytes, length_bytes)
        elapsed_s = clock.monotonic_s() - started_s
        if elapsed_s > pace.grace_s and received_bytes < elapsed_s * pace.bytes_s_min:
            raise Unavailable(
                f"{received_bytes} bytes in {elapsed_s:.0f} s is too slow", code="slow_retrieval"
            )
    if not image.whole:
        raise Unavailable(f"the download ended at byte {image.done_bytes} of {length_bytes}")


def _continues(response: httpx.Response, offset: int) -> bool:
    """Say whether the answer begins at `offset`; a sender may also send the whole file again."""
    range_header: str = response.headers.get("content-range", "")
    return response.status_code == httpx.codes.PARTIAL_CONTENT and range_header.startswith(f"bytes {offset}-")
