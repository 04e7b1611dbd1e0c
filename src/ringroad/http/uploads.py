"""Uploads: streamed to a scratch file while they are counted; never held in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from litestar.exceptions import HTTPException
from litestar.params import Parameter

from ringroad.http.context import Context
from ringroad.http.routes import Req
from ringroad.kernel.errors import InvalidInput

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
    """
    handle, name = await to_thread.run_sync(lambda: tempfile.mkstemp(dir=ctx.scratch))
    path, total, waiting = Path(name), 0, bytearray()
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > bytes_max:
                raise HTTPException(status_code=413, detail=f"the body is larger than {bytes_max} bytes")
            waiting += chunk
            if len(waiting) >= FLUSH_BYTES:
                await to_thread.run_sync(os.write, handle, bytes(waiting))
                waiting.clear()
        await to_thread.run_sync(os.write, handle, bytes(waiting))
        if total == 0:
            raise InvalidInput("the body is empty", hint="send the file as the request's body")
        yield path
    finally:
        os.close(handle)
        await to_thread.run_sync(partial(path.unlink, missing_ok=True))
