"""Blobs on a local disk: the default store. The layout is described in layout.py.

Content of middle size goes into segments (segments.py), several uploads with one sync; larger
content is a file of its own, and all of it where the file system can't do what segments need.
Whether a blob lies in a segment is told by its address; how it is stored may change with a restart.

Order of a file's publish: the file gets its place first, then its data, its directory and every ancestor
that may be new are synced. Nothing refers to the file before the caller's commit, so this is as
safe as syncing first, and the file system can write it all in one commit of its journal.
A crash leaves at worst a file in tmp/ (wiped at the next start) or a file that no row names.

`durability="relaxed"` leaves out every sync, and goes through the page cache.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

from holdfast.blobs import fileops, holes, walk
from holdfast.blobs.appending import SegmentWriter
from holdfast.blobs.buffers import Buffer, BufferPool
from holdfast.blobs.contract import (
    BlobAddress,
    BlobMissing,
    DiskFull,
    OpenBlob,
    Source,
    Staged,
    new_blob_number,
)
from holdfast.blobs.digests import Digests
from holdfast.blobs.fileops import O_BINARY, O_CLOEXEC, O_NOATIME, SYSTEM, FileOps
from holdfast.blobs.layout import Directories, check_bucket_dir
from holdfast.blobs.segments import SEGMENT_FLAG, RecordBlob, SegmentReader
from holdfast.blobs.upload import Flow, TemporaryFile, as_blob_error

T = TypeVar("T")
#: a buffer with how many bytes are in it
Filled = tuple[Buffer, int]

BUFFER_BYTES = 512 * 1024
#: above this many in use, every upload gets along with one buffer
BUFFERS_SHARED_MAX = 64
BUFFERS_FREE_MAX = 32
#: up to this size an upload stays in its buffer until it is published, and one job writes its file
SMALL_BYTES_MAX = 128 * 1024
#: up to this size it stays in its buffers, and becomes a record of a segment
SEGMENT_CONTENT_BYTES_MAX = 1024 * 1024
#: up to this size hashing costs less than handing it to a thread and back
INLINE_DIGEST_BYTES_MAX = 64 * 1024
#: from this announced size on, an upload is refused when the disk has no room for it
ROOM_CHECK_BYTES_MIN = 1024 * 1024
#: threads that wait for the disk; enough for the file system to share a journal commit among them
DISK_THREADS_MAX = 16
DIGEST_THREADS_MAX = 8
#: how often a publish may lose its directory to a remover
PLACE_ATTEMPTS_MAX = 1000
_CANNOT_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


class FileBlob:
    """An open blob that is a file."""

    __slots__ = ("_ops", "fd", "offset", "size")
    needs_lease = False

    def __init__(self, ops: FileOps, fd: int, size: int) -> None:
        self._ops = ops
        self.fd = fd
        self.offset = 0
        self.size = size

    def close(self) -> None:
        """Close it; once is enough, more does no harm."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            self._ops.close(fd)


