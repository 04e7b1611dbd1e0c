"""`ringroad change`: Changes."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("change", cls=ClientGroup)
def group() -> None:
    """Changes."""
