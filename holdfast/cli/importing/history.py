"""What both servers have of a key: its versions, and how many of them have been brought over.

Rule: listings come in the order of keys and, within a key, newest first; versions are written oldest
first. So a key's versions are gathered, in memory up to a bound and beyond it in a file, and read back
from the end. Keys themselves are never gathered.
"""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from holdfast.client.asynchronous import AsyncObjectStore
from holdfast.client.errors import InvalidRequest, NotImplementedByServer, S3Error
from holdfast.client.models import ListEntry, VersionEntry

#: of one key, before the rest goes to a file: some 4 MiB
VERSIONS_IN_MEMORY_MAX = 10_000
NULL = "null"
_LENGTH = struct.Struct("<I")


class Version(NamedTuple):
    """`version_id` "" where the server has no versions; `modified` seconds since the epoch, 0 where it
    is not known."""

    version_id: str
    is_marker: bool
    size: int
    etag: str
    modified: float

    @property
    def is_null(self) -> bool:
        return self.version_id in ("", NULL)


class History:
    """The versions of one key, put in newest first and read oldest first."""

    __slots__ = ("_directory", "_end", "_file", "_newest", "_recent", "count", "size")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._recent: list[Version] = []
        self._file: IO[bytes] | None = None
        self._end = 0
        self._newest: Version | None = None
        self.count = self.size = 0

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, version: Version, *, is_latest: bool = False) -> None:
        if self._recent and version.version_id and version[:2] == self._recent[-1][:2]:
            return  # servers repeat a version where a page ends within a key
        self.count += 1
        self.size += version.size
        if is_latest and self.count > 1:
            # some servers order versions of one moment by chance; which is current they know
            self._newest = version
            return
        if len(self._recent) >= VERSIONS_IN_MEMORY_MAX:
            self._spill()
        self._recent.append(version)

    def _spill(self) -> None:
        """Records with their length behind them, so that they can be read from the end."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 gone with self
        out = bytearray()
        for version in self._recent:
            record = json.dumps(version).encode()
            out += record + _LENGTH.pack(len(record))
        self._file.seek(self._end)
        self._file.write(out)
        self._file.flush()
        self._end += len(out)
        self._recent = []

    def oldest_first(self) -> Iterator[Version]:
        yield from reversed(self._recent)
        if self._file is not None:
            yield from self._spilled()
        if self._newest is not None:
            yield self._newest

    def _spilled(self) -> Iterator[Version]:
        assert self._file is not None
        at = self._end
        while at:
            self._file.seek(at - _LENGTH.size)
            (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
            at -= _LENGTH.size + length
            self._file.seek(at)
            yield Version(*json.loads(self._file.read(length)))


class Standing(NamedTuple):
    """How far a key is. `begin`: the place in the source's history from which versions are missing;
    `tail`: the newest version of the destination that is none of the source's, where it comes after
    all that was brought over."""

    begin: int
    tail: Version | None


def standing(
    source: Iterator[Version],
    target: History | None,
    is_same: Callable[[Version, Version], bool],
) -> Standing:
    """The longest beginning of the source's history that the destination has, in this order. What the
    destination has besides, before or in between, are versions that the source has lost since."""
    if target is None:
        return Standing(0, None)
    current = next(source, None)
    begin, tail = 0, None
    for found in target.oldest_first():
        if current is not None and is_same(current, found):
            begin, tail = begin + 1, None
            current = next(source, None)
        else:
            tail = found
    return Standing(begin, tail)


class OutOfOrder(S3Error):
    """A server whose listing can't be compared with another."""

    codes = ("OutOfOrder",)
    advice = ""


def sort_key(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


async def histories(
    store: AsyncObjectStore, bucket: str, directory: Path, prefix: str = ""
) -> AsyncIterator[tuple[str, History]]:
    """(key, its versions), in the order of keys. Raises S3Error, OutOfOrder among them."""
    key: str | None = None
    history = History(directory)
    async for entry in _entries(store, bucket, prefix):
        if entry.key != key:
            if key is not None:
                yield key, history
                if sort_key(entry.key) < sort_key(key):
                    raise OutOfOrder(
                        message=f"the server lists {entry.key!r} after {key!r}, out of order",
                        resource=bucket,
                    )
            key, history = entry.key, History(directory)
        modified = entry.last_modified.timestamp() if entry.last_modified else 0.0
        if isinstance(entry, VersionEntry):
            made = Version(
                entry.version_id, entry.is_delete_marker, entry.size, entry.etag, modified
            )
            history.add(made, is_latest=entry.is_latest)
        else:
            history.add(Version("", False, entry.size, entry.etag, modified))
    if key is not None:
        yield key, history


async def _entries(
    store: AsyncObjectStore, bucket: str, prefix: str
) -> AsyncIterator[VersionEntry | ListEntry]:
    """All versions; of a server that knows none, the objects."""
    begun = False
    try:
        async for version in store.list_versions(bucket, prefix):
            begun = True
            yield version
        return
    except (NotImplementedByServer, InvalidRequest):
        if begun:
            raise
    except S3Error as error:
        if begun or error.code != "MethodNotAllowed":
            raise
    async for entry in store.list_objects(bucket, prefix):
        yield entry


async def history_of(
    store: AsyncObjectStore, bucket: str, key: str, directory: Path
) -> History | None:
    """That of one key, as it is now."""
    async for found, history in histories(store, bucket, directory, key):
        return history if found == key else None
    return None


Pair = tuple[str, History | None, History | None]


async def side_by_side(
    source: AsyncIterator[tuple[str, History]], target: AsyncIterator[tuple[str, History]] | None
) -> AsyncIterator[Pair]:
    """(key, versions at the source, versions at the destination), in the order of keys; either is
    None where the key is not there."""
    left = await anext(source, None)
    right = await anext(target, None) if target is not None else None
    while left is not None or right is not None:
        order = 0
        if left is None or right is None:
            order = 1 if left is None else -1
        elif left[0] != right[0]:
            order = -1 if sort_key(left[0]) < sort_key(right[0]) else 1
        one, other = (left if order <= 0 else None), (right if order >= 0 else None)
        key = (one or other or ("",))[0]
        yield key, one[1] if one else None, other[1] if other else None
        if one is not None:
            left = await anext(source, None)
        if other is not None and target is not None:
            right = await anext(target, None)
