"""What the worker's threads share, and how each goes on when it fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
import structlog

from ringroad.build.repository.store import OnlineSigners
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import NotFound, RingroadError
from ringroad.storage.db import Connection
from ringroad.storage.settings import Settings

LOG = structlog.get_logger(__name__)

RETRY_S_FIRST: Final = 0.2  # seconds
RETRY_S_MAX: Final = 10.0  # seconds
STOP_LOOK_S: Final = 0.2  # seconds between two looks at the stop event
JOIN_S_MAX: Final = 8.0  # seconds a thread gets to end

LoadSigners = Callable[[], OnlineSigners]
Job = Callable[[Connection, datetime], object]
Duty = tuple[str, Callable[..., None], tuple[Any, ...]]  # a thread's name, what it runs, what that takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the threads share."""

    settings: Settings
    stop: threading.Event
    clock: Clock
    ids: Ids
    load_signers: LoadSigners | None


def keep_going(tools: Tools, name: str, body: Callable[[], None]) -> None:
    """Run `body` until it returns with `stop` set; when it fails, log why, wait longer each time, run it again."""
    retry_s = RETRY_S_FIRST
    while not tools.stop.is_set():
        started_s = tools.clock.monotonic_s()
        try:
            body()
        except (RingroadError, psycopg.Error, OSError) as error:
            detail = error.detail if isinstance(error, RingroadError) else ""
            LOG.warning("waiting", thread=name, error=str(error), detail=detail, retry_s=retry_s)
        except Exception:  # a fault of ours in one thread must not stop the others
            LOG.exception("thread failed", thread=name, retry_s=retry_s)
        if tools.clock.monotonic_s() - started_s > RETRY_S_MAX:
            retry_s = RETRY_S_FIRST  # it had worked for a while
        tools.stop.wait(retry_s)
        retry_s = min(RETRY_S_MAX, retry_s * 2)


def load(tools: Tools) -> list[OnlineSigners]:
    """Return the online keys; none while they were not made."""
    if tools.load_signers is None:
        return []
    try:
        return [tools.load_signers()]
    except NotFound as error:
        LOG.warning("no online keys, native vehicles wait", detail=error.message, hint=error.hint)
        return []


def read_stream(tools: Tools, name: str, work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Read a stream until the worker stops."""

    async def until_stopped() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(work(stop))
        while not (tools.stop.is_set() or task.done()):  # noqa: ASYNC110 - the event is a thread's
            await asyncio.sleep(STOP_LOOK_S)
        stop.set()
        await asyncio.wait_for(task, JOIN_S_MAX)

    keep_going(tools, name, lambda: asyncio.run(until_stopped()))
