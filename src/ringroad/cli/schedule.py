"""`ringroad schedule`: The line's schedule."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("schedule", cls=ClientGroup)
def group() -> None:
    """The line's schedule."""
