"""Keeping the WAL short, and its blocks on the disk.

Passive checkpoints beside the committer never make it wait, but a WAL that is always written to is
never empty, so it would grow for ever. So the committer copies the rest by itself: early, when the
checkpointer has left it next to nothing, and at a bound in any case. Then SQLite starts the WAL from
its beginning. Readers that hold an old snapshot can prevent that; then it is tried again later.

A file that grows costs a commit of the file system's journal at each sync, blocks that are written
anew do not: half the time of a small PUT. So the file is kept up to WAL_KEPT_BYTES_MAX, and extended
ahead of its use by zeros, which are no frame to SQLite's recovery (a frame names a page, and its
checksum begins with the salt in the header). Only the committer writes this file.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from holdfast.meta.sqlite.counters import Counters

WAL_BYTES_MAX = 256 << 20
#: what a reset leaves of the file, and how far it is extended ahead
WAL_KEPT_BYTES_MAX = 64 << 20
WAL_STEP_BYTES_MIN = 256 << 10
WAL_STEP_BYTES_MAX = 4 << 20
#: the WAL is started anew from this length on, when no more than NEARLY_PAGES are to be copied
WAL_EARLY_BYTES = 48 << 20
NEARLY_PAGES = 128
#: in one piece: SQLite takes less than 128 KiB, and the kernel's pages become as large as the piece,
#: which slows every write into them
ZEROS_BYTES = 64 << 10
_ZEROS = bytes(ZEROS_BYTES)
WAL_HEAD_BYTES = 32
FRAME_HEAD_BYTES = 24
RESET_MS_MAX = 200
EAGER_BYTES_MIN = 1 << 18
SHRINK_PAGES = 2_048

_NO_ROOM = frozenset(
    {
        apsw.SQLITE_IOERR_WRITE,
        apsw.SQLITE_IOERR_SHMSIZE,
        apsw.SQLITE_IOERR_TRUNCATE,
    }
)


def is_no_room(error: BaseException) -> bool:
    """Whether SQLite failed for lack of room: ENOSPC is SQLITE_FULL; EDQUOT and EFBIG are seen as
    a failed write."""
    if isinstance(error, apsw.FullError):
        return True
    return isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in _NO_ROOM


class WalBound:
    """The committer's part. Counts the WAL's pages at every commit and shares the count.

    `bytes_max` is the bound. `reserve_bytes` is what a full disk leaves: a WAL that no checkpoint
    has copied yet needs that room, so half of it bounds how far copying may be behind (0: no
    bound), and a quarter is the bound of the WAL while the disk is full. The WAL's file is kept, so
    commits may find room in it when the database can't grow: copying that fails tells of it.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        counters: Counters,
        bytes_max: int,
        reserve_bytes: int,
        vfs: str | None = None,
    ) -> None:
        self._path = f"{path}-wal"
        self._vfs = vfs or ""
        self._connection = connection
        self._counters = counters
        page_bytes = connection.pragma("page_size")
        busy_ms = connection.pragma("busy_timeout")
        assert isinstance(page_bytes, int)
        assert isinstance(busy_ms, int)
        self._busy_ms = busy_ms
        self._pages_max = max(1, bytes_max // page_bytes)
        self._behind_pages_max = reserve_bytes // 2 // page_bytes or self._pages_max
        eager_bytes = max(reserve_bytes // 4, EAGER_BYTES_MIN)
        self._pages_eager = min(self._pages_max, eager_bytes // page_bytes)
        self._retry_pages = max(1, min(self._pages_max, self._behind_pages_max) // 8)
        self._early_pages = min(self._pages_max, WAL_EARLY_BYTES // page_bytes)
        self._frame_bytes = page_bytes + FRAME_HEAD_BYTES
        self._kept_bytes_max = min(WAL_KEPT_BYTES_MAX, bytes_max)
        connection.pragma("journal_size_limit", self._kept_bytes_max)
        #: pages from which on the file is to be extended; the first commit finds out
        self._extend_at = 0
        self._pages = 0
        self._next_try = 0
        self._next_early_try = self._early_pages
        self._had_room = True
        connection.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, name: str, pages: int) -> int:
        if pages < self._pages:
            self._next_try = 0
            self._next_early_try = self._early_pages
            self._counters.set_copied_pages(0)
        self._pages = pages
        self._counters.set_wal_pages(pages)
        return apsw.SQLITE_OK

    def keep_bounded(self, *, full: bool) -> bool:
        """Between two commits: start the WAL anew at its bound, or early where that is cheap; copy
        it when the checkpointer is too far behind; extend the file. Returns whether the database had
        room for what was copied."""
        self._had_room = True
        pages = self._pages
        if pages >= self._extend_at and not full:
            self._extend()
        if pages >= self._next_early_try and pages - self._counters.copied_pages <= NEARLY_PAGES:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._next_early_try = pages + NEARLY_PAGES
        if pages < self._next_try:
            return self._had_room
        if pages >= (self._pages_eager if full else self._pages_max):
            self._reset(apsw.SQLITE_CHECKPOINT_TRUNCATE if full else apsw.SQLITE_CHECKPOINT_RESTART)
        elif pages - self._counters.copied_pages >= self._behind_pages_max:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._next_try = pages + self._retry_pages
        return self._had_room

    def _extend(self) -> None:
        """By as much as is in use, within the bounds of a step, when half a step is left."""
        used = WAL_HEAD_BYTES + self._pages * self._frame_bytes
        step = min(max(used, WAL_STEP_BYTES_MIN), WAL_STEP_BYTES_MAX)
        end = min(used + step, self._kept_bytes_max)
        file = apsw.VFSFile(
            self._vfs, self._path, [apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_READWRITE, 0]
        )
        try:
            size = file.xFileSize()
            if size < min(used + step // 2, end):
                _write_zeros(file, size, end)
            left = max(size, end) - used
        finally:
            file.xClose()
        self._extend_at = self._pages + max(left - step // 2, step // 2) // self._frame_bytes

    def shrink(self) -> None:
        """Give free pages of the database back to the file system, at most SHRINK_PAGES of them."""
        try:
            self._connection.execute(f"PRAGMA incremental_vacuum({SHRINK_PAGES})").fetchall()
        except apsw.Error as error:
            if not is_no_room(error):
                raise
        self.reset()

    def reset(self) -> None:
        """Empty the WAL and give its room back, or give up after RESET_MS_MAX. Raises apsw.Error
        when the disk fails."""
        self._reset(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _reset(self, mode: int) -> None:
        self._connection.set_busy_timeout(RESET_MS_MAX)
        try:
            if self._checkpoint(mode) and mode == apsw.SQLITE_CHECKPOINT_TRUNCATE:
                self._pages = 0
                self._next_try = 0
                self._extend_at = 0
                self._counters.set_wal_pages(0)
            else:  # the next commit starts the WAL anew, or it is tried again
                self._next_try = self._pages + self._retry_pages
        finally:
            self._connection.set_busy_timeout(self._busy_ms)

    def _checkpoint(self, mode: int) -> bool:
        """Whether it was done."""
        try:
            _, copied = self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return False
        except apsw.Error as error:
            if not is_no_room(error):
                raise
            self._had_room = False
            return False
        self._counters.set_copied_pages(copied)
        return True


def _write_zeros(file: apsw.VFSFile, start: int, end: int) -> None:
    """Not synced: the next commit does. All of it or, when there is no room, nothing."""
    try:
        for at in range(start, end, ZEROS_BYTES):
            file.xWrite(_ZEROS[: end - at], at)
    except apsw.Error as error:
        if not is_no_room(error):
            raise
        file.xTruncate(start)
