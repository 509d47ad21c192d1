"""Pages of a large bucket, and what finding an object in it costs: `python -m bench.listings`.

Three buckets besides the bench's own, filled once and used again:
- BUCKET-keys-KEYS: --keys objects in folders of 1,000, so a million keys are a thousand common prefixes;
- BUCKET-versions: a tenth as many keys, with versioning, in folders of 100; every key of every second
  folder has 5 versions;
- BUCKET-noncurrent: as many keys as a page has, each with 100 noncurrent versions;
- BUCKET-alone: one key, to compare a HEAD with.
One connection asks for one kind of page after the other, for a short time each, again and again, so
that a noisy moment hits a little of everything. The content of each kind is checked before.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench import machine, memory
from bench.endpoint import Endpoint, EndpointError, parse_endpoint
from bench.fill import refuse_errors
from bench.load import run_load
from bench.pages import (
    AT_ROOT,
    FLAT,
    KEY_OBJECT_BYTES,
    PAGE_KEYS_MAX,
    VERSIONS,
    VERSIONS_PER_KEY,
    Pairs,
    Row,
    fill_bucket,
    listed_keys,
)
from bench.report import percentile
from bench.requests import Objects, folder_key

VERSIONED_FOLDER_KEYS = 100
NONCURRENT_VERSIONS = 100
KEYS_MAX = 10_000_000
_REQUESTS_MAX = 1000


@dataclass
class Figures:
    """Of one row and endpoint, a number for each turn. Milliseconds."""

    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    #: user and system time of the server's processes for each request; empty without --pid
    cpu_ms: list[float] = field(default_factory=list)


class Plan:
    """What is put and what is asked, for so many keys and such pages."""

    def __init__(self, bucket: str, keys: int, page: int) -> None:
        self.bucket = bucket
        self._keys = keys
        self._page = page
        pair = 2 * VERSIONED_FOLDER_KEYS
        #: keys in the bucket with versions: whole pairs of folders, enough for a page behind any
        self._versioned = max(keys // 10, 2 * page) // pair * pair or pair

    def objects(self) -> list[Objects]:
        again = self._versioned // 2 * (VERSIONS_PER_KEY - 1)
        return [
            listed_keys(self.bucket, self._keys),
            self._objects("versions", self._versioned + again, self._versioned_key),
            self._objects(
                "noncurrent", self._page * (NONCURRENT_VERSIONS + 1), self._noncurrent_key
            ),
            self._objects("alone", 1, folder_key),
        ]

    def versioned_buckets(self) -> list[str]:
        return [f"{self.bucket}-versions", f"{self.bucket}-noncurrent"]

    def rows(self) -> list[Row]:
        keys, versions = (
            f"/{listed_keys(self.bucket, self._keys).bucket}",
            f"/{self.bucket}-versions",
        )
        noncurrent = f"/{self.bucket}-noncurrent"
        plain = self._flat("ListObjectsV2", keys, self._keys, self._named)
        of_plain = self._flat("ListObjectVersions", keys, self._keys, self._named, VERSIONS)
        everything = self._flat(
            "ListObjectVersions, some of 5", versions, self._versioned, self._all_named, VERSIONS
        )
        current = self._flat(
            "ListObjectsV2, some of 5", versions, self._versioned, self._versioned_named
        )
        return [
            *plain,
            self._rolled_up("ListObjectsV2", keys, self._keys // 1000, FLAT),
            self._in_folders(keys),
            *of_plain,
            self._rolled_up("ListObjectVersions", keys, self._keys // 1000, VERSIONS),
            *everything,
            self._rolled_up(
                "ListObjectVersions, some of 5",
                versions,
                self._versioned // VERSIONED_FOLDER_KEYS,
                VERSIONS,
            ),
            current[1],
            Row(
                f"ListObjectsV2, each with {NONCURRENT_VERSIONS} noncurrent versions",
                "GET",
                [(noncurrent, (FLAT, self._limit))],
                [folder_key(number) for number in range(self._page)],
            ),
            self._head(f"HEAD of one of {self._keys:,} keys", keys, self._keys),
            self._head("HEAD of the only key", f"/{self.bucket}-alone", 1),
        ]

    # -- keys ----------------------------------------------------------------------------------

    def _objects(self, name: str, count: int, key_of: Callable[[int], str]) -> Objects:
        return Objects(f"{self.bucket}-{name}", "", KEY_OBJECT_BYTES, count, key_of)

    def _versioned_key(self, number: int) -> str:
        """Every key once, then those of every second folder again."""
        if number >= self._versioned:
            folder, rest = divmod(
                (number - self._versioned) % (self._versioned // 2), VERSIONED_FOLDER_KEYS
            )
            number = (2 * folder + 1) * VERSIONED_FOLDER_KEYS + rest
        return _versioned_key(number)

    def _noncurrent_key(self, number: int) -> str:
        return folder_key(number % self._page)

    # -- rows ----------------------------------------------------------------------------------

    @property
    def _limit(self) -> tuple[str, str]:
        return "max-keys", str(self._page)

    def _flat(
        self,
        title: str,
        path: str,
        count: int,
        names: Callable[[int], list[str]],
        kind: tuple[str, str] = FLAT,
    ) -> list[Row]:
        """Full pages behind a key: at the start, in the middle, and the last there are."""
        key_of = folder_key if names == self._named else _versioned_key
        after = "key-marker" if kind == VERSIONS else "start-after"
        last = count - 1 - self._page
        spread = max(1, min(_REQUESTS_MAX, last // 3))
        firsts = {"start": 0, "middle": last // 2, "end": last - spread + 1}
        return [
            Row(
                f"{title}, {where}",
                "GET",
                [
                    (path, (kind, self._limit, (after, key_of(number))))
                    for number in range(first, first + spread)
                ],
                names(first + 1),
            )
            for where, first in firsts.items()
        ]

    def _named(self, first: int) -> list[str]:
        return [folder_key(number) for number in range(first, first + self._page)]

    def _versioned_named(self, first: int) -> list[str]:
        return [_versioned_key(number) for number in range(first, first + self._page)]

    def _all_named(self, first: int) -> list[str]:
        names: list[str] = []
        for number in itertools.count(first):
            names += [_versioned_key(number)] * _versions_of(number)
            if len(names) >= self._page:
                return names[: self._page]
        raise AssertionError

    def _rolled_up(self, title: str, path: str, folders: int, kind: tuple[str, str]) -> Row:
        names = [f"{number:05d}/" for number in range(min(self._page, max(1, folders)))]
        pairs = (kind, self._limit, AT_ROOT)
        return Row(f"{title}, delimiter at the root", "GET", [(path, pairs)], names, True)

    def _in_folders(self, path: str) -> Row:
        folders = max(1, self._keys // 1000)
        targets: list[tuple[str, Pairs]] = [
            (path, (FLAT, self._limit, AT_ROOT, ("prefix", f"{number:05d}/")))
            for number in range(min(folders, _REQUESTS_MAX))
        ]
        names = [folder_key(number) for number in range(min(self._page, self._keys))]
        return Row("ListObjectsV2, delimiter in a folder", "GET", targets, names)

    def _head(self, title: str, path: str, count: int) -> Row:
        numbers = random.Random(count).sample(range(count), min(count, _REQUESTS_MAX))
        return Row(title, "HEAD", [(f"{path}/{folder_key(n)}", ()) for n in numbers], [])


def _versioned_key(number: int) -> str:
    return f"{number // VERSIONED_FOLDER_KEYS:05d}/{number:08d}"


def _versions_of(number: int) -> int:
    return VERSIONS_PER_KEY if number // VERSIONED_FOLDER_KEYS % 2 else 1


def prepare(endpoint: Endpoint, plan: Plan, say: Callable[[str], None]) -> None:
    """Make and fill the buckets that are not there yet. Raises EndpointError."""
    endpoint.make_bucket(plan.bucket)
    for objects in plan.objects():
        versioned = objects.bucket in plan.versioned_buckets()
        fill_bucket(endpoint, plan.bucket, objects, say, versioned=versioned)


def measure(
    endpoint: Endpoint, row: Row, seconds: float, pid: int | None, figures: Figures
) -> None:
    """One turn. Raises EndpointError when any answer was not as it should be."""
    cpu = memory.cpu_seconds(pid) if pid else 0.0
    outcome = run_load(
        endpoint.address,
        row.requests(endpoint),
        row.expectation(),
        connections=1,
        seconds=seconds,
    )
    refuse_errors(endpoint, row.title, outcome)
    if not outcome.answered:
        raise EndpointError(f"{endpoint.name}: {row.title}: no answer")
    took = sorted(outcome.latencies)
    figures.p50_ms.append(percentile(took, 50) * 1000)
    figures.p99_ms.append(percentile(took, 99) * 1000)
    if pid:
        figures.cpu_ms.append((memory.cpu_seconds(pid) - cpu) / outcome.answered * 1000)


def run(
    endpoints: list[Endpoint],
    plan: Plan,
    *,
    seconds: float,
    repeat: int,
    pids: dict[str, int],
    say: Callable[[str], None],
) -> dict[tuple[str, str], Figures]:
    """Prepare and check all, then measure in turns: figures by title and endpoint.

    Raises EndpointError, OSError."""
    rows = plan.rows()
    for endpoint in endpoints:
        prepare(endpoint, plan, say)
        for row in rows:
            row.check(endpoint)
    os.sync()
    found: dict[tuple[str, str], Figures] = {}
    for turn in range(repeat):
        say(f"turn {turn + 1} of {repeat}, load average {machine.load_average()}")
        for row in rows:
            for place in range(len(endpoints)):
                endpoint = endpoints[(turn + place) % len(endpoints)]
                figures = found.setdefault((row.title, endpoint.name), Figures())
                measure(endpoint, row, seconds, pids.get(endpoint.name), figures)
    return found


def _table(found: dict[tuple[str, str], Figures], names: list[str]) -> Table:
    table = Table(title="[bold]One connection, medians of the turns", title_justify="left")
    table.add_column("request")
    for name in names:
        for column in (f"{name} p50 ms", "from - to", "p99 ms", "server CPU ms"):
            table.add_column(column, justify="right")
    for title in dict.fromkeys(title for title, _ in found):
        cells: list[str] = []
        for name in names:
            one = found[title, name]
            cells += [
                f"{statistics.median(one.p50_ms):.2f}",
                f"{min(one.p50_ms):.2f} - {max(one.p50_ms):.2f}",
                f"{statistics.median(one.p99_ms):.2f}",
                f"{statistics.median(one.cpu_ms):.2f}" if one.cpu_ms else "",
            ]
        table.add_row(title, *cells)
    return table


def _read_pids(texts: tuple[str, ...], names: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in texts:
        name, _, pid = text.partition("=")
        if name not in names or not pid.isdigit() or not memory.process_tree(int(pid)):
            raise click.BadParameter(f"want NAME=PID of a running server, got {text!r}")
        found[name] = int(pid)
    return found


@click.command(context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]})
@click.option("--endpoint", "texts", multiple=True, required=True,
              metavar="NAME=http://HOST:PORT,ACCESS,SECRET", help="Repeat it to compare.")  # fmt: skip
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--keys", type=click.IntRange(100, KEYS_MAX), default=1_000_000, show_default=True)
@click.option(
    "--page", type=click.IntRange(1, PAGE_KEYS_MAX), default=PAGE_KEYS_MAX, show_default=True
)
@click.option("--seconds", type=click.FloatRange(0.01, 60), default=1.0, show_default=True,
              help="Of each kind of request in each turn.")  # fmt: skip
@click.option("--repeat", type=click.IntRange(1, 100), default=5, show_default=True, help="Turns.")
@click.option("--bucket", default="holdfast-bench", show_default=True, help="And BUCKET-keys, ….")
@click.option("--pid", multiple=True, metavar="NAME=PID",
              help="The server's first process: tells the CPU time of its tree.")  # fmt: skip
@click.option("--clean", is_flag=True, help="Remove the bench's buckets at the end.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(
    texts: tuple[str, ...],
    region: str,
    keys: int,
    page: int,
    seconds: float,
    repeat: int,
    bucket: str,
    pid: tuple[str, ...],
    clean: bool,
    json_file: Path | None,
) -> None:
    """Fill buckets once, then time pages of them at the start, in the middle and at the end, with
    and without delimiter, of objects and of versions, and HEAD beside that of a bucket with one key.
    """
    if keys < 3 * page:
        raise click.UsageError(f"pages of {page} keys need at least {3 * page} --keys")
    try:
        endpoints = [parse_endpoint(text, region, allow_remote=False) for text in texts]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--endpoint") from None
    names = [endpoint.name for endpoint in endpoints]
    pids = _read_pids(pid, names)
    plan = Plan(bucket, keys, page)
    before = machine.load_average()
    try:
        found = run(
            endpoints,
            plan,
            seconds=seconds,
            repeat=repeat,
            pids=pids,
            say=lambda text: click.echo(text, err=True),
        )
        if clean:
            for endpoint in endpoints:
                remove(endpoint, plan)
    except (EndpointError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"load average before {before}, after {machine.load_average()}")
    Console(width=None if sys.stdout.isatty() else 140).print(_table(found, names))
    if json_file is not None:
        rows = [
            {"request": title, "endpoint": name, **asdict(figures)}
            for (title, name), figures in found.items()
        ]
        json_file.write_text(
            json.dumps({"keys": keys, "page": page, "rows": rows}, indent=1) + "\n"
        )


def remove(endpoint: Endpoint, plan: Plan) -> None:
    """The buckets with all that is in them; the one with the marks first."""
    for bucket in (plan.bucket, *(objects.bucket for objects in plan.objects())):
        endpoint.remove_bucket(bucket, versions=bucket in plan.versioned_buckets())


if __name__ == "__main__":
    main(prog_name="python -m bench.listings")
