"""Sends a file and shows how far it is, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.tables import can_redraw
from ringroad.kernel.errors import InvalidInput

BAR_BYTES_MIN = 2 * 1024**2  # bytes; a smaller file is there before a bar is drawn


def check_file(file: Path) -> None:
    """Refuse a file that cannot be read, before anything is asked of the server. Raises: InvalidInput."""
    try:
        with file.open("rb"):
            return
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error


def upload(
    client: Client, path: str, file: Path, *, query: Mapping[str, object], method: str = "POST"
) -> Any:
    """Send a file as the body of a request.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        with file.open("rb") as source:
            size_bytes = file.stat().st_size
            if size_bytes <= BAR_BYTES_MIN or not can_redraw(sys.stderr):
                return client.upload(
                    path, source, size_bytes=size_bytes, progress=_quiet, query=query, method=method
                )
            with click.progressbar(length=size_bytes, label=file.name, file=sys.stderr) as bar:
                return client.upload(
                    path, source, size_bytes=size_bytes, progress=bar.update, query=query, method=method
                )
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error


def _quiet(_size_bytes: int) -> None:
    """Say nothing."""
