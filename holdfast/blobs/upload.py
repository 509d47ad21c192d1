"""How one upload gets from its source to a file in tmp/, hashed on the way.

Strategy: a small body stays in its one buffer until it is published; then one job writes it. A
larger one passes through a few buffers: while the source fills one, the earlier ones go through
three lanes (the write, MD5, the other digests), each in order and in a thread of its own as long
as it has work. A buffer is filled again when all lanes have passed it.
Whatever goes wrong, the lanes come to rest before a buffer is given back or the file is removed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from holdfast.blobs.buffers import Buffer, BufferPool
from holdfast.blobs.contract import DiskFull, Source
from holdfast.blobs.digests import Digests
from holdfast.blobs.fileops import (
    DIRECT_ALIGNMENT_BYTES,
    O_BINARY,
    O_CLOEXEC,
    O_DIRECT,
    FileOps,
)

#: buffers of one upload: one being filled, one in each lane
BUFFERS_PER_UPLOAD_MAX = 4
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def as_blob_error(error: BaseException) -> BaseException:
    """DiskFull for the errors that mean so, any other as it is."""
    if isinstance(error, OSError) and error.errno in _FULL and not isinstance(error, DiskFull):
        return DiskFull(error.errno, error.strerror, error.filename)
    return error


class TemporaryFile:
    """A file in tmp/, written in order. Made by the first write; its methods block."""

    __slots__ = ("_direct", "_ops", "direct_refused", "fd", "path")

    def __init__(self, ops: FileOps, path: str, direct: bool) -> None:
        self._ops = ops
        self._direct = direct
        #: whether the file system turned out not to do O_DIRECT
        self.direct_refused = False
        self.path = path
        self.fd = -1

    def create(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_CLOEXEC | O_BINARY
        if self._direct:
            try:
                self.fd = self._ops.open(self.path, flags | O_DIRECT, 0o600)
                return
            except OSError as error:
                # EINVAL: no O_DIRECT on this file system; the file may have been made all the same.
                if error.errno != errno.EINVAL:
                    raise
            self._direct = False
            self.direct_refused = True
            self._unlink()
        self.fd = self._ops.open(self.path, flags, 0o600)

    def write(self, view: memoryview, offset: int) -> None:
        """`offset` must be a multiple of the alignment; after an odd length nothing may follow."""
        if self.fd < 0:
            self.create()
        if self._direct:
            aligned = len(view) & -DIRECT_ALIGNMENT_BYTES
            if aligned and not self._write_direct(view[:aligned], offset):
                aligned = 0
            if aligned == len(view):
                return
            # The tail goes through the page cache: a padded write would need a truncation, which
            # reads the last block back.
            if self._direct:
                self._ops.stop_direct(self.fd)
                self._direct = False
            view, offset = view[aligned:], offset + aligned
        self._write_all(view, offset)

    def _write_direct(self, view: memoryview, offset: int) -> bool:
        """False: the file system refuses O_DIRECT for it, which is switched off now."""
        try:
            self._write_all(view, offset)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._ops.stop_direct(self.fd)
            self._direct = False
            self.direct_refused = True
            return False
        return True

    def _write_all(self, view: memoryview, offset: int) -> None:
        while view:
            count = self._ops.pwrite(self.fd, view, offset)
            if count == 0:
                raise OSError(errno.EIO, "a write came to nothing", self.path)
            view, offset = view[count:], offset + count

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            self._ops.close(fd)

    def discard(self) -> None:
        """Close and remove it. Never raises: what stays behind is garbage that `sweep` finds."""
        made = self.fd >= 0
        try:
            self.close()
        except OSError:
            pass
        if made:
            self._unlink()

    def _unlink(self) -> None:
        try:
            self._ops.unlink(self.path)
        except OSError:
            pass


class _Lane:
    """Runs `step` over the buffers in their order, in one thread at a time."""

    __slots__ = ("_busy", "_executor", "_flow", "_queue", "_step")

    def __init__(
        self, flow: Flow, executor: Executor, step: Callable[[memoryview, int], None]
    ) -> None:
        self._flow = flow
        self._executor = executor
        self._step = step
        self._queue: deque[Buffer] = deque()
        self._busy = False

    def put(self, buffer: Buffer) -> None:
        with self._flow.lock:
            self._queue.append(buffer)
            if self._busy:
                return
            self._busy = True
        try:
            self._executor.submit(self._run)
        except RuntimeError as error:  # the store was closed, or the system gives no thread
            self._flow.error = error
            self._run()

    def _run(self) -> None:
        flow = self._flow
        while True:
            with flow.lock:
                if not self._queue:
                    self._busy = False
                    return
                buffer = self._queue.popleft()
            if flow.error is None:
                try:
                    self._step(buffer.view[: buffer.count], buffer.offset)
                except BaseException as error:  # noqa: BLE001 - goes on to the upload's caller
                    flow.error = error
            flow.passed(buffer)


class Flow:
    """The buffers of one upload on their way. Its coroutines belong to one loop."""

    def __init__(
        self, pool: BufferPool, digests: Digests, file: TemporaryFile, cpu: Executor, disk: Executor
    ) -> None:
        self.lock = threading.Lock()
        self.error: BaseException | None = None
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._lanes = (
            _Lane(self, disk, file.write),
            _Lane(self, cpu, lambda view, _: digests.update_md5(view)),
            _Lane(self, cpu, lambda view, _: digests.update_others(view)),
        )
        self._idle: deque[Buffer] = deque()
        self._in_flight = 0
        self._owned = 0
        self._waiter: asyncio.Future[None] | None = None

    async def run(self, source: Source, filled: list[tuple[Buffer, int]]) -> int:
        """Take the rest of `source`; its beginning is in `filled`: buffers, now the flow's, each
        with its count of bytes; only the last may be less than full.

        Returns the size in bytes once every lane has passed everything. Raises what the source
        or a lane raised; the lanes are at rest then too, and all buffers given back.
        """
        self._owned = len(filled)
        size = 0
        for buffer, count in filled[:-1]:
            self._put(buffer, count, size)
            size += count
        buffer, count = filled[-1]
        try:
            while True:
                size += count
                self._put(buffer, count, size - count)
                if count < self._pool.size_bytes:
                    break
                buffer = await self._next()
                if self.error is not None:
                    self._idle.append(buffer)
                    break
                try:
                    count = await source.fill(buffer.view)
                except BaseException:
                    self._idle.append(buffer)
                    raise
                if not count:
                    self._idle.append(buffer)
                    break
        finally:
            while self._in_flight:
                await self._wait()
            while self._idle:
                self._pool.give(self._idle.popleft())
        if self.error is not None:
            raise self.error
        return size

    def _put(self, buffer: Buffer, count: int, offset: int) -> None:
        buffer.count, buffer.offset, buffer.pending = count, offset, len(self._lanes)
        with self.lock:
            self._in_flight += 1
        for lane in self._lanes:
            lane.put(buffer)

    async def _next(self) -> Buffer:
        while not self._idle:
            if self._owned < BUFFERS_PER_UPLOAD_MAX:
                further = self._pool.take_further()
                if further is not None:
                    self._owned += 1
                    return further
            await self._wait()
        return self._idle.popleft()

    async def _wait(self) -> None:
        """Until another buffer has passed, or at once when one just did."""
        with self.lock:
            if self._idle and self._in_flight == 0:
                return
            waiter = self._waiter = self._loop.create_future()
        await waiter

    def passed(self, buffer: Buffer) -> None:
        """A lane is through with `buffer`. Called in its thread."""
        with self.lock:
            buffer.pending -= 1
            if buffer.pending:
                return
            self._in_flight -= 1
            self._idle.append(buffer)
            waiter, self._waiter = self._waiter, None
        if waiter is not None:
            try:
                self._loop.call_soon_threadsafe(_wake, waiter)
            except RuntimeError:
                pass  # the loop was closed meanwhile: nobody waits any more


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
