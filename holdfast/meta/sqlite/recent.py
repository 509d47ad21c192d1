"""Rows that were read a moment ago, with small content, kept while their key's mark stands.

A mark is one of the committer's shared words, chosen by a hash of bucket and key; keys that share one
merely lose a kept read too early. The committer moves the marks of all keys that a transaction
touches twice: to an odd number before the COMMIT, to the next even one after it, before it answers
(a sequence lock, as in the kernel's seqlock_t). So from the moment that a change can be seen in the
database, no read that begins later finds the old content here; and what was read while its mark
moved is not kept. Strong consistency therefore holds over all workers, as without this file.

Strategy for the bound: two dictionaries. New reads and repeated ones go to the young; when that has
half of the bytes, it becomes the old one, and what was in the old one is dropped.
"""

from __future__ import annotations

from zlib import crc32

from holdfast.meta.contract import Found

#: words of four bytes
MARKS = 1 << 16
#: what an entry costs beside its content, its key and what follows
ENTRY_BYTES = 1_500
#: what a pair of metadata, headers or tags costs beside its characters
PAIR_BYTES = 150


def mark_of(bucket_id: int, key: bytes) -> int:
    """The index of the key's mark."""
    return crc32(key, bucket_id & 0xFFFFFFFF) & (MARKS - 1)


def begin_change(marks: memoryview, touched: set[int]) -> None:
    """Before the COMMIT. `marks`: unsigned words."""
    for index in touched:
        marks[index] |= 1


def end_change(marks: memoryview, touched: set[int]) -> None:
    """After the COMMIT, or when nothing came of it, begun or not."""
    for index in touched:
        marks[index] = ((marks[index] | 1) + 1) & 0xFFFFFFFF


def settle(marks: memoryview) -> None:
    """A committer that died may have left marks odd: what they stand for was changed, or not."""
    end_change(marks, {index for index, mark in enumerate(marks) if mark & 1})


def _bytes_of(found: Found) -> int:
    """About what it takes in memory."""
    version, data = found
    size = ENTRY_BYTES + len(version.acl) + (0 if data is None else len(data))
    for pairs in (version.headers, version.metadata, version.tags):
        for name, value in pairs.items():
            size += PAIR_BYTES + len(name) + len(value)
    return size


class RecentReads:
    """Of one worker. `marks`: the shared words; `bytes_max`: what is kept at most, 0 for nothing."""

    __slots__ = ("_bytes", "_bytes_max", "_marks", "_old", "_young")

    def __init__(self, marks: memoryview, bytes_max: int) -> None:
        self._marks = marks
        self._bytes_max = bytes_max
        self._bytes = 0  # of the young
        # by bucket, key and whether content was asked for
        self._young: dict[tuple[int, bytes, bool], tuple[int, Found]] = {}
        self._old: dict[tuple[int, bytes, bool], tuple[int, Found]] = {}

    def get(self, bucket_id: int, key: bytes, with_data: bool) -> Found | int:
        """What was read, or the mark for `keep`, to be taken before the database is read."""
        mark: int = self._marks[mark_of(bucket_id, key)]
        name = (bucket_id, key, with_data)
        kept = self._young.get(name)
        if kept is not None:
            return kept[1] if kept[0] == mark else mark
        if self._old:
            kept = self._old.pop(name, None)
            if kept is not None and kept[0] == mark:
                self._add(name, kept)
                return kept[1]
        return mark

    def keep(self, bucket_id: int, key: bytes, with_data: bool, mark: int, found: Found) -> None:
        """`found` was read after `mark` was taken."""
        if mark & 1 or self._marks[mark_of(bucket_id, key)] != mark:
            return
        self._add((bucket_id, key, with_data), (mark, found))

    def _add(self, name: tuple[int, bytes, bool], kept: tuple[int, Found]) -> None:
        size = len(name[1]) + _bytes_of(kept[1])
        if 2 * size > self._bytes_max:
            return
        if 2 * (self._bytes + size) > self._bytes_max:
            self._old, self._young = self._young, {}
            self._bytes = 0
        self._young[name] = kept
        self._bytes += size
