"""The server's end of the vehicles' link: answers in, one by one."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
from nats.aio.msg import Msg

from ringroad.http.vehicle_link import VehicleLink
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import Unavailable
from ringroad.protocol.diagnostics import DiagnosticAnswer

VIN = "RRDAGN00000000001"


def answer(name: str) -> Msg:
    """Return a vehicle's answer as NATS brings it."""
    said = DiagnosticAnswer(id=name, status=200, at=datetime(2026, 11, 26, tzinfo=UTC), body={})
    return Msg(
        cast("Any", None), subject=f"ringroad.v1.{VIN}.diagnostics.answer", data=msgspec.json.encode(said)
    )


def stored(error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Bring two answers, of which the first fails; return which were stored."""
    done: list[str] = []

    async def run() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def accept(*_: object, answer: DiagnosticAnswer, **__: object) -> bool:
            if answer.id == "bad":
                raise error
            done.append(answer.id)
            loop.call_soon_threadsafe(ended.set)
            return True

        monkeypatch.setattr("ringroad.http.vehicle_link.accept_answer", accept)
        link = VehicleLink("", lambda: nullcontext(cast("Any", None)), clock=SystemClock(), ids=SystemIds())
        for name in ("bad", "good"):
            link._answers.put_nowait(answer(name))
        tasks = {asyncio.create_task(link._store()), asyncio.create_task(ended.wait())}
        over, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for task in over:
            task.result()

    asyncio.run(run())
    return done


def test_an_answer_that_cannot_be_stored_does_not_keep_the_next_one_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert stored(RuntimeError("a strange answer"), monkeypatch) == ["good"]


def test_a_database_that_is_away_interrupts_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable):
        stored(Unavailable("PostgreSQL went away"), monkeypatch)
