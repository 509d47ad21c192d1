"""A few numbers that the committer shares with every process through memory.

Rule: one writer, the committer. `commits` moves before every answer (also to a command that is
asked for again) and when a committer starts; so a reader that sees it unmoved since its snapshot
began has missed nothing that was answered. `config` moves, before `commits`, when a bucket or a
document changed. Each number is one aligned word, written at once. `marks` are those of the keys, see
recent.py.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from holdfast.meta.sqlite.recent import MARKS

COUNTERS_BYTES = mmap.PAGESIZE
MARKS_BYTES = 4 * MARKS

_COMMITS, _CONFIG, _WAL_PAGES, _COPIED_PAGES = 0, 1, 2, 3


class Counters:
    """Made by `anonymous` before forking, or by `in_file` for processes that share no memory."""

    __slots__ = ("_map", "_words", "marks")

    def __init__(self, memory: mmap.mmap) -> None:
        self._map = memory
        self._words = memoryview(memory)[:COUNTERS_BYTES].cast("Q")
        self.marks = memoryview(memory)[COUNTERS_BYTES:].cast("I")

    @classmethod
    def anonymous(cls) -> Counters:
        return cls(mmap.mmap(-1, COUNTERS_BYTES + MARKS_BYTES))

    @classmethod
    def in_file(cls, path: Path) -> Counters:
        """Shared through a file (on tmpfs, for speed), made when it is missing."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, COUNTERS_BYTES + MARKS_BYTES)
            return cls(mmap.mmap(descriptor, COUNTERS_BYTES + MARKS_BYTES))
        finally:
            os.close(descriptor)

    @property
    def commits(self) -> int:
        return self._words[_COMMITS]

    @property
    def config(self) -> int:
        return self._words[_CONFIG]

    @property
    def wal_pages(self) -> int:
        """Pages in the WAL after the last commit."""
        return self._words[_WAL_PAGES]

    @property
    def copied_pages(self) -> int:
        """How many of them the last checkpoint had copied; stale for a moment after a WAL reset."""
        return min(self._words[_COPIED_PAGES], self._words[_WAL_PAGES])

    def move(self, *, config: bool) -> None:
        """By the committer alone."""
        if config:
            self._words[_CONFIG] += 1
        self._words[_COMMITS] += 1

    def set_wal_pages(self, pages: int) -> None:
        """By the committer alone."""
        self._words[_WAL_PAGES] = pages

    def set_copied_pages(self, pages: int) -> None:
        """By whoever made a checkpoint; a hint, so the last one wins."""
        self._words[_COPIED_PAGES] = pages

    def close(self) -> None:
        self._words.release()
        self.marks.release()
        self._map.close()
