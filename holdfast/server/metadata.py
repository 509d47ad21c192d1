"""The SQLite metadata store as the processes share it: made before the fork, opened in each after.

The committer's socket is listened on here, so that a committer that dies leaves the commands that
wait in it to its successor. Only the owner of DATA can reach it: who can connect can write.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from holdfast.config import Settings
from holdfast.meta.commands import ForgetBlobs
from holdfast.meta.contract import MetaStore, MetaUnavailable
from holdfast.meta.sqlite.checkpointer import Checkpointer
from holdfast.meta.sqlite.committer import Committer
from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.reserve import ReserveFile
from holdfast.meta.sqlite.store import SqliteMetaStore
from holdfast.server.data import DataError, sync_directory

BACKLOG = 128
DATABASE = "holdfast.db"
SOCKET = "commit.sock"
#: sun_path, less its NUL
SOCKET_PATH_BYTES_MAX = 107
#: rows with small content that each worker keeps in memory for the next read
RECENT_BYTES_MAX = 32 << 20
#: a long WAL is recovered first
COMMITTER_START_SECONDS_MAX = 60.0
COMMITTER_POLL_SECONDS = 0.002


class WorkerStore(NamedTuple):
    """A store opened on a loop. `ping` returns once the committer answered, `close` ends it all."""

    meta: MetaStore
    ping: Callable[[], Awaitable[object]]
    close: Callable[[], Awaitable[None]]


class CommitterFailed(MetaUnavailable):
    """The committer of this process could not open the database; `__cause__` says why."""


class Metadata:
    """Made by the process that holds DATA's lock, before it forks. Opens no database."""

    def __init__(
        self, data: Path, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        """clock: seconds since the epoch. Raises OSError, and DataError when the database is lost."""
        self._settings = settings
        self._clock = clock
        self._path = data / "meta" / DATABASE
        run = data / "run"
        for directory in (self._path.parent, run):
            directory.mkdir(mode=0o700, exist_ok=True)
            directory.chmod(0o700)
        sync_directory(data)
        _check_present(self._path, data / "buckets")
        _keep_private(self._path)
        self._counters = Counters.anonymous()
        #: set by a committer in a thread of this process that ended before it opened the database
        self.committer_failure: Exception | None = None
        self._run_fd = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
        self._socket_path = str(run / SOCKET)
        if len(os.fsencode(self._socket_path)) > SOCKET_PATH_BYTES_MAX:
            # children inherit the descriptor, so the short name is theirs as well
            self._socket_path = f"/proc/self/fd/{self._run_fd}/{SOCKET}"
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            Path(self._socket_path).unlink(missing_ok=True)
            self._listener.bind(self._socket_path)
            self._listener.listen(BACKLOG)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._listener.close()
        os.close(self._run_fd)

    @property
    def is_opened(self) -> bool:
        """Whether a committer has opened the database."""
        return self._counters.commits > 0

    def make_committer(self) -> Committer:
        """The only writer; to be run in the process that made it."""
        settings = self._settings
        return Committer(
            self._path,
            self._listener,
            self._counters,
            durable=settings.durability == "full",
            reserve=ReserveFile(self._path.parent / "reserve", settings.reserve_bytes),
            grace_ms=int(settings.gc_grace_seconds * 1000),
            now_us=lambda: int(self._clock() * 1e6),
        )

    def when_opened(self, callback: Callable[[], None]) -> None:
        """Call back, from a thread of its own, once the next committer has opened the database."""
        before = self._counters.commits

        def wait() -> None:
            while self._counters.commits == before:
                time.sleep(COMMITTER_POLL_SECONDS)
            callback()

        threading.Thread(target=wait, name="committer-opened", daemon=True).start()

    def checkpoint(self, stop: threading.Event) -> None:
        """Checkpoint until `stop`; in a thread of its own. The database exists by then."""
        checkpointer = Checkpointer(self._path, self._counters)
        try:
            checkpointer.run(stop)
        finally:
            checkpointer.close()

    async def open_store(self) -> WorkerStore:
        """For the running loop. Returns once a committer has opened the database.

        Raises MetaUnavailable when none does within COMMITTER_START_SECONDS_MAX, CommitterFailed at
        once when that of this process has failed.
        """
        deadline = time.monotonic() + COMMITTER_START_SECONDS_MAX
        while not self.is_opened:
            failure = self.committer_failure
            if failure is not None:
                raise CommitterFailed(f"the metadata can't be opened: {failure}") from failure
            if time.monotonic() > deadline:
                raise MetaUnavailable("the committer has not opened the database")
            await asyncio.sleep(COMMITTER_POLL_SECONDS)
        store = SqliteMetaStore(
            self._path,
            self._socket_path,
            self._counters,
            recent_bytes_max=RECENT_BYTES_MAX,
        )
        store.start()
        # forgets nothing, changes nothing, syncs nothing, but is answered by the committer
        return WorkerStore(store, lambda: store.submit(ForgetBlobs([])), store.close)


def _check_present(database: Path, buckets: Path) -> None:
    """Content without its database would be taken for garbage, and removed. Raises DataError."""
    if database.exists() and database.stat().st_size:
        return
    if buckets.is_dir() and any(buckets.iterdir()):
        raise DataError(
            f"{database} is missing or empty, but {buckets} holds content: restore it from a copy"
        )


def _keep_private(database: Path) -> None:
    """It holds the secret keys of the accounts: for the owner's eyes, whatever its directory allows.
    SQLite gives the files beside it the database's own mode."""
    if not database.exists():
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    for suffix in ("", "-wal", "-shm"):
        path = database.with_name(database.name + suffix)
        if path.exists():
            path.chmod(0o600)
