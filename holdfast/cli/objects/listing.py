"""`ls`, `find`, `du`, `tree`: what is there, in buckets and in local directories."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.failure import Failure
from holdfast.cli.objects.connection import Connection, object_options
from holdfast.cli.objects.output import (
    DURATION,
    SIZE,
    Output,
    count,
    human,
    iso,
    local_time,
    printable,
)
from holdfast.cli.objects.places import (
    PLACE,
    Filters,
    Local,
    Place,
    Remote,
    has_pattern,
    matcher,
    meant,
)

if TYPE_CHECKING:
    from holdfast.cli.objects.plan import Entry
    from holdfast.client.models import ListEntry
    from holdfast.client.store import ObjectStore

_BYTES = click.option("--bytes", "exact", is_flag=True, help="Sizes in bytes.")
_NAME_CHARACTERS = 10


@click.command("ls")
@click.argument("places", nargs=-1, type=PLACE, metavar="[PLACE]...")
@click.option("-r", "--recursive", is_flag=True, help="All below, not one level.")
@_BYTES
@object_options
def ls(
    connection: Connection,
    output: Output,
    places: tuple[Place, ...],
    recursive: bool,
    exact: bool,
) -> None:
    """List buckets, or what is in one.

    \b
    Examples:
      holdfast ls
      holdfast ls s3://docs/2026/
      holdfast ls -r s3://docs --bytes
      holdfast ls 's3://logs/**/*.gz' --json | jq -r .url
    """
    rows = _Rows(output, exact)
    with connection.store() as store:
        for place in places or (Remote("", ""),):
            if isinstance(place, Local):
                _list_local(rows, place, recursive)
            elif not place.bucket:
                for bucket in store.list_buckets():
                    rows.bucket(bucket.name, bucket.created)
            else:
                for listed in _listed(store, place, recursive):
                    rows.listed(place, listed)


class _Rows:
    def __init__(self, output: Output, exact: bool) -> None:
        self._output = output
        self._exact = exact

    def size(self, size: int) -> str:
        return str(size) if self._exact else human(size)

    def _row(self, fields: dict[str, Any], when: datetime | None, size: str, name: str) -> None:
        out = self._output
        if out.json:
            out.record(fields, "")
            return
        head = out.dim(f"{local_time(when):19}")
        out.record(fields, f"{head}  {size:>{_NAME_CHARACTERS}}  {name}")

    def bucket(self, name: str, created: datetime | None) -> None:
        shown = self._output.style(f"s3://{name}", "blue")
        self._row(
            {
                "type": "bucket",
                "url": f"s3://{name}",
                "bucket": name,
                "created": iso(created) if created else "",
            },
            created,
            "",
            shown,
        )

    def listed(self, place: Remote, entry: ListEntry) -> None:
        url = f"s3://{place.bucket}/{entry.key}"
        fields: dict[str, Any] = {"url": url, "bucket": place.bucket, "key": entry.key}
        if entry.is_prefix:
            name = self._output.style(printable(_below(place, entry.key)), "blue")
            self._row({"type": "prefix"} | fields, None, "PREFIX", name)
            return
        fields = (
            {"type": "object"}
            | fields
            | {
                "size": entry.size,
                "last_modified": iso(entry.last_modified) if entry.last_modified else "",
                "etag": entry.etag,
                "storage_class": entry.storage_class,
            }
        )
        self._row(
            fields, entry.last_modified, self.size(entry.size), printable(_below(place, entry.key))
        )

    def local(self, path: str, size: int | None, modified: float) -> None:
        fields: dict[str, Any] = {"type": "directory" if size is None else "file", "path": path}
        when = datetime.fromtimestamp(modified, UTC)
        if size is not None:
            fields |= {"size": size, "last_modified": iso(when)}
        shown = "PREFIX" if size is None else self.size(size)
        self._row(fields, when, shown, printable(path))


def _below(place: Remote, key: str) -> str:
    """The name below the "directory" that was asked for."""
    return key.removeprefix(place.directory().key) or key


def _listed(store: ObjectStore, place: Remote, recursive: bool) -> Iterator[ListEntry]:
    """What a name stands for: a pattern's matches, a "directory", else the object. Raises NoSuchKey."""
    from holdfast.client.errors import NoSuchKey

    bucket, key = place
    if has_pattern(key):
        matches = matcher(key.removesuffix("/"))
        yield from (
            entry
            for entry in _candidates(store, bucket, key)
            if matches(entry.key.removesuffix("/"))
        )
        return
    delimiter = "" if recursive else "/"
    empty = True
    for entry in store.list_objects(bucket, place.directory().key, delimiter=delimiter):
        empty = False
        yield entry
    if not empty or not key:
        return
    found = None if place.is_directory else next(store.list_objects(bucket, key, limit=1), None)
    if found is None or found.key != key:
        raise NoSuchKey(resource=f"{bucket}/{key}")
    yield found


