"""`ringroad campaign`: Campaigns."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("campaign", cls=ClientGroup)
def group() -> None:
    """Campaigns."""
