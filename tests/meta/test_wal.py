"""The WAL stays bounded, whoever reads or writes."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw

from holdfast.meta.commands import Command
from holdfast.meta.sqlite.checkpointer import Checkpointer
from tests.meta.running import Running, put, wait_for

WAL_BYTES_MAX = 1 << 20
BATCH_BYTES = 400_000


def write(running: Running, bucket_id: int, total_bytes: int) -> int:
    """Put that many bytes; the size of the WAL at its longest."""
    longest = 0
    for turn in range(total_bytes // BATCH_BYTES):
        commands: list[Command] = [
            put(bucket_id, b"%d/%d" % (turn, i), b"x" * 20_000) for i in range(20)
        ]
        running.run(running.meta.submit_all(commands))
        longest = max(longest, wal_bytes(running))
    return longest


def wal_bytes(running: Running) -> int:
    return Path(f"{running.path}-wal").stat().st_size


def test_committer_alone_keeps_its_bound(tmp_path: Path) -> None:
    with Running(tmp_path, wal_bytes_max=WAL_BYTES_MAX) as running:
        bucket_id = running.create()
        longest = write(running, bucket_id, 8 << 20)
        assert WAL_BYTES_MAX / 2 < longest < WAL_BYTES_MAX + 2 * BATCH_BYTES


def test_readers_and_checkpointer_at_work(tmp_path: Path) -> None:
    with Running(tmp_path, wal_bytes_max=WAL_BYTES_MAX) as running:
        bucket_id = running.create()
        stop = threading.Event()
        threads = [
            threading.Thread(target=_read, args=(running.path, bucket_id, stop)),
            threading.Thread(target=_checkpoint, args=(running, stop)),
        ]
        for thread in threads:
            thread.start()
        try:
            longest = write(running, bucket_id, 8 << 20)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert longest < 3 * WAL_BYTES_MAX
        assert running.run(running.meta.check()) == []


def test_old_snapshot_only_delays_the_reset(tmp_path: Path) -> None:
    with Running(tmp_path, wal_bytes_max=WAL_BYTES_MAX) as running:
        bucket_id = running.create()
        write(running, bucket_id, BATCH_BYTES)
        old = apsw.Connection(str(running.path), flags=apsw.SQLITE_OPEN_READONLY)
        old.execute("BEGIN")
        seen = old.execute("SELECT count(*) FROM objects").fetchall()
        assert write(running, bucket_id, 2 * WAL_BYTES_MAX) > WAL_BYTES_MAX
        assert old.execute("SELECT count(*) FROM objects").fetchall() == seen
        old.close()
        write(running, bucket_id, 2 * BATCH_BYTES)
        assert wal_bytes(running) < WAL_BYTES_MAX + 2 * BATCH_BYTES


def test_checkpointer_copies_when_due_and_when_idle(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        bucket_id = running.create()
        checkpointer = Checkpointer(running.path, running.counters, pages_step=100)
        write(running, bucket_id, 2 * BATCH_BYTES)
        assert checkpointer.is_due, running.counters.wal_pages
        size = running.path.stat().st_size
        checkpointer.checkpoint()
        assert running.path.stat().st_size > size + BATCH_BYTES
        checkpointer.close()
        # All was copied and nobody reads: the next commit starts the WAL from its beginning.
        longest = running.counters.wal_pages
        running.run(running.meta.submit(put(bucket_id, b"one", b"x")))
        assert running.counters.wal_pages < longest
        stop = threading.Event()
        thread = threading.Thread(target=_checkpoint, args=(running, stop))
        thread.start()
        running.run(running.meta.submit(put(bucket_id, b"two", b"x" * 100_000)))
        size = running.path.stat().st_size
        try:
            wait_for(lambda: running.path.stat().st_size > size)
        finally:
            stop.set()
            thread.join()


def _read(path: Path, bucket_id: int, stop: threading.Event) -> None:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5000)
    while not stop.is_set():
        connection.execute("SELECT key FROM objects WHERE bucket_id = ?", (bucket_id,)).fetchall()
    connection.close()


def _checkpoint(running: Running, stop: threading.Event) -> None:
    checkpointer = Checkpointer(running.path, running.counters, pages_step=50)
    checkpointer.run(stop)
    checkpointer.close()