def _candidates(store: ObjectStore, bucket: str, pattern: str) -> Iterator[ListEntry]:
    """Where only the last name is a pattern without `**`, one level is enough."""
    from holdfast.cli.objects.places import static_prefix

    prefix = static_prefix(pattern)
    one_level = "/" not in pattern.removesuffix("/")[len(prefix) :] and "**" not in pattern
    return store.list_objects(bucket, prefix, delimiter="/" if one_level else "")


def _list_local(rows: _Rows, place: Local, recursive: bool) -> None:
    path = place.path
    _check_there(place)
    if recursive:
        for entry in _walked(place):
            rows.local(str(entry.place), entry.size, entry.modified_ns / 1e9)
    elif os.path.isdir(path):
        with os.scandir(path) as found:
            for item in sorted(found, key=lambda item: item.name):
                status = item.stat(follow_symlinks=False)
                size = None if item.is_dir() else status.st_size
                rows.local(item.path + ("/" if size is None else ""), size, status.st_mtime)
    else:
        status = os.stat(path)
        rows.local(path, status.st_size, status.st_mtime)


def _check_there(place: Local) -> None:
    """Raises Failure for what was perhaps meant as a bucket."""
    if "/" not in place.path and not os.path.exists(place.path):
        raise Failure(f"{place}: no such file here; a bucket is named {meant(place.path)}")


def _walked(place: Local, filters: Filters | None = None) -> Iterator[Entry]:
    from holdfast.cli.objects.plan import walk

    def fail(error: OSError) -> None:
        raise error

    _check_there(place)
    yield from walk(place.path, filters or Filters(), fail)


def _entries(store: ObjectStore, place: Place, filters: Filters | None = None) -> Iterator[Entry]:
    """All below a place."""
    from holdfast.cli.objects.plan import below, matching

    filters = filters or Filters()
    if isinstance(place, Local):
        yield from _walked(place, filters)
    elif not place.bucket:
        raise click.UsageError("give a bucket: s3://bucket")
    elif has_pattern(place.key):
        yield from matching(store, place, filters)
    else:
        yield from below(store, place.directory(), filters)


