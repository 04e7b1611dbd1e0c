"""How far a plan is, on the terminal, while its answer is awaited."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from ringroad.cli.client import Client
from ringroad.kernel.errors import RingroadError

LOOK_S: Final = 2.0  # seconds between two looks; a plan over a thousand vehicles is there before the first
PLAN_S_MAX: Final = 900.0  # seconds for an answer; a million vehicles take 15, on a busy machine some minutes


@contextmanager
def planning_shown(client: Client, campaign_id: str, *, every_s: float = LOOK_S) -> Iterator[None]:
    """Write a line whenever a plan has come a step further, until the block ends."""
    over = threading.Event()

    def look() -> None:
        shown = 0
        while not over.wait(every_s):
            try:
                now = client.get(f"/campaigns/{campaign_id}/planning")
            except RingroadError:  # the plan's own answer tells
                return
            if now["step"] > shown:
                shown = now["step"]
                click.echo(planning_text(now), err=True)

    thread = threading.Thread(target=look, name="planning", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def planning_text(now: dict[str, Any]) -> str:
    """Return one step in words."""
    return f"step {now['step']} of {now['steps']}: {now['doing']} (after {now['running_s']} s)"
