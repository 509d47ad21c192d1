"""What is to be done: sources and targets become jobs, lazily, in the order of keys.

Rule: nothing here changes anything. Local trees are walked in the order in which S3 lists keys (bytes
of the whole name), so that two sides are compared in one pass and constant memory.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from holdfast.cli.failure import Failure
from holdfast.cli.objects.places import (
    Filters,
    Local,
    Place,
    Remote,
    has_pattern,
    matcher,
    safe_join,
    static_prefix,
)
from holdfast.client.models import ListEntry

if TYPE_CHECKING:
    from holdfast.client.store import ObjectStore

#: what the client leaves of a broken download, beside its target
#: how files begin that have not got their name yet
FRESH = ".holdfast-"
_PARTIAL, _PARTIAL_STATE = ".part", ".part.json"


class Entry(NamedTuple):
    """A file or an object; `relative` names it below what was asked for, with slashes."""

    relative: str
    place: Place
    size: int
    modified_ns: int = 0
    etag: str = ""
    storage_class: str = ""


@dataclass(slots=True)
class Job:
    """`action`: upload, download, copy, delete. `compare`: the target as it is now, to be left alone
    where it is the same."""

    action: str
    source: Place
    target: Place
    size: int
    modified_ns: int = 0
    etag: str = ""
    compare: Entry | None = None
    move: bool = False
    #: why it can't be done, found while planning
    error: str = ""


#: called with what could not be read while walking
OnError = Callable[[OSError], None]


def modified_ns(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def nanoseconds(text: str) -> int | None:
    """Of "1700000000.123456789", as rclone keeps it in x-amz-meta-mtime; None for anything else."""
    whole, _, rest = text.partition(".")
    digits = whole.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 12):
        return None
    if rest and not (rest.isascii() and rest.isdigit()):
        return None
    sign = -1 if whole.startswith("-") else 1
    return sign * (int(digits) * 10**9 + int(rest[:9].ljust(9, "0") if rest else 0))


def mtime_text(modified: int) -> str:
    """The other way round; whole seconds have no fraction."""
    sign, size = ("-", -modified) if modified < 0 else ("", modified)
    seconds, rest = divmod(size, 10**9)
    return f"{sign}{seconds}.{rest:09}".rstrip("0").rstrip(".") if rest else f"{sign}{seconds}"


# local trees


def walk(root: str, filters: Filters, on_error: OnError) -> Iterator[Entry]:
    """Regular files below `root`, in the order of keys. Links to files are followed, links to
    directories are not: they may lead in circles. What is left of broken downloads is passed over."""
    stack: list[Iterator[tuple[bytes, str, os.DirEntry[str]]]] = [_sorted(root, "", on_error)]
    while stack:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
            continue
        _, relative, entry = found
        try:
            if entry.is_dir(follow_symlinks=False):
                if not filters.prunes(relative):
                    stack.append(_sorted(entry.path, f"{relative}/", on_error))
                continue
            status = entry.stat()
        except OSError as error:
            if filters(relative):
                on_error(error)
            continue
        if stat.S_ISREG(status.st_mode) and filters(relative):
            yield Entry(relative, Local(entry.path), status.st_size, status.st_mtime_ns)


def _sorted(
    path: str, prefix: str, on_error: OnError
) -> Iterator[tuple[bytes, str, os.DirEntry[str]]]:
    try:
        with os.scandir(path) as found:
            entries = list(found)
    except OSError as error:
        on_error(error)
        return iter(())
    names = {entry.name for entry in entries}
    keyed = []
    for entry in entries:
        name = entry.name
        if _is_left_over(name, names):
            continue
        is_directory = entry.is_dir(follow_symlinks=False)
        keyed.append((os.fsencode(f"{name}/" if is_directory else name), prefix + name, entry))
    keyed.sort(key=lambda item: item[0])
    return iter(keyed)


def _is_left_over(name: str, names: set[str]) -> bool:
    if name.endswith(_PARTIAL):
        return f"{name}.json" in names or name.startswith(FRESH)
    return name.endswith(_PARTIAL_STATE) and name.removesuffix(".json") in names


# remote trees


def entry_of(bucket: str, listed: ListEntry, relative: str) -> Entry:
    return Entry(
        relative,
        Remote(bucket, listed.key),
        listed.size,
        modified_ns(listed.last_modified),
        listed.etag,
        listed.storage_class,
    )


def below(store: ObjectStore, place: Remote, filters: Filters) -> Iterator[Entry]:
    """All objects below a bucket or "directory", markers of directories left out."""
    for listed in store.list_objects(place.bucket, place.key):
        relative = listed.key[len(place.key) :]
        if relative and not (relative.endswith("/") and not listed.size) and filters(relative):
            yield entry_of(place.bucket, listed, relative)


def matching(store: ObjectStore, place: Remote, filters: Filters) -> Iterator[Entry]:
    """What a pattern matches; `relative` begins after the last slash before the pattern."""
    prefix = static_prefix(place.key)
    skip = prefix.rfind("/") + 1
    matches = matcher(place.key)
    for listed in store.list_objects(place.bucket, prefix):
        if matches(listed.key) and not listed.key.endswith("/") and filters(listed.key[skip:]):
            yield entry_of(place.bucket, listed, listed.key[skip:])


def one_object(store: ObjectStore, place: Remote) -> Entry:
    """Raises NoSuchKey."""
    info = store.head_object(place.bucket, place.key)
    return Entry(
        place.name, place, info.size, modified_ns(info.last_modified), info.etag, info.storage_class
    )


class Sources:
    """The arguments before the last one, as entries."""

    def __init__(
        self,
        places: Sequence[Place],
        filters: Filters,
        on_error: OnError,
        *,
        recursive: bool,
        store: ObjectStore,
    ) -> None:
        self._filters = filters
        self._on_error = on_error
        self._recursive = recursive
        self._store = store
        self._places = [expanded for place in places for expanded in _expanded(place)]
        #: whether targets are named below the last argument, or by it
        self.is_many = len(self._places) > 1 or any(self._is_tree(place) for place in self._places)

    def _is_tree(self, place: Place) -> bool:
        if isinstance(place, Remote):
            return self._recursive or has_pattern(place.key)
        return self._recursive and os.path.isdir(place.path)

    def entries(self) -> Iterator[Entry]:
        """Raises Failure, NoSuchKey, OSError for what was named and is not there."""
        several = len(self._places) > 1
        for place in self._places:
            yield from self._of(place, several)

    def _of(self, place: Place, several: bool) -> Iterator[Entry]:
        if isinstance(place, Local):
            yield from self._of_local(place, several)
            return
        if has_pattern(place.key):
            yield from _some(
                matching(self._store, place, self._filters), f"{place} matches nothing"
            )
            return
        if not self._recursive:
            if place.is_directory:
                raise Failure(f"{place} is no object; add -r for all below it")
            yield one_object(self._store, place)
            return
        name = place.key.rstrip("/").rpartition("/")[2]
        empty = True
        for entry in below(self._store, place.directory(), self._filters):
            empty = False
            yield entry._replace(relative=f"{name}/{entry.relative}") if several and name else entry
        if empty and not place.is_directory:
            yield one_object(self._store, place)

    def _of_local(self, place: Local, several: bool) -> Iterator[Entry]:
        status = os.stat(place.path)
        if not stat.S_ISDIR(status.st_mode):
            name = os.path.basename(place.path)
            yield Entry(name, place, status.st_size, status.st_mtime_ns)
            return
        if not self._recursive:
            raise Failure(f"{place} is a directory; add -r for all below it")
        name = os.path.basename(os.path.abspath(place.path))
        for entry in walk(place.path, self._filters, self._on_error):
            yield entry._replace(relative=f"{name}/{entry.relative}") if several else entry


def _expanded(place: Place) -> list[Place]:
    """A quoted local pattern becomes its matches."""
    if isinstance(place, Remote) or os.path.lexists(place.path) or not has_pattern(place.path):
        return [place]
    found: list[Place] = [Local(path) for path in sorted(glob.glob(place.path, recursive=True))]
    if not found:
        raise Failure(f"{place} matches nothing")
    return found


def _some(entries: Iterator[Entry], otherwise: str) -> Iterator[Entry]:
    first = next(entries, None)
    if first is None:
        raise Failure(otherwise)
    yield first
    yield from entries


def target_of(entry: Entry, target: Place, *, into: bool) -> Place:
    """Where an entry goes. `into`: the target is what it goes below. Raises ValueError."""
    if isinstance(target, Remote):
        if into or target.is_directory:
            return Remote(target.bucket, target.directory().key + entry.relative)
        return target
    if into or target.path.endswith("/") or os.path.isdir(target.path):
        return Local(safe_join(target.path, entry.relative))
    return target


def action_of(source: Place, target: Place) -> str:
    if isinstance(source, Local):
        return "upload"
    return "copy" if isinstance(target, Remote) else "download"


def copy_jobs(sources: Sources, target: Place, *, move: bool) -> Iterator[Job]:
    for entry in sources.entries():
        try:
            place = target_of(entry, target, into=sources.is_many)
            error = "source and target are the same" if place == entry.place else ""
        except ValueError as failure:
            place, error = target, str(failure)
        yield Job(
            action_of(entry.place, place),
            entry.place,
            place,
            entry.size,
            entry.modified_ns,
            entry.etag,
            move=move,
            error=error,
        )


# two sides


def paired(
    source: Iterator[Entry], target: Iterator[Entry]
) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Both sides by name; each is in the order of keys."""
    left, right = next(source, None), next(target, None)
    while left is not None or right is not None:
        one = None if left is None else name_bytes(left.relative)
        other = None if right is None else name_bytes(right.relative)
        if other is None or (one is not None and one < other):
            yield left, None
            left = next(source, None)
        elif one is None or other < one:
            yield None, right
            right = next(target, None)
        else:
            yield left, right
            left, right = next(source, None), next(target, None)


