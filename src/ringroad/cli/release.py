"""`ringroad release`: Releases."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("release", cls=ClientGroup)
def group() -> None:
    """Releases."""
