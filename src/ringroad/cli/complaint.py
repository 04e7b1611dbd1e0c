"""`ringroad complaint`: Complaints."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("complaint", cls=ClientGroup)
def group() -> None:
    """Complaints."""
