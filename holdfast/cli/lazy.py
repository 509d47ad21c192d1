"""A group whose commands are imported when they are used, out of one table.

Rule: starting a command imports that command only. The table's short texts are what `holdfast --help`
prints; a test holds them equal to the first lines of the commands' own help.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

INTERRUPTED = 130


class Lazy(NamedTuple):
    """`where` is "module:attribute"."""

    where: str
    section: str
    help: str


class LazyGroup(click.Group):
    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._lazy.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.where.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self._lazy, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"{error.message}{hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self._lazy.items():
            sections.setdefault(entry.section, []).append((name, entry.help))
        width = max(map(len, self._lazy))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:{width}}", text) for name, text in rows])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            text = f"{error.format_message()} A command's options stand behind its name."
            raise click.UsageError(text, ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if example := _example(error.ctx):
                text = f"{error.format_message()}\n\nExample: {example}"
                raise click.UsageError(text, error.ctx) from None
            raise
        except KeyboardInterrupt:
            click.echo("\nholdfast: interrupted", err=True)
            sys.exit(INTERRUPTED)


def _example(ctx: click.Context | None) -> str:
    """The first one of a command's help, "" where it has none."""
    if ctx is None or isinstance(ctx.command, click.Group):
        return ""
    _, _, rest = (ctx.command.help or "").partition("Examples:\n")
    return rest.strip().partition("\n")[0].strip()
