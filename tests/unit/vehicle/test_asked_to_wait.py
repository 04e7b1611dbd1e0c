from __future__ import annotations

import asyncio

import httpx
import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Unavailable
from ringroad.kernel.vin import parse_vin
from ringroad.vehicle.backoff import ASKED_S_MAX, AskedToWait, parse_retry_after
from ringroad.vehicle.gateway import Gateway


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("5", 5), ("077", 77), ("0", 0), ("", 0), ("-5", 0), ("5.5", 0), ("soon", 0), ("٣", 0), ("9" * 400, 0),
        ("999999999", ASKED_S_MAX), ("Wed, 25 Nov 2026 22:00:00 GMT", 0),
    ],
)  # fmt: skip
def test_a_server_is_obeyed_for_an_hour_at_most(text: str, wait_s: int) -> None:
    assert parse_retry_after(text) == wait_s


@pytest.mark.parametrize(
    ("status", "told", "asked_s"),
    [
        (503, "77", 77),
        (429, "40", 40),
        (503, "", None),
        (500, "77", None),
        (404, "77", None),
        (401, "77", None),
    ],
)
def test_only_a_server_that_is_busy_asks_to_wait(status: int, told: str, asked_s: int | None) -> None:
    async def poll() -> int | None:
        answer = httpx.Response(status, headers={"retry-after": told})
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as client:
            vehicle = Gateway(
                client,
                vin=parse_vin("WRRDEM00000000001"),
                token="t",
                clock=SystemClock(),
                server_url="http://s",
            )
            try:
                await vehicle.poll()
            except AskedToWait as asked:
                return asked.wait_s
            except Exception:  # noqa: BLE001 - which error it is otherwise is told elsewhere
                return None
        raise AssertionError("that was no answer to a poll")

    assert asyncio.run(poll()) == asked_s


@pytest.mark.parametrize("body", [b"{", b'{"kind":"none","a":' + b"[" * 100_000, b'{"kind":"\xff"}'])
def test_an_answer_that_does_not_decode_is_no_answer(body: bytes) -> None:
    async def poll() -> None:
        answer = httpx.Response(200, content=body)
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as client:
            vin = parse_vin("WRRDEM00000000001")
            vehicle = Gateway(client, vin=vin, token="t", clock=SystemClock(), server_url="http://s")
            with pytest.raises(Unavailable, match="the server's answer cannot be read"):
                await vehicle.poll()

    asyncio.run(poll())
