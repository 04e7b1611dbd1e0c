from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from ringroad.http.device.shared_reads import KEYS_PER_READ_MAX, KEYS_WAITING_MAX, SharedReads
from ringroad.kernel.errors import Unavailable


class Shelf:
    """A slow source: every read waits until it is let go, and sees what is there then."""

    def __init__(self) -> None:
        self.values = {"a": 1}
        self.reads: list[tuple[str, ...]] = []
        self.may_go = threading.Semaphore(0)
        self.broken = False

    def read(self, keys: Sequence[str]) -> dict[str, int]:
        self.reads.append(tuple(keys))
        assert self.may_go.acquire(timeout=60)
        if self.broken:
            raise OSError("the shelf is gone")
        return {key: self.values[key] for key in keys if key in self.values}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def until_reading(shelf: Shelf, count: int) -> None:
    while len(shelf.reads) < count:  # noqa: ASYNC110 - the read is in a thread
        await asyncio.sleep(0.001)


async def ask(reads: SharedReads[str, int], keys: str) -> list[asyncio.Task[int | None]]:
    asked = [asyncio.create_task(reads.get(key)) for key in keys]
    await asyncio.sleep(0)
    return asked


def test_whoever_asks_during_a_read_shares_the_next_one_and_sees_what_is_new(shelf: Shelf) -> None:
    async def story() -> None:
        reads = SharedReads(shelf.read)
        first = await ask(reads, "a")
        await until_reading(shelf, 1)
        later = await ask(reads, "a" * 50 + "bc")
        await asyncio.sleep(0.05)
        assert len(shelf.reads) == 1
        shelf.may_go.release()
        assert await asyncio.gather(*first) == [1]
        shelf.values = {"a": 2, "b": 3}
        shelf.may_go.release()
        assert await asyncio.gather(*later) == [2] * 50 + [3, None]

    asyncio.run(story())
    assert shelf.reads == [("a",), ("a", "b", "c")]


def test_an_error_reaches_those_who_waited_and_nobody_after(shelf: Shelf) -> None:
    async def story() -> None:
        reads = SharedReads(shelf.read)
        shelf.broken = True
        asked = await ask(reads, "aab")
        shelf.may_go.release()
        assert [type(each) for each in await asyncio.gather(*asked, return_exceptions=True)] == [OSError] * 3
        shelf.broken = False
        shelf.may_go.release()
        assert await reads.get("a") == 1

    asyncio.run(story())


def test_one_who_leaves_takes_nothing_from_the_others(shelf: Shelf) -> None:
    async def story() -> None:
        reads = SharedReads(shelf.read)
        leaves, stays = await ask(reads, "aa")
        await until_reading(shelf, 1)
        leaves.cancel()
        shelf.may_go.release()
        assert await stays == 1

    asyncio.run(story())


def test_a_read_has_a_size_and_the_queue_an_end(shelf: Shelf) -> None:
    async def story() -> None:
        reads = SharedReads(shelf.read)
        asked = [asyncio.create_task(reads.get(f"k{number}")) for number in range(KEYS_WAITING_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await reads.get("one more")
        for _ in range(KEYS_WAITING_MAX // KEYS_PER_READ_MAX):
            shelf.may_go.release()
        await asyncio.gather(*asked)

    asyncio.run(story())
    assert {len(keys) for keys in shelf.reads} == {KEYS_PER_READ_MAX}
