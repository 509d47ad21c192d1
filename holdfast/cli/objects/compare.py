"""Whether a target is already what its source is.

Rule: sizes decide first, at no cost. Then times: a file's own against the one kept with the object as
`x-amz-meta-mtime` (rclone's name and form), or against the object's date where none is kept. By
checksum, the bytes are read and held against what the server has. Between objects, ETags decide.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from holdfast.cli.objects.places import Local, Remote
from holdfast.cli.objects.plan import Entry, Job, nanoseconds
from holdfast.client import checksums
from holdfast.client.errors import NotFound
from holdfast.client.reading import whole_checksum

if TYPE_CHECKING:
    from holdfast.client.asynchronous import AsyncObjectStore

#: file systems and tools keep less than nanoseconds
TOLERANCE_NS = 1_000_000
READ_BYTES = 1024 * 1024


async def is_same(
    store: AsyncObjectStore, job: Job, target: Entry, *, by_checksum: bool = False
) -> bool:
    if job.size != target.size:
        return False
    if isinstance(job.source, Remote) and isinstance(target.place, Remote):
        if job.etag and job.etag == target.etag:
            return True
        return not by_checksum and target.modified_ns >= job.modified_ns
    local, remote = _sides(job, target)
    if by_checksum:
        return await _same_bytes(store, local, remote)
    if _close(local[1], remote[1]):
        return True  # a file that was downloaded and had no time of its own
    try:
        info = await store.head_object(*remote[0])
    except NotFound:
        return False
    kept = nanoseconds(info.metadata.get("mtime", ""))
    return kept is not None and _close(local[1], kept)


def _sides(job: Job, target: Entry) -> tuple[tuple[Local, int], tuple[Remote, int, str]]:
    if isinstance(job.source, Local):
        assert isinstance(target.place, Remote)
        local, place = (job.source, job.modified_ns), target.place
        return local, (place, target.modified_ns, target.etag)
    assert isinstance(target.place, Local)
    return (target.place, target.modified_ns), (job.source, job.modified_ns, job.etag)


def _close(one: int, other: int) -> bool:
    return abs(one - other) < TOLERANCE_NS


async def _same_bytes(
    store: AsyncObjectStore, local: tuple[Local, int], remote: tuple[Remote, int, str]
) -> bool:
    """Where the server has neither a checksum of the whole nor an MD5, times decide."""
    import asyncio

    (file, file_ns), (place, place_ns, etag) = local, remote
    if len(etag) == 32 and "-" not in etag:
        found = await asyncio.to_thread(_digest, file.path, "MD5")
        if found.hex() == etag:
            return True
        # else it may be the ETag of encrypted bytes: ask for a checksum
    try:
        info = await store.head_object(*place)
    except NotFound:
        return False
    algorithm = whole_checksum(info)
    if algorithm:
        found = await asyncio.to_thread(_digest, file.path, algorithm)
        return checksums.encoded(found) == info.checksums[algorithm]
    if len(etag) == 32:
        return False
    kept = nanoseconds(info.metadata.get("mtime", ""))
    return _close(file_ns, kept if kept is not None else place_ns)


def _digest(path: str, algorithm: str) -> bytes:
    if algorithm == "MD5":
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
    state = checksums.running(algorithm)
    buffer = memoryview(bytearray(READ_BYTES))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            state.update(buffer[:count])
    return state.digest()
