"""Appends records to segments: each process to its own, each group of records with one sync.

Rule: what arrives for a bucket while its last group is being written and synced is the next group.
One thread writes a group with one call and syncs it once; then all its uploads have their address.
A buffer goes back when the thread is through with it, whatever became of the upload meanwhile.
A group that can't be written is cut off, and every upload of it fails; after a failed sync, what is
on the disk is unknown, so nothing is appended to that segment any more.
What waits is bounded by the uploads under way: each of them waits for itself.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from holdfast.blobs.buffers import Buffer
from holdfast.blobs.contract import DiskFull
from holdfast.blobs.fileops import O_BINARY, O_CLOEXEC, O_DIRECT, FileOps
from holdfast.blobs.layout import Directories
from holdfast.blobs.segments import (
    BLOCK_BYTES,
    HEADER_BYTES,
    Record,
    encode_header,
    new_segment_number,
    pack_place,
    padded_bytes,
    record_bytes,
)
from holdfast.blobs.upload import as_blob_error

#: a segment that has so many is sealed
SEGMENT_BYTES_MAX = 256 * 1024 * 1024
GROUP_BYTES_MAX = 8 * 1024 * 1024
GROUP_RECORDS_MAX = 64
#: what one call takes (IOV_MAX)
VIEWS_PER_WRITE_MAX = 1024
#: groups of one bucket that a thread writes before other buckets have their turn
GROUPS_PER_TURN_MAX = 64
#: buckets with an open segment in a process, beside those that are being written
APPENDERS_MAX = 32
#: a segment that nothing was appended to for so long, and at most twice, is sealed
IDLE_SECONDS = 60.0
#: blocks are reserved ahead: as many as the segment has, within these
ALLOCATE_BYTES_MIN = 1024 * 1024
ALLOCATE_BYTES_MAX = 16 * 1024 * 1024
#: how often a new segment may lose its directory or its name to a remover
MAKE_ATTEMPTS_MAX = 1000
_ZEROS = bytes(BLOCK_BYTES)


class _Pending:
    """A record that waits to be written. Its content is in `buffers`, each with a count of bytes."""

    __slots__ = ("buffers", "future", "loop", "n", "sha256", "size")

    def __init__(self, sha256: bytes, buffers: Sequence[tuple[Buffer, int]]) -> None:
        self.sha256 = sha256
        self.buffers = buffers
        self.size = sum(count for _, count in buffers)
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[int] = self.loop.create_future()
        self.n = 0

    def views(self, number: int, offset: int, now_ms: int) -> list[memoryview]:
        """The whole record, for that place."""
        self.n = pack_place(number, offset)
        header = encode_header(Record(self.n, self.sha256, self.size, now_ms))
        views = []
        for index, (buffer, count) in enumerate(self.buffers):
            padded = padded_bytes(count)
            buffer.view[count:padded] = _ZEROS[: padded - count]
            if index:
                views.append(buffer.view[:padded])
            else:
                buffer.whole[:HEADER_BYTES] = header
                buffer.whole[HEADER_BYTES:BLOCK_BYTES] = _ZEROS[HEADER_BYTES:]
                views.append(buffer.whole[: BLOCK_BYTES + padded])
        return views


class _Segment:
    """The segment that a bucket's records are appended to now."""

    __slots__ = ("allocated", "direct", "end", "fd", "holds", "maker", "number", "path")

    def __init__(self, number: int, path: str, fd: int, direct: bool) -> None:
        self.number = number
        self.path = path
        self.fd = fd
        self.direct = direct
        self.end = 0
        self.allocated = 0
        #: whether it has a record that was published, so that the way to it is durable
        self.holds = False
        self.maker = os.getpid()


