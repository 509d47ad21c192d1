"""Keeping the files short: passive checkpoints beside the committer, a reset by it at a bound.

Passive checkpoints never make a writer wait, but a WAL that is always written to is never empty,
so it would grow for ever; at a bound the committer stops and starts the WAL from its beginning.
Readers that hold an old snapshot can prevent that; then it is tried again after some more growth.
"""

from __future__ import annotations

import apsw

from holdfast.meta.sqlite.counters import Counters

WAL_BYTES_MAX = 256 << 20
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
    bound), and a quarter is the bound of the WAL while the disk is full.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        counters: Counters,
        bytes_max: int,
        reserve_bytes: int,
    ) -> None:
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
        self._pages = 0
        self._next_try = 0
        connection.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, name: str, pages: int) -> int:
        if pages < self._pages:
            self._next_try = 0
            self._counters.set_copied_pages(0)
        self._pages = pages
        self._counters.set_wal_pages(pages)
        return apsw.SQLITE_OK

    def keep_bounded(self, *, full: bool) -> None:
        """Reset the WAL at its bound; copy it when the checkpointer is too far behind."""
        bound = self._pages_eager if full else self._pages_max
        if self._pages < self._next_try:
            return
        if self._pages >= bound:
            self.reset()
        elif self._pages - self._counters.copied_pages >= self._behind_pages_max:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._next_try = self._pages + self._retry_pages

    def shrink(self) -> None:
        """Give free pages of the database back to the file system, at most SHRINK_PAGES of them."""
        try:
            self._connection.execute(f"PRAGMA incremental_vacuum({SHRINK_PAGES})").fetchall()
        except apsw.Error as error:
            if not is_no_room(error):
                raise
        self.reset()

    def reset(self) -> None:
        """Empty the WAL, or give up after RESET_MS_MAX. Raises apsw.Error when the disk fails."""
        self._connection.set_busy_timeout(RESET_MS_MAX)
        try:
            if self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE):
                self._pages = 0
                self._next_try = 0
                self._counters.set_wal_pages(0)
            else:
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
            return False
        self._counters.set_copied_pages(copied)
        return True
