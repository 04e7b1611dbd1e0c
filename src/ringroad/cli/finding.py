"""`ringroad finding`: Findings."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("finding", cls=ClientGroup)
def group() -> None:
    """Findings."""
