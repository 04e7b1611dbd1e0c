"""What runs behind the requests goes on after a surprise, and nothing is answered from what is not followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NoReturn

import psycopg
import pytest

from ringroad.http.device.read_model import ReadModel
from ringroad.http.device.store import NewReport, ReportWriter, keep_fresh
from ringroad.http.events import FactFeed
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Unavailable

WAIT_S_MAX = 60.0


def run_until(work: Coroutine[Any, Any, None], holds: Callable[[], bool]) -> None:
    """Run work that never ends until a condition holds."""

    async def run() -> None:
        task = asyncio.create_task(work)
        async with asyncio.timeout(WAIT_S_MAX):
            while not holds():
                assert not task.done(), "it ended"
                await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())


@pytest.mark.parametrize(
    "surprise", [psycopg.OperationalError("away"), KeyError("a bug"), OSError("no socket")]
)
def test_a_model_that_is_not_followed_is_dropped_and_followed_again(surprise: Exception) -> None:
    model, seen = ReadModel(), list[bool]()
    model.fresh = True

    def opener() -> NoReturn:
        seen.append(model.fresh)
        raise surprise

    run_until(keep_fresh(model, opener, SystemClock()), lambda: len(seen) > 1)
    assert seen[:2] == [True, False]


class Stopped:
    """A clock that fails once."""

    def __init__(self) -> None:
        self.asked = 0

    def now(self) -> datetime:
        self.asked += 1
        if self.asked == 1:
            raise ValueError("the clock stands")
        return datetime(2026, 11, 25, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return SystemClock().monotonic_s()


def test_a_writer_that_stumbles_says_so_and_takes_the_next_report() -> None:
    def opener() -> NoReturn:
        raise psycopg.OperationalError("away")

    async def story() -> list[str]:
        writer = ReportWriter(opener, clock=Stopped(), rows_max=10)
        task, told = asyncio.create_task(writer.run()), list[str]()
        for number in range(2):
            report = NewReport(vin="RRTEST00000000001", dedupe_key=str(number), kind="progress", body={})
            async with asyncio.timeout(WAIT_S_MAX):
                try:
                    await writer.write([report])
                except Unavailable as refused:
                    told.append(refused.detail)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return told

    assert asyncio.run(story()) == ["the clock stands", "away"]


def test_live_events_come_back_after_a_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    async def connect(url: str, **_: object) -> NoReturn:
        asked.append(url)
        raise KeyError("a bug")

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    run_until(FactFeed("postgresql://nowhere")._listen(), lambda: len(asked) > 1)
