"""Walks over the store's directories, and over a whole file: in bounded steps, in bounded memory.

Every walk is a generator whose steps a thread runs, one after the other, so that none of them
keeps a thread (or the memory) longer than one batch needs. What vanishes on the way is no error.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Awaitable, Callable, Generator, Iterator

from holdfast.blobs.buffers import BufferPool
from holdfast.blobs.contract import BlobAddress, OpenBlob
from holdfast.blobs.fileops import FileOps
from holdfast.blobs.holes import SegmentWalk
from holdfast.blobs.layout import SEGMENTS, Directories, parse_file_name, parse_segment_name

#: entries looked at in one step
BATCH_ENTRIES_MAX = 1000
#: bytes read in one step
VERIFY_STEP_BYTES = 16 * 1024 * 1024
#: directories that a foreign tree may be deep; the store's own are three
DEPTH_MAX = 16


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as found:
            yield from found
    except (FileNotFoundError, NotADirectoryError):
        return


def wipe(directory: str, ops: FileOps, older_than_seconds: float | None = None) -> None:
    """Remove the files in `directory` (None: whatever their age)."""
    before = None if older_than_seconds is None else time.time() - older_than_seconds
    for entry in _entries(directory):
        try:
            state = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(state.st_mode):
                continue
            if before is None or state.st_mtime < before:
                ops.unlink(entry.path)
        except FileNotFoundError:
            pass


def remove_tree(path: str, ops: FileOps, depth_max: int = DEPTH_MAX) -> Iterator[bool]:
    """Remove a directory with what is in it; a step is at most a batch of entries."""
    for count, entry in enumerate(_entries(path), 1):
        if entry.is_dir(follow_symlinks=False):
            if depth_max:
                yield from remove_tree(entry.path, ops, depth_max - 1)
        else:
            try:
                ops.unlink(entry.path)
            except FileNotFoundError:
                pass
        if count % BATCH_ENTRIES_MAX == 0:
            yield True
    try:
        ops.rmdir(path)
    except FileNotFoundError:
        pass
    yield True


def old_blobs(
    directories: Directories, ops: FileOps, older_than_seconds: float
) -> Generator[list[tuple[BlobAddress, int]]]:
    """Batches of (address, size) of blobs written and placed before that. A batch may be empty.

    On the way, what is garbage without an address goes: in segments, of writers that died.
    """
    before = time.time() - older_than_seconds
    batch: list[tuple[BlobAddress, int]] = []
    for seen, found in enumerate(_old_ones(directories, ops, before), 1):
        if found is not None:
            batch.append(found)
        if seen % BATCH_ENTRIES_MAX == 0:
            yield batch
            batch = []
    if batch:
        yield batch


def _old_ones(
    directories: Directories, ops: FileOps, before: float
) -> Iterator[tuple[BlobAddress, int] | None]:
    """What is old; None for whatever else was looked at."""
    for bucket in _entries(directories.buckets):
        for first in _entries(bucket.path):
            if first.name == SEGMENTS:
                for entry in _entries(first.path):
                    number = parse_segment_name(entry.name)
                    if number is not None:
                        yield from SegmentWalk(directories, ops, bucket.name, number, before).run()
                    yield None
                continue
            for second in _entries(first.path):
                for entry in _entries(second.path):
                    yield _old_blob(entry, bucket.name, before)
                yield None


def _old_blob(
    entry: os.DirEntry[str], bucket_dir: str, before: float
) -> tuple[BlobAddress, int] | None:
    named = parse_file_name(entry.name)
    # A blob in a directory that is not its own could not be opened by its address.
    if named is None or not entry.path.endswith(
        f"/{entry.name[:2]}/{entry.name[2:4]}/{entry.name}"
    ):
        return None
    try:
        state = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    # A link shares its source's mtime, however old; the ctime is that of the newest address.
    if not stat.S_ISREG(state.st_mode) or max(state.st_mtime, state.st_ctime) >= before:
        return None
    return BlobAddress(bucket_dir, named[0], named[1]), state.st_size


async def blob_sha256(
    blob: OpenBlob, pool: BufferPool, in_thread: Callable[[Callable[[], bool]], Awaitable[bool]]
) -> bytes:
    """The SHA-256 of an open blob, read through one buffer; its pages leave the cache then."""
    digest = hashlib.sha256()
    fd, offset, end = blob.fd, blob.offset, blob.offset + blob.size

    def step() -> bool:
        nonlocal offset
        start = offset
        buffer = pool.take()
        try:
            while offset - start < VERIFY_STEP_BYTES:
                count = os.preadv(fd, [buffer.view[: end - offset]], offset)
                if count == 0:
                    break
                digest.update(buffer.view[:count])
                offset += count
        finally:
            pool.give(buffer)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, start, offset - start, os.POSIX_FADV_DONTNEED)
        return offset - start >= VERIFY_STEP_BYTES

    while await in_thread(step):
        pass
    return digest.digest()
