"""How commands fail: one line on standard error, and the status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]


class Failure(click.ClickException):
    """Ends the command with one line that says why."""

    def show(self, file: Any = None) -> None:
        click.echo(f"holdfast: {self.message}", err=True)


class NotDone(Failure):
    """The command could not even begin: a wrong setting, or nothing to check."""

    exit_code = 2
