"""Records of segments: addresses, headers, holes, copies, and what a crash leaves."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.blobs import appending, files
from holdfast.blobs.contract import BlobMissing
from holdfast.blobs.files import FileBlobStore
from holdfast.blobs.segments import (
    BLOCK_BYTES,
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
from tests.blobs.watched import SIZE, Watched, segment_of, used_bytes

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


def test_records_go_where_data_was_moved_to_a_file_system_without_holes(watched: Watched) -> None:
    first, second, third = (run(put(watched.store, pattern(SIZE, seed))) for seed in range(3))
    (path,) = watched.files()
    watched.store.release()
    ops = FaultyFileOps(lambda number, kind: None)
    setattr(ops, "punch", _refuse)  # noqa: B010
    ops.seek_data = lambda fd, offset, /: (  # type: ignore[method-assign]
        offset if offset < os.fstat(fd).st_size else None
    )
    ops.seek_hole = lambda fd, offset, /: os.fstat(fd).st_size  # type: ignore[method-assign]
    with closing(FileBlobStore(watched.root, ops=ops)) as moved:
        run(moved.remove(second))
        with pytest.raises(BlobMissing):
            run(moved.open(second))
        assert run(swept(moved)) == [(first, SIZE), (third, SIZE)]
        assert run(get(moved, third)) == pattern(SIZE, 2)
        run(moved.remove(third))
        assert run(swept(moved)) == [(first, SIZE)]
        assert path.stat().st_size == record_bytes(SIZE)
        assert run(get(moved, first)) == pattern(SIZE)
        run(moved.remove(first))
        assert run(swept(moved)) == []
    assert not path.exists()


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
