"""What the programs say, collected as a table: a row a step, a column an SDK.

A program's lines: "version VERSION", then one a step: "ok STEP", "skip STEP: why" or
"FAIL STEP: why". All other lines are kept and shown when the program does not come to its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Column as TableColumn
from rich.table import Table

OTHER_LINES_SHOWN_MAX = 30
_LINE = re.compile(r"(ok|skip|FAIL) ([^:]+)(?:: (.*))?")
_VERSION = re.compile(r"version (\S+)")


@dataclass
class Column:
    """One program over one transport."""

    sdk: str
    transport: str
    version: str = ""
    #: step -> its word and why
    steps: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: why the program as a whole failed
    broken: str = ""

    @property
    def title(self) -> str:
        return f"{self.sdk} {self.transport}"

    @property
    def passed(self) -> bool:
        words = [word for word, _ in self.steps.values()]
        return not self.broken and "ok" in words and "FAIL" not in words

    def take(self, lines: Iterable[str]) -> Iterable[str]:
        """Note what each line says; the lines that a person wants to see at once."""
        other: list[str] = []
        for line in lines:
            if found := _LINE.fullmatch(line):
                self.steps[found[2]] = (found[1], found[3] or "")
                yield line
            elif found := _VERSION.fullmatch(line):
                self.version = found[1]
            else:
                other = [*other, line][-OTHER_LINES_SHOWN_MAX:]
        if not self.passed:
            yield from other


def show(columns: list[Column]) -> None:
    """The table, then every failure and skip in words."""
    by_sdk: dict[str, list[Column]] = {}
    for column in columns:
        by_sdk.setdefault(column.sdk, []).append(column)
    table = Table(TableColumn("step", no_wrap=True), box=box.SIMPLE)
    for sdk, group in by_sdk.items():
        transports = _cells(column.transport for column in group)
        table.add_column(f"{sdk}\n{group[0].version}\n{transports}", no_wrap=True)
    for step in dict.fromkeys(step for column in columns for step in column.steps):
        words = (
            _cells(column.steps.get(step, ("-", ""))[0] for column in group)
            for group in by_sdk.values()
        )
        table.add_row(step, *words)
    table.add_section()
    results = (
        _cells("pass" if column.passed else "FAIL" for column in group) for group in by_sdk.values()
    )
    table.add_row("all", *results)
    Console(highlight=False).print(table)
    for column in columns:
        for step, (word, why) in column.steps.items():
            if word != "ok":
                print(f"{column.title}, {step}: {word}: {why}")
        if column.broken:
            print(f"{column.title}: {column.broken}")
        elif not column.steps:
            print(f"{column.title}: the program showed nothing")


def _cells(words: Iterable[str]) -> str:
    return "".join(f"{word:<5}" for word in words).rstrip()
