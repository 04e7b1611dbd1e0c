"""Images over HTTP: whole or by range, so that a vehicle that was cut off goes on where it stopped."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Callable
from typing import Protocol

from ringroad.http.device.wire import Answer, Scope, Send, header, parse_range, problem
from ringroad.kernel.errors import Corrupt, InvalidInput

CHUNK_BYTES = 256 * 1024  # bytes read and sent at a time
DIGESTS_KEPT = 256  # images whose sha1 and md5 stay known


class Blobs(Protocol):
    """What is needed of the blob store."""

    def __hash__(self) -> int: ...

    def read_range(self, sha256: str, *, start: int, length: int) -> bytes:
        """Return up to `length` bytes from `start`."""
        ...


async def send_image(
    scope: Scope,
    send: Send,
    blobs: Blobs,
    *,
    sha256: str,
    size: int,
    etag: str = "",
    before_end: Callable[[], None] | None = None,
) -> Answer | None:
    """Answer GET or HEAD on an image. The body is streamed; memory per download is two chunks.

    Args:
        scope: of the request.
        send: of the request.
        blobs: where the image lies.
        sha256: of the image.
        size: of the image, bytes.
        etag: what the client knows the image by, where that is not its sha256.
        before_end: called before the last byte of the image is handed out; if it fails, that byte is not.

    Returns:
        The answer still to be sent when there is nothing to stream.
    """
    first, last, status = 0, size - 1, 200
    name = (etag or sha256).encode()
    quoted = b'"%b"' % name
    if_match = header(scope["headers"], b"if-match")
    if if_match is not None and if_match.strip() not in (quoted, name, b"*"):
        return problem(412, "changed", "this is another file now", (b"etag", quoted))
    text = header(scope["headers"], b"range")
    if_range = header(scope["headers"], b"if-range")
    if text is not None and if_range in (None, quoted):
        try:
            asked = parse_range(text.decode("latin-1"), size)
        except InvalidInput as error:
            return problem(416, error.code, error.message, (b"content-range", b"bytes */%d" % size))
        if asked is not None:
            (first, last), status = asked, 206
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % (last - first + 1)),
        (b"accept-ranges", b"bytes"),
        (b"etag", quoted),
        (b"cache-control", b"private, immutable, max-age=31536000"),
    ]
    if status == 206:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, size)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body", "body": b""})
        return None
    offset = first
    while offset <= last:
        length = min(CHUNK_BYTES, last - offset + 1)
        chunk = await asyncio.to_thread(read_some, blobs, sha256, offset=offset, length=length)
        offset += len(chunk)
        if before_end is not None and offset == size:
            before_end()
        await send({"type": "http.response.body", "body": chunk, "more_body": offset <= last})
    return None


def read_some(blobs: Blobs, sha256: str, *, offset: int, length: int) -> bytes:
    """Return 1 to `length` bytes of an image.

    Raises:
        Corrupt: the blob is shorter than the database says.
    """
    chunk = blobs.read_range(sha256, start=offset, length=length)
    if not chunk:
        raise Corrupt(
            f"image {sha256[:12]} ends at byte {offset}", hint="restore the blob store, then upload it again"
        )
    return chunk


@functools.lru_cache(maxsize=DIGESTS_KEPT)
def legacy_digests(blobs: Blobs, sha256: str, size: int) -> tuple[str, str]:
    """Return sha1 and md5 of an image, which DDI clients insist on; integrity rests on sha256 and signatures."""
    sha1, md5 = hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
    offset = 0
    while offset < size:
        chunk = read_some(blobs, sha256, offset=offset, length=min(CHUNK_BYTES, size - offset))
        sha1.update(chunk)
        md5.update(chunk)
        offset += len(chunk)
    return sha1.hexdigest(), md5.hexdigest()
