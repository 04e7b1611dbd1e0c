"""Runs a program of this computer for an agent, for a bounded time; what it says goes into the agent's answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OUTPUT_BYTES_MAX: Final = 1 << 20  # kept of what a program said; the last of it
TOLD_BYTES: Final = 500  # of what a program said last, kept for people


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: its exit status (-1: it could not be started or took too long), and all it said."""

    status: int
    output: str

    @property
    def good(self) -> bool:
        """Whether it ended with 0."""
        return self.status == 0

    @property
    def told(self) -> str:
        """What it said last, for people."""
        last = self.output.strip()[-TOLD_BYTES:]
        return last or f"exit status {self.status}"


async def run_command(
    command: Sequence[str],
    *,
    within_s: float,
    folder: Path,
    env: Mapping[str, str] | None = None,
    line: Callable[[str], None] | None = None,
) -> Ended:
    """Run a program to its end, in a process group of its own, which ends with it.

    Args:
        command: program and arguments; no shell.
        within_s: after which it is ended and counts as failed.
        folder: it runs in.
        env: added to this process's environment.
        line: told of each line that it prints.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return Ended(status=-1, output=f"{command[0]}: {error.strerror}")
    output = bytearray()
    try:
        async with asyncio.timeout(within_s):
            while chunk := await _read(process, line):
                output += chunk
                del output[:-OUTPUT_BYTES_MAX]
            await process.wait()
    except TimeoutError:
        return Ended(status=-1, output=f"{command[0]} took longer than {within_s:g} s")
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return Ended(status=process.returncode or 0, output=output.decode(errors="replace"))


async def _read(process: asyncio.subprocess.Process, line: Callable[[str], None] | None) -> bytes:
    """Return the next of what a program says; empty at its end."""
    out = process.stdout
    if out is None:
        return b""
    if line is None:
        return await out.read(65_536)
    try:
        text = await out.readline()
    except ValueError:  # a line longer than the stream's limit
        return await out.read(65_536)
    if text:
        line(text.decode(errors="replace"))
    return text
