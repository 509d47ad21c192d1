"""A store with segments whose steps a test counts, holds up and lets fail."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

from holdfast.blobs.contract import BlobAddress
from holdfast.blobs.files import FileBlobStore
from holdfast.blobs.segments import (
    SEGMENT_FLAG,
    unpack_place,
)
from holdfast.testing.blob_suite import BUCKET, pattern, put
from holdfast.testing.fileops import FaultyFileOps

SIZE = 50_000


class Watched:
    """A store whose steps a test counts, holds up and lets fail."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kinds: list[str] = []
        self.before: Callable[[str], None] = lambda kind: None
        self.ops = FaultyFileOps(self._before)
        self.store = FileBlobStore(root, ops=self.ops, buffer_bytes=65536)
        self.store.prepare()

    def _before(self, number: int, kind: str) -> None:
        self.kinds.append(kind)
        self.before(kind)

    def files(self, bucket_dir: str = BUCKET) -> list[Path]:
        return sorted((self.root / "buckets" / bucket_dir / "segments").glob("*"))

    def waiting(self, bucket_dir: str = BUCKET) -> int:
        """Records that wait for the group that is being written."""
        appender = self.store._writer._appenders.get(bucket_dir)
        return len(appender.pending) if appender else 0

    async def held(
        self, kind: str, count: int, then: Callable[[], None] | None = None
    ) -> list[asyncio.Task[BlobAddress]]:
        """Start an upload that is held up in its first step of that kind, then `count` others that
        wait for it together, do `then`, and let go."""
        reached, go = threading.Event(), threading.Event()

        def hold(at: str) -> None:
            if at == kind and not reached.is_set():
                reached.set()
                assert go.wait(20)

        self.before = hold
        tasks = [asyncio.create_task(put(self.store, pattern(SIZE, 1000)))]
        await until(reached.is_set)
        tasks += [
            asyncio.create_task(put(self.store, pattern(SIZE, seed))) for seed in range(count)
        ]
        await until(lambda: self.waiting() == count)
        self.kinds.clear()
        if then is not None:
            then()
        go.set()
        return tasks


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if reached():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("what is waited for does not come")


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def segment_of(address: BlobAddress) -> int:
    assert address.n & SEGMENT_FLAG
    return unpack_place(address.n)[0]


def used_bytes(path: Path) -> int:
    """Bytes of data, holes and reserved blocks not counted."""
    count = position = 0
    with path.open("rb") as file:
        while True:
            try:
                start = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:
                return count
            position = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            count += position - start
