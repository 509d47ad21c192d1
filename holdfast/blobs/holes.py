"""Takes records out of segments, and walks over what is left in them.

Rule: a record is removed by a hole over the whole of it. Whether a segment is sealed is known by its
lock: its maker holds it for as long as it may append, so whoever gets it knows that nothing will be
written any more. Only of a sealed segment is anything cut off, punched that is no record, or
unlinked. In another, what is no whole record is being written: the walk ends there.
Where DATA was moved to a file system without holes, a record loses its header instead, and the room
comes back when the walk finds no record behind it, or none at all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator

from holdfast.blobs.contract import BlobAddress
from holdfast.blobs.fileops import O_BINARY, O_CLOEXEC, FileOps
from holdfast.blobs.layout import Directories
from holdfast.blobs.segments import (
    BLOCK_BYTES,
    HEADER_BYTES,
    Record,
    decode_header,
    looks_like_header,
    pack_place,
    record_bytes,
    unpack_place,
)

#: blocks without a record that one step looks at
BLOCKS_PER_STEP_MAX = 4096
_FLAGS = os.O_RDWR | O_CLOEXEC | O_BINARY
Found = tuple[BlobAddress, int]
_PROBE_BYTES = 4 * BLOCK_BYTES


def can_segments(ops: FileOps, path: str) -> bool:
    """Whether a file at `path` (made and removed here) can be locked, and have holes of a block.

    Raises OSError when that can't be told: the disk is full, or fails.
    """
    fd = ops.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | O_CLOEXEC | O_BINARY, 0o600)
    try:
        if not ops.lock(fd):
            return False
        ops.pwritev(fd, [memoryview(b"\1" * _PROBE_BYTES)], 0)
        ops.punch(fd, BLOCK_BYTES, BLOCK_BYTES)
        return (
            ops.seek_data(fd, BLOCK_BYTES) == 2 * BLOCK_BYTES
            and ops.seek_hole(fd, 0) == BLOCK_BYTES
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        return False
    finally:
        ops.close(fd)
        ops.unlink(path)


def _punched(ops: FileOps, fd: int, offset: int, count: int) -> bool:
    """Make a hole; False where the file system has none."""
    try:
        ops.punch(fd, offset, count)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return False
    return True


def _open(ops: FileOps, path: str) -> int:
    """Open a segment to look at headers: nothing is to be read ahead of them."""
    fd = ops.open(path, _FLAGS)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    return fd


def remove_record(directories: Directories, ops: FileOps, address: BlobAddress) -> bool:
    """Whether there was such a record; it is gone now. Blocks. Raises OSError."""
    number, offset = unpack_place(address.n)
    path = directories.segment(address.bucket_dir, number)
    try:
        fd = _open(ops, path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        record = decode_header(os.pread(fd, HEADER_BYTES, offset), address.n)
        if record is None or record.sha256 != address.sha256:
            return False
        if not _punched(ops, fd, offset, record_bytes(record.size)):
            ops.pwrite(fd, memoryview(bytes(HEADER_BYTES)), offset)
        elif ops.seek_data(fd, 0) is None:
            remove_if_sealed(directories, ops, fd, path)
    finally:
        ops.close(fd)
    return True


def remove_if_sealed(directories: Directories, ops: FileOps, fd: int, path: str) -> None:
    """Unlink an empty segment to which nobody will append."""
    # Looked at again under the lock: its maker may have appended meanwhile, and sealed it then.
    if ops.lock(fd) and ops.seek_data(fd, 0) is None:
        directories.remove(path)


class SegmentWalk:
    """One walk over a segment. `before`: what is older is found, in seconds since the epoch."""

    def __init__(
        self, directories: Directories, ops: FileOps, bucket_dir: str, number: int, before: float
    ) -> None:
        self._directories = directories
        self._ops = ops
        self._bucket_dir = bucket_dir
        self._number = number
        self._before = before
        self._path = directories.segment(bucket_dir, number)
        #: sealed, and not touched since `before`: what is no record in it is garbage
        self._settled = False

    def run(self) -> Generator[Found | None]:
        """(address, size) of every record that is old enough; None where a step may end."""
        try:
            fd = _open(self._ops, self._path)
        except (FileNotFoundError, IsADirectoryError):
            return
        try:
            state = os.fstat(fd)
            sealed = self._ops.lock(fd)
            self._settled = sealed and max(state.st_mtime, state.st_ctime) < self._before
            end = yield from self._records(fd, sealed)
            if self._settled and end is not None:
                self._trim(fd, end)
        finally:
            self._ops.close(fd)

    def _records(self, fd: int, sealed: bool) -> Generator[Found | None, None, int | None]:
        """Returns where the records end; None when the segment may still grow."""
        position = end = 0
        while (start := self._ops.seek_data(fd, position)) is not None:
            position = start & -BLOCK_BYTES
            hole = self._ops.seek_hole(fd, position)
            while position < hole:
                record = self._record(fd, position)
                if record is None:
                    if not sealed:
                        return None
                    position, end = yield from self._pass_over(fd, position, hole, end)
                    continue
                position += record_bytes(record.size)
                end = position
                if record.published_ms < self._before * 1000:
                    yield BlobAddress(self._bucket_dir, record.sha256, record.n), record.size
        return end

    def _record(self, fd: int, position: int) -> Record | None:
        data = os.pread(fd, HEADER_BYTES, position)
        return decode_header(data, pack_place(self._number, position))

    def _pass_over(
        self, fd: int, start: int, hole: int, end: int
    ) -> Generator[None, None, tuple[int, int]]:
        """Find the next record, or the hole. What lies before it was being written when its maker
        died, and is punched; unless it has a damaged header, whose content may be missed.

        Returns (where that is, where ends what must stay).
        """
        position = start
        keep = not self._settled
        while position < hole and self._record(fd, position) is None:
            keep = keep or looks_like_header(os.pread(fd, HEADER_BYTES, position))
            position += BLOCK_BYTES
            if (position - start) // BLOCK_BYTES % BLOCKS_PER_STEP_MAX == 0:
                yield None
        if keep:
            return position, position
        _punched(self._ops, fd, start, position - start)
        return position, end

    def _trim(self, fd: int, end: int) -> None:
        """Give back what was reserved ahead of a writer that died, or the whole of it."""
        if end == 0:
            self._directories.remove(self._path)
        elif os.fstat(fd).st_size > end:
            self._ops.ftruncate(fd, end)
