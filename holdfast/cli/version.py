"""`holdfast version`."""

from __future__ import annotations

import click

from holdfast import __version__


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"holdfast {__version__}")
