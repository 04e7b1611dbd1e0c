"""Uploads: streamed to a scratch file while they are counted; never held in memory."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Annotated

from anyio import to_thread
from litestar.exceptions import HTTPException
from litestar.params import Parameter

from ringroad.http.context import Context
from ringroad.http.routes import Req
from ringroad.kernel.errors import InvalidInput, Unavailable

UploadName = Annotated[
    str, Parameter(pattern=r"^[A-Za-z0-9_.+\-]{1,150}$", description="What the file is called in messages")
]
FLUSH_BYTES = 1024**2  # bytes written at once


@asynccontextmanager
async def spooled(ctx: Context, request: Req, *, bytes_max: int) -> AsyncIterator[Path]:
    """Write the request's body to a scratch file; it is gone after the block.

    Raises:
        InvalidInput: the body is empty.
        HTTPException: 413, the body is larger than allowed.
        Unavailable: the disk is full or read-only.
    """
    file = await to_thread.run_sync(partial(_opened, ctx))
    path, total, waiting = Path(file.name), 0, bytearray()
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > bytes_max:
                raise HTTPException(status_code=413, detail=f"the body is larger than {bytes_max} bytes")
            waiting += chunk
            if len(waiting) >= FLUSH_BYTES:
                await to_thread.run_sync(_write, file, bytes(waiting))
                waiting.clear()
        await to_thread.run_sync(_write, file, bytes(waiting))
        if total == 0:
            raise InvalidInput("the body is empty", hint="send the file as the request's body")
        yield path
    finally:
        file.close()
        await to_thread.run_sync(partial(path.unlink, missing_ok=True))


@contextmanager
def copied(ctx: Context, content: memoryview) -> Iterator[Path]:
    """Write a part of an upload to a scratch file of its own; it is gone after the block.

    Raises:
        Unavailable: the disk is full or read-only.
    """
    file = _opened(ctx)
    path = Path(file.name)
    try:
        for at in range(0, len(content), FLUSH_BYTES):
            _write(file, bytes(content[at : at + FLUSH_BYTES]))
        yield path
    finally:
        file.close()
        path.unlink(missing_ok=True)


def _opened(ctx: Context) -> IO[bytes]:
    try:
        return tempfile.NamedTemporaryFile(dir=ctx.scratch, buffering=0, delete=False)
    except OSError as error:
        raise _cannot_write(error) from error


def _write(file: IO[bytes], content: bytes) -> None:
    """Write all of it: a disk that is nearly full takes a part, says how much, and fails at the next write only."""
    view = memoryview(content)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise _cannot_write(error) from error


def _cannot_write(error: OSError) -> Unavailable:
    return Unavailable(
        f"the upload cannot be stored: {error.strerror}",
        hint="free some space on the server's disk",
        code="cannot_write",
        detail=str(error),
    )
