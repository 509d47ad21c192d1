"""Any step may fail, or be the last: an upload is there whole, or nothing of it is left."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from holdfast.blobs import fileops, files
from holdfast.blobs.contract import BlobAddress, BlobMissing, DiskFull
from holdfast.blobs.files import FileBlobStore
from holdfast.testing.blob_suite import BUCKET, BytesSource, get, pattern, put, run, swept
from holdfast.testing.fileops import FaultyFileOps

SIZES_BYTES = [5000, 200_001]
STEPS_MAX = 60


def nothing(number: int, kind: str) -> None:
    pass


def fail_at(step: int, code: int) -> Callable[[int, str], None]:
    def before(number: int, kind: str) -> None:
        if number == step:
            raise OSError(code, os.strerror(code))

    return before


class Switch:
    """Faulty operations whose fault can be set after the store is prepared."""

    def __init__(self, root: Path, segments: bool = False) -> None:
        self.ops = FaultyFileOps(lambda number, kind: self.before(number, kind))
        self.before: Callable[[int, str], None] = nothing
        self.store = FileBlobStore(root, ops=self.ops, buffer_bytes=65536, segments=segments)
        self.store.prepare()

    def arm(self, before: Callable[[int, str], None]) -> None:
        self.ops.steps = 0
        self.before = before

    def disarm(self) -> None:
        self.before = nothing


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    made = Switch(tmp_path / "data")
    yield made
    made.disarm()
    assert made.store.buffers_in_use == 0
    made.store.close()


@pytest.fixture(params=["files", "segments"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Switch]:
    made = Switch(tmp_path / "data", segments=request.param == "segments")
    yield made
    made.disarm()
    assert made.store.buffers_in_use == 0
    made.store.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("size", SIZES_BYTES)
@pytest.mark.parametrize(
    ("code", "raised"), [(errno.EIO, OSError), (errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull)]
)
def test_a_failing_step_fails_the_upload_and_nothing_else(
    both: Switch, tmp_path: Path, size: int, code: int, raised: type[OSError]
) -> None:
    """Every step of stage, publish and link fails once; the upload ends well or leaves nothing."""
    switch, store, data = both, both.store, pattern(size)
    other = run(put(store, b"other", "other-2"))
    store.release()
    descriptors = open_descriptors()
    kinds: set[type[OSError]] = set()
    failures = 0
    for step in range(STEPS_MAX):
        switch.arm(fail_at(step, code))
        try:
            address = run(put(store, data))
        except OSError as error:
            kinds.add(type(error))
            failures += 1
            switch.disarm()
            assert run(swept(store)) == [(other, 5)]
        else:
            switch.disarm()
            assert run(get(store, address)) == data
            run(store.remove(address))
        store.release()
        # An error of close itself (the last step) leaves the descriptor closed.
        assert open_descriptors() == descriptors
        assert not os.listdir(tmp_path / "data/tmp")
    assert failures > 8
    assert kinds == {raised}
    assert os.listdir(tmp_path / "data/buckets") == ["other-2"]


def test_a_failing_step_fails_a_link(switch: Switch, tmp_path: Path) -> None:
    store = switch.store
    source = run(put(store, b"linked"))
    for refused in (False, True):
        if refused:
            switch.ops.link = _refuse_links  # type: ignore[method-assign]
        failures = 0
        for step in range(30):
            switch.arm(fail_at(step, errno.ENOSPC))
            try:
                address = run(store.link(source, "other-2"))
            except DiskFull:
                failures += 1
            else:
                switch.disarm()
                assert run(get(store, address)) == b"linked"
                run(store.remove(address))
            switch.disarm()
            assert run(swept(store)) == [(source, 6)]
            assert not os.listdir(tmp_path / "data/tmp")
        assert failures > 4


def _refuse_links(source: str, target: str, /) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("size", SIZES_BYTES)
def test_killed_between_any_two_steps(tmp_path: Path, size: int, segments: bool) -> None:
    """The process ends before each step in turn; acknowledged blobs are whole, tmp/ is wiped."""
    root, data = tmp_path / "data", pattern(size)
    FileBlobStore(root).prepare()
    acknowledged = tmp_path / "acknowledged"
    acknowledged.touch()
    for step in range(STEPS_MAX):
        child = os.fork()
        if child == 0:
            _write_until_killed(root, data, step, acknowledged, segments)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
    else:
        raise AssertionError(f"an upload takes more than {STEPS_MAX} steps")
    assert step > 6
    store = FileBlobStore(root)
    store.prepare()
    assert not os.listdir(root / "tmp")
    numbers = [int(line) for line in acknowledged.read_text().split()]
    assert numbers
    found = dict(run(swept(store)))
    for address in found:
        if address.n in numbers:
            assert run(get(store, address)) == data
    assert {address.n for address in found} >= set(numbers)
    for address in found:
        run(store.remove(address))
    run(swept(store))
    assert not os.listdir(root / "buckets")
    store.close()


def _write_until_killed(
    root: Path, data: bytes, step: int, acknowledged: Path, segments: bool
) -> None:
    def before(number: int, kind: str) -> None:
        if number == step:
            os._exit(9)

    try:
        ops = FaultyFileOps(before)
        store = FileBlobStore(root, ops=ops, buffer_bytes=65536, segments=segments)
        address = run(put(store, data))
        with acknowledged.open("a") as log:
            log.write(f"{address.n}\n")
        run(store.remove(run(put(store, b"more"))))
    except BaseException:  # noqa: BLE001 - the child must not return into pytest
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("size", [100, 200_001])
def test_a_publish_can_lose_its_directory_again_and_again(
    switch: Switch, tmp_path: Path, size: int
) -> None:
    """A remover that always comes between making the directory and using it."""
    lost = 0

    def before(number: int, kind: str) -> None:
        nonlocal lost
        if kind == "rename" and lost < 40:
            lost += 1
            for directory, _, _ in sorted(os.walk(tmp_path / "data/buckets"), reverse=True)[:-1]:
                os.rmdir(directory)

    switch.arm(before)
    address = run(put(switch.store, pattern(size)))
    assert lost == 40
    assert run(get(switch.store, address)) == pattern(size)


def test_a_publish_that_never_gets_its_directory_ends(
    switch: Switch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PLACE_ATTEMPTS_MAX", 5)

    def before(number: int, kind: str) -> None:
        if kind == "rename":
            for directory, _, _ in sorted(os.walk(tmp_path / "data/buckets"), reverse=True)[:-1]:
                os.rmdir(directory)

    switch.arm(before)
    with pytest.raises(OSError, match="again and again"):
        run(put(switch.store, b"x"))
    switch.disarm()
    assert not os.listdir(tmp_path / "data/tmp")


def test_a_directory_in_the_place_of_a_blob_is_no_blob(switch: Switch, tmp_path: Path) -> None:
    address = run(put(switch.store, b"x"))
    digest = address.sha256.hex()
    leaf = tmp_path / "data/buckets" / BUCKET / digest[:2] / digest[2:4]
    path = leaf / f"{digest}-{address.n:x}"
    path.unlink()
    path.mkdir()
    with pytest.raises(BlobMissing):
        run(switch.store.open(address))
    path.rmdir()


# ---- a disk that is full


def test_a_file_size_limit_is_a_full_disk(switch: Switch, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DiskFull):
            run(put(switch.store, pattern(300_000)))
        with pytest.raises(DiskFull):
            run(put(switch.store, pattern(130_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run(swept(switch.store)) == []
    assert not os.listdir(tmp_path / "data/tmp")


def test_an_announced_size_beyond_the_free_space_is_refused_unread(switch: Switch) -> None:
    class Unread(BytesSource):
        async def fill(self, view: memoryview) -> int:
            raise AssertionError("read")

    with pytest.raises(DiskFull):
        run(switch.store.stage(Unread(b""), 1 << 60))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("segments", [False, True])
def test_a_full_disk_reads_and_removes_and_recovers(small_disk: Path, segments: bool) -> None:
    store = FileBlobStore(small_disk / "data", segments=segments)
    store.prepare()

    async def work() -> None:
        kept: list[BlobAddress] = []
        with pytest.raises(DiskFull):  # noqa: PT012 - which one of them fails is the disk's affair
            for _ in range(100):
                kept.append(await put(store, pattern(1_000_000, len(kept))))
        # Also when the size was not announced, so that the writes themselves find the disk full.
        with pytest.raises(DiskFull):
            await (await store.stage(BytesSource(pattern(9_000_000)), None)).publish(BUCKET)
        assert len(kept) > 3
        assert not os.listdir(small_disk / "data/tmp")
        for seed, address in enumerate(kept):
            assert await get(store, address) == pattern(1_000_000, seed)
            assert await store.verify(address)
        await store.remove(kept.pop())
        assert await get(store, await put(store, b"room again")) == b"room again"

    run(work())
    store.close()


def test_verify_finds_rot(switch: Switch, tmp_path: Path) -> None:
    data = pattern(1_000_000)
    address = run(put(switch.store, data))
    assert run(switch.store.verify(address))
    digest = address.sha256.hex()
    name = f"{digest}-{address.n:x}"
    path = tmp_path / "data/buckets" / BUCKET / digest[:2] / digest[2:4] / name
    with path.open("r+b") as file:
        file.seek(999_999)
        file.write(bytes([data[-1] ^ 1]))
    assert not run(switch.store.verify(address))


def test_stale_uploads_are_swept(switch: Switch, tmp_path: Path) -> None:
    tmp = tmp_path / "data/tmp"
    (tmp / "old").touch()
    (tmp / "new").touch()
    os.utime(tmp / "old", (1, 1))
    run(swept(switch.store, 3600))
    assert os.listdir(tmp) == ["new"]


def test_a_closed_store_refuses_uploads(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path / "data")
    store.prepare()
    store.close()
    with pytest.raises(RuntimeError):
        run(store.stage(BytesSource(pattern(3_000_000)), None))


class OddFileOps(FaultyFileOps):
    """`odd`: from then on, so that the store is prepared as usual."""

    odd = False


class NoDirectOpen(OddFileOps):
    """A file system that does not know O_DIRECT."""

    refused = 0

    def open(self, path: str, flags: int, mode: int = 0o600, /) -> int:
        if flags & fileops.O_DIRECT:
            self.refused += 1
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().open(path, flags, mode)


class NoDirectWrite(OddFileOps):
    """A file system that takes O_DIRECT, and then no such write."""

    def pwrite(self, fd: int, data: memoryview, offset: int, /) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & fileops.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().pwrite(fd, data, offset)

    def pwritev(self, fd: int, views: Sequence[memoryview], offset: int, /) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & fileops.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().pwritev(fd, views, offset)


class ShortWrite(OddFileOps):
    """A file system that writes less than it is given."""

    def pwrite(self, fd: int, data: memoryview, offset: int, /) -> int:
        return super().pwrite(fd, data[: max(1, len(data) // 2)], offset)

    def pwritev(self, fd: int, views: Sequence[memoryview], offset: int, /) -> int:
        if not self.odd:
            return super().pwritev(fd, views, offset)
        return super().pwritev(fd, [views[0][: max(1, len(views[0]) // 2)]], offset)


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("ops", [NoDirectOpen, NoDirectWrite, ShortWrite])
def test_odd_file_systems(tmp_path: Path, ops: type[OddFileOps], segments: bool) -> None:
    odd = ops(nothing)
    store = FileBlobStore(tmp_path / "data", ops=odd, segments=segments)
    store.prepare()
    odd.odd = True
    for size in (100, 5000, 100_000, 700_001):
        address = run(put(store, pattern(size)))
        assert run(get(store, address)) == pattern(size)
    if isinstance(odd, NoDirectOpen):
        assert odd.refused == 1
    store.close()


def test_sweep_passes_over_what_is_not_its_own(switch: Switch, tmp_path: Path) -> None:
    address = run(put(switch.store, b"x"))
    digest = address.sha256.hex()
    bucket = tmp_path / "data/buckets" / BUCKET
    leaf = bucket / digest[:2] / digest[2:4]
    (bucket / "00" / "00").mkdir(parents=True)
    for stray in (
        leaf / "README",
        leaf / f"{digest}-",
        leaf / f"{digest}-0{address.n:x}",
        leaf / f"{digest.upper()}-1",
        bucket / "00" / "00" / f"{digest}-1",
        bucket / "stray",
        tmp_path / "data/buckets/stray",
    ):
        stray.touch()
    assert run(swept(switch.store)) == [(address, 1)]


# ---- memory


def test_many_uploads_share_few_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 uploads at once take one buffer each, and few more; idle buffers are bounded too."""
    monkeypatch.setattr(files, "BUFFERS_SHARED_MAX", 8)
    monkeypatch.setattr(files, "BUFFERS_FREE_MAX", 4)
    store = FileBlobStore(tmp_path / "data", buffer_bytes=65536)
    store.prepare()
    data = pattern(500_000)
    most = 0

    class Watching(BytesSource):
        async def fill(self, view: memoryview) -> int:
            nonlocal most
            most = max(most, store.buffers_in_use)
            return await super().fill(view)

    async def one() -> None:
        staged = await store.stage(Watching(data, pause=0), len(data))
        await staged.discard()

    async def work() -> None:
        await asyncio.gather(*(one() for _ in range(50)))

    asyncio.run(work())
    assert 50 <= most <= 50 + 8
    assert store.buffers_in_use == 0
    assert len(store._buffers._free) <= 4
    store.close()


def test_one_upload_takes_few_buffers(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path / "data", buffer_bytes=4096)
    store.prepare()
    most = 0

    class Watching(BytesSource):
        async def fill(self, view: memoryview) -> int:
            nonlocal most
            most = max(most, store.buffers_in_use)
            return await super().fill(view)

    staged = run(store.stage(Watching(pattern(1_000_000)), None))
    run(staged.discard())
    assert 1 <= most <= 4
    store.close()
