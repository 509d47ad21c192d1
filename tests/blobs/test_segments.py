"""Segments: groups with one sync, what fails in them, sealing, holes, and what a crash leaves."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from holdfast.blobs import appending, files, segments
from holdfast.blobs.contract import BlobAddress, BlobMissing, DiskFull
from holdfast.blobs.files import FileBlobStore
from holdfast.blobs.segments import (
    BLOCK_BYTES,
    HEADER_BYTES,
    SEGMENT_FLAG,
    Record,
    decode_header,
    encode_header,
    pack_place,
    record_bytes,
    unpack_place,
)
from holdfast.testing.blob_suite import BUCKET, get, pattern, put, run, swept
from holdfast.testing.fileops import FaultyFileOps

SIZE = 50_000


class Watched:
    """A store whose steps a test counts, holds up and lets fail."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kinds: list[str] = []
        self.before: Callable[[str], None] = lambda kind: None
        self.ops = FaultyFileOps(self._before)
        self.store = FileBlobStore(root, ops=self.ops, buffer_bytes=65536)
        self.store.prepare()

    def _before(self, number: int, kind: str) -> None:
        self.kinds.append(kind)
        self.before(kind)

    def files(self, bucket_dir: str = BUCKET) -> list[Path]:
        return sorted((self.root / "buckets" / bucket_dir / "segments").glob("*"))

    def waiting(self, bucket_dir: str = BUCKET) -> int:
        """Records that wait for the group that is being written."""
        appender = self.store._writer._appenders.get(bucket_dir)
        return len(appender.pending) if appender else 0

    async def held(
        self, kind: str, count: int, then: Callable[[], None] | None = None
    ) -> list[asyncio.Task[BlobAddress]]:
        """Start an upload that is held up in its first step of that kind, then `count` others that
        wait for it together, do `then`, and let go."""
        reached, go = threading.Event(), threading.Event()

        def hold(at: str) -> None:
            if at == kind and not reached.is_set():
                reached.set()
                assert go.wait(20)

        self.before = hold
        tasks = [asyncio.create_task(put(self.store, pattern(SIZE, 1000)))]
        await until(reached.is_set)
        tasks += [
            asyncio.create_task(put(self.store, pattern(SIZE, seed))) for seed in range(count)
        ]
        await until(lambda: self.waiting() == count)
        self.kinds.clear()
        if then is not None:
            then()
        go.set()
        return tasks


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if reached():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("what is waited for does not come")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path / "data")
    yield made
    made.before = lambda kind: None
    assert made.store.buffers_in_use == 0
    made.store.close()


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def segment_of(address: BlobAddress) -> int:
    assert address.n & SEGMENT_FLAG
    return unpack_place(address.n)[0]


def used_bytes(path: Path) -> int:
    """Bytes of data, holes and reserved blocks not counted."""
    count = position = 0
    with path.open("rb") as file:
        while True:
            try:
                start = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:
                return count
            position = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            count += position - start


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
    monkeypatch.setattr(appending, "IDLE_SECONDS", -1.0)
    run(put(watched.store, b"x"))
    (path,) = watched.files()
    run(put(watched.store, b"x", "other-2"))
    run(until(lambda: not is_locked(path)))


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


# ---- addresses


def test_a_file_of_an_earlier_version_may_have_such_a_number(watched: Watched) -> None:
    with closing(FileBlobStore(watched.root, segments=False)) as earlier:
        plain = run(put(earlier, pattern(SIZE)))
    assert not plain.n & SEGMENT_FLAG
    digest = plain.sha256.hex()
    leaf = watched.root / "buckets" / BUCKET / digest[:2] / digest[2:4]
    address = plain._replace(n=plain.n | SEGMENT_FLAG)
    (leaf / f"{digest}-{plain.n:x}").rename(leaf / f"{digest}-{address.n:x}")
    store = watched.store
    run(put(store, b"so that there are segments, too"))
    assert run(get(store, address)) == pattern(SIZE)
    assert run(store.verify(address))
    assert (address, SIZE) in run(swept(store))
    linked = run(store.link(address, "other-2"))
    assert run(get(store, linked)) == pattern(SIZE)
    run(store.remove(address))
    with pytest.raises(BlobMissing):
        run(store.open(address))
    assert run(get(store, linked)) == pattern(SIZE)


