"""Images from beside the road: other vehicles of a depot, or a box there, asked before the server is.

`PeerCaches` asks, `PeerShare` answers, with the whole images of a vehicle's store at ``/images/{sha256}``. Any web server
that has files of these names does as well.

A peer is nobody: it is told no token and no VIN, and what it sends is compared with what was signed like any other
image. The worst that it can do is cost time: a peer that fails is left alone for a while, and one whose bytes were wrong
until the vehicle starts again.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import structlog

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import InvalidInput, Unavailable, Untrusted
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.address import Address
from ringroad.vehicle.images import ImageStore, PartialImage
from ringroad.vehicle.receive import Pace, Progress, range_of, receive_image
from ringroad.vehicle.small_http import Answer, BadRequest, Limits, Request, SmallServer, plain_answer

PATH: Final = "/images/"
PEERS_MAX: Final = 8
PEER_URL_CHARS_MAX: Final = 200
PEER_TIMEOUT_S: Final = (
    3.0  # s; to connect, and between two pieces: who is near answers at once or is not there
)
PEER_HEAD_S: Final = 6.0  # s; until an answer begins
PEER_AGAIN_S: Final = 300.0  # s; before a peer that failed is asked again
PEER_PACE: Final = Pace(bytes_s_min=100_000, grace_s=5.0)  # slower than this the server is no worse
PIECE_BYTES: Final = 64 * 1024

_NAME: Final = re.compile(r"[0-9a-f]{64}")
_RANGE: Final = re.compile(r"bytes=(0|[1-9][0-9]{0,17})-")

_log = structlog.get_logger(__name__)


class PeerCaches:
    """The peers of one vehicle, as it asks them."""

    def __init__(self, client: httpx.AsyncClient, urls: Sequence[str], *, clock: Clock) -> None:
        """Take the peers.

        Args:
            client: trusts our authority for peers that speak HTTPS.
            urls: checked by `check_peer`, asked in this order.
            clock: monotonic, for peers that are left alone.
        """
        self._client = client
        self._asked_from_s = dict.fromkeys((url.rstrip("/") for url in urls), 0.0)
        self._clock = clock

    async def fetch(self, target: VerifiedTarget, store: ImageStore, *, progress: Progress) -> int | None:
        """Fetch the image of `target` into `store` from the peers, as far as they have it.

        Returns:
            How many of its bytes they gave, in all tries, where it is whole and the signed one; else None: the server is
            asked, and goes on behind what arrived.

        Raises:
            Unavailable: the disk cannot be used.
        """
        heard: list[str] = []
        for peer in self._awake():
            with store.resume(target) as image:
                before = image.done_bytes
                try:
                    if not image.whole:
                        with image.from_peer():
                            await self._ask(peer, image, target, progress)
                except (httpx.HTTPError, TimeoutError) as error:
                    self._rest(peer, PEER_AGAIN_S, type(error).__name__)
                except Untrusted as error:
                    self._rest(peer, math.inf, error.message)
                    return None
                except Unavailable as error:
                    if error.code == "disk":
                        raise
                    self._rest(peer, PEER_AGAIN_S, error.message)
                if image.done_bytes != before:
                    heard.append(peer)
                if not image.whole:
                    continue
                try:
                    return image.finish()
                except Untrusted as error:
                    for liar in heard:
                        self._rest(liar, math.inf, error.message)
                    return None
        return None

    def _awake(self) -> list[str]:
        now_s = self._clock.monotonic_s()
        return [url for url, from_s in self._asked_from_s.items() if from_s <= now_s]

    def _rest(self, peer: str, rest_s: float, reason: str) -> None:
        self._asked_from_s[peer] = self._clock.monotonic_s() + rest_s
        _log.warning("vehicle.peer_failed", peer=peer, reason=reason)

    async def _ask(self, peer: str, image: PartialImage, target: VerifiedTarget, progress: Progress) -> None:
        """Take what one peer has; a peer without the image is none that failed."""
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(PEER_HEAD_S):  # of all of an answer's head, however it dribbles
                response = await stack.enter_async_context(
                    self._client.stream(
                        "GET", f"{peer}{PATH}{target.sha256}", headers=range_of(image), timeout=PEER_TIMEOUT_S
                    )
                )
            if response.status_code == httpx.codes.NOT_FOUND:
                return
            if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                raise Unavailable(f"the peer answers {response.status_code}")
            await receive_image(
                response, image, length_bytes=target.length, pace=PEER_PACE, clock=self._clock,
                progress=progress,
            )  # fmt: skip


def check_peer(url: str) -> str:
    """Return the address of a peer.

    Raises:
        InvalidInput: it is none, or it carries a password: peers are told no secret.
    """
    parts = urlsplit(url)
    try:
        fine = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        fine = False
    if not fine or parts.query or parts.fragment or "@" in parts.netloc or len(url) > PEER_URL_CHARS_MAX:
        raise InvalidInput(
            f"peers: {url.rpartition('@')[2][:60]!r} is no address of a peer",
            hint='peers = ["http://192.168.7.20:8781"]',
        )
    return url


class PeerShare:
    """Gives the whole images of one vehicle's store to its peers."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the store."""
        self._folder = folder

    async def serve(self, address: Address) -> None:
        """Serve until cancelled."""
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        await SmallServer(self.answer, headers=headers, limits=Limits()).serve(address)

    async def answer(self, request: Request, names: frozenset[str]) -> Answer:
        """Answer one request; `names` are those by which this host may be called."""
        if request.headers.get("host", "").lower() not in names:
            raise BadRequest("this address is not called that")
        if request.method != "GET":
            return plain_answer(HTTPStatus.METHOD_NOT_ALLOWED, "images are read")
        name = request.path.removeprefix(PATH)
        if not request.path.startswith(PATH) or _NAME.fullmatch(name) is None:
            return plain_answer(HTTPStatus.NOT_FOUND, f"images are at {PATH} and their SHA-256")
        try:
            size_bytes = (self._folder / name).stat().st_size
        except OSError:
            return plain_answer(HTTPStatus.NOT_FOUND, "this image is not here")
        return _image_answer(self._folder / name, size_bytes, request.headers.get("range", ""))


def _image_answer(path: Path, size_bytes: int, span: str) -> Answer:
    """Return an image from where `span` begins; a range that is none of ours is ignored (RFC 9110, 14.2)."""
    match = _RANGE.fullmatch(span)
    start = int(match[1]) if match else 0
    if start and start >= size_bytes:
        told = {"Content-Range": f"bytes */{size_bytes}"}
        return Answer(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=told)
    told = {"Content-Length": str(size_bytes - start), "Accept-Ranges": "bytes"}
    if match:
        told["Content-Range"] = f"bytes {start}-{size_bytes - 1}/{size_bytes}"
    return Answer(
        status=HTTPStatus.PARTIAL_CONTENT if match else HTTPStatus.OK,
        kind="application/octet-stream", headers=told, stream=_pieces(path, start),
    )  # fmt: skip


async def _pieces(path: Path, offset: int) -> AsyncGenerator[bytes, None]:
    """Yield an image, opened here: an answer that nobody takes opens nothing. One that was dropped meanwhile ends."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while piece := await asyncio.to_thread(os.pread, descriptor, PIECE_BYTES, offset):
            yield piece
            offset += len(piece)
    finally:
        os.close(descriptor)
