"""One table: kind of error to exit status. And how an error looks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import click

from ringroad.kernel.errors import RingroadError

EXIT_STATUS: Mapping[str, int] = MappingProxyType(
    {
        "error": 1,
        "invalid_input": 2,  # also what click exits with for a wrong command line
        "not_found": 3,
        "conflict": 4,
        "forbidden": 5,
        "untrusted": 6,
        "unavailable": 7,
        "corrupt": 8,
    }
)

EXIT_WAITING: Final = 9  # no error: a vehicle was asked, and has not answered


def exit_status(error: RingroadError) -> int:
    """Return the exit status of an error."""
    return EXIT_STATUS[error.kind]


def print_error(error: RingroadError, *, as_json: bool) -> None:
    """Write an error to standard error: what happened, and what to do about it."""
    if as_json:
        fields = {"kind": error.kind, "code": error.code, "message": error.message, "hint": error.hint}
        click.echo(json.dumps({"error": fields}, ensure_ascii=False), err=True)
        return
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
