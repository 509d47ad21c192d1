"""Segments: append-only files that hold content of middle size, one record after the other.

    buckets/<bucket>-<id>/segments/<number in hex>

A record begins at a multiple of 4096 bytes: a header in a block of its own, then the content, up to
the next multiple. The header says of itself in which segment and where it lies (both are in `n`),
and carries a CRC, so that no content passes for a header. The address of such content has bit 62
of `n` set; below it are the segment's number, which is random, and the block.

One process makes a segment and appends to it; while it may, it holds the segment's lock. Then the
segment is sealed: nobody appends to it again. What is removed becomes a hole; a sealed segment
without any data is unlinked.
Here: the format, and reading. Writing is in appending.py, removal and the walk in holes.py.
"""

from __future__ import annotations

import os
import struct
import threading
import time
import zlib
from typing import NamedTuple

from holdfast.blobs.fileops import O_BINARY, O_CLOEXEC, O_NOATIME, FileOps
from holdfast.blobs.layout import Directories

BLOCK_BYTES = 4096
SEGMENT_FLAG = 1 << 62
_BLOCK_BITS = 20
_NUMBER_BITS = 42
_MAGIC = b"HOLDFSEG"
_VERSION = 1
# magic, version, n, SHA-256, size, published at (ms since the epoch); then the CRC32 of these
_FIELDS = struct.Struct("<8sQQ32sQQ")
_CRC = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CRC.size
#: segments kept open for reading in a process, beside those that are being read
OPEN_SEGMENTS_MAX = 64
#: how long a segment is taken to be still linked
LINKED_SECONDS = 30.0


class Record(NamedTuple):
    """What a header says. `published_ms`: milliseconds since the epoch."""

    n: int
    sha256: bytes
    size: int
    published_ms: int


def new_segment_number() -> int:
    return int.from_bytes(os.urandom(8), "big") >> (64 - _NUMBER_BITS)


def pack_place(number: int, offset: int) -> int:
    """The `n` of a record of that segment, `offset` bytes from its beginning."""
    return SEGMENT_FLAG | number << _BLOCK_BITS | offset // BLOCK_BYTES


def unpack_place(n: int) -> tuple[int, int]:
    """(segment, offset in bytes) of an `n` with SEGMENT_FLAG."""
    block = n & ((1 << _BLOCK_BITS) - 1)
    return (n ^ SEGMENT_FLAG) >> _BLOCK_BITS, block * BLOCK_BYTES


def padded_bytes(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def record_bytes(size: int) -> int:
    """What a record takes of its segment: header, content, padding."""
    return BLOCK_BYTES + padded_bytes(size)


def encode_header(record: Record) -> bytes:
    fields = _FIELDS.pack(_MAGIC, _VERSION, *record)
    return fields + _CRC.pack(zlib.crc32(fields))


def decode_header(data: bytes, n: int) -> Record | None:
    """The record of that `n`; None for whatever is not the valid header of just this record."""
    if len(data) < HEADER_BYTES:
        return None
    magic, version, own, sha256, size, published_ms = _FIELDS.unpack_from(data)
    if own != n or magic != _MAGIC or version != _VERSION:
        return None
    if _CRC.unpack_from(data, _FIELDS.size)[0] != zlib.crc32(data[: _FIELDS.size]):
        return None
    return Record(own, sha256, size, published_ms)


def looks_like_header(data: bytes) -> bool:
    """Whether it begins like a header: what does not decode is then damaged, or of another version."""
    return data.startswith(_MAGIC)


class _OpenSegment:
    __slots__ = ("cached", "checked", "fd", "readers", "size")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size = 0  # bytes that it had at least, when last looked at
        self.readers = 1
        self.cached = False
        self.checked = time.monotonic()


class RecordBlob:
    """An open record. Its descriptor belongs to the segment and is shared with other readers."""

    __slots__ = ("_reader", "_segment", "fd", "offset", "size")
    needs_lease = True

    def __init__(
        self, reader: SegmentReader, segment: _OpenSegment, offset: int, size: int
    ) -> None:
        self._reader = reader
        self._segment = segment
        self.fd = segment.fd
        self.offset = offset
        self.size = size

    def close(self) -> None:
        """Let go of it; once is enough, more does no harm."""
        if self.fd >= 0:
            self.fd = -1
            self._reader.release(self._segment)


class SegmentReader:
    """Opens records. Keeps the segments read last open; safe in any thread."""

    def __init__(self, directories: Directories, ops: FileOps) -> None:
        self._directories = directories
        self._ops = ops
        self._lock = threading.Lock()
        #: the one used last is at the end
        self._segments: dict[tuple[str, int], _OpenSegment] = {}
        self._flags = os.O_RDONLY | O_CLOEXEC | O_BINARY | O_NOATIME

    def open(self, bucket_dir: str, sha256: bytes, n: int) -> RecordBlob | None:
        """None when there is no such record."""
        number, offset = unpack_place(n)
        segment = self._segment(bucket_dir, number)
        if segment is None:
            return None
        try:
            record = decode_header(os.pread(segment.fd, HEADER_BYTES, offset), n)
        except BaseException:
            self.release(segment)
            raise
        if record is None or record.sha256 != sha256:
            self.release(segment)
            return None
        offset += BLOCK_BYTES
        if offset + record.size > segment.size:
            segment.size = os.fstat(segment.fd).st_size
        # Of a segment that was cut off, what is left is told, as of a file.
        size = max(0, min(record.size, segment.size - offset))
        return RecordBlob(self, segment, offset, size)

    def _segment(self, bucket_dir: str, number: int) -> _OpenSegment | None:
        """The open segment, with one reader more."""
        key = (bucket_dir, number)
        with self._lock:
            segment = self._segments.pop(key, None)
            if segment is not None:
                if self._is_linked(segment):
                    self._segments[key] = segment
                    segment.readers += 1
                    return segment
                self._forget(segment)
        fd = self._open(self._directories.segment(bucket_dir, number))
        if fd is None:
            return None
        segment = _OpenSegment(fd)
        with self._lock:
            if key not in self._segments:  # else another thread was quicker: this one is not kept
                segment.cached = True
                self._segments[key] = segment
                if len(self._segments) > OPEN_SEGMENTS_MAX:
                    self._forget(self._segments.pop(next(iter(self._segments))))
        return segment

    def _open(self, path: str) -> int | None:
        try:
            return self._ops.open(path, self._flags)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            if not self._flags & O_NOATIME:
                raise
            self._flags &= ~O_NOATIME  # only the owner of a file may leave its access time alone
            return self._open(path)

    @staticmethod
    def _is_linked(segment: _OpenSegment) -> bool:
        now = time.monotonic()
        if now - segment.checked > LINKED_SECONDS:
            segment.checked = now
            return os.fstat(segment.fd).st_nlink > 0
        return True

    def release(self, segment: _OpenSegment) -> None:
        """One reader less."""
        with self._lock:
            segment.readers -= 1
            if segment.readers or segment.cached:
                return
        self._ops.close(segment.fd)

    def _forget(self, segment: _OpenSegment) -> None:
        """No longer among those kept. Under the lock."""
        segment.cached = False
        if not segment.readers:
            self._ops.close(segment.fd)

    def forget(self, bucket_dir: str = "", number: int = -1) -> None:
        """Close what is kept open of a segment, of a bucket, or of all, once nobody reads it."""
        with self._lock:
            for key in list(self._segments):
                if bucket_dir in ("", key[0]) and number in (-1, key[1]):
                    self._forget(self._segments.pop(key))