@click.command("find")
@click.argument("places", nargs=-1, required=True, type=PLACE, metavar="PLACE...")
@click.option("--name", metavar="PATTERN", help="The last part of the name matches.")
@click.option("--path", metavar="PATTERN", help="The whole name below PLACE matches; ** crosses /.")
@click.option("--larger", type=SIZE, metavar="SIZE", help="Larger than, e.g. 10M.")
@click.option("--smaller", type=SIZE, metavar="SIZE", help="Smaller than.")
@click.option("--older", type=DURATION, metavar="TIME", help="Last changed longer ago, e.g. 30d.")
@click.option("--newer", type=DURATION, metavar="TIME", help="Last changed less long ago.")
@click.option("-0", "--null", is_flag=True, help="End names with NUL, for xargs -0.")
@object_options
def find(connection: Connection, output: Output, places: tuple[Place, ...], **rest: Any) -> None:
    """Find objects by name, size and age.

    All conditions must hold. Local directories work, too.

    \b
    Examples:
      holdfast find s3://logs --name '*.gz' --older 30d
      holdfast find s3://backup/2026 --larger 1GiB --json
      holdfast find s3://logs --older 1y -0 | xargs -0 holdfast rm
    """
    name = matcher(rest["name"]) if rest["name"] else None
    path = matcher(rest["path"]) if rest["path"] else None
    now = time.time_ns()
    older = None if rest["older"] is None else now - int(rest["older"] * 1e9)
    newer = None if rest["newer"] is None else now - int(rest["newer"] * 1e9)
    larger, smaller = rest["larger"], rest["smaller"]
    with connection.store() as store:
        for place in places:
            for entry in _entries(store, place):
                if (
                    (name is None or name(entry.relative.rpartition("/")[2]))
                    and (path is None or path(entry.relative))
                    and (larger is None or entry.size > larger)
                    and (smaller is None or entry.size < smaller)
                    and (older is None or entry.modified_ns < older)
                    and (newer is None or entry.modified_ns > newer)
                ):
                    _print_found(output, entry, rest["null"])


def _print_found(output: Output, entry: Entry, null: bool) -> None:
    if null:
        click.echo(f"{entry.place}\0", nl=False)
        return
    when = datetime.fromtimestamp(entry.modified_ns / 1e9, UTC)
    fields: dict[str, Any]
    if isinstance(entry.place, Remote):
        fields = {"type": "object", "url": str(entry.place)}
        fields |= {"bucket": entry.place.bucket, "key": entry.place.key}
        fields |= {"etag": entry.etag, "storage_class": entry.storage_class}
    else:
        fields = {"type": "file", "path": entry.place.path}
    fields |= {"size": entry.size, "last_modified": iso(when)}
    output.record(fields, printable(str(entry.place)))


@click.command("du")
@click.argument("places", nargs=-1, type=PLACE, metavar="[PLACE]...")
@click.option(
    "-d",
    "--depth",
    type=click.IntRange(0, 100),
    default=0,
    metavar="N",
    help="Sums of N levels below as well.",
)
@_BYTES
@object_options
def du(
    connection: Connection, output: Output, places: tuple[Place, ...], depth: int, exact: bool
) -> None:
    """Sum up sizes: of every bucket, or of what is named.

    \b
    Examples:
      holdfast du
      holdfast du s3://backup -d 1
      holdfast du 's3://logs/**/*.gz' --bytes
    """
    rows = _Rows(output, exact)
    with connection.store() as store:
        named = places or tuple(Remote(b.name, "") for b in store.list_buckets())
        for place in named:
            for name, size, files in _sums(_entries(store, place), str(place), depth):
                fields = {"type": "sum", "url": name, "size": size, "files": files}
                text = f"{rows.size(size):>{_NAME_CHARACTERS}}  {count(files, 'file'):>13}  {printable(name)}"
                output.record(fields, text)


def _sums(entries: Iterator[Entry], name: str, depth: int) -> Iterator[tuple[str, int, int]]:
    """(name, bytes, files) of each level, the innermost first, as they end; keys are in order."""
    open_sums: list[list[Any]] = [[name, 0, 0]]
    path: list[str] = []
    for entry in entries:
        parts = entry.relative.split("/")[:-1][:depth]
        same = 0
        while same < min(len(parts), len(path)) and parts[same] == path[same]:
            same += 1
        yield from _closed(open_sums, same + 1)
        for part in parts[same:]:
            open_sums.append([f"{open_sums[-1][0].rstrip('/')}/{part}/", 0, 0])
        path = parts
        open_sums[-1][1] += entry.size
        open_sums[-1][2] += 1
    yield from _closed(open_sums, 0)


