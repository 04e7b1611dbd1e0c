"""`ringroad lap`: Laps and lead times."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("lap", cls=ClientGroup)
def group() -> None:
    """Laps and lead times."""
