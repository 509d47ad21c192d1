"""Options out of the settings' table, for the commands of the server."""

from __future__ import annotations

from collections.abc import Callable

import click

from holdfast.cli.failure import Command, NotDone
from holdfast.config import SETTINGS, ConfigError, Effective, Setting, load


def settings_options(names: frozenset[str] | None = None) -> Callable[[Command], Command]:
    """The DATA argument, --config and an option for each setting (or only those `names`)."""

    def decorate(command: Command) -> Command:
        for setting in reversed(SETTINGS):
            if setting.argument:
                command = click.argument(setting.name, required=False, metavar="[DATA]")(command)
            elif setting.flag and (names is None or setting.name in names):
                command = _option(setting)(command)
        file = click.option(
            "--config", "config_file", metavar="FILE", help="TOML file of settings."
        )
        return file(command)

    return decorate


def _option(setting: Setting) -> Callable[[Command], Command]:
    default = setting.show(setting.default)
    text = setting.help + (f" [default: {default}]" if default else "")
    if setting.kind == "switch":
        flags = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        return click.option(flags, setting.name, default=None, help=text)
    metavar = "|".join(setting.choices) or setting.kind.upper()
    if setting.kind == "list":
        return click.option(
            setting.flag, setting.name, multiple=True, metavar="TEXT", help=text + " Repeatable."
        )
    return click.option(setting.flag, setting.name, default=None, metavar=metavar, help=text)


def load_settings(config_file: str | None, flags: dict[str, object]) -> Effective:
    """Raises NotDone."""
    try:
        return load(flags, config_file=config_file)
    except ConfigError as error:
        raise NotDone(str(error)) from None
