"""Appending to segments: groups with one sync, what fails in them, and how segments come and go."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from holdfast.blobs import appending, segments
from holdfast.blobs.contract import BlobAddress, BlobMissing, DiskFull
from holdfast.blobs.files import FileBlobStore
from holdfast.blobs.segments import (
    BLOCK_BYTES,
    HEADER_BYTES,
    record_bytes,
    unpack_place,
)
from holdfast.testing.blob_suite import BUCKET, get, pattern, put, run, swept
from tests.blobs.watched import SIZE, Watched, is_locked, segment_of, until, used_bytes

# ---- groups


def test_what_waits_together_is_synced_once(watched: Watched) -> None:
    async def work() -> None:
        tasks = await watched.held("sync", 40)
        addresses = await asyncio.gather(*tasks)
        # what is left of the first group (its directories), then one write and one sync
        assert watched.kinds.count("write") == 1
        assert watched.kinds[watched.kinds.index("write") :].count("sync") == 1
        assert len({segment_of(address) for address in addresses}) == 1
        for seed, address in enumerate(addresses[1:]):
            assert await get(watched.store, address) == pattern(SIZE, seed)

    asyncio.run(work())


@pytest.mark.parametrize(("records", "size_max"), [(7, 1 << 30), (100, 7 * record_bytes(SIZE))])
def test_a_group_is_bounded(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, records: int, size_max: int
) -> None:
    monkeypatch.setattr(appending, "GROUP_RECORDS_MAX", records)
    monkeypatch.setattr(appending, "GROUP_BYTES_MAX", size_max)

    async def work() -> None:
        await asyncio.gather(*await watched.held("sync", 21))
        assert watched.kinds.count("write") == 3

    asyncio.run(work())


def _fail(watched: Watched, kind: str, code: int) -> None:
    """Let the next step of that kind fail, and no other."""

    def before(at: str) -> None:
        if at == kind:
            watched.before = lambda kind: None
            raise OSError(code, os.strerror(code))

    watched.before = before


@pytest.mark.parametrize(
    ("kind", "code", "raised"),
    [
        ("write", errno.ENOSPC, DiskFull),
        ("write", errno.EIO, OSError),
        ("sync", errno.EIO, OSError),
        ("sync", errno.EDQUOT, DiskFull),
    ],
)
def test_a_failure_is_that_of_its_group_alone(
    watched: Watched, kind: str, code: int, raised: type[OSError]
) -> None:
    async def work() -> None:
        store = watched.store
        old = await put(store, b"old")
        tasks = await watched.held("write", 5, then=lambda: _fail_next_group(watched, kind, code))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        watched.before = lambda kind: None
        assert isinstance(results[0], BlobAddress)
        assert [type(result) for result in results[1:]] == [raised] * 5
        assert len({id(result) for result in results}) == 6
        later = await put(store, b"later")
        sealed = segment_of(later) != segment_of(old)
        assert sealed == (kind == "sync"), "after a failed sync nobody knows what is there"
        found = {address for address, _ in await swept(store)}
        assert found == {old, results[0], later}
        first = (results[0], pattern(SIZE, 1000))
        for address, data in ((old, b"old"), first, (later, b"later")):
            assert await get(store, address) == data

    asyncio.run(work())


def _fail_next_group(watched: Watched, kind: str, code: int) -> None:
    """The group that is held up goes on; of the next one, the step fails."""
    seen = 0

    def before(at: str) -> None:
        nonlocal seen
        seen += at == kind
        # The write that is held up has begun already; its sync comes first.
        if at == kind and seen == (1 if kind == "write" else 2):
            raise OSError(code, os.strerror(code))

    watched.before = before


def test_a_failed_place_is_not_given_out_again(watched: Watched) -> None:
    """Who saw the record of a failed write by its address must not take the next one for it."""
    store = watched.store
    old = run(put(store, b"old"))
    _fail(watched, "write", errno.ENOSPC)
    with pytest.raises(DiskFull):
        run(put(store, b"x"))
    later = run(put(store, b"x"))
    assert segment_of(later) == segment_of(old)
    assert unpack_place(later.n)[1] > unpack_place(old.n)[1] + record_bytes(3)


def test_on_a_full_disk_nothing_stays_reserved(watched: Watched) -> None:
    store = watched.store
    run(put(store, b"x", "other-2"))
    (path,) = watched.files("other-2")
    assert path.stat().st_size > record_bytes(1)
    _fail(watched, "write", errno.ENOSPC)
    with pytest.raises(DiskFull):
        run(put(store, b"x"))
    assert path.stat().st_size == record_bytes(1)


def test_a_part_of_a_group_that_was_written_is_cut_off(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = watched.store
    old = run(put(store, b"old"))
    write = watched.ops.pwritev

    def half(fd: int, views: list[memoryview], offset: int, /) -> int:
        if offset % BLOCK_BYTES or len(views[0]) < 20_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, [views[0][:-12_288]], offset)

    monkeypatch.setattr(watched.ops, "pwritev", half)
    with pytest.raises(DiskFull):
        run(put(store, pattern(SIZE)))
    (path,) = watched.files()
    assert used_bytes(path) == record_bytes(3)
    assert run(swept(store)) == [(old, 3)]


def test_a_cancelled_upload_breaks_no_other(watched: Watched) -> None:
    async def work() -> None:
        tasks = await watched.held("sync", 6)
        tasks[0].cancel()  # it is being written
        tasks[3].cancel()  # it waits
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [result for result in results if isinstance(result, BlobAddress)]
        assert len(kept) == 5
        for address, seed in zip(kept, (0, 1, 3, 4, 5), strict=True):
            assert await get(watched.store, address) == pattern(SIZE, seed)
        await until(lambda: watched.store.buffers_in_use == 0)
        # of the first one there is a record that nobody knows, for the sweep
        assert len(await swept(watched.store)) == 6

    asyncio.run(work())


def test_a_buffer_is_not_given_back_while_it_is_written(watched: Watched) -> None:
    async def work() -> None:
        reached, go = threading.Event(), threading.Event()

        def hold(kind: str) -> None:
            if kind == "write":
                reached.set()
                assert go.wait(20)

        watched.before = hold
        task = asyncio.create_task(put(watched.store, pattern(SIZE)))
        await until(reached.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert watched.store.buffers_in_use == 1
        go.set()
        await until(lambda: watched.store.buffers_in_use == 0)
        ((address, size),) = await swept(watched.store)
        assert await get(watched.store, address) == pattern(size)

    asyncio.run(work())


def test_padding_tells_nothing_of_other_uploads(watched: Watched) -> None:
    """Buffers are used again; what lies behind a content in its last block is zeros."""
    store = watched.store
    run(put(store, b"secret" * 10_000))
    address = run(put(store, b"x"))
    _, offset = unpack_place(address.n)
    (path,) = watched.files()
    data = path.read_bytes()[offset : offset + record_bytes(1)]
    assert data[HEADER_BYTES:].strip(b"\0") == b"x"


# ---- segments come and go


def test_a_full_segment_is_sealed_and_another_follows(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "SEGMENT_BYTES_MAX", 2 * record_bytes(SIZE))
    addresses = [run(put(watched.store, pattern(SIZE, seed))) for seed in range(5)]
    same = [segment_of(a) == segment_of(b) for a, b in pairwise(addresses)]
    assert same == [True, False, True, False]
    assert [is_locked(path) for path in watched.files()].count(True) == 1
    for path in watched.files():
        if not is_locked(path):
            assert path.stat().st_size == 2 * record_bytes(SIZE), "nothing stays reserved"
    for seed, address in enumerate(addresses):
        assert run(get(watched.store, address)) == pattern(SIZE, seed)


def test_few_segments_are_open_for_writing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "APPENDERS_MAX", 2)
    buckets = [f"bucket-{number}" for number in range(6)]
    for name in buckets:
        run(put(watched.store, b"x", name))

    def locked() -> list[bool]:
        return [is_locked(path) for name in buckets for path in watched.files(name)]

    run(until(lambda: locked().count(True) <= 2))  # a thread seals the last one
    assert locked() == [False] * 4 + [True] * 2


def test_an_idle_segment_is_sealed(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "IDLE_SECONDS", 0.05)

    async def putting_then_nothing() -> None:
        await put(watched.store, b"x")
        (path,) = watched.files()
        await until(lambda: not is_locked(path))
        await put(watched.store, b"y")
        await until(lambda: not any(is_locked(path) for path in watched.files()))

    run(putting_then_nothing())
    assert len(watched.files()) == 2


def test_loops_that_take_turns_have_one_timer(watched: Watched) -> None:
    with closing(asyncio.new_event_loop()) as one, closing(asyncio.new_event_loop()) as other:
        for _ in range(3):
            one.run_until_complete(put(watched.store, b"x"))
            other.run_until_complete(put(watched.store, b"y"))
        timers = [*getattr(one, "_scheduled"), *getattr(other, "_scheduled")]  # noqa: B009
        assert len(timers) == 1


def test_few_segments_are_open_for_reading(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "SEGMENT_BYTES_MAX", 1)
    monkeypatch.setattr(segments, "OPEN_SEGMENTS_MAX", 3)
    store = watched.store
    addresses = [run(put(store, pattern(100, seed))) for seed in range(8)]
    watched.store.release()
    before = len(os.listdir("/proc/self/fd"))
    held, also = run(store.open(addresses[0])), run(store.open(addresses[0]))
    for seed, address in enumerate(addresses):
        assert run(get(store, address)) == pattern(100, seed)
    assert len(os.listdir("/proc/self/fd")) == before + 3 + 1
    also.close()
    assert os.pread(held.fd, held.size, held.offset) == pattern(100, 0)
    held.close()
    assert len(os.listdir("/proc/self/fd")) == before + 3


def test_a_sealed_segment_goes_with_its_last_record(watched: Watched, tmp_path: Path) -> None:
    store = watched.store
    addresses = [run(put(store, pattern(SIZE, seed))) for seed in range(3)]
    (path,) = watched.files()
    run(store.remove(addresses[1]))
    assert used_bytes(path) == 2 * record_bytes(SIZE), "its blocks are given back"
    store.release()
    with closing(FileBlobStore(tmp_path / "data")) as other:
        run(other.remove(addresses[0]))
        assert path.exists()
        run(other.remove(addresses[2]))
    assert os.listdir(tmp_path / "data/buckets") == []
    with pytest.raises(BlobMissing):
        run(store.open(addresses[0]))


def test_a_segment_that_may_still_grow_stays(watched: Watched, tmp_path: Path) -> None:
    store = watched.store
    address = run(put(store, b"x"))
    (path,) = watched.files()
    with closing(FileBlobStore(tmp_path / "data")) as other:
        run(other.remove(address))
        assert run(swept(other)) == []
    assert path.exists()
    later = run(put(store, b"later"))
    assert segment_of(later) == segment_of(address)
    assert run(get(store, later)) == b"later"
    run(store.remove(later))
    store.release()
    assert os.listdir(tmp_path / "data/buckets") == [], "sealed, its maker takes it away"


@pytest.mark.parametrize("how", ["locked", "removed", "directory removed"])
def test_a_walker_may_come_before_a_new_segment_is_locked(watched: Watched, how: str) -> None:
    """It takes the new file for an empty one; the writer makes another."""
    fds: list[int] = []
    met: list[Path] = []

    def before(kind: str) -> None:
        if kind != ("create" if how == "directory removed" else "lock") or len(met) > 2:
            return
        if how == "directory removed":
            directory = watched.root / "buckets" / BUCKET / "segments"
            if directory.exists():
                met.append(directory)
                directory.rmdir()
            return
        path = [path for path in watched.files() if path not in met][-1]
        met.append(path)
        if how == "locked":
            fds.append(os.open(path, os.O_RDONLY))
            fcntl.flock(fds[-1], fcntl.LOCK_EX)
        else:
            path.unlink()

    watched.before = before
    address = run(put(watched.store, pattern(SIZE)))
    watched.before = lambda kind: None
    assert met
    assert run(get(watched.store, address)) == pattern(SIZE)
    for fd in fds:
        os.close(fd)
    watched.store.release()
    assert run(swept(watched.store)) == [(address, SIZE)]
    assert len(watched.files()) == 1, "what was left empty is swept"


def test_nothing_is_appended_to_a_removed_bucket(watched: Watched) -> None:
    store = watched.store
    address = run(put(store, b"x"))
    (path,) = watched.files()
    path.unlink()
    other = run(put(store, b"x"))
    assert segment_of(other) != segment_of(address)
    assert run(get(store, other)) == b"x"
    run(store.remove_bucket(BUCKET))
    with pytest.raises(BlobMissing):
        run(store.open(other))
    again = run(put(store, b"again"))
    assert run(get(store, again)) == b"again"


def test_an_unlinked_segment_is_not_kept_open(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = watched.store
    address = run(put(store, b"x"))
    assert run(get(store, address)) == b"x"
    (path,) = watched.files()
    path.unlink()
    monkeypatch.setattr(segments, "LINKED_SECONDS", -1.0)
    with pytest.raises(BlobMissing):
        run(store.open(address))


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_changes_nothing_of_its_parents(watched: Watched) -> None:
    """A fork shares the descriptor and the lock, and knows an end that the parent goes beyond."""
    store = watched.store
    first = run(put(store, pattern(SIZE, 1)))
    (path,) = watched.files()
    come_in, come_out = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.read(come_in[0], 1)
            store.release()
            os.write(come_out[1], b"x")
        finally:
            os._exit(0)
    second = run(put(store, pattern(SIZE, 2)))
    os.write(come_in[1], b"x")
    assert os.read(come_out[0], 1) == b"x"
    os.waitpid(child, 0)
    for fd in (*come_in, *come_out):
        os.close(fd)
    assert is_locked(path)
    third = run(put(store, pattern(SIZE, 3)))
    for address, seed in ((first, 1), (second, 2), (third, 3)):
        assert segment_of(address) == segment_of(first)
        assert run(get(store, address)) == pattern(SIZE, seed)
