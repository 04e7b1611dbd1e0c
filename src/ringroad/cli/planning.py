"""How far a plan is, on the terminal, while its answer is awaited."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import click

from ringroad.cli.client import Client
from ringroad.kernel.errors import RingroadError
from ringroad.kernel.limits import PAGE_ROWS_MAX

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


def plans_shown(client: Client, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the current plan of a campaign, or its newest where none is current: one or none."""
    path = f"/campaigns/{row['id']}/plans"
    newest: list[dict[str, Any]] = client.get(path, limit=1)
    if not newest or row["plan_id"] in {None, newest[0]["id"]}:
        return newest
    # a server of before went on with an older plan beside a blocked one
    return [each for each in client.get(path, limit=PAGE_ROWS_MAX) if each["id"] == row["plan_id"]]
