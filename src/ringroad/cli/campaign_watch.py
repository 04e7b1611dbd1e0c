"""Watches a campaign: asks now and then, shows what changed, ends when the campaign ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import click

from ringroad.cli.campaign_text import cancelled_word, failed_text, gate_text, installed_text, waves_text
from ringroad.cli.client import Client
from ringroad.cli.groups import EXIT_NO
from ringroad.cli.shell import Shell
from ringroad.cli.tables import can_redraw
from ringroad.kernel.errors import Unavailable
from ringroad.ship.reason_words import reason_words

INTERVAL_S: Final = 1.0  # seconds between two looks
SILENT_LOOKS_MAX: Final = 30  # looks in a row without an answer until we give up; a restart takes a few
SAID_AGAIN_LOOKS: Final = (
    15  # looks in which nothing changed before it is said again, so that a log shows life
)
ENDED: Final = frozenset({"halted", "aborted", "finished"})


def watch_campaign(shell: Shell, client: Client, campaign_id: str) -> int:
    """Show progress until the campaign ends, and return the exit status.

    A terminal shows the waves in place; elsewhere, or with TERM=dumb, each change is a line.

    Raises:
        Unavailable: the server does not answer for half a minute.
    """
    in_place = can_redraw(sys.stdout) and not shell.json
    height, shown, silent, same = 0, "", 0, 0
    while True:
        try:
            row = client.get(f"/campaigns/{campaign_id}")
            waves = client.get(f"/campaigns/{campaign_id}/progress")
            decisions = client.get(f"/campaigns/{campaign_id}/gate-decisions", limit=1)
            silent = 0
        except Unavailable:
            silent += 1
            if silent >= SILENT_LOOKS_MAX:
                raise
            time.sleep(INTERVAL_S)
            continue
        text = "\n".join(
            part for part in (progress_line(row), waves_text(waves), gate_text(decisions, last=True)) if part
        )
        if in_place:
            height = _redraw(text, height)
        elif (text != shown or same >= SAID_AGAIN_LOOKS) and not shell.json:
            click.echo(
                f"{shell.clock.now():%H:%M:%S}  {progress_line(row)}{_states(waves)}{_waits(decisions)}"
            )
            same = 0
        shown, same = text, same + 1
        if row["state"] in ENDED:
            if shell.json:
                shell.show(row | {"waves": waves, "gate": decisions}, text="")
            return 0 if row["state"] == "finished" else EXIT_NO
        time.sleep(INTERVAL_S)


def progress_line(row: Mapping[str, Any]) -> str:
    """Return where a campaign stands, in a line."""
    reason = f" ({reason_words(row['state_reason'])})" if row["state_reason"] else ""
    stored = f"{row['downloaded']} downloaded, " if row["downloaded"] else ""
    stored += f"{row['claimed']} claimed, " if row["claimed"] else ""
    let_go = f", {row['cancelled']} {cancelled_word(row)}" if row.get("cancelled") else ""
    counts = f"{installed_text(row, of=True)}, {stored}{failed_text(row)}{let_go}"
    return f"{row['name']}: {row['state']}{reason}, wave {row['wave']}, {counts}"


def _states(waves: list[Mapping[str, Any]]) -> str:
    open_ = {"offered": 0, "active": 0, "claimed": 0, "cancelling": 0}
    for wave in waves:
        if wave["state"] in open_:
            open_[wave["state"]] += wave["vehicles"]
    words = [f"{count} {state}" for state, count in open_.items() if count]
    return f"; {', '.join(words)}" if words else ""


def _waits(decisions: list[Mapping[str, Any]]) -> str:
    """Say what the gate waits for."""
    held = [each["reason"] for each in decisions[:1] if each["decision"] == "hold" and each["reason"]]
    return f"; the gate waits: {reason_words(held[0])}" if held else ""


def _redraw(text: str, height: int) -> int:
    """Write over the lines of the last look, and return how many there are now."""
    up = f"\x1b[{height}A" if height else ""
    lines = text.split("\n")
    click.echo(up + "".join(f"\r\x1b[2K{line}\n" for line in lines) + "\x1b[J", nl=False)
    return len(lines)
