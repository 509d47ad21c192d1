"""Passive checkpoints by a connection of their own, so that no commit waits for one.

Run by the maintenance process, or by a thread where everything shares one process.
"""

from __future__ import annotations

import threading
from pathlib import Path

import apsw

from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.schema import BUSY_MS_MAX, check_library, keep_wal
from holdfast.meta.sqlite.wal import is_no_room

CHECKPOINT_PAGES = 6_000
POLL_SECONDS = 0.05
IDLE_SECONDS = 1.0


class Checkpointer:
    """The database must exist. Make it, and use it, in one process and thread."""

    def __init__(
        self,
        path: Path,
        counters: Counters,
        *,
        pages_step: int = CHECKPOINT_PAGES,
        vfs: str | None = None,
    ) -> None:
        check_library()
        self._counters = counters
        self._pages_step = pages_step
        self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        self._connection.set_busy_timeout(BUSY_MS_MAX)
        keep_wal(self._connection)
        # A connection that has never read takes no part in the WAL, and would copy nothing.
        self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()

    @property
    def is_due(self) -> bool:
        """Whether the WAL has grown enough since the last checkpoint."""
        return self._behind_pages >= self._pages_step

    @property
    def _behind_pages(self) -> int:
        return self._counters.wal_pages - self._counters.copied_pages

    def checkpoint(self) -> None:
        """Copy what can be copied without making anybody wait. Raises apsw.Error on disk faults."""
        try:
            _, copied = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            return
        except apsw.Error as error:
            if not is_no_room(error):
                raise
            return
        self._counters.set_copied_pages(copied)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set: when due, and once the store is idle."""
        seen, idle_s = self._counters.commits, 0.0
        while not stop.wait(POLL_SECONDS):
            commits = self._counters.commits
            idle_s = 0.0 if commits != seen else idle_s + POLL_SECONDS
            seen = commits
            if self.is_due or (self._behind_pages and idle_s >= IDLE_SECONDS):
                self.checkpoint()

    def close(self) -> None:
        self._connection.close()