class FileBlobStore:
    """A BlobStore below `root`, which must be one file system.

    Belongs to no loop: any loop may call it, in any thread. Its threads are started when first
    needed, so it may be made before a fork. `sync_order` "sync-first" is there to be measured.
    """

    def __init__(
        self,
        root: Path,
        *,
        durability: Literal["full", "relaxed"] = "full",
        direct: bool = True,
        sync_order: Literal["rename-first", "sync-first"] = "rename-first",
        buffer_bytes: int = BUFFER_BYTES,
        segments: bool = True,
        ops: FileOps = SYSTEM,
    ) -> None:
        self._durable = durability == "full"
        self._direct = direct and self._durable and fileops.O_DIRECT_AVAILABLE
        self._rename_first = sync_order == "rename-first"
        self._ops = ops
        self._directories = Directories(os.path.abspath(root), ops, self._durable)
        self._buffers = BufferPool(buffer_bytes, BUFFERS_SHARED_MAX, BUFFERS_FREE_MAX)
        self._disk = ThreadPoolExecutor(DISK_THREADS_MAX, "blob-disk")
        digest_threads = min(DIGEST_THREADS_MAX, max(2, os.cpu_count() or 1))
        self._cpu = ThreadPoolExecutor(digest_threads, "blob-digest")
        #: None: not tried out yet
        self._segments = None if segments and fileops.SEGMENTS_AVAILABLE else False
        self._reader = SegmentReader(self._directories, ops)
        self._writer = SegmentWriter(
            self._directories,
            ops,
            self._disk,
            self._buffers.give,
            durable=self._durable,
            direct=self._direct,
        )
        self._read_flags = os.O_RDONLY | O_CLOEXEC | O_BINARY | O_NOATIME

    def prepare(self) -> None:
        """Make the directories, durably, and remove what cut-off uploads left in tmp/

        Blocks. Only for the process that holds the lock on the store, before anyone uploads.
        """
        self._directories.prepare()
        walk.wipe(self._directories.tmp, self._ops)
        self._can_segments()

    def _can_segments(self) -> bool:
        """Whether content goes into segments. Blocks when it is asked for the first time."""
        if self._segments is None:
            path = f"{self._directories.tmp}/{new_blob_number():x}"
            try:
                self._segments = holes.can_segments(self._ops, path)
            except OSError:
                return False  # not now: the disk is full, or fails
        return self._segments

    def close(self) -> None:
        """End the threads, after what they are doing, and what is kept open. Blocks."""
        self._disk.shutdown()
        self._cpu.shutdown()
        self.release()

    def release(self) -> None:
        """Seal the segments that this process writes to, and close those that it keeps open."""
        self._writer.seal_all()
        self._reader.forget()

    # ---- writing

    async def stage(
        self, source: Source, size_bytes: int | None, algorithms: tuple[str, ...] = ()
    ) -> Staged:
        digests = Digests(algorithms)
        if size_bytes is not None and size_bytes >= ROOM_CHECK_BYTES_MIN:
            self._check_room(size_bytes)
        filled, ended = await self._receive(source, size_bytes)
        if ended:
            try:
                await self._digest_small(digests, filled)
            except BaseException:
                self.give_back(filled)
                raise
            return StagedInMemory(self, digests, filled)
        file = self._new_file()
        flow = Flow(self._buffers, digests, file, self._cpu, self._disk)
        try:
            size = await flow.run(source, filled)
        except BaseException as error:  # noqa: BLE001 - raised again below
            await self.in_thread(file.discard)
            raise as_blob_error(error) from None
        return StagedFile(self, digests, file, size)

    async def _receive(self, source: Source, size_bytes: int | None) -> tuple[list[Filled], bool]:
        """The beginning of an upload in buffers, and whether that is all of it and to be kept so."""
        size_max = SEGMENT_CONTENT_BYTES_MAX if self._segments else SMALL_BYTES_MAX
        filled: list[Filled] = []
        size = 0
        buffer: Buffer | None = self._buffers.take()
        while buffer is not None:
            try:
                count = await source.fill(buffer.view)
            except BaseException:
                self.give_back([*filled, (buffer, 0)])
                raise
            filled.append((buffer, count))
            size += count
            if count < self._buffers.size_bytes:
                return filled, size <= size_max
            # One buffer more than it takes finds the end; an announcement may be wrong, too.
            if size_bytes is None or max(size, size_bytes) > size_max:
                break
            buffer = self._buffers.take_further()
        return filled, False

    def _check_room(self, size_bytes: int) -> None:
        # Better now than after the disk was filled to the last byte for everyone else.
        try:
            free = self._ops.free_bytes(self._directories.tmp)
        except (OSError, AttributeError):
            return
        if free < size_bytes:
            raise DiskFull(errno.ENOSPC, os.strerror(errno.ENOSPC), self._directories.tmp)

    async def _digest_small(self, digests: Digests, filled: list[Filled]) -> None:
        views = [buffer.view[:count] for buffer, count in filled]
        if len(views) == 1 and len(views[0]) <= INLINE_DIGEST_BYTES_MAX:
            digests.update(views[0])
            return
        # Should this be cancelled, the threads only read what others write by then.
        await _both(
            self._cpu,
            lambda: _update(digests.update_md5, views),
            lambda: _update(digests.update_others, views),
        )

    def _new_file(self, buffered: bool = False) -> TemporaryFile:
        path = f"{self._directories.tmp}/{new_blob_number():x}"
        return TemporaryFile(self._ops, path, self._direct and not buffered)

    def settle(self, file: TemporaryFile, address: BlobAddress) -> None:
        """Give a written file its address, durably, and close it. Blocks.

        On an error nothing of it remains, neither here nor there.
        """
        path = self._directories.path(address)
        placed = False
        self._direct = self._direct and not file.direct_refused
        try:
            if self._durable and not self._rename_first:
                self._ops.fdatasync(file.fd)
            self._place(self._ops.rename, file.path, path)
            placed = True
            if self._durable:
                if self._rename_first:
                    self._ops.fdatasync(file.fd)
                self._directories.sync_for(path)
            file.close()
        except BaseException as error:  # noqa: BLE001 - raised again below
            file.discard()
            if placed:
                self._remove_quietly(path)
            raise as_blob_error(error) from None

    def _place(self, step: Callable[[str, str], None], source: str, target: str) -> None:
        """Rename or link `source` to `target`; make its directories if they are not there."""
        for _ in range(PLACE_ATTEMPTS_MAX):
            try:
                return step(source, target)
            except FileNotFoundError:
                if not os.path.lexists(source):
                    raise
            self._directories.make_for(target)
        raise OSError(errno.EAGAIN, "its directory is removed again and again", target)

    def _remove_quietly(self, path: str) -> None:
        try:
            self._directories.remove(path)
        except OSError:
            pass  # garbage that `sweep` finds

    async def link(self, source: BlobAddress, bucket_dir: str) -> BlobAddress:
        blob = self._open_record(source)
        if blob is not None:
            return await self._copy_record(blob, source, bucket_dir)
        address = self.new_address(bucket_dir, source.sha256)
        origin, path = self._directories.path(source), self._directories.path(address)

        await self.in_thread(lambda: self._link(origin, path, address))
        return address

    async def _copy_record(
        self, blob: RecordBlob, source: BlobAddress, bucket_dir: str
    ) -> BlobAddress:
        """Another record of the same bytes; or a file, if they are too many for a record now."""
        try:
            check_bucket_dir(bucket_dir)
            staged = await self.stage(_OpenSource(blob, self.in_thread), blob.size)
        finally:
            blob.close()
        if staged.sha256 != source.sha256:
            await staged.discard()
            if self._open_record(source) is None:  # it went meanwhile, so that zeros were read
                raise BlobMissing(errno.ENOENT, "no such blob", self._directories.path(source))
            raise OSError(
                errno.EIO, "not the bytes that were stored", self._directories.path(source)
            )
        return await staged.publish(bucket_dir)

    def _link(self, origin: str, path: str, address: BlobAddress) -> None:
        placed = False
        try:
            self._place(self._ops.link, origin, path)
            placed = True
            if self._durable:
                self._directories.sync_for(path)
        except FileNotFoundError:
            raise BlobMissing(errno.ENOENT, "no such blob", origin) from None
        except OSError as error:
            if placed:
                self._remove_quietly(path)
            elif error.errno in _CANNOT_LINK:
                return self._copy(origin, address)
            raise as_blob_error(error) from None

    def _copy(self, origin: str, address: BlobAddress) -> None:
        file = self._new_file(buffered=True)
        try:
            self._copy_bytes(origin, file)
        except BaseException as error:  # noqa: BLE001 - raised again below
            file.discard()
            raise as_blob_error(error) from None
        self.settle(file, address)

    def _copy_bytes(self, origin: str, file: TemporaryFile) -> None:
        blob = self._open(origin)
        try:
            file.create()
            offset = 0
            while offset < blob.size:
                count = self._ops.copy_range(blob.fd, file.fd, blob.size - offset, offset)
                if count == 0:
                    raise OSError(errno.EIO, "a copy came to nothing", origin)
                offset += count
        finally:
            blob.close()

    # ---- reading

    async def open(self, address: BlobAddress) -> OpenBlob:
        return self._open_blob(address)

    def _open_blob(self, address: BlobAddress) -> RecordBlob | FileBlob:
        # Files of earlier versions have numbers of 63 bits: what is no record may be one of them.
        return self._open_record(address) or self._open(self._directories.path(address))

    def _open_record(self, address: BlobAddress) -> RecordBlob | None:
        """None when the address is not that of a record that is there."""
        if address.n & SEGMENT_FLAG:
            return self._reader.open(*address)
        return None

    def _open(self, path: str) -> FileBlob:
        try:
            fd = self._ops.open(path, self._read_flags)
        except FileNotFoundError:
            raise BlobMissing(errno.ENOENT, "no such blob", path) from None
        except PermissionError:
            if not self._read_flags & O_NOATIME:
                raise
            # Only the owner of a file may leave its access time alone.
            self._read_flags &= ~O_NOATIME
            return self._open(path)
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            self._ops.close(fd)
            raise BlobMissing(errno.ENOENT, "not a regular file", path)
        return FileBlob(self._ops, fd, state.st_size)

    async def verify(self, address: BlobAddress) -> bool:
        blob = self._open_blob(address)
        try:
            digest = await walk.blob_sha256(blob, self._buffers, self.in_thread)
        finally:
            blob.close()
        return digest == address.sha256

    # ---- removing

    async def remove(self, address: BlobAddress) -> None:
        path = self._directories.path(address)
        await self.in_thread(lambda: self._remove(address, path))

    def _remove(self, address: BlobAddress, path: str) -> None:
        if not (
            address.n & SEGMENT_FLAG and holes.remove_record(self._directories, self._ops, address)
        ):
            self._directories.remove(path)

    async def remove_bucket(self, bucket_dir: str) -> None:
        path = self._directories.bucket(bucket_dir)
        await self.in_thread(lambda: self._writer.seal_bucket(bucket_dir))
        steps = walk.remove_tree(path, self._ops)
        while await self.in_thread(lambda: next(steps, None)) is not None:
            pass
        self._reader.forget(bucket_dir)

    async def sweep(self, older_than_seconds: float) -> AsyncIterator[tuple[BlobAddress, int]]:
        directories = self._directories
        await self.in_thread(lambda: walk.wipe(directories.tmp, self._ops, older_than_seconds))
        batches = walk.old_blobs(directories, self._ops, older_than_seconds)
        try:
            while (batch := await self.in_thread(lambda: next(batches, None))) is not None:
                for found in batch:
                    yield found
        finally:
            try:
                batches.close()
            except ValueError:
                pass  # cancelled while a thread is in a step: it ends with its last reference

    # ---- for the uploads that this store staged

    def new_address(self, bucket_dir: str, sha256: bytes) -> BlobAddress:
        """Raises ValueError for a bucket_dir that is no plain name."""
        check_bucket_dir(bucket_dir)
        return BlobAddress(bucket_dir, sha256, new_blob_number())

    def give_back(self, filled: list[Filled]) -> None:
        for buffer, _ in filled:
            self._buffers.give(buffer)

    async def publish(self, bucket_dir: str, sha256: bytes, filled: list[Filled]) -> BlobAddress:
        """Give what is in buffers its place, as a record or a file. The buffers are the store's."""
        try:
            check_bucket_dir(bucket_dir)
            as_record = self._segments
            if as_record is None:
                as_record = await self.in_thread(self._can_segments)
        except BaseException:
            self.give_back(filled)
            raise
        if as_record:
            n = await self._writer.append(bucket_dir, sha256, filled)
            return BlobAddress(bucket_dir, sha256, n)
        address = self.new_address(bucket_dir, sha256)
        await self.in_thread(lambda: self._write_file(filled, address))
        return address

    def _write_file(self, filled: list[Filled], address: BlobAddress) -> None:
        file = self._new_file()
        try:
            offset = 0
            for buffer, count in filled:
                file.write(buffer.view[:count], offset)
                offset += count
        except BaseException as error:  # noqa: BLE001 - raised again below
            file.discard()
            raise as_blob_error(error) from None
        finally:
            self.give_back(filled)
        self.settle(file, address)

    @property
    def buffers_in_use(self) -> int:
        """Buffers that uploads hold now, for the metrics."""
        return self._buffers.in_use

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, function)