def test_records_are_read_where_none_can_be_written(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = run(put(watched.store, pattern(SIZE)))
    watched.store.release()
    with closing(FileBlobStore(watched.root, segments=False)) as other:
        assert run(get(other, address)) == pattern(SIZE)
        linked = run(other.link(address, "other-2"))
        assert not linked.n & SEGMENT_FLAG
        assert run(get(other, linked)) == pattern(SIZE)
        run(other.remove(address))
        assert run(swept(other)) == [(linked, SIZE)]


def _refuse(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("lacking", ["punch", "lock", "pwritev", "holes"])
def test_where_the_file_system_lacks_something_there_are_only_files(
    tmp_path: Path, lacking: str
) -> None:
    ops = FaultyFileOps(lambda number, kind: None)
    if lacking == "holes":  # punched, but not to be found: as where blocks are larger
        ops.seek_data = lambda fd, offset, /: offset  # type: ignore[method-assign]
    else:
        setattr(ops, lacking, _refuse)
    store = FileBlobStore(tmp_path / "data", ops=ops)
    store.prepare()
    assert os.listdir(tmp_path / "data/tmp") == []
    address = run(put(store, pattern(SIZE)))
    assert not address.n & SEGMENT_FLAG
    assert run(get(store, address)) == pattern(SIZE)
    store.close()


def test_a_disk_that_is_full_at_the_start_may_have_room_later(tmp_path: Path) -> None:
    full = True

    def before(number: int, kind: str) -> None:
        if full and kind == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = FileBlobStore(tmp_path / "data", ops=FaultyFileOps(before))
    store.prepare()
    full = False
    assert run(put(store, pattern(SIZE))).n & SEGMENT_FLAG
    store.close()


# ---- what is found in a segment


def test_content_passes_for_no_header(watched: Watched) -> None:
    """Blocks that are valid headers of other records, of their own segment, too."""
    store = watched.store
    known = run(put(store, b"known"))
    number = segment_of(known)
    forged = encode_header(Record(known.n, known.sha256, 5, 0)).ljust(BLOCK_BYTES, b"\0")
    elsewhere = encode_header(Record(pack_place(number, 0), b"\1" * 32, 5, 0))
    content = forged * 3 + elsewhere.ljust(BLOCK_BYTES, b"\0") * 3
    address = run(put(store, content))
    assert dict(run(swept(store))) == {known: 5, address: len(content)}
    _, offset = unpack_place(address.n)
    for block in range(1, 7):
        inside = known._replace(n=pack_place(number, offset + block * BLOCK_BYTES))
        for sha256 in (known.sha256, b"\1" * 32, address.sha256):
            with pytest.raises(BlobMissing):
                run(store.open(inside._replace(sha256=sha256)))
            run(store.remove(inside._replace(sha256=sha256)))
    assert run(get(store, address)) == content
    # Its own header lost, as a crash may leave it: nothing of it passes for a record either.
    store.release()
    (path,) = watched.files()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(BLOCK_BYTES))
    assert run(swept(store)) == [(known, 5)]


def test_a_header_is_of_its_record_alone() -> None:
    record = Record(pack_place(5, 8192), b"\2" * 32, 100, 7)
    data = encode_header(record)
    assert decode_header(data, record.n) == record
    assert unpack_place(record.n) == (5, 8192)
    assert decode_header(data, pack_place(5, 4096)) is None
    assert decode_header(data, pack_place(6, 8192)) is None
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        assert decode_header(bytes(changed), record.n) is None
    assert decode_header(data[:-1], record.n) is None


def _leave(path: Path, records: list[bytes], reserved: int) -> None:
    """Append what a writer leaves that dies."""
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        for data in records:
            file.write(data)
        file.truncate(file.tell() + reserved)


def test_what_a_dead_writer_left_is_swept(watched: Watched) -> None:
    store = watched.store
    address = run(put(store, pattern(SIZE)))
    (path,) = watched.files()
    store.release()
    end = path.stat().st_size
    _leave(path, [bytes(BLOCK_BYTES) + pattern(SIZE, 1)], 1 << 20)
    left = used_bytes(path)
    assert run(swept(store, 3600)) == []
    assert used_bytes(path) == left > end, "it is young: somebody may still look at it"
    assert run(swept(store)) == [(address, SIZE)]
    assert path.stat().st_size == end
    assert used_bytes(path) == end
    assert run(get(store, address)) == pattern(SIZE)


def test_a_record_behind_torn_ones_is_found(watched: Watched) -> None:
    """A crash may keep the last record of a group and lose the ones before."""
    store = watched.store
    first, second, third = (run(put(store, pattern(SIZE, seed))) for seed in range(3))
    store.release()
    (path,) = watched.files()
    with path.open("r+b") as file:
        file.seek(unpack_place(second.n)[1])
        file.write(bytes(BLOCK_BYTES))
    assert dict(run(swept(store))) == {first: SIZE, third: SIZE}
    assert used_bytes(path) == 2 * record_bytes(SIZE)
    assert run(get(store, third)) == pattern(SIZE, 2)


def test_what_is_being_written_is_left_alone(watched: Watched, tmp_path: Path) -> None:
    """A walk sees the data of a record before its header, in a segment that is not sealed."""
    store = watched.store
    address = run(put(store, pattern(SIZE)))
    (path,) = watched.files()
    _, offset = unpack_place(address.n)
    torn = offset + record_bytes(SIZE) + BLOCK_BYTES
    with path.open("r+b") as file:
        file.seek(torn)
        file.write(b"x" * BLOCK_BYTES)
    with closing(FileBlobStore(tmp_path / "data")) as other:
        assert run(swept(other)) == [(address, SIZE)]
    with path.open("rb") as file:
        file.seek(torn)
        assert file.read(BLOCK_BYTES) == b"x" * BLOCK_BYTES


def test_a_young_record_is_not_swept(watched: Watched) -> None:
    store = watched.store
    run(put(store, b"x"))
    store.release()
    (path,) = watched.files()
    os.utime(path, (1, 1))
    assert run(swept(store, 3600)) == []
    assert path.exists()


def test_strange_files_are_left_alone(watched: Watched) -> None:
    store = watched.store
    address = run(put(store, b"x"))
    directory = watched.root / "buckets" / BUCKET / "segments"
    (directory / "README").write_bytes(b"x")
    (directory / "0a").write_bytes(b"x")
    (directory / "abc").mkdir()
    assert run(swept(store)) == [(address, 1)]
    assert len(watched.files()) == 4


# ---- copies


def test_a_copy_of_other_bytes_than_were_stored_is_refused(watched: Watched) -> None:
    store = watched.store
    address = run(put(store, pattern(SIZE)))
    store.release()
    (path,) = watched.files()
    with path.open("r+b") as file:
        file.seek(3 * BLOCK_BYTES)
        file.write(bytes(BLOCK_BYTES))
    with pytest.raises(OSError, match="not the bytes") as caught:
        run(store.link(address, "other-2"))
    assert not isinstance(caught.value, BlobMissing)
    assert run(swept(store)) == [(address, SIZE)]


def test_a_record_may_go_while_it_is_copied(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = watched.store
    address = run(put(store, pattern(SIZE)))
    fill = files._OpenSource.fill

    async def late(self: files._OpenSource, view: memoryview) -> int:
        await store.remove(address)
        return await fill(self, view)

    monkeypatch.setattr(files._OpenSource, "fill", late)
    with pytest.raises(BlobMissing):
        run(store.link(address, "other-2"))
    assert run(swept(store)) == []


# ---- everything at once


def test_writers_readers_and_removers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stores, as of two processes, write, read, copy, remove and sweep the same buckets."""
    monkeypatch.setattr(appending, "SEGMENT_BYTES_MAX", 100_000)
    monkeypatch.setattr(appending, "APPENDERS_MAX", 1)
    stores = [FileBlobStore(tmp_path / "data", buffer_bytes=65536) for _ in range(2)]
    stores[0].prepare()

    async def worker(seed: int) -> None:
        mine, other = stores[seed % 2], stores[(seed + 1) % 2]
        for turn in range(15):
            data = pattern(1000 + 9001 * (seed % 7), seed * 100 + turn)
            address = await put(mine, data, f"bucket-{seed % 3}")
            copied = await other.link(address, f"bucket-{turn % 3}")
            await mine.remove(address)
            assert await get(mine, copied) == data
            assert await other.verify(copied)
            await other.remove(copied)

    async def sweeper(done: Callable[[], bool]) -> None:
        while not done():
            await swept(stores[0])
            await asyncio.sleep(0.005)

    async def work() -> None:
        workers: list[Awaitable[None]] = [worker(seed) for seed in range(10)]
        ended = asyncio.ensure_future(asyncio.gather(*workers))
        await asyncio.gather(ended, sweeper(ended.done))

    asyncio.run(work())
    for store in stores:
        store.close()
    with closing(FileBlobStore(tmp_path / "data")) as last:
        assert run(swept(last)) == []
    assert os.listdir(tmp_path / "data/buckets") == []