def name_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Side:
    """A directory, local or remote, to be compared with another one."""

    def __init__(
        self, place: Place, filters: Filters, on_error: OnError, store: ObjectStore
    ) -> None:
        self.place = place.directory() if isinstance(place, Remote) else place
        self._filters = filters
        self._on_error = on_error
        self._store = store

    def entries(self) -> Iterator[Entry]:
        if isinstance(self.place, Remote):
            return below(self._store, self.place, self._filters)
        return walk(self.place.path, self._filters, self._on_error)

    def child(self, relative: str) -> Place:
        """Raises ValueError."""
        if isinstance(self.place, Remote):
            return Remote(self.place.bucket, self.place.key + relative)
        return Local(safe_join(self.place.path, relative))


def sync_jobs(source: Side, target: Side) -> Iterator[Job]:
    """What is at the source, each with what is at its place in the target."""
    for entry, there in paired(source.entries(), target.entries()):
        if entry is None:
            continue
        try:
            place, error = target.child(entry.relative), ""
        except ValueError as failure:
            place, error = target.place, str(failure)
        action = action_of(entry.place, place)
        yield Job(
            action,
            entry.place,
            place,
            entry.size,
            entry.modified_ns,
            entry.etag,
            compare=there,
            error=error,
        )


def extra_entries(source: Side, target: Side) -> Iterator[Entry]:
    """What is only at the target."""
    for entry, there in paired(source.entries(), target.entries()):
        if entry is None and there is not None:
            yield there
