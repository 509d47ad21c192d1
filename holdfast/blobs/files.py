"""Blobs as files on a local disk: the default store. The layout is described in layout.py.

Order of a publish: the file gets its place first, then its data, its directory and every ancestor
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
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

from holdfast.blobs import fileops, walk
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
from holdfast.blobs.upload import Flow, TemporaryFile, as_blob_error

T = TypeVar("T")

BUFFER_BYTES = 512 * 1024
#: above this many in use, every upload gets along with one buffer
BUFFERS_SHARED_MAX = 64
BUFFERS_FREE_MAX = 32
#: up to this size an upload stays in its buffer until it is published, and one job writes it
SMALL_BYTES_MAX = 128 * 1024
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
    """An open blob."""

    __slots__ = ("_ops", "fd", "size")

    def __init__(self, ops: FileOps, fd: int, size: int) -> None:
        self._ops = ops
        self.fd = fd
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
        self._read_flags = os.O_RDONLY | O_CLOEXEC | O_BINARY | O_NOATIME

    def prepare(self) -> None:
        """Make the directories, durably, and remove what cut-off uploads left in tmp/

        Blocks. Only for the process that holds the lock on the store, before anyone uploads.
        """
        self._directories.prepare()
        walk.wipe(self._directories.tmp, self._ops)

    def close(self) -> None:
        """End the threads, after what they are doing. Blocks."""
        self._disk.shutdown()
        self._cpu.shutdown()

    # ---- writing

    async def stage(
        self, source: Source, size_bytes: int | None, algorithms: tuple[str, ...] = ()
    ) -> Staged:
        digests = Digests(algorithms)
        if size_bytes is not None and size_bytes >= ROOM_CHECK_BYTES_MIN:
            self._check_room(size_bytes)
        buffer = self._buffers.take()
        try:
            count = await source.fill(buffer.view)
        except BaseException:
            self._buffers.give(buffer)
            raise
        if count <= SMALL_BYTES_MAX and count < self._buffers.size_bytes:
            await self._digest_small(digests, buffer.view[:count])
            return StagedInMemory(self, digests, buffer, count)
        file = self._new_file()
        flow = Flow(self._buffers, digests, file, self._cpu, self._disk)
        try:
            size = await flow.run(source, buffer, count)
        except BaseException as error:  # noqa: BLE001 - raised again below
            await self.in_thread(file.discard)
            raise as_blob_error(error) from None
        return StagedFile(self, digests, file, size)

    def _check_room(self, size_bytes: int) -> None:
        # Better now than after the disk was filled to the last byte for everyone else.
        try:
            free = self._ops.free_bytes(self._directories.tmp)
        except (OSError, AttributeError):
            return
        if free < size_bytes:
            raise DiskFull(errno.ENOSPC, os.strerror(errno.ENOSPC), self._directories.tmp)

    async def _digest_small(self, digests: Digests, view: memoryview) -> None:
        if len(view) <= INLINE_DIGEST_BYTES_MAX:
            digests.update(view)
        else:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._cpu, digests.update, view)

    def _new_file(self, buffered: bool = False) -> TemporaryFile:
        path = f"{self._directories.tmp}/{new_blob_number():x}"
        return TemporaryFile(self._ops, path, self._direct and not buffered)

    def write_and_settle(self, view: memoryview, address: BlobAddress) -> None:
        """Write a small blob and give it its address. Blocks."""
        file = self._new_file()
        try:
            file.write(view, 0)
        except BaseException as error:  # noqa: BLE001 - raised again below
            file.discard()
            raise as_blob_error(error) from None
        self.settle(file, address)

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
        address = self.new_address(bucket_dir, source.sha256)
        origin, path = self._directories.path(source), self._directories.path(address)

        await self.in_thread(lambda: self._link(origin, path, address))
        return address

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
        return self._open(self._directories.path(address))

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
        blob = self._open(self._directories.path(address))
        try:
            digest = await walk.file_sha256(blob.fd, self._buffers, self.in_thread)
        finally:
            blob.close()
        return digest == address.sha256

    # ---- removing

    async def remove(self, address: BlobAddress) -> None:
        path = self._directories.path(address)
        await self.in_thread(lambda: self._directories.remove(path))

    async def remove_bucket(self, bucket_dir: str) -> None:
        path = self._directories.bucket(bucket_dir)
        steps = walk.remove_tree(path, self._ops)
        while await self.in_thread(lambda: next(steps, None)) is not None:
            pass

    async def sweep(self, older_than_seconds: float) -> AsyncIterator[tuple[BlobAddress, int]]:
        directories = self._directories
        await self.in_thread(lambda: walk.wipe(directories.tmp, self._ops, older_than_seconds))
        batches = walk.old_blobs(directories.buckets, older_than_seconds)
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

    def give_back(self, buffer: Buffer) -> None:
        self._buffers.give(buffer)

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
    """A small upload: nothing of it is on the disk before `publish`."""

    def __init__(self, store: FileBlobStore, digests: Digests, buffer: Buffer, size: int) -> None:
        super().__init__(store, digests, size)
        self._buffer: Buffer | None = buffer

    async def publish(self, bucket_dir: str) -> BlobAddress:
        self._end()
        buffer = self._buffer
        assert buffer is not None
        self._buffer = None
        try:
            address = self._store.new_address(bucket_dir, self.sha256)
        except ValueError:
            self._store.give_back(buffer)
            raise
        await self._store.in_thread(lambda: self._write(buffer, address))
        return address

    def _write(self, buffer: Buffer, address: BlobAddress) -> None:
        try:
            self._store.write_and_settle(buffer.view[: self.size], address)
        finally:
            self._store.give_back(buffer)

    async def discard(self) -> None:
        self._ended = True
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._store.give_back(buffer)


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
