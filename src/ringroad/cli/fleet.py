"""`ringroad fleet`: Vehicles in the field."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("fleet", cls=ClientGroup)
def group() -> None:
    """Vehicles in the field."""