class _StagedUpload:
    """What both kinds of staged uploads share: the digests, and that they end only once."""

    def __init__(self, store: FileBlobStore, digests: Digests, size: int) -> None:
        self._store = store
        self._ended = False
        self.size = size
        self.md5 = digests.md5()
        self.sha256 = digests.sha256()
        self.checksums = digests.checksums()

    def _end(self) -> None:
        if self._ended:
            raise RuntimeError("a staged upload is published or discarded once")
        self._ended = True


class StagedInMemory(_StagedUpload):
    """An upload that is still in its buffers: nothing of it is on the disk before `publish`."""

    def __init__(self, store: FileBlobStore, digests: Digests, filled: list[Filled]) -> None:
        super().__init__(store, digests, sum(count for _, count in filled))
        self._filled = filled

    async def publish(self, bucket_dir: str) -> BlobAddress:
        self._end()
        filled, self._filled = self._filled, []
        return await self._store.publish(bucket_dir, self.sha256, filled)

    async def discard(self) -> None:
        self._ended = True
        filled, self._filled = self._filled, []
        self._store.give_back(filled)


class _OpenSource:
    """An open blob as the source of another."""

    def __init__(self, blob: OpenBlob, in_thread: Callable[[Callable[[], int]], Awaitable[int]]):
        self._blob = blob
        self._in_thread = in_thread
        self._read = 0

    async def fill(self, view: memoryview) -> int:
        blob = self._blob
        view = view[: blob.size - self._read]
        if not view:
            return 0
        count = await self._in_thread(lambda: os.preadv(blob.fd, [view], blob.offset + self._read))
        if count < len(view):
            raise OSError(errno.EIO, "the blob is shorter than its size")
        self._read += count
        return count


