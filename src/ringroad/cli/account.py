"""`ringroad account`: Accounts and tokens."""

from __future__ import annotations

import click

from ringroad.cli.groups import ClientGroup


@click.group("account", cls=ClientGroup)
def group() -> None:
    """Accounts and tokens."""
