"""The WAL stays bounded, whoever reads or writes, and is written into blocks that it has."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from holdfast.meta.commands import Command
from holdfast.meta.sqlite import wal
from holdfast.meta.sqlite.checkpointer import Checkpointer
from holdfast.testing.vfs import Recording, RecordingVFS, Sync, Truncate, Write
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


def grown_syncs(recording: Recording) -> list[bool]:
    """For each sync of the WAL, whether the file had grown since the last one."""
    grown, size, longest = [], 0, 0
    for step in recording.steps:
        if isinstance(step, Write) and step.name.endswith("-wal"):
            longest = max(longest, step.offset + len(step.data))
        elif isinstance(step, Truncate) and step.name.endswith("-wal"):
            size = longest = step.size
        elif isinstance(step, Sync) and step.name.endswith("-wal"):
            grown.append(longest > size)
            size = longest
    return grown


@pytest.fixture
def recording() -> Iterator[Recording]:
    recording = Recording()
    vfs = RecordingVFS("recording-wal", recording)
    yield recording
    vfs.unregister()


def test_few_commits_make_the_file_grow(tmp_path: Path, recording: Recording) -> None:
    """A file that grows makes each sync write the file system's journal as well."""
    with Running(tmp_path, durable=True, vfs="recording-wal") as running:
        bucket_id = running.create()
        for number in range(300):
            running.run(running.meta.submit(put(bucket_id, b"%d" % number, b"x" * 4096)))
        size = wal_bytes(running)
        assert size < 2 * (running.counters.wal_pages * (4096 + 24)) + wal.WAL_STEP_BYTES_MAX
        running.stop_committer()
        assert wal_bytes(running) == size
        syncs = len(grown_syncs(recording))
        running.start_committer()
        for number in range(300):
            running.run(running.meta.submit(put(bucket_id, b"new %d" % number, b"x" * 4096)))
        assert running.run(running.meta.check()) == []
    grown = grown_syncs(recording)
    assert min(syncs, len(grown) - syncs) >= 300
    assert sum(grown) < 30


def test_kept_bytes_bound_what_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "WAL_KEPT_BYTES_MAX", 1 << 20)
    with Running(tmp_path, wal_bytes_max=4 << 20) as running:
        bucket_id = running.create()
        write(running, bucket_id, 2 << 20)
        assert wal_bytes(running) > 2 << 20
        checkpointer = Checkpointer(running.path, running.counters)
        checkpointer.checkpoint()
        checkpointer.close()
        running.run(running.meta.submit(put(bucket_id, b"one", b"x")))
        assert wal_bytes(running) == 1 << 20


def test_a_nearly_copied_wal_is_started_anew_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "WAL_EARLY_BYTES", BATCH_BYTES)
    with Running(tmp_path) as running:
        bucket_id = running.create()
        checkpointer = Checkpointer(running.path, running.counters)
        write(running, bucket_id, BATCH_BYTES)
        old = apsw.Connection(str(running.path), flags=apsw.SQLITE_OPEN_READONLY)
        old.execute("BEGIN")
        old.execute("SELECT count(*) FROM objects").fetchall()
        running.run(running.meta.submit(put(bucket_id, b"one", b"x")))
        checkpointer.checkpoint()
        assert 0 < running.counters.wal_pages - running.counters.copied_pages < 10
        old.close()
        checkpointer.close()
        longest = running.counters.wal_pages
        for key in (b"two", b"three"):  # the first copies the rest, the second starts anew
            running.run(running.meta.submit(put(bucket_id, key, b"x")))
        assert running.counters.wal_pages < longest / 2


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
