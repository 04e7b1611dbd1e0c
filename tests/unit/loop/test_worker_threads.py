from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import Unavailable
from ringroad.loop.duties import Tools, keep_going
from ringroad.storage.settings import Settings


def tools() -> Tools:
    return Tools(
        settings=Settings(var=Path("nowhere")),
        stop=threading.Event(),
        clock=SystemClock(),
        ids=SystemIds(),
        load_signers=None,
    )


@pytest.mark.parametrize("failure", [Unavailable("gone"), OSError("gone"), RuntimeError("a fault of ours")])
def test_a_thread_that_fails_goes_on(failure: Exception) -> None:
    shared, calls = tools(), []

    def body() -> None:
        calls.append(1)
        if len(calls) == 3:
            shared.stop.set()
            return
        raise failure

    keep_going(shared, "test", body)
    assert len(calls) == 3


def test_a_stopped_thread_does_nothing() -> None:
    shared = tools()
    shared.stop.set()
    keep_going(shared, "test", lambda: pytest.fail("ran after the stop"))
