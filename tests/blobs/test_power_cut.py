"""What `publish` and `link` acknowledged survives a power cut after any step.

The proof is by exhaustion over the recorded steps, and the mutants at the end show that it would
find a missing sync: each leaves out one, and each must be caught.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.blobs import appending, layout
from holdfast.blobs.contract import BlobAddress
from holdfast.blobs.files import FileBlobStore
from holdfast.testing.blob_suite import BUCKET, get, pattern, put, run, swept
from holdfast.testing.fileops import Disk, RecordingFileOps

RANDOM_REBUILDS = 1
SIZES_BYTES = [1, 5000, 140_000]


class Lost(AssertionError):
    """Acknowledged bytes did not survive."""


def make_store(ops: RecordingFileOps, segments: bool = False, **options: Any) -> FileBlobStore:
    root = Path(ops.base) / "data"
    store = FileBlobStore(root, ops=ops, buffer_bytes=65536, segments=segments, **options)
    store.prepare()
    return store


async def acknowledged_put(store: FileBlobStore, ops: RecordingFileOps, data: bytes) -> BlobAddress:
    address = await put(store, data)
    ops.mark(("kept", address, data))
    return address


async def everyday(store: FileBlobStore, ops: RecordingFileOps) -> None:
    """Puts at once, a copy into another bucket, removals that take directories away."""
    datas = [pattern(size, seed) for seed, size in enumerate(SIZES_BYTES)]
    addresses = await asyncio.gather(*(acknowledged_put(store, ops, data) for data in datas))
    linked = await store.link(addresses[1], "other-2")
    ops.mark(("kept", linked, datas[1]))
    for address in addresses:
        ops.mark(("going", address, b""))
        await store.remove(address)
    # The directories of the first ones went; the same content brings them back.
    await asyncio.gather(*(acknowledged_put(store, ops, datas[0]) for _ in range(2)))
    await acknowledged_put(store, ops, datas[1])


async def everyday_of_segments(store: FileBlobStore, ops: RecordingFileOps) -> None:
    """Also segments that are sealed, that others follow, and that go with their last record."""
    await everyday(store, ops)
    store.release()
    datas = [pattern(size, seed) for seed, size in enumerate(SIZES_BYTES * 2, 10)]
    addresses = await asyncio.gather(*(acknowledged_put(store, ops, data) for data in datas))
    for address in addresses[::2]:
        ops.mark(("going", address, b""))
        await store.remove(address)
    store.release()
    for address in addresses[1::2]:
        ops.mark(("going", address, b""))
        await store.remove(address)
    await acknowledged_put(store, ops, datas[0])


def check_every_power_cut(ops: RecordingFileOps, scratch: Path) -> int:
    """Raises Lost. Returns how many power cuts were tried."""
    disk = Disk(ops.base)
    chance = random.Random(7)
    kept: dict[BlobAddress, bytes] = {}
    cuts = 0
    for step in ops.steps:
        if step.kind == "mark":
            assert isinstance(step.mark, tuple)
            what, address, data = step.mark
            if what == "kept":
                kept[address] = data
            else:
                del kept[address]
        else:
            disk.apply(step)
        # What is left when all is lost changes only with a sync; what is owed only with a mark.
        strict = [None] if step.kind in ("sync", "mark") else []
        for remains in (*strict, *[chance] * RANDOM_REBUILDS):
            into = scratch / str(cuts)
            disk.rebuild(into, remains)
            run(check_rebuilt(into / "data", kept))
            cuts += 1
    return cuts


async def check_rebuilt(root: Path, kept: dict[BlobAddress, bytes]) -> None:
    store = FileBlobStore(root, durability="relaxed")
    try:
        store.prepare()
        for address, data in kept.items():
            try:
                survived = await get(store, address) == data
            except FileNotFoundError as error:
                raise Lost(f"{error} is gone") from None
            if not survived:
                raise Lost(f"{address} has other bytes")
        # Whatever else is there is garbage with an address, and can be taken away.
        for address, _ in await swept(store):
            if address not in kept:
                await store.remove(address)
        assert {address for address, _ in await swept(store)} == set(kept)
    finally:
        store.close()


@pytest.fixture
def ops(tmp_path: Path) -> RecordingFileOps:
    base = tmp_path / "disk"
    base.mkdir()
    return RecordingFileOps(base)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.mark.parametrize("options", [{}, {"direct": False}, {"sync_order": "sync-first"}])
def test_everything_acknowledged_survives(
    ops: RecordingFileOps, scratch: Path, options: dict[str, Any]
) -> None:
    store = make_store(ops, **options)
    asyncio.run(everyday(store, ops))
    store.close()
    assert check_every_power_cut(ops, scratch) > 100


@pytest.mark.parametrize("options", [{}, {"direct": False}])
@pytest.mark.parametrize("segment_bytes", [1, 1 << 28])
def test_every_acknowledged_record_survives(
    ops: RecordingFileOps,
    scratch: Path,
    options: dict[str, Any],
    segment_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appending, "SEGMENT_BYTES_MAX", segment_bytes)
    store = make_store(ops, segments=True, **options)
    asyncio.run(everyday_of_segments(store, ops))
    store.close()
    assert check_every_power_cut(ops, scratch) > 150


def test_directories_that_another_process_just_made(ops: RecordingFileOps, scratch: Path) -> None:
    """A directory that is there need not be durable: whoever made it may not have synced yet."""
    store = make_store(ops)
    address = run(put(store, b"the same"))
    run(store.remove(address))
    path = f"{ops.base}/data/buckets/{BUCKET}"
    for directory in (path, f"{path}/{address.sha256.hex()[:2]}"):
        ops.mkdir(directory)
    ops.mkdir(f"{path}/{address.sha256.hex()[:2]}/{address.sha256.hex()[2:4]}")
    run(acknowledged_put(store, ops, b"the same"))
    store.close()
    check_every_power_cut(ops, scratch)


def test_a_copy_survives_where_links_are_refused(ops: RecordingFileOps, scratch: Path) -> None:
    def refuse(source: str, target: str, /) -> None:
        raise OSError(errno.EMLINK, "too many links")

    ops.link = refuse  # type: ignore[method-assign]
    store = make_store(ops)
    data = pattern(200_001)

    async def work() -> None:
        address = await put(store, data)
        linked = await store.link(address, "other-2")
        ops.mark(("kept", linked, data))
        await store.remove(address)

    run(work())
    store.close()
    check_every_power_cut(ops, scratch)


def _of_directory(depth: int) -> Callable[[str, str], bool]:
    """Directories so many levels below the base (0: the base, 1: the root, 3: a bucket's)."""
    return lambda path, base: os.path.isdir(path) and path[len(base) :].count("/") == depth


MUTANTS: dict[str, Callable[[str, str], bool]] = {
    "no sync of files": lambda path, base: not os.path.isdir(path),
    "no sync of directories": lambda path, base: os.path.isdir(path),
    "no sync above the root": _of_directory(0),
    "no sync of the root": _of_directory(1),
    "no sync of buckets/": _of_directory(2),
    "no sync of the bucket's directory": _of_directory(3),
    "no sync of ab/ or segments/": _of_directory(4),
    "no sync of ab/cd/": _of_directory(5),
}


class Forgetful(RecordingFileOps):
    """Leaves out the syncs of what `skipped` names."""

    def __init__(self, base: Path, skipped: Callable[[str, str], bool]) -> None:
        super().__init__(base)
        self._skipped = skipped

    def fsync(self, fd: int, /) -> None:
        if not self._skipped(os.readlink(f"/proc/self/fd/{fd}"), self.base):
            super().fsync(fd)

    def fdatasync(self, fd: int, /) -> None:
        if not self._skipped(os.readlink(f"/proc/self/fd/{fd}"), self.base):
            super().fdatasync(fd)


@pytest.mark.parametrize("name", [*MUTANTS][:-1])
def test_a_missing_sync_of_segments_is_caught(tmp_path: Path, scratch: Path, name: str) -> None:
    base = tmp_path / "disk"
    base.mkdir()
    ops = Forgetful(base, MUTANTS[name])
    store = make_store(ops, segments=True)
    asyncio.run(everyday(store, ops))
    store.close()
    with pytest.raises(Lost):
        check_every_power_cut(ops, scratch)


def test_a_bucket_directory_that_another_process_just_made(
    ops: RecordingFileOps, scratch: Path
) -> None:
    """The same for segments: neither the bucket's directory nor theirs need be durable."""
    store = make_store(ops, segments=True)
    address = run(put(store, b"the same"))
    run(store.remove(address))
    store.release()
    path = f"{ops.base}/data/buckets/{BUCKET}"
    for directory in (path, f"{path}/segments"):
        ops.mkdir(directory)
    run(acknowledged_put(store, ops, b"the same"))
    store.close()
    check_every_power_cut(ops, scratch)


@pytest.mark.parametrize("sync_order", ["rename-first", "sync-first"])
@pytest.mark.parametrize("name", MUTANTS)
def test_a_missing_sync_is_caught(
    tmp_path: Path, scratch: Path, name: str, sync_order: str
) -> None:
    base = tmp_path / "disk"
    base.mkdir()
    ops = Forgetful(base, MUTANTS[name])
    store = make_store(ops, sync_order=sync_order)
    asyncio.run(everyday(store, ops))
    store.close()
    with pytest.raises(Lost):
        check_every_power_cut(ops, scratch)


def test_trusting_a_directory_by_its_name_is_caught(ops: RecordingFileOps, scratch: Path) -> None:
    ops.identity = lambda fd, /: (0, 0)  # type: ignore[method-assign]
    with pytest.raises(Lost):
        test_directories_that_another_process_just_made(ops, scratch)


def test_trusting_a_bucket_directory_by_its_name_is_caught(
    ops: RecordingFileOps, scratch: Path
) -> None:
    ops.identity = lambda fd, /: (0, 0)  # type: ignore[method-assign]
    with pytest.raises(Lost):
        test_a_bucket_directory_that_another_process_just_made(ops, scratch)


def test_without_identities_nothing_is_trusted(ops: RecordingFileOps, scratch: Path) -> None:
    ops.identity = lambda fd, /: None  # type: ignore[method-assign]
    test_directories_that_another_process_just_made(ops, scratch)


def test_a_known_directory_is_not_synced_again(ops: RecordingFileOps) -> None:
    store = make_store(ops)
    run(put(store, b"the same"))
    before = len(ops.steps)
    run(put(store, b"the same"))
    store.close()
    syncs = [step for step in ops.steps[before:] if step.kind == "sync"]
    assert len(syncs) == 2  # the file and its directory


def test_a_segment_that_has_a_record_takes_one_sync(ops: RecordingFileOps) -> None:
    store = make_store(ops, segments=True)
    run(put(store, b"first"))
    before = len(ops.steps)
    run(put(store, b"second"))
    store.close()
    assert len([step for step in ops.steps[before:] if step.kind == "sync"]) == 1


def test_the_way_to_a_new_root_is_durable(ops: RecordingFileOps, scratch: Path) -> None:
    store = FileBlobStore(Path(ops.base) / "a/b/data", ops=ops)
    store.prepare()
    store.close()
    disk = Disk(ops.base)
    for step in ops.steps:
        disk.apply(step)
    disk.rebuild(scratch / "all")
    assert (scratch / "all/a/b/data/buckets").is_dir()
    assert (scratch / "all/a/b/data/tmp").is_dir()


@pytest.mark.parametrize("segments", [False, True])
def test_relaxed_durability_syncs_nothing(ops: RecordingFileOps, segments: bool) -> None:
    store = make_store(ops, segments, durability="relaxed")
    asyncio.run(everyday_of_segments(store, ops))
    store.close()
    assert not [step for step in ops.steps if step.kind == "sync"]


def test_what_is_remembered_is_bounded(
    ops: RecordingFileOps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "KNOWN_DIRECTORIES_MAX", 8)
    store = make_store(ops)
    for seed in range(20):
        run(put(store, pattern(10, seed)))
    assert len(store._directories._known) <= 8
    store.close()