def _closed(open_sums: list[list[Any]], left: int) -> Iterator[tuple[str, int, int]]:
    while len(open_sums) > left:
        name, size, files = open_sums.pop()
        if open_sums:
            open_sums[-1][1] += size
            open_sums[-1][2] += files
        yield name, size, files


@click.command("tree")
@click.argument("place", type=PLACE)
@click.option("-L", "--depth", type=click.IntRange(1, 100), metavar="N", help="Levels to show.")
@click.option("-d", "--directories", is_flag=True, help="Prefixes only, no objects.")
@object_options
def tree(
    connection: Connection, output: Output, place: Place, depth: int | None, directories: bool
) -> None:
    """Draw what is there as a tree.

    \b
    Examples:
      holdfast tree s3://docs
      holdfast tree s3://backup/2026 -L 2
      holdfast tree s3://backup -d
    """
    drawing = _Tree(output, depth or 100, directories)
    with connection.store() as store:
        if isinstance(place, Remote) and place.bucket:
            top: Place = place.directory()
        else:
            top = place
        if isinstance(top, Local):
            _check_there(top)
        if not output.json:
            output.record({}, output.style(printable(str(top)), "blue"))
        drawing.draw(store, top, "", 1)
    if not output.json:
        text = count(drawing.prefixes, "prefix", "prefixes")
        if not directories:
            text += f", {count(drawing.files, 'file')}, {human(drawing.bytes)}"
        output.record({}, f"\n{text}")


class _Tree:
    """One level at a time: what lies deeper than is shown is never listed."""

    def __init__(self, output: Output, depth: int, directories: bool) -> None:
        self._output = output
        self._depth = depth
        self._directories = directories
        self.files = self.prefixes = self.bytes = 0

    def draw(self, store: ObjectStore, place: Place, indent: str, level: int) -> None:
        previous: tuple[str, Place | None, int] | None = None
        for child in self._children(store, place):
            if previous is not None:
                self._one(store, previous, indent, level, last=False)
            previous = child
        if previous is not None:
            self._one(store, previous, indent, level, last=True)

    def _children(
        self, store: ObjectStore, place: Place
    ) -> Iterator[tuple[str, Place | None, int]]:
        """(name, where it goes on, bytes)."""
        if isinstance(place, Local):
            with os.scandir(place.path) as found:
                for item in sorted(found, key=lambda item: item.name):
                    if item.is_dir(follow_symlinks=False):
                        yield f"{item.name}/", Local(item.path), 0
                    elif not self._directories:
                        yield item.name, None, item.stat(follow_symlinks=False).st_size
        elif not place.bucket:
            for bucket in store.list_buckets():
                yield f"{bucket.name}/", Remote(bucket.name, ""), 0
        else:
            for entry in store.list_objects(place.bucket, place.key, delimiter="/"):
                name = entry.key[len(place.key) :]
                if entry.is_prefix:
                    yield name, Remote(place.bucket, entry.key), 0
                elif name and not self._directories:
                    yield name, None, entry.size

    def _one(
        self,
        store: ObjectStore,
        child: tuple[str, Place | None, int],
        indent: str,
        level: int,
        *,
        last: bool,
    ) -> None:
        name, goes_on, size = child
        out = self._output
        self.bytes += size
        if goes_on is None:
            self.files += 1
        else:
            self.prefixes += 1
        shown = printable(name)
        if goes_on is not None:
            shown = out.style(shown, "blue")
        else:
            shown = f"{shown}  {out.dim(human(size))}"
        kind = "prefix" if goes_on is not None else "file"
        fields = {"type": kind, "name": name, "level": level, "size": size}
        out.record(fields, f"{indent}{'└── ' if last else '├── '}{shown}")
        if goes_on is not None and level < self._depth:
            self.draw(store, goes_on, indent + ("    " if last else "│   "), level + 1)
