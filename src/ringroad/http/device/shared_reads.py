"""Reads that many ask for at once.

At most one read is under way, and whoever asks meanwhile shares the next one. So an answer is as fresh as
from a read of one's own (it began after the question), and a stranger who asks a thousand times costs the
database one read at a time, not a thousand, and not every connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from ringroad.kernel.errors import Unavailable

K = TypeVar("K")
V = TypeVar("V")

KEYS_PER_READ_MAX: Final = 100  # answers of one read may be some kB each
KEYS_WAITING_MAX: Final = 10_000  # different questions; beyond it devices are asked to come back


class SharedReads(Generic[K, V]):
    """Answers `get` from `read`, which is called in a thread with all keys that were asked for meanwhile."""

    def __init__(self, read: Callable[[Sequence[K]], Mapping[K, V]]) -> None:
        self._read = read
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """Return what a read that began after this call found, or None.

        Raises:
            Unavailable: too many questions wait.
            Exception: what `read` raised.
        """
        answer = self._waiting.get(key)
        if answer is None:
            if len(self._waiting) >= KEYS_WAITING_MAX:
                raise Unavailable("too many questions are waiting", hint="come back later", code="overload")
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_all())
        return await asyncio.shield(answer)  # it belongs to others too

    async def _read_all(self) -> None:
        while self._waiting:
            keys = tuple(islice(self._waiting, KEYS_PER_READ_MAX))
            asked = {key: self._waiting.pop(key) for key in keys}
            try:
                found = await asyncio.to_thread(self._read, keys)
            except Exception as error:  # noqa: BLE001 - it is theirs who asked
                for answer in asked.values():
                    answer.set_exception(error)
                    answer.exception()  # whoever asked may be gone
            else:
                for key, answer in asked.items():
                    answer.set_result(found.get(key))
        self._reading = None
