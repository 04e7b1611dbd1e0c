"""`ringroad order`: Orders."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("order", cls=ClientGroup)
def group() -> None:
    """Orders."""