class StagedFile(_StagedUpload):
    """An upload that lies in tmp/."""

    def __init__(
        self, store: FileBlobStore, digests: Digests, file: TemporaryFile, size: int
    ) -> None:
        super().__init__(store, digests, size)
        self._file = file

    async def publish(self, bucket_dir: str) -> BlobAddress:
        self._end()
        try:
            address = self._store.new_address(bucket_dir, self.sha256)
        except ValueError:
            await self._store.in_thread(self._file.discard)
            raise
        await self._store.in_thread(lambda: self._store.settle(self._file, address))
        return address

    async def discard(self) -> None:
        if not self._ended:
            self._ended = True
            await self._store.in_thread(self._file.discard)


async def _both(executor: Executor, first: Callable[[], None], second: Callable[[], None]) -> None:
    """Run two jobs side by side; the one that ends last wakes the loop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    left = [first, second]
    errors: list[BaseException] = []

    def work(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised again in the loop
            errors.append(error)
        left.pop()
        if not left:
            try:
                loop.call_soon_threadsafe(_finish, done, errors)
            except RuntimeError:
                pass  # the loop was closed meanwhile: nobody waits any more

    for job in (first, second):
        executor.submit(work, job)
    await done


def _finish(done: asyncio.Future[None], errors: list[BaseException]) -> None:
    if done.done():
        return
    if errors:
        done.set_exception(errors[0])
    else:
        done.set_result(None)


def _update(update: Callable[[memoryview], None], views: list[memoryview]) -> None:
    for view in views:
        update(view)
