"""Reads kept in memory are never older than the database: recent.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import msgspec
import pytest

from holdfast.meta.commands import (
    ChangeVersion,
    Command,
    DeleteObject,
    ObjectPut,
    RenameObject,
    SetVersioning,
)
from holdfast.meta.contract import Found
from holdfast.meta.records import ObjectVersion
from holdfast.meta.sqlite import recent
from holdfast.meta.sqlite.committer import Committer
from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.reader import SqliteReader
from holdfast.meta.sqlite.recent import ENTRY_BYTES, RecentReads, mark_of
from tests.meta.running import OWNER, Running, put

KEPT_BYTES_MAX = 1 << 20
KEY = b"key"


@contextmanager
def remembering(running: Running) -> Iterator[SqliteReader]:
    store = SqliteReader(running.path, running.counters, recent_bytes_max=KEPT_BYTES_MAX)
    try:
        yield store
    finally:
        store.close_reader()


def read(store: SqliteReader, bucket_id: int, key: bytes = KEY) -> Found | None:
    return asyncio.run(store.find(bucket_id, key, with_data=True))


def data_of(store: SqliteReader, bucket_id: int, key: bytes = KEY) -> bytes | None:
    found = read(store, bucket_id, key)
    return None if found is None else found.data


def forbid_database(store: SqliteReader, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the database was read")

    monkeypatch.setattr(store, "_rows", fail)


def test_the_second_read_needs_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Running(tmp_path) as running, remembering(running) as store:
        bucket_id = running.create()
        running.run(running.meta.submit(put(bucket_id, KEY, b"one")))
        first = read(store, bucket_id)
        assert first is not None
        assert first.data == b"one"
        without = asyncio.run(store.find(bucket_id, KEY))
        assert without == Found(first.version, None), "data is given to who asks for it"
        forbid_database(store, monkeypatch)
        assert read(store, bucket_id) == first
        assert asyncio.run(store.find(bucket_id, KEY)) == without


CHANGES: dict[str, Callable[[int], Command]] = {
    "overwritten": lambda bucket_id: put(bucket_id, KEY, b"two"),
    "deleted": lambda bucket_id: DeleteObject(bucket_id, KEY, OWNER),
    "tagged": lambda bucket_id: ChangeVersion(bucket_id, KEY, tags={"a": "b"}),
    "renamed away": lambda bucket_id: RenameObject(bucket_id, KEY, b"elsewhere"),
    "renamed onto": lambda bucket_id: RenameObject(bucket_id, b"other", KEY),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(tmp_path: Path, change: str) -> None:
    with Running(tmp_path) as running, remembering(running) as store:
        bucket_id = running.create()
        running.run(running.meta.submit(put(bucket_id, KEY, b"one")))
        running.run(running.meta.submit(put(bucket_id, b"other", b"other")))
        before = read(store, bucket_id)
        running.run(running.meta.submit(CHANGES[change](bucket_id)))
        after = read(store, bucket_id)
        assert after != before
        assert after == read(running.meta, bucket_id)


def test_versions_that_come_and_go_are_seen(tmp_path: Path) -> None:
    with Running(tmp_path) as running, remembering(running) as store:
        bucket_id = running.create()
        running.run(running.meta.submit(SetVersioning(bucket_id, "Enabled")))
        seqs = []
        for data in (b"one", b"two"):
            result = running.run(running.meta.submit(put(bucket_id, KEY, data)))
            assert isinstance(result, ObjectPut)
            seqs.append(result.seq)
            assert data_of(store, bucket_id) == data
        running.run(running.meta.submit(DeleteObject(bucket_id, KEY, OWNER, seqs[1])))
        assert data_of(store, bucket_id) == b"one"
        running.run(running.meta.submit(DeleteObject(bucket_id, KEY, OWNER)))
        found = read(store, bucket_id)
        assert found is not None
        assert found.version.delete_marker


class Watched(Committer):
    """Calls `committed` when the change can be seen in the database, before it is answered."""

    committed: Callable[[], None] | None = None

    def _end(self) -> None:
        super()._end()
        if Watched.committed is not None:
            Watched.committed()


def test_nothing_old_is_read_once_the_change_can_be_seen(tmp_path: Path) -> None:
    """Else one worker could show the new content, and another the old one after it."""
    with Running(tmp_path, Watched) as running, remembering(running) as store:
        bucket_id = running.create()
        running.run(running.meta.submit(put(bucket_id, KEY, b"one")))
        assert data_of(store, bucket_id) == b"one"
        seen: list[bytes | None] = []
        # one thread at a time: this thread waits for the answer meanwhile
        Watched.committed = lambda: seen.append(data_of(store, bucket_id))
        try:
            running.run(running.meta.submit(put(bucket_id, KEY, b"two")))
        finally:
            Watched.committed = None
        assert seen == [b"two"]
        assert data_of(store, bucket_id) == b"two"


def test_what_is_read_during_a_change_is_not_kept() -> None:
    counters = Counters.anonymous()
    reads = RecentReads(counters.marks, KEPT_BYTES_MAX)
    touched = {mark_of(1, KEY)}
    before = reads.get(1, KEY, True)
    assert isinstance(before, int)
    recent.begin_change(counters.marks, touched)
    during = reads.get(1, KEY, True)
    assert isinstance(during, int)
    reads.keep(1, KEY, True, before, found(b"old"))
    reads.keep(1, KEY, True, during, found(b"old"))
    assert isinstance(reads.get(1, KEY, True), int)
    recent.end_change(counters.marks, touched)
    reads.keep(1, KEY, True, during, found(b"old"))
    reads.keep(1, KEY, True, before, found(b"old"))
    after = reads.get(1, KEY, True)
    assert isinstance(after, int)
    reads.keep(1, KEY, True, after, found(b"new"))
    assert reads.get(1, KEY, True) == found(b"new")
    # a transaction that is given up moves them too, begun or not
    recent.end_change(counters.marks, touched)
    assert isinstance(reads.get(1, KEY, True), int)


def test_a_committer_that_died_within_a_change(tmp_path: Path) -> None:
    with Running(tmp_path) as running, remembering(running) as store:
        bucket_id = running.create()
        running.run(running.meta.submit(put(bucket_id, KEY, b"one")))
        assert data_of(store, bucket_id) == b"one"
        running.stop_committer()
        marks = running.counters.marks
        recent.begin_change(marks, {mark_of(bucket_id, KEY)})
        running.start_committer()
        assert not any(mark & 1 for mark in marks), "else the key is never kept again"
        assert isinstance(store._recent.get(bucket_id, KEY, True), int)


class Broken(Committer):
    """Its disk fails within a COMMIT."""

    def _end(self) -> None:
        if Broken.is_broken:
            raise apsw.IOError("injected")
        super()._end()

    is_broken = False


def test_an_outcome_that_nobody_knows(tmp_path: Path) -> None:
    """What is on the disk is seen by the next committer: nothing is kept until it has looked."""
    with Running(tmp_path, Broken) as running, remembering(running) as store:
        bucket_id = running.create()
        running.run(running.meta.submit(put(bucket_id, KEY, b"one")))
        assert data_of(store, bucket_id) == b"one"
        Broken.is_broken = True
        try:
            answer = running.loop.create_task(running.meta.submit(put(bucket_id, KEY, b"two")))
            running.run(asyncio.sleep(0))
            running.thread.join(30)
        finally:
            Broken.is_broken = False
        assert isinstance(running.failure, apsw.IOError)
        assert running.counters.marks[mark_of(bucket_id, KEY)] & 1
        assert data_of(store, bucket_id) == b"one"
        assert isinstance(store._recent.get(bucket_id, KEY, True), int), "read, but not kept"
        running.start_committer()
        running.run(asyncio.wait_for(answer, 30))
        assert data_of(store, bucket_id) == b"two"


def found(data: bytes) -> Found:
    version = ObjectVersion(
        bucket_id=1, key=KEY, seq=1, size=len(data), etag="0" * 32, modified_ms=1, owner=OWNER
    )
    return Found(version, data)


def test_what_is_kept_is_bounded() -> None:
    counters = Counters.anonymous()
    bytes_max = 100 * ENTRY_BYTES
    reads = RecentReads(counters.marks, bytes_max)
    mark = reads.get(1, b"hot", True)
    assert isinstance(mark, int)
    reads.keep(1, b"hot", True, mark, found(b"hot"))
    for number in range(1_000):
        key = b"%d" % number
        mark = reads.get(1, key, True)
        assert isinstance(mark, int)
        reads.keep(1, key, True, mark, found(b"x" * 500))
        assert reads.get(1, b"hot", True) == found(b"hot"), "what is read again and again stays"
    kept = [one for one in range(1_000) if not isinstance(reads.get(1, b"%d" % one, True), int)]
    assert kept
    assert len(kept) * (ENTRY_BYTES + 500) < bytes_max
    mark = reads.get(1, b"large", True)
    assert isinstance(mark, int)
    reads.keep(1, b"large", True, mark, found(b"x" * bytes_max))
    assert isinstance(reads.get(1, b"large", True), int), "one entry does not push out all others"


def test_metadata_and_tags_count() -> None:
    counters = Counters.anonymous()
    reads = RecentReads(counters.marks, 100 * ENTRY_BYTES)
    pairs = {f"name{number}": "x" * 190 for number in range(10)}
    small = found(b"x")
    large = Found(msgspec.structs.replace(small.version, metadata=pairs, tags=pairs), b"x")
    for number in range(200):
        key = b"%d" % number
        mark = reads.get(1, key, True)
        assert isinstance(mark, int)
        reads.keep(1, key, True, mark, large)
    kept = [one for one in range(200) if not isinstance(reads.get(1, b"%d" % one, True), int)]
    assert 5 < len(kept) < 20, "some 8 KiB each"
