"""What a command says: text for people, one JSON object a line for programs.

Rule: results on standard output, everything else on standard error. Text has no control characters of
a key's; colour only on a terminal, without NO_COLOR (no-color.org) and --no-color.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Output:
    def __init__(self, *, json: bool = False, color: bool = True) -> None:
        self.json = json
        wanted = color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.color = wanted
        self._styled = wanted and sys.stdout.isatty()
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="surrogateescape")
        if json:
            from json import dumps

            self._dumps = dumps

    def record(self, fields: Mapping[str, Any], text: str) -> None:
        """One result: its fields, or its line."""
        line = self._dumps(fields, default=_plain) if self.json else text
        sys.stdout.write(f"{line}\n")

    def style(self, text: str, name: str) -> str:
        return click.style(text, fg=name) if self._styled and text else text

    def dim(self, text: str) -> str:
        return click.style(text, dim=True) if self._styled and text else text


def _plain(value: object) -> str:
    return iso(value) if isinstance(value, datetime) else str(value)


def say(text: str) -> None:
    """To people, beside the results."""
    click.echo(f"holdfast: {printable(text)}", err=True)


def printable(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local_time(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def human(size: float) -> str:
    """4096 is "4.0 KiB"."""
    for unit in _UNITS[:-1]:
        if abs(size) < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"


def of_total(done: float, total: float | None) -> str:
    """1024 of 4096 is "1.0/4.0 KiB"."""
    if total is None:
        return human(done)
    size, step = total, 1
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size, step = size / 1024, step * 1024
    return f"{done:.0f}/{total:.0f} B" if step == 1 else f"{done / step:.1f}/{size:.1f} {unit}"


def count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE).fullmatch
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(s|m|h|d|w|y)?").fullmatch
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


if TYPE_CHECKING:
    IntType = click.ParamType[int]
    FloatType = click.ParamType[float]
else:  # older clicks have no parameter there
    IntType = FloatType = click.ParamType


class Size(IntType):
    """10M, 1.5GiB, 4096: bytes, by 1024."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: object) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE(str(value))
        if match is None:
            raise click.UsageError(f"{value}: give a size such as 4096, 10M or 1.5GiB")
        unit = match[2].lower()
        return int(float(match[1]) * 1024 ** (" kmgtp".index(unit) if unit else 0))


class Duration(FloatType):
    """90s, 15m, 12h, 30d: seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: object) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        match = _DURATION(str(value))
        if match is None:
            raise click.UsageError(f"{value}: give a time such as 90s, 15m, 12h or 30d")
        return float(match[1]) * _SECONDS[match[2] or "s"]


SIZE = Size()
DURATION = Duration()
