"""`ringroad package`: Software packages."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("package", cls=ClientGroup)
def group() -> None:
    """Software packages."""
