"""A cancel that a library lost is found again, so that whoever is told to end does end.

A cancel is one exception at one place. In Python 3.11 `asyncio.wait_for` forgets it when its answer comes in the same
moment, and a connection that breaks while it is closed replaces it by its own error; a loop that retries after errors
would then go on for ever. The task itself still knows.
"""

from __future__ import annotations

import asyncio


def end_if_cancelled() -> None:
    """Raise the cancel of this task again, if there was one. Loops that catch errors call it at each turn."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