class _Appender:
    """A bucket's records on their way. Whoever set `busy` may touch the segment."""

    __slots__ = ("bucket_dir", "busy", "pending", "segment", "used")

    def __init__(self, bucket_dir: str) -> None:
        self.bucket_dir = bucket_dir
        self.pending: deque[_Pending] = deque()
        self.busy = False
        self.segment: _Segment | None = None
        self.used = time.monotonic()


class SegmentWriter:
    """The segments that this process appends to. Safe in any thread and loop."""

    def __init__(
        self,
        directories: Directories,
        ops: FileOps,
        executor: Executor,
        give_back: Callable[[Buffer], None],
        *,
        durable: bool,
        direct: bool,
    ) -> None:
        self._directories = directories
        self._ops = ops
        self._executor = executor
        self._give_back = give_back
        self._durable = durable
        self._direct = direct
        self._lock = threading.Lock()
        #: the one used last is at the end
        self._appenders: dict[str, _Appender] = {}
        #: the loop whose timer seals what rests
        self._timed: asyncio.AbstractEventLoop | None = None

    async def append(
        self, bucket_dir: str, sha256: bytes, buffers: Sequence[tuple[Buffer, int]]
    ) -> int:
        """Write a record, durably; the buffers are this writer's now. Returns its `n`.

        Raises DiskFull, OSError; RuntimeError when the store is closed.
        """
        record = _Pending(sha256, buffers)
        if self._timed is None or self._timed.is_closed():
            self._timed = record.loop
            self._timed.call_later(IDLE_SECONDS, self._on_time, self._timed)
        retired = None
        with self._lock:
            appender = self._appenders.pop(bucket_dir, None)
            if appender is None:
                appender = _Appender(bucket_dir)
                retired = self._surplus()
            self._appenders[bucket_dir] = appender
            appender.pending.append(record)
            start = not appender.busy
            appender.busy = True
        if start:
            self._submit(appender)
        if retired is not None:
            try:
                self._executor.submit(self._seal, retired)
            except RuntimeError:  # as above: then here
                self._seal(retired)
        return await record.future

    def _surplus(self) -> _Appender | None:
        """Take one away that is to be sealed, when there are too many. Under the lock."""
        if len(self._appenders) >= APPENDERS_MAX:
            for bucket_dir, appender in self._appenders.items():
                if not appender.busy:
                    appender.busy = True  # for good: nobody finds it any more
                    return self._appenders.pop(bucket_dir)
        return None

    def _submit(self, appender: _Appender) -> None:
        try:
            self._executor.submit(self._run, appender)
        except RuntimeError as error:  # the store was closed, or the system gives no thread
            with self._lock:
                group = list(appender.pending)
                appender.pending.clear()
                appender.busy = False
            self._settle(group, error)

    # ---- in a thread

    def _run(self, appender: _Appender) -> None:
        """Write groups for as long as there are any, or the turn ends."""
        group = self._next(appender)
        for turn in range(1, GROUPS_PER_TURN_MAX + 1):
            if not group:
                break
            error: BaseException | None = None
            try:
                self._write(appender, group)
            except BaseException as e:  # noqa: BLE001 - goes on to the uploads' callers
                error = as_blob_error(e)
            done = group
            if turn < GROUPS_PER_TURN_MAX:
                group = self._next(appender)
            else:
                self._submit(appender)
            if isinstance(error, DiskFull):
                self._seal_others(appender)
            self._settle(done, error)

    def _next(self, appender: _Appender) -> list[_Pending]:
        """The next group; without one the appender rests."""
        with self._lock:
            group = self._take(appender)
            if not group:
                appender.busy = False
                appender.used = time.monotonic()
        return group

    def _take(self, appender: _Appender) -> list[_Pending]:
        """The next group, without uploads that nobody waits for. Under the lock."""
        group: list[_Pending] = []
        size = 0
        pending = appender.pending
        while pending and len(group) < GROUP_RECORDS_MAX:
            size += record_bytes(pending[0].size)
            if group and size > GROUP_BYTES_MAX:
                break
            record = pending.popleft()
            if record.future.cancelled():
                self._give_all_back(record)
            else:
                group.append(record)
        return group

    def _give_all_back(self, record: _Pending) -> None:
        for buffer, _ in record.buffers:
            self._give_back(buffer)

    def _settle(self, group: list[_Pending], error: BaseException | None) -> None:
        """Give the buffers back and tell every upload what became of it."""
        by_loop: dict[asyncio.AbstractEventLoop, list[_Pending]] = {}
        for record in group:
            self._give_all_back(record)
            by_loop.setdefault(record.loop, []).append(record)
        for loop, records in by_loop.items():
            try:
                loop.call_soon_threadsafe(_tell, records, error)
            except RuntimeError:
                pass  # the loop was closed meanwhile: nobody waits any more

    def _write(self, appender: _Appender, group: list[_Pending]) -> None:
        segment = self._segment_for(appender)
        views: list[memoryview] = []
        end = segment.end
        now_ms = int(time.time() * 1000)
        for record in group:
            views += record.views(segment.number, end, now_ms)
            end += record_bytes(record.size)
        try:
            self._allocate(segment, end)
            self._write_all(segment, views, segment.end)
        except BaseException:
            self._cut_off(segment)
            if not segment.holds:
                self._give_up(appender, segment)
            # No place is given out twice: who saw the failed record must not mistake the next for it.
            segment.end = segment.allocated = end
            raise
        if self._durable:
            try:
                self._ops.fdatasync(segment.fd)
                if not segment.holds:
                    self._directories.sync_for(segment.path)
            except BaseException:
                self._cut_off(segment)
                self._give_up(appender, segment)
                raise
        segment.holds = True
        segment.end = end

    def _cut_off(self, segment: _Segment) -> None:
        """Back to the last group. What can't be cut off is garbage that `sweep` finds."""
        segment.allocated = segment.end
        try:
            self._ops.ftruncate(segment.fd, segment.end)
        except OSError:
            pass

    def _give_up(self, appender: _Appender, segment: _Segment) -> None:
        """Append to it no more; one that nothing is in goes."""
        appender.segment = None
        if not segment.holds:
            self._remove_quietly(segment.path)
        self._close_quietly(segment.fd)

    def _allocate(self, segment: _Segment, end: int) -> None:
        """Reserve blocks ahead: a write into them changes less of the file system."""
        if end <= segment.allocated or not self._durable:
            return
        ahead = max(ALLOCATE_BYTES_MIN, min(segment.end, ALLOCATE_BYTES_MAX))
        try:
            self._ops.allocate(segment.fd, segment.allocated, end + ahead - segment.allocated)
            segment.allocated = end + ahead
        except OSError:
            pass  # without it, then: the write itself tells what is wrong

    def _write_all(self, segment: _Segment, views: list[memoryview], offset: int) -> None:
        while views:
            try:
                count = self._ops.pwritev(segment.fd, views[:VIEWS_PER_WRITE_MAX], offset)
            except OSError as error:
                if error.errno != errno.EINVAL or not segment.direct:
                    raise
                self._ops.stop_direct(segment.fd)  # the file system does not do it, or not this
                segment.direct = False
                continue
            if count == 0:
                raise OSError(errno.EIO, "a write came to nothing", segment.path)
            offset += count
            while views and count >= len(views[0]):
                count -= len(views.pop(0))
            if count:
                views[0] = views[0][count:]

    def _segment_for(self, appender: _Appender) -> _Segment:
        segment = appender.segment
        if segment is not None:
            mine = segment.maker == os.getpid()
            if mine and segment.end < SEGMENT_BYTES_MAX and os.fstat(segment.fd).st_nlink:
                return segment
            self._seal(appender)
        segment = appender.segment = self._make(appender.bucket_dir)
        return segment

    def _make(self, bucket_dir: str) -> _Segment:
        """A new segment, locked. Its directories are made when they are not there."""
        for _ in range(MAKE_ATTEMPTS_MAX):
            number = new_segment_number()
            path = self._directories.segment(bucket_dir, number)
            try:
                fd = self._create(path)
            except FileNotFoundError:
                self._directories.make_for(path)
                continue
            except FileExistsError:
                continue
            try:
                # A walk that comes in between takes a new segment for an empty one.
                if self._ops.lock(fd) and os.fstat(fd).st_nlink:
                    return _Segment(number, path, fd, self._direct)
            except BaseException:
                self._close_quietly(fd)
                self._remove_quietly(path)
                raise
            self._close_quietly(fd)
        raise OSError(errno.EAGAIN, "its directory is removed again and again", bucket_dir)

    def _create(self, path: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | O_CLOEXEC | O_BINARY
        if self._direct:
            try:
                return self._ops.open(path, flags | O_DIRECT, 0o600)
            except OSError as error:
                # EINVAL: no O_DIRECT on this file system; the file may have been made all the same.
                if error.errno != errno.EINVAL:
                    raise
            self._direct = False
            self._remove_quietly(path)
        return self._ops.open(path, flags, 0o600)

    def _remove_quietly(self, path: str) -> None:
        try:
            self._directories.remove(path)
        except OSError:
            pass  # `sweep` finds it

    def _close_quietly(self, fd: int) -> None:
        try:
            self._ops.close(fd)
        except OSError:
            pass

    # ---- sealing

    def _seal(self, appender: _Appender) -> None:
        """Give back what was reserved ahead, and the lock with the descriptor.

        For whoever set `busy`.
        """
        segment, appender.segment = appender.segment, None
        if segment is None:
            return
        if segment.maker == os.getpid():
            if segment.allocated > segment.end:
                self._cut_off(segment)
            self._remove_if_empty(segment)
        self._close_quietly(segment.fd)

    def _remove_if_empty(self, segment: _Segment) -> None:
        """All records may have been removed: nobody else could unlink it, for the lock."""
        try:
            if self._ops.seek_data(segment.fd, 0) is None:
                self._directories.remove(segment.path)
        except OSError:
            pass

    def _on_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have what nothing was appended to for a while sealed; what it has reserved is given back."""
        if self._timed is not loop:
            return
        try:
            if self._appenders:
                self._executor.submit(self._seal_resting)
                loop.call_later(IDLE_SECONDS, self._on_time, loop)
                return
        except RuntimeError:  # the store was closed
            pass
        self._timed = None

    def _seal_resting(self) -> None:
        before = time.monotonic() - IDLE_SECONDS
        self.seal(lambda appender: appender.used < before)

    def _seal_others(self, appender: _Appender) -> None:
        """What they have reserved is room."""
        self.seal(lambda other: other is not appender)

    def seal_all(self) -> None:
        self.seal(lambda appender: True)

    def seal_bucket(self, bucket_dir: str) -> None:
        self.seal(lambda appender: appender.bucket_dir == bucket_dir)

    def seal(self, chosen: Callable[[_Appender], bool]) -> None:
        """Seal the chosen segments, but those that are being written. Blocks."""
        with self._lock:
            idle = [a for a in self._appenders.values() if not a.busy and chosen(a)]
            for appender in idle:
                appender.busy = True
                del self._appenders[appender.bucket_dir]
        for appender in idle:
            self._seal(appender)


def _tell(records: list[_Pending], error: BaseException | None) -> None:
    for record in records:
        if record.future.done():
            continue  # cancelled: the record is garbage that `sweep` finds
        if error is None:
            record.future.set_result(record.n)
        else:
            record.future.set_exception(_own(error))


def _own(error: BaseException) -> BaseException:
    """An error for one of several uploads, as each raises it by itself."""
    if isinstance(error, OSError) and error.errno is not None:
        return type(error)(error.errno, error.strerror, error.filename)
    return error
