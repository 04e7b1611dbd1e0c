"""An upload is stored whole or refused."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from litestar.exceptions import HTTPException

from ringroad.http.uploads import FLUSH_BYTES, spooled
from ringroad.kernel.errors import InvalidInput, RingroadError, Unavailable

SIZE = 2 * FLUSH_BYTES + 3


class Upload:
    """A request with a body in pieces."""

    def __init__(self, size: int) -> None:
        self.size = size

    async def stream(self) -> AsyncIterator[bytes]:
        for start in range(0, self.size, 300_000):
            yield bytes(min(300_000, self.size - start))


@contextmanager
def a_file_takes_only(size: int) -> Iterator[None]:
    """What a disk that fills up does: it takes a part of a write, and nothing of the next one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def store(folder: Path, size: int, *, bytes_max: int = 10 * FLUSH_BYTES) -> int:
    async def run() -> int:
        ctx, request = cast("Any", SimpleNamespace(scratch=folder)), cast("Any", Upload(size))
        async with spooled(ctx, request, bytes_max=bytes_max) as path:
            return path.stat().st_size

    return asyncio.run(run())


@pytest.mark.parametrize("size", [1, FLUSH_BYTES, SIZE])
def test_every_byte_is_in_the_file_and_the_file_is_gone_afterwards(tmp_path: Path, size: int) -> None:
    assert store(tmp_path, size) == size
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", [0, 7, FLUSH_BYTES, SIZE - 1])
def test_a_disk_that_takes_only_a_part_refuses_the_upload(tmp_path: Path, room: int) -> None:
    with a_file_takes_only(room), pytest.raises(Unavailable, match="cannot be stored") as refused:
        store(tmp_path, SIZE)
    assert "space" in refused.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("size", "bytes_max", "refusal"), [(0, 10, InvalidInput), (11, 10, HTTPException)])
def test_nothing_and_too_much_are_refused(
    tmp_path: Path, size: int, bytes_max: int, refusal: type[RingroadError | HTTPException]
) -> None:
    with pytest.raises(refusal):
        store(tmp_path, size, bytes_max=bytes_max)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_refuses_the_upload(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        store(tmp_path / "gone", 1)
