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
SHRINK_PAGES = 2_048
EAGER_BYTES = 8 << 20  # at which the WAL is emptied while the disk is full

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
    """The committer's part. Counts the WAL's pages at every commit and shares the count."""

    def __init__(
        self, connection: apsw.Connection, counters: Counters, bytes_max: int = WAL_BYTES_MAX
    ) -> None:
        self._connection = connection
        self._counters = counters
        page_bytes = connection.pragma("page_size")
        busy_ms = connection.pragma("busy_timeout")
        assert isinstance(page_bytes, int)
        assert isinstance(busy_ms, int)
        self._busy_ms = busy_ms
        self._pages_max = max(1, bytes_max // page_bytes)
        self._pages_eager = min(self._pages_max, EAGER_BYTES // page_bytes)
        self._retry_pages = max(1, self._pages_max // 8)
        self._pages = 0
        self._next_reset = 0
        connection.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, name: str, pages: int) -> int:
        if pages < self._pages:
            self._next_reset = 0
        self._pages = pages
        self._counters.set_wal_pages(pages)
        return apsw.SQLITE_OK

    def keep_bounded(self, *, eager: bool) -> None:
        """Reset the WAL when it has come to its bound. `eager`: at a much lower one."""
        bound = self._pages_eager if eager else self._pages_max
        if self._pages >= max(bound, self._next_reset):
            self.reset()

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
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            self._next_reset = self._pages + self._retry_pages
        except apsw.Error as error:
            if not is_no_room(error):
                raise
            self._next_reset = self._pages + self._retry_pages
        else:
            self._pages = 0
            self._next_reset = 0
            self._counters.set_wal_pages(0)
        finally:
            self._connection.set_busy_timeout(self._busy_ms)
